"""A hit is served only where what is retrieved now supports it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from ragopt import Ledger
from ragopt.cache import CachedRetriever, ExactCache, Scope, SemanticCache, Support
from ragopt.corpus import Corpus
from ragopt.embed import CallableEmbedder
from ragopt.errors import InputError
from ragopt.llm import ExtractiveAnswerer
from ragopt.pipeline import Billing, Pipeline

QUESTION = "How long are backups kept?"
SCOPE = Scope(tenant="one")  # names no corpus version: what a caller's own scope may forget


class Documents:
    """A retriever over documents that change under it; counts what it is asked."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.asked: list[str] = []

    def retrieve(self, question, vector=None):
        self.asked.append(question)
        return self.corpus.retriever(k=3, candidates=8).retrieve(question, vector)


@pytest.fixture
def later(documents, tmp_path):
    """The corpus after somebody shortened the retention."""
    changed = [replace(each, text=each.text.replace("30 days", "14 days")) for each in documents]
    with Corpus.build(changed, tmp_path / "later", max_chars=120) as built:
        yield built


def names(answer):
    return [stage.name for stage in answer.stages]


def rechecked(retriever, cache, billing):
    return Pipeline(
        retriever, ExtractiveAnswerer(), cache=cache, recheck=Support(), billing=billing
    )


def noted(answer, name):
    return next(stage.note for stage in answer.stages if stage.name == name)


def test_an_answer_that_the_documents_still_give_is_served(corpus, sheet, words, tmp_path) -> None:
    retriever = Documents(corpus)
    with ExactCache() as cache, Ledger(tmp_path / "ledger.db") as ledger:
        billing = Billing("m", prices=sheet, counter=words, ledger=ledger)
        pipeline = rechecked(retriever, cache, billing)
        first, again = (pipeline.ask(QUESTION, scope=SCOPE) for _ in range(2))
        tags = [event.tags.get("recheck") for event in ledger.events()]
    assert "recheck" not in names(first)
    assert again.served_from == "exact cache"
    assert again.text == first.text
    assert "30 days" in first.text
    assert names(again) == ["cache", "embed", "search", "rerank", "cut", "recheck", "ledger"]
    assert noted(again, "recheck").startswith("served: 1.00 of ")
    assert tags == [None, "served"]
    assert again.saved == first.cost + first.saved
    assert len(retriever.asked) == 2


def test_a_number_that_changed_is_asked_for_again(corpus, later, sheet, words, tmp_path) -> None:
    retriever = Documents(corpus)
    with ExactCache() as cache, Ledger(tmp_path / "ledger.db") as ledger:
        billing = Billing("m", prices=sheet, counter=words, ledger=ledger)
        pipeline = rechecked(retriever, cache, billing)
        stale = pipeline.ask(QUESTION, scope=SCOPE)
        retriever.corpus = later
        fresh = pipeline.ask(QUESTION, scope=SCOPE)
        again = pipeline.ask(QUESTION, scope=SCOPE)
        tags = [event.tags.get("recheck") for event in ledger.events()]
        stats, entries = cache.stats, len(cache)
    assert "30 days" in stale.text
    assert (fresh.served_from, again.served_from) == ("llm", "exact cache")
    assert "14 days" in fresh.text
    assert again.text == fresh.text
    assert noted(fresh, "cache") == "hit, refused by the recheck"
    assert noted(fresh, "recheck").startswith("not served: ")
    assert "no longer there: 30" in noted(fresh, "recheck")
    assert tags == [None, "refused", "served"]
    assert len(retriever.asked) == 3, "nothing is retrieved twice"
    assert names(fresh).count("search") == 1
    assert (stats.lookups, stats.exact_hits, stats.misses, stats.puts) == (3, 1, 2, 2)
    assert dict(stats.refused) == {"check": 1}
    assert entries == 1, "the new answer took the place of the old one"


def test_without_it_the_old_answer_is_served(corpus, later) -> None:
    retriever = Documents(corpus)
    with ExactCache() as cache:
        pipeline = Pipeline(retriever, ExtractiveAnswerer(), cache=cache)
        pipeline.ask(QUESTION, scope=SCOPE)
        retriever.corpus = later
        assert "30 days" in pipeline.ask(QUESTION, scope=SCOPE).text


def test_a_look_alike_is_stopped_by_its_own_evidence(corpus) -> None:
    asked, alike = "How long are backups kept?", "How are webhooks signed?"
    blind = CallableEmbedder(lambda texts: np.ones((len(texts), 2)), id="blind", dim=2)
    with SemanticCache(blind, guards=()) as cache:
        for recheck, expected in ((None, "semantic cache"), (Support(), "llm")):
            cache.purge()
            pipeline = Pipeline(
                corpus.retriever(k=1, candidates=8),
                ExtractiveAnswerer(),
                cache=cache,
                recheck=recheck,
            )
            pipeline.ask(asked)
            answer = pipeline.ask(alike)
            assert answer.served_from == expected, noted(answer, "cache")
        assert pipeline.ask(asked).served_from == "exact cache", "its own question keeps it"


def test_an_entry_put_by_hand_is_checked_by_its_words(corpus) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(
            corpus.retriever(k=3, candidates=8),
            ExtractiveAnswerer(),
            cache=cache,
            recheck=Support(),
        )
        cache.put(QUESTION, "Backups are kept for 30 days.", scope=SCOPE)
        assert pipeline.ask(QUESTION, scope=SCOPE).served_from == "exact cache"
        cache.put(QUESTION, "Chocolate melts slowly.", scope=SCOPE, payload={"lacking": [1]})
        assert pipeline.ask(QUESTION, scope=SCOPE).served_from == "llm"


def test_a_hit_costs_no_search_behind_a_retrieval_cache(corpus) -> None:
    cached = CachedRetriever(corpus.retriever(k=3, candidates=8))
    with ExactCache() as cache:
        pipeline = Pipeline(cached, ExtractiveAnswerer(), cache=cache, recheck=Support())
        pipeline.ask(QUESTION)
        answer = pipeline.ask(QUESTION)
    assert names(answer) == ["cache", "retrieval cache", "recheck"]
    assert answer.stages[1].cached


def test_a_retriever_that_fails_fails_the_question(corpus, model) -> None:
    class Broken(Documents):
        def retrieve(self, question, vector=None):
            if self.asked:
                raise ValueError("no index")
            return super().retrieve(question, vector)

    with ExactCache() as cache:
        pipeline = Pipeline(Broken(corpus), model, cache=cache, recheck=Support())
        pipeline.ask(QUESTION)
        with pytest.raises(ValueError, match="no index"):
            pipeline.ask(QUESTION)
        assert pipeline.failures == {"cache": 1}


def test_a_check_that_fails_serves_nothing_and_retrieves_once(corpus, model) -> None:
    class Failing(Support):
        def check(self, *_):
            raise RuntimeError("broken")

    retriever = Documents(corpus)
    with ExactCache() as cache:
        pipeline = Pipeline(retriever, model, cache=cache, recheck=Failing())
        answers = [pipeline.ask(QUESTION) for _ in range(2)]
    assert [answer.served_from for answer in answers] == ["llm", "llm"]
    assert answers[1].stages[0].failed
    assert "broken" in answers[1].stages[0].note
    assert len(retriever.asked) == 2


def test_it_works_without_blocking_the_loop(corpus) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(
            corpus.retriever(k=3), ExtractiveAnswerer(), cache=cache, recheck=Support()
        )

        async def ask():
            return [await pipeline.aask(QUESTION) for _ in range(2)]

        served = [answer.served_from for answer in asyncio.run(ask())]
    assert served == ["llm", "exact cache"]


def test_what_cannot_be_rechecked_is_refused_at_once(fixed, model) -> None:
    class Other:
        def get(self, question, *, scope=None, vector=None):
            return None

        def put(self, question, answer, **_):
            return None

    with pytest.raises(InputError, match="without a cache"):
        Pipeline(fixed([], []), model, recheck=Support())
    with pytest.raises(InputError, match=r"Other\.get\(\) takes no check="):
        Pipeline(fixed([], []), model, cache=Other(), recheck=Support())
