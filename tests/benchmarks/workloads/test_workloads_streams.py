"""Streams: what repeats, what is joined, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet, QueryLog
from ragopt.benchmarks.road.traffic import Request
from ragopt.benchmarks.workloads import (
    LogShape,
    Stream,
    log_shape,
    paraphrase_stream,
    reshape,
    stream_of_intents,
    stream_of_pairs,
    zipf_indices,
)
from ragopt.errors import InputError

GROUPS = {"a": ["how old is a", "age of a"], "b": ["what is b"], "c": ["c one", "c two", "c three"]}


def _pairs(*triples: tuple[str, str, bool]) -> PairSet:
    return PairSet(name="p", pairs=tuple(LabelledPair(*triple) for triple in triples))


def _stream(*pairs: tuple[str, str]) -> Stream:
    return Stream(requests=tuple(Request(*pair) for pair in pairs), seed=0)


@given(
    count=st.integers(0, 300),
    items=st.integers(1, 50),
    exponent=st.floats(0, 30),
    seed=st.integers(0, 2**31),
)
def test_draws_are_items_and_one_seed_gives_one_draw(
    count: int, items: int, exponent: float, seed: int
) -> None:
    drawn = zipf_indices(count, items, exponent, seed)
    assert drawn.shape == (count,)
    assert drawn.dtype == np.int64
    assert ((drawn >= 0) & (drawn < items)).all()
    assert (drawn == zipf_indices(count, items, exponent, seed)).all()


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.5])
def test_draws_follow_the_law(exponent: float) -> None:
    counts = np.sort(np.bincount(zipf_indices(50_000, 12, exponent, 5), minlength=12))[::-1]
    shares = np.arange(1, 13) ** -exponent
    assert chisquare(counts, 50_000 * shares / shares.sum()).pvalue > 1e-3
    assert (
        chisquare(counts, 50_000 * (w := np.arange(1, 13) ** -(exponent + 0.3)) / w.sum()).pvalue
        < 1e-6
    )


def test_which_item_is_frequent_is_drawn_too() -> None:
    tops = {int(np.bincount(zipf_indices(200, 20, 2.0, seed)).argmax()) for seed in range(20)}
    assert len(tops) > 5


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    count=st.integers(1, 80),
    seed=st.integers(0, 2**31),
)
def test_requests_are_wordings_of_their_group_and_shares_add_up(
    sizes: list[int], count: int, seed: int
) -> None:
    groups = {f"g{n}": [f"text {n} {m}" for m in range(size)] for n, size in enumerate(sizes)}
    stream = paraphrase_stream(groups, count, seed=seed)
    assert len(stream) == count
    assert all(request.text in groups[request.item] for request in stream.requests)
    asked = {request.item for request in stream.requests}
    assert stream.first_ratio == pytest.approx(len(asked) / count)
    total = stream.first_ratio + stream.rephrased_ratio + stream.repeated_ratio
    assert total == pytest.approx(1)
    assert stream == paraphrase_stream(groups, count, seed=seed)
    assert stream.ambiguous == ()


def test_shares_of_a_stream_by_hand() -> None:
    stream = _stream(
        ("What is b?", "b"),
        ("what is b", "b"),
        ("b is what", "b"),
        ("age of a", "a"),
        ("b is what", "b"),
    )
    assert stream.first_ratio == pytest.approx(0.4)
    assert stream.repeated_ratio == pytest.approx(0.4)  # the second differs in typography alone
    assert stream.rephrased_ratio == pytest.approx(0.2)
    assert "40.0% repeat" in str(stream)
    assert _stream().repeated_ratio == 0


def test_words_and_groups_of_one_name_are_not_mistaken_for_each_other() -> None:
    stream = _stream(("b", "a"), ("x", "b"), ("wb", "gb"))
    assert stream.first_ratio == 1


def test_words_of_two_groups_are_named() -> None:
    assert _stream(("Same.", "a"), ("same", "b"), ("other", "b")).ambiguous == ("same",)


def test_pairs_are_joined_through_others_and_a_contradiction_is_kept_and_listed() -> None:
    against = LabelledPair("a1", "Who is a three?", False)
    pairs = _pairs(
        ("a1", "a2", True),
        ("a2", "who is a three", True),
        ("b1", "b2", False),
        ("a1", "Who is a three?", False),
        ("see c", "See c.", True),
    )
    stream = stream_of_pairs(pairs, seed=1)
    item = {request.text: request.item for request in stream.requests}
    assert item["a1"] == item["a2"] == item["who is a three"] == item["Who is a three?"]
    assert len({item["a1"], item["b1"], item["b2"], item["see c"]}) == 4
    assert Counter(request.text for request in stream.requests) == dict.fromkeys(item, 1)
    assert stream.contradictions == (against,)
    assert stream.contradicted == {item["a1"]}
    assert "1 contradictory" in str(stream)


texts = st.sampled_from([f"t{number}" for number in range(12)])


@given(st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=25))
def test_groups_are_the_connected_parts_of_the_pairs_that_are_the_same(
    triples: list[tuple[str, str, bool]],
) -> None:
    stream = stream_of_pairs(_pairs(*triples))
    reach = {text: {text} for triple in triples for text in triple[:2]}
    for _ in reach:
        for a, b, same in triples:
            if same:
                reach[a] |= reach[b]
                reach[b] |= reach[a]
    item = {request.text: request.item for request in stream.requests}
    for a, group in item.items():
        assert {b for b, other in item.items() if other == group} == reach[a]
    against = [triple for triple in triples if not triple[2] and triple[1] in reach[triple[0]]]
    assert len(stream.contradictions) == len(against)


def test_every_text_comes_once_in_an_order_that_the_seed_draws() -> None:
    intents = IntentSet(name="i", texts=tuple("abcdefgh"), intents=tuple("xxyyzzzz"))
    orders = {stream_of_intents(intents, seed=seed).requests for seed in range(8)}
    assert len(orders) == 8
    assert all(sorted(request.text for request in order) == list("abcdefgh") for order in orders)
    drawn = stream_of_intents(intents, count=40, seed=3)
    assert len(drawn) == 40
    kinds = dict(zip("abcdefgh", "xxyyzzzz", strict=True))
    assert all(kinds[request.text] == request.item for request in drawn.requests)
    assert drawn.repeated_ratio > 0.5


def test_a_log_is_numbered_as_its_questions_first_come() -> None:
    shape = log_shape(
        QueryLog(name="l", queries=("Buy it", "ask her?", "buy  it", "Call", "ask her", "buy it."))
    )
    assert shape.places.tolist() == [0, 1, 0, 2, 1, 0]
    assert shape.distinct == 3
    assert shape.repeated_ratio == 0.5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 2**31))
def test_another_set_takes_the_order_of_repetition(queries: list[int], seed: int) -> None:
    shape = log_shape(QueryLog(name="l", queries=tuple(f"query {n}" for n in queries)))
    items = [f"item {number}" for number in range(12)]
    taken = reshape(items, shape, seed=seed)
    assert len(taken) == len(queries)
    for a in range(len(queries)):
        for b in range(a):
            assert (taken[a] == taken[b]) == (queries[a] == queries[b])
    assert taken == reshape(items, shape, seed=seed)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 99))
def test_a_cut_log_has_fewer_questions_in_their_order(
    queries: list[int], distinct: int, seed: int
) -> None:
    shape = log_shape(QueryLog(name="l", queries=tuple(f"query {n}" for n in queries)))
    cut = shape.cut(distinct, seed)
    assert cut.distinct == min(distinct, shape.distinct)
    firsts = list(dict.fromkeys(cut.places.tolist()))
    assert firsts == list(range(cut.distinct))
    whole = Counter(shape.places.tolist())
    assert not Counter(Counter(cut.places.tolist()).values()) - Counter(whole.values())


def test_a_cut_log_repeats_about_as_much_as_the_whole() -> None:
    shape = LogShape(np.unique(zipf_indices(20_000, 5_000, 0.8, 1), return_inverse=True)[1])
    assert shape.cut(200).repeated_ratio == pytest.approx(shape.repeated_ratio, abs=0.05)


def test_bad_input_is_refused() -> None:
    for count, items, exponent in ((-1, 1, 1.0), (1, 0, 1.0), (1, 1, -1.0), (1, 1, float("nan"))):
        with pytest.raises(InputError, match="finite exponent"):
            zipf_indices(count, items, exponent)
    for groups, count in (({}, 1), ({"a": []}, 1), (GROUPS, 0)):
        with pytest.raises(InputError, match="at least one group"):
            paraphrase_stream(groups, count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no pairs"):
        stream_of_pairs(_pairs())
    with pytest.raises(InputError, match="2 texts and 1 intents"):
        stream_of_intents(IntentSet(name="i", texts=("a", "b"), intents=("x",)))
    with pytest.raises(InputError, match="no queries"):
        log_shape(QueryLog(name="l", queries=()))
    shape = log_shape(QueryLog(name="l", queries=("a", "b", "a")))
    with pytest.raises(InputError, match=r"shape\.cut\(1\)"):
        reshape(["x"], shape)
    with pytest.raises(InputError, match="at least 1"):
        shape.cut(0)


@pytest.mark.data
def test_the_real_pairs_make_groups_that_keep_every_label_or_list_it(
    real: Callable[[str], Any],
) -> None:
    pairs: PairSet = real("qqp")
    stream = stream_of_pairs(pairs)
    item = {request.text: request.item for request in stream.requests}
    against = 0
    for pair in pairs.pairs:
        same = item[pair.text_a] == item[pair.text_b]
        assert same or not pair.same
        against += same and not pair.same
    assert against == len(stream.contradictions) < 0.02 * len(pairs.pairs)
    assert 0.1 < stream.rephrased_ratio < 0.4
    assert stream.ambiguous == ()
    assert max(Counter(request.item for request in stream.requests).values()) < 200
