"""The README's example runs as written, and its commands are those that CI runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import ragopt

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")

FIGURES = {
    "usd_ratio": "{:.2f}x",
    "input_tokens_ratio": "{:.2f}x",
    "ram_ratio": "{:.3f}x",
    "quality_diff": "{:+.1%}",
    "quality_diff_lower": "{:+.1%}",
}


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


def test_the_table_is_that_of_the_recorded_run() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text("utf-8"))
    values = {row["name"]: row["value"] for row in recorded["rows"]}
    table = README.partition("## What is measured")[2]
    for lever, title in (("index", "compact index"), ("combined", "**combined**")):
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        figures = {name: values[f"savings/{lever}/{name}"] for name in FIGURES}
        assert cells == [FIGURES[name].format(value) for name, value in figures.items()]


def test_the_readme_is_finished_and_not_too_long() -> None:
    assert not re.search(r"DEMO_[A-Z]+", README)
    assert len(README.splitlines()) < 220
