"""Names, paths, kinds: what load tells apart, and what it says when it cannot."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks import datasets
from ragopt.benchmarks.datasets import PairSet, data_folder, describe, load, names
from ragopt.benchmarks.datasets.formats import KINDS
from ragopt.errors import InputError

Write = Callable[..., Path]
PAIR = {"text_a": "a", "text_b": "b", "label": 0}


def test_public_names_are_there() -> None:
    for name in datasets.__all__:
        assert getattr(datasets, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = datasets.nothing_here


def test_the_import_is_cheap() -> None:
    code = "import sys, ragopt.benchmarks.datasets; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_names_by_kind() -> None:
    every = names()
    assert every[0] == "embedded"
    assert sorted(every) == sorted(name for kind in KINDS for name in names(kind))
    with pytest.raises(InputError, match="expected one of vectors"):
        names("nothing")


def test_a_known_name_without_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGOPT_DATA", raising=False)
    assert data_folder() is None
    with pytest.raises(InputError, match=r"set RAGOPT_DATA .* holds cache/qqp_pairs\.jsonl"):
        load("qqp")


def test_a_known_name_whose_file_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGOPT_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"expected cache/mrpc_train\.tsv below the folder"):
        load("mrpc")
    monkeypatch.setenv("RAGOPT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no such folder"):
        load("mrpc")


def test_a_name_with_a_folder_of_its_own(tmp_path: Path, write_rows: Write) -> None:
    write_rows("cache/qqp_pairs.jsonl", [PAIR])
    found = load("qqp", folder=tmp_path)
    assert isinstance(found, PairSet)
    assert found.name == "qqp"
    assert found.vectors is None
    assert describe(found).startswith("qqp: 1 pairs, 0 of them the same (pairs, data ")
    with pytest.raises(
        InputError, match=r"qqp holds pairs, not contexts; expected one of hotpotqa"
    ):
        load("qqp", kind="contexts", folder=tmp_path)


def test_describe_a_name() -> None:
    assert "$RAGOPT_DATA/cache/qqp_pairs.jsonl" in describe("qqp")
    assert "ships with ragopt" in describe("embedded")
    with pytest.raises(InputError, match="did you mean qqp"):
        describe("qpq")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean hotpotqa\?.* embedded, qqp_minilm_384"):
        load("hotpot")
    with pytest.raises(InputError, match="no such file or folder"):
        load(Path("qqp"))
    with pytest.raises(InputError, match="no dataset of this name"):
        load("nul\0character")
    with pytest.raises(InputError, match="kind='pears'"):
        load("qqp", kind="pears")


def test_paths_with_odd_names(tmp_path: Path, write_rows: Write) -> None:
    for name in ("with space.jsonl", "ünï-cödé.jsonl", "[x]*?.jsonl", "..a.b.JSONL", "qqp/x.jsonl"):
        path = write_rows(name, [PAIR])
        assert load(path, kind="pairs").name == str(path)
        assert load(str(path)).name == str(path)


def test_gzip_is_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PAIR).encode()))
    assert isinstance(load(path), PairSet)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged gzip"):
        load(path)


def test_an_ambiguous_file_asks_for_its_kind(write_rows: Write) -> None:
    path = write_rows("x.jsonl", [{**PAIR, "prompt": "Which?"}])
    with pytest.raises(InputError, match=r"pairs or queries; say which: load\('x\.jsonl', kind="):
        load(path)
    assert isinstance(load(path, kind="pairs"), PairSet)
    assert load(path, kind="queries").name == str(path)


def test_a_file_of_another_kind_or_form(tmp_path: Path, write_rows: Write) -> None:
    with pytest.raises(InputError, match="holds pairs, not intents"):
        load(write_rows("x.jsonl", [PAIR]), kind="intents")
    with pytest.raises(InputError, match="no known form"):
        load(write_rows("x.jsonl", [{"foo": 1}]))
    with pytest.raises(InputError, match="line 1: expected a JSON object, got an array"):
        load(write_rows("x.jsonl", [[1, 2]]))
    (tmp_path / "x.json").write_text("{broken")
    with pytest.raises(InputError, match=r"x\.json: .*line 1: not JSON"):
        load(tmp_path / "x.json")
    for content in ("[]", "{}", "3", '[[["deep"]]]'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(InputError, match="no known form"):
            load(tmp_path / "x.json")
    (tmp_path / "x.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match=r"no format is known by '\.pdf'"):
        load(tmp_path / "x.pdf")
    with pytest.raises(InputError, match="of no known layout"):
        load(tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(InputError, match="no known layout"):
        load(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.eye(3))
    (tmp_path / "y_query.npy").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        load(tmp_path / "y.npy")
