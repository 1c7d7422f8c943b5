"""Vectors as they come out of a store: taken in by pieces, whatever stands between them."""

import numpy as np
import pytest

from ragopt.cache import FlatVectors, following
from ragopt.cache.following import FollowedVectors

DIM = 4


class Rows:
    """The part of a store that vectors are read from."""

    def __init__(self, rows):
        self.rows, self.changes = rows, 0

    def state(self):
        return self.changes, 0

    def totals(self):
        return len(self.rows), 0

    def vectors(self, _scope, after):
        return iter([row for row in self.rows if row[0] > after])


def blob(seed, length=1.0):
    row = np.random.default_rng(seed).standard_normal(DIM)
    return np.asarray(length * row / np.linalg.norm(row), dtype="<f4").tobytes()


NONE = [b"", b"x" * (4 * DIM - 1), b"\xff" * 4 * DIM, blob(1, length=2.0), "text", 1.5]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_sound_vectors_are_taken_in_and_others_named(monkeypatch, chunk):
    monkeypatch.setattr(following, "_CHUNK", chunk)
    rows = [(2 * n + 1, blob(n)) for n in range(len(NONE))]
    rows += [(2 * n + 2, content) for n, content in enumerate(NONE)]
    rows += [(50, None), (51, blob(51))]  # an entry without a vector is no damage
    store, damaged = Rows(sorted(rows)), []
    followed = FollowedVectors(store, DIM, FlatVectors, damaged.append)
    vectors = followed.of(b"scope")
    assert vectors.ids().tolist() == [1, 3, 5, 7, 9, 11, 51]
    assert sorted(damaged) == [2, 4, 6, 8, 10, 12]
    for entry in (1, 11, 51):
        row = np.frombuffer(dict(rows)[entry], dtype="<f4")
        assert vectors.search(row, 1, 0.9) == [(entry, pytest.approx(1.0))]
    store.rows.append((60, blob(60)))
    store.changes += 1
    assert followed.of(b"scope").ids().tolist()[-2:] == [51, 60]
    assert len(damaged) == len(NONE), "nothing is read twice"
