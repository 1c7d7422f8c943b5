"""Whether hits still err as rarely as they were certified to, by auditing a few of them.

A certificate speaks of the traffic it was measured on. Afterwards a share of the hits is answered
afresh, and each comparison is a bet against "at most ``max_error`` of the hits are wrong": a wrong
hit doubles the stake, a right one costs a little, so that the bet is fair at exactly that error.
By Ville's inequality (1939) a fair bet grows to ``1 / (1 - confidence)`` times its stake with
probability at most ``1 - confidence``, however long it goes on and whenever one looks.

One bet from the beginning would be lost long before a drift that comes late. So the stake is spread
over all beginnings, ``1 / (j (j + 1))`` on the j-th audit: a mixture is as fair as its parts
(Robbins and Siegmund, 1974; Shin, Ramdas and Rinaldo, 2023, on detectors of this kind).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ragopt.cache.checks import is_number
from ragopt.errors import InputError
from ragopt.quality import binomial_lower, binomial_upper

__all__ = ["DriftMonitor", "LiveError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveError:
    """The error of audited hits.

    Args:
        audits: hits that were answered afresh.
        wrong: of them, those that should not have been served.
        lower: exact binomial bound below the error (Clopper and Pearson, 1934).
        upper: likewise above; both at the monitor's confidence, each by itself.
        evidence: what one unit staked against the certificate has become.
        alarm_at: of ``evidence``.
        alarmed_after: audits after which it was first reached; None where it was not.
    """

    audits: int
    wrong: int
    lower: float
    upper: float
    evidence: float
    alarm_at: float
    alarmed_after: int | None

    @property
    def rate(self) -> float | None:
        """Share of wrong ones; None before the first audit."""
        return self.wrong / self.audits if self.audits else None

    @property
    def alarmed(self) -> bool:
        """Whether the hits err more often than was certified."""
        return self.alarmed_after is not None

    def __str__(self) -> str:
        if not self.audits:
            return "no hit audited yet"
        verdict = (
            f"drift noticed after {self.alarmed_after:,} audits" if self.alarmed else "no drift"
        )
        return (
            f"{self.wrong:,} of {self.audits:,} audited hits wrong "
            f"({self.lower:.1%} to {self.upper:.1%}); {verdict} "
            f"(evidence {self.evidence:.3g}, alarm at {self.alarm_at:g})"
        )


class DriftMonitor:
    """Bets against a certified error, one audit after the other.

    Args:
        max_error: share of wrong hits that was certified, above 0 and below .5.
        confidence: that an alarm is not false, over the whole of an unending stream.

    Raises:
        InputError: a value outside its range.

    Cost: constant time and memory an audit.

    Example:
        >>> monitor = DriftMonitor(max_error=0.05)
        >>> monitor.observe([True] * 200 + [False, True, False] * 12)
        >>> monitor.state().alarmed
        True
    """

    def __init__(self, max_error: float, *, confidence: float = 0.95) -> None:
        if not is_number(max_error) or not 0 < max_error < 0.5:
            raise InputError(f"max_error={max_error!r}, expected a share above 0 and below .5")
        if not is_number(confidence) or not 0 < confidence < 1:
            raise InputError(f"confidence={confidence!r}, expected a probability between 0 and 1")
        self.max_error = max_error
        self.confidence = confidence
        self._audits = self._wrong = 0
        self._bets = 0.0
        self._alarmed_after: int | None = None

    @property
    def alarm_at(self) -> float:
        """Evidence at which the alarm is raised."""
        return 1 / (1 - self.confidence)

    def observe(self, correct: Iterable[bool]) -> None:
        """Take in the outcomes of audits, in the order in which they were made."""
        gain, loss = _stakes(self.max_error)
        for right in correct:
            self._audits += 1
            self._wrong += not right
            begun = 1 / (self._audits * (self._audits + 1))
            # no float can hold the evidence of a thousand wrong hits, nor need it
            self._bets = min((self._bets + begun) * (loss if right else gain), 1e300)
            if self._alarmed_after is None and self._evidence() >= self.alarm_at:
                self._alarmed_after = self._audits

    def state(self) -> LiveError:
        """All that is known up to now."""
        return LiveError(
            audits=self._audits,
            wrong=self._wrong,
            lower=binomial_lower(self._wrong, self._audits, self.confidence),
            upper=binomial_upper(self._wrong, self._audits, self.confidence),
            evidence=self._evidence(),
            alarm_at=self.alarm_at,
            alarmed_after=self._alarmed_after,
        )

    def audits_needed(self, error: float, *, after: int = 0) -> float:
        """Audits from a drift to its alarm, at most, in expectation.

        The bet begun with the drift has a stake of ``1 / (j (j + 1))`` and grows by a known factor
        an audit; Wald's identity gives the rest, one doubling of overshoot included. Infinite for
        an error too near to the certified one for this bet to grow.

        Args:
            error: share of wrong hits after the drift.
            after: audits before it.
        """
        gain, loss = _stakes(self.max_error)
        growth = error * math.log(gain) + (1 - error) * math.log(loss)
        if growth <= 0:
            return math.inf
        first = after + 1
        needed = math.log(self.alarm_at) + math.log(first * (first + 1)) + math.log(gain)
        return needed / growth

    def __repr__(self) -> str:
        return f"DriftMonitor(max_error={self.max_error}, {self.state()})"

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` goes on from."""
        return {
            "max_error": self.max_error,
            "confidence": self.confidence,
            "audits": self._audits,
            "wrong": self._wrong,
            "bets": self._bets,
            "alarmed_after": self._alarmed_after,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> DriftMonitor:
        """A monitor that goes on where another stood.

        Raises:
            InputError: it is no state of a monitor.
        """
        try:
            monitor = cls(state["max_error"], confidence=state["confidence"])
            monitor._audits, monitor._wrong = int(state["audits"]), int(state["wrong"])
            monitor._bets = float(state["bets"])
            monitor._alarmed_after = state["alarmed_after"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not the state of a drift monitor: {error!r}") from error
        return monitor

    def _evidence(self) -> float:
        """The mixture: bets begun, and the stakes of those that have not."""
        return self._bets + 1 / (self._audits + 1)


def _stakes(max_error: float) -> tuple[float, float]:
    """What a wrong and a right hit multiply a bet by; fair at exactly this error."""
    return 2.0, (1 - 2 * max_error) / (1 - max_error)
