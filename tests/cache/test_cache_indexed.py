"""Nearest questions through an index: what is found while it is made, and afterwards."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache import FlatVectors, IndexedVectors, SemanticCache, indexed

DIM = 32


def clustered(count, seed=0):
    """Rows near a few hundred centres, as questions are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 20), DIM))
    rows = centres[rng.integers(len(centres), size=count)] + 0.3 * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def settled(store):
    for _ in range(600):
        if store.settled:
            return store
        time.sleep(0.05)
    raise AssertionError("the index is not ready after 30 s")


@pytest.fixture(scope="module")
def filled():
    rows = clustered(6000)
    store = IndexedVectors(DIM, few=500)
    for first in range(0, len(rows), 256):
        store.add(range(first, min(first + 256, len(rows))), rows[first : first + 256])
    return rows, settled(store)


def test_a_row_is_found_by_itself(filled):
    rows, store = filled
    assert store._index is not None
    assert len(store) == 6000
    found = [store.search(rows[row], 1, 0.9)[0][0] for row in range(0, 6000, 7)]
    assert np.mean(np.array(found) == np.arange(0, 6000, 7)) > 0.99


def test_the_nearest_are_nearly_always_those_of_a_plain_search(filled):
    rows, store = filled
    flat = FlatVectors(DIM)
    flat.add(range(len(rows)), rows)
    found = wanted = 0
    moved = clustered(300, seed=5)[::3] * 0.2 + rows[:300:3]
    for query in moved / np.linalg.norm(moved, axis=1, keepdims=True):
        best = {entry for entry, _ in flat.search(query, 5, 0.5)}
        found += len(best & {entry for entry, _ in store.search(query, 5, 0.498)})
        wanted += len(best)
    assert wanted > 400
    assert found / wanted > 0.97


def test_similarities_are_within_a_thousandth(filled):
    rows, store = filled
    for entry, similarity in store.search(rows[3], 5, 0.0):
        assert similarity == pytest.approx(float(rows[entry] @ rows[3]), abs=1e-3)


def test_few_rows_make_no_index():
    store = IndexedVectors(DIM)
    store.add(range(500), clustered(500))
    assert store._index is None
    assert store.settled
    assert store.ids().tolist() == list(range(500))


def test_rows_are_found_while_the_index_is_made():
    rows, release = clustered(3000), threading.Event()
    store = IndexedVectors(DIM, few=1000)
    move = store._move
    store._move = lambda ids, part: (release.wait(30), move(ids, part))
    store.add(range(2000), rows[:2000])
    assert not store.settled
    store.add(range(2000, 3000), rows[2000:])
    store.remove([5, 2500])
    assert len(store) == 2998
    for row in (0, 1999, 2000, 2999):
        assert store.search(rows[row], 1, 0.9)[0][0] == row
    release.set()
    settled(store)
    assert len(store) == 2998
    assert set(range(3000)) - set(store.ids().tolist()) == {5, 2500}
    for row in (5, 2500):
        assert row not in dict(store.search(rows[row], 5, 0.5))


def test_removed_rows_are_gone(filled):
    rows = clustered(3000, seed=2)
    store = IndexedVectors(DIM, few=500)
    store.add(range(3000), rows)
    settled(store)
    store.add([9000], rows[:1])
    store.remove([0, 7, 9000, 12345])
    assert len(store) == 2998
    assert not {0, 7, 9000} & set(dict(store.search(rows[0], 20, 0.0)))
    assert not {0, 7, 9000} & set(store.ids().tolist())


def test_one_row_at_a_time_ends_up_in_the_index_too():
    rows = clustered(2500, seed=3)
    store = IndexedVectors(DIM, few=500)
    for row in range(len(rows)):
        store.add([row], rows[row : row + 1])
        if row % 100 == 99:
            settled(store)
    settled(store)
    assert len(store) == 2500
    assert len(store._flat) <= 64
    found = [store.search(rows[row], 1, 0.9)[0][0] == row for row in range(0, 2500, 11)]
    assert np.mean(found) > 0.99


def test_an_index_that_cannot_be_made_leaves_the_rows_where_they_are(caplog, monkeypatch):
    store = IndexedVectors(DIM, few=100, spec="tiered(bits=3)")
    rows = clustered(400)
    store.add(range(200), rows[:200])
    settled(store)
    assert "compared one by one" in caplog.text
    assert store.search(rows[7], 1, 0.9)[0][0] == 7
    caplog.clear()
    store.add(range(200, 300), rows[200:300])
    assert not caplog.text, "not again with every row"


def test_threads_search_while_one_adds():
    rows, store, wrong = clustered(4000, seed=4), IndexedVectors(DIM, few=500), []
    stop = threading.Event()

    def search():
        while not stop.is_set():
            present = len(store)
            if present:
                row = present // 2
                best = dict(store.search(rows[row], 3, 0.5))
                if row not in best:
                    wrong.append(row)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for first in range(0, 4000, 50):
        store.add(range(first, first + 50), rows[first : first + 50])
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    settled(store)
    assert len(set(wrong)) <= 3, "only what the index itself misses"


def test_a_cache_is_warmed_before_anybody_asks(make_embedder):
    embedder = make_embedder(dim=32)
    rows = clustered(600, seed=6)
    cache = SemanticCache(
        embedder, guards=(), vector_store=lambda dim: IndexedVectors(dim, few=200)
    )
    assert cache.warm(), "nothing to do"
    for number, row in enumerate(rows):
        cache.put(f"question {number}", "a", vector=row)
    assert cache.warm(check=False), "the vectors are not the embedder's"
    vectors = cache._vectors.of(cache._scope_key(None))
    assert vectors._index is not None
    assert len(vectors) == 600
    assert cache.get("another", vector=rows[7]).question == "question 7"


def test_warming_gives_up_when_it_is_told_to(make_embedder):
    class Never(IndexedVectors):
        settled = False

    cache = SemanticCache(make_embedder(dim=32), vector_store=Never)
    assert cache.warm(timeout_s=0.05) is False


def test_near_rows_are_those_of_a_plain_search(filled):
    rows, store = filled
    flat = FlatVectors(DIM)
    flat.add(range(len(rows)), rows)
    rng = np.random.default_rng(8)
    found = wanted = 0
    for row in rows[::20]:
        query = row + 0.05 * rng.standard_normal(DIM).astype(np.float32)
        query /= np.linalg.norm(query)
        best = {entry for entry, _ in flat.search(query, 5, 0.9)}
        found += len(best & {entry for entry, _ in store.search(query, 5, 0.9 - 2e-3)})
        wanted += len(best)
    assert wanted > 200
    assert found / wanted > 0.99


def test_an_index_without_these_knobs_is_asked_as_it_is():
    rows = clustered(800, seed=9)
    store = IndexedVectors(DIM, few=100, spec="flat")
    store.add(range(800), rows)
    settled(store)
    assert store._index.knobs.keys().isdisjoint(indexed._FOR_NEAR)
    assert store.search(rows[11], 1, 0.95)[0][0] == 11


_IDS = st.sets(st.integers(0, 40)).map(lambda ids: np.array(sorted(ids), dtype=np.int64))


@given(_IDS, st.lists(st.integers(0, 60), unique=True))
def test_ids_are_merged_and_found_as_sets_are(ids, more):
    others = np.array(more, dtype=np.int64)
    others = others[~np.isin(others, ids)]
    assert indexed._merged(ids, others).tolist() == sorted({*ids.tolist(), *others.tolist()})
    assert indexed._among(ids, others).tolist() == [False] * len(others)
    assert indexed._among(ids, ids).all()
    assert indexed._among(ids, np.array([-1, 99])).tolist() == [False, False]
