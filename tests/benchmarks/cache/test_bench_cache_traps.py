"""Traps are made of every kind, change one thing, and the guards stop them."""

import pytest

from ragopt.benchmarks.cache.traps import KINDS, Trap, traps_of
from ragopt.cache import DEFAULT_GUARDS, SAFETY_GUARDS

QUESTIONS = [
    "How do I lose 20 kg in 6 weeks?",
    "What happened in March 1997 in the city of Vienna?",
    "How do I convert lists to tuples in Python?",
    "Does Alice know Robert?",
    "Is silver heavier than gold?",
    "How far is the way from Rome to Milan?",
    "How can I increase the volume of my phone?",
    "Can I enable the camera on Tuesday?",
    "Why did the people of France leave for Canada?",
    "What is a write-ahead log?",
]


@pytest.fixture(scope="module")
def traps():
    return traps_of(QUESTIONS, seed=0)


def test_traps_of_every_kind_are_made(traps):
    assert {trap.kind for trap in traps} == set(KINDS)
    assert all(trap.question in QUESTIONS for trap in traps)
    assert all(trap.changed != trap.question for trap in traps)


EXPECTED = {
    "number": ("How do I lose 20 kg in 6 weeks?", r"How do I lose \d+ kg in \d+ weeks\?"),
    "unit": ("How do I lose 20 kg in 6 weeks?", r"How do I lose 20 \w+ in 6 \w+\?"),
    "date": (
        "What happened in March 1997 in the city of Vienna?",
        r"What happened in \w+ \d{4} in the city of Vienna\?",
    ),
    "polarity": (
        "How can I increase the volume of my phone?",
        r"How can I .*the volume of my phone\?",
    ),
    "reversal": ("Is silver heavier than gold?", r"Is gold heavier than silver\?"),
    "entity": (
        "Why did the people of France leave for Canada?",
        r"Why did the people of \w+ leave for \w+\?",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_thing_is_changed(traps, kind):
    import re

    question, pattern = EXPECTED[kind]
    (trap,) = [each for each in traps if (each.kind, each.question) == (kind, question)]
    assert re.fullmatch(pattern, trap.changed)


def test_words_are_turned_around(traps):
    turned = {trap.question: trap.changed for trap in traps if trap.kind == "reversal"}
    assert turned["How do I convert lists to tuples in Python?"] == (
        "How do I convert tuples to lists in Python?"
    )
    assert turned["How far is the way from Rome to Milan?"] == (
        "How far is the way from Milan to Rome?"
    )
    assert turned["Does Alice know Robert?"] == "Does Robert know Alice?"


def test_a_question_without_anything_to_change_makes_none(traps):
    assert not [trap for trap in traps if trap.question == "What is a write-ahead log?"]


def test_the_same_seed_makes_the_same_traps(traps):
    assert traps_of(QUESTIONS, seed=0) == traps
    assert traps_of(QUESTIONS, seed=1) != traps


def test_no_more_than_asked_for_are_made():
    made = traps_of(QUESTIONS, seed=0, most=2, kinds=("number", "reversal"))
    assert [trap.kind for trap in made].count("reversal") == 2
    assert {trap.kind for trap in made} == {"number", "reversal"}
    assert all(isinstance(trap, Trap) for trap in made)


@pytest.mark.parametrize("guards", [DEFAULT_GUARDS, SAFETY_GUARDS], ids=["default", "safety"])
def test_guards_stop_them(traps, guards):
    let_through = [
        trap for trap in traps if all(guard.agrees(trap.changed, trap.question) for guard in guards)
    ]
    assert let_through == []
