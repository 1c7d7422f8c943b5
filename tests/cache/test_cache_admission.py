"""What is never stored: personal data, answers made for one, answers drawn at random."""

import pytest

from ragopt.cache import Admission, ExactCache, Safety, Scope, personal_data
from ragopt.errors import InputError

PERSONAL = {
    "email address": ["write to ann.b+c@mail.example.org please"],
    "payment card": ["my card 4111 1111 1111 1111 was charged", "pay 5500-0000-0000-0004"],
    "bank account": ["send it to DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "social security number": ["the SSN 123-45-6789"],
    "phone number": ["call +1 415-555-2671", "call (030) 1234 5678", "text +491711234567"],
    "secret key": [
        "use sk-proj-abcdefghijklmnop1234", "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----", "ghp_" + "a1" * 18,
    ],
    "password": ["password: hunter2x", "my Password is swordfish"],
}  # fmt: skip

HARMLESS = [
    "What is 3.14159265358979 squared?",
    "order 4111111111111112 is no card: its checksum is wrong",
    "DE89370400440532013001 is no account either",
    "Python 3.11.4 and numpy 1.26.4",
    "How do I reset a password?",
    "the year 2020-12-31, the range 100-200",
    "a@b", "user @ home", "What is the PIN of a chip?", "ISBN 978-3-16-148410-0",
    "the hash 9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "192.168.100.200",
    "the token f4111111111111111a and 5500000000000004x",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, ts in PERSONAL.items() for t in ts])
def test_personal_data_is_found(kind, text):
    assert personal_data(text) == kind


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_is_not(text):
    assert personal_data(text) is None


@pytest.mark.parametrize("place", ["question", "answer"])
def test_personal_data_is_not_stored(place):
    cache = ExactCache()
    given = {"question": "who is that", "answer": "somebody"}
    given[place] += " ann@example.org"
    assert cache.put(**given) is None
    assert len(cache) == 0
    assert dict(cache.stats.not_admitted) == {"personal data": 1}


def test_answers_for_one_person_are_not_stored():
    cache = ExactCache()
    assert cache.put("where is my order", "on its way", personalised=True) is None
    assert dict(cache.stats.not_admitted) == {"personalised": 1}


@pytest.mark.parametrize(
    ("temperature", "kept"), [(0, True), (0.7, True), (0.71, False), (2, False)]
)
def test_answers_drawn_at_a_high_temperature_are_not_stored(temperature, kept):
    cache = ExactCache()
    scope = Scope(sampling={"temperature": temperature})
    assert (cache.put("q?", "a", scope=scope) is not None) == kept
    assert (cache.get("q?", scope=scope) is not None) == kept


def test_large_answers_are_not_stored_and_large_questions_do_no_harm():
    cache = ExactCache(safety=Safety(admission=Admission(max_bytes=1000)))
    assert cache.put("q?", "a" * 999) is None
    assert cache.put("q?", "a" * 990) is not None
    question = "why " * (1 << 18)  # 1 MB
    assert cache.put(question, "a") is None
    assert cache.get(question) is None
    assert dict(cache.stats.not_admitted) == {"size": 2}


def test_rules_of_ones_own():
    cache = ExactCache(safety=Safety(admission=Admission(pii=None, max_temperature=2)))
    assert cache.put("who?", "ann@example.org") is not None
    own = Admission(pii=lambda text: "name" if "Ann" in text else None)
    assert ExactCache(safety=Safety(admission=own)).put("who?", "Ann") is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_temperature": -1}, "expected 0 or more"),
        ({"max_temperature": "hot"}, "expected 0 or more"),
        ({"pii": "email"}, "expected a function"),
        ({"max_bytes": 0}, "expected 1 or more"),
    ],
)
def test_bad_rules_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        Admission(**options)
