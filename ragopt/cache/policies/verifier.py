"""A small model of whether two questions ask the same, over cheap features of the pair.

Boosted trees, fitted by scikit-learn in seconds and kept as readable JSON; they are scored here,
without scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.cache.policies.features import FEATURES, pair_features
from ragopt.errors import InputError
from ragopt.form import reading, write_form

__all__ = ["Verifier", "fit_verifier"]

_KIND = "ragopt pair verifier"
_VERSION = 1
_TREES, _DEPTH, _RATE, _LEAF = 150, 4, 0.08, 20
_LEAF_MARK = -1


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Boosted trees over `FEATURES`.

    Args:
        feature: (trees, nodes) i32, the feature that a node looks at; -1 for a leaf.
        threshold: (trees, nodes) f64; at most it goes left, beyond it right.
        left: (trees, nodes) i32, the node to go to; for a leaf, itself.
        right: (trees, nodes) i32, likewise.
        value: (trees, nodes) f64, log-odds that a leaf adds.
        start: log-odds before any tree.
        depth: steps from a root to its farthest leaf.
        n: pairs it was fitted on.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    start: float
    depth: int
    n: int = 0

    def probability(self, asked: str, cached: str, similarity: float) -> float:
        """That the two ask the same, as far as the pairs it was fitted on go; not calibrated.

        Args:
            asked: a question.
            cached: another.
            similarity: their cosine.
        """
        return float(self.probabilities([pair_features(asked, cached, similarity)])[0])

    def probabilities(self, features: ArrayLike) -> NDArray[np.float64]:
        """`probability` of many pairs by their features (n, len(FEATURES)); (n,).

        Raises:
            InputError: another number of features.
        """
        # in single precision, as they were when the trees were fitted
        rows = np.asarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(FEATURES):
            raise InputError(f"features have shape {rows.shape}, expected (n, {len(FEATURES)})")
        trees = np.arange(len(self.feature))
        odds = np.full(len(rows), self.start)
        for first in range(0, len(rows), _AT_ONCE):
            part = rows[first : first + _AT_ONCE]
            pairs = np.arange(len(part))[:, None]
            node = np.zeros((len(part), len(trees)), dtype=np.int32)
            for _ in range(self.depth):
                looked = self.feature[trees, node]
                goes_left = part[pairs, looked] <= self.threshold[trees, node]
                node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            odds[first : first + _AT_ONCE] += self.value[trees, node].sum(axis=1)
        likely: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
        return likely

    def __repr__(self) -> str:
        return f"Verifier({len(self.feature)} trees, fitted on {self.n:,} pairs)"

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads; a tree is a list of its nodes."""
        trees = zip(self.feature, self.threshold, self.left, self.right, self.value, strict=True)
        return {
            "kind": _KIND,
            "version": _VERSION,
            "features": list(FEATURES),
            "start": self.start,
            "n": self.n,
            "trees": [_written(*tree) for tree in trees],
        }

    @classmethod
    def from_dict(cls, content: Any) -> Verifier:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, of a newer ragopt, or of other features.
        """
        with reading(content, kind=_KIND, version=_VERSION, what="verifier", remedy="fit it again"):
            if tuple(content["features"]) != FEATURES:
                raise InputError("fitted on other features; fit it again")
            return _of_nodes(content["trees"], float(content["start"]), int(content["n"]))

    def save(self, path: Path | str) -> None:
        """Write it as JSON, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_form(path, self.to_dict())


def _written(
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    value: NDArray[np.float64],
) -> list[Any]:
    """The nodes of one tree, without those that fill it up to the length of the longest."""
    nodes: list[Any] = []
    for place, looked in enumerate(feature.tolist()):
        if looked == _LEAF_MARK:
            nodes.append(round(float(value[place]), 6))
        elif left[place] > place:
            below, above = int(left[place]), int(right[place])
            nodes.append([FEATURES[looked], float(threshold[place]), below, above])
    return nodes


_AT_ONCE = 4096  # pairs whose nodes stand in memory together


def _of_nodes(trees: Sequence[Sequence[Any]], start: float, n: int) -> Verifier:
    most = max((len(tree) for tree in trees), default=1)
    shape = (len(trees), most)
    feature = np.zeros(shape, dtype=np.int32)
    left, right = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    threshold, value = np.zeros(shape), np.zeros(shape)
    names = {name: place for place, name in enumerate(FEATURES)}
    depth = 0
    for tree, nodes in enumerate(trees):
        reached = {0: 0}
        for place, node in enumerate(nodes):
            if not isinstance(node, list | tuple):
                feature[tree, place], value[tree, place] = _LEAF_MARK, float(node)
                left[tree, place] = right[tree, place] = place
                continue
            name, limit, below, above = node
            if not place < below < len(nodes) or not place < above < len(nodes):
                raise InputError(f"node {place} of tree {tree} leads to no later node")
            feature[tree, place], threshold[tree, place] = names[name], float(limit)
            left[tree, place], right[tree, place] = below, above
            for child in (below, above):
                reached[child] = reached.get(place, 0) + 1
                depth = max(depth, reached[child])
    if not (np.isfinite(threshold).all() and np.isfinite(value).all() and math.isfinite(start)):
        raise InputError("a threshold or a value is not finite")
    return Verifier(feature, threshold, left, right, value, start, depth, n)


def fit_verifier(features: ArrayLike, same: ArrayLike, *, seed: int = 0) -> Verifier:
    """Fit boosted trees (Friedman, 2001) on the features of labelled pairs.

    Args:
        features: (n, len(FEATURES)), see `pair_features`.
        same: (n,) whether the two ask the same.
        seed: of the sampling.

    Raises:
        BackendMissing: scikit-learn is not installed.
        InputError: fewer than two labels, or shapes that do not fit.

    Cost: some 10 s for 20,000 pairs.
    """
    from ragopt.optional import import_backend

    rows, labels = np.asarray(features, dtype=np.float64), np.asarray(same, dtype=bool)
    if rows.ndim != 2 or rows.shape != (len(labels), len(FEATURES)):
        raise InputError(
            f"features have shape {rows.shape}, same {labels.shape}; expected "
            f"(n, {len(FEATURES)}) and (n,)"
        )
    if labels.all() or not labels.any():
        raise InputError("all pairs have one label; a verifier needs both to tell them apart")
    ensemble = import_backend("sklearn.ensemble", "models", "fitting a verifier")
    model = ensemble.GradientBoostingClassifier(
        n_estimators=_TREES, max_depth=_DEPTH, learning_rate=_RATE, min_samples_leaf=_LEAF,
        subsample=0.7, random_state=seed,
    ).fit(rows, labels)  # fmt: skip
    share = labels.mean()
    trees = [_nodes(tree[0].tree_) for tree in model.estimators_]
    return _of_nodes(trees, math.log(share / (1 - share)), len(labels))


def _nodes(tree: Any) -> list[Any]:
    """A fitted tree as `Verifier.to_dict` writes it; leaves are scaled by the learning rate."""
    return [
        _RATE * float(tree.value[place, 0, 0])
        if tree.children_left[place] < 0
        else [
            FEATURES[tree.feature[place]],
            float(tree.threshold[place]),
            int(tree.children_left[place]),
            int(tree.children_right[place]),
        ]
        for place in range(tree.node_count)
    ]
