"""Folders of documents with questions, and the command line run on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ragopt.cli.app import run

NAMES = (
    "Acacia Alder Almond Apple Ash Aspen Balsa Beech Birch Cacao Cedar Cherry Chestnut Citron "
    "Cypress Date Ebony Elder Elm Fig Fir Ginkgo Guava Hawthorn Hazel Hemlock Hickory Holly "
    "Jackfruit Juniper Kapok Larch Laurel Lemon Lilac Linden Lychee Magnolia Mahogany Mango Maple "
    "Mulberry Myrtle Nutmeg Oak Olive Orange Palm Papaya Pear Pecan Pine Plum Poplar Quince "
    "Rowan Spruce Sycamore Walnut Willow"
).split()
TOPICS = ("retention", "region", "backup", "quota")
REGIONS = "Dublin Frankfurt Mumbai Oregon Osaka Paris Seoul Sydney Tokyo Virginia Zurich".split()
FILLER = (
    "Operators see the current value on the status page.",
    "A change is written to the audit log and takes effect at the next full hour.",
    "Requests that arrive in between are answered with the old value.",
    "Ask the storage team before you rely on it in a contract.",
    "Older releases called this setting by another name.",
    "The command line prints it together with the version of the server.",
)
PAGES = {
    ".md": "# {title}\n\n{text}\n",
    ".txt": "{title}\n\n{text}\n",
    ".html": "<html><head><title>{title}</title></head><body><p>{text}</p></body></html>\n",
}
# They colour the output of a program that writes to no terminal, or set its width.
TERMINAL = "COLUMNS FORCE_COLOR GITHUB_ACTIONS LINES NO_COLOR PY_COLORS TTY_COMPATIBLE".split()


@dataclass(frozen=True)
class Place:
    """A working directory with ``docs`` and ``questions.jsonl``, and commands run in it."""

    folder: Path
    environment: Mapping[str, str]

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """``python -m ragopt`` in a process of its own."""
        environment = {**self.environment, **more.pop("env", {})}
        return subprocess.Popen(
            [sys.executable, "-m", "ragopt", *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more},
        )

    def ragopt(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """``python -m ragopt``, finished."""
        process = self.start(*arguments, env=env, encoding="utf-8")
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def figures(self, name: str = "figures.json") -> dict[str, Any]:
        """What ``--json`` wrote."""
        found: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        return found

    def files(self) -> dict[str, bytes]:
        """Every file below the folder, the documents' aside."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "docs" not in path.relative_to(self.folder).parts[:1]
        }


@dataclass(frozen=True)
class Said:
    """The end of a command that ran in this process."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one sentence that an error is told in."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


def write_corpus(folder: Path, *, names: int, asked: int) -> None:
    """Four documents a name in three formats, and a question about each of the first ones."""
    questions = []
    for place, name in enumerate(NAMES[:names]):
        for number, topic in enumerate(TOPICS):
            fact, *wordings = _fact(place, name)[topic]
            filler = [FILLER[(place + number + step) % len(FILLER)] for step in range(3)]
            text = " ".join([filler[0], fact, *filler[1:]])
            suffix = list(PAGES)[(place + number) % len(PAGES)]
            page = PAGES[suffix].format(title=f"{name}: {topic}", text=text)
            file = folder / "docs" / name.lower() / f"{topic}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(page, "utf-8")
            questions.append(
                {
                    "question": wordings[0],
                    "answer": fact,
                    "paraphrases": wordings[1:] if place % 4 == 1 else [],
                }
            )
    write_questions(folder / "questions.jsonl", questions[:asked])


def write_questions(path: Path, questions: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(question) + "\n" for question in questions), "utf-8")


def _fact(place: int, name: str) -> dict[str, tuple[str, str, str]]:
    """Of each topic: the fact, a question, the same question in other words."""
    days, hour = 7 + 3 * place, place % 24
    region, quota = f"{REGIONS[place % len(REGIONS)]}-{place}", 50 + 10 * place
    return {
        "retention": (
            f"The retention period of bucket {name} is {days} days.",
            f"What is the retention period of bucket {name}?",
            f"How many days is the retention of {name}?",
        ),
        "region": (
            f"Bucket {name} stores its replicas in the region {region}.",
            f"In which region does bucket {name} store its replicas?",
            f"Where are replicas of {name}?",
        ),
        "backup": (
            f"The nightly backup of bucket {name} begins at {hour}:{place % 50 + 10} UTC.",
            f"When does the nightly backup of bucket {name} begin?",
            f"At which time UTC begins the backup of {name}?",
        ),
        "quota": (
            f"The upload quota of bucket {name} amounts to {quota} gigabytes a day.",
            f"What is the upload quota of bucket {name}?",
            f"How many gigabytes a day may be uploaded to {name}?",
        ),
    }


def make_place(folder: Path) -> Place:
    (folder / "tmp").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in TERMINAL}
    environment |= {
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
    }
    return Place(folder, environment)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """216 documents, each with a question: enough for levers to hold quality."""
    place = make_place(tmp_path_factory.mktemp("wide"))
    write_corpus(place.folder, names=54, asked=216)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """100 documents, 60 questions."""
    place = make_place(tmp_path)
    write_corpus(place.folder, names=25, asked=60)
    return place


@pytest.fixture
def tiny(tmp_path: Path) -> Place:
    """8 documents, 8 questions."""
    place = make_place(tmp_path)
    write_corpus(place.folder, names=2, asked=8)
    return place


@pytest.fixture
def here(
    tiny: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """``ragopt savings`` on the tiny place in this process, with other options on top."""
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", tiny.environment["TMPDIR"])
    monkeypatch.setenv("XDG_CACHE_HOME", tiny.environment["XDG_CACHE_HOME"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.chdir(tiny.folder)

    def savings(*more: str, **options: str | Path) -> Said:
        given = {"docs": "docs", "questions": "questions.jsonl", "requests": "20", **options}
        named = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        status = run(["savings", *named, *more])
        return Said(status, *capsys.readouterr())

    yield savings
    assert not list((tiny.folder / "tmp").iterdir()), "temporary files were left behind"
