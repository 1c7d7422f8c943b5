"""Summaries by a model: priced, checked, skipped; and whether compressing pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import BreakEvenGate, Compressed, Extractive, Summarize, break_even
from ragopt.compress.summarize import SUMMARY_PROMPT
from ragopt.cost.model_prices import LongContext, ModelPrice, Usage
from ragopt.cost.prices import PriceSheet
from ragopt.errors import InputError, UnknownPrice
from ragopt.llm import Completion, Message

TEXTS = (
    (
        "The bucket Cedar keeps its objects for 30 days, and all of its owners are told by mail "
        "when an object is about to go. See https://example.org/cedar for more about that."
    ),
    (
        "The bucket Maple keeps its objects for 1,273 days, which is longer than any other bucket, "
        "and none of its owners is told about anything at all."
    ),
)
CODE = "```\nkeep = {'Cedar': 30}\n```"
QUERY = "How long does Cedar keep objects?"
GOOD = "[1] Cedar keeps its objects for 30 days."


def count(text: str) -> int:
    return len(text.split())


def hits(*texts: str) -> list[Hit]:
    return [Hit(Chunk(f"c{n}", text, title=f"Page {n}"), 1.0) for n, text in enumerate(texts)]


def price(name: str = "small", **rates: str) -> ModelPrice:
    given = {"input": "0.001", "cached_input": "0.0001", "output": "0.002", **rates}
    return ModelPrice(
        name=name,
        provider="me",
        mode="chat",
        source="test",
        as_of="2026-01-01",
        **{name: Decimal(rate) for name, rate in given.items()},  # type: ignore[arg-type]
    )


SHEET = PriceSheet([price()], source="test", date="2026-01-01")


class Model:
    """Answers with one text, and remembers what it was asked."""

    def __init__(self, text: str = GOOD, finish_reason: str = "stop") -> None:
        self.text = text
        self.finish_reason = finish_reason
        self.asked: list[Sequence[Message]] = []

    def __call__(self, messages: Sequence[Message]) -> Completion:
        self.asked.append(messages)
        usage = Usage(input=100, cached_input=40, output=10)
        return Completion(self.text, usage=usage, finish_reason=self.finish_reason, ms=250.0)


def summarize(model: Callable[[Sequence[Message]], Completion], **settings: object) -> Summarize:
    return Summarize(model, model="small", prices=SHEET, count=count, **settings)  # type: ignore[arg-type]


def test_a_summary_replaces_its_passages_and_says_what_it_cost() -> None:
    model = Model()
    result = summarize(model).compress(QUERY, hits(*TEXTS))
    assert result.text == "Page 0\nCedar keeps its objects for 30 days."
    assert result.skipped_reason is None
    # 60 tokens at full price, 40 from the cache, 10 written.
    assert result.cost_usd == Decimal("0.084")
    assert result.ms == 250.0
    assert [part.chunk.id for part in result.chunks] == ["c0"]
    system, user = model.asked[0]
    assert system == Message("system", SUMMARY_PROMPT)
    assert f"Question: {QUERY}" in user.content


def test_tokens_are_counted_where_the_model_reports_none() -> None:
    asked = []

    def bare(messages: Sequence[Message]) -> str:
        asked.extend(messages)
        return GOOD

    result = summarize(bare).compress(QUERY, hits(*TEXTS))  # type: ignore[arg-type]
    tokens = sum(count(message.content) for message in asked)
    assert result.cost_usd == tokens * Decimal("0.001") + count(GOOD) * Decimal("0.002")


def test_code_is_not_shown_and_stands_behind_its_summary() -> None:
    model = Model()
    result = summarize(model).compress(QUERY, hits(f"{TEXTS[0]}\n\n{CODE}", TEXTS[1], CODE))
    assert result.text == "\n\n".join([f"Page 0\n{GOOD[4:]}", CODE, f"Page 2\n{CODE}"])
    assert "keep = {" not in model.asked[0][1].content


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Cedar keeps its objects for 30 days.", "does not number its passages"),
        ("Sure!\n[1] Cedar keeps its objects.", "does not number its passages"),
        ("[2] Maple keeps them.\n[1] Cedar too.", "does not number its passages"),
        ("[3] Birch keeps them.", "names a passage that there is not"),
        ("[1] Cedar keeps its objects for 31 days.", "number that passage 1 has not: 31"),
        ("[2] Maple keeps its objects for 30 days.", "number that passage 2 has not: 30"),
        ("[1] See https://example.org/other.", "link that passage 1 has not"),
        ("[1] Cedar keeps them, see `cedar.keep`.", "code or a citation that passage 1 has not"),
        ("[1] Cedar keeps them [30].", "code or a citation that passage 1 has not"),
        ("[1] " + " ".join(TEXTS * 2), "number that passage 1 has not"),
        ("[1] " + TEXTS[0] * 2 + "\n[2] " + TEXTS[1] * 2, "saves nothing"),
        ("", "does not number its passages"),
    ],
)
def test_a_summary_that_cannot_be_trusted_is_paid_for_and_not_used(text: str, why: str) -> None:
    result = summarize(Model(text)).compress(QUERY, hits(*TEXTS))
    assert why in str(result.skipped_reason)
    assert result.tokens_after == result.tokens_before == count(result.text)
    assert TEXTS[0] in result.text
    assert result.cost_usd == Decimal("0.084")


def test_numbers_may_be_written_with_or_without_separators_and_links_end_a_sentence() -> None:
    text = "[1] See https://example.org/cedar.\n[2] Maple keeps them for 1273 days."
    assert summarize(Model(text)).compress(QUERY, hits(*TEXTS)).skipped_reason is None


def test_a_summary_cut_short_is_not_used() -> None:
    result = summarize(Model(finish_reason="length")).compress(QUERY, hits(*TEXTS))
    assert result.skipped_reason == "the summary was cut short (length)"
    assert result.cost_usd == Decimal("0.084")


def test_a_model_that_fails_skips_the_summary() -> None:
    def fails(messages: Sequence[Message]) -> Completion:
        raise TimeoutError("no answer")

    async def asynchronous(messages: Sequence[Message]) -> Completion:
        return Completion(GOOD)

    result = summarize(fails).compress(QUERY, hits(*TEXTS))
    assert "TimeoutError('no answer')" in str(result.skipped_reason)
    assert result.cost_usd == 0
    result = summarize(asynchronous).compress(QUERY, hits(*TEXTS))  # type: ignore[arg-type]
    assert "asynchronous" in str(result.skipped_reason)


def test_a_summary_over_the_budget_is_cut_after_a_sentence() -> None:
    model = Model("[1] Cedar keeps its objects for 30 days. All of its owners are told by mail.")
    result = summarize(model).compress(QUERY, hits(*TEXTS), max_tokens=12)
    assert result.text == "Page 0\nCedar keeps its objects for 30 days."


def test_what_the_provider_has_cached_is_left_alone() -> None:
    model = Model("[1] Maple keeps them for 1,273 days.")
    result = summarize(model, cached={"c0"}).compress(QUERY, hits(*TEXTS))
    assert result.text == f"Page 0\n{TEXTS[0]}\n\nPage 1\nMaple keeps them for 1,273 days."
    assert TEXTS[0] not in model.asked[0][1].content
    # Only a beginning is cached: what stands after another chunk is not.
    summarize(model, cached={"c1"}).compress(QUERY, hits(*TEXTS))
    assert TEXTS[1] in model.asked[1][1].content


def test_nothing_to_summarise_asks_nobody() -> None:
    model = Model()
    compressor = summarize(model)
    assert compressor.compress(QUERY, hits(CODE)).skipped_reason is not None
    assert compressor.compress(" ", hits(*TEXTS)).skipped_reason is not None
    assert "within" in str(compressor.compress(QUERY, hits(*TEXTS), max_tokens=999).skipped_reason)
    assert compressor.compress(QUERY, []).text == ""
    assert model.asked == []


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="llm is int"):
        Summarize(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="keep_ratio=2"):
        Summarize(Model(), keep_ratio=2)
    with pytest.raises(UnknownPrice, match="no-such"):
        Summarize(Model(), model="no-such", prices=SHEET)


# Break-even -------------------------------------------------------------------------------


def made(before: int, after: int, cost: str = "0", ms: float = 0.0) -> Compressed:
    return Compressed((), "", before, after, cost_usd=Decimal(cost), ms=ms)


def test_spent_against_saved() -> None:
    found = break_even(made(1000, 400, "0.084", 250.0), price())
    assert found.usd_saved == Decimal("0.600")
    assert found.usd_spent == Decimal("0.084")
    assert found.net_usd == Decimal("0.516")
    assert found.usd_per_second == Decimal("2.064")
    assert found.pays
    assert str(found) == "pays: $0.084000 and 250.0 ms spent, $0.600000 saved"


def test_a_machine_of_ones_own_costs_by_the_hour() -> None:
    found = break_even(made(1000, 999), price(), ms=3600.0, usd_per_hour=Decimal(2))
    assert found.usd_spent == Decimal("0.002")
    assert not found.pays


def test_breaking_a_cached_prefix_can_cost_more_than_it_saves() -> None:
    result = made(1000, 400)
    # 1,000 tokens from the cache cost 0.1; 400 that are new cost 0.4.
    broken = break_even(result, price(), cached_before=1000)
    assert broken.usd_saved == Decimal("-0.3")
    assert not broken.pays
    kept = break_even(result, price(), cached_before=1000, cached_after=400)
    assert kept.usd_saved == Decimal("0.06")
    with pytest.raises(InputError, match="cached_after=401 of 400"):
        break_even(result, price(), cached_after=401)


def test_a_threshold_that_is_no_longer_passed_saves_more() -> None:
    dear = LongContext(above_tokens=1000, input=Decimal("0.01"), output=Decimal("0.01"))
    model = ModelPrice(
        name="m",
        provider="me",
        mode="chat",
        source="test",
        as_of="2026-01-01",
        input=Decimal("0.001"),
        above=(dear,),
    )
    found = break_even(made(1000, 900), model, other_tokens=100)
    assert found.usd_saved == Decimal("0.01") * 1100 - Decimal("0.001") * 1000


class TestGate:
    def gate(self, **settings: int) -> BreakEvenGate:
        return BreakEvenGate(price(), **{"least_calls": 2, "retry_every": 3, **settings})

    def reason(self, gate: BreakEvenGate) -> str | None:
        return gate.reason(Extractive(), lambda: 1000, None)

    def test_what_costs_more_than_it_saves_is_left_out_and_tried_again(self) -> None:
        gate = self.gate()
        for _ in range(2):
            assert self.reason(gate) is None
            gate.observe(made(1000, 900, "0.2"), 1.0)
        said = "left out, it does not pay: $0.400000 spent to save $0.200000 over 2 questions"
        assert [self.reason(gate) for _ in range(3)] == [said] * 3
        assert self.reason(gate) is None
        # Judged anew.
        gate.observe(made(1000, 100, "0.2"), 1.0)
        gate.observe(made(1000, 100, "0.2"), 1.0)
        assert self.reason(gate) is None

    def test_what_spends_nothing_stays_however_little_it_saves(self) -> None:
        gate = self.gate()
        for _ in range(9):
            gate.observe(made(1000, 1000), 900.0)
            assert self.reason(gate) is None

    def test_what_cannot_pay_is_left_out_of_the_first_question(self) -> None:
        # The summarising model is as dear as the one that answers.
        said = self.gate().reason(summarize(Model()), lambda: 1000, 100)
        assert "it cannot pay" in str(said)
        cheap = PriceSheet([price(input="0.0001")], source="test", date="2026-01-01")
        summarizer = Summarize(Model(), model="small", prices=cheap, count=count)
        assert self.gate().reason(summarizer, lambda: 1000, 100) is None

    def test_bad_settings(self) -> None:
        with pytest.raises(InputError, match="least_calls=0"):
            self.gate(least_calls=0)
