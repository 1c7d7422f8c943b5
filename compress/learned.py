"""A scorer of segments that was fitted on labelled evidence: many shallow trees over features.

Gradient boosting (Friedman, 2001, "Greedy function approximation: a gradient boosting machine")
with trees of two splits after one another, fitted by `ragopt.benchmarks.context.fit_scorer` with
scikit-learn and read here from a JSON file that says on what data and with what figures. Scoring
needs numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.compress.features import FEATURES, segment_features
from ragopt.compress.layout import Layout
from ragopt.compress.score import Weights, lexical_signals
from ragopt.errors import InputError

__all__ = ["SegmentScorer", "Tree", "default_scorer"]

FloatArray = NDArray[np.float64]

_SPLITS = 3
_LEAVES = 4
_FILE = "data/segment_scorer.json"


@dataclass(frozen=True, slots=True)
class Tree:
    """Two splits after one another.

    Args:
        features: names, of the first split and of the second on its left and right.
        thresholds: of the three; at most so much goes left.
        values: log-odds that each leaf adds, left to right.
    """

    features: tuple[str, ...]
    thresholds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentScorer:
    """Trees on top of the hand-set score.

    Args:
        trees: as fitted; at least one.
        score_weight: of the score by the default `Weights`, over its largest.
        length_price: log-odds taken off for each factor of e in a segment's terms, since long
            segments leave room for fewer others.
        temperature: log-odds by which two segments differ of which one scores e times as much.
        about: data, date and figures of the fit.

    Raises:
        InputError: no tree, unknown features, or numbers that are none.
    """

    trees: Sequence[Tree]
    score_weight: float
    length_price: float
    temperature: float
    about: Mapping[str, Any] = field(default_factory=dict)
    _columns: NDArray[np.intp] = field(init=False, repr=False)
    _thresholds: FloatArray = field(init=False, repr=False)
    _values: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.trees:
            raise InputError("trees=(): expected at least one tree; fit a scorer first")
        column = {name: number for number, name in enumerate(FEATURES)}
        unknown = sorted({name for tree in self.trees for name in tree.features} - set(column))
        if unknown:
            raise InputError(f"features {unknown}: expected some of {list(FEATURES)}; fit again")
        if any(len(tree.features) != _SPLITS for tree in self.trees):
            raise InputError(f"trees: expected {_SPLITS} features each; fit again")
        looked = [[column[name] for name in tree.features] for tree in self.trees]
        # One row per place in the tree: first splits, left ones, right ones.
        columns = np.array(looked, dtype=np.intp).T.ravel()
        thresholds = _table([tree.thresholds for tree in self.trees], _SPLITS).T.ravel()
        values = _table([tree.values for tree in self.trees], _LEAVES).ravel()
        knobs = (self.score_weight, self.length_price, self.temperature)
        if not (np.isfinite(values).all() and np.isfinite(knobs).all() and self.temperature > 0):
            raise InputError(
                "values and weights: expected finite numbers and a temperature above 0"
            )
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_thresholds", thresholds)
        object.__setattr__(self, "_values", values)

    def scores(self, query: str, layout: Layout) -> FloatArray | None:
        """Score every segment of every chunk jointly.

        Args:
            query: the question.
            layout: the segments of all hits; at least one.

        Returns:
            ``(len(layout),)`` float64 in (0, 1], 1 for the best; ``None`` if no segment or title
            shares a term with the query.
        """
        weights = Weights()
        signals = lexical_signals(query, layout, weights)
        if signals is None:
            return None
        raised = self.log_odds(segment_features(query, layout, signals, weights)) / self.temperature
        scores: FloatArray = np.exp(np.maximum(raised - raised.max(), -700.0))
        return scores

    def log_odds(self, features: FloatArray) -> FloatArray:
        """Of rows of `FEATURES`, up to a constant; (n,)."""
        odds: FloatArray = (
            self.tree_log_odds(features)
            + self.score_weight * features[:, FEATURES.index("score")]
            - self.length_price * features[:, FEATURES.index("length")]
        )
        return odds

    def tree_log_odds(self, features: FloatArray) -> FloatArray:
        """What the trees alone say; (n,)."""
        trees = len(self.trees)
        right = features.take(self._columns, axis=1) > self._thresholds
        first, left, other = right[:, :trees], right[:, trees : 2 * trees], right[:, 2 * trees :]
        leaf = 2 * first + np.where(first, other, left)
        odds: FloatArray = self._values.take(leaf + _LEAVES * np.arange(trees)).sum(axis=1)
        return odds

    def __repr__(self) -> str:
        return f"SegmentScorer({len(self.trees)} trees, {self.about.get('created', 'undated')})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it; a split that is none has the threshold ``null``."""
        return {
            "about": dict(self.about),
            "score_weight": self.score_weight,
            "length_price": self.length_price,
            "temperature": self.temperature,
            "trees": [
                {
                    "features": list(tree.features),
                    "thresholds": [None if np.isinf(one) else one for one in tree.thresholds],
                    "values": list(tree.values),
                }
                for tree in self.trees
            ],
        }

    @classmethod
    def from_dict(cls, content: Any) -> SegmentScorer:
        """Read what `to_dict` wrote.

        Raises:
            InputError: something else.
        """
        try:
            trees = [
                Tree(
                    tuple(tree["features"]),
                    tuple(np.inf if one is None else float(one) for one in tree["thresholds"]),
                    tuple(map(float, tree["values"])),
                )
                for tree in content["trees"]
            ]
            knobs = {
                name: float(content[name])
                for name in ("score_weight", "length_price", "temperature")
            }
            about = dict(content["about"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"no segment scorer: {error!r}; expected what to_dict wrote"
            ) from error
        return cls(trees=trees, about=about, **knobs)


@lru_cache(maxsize=1)
def default_scorer() -> SegmentScorer:
    """The scorer that ships with the package; read once."""
    text = files("ragopt.compress").joinpath(_FILE).read_text(encoding="utf-8")
    return SegmentScorer.from_dict(json.loads(text))


def _table(rows: Sequence[Sequence[float]], width: int) -> FloatArray:
    if any(len(row) != width for row in rows):
        raise InputError(f"trees: expected {_SPLITS} splits and {_LEAVES} leaves each; fit again")
    table = np.array(rows, dtype=np.float64)
    if np.isnan(table).any():
        raise InputError("trees: expected numbers, got NaN; fit again")
    return table
