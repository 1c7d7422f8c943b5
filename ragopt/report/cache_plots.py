"""What a semantic cache may serve at which certified error, as a matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragopt.optional import import_backend

if TYPE_CHECKING:
    from ragopt.cache.policies.calibrated import Calibrated

__all__ = ["calibration_figure"]

_SIZE = (6.4, 4.0)
_FEWEST = 10  # hits; a point of fewer says nothing


def calibration_figure(policy: Calibrated) -> Any:
    """Hit rate against observed and bounded error, the limit and the chosen threshold.

    Args:
        policy: with the steps of its calibration.

    Raises:
        BackendMissing: matplotlib is not installed.
    """
    figures = import_backend("matplotlib.figure", "plot", "Calibrated.plot()")
    figure = figures.Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    steps = [step for step in policy.steps if step.hits >= _FEWEST]
    rates = [step.hits / policy.n for step in steps]
    axes.plot(rates, [step.wrong / step.hits for step in steps], label="observed", color="C0")
    bounds = f"at most ({policy.confidence:.0%} confidence)"
    axes.plot(rates, [step.bound for step in steps], label=bounds, color="C1")
    axes.axhline(policy.max_error, label="asked for", color="0.4", linestyle="--", linewidth=1)
    chosen = [step for step in steps if step.threshold == policy.threshold]
    for step in chosen:
        rate = step.hits / policy.n
        axes.plot(rate, step.bound, marker="o", color="C1")
        axes.annotate(
            f"from {step.threshold:g}: {rate:.1%} served",
            (rate, step.bound),
            xytext=(6, -14),
            textcoords="offset points",
        )
    axes.set(
        xlabel="share of labelled pairs that would be served",
        ylabel="wrong answers per hit",
        title="Semantic cache: off" if policy.is_off else "Semantic cache",
        ylim=(0, min(1, 4 * policy.max_error)),
        xlim=(0, None),
    )
    axes.legend(loc="upper left", frameon=False)
    axes.grid(alpha=0.3)
    return figure
