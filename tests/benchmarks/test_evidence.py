"""Evidence: where it is found, when a context still holds it, and how questions are parted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.embedded.questions import Question, Trap
from ragopt.benchmarks.evidence import EvalItem, from_embedded, from_user, split
from ragopt.chunk import Chunk
from ragopt.compress import Compressed, CompressedChunk
from ragopt.errors import InputError
from ragopt.questions import EvalQuestion

GOLD = Chunk("guide/keys.md#0", "Keys are rotated\n  every 30 days.  Ask ops.", "guide/keys.md")
SAME_WORDS = Chunk("blog.md#0", "Reminder: keys are rotated every 30 days.", "blog.md")
OTHER = Chunk("guide/logs.md#1", "Logs are kept for a year.", "guide/logs.md")
CHUNKS = [GOLD, SAME_WORDS, OTHER]
ITEM = EvalItem(
    id="keys",
    wordings=("How often are keys rotated?",),
    answer="rotated every 30 days",
    gold=frozenset({GOLD.id}),
)


def _context(*parts: tuple[Chunk, str]) -> Compressed:
    chunks = tuple(CompressedChunk(chunk, text, ()) for chunk, text in parts)
    return Compressed(chunks, "\n\n".join(text for _, text in parts), 100, 50)


# ----------------------------------------------------------------------- contexts and answers


def test_evidence_is_found_across_white_space() -> None:
    context = _context((OTHER, OTHER.text), (GOLD, GOLD.text))
    assert ITEM.evidence_in(context)
    assert ITEM.answer_in(context.text)


def test_evidence_goes_when_compression_takes_the_answer() -> None:
    context = _context((GOLD, "Keys are rotated\n Ask ops."))
    assert not ITEM.evidence_in(context)
    assert not ITEM.answer_in(context.text)


def test_another_chunk_with_the_words_counts_for_the_answer_only() -> None:
    context = _context((SAME_WORDS, SAME_WORDS.text), (GOLD, "Ask ops."))
    assert not ITEM.evidence_in(context)
    assert ITEM.answer_in(context.text)


def test_any_one_gold_chunk_suffices() -> None:
    item = replace(ITEM, gold=frozenset({GOLD.id, SAME_WORDS.id}))
    assert item.evidence_in(_context((SAME_WORDS, SAME_WORDS.text)))


def test_an_answer_split_between_two_chunks_is_no_evidence() -> None:
    item = replace(ITEM, gold=frozenset({GOLD.id, SAME_WORDS.id}))
    assert not item.evidence_in(_context((GOLD, "rotated every"), (SAME_WORDS, "30 days")))


def test_without_an_answer_whatever_is_left_of_a_gold_chunk_is_evidence() -> None:
    item = replace(ITEM, answer="")
    assert item.evidence_in(_context((GOLD, "Ask ops.")))
    assert not item.evidence_in(_context((GOLD, " \n ")))
    assert not item.evidence_in(_context((OTHER, OTHER.text)))
    assert not item.answer_in(GOLD.text)


def test_an_empty_context_holds_nothing() -> None:
    assert not ITEM.evidence_in(_context())
    assert not ITEM.answer_in("")


# ---------------------------------------------------------------------- a user's own questions


def _found(**fields: object) -> frozenset[str] | None:
    """Gold chunks of one question; None where its evidence was not found."""
    question = EvalQuestion("q", "How often?", **fields)  # type: ignore[arg-type]
    items, unusable = from_user([question], CHUNKS)
    if not items:
        assert unusable == ["q"]
        return None
    assert unusable == []
    return items[0].gold


def test_an_answer_alone_is_looked_for_in_all_documents() -> None:
    assert _found(answer="every  30\ndays") == {GOLD.id, SAME_WORDS.id}
    assert _found(answer="KEYS ARE ROTATED") == {GOLD.id, SAME_WORDS.id}


@pytest.mark.parametrize("gold", ["guide/keys.md", "keys.md", "guide/keys.md#0", "Ask  ops"])
def test_gold_is_a_document_a_file_name_a_chunk_or_a_quotation(gold: str) -> None:
    assert _found(gold=(gold,), answer="30 days") == {GOLD.id}
    assert _found(gold=(gold,)) == {GOLD.id}


def test_several_gold_documents() -> None:
    assert _found(gold=("keys.md", "blog.md", "logs.md"), answer="30 days") == {
        GOLD.id,
        SAME_WORDS.id,
    }
    assert _found(gold=("keys.md", "logs.md")) == {GOLD.id, OTHER.id}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"answer": "every 31 days"},
        {"answer": "a year", "gold": ("keys.md",)},  # stands elsewhere
        {"gold": ("nowhere.md",)},
        {"gold": ("",)},
        {"answer": " "},
    ],
)
def test_evidence_that_is_not_found_is_named(fields: dict[str, object]) -> None:
    assert _found(**fields) is None


def test_usable_questions_keep_their_order_and_wordings() -> None:
    questions = [
        EvalQuestion("b", "How often?", "30 days", paraphrases=("When?", "At which pace?")),
        EvalQuestion("x", "Who?", "nobody"),
        EvalQuestion("a", "How long?", gold=("logs.md",)),
    ]
    items, unusable = from_user(questions, CHUNKS)
    assert [item.id for item in items] == ["b", "a"]
    assert items[0].wordings == ("How often?", "When?", "At which pace?")
    assert (items[0].answer, items[1].answer) == ("30 days", "")
    assert unusable == ["x"]


def test_an_answer_in_another_case_is_evidence_in_the_context_too() -> None:
    """Else a question that counts as usable could never be answered, by no lever."""
    (item,), _ = from_user([EvalQuestion("q", "How?", "Rotated EVERY 30 Days")], CHUNKS)
    assert item.evidence_in(_context((GOLD, GOLD.text)))


# ------------------------------------------------------------------------- embedded questions


def test_embedded_questions_without_their_documentation_are_left_out() -> None:
    known = Question(
        "K-1",
        "How often?",
        "30 days",
        ("gone.md", "guide/keys.md"),
        ("When?",),
        (Trap("How seldom?", "negation"),),
    )
    unknown = replace(known, id="K-2", gold=("gone.md", "guide/logs.md"))
    (item,) = from_embedded([known, unknown], CHUNKS)
    assert item == EvalItem(
        id="K-1",
        wordings=("How often?", "When?"),
        answer="30 days",
        gold=frozenset({GOLD.id}),
        traps=("How seldom?",),
    )


# -------------------------------------------------------------------------------------- split


def _items(count: int) -> list[EvalItem]:
    return [
        EvalItem(
            id=f"q{place}",
            wordings=(f"question {place}", f"the same in other words {place}"),
            answer="x",
            gold=frozenset({"c"}),
        )
        for place in range(count)
    ]


@given(
    count=st.integers(4, 60), ratio=st.floats(0.001, 0.999), seed=st.integers(0, 2**31)
)  # fmt: skip
def test_a_split_parts_every_question_once_with_all_its_wordings(
    count: int, ratio: float, seed: int
) -> None:
    items = _items(count)
    tuning, report = split(items, tuning_ratio=ratio, seed=seed)
    assert sorted([*tuning, *report], key=items.index) == items
    assert len(tuning) >= 2
    assert len(report) >= 2
    assert abs(len(tuning) - ratio * count) <= 2
    texts = [{text for item in part for text in item.wordings} for part in (tuning, report)]
    assert not texts[0] & texts[1]
    assert len(texts[0]) + len(texts[1]) == 2 * count


def test_one_seed_gives_one_split() -> None:
    items = _items(30)
    first = split(items, tuning_ratio=1 / 3, seed=7)
    assert first == split(items, tuning_ratio=1 / 3, seed=7)
    assert [len(part) for part in first] == [10, 20]
    assert first != split(items, tuning_ratio=1 / 3, seed=8)


@pytest.mark.parametrize("count", range(4))
def test_too_few_questions_cannot_be_parted(count: int) -> None:
    with pytest.raises(InputError, match="at least 4"):
        split(_items(count), tuning_ratio=0.5, seed=0)


def test_two_questions_of_one_id_are_refused() -> None:
    items = [*_items(5), replace(_items(1)[0], wordings=("in words of its own",))]
    with pytest.raises(InputError, match="'q0' occurs twice"):
        split(items, tuning_ratio=0.5, seed=0)


def test_two_questions_in_the_same_words_are_refused() -> None:
    """One might be tuned on and the other reported on."""
    items = [*_items(5), replace(_items(1)[0], id="other", wordings=("New", "Question  3?"))]
    with pytest.raises(InputError, match="'q3' and 'other'"):
        split(items, tuning_ratio=0.5, seed=0)


def test_a_paraphrase_that_repeats_its_question_is_no_harm() -> None:
    items = [*_items(5), replace(_items(1)[0], id="other", wordings=("New", "new?"))]
    tuning, report = split(items, tuning_ratio=0.5, seed=0)
    assert len(tuning) + len(report) == 6
