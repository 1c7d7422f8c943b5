"""How long answers of each content class are served."""

import math

import pytest

from ragopt.cache import ExactCache, Lifetimes, content_class
from ragopt.errors import InputError

DAY = 86_400

CLASSES = {
    "realtime": [
        "What is the weather in Berlin today?", "what time is it", "latest iPhone news",
        "Who is the current president?", "Is the store on Main Street open now?",
        "bitcoin price", "what's the exchange rate of the euro",
    ],
    "prices": [
        "How much does a Tesla cost?", "price of a flight to Rome", "Is $500 enough for a laptop?",
        "What are the fees of this bank?", "average salary of a nurse",
    ],
    "facts": [
        "Who wrote 1984?", "How do I sort a list in Python?", "What is a write-ahead log?",
        "How do I accost a stranger?", "What is an openable window?",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("named", "question"), [(n, q) for n, qs in CLASSES.items() for q in qs])
def test_the_class_is_told_from_the_question(named, question):
    assert content_class(question) == named


@pytest.mark.parametrize(
    ("question", "lifetime"),
    [("Who wrote 1984?", 30 * DAY), ("How much is a ticket?", DAY), ("What time is it?", 300)],
)
def test_an_entry_lives_as_long_as_its_class_and_no_hit_renews_it(clock, question, lifetime):
    cache = ExactCache(clock=clock)
    cache.put(question, "a")
    for _ in range(3):
        clock.now += lifetime / 3 - 0.01
        assert cache.get(question) is not None
    clock.now += 0.04
    assert cache.get(question) is None


def test_the_class_that_was_said_counts_and_the_time_before_it(clock):
    cache = ExactCache(clock=clock, ttl_s=10)
    cache.put("one?", "a")
    cache.put("two?", "a", content_class="prices")
    cache.put("three?", "a", content_class="prices", ttl_s=math.inf)
    clock.now += 11
    assert [cache.get(q) is not None for q in ("one?", "two?", "three?")] == [False, True, True]
    clock.now += 400 * DAY
    assert [cache.get(q) is not None for q in ("two?", "three?")] == [False, True]


def test_a_class_without_time_is_not_stored(clock):
    cache = ExactCache(clock=clock, lifetimes=Lifetimes(seconds={"facts": 5, "realtime": 0}))
    assert cache.put("What time is it?", "five") is None
    assert len(cache) == 0
    assert dict(cache.stats.not_admitted) == {"lifetime": 1}
    assert cache.stats.puts == 0


def test_classes_of_ones_own():
    lifetimes = Lifetimes(seconds={"law": math.inf, "other": 1}, classify=lambda q: q.split()[0])
    assert lifetimes.of("law of the sea") == math.inf
    with pytest.raises(InputError, match="content class 'what' has no lifetime, expected law, oth"):
        lifetimes.of("what else")
    with pytest.raises(InputError, match="content class 'prices' has no lifetime"):
        ExactCache(lifetimes=lifetimes).put("law?", "a", content_class="prices")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seconds": {"facts": -1}}, "expected 0 or more"),
        ({"seconds": {"facts": float("nan")}}, "expected 0 or more"),
        ({"seconds": {"": 1}}, "expected a word"),
        ({"classify": 5}, "expected a function"),
    ],
)
def test_bad_lifetimes_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        Lifetimes(**options)
