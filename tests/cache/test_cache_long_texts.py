"""Megabytes of text, also such as would take hours where each sign is tried against all others."""

import pytest

from ragopt.cache import (
    DEFAULT_GUARDS,
    Admission,
    ExactCache,
    Safety,
    SemanticCache,
    content_class,
    normalise,
    personal_data,
)

MEGABYTE = 1_000_000
PIECES = {
    "letters": "a", "blanks": " ", "marks": "? ", "stops": "?", "ellipses": "…", "digits": "1",
    "dotted": "a.", "dashes": "a-", "tokens": "eyJabcdefgh-", "quotes": '"', "ticks": "`a ",
    "apostrophes": " 'a", "capitals": "AB12", "ibans": "GB12 ABCD ", "passwords": "pin is ",
    "questions": "How do I rotate a key? ",
}  # fmt: skip


def long_text(name, length):
    """Begins and ends with a letter, so that nothing of it is stripped."""
    piece = PIECES[name]
    return "a" + piece * (length // len(piece)) + "b"


@pytest.mark.parametrize("name", PIECES)
def test_a_long_text_is_normalised_searched_and_classed(name):
    text = long_text(name, MEGABYTE // 4)
    once = normalise(text)
    settled = normalise(once) == once
    assert settled, "no megabyte in a message"
    assert once[0] == "a"
    assert once[-1] == "b"
    assert content_class(text) in ("facts", "prices", "realtime")
    assert personal_data(text) is None


@pytest.mark.parametrize("name", PIECES)
def test_guards_read_long_questions(name):
    text = long_text(name, 30_000)
    for guard in DEFAULT_GUARDS:
        assert guard.agrees(text, text)


def test_personal_data_is_found_in_a_megabyte():
    for kind, held in (
        ("email address", "ann.lee@mail.example.org"),
        ("secret key", "eyJ" + "a.aB" * 9),
    ):
        text = (
            "a-" * (MEGABYTE // 4) + " " + held.replace("a.aB", "abcdefgh.", 3) + " " + "b" * 1000
        )
        assert personal_data(text) == kind


@pytest.fixture(params=["file", "redis"])
def roomy(request, tmp_path, embedder):
    """A cache that takes entries of several megabytes."""
    from ragopt.cache.stores import RedisStore, SqliteStore

    if request.param == "redis":
        store = RedisStore(request.getfixturevalue("redis_url"), prefix=f"test:{tmp_path.name}")
    else:
        store = SqliteStore(tmp_path / "cache.db")
    safety = Safety(admission=Admission(max_bytes=8 * MEGABYTE))
    with SemanticCache(embedder, store=store, safety=safety) as cache:
        yield cache


def test_a_megabyte_comes_back_as_it_was(roomy):
    question, answer = long_text("questions", MEGABYTE), "é€😀" * (MEGABYTE // 9)
    entry = roomy.put(question, answer)
    hit = roomy.get(question)
    same = (hit.answer, hit.question, hit.entry_id) == (answer, question, entry)
    assert same, "no megabyte in a message"
    assert roomy.get("how do I rotate a key") is None, "one of many questions is not all of them"
    roomy.revoke(entry)
    assert roomy.get(question) is None


def test_what_is_larger_than_admitted_is_answered_and_not_kept():
    with ExactCache() as cache:
        assert cache.put("q?", "a" * (1 << 20)) is None
        assert cache.put("q?", "a" * ((1 << 20) - 4)) == 1, "two bytes of question, two of payload"
        assert dict(cache.stats.not_admitted) == {"size": 1}
