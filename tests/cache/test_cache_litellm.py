"""LiteLLM with one of our caches behind it: the real package, no network."""

import asyncio
import os

import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it looks for a newer one in the network
litellm = pytest.importorskip("litellm")

from ragopt.cache.adapters.litellm import LiteLLMCache  # noqa: E402 - needs the package

# pydantic on types of litellm, when they are first used
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def cached(embedder):
    before = litellm.cache
    litellm.cache = LiteLLMCache(SemanticCache(embedder))
    yield litellm.cache
    litellm.cache = before


def ask(question, answer, **options):
    """A completion whose answer LiteLLM makes up itself, as it does for tests."""
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    options = {"model": "gpt-4o-mini", "caching": True, **options}
    done = litellm.completion(messages=messages, mock_response=answer, **options)
    return done.choices[0].message.content


def test_a_completion_is_answered_once(cached):
    assert ask("How do I rotate a key?", "Use rotate().") == "Use rotate()."
    assert ask("how do I rotate a key", "again") == "Use rotate()."
    assert ask("How can I rotate the key?", "again") == "Use rotate()."
    assert ask("How do I delete a key?", "Use delete().") == "Use delete()."
    stats = cached.ragopt.stats
    assert (stats.exact_hits, stats.semantic_hits) == (1, 1)


def test_asynchronous_completions_share_it(cached):
    async def main(answer):
        messages = [{"role": "user", "content": "How do I rotate a key?"}]
        done = await litellm.acompletion(
            model="gpt-4o-mini", messages=messages, mock_response=answer, caching=True
        )
        await asyncio.sleep(0.2)  # LiteLLM stores beside the call
        return done.choices[0].message.content

    assert asyncio.run(main("one")) == asyncio.run(main("two")) == "one"


@pytest.mark.parametrize(
    "other",
    [
        {"model": "gpt-4o"},
        {"temperature": 0.1},
        {"max_tokens": 7},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_an_answer_depends_on_belongs_to_the_scope(cached, other):
    assert ask("Who?", "one") == "one"
    assert ask("Who?", "two", **other) == "two"
    assert ask("Who?", "three") == "one"


def test_what_was_said_before_belongs_to_the_scope(cached):
    system = {"role": "system", "content": "Be brief."}
    question = {"role": "user", "content": "Who?"}
    assert ask([question], "one") == "one"
    assert ask([system, question], "two") == "two"
    assert ask([system, question], "three") == "two"


def test_a_high_temperature_is_not_kept(cached):
    assert ask("Who?", "one", temperature=1.5) == "one"
    assert ask("Who?", "two", temperature=1.5) == "two"
    assert dict(cached.ragopt.stats.not_admitted) == {"temperature": 2}


def test_a_chat_without_a_question_goes_through(cached):
    chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]
    assert ask(chat, "one") == "one"
    assert ask(chat, "two") == "two"
    assert len(cached.ragopt) == 0


def test_tenants_do_not_share_answers(embedder):
    shared = ExactCache()
    before = litellm.cache
    try:
        litellm.cache = LiteLLMCache(shared, scope=Scope(tenant="one"))
        assert ask("Who?", "one") == "one"
        litellm.cache = LiteLLMCache(shared, scope=Scope(tenant="two"))
        assert ask("Who?", "two") == "two"
    finally:
        litellm.cache = before


def test_a_cache_that_fails_costs_a_call(cached, monkeypatch):
    def fail(*_, **__):
        raise OSError("down")

    monkeypatch.setattr(cached.ragopt, "get", fail)
    monkeypatch.setattr(cached.ragopt, "put", fail)
    assert ask("Who?", "one") == "one"
    assert ask("Who?", "two") == "two"
    assert dict(cached.failures) == {"get": 2, "put": 2}


def test_the_time_that_a_request_names_counts(cached, monkeypatch):
    ask("Who?", "one", cache={"ttl": 60})
    entry = cached.ragopt._store._database.read("SELECT expires - created FROM entries")
    assert entry == [(60.0,)]


def test_whole_answers_of_one_choice_only(cached):
    messages = [{"role": "user", "content": "Who?"}]
    for response in (
        {"choices": []},
        {"choices": [{"finish_reason": "length", "message": {"content": "cut"}}]},
        {"choices": [{"finish_reason": "stop", "message": {"content": None, "tool_calls": [1]}}]},
        {"choices": [{"finish_reason": "stop", "message": {"content": "a"}}] * 2},
    ):
        cached.add_cache(response, model="m", messages=messages)
    assert len(cached.ragopt) == 0
