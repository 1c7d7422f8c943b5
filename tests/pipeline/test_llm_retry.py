from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.retry import RetryPolicy, asked_pause_s, is_transient

NOW = 1_800_000_000.0
seconds = st.floats(0, 1e6)
jitters = st.floats(0, 1, exclude_max=True)


@given(seconds, seconds, st.integers(1, 10_000), jitters)
def test_pauses_stay_between_nothing_and_the_doubled_backoff(backoff, longest, failures, jitter):
    policy = RetryPolicy(backoff_s=backoff, max_backoff_s=longest)
    pause = policy.pause_s(failures, jitter)
    assert 0 <= pause <= longest
    assert pause <= backoff * 2 ** min(failures - 1, 60)


@given(seconds, seconds, st.integers(1, 100), jitters, seconds)
def test_the_servers_wish_is_kept_up_to_the_longest_pause(
    backoff, longest, failures, jitter, asked
):
    policy = RetryPolicy(backoff_s=backoff, max_backoff_s=longest)
    pause = policy.pause_s(failures, jitter, asked)
    assert min(asked, longest) <= pause <= min(asked + backoff, longest)


def test_jitter_is_full_and_the_ceiling_doubles_until_the_longest():
    policy = RetryPolicy(backoff_s=1, max_backoff_s=5)
    assert [policy.pause_s(n, 0.0) for n in range(1, 6)] == [0, 0, 0, 0, 0]
    assert [policy.pause_s(n, 0.5) for n in range(1, 6)] == [0.5, 1, 2, 2.5, 2.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": -1},
        {"retries": 101},
        {"retries": 1.5},
        {"retries": True},
        {"backoff_s": -0.1},
        {"backoff_s": float("nan")},
        {"max_backoff_s": float("inf")},
        {"max_backoff_s": "20"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW + 30)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 99 Foo 99999 99:99:99 GMT"}, None),
    ],
    ids=str,
)
def test_asked_pauses_are_read_in_every_form(headers, expected):
    assert asked_pause_s(headers, NOW) == expected


@given(st.text())
def test_no_header_value_breaks_the_reading(value):
    asked = asked_pause_s({"retry-after": value, "retry-after-ms": value}, NOW)
    assert asked is None or asked >= 0


def test_which_answers_are_worth_another_try():
    transient = {status for status in range(200, 600) if is_transient(status, {})}
    assert transient == {408, 409, 425, 429, *range(500, 600)}
    assert not is_transient(429, {}, "insufficient_quota")
    assert is_transient(429, {}, "rate_limit_exceeded")
    assert not is_transient(503, {"x-should-retry": "False"})
    assert not is_transient(400, {"x-should-retry": "true"})
