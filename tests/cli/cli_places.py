"""Folders of documents with questions, and the command line run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = (
    "Acacia Alder Almond Apple Ash Aspen Balsa Beech Birch Cacao Cedar Cherry Chestnut Citron "
    "Cypress Date Ebony Elder Elm Fig Fir Ginkgo Guava Hawthorn Hazel Hemlock Hickory Holly "
    "Jackfruit Juniper Kapok Larch Laurel Lemon Lilac Linden Lychee Magnolia Mahogany Mango Maple "
    "Mulberry Myrtle Nutmeg Oak Olive Orange Palm Papaya Pear Pecan Pine Plum Poplar"
).split()
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
# They colour what a program writes to no terminal, set its width, or hide bars.
TERMINAL = (
    "COLUMNS FORCE_COLOR GITHUB_ACTIONS LINES NO_COLOR PY_COLORS TQDM_DISABLE TTY_COMPATIBLE"
).split()


@dataclass(frozen=True)
class Place:
    """A working directory with ``docs`` and ``questions.jsonl``, and commands run in it."""

    folder: Path

    @property
    def docs(self) -> Path:
        return self.folder / "docs"

    @property
    def questions(self) -> Path:
        return self.folder / "questions.jsonl"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """Of every command here: no terminal's, and nothing outside of the folder."""
        inherited = {name: value for name, value in os.environ.items() if name not in TERMINAL}
        return {
            **inherited,
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONUTF8": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(
        self, *arguments: str, code: Sequence[str] = ("-m", "ragopt"), **more: Any
    ) -> subprocess.Popen[bytes]:
        """A command in a process of its own, its output in pipes by default."""
        environment = {**self.environment, **more.pop("env", {})}
        piped = {name: subprocess.PIPE for name in ("stdout", "stderr") if name not in more}
        return subprocess.Popen(
            [sys.executable, *code, *arguments],
            cwd=self.folder,
            env=environment,
            **{"stdin": subprocess.DEVNULL, **piped, **more},
        )

    def ragopt(self, *command: str, **env: str) -> Said:
        """A command, finished."""
        process = self.start(*command, env=env)
        out, err = process.communicate(timeout=900)
        return Said(process.returncode, out.decode(), err.decode())

    def savings(self, *more: str, **env: str) -> Said:
        """``ragopt savings`` on what stands here, finished."""
        return self.ragopt(
            "savings", "--docs", "docs", "--questions", "questions.jsonl", *more, **env
        )

    def figures(self, name: str = "figures.json") -> dict[str, Any]:
        """What ``--json`` wrote."""
        found: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        return found

    def values(self, name: str = "figures.json") -> dict[str, float]:
        """The rows of ``--json``, by name."""
        return {row["name"]: row["value"] for row in self.figures(name)["rows"]}

    def files(self) -> dict[str, bytes]:
        """Every file below the folder and its content."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


@dataclass(frozen=True)
class Said:
    """How a command ended."""

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


def make_place(folder: Path, *, names: int, asked: int) -> Place:
    """Four documents a name in three formats, and a question about each of the first ones."""
    place = Place(folder)
    place.temporary.mkdir()
    questions = []
    for number, name in enumerate(NAMES[:names]):
        for topic, (fact, question, other_words) in _facts(number, name).items():
            suffix = list(PAGES)[len(questions) % len(PAGES)]
            filler = [FILLER[(len(questions) + step) % len(FILLER)] for step in range(3)]
            text = " ".join([filler[0], fact, *filler[1:]])
            file = place.docs / name.lower() / f"{topic}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(PAGES[suffix].format(title=f"{name}: {topic}", text=text), "utf-8")
            paraphrases = [other_words] if number % 4 == 1 else []
            questions.append({"question": question, "answer": fact, "paraphrases": paraphrases})
    write_questions(place, questions[:asked])
    return place


def write_questions(place: Place, questions: Sequence[Mapping[str, Any]]) -> None:
    """One a line."""
    lines = [json.dumps(question) + "\n" for question in questions]
    place.questions.write_text("".join(lines), "utf-8")


def _facts(number: int, name: str) -> dict[str, tuple[str, str, str]]:
    """Of each topic a fact, a question about it, and the same question in other words."""
    days, hour, quota = 7 + 3 * number, number % 24, 50 + 10 * number
    region = f"{REGIONS[number % len(REGIONS)]}-{number}"
    return {
        "retention": (
            f"The retention period of bucket {name} is {days} days.",
            f"What is the retention period of bucket {name}?",
            f"How many days is the retention of {name}?",
        ),
        "region": (
            f"Bucket {name} stores its replicas in the region {region}.",
            f"In which region does bucket {name} store its replicas?",
            f"Where are the replicas of {name}?",
        ),
        "backup": (
            f"The nightly backup of bucket {name} begins at {hour}:{number + 10} UTC.",
            f"When does the nightly backup of bucket {name} begin?",
            f"At which time UTC begins the backup of {name}?",
        ),
        "quota": (
            f"The upload quota of bucket {name} amounts to {quota} gigabytes a day.",
            f"What is the upload quota of bucket {name}?",
            f"How many gigabytes a day may be uploaded to {name}?",
        ),
    }
