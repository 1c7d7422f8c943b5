"""Numbers as people read them."""

# ruff: noqa: RUF001  (typographic signs are the output under test)
from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.report.figures import (
    DASH,
    change,
    clean,
    count,
    dollar_column,
    dollars,
    percent,
    points,
    ratio,
    share,
    shortened,
    signed_dollars,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "$0"),
        (Decimal("0.36"), "$0.36"),
        (Decimal("0.0042"), "$0.0042"),
        (Decimal("0.0996"), "$0.100"),
        (Decimal(1234), "$1,234"),
        (1.5, "$1.50"),
        (99.5, "$99.50"),
        (100, "$100"),
        (Decimal("-0.2154"), "−$0.22"),
        (Decimal("0.000000001"), "under $0.00000001"),
        (math.nan, DASH),
        (math.inf, DASH),
    ],
)
def test_dollars_show_the_digits_that_say_something(value: Decimal | float, expected: str) -> None:
    assert dollars(value) == expected


def test_dollars_in_a_column_have_equal_decimals_where_two_digits_remain() -> None:
    assert dollar_column([Decimal(340), Decimal("98.5"), Decimal("0.2")]) == [
        "$340",
        "$98",
        "$0.20",
    ]
    assert dollar_column([Decimal(0), Decimal("NaN")]) == ["$0", DASH]


def test_a_change_in_dollars_carries_its_sign() -> None:
    assert [signed_dollars(value) for value in (0.2, -0.2, 0.0)] == ["+$0.20", "−$0.20", "$0"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.64, "64%"),
        (0.016, "1.6%"),
        (0.997, "99.7%"),
        (0.99999, "99.9%"),
        (1.0, "100%"),
        (0.0, "0%"),
        (-0.041, "−4.1%"),
        (math.nan, DASH),
    ],
)
def test_percent_is_never_rounded_up_to_everything(value: float, expected: str) -> None:
    assert percent(value) == expected


def test_change_is_the_distance_from_the_baseline() -> None:
    assert [change(factor) for factor in (0.36, 1.04, 1.0)] == ["−64%", "+4.0%", "0%"]


def test_points_have_a_sign_unless_nothing_is_left_of_them() -> None:
    told = [points(value) for value in (0.032, -0.0204, 0.0004, -0.0004, math.nan)]
    assert told == ["+3.2", "−2.0", "0.0", "0.0", DASH]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1005.2, "1,005"),
        (72.62, "72.6"),
        (4.33, "4.3"),
        (0.052, "0.052"),
        (0, "0"),
        (math.inf, DASH),
    ],
)
def test_counts_keep_three_digits_or_so(value: float, expected: str) -> None:
    assert count(value) == expected


def test_ratios_and_shares() -> None:
    assert [ratio(factor) for factor in (0.3701, 0.0331, 12.2, 0.0)] == [
        "0.37×",
        "0.033×",
        "12×",
        "0×",
    ]
    assert [share(value) for value in (0.7871, math.nan)] == ["78.7%", DASH]
    assert ratio(math.nan) == DASH


@given(st.floats())
def test_every_float_is_written_as_something(value: float) -> None:
    for write in (dollars, count, percent, points, ratio, share, change):
        assert write(value).strip()


@given(st.text())
def test_cleaned_text_is_one_line_that_xml_and_files_can_hold(text: str) -> None:
    line = clean(text)
    line.encode()
    assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 for sign in line)
    assert clean(line) == line


def test_directions_cannot_be_overridden_but_scripts_stay_whole() -> None:
    assert clean("a\u202eb\tc\ud800d") == "a b c d"
    joined = "می\u200cخواهم 👩\u200d💻"
    assert clean(joined) == joined


@given(st.text(), st.integers(1, 40))
def test_shortened_text_keeps_its_length(text: str, length: int) -> None:
    assert len(shortened(text, length)) <= max(length, 1)
