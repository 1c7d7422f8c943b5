"""LangChain's caches: by text in memory and in Redis, by meaning in Redis."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from ragopt.benchmarks.cache.peers.redisvl import Probed, bench_key, load_entries
from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy, Served
from ragopt.benchmarks.cache.unavailable import imported

__all__ = ["LANGCHAIN"]

_MODEL = "ragopt-bench"  # the other half of LangChain's keys


class _LangChain:
    """`update` and `lookup`, which all of its caches share."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        (self._generation,) = imported("langchain_core.outputs", "Generation")

    def put(self, question: str, answer: str) -> None:
        self._cache.update(question, _MODEL, [self._generation(text=answer)])

    def get(self, question: str) -> Served | None:
        found = self._cache.lookup(question, _MODEL)
        return Served(str(found[0].text), self._similarity()) if found else None

    def clear(self) -> None:
        self._cache.clear()

    def close(self) -> None:
        self._cache.clear()

    def _similarity(self) -> float | None:
        return 1.0


class _InRedis(_LangChain):
    def close(self) -> None:
        super().close()
        self._cache.redis.close()


class _Semantic(_LangChain):
    """Its lookup does not say how similar the questions were."""

    def fill(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        (dumps,) = imported("langchain_core.load.dump", "dumps")
        entries = [
            (question, json.dumps([dumps(self._generation(text=answer))]), {"llm_string": _MODEL})
            for question, answer in zip(questions, answers, strict=True)
        ]
        load_entries(self._cache.cache, entries)

    def close(self) -> None:
        with contextlib.closing(self._cache.redis):
            self._cache.cache.delete()

    def _similarity(self) -> float | None:
        return None


def _in_memory(opening: Opening) -> Policy:  # noqa: ARG001 - it compares texts
    (cache_class,) = imported("langchain_core.caches", "InMemoryCache")
    return _LangChain(cache_class())


def _by_text(opening: Opening) -> Policy:
    (cache_class,) = imported("langchain_redis", "RedisCache")
    server = opening.services.redis("ReJSON")
    return _InRedis(cache_class(redis_url=server.url, prefix=bench_key()))


def _by_meaning(opening: Opening) -> Policy:
    (embeddings,) = imported("langchain_core.embeddings", "Embeddings")
    (cache_class,) = imported("langchain_redis", "RedisSemanticCache")
    server = opening.services.redis("search")
    embed = Probed(opening.table)
    # it insists on a class of its own; made here, for the package need not be installed
    stored = type(
        "Stored",
        (embeddings,),
        {
            "embed_query": lambda _, text: embed(text),
            "embed_documents": lambda _, texts: [embed(text) for text in texts],
        },
    )
    cache = cache_class(
        embeddings=stored(),
        redis_url=server.url,
        distance_threshold=1 - opening.threshold,
        name=bench_key(),
    )
    embed.probing = False
    return _Semantic(cache)


LANGCHAIN = (
    Candidate(
        name="langchain-redis",
        open=_by_meaning,
        default=1 - 0.2,  # distance_threshold=0.2
        peer=True,
        distributions=("langchain-redis", "langchain-core", "redisvl", "redis"),
        about="RedisSemanticCache, flat index of the search module",
    ),
    Candidate(
        name="langchain-redis-exact",
        open=_by_text,
        default=None,
        peer=True,
        distributions=("langchain-redis", "langchain-core", "redis"),
        about="RedisCache, by text; keeps its entries with Redis's JSON module",
    ),
    Candidate(
        name="langchain-memory",
        open=_in_memory,
        default=None,
        peer=True,
        distributions=("langchain-core",),
        about="InMemoryCache, by text",
    ),
)
