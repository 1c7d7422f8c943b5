"""In which order chunks stand in the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ragopt.chunk import Hit

__all__ = ["EDGES_FROM", "prompt_order"]

EDGES_FROM = 11
"""Chunks from which on the best stand at both ends."""


def prompt_order(hits: Sequence[Hit]) -> list[int]:
    """Places of the hits in the order of the prompt.

    Documents by their best chunk, and the chunks of one document as they stand in it: a text read
    backwards is hard to follow. More than ten chunks are laid out from the edges inwards, the best
    documents first and last: what stands in the middle of a long prompt is used least (Liu et al.,
    2023, "Lost in the Middle", arXiv 2307.03172).

    Args:
        hits: best first.
    """
    documents: dict[tuple[str, int], list[int]] = {}
    for place, hit in enumerate(hits):
        # A chunk that names no document is one by itself.
        alone = 0 if hit.chunk.source else place + 1
        documents.setdefault((hit.chunk.source, alone), []).append(place)
    groups = [
        sorted(places, key=lambda place: hits[place].chunk.start) for places in documents.values()
    ]
    if len(hits) >= EDGES_FROM:
        groups = [*groups[::2], *reversed(groups[1::2])]
    return [place for group in groups for place in group]
