"""A seeded part of a corpus and its questions, small enough for a run of limited time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragopt.benchmarks.evidence import EvalItem
from ragopt.chunk import Chunk

__all__ = ["part_of"]


def part_of(
    chunks: Sequence[Chunk],
    items: Sequence[EvalItem],
    *,
    most_chunks: int | None,
    most_questions: int | None,
    seed: int,
) -> tuple[list[Chunk], list[EvalItem]]:
    """At most so many questions, all their gold chunks, and others up to so many chunks.

    Order is kept. Searching fewer chunks is easier: figures of a part are not those of the whole.

    Args:
        chunks: the corpus.
        items: questions with evidence.
        most_chunks: None for all; gold chunks stay even beyond it.
        most_questions: None for all.
        seed: of both draws.
    """
    rng = np.random.default_rng(seed)
    asked = list(items)
    if most_questions is not None and most_questions < len(items):
        drawn = rng.choice(len(items), size=most_questions, replace=False)
        asked = [items[place] for place in sorted(drawn.tolist())]
    if most_chunks is None or most_chunks >= len(chunks):
        return list(chunks), asked
    gold = frozenset[str]().union(*(item.gold for item in asked))
    others = [place for place, chunk in enumerate(chunks) if chunk.id not in gold]
    room = max(0, most_chunks - (len(chunks) - len(others)))
    added = {others[place] for place in rng.choice(len(others), size=room, replace=False).tolist()}
    return [
        chunk for place, chunk in enumerate(chunks) if chunk.id in gold or place in added
    ], asked
