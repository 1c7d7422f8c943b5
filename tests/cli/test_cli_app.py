"""The frame around the commands: version, help, options out of range, exit statuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cli_places import Place, Said

import ragopt
from ragopt.cli.app import run


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ragopt {ragopt.__version__}\n"


def test_the_module_runs_from_any_folder(place: Place) -> None:
    assert place.ragopt("--version") == Said(0, f"ragopt {ragopt.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = run(arguments)
    out, err = capsys.readouterr()
    assert status == (0 if arguments else 2)
    shown = out + err
    assert "Usage:" in shown
    for word in ("demo", "savings", "bench", "diff", "report", "--version", "--help"):
        assert word in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("command", ["demo", "savings"])
def test_the_help_of_a_command_fits_80_columns_with_whole_names(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out  # a name that is cut off cannot be typed
    options = (
        "model prices questions-per-month requests zipf threshold seed json html quiet".split()
    )
    own = {"demo": [], "savings": ["docs", "questions", "embedder", "vectors", "max-chars"]}
    for option in (*options, *own[command]):
        assert f"--{option} " in out


def test_the_text_of_the_help_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    run(["demo", "--help"])
    assert " and an extractive answerer stands in for the model, so that quality is" in (
        " ".join(capsys.readouterr().out.split())
    )


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("threshold", "2", "1"),
        ("threshold", "-0.1", "0"),
        ("threshold", "high", "number"),
        ("requests", "0", "1"),
        ("requests", "1.5", "integer"),
        ("zipf", "-1", "0"),
        ("zipf", "nan", "0"),
        ("seed", "-1", "0"),
        ("vectors", "0", "1"),
        ("questions-per-month", "0", "1"),
        ("max-chars", "0", "1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_option_s_name(
    option: str, value: str, expected: str, place: Place, here: Callable[..., Said]
) -> None:
    before = place.files()
    said = here("--json", "figures.json", **{option: value})
    assert said.status == 2
    told = " ".join(said.err.split())
    assert f"Invalid value for '--{option}'" in told
    assert expected in told.partition("Invalid value for")[2]
    assert "Try '" in told
    assert "--help'" in told
    assert not said.out
    assert place.files() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threshold": "0"}, "threshold=0.0: expected above 0, at most 1"),
        ({"zipf": "inf"}, "zipf=inf: expected requests >= 1 and a finite zipf >= 0"),
        ({"seed": str(2**40)}, f"seed={2**40}: expected an integer from 0 to"),
    ],
)
def test_what_only_the_measurement_knows_is_refused_in_a_sentence(
    options: dict[str, str], sentence: str, refused: Callable[..., str]
) -> None:
    assert sentence in refused(**options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["savings", "--frobnicate"], "No such option: --frobnicate"),
        (["savings"], "Missing option '--docs'"),
        (["savings", "--docs", "docs"], "Missing option '--questions'"),
        (["demo", "--docs", "docs"], "No such option: --docs"),
        (["saving"], "No such command 'saving'"),
        (["savings", "docs"], "docs"),
    ],
)
def test_what_typer_cannot_parse_is_a_usage_error(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert words in " ".join(err.split())
    assert "Usage:" in err
