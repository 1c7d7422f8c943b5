"""A cheap scorer first; a dear one sees only what that leaves, within limits."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from time import perf_counter

import numpy as np

from ragopt.chunk import Chunk
from ragopt.cost.model_prices import to_decimal
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker, scorer_id
from ragopt.rerank.scores import (
    Quoting,
    Scores,
    TellingReranker,
    below,
    merged,
    quote_of,
    scores_of,
)

__all__ = ["Cascade"]

_ABANDONED_MAX = 4
_DEAR = "dear scorer"
_FEWEST = 2  # one chunk has nothing to be compared with


class Cascade(TellingReranker):
    """A cheap scorer puts all chunks in order, a dear one the best of them.

    What the dear scorer does not see keeps the cheap one's order, below what it sees; so does
    everything when it fails, is too slow, or would be too dear. Nothing it does fails the call.

    Args:
        cheap: scores everything.
        dear: scores the ``keep`` best.
        keep: how many, 1 or more.
        max_ms: time for the dear scorer, above 0. A call beyond it goes on in its thread, and may
            still be billed, but nobody waits for it; while four such calls are under way no
            further one begins.
        max_usd: of one call of the dear scorer, by its own quote beforehand: as many chunks as fit
            are scored.

    Attributes:
        outcomes: what became of the dear scorer, counted: ``"scored"``, ``"fewer"`` (than ``keep``,
            for the price), ``"too dear"``, ``"too slow"``, ``"failed"``, ``"busy"``.

    Raises:
        InputError: a limit out of its range, or a limit in dollars on a scorer that quotes none.
    """

    def __init__(
        self,
        cheap: Reranker,
        dear: Reranker,
        *,
        keep: int = 20,
        max_ms: float | None = None,
        max_usd: Decimal | float | str | None = None,
    ) -> None:
        if type(keep) is not int or keep < 1:
            raise InputError(f"keep={keep!r}: expected a whole number of at least 1")
        if max_ms is not None and not 0 < max_ms < math.inf:
            raise InputError(f"max_ms={max_ms}: expected milliseconds above 0")
        if max_usd is not None and not isinstance(dear, Quoting):
            raise InputError(
                f"max_usd={max_usd} needs a scorer that says its price beforehand, and "
                f"{type(dear).__name__} has no quote(query, chunks); leave max_usd out"
            )
        self._cheap = cheap
        self._dear = dear
        self._keep = keep
        self._max_ms = max_ms
        self._max_usd = None if max_usd is None else to_decimal(max_usd, "max_usd")
        self._abandoned = 0
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Scores (n,), and what both scorers did.

        Raises:
            InputError: the cheap scorer returned no number for a chunk.
        """
        cheap = scores_of(self._cheap, query, chunks)
        order = [int(place) for place in np.argsort(-cheap.values, kind="stable")]
        best, outcome = self._affordable(query, chunks, order[: self._keep])
        dear: Scores | None = None
        note = outcome
        if best:
            begin = perf_counter()
            dear, outcome, reason = self._ask(query, [chunks[place] for place in best], outcome)
            ms = (perf_counter() - begin) * 1e3
            note = f"{reason or f'{outcome}: {len(best)} chunks'}, {ms:.0f} ms"
        with self._lock:
            self.outcomes[outcome] += 1
        return self._joined(cheap, dear, best, order, f"{_DEAR} {note}")

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of both, as if the cheap scorer left the first ones."""
        cheap = quote_of(self._cheap, query, chunks)
        dear = quote_of(self._dear, query, chunks[: self._keep])
        if cheap is None or dear is None:
            return None
        return cheap + (dear if self._max_usd is None else min(dear, self._max_usd))

    def _affordable(
        self, query: str, chunks: Sequence[Chunk], best: list[int]
    ) -> tuple[list[int], str]:
        """The chunks whose scoring fits the limit in dollars, and what to call that."""
        limit = self._max_usd
        if limit is None or not isinstance(self._dear, Quoting):
            return best, "scored"
        low, high = 0, len(best)
        while low < high:  # a quote never falls with more chunks
            middle = (low + high + 1) // 2
            usd = self._quote(query, [chunks[place] for place in best[:middle]])
            low, high = (middle, high) if usd is not None and usd <= limit else (low, middle - 1)
        if low == len(best):
            return best, "scored"
        return (best[:low], "fewer") if low >= _FEWEST else ([], "too dear")

    def _quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        try:
            return self._dear.quote(query, chunks)  # type: ignore[attr-defined,no-any-return]
        except Exception:  # noqa: BLE001 - what has no price is not within a limit
            return None

    def _ask(
        self, query: str, chunks: Sequence[Chunk], outcome: str
    ) -> tuple[Scores | None, str, str]:
        """Scores of the dear scorer where there are any, what happened, and why."""
        with self._lock:
            if self._abandoned >= _ABANDONED_MAX:
                return None, "busy", f"busy: {self._abandoned} calls beyond their time still run"
        call = _Call(self._dear, query, chunks)
        if self._max_ms is None:
            call.run()
        elif not self._in_time(call, self._max_ms / 1e3):
            return None, "too slow", f"too slow: no answer within {self._max_ms:g} ms"
        if call.error is not None:
            return None, "failed", f"failed: {call.error!r}"
        if call.found is not None and call.found.failed:
            return call.found, "failed", f"failed: {call.found.failed}"
        return call.found, outcome, ""

    def _in_time(self, call: _Call, seconds: float) -> bool:
        """Run it in a thread; whether it ended in time."""

        def run() -> None:
            call.run()
            with self._lock:
                call.ended = True
                self._abandoned -= call.abandoned

        thread = threading.Thread(target=run, name="ragopt-cascade", daemon=True)
        thread.start()
        thread.join(seconds)
        with self._lock:
            if not call.ended:
                call.abandoned = True
                self._abandoned += 1
            return call.ended

    def _joined(
        self, cheap: Scores, dear: Scores | None, best: list[int], order: list[int], note: str
    ) -> Scores:
        parts = [cheap]
        values = cheap.values
        if dear is not None:
            moved = replace(
                dear,
                failed="",
                read_in_part=tuple(best[place] for place in dear.read_in_part),
                duplicates=tuple((best[one], best[other]) for one, other in dear.duplicates),
            )
            parts.append(moved)
            if not dear.failed:
                values = np.empty_like(cheap.values)
                values[best] = dear.values
                values[order[len(best) :]] = below(dear.values, len(order) - len(best))
        joined = merged(parts, values)
        # A call that was given up may still be billed, if its scorer is one that bills.
        unknown = note.startswith(f"{_DEAR} too slow") and isinstance(self._dear, Quoting)
        usd = None if unknown else joined.usd
        return replace(joined, usd=usd, notes=(*joined.notes, note))

    @property
    def id(self) -> str:
        """Of both scorers, and how many the dear one sees."""
        return f"cascade({scorer_id(self._cheap)}, {scorer_id(self._dear)}, keep={self._keep})"

    def __repr__(self) -> str:
        limits = f"keep={self._keep}, max_ms={self._max_ms}, max_usd={self._max_usd}"
        return f"Cascade({self._cheap!r}, {self._dear!r}, {limits})"


class _Call:
    """One call of the dear scorer, and what came of it."""

    def __init__(self, reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> None:
        self._asked = (reranker, query, chunks)
        self.found: Scores | None = None
        self.error: Exception | None = None
        self.ended = False
        self.abandoned = False

    def run(self) -> None:
        try:
            self.found = scores_of(*self._asked)
        except Exception as error:  # noqa: BLE001 - the cheap scorer's order stands
            self.error = error
