"""Policies certified for the stream, on pairs that the stream does not hold a question of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import LabelledPair
from ragopt.cache import calibrate, normalise
from ragopt.cache.policies import Calibrated
from ragopt.errors import BackendMissing, InputError

if TYPE_CHECKING:
    from ragopt.benchmarks.cache.material import Material

__all__ = ["calibrated_on", "nearest_pairs"]

_ROWS = 1024  # compared at once


def calibrated_on(material: Material, max_error: float, *, verify: bool, seed: int) -> Calibrated:
    """What `ragopt.cache.calibrate` makes of `Material.certifying`.

    Raises:
        Unavailable: scikit-learn is not installed, or there are too few pairs for a verifier.
    """
    try:
        return calibrate(
            material.table, material.certifying, max_error=max_error, verify=verify, seed=seed
        )
    except (InputError, BackendMissing) as error:
        raise Unavailable(f"no threshold could be certified: {error}") from error


def nearest_pairs(
    labelled: Sequence[tuple[str, str]], apart: Sequence[str], table: VectorTable
) -> tuple[LabelledPair, ...]:
    """Pairs as a cache meets them: each text asked, with the most similar one that is stored.

    The first half of the texts is stored and the second asked, so that pairs of different stored
    texts have no text in common and can be divided.

    Args:
        labelled: texts and what each asks for.
        apart: texts that none of the pairs may hold, alike after `ragopt.cache.normalise`.
        table: vectors of the texts.
    """
    taken = {normalise(text) for text in apart}
    left: dict[str, tuple[str, str]] = {}
    for text, meaning in labelled:
        plain = normalise(text)
        if plain not in taken:
            left.setdefault(plain, (text, meaning))
    known = list(left.values())
    stored, asked = known[: len(known) // 2], known[len(known) // 2 :]
    if not stored:
        return ()
    rows = np.stack([table.row(text) for text, _ in stored])
    pairs = []
    for first in range(0, len(asked), _ROWS):
        block = asked[first : first + _ROWS]
        best = (np.stack([table.row(text) for text, _ in block]) @ rows.T).argmax(axis=1)
        pairs += [
            LabelledPair(stored[near][0], text, stored[near][1] == meaning)
            for near, (text, meaning) in zip(best.tolist(), block, strict=True)
        ]
    return tuple(pairs)
