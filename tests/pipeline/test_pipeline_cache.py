"""Hits and misses, who may read what, and whose vectors are compared."""

from __future__ import annotations

import zlib
from decimal import Decimal

import numpy as np
import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache
from ragopt.embed import CallableEmbedder
from ragopt.indexes import build
from ragopt.llm import Completion, ExtractiveAnswerer
from ragopt.pipeline import Billing, Pipeline
from ragopt.retrieve import Retriever

QUESTION = "How do I rotate an API key?"
REWORDED = "How can I rotate an API key?"


@pytest.fixture
def billing(sheet, words):
    return Billing(model="m", prices=sheet, counter=words)


def hashed(texts):
    """Vectors by the words' hashes: another geometry than that of the corpus's embedder."""
    rows = np.zeros((len(texts), 15), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[zlib.crc32(word.encode()) % 15] += 1
    return rows


def test_a_miss_then_an_exact_hit_then_a_semantic_hit(corpus, model, billing) -> None:
    with SemanticCache(corpus.embedder, threshold=0.95) as cache:
        pipeline = Pipeline(
            corpus.retriever(k=2, candidates=8), model, cache=cache, billing=billing
        )
        asked = [
            pipeline.ask(question)
            for question in (QUESTION, "how do I rotate an API key", REWORDED)
        ]
        stats = cache.stats
    assert [answer.served_from for answer in asked] == ["llm", "exact cache", "semantic cache"]
    assert len(model.prompts) == 1
    assert {answer.text for answer in asked} == {"yes it is"}
    first, *hits = asked
    for hit in hits:
        assert hit.sources == first.sources != ()
        assert hit.cached_question == QUESTION
        assert hit.usage.input == hit.usage.output == hit.cost == 0
        assert hit.usage_method == "none"
        assert hit.context is None
        assert hit.saved == first.cost + first.saved > 0
        assert [stage.name for stage in hit.stages] == ["cache"]
    assert [hit.stages[0].note for hit in hits] == ["exact hit", "semantic hit"]
    assert (stats.misses, stats.exact_hits, stats.semantic_hits, stats.puts) == (1, 1, 1, 1)


def test_a_hit_saves_what_the_plain_road_would_have_cost(fixed, model, billing) -> None:
    retriever = fixed(["one two three four"], ["one two three four", "five six seven eight"])
    with ExactCache() as cache:
        pipeline = Pipeline(
            retriever, model, cache=cache, billing=billing, system_prompt="Be brief."
        )
        pipeline.ask("why so?")
        # 12 tokens in and 3 out as in the prompt, and 5 more in for the chunk that was spared.
        assert pipeline.ask("why so?").saved == Decimal("0.000058")


def test_another_question_is_no_hit(corpus, model) -> None:
    with SemanticCache(corpus.embedder, threshold=0.9) as cache:
        pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
        pipeline.ask("Why do webhooks fail?")
        assert pipeline.ask("How long are backups kept?").served_from == "llm"
        assert pipeline.ask("How do I restore a backup?").served_from == "llm"
    assert len(model.prompts) == 3


@pytest.mark.parametrize("kind", ["exact", "semantic"])
def test_scopes_never_leak(kind, corpus) -> None:
    scopes = [
        None,
        Scope(tenant="a"),
        Scope(tenant="b"),
        Scope(tenant="a", model="m"),
        Scope(tenant="a", corpus_version="2"),
        Scope(system_prompt="a"),
    ]
    said = iter(f"answer {number}" for number in range(100))
    cache = ExactCache() if kind == "exact" else SemanticCache(corpus.embedder, threshold=0.95)
    with cache:
        pipeline = Pipeline(corpus.retriever(k=1), lambda messages: next(said), cache=cache)
        first = [pipeline.ask(QUESTION, scope=scope) for scope in scopes]
        again = [
            pipeline.ask(QUESTION if kind == "exact" else REWORDED, scope=scope) for scope in scopes
        ]
    assert [answer.served_from for answer in first] == ["llm"] * len(scopes)
    assert [answer.served_from for answer in again] == [f"{kind} cache"] * len(scopes)
    texts = [answer.text for answer in first]
    assert len(set(texts)) == len(scopes)
    assert [answer.text for answer in again] == texts


def test_answers_of_a_purged_document_are_not_served(corpus, model) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
        document = pipeline.ask(QUESTION).sources[0].document
        assert pipeline.ask(QUESTION).served_from == "exact cache"
        assert cache.purge(source=document) == 1
        assert pipeline.ask(QUESTION).served_from == "llm"


def test_a_cache_file_serves_the_next_process_of_the_user(corpus, model, tmp_path) -> None:
    for expected in ("llm", "exact cache"):
        with ExactCache(path=tmp_path / "cache.sqlite") as cache:
            pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
            answer = pipeline.ask(QUESTION)
            assert answer.served_from == expected
            assert answer.sources[0].document == "api keys"


def test_an_entry_put_by_hand_is_served_without_sources(fixed, model) -> None:
    with ExactCache() as cache:
        cache.put("why?", "because")
        answer = Pipeline(fixed(["one"], ["one"]), model, cache=cache).ask("why?", scope=Scope())
    assert (answer.text, answer.sources, answer.saved) == ("because", (), 0)


@pytest.mark.parametrize(
    "payload",
    [
        {"usd": "much"},
        {"usd": None},
        {"usd": "NaN"},
        {"usd": "-1"},
        {"sources": 5},
        {"sources": [[]]},
        {"sources": [["a", "b", "c", 0, "too much"]]},
    ],
)
def test_an_entry_that_makes_no_sense_is_not_served(payload, fixed, model) -> None:
    with ExactCache() as cache:
        cache.put("why?", "wrong", payload=payload)
        pipeline = Pipeline(fixed(["one"], ["one"]), model, cache=cache)
        answer = pipeline.ask("why?", scope=Scope())
        assert answer.text == "yes it is"
        assert answer.stages[0].name == "cache"
        assert answer.stages[0].failed
        assert pipeline.failures == {"cache": 1}
        assert pipeline.ask("why?", scope=Scope()).served_from == "exact cache"


def test_pipelines_with_other_prompts_or_models_never_share_answers(fixed, model) -> None:
    found = fixed(["one"], ["one"])
    with ExactCache() as cache:
        first = Pipeline(found, model, cache=cache)
        first.ask("why?")
        assert first.ask("why?").served_from == "exact cache"
        for other in (
            Pipeline(found, model, cache=cache, system_prompt="Answer in French."),
            Pipeline(found, model, cache=cache, billing=Billing("gpt-5-mini")),
        ):
            assert other.ask("why?").served_from == "llm"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_short_is_not_kept(reason, fixed) -> None:
    def cut_short(_messages: object) -> Completion:
        return Completion("because of", finish_reason=reason)

    with ExactCache() as cache:
        pipeline = Pipeline(fixed(["one"], ["one"]), cut_short, cache=cache)
        assert [pipeline.ask("why?").served_from for _ in range(2)] == ["llm", "llm"]
        assert len(cache) == 0


# Whose vectors ----------------------------------------------------------------------------


def test_a_cache_with_an_embedder_of_its_own_compares_its_own_vectors(corpus, model) -> None:
    embedder = CallableEmbedder(hashed, id="hashed", dim=corpus.embedder.dim)
    with SemanticCache(embedder, threshold=0.999, exact=False) as cache:
        pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
        pipeline.ask(QUESTION)
        again = pipeline.ask(QUESTION)
    assert again.served_from == "semantic cache"
    assert again.stages[0].note == "semantic hit"
    assert not pipeline.failures


def test_a_cache_whose_vectors_have_another_length_works(corpus, model) -> None:
    embedder = CallableEmbedder(lambda texts: hashed(texts)[:, :7] + 1, id="short", dim=7)
    with SemanticCache(embedder, threshold=0.999) as cache:
        pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, cache=cache)
        pipeline.ask(QUESTION)
        assert pipeline.ask(QUESTION).served_from == "exact cache"
    assert not pipeline.failures


def test_a_known_vector_is_not_paid_for_again(corpus) -> None:
    seen: list[str] = []

    def counted(texts):
        seen.extend(texts)
        return hashed(texts)

    embedder = CallableEmbedder(counted, id="counted", dim=15)
    index = build("flat", embedder.embed([chunk.text for chunk in corpus.chunks]))
    retriever = Retriever(chunks=corpus.chunks, embedder=embedder, index=index, k=2)
    seen.clear()
    with SemanticCache(embedder, threshold=0.999, exact=False) as cache:
        pipeline = Pipeline(retriever, ExtractiveAnswerer(), cache=cache)
        first = pipeline.ask(QUESTION)
        assert seen == [QUESTION]
        again = pipeline.ask(QUESTION)
        assert again.served_from == "semantic cache"
        assert again.text == first.text
        other = pipeline.ask("Who may invite users?")
    assert other.served_from == "llm"
    assert seen == [QUESTION, QUESTION, "Who may invite users?"]


def test_an_exact_hit_asks_no_embedder(corpus, model) -> None:
    seen: list[str] = []

    def counted(texts):
        seen.extend(texts)
        return hashed(texts)

    embedder = CallableEmbedder(counted, id="counted", dim=15)
    index = build("flat", hashed([chunk.text for chunk in corpus.chunks]))
    retriever = Retriever(chunks=corpus.chunks, embedder=embedder, index=index, k=2)
    with SemanticCache(embedder, threshold=0.999) as cache:
        pipeline = Pipeline(retriever, model, cache=cache)
        assert pipeline.ask(QUESTION).served_from == "llm"
        assert pipeline.ask(QUESTION).served_from == "exact cache"
    assert seen == [QUESTION]


@pytest.mark.parametrize("embedder", ["letters", None, object()])
def test_a_cache_with_an_odd_embedder_fails_no_question(embedder, corpus, model) -> None:
    class Odd(ExactCache):
        pass

    Odd.embedder = embedder
    with Odd() as cache:
        pipeline = Pipeline(corpus.retriever(k=2), model, cache=cache)
        assert pipeline.ask(QUESTION).served_from == "llm"
        assert pipeline.ask(QUESTION).served_from == "exact cache"
    assert not pipeline.failures
