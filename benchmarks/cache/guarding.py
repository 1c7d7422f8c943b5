"""Guards put to questions that look alike and ask something else, and what they cost in duplicates.

Traps are made from real questions; whatever a guard refuses is stopped. Duplicates are labelled as
such and so similar that a cache would serve them; those that a guard refuses are lost. Both are
counted for the default guards, and for those that stay before a verifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.figures import MILLION, interval, millionths, pack, unpack
from ragopt.benchmarks.cache.material import Material
from ragopt.benchmarks.cache.traps import KINDS, traps_of
from ragopt.benchmarks.rows import Row
from ragopt.cache import DEFAULT_GUARDS, SAFETY_GUARDS, Guard, normalise

__all__ = ["LOST_AT", "guard_decisions", "guard_rows"]

LOST_AT = (0.9, 0.95)
"""Cosines from which duplicates are looked at."""

_SETS: Mapping[str, Sequence[Guard]] = {
    "guards": DEFAULT_GUARDS,
    "safety-guards": SAFETY_GUARDS,
}
_FEWEST = 5  # of what is counted; a share of fewer says nothing
_QUESTIONS = 30_000  # that traps are made from


def guard_decisions(
    material: Material, most: int, *, seed: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """What each set of guards refused, packed, with the similarities of the duplicates.

    Args:
        material: its questions, and the pairs of the half that reports.
        most: traps of each kind.
        seed: of the traps.
        progress: told how many steps of how many are done.
    """
    questions = _drawn(material.questions, seed)
    traps = traps_of(questions, seed=seed, most=most)
    progress(1, 3)
    by_kind = {kind: [trap for trap in traps if trap.kind == kind] for kind in KINDS}
    stopped = {
        kind: _refused((trap.changed, trap.question) for trap in found)
        for kind, found in by_kind.items()
    }
    progress(2, 3)
    pairs, similarities = _duplicates(material)
    lost = _refused(pairs)
    progress(3, 3)
    return {"traps": stopped, "duplicates": {"similarities": pack(similarities), **lost}}


def guard_rows(decisions: Mapping[str, Any]) -> list[Row]:
    """Shares of traps that are stopped and of duplicates that are lost, with intervals."""
    return [row for name in _SETS for row in _rows_of(name, decisions)]


def _rows_of(name: str, decisions: Mapping[str, Any]) -> Iterator[Row]:
    """Of one set of guards."""
    for kind, refused in decisions["traps"].items():
        yield _row(
            f"cache/{name}/{kind}_stopped",
            unpack(refused[name]),
            f"fewer than {_FEWEST} questions of this data have a {kind} to change",
        )
    duplicates = decisions["duplicates"]
    similarities = unpack(duplicates["similarities"])
    for cosine in LOST_AT:
        yield _row(
            f"cache/{name}/duplicates_lost_at_{cosine * 100:g}",
            unpack(duplicates[name])[similarities >= millionths(cosine)],
            f"fewer than {_FEWEST} labelled duplicates of cosine {cosine:g} or more",
        )


def _row(name: str, refused: NDArray[np.int32], why: str) -> Row:
    n, count = len(refused), int(refused.sum())
    if n < _FEWEST:
        return Row.missing(name, why, n=n)
    return Row.of(name, count / n, range=interval(count, n), n=n, refused=count)


def _drawn(questions: Sequence[str], seed: int) -> list[str]:
    if len(questions) <= _QUESTIONS:
        return list(questions)
    places = np.random.default_rng(seed).permutation(len(questions))[:_QUESTIONS]
    return [questions[place] for place in np.sort(places)]


def _duplicates(material: Material) -> tuple[list[tuple[str, str]], NDArray[np.int32]]:
    """Labelled the same, in other words, so similar that they may be served; the similarities."""
    places = [] if material.split is None else material.split.report.tolist()
    found, similarities = [], []
    for place in places:
        pair = material.pairs[place]
        if not pair.same or normalise(pair.text_a) == normalise(pair.text_b):
            continue
        similarity = millionths(material.table.cosine(pair.text_a, pair.text_b))
        if similarity >= LOST_AT[0] * MILLION:
            found.append((pair.text_b, pair.text_a))
            similarities.append(similarity)
    return found, np.array(similarities, dtype=np.int32)


def _refused(asked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By set of guards: 1 for each pair of texts that one of them refuses, packed."""
    texts = list(asked)
    return {
        name: pack(
            np.array([not all(g.agrees(*pair) for g in guards) for pair in texts], dtype=np.int32)
        )
        for name, guards in _SETS.items()
    }
