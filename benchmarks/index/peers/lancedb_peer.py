"""LanceDB: a table on disk with an index beside it, through its synchronous API."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened
from ragopt.benchmarks.index.peers.threads import held_to_cores

__all__ = ["LanceDb", "LanceDbIvfRq"]

_TABLE = "vectors"
_COLUMN = "vector"
_BLOCK_ROWS = 1 << 14
_QUERIES_A_CALL = 64
_ROWS_A_FRAGMENT = 1 << 20  # Lance's default: a file of the table holds no more
_ADDRESS_BITS = 32


class _LancePeer(Peer):
    """What both share: the table, queries, row numbers.

    LanceDB runs on thread pools of its own, sized when it is imported; a number of threads is kept
    by holding the process to as many cores. It is asked up to 64 queries a call, which is faster
    than asking from several threads; more are no faster and take memory in proportion. Results are
    row addresses, which need no read of the table.
    """

    package = "lancedb"
    disk_backed = True

    def __init__(self) -> None:
        self._table: Any = None

    @abstractmethod
    def index(self) -> dict[str, Any]:
        """Arguments of ``create_index``."""

    @abstractmethod
    def asked(self, query: Any, value: int, k: int) -> Any:
        """The query with the knob set."""

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:  # noqa: ARG002
        import pyarrow

        lists = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
        schema = pyarrow.schema([(_COLUMN, lists)])
        rows = pyarrow.RecordBatchReader.from_batches(schema, _batches(vectors, schema))
        with held_to_cores(threads):
            table = _module().connect(folder).create_table(_TABLE, rows)
            table.create_index(metric="dot", vector_column_name=_COLUMN, **self.index())

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        self._table = _module().connect(folder).open_table(_TABLE)

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        table = opened(self._table, self.name)
        parts = range(0, len(queries), _QUERIES_A_CALL)
        with held_to_cores(threads):
            found = [
                self._call(table, queries[part : part + _QUERIES_A_CALL], k, value)
                for part in parts
            ]
        return np.concatenate(found) if found else np.empty((0, k), dtype=np.int64)

    def close(self) -> None:
        self._table = None

    def _call(self, table: Any, queries: Vectors, k: int, value: int) -> Ids:
        rows = queries[0] if len(queries) == 1 else list(queries)
        query = table.search(rows, vector_column_name=_COLUMN).distance_type("dot").limit(k)
        query = self.asked(query, value, k).with_row_id(True).select(["_distance"])
        return _ids(query.to_arrow(), len(queries), k)


class LanceDb(_LancePeer):
    """HNSW over 8-bit rows: of its indexes the fastest at a recall@10 of 0.95 on MiniLM vectors.

    Graph and codes are read into a cache in RAM by the first queries; refining from the table is
    left out, since 8 bits reach 0.99 without.
    """

    name = "lancedb"
    knob = "ef"
    values = (10, 14, 20, 28, 40, 64, 100, 160)
    build_options: Mapping[str, Any] = {
        "index_type": "IVF_HNSW_SQ",
        "m": 16,
        "ef_construction": 200,
        "num_partitions": "LanceDB's choice: one up to a million rows",
        "metric": "dot",
    }

    def index(self) -> dict[str, Any]:
        return {name: self.build_options[name] for name in ("index_type", "m", "ef_construction")}

    def asked(self, query: Any, value: int, k: int) -> Any:
        return query.ef(max(value, k))


class LanceDbIvfRq(_LancePeer):
    """1-bit RaBitQ codes in inverted lists, the best refined by f32 rows read from the table."""

    name = "lancedb-ivf-rq"
    knob = "nprobes"
    values = (16, 32, 48, 64, 96, 128, 256)
    build_options: Mapping[str, Any] = {
        "index_type": "IVF_RQ",
        "num_bits": 1,
        "num_partitions": "2 sqrt(n)",
        "refine_factor": 5,
        "metric": "dot",
    }

    def __init__(self) -> None:
        super().__init__()
        self._partitions = 1

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        self._partitions = max(1, int(2 * len(vectors) ** 0.5))
        super().build(vectors, folder, threads=threads, seed=seed)

    def index(self) -> dict[str, Any]:
        return {"index_type": "IVF_RQ", "num_bits": 1, "num_partitions": self._partitions}

    def asked(self, query: Any, value: int, k: int) -> Any:  # noqa: ARG002
        return query.nprobes(value).refine_factor(self.build_options["refine_factor"])


def _module() -> Any:
    os.environ.setdefault("LANCE_LOG", "error")
    import lancedb

    return lancedb


def _batches(vectors: Vectors, schema: Any) -> Iterator[Any]:
    import pyarrow

    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS])
        values = pyarrow.array(block.ravel())
        column = pyarrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])
        yield pyarrow.record_batch([column], schema=schema)


def _ids(found: Any, queries: int, k: int) -> Ids:
    """Row numbers (queries, k) from addresses, in order of distance, -1 where there are fewer."""
    address = found["_rowid"].to_numpy().astype(np.int64)
    number = (address >> _ADDRESS_BITS) * _ROWS_A_FRAGMENT + (address & ((1 << _ADDRESS_BITS) - 1))
    of_query = np.zeros(len(number), dtype=np.int64)
    if queries > 1:
        of_query = found["query_index"].to_numpy().astype(np.int64)
    order = np.lexsort((found["_distance"].to_numpy(), of_query))
    of_query, number = of_query[order], number[order]
    place = np.arange(len(number)) - np.searchsorted(of_query, of_query)
    ids = np.full((queries, k), -1, dtype=np.int64)
    ids[of_query, place] = number
    return ids
