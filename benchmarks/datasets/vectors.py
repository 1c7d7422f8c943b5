"""Vector files: ``.npy .npz .fvecs .bvecs .ivecs .parquet``, mapped into memory where they can be.

``.fvecs``, ``.bvecs`` and ``.ivecs`` (Jégou, Douze and Schmid, 2011, TEXMEX corpora) hold rows of
an int32 length and as many f32, uint8 or int32 numbers, all little-endian. Every file is read
through once: for its hash, for the length that every row states, and for numbers that are none.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.source import Source, at, string
from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.errors import BackendMissing, InputError
from ragopt.indexes.checks import mapped_npy

__all__ = ["SUFFIXES", "companion", "load_vectors", "read_vector_rows", "read_vectors"]

SUFFIXES = (".npy", ".npz", ".fvecs", ".bvecs", ".ivecs", ".parquet")
_ELEMENTS = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
_MOST_DIMENSIONS = 1 << 20
_EXACT_IN_F32 = 1 << 24
_CHECKED_CELLS = 1 << 22
_NPZ_NAMES = (("vectors", "queries"), ("base", "query"), ("train", "test"))
_COLUMN_NAMES = ("vector", "vectors", "embedding", "embeddings", "emb")
# Tokens of a file name that tell what part or type it holds, not which vectors.
_QUERY_TOKENS = frozenset({"query", "queries"})
_OTHER_TOKENS = frozenset({"base", "f16", "f32", "u8", "corpus", "vectors"})


def load_vectors(
    path: Path, *, queries: Path | None = None, source: Source | None = None
) -> VectorSet:
    """Vectors of a file, with the queries of a second one.

    Args:
        path: ``.npy .npz .fvecs .bvecs .ivecs .parquet``.
        queries: a file of queries, of any of these formats; by default the one beside ``path``
            whose name is the same but for ``query`` or ``queries`` (`companion`), or none.
        source: what counts the files read.

    Raises:
        InputError: a file is damaged or of another format, holds NaN or infinite numbers, or the
            queries have another length than the vectors.
        BackendMissing: ``.parquet`` without pyarrow.
    """
    source = source or Source(str(path))
    vectors, own_queries, texts = _read(path, source)
    beside = queries or (companion(path) if own_queries is None else None)
    if beside is not None:
        own_queries = read_vectors(beside, source)
    if own_queries is not None and own_queries.shape[1] != vectors.shape[1]:
        raise InputError(
            f"{beside or path}: queries of {own_queries.shape[1]} numbers for vectors of "
            f"{vectors.shape[1]}; expected the same, from the same model"
        )
    return VectorSet(
        name=source.name,
        vectors=vectors,
        queries=own_queries,
        texts=texts,
        data_hash=source.data_hash,
    )


def read_vectors(path: Path, source: Source) -> NDArray[Any]:
    """The vectors alone, (n, dim), checked."""
    return _read(path, source)[0]


def companion(path: Path) -> Path | None:
    """The file of queries that belongs to a file of vectors, by its name and place.

    ``X_query.npy``, ``X_queries_f32.npy`` and ``sift_query.fvecs`` belong to ``X.npy``,
    ``X_f16.npy`` and ``sift_base.fvecs``; a file of queries has none itself.

    Raises:
        InputError: several do.
    """
    stem = _tokens(path)
    if _QUERY_TOKENS & set(stem):
        return None
    try:
        beside = sorted(other for other in path.parent.iterdir() if other.suffix == path.suffix)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be read: {error.strerror or error}") from error
    found = [
        other
        for other in beside
        if _QUERY_TOKENS & set(_tokens(other)) and _identity(other) == _identity(path)
    ]
    if len(found) > 1:
        raise InputError(
            f"{path}: several files of queries belong to it by name: "
            f"{', '.join(other.name for other in found)}; keep one beside it, or name it with "
            "ragopt.benchmarks.datasets.vectors.load_vectors(path, queries=...)"
        )
    return found[0] if found else None


def read_vector_rows(path: Path, source: Source) -> VectorSet:
    """Vectors of JSON lines: ``{"vector": [...], "qid": ..., "text": ...}``, in order.

    Raises:
        InputError: a row without numbers, of another length than the first, or not finite.
    """
    rows: list[NDArray[np.float32]] = []
    texts: list[str] = []
    for where, row in source.rows(path):
        with at(where):
            value = row.get("vector", row.get("embedding"))
            vector = _numbers(value)
            if rows and len(vector) != len(rows[0]):
                raise InputError(f"{len(vector)} numbers, expected {len(rows[0])} as in the first")
            rows.append(vector)
            texts.append(string(row, "text", blank=True))
    matrix = np.stack(rows)
    return VectorSet(
        name=source.name,
        vectors=matrix,
        texts=tuple(texts) if all(texts) else None,
        data_hash=source.data_hash,
    )


def read_texts(path: Path, source: Source, count: int) -> tuple[str, ...]:
    """Texts of vectors: a JSON list of strings, or JSON lines with ``text``; one a vector.

    Raises:
        InputError: something else stands there, or another number of them.
    """
    if ".jsonl" in path.suffixes:
        texts = []
        for where, row in source.rows(path):
            with at(where):
                texts.append(string(row, "text", blank=True))
    else:
        texts = source.json(path)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{path}: expected a JSON list of strings")
    if len(texts) != count:
        raise InputError(f"{path}: {len(texts):,} texts of {count:,} vectors; expected one each")
    return tuple(texts)


def _read(
    path: Path, source: Source
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[str, ...] | None]:
    """Vectors, the queries and the texts that the same file holds."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a file of vectors: {' '.join(SUFFIXES)}")
    source.hashed(path)
    queries, texts = None, None
    with at(str(path)):
        if not path.stat().st_size:
            raise InputError("is empty; fetch or write it again")
        if suffix == ".npy":
            vectors = mapped_npy(path)
        elif suffix == ".npz":
            vectors, queries = _npz(path)
        elif suffix == ".parquet":
            vectors, texts = _parquet(path)
        else:
            vectors = _vecs(path, _ELEMENTS[suffix])
        vectors = _checked(vectors)
        queries = None if queries is None else _checked(queries)
    return vectors, queries, texts


def _npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = list(archive)
            for vectors, queries in _NPZ_NAMES:
                if vectors in names:
                    found = archive[queries] if queries in names else None
                    return archive[vectors], found
            if len(names) == 1:
                return archive[names[0]], None
    except (
        ValueError,
        EOFError,
        OSError,
        LookupError,
        AttributeError,
        zipfile.BadZipFile,
        TokenError,
    ) as error:
        raise InputError(
            f"not a whole .npz file of numbers ({error}); fetch or write it again"
        ) from error
    raise InputError(f"holds {sorted(names)}; expected one array, or 'vectors' and 'queries'")


def _vecs(path: Path, element: str) -> NDArray[Any]:
    """Rows of an int32 length and as many elements, as a view of the mapped file."""
    size = path.stat().st_size
    if size < 4:
        raise InputError(f"{size} bytes; expected rows that begin with an int32 length")
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    dim = int(raw[:4].view("<i4")[0])
    if not 1 <= dim <= _MOST_DIMENSIONS:
        raise InputError(
            f"row 0 states {dim} numbers, expected 1 to {_MOST_DIMENSIONS:,}; it is of another "
            "format or damaged"
        )
    width = 4 + dim * np.dtype(element).itemsize
    whole = size // width
    rows = raw[: whole * width].reshape(whole, width)
    stated = np.ascontiguousarray(rows[:, :4]).view("<i4")[:, 0]
    wrong = np.flatnonzero(stated != dim)
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} states {stated[wrong[0]]} numbers, row 0 {dim}; expected the same in "
            "all: it is damaged, fetch or write it again"
        )
    if size % width:
        raise InputError(
            f"row {whole} breaks off after {size % width} of {width} bytes; it was not fetched to "
            "the end"
        )
    return rows[:, 4:].view(element)


def _parquet(path: Path) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    arrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"not a whole Parquet file ({error}); fetch or write it again") from error
    column = _vector_column(arrow, table)
    lists = table.column(column).combine_chunks()
    if isinstance(lists, arrow.ChunkedArray):
        lists = arrow.concat_arrays(lists.chunks)
    if not len(lists):
        raise InputError(f"column {column!r} has no rows")
    if lists.null_count:
        missing = next(row for row in range(len(lists)) if not lists[row].is_valid)
        raise InputError(f"row {missing}: no vector in column {column!r}; leave such rows out")
    lengths = np.asarray(arrow.compute.list_value_length(lists))
    wrong = np.flatnonzero(lengths != lengths[0])
    if len(wrong):
        raise InputError(
            f"row {wrong[0]}: {lengths[wrong[0]]} numbers in column {column!r}, row 0 has "
            f"{lengths[0]}; expected the same in all"
        )
    values = lists.flatten()
    if values.null_count:
        raise InputError(f"column {column!r}: {values.null_count} numbers are null")
    matrix = np.asarray(values).reshape(len(lists), int(lengths[0]))
    return matrix, _parquet_texts(table)


def _pyarrow() -> tuple[Any, Any]:
    from importlib import import_module

    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        import_module("pyarrow.compute")
    except ImportError as error:
        raise BackendMissing("pyarrow", "bench", "reading Parquet") from error
    return arrow, parquet


def _vector_column(arrow: Any, table: Any) -> str:
    """The one column of lists of numbers; one of the usual names where there are several."""
    kinds = arrow.types
    found = [
        str(field.name)
        for field in table.schema
        if (
            kinds.is_list(field.type)
            or kinds.is_large_list(field.type)
            or kinds.is_fixed_size_list(field.type)
        )
        and (kinds.is_floating(field.type.value_type) or kinds.is_integer(field.type.value_type))
    ]
    usual = [name for name in _COLUMN_NAMES if name in found]
    if len(found) == 1 or usual:
        return usual[0] if usual else found[0]
    raise InputError(
        f"columns {table.schema.names}: {len(found)} hold lists of numbers; expected one, or one "
        f"called {' or '.join(_COLUMN_NAMES)}"
    )


def _parquet_texts(table: Any) -> tuple[str, ...] | None:
    if "text" not in table.schema.names:
        return None
    texts = table.column("text").to_pylist()
    return tuple(texts) if all(isinstance(text, str) for text in texts) else None


def _checked(vectors: NDArray[Any]) -> NDArray[Any]:
    """Vectors as the benches take them: (n, dim), f16, f32 or uint8, all finite."""
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise InputError(f"shape {vectors.shape}; expected (vectors, dimensions), none of them 0")
    kind = vectors.dtype
    if kind.kind not in "fiu":
        raise InputError(f"dtype {kind}; expected f16, f32 or uint8")
    step = max(1, _CHECKED_CELLS // vectors.shape[1])
    if kind.kind == "f":
        for start in range(0, len(vectors), step):
            finite = np.isfinite(vectors[start : start + step]).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise InputError(f"row {row} holds NaN or infinite numbers; leave it out")
    if kind in (np.dtype("<f2"), np.dtype("<f4"), np.dtype("u1")) and not np.isfortran(vectors):
        return vectors
    return _as_f32(vectors)


def _as_f32(vectors: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = np.ascontiguousarray(vectors, dtype=np.float32)
    exact = vectors.dtype.kind == "f" or (
        int(vectors.max()) <= _EXACT_IN_F32 and int(vectors.min()) >= -_EXACT_IN_F32
    )
    if not exact or not np.isfinite(single).all():
        raise InputError(f"{vectors.dtype} numbers too large for f32; scale them down")
    return single


def _numbers(value: Any) -> NDArray[np.float32]:
    if not isinstance(value, list) or not value:
        raise InputError("field 'vector': expected a list of numbers")
    if not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        raise InputError("field 'vector' holds something that is no number")
    with np.errstate(over="ignore"):
        vector = np.array(value, dtype=np.float32)
    if not np.isfinite(vector).all():
        raise InputError("field 'vector' holds NaN or infinite numbers")
    return vector


def _tokens(path: Path) -> list[str]:
    return path.stem.lower().replace("-", "_").split("_")


def _identity(path: Path) -> Sequence[str]:
    return [token for token in _tokens(path) if token not in _QUERY_TOKENS | _OTHER_TOKENS]
