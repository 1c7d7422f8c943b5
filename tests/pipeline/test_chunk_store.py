"""Chunks on disk: a plain sequence, whole or absent, and never another text in silence."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.chunk import Chunk
from ragopt.chunk_store import ChunkStore
from ragopt.errors import IndexCorrupt, InputError, StorageError

CHUNKS = [
    Chunk(f"doc#{number}", f"text {number}", "doc", "Title", number * 10) for number in range(7)
]
ODD = [
    Chunk("é#0", "naïve 日本語 🙂 \u202e \0 'quoted' \"twice\"", "s", "t\nt", 2**40),
    Chunk("", "", "", "", 0),
    Chunk(
        "m",
        " spaces \r\n",
        metadata={"path": "a/b", "n": 1.5, "list": [1, None, True], "deep": {"é": {}}},
    ),
    Chunk("p", "proxy", metadata=MappingProxyType({"b": 1, "a": 2})),
]


@pytest.fixture
def store(tmp_path):
    with closing(ChunkStore(tmp_path / "chunks.sqlite")) as opened:
        yield opened


def altered(path: Path, statement: str, *values) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def python(code: str, *arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# A sequence -------------------------------------------------------------------------------


def test_it_is_a_sequence_like_a_list(store) -> None:
    store.extend(CHUNKS)
    assert len(store) == 7
    assert list(store) == CHUNKS
    assert list(reversed(store)) == CHUNKS[::-1]
    assert CHUNKS[3] in store
    assert store.index(CHUNKS[4]) == 4
    for number in range(-7, 7):
        assert store[number] == CHUNKS[number]
        assert store[np.int64(number)] == CHUNKS[number]


@given(st.slices(7))
def test_slices_are_those_of_a_list(part) -> None:
    with closing(ChunkStore()) as store:
        store.extend(CHUNKS)
        assert store[part] == CHUNKS[part]


@pytest.mark.parametrize("number", [7, -8, 10**30, -(10**30), 2**63])
def test_a_number_out_of_range(number, store) -> None:
    store.extend(CHUNKS)
    with pytest.raises(IndexError, match=r"holds 7 chunks"):
        store[number]


@pytest.mark.parametrize("number", [1.5, "1", None])
def test_what_is_no_number_is_refused(number, store) -> None:
    store.extend(CHUNKS)
    with pytest.raises(TypeError):
        store[number]


def test_an_empty_store(store) -> None:
    assert (len(store), list(store), store[:]) == (0, [], [])
    with pytest.raises(IndexError):
        store[0]


def test_what_goes_in_comes_out_after_opening_again(tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "chunks.sqlite"
    for part in (ODD[:2], ODD[2:]):
        with closing(ChunkStore(path)) as store:
            store.extend(iter(part))
    with closing(ChunkStore(path)) as store:
        assert list(store) == ODD
        assert repr(store) == f"ChunkStore({str(path)!r})"


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Chunk, TEXT, TEXT, TEXT, TEXT, st.integers(0, 2**62), st.dictionaries(TEXT, VALUES)
        ),
        unique_by=lambda chunk: chunk.id,
        max_size=6,
    )
)
def test_any_chunk_comes_out_as_it_went_in(chunks) -> None:
    with closing(ChunkStore()) as store:
        store.extend(chunks)
        assert list(store) == chunks


# What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    [
        Chunk("doc#0", "the same id again"),
        Chunk("new", "half a pair \ud800"),
        Chunk("half a pair \udfff", "text"),
        Chunk("new", "text", title="\ud800"),
        Chunk("new", "text", metadata={"when": datetime.now(timezone.utc)}),
        Chunk("new", "text", metadata={"bytes": b"1"}),
        Chunk("new", "text", metadata={1: "a", "b": 2}),
        Chunk("new", "text", metadata=5),
        Chunk("new", None),
        Chunk("new", "text", start="12"),
        Chunk("new", "text", start=1.5),
    ],
)
def test_a_refused_chunk_changes_nothing(refused, store) -> None:
    store.extend(CHUNKS)
    for method in (store.extend, store.replace):
        with pytest.raises(InputError, match=r"chunk (id )?'"):
            method([Chunk("before", "text"), refused, Chunk("after", "text"), Chunk("doc#0", "x")])
        assert list(store) == CHUNKS
    store.extend([Chunk("before", "text")])
    assert len(store) == 8


def test_a_circle_in_the_metadata_is_refused(store) -> None:
    circle: dict[str, object] = {}
    circle["itself"] = circle
    with pytest.raises(InputError, match="metadata"):
        store.extend([Chunk("new", "text", metadata=circle)])


def test_an_id_twice_in_a_batch_is_refused(store) -> None:
    with pytest.raises(InputError, match="'a' is already in the store"):
        store.extend([Chunk("a", "1"), Chunk("b", "2"), Chunk("a", "3")])
    assert len(store) == 0


def test_a_source_of_chunks_that_fails_changes_nothing(store) -> None:
    def fails():
        yield from CHUNKS
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="the network is gone"):
        store.extend(fails())
    assert len(store) == 0


def test_replacing_leaves_only_the_new_ones(store) -> None:
    store.extend(CHUNKS)
    store.replace(reversed(CHUNKS[:3]))
    assert list(store) == CHUNKS[2::-1]
    store.extend(CHUNKS[3:])
    assert len(store) == 7


def test_a_number_of_numpys_is_kept_as_one(store) -> None:
    store.extend([Chunk("a", "text", start=np.int64(12))])
    assert store[0].start == 12


# Damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "text 33"),
        ("id", "doc#33"),
        ("source", "other"),
        ("title", ""),
        ("start", 31),
        ("start", "thirty"),
        ("metadata", '{"a": 1}'),
        ("crc32", 1),
        ("text", b"text 3"),
        ("text", sqlite3.Binary(b"\xff\xfe")),
    ],
)
def test_an_altered_row_is_not_handed_out(column, value, tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    with closing(ChunkStore(path)) as store:
        store.extend(CHUNKS)
    altered(path, f"UPDATE chunks SET {column} = ? WHERE number = 3", value)
    with closing(ChunkStore(path)) as store:
        with pytest.raises(IndexCorrupt, match=r"chunks\.sqlite.*build the folder again"):
            store[3]
        assert [store[2], store[4]] == [CHUNKS[2], CHUNKS[4]]


def test_text_that_is_no_utf8_is_damage(tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    with closing(ChunkStore(path)) as store:
        store.extend(CHUNKS)
    altered(path, "UPDATE chunks SET text = CAST(x'ff41' AS TEXT) WHERE number = 3")
    with closing(ChunkStore(path)) as store, pytest.raises(IndexCorrupt, match="altered"):
        store[3]


def test_a_row_in_anothers_place_is_not_handed_out(tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    with closing(ChunkStore(path)) as store:
        store.extend(CHUNKS)
    for old, new in ((3, 99), (4, 3), (99, 4)):
        altered(path, "UPDATE chunks SET number = ? WHERE number = ?", new, old)
    with closing(ChunkStore(path)) as store:
        for number in (3, 4):
            with pytest.raises(IndexCorrupt):
                store[number]


def readings(path: Path) -> list[Chunk | None]:
    """What each number gives, None where that is an error of the kinds that say so."""
    try:
        with closing(ChunkStore(path)) as store:
            return [reading(store, number) for number in range(len(CHUNKS))]
    except (IndexCorrupt, InputError):
        return [None] * len(CHUNKS)


def reading(store: ChunkStore, number: int) -> Chunk | None:
    try:
        return store[number]
    except (IndexCorrupt, IndexError):
        return None


def test_flipped_bits_never_give_another_text(tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    with closing(ChunkStore(path)) as store:
        store.extend(CHUNKS)
    sound = path.read_bytes()
    used = [place for place, byte in enumerate(sound) if byte]
    draw = random.Random(0)
    damaged = 0
    for place in draw.sample(used, 200):
        content = bytearray(sound)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        for found, chunk in zip(readings(path), CHUNKS, strict=True):
            damaged += found is None
            assert found in (None, chunk)
        for beside in tmp_path.glob("chunks.sqlite-*"):
            beside.unlink()
    assert damaged > 200


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\1" * 99]
)
def test_what_is_no_database_is_refused_and_left_alone(content, tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    path.write_bytes(content)
    with pytest.raises(IndexCorrupt, match=r"chunks\.sqlite"):
        ChunkStore(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE chunks (number INTEGER)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="not a ragopt chunk store"):
        ChunkStore(path)
    assert path.read_bytes() == before


def test_a_folder_in_its_place_is_refused(tmp_path) -> None:
    with pytest.raises(StorageError):
        ChunkStore(tmp_path)


# Processes --------------------------------------------------------------------------------

READ = """
import sys
from ragopt.chunk_store import ChunkStore
store = ChunkStore(sys.argv[1])
seen = 0
while seen < int(sys.argv[2]):
    count = len(store)
    assert count >= seen and count % 10 == 0, (count, seen)
    for number in range(seen, count):
        chunk = store[number]
        assert (chunk.id, chunk.text) == (f"c{number}", f"text {number} " * 20), chunk
    seen = count
print(seen)
"""

WRITE = """
import sys
from ragopt.chunk import Chunk
from ragopt.chunk_store import ChunkStore
store = ChunkStore(sys.argv[1])
print("open", flush=True)
chunks = [Chunk(f"c{n}", f"text {n} " * 20) for n in range(len(store), int(sys.argv[2]))]
for start in range(0, len(chunks), 10):
    store.extend(chunks[start : start + 10])
    print(len(store), flush=True)
"""


def test_processes_read_while_one_writes(tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    ChunkStore(path).close()
    readers = [python(READ, path, 400) for _ in range(3)]
    writer = python(WRITE, path, 400)
    for process in (*readers, writer):
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert out.split()[-1] == "400"


ONE_BATCH = """
import sys
from ragopt.chunk import Chunk
from ragopt.chunk_store import ChunkStore
store = ChunkStore(sys.argv[1])
chunks = [Chunk(f"c{n}", f"text {n} " * 20) for n in range(20_000)]
print("here", flush=True)
store.extend(chunks)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")
def test_a_killed_writer_leaves_all_of_its_batch_or_nothing(tmp_path) -> None:
    path = tmp_path / "chunks.sqlite"
    with closing(ChunkStore(path)) as store:
        store.extend(CHUNKS)
    draw = random.Random(0)
    for _ in range(5):
        with python(ONE_BATCH, path) as process:
            assert process.stdout.readline() == "here\n"
            time.sleep(draw.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        with closing(ChunkStore(path)) as store:
            assert len(store) in (7, 20_007)
            assert store[:7] == CHUNKS
            if len(store) > 7:
                assert store[-1] == Chunk("c19999", "text 19999 " * 20)
            store.replace(CHUNKS)
            store._database.verify()
