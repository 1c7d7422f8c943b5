"""Places to run the command line in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_places import TERMINAL, Place, Said, make_place

from ragopt.cli.app import run


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """216 documents, each with a question: enough for levers to hold quality."""
    return make_place(tmp_path_factory.mktemp("wide"), names=54, asked=216)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """8 documents, each with a question."""
    return make_place(tmp_path, names=2, asked=8)


@pytest.fixture
def here(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """``ragopt savings`` on the place in this process: nothing is left in the temporary folder."""
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, place.environment[name])
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(place.temporary))
    monkeypatch.chdir(place.folder)

    def savings(*more: str, **options: str | Path) -> Said:
        given = {"docs": "docs", "questions": "questions.jsonl", "requests": "20", **options}
        named = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        status = run(["savings", *named, *more])
        return Said(status, *capsys.readouterr())

    yield savings
    assert not list(place.temporary.iterdir())


@pytest.fixture
def refused(place: Place, here: Callable[..., Said]) -> Callable[..., str]:
    """What ``ragopt savings`` says to input it cannot use; not one file is changed by it."""

    def refusal(*more: str, status: int = 2, **options: str | Path) -> str:
        before = place.files()
        said = here(*more, **options)
        assert said.status == status, said
        assert place.files() == before
        return said.error

    return refusal
