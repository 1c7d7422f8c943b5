"""A threshold whose error is bounded, on the user's own labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ragopt.cache.checks import is_number
from ragopt.cache.policies.base import Candidate, Decision
from ragopt.cache.policies.verifier import Verifier
from ragopt.errors import InputError
from ragopt.form import load_form, reading, write_form
from ragopt.quality import Certificate, Floor, binomial_upper

__all__ = ["Calibrated", "Step", "certified_steps", "fewest_hits"]

_KIND = "ragopt calibrated cache policy"
_VERSION = 1
_OFF = math.inf
_SHOWN = 15  # rows of the table in a notebook, about
_BEGIN_WITH = 8  # one part in so many of the pairs that might be served
_BEGIN_AT_MOST = 5  # times the fewest hits
_METRIC = "wrong answers per hit"
_METHOD = "Clopper-Pearson, fixed-sequence testing from the highest threshold down"

SIMILARITIES = tuple(threshold / 1000 for threshold in range(1000, 499, -5))
"""Thresholds of a cosine that are gone through, fixed before any pair is seen."""
PROBABILITIES = tuple(threshold / 200 for threshold in range(199, 19, -1))
"""Thresholds of a verifier's probability, likewise."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the labelled pairs show at one threshold.

    Args:
        threshold: of the score.
        hits: pairs that would be served.
        wrong: of them, those that ask different things.
        bound: upper confidence bound on the share of wrong ones; 1 where there are no hits.
        certified: the bound, and those of all thresholds tested before, keep the limit.
    """

    threshold: float
    hits: int
    wrong: int
    bound: float
    certified: bool


def fewest_hits(max_error: float, confidence: float = 0.95) -> int:
    """Hits that can show an error of at most ``max_error`` if all of them are right.

    59 for 5 %, 149 for 2 % and 299 for 1 % at 95 % confidence.
    """
    return math.ceil(math.log(1 - confidence) / math.log(1 - max_error) - 1e-9)


def certified_steps(
    scores: ArrayLike,
    same: ArrayLike,
    *,
    max_error: float,
    confidence: float = 0.95,
    grid: Sequence[float] = SIMILARITIES,
) -> list[Step]:
    """Go down a grid of thresholds until the error of the hits is no longer bounded.

    Fixed-sequence testing (Maurer, Hothorn and Lehmacher, 1995): each threshold is tested at the
    full confidence and the first failure ends it, so that no level is spent on those before. Each
    bound is exact binomial (Clopper and Pearson, 1934).

    Where to begin may depend on the scores, not on the labels. With `fewest_hits`, a single wrong
    one among them ends it; so it begins with an eighth of the pairs, five times as many at most. Of
    300 simulated sets of 4,000 pairs at 2 %, that certified half and not a third.

    Args:
        scores: (n,) of the pairs; -inf for what a guard refuses.
        same: (n,) whether the two ask the same.
        max_error: tolerated share of wrong hits, above 0 and below .5.
        confidence: with which it must hold.
        grid: thresholds, falling, fixed without a look at the pairs.

    Returns:
        A step for every threshold, also those after the failure.

    Raises:
        InputError: values outside their ranges, or of other lengths.
    """
    try:
        values, labels = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"scores and same are no vectors of numbers ({error})") from error
    if values.shape != labels.shape or values.ndim != 1 or np.isnan(values).any():
        raise InputError(
            f"scores have shape {values.shape}, same {labels.shape}; expected two vectors of one "
            "length without NaN"
        )
    numbers = is_number(max_error) and is_number(confidence)
    if not numbers or not 0 < max_error < 0.5 or not 0 < confidence < 1:
        raise InputError(
            f"max_error={max_error!r}, confidence={confidence!r}: expected a share above 0 and "
            "below .5, and a probability between 0 and 1"
        )
    if any(low >= high for high, low in pairwise(grid)):
        raise InputError("the grid does not fall from one threshold to the next")
    least = fewest_hits(max_error, confidence)
    least = min(max(least, int((values >= grid[-1]).sum()) // _BEGIN_WITH), _BEGIN_AT_MOST * least)
    steps, holding = [], True
    for threshold in grid:
        served = values >= threshold
        hits, wrong = int(served.sum()), int((served & ~labels).sum())
        bound = binomial_upper(wrong, hits, confidence) if hits else 1.0
        tested = hits >= least
        holding = holding and (not tested or bound <= max_error)
        steps.append(Step(float(threshold), hits, wrong, bound, tested and holding))
    return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Serve from the score on at which the error of the hits was certified; make it with `fit`.

    Args:
        threshold: least score that is served; infinite where nothing could be certified: the
            similar questions are then off.
        certificate: of the error of the hits at that threshold; None where it is off.
        verifier: gives the score; the cosine is it where None.
        least: cosine below which nothing is looked at.
        max_error: share of wrong hits that was asked for.
        confidence: with which.
        n: pairs it was calibrated on.
        embedder_id: whose cosines they were.
        guards: names of those that the pairs had to pass; None where nobody said.
        steps: what was measured at each threshold.
    """

    threshold: float
    certificate: Certificate | None
    verifier: Verifier | None = None
    least: float = 0.5
    max_error: float = 0.05
    confidence: float = 0.95
    n: int = 0
    embedder_id: str = ""
    guards: tuple[str, ...] | None = None
    steps: tuple[Step, ...] = field(default=(), repr=False)

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        same: ArrayLike,
        *,
        max_error: float = 0.05,
        confidence: float = 0.95,
        verifier: Verifier | None = None,
        least: float = 0.5,
        embedder_id: str = "",
        guards: Sequence[str] | None = None,
        data_hash: str = "",
    ) -> Calibrated:
        """The lowest certified threshold; see `certified_steps`.

        Args:
            scores: (n,) cosines of the pairs or, with a verifier, its probabilities; -inf for what
                would not be served at all.
            same: (n,) whether the two ask the same.
            max_error: tolerated share of wrong hits.
            confidence: with which it must hold, for pairs like these.
            verifier: that gave the scores; not fitted on these pairs.
            least: cosine below which nothing was looked at.
            embedder_id: whose cosines they are.
            guards: names of those that the pairs had to pass.
            data_hash: of the pairs.

        Raises:
            InputError: as `certified_steps`.
        """
        steps = certified_steps(
            scores, same, max_error=max_error, confidence=confidence,
            grid=SIMILARITIES if verifier is None else PROBABILITIES,
        )  # fmt: skip
        chosen = next((step for step in reversed(steps) if step.certified), None)
        certificate = None
        if chosen is not None:
            certificate = Certificate(
                floor=Floor(metric=_METRIC, at_most=max_error, confidence=confidence),
                observed=chosen.wrong / chosen.hits,
                bound=chosen.bound,
                n=chosen.hits,
                method=_METHOD,
                data_hash=data_hash,
                created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
        return cls(
            threshold=_OFF if chosen is None else chosen.threshold,
            certificate=certificate,
            verifier=verifier,
            least=_OFF if chosen is None else least if verifier else chosen.threshold,
            max_error=max_error,
            confidence=confidence,
            n=len(np.asarray(same)),
            embedder_id=embedder_id,
            guards=None if guards is None else tuple(guards),
            steps=tuple(steps),
        )

    @property
    def is_off(self) -> bool:
        """Whether nothing could be certified, so that no similar question is served."""
        return self.certificate is None

    def decide(self, candidate: Candidate) -> Decision:
        """Serve from the threshold on."""
        return "serve" if self.score(candidate) >= self.threshold else "miss"

    def stricter(self) -> Calibrated | None:
        """The next certified threshold at which at most half as much is served; None for none."""
        if self.certificate is None:
            return None
        chosen = next(
            (
                step
                for step in reversed(self.steps)
                if step.certified and 2 * step.hits <= self.certificate.n
            ),
            None,
        )
        if chosen is None:
            return None
        observed = chosen.wrong / chosen.hits
        certificate = replace(
            self.certificate, observed=observed, bound=chosen.bound, n=chosen.hits
        )
        least = self.least if self.verifier else chosen.threshold
        return replace(self, threshold=chosen.threshold, certificate=certificate, least=least)

    def score(self, candidate: Candidate) -> float:
        """The cosine, or the verifier's probability."""
        if self.verifier is None:
            return candidate.similarity
        return self.verifier.probability(candidate.asked, candidate.cached, candidate.similarity)

    def __str__(self) -> str:
        wanted = f"at most {self.max_error:.1%} wrong hits at {self.confidence:.0%} confidence"
        if self.certificate is None:
            return (
                f"semantic cache off: {wanted} could not be certified on {self.n:,} labelled "
                f"pairs; it takes {fewest_hits(self.max_error, self.confidence):,} hits without a "
                "wrong one, or more pairs"
            )
        by = "similarity" if self.verifier is None else "verifier's probability"
        return (
            f"serves from a {by} of {self.threshold:g}: {self.certificate.observed:.1%} of "
            f"{self.certificate.n:,} hits wrong, at most {self.certificate.bound:.1%} "
            f"({self.confidence:.0%} confidence; asked for: {wanted})"
        )

    def _repr_html_(self) -> str:
        used = [step for step in self.steps if step.hits]
        shown = used[:: max(1, len(used) // _SHOWN)]
        rows = "".join(
            f"<tr><td>{step.threshold:g}</td><td>{step.hits / self.n:.1%}</td>"
            f"<td>{step.wrong / step.hits:.1%}</td><td>{step.bound:.1%}</td>"
            f"<td>{'yes' if step.certified else 'no'}</td></tr>"
            for step in shown
        )
        heads = "".join(
            f"<th>{head}</th>" for head in ("score from", "hits", "wrong", "at most", "certified")
        )
        return f"<p>{escape(str(self))}</p><table><tr>{heads}</tr>{rows}</table>"

    def plot(self) -> Any:
        """A matplotlib figure: hit rate against the bound on the share of wrong hits.

        Raises:
            BackendMissing: matplotlib is not installed.
        """
        from ragopt.report.cache_plots import calibration_figure

        return calibration_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        return {
            "kind": _KIND,
            "version": _VERSION,
            "threshold": None if self.is_off else self.threshold,
            "certificate": self.certificate and self.certificate.to_dict(),
            "verifier": self.verifier and self.verifier.to_dict(),
            "least": None if self.is_off else self.least,
            "max_error": self.max_error,
            "confidence": self.confidence,
            "n": self.n,
            "embedder_id": self.embedder_id,
            "guards": None if self.guards is None else list(self.guards),
            "steps": [
                [step.threshold, step.hits, step.wrong, step.bound, step.certified]
                for step in self.steps
            ],
        }

    @classmethod
    def from_dict(cls, content: Any) -> Calibrated:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, or of a newer ragopt.
        """
        with reading(
            content,
            kind=_KIND,
            version=_VERSION,
            what="calibrated policy",
            remedy="calibrate again",
        ):
            certificate, verifier = content["certificate"], content["verifier"]
            off = certificate is None
            return cls(
                threshold=_OFF if off else float(content["threshold"]),
                certificate=None if off else Certificate.from_dict(certificate),
                verifier=None if verifier is None else Verifier.from_dict(verifier),
                least=_OFF if off else float(content["least"]),
                max_error=float(content["max_error"]),
                confidence=float(content["confidence"]),
                n=int(content["n"]),
                embedder_id=str(content["embedder_id"]),
                guards=None if content["guards"] is None else tuple(content["guards"]),
                steps=tuple(Step(*step) for step in content["steps"]),
            )

    def save(self, path: Path | str) -> None:
        """Write it as JSON, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_form(path, self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> Calibrated:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it is none of these.
        """
        return load_form(path, "calibrated policy", cls.from_dict)
