from __future__ import annotations

import asyncio
import functools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragopt.llm
from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError
from ragopt.llm import (
    CONTEXT_HEADER,
    QUESTION_PREFIX,
    SYSTEM_PROMPT,
    Completion,
    Message,
    acomplete,
    complete,
    render_prompt,
    split_prompt,
)

ASK = [Message("user", "What is a socket?")]


def test_every_exported_name_is_there_and_none_is_missing():
    assert sorted(ragopt.llm.__all__) == sorted(set(ragopt.llm.__all__))
    assert all(getattr(ragopt.llm, name) is not None for name in ragopt.llm.__all__)


@pytest.mark.parametrize("role", ["robot", "", "User", "tool", None])
def test_message_refuses_unknown_roles(role):
    with pytest.raises(InputError, match="expected one of system"):
        Message(role, "hello")


def test_message_refuses_content_that_is_no_text():
    with pytest.raises(InputError, match="content is list, expected str"):
        Message("user", ["hello"])


def test_complete_passes_a_completion_through_and_times_it():
    usage = Usage(input=3, output=1)
    done = complete(lambda messages: Completion("hi", usage, "m", "stop"), ASK)
    assert (done.text, done.usage, done.model, done.finish_reason) == ("hi", usage, "m", "stop")
    assert done.ms is not None
    assert done.ms >= 0


def test_complete_keeps_the_time_that_the_model_reports():
    assert complete(lambda messages: Completion("hi", ms=12.5), ASK).ms == 12.5


def test_complete_wraps_a_bare_string_without_inventing_usage():
    class Named:
        model = "local"

        def __call__(self, messages):
            return messages[-1].content.upper()

    done = complete(Named(), ASK)
    assert (done.text, done.usage, done.model) == ("WHAT IS A SOCKET?", None, "local")
    assert complete(lambda messages: "x", ASK).model == "unknown"


@pytest.mark.parametrize("answer", [None, 7, b"bytes", ["x"], {"text": "x"}])
def test_complete_refuses_other_answers_by_their_type(answer):
    with pytest.raises(InputError, match=f"returned {type(answer).__name__}, expected"):
        complete(lambda messages: answer, ASK)


@pytest.mark.parametrize("messages", [[], (), "hello", ["hello"], [{"role": "user"}]])
def test_complete_refuses_what_is_no_chat_before_calling(messages):
    called = []
    with pytest.raises(InputError, match="messages"):
        complete(called.append, messages)
    assert called == []


async def answer_async(messages):
    return Completion("later", model="async")


def forwards(messages):
    return answer_async(messages)


class AsyncModel:
    async def __call__(self, messages):
        return "later"


@pytest.mark.parametrize(
    "llm",
    [answer_async, AsyncModel(), functools.partial(answer_async), forwards],
    ids=["function", "object", "partial", "forwarding"],
)
def test_sync_code_refuses_async_models_and_leaves_no_coroutine_behind(llm):
    with pytest.raises(InputError, match="await acomplete"):
        complete(llm, ASK)


@pytest.mark.parametrize(
    "llm",
    [answer_async, AsyncModel(), forwards, lambda m: "later"],
    ids=["function", "object", "forwarding", "sync"],
)
def test_async_code_takes_every_kind_of_model(llm):
    assert asyncio.run(acomplete(llm, ASK)).text == "later"


def test_a_sync_model_does_not_run_in_the_event_loop_thread():
    def where(messages):
        return threading.current_thread().name

    async def both():
        return (await acomplete(where, ASK)).text, threading.current_thread().name

    worker, loop = asyncio.run(both())
    assert worker != loop


def test_what_the_model_raises_passes_through():
    def broken(messages):
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        complete(broken, ASK)
    with pytest.raises(ConnectionResetError):
        asyncio.run(acomplete(broken, ASK))


def test_prompt_has_the_stable_part_first_and_the_question_last():
    first, second = (
        render_prompt(question, [("socket", "A socket is an end point."), ("", "Untitled.")])
        for question in ("What is a socket?", "Why?")
    )
    assert first[0] == second[0] == Message("system", SYSTEM_PROMPT)
    assert first[1].content == (
        f"{CONTEXT_HEADER}\n\n[1] socket\nA socket is an end point.\n\n[2]\nUntitled.\n\n"
        f"{QUESTION_PREFIX} What is a socket?"
    )


def test_prompt_refuses_a_blank_question():
    with pytest.raises(InputError, match="blank"):
        render_prompt(" \n", [("a", "b")])


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(words, st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_a_rendered_prompt_splits_into_its_question_and_passages(question, passages):
    context, found = split_prompt(render_prompt(question, passages))
    assert found == question
    for number, (_, text) in enumerate(passages, 1):
        assert f"[{number}]" in context
        assert text.strip() in context


def test_a_passage_that_quotes_a_question_does_not_take_its_place():
    quoted = "FAQ\nQuestion: is this it?\nAnswer: no."
    context, question = split_prompt(render_prompt("Which one?", [("faq", quoted)]))
    assert question == "Which one?"
    assert quoted in context


def test_the_last_user_message_counts_and_other_layouts_are_read():
    chat = [Message("user", "old"), Message("assistant", "yes"), Message("user", "a b\n\nwhich?")]
    assert split_prompt(chat) == ("a b", "which?")
    chat = [Message("system", "Rules\nContext:\nA fact."), Message("user", "question: what?")]
    assert split_prompt(chat) == ("A fact.", "what?")
    assert split_prompt([Message("user", "only this")]) == ("", "only this")


def test_a_prompt_without_a_user_is_refused():
    with pytest.raises(InputError, match="no user message"):
        split_prompt([Message("system", "x")])
