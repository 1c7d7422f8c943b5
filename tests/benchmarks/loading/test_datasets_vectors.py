"""Vector files: round trips, memory maps, companions, and every kind of damage."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragopt.benchmarks.datasets import VectorSet, load
from ragopt.benchmarks.datasets.vectors import load_vectors
from ragopt.errors import BackendMissing, InputError

_ELEMENTS = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def write_vecs(path: Path, vectors: NDArray[np.generic]) -> Path:
    rows = np.ascontiguousarray(vectors, dtype=_ELEMENTS[path.suffix])
    head = np.full((len(rows), 1), rows.shape[1], dtype="<i4").view(np.uint8)
    path.write_bytes(np.hstack([head, rows.view(np.uint8)]).tobytes())
    return path


def read(path: Path) -> VectorSet:
    found = load(path)
    assert isinstance(found, VectorSet)
    return found


@given(
    vectors=arrays.arrays(
        np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32, allow_nan=False)
    )
)
@settings(max_examples=30, deadline=None)
def test_fvecs_round_trip(
    tmp_path_factory: pytest.TempPathFactory, vectors: NDArray[np.float32]
) -> None:
    path = write_vecs(tmp_path_factory.mktemp("f") / "x.fvecs", vectors)
    found = read(path).vectors
    assert found.dtype == np.float32
    assert np.array_equal(found, vectors)


@given(vectors=arrays.arrays(np.uint8, SHAPES))
@settings(max_examples=30, deadline=None)
def test_bvecs_round_trip(
    tmp_path_factory: pytest.TempPathFactory, vectors: NDArray[np.uint8]
) -> None:
    path = write_vecs(tmp_path_factory.mktemp("b") / "x.bvecs", vectors)
    found = read(path).vectors
    assert found.dtype == np.uint8
    assert np.array_equal(found, vectors)


@given(
    vectors=arrays.arrays(np.float32, SHAPES, elements=st.floats(-1, 1, width=32)),
    cut=st.integers(1, 1000),
)
@settings(max_examples=40, deadline=None)
def test_a_cut_fvecs_is_never_read_as_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, vectors: NDArray[np.float32], cut: int
) -> None:
    path = write_vecs(tmp_path_factory.mktemp("c") / "x.fvecs", vectors)
    data = path.read_bytes()
    kept = data[: -(cut % len(data)) or len(data)]
    path.write_bytes(kept)
    width = 4 + 4 * vectors.shape[1]
    if len(kept) % width == 0:
        assert np.array_equal(read(path).vectors, vectors[: len(kept) // width])
    else:
        with pytest.raises(InputError, match=r"x\.fvecs"):
            read(path)


def test_files_are_mapped_not_copied(tmp_path: Path) -> None:
    vectors = np.eye(5, dtype=np.float16)
    np.save(tmp_path / "a.npy", vectors)
    write_vecs(tmp_path / "b.fvecs", vectors)
    write_vecs(tmp_path / "c.bvecs", vectors)
    for name in ("a.npy", "b.fvecs", "c.bvecs"):
        assert isinstance(read(tmp_path / name).vectors, np.memmap), name


def test_ivecs_and_other_types_become_f32(tmp_path: Path) -> None:
    path = write_vecs(tmp_path / "x.ivecs", np.array([[1, -2], [3, 1 << 24]]))
    assert read(path).vectors.tolist() == [[1, -2], [3, 1 << 24]]
    assert read(path).vectors.dtype == np.float32
    write_vecs(path, np.array([[1, (1 << 24) + 1]]))
    with pytest.raises(InputError, match="too large"):
        read(path)
    np.save(tmp_path / "big.npy", np.ones((2, 3), dtype=">f8"))
    assert read(tmp_path / "big.npy").vectors.dtype == np.float32
    np.save(tmp_path / "huge.npy", np.full((2, 3), 1e300))
    with pytest.raises(InputError, match="too large"):
        read(tmp_path / "huge.npy")


def test_npz_with_queries_and_of_one_array(tmp_path: Path) -> None:
    vectors, queries = np.eye(4, dtype=np.float32), np.ones((1, 4), dtype=np.float32)
    np.savez(tmp_path / "two.npz", train=vectors, test=queries)
    found = read(tmp_path / "two.npz")
    assert found.queries is not None
    assert found.queries.tolist() == queries.tolist()
    np.savez(tmp_path / "one.npz", whatever=vectors)
    assert read(tmp_path / "one.npz").vectors.shape == (4, 4)
    np.savez(tmp_path / "odd.npz", a=vectors, b=queries)
    with pytest.raises(InputError, match="'vectors' and 'queries'"):
        read(tmp_path / "odd.npz")


@pytest.mark.parametrize(
    ("base", "query"),
    [
        ("x.npy", "x_query.npy"),
        ("x_f16.npy", "x_queries_f32.npy"),
        ("set_minilm_384_f16.npy", "set_query_minilm_384_f32.npy"),
        ("sift_base.fvecs", "sift_query.fvecs"),
        ("with space, ünï [1].npy", "with space, ünï [1]_query.npy"),
    ],
)
def test_queries_are_found_by_name(tmp_path: Path, base: str, query: str) -> None:
    for name, rows in ((base, 6), (query, 2), ("other_query.npy", 3)):
        save = write_vecs if name.endswith("fvecs") else np.save
        save(tmp_path / name, np.eye(rows, 4, dtype=np.float32))
    found = read(tmp_path / base)
    assert found.queries is not None
    assert len(found.queries) == 2
    assert read(tmp_path / query).queries is None


def test_queries_of_a_name_or_length_that_does_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    assert read(tmp_path / "x.npy").queries is None
    np.save(tmp_path / "x_query.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(InputError, match="queries of 3 numbers for vectors of 4"):
        read(tmp_path / "x.npy")
    np.save(tmp_path / "x_query_f32.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="several files of queries"):
        read(tmp_path / "x.npy")
    chosen = load_vectors(tmp_path / "x.npy", queries=tmp_path / "x_query_f32.npy")
    assert chosen.queries is not None
    assert chosen.queries.shape == (4, 4)


def test_the_hash_is_of_the_bytes_of_all_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    alone = read(tmp_path / "x.npy").data_hash
    assert alone == read(tmp_path / "x.npy").data_hash
    np.save(tmp_path / "x_query.npy", np.eye(4, dtype=np.float32))
    assert read(tmp_path / "x.npy").data_hash != alone
    (tmp_path / "x_query.npy").unlink()
    np.save(tmp_path / "x.npy", 2 * np.eye(4, dtype=np.float32))
    assert read(tmp_path / "x.npy").data_hash != alone


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", [".npy", ".fvecs"])
def test_a_row_that_is_no_vector_is_named(tmp_path: Path, suffix: str, bad: float) -> None:
    vectors = np.ones((50, 4), dtype=np.float32)
    vectors[37, 2] = bad
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, vectors)
    else:
        write_vecs(path, vectors)
    with pytest.raises(InputError, match=rf"x\{suffix}: row 37 holds NaN or infinite"):
        read(path)


@pytest.mark.parametrize("suffix", [".fvecs", ".bvecs"])
def test_a_flipped_length_is_found_in_any_row(tmp_path: Path, suffix: str) -> None:
    path = write_vecs(tmp_path / f"x{suffix}", np.ones((40, 8)))
    data = bytearray(path.read_bytes())
    width = len(data) // 40
    data[23 * width] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="row 23 states 12 numbers, row 0 8"):
        read(path)
    data[0] ^= 255
    data[3] ^= 128
    path.write_bytes(data)
    with pytest.raises(InputError, match="row 0 states"):
        read(path)


def test_the_row_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = write_vecs(tmp_path / "x.fvecs", np.ones((10, 3)))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="row 9 breaks off after 11 of 16 bytes"):
        read(path)


def test_damaged_npy_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((10, 4), dtype=np.float32))
    whole = path.read_bytes()
    opened = whole.replace(b"    \n", b"   (\n")
    assert opened != whole
    for broken in (whole[:-1], whole[:20], b"\x00" + whole[1:], whole + b"\x00", opened, b"text"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"x\.npy"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read(path)


@pytest.mark.parametrize(
    "array",
    [
        np.ones(4, dtype=np.float32),
        np.ones((0, 4), dtype=np.float32),
        np.ones((4, 0), dtype=np.float32),
        np.array([["a", "b"]]),
        np.ones((2, 2), dtype=np.complex64),
    ],
)
def test_arrays_that_are_no_vectors(tmp_path: Path, array: NDArray[np.generic]) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=r"x\.npy: (shape|dtype)"):
        read(tmp_path / "x.npy")


def test_pickled_objects_are_refused_unread(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[print]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a whole"):
        read(tmp_path / "x.npy")


def test_a_damaged_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", vectors=np.ones((4, 4)))
    data = (tmp_path / "x.npz").read_bytes()
    for broken in (data[: len(data) // 2], b"PK\x03\x04"):
        (tmp_path / "x.npz").write_bytes(broken)
        with pytest.raises(InputError, match=r"x\.npz"):
            read(tmp_path / "x.npz")


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_of_fixed_and_variable_lists(tmp_path: Path, fixed: bool) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    kind = arrow.list_(arrow.float32(), 3) if fixed else arrow.list_(arrow.float32())
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    table = arrow.table({"text": ["a", "b"], "emb": arrow.array(rows, type=kind), "n": [1, 2]})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    found = read(tmp_path / "x.parquet")
    assert found.vectors.tolist() == rows
    assert found.texts == ("a", "b")


def test_parquet_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    for rows, reason in (
        ([[1.0, 2.0], [1.0]], "row 1: 1 numbers"),
        ([[1.0, 2.0], None], "row 1: no vector"),
        ([[1.0, None]], "are null"),
        ([[1.0, float("nan")]], "row 0 holds NaN"),
    ):
        parquet.write_table(arrow.table({"vector": rows}), path)
        with pytest.raises(InputError, match=reason):
            read(path)
    parquet.write_table(arrow.table({"a": [[1.0]], "b": [[1.0]]}), path)
    with pytest.raises(InputError, match="2 hold lists of numbers"):
        read(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendMissing, match=r"ragopt\[bench\]"):
        read(tmp_path / "x.parquet")


def test_rows_of_vectors_in_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"qid": 1, "vector": [1, 2]}\n{"qid": 2, "vector": [3, 4.5]}\n')
    assert read(path).vectors.tolist() == [[1, 2], [3, 4.5]]
    for second, reason in (
        ("[1]", "expected 2"),
        ("[1, NaN]", "NaN"),
        ('[1, "a"]', "no number"),
        ("[1, 1e300]", "infinite"),
    ):
        path.write_text(f'{{"vector": [1, 2]}}\n{{"vector": {second}}}\n')
        with pytest.raises(InputError, match=rf"line 2: .*{reason}"):
            read(path)
