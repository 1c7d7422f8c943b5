"""Floors, certificates, and the statistics behind them.

A `Floor` is what quality must reach; a `Certificate` is the evidence that it does. Bounds are
exact where an exact one exists (binomial, conformal) and drawn with a seed otherwise.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError

__all__ = [
    "Certificate",
    "Floor",
    "PairedDifference",
    "binomial_lower",
    "binomial_upper",
    "certify_mean",
    "conformal_quantile",
    "data_hash",
    "mean_lower",
    "paired_bootstrap",
    "paired_difference",
]

RESAMPLES = 10_000
_BLOCK_CELLS = 1 << 22  # draws held at a time: 32 MB, whatever the number of distinct values


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A bound that a measured quality has to keep, with a confidence.

    Args:
        metric: what is measured, such as ``"recall@10"`` or ``"wrong answers per hit"``.
        at_least: smallest acceptable value; give this or ``at_most``.
        at_most: largest acceptable value, for error rates.
        confidence: probability with which the bound must hold, strictly between 0 and 1.

    Raises:
        InputError: both limits or neither, a limit that is NaN, or a confidence outside (0, 1).
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise InputError(
                f"Floor({self.metric!r}): give exactly one of at_least and at_most; "
                f"got at_least={self.at_least}, at_most={self.at_most}"
            )
        if math.isnan(self.limit):
            raise InputError(f"Floor({self.metric!r}): the limit is NaN, expected a number")
        _check_probability("confidence", self.confidence)

    @property
    def limit(self) -> float:
        """The limit itself, whichever side it is on."""
        return self.at_least if self.at_least is not None else float(self.at_most or 0.0)

    def admits(self, bound: float) -> bool:
        """Whether a confidence bound (lower for ``at_least``, upper for ``at_most``) suffices."""
        return bound >= self.limit if self.at_least is not None else bound <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least is not None else "<="
        return f"{self.metric} {sign} {self.limit:g} at {self.confidence:.0%} confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Evidence about a floor, stored beside what it certifies.

    Args:
        floor: what was asked.
        observed: the measured value.
        bound: the one-sided confidence bound on the floor's side.
        n: number of independent observations.
        method: how the bound was computed.
        data_hash: of the data it was measured on; see `data_hash`.
        seed: of whatever was drawn at random.
        created: ISO 8601, UTC.
    """

    floor: Floor
    observed: float
    bound: float
    n: int
    method: str
    data_hash: str = ""
    seed: int = 0
    created: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bound keeps the floor."""
        return self.floor.admits(self.bound)

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "does not hold"
        return (
            f"{self.floor}: {verdict} (observed {self.observed:.4f}, bound {self.bound:.4f}, "
            f"n={self.n}, {self.method})"
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Certificate:
        """Read the form of `to_dict`.

        Raises:
            InputError: a field is missing or unknown.
        """
        try:
            return cls(**{**fields, "floor": Floor(**fields["floor"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"not a certificate: {error}; got fields {sorted(fields)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of paired differences with its confidence interval.

    Args:
        mean: of (after - before), each cluster weighing the same.
        lower: lower end of the two-sided interval whose tails are ``1 - confidence`` each.
        upper: upper end, likewise.
        n: number of clusters.
        better: clusters in which the mean difference is positive.
        worse: clusters in which it is negative.
        confidence: of each one-sided bound.
        seed: of whatever was drawn at random.
    """

    mean: float
    lower: float
    upper: float
    n: int
    better: int
    worse: int
    confidence: float
    seed: int


def binomial_lower(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound on a success probability (Clopper and Pearson, 1934).

    Returns:
        0.0 when there is no success (or no trial).

    Raises:
        InputError: counts that are negative or do not fit, or a confidence outside (0, 1).
    """
    _check_counts(successes, trials)
    _check_probability("confidence", confidence)
    if successes == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(successes, trials - successes + 1, 1 - confidence))


def binomial_upper(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound on a success probability (Clopper and Pearson, 1934).

    Returns:
        1.0 when every trial succeeded (or there was none).

    Raises:
        InputError: as `binomial_lower`.
    """
    _check_counts(successes, trials)
    return 1.0 - binomial_lower(trials - successes, trials, confidence)


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """Threshold that a fresh score reaches with probability at least ``1 - alpha``.

    The ``floor(alpha (n + 1))``-th smallest of ``n`` calibration scores, under exchangeability
    (split conformal prediction; Vovk, Gammerman and Shafer, 2005; Lei et al., 2018, section 2.2).

    Args:
        scores: (n,), higher is better.
        alpha: tolerated miss rate, strictly between 0 and 1.

    Returns:
        The threshold, or ``-inf`` when ``n`` is too small for ``alpha``: keep everything.

    Raises:
        InputError: NaN among the scores, or alpha outside (0, 1).
    """
    _check_probability("alpha", alpha)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or np.isnan(values).any():
        raise InputError(f"scores: expected a vector without NaN, got shape {values.shape}")
    # alpha * (n + 1) may fall a rounding error short of the integer it stands for.
    rank = min(values.size, math.floor(alpha * (values.size + 1) + 1e-9))
    if rank == 0:
        return -math.inf
    return float(np.sort(values)[rank - 1])


def mean_lower(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> float:
    """Lower bound on the mean of values in [0, 1], such as recall per query.

    Learned-Miller and Thomas (2019), "A New Confidence Interval for the Mean of a Bounded Random
    Variable" (arXiv 1905.06208): the quantile, over 10,000 draws, of the mean under uniform
    Dirichlet weights on the values and one more at 0, the worst there could be. For values of 0
    and 1 that is the exact binomial bound, computed as such; for others its authors conjecture
    that it covers, and no counterexample is known. A percentile bootstrap knows no loss
    that it has not seen: where 3 % of the queries fail it misses the mean in one sample of 50 out
    of five.

    Raises:
        InputError: no values, values outside [0, 1], or a confidence outside (0, 1).
    """
    array = _finite_vector("values", values)
    if array.min() < 0 or array.max() > 1:
        raise InputError(f"values lie in [{array.min():g}, {array.max():g}], expected [0, 1]")
    _check_probability("confidence", confidence)
    ones = int((array == 1).sum())
    if ones + (array == 0).sum() == array.size:
        return binomial_lower(ones, array.size, confidence)
    means = _dirichlet_means(np.append(array, 0.0), np.random.default_rng(seed))
    return float(np.quantile(means, 1 - confidence))


def paired_difference(
    before: ArrayLike,
    after: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Bounds on the mean of ``after - before`` over the same items, to decide by.

    Items of one cluster (the wordings of one question) are averaged first, since they stand or
    fall together. The lower end is then

    - where no cluster gained, or none lost: that of `mean_lower` with -1 as the worst there could
      be, for whole losses the exact binomial bound;
    - otherwise the smallest mean that a score test does not reject. Its variance is that of the
      likeliest distribution with that mean on the differences seen and on a loss of one unit,
      seen or not (empirical likelihood; Owen, 2001). For differences of -1, 0 and 1 that is
      Tango's interval for paired proportions (1998, Statistics in Medicine 17, 891). A
      distribution skewed towards gains, which lets the plain test pass too often, raises the
      critical value by the first Cornish-Fisher term.

    The upper end is the same, mirrored. From 150 clusters on, a true loss of 2 points passes for
    less in at most 5.3 % of samples at 95 % confidence, whatever the share of whole gains beside
    whole losses (computed, not drawn; at most 6.1 % from 20 clusters on). Among differences of any
    sizes the rate is 3.6 % on average; 6 % was met where all losses are of one fractional size and
    the number of clusters is unlucky. A percentile bootstrap (`paired_bootstrap`) passes the same
    loss in up to 19 %.

    Args:
        before: (n,) values in [0, 1], such as 0 or 1 per question.
        after: (n,) values of the same items, in the same order.
        clusters: (n,) labels of what belongs together; every item by itself by default.
        confidence: of each end of the interval by itself.
        seed: of `mean_lower`.

    Raises:
        InputError: lengths differ, nothing to compare, or values outside [0, 1].
    """
    difference = _paired(before, after, clusters, confidence, bounded=True)
    return _described(
        difference,
        _difference_lower(difference, confidence, seed),
        -_difference_lower(-difference, confidence, seed),
        confidence,
        seed,
    )


def paired_bootstrap(
    before: ArrayLike,
    after: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Interval for the mean of ``after - before`` over the same items, in any unit, to look at.

    Items of one cluster (the wordings of one question) are averaged first, since they stand or
    fall together; clusters are resampled with replacement (Efron and Tibshirani, 1993,
    chapter 13; 10,000 percentile resamples).

    When no cluster differs, resampling says nothing about losses too rare to have been seen. The
    ends are then the exact binomial bound on an unseen change of one whole unit,
    ``1 - (1 - confidence) ** (1 / n)``. Where few clusters differ the ends are too kind: at 95 %
    confidence a true loss of 2 points in whole questions passes for less in 6.6 % of samples of
    364, in 9 % of 200 and in 19 % of 151. Decide by `paired_difference` instead.

    Args:
        before: (n,) values in one unit, such as 0 or 1 per question.
        after: (n,) values of the same items, in the same order.
        clusters: (n,) labels of what belongs together; every item by itself by default.
        confidence: of each end of the interval by itself.
        seed: of the resampling.

    Raises:
        InputError: lengths differ, nothing to compare, or values that are not finite.
    """
    difference = _paired(before, after, clusters, confidence)
    if not difference.any():
        unseen = binomial_upper(0, difference.size, confidence)
        lower, upper = -unseen, unseen
    else:
        means = _resampled_means(difference, np.random.default_rng(seed))
        lower, upper = (float(end) for end in np.quantile(means, [1 - confidence, confidence]))
    return _described(difference, lower, upper, confidence, seed)


def data_hash(*parts: bytes | str | NDArray[Any]) -> str:
    """Short SHA-256 over data, to tell whether two figures come from the same input.

    Raises:
        InputError: an array of Python objects, whose bytes are addresses.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            if part.dtype.hasobject:
                raise InputError(
                    f"an array of dtype {part.dtype} has no bytes of its own to hash; expected "
                    "numbers or fixed-width text"
                )
            block = (
                str((part.dtype.str, part.shape)).encode() + np.ascontiguousarray(part).tobytes()
            )
        else:
            block = part.encode() if isinstance(part, str) else part
        digest.update(len(block).to_bytes(8, "little"))
        digest.update(block)
    return digest.hexdigest()[:16]


def certify_mean(
    values: ArrayLike, floor: Floor, *, source: str = "", seed: int = 0
) -> Certificate:
    """Certificate for the mean of per-query values in [0, 1] against a lower floor.

    Raises:
        InputError: a floor with ``at_most``, or values that `mean_lower` rejects.
    """
    if floor.at_least is None:
        raise InputError(
            f"{floor}: a mean is certified by its lower bound, expected a floor with at_least"
        )
    array = _finite_vector("values", values)
    return Certificate(
        floor=floor,
        observed=float(array.mean()),
        bound=mean_lower(array, confidence=floor.confidence, seed=seed),
        n=int(array.size),
        method="Learned-Miller and Thomas bound over queries",
        data_hash=source,
        seed=seed,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _paired(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Sequence[Hashable] | None,
    confidence: float,
    *,
    bounded: bool = False,
) -> NDArray[np.float64]:
    """Mean difference of every cluster."""
    _check_probability("confidence", confidence)
    first, second = _finite_vector("before", before), _finite_vector("after", after)
    if first.size != second.size or (clusters is not None and len(clusters) != first.size):
        raise InputError(
            f"before has {first.size} values, after {second.size}, clusters "
            f"{first.size if clusters is None else len(clusters)}; expected one each per item"
        )
    for name, values in (("before", first), ("after", second)) if bounded else ():
        if values.min() < 0 or values.max() > 1:
            raise InputError(
                f"{name}: values lie in [{values.min():g}, {values.max():g}], expected [0, 1]; "
                "use paired_bootstrap for other units"
            )
    difference = _cluster_means(second - first, clusters)
    # Equal figures computed in two ways differ by rounding; that is no change.
    scale = max(np.abs(first).max(), np.abs(second).max())
    return np.where(np.abs(difference) <= 1e-12 * scale, 0.0, difference)


def _described(
    difference: NDArray[np.float64], lower: float, upper: float, confidence: float, seed: int
) -> PairedDifference:
    return PairedDifference(
        mean=float(difference.mean()),
        lower=lower,
        upper=upper,
        n=int(difference.size),
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        confidence=confidence,
        seed=seed,
    )


def _difference_lower(difference: NDArray[np.float64], confidence: float, seed: int) -> float:
    """Lower bound on the mean of differences in [-1, 1]; see `paired_difference`."""
    above = difference + 1
    if difference.min() >= 0 or difference.max() <= 0:
        most = float(above.max()) or 1.0
        return most * mean_lower(above / most, confidence=confidence, seed=seed) - 1
    if confidence < 0.5:  # beyond the mean: the other end at the other confidence
        return -_score_lower(-difference, 1 - confidence)
    return _score_lower(difference, confidence)


def _score_lower(difference: NDArray[np.float64], confidence: float) -> float:
    """The smallest mean that the score test does not reject, by bisection."""
    normal = NormalDist().inv_cdf(confidence)
    root = math.sqrt(difference.size)
    widening = max(0.0, normal**2 - 1) / (6 * root)
    values, counts = np.unique(difference, return_counts=True)
    low, high = 0.0, 1.0 if values[0] <= -1 else 2.0
    for _ in range(40):  # not much further: 1 - 2**-53 would round to 1
        middle = (low + high) / 2
        mean, deviation, skewness = _pressed_down(values, counts / difference.size, middle)
        critical = normal + widening * max(0.0, skewness)
        rejected = (difference.mean() - mean) * root > critical * deviation
        low, high = (low, middle) if rejected else (middle, high)
    return _pressed_down(values, counts / difference.size, low)[0]


def _pressed_down(
    values: NDArray[np.float64], shares: NDArray[np.float64], how_far: float
) -> tuple[float, float, float]:
    """Mean, deviation and skewness of the likeliest distribution with a lower mean.

    The likeliest one with a given mean weighs each value by ``share / (1 + tilt * value)``; where
    a tilt of 1 does not press the mean down far enough, the rest goes to -1 (Owen, 2001, 2.9).

    Args:
        values: distinct differences, -1 or more.
        shares: of each in the sample.
        how_far: 0 is the sample itself, 1 a tilt of 1, 2 everything at -1.
    """
    rest = max(0.0, how_far - 1)
    weights = shares / (1 + min(how_far, 1.0) * values)
    weights = np.append(weights * ((1 - rest) / weights.sum()), rest)
    places = np.append(values, -1.0)
    mean = float(weights @ places)
    variance = float(weights @ (places - mean) ** 2)
    third = float(weights @ (places - mean) ** 3)
    return mean, math.sqrt(variance), third / variance**1.5 if variance > 0 else 0.0


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of bootstrap resamples, drawn as multinomial counts over the distinct values.

    Quality is 0 or 1 or a few steps between, so the counts are short whatever the sample size.
    """
    distinct, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    blocks = [
        rng.multinomial(values.size, shares, size=rows) @ distinct / values.size
        for rows in _row_blocks(distinct.size)
    ]
    return np.concatenate(blocks)


def _dirichlet_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means under uniform Dirichlet weights, drawn as one weight a distinct value."""
    distinct, counts = np.unique(values, return_counts=True)
    blocks = [rng.dirichlet(counts, size=rows) @ distinct for rows in _row_blocks(distinct.size)]
    return np.concatenate(blocks)


def _row_blocks(columns: int) -> Iterator[int]:
    """Row counts that add up to `RESAMPLES`."""
    rows = max(1, _BLOCK_CELLS // columns)
    for start in range(0, RESAMPLES, rows):
        yield min(rows, RESAMPLES - start)


def _cluster_means(
    values: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> NDArray[np.float64]:
    if clusters is None:
        return values
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(label, len(numbers)) for label in clusters])
    return np.bincount(index, weights=values) / np.bincount(index)


def _finite_vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name}: expected a non-empty vector, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    return array


def _check_probability(name: Literal["confidence", "alpha"], value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name}={value}: expected a probability strictly between 0 and 1")


def _check_counts(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise InputError(
            f"{successes} successes of {trials} trials: expected 0 <= successes <= trials"
        )
