"""``ragopt rerank tune``: fitted on half, told on the other half, saved whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragopt.benchmarks.context.tune import TuneOptions, tune
from ragopt.benchmarks.datasets import load
from ragopt.cli.app import app, run
from ragopt.errors import InputError
from ragopt.rerank import Tighten, TightenOptions

FEW = ("--candidates", "12")  # candidates a question: the corpus has many questions


def tuned(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["rerank", "tune", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_tuning_tells_what_it_keeps_of_the_other_half(tmp_path: Path) -> None:
    save, figures, picture = (tmp_path / name for name in ("t.json", "f.json", "p.svg"))
    out = tuned(
        "embedded", "--scorer", "bm25", "--alpha", "0.2", "--candidates", "12", "--save", str(save),
        "--json", str(figures), "--plot", str(picture),
    )  # fmt: skip
    found = json.loads(figures.read_text())
    assert f"{found['kept']:.1%} ({found['kept_lower']:.1%} to {found['kept_upper']:.1%}" in out
    assert found["kept_lower"] <= found["kept"] <= found["kept_upper"]
    assert f"top 10 {10:>8}" in out
    assert found["resplits"]["splits"] == 200
    assert found["fixed"]["top_50"]["tokens"] >= found["fixed"]["top_10"]["tokens"]
    made = Tighten.load(save)
    assert made.scorer_id.startswith("bm25(k1=1.2")
    assert made.to_dict() == found["tighten"]
    assert made.floor is not None
    assert str(made.floor.certificate).split(" (")[0] in " ".join(out.split())
    assert picture.read_text().lstrip().startswith("<?xml")


def test_recall_of_what_is_found(tmp_path: Path) -> None:
    out = tuned("embedded", "--scorer", "bm25", "--recall", "--found", "--alpha", "0.2", *FEW)
    assert "recall on" in out
    assert "mean recall of evidence that the search found >= 0.8" in out


def test_the_floor_is_fitted_on_one_half_only() -> None:
    options = TuneOptions(
        scorer="bm25",
        alpha=0.2,
        of="found",
        candidates=8,
        tighten=TightenOptions(hard_limit=1),
    )
    report = tune(load("embedded"), options=options)
    assert report.tighten.floor is not None
    assert 0 < report.tighten.floor.n <= report.fitted_on
    assert abs(report.fitted_on - report.reported_on) <= report.fitted_on // 2
    assert report.chunks == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("embedded", "--scorer", "bm52"), "scorer='bm52': expected bm25, cosine, fused"),
        (("embedded", "--scorer", "cross-encoder:"), "cross-encoder:MODEL"),
        (("nowhere.jsonl",), "no dataset of this name"),
        (("embedded", "--save", "/nowhere/t.json"), "there is no folder"),
    ],
)
def test_errors_are_one_sentence(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rerank", "tune", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_candidates_are_at_least_one() -> None:
    with pytest.raises(InputError, match="candidates=0"):
        TuneOptions(candidates=0)
