"""``ragopt bench``: every bench runs from the command line, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_places import TERMINAL, Said

from ragopt.benchmarks.rows import BenchResult
from ragopt.cli.app import run
from ragopt.cli.bench import _names, _size
from ragopt.errors import InputError

Run = Callable[..., Said]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> Said:
        status = run(["bench", *arguments])
        return Said(status, *capsys.readouterr())

    return said


def saved_vectors(folder: Path, rows: int = 900) -> None:
    drawn = np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32)
    np.save(folder / "own.npy", drawn)


def saved_pairs(folder: Path) -> None:
    words = "tax loan card bank rate visa fund bond debt cash".split()
    rows = []
    for number in range(160):
        a, b = words[number % 10], words[(number // 10) % 10]
        other = b if number % 2 else words[(number + 3) % 10]
        first, second = f"what is the {a} of a {b} no {number}", f"tell the {a} of {other} {number}"
        rows.append({"text_a": first, "text_b": second, "label": number % 2})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(text, "utf-8")


# Running ----------------------------------------------------------------------------------


@LINUX
def test_the_index_bench_on_a_file_of_one_s_own(bench: Run, tmp_path: Path) -> None:
    saved_vectors(tmp_path)
    asked = ("index", "--dataset", "own.npy", "--only", "flat,hnsw(m=8, ef_construction=40)")
    said = bench(*asked, "--quick", "--json", "run.json", "--html", "run.html")
    assert said.status == 0, said
    assert not said.err
    result = BenchResult.read("run.json")
    assert {row.name.split("/")[1] for row in result.rows} == {
        "flat",
        "hnsw(m=8, ef_construction=40)",
    }
    assert result.value("index/flat/recall_at_10") == 1.0
    assert result.about["quick"] is True
    assert said.out.endswith("Figures written to run.json\nReport page written to run.html\n")
    assert (tmp_path / "run.html").read_text("utf-8").count("<svg") >= 2
    again = bench(*asked, "--quick", "--json", "again.json")
    assert again.status == 0
    assert set(BenchResult.read("again.json").about["resumed"]) == {
        "flat",
        "hnsw(m=8, ef_construction=40)",
    }


@LINUX
def test_the_index_bench_on_grown_vectors(bench: Run, tmp_path: Path) -> None:
    saved_vectors(tmp_path, rows=1_200)
    said = bench(
        *("index", "--dataset", "own.npy", "--only", "flat", "--quick", "--grow", "2000"),
        *("--json", "run.json"),
    )
    assert said.status == 0, said
    about = BenchResult.read("run.json").about
    assert about["dataset"] == "own.npy grown to 2,000"
    assert about["growth"]["rows"] == 2_000
    assert bench("index", "--dataset", "own.npy", "--grow", "100", "--quick").status == 2


def test_the_cache_bench_on_pairs_of_one_s_own(bench: Run, tmp_path: Path) -> None:
    saved_pairs(tmp_path)
    said = bench(
        *("cache", "--dataset", "pairs.jsonl", "--only", "exact,static", "--quick"),
        *("--json", "run.json"),
    )
    assert said.status == 0, said
    result = BenchResult.read("run.json")
    assert {row.name.split("/")[1] for row in result.rows} == {"exact", "static"}
    assert result.value("cache/exact/lookup_p50_us") > 0  # type: ignore[operator]
    assert "pairs: " in said.out


def test_the_rerank_bench_on_the_embedded_corpus(bench: Run) -> None:
    said = bench("rerank", "--only", "bm25,first-stage", "--quick", "--json", "run.json")
    assert said.status == 0, said
    ndcg = {row.name: row.value for row in BenchResult.read("run.json").rows if "ndcg" in row.name}
    assert set(ndcg) == {f"rerank/{name}/embedded/ndcg_at_10" for name in ("bm25", "first-stage")}
    assert all(0.2 < value < 1 for value in ndcg.values())


def test_the_compress_bench_on_the_embedded_corpus(bench: Run) -> None:
    said = bench("compress", "--only", "truncate,extractive", "--quick", "--json", "run.json")
    assert said.status == 0, said
    result = BenchResult.read("run.json")
    kept = [
        result.value(f"compress/{name}/embedded/evidence_recall_at_2x")
        for name in ("extractive", "truncate")
    ]
    assert kept[0] > kept[1]  # type: ignore[operator]


def test_the_compress_bench_on_the_half_that_nothing_was_fitted_on(bench: Run) -> None:
    halves = {}
    for half in ("all", "fit", "report"):
        said = bench(
            "compress", "--only", "truncate", "--quick", "--half", half, "--json", f"{half}.json"
        )
        assert said.status == 0, said
        halves[half] = BenchResult.read(f"{half}.json").about
    assert {name: about["half"] for name, about in halves.items()} == {
        name: name for name in halves
    }
    assert len({about["questions_hash"] for about in halves.values()}) == 3
    said = bench("compress", "--half", "most")
    assert said.status == 2
    assert "--half most: expected all, fit or report" in said.error


def test_the_savings_bench_on_the_embedded_corpus(bench: Run) -> None:
    said = bench(
        *("savings", "--only", "exact_cache", "--questions", "40", "--quick"),
        *("--requests", "60", "--traffic", "once", "--json", "run.json"),
    )
    assert said.status == 0, said
    result = BenchResult.read("run.json")
    assert {row.name.split("/")[1] for row in result.rows} == {"exact_cache"}
    assert result.value("savings/exact_cache/usd_ratio") == pytest.approx(1, abs=0.01)
    assert result.about["prices"]["hash"]
    assert "gpt-5-mini" in str(result.about["price"])


def test_datasets_are_listed_with_those_that_are_missing(
    bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGOPT_DATA", raising=False)
    lines = bench("datasets").out.splitlines()
    (embedded,) = [line for line in lines if line.startswith("embedded: ")]
    assert "not here" not in embedded
    assert all("not here" in line for line in lines[:-1] if line != embedded)
    assert lines[-1].startswith("RAGOPT_DATA is not set")
    (tmp_path / "data" / "traces").mkdir(parents=True)
    (tmp_path / "data" / "traces" / "azure2023_conv.csv").write_text("a", "utf-8")
    monkeypatch.setenv("RAGOPT_DATA", str(tmp_path / "data"))
    *lines, last = bench("datasets").out.splitlines()
    there = {line.partition(":")[0] for line in lines if "not here" not in line}
    assert there == {"embedded", "azure2023_conv"}
    assert last.startswith(f"RAGOPT_DATA is {tmp_path / 'data'}; ")


# Refusing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", "index cache rerank compress savings".split())
def test_what_cannot_be_used_is_refused_in_a_sentence(
    name: str, bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGOPT_DATA", raising=False)
    refused = [
        ((name, "--dataset", "nonsense"), "nonsense"),
        ((name, "--only", "nonsense", "--quick"), "nonsense"),
        ((name, "--json", str(tmp_path)), "is a folder"),
        ((name, "--dataset", "own.npy", "--json", "own.npy"), "another option names this file"),
        ((name, "--dataset", "squad", "--quick"), "RAGOPT_DATA"),
    ]
    saved_vectors(tmp_path)
    before = (tmp_path / "own.npy").read_bytes()
    for arguments, told in refused:
        said = bench(*arguments)
        assert said.status in (1, 2), (arguments, said)
        assert told in said.error, (arguments, said)
    assert (tmp_path / "own.npy").read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} <= {"cache", "own.npy"}


@pytest.mark.parametrize(
    ("name", "dataset"), [("rerank", "own.npy"), ("compress", "own.npy"), ("savings", "own.npy")]
)
def test_vectors_are_no_texts(name: str, dataset: str, bench: Run, tmp_path: Path) -> None:
    saved_vectors(tmp_path)
    said = bench(name, "--dataset", dataset, "--quick")
    assert said.status == 2
    assert "vectors" in said.error


def test_traffic_that_is_none_is_refused(bench: Run, tmp_path: Path) -> None:
    saved_vectors(tmp_path)
    said = bench("savings", "--traffic", "own.npy", "--quick")
    assert said.status == 2
    assert "query log" in said.error


# Parsing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("flat", ("flat",)),
        ("flat, usearch", ("flat", "usearch")),
        ("hnsw(m=8, ef_construction=40),flat", ("hnsw(m=8, ef_construction=40)", "flat")),
    ],
)
def test_commas_in_brackets_belong_to_a_spec(only: str, names: tuple[str, ...]) -> None:
    assert _names(only) == names


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("200MB", 200_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("64k", 64_000),
        ("1000", 1_000),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int | None) -> None:
    assert _size(text) == size


@pytest.mark.parametrize("text", ["many", "-1MB", "1 furlong", "0x10", "1MB2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--memory-limit"):
        _size(text)
