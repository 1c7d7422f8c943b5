"""How low a probability may be and still be kept, so that the evidence stays: split conformal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.form import reading
from ragopt.quality import Certificate, Floor, binomial_lower, data_hash, mean_lower

__all__ = ["ConformalFloor", "Evidence", "Of", "Promise", "conformal_rank"]

Promise = Literal["all evidence", "mean recall"]
Of = Literal["owed", "found"]

_KIND = "ragopt conformal floor"
_VERSION = 1
_USUAL_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Evidence:
    """One labelled question's evidence, as the scorer saw it.

    Args:
        found: probability of each piece that is among the candidates.
        owed: pieces there are, among the candidates or not.

    Raises:
        InputError: no piece at all, more found than owed, or no probabilities.
    """

    found: tuple[float, ...]
    owed: int

    def __post_init__(self) -> None:
        if self.owed < max(1, len(self.found)):
            raise InputError(
                f"{len(self.found)} pieces of evidence found of {self.owed}: expected at least one "
                "owed and no more found than owed"
            )
        if not all(0 <= probability <= 1 for probability in self.found):
            raise InputError(f"found={self.found}: expected probabilities from 0 to 1")


def conformal_rank(n: int, alpha: float, confidence: float | None = None) -> int:
    """Which of ``n`` ascending calibration values may be the floor; 0 where none may.

    Without a confidence ``floor(alpha (n + 1))``: a further question's value then lies below it
    with probability at most alpha, on average over calibrations (Vovk, Gammerman and Shafer,
    2005). With one the largest rank r at which this very calibration misses at most alpha, with
    that confidence: the share it misses is at most Beta(r, n + 1 - r) distributed (Vovk, 2012,
    "Conditional validity of inductive conformal predictors", proposition 2).

    Raises:
        InputError: values outside their ranges.
    """
    if n < 0 or not 0 < alpha < 1 or (confidence is not None and not 0 < confidence < 1):
        raise InputError(
            f"n={n!r}, alpha={alpha!r}, confidence={confidence!r}: expected n >= 0, and "
            "probabilities strictly between 0 and 1"
        )
    # alpha * (n + 1) may fall a rounding error short of the integer it stands for.
    rank = min(n, math.floor(alpha * (n + 1) + 1e-9))
    if confidence is None:
        return rank
    upwards = range(n, 0, -1)
    return next((r for r in upwards if binomial_lower(n + 1 - r, n, confidence) >= 1 - alpha), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalFloor:
    """Least probability that is kept, and what that promises; make it with `fit`.

    Args:
        threshold: chunks from this probability on are kept; 0 keeps all.
        promise: ``"all evidence"``: of a question, with probability ``1 - alpha``; ``"mean
            recall"``: of the pieces of evidence, at least ``1 - alpha`` in the mean.
        of: pieces ``"owed"``, or those ``"found"`` among the candidates only.
        alpha: tolerated share of losses.
        n: labelled questions it rests on.
        rank: of the threshold among them, for all evidence; 0 where they are too few.
        ceiling: share of the questions whose evidence was wholly among the candidates.
        certificate: of the promise. Without a confidence it holds on average over calibrations,
            and surely so; with one, for this calibration.
    """

    threshold: float
    promise: Promise
    of: Of
    alpha: float
    n: int
    rank: int
    ceiling: float
    certificate: Certificate

    @classmethod
    def fit(
        cls,
        evidence: Sequence[Evidence],
        *,
        alpha: float,
        promise: Promise = "all evidence",
        of: Of = "owed",
        confidence: float | None = None,
    ) -> ConformalFloor:
        """The highest threshold that keeps the promise.

        For all evidence the `conformal_rank`-th smallest of ``m_q``, the least probability among a
        question's pieces, and 0 where one is missing from the candidates: then nothing that is
        kept can bring it back. For the mean, conformal risk control of ``1 - recall``:
        ``(sum of losses + 1) / (n + 1) <= alpha`` (Angelopoulos, Bates, Fisch, Lei and Schuster,
        2022, arXiv 2208.02814); with a confidence, upper-bounded risk along rising thresholds
        until the first that fails (Bates et al., 2021, arXiv 2101.02703).

        Equal probabilities are kept together, which can only keep more.

        Args:
            evidence: of questions like those to come.
            alpha: tolerated share of losses, strictly between 0 and 1.
            promise: what is promised.
            of: the evidence owed, or found only; questions of which nothing was found are then
                left out.
            confidence: for a promise about this calibration; on average over calibrations without.

        Raises:
            InputError: no question, or values outside their ranges.
        """
        _check_request(alpha, promise, of)
        used = [one for one in evidence if of == "owed" or one.found]
        if not used:
            raise InputError(
                f"{len(evidence)} labelled questions, none with evidence to calibrate on; expected "
                "questions whose evidence is known" + (" and found" if of == "found" else "")
            )
        asked = _Asked(alpha, promise, of, confidence)
        n, rank = len(used), 0
        if asked.whole:
            rank = conformal_rank(n, alpha, confidence)
            least = np.sort([_least(one, of) for one in used])
            threshold = float(least[rank - 1]) if rank else 0.0
        else:
            threshold = _risk_threshold(used, asked)
        return cls(
            threshold=threshold,
            promise=promise,
            of=of,
            alpha=alpha,
            n=n,
            rank=rank,
            ceiling=sum(len(one.found) == one.owed for one in evidence) / len(evidence),
            certificate=_certificate(used, threshold, asked, rank),
        )

    @property
    def keeps_all(self) -> bool:
        """Whether every candidate is kept, since no threshold above 0 keeps the promise."""
        return self.threshold <= 0

    def kept(self, one: Evidence) -> float:
        """What is kept of a question's evidence: its share or, for all evidence, 0 or 1."""
        share = _recall(one, self.threshold, self.of)
        return float(share == 1) if self.promise == "all evidence" else share

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        return {"kind": _KIND, "version": _VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> ConformalFloor:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, or of a newer ragopt.
        """
        with reading(
            content, kind=_KIND, version=_VERSION, what="conformal floor", remedy="fit it again"
        ):
            fields = {name: content[name] for name in content if name not in ("kind", "version")}
            fields["certificate"] = Certificate.from_dict(fields["certificate"])
            made = cls(**fields)
            _check_request(made.alpha, made.promise, made.of)
            if not 0 <= made.threshold <= 1:
                raise InputError(f"threshold={made.threshold!r}: expected 0 to 1")
            return made

    def __str__(self) -> str:
        told = promised(self.promise, self.of, self.alpha)
        if self.certificate.holds and not self.keeps_all:
            return f"keeps p >= {self.threshold:.3g}: {told} ({self.n:,} labelled questions)"
        if not self.keeps_all:
            return f"keeps p >= {self.threshold:.3g}, and does not promise {told}"
        if self.promise == "all evidence" and not self.rank:
            why = f"{self.n:,} labelled questions are too few"
        else:
            why = f"evidence is missing or worthless by score too often ({self.n:,} questions)"
        return (
            f"keeps all candidates: {why} for {told}; the candidates hold all evidence of "
            f"{self.ceiling:.1%} of the questions"
        )


def promised(promise: Promise, of: Of, alpha: float) -> str:
    """A promise in words."""
    which = "evidence" if of == "owed" else "evidence that the search found"
    if promise == "all evidence":
        return f"all {which} kept with probability >= {1 - alpha:.4g}"
    return f"mean recall of {which} >= {1 - alpha:.4g}"


def _least(one: Evidence, of: Of) -> float:
    """m_q: the least probability among the pieces of evidence; 0 where one is missing."""
    if of == "owed" and len(one.found) < one.owed:
        return 0.0
    return min(one.found)


def _recall(one: Evidence, threshold: float, of: Of) -> float:
    pieces = one.owed if of == "owed" else len(one.found)
    kept = sum(probability >= threshold for probability in one.found)
    return kept / pieces if pieces else 1.0


def _risk_threshold(used: Sequence[Evidence], asked: _Asked) -> float:
    """The highest probability of a piece of evidence at which the losses are still few enough."""
    best = 0.0
    for threshold in sorted({probability for one in used for probability in one.found}):
        recalls = np.array([_recall(one, threshold, asked.of) for one in used])
        if asked.confidence is None:
            # Rounding must not refuse a loss that is alpha exactly.
            within = (1 - recalls).sum() + 1 <= asked.alpha * (len(used) + 1) + 1e-9
        else:
            within = mean_lower(recalls, confidence=asked.confidence) >= 1 - asked.alpha
        if not within:
            break
        best = threshold
    return float(best)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What `ConformalFloor.fit` was asked for."""

    alpha: float
    promise: Promise
    of: Of
    confidence: float | None

    @property
    def whole(self) -> bool:
        """Whether a question counts only with all its evidence."""
        return self.promise == "all evidence"

    @property
    def metric(self) -> str:
        """What the certificate is about."""
        which = "" if self.of == "owed" else " found"
        told = "questions with all evidence{} kept" if self.whole else "recall of evidence{}"
        return told.format(which) + ("" if self.confidence else ", mean over calibrations")


def _certificate(
    used: Sequence[Evidence], threshold: float, asked: _Asked, rank: int
) -> Certificate:
    recalls = np.array([_recall(one, threshold, asked.of) for one in used])
    kept = np.where(recalls == 1, 1.0, 0.0) if asked.whole else recalls
    bound, method = _bound(kept, threshold, asked, rank)
    return Certificate(
        floor=Floor(
            metric=asked.metric,
            at_least=1 - asked.alpha,
            confidence=asked.confidence or _USUAL_CONFIDENCE,
        ),
        observed=float(kept.mean()),
        bound=bound,
        n=len(used),
        method=method,
        data_hash=data_hash(*(np.array([one.owed, *one.found]) for one in used)),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _bound(
    kept: NDArray[np.float64], threshold: float, asked: _Asked, rank: int
) -> tuple[float, str]:
    """Lower bound on what is kept, and how it was found."""
    n, confidence = kept.size, asked.confidence
    if threshold <= 0:
        # Nothing is lost by the cut; what the candidates lack stays lacking.
        method = "keeps all candidates: bound on what they hold"
        if asked.of == "found":
            return 1.0, method
        return mean_lower(kept, confidence=confidence or _USUAL_CONFIDENCE), method
    if confidence is None:
        losses = rank if asked.whole else float((1 - kept).sum()) + 1
        method = "split conformal" if asked.whole else "conformal risk control"
        # Beyond alpha by no more than rounding.
        return 1 - min(asked.alpha, losses / (n + 1)), f"{method}, over calibrations"
    if asked.whole:
        return binomial_lower(n + 1 - rank, n, confidence), "split conformal, this calibration"
    return mean_lower(kept, confidence=confidence), "risk-controlling threshold"


def _check_request(alpha: float, promise: Promise, of: Of) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha!r}: expected a probability strictly between 0 and 1")
    if promise not in ("all evidence", "mean recall"):
        raise InputError(f"promise={promise!r}: expected 'all evidence' or 'mean recall'")
    if of not in ("owed", "found"):
        raise InputError(f"of={of!r}: expected 'owed' or 'found'")
