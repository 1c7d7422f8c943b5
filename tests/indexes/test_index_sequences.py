"""Any sequence of adding, deleting, saving and searching, against a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from ragopt.errors import InputError
from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.base import PositionIndex

DIM = 5
# Small integers: exact in half precision, and so are their squared distances.
VECTOR = st.lists(st.integers(-9, 9), min_size=DIM, max_size=DIM)
ID = st.integers(0, 40) | st.integers(2**40, 2**40 + 5)


class IndexMachine(RuleBasedStateMachine):
    """One index beside a dict from id to vector."""

    spec = "flat"
    there: Bundle[int] = Bundle("there")

    @initialize(target=there, first=st.lists(VECTOR, max_size=6), named=st.booleans())
    def start(self, first: list[list[int]], named: bool) -> Any:
        self.folder = Path(tempfile.mkdtemp(prefix="ragopt-sequences-"))
        ids = list(range(100, 100 + len(first))) if named else list(range(len(first)))
        rows = np.array(first, dtype=np.float32).reshape(-1, DIM)
        self.index: PositionIndex = build(self.spec, rows, ids if named else None, metric="l2")
        self.model = dict(zip(ids, first, strict=True))
        self.seen = set(ids)
        return multiple(*ids)

    @rule(target=there, rows=st.lists(VECTOR, max_size=4))
    def add(self, rows: list[list[int]]) -> Any:
        given = self.index.add(np.array(rows, dtype=np.float32).reshape(-1, DIM)).tolist()
        assert len(set(given)) == len(rows)
        assert not self.seen & set(given), "default ids are fresh"
        self.model.update(zip(given, rows, strict=True))
        self.seen.update(given)
        return multiple(*given)

    @rule(target=there, named=st.dictionaries(ID, VECTOR, max_size=4))
    def add_with_ids(self, named: dict[int, list[int]]) -> Any:
        rows = np.array(list(named.values()), dtype=np.float32).reshape(-1, DIM)
        if set(named) & set(self.model):
            with pytest.raises(InputError, match="already in the index"):
                self.index.add(rows, list(named))
            return multiple()
        assert self.index.add(rows, list(named)).tolist() == list(named)
        self.model.update(named)
        self.seen.update(named)
        return multiple(*named)

    @rule(vector_id=consumes(there))
    def delete(self, vector_id: int) -> None:
        if vector_id in self.model:
            assert self.index.delete([vector_id]) == 1
            del self.model[vector_id]
        else:
            with pytest.raises(InputError, match="not in this index"):
                self.index.delete([vector_id])

    @rule()
    def refuse(self) -> None:
        with pytest.raises(InputError):
            self.index.add([[1.0] * (DIM - 1) + [float("nan")]])
        with pytest.raises(InputError):
            self.index.delete([*self.model, 10**9])

    @rule(verify=st.booleans())
    def save_and_open(self, verify: bool) -> None:
        self.index.save(self.folder)
        self.index = open_index(self.folder, verify=verify)

    @rule(query=VECTOR, k=st.integers(1, 60))
    def search(self, query: list[int], k: int) -> None:
        self.compare(query, k, self.model, None)

    @rule(query=VECTOR, k=st.integers(1, 9), keep=st.randoms(use_true_random=False))
    def search_some(self, query: list[int], k: int, keep: Any) -> None:
        chosen = {one: row for one, row in self.model.items() if keep.random() < 0.5}
        gone = [one for one in self.seen if one not in self.model]
        self.compare(query, k, chosen, [*chosen, *gone])

    def compare(
        self, query: list[int], k: int, expected: dict[int, list[int]], where: list[int] | None
    ) -> None:
        knobs = dict.fromkeys(self.index.knobs, 200)
        found = self.index.search(query, k, where=where, **knobs)
        scores = {
            one: -float(((np.array(query) - np.array(row)) ** 2).sum())
            for one, row in expected.items()
        }
        best = sorted(scores.values(), reverse=True)[:k]
        ids, values = found.ids[0].tolist(), found.scores[0].tolist()
        assert values[: len(best)] == pytest.approx(best, abs=1e-3)
        assert [scores[one] for one in ids[: len(best)]] == best
        assert len(set(ids[: len(best)])) == len(best)
        assert set(ids[len(best) :]) <= {-1}

    @invariant()
    def same_members(self) -> None:
        if hasattr(self, "index"):
            assert len(self.index) == len(self.model)
            assert all((one in self.index) == (one in self.model) for one in self.seen)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


class RabitqMachine(IndexMachine):
    """Codes in RAM, half-precision rows on disk."""

    spec = "rabitq(bits=2)"


QUICK = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


TestFlatSequences = IndexMachine.TestCase
TestFlatSequences.settings = QUICK
TestRabitqSequences = RabitqMachine.TestCase
TestRabitqSequences.settings = QUICK
