"""From a question to the chunks that go into its prompt: search, fuse, rerank, cut."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import (
    Cut,
    FixedK,
    Reranker,
    Tighten,
    Tightened,
    WhenItPays,
    reciprocal_rank_fusion,
    rerank,
    reranked,
    scorer_id,
)

if TYPE_CHECKING:
    from ragopt.embed import Embedder
    from ragopt.indexes import VectorIndex
    from ragopt.indexes.lexical import LexicalIndex

__all__ = ["Retrieved", "Retriever", "Retrieves", "Stage"]

_CANDIDATES = 50
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage of the road did to one question.

    Args:
        name: of the stage.
        ms: wall time.
        tokens_before: of the context, where the stage changes it.
        tokens_after: likewise.
        pages_read: 4 KiB pages asked of the disk or the page cache.
        bytes_read: bytes in these pages.
        note: what was found or decided, or why the stage did nothing.
        failed: the stage raised, was skipped, and the question went on without it.
        cached: what the stage would have done was read from a cache instead.
        usd: US dollars billed for the stage; None where something was billed at an unknown price.
    """

    name: str
    ms: float
    tokens_before: int = 0
    tokens_after: int = 0
    pages_read: int = 0
    bytes_read: int = 0
    note: str = ""
    failed: bool = False
    cached: bool = False
    usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What was found for a question.

    Args:
        hits: what goes on, best first; from a `Tighten` in the order of the prompt.
        plain: the first ``k`` of the search itself: what would have gone on without reranking.
        vector: of the question, (dim,).
        stages: what each stage did.
        tightened: the decision on every candidate, where a `Tighten` made it.
    """

    hits: tuple[Hit, ...]
    plain: tuple[Hit, ...]
    vector: NDArray[np.float32]
    stages: tuple[Stage, ...]
    tightened: Tightened | None = None


class Retrieves(Protocol):
    """Anything that finds chunks for a question; `Retriever` is ragopt's own."""

    def retrieve(self, question: str, vector: NDArray[np.float32] | None = None) -> Retrieved:
        """Chunks for a question, whose vector may be known already."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Retriever:
    """Vector search, lexical search beside it, reranking and the cut; the last three optional.

    Args:
        chunks: the chunk of each id in the index.
        embedder: the one that the index was built with.
        index: vector index over the chunks.
        k: how many chunks go on when there is no ``cut``.
        candidates: how many the searches bring in; ``k`` without a reranker, else 50.
        lexical: joined to the vector search by reciprocal rank fusion.
        reranker: puts the candidates in order.
        prior_weight: of the search's own score beside the reranker's; see `ragopt.rerank.rerank`.
        cut: decides how many go on; a `Tighten` also which, in which order and form.
        pays: reranks only the questions for which that saves at least what it costs; the first
            ``k`` of the search go on for the others. Always by default.
        knobs: search-time knobs of the index; its tuned ones by default.
        corpus_version: names the documents; part of a cache's scope, so that answers about others
            are never served.

    Raises:
        InputError: sizes that are no whole numbers from 1 up, ``candidates`` below ``k``, a
            negative weight, an index that does not fit chunks or embedder, or a `Tighten` that was
            fitted with other scores than ``scorer_id`` names.
    """

    chunks: Sequence[Chunk] = field(repr=False)
    embedder: Embedder
    index: VectorIndex
    k: int = 10
    candidates: int | None = None
    lexical: LexicalIndex | None = None
    reranker: Reranker | None = None
    prior_weight: float = 0.0
    cut: Cut | None = None
    pays: WhenItPays | None = None
    knobs: dict[str, int] = field(default_factory=dict)
    corpus_version: str = ""

    def __post_init__(self) -> None:
        sizes = (self.k,) if self.candidates is None else (self.k, self.candidates)
        if not all(type(size) is int for size in sizes) or not 1 <= self.k <= sizes[-1]:
            raise InputError(
                f"k={self.k!r}, candidates={self.candidates!r}: expected whole numbers with "
                "1 <= k <= candidates"
            )
        if not 0 <= self.prior_weight < math.inf:
            raise InputError(f"prior_weight={self.prior_weight}: expected a finite number >= 0")
        if self.index.dim != self.embedder.dim:
            raise InputError(
                f"the index has {self.index.dim} dimensions, the embedder {self.embedder.id!r} "
                f"{self.embedder.dim}; use the embedder that the index was built with"
            )
        if len(self.index) > len(self.chunks):
            raise InputError(
                f"the index holds {len(self.index)} vectors, but there are {len(self.chunks)} "
                "chunks; build both from the same documents"
            )
        if isinstance(self.cut, Tighten) and self.cut.scorer_id not in ("", self.scorer_id):
            raise InputError(
                f"cut was fitted with scores of {self.cut.scorer_id!r}, this retriever's are those "
                f"of {self.scorer_id!r}; fit it on the hits of Retriever.ranked, with its scorer_id"
            )

    @property
    def scorer_id(self) -> str:
        """Names the scores that the cut sees: of the reranker, with what counts beside it."""
        if self.reranker is None:
            return self._search_id
        own = scorer_id(self.reranker)
        if not self.prior_weight:
            return own
        return f"convex(1 x {own} + {self.prior_weight:g} x {self._search_id})"

    @property
    def _search_id(self) -> str:
        words = "" if self.lexical is None else ", fused with words"
        return f"search({type(self.index).__name__} of {self.embedder.id}{words})"

    @property
    def settings(self) -> dict[str, Any]:
        """Everything beside the documents that decides on what is found, as JSON values.

        Raises:
            InputError: a part whose ``repr`` does not say what it does.
        """
        index = self.index
        return {
            "embedder": self.embedder.id,
            "index": [
                getattr(index, "family", type(index).__qualname__),
                repr(getattr(index, "options", None)),
                str(index.metric),
                len(index),
            ],
            "knobs": {**getattr(index, "defaults", {}), **self.knobs},
            "k": self.k,
            "candidates": self.candidates,
            "lexical": _described(self.lexical),
            "reranker": _described(self.reranker),
            "prior_weight": self.prior_weight,
            "cut": _decides(self.cut),
            **({"pays": _described(self.pays)} if self.pays is not None else {}),
        }

    def embed(self, question: str) -> NDArray[np.float32]:
        """Vector of the question, (dim,)."""
        return np.asarray(self.embedder.embed([question])[0], dtype=np.float32)

    def retrieve(self, question: str, vector: NDArray[np.float32] | None = None) -> Retrieved:
        """Chunks for a question.

        A reranker or a cut that raises is skipped and reported: the order of the search stands.

        Args:
            question: as the user put it.
            vector: of the question, where it is known already.
        """
        stages: list[Stage] = []
        if vector is None:
            vector, stage = self._timed_embedding(question)
            stages.append(stage)
        hits, stage = self._search(question, vector)
        stages.append(stage)
        plain, whose = tuple(hits[: self.k]), self.scorer_id
        cut = self.cut or FixedK(self.k)
        if self.reranker is not None:
            left_out = self._left_out(question, hits)
            if left_out is not None:
                cut = FixedK(self.k)  # the other one was chosen for the reranker's scores
                stage = left_out
            else:
                hits, stage = self._rerank(question, hits)
            stages.append(stage)
            whose = self._search_id if stage.failed else whose
        tightened = None
        if isinstance(cut, Tighten):
            tightened, stage = self._tighten(cut, question, hits, whose)
            going = tuple(hits[: self.k]) if tightened is None else tightened.hits
        else:
            kept, stage = self._cut(hits, cut)
            going = tuple(hits[:kept])
        stages.append(stage)
        return Retrieved(
            hits=going, plain=plain, vector=vector, stages=tuple(stages), tightened=tightened
        )

    def ranked(self, question: str) -> list[Hit]:
        """All candidates in order, uncut: what `Tighten.fit_scored` is fitted on.

        Raises:
            InputError: as the reranker, whose failure is none to fit on.
        """
        hits, _ = self._search(question, self.embed(question))
        if self.reranker is None:
            return hits
        return rerank(self.reranker, question, hits, prior_weight=self.prior_weight)

    def _timed_embedding(self, question: str) -> tuple[NDArray[np.float32], Stage]:
        begin = perf_counter()
        vector = self.embed(question)
        return vector, Stage(name="embed", ms=_ms(begin))

    def _search(self, question: str, vector: NDArray[np.float32]) -> tuple[list[Hit], Stage]:
        begin = perf_counter()
        width = self.candidates or (_CANDIDATES if self.reranker is not None else self.k)
        width = max(width, self.k)
        found = self.index.search(vector, width, where=None, **self.knobs)
        ids, scores = found.ids[0], found.scores[0]
        if self.lexical is not None:
            words = self.lexical.search(question, width)
            ids, scores = _fuse(ids, words.ids[0])
        hits = [
            Hit(self.chunks[int(place)], float(score))
            for place, score in zip(ids, scores, strict=True)
            if place >= 0
        ]
        stage = Stage(
            name="search",
            ms=_ms(begin),
            pages_read=found.stats.pages_read,
            bytes_read=found.stats.bytes_read,
            note=f"{len(hits)} candidates",
        )
        return hits, stage

    def _left_out(self, question: str, hits: Sequence[Hit]) -> Stage | None:
        """The stage that says why reranking does not pay; None where it does, or is not asked."""
        if self.pays is None or self.reranker is None:
            return None
        begin = perf_counter()
        try:
            found = self.pays.decide(self.reranker, question, [hit.chunk for hit in hits])
        except Exception as error:  # noqa: BLE001 - whatever fails here must not fail the question
            return Stage(name="rerank", ms=_ms(begin), note=repr(error), failed=True)
        if found.pays:
            return None
        return Stage(name="rerank", ms=_ms(begin), note=f"left out: {found}")

    def _rerank(self, question: str, hits: list[Hit]) -> tuple[list[Hit], Stage]:
        begin = perf_counter()
        if self.reranker is None:
            return hits, Stage(name="rerank", ms=0.0)
        try:
            found = reranked(self.reranker, question, hits, prior_weight=self.prior_weight)
        except Exception as error:  # noqa: BLE001 - as above
            return hits, Stage(name="rerank", ms=_ms(begin), note=repr(error), failed=True)
        scores = found.scores
        stage = Stage(
            name="rerank",
            ms=_ms(begin),
            note=scores.failed or str(scores),
            failed=bool(scores.failed),
            usd=scores.usd,
        )
        return list(found.hits), stage

    def _tighten(
        self, tighten: Tighten, question: str, hits: Sequence[Hit], whose: str
    ) -> tuple[Tightened | None, Stage]:
        begin = perf_counter()
        try:
            made = tighten.tighten(question, hits, scorer_id=whose)
        except Exception as error:  # noqa: BLE001 - as above
            return None, Stage(name="tighten", ms=_ms(begin), note=repr(error), failed=True)
        stage = Stage(
            name="tighten",
            ms=_ms(begin),
            tokens_before=made.tokens_before,
            tokens_after=made.tokens_after,
            note=str(made),
        )
        return made, stage

    def _cut(self, hits: Sequence[Hit], cut: Cut) -> tuple[int, Stage]:
        begin = perf_counter()
        try:
            kept = max(0, min(len(hits), int(cut.keep(hits))))
        except Exception as error:  # noqa: BLE001 - as above
            kept = min(self.k, len(hits))
            return kept, Stage(name="cut", ms=_ms(begin), note=repr(error), failed=True)
        return kept, Stage(name="cut", ms=_ms(begin), note=f"{kept} of {len(hits)} kept")


def _decides(cut: Cut | None) -> Any:
    """A cut with all that it was fitted to, where its ``repr`` gives that in short."""
    if not isinstance(cut, Tighten):
        return _described(cut)
    return {**cut.to_dict(), "compressor": _described(cut.compressor)}


def _described(part: object) -> str:
    """What a part is set to; an address in its ``repr`` says nothing and is another each time."""
    said = repr(part)
    if _ADDRESS.search(said):
        raise InputError(
            f"{type(part).__qualname__}, or a part of it, has no __repr__ that says how it is set "
            f"({said[:200]}), so that two of them cannot be told apart; give it one, or pass "
            "settings= to the cache"
        )
    return said


def _fuse(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Both result lists as one, by reciprocal rank; an id missing from a list ranks last in it."""
    ids = np.array(list(dict.fromkeys([*first[first >= 0], *second[second >= 0]])), dtype=np.int64)
    scores = [_descending_places(ids, listed[listed >= 0]) for listed in (first, second)]
    fused = reciprocal_rank_fusion(scores)
    order = np.argsort(-fused, kind="stable")
    return ids[order], fused[order]


def _descending_places(ids: NDArray[np.int64], listed: NDArray[np.int64]) -> NDArray[np.float64]:
    place = {int(number): -rank for rank, number in enumerate(listed)}
    return np.array([place.get(int(number), -len(ids)) for number in ids], dtype=np.float64)


def _ms(begin: float) -> float:
    return (perf_counter() - begin) * 1e3
