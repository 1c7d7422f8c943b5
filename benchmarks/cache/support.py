"""How well words and numbers tell whether evidence still supports an answer.

Run ``python -m ragopt.benchmarks.cache.support`` with ``RAGOPT_DATA`` set. For each question of
four public sets, the evidence that an answer was made from is its own passages filled up to five
by BM25 over all passages of the set. It is then checked against five passages found by LSA: for
the same question (right where one of its own passages is among them), for the same question after
its own passages were taken out (stale), and for the most similar question that has other passages
(look-alike). The floor is chosen on every other question and measured on the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.datasets import data_folder
from ragopt.cache.support import Support, Supported
from ragopt.embed import LSAEmbedder
from ragopt.errors import InputError
from ragopt.indexes.lexical import LexicalIndex

__all__ = ["Case", "Shares", "chosen_floor", "main", "measure"]

FLOORS = tuple(round(0.5 + 0.05 * step, 2) for step in range(11))
_PASSAGES = 5
_NEIGHBOURS = 60


@dataclass(frozen=True, slots=True)
class Case:
    """A question with an answer and the passages that it is from."""

    question: str
    answer: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was said of an answer, and whether its own passages were in the evidence."""

    same: Supported
    found: bool
    stale: Supported
    alike: Supported
    shares_passage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """At a floor: what was kept and what was stopped, as shares.

    Args:
        kept: of the right answers, those that were served.
        stale: of those whose passages were gone, those that were stopped.
        alike: of those served for a similar question, those that were stopped.
        alike_elsewhere: the same, where the answer's own passages were not found for that question.
        answers: how many were checked.
    """

    kept: float
    stale: float
    alike: float
    alike_elsewhere: float
    answers: int


def measure(cases: list[Case]) -> list[_Checked]:
    """Check every answer against the three kinds of evidence."""
    passages = list(dict.fromkeys(text for case in cases for text in case.passages))
    place = {text: number for number, text in enumerate(passages)}
    own = [{place[text] for text in case.passages} for case in cases]
    words, asked = LexicalIndex.build(passages), LexicalIndex.build(case.question for case in cases)
    embedder = LSAEmbedder.fit(passages)
    scores = embedder.embed([case.question for case in cases]) @ embedder.embed(passages).T
    nearest = np.argsort(-scores, axis=1, kind="stable")
    support = Support()
    checked = []
    for number, case in enumerate(cases):
        first = [*own[number], *_ids(words, case.question, _PASSAGES)]
        made_from = list(dict.fromkeys(first))[: max(_PASSAGES, len(own[number]))]
        lacking = support.lacking(case.answer, [passages[each] for each in made_from])
        alike = next(
            (
                each
                for each in _ids(asked, case.question, _NEIGHBOURS)
                if not own[each] & own[number]
            ),
            None,
        )
        if alike is None:
            continue
        left = [int(each) for each in nearest[number] if int(each) not in own[number]]
        sets = [nearest[number][:_PASSAGES], left[:_PASSAGES], nearest[alike][:_PASSAGES]]
        same, stale, other = (
            support.check(case.answer, [passages[int(each)] for each in ids], lacking)
            for ids in sets
        )
        checked.append(
            _Checked(
                same,
                bool(own[number] & {int(each) for each in sets[0]}),
                stale,
                other,
                bool(own[number] & {int(each) for each in sets[2]}),
            )
        )
    return checked


def shares(checked: list[_Checked], floor: float) -> Shares:
    """What a floor keeps and stops."""

    def served(verdict: Supported) -> bool:
        return verdict.terms > 0 and not verdict.lost and verdict.share >= floor

    def mean(values: list[bool]) -> float:
        return float(np.mean(values)) if values else float("nan")

    return Shares(
        kept=mean([served(each.same) for each in checked if each.found]),
        stale=mean([not served(each.stale) for each in checked]),
        alike=mean([not served(each.alike) for each in checked]),
        alike_elsewhere=mean(
            [not served(each.alike) for each in checked if not each.shares_passage]
        ),
        answers=len(checked),
    )


def chosen_floor(sets: Mapping[str, list[_Checked]]) -> float:
    """The floor with the largest sum of right ones kept and stale ones stopped, over all sets."""

    def worth(floor: float) -> float:
        found = [shares(checked, floor) for checked in sets.values()]
        return sum(each.kept + each.stale for each in found)

    return max(FLOORS, key=worth)


def _ids(index: LexicalIndex, text: str, count: int) -> list[int]:
    return [int(each) for each in index.search(text, count).ids[0] if each >= 0]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


_READERS: Mapping[str, tuple[str, Callable[[dict[str, Any]], tuple[str, str, list[str]]]]] = {
    "SQuAD, spans": (
        "squad_devhalf.jsonl",
        lambda row: (row["question"], (row["answers"] or [""])[0], [row["context"]]),
    ),
    "Natural Questions, spans": (
        "nq_oracle.jsonl",
        lambda row: (row["question"], row["answers"][0], [row["text"]]),
    ),
    "CLAPNQ, written answers": (
        "clapnq_answerable_150.jsonl",
        lambda row: (
            row["input"],
            row["output"][0]["answer"],
            [each["text"] for each in row["passages"]],
        ),
    ),
    "PubMedQA, conclusions": (
        "pubmedqa.jsonl",
        lambda row: (row["QUESTION"], row["LONG_ANSWER"], row["CONTEXTS"]),
    ),
}


def _cases(folder: Path, name: str) -> list[Case]:
    file, read = _READERS[name]
    read_rows = (read(row) for row in _rows(folder / "qa" / file))
    return [Case(asked, answer, tuple(texts)) for asked, answer, texts in read_rows if answer]


def main() -> None:
    """Print the floor that half of the questions choose, and what it does on the other half."""
    folder = data_folder()
    if folder is None:
        raise InputError("RAGOPT_DATA is not set; expected a folder with qa/squad_devhalf.jsonl, …")
    checked = {name: measure(_cases(folder, name)) for name in _READERS}
    floor = chosen_floor({name: each[::2] for name, each in checked.items()})
    lines = [f"floor {floor}, chosen on every other question, measured on the rest:"]
    lines += [f"{name}: {shares(each[1::2], floor)}" for name, each in checked.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
