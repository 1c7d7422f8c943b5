"""On the real data: floors keep over 200 resplits what they promise, in fewer tokens."""

from __future__ import annotations

import pytest

from ragopt.benchmarks.context.tune import TuneOptions, TuneReport, tune
from ragopt.benchmarks.datasets import data_folder, load

pytestmark = pytest.mark.data


@pytest.fixture(autouse=True)
def _needs_the_data() -> None:
    if data_folder() is None:
        pytest.skip("RAGOPT_DATA names no folder with the evaluation data")


def tuned(name: str, **options: object) -> TuneReport:
    return tune(load(name), options=TuneOptions(of="found", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "scorer"), [("hotpotqa", "bm25"), ("musique", "bm25"), ("msmarco_dl19", "fused")]
)
@pytest.mark.parametrize("promise", ["all evidence", "mean recall"])
def test_on_average_the_promise_is_kept(name: str, scorer: str, promise: str) -> None:
    report = tuned(name, scorer=scorer, promise=promise, alpha=0.1)
    assert report.resplits["splits"] == 200
    # Of so few questions halves depend on each other; .02 is room for that.
    assert report.resplits["kept_mean"] >= 0.88
    assert report.tokens < report.fixed[50]["tokens"]


def test_with_a_confidence_nearly_every_half_keeps_it() -> None:
    report = tuned("hotpotqa", scorer="bm25", alpha=0.1, confidence=0.95)
    assert report.resplits["held"] >= 0.93
    dl19 = tuned("msmarco_dl19", scorer="fused", alpha=0.2, confidence=0.95)
    assert dl19.resplits["held"] >= 0.93
