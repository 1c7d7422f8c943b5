"""Judged queries with their candidates, as scorers see them and as nDCG sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import RetrievalSet
from ragopt.cache import normalise
from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.rerank.base import passage

__all__ = ["LEXICAL", "NDCG", "Pool", "Query", "draw", "ndcg", "order_of"]

LEXICAL = "lexical"
NDCG = "trec_eval's ndcg_cut.10: gain = grade, discount = log2(rank + 1), ideal from all judged"
_TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A judged query with its candidates.

    Args:
        id: in the dataset.
        key: of the wording; queries of one key stand or fall together.
        text: as asked.
        candidates: rows of the pool, in the order of the first stage.
        grades: (len(candidates),) of each; 0 where it was not judged.
        ideal: the ten best grades of all that was judged, best first.
        gold: how many documents are evidence, found or not.
    """

    id: str
    key: str
    text: str
    candidates: tuple[int, ...]
    grades: tuple[int, ...]
    ideal: tuple[int, ...]
    gold: int


def ndcg(grades: Sequence[float], ideal: Sequence[float]) -> float:
    """nDCG@10 of grades in the order of a ranking; see `NDCG`. 0 where nothing is relevant."""
    best = _gain(ideal)
    return _gain(grades) / best if best else 0.0


def _gain(grades: Sequence[float]) -> float:
    top = np.asarray(grades[:_TOP], dtype=np.float64)
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def order_of(scores: NDArray[Any]) -> NDArray[np.intp]:
    """Places by falling score; equal ones keep the order of the first stage."""
    return np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")


class Pool:
    """The documents of a set under plain row numbers, and its first stages.

    What scorers are handed carries neither the dataset's ids nor its metadata.

    Args:
        dataset: documents, queries, judgements.
        depth: candidates of a query.

    Attributes:
        chunks: every document; ``id`` is its row.
        gold_grade: least grade that counts as evidence: 2 where grades reach 3 (as TREC's deep
            learning track counts), else 1.
        unknown: ids in runs that are no document's.
    """

    def __init__(self, dataset: RetrievalSet, *, depth: int) -> None:
        self._dataset = dataset
        self._depth = depth
        self._rows = {chunk.id: row for row, chunk in enumerate(dataset.chunks)}
        self.chunks = [
            Chunk(id=str(row), text=chunk.text, title=chunk.title)
            for row, chunk in enumerate(dataset.chunks)
        ]
        grades = [grade for judged in dataset.qrels.values() for grade in judged.values()]
        self.gold_grade = 2 if max(grades, default=0) >= 3 else 1
        self.unknown = 0

    @property
    def runs(self) -> list[str]:
        """Names of the first stages; BM25's run first, ragopt's own search where there is none."""
        names = sorted(self._dataset.runs)
        return sorted(names, key=lambda name: name.casefold() != "bm25") or [LEXICAL]

    def queries(self, run: str, ids: Sequence[str]) -> list[Query]:
        """The named queries with the candidates of a first stage."""
        ranked = self._search(ids) if run == LEXICAL else self._from_run(run, ids)
        return [self._query(one, ranked[one]) for one in ids]

    def _search(self, ids: Sequence[str]) -> dict[str, list[int]]:
        from ragopt.indexes.lexical import LexicalIndex

        index = LexicalIndex.build(passage(chunk) for chunk in self.chunks)
        found = {}
        for one in ids:
            rows = index.search(self._dataset.queries[one], self._depth).ids[0]
            found[one] = [int(row) for row in rows if row >= 0]
        return found

    def _from_run(self, run: str, ids: Sequence[str]) -> dict[str, list[int]]:
        found = {}
        for one in ids:
            listed = dict.fromkeys(self._dataset.runs[run].get(one, ()))
            rows = [self._rows[name] for name in listed if name in self._rows]
            self.unknown += len(listed) - len(rows)
            found[one] = rows[: self._depth]
        return found

    def _query(self, one: str, rows: Sequence[int]) -> Query:
        judged = {
            self._rows[name]: max(0, grade)
            for name, grade in self._dataset.qrels[one].items()
            if name in self._rows
        }
        # What was judged and is missing from the corpus cannot be found, and is owed all the same.
        every = [max(0, grade) for grade in self._dataset.qrels[one].values()]
        return Query(
            id=one,
            key=normalise(self._dataset.queries[one]),
            text=self._dataset.queries[one],
            candidates=tuple(rows),
            grades=tuple(judged.get(row, 0) for row in rows),
            ideal=tuple(sorted(every, reverse=True)[:_TOP]),
            gold=sum(grade >= self.gold_grade for grade in every),
        )


def draw(dataset: RetrievalSet, *, limit: int | None, seed: int) -> list[str]:
    """Ids of judged queries with something relevant, in a seeded order.

    Raises:
        InputError: there is none.
    """
    usable = [
        one for one in dataset.queries if max(_judged(dataset.qrels, one).values(), default=0) > 0
    ]
    if not usable:
        raise InputError(f"{dataset.name}: no query has a relevant document; expected some")
    order = np.random.default_rng(seed).permutation(len(usable))
    return [usable[place] for place in order[:limit]]


def _judged(qrels: Mapping[str, Mapping[str, int]], one: str) -> Mapping[str, int]:
    return qrels.get(one, {})
