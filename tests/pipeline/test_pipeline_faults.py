"""A stage that only saves money never fails a question: skipped, counted, reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragopt.cache import ExactCache
from ragopt.compress import Extractive
from ragopt.cost.ledger import Ledger
from ragopt.cost.model_prices import Usage
from ragopt.cost.tokens import TokenCounter
from ragopt.errors import StoreBusy
from ragopt.pipeline import Billing, Pipeline

QUESTION = "How do I rotate an API key?"


class BrokenCache:
    """Fails at what it is told to; finds nothing otherwise."""

    def __init__(self, *fails: str, error: BaseException | None = None) -> None:
        self.fails = fails
        self.error = error or StoreBusy("another process holds it")

    def get(self, question, **_):
        if "get" in self.fails:
            raise self.error

    def put(self, question, answer, **_):
        if "put" in self.fails:
            raise self.error
        return 1


class BrokenCompressor:
    def __init__(self, result=None, error=None) -> None:
        self.result = result
        self.error = error

    def compress(self, query, hits, *, max_tokens=None):
        if self.error:
            raise self.error
        return self.result


class BrokenReranker:
    def __init__(self, result=None) -> None:
        self.result = result

    def score(self, query, chunks):
        if self.result is None:
            raise RuntimeError("no such device")
        return self.result


class BrokenCut:
    def __init__(self, result=None) -> None:
        self.result = result

    def keep(self, hits):
        if self.result is None:
            raise RuntimeError("no gap")
        return self.result


def failed(answer):
    return [stage.name for stage in answer.stages if stage.failed]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [(("get",), ["cache"]), (("put",), ["remember"]), (("get", "put"), ["cache", "remember"])],
)
def test_a_broken_cache_is_gone_without(fails, expected, corpus, model) -> None:
    whole = Pipeline(corpus.retriever(k=2, candidates=8), model).ask(QUESTION)
    pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=BrokenCache(*fails))
    for times in (1, 2, 3):
        answer = pipeline.ask(QUESTION)
        assert replace(answer, stages=()) == replace(whole, stages=())
        assert failed(answer) == expected
        assert pipeline.failures == dict.fromkeys(expected, times)
    notes = [stage.note for stage in answer.stages if stage.failed]
    assert all("another process holds it" in note for note in notes)


def test_a_closed_cache_is_gone_without(corpus, model) -> None:
    cache = ExactCache()
    cache.close()
    pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
    assert failed(pipeline.ask(QUESTION)) == ["cache", "remember"]


def test_a_cache_that_hands_out_something_else_is_gone_without(fixed, model) -> None:
    class Odd(BrokenCache):
        def get(self, question, **_):
            return "an answer of another kind"

    pipeline = Pipeline(fixed(["one"], ["one"]), model, cache=Odd())
    answer = pipeline.ask(QUESTION)
    assert (answer.text, failed(answer)) == ("yes it is", ["cache"])


def test_a_blank_answer_is_given_but_not_remembered(fixed, model) -> None:
    model.text = " "
    with ExactCache() as cache:
        answer = Pipeline(fixed(["one"], ["one"]), model, cache=cache).ask(QUESTION)
        assert len(cache) == 0
    assert (answer.text, failed(answer)) == (" ", ["remember"])


@pytest.mark.parametrize(
    "compressor",
    [
        BrokenCompressor(error=RuntimeError("out of memory")),
        BrokenCompressor(error=MemoryError()),
        BrokenCompressor(result=None),
        BrokenCompressor(result="a shorter text"),
    ],
)
def test_a_broken_compressor_leaves_the_context_whole(compressor, corpus, model, words) -> None:
    billing = Billing(counter=words)
    whole = Pipeline(corpus.retriever(k=3, candidates=8), model, billing=billing).ask(QUESTION)
    pipeline = Pipeline(
        corpus.retriever(k=3, candidates=8), model, compressor=compressor, billing=billing
    )
    answer = pipeline.ask(QUESTION)
    assert model.prompts[-1] == model.prompts[0]
    assert (answer.usage, answer.sources) == (whole.usage, whole.sources)
    assert answer.context.text == whole.context.text
    assert answer.context.skipped_reason == "the compressor failed"
    assert failed(answer) == ["compress"]
    assert pipeline.failures == {"compress": 1}


@pytest.mark.parametrize("reranker", [BrokenReranker(), BrokenReranker([1.0])])
def test_a_broken_reranker_leaves_the_order_of_the_search(reranker, corpus, model) -> None:
    retriever = corpus.retriever(k=2, candidates=8, reranker=reranker)
    pipeline = Pipeline(retriever, model)
    answer = pipeline.ask(QUESTION)
    plain = retriever.retrieve(QUESTION).plain
    assert [source.chunk_id for source in answer.sources] == [hit.chunk.id for hit in plain]
    assert failed(answer) == ["rerank"]


@pytest.mark.parametrize("cut", [BrokenCut(), BrokenCut("two"), BrokenCut(float("nan"))])
def test_a_broken_cut_keeps_k(cut, corpus, model) -> None:
    answer = Pipeline(corpus.retriever(k=3, candidates=8, cut=cut), model).ask(QUESTION)
    assert len(answer.sources) == 3
    assert failed(answer) == ["cut"]


def test_a_broken_ledger_is_gone_without(fixed, model, tmp_path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.close()
    with ExactCache() as cache:
        pipeline = Pipeline(
            fixed(["one"], ["one"]), model, billing=Billing(ledger=ledger), cache=cache
        )
        answers = [pipeline.ask(QUESTION), pipeline.ask(QUESTION)]
    assert [answer.served_from for answer in answers] == ["llm", "exact cache"]
    assert [failed(answer) for answer in answers] == [["ledger"], ["ledger"]]
    assert pipeline.failures == {"ledger": 2}


def test_everything_broken_at_once_still_answers(corpus, model, tmp_path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.close()
    pipeline = Pipeline(
        corpus.retriever(k=2, candidates=8, reranker=BrokenReranker(), cut=BrokenCut()),
        model,
        compressor=BrokenCompressor(),
        cache=BrokenCache("get", "put"),
        billing=Billing(ledger=ledger),
    )
    answer = pipeline.ask(QUESTION)
    assert answer.text == "yes it is"
    assert len(answer.sources) == 2
    expected = ["cache", "rerank", "cut", "compress", "remember", "ledger"]
    assert failed(answer) == expected
    counted = [name for name in expected if name not in ("rerank", "cut")]
    assert pipeline.failures == dict.fromkeys(counted, 1)


def test_ctrl_c_is_no_fault_to_be_skipped(fixed, model) -> None:
    cache = BrokenCache("get", error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Pipeline(fixed(["one"], ["one"]), model, cache=cache).ask(QUESTION)
    assert model.prompts == []


def test_an_answer_is_not_lost_over_a_missing_rate(
    fixed, new_model, words, sheet, tmp_path
) -> None:
    usage = Usage(input=100, cached_input=60, output=5)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        billing = Billing(model="no-cached-rate", prices=sheet, ledger=ledger, counter=words)
        pipeline = Pipeline(fixed(["one"], ["one"]), new_model(usage=usage), billing=billing)
        answer = pipeline.ask(QUESTION)
        [event] = ledger.events()
    assert (answer.text, answer.usage, answer.cost) == ("yes it is", usage, 0)
    assert failed(answer) == ["price"]
    [stage] = [stage for stage in answer.stages if stage.failed]
    assert "no standard price for cached_input" in stage.note
    assert pipeline.failures == {"price": 1}
    assert (event.outcome, event.usage, event.usd) == ("unpriced", usage, 0)


def test_what_the_ledger_refuses_does_not_fail_the_question(fixed, new_model, tmp_path) -> None:
    usage = Usage(input=2**60, output=1)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        billing = Billing(ledger=ledger, counter=TokenCounter(len, "letters"))
        pipeline = Pipeline(fixed(["one"], ["one"]), new_model(usage=usage), billing=billing)
        assert failed(pipeline.ask(QUESTION)) == ["ledger"]
        assert len(ledger) == 0


def test_a_fault_in_one_question_is_not_seen_in_the_next(fixed, model) -> None:
    cache = BrokenCache("get")
    pipeline = Pipeline(
        fixed(["one"], ["one"]), model, cache=cache, compressor=Extractive(), billing=Billing()
    )
    assert failed(pipeline.ask(QUESTION)) == ["cache"]
    cache.fails = ()
    assert failed(pipeline.ask(QUESTION)) == []
    assert pipeline.failures == {"cache": 1}
