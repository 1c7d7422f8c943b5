"""Spec strings, families of third parties, packages that are not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import ragopt.indexes
from ragopt.errors import BackendMissing, InputError
from ragopt.indexes import Family, build, families, registry
from ragopt.indexes import open as open_index
from ragopt.indexes.diskann import DiskannOptions
from ragopt.indexes.flat import FlatIndex, FlatOptions
from ragopt.indexes.hnsw import HnswOptions
from ragopt.indexes.ivf import IvfOptions
from ragopt.indexes.ivfpq import IvfPqOptions
from ragopt.indexes.rabitq import RabitqOptions
from ragopt.indexes.registry import parse_spec

BUILT_IN = ["flat", "hnsw", "hnswlib", "ivf", "ivfpq", "diskann", "rabitq", "tiered"]
ROWS = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)


def test_the_public_names() -> None:
    assert sorted(ragopt.indexes.__all__) == [
        "Family",
        "Footprint",
        "QuantizerComparison",
        "SearchResult",
        "SearchStats",
        "VectorIndex",
        "build",
        "compare_quantizers",
        "families",
        "open",
        "tune",
    ]


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("flat", FlatOptions()),
        ("flat()", FlatOptions()),
        (" flat( dtype = f16 ) ", FlatOptions(dtype="f16")),
        ("flat(dtype='f16')", FlatOptions(dtype="f16")),
        ("hnsw(m=32)", HnswOptions(m=32)),
        ("hnsw(m=32, ef_search=2,)", HnswOptions(m=32, ef_search=2)),
        ("hnsw(m=8)+sq8", HnswOptions(m=8, rows="sq8")),
        ("ivf", IvfOptions()),
        ("ivf(lists=64)+sq8", IvfOptions(lists=64)),
        ("ivfpq(m=48)+opq+rescore(f32)", IvfPqOptions(m=48, opq=True, rows="f32")),
        ("diskann(r=32)", DiskannOptions(r=32)),
        ("rabitq", RabitqOptions(bits=1, rows="f16")),
        ("rabitq(bits=8)+rescore(f32)", RabitqOptions(bits=8, rows="f32")),
        ("rabitq + rescore(f16)", RabitqOptions()),
    ],
)  # fmt: skip
def test_good_specs(spec: str, options: object) -> None:
    assert parse_spec(spec)[1] == options


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "not understood.*FAMILY"),
        ("flat(", "not understood"),
        ("flat)", "not understood"),
        ("Flat", "not understood"),
        ("flat(dtype=(1,2))", "not understood"),
        ("hnsw(m==16)", "not understood"),
        ("hnsw(2m=16)", "not understood"),
        ("flat; hnsw", "not understood"),
        ("rabitq+", "not understood"),
        ("hnsw(m=+16)", "not understood"),
        ("nsg", r"index family 'nsg'.*flat.*hnsw.*rabitq"),
        ("flat(f16)", "options of flat"),
        ("flat(type=f16)", r"options of flat: \['dtype'\]"),
        ("flat(dtype=f8)", r"dtype='f8'.*f16.*f32"),
        ("flat(dtype=)", "dtype=''"),
        ("flat(dtype=[])", "options of flat"),
        ("flat+rescore(f16)", r"flat takes no '\+rescore'; it takes \[\]"),
        ("rabitq+rerank(f16)", r"takes no '\+rerank'; it takes \['rescore'\]"),
        ("rabitq+rescore", "expected one value"),
        ("rabitq+rescore()", "expected one value"),
        ("rabitq+rescore(rows=f16)", "expected one value"),
        ("rabitq+rescore(f16,f32)", "given twice"),
        ("rabitq+rescore(f64)", "rows='f64'"),
        ("rabitq+rescore(f16)+rescore(f16)", "rows is given twice"),
        ("rabitq(rows=f32)+rescore(f16)", "rows is given twice"),
        ("rabitq(bits=0)", "bits=0"),
        ("rabitq(bits=9)", "bits=9"),
        ("rabitq(bits=1.0)", "bits=1.0"),
        ("rabitq(bits=True)", "bits=True"),
        ("hnsw(m=1)", "m=1,"),
        ("hnsw(rows=f16)", "rows='f16', expected 'f32' or 'sq8'"),
        ("hnsw(train_rows=0)+sq8", "train_rows=0, expected an integer of at least 1"),
        ("hnsw+sq8(8)", r"expected '\+sq8' without a value"),
        ("hnsw+sq8+sq8", "rows is given twice"),
        ("hnswlib+sq8", r"hnswlib takes no '\+sq8'"),
        ("ivf(lists=-1)", "lists=-1, expected an integer of at least 0"),
        ("ivf(nprobe=0)", "nprobe=0, expected an integer of at least 1"),
        ("ivf(train_rows=True)", "train_rows=True"),
        ("ivf(rows=f32)", "rows='f32', expected 'sq8'"),
        ("ivfpq(bits=9)", "bits=9"),
        ("ivfpq(bits=8,train_rows=255)", "train_rows=255, expected at least 256"),
        ("ivfpq(opq=1)", "opq=1, expected True or False"),
        ("ivfpq(m=9)", "m=9 parts exceed the 8 dimensions"),
        ("ivfpq(oversampling=0)", "oversampling=0"),
        ("ivfpq+rescore(f64)", "rows='f64'"),
        ("diskann(r=0)", "r=0, expected an integer of at least 1"),
        ("diskann(pq_bytes=9)", "pq_bytes=9 exceed the 8 dimensions"),
        ("hnsw(m=True)", "m=True"),
        ("hnsw(m=16,m=32)", "'m=32' is given twice"),
        ("hnsw(ef_search='64')", "ef_search='64'"),
        (None, "FAMILY"),
        (7, "FAMILY"),
    ],
)
def test_bad_specs(spec: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(spec, ROWS)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [(FlatOptions, {"dtype": "f8"}), (HnswOptions, {"m": 0}), (RabitqOptions, {"rows": "f8"})],
)
def test_options_check_themselves(options: type[Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        options(**wrong)


# Third parties -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReversedOptions:
    """Options of the family below."""

    pages: int = 1


class ReversedIndex(FlatIndex):
    """A family of somebody else: a flat index by another name."""

    family = "reversed"
    options_type: ClassVar[type[Any]] = ReversedOptions

    def __init__(self, options: Any, dim: int, metric: Any, *, seed: int = 0) -> None:
        super().__init__(FlatOptions(), dim, metric, seed=seed)
        self.options = options

    @classmethod
    def _load(cls, options: Any, dim: int, metric: Any, parts: dict[str, Path]) -> ReversedIndex:
        index = cls(options, dim, metric)
        index._matrix = FlatIndex._load(FlatOptions(), dim, metric, parts)._matrix
        return index


REVERSED = Family("reversed", lambda: ReversedIndex, {"paged": "pages"}, "for the tests")
IMPOSTOR = Family("flat", lambda: ReversedIndex, {}, "takes the name of a built-in one")


@pytest.fixture
def third_parties(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Entry points as installed packages would declare them."""
    declared: list[Any] = []

    def entry_points(*, group: str) -> list[Any]:
        assert group == "ragopt.indexes"
        return declared

    monkeypatch.setattr(registry, "entry_points", entry_points)
    families.cache_clear()
    yield declared
    families.cache_clear()


def entry(name: str, target: str) -> Any:
    return EntryPoint(name=name, value=f"{__name__}:{target}", group="ragopt.indexes")


def test_a_family_of_a_third_party(third_parties: list[Any], tmp_path: Path) -> None:
    third_parties.append(entry("reversed", "REVERSED"))
    assert list(families()) == [*BUILT_IN, "reversed"]
    index = build("reversed+paged(3)", ROWS, path=tmp_path)
    assert isinstance(index, ReversedIndex)
    assert index.options == ReversedOptions(pages=3)
    assert open_index(tmp_path).search(ROWS[4], 1).ids.tolist() == [[4]]
    third_parties.clear()
    families.cache_clear()
    with pytest.raises(InputError, match="index family 'reversed'"):
        open_index(tmp_path)


def test_built_in_names_cannot_be_taken(third_parties: list[Any]) -> None:
    third_parties.append(entry("flat", "IMPOSTOR"))
    assert families()["flat"].index() is FlatIndex
    assert type(build("flat", ROWS)) is FlatIndex


def test_a_broken_package_breaks_no_family_of_ours(third_parties: list[Any]) -> None:
    third_parties.append(entry("broken", "NOT_THERE"))
    assert len(build("flat", ROWS)) == len(ROWS)
    with pytest.raises(AttributeError, match="NOT_THERE"):
        build("broken", ROWS)


def test_hnswlib_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build("hnswlib", ROWS, path=tmp_path)
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    for use in (lambda: build("hnswlib", ROWS), lambda: open_index(tmp_path)):
        with pytest.raises(BackendMissing, match=r"pip install 'ragopt\[hnsw\]'") as caught:
            use()
        assert isinstance(caught.value, ImportError)
    assert len(build("hnsw", ROWS)) == len(ROWS)


def test_importing_the_indexes_is_cheap(run_script: Any) -> None:
    heavy = ("faiss", "hnswlib", "bm25s", "scipy", "torch", "numba")
    loaded = run_script(
        "import sys, ragopt.indexes, ragopt.indexes.lexical; print(*sys.modules)"
    ).split()
    assert not set(heavy) & set(loaded)
