"""LangChain's models with one of our caches behind them: the real package."""

import asyncio

import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache

pytest.importorskip("langchain_core")

from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import Generation

from ragopt.cache.adapters.langchain import LangChainCache


@pytest.fixture
def cached(embedder):
    cache = LangChainCache(SemanticCache(embedder))
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def chat_model(*answers):
    messages = (
        answer if isinstance(answer, AIMessage) else AIMessage(answer) for answer in answers
    )
    return GenericFakeChatModel(messages=messages)


def test_a_chat_is_answered_once(cached):
    model = chat_model("Use rotate().", "again")
    first = model.invoke("How do I rotate a key?")
    same = model.invoke("how do I rotate a key")
    similar = model.invoke([HumanMessage("How can I rotate the key?")])
    assert first.content == same.content == similar.content == "Use rotate()."
    assert isinstance(similar, AIMessage)
    assert (cached.cache.stats.exact_hits, cached.cache.stats.semantic_hits) == (1, 1)


def test_what_was_said_before_belongs_to_the_scope(cached):
    model = chat_model("one", "two", "three")
    ask = HumanMessage("Which one?")
    chats = [
        [ask],
        [SystemMessage("Be brief."), ask],
        [HumanMessage("Red or blue?"), AIMessage("Red."), ask],
    ]
    assert [model.invoke(chat).content for chat in chats] == ["one", "two", "three"]
    assert [model.invoke(chat).content for chat in chats] == ["one", "two", "three"]


def test_asynchronous_calls_share_it(cached):
    model = chat_model("Use rotate().", "again")

    async def main():
        first = await model.ainvoke("How do I rotate a key?")
        return first.content, (await model.ainvoke("how do I rotate a key")).content

    assert asyncio.run(main()) == ("Use rotate().", "Use rotate().")


def test_a_plain_model_is_answered_once(cached):
    model = FakeListLLM(responses=["first", "second"])
    assert model.invoke("What is a WAL?") == model.invoke("what is a WAL") == "first"


def test_models_do_not_share_answers(cached):
    one, other = FakeListLLM(responses=["first"]), FakeListLLM(responses=["second"])
    assert one.invoke("What is a WAL?") == "first"
    assert other.invoke("What is a WAL?") == "second"


def test_an_answer_that_calls_a_tool_is_not_kept(cached):
    call = {"name": "look_up", "args": {}, "id": "1"}
    model = chat_model(AIMessage("looking", tool_calls=[call]), "found")
    assert model.invoke("Where is it?").tool_calls
    assert model.invoke("Where is it?").content == "found"


def test_pictures_and_tool_results_go_through(cached):
    model = chat_model("one", "two")
    picture = HumanMessage([{"type": "text", "text": "What is this?"}])
    assert [model.invoke([picture]).content for _ in range(2)] == ["one", "two"]


def test_metadata_of_the_answer_is_kept():
    cache = LangChainCache(ExactCache())
    set_llm_cache(cache)
    try:
        told = AIMessage("a", response_metadata={"model_name": "m", "logprobs": [1]})
        model = chat_model(told, "b")
        model.invoke("q?")
        assert model.invoke("q?").response_metadata["model_name"] == "m"
    finally:
        set_llm_cache(None)


def test_a_cache_that_fails_costs_a_call(cached, monkeypatch):
    def fail(*_, **__):
        raise OSError("down")

    monkeypatch.setattr(cached.cache, "get", fail)
    monkeypatch.setattr(cached.cache, "put", fail)
    model = chat_model("one", "two")
    assert [model.invoke("q?").content for _ in range(2)] == ["one", "two"]
    assert dict(cached.failures) == {"get": 2, "put": 2}


def test_clearing_removes_everything(cached):
    model = chat_model("one", "two")
    model.invoke("q?")
    cached.clear()
    assert model.invoke("q?").content == "two"


def test_the_scope_that_was_given_holds():
    shared = ExactCache()
    one, other = (LangChainCache(shared, scope=Scope(tenant=name)) for name in ("one", "two"))
    one.update("q?", "model", [Generation(text="a")])
    assert other.lookup("q?", "model") is None
    assert one.lookup("q?", "model")[0].text == "a"
    assert one.lookup("q?", "another model") is None


@pytest.mark.parametrize("generations", [[], [Generation(text=" ")], [Generation(text="a")] * 2])
def test_what_is_no_single_answer_is_not_kept(generations):
    cache = LangChainCache(ExactCache())
    cache.update("q?", "model", generations)
    assert len(cache.cache) == 0
