"""``ragopt compress lint``: what is printed, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragopt.cli.app import run

PROMPT = "Please answer in English.   Be brief in order to save time.\n"


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "prompt.txt"
    path.write_text(PROMPT)
    return path


def test_findings_are_printed_and_written(prompt, tmp_path, capsys) -> None:
    figures, rewritten = tmp_path / "f.json", tmp_path / "r.txt"
    status = run(
        ["compress", "lint", str(prompt), "--requests-per-month", "5000", "--model", "gpt-4o",
         "--json", str(figures), "--rewrite", str(rewritten)]
    )  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert status == 0
    assert "'in order to' is long" in printed
    assert "5,000 requests a month, gpt-4o" in printed
    assert rewritten.read_text() == "Answer in English. Be brief to save time.\n"
    told = json.loads(figures.read_text())
    assert told["prompt"] == str(prompt)
    assert told["rewritten"] == [rewritten.read_text()]
    assert {one["rule"] for one in told["findings"]} == {"verbose", "format"}
    assert float(told["usd_saved_per_month"]) > 0


def test_a_request_with_tools(tmp_path, capsys) -> None:
    path = tmp_path / "request.json"
    tools = [{"name": "search", "input_schema": {}}, {"name": "weather", "input_schema": {}}]
    path.write_text(json.dumps({"messages": [], "tools": tools}))
    assert run(["compress", "lint", str(path), "--used-tool", "search"]) == 0
    assert "weather was not called" in " ".join(capsys.readouterr().out.split())


def test_nothing_found_is_said(tmp_path, capsys) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Answer in English.")
    assert run(["compress", "lint", str(path)]) == 0
    assert "nothing found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("", [], "is empty"),
        (PROMPT, ["--model", "no-such-model"], "no price for model"),
        (PROMPT, ["--requests-per-month", "0"], "requests-per-month"),
        (PROMPT, ["--json", "."], "is a folder"),
    ],
)
def test_bad_input_is_one_sentence(content, arguments, said, tmp_path, capsys) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(content)
    assert run(["compress", "lint", str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_an_absent_file_is_named(tmp_path, capsys) -> None:
    assert run(["compress", "lint", str(tmp_path / "absent.txt")]) == 2
    assert "absent.txt" in capsys.readouterr().err
