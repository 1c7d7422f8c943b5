"""Tightened candidates and calibrated floors as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragopt.optional import import_backend

if TYPE_CHECKING:
    from ragopt.rerank.tightened import Tightened

__all__ = ["tightened_figure"]

_SIZE = (6.4, 3.6)
_COLOURS = {"kept": "C0", "compressed": "C1", "dropped": "0.75"}


def tightened_figure(tightened: Tightened) -> Any:
    """Probability of every candidate (its score without a calibration) by rank, and the floor.

    Raises:
        BackendMissing: matplotlib is not installed.
    """
    figures = import_backend("matplotlib.figure", "plot", "Tightened.plot()")
    figure = figures.Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    calibrated = all(reason.hit.probability is not None for reason in tightened.reasons)
    for action, colour in _COLOURS.items():
        found = [
            (rank, reason.hit.probability if calibrated else reason.hit.score)
            for rank, reason in enumerate(tightened.reasons, 1)
            if reason.action == action
        ]
        if found:
            ranks, heights = zip(*found, strict=True)
            axes.bar(ranks, heights, color=colour, label=f"{action} ({len(found)})")
    if tightened.floor is not None:
        axes.axhline(tightened.floor.threshold, color="C3", linewidth=1, label="floor")
    axes.set(
        xlabel="rank",
        ylabel="probability of relevance" if calibrated else "score",
        title=f"{tightened.tokens_after:,} of {tightened.tokens_before:,} tokens kept",
    )
    if tightened.reasons:
        axes.legend(frameon=False)
    return figure
