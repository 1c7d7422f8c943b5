"""A compressor that costs money is billed, and left out where it does not pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from ragopt.chunk import Hit
from ragopt.compress import Compressed, Summarize, Truncate
from ragopt.cost.ledger import Ledger
from ragopt.cost.model_prices import Usage
from ragopt.cost.prices import PriceSheet
from ragopt.llm import Completion, Message
from ragopt.pipeline import Billing, Pipeline

TEXTS = ["The archive keeps mails for thirty days. " * 10, "Backups run at night. " * 10]
DEAR = Decimal("0.01")


class Dear:
    """A compressor that bills more for a question than its whole context costs."""

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        return replace(Truncate().compress(query, hits, max_tokens=20), cost_usd=DEAR)


def test_what_the_compressor_spent_is_part_of_the_cost(
    fixed, new_model, sheet, words, tmp_path
) -> None:
    model = new_model(usage=Usage(input=100, output=10))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        billing = Billing("m", prices=sheet, counter=words, ledger=ledger)
        pipeline = Pipeline(fixed(TEXTS, TEXTS), model, compressor=Dear(), billing=billing)
        answer = pipeline.ask("How long?")
        assert answer.cost == Decimal("0.00028") + DEAR
        assert ledger.total()[0].usd == answer.cost
    assert answer.saved < 0


def test_a_compressor_that_does_not_pay_is_left_out_and_said_so(
    fixed, new_model, sheet, words
) -> None:
    billing = Billing("m", prices=sheet, counter=words)
    pipeline = Pipeline(fixed(TEXTS, TEXTS), new_model(), compressor=Dear(), billing=billing)
    answers = [pipeline.ask("How long?") for _ in range(9)]
    assert all(answer.context.skipped_reason is None for answer in answers[:8])
    last = answers[8]
    stage = next(stage for stage in last.stages if stage.name == "compress")
    assert stage.note == last.context.skipped_reason
    assert "left out, it does not pay: $0.080000 spent" in stage.note
    assert stage.tokens_before == stage.tokens_after == last.context.tokens_before
    assert not stage.failed
    assert last.cost < DEAR
    assert not pipeline.failures


def test_a_summary_dearer_than_the_context_is_never_asked_for(
    fixed, new_model, sheet, words
) -> None:
    asked = []

    def summarizer(messages: Sequence[Message]) -> Completion:
        asked.append(messages)
        return Completion("[1] Thirty days.")

    compressor = Summarize(summarizer, model="m", prices=sheet, count=words.count)
    billing = Billing("m", prices=sheet, counter=words)
    pipeline = Pipeline(fixed(TEXTS, TEXTS), new_model(), compressor=compressor, billing=billing)
    answer = pipeline.ask("How long?")
    assert "it cannot pay" in answer.context.skipped_reason
    assert asked == []


def test_a_summary_by_a_cheap_model_is_used(fixed, new_model, words, tmp_path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(
        '{"source": "test", "as_of": "2026-11-01", "models": {'
        '"dear": {"provider": "me", "mode": "chat", "input": 50, "output": 50},'
        '"cheap": {"provider": "me", "mode": "chat", "input": 1, "output": 1}}}'
    )
    prices = PriceSheet.from_json(path)
    compressor = Summarize(
        lambda messages: "[1] Mails are kept for thirty days.",
        model="cheap",
        prices=prices,
        count=words.count,
    )
    model = new_model()
    pipeline = Pipeline(
        fixed(TEXTS, TEXTS),
        model,
        compressor=compressor,
        billing=Billing("dear", prices=prices, counter=words),
    )
    answer = pipeline.ask("How long?")
    assert "Mails are kept for thirty days." in model.prompts[0][1].content
    assert answer.context.cost_usd > 0
    assert answer.saved > 0


def test_without_prices_nothing_is_left_out(fixed, new_model, words) -> None:
    pipeline = Pipeline(
        fixed(TEXTS, TEXTS), new_model(), compressor=Dear(), billing=Billing(counter=words)
    )
    answers = [pipeline.ask("How long?") for _ in range(10)]
    assert answers[-1].context.skipped_reason is None
    assert answers[-1].cost == DEAR


def test_a_forecast_that_fails_does_not_fail_the_question(fixed, new_model, sheet, words) -> None:
    class Unsure(Dear):
        def expected_usd(self, tokens: int, max_tokens: int | None) -> Decimal:
            raise RuntimeError("no idea")

    billing = Billing("m", prices=sheet, counter=words)
    pipeline = Pipeline(fixed(TEXTS, TEXTS), new_model(), compressor=Unsure(), billing=billing)
    assert pipeline.ask("How long?").context.skipped_reason is None
