import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal

import pytest

from ragopt.cost import CostEvent, Ledger
from ragopt.errors import IndexCorrupt, InputError, StorageError, StoreBusy

D = Decimal
resource = pytest.importorskip("resource", reason="limits and SIGKILL are POSIX")

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

# Records numbered events and says so once each commit has returned.
WRITER = """
import sys
from decimal import Decimal
from ragopt.cost import CostEvent, Ledger

path, name, count, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger(path)
for start in range(0, count, batch):
    ledger.record_many(
        CostEvent(kind="k", model=name, usd=Decimal(n), ms=n) for n in range(start, start + batch)
    )
    print(start + batch, flush=True)
"""


def writer(path, name, count, batch=1):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count), str(batch)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )


def event(n=0, /, **fields):
    return CostEvent(**{"kind": "k", "model": "m", "usd": D(n)} | fields)


def filled(path, count=400):
    with Ledger(path) as ledger:
        ledger.record_many(event(n, tags={"user": f"u{n % 7}"}) for n in range(count))
    return path


def test_kill_loses_nothing_acknowledged(tmp_path):
    path, rng, acknowledged = tmp_path / "l.db", random.Random(7), {}
    for run in range(10):
        batch = (1, 3)[run % 2]
        process = writer(path, f"run{run}", 10**9, batch)
        lines = [process.stdout.readline()]
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        acknowledged[f"run{run}"] = int([line for line in lines if line.endswith("\n")][-1])
        with Ledger(path) as ledger:
            ledger.verify()
            found = {row.key: row.events for row in ledger.total(by="model")}
        for name, count in acknowledged.items():
            # What was told is there; at most the commit under way came on top, and whole.
            assert found[name] - count in (0, 1, 3), (name, count, found)
            assert found[name] % ((1, 3)[int(name[3:]) % 2]) == 0
    with Ledger(path) as ledger:
        assert [one.ms for one in ledger.events() if one.model == "run1"] == list(
            range(found["run1"])
        )


def test_several_processes_append_at_once(tmp_path):
    path = tmp_path / "l.db"
    processes = [writer(path, f"p{n}", 60) for n in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with Ledger(path) as ledger:
        ledger.verify()
        assert {row.key: (row.events, row.usd) for row in ledger.total(by="model")} == {
            f"p{n}": (60, sum(range(60))) for n in range(4)
        }


def test_waiting_ends_with_store_busy(tmp_path):
    path = filled(tmp_path / "l.db", 3)
    with Ledger(path, timeout_s=0.05) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="another process holds the ledger"):
            ledger.record(event())
        assert len(ledger) == 3
        other.execute("ROLLBACK")
        other.close()
        ledger.record(event())
        assert len(ledger) == 4


def test_full_disk_keeps_what_was_recorded(tmp_path):
    script = """
import resource, sys
from decimal import Decimal
from ragopt.cost import CostEvent, Ledger
from ragopt.errors import StorageError

ledger = Ledger(sys.argv[1])
event = CostEvent(kind="k", model="m" * 400, usd=Decimal(1))
ledger.record(event)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
done = 1
try:
    while True:
        ledger.record_many([event] * 20)
        done += 20
except StorageError as error:
    print(error)
print(done, len(ledger), ledger.total()[0].events)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
ledger.record(event)
ledger.verify()
print(len(ledger) - done)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "l.db"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    message, counts, after = done.stdout.splitlines()
    assert str(path) in message
    acknowledged, held, summed = map(int, counts.split())
    assert acknowledged == held == summed > 20
    assert after == "1"


def test_truncated_files_say_so(tmp_path):
    whole = filled(tmp_path / "l.db").read_bytes()
    path = tmp_path / "cut.db"
    for size in (50, 100, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 64):
        path.write_bytes(whole[:size])
        with (
            pytest.raises(IndexCorrupt, match=r"cut\.db.*(damaged|restore)"),
            Ledger(path) as ledger,
        ):
            ledger.verify()


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_are_found_or_harmless(tmp_path, seed):
    source = filled(tmp_path / "l.db")
    with Ledger(source) as ledger:
        expected = list(ledger.events()), ledger.total(by="tag:user")
    whole, rng, path = source.read_bytes(), random.Random(seed), tmp_path / "flipped.db"
    found = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        for left in tmp_path.glob("flipped.db-*"):
            left.unlink()
        try:
            with Ledger(path) as ledger:
                ledger.verify()
                # Nothing found wrong: then nothing is wrong.
                assert (list(ledger.events()), ledger.total(by="tag:user")) == expected
        except (IndexCorrupt, InputError) as error:
            assert "flipped.db" in str(error)  # noqa: PT017 - either outcome is right
            found += 1
    assert found > 20


def test_a_changed_amount_is_noticed_without_verify(tmp_path):
    path = filled(tmp_path / "l.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("DROP TRIGGER events_keep")
        intruder.execute("UPDATE events SET usd_pico = usd_pico + 1 WHERE id = 77")
    with Ledger(path) as ledger:
        with pytest.raises(IndexCorrupt, match="does not match its checksum"):
            ledger.total(by="model")
        with pytest.raises(IndexCorrupt, match="event 77 does not match its checksum"):
            list(ledger.events())


def test_a_missing_event_is_noticed(tmp_path):
    path = filled(tmp_path / "l.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("DROP TRIGGER events_stay")
        intruder.execute("DELETE FROM events WHERE id = 400")
    with Ledger(path) as ledger, pytest.raises(IndexCorrupt, match="400 were recorded"):
        ledger.verify()


def test_other_files_are_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)
    with pytest.raises(IndexCorrupt, match=r"notes\.txt"):
        Ledger(text)
    assert text.read_text() == "no database " * 100
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(InputError, match="not a ragopt ledger"):
        Ledger(tmp_path / "other.db")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"l\.db"):
        Ledger(tmp_path / "file" / "l.db")


def test_use_after_close_is_an_error(tmp_path):
    ledger = Ledger(tmp_path / "l.db")
    ledger.close()
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.record(event())
