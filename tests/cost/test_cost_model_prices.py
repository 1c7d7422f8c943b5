import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cost.model_prices import (
    TOKEN_CLASSES,
    LongContext,
    ModelPrice,
    Rates,
    Usage,
    to_decimal,
)
from ragopt.errors import InputError, UnknownPrice

D = Decimal


def price(**rates):
    given = {
        "name": "m",
        "provider": "p",
        "mode": "chat",
        "source": "test 1",
        "as_of": "2026-11-22",
    }
    return ModelPrice(**given | rates)


FULL = price(
    input=D("3e-6"),
    cached_input=D("3e-7"),
    cache_write_5m=D("3.75e-6"),
    cache_write_1h=D("6e-6"),
    output=D("15e-6"),
    batch_input=D("1.5e-6"),
    batch_output=D("7.5e-6"),
    above=(LongContext(above_tokens=200_000, input=D("6e-6"), output=D("22.5e-6")),),
)


@st.composite
def usages(draw, most=10**9):
    parts = [draw(st.integers(0, most)) for _ in range(4)]
    return Usage(
        input=sum(parts),
        cached_input=parts[0],
        cache_write_5m=parts[1],
        cache_write_1h=parts[2],
        output=draw(st.integers(0, most)),
    )


@pytest.mark.parametrize("bad", [True, -1, 1.0, float("nan"), "3", None])
@pytest.mark.parametrize("field", TOKEN_CLASSES)
def test_usage_refuses_what_is_no_count_and_names_it(field, bad):
    with pytest.raises(InputError, match=f"Usage.{field}="):
        Usage(**{"input": 10, field: bad})


@pytest.mark.parametrize("part", ["cached_input", "cache_write_5m", "cache_write_1h"])
def test_usage_says_which_count_exceeds_which(part):
    with pytest.raises(InputError, match=f"Usage.{part}=11 exceeds input=10"):
        Usage(**{"input": 10, part: 11})


def test_usage_parts_together_must_fit_the_input():
    Usage(input=10, cached_input=6, cache_write_5m=4)
    with pytest.raises(InputError, match=r"cached_input=6 \+ cache_write_5m=5 .* exceed input=10"):
        Usage(input=10, cached_input=6, cache_write_5m=5)


@given(usages())
def test_leaves_are_disjoint_and_whole(usage):
    leaves = usage.leaves()
    assert sum(leaves.values()) == usage.input + usage.output
    assert all(count >= 0 for count in leaves.values())


def test_usages_add_up_by_class():
    total = Usage(input=5, cached_input=2, output=1) + Usage(input=3, cache_write_5m=3)
    assert total == Usage(input=8, cached_input=2, cache_write_5m=3, output=1)


def test_numpy_counts_become_plain_integers():
    np = pytest.importorskip("numpy")
    assert type(Usage(input=np.int64(3)).input) is int


def test_worked_example_with_every_class():
    usage = Usage(input=1000, cached_input=400, cache_write_5m=300, cache_write_1h=100, output=50)
    by_hand = 200 * D("3") + 400 * D("0.3") + 300 * D("3.75") + 100 * D("6") + 50 * D("15")
    assert FULL.cost(usage) == by_hand / 1_000_000


def test_cached_tokens_are_not_billed_twice():
    cached = FULL.cost(Usage(input=1000, cached_input=1000))
    assert cached == 1000 * D("3e-7")
    assert cached < FULL.cost(Usage(input=1000))


@given(usages(most=40_000), usages(most=10_000))
def test_cost_is_additive_below_the_threshold(a, b):
    assert FULL.cost(a) + FULL.cost(b) == FULL.cost(a + b) or (a + b).input > 200_000


@given(usages())
def test_cost_ignores_the_callers_decimal_context(usage):
    row = price(**{name: D("1.2345e-7") for name in TOKEN_CLASSES})
    with decimal.localcontext(decimal.Context(prec=2)):
        cost = row.cost(usage)
    assert cost == sum(usage.leaves().values()) * D("1.2345e-7")


@pytest.mark.parametrize(
    ("tokens", "rate"), [(199_999, "3e-6"), (200_000, "3e-6"), (200_001, "6e-6")]
)
def test_long_context_rate_holds_for_the_whole_call_past_the_threshold(tokens, rate):
    assert FULL.cost(Usage(input=tokens)) == tokens * D(rate)


def test_highest_threshold_passed_wins():
    steps = tuple(LongContext(above_tokens=n, input=D(n)) for n in (10, 20, 30))
    row = price(input=D(1), above=steps)
    assert [row.cost(Usage(input=n)) / n for n in (10, 11, 20, 21, 31)] == [1, 10, 10, 20, 30]


def test_long_context_class_without_a_price_is_unknown_not_the_base_price():
    with pytest.raises(UnknownPrice, match="cached_input tokens above 200,000 tokens"):
        FULL.cost(Usage(input=200_001, cached_input=1))


def test_batch_is_its_own_price():
    assert FULL.cost(Usage(input=10, output=2), "batch") == 10 * D("1.5e-6") + 2 * D("7.5e-6")


def test_batch_never_falls_back_to_the_full_price():
    with pytest.raises(UnknownPrice, match="no batch price for cached_input"):
        FULL.cost(Usage(input=10, cached_input=1), "batch")
    with pytest.raises(UnknownPrice, match="no batch price for input"):
        price(input=D(1), output=D(1)).cost(Usage(), "batch")


@pytest.mark.parametrize("tier", ["flex", "Batch", "", None])
def test_unknown_tier_is_refused(tier):
    with pytest.raises(UnknownPrice, match="expected one of standard, batch"):
        FULL.cost(Usage(input=1), tier)


@pytest.mark.parametrize("name", [*TOKEN_CLASSES[1:]])
def test_a_missing_rate_is_never_zero(name):
    row = price(input=D("1e-6"))
    with pytest.raises(UnknownPrice, match=f"no standard price for {name}.*known: input"):
        row.cost(Usage(**{"input": 5, name: 5}))


def test_reranker_billed_per_search():
    row = price(mode="rerank", per_search=D("0.002"))
    assert row.rerank_cost(searches=3) == D("0.006")
    assert row.unit == "USD per search"
    with pytest.raises(UnknownPrice, match="billed in searches; give searches"):
        row.rerank_cost()
    with pytest.raises(UnknownPrice, match="billed in searches"):
        row.rerank_cost(tokens=100)
    with pytest.raises(UnknownPrice, match="billed per search"):
        row.cost(Usage(input=100))


def test_reranker_billed_per_token():
    row = price(mode="rerank", input=D("5e-8"))
    assert row.rerank_cost(tokens=1_000_000) == D("0.05")
    with pytest.raises(UnknownPrice, match="billed in tokens; give tokens"):
        row.rerank_cost(searches=1)


def test_rerank_cost_refuses_other_models_and_unpriced_ones():
    with pytest.raises(UnknownPrice, match="chat model, not a reranker"):
        FULL.rerank_cost(tokens=1)
    with pytest.raises(UnknownPrice, match="no price is published"):
        price(mode="rerank").rerank_cost(tokens=1)
    with pytest.raises(InputError, match="searches=-1"):
        price(mode="rerank", per_search=D(1)).rerank_cost(searches=-1)


def test_suspect_row_prices_nothing():
    row = price(input=D(1), mode="rerank", suspect="100 times its peers")
    with pytest.raises(UnknownPrice, match=r"not believed \(100 times its peers\)"):
        row.cost(Usage(input=1))
    with pytest.raises(UnknownPrice, match="not believed"):
        row.rerank_cost(tokens=1)


@pytest.mark.parametrize("bad", [2.5e-6, 1, "1", D("NaN"), D("-1"), D("Infinity"), True])
def test_rates_are_decimals_from_zero_up(bad):
    for make in (lambda: Rates(output=bad), lambda: price(per_search=bad)):
        with pytest.raises(InputError, match=r"output=|per_search="):
            make()


@pytest.mark.parametrize("field", ["name", "provider", "mode", "source", "as_of", "region"])
def test_a_row_says_where_it_comes_from(field):
    with pytest.raises(InputError, match=f"ModelPrice.{field}=''"):
        price(**{field: ""})


def test_thresholds_rise():
    twice = (LongContext(above_tokens=2), LongContext(above_tokens=2))
    with pytest.raises(InputError, match="rising thresholds"):
        price(above=twice)
    with pytest.raises(InputError, match="above_tokens=0"):
        LongContext(above_tokens=0)


def test_price_id_names_list_model_and_date():
    assert FULL.price_id == "test-1/m@2026-11-22"


def test_floats_enter_decimal_through_their_shortest_writing():
    assert to_decimal(7.5e-08) == D("7.5e-8")
    assert to_decimal(0.1) + to_decimal(0.2) == D("0.3")
    assert to_decimal("2.50") == D("2.5")


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_to_decimal_keeps_every_float(value):
    assert float(to_decimal(value)) == value


@pytest.mark.parametrize(
    "bad", [True, None, "", "free", "nan", float("inf"), -1e-9, [1], D("sNaN")]
)
def test_to_decimal_refuses(bad):
    with pytest.raises(InputError, match="rate="):
        to_decimal(bad, "rate")
