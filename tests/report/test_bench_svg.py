"""Lines between two axes: well-formed, inside their frame, true to their figures."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from bench_made import CURVE, EVIL, made
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.report.bench_curves import Axis, Curve, CurvePoint, Line, curves_of
from ragopt.report.bench_svg import _Ruler, lines

SVG = "{http://www.w3.org/2000/svg}"
ANY = st.floats(allow_nan=True, allow_infinity=True)


def parsed(picture: str) -> ElementTree.Element:
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert not {"script", "image", "use", "a"} & {
        each.tag.removeprefix(SVG) for each in root.iter()
    }
    return root


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def drawn(**changes: Any) -> Curve:
    (curve,) = curves_of(replace(made(), details={"curves": [{**copy.deepcopy(CURVE), **changes}]}))
    return curve


def one_line(
    points: list[tuple[float, float]], *, x_log: bool = False, y_log: bool = False
) -> Curve:
    return Curve(
        title="t",
        x=Axis(label="x", log=x_log),
        y=Axis(label="y", log=y_log),
        lines=(Line(name="a", points=tuple(CurvePoint(x=x, y=y) for x, y in points)),),
    )


def test_a_line_a_candidate_a_mark_a_setting() -> None:
    root = parsed(lines(drawn()))
    assert len(root.findall(f".//{SVG}polyline")) == 2
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert len(titles) == 12
    assert titles[0] == (
        "tiered at ef=16: recall@10 80%, queries 9,000 queries/s [8,100 queries/s, 9,900 queries/s]"
    )
    assert len([each for each in root.iter() if each.get("class") == "chosen"]) == 2
    assert len([each for each in root.iter() if each.get("class") == "spread"]) == 2
    told = words(root)
    assert told.count("tiered") == told.count("hnswlib") == 2  # in the legend and beside the line
    assert "reported" in told
    assert "recall@10, more is better →" in told
    assert "queries (queries/s), more is better ↑" in told
    assert "90%" in told


def test_the_aria_label_names_what_is_reported() -> None:
    label = parsed(lines(drawn())).get("aria-label") or ""
    assert "tiered at ef=256: recall@10 92%" in label


def test_points_stand_where_their_figures_say() -> None:
    root = parsed(lines(one_line([(0, 1), (5, 10), (10, 100)], y_log=True)))
    (joined,) = root.iter(f"{SVG}polyline")
    (x1, y1), (x2, y2), (x3, y3) = (
        tuple(map(float, place.split(","))) for place in (joined.get("points") or "").split()
    )
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)  # equal factors are equal steps
    assert y3 < y1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 1000, ["1", "10", "100", "1,000"]),
        (1e-4, 1e9, None),
        (100, 130, None),
        (3e5, 3e6, ["500k", "1M", "2M"]),
    ],
)
def test_logarithmic_ticks_are_round_and_few(
    low: float, high: float, expected: list[str] | None
) -> None:
    ruler = _Ruler.around(Axis(label="x", log=True), [low, high], 0, 500)
    ticks = ruler.ticks(6)
    assert 2 <= len(ticks) <= 6
    places = [ruler(value) for value, _ in ticks]
    assert places == sorted(places)
    assert len({text for _, text in ticks}) == len(ticks)
    if expected:
        assert set(expected) <= {text for _, text in ticks}


def test_what_has_no_logarithm_is_counted_and_left_out() -> None:
    root = parsed(lines(one_line([(0, 1), (1, 2), (2, 3)], x_log=True)))
    assert len(root.findall(f".//{SVG}title")) == 2
    assert any(text.startswith("1 points without figures") for text in words(root))
    assert "1 points left out" in (root.get("aria-label") or "")


def test_a_point_that_was_not_measured_is_left_out() -> None:
    root = parsed(lines(one_line([(0, math.nan), (1, 2), (2, math.inf), (3, 4)])))
    assert len(root.findall(f".//{SVG}title")) == 2


@pytest.mark.parametrize("points", [[], [(math.nan, 1.0)]])
def test_a_picture_of_nothing_says_so(points: list[tuple[float, float]]) -> None:
    assert words(parsed(lines(one_line(points)))) == ["t: nothing was measured to draw."]


def test_many_points_have_a_band_and_marks_on_the_chosen_ones_only() -> None:
    points = tuple(
        CurvePoint(x=step, y=step, low=step - 1, high=step + 1, chosen=step == 7)
        for step in range(100)
    )
    axis = Axis(label="x")
    curve = Curve(title="t", x=axis, y=axis, lines=(Line(name="a", points=points),))
    root = parsed(lines(curve))
    assert len(root.findall(f".//{SVG}title")) == 1
    (band,) = [each for each in root.iter(f"{SVG}polygon") if each.get("class") == "spread"]
    assert len((band.get("points") or "").split()) == 200


def test_lines_of_every_candidate_look_different() -> None:
    curve = Curve(
        title="t",
        x=Axis(label="x"),
        y=Axis(label="y"),
        lines=tuple(
            Line(name=f"c{place}", points=(CurvePoint(x=0, y=place), CurvePoint(x=1, y=place)))
            for place in range(24)
        ),
    )
    root = parsed(lines(curve))
    looks = set()
    for group in root.iter(f"{SVG}g"):
        if group.get("class") == "line":
            joined = group.find(f"{SVG}polyline")
            assert joined is not None
            shape = next(
                each for each in group.iter() if each.get("style", "").startswith("fill:var")
            )
            corners = len((shape.get("points") or "").split())
            looks.add((joined.get("style"), shape.tag, corners))
    assert len(looks) == 24


def test_hostile_names_are_text() -> None:
    changes = {
        "title": EVIL,
        "x": {**CURVE["x"], "label": EVIL, "unit": EVIL},
        "lines": [{"name": EVIL, "points": [{"x": 1, "y": 1, "label": EVIL, "chosen": True}]}] * 2,
    }
    picture = lines(drawn(**changes))
    assert "<script" not in picture
    assert "\x00" not in picture
    parsed(picture)
    parsed(lines(drawn(lines=[{"name": "x" * 100_000, "points": [{"x": 1, "y": 1}]}])))


@pytest.mark.parametrize(
    ("bend", "expected"),
    [
        ({"lines": 3}, r"curves\[0\].lines: got a int, expected a list"),
        ({"lines": [3]}, r"curves\[0\].lines\[0\]: got a int, expected an object"),
        ({"x": None}, r"curves\[0\].x: got a NoneType"),
        ({"x": {"scale": "cubic"}}, "expected linear or log"),
        ({"y": {"better": "faster"}}, "smaller or bigger"),
        (
            {"lines": [{"points": [{"x": "a", "y": 1}]}]},
            r"points\[0\].x: got 'a', expected a number",
        ),
        ({"lines": [{"points": [{"x": 1, "y": []}]}]}, "expected a number"),
        ({"lines": [{"points": [{"x": 1, "y": 10**400}]}]}, "expected a number"),
    ],
)
def test_curves_of_another_shape_are_refused(bend: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        drawn(**bend)


@pytest.mark.parametrize(("width", "height"), [(100, 400), (400, 100), (math.nan, 400)])
def test_a_picture_too_small_for_its_labels_is_refused(width: float, height: float) -> None:
    with pytest.raises(InputError, match="expected at least 240 pixels"):
        lines(drawn(), width=width, height=height)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.tuples(ANY, ANY, ANY, ANY), max_size=6), max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "ratio", "ms"]),
    st.integers(240, 1200),
)
def test_whatever_the_figures_the_picture_stays_inside_its_frame(
    found: list[list[tuple[float, float, float, float]]],
    x_log: bool,
    y_log: bool,
    unit: str,
    width: int,
) -> None:
    curve = Curve(
        title="t",
        x=Axis(label="x", log=x_log, unit=unit),
        y=Axis(label="y", log=y_log, unit=unit),
        lines=tuple(
            Line(
                name=f"line {place}",
                points=tuple(CurvePoint(x=x, y=y, low=a, high=b) for x, y, a, b in points),
            )
            for place, points in enumerate(found)
        ),
    )
    root = parsed(lines(curve, width=width))
    _, _, wide, high = map(float, (root.get("viewBox") or "").split())
    assert wide == width
    for each in root.iter():
        for name, limit in (("x", wide), ("cx", wide), ("x2", wide), ("y", high), ("cy", high)):
            if each.get(name) is not None:
                assert -0.2 <= float(each.get(name) or 0) <= limit + 0.2
        assert not re.search(r"nan|inf", each.get("points") or each.get("d") or "")
