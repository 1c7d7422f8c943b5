from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.llm import NO_ANSWER, ExtractiveAnswerer, Message, complete, render_prompt

OS_PATH = (
    "This module implements functions on pathnames. Return the size, in bytes, of path with\n"
    "os.path.getsize(path). It raises OSError if the file does not exist, e.g. after a "
    "deletion.\n\nReturn True if path is an existing directory. Symbolic links are followed."
)
THREADING = (
    "A ThreadPool runs calls in worker threads. Locks serialise access.\n- Use a Lock.\n"
    "- Use a Semaphore with 5 permits."
)
PASSAGES = [("os.path", OS_PATH), ("threading", THREADING)]


def ask(question, passages=PASSAGES, **options):
    return ExtractiveAnswerer(**options)(render_prompt(question, passages))


def test_quotes_the_sentence_verbatim_wrapped_lines_included():
    done = ask("How do I get the size of a file in bytes?", max_sentences=1)
    assert done.text == "Return the size, in bytes, of path with\nos.path.getsize(path)."
    assert (done.model, done.finish_reason, done.usage) == ("extractive", "stop", None)
    assert done.ms is not None


@pytest.mark.parametrize(
    ("question", "start"),
    [
        ("os.path.getsize", "Return the size"),
        ("what does getsize do?", "Return the size"),
        ("thread pool", "A ThreadPool runs"),
        ("ThreadPools", "A ThreadPool runs"),
        ("semaphore permits", "- Use a Semaphore with 5 permits."),
        ("what happens after deletions?", "It raises OSError"),
    ],
)
def test_words_match_whole_and_by_their_parts(question, start):
    assert ask(question, max_sentences=1).text.startswith(start)


def test_sentences_come_in_the_order_of_the_context():
    question = "worker threads, and the directory"
    best = ask(question, max_sentences=1).text
    both = ask(question, max_sentences=2).text
    assert best == "A ThreadPool runs calls in worker threads."
    assert both == f"Return True if path is an existing directory. {best}"


def test_an_abbreviation_ends_no_sentence():
    text = "Use a backend, e.g. SQLite, for storage. Other text."
    assert ask("SQLite", [("t", text)]).text == "Use a backend, e.g. SQLite, for storage."


@pytest.mark.parametrize("question", ["capital of France?", "what is it?", "?!"])
def test_nothing_in_common_is_said_not_guessed(question):
    assert ask(question).text == NO_ANSWER


def test_no_context_gives_no_answer():
    assert ask("size", []).text == NO_ANSWER
    assert complete(ExtractiveAnswerer(), [Message("user", "size of what?")]).text == NO_ANSWER


def test_titles_are_not_quoted_but_bracketed_lines_of_a_text_are():
    passages = [("walrus", "Nothing here."), ("b", "See below.\n\n[7] walrus footnote by Knuth.")]
    assert ask("walrus", passages).text == "[7] walrus footnote by Knuth."


def test_a_sentence_that_overlapping_chunks_repeat_is_quoted_once():
    text = "The walrus operator assigns. Other things happen. They do."
    assert ask("walrus operator", [("a", text), ("b", text)]).text == "The walrus operator assigns."


def test_a_rare_word_weighs_more_than_a_common_one():
    text = "Python has lists. Python has sets. Python has tuples. A deque rotates."
    assert ask("deque in Python", [("t", text)], max_sentences=1).text == "A deque rotates."


def test_long_unbroken_text_is_cut_at_lines():
    code = "\n".join(f"value_{number} = compute({number})" for number in range(100))
    assert ask("value_42", [("code", code)], max_sentences=1).text == "value_42 = compute(42)"


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2", None])
def test_count_of_sentences_is_checked(count):
    with pytest.raises(InputError, match="max_sentences="):
        ExtractiveAnswerer(count)


letters = st.text("abcdef ABC.?!\n[]1:", max_size=200)


@given(letters, st.lists(st.tuples(letters, letters), max_size=4), st.integers(1, 4))
def test_every_answer_is_made_of_context_and_repeatable(question, passages, count):
    if not question.strip():
        question = "x"
    prompt = render_prompt(question, passages)
    answerer = ExtractiveAnswerer(count)
    text = answerer(prompt).text
    assert text == answerer(prompt).text
    if text != NO_ANSWER:
        context = prompt[1].content
        assert set(text) - {" "} <= set(context)
        if count == 1:
            assert text in context
