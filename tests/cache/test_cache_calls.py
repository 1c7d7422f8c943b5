"""Functions and models behind a cache: one call for many, and never an answer lost."""

import asyncio
import threading
import time

import pytest

from ragopt.cache import AsyncCachedLLM, CachedLLM, ExactCache, Scope, SemanticCache, cached
from ragopt.errors import InputError, ProviderError
from ragopt.llm import Completion, Message


class Model:
    """Answers after a while, and counts."""

    model = "slow-1"

    def __init__(self, wait=0.0, finish_reason="stop"):
        self.calls, self.wait, self.finish_reason = 0, wait, finish_reason
        self._lock = threading.Lock()

    def __call__(self, messages):
        with self._lock:
            self.calls += 1
            number = self.calls
        time.sleep(self.wait)
        return Completion(f"answer {number}", model="slow-1", finish_reason=self.finish_reason)


class Broken:
    """A cache that is down."""

    def get(self, question, *, scope=None):
        raise OSError("down")

    def put(self, question, answer, *, scope=None, payload=None):
        raise OSError("down")


def at_once(count, call):
    """Results of a call made by many threads that start together."""
    barrier, results = threading.Barrier(count), []

    def work(number):
        barrier.wait()
        try:
            results.append(call(number))
        except Exception as error:  # noqa: BLE001 - it is the result
            results.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_a_decorated_function_is_called_once_for_the_same_question():
    calls = []

    @cached(ExactCache())
    def answer(question):
        """What it does."""
        calls.append(question)
        return f"to {question}"

    assert answer("What is a WAL?") == answer("what is a WAL") == "to What is a WAL?"
    assert calls == ["What is a WAL?"]
    assert answer.__doc__ == "What it does."
    assert len(answer.behind.cache) == 1


def test_a_decorated_coroutine_function_is_awaited_once_for_the_same_question():
    calls = []

    @cached(ExactCache())
    async def answer(question):
        calls.append(question)
        return "a"

    async def main():
        return [await answer("What is a WAL?"), await answer("what is a WAL")]

    assert asyncio.run(main()) == ["a", "a"]
    assert len(calls) == 1


def test_scopes_are_kept_apart():
    @cached(ExactCache(), scope=Scope(tenant="one"))
    def answer(question):
        return f"{len(calls)}" if calls.append(question) is None else ""

    calls = []
    assert answer("q?") == answer("q?") == "1"
    assert answer("q?", scope=Scope(tenant="two")) == "2"


def test_concurrent_identical_questions_cost_one_call():
    model = Model(wait=0.2)
    behind = CachedLLM(model, ExactCache())
    answers = at_once(20, lambda _: behind([Message("user", "What is a WAL?")]).text)
    assert set(answers) == {"answer 1"}
    assert model.calls == 1
    assert behind.shared == 19


def test_concurrent_different_questions_cost_one_call_each():
    model = Model(wait=0.05)
    behind = CachedLLM(model, ExactCache())
    at_once(8, lambda number: behind([Message("user", f"question {number // 2}")]))
    assert model.calls == 4


def test_tasks_of_one_loop_share_a_call():
    model = Model(wait=0.1)
    behind = AsyncCachedLLM(model, ExactCache())

    async def main():
        asked = [behind([Message("user", "What is a WAL?")]) for _ in range(20)]
        return {completion.text for completion in await asyncio.gather(*asked)}

    assert asyncio.run(main()) == {"answer 1"}
    assert model.calls == 1


def test_threads_and_loops_share_a_call():
    calls = []

    async def slow(question):
        calls.append(question)
        await asyncio.sleep(0.2)
        return "a"

    answer = cached(ExactCache())(slow)
    assert at_once(6, lambda _: asyncio.run(answer("q?"))) == ["a"] * 6
    assert len(calls) == 1


def test_what_the_model_raises_reaches_everybody_and_nothing_is_kept():
    calls = []

    @cached(ExactCache())
    def answer(question):
        calls.append(question)
        time.sleep(0.1)
        if len(calls) == 1:
            raise RuntimeError("overloaded")
        return "a"

    errors = at_once(5, lambda _: answer("q?"))
    assert all(isinstance(error, RuntimeError) for error in errors)
    assert len(calls) == 1
    assert answer("q?") == "a"


@pytest.mark.parametrize("kind", ["tasks", "loops", "threads"])
def test_an_error_of_the_model_reaches_all_who_wait_and_leaves_nothing(kind, embedder):
    calls, cache = [], SemanticCache(embedder)

    def overloaded(messages):
        calls.append(messages)
        patience = time.monotonic() + 30
        while behind.shared < 4 and time.monotonic() < patience:
            time.sleep(0.01)
        raise ProviderError("overloaded", status=529)

    asked = [Message("user", "rotate the key")]
    if kind == "threads":
        behind = CachedLLM(overloaded, cache)
        errors = at_once(5, lambda _: behind(asked))
    else:
        behind = AsyncCachedLLM(overloaded, cache)

        async def tasks():
            return await asyncio.gather(*(behind(asked) for _ in range(5)), return_exceptions=True)

        once = at_once(5, lambda _: asyncio.run(behind(asked))) if kind == "loops" else None
        errors = once or asyncio.run(tasks())
    assert [getattr(error, "status", None) for error in errors] == [529] * 5
    assert len(calls) == 1
    assert len(cache) == 0
    assert behind.failures == {}
    with pytest.raises(ProviderError):
        asyncio.run(behind(asked)) if kind != "threads" else behind(asked)
    assert len(calls) == 2, "the error is not kept either"


def test_when_the_one_who_asks_is_cancelled_another_asks():
    started, calls = [], []

    @cached(ExactCache())
    async def answer(question):
        calls.append(question)
        started.append(asyncio.current_task())
        await asyncio.sleep(0.2)
        return "a"

    async def main():
        tasks = [asyncio.create_task(answer("q?")) for _ in range(3)]
        await asyncio.sleep(0.05)
        started[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert sorted(map(str, results), key=len) == ["", "a", "a"] or results.count("a") == 2
    assert len(calls) == 2


def test_who_stops_waiting_does_not_end_the_call_of_the_others():
    calls = []

    @cached(ExactCache())
    async def answer(question):
        calls.append(question)
        await asyncio.sleep(0.2)
        return "a"

    async def main():
        first = asyncio.create_task(answer("q?"))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(answer("q?"))
        await asyncio.sleep(0.05)
        second.cancel()
        return await first, await answer("q?")

    assert asyncio.run(main()) == ("a", "a")
    assert len(calls) == 1


def test_a_cache_that_is_down_costs_a_call_and_no_answer():
    model = Model()
    behind = CachedLLM(model, Broken())
    assert behind([Message("user", "q?")]).text == "answer 1"
    assert behind([Message("user", "q?")]).text == "answer 2"
    assert dict(behind.failures) == {"get": 2, "put": 2}


def test_a_cached_completion_says_so_and_bills_nothing():
    behind = CachedLLM(Model(), ExactCache())
    fresh, again = (behind([Message("user", "q?")]) for _ in range(2))
    assert fresh.finish_reason == "stop"
    assert (again.text, again.finish_reason, again.model) == ("answer 1", "cached", "slow-1")
    assert again.usage.input == again.usage.output == 0


def test_what_was_said_before_belongs_to_the_question():
    model = Model()
    behind = CachedLLM(model, ExactCache())
    system = Message("system", "Be brief.")
    chat = [Message("user", "Who wrote 1984?"), Message("assistant", "Orwell.")]
    last = Message("user", "When?")
    texts = [behind([*before, last]).text for before in ((), (system,), chat, (system, *chat))]
    assert texts == ["answer 1", "answer 2", "answer 3", "answer 4"]
    assert behind([*chat, last]).text == "answer 3"
    assert behind([last]).text == "answer 1"


def test_models_do_not_share_answers():
    cache, other = ExactCache(), Model()
    other.model = "slow-2"
    CachedLLM(Model(), cache)([Message("user", "q?")])
    CachedLLM(other, cache)([Message("user", "q?")])
    assert other.calls == 1


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls"])
def test_an_answer_that_was_cut_short_is_not_kept(reason):
    model = Model(finish_reason=reason)
    behind = CachedLLM(model, ExactCache())
    for _ in range(2):
        behind([Message("user", "q?")])
    assert model.calls == 2


def test_a_chat_without_a_question_goes_through():
    model = Model()
    behind = CachedLLM(model, ExactCache())
    for _ in range(2):
        behind([Message("user", "q?"), Message("assistant", "so far")])
    assert model.calls == 2


def test_it_stands_before_a_semantic_cache_too(embedder):
    model = Model()
    behind = CachedLLM(model, SemanticCache(embedder))
    behind([Message("user", "How do I rotate a key?")])
    assert behind([Message("user", "How can I rotate the key")]).text == "answer 1"
    assert model.calls == 1


def test_bad_input_is_refused():
    answer = cached(ExactCache())(lambda question: 5)
    with pytest.raises(InputError, match="returned int, expected the answer, a str"):
        answer("q?")
    with pytest.raises(InputError, match="question is blank"):
        answer(" ")
    with pytest.raises(InputError, match="there are no messages"):
        CachedLLM(Model(), ExactCache())([])
