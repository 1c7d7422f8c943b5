from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cost.model_prices import Usage
from ragopt.llm import Completion
from ragopt.llm.openai_reply import Problem, read_completion, read_problem, read_usage


def body(message, usage=None, finish="stop"):
    payload = {"model": "m-2026", "choices": [{"message": message, "finish_reason": finish}]}
    return json.dumps(payload | ({"usage": usage} if usage is not None else {})).encode()


USAGES = {
    "openai": (
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        Usage(input=100, output=20),
    ),
    "openai cached": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 50},
        },
        Usage(input=2006, cached_input=1920, cache_write_5m=50, output=300),
    ),
    "reasoning inside the output": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 500,
            "total_tokens": 510,
            "completion_tokens_details": {"reasoning_tokens": 450},
        },
        Usage(input=10, output=500),
    ),
    "litellm: Anthropic's counts are part of the prompt": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 10,
            "total_tokens": 1010,
            "prompt_tokens_details": {"cached_tokens": 600, "cache_creation_tokens": 300},
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 300,
        },
        Usage(input=1000, cached_input=600, cache_write_5m=300, output=10),
    ),
    "passed through: more cached than prompt tokens": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 300,
        },
        Usage(input=1000, cached_input=600, cache_write_5m=300, output=10),
    ),
    "passed through: the total has room for them": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 10,
            "total_tokens": 1210,
            "cache_read_input_tokens": 200,
        },
        Usage(input=1200, cached_input=200, output=10),
    ),
    "Anthropic's own names": (
        {
            "input_tokens": 1000,
            "output_tokens": 10,
            "cache_read_input_tokens": 200,
            "cache_creation_input_tokens": 300,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        },
        Usage(input=1500, cached_input=200, cache_write_5m=100, cache_write_1h=200, output=10),
    ),
    "litellm: one-hour writes": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 10,
            "prompt_tokens_details": {
                "cache_write_tokens": 300,
                "cache_creation_token_details": {"ephemeral_1h_input_tokens": 300},
            },
        },
        Usage(input=1000, cache_write_1h=300, output=10),
    ),
    "responses API names": (
        {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 8}},
        Usage(input=9, cached_input=8, output=4),
    ),
    "deepseek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        Usage(input=100, cached_input=64, output=5),
    ),
    "gemini: thinking only in the total": (
        {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
        Usage(input=20, output=603),
    ),
    "thinking beside the output, cached prompt": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1550,
            "prompt_tokens_details": {"cached_tokens": 500},
            "completion_tokens_details": {"reasoning_tokens": 500},
        },
        Usage(input=1000, cached_input=500, output=550),
    ),
    "thinking beside the output, no total": (
        {
            "prompt_tokens": 21,
            "completion_tokens": 0,
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
        Usage(input=21, output=60),
    ),
    "cache and thinking both beside": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 1040,
            "cache_read_input_tokens": 900,
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        Usage(input=1000, cached_input=900, output=40),
    ),
    "output from the total": (
        {"prompt_tokens": 8, "total_tokens": 11},
        Usage(input=8, output=3),
    ),
    "nulls and whole floats": (
        {
            "prompt_tokens": 8.0,
            "completion_tokens": 3,
            "total_tokens": None,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        Usage(input=8, output=3),
    ),
}


@pytest.mark.parametrize(("raw", "expected"), USAGES.values(), ids=USAGES)
def test_usage_of_each_dialect(raw, expected):
    assert read_usage(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "12",
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 5},
        {"completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": "5", "completion_tokens": 5},
        {"prompt_tokens": 5.5, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": float("inf")},
        {
            "prompt_tokens": 5,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": "x"},
        },
        {"prompt_tokens": 5, "total_tokens": 3},
    ],
    ids=str,
)
def test_usage_that_cannot_be_believed_is_none(raw):
    assert read_usage(raw) is None


counts = st.one_of(st.none(), st.integers(-5, 10_000), st.floats(), st.booleans(), st.text())
small = st.integers(0, 2_000)
names = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
]


def details(values):
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(names, values),
            "prompt_tokens_details": st.dictionaries(
                st.sampled_from(["cached_tokens", "cache_write_tokens"]), values
            ),
            "completion_tokens_details": st.dictionaries(st.just("reasoning_tokens"), values),
        },
    )


@given(details(counts))
def test_no_usage_breaks_the_reading(raw):
    usage = read_usage(raw)
    assert usage is None or usage.input > 0


@given(details(small))
def test_usage_never_bills_less_than_the_endpoint_counted(raw):
    usage = read_usage(raw)
    if usage is not None:
        assert usage.input + usage.output >= raw.get("total_tokens", 0)
        assert usage.input >= raw["prompt_tokens"]
        assert usage.output >= raw.get("completion_tokens", 0)
        assert usage.cached_input >= raw.get("cache_read_input_tokens", 0)


def test_a_text_that_cost_no_output_leaves_the_counting_to_the_caller():
    usage = {"prompt_tokens": 5, "completion_tokens": 0}
    assert read_completion(body({"content": "hello"}, usage), "m").usage is None
    assert read_completion(body({"content": ""}, usage), "m").usage == Usage(input=5)


def test_a_completion_is_read_whole():
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    done = read_completion(body({"content": "héllo ☃"}, usage, "length"), "asked")
    assert done == Completion("héllo ☃", Usage(input=5, output=2), "m-2026", "length", None)


def test_the_asked_model_stands_in_for_one_that_is_not_named():
    done = read_completion(b'{"choices": [{"message": {"content": "x"}}]}', "asked")
    assert done == Completion("x", None, "asked", None, None)


def test_text_parts_are_joined_and_thinking_left_out():
    parts = [
        {"type": "thinking", "thinking": "hmm"},
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B"},
    ]
    assert read_completion(body({"content": parts}), "m").text == "AB"


BAD_BODIES = {
    "empty": (b"", "an empty body"),
    "no JSON": (b"<html>gateway</html>", "no JSON"),
    "cut short": (body({"content": "hello"})[:-9], "cut short"),
    "bad UTF-8": (b'{"choices": "\xff"}', "no JSON"),
    "nested past all bounds": (b"[" * 100_000, "no JSON"),
    "a list": (b"[1]", "type list"),
    "no choices": (b'{"id": 1}', "no choices"),
    "choices empty": (b'{"choices": []}', "no choices"),
    "choices null": (b'{"choices": null}', "no choices"),
    "choice of another kind": (b'{"choices": ["x"]}', "no choices"),
    "no message": (b'{"choices": [{"text": "x"}]}', "without a message"),
    "content null": (body({"content": None}, finish="content_filter"), "content_filter"),
    "content missing": (body({}), "without text"),
    "content a number": (body({"content": 5}), "without text"),
    "refusal": (body({"content": None, "refusal": "I will not"}), "refusal"),
    "refusal beside empty content": (body({"content": "", "refusal": "I will not"}), "refusal"),
    "refusal part": (body({"content": [{"type": "refusal", "refusal": "no"}]}), "refusal"),
    "image part": (body({"content": [{"type": "image_url"}]}), "without text"),
    "tool calls": (body({"content": None, "tool_calls": [{"id": "1"}]}), "tool calls"),
    "error in a success": (b'{"error": {"message": "upstream", "code": 502}}', "an error"),
}


@pytest.mark.parametrize(("raw", "reason"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_unusable_bodies_say_what_was_got(raw, reason):
    read = read_completion(raw, "m")
    assert isinstance(read, Problem)
    assert reason in read.reason
    assert read.got or not raw


@given(st.binary())
def test_no_body_breaks_the_reading(raw):
    assert isinstance(read_completion(raw, "m"), Problem)
    assert isinstance(read_problem(raw), Problem)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_no_json_in_any_place_breaks_the_reading(value):
    for payload in (
        value,
        {"error": value},
        {"choices": value},
        {"choices": [value]},
        {"choices": [{"message": value}]},
        {"choices": [{"message": {"content": value}}], "usage": value, "model": value},
    ):
        raw = json.dumps(payload).encode()
        assert isinstance(read_completion(raw, "m"), (Completion, Problem))
        assert isinstance(read_problem(raw), Problem)


@pytest.mark.parametrize(
    ("raw", "said", "code"),
    [
        (
            b'{"error": {"message": "bad key", "code": "invalid_api_key"}}',
            "bad key",
            "invalid_api_key",
        ),
        (b'{"error": {"message": "slow", "type": "rate_limit"}}', "slow", "rate_limit"),
        (b'{"error": "model not found"}', "model not found", None),
        (b'{"detail": "Not Found"}', "Not Found", None),
        (b'{"detail": [{"loc": ["body"]}]}', '{"detail": [{"loc": ["body"]}]}', None),
        (b"<h1>502</h1>", "<h1>502</h1>", None),
        (b"", "", None),
    ],
    ids=str,
)
def test_the_providers_words_are_found(raw, said, code):
    problem = read_problem(raw)
    assert (problem.got, problem.code) == (said, code)
