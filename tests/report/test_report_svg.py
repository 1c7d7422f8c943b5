"""Waterfall and Pareto picture: well-formed, inside their frame, true to their figures."""

# ruff: noqa: RUF001  (typographic signs are the output under test)
from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.report.svg import ParetoPoint, frontier, pareto, waterfall
from ragopt.report.svg_parts import MIN_WIDTH, Scale, text_width

SVG = "{http://www.w3.org/2000/svg}"
STEPS = [
    ("Baseline", 1.23),
    ("Index", 1.226),
    ("Rerank", 0.66),
    ("Cache", 0.36),
    ("Combined", 0.36),
]
POINTS = [
    ParetoPoint(900, 0.90, "top 8", "rerank", True),
    ParetoPoint(500, 0.86, "top 4", "rerank"),
    ParetoPoint(600, 0.80, "to 60%", "compress", False, False),
    ParetoPoint(250, 0.68, "to 20%", "compress"),
]
ANY = st.floats(allow_nan=True, allow_infinity=True)
WIDTHS = st.integers(MIN_WIDTH, 1600)


def parsed(picture: str) -> ElementTree.Element:
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    return root


def coordinates(root: ElementTree.Element) -> tuple[list[float], list[float]]:
    """All x and all y, ends of rectangles and circles included."""
    xs, ys = [], []
    for element in root.iter():
        for found, names in ((xs, ("x", "x1", "x2", "cx")), (ys, ("y", "y1", "y2", "cy"))):
            found.extend(float(element.get(name, "")) for name in names if element.get(name))
        if element.get("width"):
            xs.append(float(element.get("x", "")) + float(element.get("width", "")))
            ys.append(float(element.get("y", "")) + float(element.get("height", "")))
        if element.get("r"):
            reach = float(element.get("r", ""))
            xs += [float(element.get("cx", "")) + side for side in (-reach, reach)]
            ys += [float(element.get("cy", "")) + side for side in (-reach, reach)]
        for pair in element.get("points", "").split():
            x, y = pair.split(",")
            xs.append(float(x))
            ys.append(float(y))
    return xs, ys


def assert_inside(picture: str) -> ElementTree.Element:
    root = parsed(picture)
    left, top, width, height = (float(edge) for edge in root.get("viewBox", "").split())
    xs, ys = coordinates(root)
    assert all(math.isfinite(value) for value in (*xs, *ys, width, height))
    assert left <= min(xs)
    assert max(xs) <= width + 0.1
    assert top <= min(ys)
    assert max(ys) <= height + 0.1
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def groups(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [element for element in root.iter(f"{SVG}g") if element.get("class") == kind]


def titles(elements: list[ElementTree.Element]) -> list[str]:
    return [element.findtext(f"{SVG}title") or "" for element in elements]


class TestWaterfall:
    def test_every_step_is_a_labelled_bar(self) -> None:
        root = assert_inside(waterfall(STEPS))
        assert len(list(root.iter(f"{SVG}rect"))) == len(STEPS)
        assert texts(root) == [
            *("Baseline", "$1.23", "Index", "−$0.0040", "Rerank", "−$0.57", "Cache", "−$0.30"),
            *("Combined", "$0.36 (−71%)"),
        ]

    def test_bars_hang_together(self) -> None:
        bars = list(assert_inside(waterfall(STEPS)).iter(f"{SVG}rect"))
        for upper, lower in itertools.pairwise(bars[1:-1]):
            right_of_lower = float(lower.get("x", "")) + float(lower.get("width", ""))
            # A bar too narrow to be seen is drawn two pixels wide.
            assert right_of_lower == pytest.approx(float(upper.get("x", "")), abs=2.1)
        assert float(bars[0].get("x", "")) == float(bars[-1].get("x", ""))

    def test_a_lever_that_raises_the_bill_looks_different(self) -> None:
        root = parsed(waterfall([("a", 1.0), ("dearer", 1.5), ("cheaper", 0.5), ("z", 0.5)]))
        (rise,), (fall,) = groups(root, "rise"), groups(root, "fall")
        styles = [bar.find(f"{SVG}rect").get("style") for bar in (rise, fall)]
        assert "stroke-dasharray" in styles[0]
        assert "stroke-dasharray" not in styles[1]
        assert titles([rise, fall]) == ["dearer: +$0.50", "cheaper: −$1.00"]

    @pytest.mark.parametrize("width", [372, 880])
    def test_values_have_room_right_of_the_longest_bar(self, width: int) -> None:
        root = parsed(waterfall([("Baseline", 1.23), ("Cache", 1.40), ("End", 1.40)], width=width))
        ends = [
            float(said.get("x", "")) + 1.1 * text_width(said.text or "", 13)
            for said in root.iter(f"{SVG}text")
        ]
        assert max(ends) <= width + 3

    def test_a_figure_that_is_none_is_named_and_leaves_the_others_alone(self) -> None:
        root = assert_inside(waterfall([("a", 2.0), ("b", math.nan), ("c", 1.0), ("d", 1.0)]))
        assert "not measured" in texts(root)
        assert "−$1.00" in texts(root)

    @pytest.mark.parametrize("steps", [[], [("a", math.nan)], [("a", math.inf), ("b", 1e300)]])
    def test_nothing_to_draw_says_so(self, steps: list[tuple[str, float]]) -> None:
        root = assert_inside(waterfall(steps))
        assert "no waterfall" in texts(root)[0]

    @pytest.mark.parametrize("totals", [[0, 0, 0], [5], [1, 1, 1], [-1, -2, -2], [5e-324, 0, 0]])
    def test_degenerate_totals_are_drawn(self, totals: list[float]) -> None:
        root = assert_inside(waterfall([(f"step {place}", at) for place, at in enumerate(totals)]))
        assert len(list(root.iter(f"{SVG}rect"))) == len(totals)

    @given(st.lists(st.tuples(st.text(), ANY), max_size=12), WIDTHS)
    @settings(max_examples=150, deadline=None)
    def test_always_well_formed_and_inside(
        self, steps: list[tuple[str, float]], width: int
    ) -> None:
        assert_inside(waterfall(steps, width=width))

    def test_labels_cannot_break_out(self) -> None:
        root = parsed(waterfall([("<script>x</script>", 1.0), ('"&\x00', 0.5)]))
        assert "<script>x</script>" in texts(root)
        assert not list(root.iter(f"{SVG}script"))


class TestPareto:
    def test_the_frontier_is_what_no_other_beats(self) -> None:
        assert [point.label for point in frontier(POINTS)] == ["to 20%", "top 4", "top 8"]
        twin = ParetoPoint(250, 0.68, "twin", "other")
        assert [point.label for point in frontier([*POINTS, twin])][:2] == ["to 20%", "twin"]

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
    def test_the_frontier_matches_its_definition(self, places: list[tuple[int, int]]) -> None:
        points = [ParetoPoint(x, y, str(place), "s") for place, (x, y) in enumerate(places)]
        unbeaten = {
            point.label
            for point in points
            if not any(
                other.x <= point.x
                and other.y >= point.y
                and (other.x, other.y) != (point.x, point.y)
                for other in points
            )
        }
        assert {point.label for point in frontier(points)} == unbeaten

    def test_marks_tell_best_beaten_and_chosen_apart(self) -> None:
        root = assert_inside(pareto(POINTS, 0.75))
        assert titles(groups(root, "chosen")) == ["rerank: top 8, 900 tokens, 90.0%"]
        assert len(groups(root, "best")) == 2
        (beaten,) = titles(groups(root, "beaten"))
        assert beaten == "compress: to 60%, 600 tokens, 80.0%, quality not held"

    def test_floor_labels_axes_and_legend_are_written(self) -> None:
        said = texts(assert_inside(pareto(POINTS, 0.75, floor_label="least")))
        for words in ("least, 75.0%", "top 8", "↑ evidence recall", "input tokens per question →"):
            assert words in said
        assert {"rerank", "compress", "quality not held", "chosen"} <= set(said)
        assert {"400", "600", "800", "70%", "90%"} <= set(said)

    def test_the_floor_is_dashed_and_only_there_when_known(self) -> None:
        dashed = [bool(line.get("stroke-dasharray")) for line in parsed(pareto(POINTS, 0.7)).iter()]
        assert sum(dashed) == 1
        for floor in (None, math.nan, math.inf):
            assert "stroke-dasharray" not in pareto(POINTS, floor)

    def test_labels_of_chosen_points_do_not_overlap(self) -> None:
        points = [
            ParetoPoint(500 + place, 0.85, f"setting {place}", f"s{place}", True)
            for place in range(4)
        ]
        root = assert_inside(pareto(points))
        named = [
            (float(text.get("y", "")), float(text.get("x", "")), text.get("text-anchor"))
            for text in root.iter(f"{SVG}text")
            if (text.text or "").startswith("setting")
        ]
        assert len(set(named)) == 4
        for place, (y, x, anchor) in enumerate(named):
            for other_y, other_x, other_anchor in named[place + 1 :]:
                apart = abs(y - other_y) >= 12 or abs(x - other_x) >= 60 or anchor != other_anchor
                assert apart

    def test_points_without_figures_are_left_out_and_counted(self) -> None:
        root = assert_inside(pareto([*POINTS, ParetoPoint(math.nan, 0.5, "lost", "rerank")]))
        assert "1 without figures left out" in root.get("aria-label", "")

    @pytest.mark.parametrize("points", [[], [ParetoPoint(math.inf, 0.5, "a", "b")]])
    def test_nothing_to_draw_says_so(self, points: list[ParetoPoint]) -> None:
        assert "no frontier" in texts(assert_inside(pareto(points, 0.5)))[0]

    @pytest.mark.parametrize(
        "places", [[(0, 0)], [(5, 1)] * 3, [(0, 0.5), (0, 0.7)], [(5e-324, 1e-323), (1e-323, 0)]]
    )
    def test_degenerate_points_are_drawn(self, places: list[tuple[float, float]]) -> None:
        points = [ParetoPoint(x, y, "setting", "series", True) for x, y in places]
        root = assert_inside(pareto(points, floor=places[0][1]))
        assert len(groups(root, "chosen")) == len(places)

    @given(
        st.lists(st.builds(ParetoPoint, ANY, ANY, st.text(), st.text(), st.booleans()), max_size=8),
        st.none() | ANY,
        WIDTHS,
    )
    @settings(max_examples=150, deadline=None)
    def test_always_well_formed_and_inside(
        self, points: list[ParetoPoint], floor: float | None, width: int
    ) -> None:
        assert_inside(pareto(points, floor, width=width, height=300))


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=5), st.integers(2, 10))
@settings(deadline=None)
def test_ticks_are_few_and_evenly_spaced(values: list[float], most: int) -> None:
    scale = Scale.around(values, 0, 100)
    ticks, step = scale.ticks(most)
    assert len(ticks) <= most + 1
    for lower, upper in itertools.pairwise(ticks):
        assert upper - lower == pytest.approx(step, rel=1e-3)


@pytest.mark.parametrize("width", [0, MIN_WIDTH - 1, math.nan, math.inf])
def test_a_picture_too_narrow_for_its_labels_is_refused(width: float) -> None:
    with pytest.raises(InputError, match="expected at least 240"):
        waterfall(STEPS, width=width)
    with pytest.raises(InputError, match="expected at least 240"):
        pareto(POINTS, width=width)
    with pytest.raises(InputError, match="expected at least 240"):
        pareto(POINTS, height=width)
