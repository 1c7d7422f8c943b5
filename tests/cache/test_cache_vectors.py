import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.cache import FlatVectors

DIM = 8


def unit_rows(count, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(rows, query, k, at_least):
    """Every similarity in plain Python, newest first among equals."""
    pairs = [(float(row @ query), id_) for id_, row in rows.items()]
    near = sorted((pair for pair in pairs if pair[0] >= at_least), key=lambda p: (-p[0], -p[1]))
    return [id_ for _, id_ in near[:k]]


def test_an_empty_store_finds_nothing():
    store = FlatVectors(DIM)
    assert store.search(unit_rows(1)[0], 5, -1.0) == []
    assert len(store) == 0
    assert store.ids().tolist() == []


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 129, 1000])
def test_the_nearest_are_those_of_a_plain_search(count):
    rows = unit_rows(count)
    store = FlatVectors(DIM)
    store.add(range(1, count + 1), rows)
    query = unit_rows(1, seed=9)[0]
    known = dict(enumerate(rows, start=1))
    for k, at_least in ((1, -1.0), (5, 0.0), (5, 0.6), (2000, -1.0)):
        found = store.search(query, k, at_least)
        assert [id_ for id_, _ in found] == reference(known, query, k, at_least)
        assert all(similarity >= at_least for _, similarity in found)


def test_of_equal_rows_the_newest_comes_first():
    row = unit_rows(1)
    store = FlatVectors(DIM)
    for id_ in (3, 7, 5):
        store.add([id_], row)
    assert [id_ for id_, _ in store.search(row[0], 2, 0.9)] == [7, 5]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 40)), max_size=30))
def test_any_sequence_of_adding_and_removing_finds_what_is_left(steps):
    store, known, next_id = FlatVectors(DIM), {}, 1
    for number, (step, size) in enumerate(steps):
        if step == "add":
            rows = unit_rows(size, seed=number)
            ids = range(next_id, next_id + size)
            store.add(ids, rows)
            known.update(zip(ids, rows, strict=True))
            next_id += size
        else:
            gone = list(known)[::2][:size]
            store.remove([*gone, 10**9])
            for id_ in gone:
                del known[id_]
        assert len(store) == len(known)
    query = unit_rows(1, seed=99)[0]
    assert [id_ for id_, _ in store.search(query, 7, -1.0)] == reference(known, query, 7, -1.0)
    assert store.ids().tolist() == sorted(known)


def test_removing_gives_memory_back():
    store = FlatVectors(DIM)
    store.add(range(4000), unit_rows(4000))
    before = store.nbytes
    store.remove(range(3900))
    assert store.nbytes < before / 10


def test_searching_while_another_thread_adds_and_removes():
    store, row = FlatVectors(DIM), unit_rows(1)
    store.add([0], row)
    wrong, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            found = store.search(row[0], 3, 0.999)
            if not found or any(similarity < 0.999 for _, similarity in found):
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 400):
        store.add([number], unit_rows(1, seed=number + 1) if number % 2 else row)
        if number % 3 == 0:
            store.remove([number])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
