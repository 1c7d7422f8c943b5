"""PromptLint: what it finds, what it leaves alone, and what a finding costs."""

from __future__ import annotations

import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ragopt.compress import LintReport, PromptLint
from ragopt.compress.prompts import as_prompt, read_prompt
from ragopt.cost.model_prices import ModelPrice
from ragopt.cost.prices import PriceSheet
from ragopt.errors import InputError, UnknownPrice
from ragopt.llm import Message

ROW = ModelPrice(
    name="m",
    provider="me",
    mode="chat",
    source="test",
    as_of="2026-01-01",
    input=Decimal("0.001"),
    cached_input=Decimal("0.0001"),
)
SHEET = PriceSheet([ROW], source="test", date="2026-01-01")


def lint(prompt: Any, **settings: Any) -> LintReport:
    given = {"requests_per_month": 10, "count": len, "prices": SHEET, **settings}
    return PromptLint("m", **given).lint(prompt)


def found(report: LintReport) -> list[tuple[str, str | None]]:
    return [(one.rule, one.suggestion) for one in report.findings]


@pytest.mark.parametrize(
    ("text", "rule", "rewritten"),
    [
        ("Answer in English. \nBe brief.", "format", "Answer in English.\nBe brief."),
        ("One.\n\n\n\nTwo.", "format", "One.\n\nTwo."),
        ("One   two.", "format", "One two."),
        ("Rules\n==========\nOne.", "format", "Rules\n===\nOne."),
        ('Use:\n\n{\n  "a": "b  c",\n  "n": 1.50\n}', "json", 'Use:\n\n{"a":"b  c","n":1.50}'),
        ("Quote it in order to be exact.", "verbose", "Quote it to be exact."),
        ("In the event that it fails, say so.", "verbose", "If it fails, say so."),
        ("Please answer in English.", "verbose", "Answer in English."),
        ("I would like you to write a poem.", "verbose", "Write a poem."),
        ("It is important to note that keys expire.", "verbose", "Keys expire."),
        (
            "Always quote the source of an answer. Be brief. Always quote the source of an answer.",
            "repeated",
            "Always quote the source of an answer. Be brief. ",
        ),
    ],
)
def test_mechanical_findings_come_with_their_rewrite(text: str, rule: str, rewritten: str) -> None:
    report = lint(text)
    assert [one.rule for one in report.findings] == [rule]
    assert report.rewritten == (rewritten,)
    assert report.findings[0].tokens == len(text) - len(rewritten) > 0
    assert report.tokens_rewritten == len(rewritten)
    again = lint(rewritten)
    assert again.tokens_rewritten >= len(rewritten.rstrip())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer in English.\nBe brief.",
        "```\nplease   in order to   x\n\n\n\n```",
        "| a    | b    |\n|------|------|\n| c    | d    |",
        "The file `in order to   x` is there.",
        "Say please when you ask.",
        "Make sure that you are polite.",
        "Never delete files of the user. Never delete files of the group.",
        "Wait for 30 seconds before the next call. Wait for 60 seconds before the next call.",
        "Open it when it is safe to do so. Do not open it when it is safe to do so.",
        "Example 1: a\nExample 2: b\nExample 3: c",
        "- one\n  - two\n    - three",
    ],
)
def test_what_is_as_it_should_be_is_left_alone(text: str) -> None:
    assert found(lint(text)) == []
    assert lint(text).rewritten == (text,)


def test_the_same_instruction_in_other_words_is_for_people_to_judge() -> None:
    report = lint(
        "Quote the source of each answer in brackets. "
        "You must quote each answer's source in the brackets."
    )
    assert found(report) == [("similar", None)]
    assert report.tokens == report.tokens_rewritten


def test_instructions_are_compared_over_all_messages_but_the_assistants() -> None:
    said = "Always quote the source of an answer."
    report = lint(
        [
            {"role": "system", "content": said},
            {"role": "assistant", "content": said},
            {"role": "user", "content": [{"type": "text", "text": said + " Who wrote it?"}]},
        ]
    )
    assert found(report) == [("repeated", "")]
    assert report.findings[0].where == "messages[2].content[0]"
    assert report.rewritten == (said, said, "Who wrote it?")


def test_examples_beyond_the_third() -> None:
    text = "Label it.\n" + "\n".join(f"Example {n}: text {n}" for n in range(5))
    report = lint(text)
    assert found(report) == [("examples", None)]
    one = report.findings[0]
    assert text[one.start : one.end] == "Example 3: text 3\nExample 4: text 4"
    assert one.line == 5
    assert "5 examples, 90% of the text" in one.message


def test_dollars_a_month() -> None:
    report = lint("One   two.")
    assert report.usd_per_month == 10 * 10 * Decimal("0.001")
    assert report.findings[0].usd_per_month == 2 * 10 * Decimal("0.001")
    assert report.usd_saved_per_month == Decimal("0.02")
    cached = lint("One   two.", cached_ratio=0.5)
    assert cached.findings[0].usd_per_month == 2 * 10 * Decimal("0.00055")


TOOLS = [
    {"type": "function", "function": {"name": "search", "parameters": {}}},
    {"name": "weather", "input_schema": {}},
    {"name": "search", "input_schema": {}},
]


def unused(**request: Any) -> list[str]:
    given = {"messages": [{"role": "user", "content": "Hi."}], "tools": TOOLS[:2], **request}
    used = given.pop("used", None)
    report = lint(given, used_tools=used)
    assert all(one.tokens > 0 for one in report.findings)
    saved = sum(one.tokens for one in report.findings)
    assert report.tokens_rewritten == report.tokens - saved
    return [f"{one.where} {one.message}" for one in report.findings]


def test_tools_are_unused_only_where_something_shows_it() -> None:
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "search", "arguments": "{}"}}],
    }
    anthropic = {"role": "assistant", "content": [{"type": "tool_use", "name": "search"}]}
    for turn in (called, anthropic):
        said = ["tools[1] weather is neither called nor mentioned in this conversation"]
        assert unused(messages=[turn]) == said
        assert unused(messages=[turn, {"role": "user", "content": "The weather?"}]) == []
    assert unused() == []
    assert unused(used=["weather"]) == ["tools[0] search was not called in the given traffic"]
    assert unused(tool_choice={"type": "tool", "name": "weather"}) == [
        "tools[0] search cannot be called: tool_choice names 'weather'"
    ]
    assert len(unused(tool_choice="none")) == 2
    assert unused(tools=TOOLS) == ["tools[2] search is declared twice"]


def test_prompts_in_all_their_forms(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi."}]
    assert as_prompt("Hi.").texts[0].role == "system"
    assert as_prompt([Message("user", "Hi.")]) == as_prompt(messages)
    assert as_prompt({"messages": messages, "system": "S."}).texts[0].text == "S."
    assert as_prompt({"prompt": "Hi."}) == as_prompt("Hi.")
    path = tmp_path / "prompt.json"
    path.write_text("\ufeff" + json.dumps(messages))
    assert read_prompt(path) == as_prompt(messages)
    plain = path.with_suffix(".txt")
    plain.write_text("{not json", "utf-8")
    assert read_prompt(plain).texts[0].text == "{not json"


@pytest.mark.parametrize("value", [3, {}, {"messages": 3}, [{"content": "x"}], {"messages": [3]}])
def test_what_is_no_prompt_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        lint(value)


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="requests_per_month=0"):
        lint("x", requests_per_month=0)
    with pytest.raises(InputError, match="cached_ratio=2"):
        lint("x", cached_ratio=2)
    with pytest.raises(UnknownPrice):
        PromptLint("no-such-model")
    with pytest.raises(InputError, match="tools"):
        lint({"messages": [], "tools": [3]})
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    for name in ("a.json", "a.txt", "absent.txt"):
        with pytest.raises(InputError, match=name):
            read_prompt(tmp_path / name)


@pytest.mark.data
@pytest.mark.skipif("RAGOPT_DATA" not in os.environ, reason="RAGOPT_DATA names no folder")
@pytest.mark.parametrize("name", ["arena_hard", "rankllm_dl19_prompts"])
def test_real_prompts_lose_no_number_and_no_code(name: str) -> None:
    from ragopt.compress.fence import fenced_pieces

    folder = Path(os.environ["RAGOPT_DATA"]) / "prompts"
    rows = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()[:60]
    changed = 0
    for row in rows:
        text = json.loads(row)["prompt"]
        report = lint(text)
        assert all(0 <= one.start < one.end <= len(text) for one in report.findings)
        assert report.tokens_rewritten <= report.tokens
        repeated = any(one.rule == "repeated" for one in report.findings)
        if not repeated:
            assert re.findall(r"\d+", report.rewritten[0]) == re.findall(r"\d+", text)
            loose = {one.start for one in report.findings if one.rule == "json"}
            for piece in fenced_pieces(text):
                if piece.fenced and piece.start not in loose:
                    assert text[piece.start : piece.end] in report.rewritten[0]
        changed += report.tokens_rewritten < report.tokens
    assert changed
