"""The examples of docs/tiered-index.md run as written, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tiered-index.md").read_text("utf-8")


def test_the_examples_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        exec(example, names)
    assert capsys.readouterr().out


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE)
    assert len(pictures) == 2
    for picture in pictures:
        content = (Path(__file__).resolve().parents[2] / "docs" / picture).read_text("utf-8")
        assert content.startswith("<svg")
