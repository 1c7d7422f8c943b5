"""``ragopt index``: what is built, found, changed and checked, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_places import TERMINAL, Place, Said

from ragopt.cli.app import run
from ragopt.indexes import build
from ragopt.indexes import open as opened
from ragopt.indexes.tiered.index import TieredIndex
from ragopt.storage import write_folder, writer_lock

ROWS, DIM = 3000, 16
COMMANDS = "build search info verify tune add delete compact rebalance".split()
STOPPED = """
import os, signal, sys
from contextlib import contextmanager
from ragopt.cli import index
from ragopt.cli.app import run

@contextmanager
def stopped(console, *, quiet):
    def report(task, done, total):
        if task == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
    yield report

index.progress_bars = stopped
sys.exit(run(sys.argv[2:]))
"""
Run = Callable[..., Said]


def vectors(count: int = ROWS, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows around centres, as embeddings are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, DIM))
    noise = generator.normal(size=(count, DIM))
    return (centres[generator.integers(0, 40, count)] + 0.6 * noise).astype(np.float32)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays, and an index of three families."""
    folder = tmp_path_factory.mktemp("shelf")
    np.save(folder / "v.npy", vectors())
    np.save(folder / "q.npy", vectors(300, seed=1))
    np.save(folder / "few.npy", vectors(3, seed=2))
    for spec in ("tiered", "flat", "hnsw"):
        build(spec, vectors(), path=folder / spec)
    return folder


@pytest.fixture
def ragopt(
    shelf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """``ragopt index`` where a copy of the shelf stands."""
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def said(*arguments: object) -> Said:
        status = run(["index", *map(str, arguments)])
        return Said(status, *capsys.readouterr())

    return said


def figures(name: str = "out.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(name).read_text("utf-8"))
    return found


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# Build ------------------------------------------------------------------------------------


def test_what_is_built_is_what_the_library_builds(ragopt: Run) -> None:
    said = ragopt("build", "v.npy", "new", "--json", "out.json")
    assert said.status == 0, said
    assert said.out.endswith("Index written to new\n")
    assert "3,000 x 16, cosine" in said.out
    found = figures()
    assert (found["rows"], found["dim"], found["family"]) == (ROWS, DIM, "tiered")
    assert found["seconds"] > 0
    assert found["ram_bytes_per_vector"] == found["ram_bytes"] / ROWS
    assert not Path("new", "building").exists()
    ours, theirs = (opened(name).search(vectors(50, seed=3), 5) for name in ("new", "tiered"))
    assert np.array_equal(ours.ids, theirs.ids)


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "i4", "u1"])
@pytest.mark.parametrize("spec", ["tiered", "flat"])
def test_numbers_of_any_kind_are_taken(ragopt: Run, dtype: str, spec: str) -> None:
    rows = np.abs(vectors() * 20).astype(dtype)
    np.save("n.npy", rows)
    assert ragopt("build", "n.npy", "new", "--spec", spec, "--metric", "l2").status == 0
    found = opened("new").exact(rows[:5].astype(np.float32), 1)
    assert np.allclose(found.scores, 0, atol=0.1)


def test_ids_and_metric_are_the_user_s(ragopt: Run) -> None:
    np.save("ids.npy", np.arange(ROWS) * 10 + 5)
    said = ragopt("build", "v.npy", "new", "--ids", "ids.npy", "--metric", "ip", "--seed", "3")
    assert said.status == 0
    index = opened("new")
    assert index.metric == "ip"
    assert 15 in index
    assert 1 not in index


def test_a_budget_is_an_option_of_the_index(ragopt: Run) -> None:
    spec = "tiered(bits=2, fresh=64)+rescore(f32)"
    for budget, expected in (("300kB", "300kB"), ("0.9", 0.9), ("250000", 250_000)):
        said = ragopt(
            "build", "v.npy", "new", "--spec", spec, "--ram-budget", budget, "--force",
            "--json", "out.json",
        )  # fmt: skip
        assert said.status == 0, said
        options = figures()["options"]
        assert options["ram_budget"] == expected
        assert (options["bits"], options["rows"], options["fresh"]) == (2, "f32", 64)
        assert figures()["ram_bytes"] <= figures()["ram_budget_bytes"]
        assert sum(figures()["tiers"].values()) == figures()["lists"]


@pytest.mark.parametrize(
    ("spec", "budget", "words"),
    [
        ("flat", "1MB", "--ram-budget is of tiered indexes alone; got --spec 'flat'"),
        ("tieredx", "1MB", "of tiered indexes alone"),
        ("tiered(bits=2", "1MB", "of tiered indexes alone"),
        ("tiered", "1XB", "ram_budget='1XB', expected bytes, a size such as '200MB'"),
        ("tiered", "-5", "ram_budget=-5"),
        ("tiered", "nan", "ram_budget=nan"),
        ("tiered", "1e20", "ram_budget=1e+20"),
        ("tiered", "1MB)+rescore(f32", "expected bytes"),
        ("tiered(ram_budget=1MB)", "2MB", "given twice"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    ragopt: Run, spec: str, budget: str, words: str
) -> None:
    said = ragopt("build", "v.npy", "new", "--spec", spec, "--ram-budget", budget)
    assert said.status == 2
    assert words in said.error
    assert not Path("new").exists()


def test_an_index_is_replaced_only_by_force(ragopt: Run) -> None:
    before = content("tiered")
    said = ragopt("build", "few.npy", "tiered", "--spec", "flat")
    assert said.status == 2
    assert said.error == (
        "tiered holds an index, tiered with 3,000 rows; give --force to replace it, or another "
        "folder"
    )
    assert content("tiered") == before
    assert ragopt("build", "few.npy", "tiered", "--spec", "flat", "--force").status == 0
    assert (len(opened("tiered")), opened("tiered").family) == (3, "flat")


def test_a_damaged_index_is_replaced_by_force(ragopt: Run) -> None:
    Path("flat", "MANIFEST.json").write_text("{")
    assert "holds an index that cannot be read" in ragopt("build", "v.npy", "flat").error
    assert ragopt("build", "v.npy", "flat", "--force").status == 0
    assert len(opened("flat")) == ROWS


def test_what_is_no_index_is_not_replaced_by_force_either(ragopt: Run) -> None:
    write_folder(Path("corpus"), kind="corpus", version=1, about={}, parts={"text": b"words"})
    before = content("corpus")
    said = ragopt("build", "v.npy", "corpus", "--force")
    assert said.status == 2
    assert said.error == "corpus holds a 'corpus', expected a 'vector-index'"
    assert content("corpus") == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_build_that_was_stopped_goes_on_by_the_same_command(ragopt: Run) -> None:
    command = ("index", "build", "v.npy", "new")
    place = Place(Path.cwd())
    place.temporary.mkdir()
    process = place.start("find the lists of rows", *command, code=("-c", STOPPED))
    out, err = (each.decode() for each in process.communicate(timeout=300))
    assert process.returncode == 128 + signal.SIGINT, err
    assert not out
    assert err == ("Interrupted; new is not built; give the same command again to go on.\n")
    assert Path("new", "building").is_dir()
    for reading in (("info", "new"), ("search", "new", "q.npy"), ("verify", "new")):
        said = ragopt(*reading)
        assert said.status == 2
        assert "new: a build was interrupted here; give its command again" in said.error
    said = ragopt(*command[1:])
    assert said.status == 0, said
    assert said.out.startswith("new: goes on with the build interrupted here")
    assert not Path("new", "building").exists()
    rows = vectors(50, seed=3)
    assert np.array_equal(opened("new").search(rows, 5).ids, opened("tiered").search(rows, 5).ids)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_another_build_that_was_stopped_keeps_nothing(ragopt: Run) -> None:
    place = Place(Path.cwd())
    place.temporary.mkdir()
    command = ("index", "build", "v.npy", "new", "--spec", "flat")
    process = place.start("build", *command, code=("-c", STOPPED))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT
    assert err.decode() == "Interrupted; new is not built; nothing is kept.\n"
    assert not Path("new").exists()


# Search -----------------------------------------------------------------------------------


def test_what_is_found_is_what_the_library_finds(ragopt: Run) -> None:
    said = ragopt("search", "tiered", "q.npy", "-k", "12", "--json", "out.json")
    assert said.status == 0, said
    expected = opened("tiered").search(np.load("q.npy"), 12)
    assert figures()["ids"] == expected.ids.tolist()
    assert np.allclose(figures()["scores"], expected.scores)
    stats = figures()["stats"]
    assert stats["codes_per_query"] == expected.stats.codes_scanned / 300
    assert stats["pages_per_query"] == expected.stats.pages_read / 300
    assert stats["read_rounds"] == expected.stats.read_rounds
    assert stats["ms_per_query"] > 0
    lines = said.out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert len(lines) == 2 + 10 + 1  # the first ranks only
    assert str(expected.ids[0, 0]) in lines[2]
    assert lines[-1].startswith("300 queries, 12 results each; a query: ")


def test_more_queries_than_a_block(ragopt: Run) -> None:
    np.save("many.npy", vectors(1100, seed=4))
    assert ragopt("search", "flat", "many.npy", "--json", "out.json").status == 0
    assert np.shape(figures()["ids"]) == (1100, 10)
    assert figures()["stats"]["codes_per_query"] == ROWS


def test_exact_is_a_scan(ragopt: Run) -> None:
    assert ragopt("search", "tiered", "q.npy", "--exact", "--json", "out.json").status == 0
    assert figures()["ids"] == opened("tiered").exact(np.load("q.npy"), 10).ids.tolist()
    assert figures()["stats"]["codes_per_query"] == ROWS


@pytest.mark.parametrize("typed", [True, False])
def test_where_names_what_may_be_found(ragopt: Run, typed: bool) -> None:
    np.save("ids.npy", np.array([4, 8, 15]))
    where = "4, 8,15" if typed else "ids.npy"
    said = ragopt("search", "tiered", "q.npy", "-k", "5", "--where", where, "--json", "out.json")
    assert said.status == 0, said
    for ids, scores in zip(figures()["ids"], figures()["scores"], strict=True):
        assert sorted(ids) == [-1, -1, 4, 8, 15]
        assert [score is None for score in scores] == [False] * 3 + [True] * 2


def test_knobs_are_those_of_the_family(ragopt: Run) -> None:
    knobs = ("--knob", "probes=1", "--knob", "candidates=10", "--json", "few.json")
    assert ragopt("search", "tiered", "q.npy", *knobs).status == 0
    assert ragopt("search", "tiered", "q.npy", "--json", "out.json").status == 0
    few, usual = figures("few.json"), figures()
    assert few["knobs"] == {"probes": 1, "candidates": 10}
    assert few["stats"]["codes_per_query"] < usual["stats"]["codes_per_query"]


def test_one_query_without_rows(ragopt: Run) -> None:
    np.save("one.npy", vectors()[0])
    said = ragopt("search", "flat", "one.npy", "-k", "1", "--json", "out.json")
    assert figures()["ids"] == [[0]]
    assert "1 query, 1 results each" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "q.npy"), "nowhere: there is no index; ragopt index build makes one"),
        (("q.npy", "q.npy"), "q.npy: there is no index"),
        (("flat", "nowhere.npy"), "nowhere.npy: cannot be read: No such file or directory"),
        (("flat", "tiered"), "tiered: cannot be read: Is a directory"),
        (("flat", "text.npy"), "text.npy: not a whole .npy file of numbers (it begins otherwise)"),
        (("flat", "short.npy"), "short.npy: not a whole .npy file of numbers ("),
        (("flat", "long.npy"), "long.npy: 4 bytes follow the 300 rows that its header states"),
        (("flat", "two.npz"), "two.npz: an archive of several arrays; give a .npy file of one"),
        (("flat", "none.npy"), "none.npy: no queries; got shape (0, 16), expected (n, dim)"),
        (("flat", "wide.npy"), "17 dimensions, the index has 16"),
        (("flat", "words.npy"), "expected (n, 16) real numbers"),
        (("flat", "q.npy", "--where", "1,x"), "1,x: cannot be read"),
        (("flat", "q.npy", "--where", "1-2"), "--where '1-2': expected ids such as 3,14,15"),
        (("flat", "q.npy", "--where", ","), "--where: got no id; expected a .npy file or ids"),
        (("flat", "q.npy", "--where", "99999"), "the first is 99999"),
        (("flat", "q.npy", "--where", "q.npy"), "--where q.npy: got shape (300, 16)"),
        (("flat", "q.npy", "--where", "1", "--exact"), "--exact scans all rows"),
        (("flat", "q.npy", "--knob", "probes=1", "--exact"), "--exact scans all rows"),
        (("flat", "q.npy", "--knob", "probes=1"), "flat has no search knob ['probes']"),
        (("tiered", "q.npy", "--knob", "probes=0"), "probes=0: expected an integer of at least 1"),
        (("tiered", "q.npy", "--knob", "probes"), "--knob 'probes': expected NAME=VALUE with"),
        (("tiered", "q.npy", "--knob", "probes=few"), "--knob 'probes=few': expected NAME=VALUE"),
        (("tiered", "q.npy", "--knob", "probes=1", "--knob", "probes=2"), "probes is given twice"),
        (("flat", "q.npy", "--json", "q.npy"), "q.npy: another option names this file"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(
    ragopt: Run, arguments: tuple[str, ...], words: str
) -> None:
    queries = Path("q.npy").read_bytes()
    Path("text.npy").write_text("no array")
    Path("short.npy").write_bytes(queries[:-4])
    Path("long.npy").write_bytes(queries + b"more")
    np.savez("two.npz", a=vectors(3), b=vectors(3))
    np.save("none.npy", vectors(0))
    np.save("wide.npy", np.zeros((3, DIM + 1)))
    np.save("words.npy", np.array([["a"] * DIM]))
    said = ragopt("search", *arguments)
    assert said.status == 2
    assert words in said.error
    assert not said.out
    assert Path("q.npy").read_bytes() == queries


# Info and verify --------------------------------------------------------------------------


def test_info_of_a_tiered_index_leaves_its_codes_on_disk(
    ragopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: TieredIndex) -> None:
        raise AssertionError("codes were loaded")

    assert ragopt("add", "tiered", "few.npy").status == 0
    assert ragopt("delete", "tiered", "5,6").status == 0
    monkeypatch.setattr(TieredIndex, "load", load)
    said = ragopt("info", "tiered", "--json", "out.json")
    assert said.status == 0, said
    found = figures()
    assert (found["rows"], found["segments"]) == (ROWS + 1, 1)
    assert (found["fresh_rows"], found["tombstones"]) == (3, 2)
    assert found["tiers"] == {"hot": 0, "warm": found["lists"], "cold": 0}
    assert found["certificate"] is None
    assert "3 fresh rows, 2 tombstones" in said.out
    assert "none; tune writes one" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_what_info_says_of_ram_is_what_the_index_takes(ragopt: Run) -> None:
    ragopt("info", "tiered", "--json", "out.json")
    index = opened("tiered")
    index.search(vectors(1), 1)
    taken = index.footprint()
    assert figures()["ram"]["codes"] == taken.by_part["codes"]
    assert figures()["disk"]["rows"] == taken.by_part["disk:rows"]


@pytest.mark.parametrize("family", ["flat", "hnsw"])
def test_info_of_another_family(ragopt: Run, family: str) -> None:
    assert ragopt("info", family, "--json", "out.json").status == 0
    found = figures()
    assert found["ram_bytes"] == opened(family).footprint().ram_bytes
    assert "segments" not in found


@pytest.mark.parametrize("family", ["tiered", "flat", "hnsw"])
def test_a_sound_index_is_verified(ragopt: Run, family: str) -> None:
    said = ragopt("verify", family, "--json", "out.json")
    assert said.status == 0, said
    files = {path.name: path.stat().st_size for path in Path(family).iterdir()}
    files = {name: size for name, size in files.items() if name not in ("LOCK", "MANIFEST.json")}
    assert figures()["files"] == files
    total = f"{len(files)} files, {sum(files.values()):,} bytes: every checksum is right\n"
    assert said.out.endswith(total)


@pytest.mark.parametrize("family", ["tiered", "flat", "hnsw"])
def test_a_damaged_file_is_named(ragopt: Run, family: str) -> None:
    for path in sorted(Path(family).iterdir()):
        whole = path.read_bytes()
        if not whole:
            continue
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        said = ragopt("verify", family)
        assert said.status == 1, path
        assert said.error.startswith(f"{path}: "), said
        assert "every checksum" not in said.out
        path.write_bytes(whole[:-1])
        said = ragopt("verify", family)
        if path.suffix != ".wal":  # a log that lost its end is one whose writer was killed
            assert said.status == 1, path
            assert said.error.startswith(f"{path}: "), said
        path.write_bytes(whole)
    assert ragopt("verify", family).status == 0


def test_a_damaged_log_is_named(ragopt: Run) -> None:
    ragopt("add", "tiered", "few.npy")
    (log,) = Path("tiered").glob("*.wal")
    damaged = bytearray(log.read_bytes())
    damaged[-100] ^= 1
    log.write_bytes(damaged)
    said = ragopt("verify", "tiered")
    assert said.status == 1
    assert said.error.startswith(f"{log}: damaged at byte ")


# Tune -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["tiered", "hnsw", "flat"])
def test_settings_and_certificate_are_stored(ragopt: Run, family: str) -> None:
    said = ragopt("tune", family, "q.npy", "--recall", "0.8", "-k", "5", "--json", "out.json")
    assert said.status == 0, said
    found, index = figures(), opened(family)
    assert index.certificate is not None
    assert index.certificate.to_dict() == found["certificate"]
    assert index.certificate.holds
    assert found["certificate"]["floor"]["metric"] == "recall@5"
    assert index.defaults == found["after"]["defaults"]
    assert found["before"]["defaults"] == {}
    assert said.out.startswith("recall@5 >= 0.8 at 95% confidence: holds (observed ")
    shown = ragopt("info", family).out
    assert " ".join(str(index.certificate).split()) in " ".join(shown.split())


def test_others_certify(ragopt: Run) -> None:
    np.save("held.npy", vectors(120, seed=9))
    said = ragopt("tune", "hnsw", "q.npy", "--recall", "0.9", "--held-out", "held.npy")
    assert said.status == 0, said
    certificate = opened("hnsw").certificate
    assert certificate is not None
    assert certificate.n == 120


@pytest.mark.parametrize("family", ["tiered", "hnsw"])
def test_a_floor_that_is_out_of_reach_is_not_stored(ragopt: Run, family: str) -> None:
    said = ragopt("tune", family, "q.npy", "--recall", "1", "--json", "out.json")
    assert said.status == 1
    assert f"{family}: no setting keeps recall@10 >= 1" in said.error
    assert opened(family).certificate is None
    assert opened(family).defaults == {}
    assert not Path("out.json").exists()


@pytest.mark.parametrize("family", ["tiered", "flat"])
def test_a_folder_that_another_writes_to_is_not_tuned(ragopt: Run, family: str) -> None:
    with writer_lock(Path(family)):
        said = ragopt("tune", family, "q.npy", "--recall", "0.8")
    assert said.status == 1
    assert said.error.startswith(f"{family}: another process is writing here")
    assert ragopt("tune", family, "q.npy", "--recall", "0.8").status == 0


def test_too_few_queries_are_refused(ragopt: Run) -> None:
    said = ragopt("tune", "tiered", "few.npy")
    assert said.status == 2
    assert said.error == "3 queries: tuning needs at least 20, better 100 or more"


# Changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["tiered", "flat", "hnsw"])
def test_rows_are_added_and_deleted_for_good(ragopt: Run, family: str) -> None:
    said = ragopt("add", family, "few.npy", "--json", "out.json")
    assert said.status == 0, said
    assert said.out.startswith(f"{family}: 3 rows added, ids 3000 to 3002\n")
    assert (figures()["before"]["rows"], figures()["after"]["rows"]) == (ROWS, ROWS + 3)
    assert opened(family).search(np.load("few.npy"), 1).ids.tolist() == [[3000], [3001], [3002]]
    np.save("ids.npy", np.array([3001]))
    said = ragopt("delete", family, "ids.npy")
    assert said.out.startswith(f"{family}: 1 row deleted\n")
    index = opened(family)
    assert len(index) == ROWS + 2
    assert 3001 not in index
    assert 3002 in index


@pytest.mark.parametrize("family", ["tiered", "flat"])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("add", "few.npy", "--ids", "7,4000,4001"), "ids: 7 is already in the index"),
        (("add", "few.npy", "--ids", "4000"), "ids: got 1 for 3 vectors, expected one each"),
        (("add", "bad.npy"), "NaN"),
        (("add", "few.npy", "--upsert"), "--upsert replaces rows by their ids; give --ids too"),
        (("delete", "7,5000"), "delete: 1 ids are not in this index, the first is 5000"),
        (("delete", ""), "IDS: got no id"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(
    ragopt: Run, family: str, command: tuple[str, ...], words: str
) -> None:
    rows = vectors(3)
    rows[1, 1] = np.nan
    np.save("bad.npy", rows)
    said = ragopt(command[0], family, *command[1:])
    assert said.status == 2
    assert words in said.error
    index = opened(family)
    assert len(index) == ROWS
    assert 4001 not in index
    assert 7 in index


def test_upsert_puts_rows_in_place(ragopt: Run) -> None:
    said = ragopt("add", "tiered", "few.npy", "--upsert", "--ids", "7,8,9000", "--json", "out.json")
    assert said.status == 0, said
    after = figures()["after"]
    assert (after["rows"], after["fresh_rows"], after["tombstones"]) == (ROWS + 1, 3, 2)
    assert opened("tiered").search(np.load("few.npy"), 1).ids.tolist() == [[7], [8], [9000]]


def test_compact_merges_and_forgets(ragopt: Run) -> None:
    np.save("more.npy", vectors(1400, seed=5))
    ragopt("add", "tiered", "more.npy")
    ragopt("delete", "tiered", ",".join(map(str, range(100))))
    said = ragopt("compact", "tiered", "--json", "out.json")
    assert said.status == 0, said
    before, after = figures()["before"], figures()["after"]
    assert (before["rows"], after["rows"]) == (ROWS + 1300, ROWS + 1300)
    assert (before["segments"], after["segments"]) == (2, 1)
    assert (before["tombstones"], after["tombstones"]) == (100, 0)
    assert after["bytes"] < before["bytes"]
    assert sum(path.stat().st_size for path in Path("tiered").glob("*.bin")) <= after["bytes"]
    assert len(opened("tiered")) == ROWS + 1300


def test_a_new_budget_is_kept(ragopt: Run) -> None:
    ragopt("info", "tiered", "--json", "out.json")
    fixed = sum(figures()["ram"].values()) - figures()["ram"]["codes"]
    budget = fixed + figures()["ram"]["codes"] // 2
    said = ragopt("rebalance", "tiered", "--ram-budget", budget, "--json", "out.json")
    assert said.status == 0, said
    assert figures()["before"]["tiers"]["cold"] == 0
    assert figures()["after"]["tiers"]["cold"] > 0
    ragopt("info", "tiered", "--json", "info.json")
    assert figures("info.json")["ram_budget"] == budget
    assert figures("info.json")["tiers"] == figures()["after"]["tiers"]
    said = ragopt("rebalance", "tiered", "--ram-budget", fixed // 2)
    assert said.status == 1
    assert "raise the budget" in said.error
    assert ragopt("rebalance", "tiered").status == 0
    ragopt("info", "tiered", "--json", "info.json")
    assert figures("info.json")["ram_budget"] == budget


@pytest.mark.parametrize(
    "command",
    [("compact",), ("rebalance",), ("add", "few.npy", "--upsert", "--ids", "1,2,3")],
)
def test_what_only_a_tiered_index_does_is_refused_by_others(
    ragopt: Run, command: tuple[str, ...]
) -> None:
    before = content("flat")
    said = ragopt(command[0], "flat", *command[1:])
    assert said.status == 2
    assert "of tiered indexes alone; this one is flat: build it again instead" in said.error
    assert content("flat") == before


@pytest.mark.parametrize(
    ("family", "command"),
    [
        *(("tiered", command) for command in ("add", "delete", "compact", "rebalance")),
        *(("flat", command) for command in ("add", "delete")),
    ],
)
def test_a_folder_that_another_writes_to_is_not_changed(
    ragopt: Run, family: str, command: str
) -> None:
    more = {"add": ["few.npy"], "delete": ["7"]}.get(command, [])
    with writer_lock(Path(family)):
        said = ragopt(command, family, *more)
    assert said.status == 1
    assert said.error.startswith(f"{family}: another process is writing here")
    assert len(opened(family)) == ROWS


# Help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_fits_80_columns_with_whole_names(ragopt: Run, command: str) -> None:
    said = ragopt(command, "--help")
    assert said.status == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "…" not in said.out
    assert "--json " in said.out


def test_the_help_names_every_command(ragopt: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert " index " in capsys.readouterr().out
    said = ragopt("--help")
    for command in COMMANDS:
        assert f" {command} " in said.out
