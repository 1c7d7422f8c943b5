"""GPTCache (zilliztech, MIT): SQLite for the texts, a flat faiss index for the vectors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy, Served
from ragopt.benchmarks.cache.unavailable import Unavailable, imported
from ragopt.benchmarks.cache.vectors import VectorTable

__all__ = ["GPTCACHE"]

_ROOM = 10_000_000  # entries; it evicts beyond 1,000 unless told otherwise
_FARTHEST = 4.0  # squared distance of opposite unit vectors; `SearchDistanceEvaluation`'s own
_BATCH = 1000


class _Embedding:
    """What `init_similar_cache` asks of an embedding."""

    def __init__(self, table: VectorTable) -> None:
        self._table = table
        self.dimension = table.dim

    def to_embeddings(self, text: str, **_: Any) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._table.embed([text])[0]
        return vector


class _GPTCache:
    """`put` and `get` of its API; forgetting goes through its own eviction."""

    def __init__(self, opening: Opening) -> None:
        api, cache_class, config_class, evaluation_class, factory, get_prompt = _imported()
        embedding = _Embedding(opening.table)
        self._api = api
        self._manager = factory(
            "sqlite,faiss",
            data_dir=str(opening.folder),
            vector_params={"dimension": embedding.dimension},
            eviction_params={"max_size": _ROOM},
        )
        self._cache = cache_class()
        api.init_similar_cache(
            cache_obj=self._cache,
            pre_func=get_prompt,
            embedding=embedding,
            data_manager=self._manager,
            evaluation=evaluation_class(max_distance=_FARTHEST),
            config=config_class(similarity_threshold=_share(opening.threshold)),
        )

    def put(self, question: str, answer: str) -> None:
        self._api.put(question, answer, cache_obj=self._cache)

    def get(self, question: str) -> Served | None:
        similarities: list[float] = []

        def read(hits: list[tuple[Any, float]]) -> None:
            similarities.extend(_cosine(share) for _, share in hits)

        answer = self._api.get(question, cache_obj=self._cache, hit_callback=read)
        if answer is None:
            return None
        return Served(str(answer), similarities[0] if similarities else None)

    def fill(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        for start in range(0, len(questions), _BATCH):
            part = slice(start, start + _BATCH)
            self._cache.import_data(list(questions[part]), list(answers[part]))

    def clear(self) -> None:
        stored = self._manager.s.get_ids(deleted=False)
        if stored:
            self._manager.eviction_manager.soft_evict(stored)
            self._manager.eviction_manager.delete()

    def close(self) -> None:
        self._manager.close()
        # it closes its manager again when the process ends, by then without its folder
        self._cache.data_manager = _Closed()


class _Closed:
    def close(self) -> None:
        """Nothing is left to close."""


def _share(cosine: float) -> float:
    """The threshold that serves from this cosine on: rank 4 - d2 >= 4 share, d2 = 2 - 2 cosine."""
    return (1 + cosine) / 2


def _cosine(share: float) -> float:
    return 2 * share - 1


def _imported() -> list[Any]:
    imported("sqlalchemy")
    (utils,) = imported("gptcache", "utils")
    # it runs pip for whatever it misses; a bench installs nothing
    utils.prompt_install = _refused
    (factory,) = imported("gptcache.manager", "manager_factory")
    (get_prompt,) = imported("gptcache.processor.pre", "get_prompt")
    (evaluation,) = imported("gptcache.similarity_evaluation", "SearchDistanceEvaluation")
    return [
        *imported("gptcache.adapter", "api"),
        *imported("gptcache", "Cache", "Config"),
        evaluation,
        factory,
        get_prompt,
    ]


def _refused(package: str, *_: Any, **__: Any) -> None:
    raise Unavailable(f"GPTCache misses the Python package {package}")


def _open(opening: Opening) -> Policy:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, about the forms that GPTCache uses
        return _GPTCache(opening)


GPTCACHE = Candidate(
    name="gptcache",
    open=_open,
    default=0.6,  # similarity_threshold=0.8 of squared distance
    peer=True,
    distributions=("gptcache", "sqlalchemy", "faiss-cpu"),
    about="SQLite and flat faiss (its init_similar_cache), SearchDistanceEvaluation",
)
