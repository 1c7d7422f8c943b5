"""The embedding store: nothing embedded twice, nothing lost, nothing mixed up or damaged."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.embed import CallableEmbedder, Embedder, LSAEmbedder, StoredEmbedder
from ragopt.errors import IndexCorrupt, InputError

BATCH = 512


def digest_vector(text: str) -> NDArray[np.float32]:
    """A vector that only this text has."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[:12], dtype="<u4").astype(np.float32) + 1


class Recording:
    """A deterministic embedder that remembers what it was asked."""

    def __init__(self, id: str = "recording", dim: int = 3) -> None:
        self.id = id
        self.dim = dim
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.extend(texts)
        rows = np.array([digest_vector(self.id + text) for text in texts])
        rows = np.tile(rows, 2)[:, : self.dim]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "vectors.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[Embedder], StoredEmbedder]]:
    stores: list[StoredEmbedder] = []

    def open_store(embedder: Embedder) -> StoredEmbedder:
        stores.append(StoredEmbedder(embedder, path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


Opened = Callable[[Embedder], StoredEmbedder]


def test_what_was_embedded_is_not_embedded_again(opened: Opened) -> None:
    inner = Recording()
    store = opened(inner)
    first = store.embed(["a", "b"])
    second = store.embed(["b", "c", "a"])
    assert inner.asked == ["a", "b", "c"]
    assert (store.hits, store.misses) == (2, 3)
    np.testing.assert_array_equal(second, Recording().embed(["b", "c", "a"]))
    np.testing.assert_array_equal(first, second[[2, 0]])
    assert second.dtype == np.float32


def test_a_text_that_occurs_twice_in_one_call_is_embedded_once(opened: Opened) -> None:
    inner = Recording()
    store = opened(inner)
    rows = store.embed(["a", "b", "a", "a"])
    assert inner.asked == ["a", "b"]
    assert (store.hits, store.misses) == (2, 2)
    np.testing.assert_array_equal(rows, Recording().embed(["a", "b", "a", "a"]))


def test_another_process_start_finds_everything(opened: Opened) -> None:
    opened(Recording()).embed(["a", "b"])
    later = Recording()
    store = opened(later)
    np.testing.assert_array_equal(store.embed(["b", "a"]), Recording().embed(["b", "a"]))
    assert later.asked == []
    assert (store.hits, store.misses) == (2, 0)


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1])
def test_the_seams_between_batches_and_queries(opened: Opened, count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    expected = Recording().embed(texts) if count else np.empty((0, 3), dtype=np.float32)
    store = opened(Recording())
    for _ in range(2):
        rows = store.embed(texts)
        assert rows.shape == (count, 3)
        np.testing.assert_array_equal(rows, expected)
    assert (store.hits, store.misses) == (count, count)


def test_it_stands_for_the_embedder_inside(opened: Opened) -> None:
    store = opened(Recording("model-a", dim=5))
    assert isinstance(store, Embedder)
    assert (store.id, store.dim) == ("model-a", 5)
    assert "Recording" in repr(store)


def test_another_embedder_is_never_served(opened: Opened) -> None:
    one, other = opened(Recording("one")), opened(Recording("other"))
    rows = one.embed(["a", "b"])
    np.testing.assert_array_equal(other.embed(["a", "b"]), Recording("other").embed(["a", "b"]))
    assert (other.hits, other.misses) == (0, 2)
    np.testing.assert_array_equal(one.embed(["a", "b"]), rows)
    assert one.hits == 2


def test_ids_and_texts_cannot_run_into_each_other(opened: Opened) -> None:
    opened(Recording("ab")).embed(["c"])
    store = opened(Recording("a"))
    store.embed(["bc"])
    assert store.misses == 1


def test_one_id_with_another_dimension_is_embedded_anew(opened: Opened) -> None:
    opened(Recording(dim=3)).embed(["a"])
    store = opened(Recording(dim=4))
    assert store.embed(["a"]).shape == (1, 4)
    assert store.misses == 1


def test_no_text_is_stored(opened: Opened, path: Path) -> None:
    store = opened(Recording())
    store.embed(["a very private sentence"])
    store.close()
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"private" not in content


@pytest.mark.parametrize("text", ["", "\ud800", "\x00", "漢字 😀", "e\u0301", "é"])
def test_any_text_has_its_own_entry(opened: Opened, text: str) -> None:
    store = opened(Recording())
    store.embed(["x", text])
    np.testing.assert_array_equal(store.embed([text]), Recording().embed([text]))
    assert store.misses == 2


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = substr(vector, 1, 11)",
        "UPDATE vectors SET vector = x'0000000000000000000000'",
        "UPDATE vectors SET vector = zeroblob(12)",
        "UPDATE vectors SET crc32 = crc32 + 1",
    ],
)
def test_a_damaged_entry_is_embedded_anew_and_mended(
    opened: Opened, path: Path, damage: str
) -> None:
    expected = opened(Recording()).embed(["a", "b"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"{damage} WHERE key = (SELECT min(key) FROM vectors)")
        connection.commit()
    for misses in (1, 0):
        store = opened(Recording())
        np.testing.assert_array_equal(store.embed(["a", "b"]), expected)
        assert store.misses == misses


def test_a_damaged_file_is_named(path: Path, opened: Opened) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IndexCorrupt, match=path.name):
        opened(Recording())


def test_somebody_elses_database_is_left_alone(path: Path, opened: Opened) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(InputError, match="embedding store"):
        opened(Recording())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


class Broken(Recording):
    """Returns whatever it is told to."""

    def __init__(self, returned: NDArray[np.float32]) -> None:
        super().__init__()
        self.returned = returned

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.returned


@pytest.mark.parametrize(
    "returned",
    [
        np.ones((1, 3)),
        np.ones((3, 3)),
        np.ones((2, 4)),
        np.ones(2),
        np.full((2, 3), np.nan),
        np.array([[1, 0, 0], [0, np.inf, 0]]),
    ],
)
def test_what_is_no_vector_is_not_stored(opened: Opened, returned: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match=r"'recording' returned shape .* nothing was stored"):
        opened(Broken(returned.astype(np.float32))).embed(["a", "b"])
    store = opened(Recording())
    np.testing.assert_array_equal(store.embed(["a", "b"]), Recording().embed(["a", "b"]))
    assert store.misses == 2


class FailingAfter(Recording):
    """Embeds two batches, then the provider goes away."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.asked) >= 2 * BATCH:
            raise ConnectionError("provider is gone")
        return super().embed(texts)


def test_a_job_that_failed_resumes_after_its_last_batch(opened: Opened) -> None:
    texts = [f"text {number}" for number in range(3 * BATCH + 7)]
    with pytest.raises(ConnectionError):
        opened(FailingAfter()).embed(texts)
    store = opened(Recording())
    np.testing.assert_array_equal(store.embed(texts), Recording().embed(texts))
    assert (store.hits, store.misses) == (2 * BATCH, BATCH + 7)


PREAMBLE = """
import os, signal, sys
import numpy as np
from ragopt.embed import CallableEmbedder, StoredEmbedder

def vectors(texts):
    return np.array([[len(text), int(text.split()[1]) + 1.0] for text in texts])

"""
KILLED_JOB = f"""{PREAMBLE}
calls = 0
def dying(texts):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return vectors(texts)

StoredEmbedder(CallableEmbedder(dying, id="job", dim=2), sys.argv[1]).embed(
    [f"text {{number}}" for number in range(4 * {BATCH})]
)
"""
SHARING_JOB = f"""{PREAMBLE}
first = int(sys.argv[2])
store = StoredEmbedder(CallableEmbedder(vectors, id="job", dim=2), sys.argv[1])
print("ready", flush=True)
sys.stdin.read(1)
for start in range(first, first + 1_000, 50):
    texts = [f"text {{number}}" for number in range(start, start + 50)]
    expected = vectors(texts)
    found = store.embed(texts)
    assert np.allclose(found * np.linalg.norm(expected, axis=1, keepdims=True), expected)
store.close()
"""


def length_and_number(texts: list[str]) -> list[list[float]]:
    return [[len(text), int(text.split()[1]) + 1.0] for text in texts]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_job_resumes_after_its_last_batch(opened: Opened, path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_JOB, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    inner = CallableEmbedder(length_and_number, id="job", dim=2)
    texts = [f"text {number}" for number in range(4 * BATCH)]
    store = opened(inner)
    np.testing.assert_array_equal(store.embed(texts), inner.embed(texts))
    assert (store.hits, store.misses) == (2 * BATCH, 2 * BATCH)


def test_two_processes_share_one_file(opened: Opened, path: Path) -> None:
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", SHARING_JOB, str(path), first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in ("0", "500")
    ]
    for job in jobs:  # both have opened the file before either starts
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("!")
        job.stdin.flush()
    errors = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    inner = CallableEmbedder(length_and_number, id="job", dim=2)
    texts = [f"text {number}" for number in range(1_500)]
    store = opened(inner)
    np.testing.assert_array_equal(store.embed(texts), inner.embed(texts))
    assert store.misses == 0


def test_the_vectors_are_those_of_a_real_embedder(opened: Opened) -> None:
    texts = ["river lake", "lake water river", "bread oven", "oven bread flour"]
    inner = LSAEmbedder.fit(texts, dim=2)
    store = opened(inner)
    for _ in range(2):
        np.testing.assert_array_equal(store.embed(texts), inner.embed(texts))


def test_a_closed_store_says_so(opened: Opened) -> None:
    store = opened(Recording())
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.embed(["a"])
