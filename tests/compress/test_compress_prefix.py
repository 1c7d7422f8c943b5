"""PrefixLayout: static parts first and byte-stable; both prices of a broken prefix."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ragopt.compress import PrefixLayout, PromptPart, stable_json
from ragopt.cost.model_prices import ModelPrice
from ragopt.cost.prices import PriceSheet
from ragopt.errors import InputError, UnknownPrice

RATES = {"input": "0.001", "cached_input": "0.0001", "output": "0.002"}


def sheet(**more: str) -> PriceSheet:
    rates = {name: Decimal(rate) for name, rate in {**RATES, **more}.items()}
    row = ModelPrice(
        name="m",
        provider="me",
        mode="chat",
        source="test",
        as_of="2026-01-01",
        **rates,  # type: ignore[arg-type]
    )
    return PriceSheet([row], source="test", date="2026-01-01")


def count(text: str) -> int:
    return len(text.split())


def layout(min_tokens: int = 0, block_tokens: int = 1, **more: str) -> PrefixLayout:
    return PrefixLayout(
        "m", prices=sheet(**more), min_tokens=min_tokens, block_tokens=block_tokens, count=count
    )


SYSTEM = PromptPart("Answer from the context.", static=True, name="system")
TOOLS = PromptPart(stable_json({"b": 1, "a": [2]}), static=True, name="tools")


def test_static_parts_come_first_and_are_the_same_for_every_request() -> None:
    prompts = [
        layout().arrange(
            [PromptPart(f"User {n}", static=False), SYSTEM, PromptPart(ask, False), TOOLS]
        )
        for n, ask in enumerate(["Why?", "When was that?"])
    ]
    assert [prompt.prefix for prompt in prompts] == [
        'Answer from the context.\n\n{"a":[2],"b":1}'
    ] * 2
    assert prompts[0].prefix_hash == prompts[1].prefix_hash
    assert prompts[1].text == prompts[1].prefix + "\n\nUser 1\n\nWhen was that?"
    assert prompts[1].prefix_tokens == 5
    assert prompts[1].tokens == 10
    assert layout().common([prompt.text for prompt in prompts]) == 6  # "User" is shared too


def test_line_ends_and_unicode_forms_do_not_change_the_prefix() -> None:
    one = layout().arrange([PromptPart("caf\u00e9\nbar", static=True)])
    other = layout().arrange([PromptPart("cafe\u0301\r\nbar", static=True)])
    assert one == other
    kept = layout().arrange([PromptPart("cafe\u0301\r\nbar", static=False)])
    assert kept.text == "cafe\u0301\r\nbar"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("The current date is 2026-11-22.", "a date"),
        ("It is 2026-11-22T10:00:01 here.", "a time"),
        ("Session_id: 8f2", "an id"),
        ("Trace 123e4567-e89b-12d3-a456-426614174000 of it", "a UUID"),
        ("At 1763800000 it began", "a timestamp"),
    ],
)
def test_what_changes_with_every_request_is_warned_of(text: str, what: str) -> None:
    prompt = layout().arrange([SYSTEM, PromptPart(text, static=True, name="rules")])
    assert len(prompt.warnings) == 1
    assert prompt.warnings[0].startswith(f"rules holds {what} (")
    assert layout().arrange([SYSTEM, PromptPart(text, static=False)]).warnings == ()


def test_a_prefix_that_is_too_short_to_be_cached_is_warned_of() -> None:
    prompt = layout(min_tokens=100).arrange([SYSTEM])
    assert "4 tokens, fewer than the 100" in prompt.warnings[0]
    assert layout(min_tokens=4).arrange([SYSTEM]).warnings == ()


HEAD = "word " * 100
TAIL = "tail " * 100


def test_a_compression_behind_the_prefix_keeps_it() -> None:
    found = layout().change(HEAD + TAIL, HEAD + "tail", cached=HEAD)
    assert not found.breaks
    assert (found.cached_before, found.cached_after) == (100, 100)
    assert found.usd_before == Decimal("0.11")
    assert found.usd_after == Decimal("0.011")
    assert found.pays
    assert found.warning == ""


def test_a_compression_of_the_prefix_is_priced_both_ways() -> None:
    # 200 cached tokens cost 0.02; 100 of which the first differs cost 0.1.
    found = layout().change(HEAD + TAIL, TAIL)
    assert found.breaks
    assert (found.tokens_before, found.tokens_after) == (200, 100)
    assert (found.cached_before, found.cached_after) == (200, 0)
    assert (found.usd_before, found.usd_after) == (Decimal("0.02"), Decimal("0.1"))
    assert not found.pays
    assert found.warning == (
        "compressing 200 tokens to 100 breaks the cached prefix (200 cached tokens become 0): "
        "$0.020000 a request before, $0.100000 after, dearer"
    )


def test_a_break_may_still_pay() -> None:
    found = layout().change(HEAD + TAIL, "tail " * 10)
    assert found.breaks
    assert found.pays
    assert found.warning.endswith("cheaper")


def test_cutting_the_end_off_breaks_nothing() -> None:
    found = layout().change(HEAD + TAIL, HEAD)
    assert not found.breaks
    assert found.usd_after == Decimal("0.01")


def test_what_is_too_short_is_not_cached_and_blocks_are_whole() -> None:
    found = layout(min_tokens=150, block_tokens=64).change(HEAD + TAIL, HEAD)
    assert (found.cached_before, found.cached_after) == (192, 0)


def test_writing_a_new_prefix_costs_more_where_the_provider_says_so() -> None:
    dear = layout(cache_write_5m="0.00125").change(HEAD + TAIL, TAIL)
    assert dear.usd_rewarming == Decimal("0.025")
    assert layout().change(HEAD + TAIL, TAIL).usd_rewarming == 0


def test_the_shipped_sheet_has_cached_prices() -> None:
    found = PrefixLayout("gpt-5-mini", count=count).change(HEAD + TAIL, TAIL)
    assert found.usd_before < found.usd_after


def test_bad_input() -> None:
    with pytest.raises(InputError, match="no beginning"):
        layout().change("a b", "a", cached="b")
    with pytest.raises(InputError, match="no prompts"):
        layout().common([])
    with pytest.raises(InputError, match="block_tokens=0"):
        layout(block_tokens=0)
    with pytest.raises(UnknownPrice):
        PrefixLayout("no-such-model")
