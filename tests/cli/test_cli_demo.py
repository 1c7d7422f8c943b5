"""``ragopt demo``: once in full, and what it refuses at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_places import Place, Said

from ragopt.benchmarks.embedded import load_embedded
from ragopt.cli.app import run
from ragopt.errors import InputError
from ragopt.questions import read_questions


@pytest.fixture(scope="module")
def demo_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("demo"))
    place.temporary.mkdir()
    return place


@pytest.fixture(scope="module")
def demo(demo_place: Place) -> Said:
    """The whole demo: about a minute on one core."""
    try:
        load_embedded()
    except InputError as error:
        pytest.skip(f"this Python came without its documentation: {error}")
    return demo_place.ragopt("demo", "--json", "demo.json", "--html", "demo.html")


def line(said: Said, label: str) -> str:
    """What stands beside a label below the table, its lines joined."""
    found = re.search(rf"^{label} +(.+(?:\n {{9,}}.+)*)", said.out, re.MULTILINE)
    assert found, said.out
    return " ".join(found[1].split())


@pytest.mark.slow
def test_the_demo_saves_most_of_the_bill_at_held_quality(demo: Said, demo_place: Place) -> None:
    assert demo.status == 0
    assert not demo.err
    assert "\x1b" not in demo.out
    assert re.match(r"The bill falls by \d+%: from \$\S+ to \$\S+ per 1,000 quest", demo.out)
    values = demo_place.values("demo.json")
    assert values["savings/combined/usd_ratio"] < 0.5
    assert values["savings/combined_without_cache/usd_ratio"] < 0.7
    assert values["savings/combined/quality_diff_lower"] > -0.02
    assert values["savings/combined/ram_ratio"] <= 0.1


@pytest.mark.slow
def test_the_demo_says_what_it_asked(demo: Said, demo_place: Place) -> None:
    found = demo_place.figures("demo.json")
    assert line(demo, "seed") == "0"
    assert re.fullmatch(
        r"1,\d{3} requests, Zipf exponent 0\.8, seed 0: \d+% repeat earlier words, \d+% put an "
        r"earlier question in new words",
        line(demo, "traffic"),
    )
    assert line(demo, "traffic") == found["traffic"]
    assert line(demo, "load") == "1,000,000 questions a month over 1,000,000 vectors"
    assert re.fullmatch(r"the documentation in Python 3\.\d+\.\S+", found["about"]["corpus"])


@pytest.mark.slow
def test_no_cache_answers_a_look_alike(demo: Said, demo_place: Place) -> None:
    traps = demo_place.figures("demo.json")["traps"]
    assert traps["asked"] >= 40
    assert traps["served_wrong"] == {"exact": [], "semantic": []}
    for cache in ("exact", "semantic"):
        assert f"the {cache} cache answered 0 of {traps['asked']} wrongly" in line(
            demo, "look-alikes"
        )
    assert line(demo, "wrong hits").startswith("0 of ")


@pytest.mark.slow
def test_the_demo_ends_with_what_to_do_next(demo: Said, tmp_path: Path) -> None:
    end = demo.out[demo.out.index("Measured in ") :].splitlines()
    assert re.fullmatch(r"Measured in \d+ s\. Next, on your own data:", end[0])
    command = "ragopt savings --docs FOLDER --questions FILE.jsonl --html report.html"
    assert end[1].strip() == command
    example = next(each.strip() for each in end if each.strip().startswith("{"))
    assert json.loads(example).keys() == {"question", "answer"}
    (tmp_path / "FILE.jsonl").write_text(example, "utf-8")
    assert len(read_questions(tmp_path / "FILE.jsonl")) == 1


@pytest.mark.slow
def test_the_demo_writes_what_was_asked_for(demo: Said, demo_place: Place) -> None:
    assert "\nFigures written to demo.json\nReport page written to demo.html\n" in demo.out
    assert (demo_place.folder / "demo.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    left = {path.name for path in demo_place.folder.iterdir()}
    assert left == {"demo.html", "demo.json", "tmp"}
    assert not list(demo_place.temporary.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "nowhere/out"], "nowhere/out: there is no folder nowhere"),
        (["--json", "out", "--html", "out"], "out: another option names this file"),
        (["--model", "gpt-5-minni"], "close: gpt-5-mini, "),
        (["--model", "text-embedding-3-small"], "no standard price for output tokens"),
        (["--prices", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--threshold", "0"], "threshold=0.0: expected above 0, at most 1"),
    ],
)
def test_what_the_demo_cannot_use_is_refused_before_the_work(
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", *options]) == 2
    said = Said(2, *capsys.readouterr())
    assert words in said.error
    assert not said.out
    assert not list(tmp_path.iterdir())
