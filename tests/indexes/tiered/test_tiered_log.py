"""The write-ahead log: what it gives back, what it refuses, and what a fault leaves of it."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragopt.errors import IndexCorrupt, StorageError
from ragopt.indexes.tiered import log as log_module
from ragopt.indexes.tiered.log import Added, Deleted, WriteAheadLog

DIM = 3
BEGIN = 16  # bytes before the first record
HEADER = 20
Record = Added | Deleted

IDS = st.lists(st.integers(0, 2**63 - 1), max_size=5)


def added(ids: Sequence[int]) -> Added:
    rows = np.random.default_rng(len(ids)).standard_normal((len(ids), DIM)).astype(np.float32)
    return Added(np.array(ids, dtype=np.int64), rows)


def deleted(ids: Sequence[int]) -> Deleted:
    return Deleted(np.array(ids, dtype=np.int64))


RECORDS = st.lists(st.builds(added, IDS) | st.builds(deleted, IDS), max_size=6)
SOME: list[Record] = [added([5, 2**40]), deleted([5]), added([]), added([7, 8, 9])]


def said(record: Record) -> tuple[str, list[int], bytes]:
    rows = record.vectors.tobytes() if isinstance(record, Added) else b""
    return type(record).__name__, record.ids.tolist(), rows


def written(path: Path, records: Sequence[Record]) -> list[int]:
    """A log of these records; where each of them ends."""
    writer = WriteAheadLog(path, WriteAheadLog.create(path), sync=False)
    ends = []
    for record in records:
        writer.append(record)
        ends.append(writer.end)
    writer.close()
    return ends


def read(path: Path, start: int = 0) -> list[tuple[str, list[int], bytes]]:
    return [said(record) for record, _ in WriteAheadLog.read(path, DIM, start)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(records=RECORDS, more=RECORDS)
def test_records_come_back(records: list[Record], more: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "log"
    ends = written(path, records)
    assert read(path) == [said(record) for record in records]
    assert [end for _, end in WriteAheadLog.read(path, DIM)] == ends
    end = ends[-1] if ends else 0
    writer = WriteAheadLog(path, end, sync=True)
    for record in more:
        writer.append(record)
    writer.close()
    writer.close()
    assert read(path) == [said(record) for record in (*records, *more)]
    assert read(path, end) == [said(record) for record in more]


def test_arrays_that_are_read_can_be_written_to(tmp_path: Path) -> None:
    written(tmp_path / "log", SOME)
    ((record, _), *_) = WriteAheadLog.read(tmp_path / "log", DIM)
    assert isinstance(record, Added)
    assert record.ids.flags.writeable
    assert record.vectors.flags.writeable
    assert (record.ids.dtype, record.vectors.dtype) == (np.int64, np.float32)


def test_rows_in_any_memory_order(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(DIM, 4).T[::2]
    written(tmp_path / "log", [Added(np.array([3, 4]), rows)])
    ((record, _),) = WriteAheadLog.read(tmp_path / "log", DIM)
    assert isinstance(record, Added)
    assert record.vectors.tolist() == rows.tolist()


# What a killed writer leaves ---------------------------------------------------------------


def test_a_torn_tail_opens_with_the_records_before(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ends = written(path, SOME)
    content = path.read_bytes()
    for length in range(BEGIN, len(content)):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)
        assert read(path) == [said(record) for record in SOME[:whole]], length


@pytest.mark.parametrize("torn", [1, HEADER - 1, HEADER, HEADER + 1, 50])
def test_a_writer_goes_on_over_a_torn_tail(torn: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    ends = written(path, SOME)
    with path.open("rb+") as file:
        file.truncate(ends[-2] + torn)
    writer = WriteAheadLog(path, ends[-2], sync=True)
    writer.append(deleted([1]))
    writer.close()
    assert read(path) == [said(record) for record in (*SOME[:-1], deleted([1]))]


@pytest.mark.parametrize("zeros", [1, 19, 20, 21, 4096, 10_000])
def test_a_tail_of_zeros_is_no_record(zeros: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    end = written(path, SOME)[-1]
    with path.open("ab") as file:
        file.write(bytes(zeros))
    assert read(path) == [said(record) for record in SOME]
    WriteAheadLog(path, end, sync=False).close()
    assert path.stat().st_size == end


# Damage ------------------------------------------------------------------------------------


def test_every_flipped_bit_of_whole_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wal"
    written(path, SOME[:2])
    content = bytearray(path.read_bytes())
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(IndexCorrupt, match=r"a\.wal: .*restore it from a backup"):
            read(path)
        content[bit // 8] ^= 1 << bit % 8


def test_damage_before_a_torn_tail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wal"
    ends = written(path, SOME)
    content = bytearray(path.read_bytes()[:-3])
    content[ends[0] + HEADER] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexCorrupt, match=rf"a\.wal: damaged at byte {ends[0] + HEADER}"):
        read(path)


def test_zeros_within_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wal"
    ends = written(path, SOME)
    content = bytearray(path.read_bytes())
    content[ends[0] : ends[1]] = bytes(ends[1] - ends[0])
    path.write_bytes(content)
    with pytest.raises(IndexCorrupt, match=rf"a\.wal: damaged at byte {ends[0]}"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"r", b"ragopt-log-1\n\0\0", b"ragopt-log-2\n\0\0\0", b"SQLite format 3\0" * 9]
)
def test_files_that_are_no_log_of_ours(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wal").write_bytes(content)
    with pytest.raises(IndexCorrupt, match=r"a\.wal: is no log of this version"):
        read(tmp_path / "a.wal")


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IndexCorrupt, match=r"a\.wal: missing"):
        read(tmp_path / "a.wal")
    with pytest.raises(StorageError, match=r"a\.wal"):
        WriteAheadLog(tmp_path / "a.wal", BEGIN, sync=True)


def sealed(kind: int, body: bytes) -> bytes:
    fields = kind.to_bytes(4, "little") + len(body).to_bytes(8, "little")
    sums = (zlib.crc32(fields), zlib.crc32(body))
    return fields + b"".join(value.to_bytes(4, "little") for value in sums) + body


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (0, b""),
        (3, bytes(8)),
        (1, b""),
        (1, b"\1"),
        (1, (1).to_bytes(8, "little") + bytes(8 + 4 * (DIM - 1))),  # of another dimension
        (1, (2**61).to_bytes(8, "little")),
        (2, b"123"),
    ],
)
def test_whole_records_that_make_no_sense(kind: int, body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wal"
    written(path, SOME)
    with path.open("ab") as file:
        file.write(sealed(kind, body))
    with pytest.raises(IndexCorrupt, match=r"a\.wal: a record of an unknown kind or size"):
        read(path)


# Faults while writing ----------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path, run_script: Callable[..., str]) -> None:
    """The limit on file sizes stands for it: a part of the record fits."""
    printed = run_script(
        """
import os, resource, sys
from pathlib import Path
import numpy as np
from ragopt.errors import StorageError
from ragopt.indexes.tiered.log import Added, Deleted, WriteAheadLog

path = Path(sys.argv[1])
log = WriteAheadLog(path, WriteAheadLog.create(path), sync=True)
log.append(Deleted(np.arange(3)))
before = path.read_bytes()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for _ in range(2):
    try:
        log.append(Added(np.arange(100), np.zeros((100, 3), np.float32)))
    except StorageError as error:
        print(error.errno, "ulimit -f" in str(error), path.read_bytes() == before)
log.append(Deleted(np.arange(4)))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.append(Deleted(np.arange(5)))
print([len(record.ids) for record, _ in WriteAheadLog.read(path, 3)])
""",
        tmp_path / "log",
    )
    assert printed.splitlines() == [f"{errno.EFBIG} True True"] * 2 + ["[3, 4, 5]"]


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_record_that_may_not_have_reached_the_disk_is_taken_back(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    end = written(path, SOME)[-1]
    writer = WriteAheadLog(path, end, sync=True)

    def fail(handle: int) -> None:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(log_module, "_sync", fail)
        with pytest.raises((StorageError, KeyboardInterrupt)):
            writer.append(deleted([1, 2, 3]))
    assert path.stat().st_size == writer.end == end
    writer.append(deleted([4]))
    writer.close()
    assert read(path)[-1] == said(deleted([4]))


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "log", os.write
    end = WriteAheadLog.create(path)
    writer = WriteAheadLog(path, end, sync=False)
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    for record in SOME:
        writer.append(record)
    writer.close()
    assert read(path) == [said(record) for record in SOME]


def test_a_log_that_was_removed_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = WriteAheadLog(path, WriteAheadLog.create(path), sync=True)
    path.unlink()
    with pytest.raises(StorageError, match="the log was removed"):
        writer.append(deleted([1]))
    writer.close()
