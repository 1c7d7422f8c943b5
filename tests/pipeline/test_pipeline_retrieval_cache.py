"""A question is searched for once in one state of the documents, and the pipeline says so."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from ragopt import Ledger
from ragopt.cache import CachedRetriever, ExactCache, Scope, SemanticCache
from ragopt.cache.stores import SqliteStore
from ragopt.chunk import Chunk, Hit
from ragopt.corpus import Corpus
from ragopt.errors import InputError
from ragopt.pipeline import Billing, Pipeline
from ragopt.rerank import BM25Reranker, FusionReranker, ScoreRatio
from ragopt.retrieve import Retrieved, Stage

QUESTION = "How do I rotate an API key?"
OTHERS = ["How long are backups kept?", "When are invoices sent?", "Who may invite users?"]


class Counting:
    """An embedder that counts the texts it is asked for."""

    def __init__(self, embedder) -> None:
        self.inner = embedder
        self.id, self.dim = embedder.id, embedder.dim
        self.asked: list[str] = []

    def embed(self, texts):
        self.asked.extend(texts)
        return self.inner.embed(texts)


class Given:
    """Somebody else's retriever: no settings, no version, chunks of its own."""

    def __init__(self, *stages: Stage) -> None:
        self.asked = 0
        self.stages = stages
        self.corpus_version = "1"

    def retrieve(self, question, vector=None) -> Retrieved:
        self.asked += 1
        chunks = [
            Chunk("a", f"about {question}", "doc", "Title", 3, {"page": 5}),
            Chunk("a", "the same id", "other"),
        ]
        hits = (Hit(chunks[0], 0.1 + 0.2, 0.9), Hit(chunks[1], 0.1))
        return Retrieved(
            hits=hits, plain=hits[:1], vector=np.array([0.6, 0.8], np.float32), stages=self.stages
        )


def same(one: Retrieved, other: Retrieved) -> bool:
    return (one.hits, one.plain) == (other.hits, other.plain) and np.array_equal(
        one.vector, other.vector
    )


@pytest.fixture
def counted(corpus):
    """A retriever of the corpus, and the embedder that it asks."""
    embedder = Counting(corpus.embedder)
    return replace(corpus.retriever(k=3, candidates=8), embedder=embedder), embedder


# What is served -----------------------------------------------------------------------------


def test_a_hit_is_what_the_search_found(counted) -> None:
    retriever, embedder = counted
    cached = CachedRetriever(retriever)
    for question in (QUESTION, *OTHERS):
        fresh = retriever.retrieve(question)
        assert same(cached.retrieve(question), fresh)
        asked = len(embedder.asked)
        again = cached.retrieve(question)
        assert same(again, fresh)
        assert len(embedder.asked) == asked
        assert [(stage.name, stage.cached) for stage in again.stages] == [("retrieval cache", True)]
        assert again.stages[0].note == "hit, embedding and search saved"
    stats = cached.stats
    assert (stats.lookups, stats.hits, stats.misses, stats.puts) == (8, 4, 4, 4)
    assert (stats.embeddings_saved, stats.hit_ratio) == (4, 0.5)


def test_the_same_words_hit_and_others_do_not(counted) -> None:
    cached = CachedRetriever(counted[0])
    cached.retrieve(QUESTION)
    for question, hits in (
        ("how do I  rotate an API key", 1),
        ("How do I rotate an api key?", 1),
        ("How do I rotate two API keys?", 1),
    ):
        cached.retrieve(question)
        assert cached.stats.hits == hits, question


def test_another_state_of_the_documents_is_never_served(documents, tmp_path, model) -> None:
    path = tmp_path / "found.db"
    with Corpus.build(documents, tmp_path / "one") as one:
        before = CachedRetriever(one.retriever(k=2), path=path)
        first = Pipeline(before, model).ask("How long are backups kept?")
        assert "30 days" in model.prompts[-1][-1].content
        before.close()
    changed = [replace(each, text=each.text.replace("30 days", "14 days")) for each in documents]
    with Corpus.build(changed, tmp_path / "two") as two:
        after = CachedRetriever(two.retriever(k=2), path=path)
        second = Pipeline(after, model).ask("How long are backups kept?")
        assert "14 days" in model.prompts[-1][-1].content
        assert not any(stage.cached for stage in (*first.stages, *second.stages))
        assert (after.stats.hits, len(after)) == (0, 2)
        assert after.purge(corpus_version=one.version) == 1
        assert after.retrieve("How long are backups kept?").stages[0].cached
        after.close()


def test_whatever_decides_on_the_result_is_part_of_the_key(corpus, tmp_path) -> None:
    plain = corpus.retriever(k=3, candidates=8)
    others = [
        replace(plain, k=2),
        replace(plain, candidates=9),
        replace(plain, prior_weight=0.25),
        replace(plain, reranker=None),
        replace(plain, cut=ScoreRatio(ratio=0.5)),
        replace(plain, knobs={name: steps[0] for name, steps in corpus.index.knobs.items()}),
        replace(plain, corpus_version="another"),
    ]
    path = tmp_path / "found.db"
    for number, retriever in enumerate((plain, *others)):
        with CachedRetriever(retriever, path=path) as cached:
            found = cached.retrieve(QUESTION)
            assert not found.stages[0].cached, retriever
            assert len(cached) == number + 1
    with CachedRetriever(plain, path=path) as cached:
        assert cached.retrieve(QUESTION).stages[0].cached


def test_documents_that_change_during_a_search_leave_nothing_behind() -> None:
    class Moving(Given):
        def retrieve(self, question, vector=None):
            self.corpus_version = str(int(self.corpus_version) + 1)
            return super().retrieve(question, vector)

    cached = CachedRetriever(Moving(), settings={})
    cached.retrieve("why?")
    assert len(cached) == 0


def test_a_vector_of_another_text_is_searched_with(counted) -> None:
    retriever, _ = counted
    cached = CachedRetriever(retriever)
    own = cached.retrieve(QUESTION).vector
    assert cached.retrieve(QUESTION, own + np.float32(1e-7)).stages[0].cached
    other = retriever.embed(OTHERS[0])
    found = cached.retrieve(QUESTION, other)
    assert not found.stages[0].cached
    assert same(found, retriever.retrieve(QUESTION, other))
    assert cached.stats.unusable == 1


# Whose chunks -------------------------------------------------------------------------------


def test_of_a_corpus_only_ids_are_stored(corpus, counted, tmp_path) -> None:
    path = tmp_path / "found.db"
    with CachedRetriever(counted[0], path=path) as cached:
        chunk = cached.retrieve(QUESTION).hits[0].chunk
    stored = b"".join(
        row[0] for row in sqlite3.connect(path).execute("SELECT payload FROM entries")
    )
    assert chunk.id.encode() in stored
    assert chunk.text.split()[1].encode() not in stored
    assert corpus.chunks.named(chunk.id) == chunk
    assert corpus.chunks.named("nobody") is None


def test_chunks_of_anybody_else_are_stored_whole(tmp_path) -> None:
    for first in (True, False):
        retriever = Given()
        with CachedRetriever(retriever, path=tmp_path / "found.db", settings={"k": 2}) as cached:
            found = cached.retrieve("why?")
            assert found.stages[0].cached is not first
            assert retriever.asked == first
        assert found.hits[0].chunk == Chunk("a", "about why?", "doc", "Title", 3, {"page": 5})
        assert [hit.chunk.text for hit in found.hits] == ["about why?", "the same id"]
        assert (found.hits[0].score, found.hits[0].probability) == (0.1 + 0.2, 0.9)


def test_a_chunk_that_is_gone_is_searched_for_again(counted) -> None:
    class Gone(list):
        def named(self, chunk_id):
            return None

    retriever, _ = counted
    store = SqliteStore(":memory:")
    CachedRetriever(retriever, store=store).retrieve(QUESTION)
    found = CachedRetriever(replace(retriever, chunks=Gone(retriever.chunks)), store=store)
    assert not found.retrieve(QUESTION).stages[0].cached
    assert (found.stats.unusable, found.stats.misses) == (1, 1)


def test_results_of_a_purged_document_are_searched_for_again() -> None:
    cached = CachedRetriever(Given(), settings={})
    cached.retrieve("why?")
    assert cached.purge(source="nobody") == 0
    assert cached.purge(source="other") == 1
    assert not cached.retrieve("why?").stages[0].cached


# In the pipeline ----------------------------------------------------------------------------


def test_a_miss_on_the_answer_still_saves_search_and_embedding(
    counted, model, sheet, words, tmp_path
) -> None:
    retriever, embedder = counted
    cached = CachedRetriever(retriever)
    with SemanticCache(embedder, threshold=0.95) as cache, Ledger(tmp_path / "l.db") as ledger:
        billing = Billing("m", prices=sheet, counter=words, ledger=ledger)
        pipeline = Pipeline(cached, model, cache=cache, billing=billing)
        pipeline.ask(OTHERS[0], scope=Scope(tenant="two"))  # its tier is not empty
        pipeline.ask(QUESTION, scope=Scope(tenant="one"))
        asked = len(embedder.asked)
        answer = pipeline.ask(QUESTION, scope=Scope(tenant="two"))
        tagged = [event.tags.get("retrieval") for event in ledger.events()]
    assert answer.served_from == "llm"
    assert len(embedder.asked) == asked
    by_name = {stage.name: stage for stage in answer.stages}
    assert by_name["retrieval cache"].cached
    assert by_name["cache"].note == "miss, embedding read from the retrieval cache"
    assert "search" not in by_name
    assert (cached.stats.hits, cached.stats.embeddings_saved) == (1, 1)
    assert tagged == [None, None, "cached"]
    assert not pipeline.failures
    assert model.prompts[-1] == model.prompts[-2]


def test_tenants_share_what_was_found_and_no_answer(corpus) -> None:
    said = iter(["one", "two"])
    with ExactCache() as cache:
        cached = CachedRetriever(corpus.retriever(k=2, candidates=8))
        pipeline = Pipeline(cached, lambda messages: next(said), cache=cache)
        answers = [pipeline.ask(QUESTION, scope=Scope(tenant=name)).text for name in ("a", "b")]
    assert answers == ["one", "two"]
    assert cached.stats.hits == 1


# What goes wrong ----------------------------------------------------------------------------


def test_a_cache_that_fails_costs_a_search(counted, tmp_path) -> None:
    retriever, _ = counted
    path = tmp_path / "found.db"
    cached = CachedRetriever(retriever, path=path)
    fresh = cached.retrieve(QUESTION)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE entries")
    connection.close()
    found = cached.retrieve(QUESTION)
    assert same(found, fresh)
    assert found.stages[0].failed
    assert "IndexCorrupt" in found.stages[0].note
    assert cached.stored_vector(QUESTION) is None
    assert cached.stats.errors == 1


def test_an_altered_row_is_searched_for_again(counted, tmp_path) -> None:
    path = tmp_path / "found.db"
    cached = CachedRetriever(counted[0], path=path)
    fresh = cached.retrieve(QUESTION)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET payload = replace(payload, '0', '1')")
    connection.close()
    found = cached.retrieve(QUESTION)
    assert not found.stages[0].cached
    assert same(found, fresh)


def test_a_result_with_a_failed_stage_is_not_kept() -> None:
    cached = CachedRetriever(Given(Stage(name="rerank", ms=0.0, failed=True)), settings={})
    assert [stage.name for stage in cached.retrieve("why?").stages] == ["retrieval cache", "rerank"]
    assert len(cached) == 0


def test_what_cannot_be_told_apart_is_refused(corpus) -> None:
    class Nameless:
        def score(self, query, chunks):
            return np.ones(len(chunks), np.float32)

    retriever = corpus.retriever(k=2)
    with pytest.raises(InputError, match=r"corpus_version is ''.*corpus\.retriever"):
        CachedRetriever(replace(retriever, corpus_version=""))
    for reranker in (Nameless(), FusionReranker([BM25Reranker(), Nameless()])):
        with pytest.raises(InputError, match=r"has no __repr__.*Nameless.*settings="):
            CachedRetriever(replace(retriever, reranker=reranker))
    with pytest.raises(InputError, match="Given does not say its settings; pass settings="):
        CachedRetriever(Given())
    with pytest.raises(InputError, match="retriever is str"):
        CachedRetriever("corpus")
    with pytest.raises(InputError, match="max_entries=0"):
        CachedRetriever(retriever, max_entries=0)
    named = CachedRetriever(replace(retriever, reranker=Nameless()), settings={"reranker": 1})
    assert named.retrieve(QUESTION).hits


def test_a_closed_one_says_so(counted) -> None:
    cached = CachedRetriever(counted[0])
    assert repr(cached).startswith("CachedRetriever(Retriever(")
    assert "0 entries" in repr(cached)
    cached.close()
    with pytest.raises(InputError, match="closed"):
        cached.retrieve(QUESTION)


def test_limits_and_times_are_kept(counted) -> None:
    now = [1e9]
    cached = CachedRetriever(counted[0], max_entries=2, ttl_s=60, clock=lambda: now[0])
    for question in (QUESTION, *OTHERS):
        for _ in range(3):
            cached.retrieve(question)
    assert len(cached) == 2
    now[0] += 61
    assert not any(cached.retrieve(each).stages[0].cached for each in (QUESTION, *OTHERS))


def test_threads_share_one(counted) -> None:
    retriever, _ = counted
    cached = CachedRetriever(retriever)
    expected = {question: retriever.retrieve(question) for question in (QUESTION, *OTHERS)}
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(5):
            wrong.extend(
                each for each in expected if not same(cached.retrieve(each), expected[each])
            )

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = cached.stats
    assert not wrong
    assert len(cached) == 4
    assert (stats.lookups, stats.hits + stats.misses, stats.errors) == (120, 120, 0)


def test_other_processes_find_it_also_after_a_restart(documents, tmp_path) -> None:
    Corpus.build(documents, tmp_path / "corpus").close()
    script = (
        "import sys; from ragopt.cache import CachedRetriever; from ragopt.corpus import Corpus\n"
        "with Corpus.open(sys.argv[1]) as corpus, "
        "CachedRetriever(corpus.retriever(k=2), path=sys.argv[2]) as cached:\n"
        "    found = cached.retrieve(sys.argv[3])\n"
        "    print(found.stages[0].cached, [(hit.chunk.id, hit.score) for hit in found.hits])\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / "corpus", tmp_path / "f.db", QUESTION],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split(maxsplit=1)
        for _ in range(2)
    ]
    assert [cached for cached, _ in said] == ["False", "True"]
    assert said[0][1] == said[1][1]
