"""RedisVL's SemanticCache: a flat vector index of Redis's search module."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy, Served
from ragopt.benchmarks.cache.unavailable import imported
from ragopt.benchmarks.cache.vectors import VectorTable

__all__ = ["REDISVL", "Probed", "bench_key", "load_entries"]

_BATCH = 1000


class Probed:
    """Vectors as lists; while a client is being made, it may ask for any text to learn the dim."""

    def __init__(self, table: VectorTable) -> None:
        self._table = table
        self.probing = True

    def __call__(self, text: str, **_: Any) -> list[float]:
        if self.probing:
            return [1.0] + [0.0] * (self._table.dim - 1)
        return self._table.embed([text])[0].tolist()  # type: ignore[no-any-return]


def bench_key() -> str:
    """A prefix that nobody else on the server has."""
    return f"ragopt-bench-{secrets.token_hex(8)}"


def load_entries(cache: Any, entries: Sequence[tuple[str, str, dict[str, Any] | None]]) -> None:
    """Many at once, as `SemanticCache.store` writes each: question, response, metadata."""
    (entry_class,) = imported("redisvl.extensions.cache.llm.schema", "CacheEntry")
    # neither is public; `store` does the same with them, one entry at a time
    vectorizer, name_of = cache._vectorizer, cache._make_entry_id
    for start in range(0, len(entries), _BATCH):
        rows = [
            entry_class(
                entry_id=name_of(question, None),
                prompt=question,
                response=response,
                prompt_vector=vectorizer.embed(question),
                metadata=metadata,
            ).to_dict(vectorizer.dtype)
            for question, response, metadata in entries[start : start + _BATCH]
        ]
        cache.index.load(data=rows, id_field="entry_id")


class _RedisVL:
    """`store` and `check` of its SemanticCache."""

    def __init__(self, opening: Opening) -> None:
        (cache_class,) = imported("redisvl.extensions.cache.llm", "SemanticCache")
        (vectorizer_class,) = imported("redisvl.utils.vectorize", "CustomVectorizer")
        server = opening.services.redis("search")
        embed = Probed(opening.table)
        self._cache = cache_class(
            name=bench_key(),
            distance_threshold=1 - opening.threshold,
            vectorizer=vectorizer_class(embed=embed),
            redis_url=server.url,
        )
        embed.probing = False

    def put(self, question: str, answer: str) -> None:
        self._cache.store(question, answer)

    def get(self, question: str) -> Served | None:
        hits = self._cache.check(question)
        if not hits:
            return None
        return Served(str(hits[0]["response"]), 1 - float(hits[0]["vector_distance"]))

    def fill(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        entries = [(q, a, None) for q, a in zip(questions, answers, strict=True)]
        load_entries(self._cache, entries)

    def clear(self) -> None:
        self._cache.clear()

    def close(self) -> None:
        self._cache.delete()
        self._cache.disconnect()


def _open(opening: Opening) -> Policy:
    return _RedisVL(opening)


REDISVL = Candidate(
    name="redisvl",
    open=_open,
    default=1 - 0.1,  # distance_threshold=0.1
    peer=True,
    distributions=("redisvl", "redis"),
    about="SemanticCache, flat index of the search module",
)
