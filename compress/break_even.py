"""Whether compressing pays: what it cost against what it saved, prompt caches included."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ragopt.compress.base import Compressed, Compressor
from ragopt.errors import InputError, RagoptError

if TYPE_CHECKING:
    from ragopt.cost.model_prices import ModelPrice

__all__ = ["BreakEven", "BreakEvenGate", "break_even"]

_NOTHING = Decimal(0)
_MS_PER_HOUR = 3_600_000
_LEAST_CALLS = 8
_RETRY_EVERY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """What one compression spent and saved.

    Args:
        usd_spent: on the compressor: its model and its machine.
        usd_saved: on the model that answers; negative where compression made the prompt dearer,
            which happens when it breaks a cached prefix.
        ms_spent: that the question waited for the compressor.
        tokens_saved: input tokens that the answering model was spared.
    """

    usd_spent: Decimal
    usd_saved: Decimal
    ms_spent: float
    tokens_saved: int

    @property
    def net_usd(self) -> Decimal:
        """US dollars left over; negative for a loss."""
        return self.usd_saved - self.usd_spent

    @property
    def pays(self) -> bool:
        """Whether more was saved than spent."""
        return self.net_usd > 0

    @property
    def usd_per_second(self) -> Decimal | None:
        """Net US dollars for each second waited; ``None`` where nobody waited."""
        return self.net_usd / Decimal(repr(self.ms_spent / 1e3)) if self.ms_spent > 0 else None

    def __str__(self) -> str:
        verdict = "pays" if self.pays else "does not pay"
        return (
            f"{verdict}: ${self.usd_spent:.6f} and {self.ms_spent:.1f} ms spent, "
            f"${self.usd_saved:.6f} saved"
        )


def break_even(
    result: Compressed,
    price: ModelPrice,
    *,
    ms: float | None = None,
    usd_per_hour: Decimal = _NOTHING,
    other_tokens: int = 0,
    cached_before: int = 0,
    cached_after: int = 0,
) -> BreakEven:
    """What a compression spent against what it saved at the prices of the answering model.

    Args:
        result: of any compressor.
        price: of the model that answers.
        ms: that the question waited; by default what the result says.
        usd_per_hour: price of the machine that compresses, for one that runs a model of its own.
        other_tokens: of the prompt without the context; long-context prices look at the sum.
        cached_before: tokens of the whole context that the provider would read from its cache.
        cached_after: tokens of the compressed context that it still can: those of an untouched
            beginning, 0 where the beginning changed.

    Raises:
        InputError: more cached tokens than the context has.
        UnknownPrice: a rate that is needed is not published.
    """
    from ragopt.cost.model_prices import Usage

    if cached_before > result.tokens_before or cached_after > result.tokens_after:
        raise InputError(
            f"cached_before={cached_before} of {result.tokens_before} tokens, cached_after="
            f"{cached_after} of {result.tokens_after}: expected no more than there are"
        )
    waited = result.ms if ms is None else ms
    before = Usage(input=result.tokens_before + other_tokens, cached_input=cached_before)
    after = Usage(input=result.tokens_after + other_tokens, cached_input=cached_after)
    machine = usd_per_hour * Decimal(repr(float(waited))) / _MS_PER_HOUR
    return BreakEven(
        usd_spent=result.cost_usd + machine,
        usd_saved=price.cost(before) - price.cost(after),
        ms_spent=waited,
        tokens_saved=result.tokens_saved,
    )


class BreakEvenGate:
    """Leaves a compressor out once it has cost more than it saved.

    A compressor that can say beforehand what a call costs (``expected_usd(tokens, max_tokens)``, as
    `ragopt.compress.Summarize` can) is left out where even saving the whole context would not
    make up for it. Every other one is given some calls; from then on it is left out while the
    sum of what it spent is above the sum of what it saved, and tried again now and then. One that
    spends nothing is never left out.

    Args:
        price: of the model that answers.
        usd_per_hour: price of the machine that compresses.
        least_calls: calls before it is judged by its sums, 1 or more.
        retry_every: left-out questions until it is tried again, 1 or more.

    Raises:
        InputError: ``least_calls`` or ``retry_every`` below 1.
    """

    def __init__(
        self,
        price: ModelPrice,
        *,
        usd_per_hour: Decimal = _NOTHING,
        least_calls: int = _LEAST_CALLS,
        retry_every: int = _RETRY_EVERY,
    ) -> None:
        if least_calls < 1 or retry_every < 1:
            raise InputError(
                f"least_calls={least_calls}, retry_every={retry_every}: expected 1 or more"
            )
        self.price = price
        self.usd_per_hour = usd_per_hour
        self.least_calls = least_calls
        self.retry_every = retry_every
        self._lock = threading.Lock()
        self._start_over()

    def reason(
        self, compressor: Compressor, tokens: Callable[[], int], max_tokens: int | None
    ) -> str | None:
        """Why the compressor is left out of the next question; ``None`` if it is not.

        Args:
            compressor: the one.
            tokens: counts the context; only called where the answer hangs on it.
            max_tokens: budget of the context.
        """
        expected = getattr(compressor, "expected_usd", None)
        if expected is not None and (said := self._hopeless(expected, tokens(), max_tokens)):
            return said
        with self._lock:
            if self._calls < self.least_calls or self._saved >= self._spent:
                return None
            self._left_out += 1
            if self._left_out > self.retry_every:
                self._start_over()
                return None
            return (
                f"left out, it does not pay: ${self._spent:.6f} spent to save ${self._saved:.6f} "
                f"over {self._calls} questions"
            )

    def observe(self, result: Compressed, ms: float) -> None:
        """Take note of a call; what cannot be priced is passed over."""
        try:
            found = break_even(result, self.price, ms=ms, usd_per_hour=self.usd_per_hour)
        except RagoptError:
            return
        with self._lock:
            self._calls += 1
            self._spent += found.usd_spent
            self._saved += found.usd_saved

    def _hopeless(self, expected: Any, tokens: int, max_tokens: int | None) -> str | None:
        from ragopt.cost.model_prices import Usage

        try:
            costs = expected(tokens, max_tokens)
            most = self.price.cost(Usage(input=tokens))
        except Exception:  # noqa: BLE001 - a forecast that fails must not fail the question
            return None
        if costs <= most:
            return None
        return (
            f"left out, it cannot pay: a call costs about ${costs:.6f}, the whole context "
            f"${most:.6f}"
        )

    def _start_over(self) -> None:
        self._calls = self._left_out = 0
        self._spent = self._saved = _NOTHING
