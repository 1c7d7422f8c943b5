"""What every adapter owes the harness, on a small set, built in a process that has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import ragopt
from ragopt.benchmarks.index.peers import Peer, SpecPeer, peers, registry, unavailable
from ragopt.benchmarks.index.peers.threads import (
    BlasThreads,
    LibraryThreads,
    faiss_threads,
    held_to_cores,
)
from ragopt.errors import InputError
from ragopt.indexes.registry import parse_spec

COUNT, DIM, QUERIES, K = 2_000, 64, 40, 10  # rabitqlib takes no fewer dimensions
FAMILIES = (
    "tiered",
    "hnswlib",
    "faiss-hnsw",
    "faiss-hnsw-sq8",
    "faiss-ivfpq-refine",
    "faiss-rabitq-refine-mmap",
    "diskannpy",
    "usearch",
    "lancedb",
    "rabitqlib",
    "flat",
)
_SPEC = "hnsw(m=8)"
# LanceDB's work goes from thread to thread on one core, DiskANN's to a new thread a call.
_PASSING_ON = {"lancedb", "diskannpy-rust", "diskannpy"}
_HERE = [name for name in peers() if unavailable(name) is None]
_BUILD = """
import sys
import numpy as np
from pathlib import Path
from ragopt.benchmarks.index.peers import SpecPeer, peers
rows, folder, *names = sys.argv[1:]
for name in names:
    peer = peers()[name]() if name in peers() else SpecPeer(name)
    home = Path(folder) / name
    home.mkdir()
    peer.build(np.load(rows, mmap_mode="r"), home, threads=2, seed=3)
"""


def _peer(name: str) -> Peer:
    return peers()[name]() if name in peers() else SpecPeer(name)


class Case:
    """A peer with its folder, the rows and queries, and the true scores."""

    def __init__(self, name: str, folder: Path, rows: np.ndarray, queries: np.ndarray) -> None:
        self.folder, self.rows, self.queries = folder, rows, queries
        self.peer = _peer(name)
        self.dearest = self.peer.values[-1]

    def open(self) -> None:
        self.peer.open(self.folder, count=COUNT, dim=DIM)

    def search(
        self, queries: np.ndarray | None = None, k: int = K, *, value: int | None = None, threads=1
    ) -> np.ndarray:
        value = self.dearest if value is None else value
        asked = self.queries if queries is None else queries
        return self.peer.search(asked, k, value=value, threads=threads)

    def recall(self, ids: np.ndarray) -> float:
        scores = self.queries @ self.rows.T
        worst = np.sort(scores, axis=1)[:, -K, None]
        good = np.take_along_axis(scores, np.maximum(ids, 0), axis=1) >= worst - 1e-5
        return float((good & (ids >= 0)).mean())


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    random = np.random.default_rng(11)
    centres = random.normal(size=(40, DIM))
    near = centres[random.integers(0, len(centres), COUNT + QUERIES)]
    every = _unit(near + 0.7 * random.normal(size=near.shape))
    path = tmp_path_factory.mktemp("data") / "rows.npy"
    np.save(path, every[:COUNT])
    return path, every[:COUNT], every[COUNT:]


class Builder:
    """Builds what comes from one package in one process, when the first of it is asked for."""

    def __init__(self, rows: Path, folder: Path) -> None:
        self._rows, self._folder = rows, folder
        self._done: set[str] = set()

    def folder_of(self, name: str) -> Path:
        package = _peer(name).package
        if package not in self._done:
            self._done.add(package)
            names = [each for each in [*_HERE, _SPEC] if _peer(each).package == package]
            command = [sys.executable, "-c", _BUILD, str(self._rows), str(self._folder), *names]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
        return self._folder / name


@pytest.fixture(scope="module")
def builder(
    data: tuple[Path, np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Builder:
    return Builder(data[0], tmp_path_factory.mktemp("indexes"))


@pytest.fixture(scope="module", params=[*_HERE, _SPEC])
def case(
    request: pytest.FixtureRequest, builder: Builder, data: tuple[Path, np.ndarray, np.ndarray]
) -> Case:
    return Case(request.param, builder.folder_of(request.param), *data[1:])


@pytest.fixture
def opened(case: Case) -> Iterator[Case]:
    case.open()
    yield case
    case.peer.close()


# Every available peer -----------------------------------------------------------------------


def test_finds_what_is_near(opened: Case) -> None:
    ids = opened.search()
    assert ids.dtype == np.int64
    assert ids.shape == (QUERIES, K)
    assert opened.recall(ids) >= 0.9


def test_ids_are_row_numbers_without_duplicates(opened: Case) -> None:
    for value in (opened.peer.values[0], opened.dearest):
        ids = opened.search(value=value)
        assert ids.min() >= 0
        assert ids.max() < COUNT
        assert all(len(set(row)) == K for row in ids.tolist())


def test_a_row_finds_itself_first(opened: Case) -> None:
    wanted = np.array([0, 1, 777, COUNT - 1])
    assert opened.search(opened.rows[wanted], 1)[:, 0].tolist() == wanted.tolist()


def test_best_first(opened: Case) -> None:
    scores = np.take_along_axis(opened.queries @ opened.rows.T, opened.search(), axis=1)
    assert (scores[:, 0] >= scores[:, -1]).all()
    assert np.mean(np.diff(scores, axis=1) <= 0.01) > 0.97  # codes may swap near neighbours


def test_recall_rises_with_the_knob(opened: Case) -> None:
    values = opened.peer.values
    assert list(values) == sorted(set(values))
    recalls = [opened.recall(opened.search(value=value)) for value in values]
    assert recalls[-1] >= recalls[0] - 0.005  # all of them may be near what codes can tell
    assert all(later >= earlier - 0.02 for earlier, later in pairwise(recalls))


def test_one_query_and_a_batch_agree(opened: Case) -> None:
    batch = opened.search()
    single = np.vstack([opened.search(query[None]) for query in opened.queries])
    assert np.mean(batch == single) >= 0.99


def test_any_number_of_threads_finds_the_same(opened: Case) -> None:
    assert np.mean(opened.search(threads=1) == opened.search(threads=2)) >= 0.99


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no times of threads here")
def test_one_thread_is_one_thread(opened: Case) -> None:
    queries = np.tile(opened.queries, (5, 1))
    # Threads of an earlier parallel call may be spinning still: once must be enough to be alone.
    assert any(_is_alone(opened, *_search_for(0.05, opened, queries)) for _ in range(6))


def _is_alone(opened: Case, busiest: float, every: float, elapsed: float) -> bool:
    if opened.peer.package in _PASSING_ON:
        return every <= 1.05 * elapsed
    return every <= busiest / 0.9


def _search_for(seconds: float, opened: Case, queries: np.ndarray) -> tuple[float, float, float]:
    """Seconds of the busiest thread, of all, those that ended included, and of the clock."""
    before, used, begin = _thread_seconds(), time.process_time(), time.perf_counter()
    while time.process_time() < used + seconds and time.perf_counter() < begin + 0.5:
        opened.search(queries)
    busiest = max(now - before.get(task, 0.0) for task, now in _thread_seconds().items())
    return busiest, time.process_time() - used, time.perf_counter() - begin


def _thread_seconds() -> dict[str, float]:
    seconds = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            seconds[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def test_more_wanted_than_there_are(opened: Case) -> None:
    ids = opened.search(opened.queries[:2], COUNT + 5)
    assert ids.shape == (2, COUNT + 5)
    for row in ids.tolist():
        found = [number for number in row if number >= 0]
        assert row == found + [-1] * (len(row) - len(found))
        assert len(set(found)) == len(found) >= K
        assert max(found) < COUNT


def test_a_library_can_be_loaded_before_anything_is_measured(case: Case) -> None:
    case.peer.load_library(DIM)
    case.open()
    assert case.recall(case.search()) > 0


def test_close_and_open_again(case: Case) -> None:
    case.open()
    before = case.search()
    case.peer.close()
    with pytest.raises(InputError, match="not open"):
        case.search()
    case.open()
    again = case.search()
    case.peer.close()
    case.peer.close()
    assert np.mean(before == again) >= 0.99


def test_searching_writes_nothing(opened: Case) -> None:
    before = _listing(opened.folder)
    opened.search()
    assert _listing(opened.folder) == before


def test_no_copy_of_the_rows_is_left_beside_the_index(case: Case) -> None:
    size = sum(size for _, size in _listing(case.folder))
    rows = case.rows.nbytes
    graph = COUNT * 4096 * 2 if case.peer.name in {"diskannpy", "rabitqlib-qg"} else 0
    assert 0 < size < 3 * rows + graph


def test_says_what_it_is(case: Case) -> None:
    peer = case.peer
    assert peer.name
    assert peer.package
    assert peer.build_options
    assert 6 <= len(peer.values) <= 12 or not peer.knob
    assert peer.read_rounds(peer.values[0]) == 0 or peer.disk_backed


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(f), f.stat().st_size) for f in folder.rglob("*") if f.is_file())


# Memory and rounds --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["faiss-rabitq-refine-mmap", "faiss-ivf-rabitq-refine-mmap"])
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is read from /proc")
def test_mapped_rows_stay_out_of_anonymous_memory(name: str, tmp_path: Path) -> None:
    reason = unavailable(name)
    if reason is not None:
        pytest.skip(reason)
    rows = _unit(np.random.default_rng(1).normal(size=(20_000, 128)))
    np.save(tmp_path / "rows.npy", rows)
    peer = peers()[name]()
    (tmp_path / "index").mkdir()
    peer.build(np.load(tmp_path / "rows.npy", mmap_mode="r"), tmp_path / "index", threads=2, seed=0)
    script = (
        "import sys, numpy as np, faiss; from pathlib import Path\n"
        "from ragopt.benchmarks.index.peers import peers\n"
        "def anon(): return int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])\n"
        "peer = peers()[sys.argv[1]]()\n"
        "queries = np.load(sys.argv[2], mmap_mode='r')[:200] + np.float32(0)\n"
        "before = anon()\n"
        "peer.open(Path(sys.argv[3]), count=20_000, dim=128)\n"
        "peer.search(queries, 10, value=peer.values[-1], threads=1)\n"
        "print((anon() - before) * 1024)\n"
    )
    arguments = [name, str(tmp_path / "rows.npy"), str(tmp_path / "index")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < rows.nbytes / 2


def test_rounds_of_a_disk_graph_come_from_its_hops(
    data: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    if unavailable("diskannpy") or peers()["diskannpy"]().package != "diskannpy-rust":
        pytest.skip("only diskannpy-rust counts hops")
    _, rows, queries = data
    peer = peers()["diskannpy"]()
    peer.build(rows, tmp_path, threads=2, seed=0)
    peer.open(tmp_path, count=COUNT, dim=DIM)
    assert peer.read_rounds(32) is None
    peer.search(queries, K, value=32, threads=1)
    rounds = peer.read_rounds(32)
    peer.close()
    assert rounds is not None
    assert 32 / 4 <= rounds <= 32


# ragopt's own, by spec -----------------------------------------------------------------------


def test_a_spec_takes_its_knob_from_the_family() -> None:
    peer = SpecPeer("hnsw(m=32)")
    assert (peer.name, peer.package, peer.knob) == ("hnsw(m=32)", "ragopt", "ef_search")
    assert not peer.disk_backed
    assert SpecPeer("rabitq").disk_backed
    assert SpecPeer("flat").values == (0,)


def test_several_knobs_rise_together(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _ = parse_spec("rabitq")
    monkeypatch.setattr(kind, "knobs", {"nprobe": (1, 2, 4), "candidates": (10, 20)})
    peer = SpecPeer("rabitq")
    assert (peer.knob, peer.values) == ("rung", (0, 1, 2))
    assert peer._settings(1) == {"nprobe": 2, "candidates": 20}
    assert peer._settings(2) == {"nprobe": 4, "candidates": 20}


def test_rescoring_from_disk_is_one_round(
    data: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    _, rows, queries = data
    peer = SpecPeer("rabitq(bits=1)+rescore(f16)")
    peer.build(rows, tmp_path, threads=1, seed=0)
    peer.open(tmp_path, count=COUNT, dim=DIM)
    assert peer.read_rounds(40) is None
    peer.search(queries, K, value=40, threads=1)
    assert peer.read_rounds(40) == 1
    peer.close()


# Threads ------------------------------------------------------------------------------------


def test_faiss_threads_are_restored() -> None:
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    with faiss_threads(before + 1):
        assert faiss.omp_get_max_threads() == before + 1
    assert faiss.omp_get_max_threads() == before
    with pytest.raises(ZeroDivisionError), faiss_threads(before + 1):
        1 / 0  # noqa: B018
    assert faiss.omp_get_max_threads() == before


def test_blas_threads_are_restored() -> None:
    pytest.importorskip("threadpoolctl")
    before = _blas()
    blas = BlasThreads()
    blas.use(1)
    assert set(_blas()) == {1}
    blas.use(1)
    blas.restore()
    blas.restore()
    assert _blas() == before


def test_threads_of_libraries_are_kept_and_restored() -> None:
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads(), _blas()
    threads = LibraryThreads()
    for count in (1, 1, before[0] + 1):
        threads.use(count)
        assert faiss.omp_get_max_threads() == count
        assert count in _blas()
    threads.restore()
    threads.restore()
    assert (faiss.omp_get_max_threads(), _blas()) == before


def _blas() -> list[int]:
    from threadpoolctl import threadpool_info

    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_cores_are_restored() -> None:
    allowed = os.sched_getaffinity(0)
    with held_to_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(ZeroDivisionError), held_to_cores(1):
        1 / 0  # noqa: B018
    assert os.sched_getaffinity(0) == allowed
    with held_to_cores(len(allowed) + 3):
        assert os.sched_getaffinity(0) == allowed


# What is there and what is not ---------------------------------------------------------------


def test_every_family_of_the_table_has_a_peer() -> None:
    assert set(FAMILIES) <= set(peers())
    for name, make in peers().items():
        peer = make()
        assert isinstance(peer, Peer)
        assert peer.name == name


@pytest.mark.parametrize("name", peers())
def test_a_peer_is_here_or_says_why_not(name: str) -> None:
    reason = unavailable(name)
    if reason is not None:
        assert any(way_out in reason for way_out in ("pip install", "expected one of", "use a "))
        pytest.skip(reason)


def test_listing_and_making_peers_imports_no_library() -> None:
    script = (
        "import sys\n"
        "from ragopt.benchmarks.index.peers import peers\n"
        "made = [make() for make in peers().values()]\n"
        "heavy = {'hnswlib', 'usearch', 'lancedb', 'pyarrow', 'diskannpy', 'rabitqlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_unbuilt_family_is_missing_in_the_words_of_ragopt() -> None:
    if "tiered" in ragopt.indexes.families():
        assert unavailable("tiered") is None
    else:
        with pytest.raises(InputError) as raised:
            ragopt.indexes.build("tiered", np.eye(4, dtype=np.float32))
        assert unavailable("tiered") == str(raised.value)
        assert "expected one of" in str(raised.value)


def test_a_family_that_is_registered_comes_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    from ragopt.indexes import registry as families

    flat = families._BUILT_IN["flat"]
    monkeypatch.setitem(families._BUILT_IN, "tiered", flat)
    assert unavailable("tiered") is None


@pytest.mark.parametrize("name", [name for name in peers() if name in registry._LIBRARIES])
def test_a_missing_package_says_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda module: None)
    monkeypatch.setattr(registry.sys, "version_info", (3, 13, 0))
    reason = unavailable(name)
    assert reason is not None
    assert "is not installed; run: pip install '" in reason
    assert peers()[name]().package in {"diskannpy", *reason.replace("'", " ").split()}


def test_an_old_package_and_an_old_python_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if unavailable("rabitqlib") is None:
        monkeypatch.setattr(registry, "version", lambda name: "0.6.9rc1")
        assert "0.6.9rc1 is too old, 0.7 or newer" in (unavailable("rabitqlib") or "")
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda module: None)
    monkeypatch.setattr(registry.sys, "version_info", (3, 10, 2))
    assert "needs Python 3.11 or newer, this is 3.10" in (unavailable("rabitqlib") or "")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of tiered, tiered-2bit"):
        unavailable("faiss-magic")
