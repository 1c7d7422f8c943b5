"""`aask`, and one pipeline shared by threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache
from ragopt.compress import Extractive
from ragopt.cost.ledger import Ledger
from ragopt.errors import InputError
from ragopt.llm import Completion, ExtractiveAnswerer, Message
from ragopt.pipeline import Billing, Pipeline

QUESTIONS = [
    "How do I rotate an API key?",
    "How long are backups kept?",
    "When are invoices sent?",
    "What does an export hold?",
    "How many requests a minute are answered?",
    "Who may invite users?",
    "What happens to a webhook that fails?",
    "How are search results ranked?",
]
HANG_S = 30  # only ever waited for by a test that fails


class AsyncModel:
    """An object whose ``__call__`` is asynchronous."""

    def __init__(self) -> None:
        self.inner = ExtractiveAnswerer()

    async def __call__(self, messages):
        await asyncio.sleep(0)
        return self.inner(messages)


async def async_function(messages):
    await asyncio.sleep(0)
    return ExtractiveAnswerer()(messages)


def hides_that_it_is_async(messages):
    return async_function(messages)


def gist(answer):
    """All that two runs of one question share."""
    return (
        answer.text,
        answer.sources,
        answer.served_from,
        answer.usage,
        answer.usage_method,
        answer.cost,
        answer.saved,
        answer.context,
        [stage.name for stage in answer.stages],
    )


def road(corpus, llm, sheet, words, **options):
    return Pipeline(
        corpus.retriever(k=3, candidates=8),
        llm,
        compressor=Extractive(count=words.count),
        billing=Billing(model="m", prices=sheet, counter=words),
        **options,
    )


@pytest.mark.parametrize(
    "llm", [ExtractiveAnswerer(), AsyncModel(), async_function, hides_that_it_is_async]
)
def test_aask_gives_the_answers_of_ask(llm, corpus, sheet, words) -> None:
    asked = [*QUESTIONS, QUESTIONS[0], QUESTIONS[3]]

    async def all_answers():
        with ExactCache() as cache:
            pipeline = road(corpus, llm, sheet, words, cache=cache)
            return [await pipeline.aask(question) for question in asked]

    with ExactCache() as cache:
        pipeline = road(corpus, ExtractiveAnswerer(), sheet, words, cache=cache)
        expected = [gist(pipeline.ask(question)) for question in asked]
    assert [gist(answer) for answer in asyncio.run(all_answers())] == expected


@pytest.mark.parametrize("question", ["", " ", None, 7])
def test_aask_refuses_what_is_no_question(question, fixed, model) -> None:
    with pytest.raises(InputError, match="question="):
        asyncio.run(Pipeline(fixed(["one"], ["one"]), model).aask(question))
    assert model.prompts == []


@pytest.mark.parametrize("llm", [AsyncModel(), async_function, hides_that_it_is_async])
def test_an_asynchronous_llm_is_refused_by_ask(llm, fixed) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(fixed(["one"], ["one"]), llm, cache=cache)
        with pytest.raises(InputError, match="acomplete"):
            pipeline.ask("why?")
        assert len(cache) == 0


def test_a_failing_asynchronous_llm_raises_and_leaves_nothing_behind(fixed, tmp_path) -> None:
    async def fails(messages):
        raise ConnectionError("reset")

    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(ledger=ledger)
        pipeline = Pipeline(fixed(["one"], ["one"]), fails, cache=cache, billing=billing)
        with pytest.raises(ConnectionError):
            asyncio.run(pipeline.aask("why?"))
        assert (len(ledger), len(cache)) == (0, 0)


def test_a_cancelled_question_leaves_nothing_behind(fixed, tmp_path) -> None:
    async def cancel_while_the_model_thinks():
        asked = asyncio.Event()

        async def thinks(messages):
            asked.set()
            await asyncio.Event().wait()

        pipeline = Pipeline(fixed(["one"], ["one"]), thinks, cache=cache, billing=billing)
        task = asyncio.create_task(pipeline.aask("why?"))
        await asyncio.wait_for(asked.wait(), HANG_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(ledger=ledger)
        asyncio.run(cancel_while_the_model_thinks())
        assert (len(ledger), len(cache)) == (0, 0)


def test_slow_answers_overlap(corpus, words) -> None:
    many = 40

    async def all_at_once():
        everyone = asyncio.Event()
        in_flight = 0

        async def waits_for_everyone(messages):
            nonlocal in_flight
            in_flight += 1
            if in_flight == many:
                everyone.set()
            await asyncio.wait_for(everyone.wait(), HANG_S)
            return "yes"

        pipeline = Pipeline(
            corpus.retriever(k=2, candidates=8), waits_for_everyone, billing=Billing(counter=words)
        )
        asked = [f"{QUESTIONS[number % 8]} ({number})" for number in range(many)]
        return await asyncio.gather(*map(pipeline.aask, asked))

    answers = asyncio.run(all_at_once())
    assert [answer.text for answer in answers] == ["yes"] * many


class _Gate:
    """Holds a thread until the event loop, which must not be held, opens it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def hold(self) -> None:
        self.entered.set()
        assert self._open.wait(HANG_S), "the event loop was blocked"

    async def let_through(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, HANG_S), "nothing was held"
        self._open.set()


@pytest.mark.parametrize("stage", ["cache", "retrieve", "llm", "remember"])
def test_the_event_loop_is_never_blocked(stage, fixed) -> None:
    gate = _Gate()

    class Slow(type(fixed([], []))):
        def retrieve(self, question, vector=None):
            if stage == "retrieve":
                gate.hold()
            return super().retrieve(question, vector)

    class SlowCache(ExactCache):
        def get(self, *args, **options):
            if stage == "cache":
                gate.hold()
            return super().get(*args, **options)

        def put(self, *args, **options):
            if stage == "remember":
                gate.hold()
            return super().put(*args, **options)

    def llm(messages):
        if stage == "llm":
            gate.hold()
        return "yes"

    async def both():
        answer, _ = await asyncio.gather(pipeline.aask("why?"), gate.let_through())
        return answer

    with SlowCache() as cache:
        pipeline = Pipeline(Slow(["one"], ["one"]), llm, cache=cache)
        assert asyncio.run(both()).text == "yes"
        assert len(cache) == 1
    assert not pipeline.failures


def test_concurrent_questions_keep_their_own_answers(corpus, sheet, words) -> None:
    expected = {q: gist(road(corpus, ExtractiveAnswerer(), sheet, words).ask(q)) for q in QUESTIONS}

    async def all_at_once():
        pipeline = road(corpus, async_function, sheet, words)
        return await asyncio.gather(*(pipeline.aask(question) for question in QUESTIONS * 4))

    for question, answer in zip(QUESTIONS * 4, asyncio.run(all_at_once()), strict=True):
        assert gist(answer) == expected[question]


# Threads ----------------------------------------------------------------------------------


class _Echo:
    """Answers with the question; counts its calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, messages: list[Message]) -> Completion:
        question = messages[-1].content.rpartition("Question: ")[2]
        with self._lock:
            self.calls[question] += 1
        return Completion(f"re: {question}")


@pytest.mark.parametrize("kind", ["exact", "semantic"])
def test_eight_threads_share_a_pipeline(kind, corpus, sheet, words, tmp_path) -> None:
    echo = _Echo()
    path = tmp_path / "cache.sqlite"
    cache = (
        ExactCache(path=path)
        if kind == "exact"
        else SemanticCache(corpus.embedder, threshold=0.99, path=path)
    )
    asked = [
        (question, Scope(tenant=f"tenant {thread % 2}"))
        for thread in range(8)
        for question in (QUESTIONS[thread:] + QUESTIONS[:thread]) * 2
    ]
    with cache, Ledger(tmp_path / "ledger.sqlite") as ledger:
        pipeline = Pipeline(
            corpus.retriever(k=2, candidates=8),
            echo,
            cache=cache,
            billing=Billing(model="m", prices=sheet, ledger=ledger, counter=words),
        )

        def ask(number):
            return [pipeline.ask(q, scope=scope) for q, scope in asked[number * 16 :][:16]]

        with ThreadPoolExecutor(8) as pool:
            answers = [answer for part in pool.map(ask, range(8)) for answer in part]
        stats = cache.stats
        ledger.verify()
        by_outcome = {row.key: row for row in ledger.total(by="outcome")}
    assert not pipeline.failures
    for (question, _), answer in zip(asked, answers, strict=True):
        assert answer.text == f"re: {question}"
    served = Counter(answer.served_from for answer in answers)
    assert served["llm"] == sum(echo.calls.values()) == stats.misses == stats.puts
    assert served.total() == stats.lookups == 128
    assert set(echo.calls) == set(QUESTIONS)
    assert 2 * len(QUESTIONS) <= served["llm"] < 128
    assert {name: row.events for name, row in by_outcome.items()} == dict(served)
    for name, row in by_outcome.items():
        mine = [answer for answer in answers if answer.served_from == name]
        assert row.usd == sum((answer.cost for answer in mine), Decimal(0))
        assert row.saved_usd == sum((answer.saved for answer in mine), Decimal(0))


def test_failures_of_all_threads_are_counted(fixed, model) -> None:
    class Broken:
        def get(self, question, **_):
            raise OSError("gone")

        put = get

    pipeline = Pipeline(fixed(["one"], ["one"]), lambda messages: "yes", cache=Broken())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pipeline.ask, [f"question {number}" for number in range(400)]))
    assert pipeline.failures == {"cache": 400, "remember": 400}
