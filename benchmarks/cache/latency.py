"""How long a look-up and an insert take, embedding excluded, at stated numbers of entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.policies import Policy, fill
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.workloads import GrowthOptions, grow
from ragopt.corpus import Progress
from ragopt.errors import InputError

__all__ = ["Pool", "make_pool", "measure"]

_SIMILAR = 0.97  # cosine of a similar question to the entry it is made from
_WARM_UP = 10
_SUFFIX = " please"  # another text for normalisation, the same question for every guard
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Questions to fill a cache with and to ask it.

    Args:
        table: vectors of all of them.
        entries: to store, in order.
        unseen: never stored.
        similar: place of an entry to another text for it, of cosine .97.
        grown: how the real vectors were grown to so many; empty where they sufficed.
    """

    table: VectorTable
    entries: tuple[str, ...]
    unseen: tuple[str, ...]
    similar: dict[int, str]
    grown: str


def make_pool(
    table: VectorTable,
    sizes: Sequence[int],
    samples: int,
    folder: Path,
    progress: Progress,
    *,
    seed: int,
) -> Pool:
    """Real questions first, then vectors grown from theirs.

    Args:
        table: of real texts.
        sizes: numbers of entries to measure at.
        samples: look-ups of each kind and inserts at each size.
        folder: for the grown vectors.
        progress: of their growth.
        seed: of all draws.

    Raises:
        InputError: too few real texts to hold some out.
    """
    texts = [text for text in table.texts if table.known(text)]
    rng = np.random.default_rng(seed)
    texts = [texts[place] for place in rng.permutation(len(texts))]
    held = min(samples, len(texts) // 5)
    if held < 2 or len(texts) - held <= _NEIGHBOURS:
        raise InputError(
            f"{len(texts)} texts are too few to time look-ups with; expected 20 or more"
        )
    unseen, stored = texts[:held], texts[held:]
    needed = sizes[-1] + samples * len(sizes)
    rows = np.stack([table.row(text) for text in stored])
    grown = ""
    if needed > len(stored):
        # a parent's words with a number: what a guard would read, and no text twice
        stored += [f"{stored[n % len(stored)]} ({n})" for n in range(len(stored), needed)]
        path = folder / "grown.npy"
        options = GrowthOptions(seed=seed, neighbours=_NEIGHBOURS, sample=min(200, len(rows)))
        grown = str(grow(rows, needed, path, options=options, progress=progress))
        rows = np.load(path).astype(np.float32)
    entries = stored[:needed]
    asked = sorted({int(n) for size in sizes for n in rng.integers(size, size=samples)})
    similar = {place: entries[place] + _SUFFIX for place in asked}
    every = np.concatenate(
        [rows[:needed], np.stack([table.row(text) for text in unseen]), _near(rows[asked], rng)]
    )
    names = [*entries, *unseen, *similar.values()]
    return Pool(
        table=VectorTable({text: row for row, text in enumerate(names)}, every, id=table.id),
        entries=tuple(entries),
        unseen=tuple(unseen),
        similar=similar,
        grown=grown,
    )


def _near(rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vectors of cosine `_SIMILAR` to the rows, in directions drawn at random."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    away = rng.standard_normal(unit.shape)
    away -= np.einsum("ij,ij->i", away, unit)[:, None] * unit
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(_SIMILAR * unit + np.sqrt(1 - _SIMILAR**2) * away, dtype=np.float32)


def measure(
    policy: Policy,
    pool: Pool,
    sizes: Sequence[int],
    samples: int,
    progress: Callable[[int], None],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Fill step by step; at each size time look-ups, then inserts.

    Look-ups are of three kinds: the very text of an entry, a similar question, and one never
    stored; they are told apart as hits and misses by what came back.

    Returns:
        One dictionary a size, times in microseconds.
    """
    policy.clear()
    found, stored = [], 0
    for number, size in enumerate(sizes):
        fill(policy, pool.entries[stored:size], _answers(stored, size))
        stored = size
        progress(size)
        rng = np.random.default_rng([seed, number])
        looked = _look_ups(policy, pool, size, samples, rng)
        inserted = _inserts(policy, pool, range(size, size + samples))
        stored += samples
        found.append({"entries": size, **looked, "insert": inserted})
    return found


def _look_ups(
    policy: Policy, pool: Pool, size: int, samples: int, rng: np.random.Generator
) -> dict[str, Any]:
    near = [place for place in pool.similar if place < size]
    kinds = {
        "same_text": [pool.entries[int(n)] for n in rng.integers(size, size=samples)],
        "similar": [pool.similar[near[int(n)]] for n in rng.integers(len(near), size=samples)],
        "unseen": [pool.unseen[int(n)] for n in rng.integers(len(pool.unseen), size=samples)],
    }
    for texts in kinds.values():
        for text in texts[:_WARM_UP]:
            policy.get(text)
    times: dict[str, list[float]] = {"hits": [], "misses": []}
    by_kind: dict[str, Any] = {}
    for kind, texts in kinds.items():
        taken, served = [], 0
        for text in texts:
            hit, seconds = _timed(pool.table, lambda text=text: policy.get(text))  # type: ignore[misc]
            taken.append(seconds)
            served += hit is not None
            times["misses" if hit is None else "hits"].append(seconds)
        by_kind[kind] = {**_summary(taken), "served": served}
    return {
        **by_kind,
        "hits": _summary(times["hits"]),
        "misses": _summary(times["misses"]),
    }


def _inserts(policy: Policy, pool: Pool, places: range) -> dict[str, Any]:
    answers = _answers(places.start, places.stop)
    taken = []
    for place, answer in zip(places, answers, strict=True):
        question = pool.entries[place]
        _, seconds = _timed(pool.table, lambda q=question, a=answer: policy.put(q, a))  # type: ignore[misc]
        taken.append(seconds)
    return _summary(taken)


def _timed(table: VectorTable, call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returned, and its seconds without those of the embedder."""
    embedded, start = table.seconds, time.perf_counter()
    value = call()
    return value, time.perf_counter() - start - (table.seconds - embedded)


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {"n": 0}
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return {"n": len(seconds), "p50_us": float(p50), "p99_us": float(p99)}


def _answers(first: int, end: int) -> list[str]:
    return [f"The answer to question {n}." for n in range(first, end)]
