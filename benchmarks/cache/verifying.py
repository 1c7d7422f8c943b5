"""The verifier of a run, fitted on pairs that its candidate is not asked."""

from __future__ import annotations

import numpy as np

from ragopt.benchmarks.cache.material import Material
from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.cache import SAFETY_GUARDS
from ragopt.cache.policies import Verifier, score_pairs
from ragopt.errors import BackendMissing, InputError

__all__ = ["verifier_of"]


def verifier_of(material: Material, *, seed: int) -> Verifier:
    """Boosted trees on the pairs of `Material.fitting`, behind the guards that stay before them.

    Raises:
        Unavailable: there are too few pairs, or scikit-learn is not installed.
    """
    pairs = [material.pairs[place] for place in material.fitting]
    if not pairs:
        raise Unavailable("no labelled pairs to fit a verifier on")
    scored = score_pairs(material.table, pairs, guards=SAFETY_GUARDS)
    try:
        return scored.fit(np.arange(len(pairs)), seed=seed)
    except (InputError, BackendMissing) as error:
        raise Unavailable(f"no verifier could be fitted: {error}") from error
