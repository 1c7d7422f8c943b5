"""A small model of whether two questions ask the same, over cheap features of the pair.

Boosted trees, fitted by scikit-learn in seconds and kept as readable JSON; they are scored here,
without scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.cache.policies.features import FEATURES, pair_features
from ragopt.cache.policies.wording import WORD_FEATURES, WordWeights, cross_fitted
from ragopt.errors import InputError
from ragopt.form import reading, write_form

__all__ = ["Verifier", "fit_verifier"]

_KIND = "ragopt pair verifier"
_VERSION = 2  # with weights of words
_TREES, _DEPTH, _RATE, _LEAF = 200, 4, 0.06, 20
_SEEN = 0.6, 0.4  # share of the pairs that a tree sees, and of the features that a node does
_LEAF_MARK = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """All nodes of all trees in one row, so that a step of every tree is a few plain look-ups.

    For one pair 27 us of 150 trees, half of what steps in the tables by tree and node take. A
    kernel of numba takes 7, but .4 s to import numba.

    Args:
        roots: (trees,) place of each tree's first node.
        feature: (nodes,) that a node looks at; 0 for a leaf, whose children are itself.
        threshold: (nodes,) f64.
        children: (2 * nodes,) places of the left and the right child of each node.
        value: (nodes,) f64.
    """

    roots: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    children: NDArray[np.intp]
    value: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        feature: NDArray[np.int32],
        threshold: NDArray[np.float64],
        left: NDArray[np.int32],
        right: NDArray[np.int32],
        value: NDArray[np.float64],
    ) -> _Walk:
        """From tables (trees, nodes), as `Verifier` has them."""
        trees, nodes = feature.shape
        roots = np.arange(trees, dtype=np.intp) * nodes
        children = np.stack([left, right], axis=-1) + roots[:, None, None]
        looked = np.maximum(feature, 0).astype(np.intp)
        return cls(roots, looked.ravel(), threshold.ravel(), children.ravel(), value.ravel())

    def leaves(self, rows: NDArray[np.float32], depth: int) -> NDArray[np.float64]:
        """The value of the leaf that each row (n, features) reaches in each tree; (n, trees)."""
        values = rows.ravel()
        begins = (np.arange(len(rows)) * rows.shape[1])[:, None]
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(depth):
            seen = values.take(begins + self.feature.take(node))
            node = self.children.take(2 * node + (seen > self.threshold.take(node)))
        return self.value.take(node)


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Boosted trees over `FEATURES` and, where it has weights of words, `WORD_FEATURES`.

    Args:
        feature: (trees, nodes) i32, the feature that a node looks at; -1 for a leaf.
        threshold: (trees, nodes) f64; at most it goes left, beyond it right.
        left: (trees, nodes) i32, the node to go to; for a leaf, itself.
        right: (trees, nodes) i32, likewise.
        value: (trees, nodes) f64, log-odds that a leaf adds.
        start: log-odds before any tree.
        depth: steps from a root to its farthest leaf.
        n: pairs it was fitted on.
        words: what those pairs taught of single words; None where it had their features only.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    start: float
    depth: int
    n: int = 0
    words: WordWeights | None = None
    _walk: _Walk = field(init=False, repr=False)

    def __post_init__(self) -> None:
        walk = _Walk.of(self.feature, self.threshold, self.left, self.right, self.value)
        object.__setattr__(self, "_walk", walk)

    def probability(self, asked: str, cached: str, similarity: float) -> float:
        """That the two ask the same, as far as the pairs it was fitted on go; not calibrated.

        Args:
            asked: a question.
            cached: another.
            similarity: their cosine.
        """
        row = pair_features(asked, cached, similarity)
        if self.words is not None:
            row += self.words.features(asked, cached)
        return float(self._scored(np.array([row], dtype=np.float32))[0])

    def probabilities(
        self, features: ArrayLike, pairs: Sequence[tuple[str, str]] = ()
    ) -> NDArray[np.float64]:
        """`probability` of many pairs, (n,).

        Args:
            features: (n, len(FEATURES)), see `pair_features`.
            pairs: (n,) the texts, for a verifier that has weights of words.

        Raises:
            InputError: another number of features, or of pairs.
        """
        # in single precision, as they were when the trees were fitted
        rows = np.asarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(FEATURES):
            raise InputError(f"features have shape {rows.shape}, expected (n, {len(FEATURES)})")
        if self.words is None:
            return self._scored(rows)
        if len(pairs) != len(rows):
            raise InputError(
                f"{len(pairs)} pairs for {len(rows)} rows of features; expected the texts of each"
            )
        own = np.array([self.words.features(*pair) for pair in pairs], dtype=np.float32)
        return self._scored(np.hstack([rows, own.reshape(len(rows), len(WORD_FEATURES))]))

    def _scored(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        odds = np.full(len(rows), self.start)
        for first in range(0, len(rows), _AT_ONCE):
            part = rows[first : first + _AT_ONCE]
            odds[first : first + _AT_ONCE] += self._walk.leaves(part, self.depth).sum(axis=1)
        likely: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
        return likely

    def __repr__(self) -> str:
        return f"Verifier({len(self.feature)} trees, fitted on {self.n:,} pairs)"

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads; a tree is a list of its nodes."""
        return {
            "kind": _KIND,
            "version": _VERSION,
            "features": list(_names(self.words)),
            "start": self.start,
            "n": self.n,
            "words": self.words and self.words.to_dict(),
            "trees": [self._nodes(tree) for tree in range(len(self.feature))],
        }

    def _nodes(self, tree: int) -> list[Any]:
        """Those of one tree, without what fills it up to the length of the longest."""
        names, nodes = _names(self.words), list[Any]()
        for place, looked in enumerate(self.feature[tree].tolist()):
            if looked == _LEAF_MARK:
                nodes.append(round(float(self.value[tree, place]), 6))
            elif self.left[tree, place] > place:
                children = int(self.left[tree, place]), int(self.right[tree, place])
                nodes.append([names[looked], float(self.threshold[tree, place]), *children])
        return nodes

    @classmethod
    def from_dict(cls, content: Any) -> Verifier:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, of a newer ragopt, or of other features.
        """
        with reading(content, kind=_KIND, version=_VERSION, what="verifier", remedy="fit it again"):
            learned = content.get("words")  # not in version 1
            words = None if learned is None else WordWeights.from_dict(learned)
            if tuple(content["features"]) != _names(words):
                raise InputError("fitted on other features; fit it again")
            start, n = float(content["start"]), int(content["n"])
            return _of_nodes(content["trees"], start, n, words)

    def save(self, path: Path | str) -> None:
        """Write it as JSON, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_form(path, self.to_dict())


def _names(words: WordWeights | None) -> tuple[str, ...]:
    return FEATURES if words is None else (*FEATURES, *WORD_FEATURES)


_AT_ONCE = 4096  # pairs whose nodes stand in memory together


def _of_nodes(
    trees: Sequence[Sequence[Any]], start: float, n: int, words: WordWeights | None
) -> Verifier:
    most = max((len(tree) for tree in trees), default=1)
    shape = (len(trees), most)
    feature = np.zeros(shape, dtype=np.int32)
    left, right = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    threshold, value = np.zeros(shape), np.zeros(shape)
    names = {name: place for place, name in enumerate(_names(words))}
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
    return Verifier(feature, threshold, left, right, value, start, depth, n, words)


def fit_verifier(
    features: ArrayLike,
    same: ArrayLike,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    seed: int = 0,
) -> Verifier:
    """Fit boosted trees (Friedman, 2001) on the features of labelled pairs.

    Args:
        features: (n, len(FEATURES)), see `pair_features`.
        same: (n,) whether the two ask the same.
        pairs: (n,) the texts, from which weights of words are learned too; see
            `ragopt.cache.policies.wording`.
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
    words = None
    if pairs is not None:
        if len(pairs) != len(labels):
            raise InputError(f"{len(pairs)} pairs for {len(labels)} labels; expected one each")
        words, learned = cross_fitted(pairs, labels, seed=seed)
        rows = np.hstack([rows, learned])
    model = ensemble.GradientBoostingClassifier(
        n_estimators=_TREES, max_depth=_DEPTH, learning_rate=_RATE, min_samples_leaf=_LEAF,
        subsample=_SEEN[0], max_features=_SEEN[1], random_state=seed,
    ).fit(rows, labels)  # fmt: skip
    share = labels.mean()
    trees = [_fitted_nodes(_names(words), tree[0].tree_) for tree in model.estimators_]
    return _of_nodes(trees, math.log(share / (1 - share)), len(labels), words)


def _fitted_nodes(names: Sequence[str], tree: Any) -> list[Any]:
    """A fitted tree as `Verifier.to_dict` writes it; leaves are scaled by the learning rate."""
    return [
        _RATE * float(tree.value[place, 0, 0])
        if tree.children_left[place] < 0
        else [
            names[tree.feature[place]],
            float(tree.threshold[place]),
            int(tree.children_left[place]),
            int(tree.children_right[place]),
        ]
        for place in range(tree.node_count)
    ]
