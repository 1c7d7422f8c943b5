"""From a scorer's scores to probabilities of relevance, fitted once and stored with its name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError
from ragopt.form import load_form, reading, write_form
from ragopt.quality import data_hash

__all__ = ["Given", "ScoreCalibration"]

Given = Literal["score", "probability"]

_KIND = "ragopt score calibration"
_VERSION = 1
_WHAT = "score calibration"
_ROUNDS = 100
_SMALLEST_STEP = 1e-10
_RIDGE = 1e-12
_NEAREST_TO_SURE = 1e-7  # float32 tells no probability nearer to 1 apart


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """``p = sigmoid((z - location) / temperature)`` of one scorer; make it with `fit`.

    The scale is the scorer's, told by labelled scores: it is never guessed from the candidates of
    one question, whose best is not relevant for being the best of them.

    Args:
        scorer_id: whose scores; see `ragopt.rerank.base.scorer_id`.
        location: score at which a chunk is as likely relevant as not.
        temperature: above 0; small where the scorer tells relevance sharply.
        given: ``"probability"`` for a scorer whose scores are probabilities already: their
            logarithmic odds stand for z, since the sigmoid of a probability is none.
        n: labelled scores it was fitted on.
        relevant: of them.
        log_loss: mean over them, in nats.
        data_hash: of them.
        created: ISO 8601, UTC.

    Raises:
        InputError: values that are not finite, a temperature of 0 or less, or an unknown ``given``.
    """

    scorer_id: str
    location: float
    temperature: float
    given: Given = "score"
    n: int = 0
    relevant: int = 0
    log_loss: float = 0.0
    data_hash: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.location) or not 0 < self.temperature < math.inf:
            raise InputError(
                f"location={self.location!r}, temperature={self.temperature!r}: expected finite "
                "numbers and a temperature above 0"
            )
        _check_given(self.given)

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        relevant: ArrayLike,
        *,
        scorer_id: str,
        given: Given = "score",
    ) -> ScoreCalibration:
        """The likeliest location and temperature.

        Newton's method on Platt's targets ``(n+ + 1) / (n+ + 2)`` and ``1 / (n- + 2)`` (1999),
        with which also scores that part the two perfectly have a finite temperature (Lin, Lin and
        Weng, 2007, "A note on Platt's probabilistic outputs"). Linear in the scores.

        Args:
            scores: (n,) of labelled pairs of question and chunk.
            relevant: (n,) whether the chunk was.
            scorer_id: whose scores they are.
            given: what they are.

        Raises:
            InputError: lengths that differ, scores that are not finite or (for probabilities)
                outside [0, 1], labels or scores of one value only, or scores that fall with
                relevance.
        """
        given_scores = np.asarray(scores, dtype=np.float64)
        labels = np.asarray(relevant, dtype=bool)
        _check_labelled(given_scores, labels, scorer_id)
        values = _odds(given_scores, given, scorer_id)
        middle, width = float(values.mean()), float(values.std())
        slope, offset = _platt((values - middle) / width, labels)
        if slope <= 0:
            raise InputError(
                f"the scores of {scorer_id!r} do not rise with relevance (slope {slope:.3g}); "
                "expected higher scores for relevant chunks: check the labels, or negate a distance"
            )
        made = cls(
            scorer_id=scorer_id,
            location=middle - offset * width / slope,
            temperature=width / slope,
            given=given,
            n=int(labels.size),
            relevant=int(labels.sum()),
            data_hash=data_hash(given_scores, labels),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        found = np.clip(made.probabilities(given_scores, scorer_id=scorer_id), 1e-15, 1 - 1e-15)
        loss = -float(np.where(labels, np.log(found), np.log1p(-found)).mean())
        return cls(**{**asdict(made), "log_loss": loss})

    def probabilities(self, scores: ArrayLike, *, scorer_id: str) -> NDArray[np.float64]:
        """Probabilities (n,); they rise with the scores, each by itself.

        Args:
            scores: (n,); infinite ones give 0 and 1.
            scorer_id: whose scores they are.

        Raises:
            InputError: scores of another scorer, NaN, or probabilities outside [0, 1].
        """
        if scorer_id != self.scorer_id:
            raise InputError(
                f"scores of {scorer_id!r} cannot be read with the calibration of "
                f"{self.scorer_id!r}: their scale is another; fit one for {scorer_id!r}"
            )
        values = np.asarray(scores, dtype=np.float64)
        if np.isnan(values).any():
            raise InputError(f"{int(np.isnan(values).sum())} scores of {scorer_id!r} are NaN")
        return _sigmoid((_odds(values, self.given, scorer_id) - self.location) / self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        return {"kind": _KIND, "version": _VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> ScoreCalibration:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, or of a newer ragopt.
        """
        with reading(content, kind=_KIND, version=_VERSION, what=_WHAT, remedy="calibrate again"):
            return cls(
                **{name: content[name] for name in content if name not in ("kind", "version")}
            )

    def save(self, path: Path | str) -> None:
        """Write it as JSON, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_form(path, self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> ScoreCalibration:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it is none of these.
        """
        return load_form(path, _WHAT, cls.from_dict)

    def __str__(self) -> str:
        return (
            f"p = sigmoid((score - {self.location:.4g}) / {self.temperature:.4g}) of "
            f"{self.scorer_id}, fitted on {self.n:,} scores, {self.relevant:,} of them relevant"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"


def _odds(scores: NDArray[np.float64], given: Given, scorer_id: str) -> NDArray[np.float64]:
    """What goes into the sigmoid: scores as they are, of probabilities the logarithmic odds."""
    if _check_given(given) == "score":
        return scores
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise InputError(
            f"{scorer_id!r} is said to give probabilities, but its scores lie in "
            f"[{scores.min():g}, {scores.max():g}]; calibrate it with given='score'"
        )
    clipped = np.clip(scores, _NEAREST_TO_SURE, 1 - _NEAREST_TO_SURE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(values), dtype=np.float64)


def _platt(values: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of the likeliest logistic curve, by Newton's method with halved steps."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([values, np.ones_like(values)])
    weights = np.array([0.0, math.log((positives + 1) / (negatives + 1))])
    loss = _loss(design @ weights, targets)
    for _ in range(_ROUNDS):
        found = _sigmoid(design @ weights)
        slope = design.T @ (found - targets)
        curvature = (design.T * (found * (1 - found))) @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        while (least := _loss(design @ (weights - size * step), targets)) > loss and size > (
            _SMALLEST_STEP
        ):
            size /= 2
        if least >= loss:
            break
        weights, loss = weights - size * step, least
    return float(weights[0]), float(weights[1])


def _loss(values: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, values) - targets * values).sum())


def _check_labelled(scores: NDArray[np.float64], labels: NDArray[np.bool_], scorer_id: str) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError(
            f"scores have shape {scores.shape}, relevant {labels.shape}; expected two vectors of "
            "one length"
        )
    if not np.isfinite(scores).all():
        raise InputError(
            f"{int((~np.isfinite(scores)).sum())} scores of {scorer_id!r} are NaN or infinite; "
            "expected finite ones to calibrate on"
        )
    if labels.all() or not labels.any():
        raise InputError(
            f"{int(labels.sum())} of {labels.size} labelled chunks are relevant; calibration needs "
            "both kinds"
        )
    if np.ptp(scores) == 0:
        raise InputError(
            f"{scorer_id!r} gave all {scores.size} chunks the score {scores[0]:g}; there is "
            "nothing to calibrate"
        )


def _check_given(given: Given) -> Given:
    if given not in ("score", "probability"):
        raise InputError(f"given={given!r}: expected 'score' or 'probability'")
    return given
