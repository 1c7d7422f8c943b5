"""Net dollars: what hits spare, less what the cache costs itself, at the shipped prices."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import numpy as np
import pytest
from cache_bench_made import SMALL, Plain, candidate, paired

from ragopt.benchmarks.cache import bench_cache, recheck
from ragopt.benchmarks.cache.bill import (
    BillOptions,
    UnitCosts,
    bill_of,
    question_tokens,
    unit_costs,
)
from ragopt.benchmarks.cache.stream import ASKED, MISS
from ragopt.cost import Infrastructure, PriceSheet, Usage
from ragopt.errors import InputError, UnknownPrice

WHOLE = UnitCosts(
    call=Decimal(100),
    call_token=Decimal(1),
    embedding_token=Decimal("0.1"),
    judgement=Decimal(5),
    judgement_token=Decimal("0.5"),
    stored=Decimal(2),
    vector=Decimal(3),
)
TOKENS = np.array([10, 10, 20, 30], dtype=np.int32)
WORDS = np.array([0, 0, 1, 2], dtype=np.int32)
LOG = np.array([MISS, 0, 0, ASKED], dtype=np.int32)  # the same text, other words, asked to learn


def test_every_part_is_counted_once() -> None:
    bill = bill_of(LOG, TOKENS, WORDS, WHOLE, embeds="unseen", wrong=1)
    per = 250  # 1,000 requests of these four
    assert bill.saved == per * (110 + 120)
    assert bill.embedding == per * (1 + 2 + 3)
    assert bill.judge == per * (5 + 15)
    assert bill.storage == per * 2 * (2 + 3)
    assert bill.explored == per * 130
    assert bill.net == bill.saved - bill.embedding - bill.judge - bill.storage
    assert bill.break_even_call == bill.spent / 500
    assert bill.break_even_wrong == bill.net / 250


@pytest.mark.parametrize(("embeds", "tokens", "entry"), [("never", 0, 2), ("always", 70, 5)])
def test_who_embeds_what_pays_for_it(embeds: str, tokens: int, entry: int) -> None:
    bill = bill_of(LOG, TOKENS, WORDS, WHOLE, embeds=embeds, wrong=None)
    assert bill.embedding == Decimal("0.1") * 250 * tokens
    assert bill.storage == 250 * 2 * entry
    assert bill.break_even_wrong is None


def test_without_a_hit_there_is_nothing_to_break_even_at() -> None:
    log = np.full(4, MISS, dtype=np.int32)
    bill = bill_of(log, TOKENS, WORDS, WHOLE, embeds="unseen", wrong=0)
    assert (bill.saved, bill.break_even_call, bill.break_even_wrong) == (0, None, None)
    assert bill.net < 0


def test_costs_are_those_of_the_price_sheet() -> None:
    options = BillOptions()
    costs, about = unit_costs(options, dim=384, question_bytes=50.0)
    sheet = PriceSheet.default()
    usage = Usage(input=2000 + 12, output=250)
    assert costs.call + 12 * costs.call_token == sheet.model("gpt-5-mini").cost(usage)
    embedded = sheet.model("text-embedding-3-small").cost(Usage(input=1000, output=0))
    assert 1000 * costs.embedding_token == embedded
    # the judge reads both answers and its own instructions
    reading = sheet.model("gpt-5-nano").cost(Usage(input=500, output=1))
    assert reading < costs.judgement < 2 * reading
    units = Infrastructure.default().unit_price
    month = units("gp3_gb_month").usd / 10**9 + units("ram_gib_month").usd / 2**30
    assert costs.vector == 4 * 384 * month
    assert about["date"] == sheet.date
    assert about["prices"][0] == sheet.model("gpt-5-mini").price_id


def test_costs_survive_their_form() -> None:
    costs, _ = unit_costs(BillOptions(), dim=8, question_bytes=31.25)
    assert UnitCosts.from_dict(costs.to_dict()) == costs


def test_a_model_without_a_price_is_refused() -> None:
    with pytest.raises(UnknownPrice, match="gpt-99"):
        unit_costs(BillOptions(model="gpt-99"), dim=8, question_bytes=30.0)
    with pytest.raises(UnknownPrice, match="output tokens"):
        unit_costs(BillOptions(model="text-embedding-3-small"), dim=8, question_bytes=30.0)


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="answer_tokens"):
        BillOptions(answer_tokens=0)


def test_questions_are_counted_each() -> None:
    tokens = question_tokens(["one two three", "one", "one two three"], BillOptions())
    assert tokens[0] == tokens[2] > tokens[1] > 0


class Refusing(Plain):
    """Serves nothing."""

    def get(self, question: str) -> None:
        return None


def test_who_loses_is_told_and_what_it_would_take() -> None:
    options = dataclasses.replace(SMALL, protocols=("stream",), bill=BillOptions(answer_tokens=1))
    named = [candidate(Plain, "plain"), candidate(Refusing, "refusing")]
    result = bench_cache(paired(60), options=options, candidates=named)
    plain, refusing = (
        next(row for row in result.rows if row.name == f"cache/{name}/stream/net_usd_per_1000")
        for name in ("plain", "refusing")
    )
    assert plain.value > 0 > refusing.value  # type: ignore[operator]
    assert refusing.extra["break_even_call_usd"] is None
    assert 0 < plain.extra["break_even_call_usd"] < plain.extra["saved_usd"] / plain.extra["hits"]
    told = "\n".join(result.details["notes"])
    assert "without a hit nothing pays" in told
    assert "refusing at 0.9 $" in told
    assert "net dollars at prices of 20" in told
    assert recheck(result) == []


def test_other_prices_than_those_of_the_rows_are_found() -> None:
    options = dataclasses.replace(SMALL, protocols=("stream",), only=("static",))
    result = bench_cache(paired(60), options=options)
    result.details["bill"]["usd"]["call"] = "1"
    (problem,) = recheck(result)
    assert problem.startswith("cache/static/stream/net_usd_per_1000")
