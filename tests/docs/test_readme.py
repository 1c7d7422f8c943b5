"""The README's example runs as written, and its commands are those that CI runs."""

from __future__ import annotations

import json
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

import ragopt
from ragopt.benchmarks.diff import read_run, rechecked
from ragopt.benchmarks.readme_figures import PAGES, filled, main
from ragopt.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")

RESULTS = ROOT / "benchmarks" / "results"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").mkdir()
    for number in range(12):
        (tmp_path / "notes" / f"other-{number}.md").write_text(f"# Note {number}\n\nAbout boats.\n")
    (tmp_path / "notes" / "tokens.md").write_text(
        "# Tokens\n\nAn access token is valid for 30 days. After that it is refused.\n"
    )
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    names: dict[str, object] = {}
    exec(example, names)
    answer = names["answer"]
    assert isinstance(answer, ragopt.Answer)
    assert "30 days" in capsys.readouterr().out
    assert answer.cost > 0
    names["pipeline"].cache.close()  # type: ignore[attr-defined]
    names["corpus"].close()  # type: ignore[attr-defined]


def test_the_example_is_short() -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 14


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(line for block in blocks("bash") for line in block.splitlines() if "nox" in line)
    assert command in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_result_files(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert filled(text, RESULTS) == text


def test_every_table_stands_somewhere() -> None:
    assert tables(README) == "demo index cache compress savings".split()
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert tables(page) == "index_all growth rerank cuts".split()
    page = (ROOT / "docs" / "cache.md").read_text("utf-8")
    assert tables(page) == "cache_stream cache_guards".split()


def tables(text: str) -> list[str]:
    return re.findall(r"<!-- table (\w+) -->", text)


def test_a_figure_changed_in_the_readme_is_noticed() -> None:
    place = README.index("| hnswlib (")
    digit = re.compile(r"\d").search(README, README.index("|", place + 2))
    assert digit is not None
    other = "8" if digit[0] == "7" else "7"
    changed = README[: digit.start()] + other + README[digit.end() :]
    assert filled(changed, RESULTS) == README


def test_a_figure_changed_in_a_result_makes_no_table(tmp_path: Path) -> None:
    for file in RESULTS.glob("*.json"):
        shutil.copy(file, tmp_path)
    content = json.loads((tmp_path / "rerank_msmarco_dl19.json").read_text("utf-8"))
    content["rows"][0]["value"] = 0.9
    (tmp_path / "rerank_msmarco_dl19.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="the digest does not fit"):
        filled("<!-- table rerank -->\n<!-- end -->", tmp_path)


def test_a_table_of_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table prices: expected one of cache"):
        filled("<!-- table prices -->\n<!-- end -->", tmp_path)


def test_the_pages_are_written_by_one_command(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        empty = re.sub(r"(<!-- table \w+ -->\n).*?(?=<!-- end)", r"\1", text, flags=re.DOTALL)
        assert empty != text
        (tmp_path / page).write_text(empty, "utf-8")
    main([str(tmp_path), "--results", str(RESULTS)])
    for page in PAGES:
        assert (tmp_path / page).read_text("utf-8") == (ROOT / page).read_text("utf-8")
    (picture,) = re.findall(r"!\[[^]]+\]\((docs/\w+\.svg)\)", README)
    for drawn in (tmp_path / picture, ROOT / picture):
        assert {"hnswlib", "diskannpy", "usearch-view"} <= words_of(drawn)


def words_of(picture: Path) -> set[str]:
    return set(re.findall(r">([^<>]+)</text>", picture.read_text("utf-8")))


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_every_result_says_what_it_rests_on(file: Path) -> None:
    result = read_run(file)
    assert rechecked(result) == []
    about = result.about
    assert about["command"].startswith("ragopt ")
    assert about["command"].endswith(f"--json benchmarks/results/{file.name}")
    assert "--quick" not in about["command"]
    assert datetime.fromisoformat(about["created"]).tzinfo is not None
    assert about["data_hash"]
    assert about["seed"] == 0
    environment = about["environment"]
    assert environment["cpu"]
    assert environment["cpu_flags"]
    assert environment["kernel"]
    assert environment["packages"]["numpy"]


def test_the_readme_is_finished_and_not_too_long() -> None:
    assert len(README.splitlines()) < 220
