"""The comparison of quantizers: what it measures, how it shows it, what it picks."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ragopt.indexes
from ragopt.errors import BackendMissing, FloorNotMet, InputError
from ragopt.indexes import QuantizerComparison, compare_quantizers
from ragopt.indexes.quantize import (
    PCA,
    Binary,
    Int4,
    Int8,
    ProductQuantizer,
    RaBitQ,
    Truncate,
)
from ragopt.indexes.quantize.compare import default_quantizers
from ragopt.indexes.quantize.comparison import QuantizerRow, RecallAt
from ragopt.quality import mean_lower

Array = NDArray[Any]
CODERS = [RaBitQ(1), RaBitQ(2), RaBitQ(4), RaBitQ(8), Int8(), PCA(12) | Int8()]


@pytest.fixture(scope="module")
def planted() -> tuple[Array, Array]:
    """1,000 rows and 80 queries that vary in 12 of 32 dimensions, and 1 % of it elsewhere."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((1080, 32))
    rows[:, 12:] *= 0.01
    turned = rows @ np.linalg.qr(rng.standard_normal((32, 32)))[0]
    return turned[80:].astype(np.float32), turned[:80].astype(np.float32)


@pytest.fixture(scope="module")
def compared(planted: tuple[Array, Array]) -> QuantizerComparison:
    return compare_quantizers(*planted, quantizers=CODERS, metric="l2")


def row(name: str, size: int, lowers: tuple[float, ...], recall: float = 0.97) -> QuantizerRow:
    """A made-up row."""
    depths = [
        RecallAt(candidates=10 * times, recall=recall, lower=lower)
        for times, lower in zip((1, 2, 4), lowers, strict=False)
    ]
    return QuantizerRow(
        name=name,
        quantizer=Int8(),
        bytes_per_vector=size,
        compression=128 / size,
        reconstruction_error=0.5,
        ceiling=depths[0],
        rescored=tuple(depths[1:]),
    )


@pytest.fixture
def made_up() -> QuantizerComparison:
    return QuantizerComparison(
        rows=(
            row("large", 64, (0.96, 0.99, 0.999)),
            row("small", 8, (0.40, 0.80, 0.96)),
            row("middle", 16, (0.90, 0.95, 0.99)),
            row("other middle", 16, (0.90, 0.96, 0.98)),
        ),
        k=10,
        metric="cosine",
        vectors=5000,
        dim=32,
        queries=200,
        held_out=False,
        confidence=0.95,
        data_hash="none",
        seed=0,
    )


# What is measured -------------------------------------------------------------------------


def test_each_row_is_what_one_measures_by_hand(planted: tuple[Array, Array]) -> None:
    rows, queries = planted
    quantizer = PCA(9) | Int4()
    found = compare_quantizers(rows, queries, quantizers=[quantizer], metric="l2", k=5).rows[0]
    fitted = (PCA(9) | Int4()).fit(rows)
    codes = fitted.encode(rows)
    exact = ((queries[:, None, :].astype(np.float64) - rows[None]) ** 2).sum(axis=2)
    last = np.sort(exact, axis=1)[:, 4:5]
    order = np.argsort(fitted.distances(queries, codes), axis=1, kind="stable")
    for at, depth in zip((found.ceiling, *found.rescored), (5, 10, 20, 50), strict=True):
        near = np.take_along_axis(exact, order[:, :depth], axis=1) <= last * (1 + 1e-3)
        recalls = np.minimum(near.sum(axis=1), 5) / 5
        assert at.candidates == depth
        assert at.recall == pytest.approx(recalls.mean(), abs=0.005)
        assert at.lower == pytest.approx(mean_lower(recalls), abs=0.01)
    lost = ((fitted.decode(codes) - rows) ** 2).sum() / ((rows - rows.mean(axis=0)) ** 2).sum()
    assert found.reconstruction_error == pytest.approx(lost, rel=1e-3)
    assert found.bytes_per_vector == 5
    assert found.compression == pytest.approx(128 / 5)
    assert found.name == "PCA(9) | Int4()"
    assert found.quantizer == quantizer


def test_loss_falls_with_bits_on_planted_data(compared: QuantizerComparison) -> None:
    by_bits = compared.rows[:4]
    errors = [found.reconstruction_error for found in by_bits]
    assert errors == sorted(errors, reverse=True)
    recalls = [found.ceiling.recall for found in by_bits]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.6
    assert recalls[-1] > 0.97


def test_planted_dimensions_are_found(compared: QuantizerComparison) -> None:
    """12 of the 32 dimensions hold all but 1 part in 6,000 of the variance."""
    whole, reduced = compared.rows[4:]
    assert reduced.bytes_per_vector == 12
    assert reduced.reconstruction_error < 0.001
    assert reduced.ceiling.recall > 0.95
    assert whole.compression == 4


def test_rescoring_never_loses_and_bounds_lie_below(compared: QuantizerComparison) -> None:
    for found in compared.rows:
        recalls = [at.recall for at in found.depths]
        assert recalls == sorted(recalls)
        assert [at.candidates for at in found.depths] == [10, 20, 40, 100]
        assert all(0 <= at.lower < at.recall <= 1 for at in found.depths)


def test_bounds_widen_with_what_is_compared(planted: tuple[Array, Array]) -> None:
    """All of them hold together, so that the best of them keeps its own."""
    alone = compare_quantizers(*planted, quantizers=[RaBitQ(2)]).rows[0].ceiling
    among = compare_quantizers(*planted, quantizers=CODERS).rows[1].ceiling
    assert alone.recall == among.recall
    assert among.lower < alone.lower


def test_what_best_picks_keeps_its_bound() -> None:
    """20 quantizers of true recall 0.9 on samples of their own: seldom is any bound above it."""
    rng = np.random.default_rng(0)
    share = 0.05 / 20
    passed = sum(
        any(mean_lower(draw, confidence=1 - share) > 0.9 for draw in rng.binomial(1, 0.9, (20, 90)))
        for _ in range(300)
    )
    assert passed <= 0.05 * 300


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_fine_codes_find_all_by_any_metric(metric: Any, planted: tuple[Array, Array]) -> None:
    rows, queries = planted
    scaled = rows * np.linspace(0.5, 2, len(rows))[:, None]
    found = compare_quantizers(scaled, queries, quantizers=[Int8(), RaBitQ(8)], metric=metric)
    for measured in found.rows:
        assert measured.ceiling.recall > 0.96
        assert measured.rescored[-1].recall == 1


def test_held_out_queries_are_not_searched(planted: tuple[Array, Array]) -> None:
    rows, _ = planted
    found = compare_quantizers(rows, quantizers=[Int8()], k=1, metric="l2")
    assert (found.held_out, found.queries, found.vectors) == (True, 200, 800)
    again = compare_quantizers(rows, quantizers=[Int8()], k=1, metric="l2")
    other = compare_quantizers(rows, quantizers=[Int8()], k=1, metric="l2", seed=1)
    assert again == found
    assert other.data_hash != found.data_hash


def test_defaults_fit_what_they_are_given() -> None:
    assert "ProductQuantizer()" in map(str, default_quantizers(256, 8))
    assert "ProductQuantizer()" not in map(str, default_quantizers(255, 8))
    assert not any("PCA" in str(quantizer) for quantizer in default_quantizers(100, 1))
    for shape in ((30, 1), (30, 100), (300, 16)):
        rows = np.random.default_rng(0).standard_normal(shape)
        found = compare_quantizers(rows, rows[:3] + 0.1, k=3)
        assert [measured.name for measured in found.rows] == [*map(str, default_quantizers(*shape))]


def test_few_vectors_are_rescored_at_most_once_each() -> None:
    rows = np.random.default_rng(0).standard_normal((30, 4))
    found = compare_quantizers(rows, rows[:5], quantizers=[Binary()], k=10).rows[0]
    assert [at.candidates for at in found.depths] == [10, 20, 30]
    assert found.rescored[-1].recall == 1
    all_of_them = compare_quantizers(rows, rows[:5], quantizers=[Binary()], k=30)
    assert all_of_them.rows[0].rescored == ()
    assert all_of_them.best(0.2).name == "Binary()"
    assert "codes alone" in repr(all_of_them)


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1])
def test_vectors_that_do_not_vary(value: float) -> None:
    rows = np.full((40, 4), value)
    coders = [Int8(), Int4(), Binary(), RaBitQ(1), RaBitQ(3), PCA(2) | Int8(), Truncate(3)]
    for metric in ("cosine", "l2"):
        found = compare_quantizers(rows, rows[:4], quantizers=coders, metric=metric)  # type: ignore[arg-type]
        assert all(np.isfinite(measured.reconstruction_error) for measured in found.rows)
        assert all(measured.ceiling.recall == 1 for measured in found.rows)
        json.loads(found.to_json())


def test_given_quantizers_stay_unfitted_and_progress_is_told(planted: tuple[Array, Array]) -> None:
    quantizers = [Int8(), PCA(4) | RaBitQ(1)]
    told: list[tuple[str, int, int]] = []
    compare_quantizers(
        *planted, quantizers=iter(quantizers), progress=lambda *news: told.append(news)
    )
    assert told == [("Int8()", 0, 2), ("PCA(4) | RaBitQ(1)", 1, 2), ("compared", 2, 2)]
    for quantizer in quantizers:
        with pytest.raises(InputError, match="is not fitted"):
            quantizer.encode(planted[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "dot"}, "metric='dot': expected one of"),
        ({"seed": -1}, "seed=-1"),
        ({"k": 0}, "k=0: expected an integer of at least 1"),
        ({"k": 1001}, "k=1001 exceeds the 1000 vectors to search; lower k"),
        ({"quantizers": []}, "quantizers: got none"),
        ({"quantizers": ["int8"]}, "quantizers: got 'int8', expected such as"),
        ({"quantizers": [Int8(), RaBitQ(), Int8()]}, r"quantizers: Int8\(\) is there twice"),
        ({"quantizers": [PCA(33)]}, "the vectors have 32 dimensions"),
        ({"quantizers": [ProductQuantizer(bits=10)]}, "1000 vectors are too few for 1024"),
        ({"queries": np.zeros((3, 31))}, "queries: 31 dimensions, the vectors have 32; embed both"),
        ({"queries": np.zeros((0, 32))}, "queries: got none; leave them out"),
        ({"queries": np.full((1, 32), np.nan)}, "queries: 1 rows hold NaN"),
        ({"vectors": np.zeros((99, 32)), "queries": None}, "99 vectors: expected at least 100"),
        ({"vectors": np.zeros(32)}, r"vectors: got shape \(32,\)"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_unusable_input_is_refused(
    change: dict[str, Any], said: str, planted: tuple[Array, Array]
) -> None:
    given = {"vectors": planted[0], "queries": planted[1], **change}
    with pytest.raises(InputError, match=said):
        compare_quantizers(given.pop("vectors"), given.pop("queries"), **given)


# What it picks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recall", "candidates", "name"),
    [
        (0.3, None, "small"),
        (0.4, None, "small"),  # a bound at the floor holds
        (0.41, None, "middle"),
        (0.95, None, "large"),
        (0.81, 20, "other middle"),  # of equally small ones the surest
        (0.97, 20, "large"),
        (0.95, 40, "small"),
        (0.99, 40, "middle"),
    ],
)
def test_the_smallest_that_holds_is_best(
    recall: float, candidates: int | None, name: str, made_up: QuantizerComparison
) -> None:
    assert made_up.best(recall, candidates=candidates).name == name


def test_where_none_holds_the_nearest_is_named(made_up: QuantizerComparison) -> None:
    said = (
        r"no quantizer keeps recall@10 >= 0.97 at 95% confidence, codes alone; the nearest, large, "
        r"has 0.9700, at least 0.9600; rescore more candidates, .* more than 200 queries"
    )
    with pytest.raises(FloorNotMet, match=said):
        made_up.best(0.97)


@pytest.mark.parametrize("recall", [0, -1, 1.01, float("nan"), True, "high", None])
def test_no_recall_is_refused(recall: Any, made_up: QuantizerComparison) -> None:
    with pytest.raises(InputError, match="expected a number above 0, at most 1"):
        made_up.best(recall)


@pytest.mark.parametrize("candidates", [0, 10, 30, True, "20"])
def test_what_was_not_measured_is_refused(candidates: Any, made_up: QuantizerComparison) -> None:
    with pytest.raises(InputError, match=r"expected one of \[20, 40\], or None for codes alone"):
        made_up.best(0.5, candidates=candidates)


def test_best_hands_back_what_can_be_fitted(
    compared: QuantizerComparison, planted: tuple[Array, Array]
) -> None:
    chosen = compared.best(0.85, candidates=100)
    assert chosen.bytes_per_vector == min(
        found.bytes_per_vector for found in compared.rows if found.rescored[-1].lower >= 0.85
    )
    assert chosen.quantizer.fit(planted[0]).bytes_per_vector == chosen.bytes_per_vector


# How it shows -----------------------------------------------------------------------------


def test_the_repr_is_an_aligned_table(made_up: QuantizerComparison) -> None:
    title, blank, head, rule, *body, _, note = repr(made_up).splitlines()
    assert title == "recall@10 on 5,000 x 32 vectors, cosine; 200 queries given"
    assert blank == ""
    assert head.split("  ")[0] == "quantizer"
    assert "codes alone" in head
    assert "20 rescored" in head
    assert len(body) == 4
    assert {len(line) for line in (head, rule, *body)} == {len(head)}
    figures = "0.970 (>= 0.400) 0.970 (>= 0.800) 0.970 (>= 0.960)"
    assert " ".join(body[1].split()) == f"small 8 16.0x 0.5000 {figures}"
    assert "95% confidence" in note
    assert str(made_up) == repr(made_up)


def test_html_escapes_names(made_up: QuantizerComparison) -> None:
    rows = (replace(made_up.rows[0], name="<b>&"), *made_up.rows[1:])
    html = replace(made_up, rows=rows)._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html
    assert html.count("<tr>") == 5
    assert html.count("<td") == 4 * 6
    assert html.count("<th") == 4 + 7 + 1  # names, head, and thead


def test_json_says_all_of_it(compared: QuantizerComparison) -> None:
    content = json.loads(compared.to_json())
    assert content == compared.as_dict()
    assert content["rows"][5]["quantizer"] == "PCA(12) | Int8()"
    assert content["rows"][0]["rescored"][0]["candidates"] == 20
    assert content["rows"][0]["ceiling"]["lower"] == compared.rows[0].ceiling.lower
    assert {
        "k",
        "metric",
        "vectors",
        "dim",
        "queries",
        "held_out",
        "confidence",
        "data_hash",
    } < set(content)
    assert "\n" not in compared.to_json(indent=None)
    assert pickle.loads(pickle.dumps(compared)) == compared


def test_the_frame_has_a_row_for_each_depth(compared: QuantizerComparison) -> None:
    pytest.importorskip("pandas")
    frame = compared.to_pandas()
    assert len(frame) == 4 * len(compared.rows)
    assert list(frame.columns) == [
        *("quantizer bytes_per_vector compression reconstruction_error".split()),
        *("candidates rescored recall lower".split()),
    ]
    alone = frame[~frame.rescored]
    assert list(alone.recall) == [found.ceiling.recall for found in compared.rows]


def test_the_figure_shows_bytes_against_recall(compared: QuantizerComparison) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = compared.plot()
    (axes,) = figure.axes
    assert axes.get_xlabel() == "bytes a vector"
    assert axes.get_ylabel() == "recall@10"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["100 rescored", "20 rescored", "40 rescored", "codes alone"]
    alone = next(
        line
        for line in axes.lines
        if len(line.get_ydata()) and line.get_ydata()[0] == compared.rows[0].ceiling.recall
    )
    assert list(alone.get_xdata()) == [found.bytes_per_vector for found in compared.rows]
    assert [note.get_text() for note in axes.texts] == [found.name for found in compared.rows]
    figure.canvas.draw()
    from matplotlib import pyplot

    assert not pyplot.get_fignums()


@pytest.mark.parametrize(("package", "method"), [("matplotlib", "plot"), ("pandas", "to_pandas")])
def test_a_missing_package_is_named(
    package: str, method: str, made_up: QuantizerComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = rf"QuantizerComparison.{method}\(\) needs the package '{package}'.*ragopt\[plot\]"
    with pytest.raises(BackendMissing, match=said):
        getattr(made_up, method)()


# From outside -----------------------------------------------------------------------------


def test_what_is_exported_is_imported_when_used(run_script: Callable[..., str]) -> None:
    code = """
import sys
import ragopt.indexes
assert "compare_quantizers" in dir(ragopt.indexes)
before = [name for name in sys.modules if name.startswith("ragopt.indexes.quantize")]
assert not before, before
from ragopt.indexes import QuantizerComparison, compare_quantizers
assert compare_quantizers.__module__ == "ragopt.indexes.quantize.compare"
heavy = {"faiss", "scipy", "matplotlib", "pandas"} & set(sys.modules)
assert not heavy, heavy
print("well")
"""
    assert run_script(code) == "well"
    with pytest.raises(AttributeError, match="has no attribute 'compare_quantisers'"):
        ragopt.indexes.compare_quantisers  # noqa: B018


# Real vectors -----------------------------------------------------------------------------


@pytest.mark.data
def test_quantizer_loss_falls_with_bits_on_real_vectors(real: Array) -> None:
    coders = [*(RaBitQ(bits) for bits in (1, 2, 4, 8)), Binary(), Int4(), Int8()]
    found = compare_quantizers(real, quantizers=coders)
    rabitq, scalar = found.rows[:4], found.rows[4:]
    for group in (rabitq, scalar):
        errors = [measured.reconstruction_error for measured in group]
        assert errors == sorted(errors, reverse=True)
        recalls = [measured.ceiling.recall for measured in group]
        assert recalls == sorted(recalls)
    assert 0.6 < rabitq[0].ceiling.recall < 0.9
    assert rabitq[3].ceiling.recall > 0.99
    assert all(measured.rescored[-1].recall > 0.99 for measured in found.rows)
    assert found.best(0.9, candidates=40).bytes_per_vector <= 56
    assert found.best(0.98).bytes_per_vector >= 384


@pytest.mark.data
def test_bounds_of_estimates_hold_on_real_vectors(real: Array) -> None:
    fitted = RaBitQ(2).fit(real[500:])
    codes = fitted.encode(real[500:])
    gap = fitted.similarities(real[:500], codes) - real[:500] @ real[500:].T
    held = np.abs(gap) <= fitted.error_bounds(real[:500], codes, confidence=0.9)
    assert 0.89 < held.mean() < 0.97
    assert abs(gap.mean()) < 0.1 * gap.std()
