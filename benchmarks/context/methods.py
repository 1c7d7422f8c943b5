"""The compressors of the bench: the library's own, and the plain controls at equal budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Compressed, Compressor, CountTokens, Extractive, Truncate
from ragopt.compress.base import check_request, unchanged
from ragopt.compress.layout import Layout
from ragopt.compress.pack import Packer
from ragopt.compress.truncate import RandomSentences

__all__ = ["CONTROL", "Bm25Sentences", "LeadSentences", "Method", "own_methods"]

CONTROL = "truncate"
_FITTED = {
    "hotpotqa": "half of these questions were fitted on; the rest were seen when choosing weights",
    "musique": "half of these questions were fitted on; the rest were seen when choosing weights",
    **dict.fromkeys(
        ("squad", "nq", "clapnq", "chunking_eval"),
        "a half of these questions was fitted on; half=report are the others",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A candidate of the compress bench.

    Args:
        make: builds it; may raise, which is then the reason why it is missing.
        cost: ``"model"`` for one that runs a model, on fewer questions.
        notes: name of a dataset (or "" for all) to what a reader of the figure should know.
    """

    make: Callable[[], Compressor]
    cost: str = "lexical"
    notes: Mapping[str, str] = field(default_factory=dict)


def own_methods(count: CountTokens, *, seed: int) -> dict[str, Method]:
    """Everything that needs no model, by name."""
    return {
        "extractive": Method(make=lambda: Extractive(count=count), notes=_FITTED),
        CONTROL: Method(make=lambda: Truncate(count=count)),
        "random": Method(make=lambda: RandomSentences(seed, count=count)),
        "lead": Method(make=lambda: LeadSentences(count)),
        "bm25": Method(make=lambda: Bm25Sentences(count)),
    }


class _Ordered(ABC):
    """Fills the budget with sentences in one order; equal ones in order of arrival."""

    def __init__(self, count: CountTokens) -> None:
        self._count = count

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress; without a budget nothing is left out."""
        check_request(hits, max_tokens)
        layout = Layout(hits)
        before = self._count(layout.full_text())
        if max_tokens is None or before <= max_tokens or not layout:
            return unchanged(hits, self._count, "nothing to leave out")
        packer = Packer(layout, self._count, max_tokens, before)
        order = self._order(query, layout)
        packer.take(next((one for one in order if packer.fits_alone(one)), order[0]))
        packer.fill(order)
        return packer.result()

    @abstractmethod
    def _order(self, query: str, layout: Layout) -> list[int]:
        """Numbers of all segments, the first wanted first."""


class LeadSentences(_Ordered):
    """First sentences of all chunks, then second ones, and so on."""

    def _order(self, query: str, layout: Layout) -> list[int]:  # noqa: ARG002
        places = [
            number - layout.first_of[layout.chunk_of[number]] for number in range(len(layout))
        ]
        return sorted(range(len(layout)), key=places.__getitem__)


class Bm25Sentences(_Ordered):
    """Sentences, each under its title, by BM25 among themselves: no bridges, no leads."""

    def _order(self, query: str, layout: Layout) -> list[int]:
        from ragopt.rerank import BM25Reranker

        sentences = [
            Chunk(id=str(number), text=text, title=layout.chunks[layout.chunk_of[number]].title)
            for number, text in enumerate(layout.texts())
        ]
        scores = BM25Reranker().score(query, sentences)
        return sorted(range(len(layout)), key=lambda number: -scores[number])
