"""Whole runs over small rows, with candidates that cheat and candidates that fail."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.bench import bench_index
from ragopt.benchmarks.index.figures import rows_of
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.benchmarks.index.rederive import recheck
from ragopt.benchmarks.measure.limit import MemoryLimit
from ragopt.benchmarks.rows import BenchResult, metric_of
from ragopt.errors import InputError, StoreBusy
from ragopt.report.bench_curves import curves_of
from ragopt.storage import writer_lock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")

AT_THE_OPERATING_POINT = (
    "recall_at_10 recall_lower_bound rss_anon_bytes_per_vector peak_build_rss_bytes "
    "disk_bytes_per_vector qps_warm_1t qps_warm_all p50_warm_ms p99_warm_ms p99_cold_ms "
    "pages_per_query read_rounds build_s"
).split()
CHEATS = (
    "Swapped Repeated OutOfRange WithScores FloatIds GoodOnce Blind CrashesAtBuild "
    "CrashesAtSearch Killed Vandal Snooping BadInBatches BadWhenCold Memoised"
).split()


def rows() -> VectorSet:
    drawn = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    return VectorSet(name="drawn", vectors=drawn, data_hash="drawn-1000")


def options(work: Path, *names: str, **more) -> IndexBenchOptions:
    only = tuple(f"index_bench_peers:{name}" for name in names)
    small = {"tuning": 60, "report": 120, "passes": 2, "quick": True, "timeout_s": 60.0}
    return IndexBenchOptions(only=only, work=work, **{**small, **more})


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> BenchResult:
    work = tmp_path_factory.mktemp("graded")
    return bench_index(rows(), options=options(work, "Graded"))


@pytest.fixture(scope="module")
def cheats(tmp_path_factory) -> BenchResult:
    return bench_index(rows(), options=options(tmp_path_factory.mktemp("cheats"), *CHEATS))


def test_every_row_of_the_operating_point_is_there(graded):
    metrics = {row.name.rsplit("/", 1)[-1]: row for row in graded.rows}
    assert set(AT_THE_OPERATING_POINT) <= set(metrics)
    assert all(row.name.startswith("index/graded/") for row in graded.rows)
    assert all(row.unit == metric_of(row.name).unit for row in graded.rows if row.value is not None)


def test_the_cheapest_certified_value_is_reported(graded):
    points = graded.details["points"]
    assert [point["value"] for point in points] == [50, 90, 99, 100]
    assert [point["operating"] for point in points] == [False, False, True, False]
    assert points[0]["recall_report"] == pytest.approx(0.5, abs=0.1)
    assert graded.value("index/graded/recall_at_10") == points[2]["recall_report"]
    assert graded.value("index/graded/recall_lower_bound") >= 0.95
    row = next(row for row in graded.rows if row.name.endswith("qps_warm_1t"))
    assert row.extra["setting"] == "percent=99"
    assert row.extra["passes"] == 2
    assert row.range[0] <= row.value <= row.range[1]


def test_figures_stand_on_the_report_queries(graded):
    split = graded.details["split"]
    assert split["tuning_hash"] != split["report_hash"]
    for row in graded.rows:
        assert row.extra["report_hash"] == split["report_hash"]
        assert row.extra["tuning_hash"] == split["tuning_hash"]


def test_memory_and_disk_are_those_of_the_rows(graded):
    row_bytes = 16 * 4
    assert graded.value("index/graded/disk_bytes_per_vector") == pytest.approx(row_bytes, abs=1)
    assert graded.value("index/graded/rss_anon_bytes_per_vector") < 4096  # 4 MB of numpy's own
    assert graded.value("index/graded/peak_build_rss_bytes") > 10e6


def test_library_code_is_told_from_mapped_index_files(graded):
    row = next(row for row in graded.rows if row.name.endswith("rss_file_bytes_per_vector"))
    assert row.extra["of_index_files"] == 0  # read into the heap


def test_a_result_fits_its_own_points_also_when_read_again(graded, tmp_path):
    assert recheck(graded) == []
    graded.write(tmp_path / "run.json")
    assert recheck(BenchResult.read(tmp_path / "run.json")) == []


def plain(result: BenchResult) -> dict:
    return copy.deepcopy(result.to_dict())


def resealed(content: dict) -> BenchResult:
    """A result that was edited by someone who knows how to compute the digest."""
    from ragopt.benchmarks.rows import digest

    unsealed = {key: value for key, value in content.items() if key != "digest"}
    return BenchResult.from_dict({**unsealed, "digest": digest(unsealed)})


def row_named(content: dict, metric: str) -> dict:
    return next(row for row in content["rows"] if row["name"] == f"index/graded/{metric}")


def test_every_edited_row_is_noticed(graded):
    for number, row in enumerate(graded.rows):
        if row.value is None:
            continue
        content = plain(graded)
        content["rows"][number]["value"] = row.value * 1.01 + 1e-3
        assert any(row.name in each for each in recheck(resealed(content))), row.name


@pytest.mark.parametrize(
    "key", ["recall_report", "recall_lower", "recall_tuning", "qps", "p99_ms", "qps_all"]
)
def test_an_edited_point_is_noticed(graded, key):
    content = plain(graded)
    content["details"]["points"][1][key] *= 1.1
    assert any("percent=90" in each for each in recheck(resealed(content)))


def test_a_prettier_curve_is_noticed(graded):
    content = plain(graded)
    content["details"]["curves"][0]["lines"][0]["points"][0]["y"] *= 2
    assert recheck(resealed(content)) == ["the curves are not those of the points"]


def test_prettier_figures_at_equal_recall_are_noticed(graded):
    content = plain(graded)
    content["details"]["at_equal_recall"][0]["qps"] *= 2
    (told,) = recheck(resealed(content))
    assert told == "the figures at equal recall are not those of the points"


def test_every_point_is_drawn_and_the_operating_one_marked(graded):
    sweeps, memory = curves_of(graded)
    assert [line.name for line in sweeps.lines] == ["graded"]
    drawn = sweeps.lines[0].points
    assert [point.label for point in drawn] == [f"percent={value}" for value in (50, 90, 99, 100)]
    assert [point.chosen for point in drawn] == [False, False, True, False]
    assert all(point.low <= point.y <= point.high for point in drawn)
    (point,) = memory.lines[0].points
    assert point.y == graded.value("index/graded/p99_cold_ms")
    assert point.x == graded.value("index/graded/rss_anon_bytes_per_vector")


def test_recall_raised_in_rows_and_points_alike_is_noticed(graded):
    content = plain(graded)
    content["details"]["points"][2]["recall_report"] = 1.0
    row_named(content, "recall_at_10")["value"] = 1.0
    assert any("its counts make it" in each for each in recheck(resealed(content)))


def test_another_operating_point_is_noticed(graded):
    content = plain(graded)
    content["details"]["points"][2]["operating"] = False
    content["details"]["points"][1]["operating"] = True
    assert any("cheapest certified value is 99" in each for each in recheck(resealed(content)))


def test_rows_taken_out_or_put_in_are_noticed(graded):
    content = plain(graded)
    content["rows"].remove(row_named(content, "p99_cold_ms"))
    assert recheck(resealed(content)) == [
        "index/graded/p99_cold_ms: the details hold it, the rows do not"
    ]
    content = plain(graded)
    content["rows"].append({**row_named(content, "build_s"), "name": "index/other/build_s"})
    assert recheck(resealed(content)) == ["index/other/build_s: the details hold no such figure"]


def test_details_of_another_kind_are_said_to_be(graded):
    content = plain(graded)
    del content["details"]["split"]
    assert "not those of an index bench" in recheck(resealed(content))[0]


def test_a_row_on_the_tuning_queries_cannot_be_made(graded):
    details = plain(graded)["details"]
    for point in details["points"]:
        point["report_hash"] = point["tuning_hash"]
    with pytest.raises(InputError, match="figures of the report queries"):
        rows_of(details)
    details["split"]["report_hash"] = details["split"]["tuning_hash"]
    with pytest.raises(InputError, match="the same"):
        rows_of(details)


def test_a_row_said_to_be_of_the_tuning_queries_is_noticed(graded):
    content = plain(graded)
    row = row_named(content, "recall_at_10")
    row["extra"]["report_hash"] = row["extra"]["tuning_hash"]
    assert any("tuned on" in each for each in recheck(resealed(content)))


@pytest.mark.parametrize("family", ["swapped", "repeated", "out-of-range", "good-once", "blind"])
def test_bad_answers_never_reach_the_floor(cheats, family):
    (row,) = [row for row in cheats.rows if row.name.startswith(f"index/{family}")]
    assert row.name == f"index/{family}"
    assert "never reached 0.95" in row.reason
    assert row.extra["reached"] is False


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("crashes-at-build", "build: exit status 1: RuntimeError: no such instruction"),
        ("crashes-at-search", "search: exit status 1: RuntimeError: the graph is empty"),
        ("killed", "search: killed by SIGKILL"),
        ("with-scores", "expected ids of shape (1, 10) and dtype int64"),
        ("float-ids", "float64"),
    ],
)
def test_a_failure_is_a_row_with_its_reason(cheats, family, reason):
    (row,) = [row for row in cheats.rows if row.name == f"index/{family}"]
    assert row.value is None
    assert reason in row.reason


def test_nobody_finds_the_truth_or_other_queries(cheats):
    assert cheats.value("index/snooping/recall_at_10") == 1


def test_no_cache_of_results_can_answer(cheats):
    assert cheats.value("index/memoised/qps_warm_1t") > 0


def test_rows_destroyed_by_one_candidate_are_whole_for_the_others(cheats):
    assert cheats.value("index/vandal/recall_at_10") == 1


def test_bad_answers_in_batches_have_no_rate(cheats):
    rows = {row.name: row for row in cheats.rows}
    assert "recall" in rows["index/bad-in-batches/qps_warm_all"].reason
    assert rows["index/bad-in-batches/qps_warm_1t"].value > 0


def test_bad_answers_while_cold_have_no_latency(cheats):
    rows = {row.name: row for row in cheats.rows}
    for metric in ("p99_cold_ms", "pages_per_query", "p99_zipf_ms"):
        assert rows[f"index/bad-when-cold/{metric}"].value is None
    assert rows["index/bad-when-cold/recall_at_10"].value == 1


def test_failures_leave_a_result_that_fits_its_details(cheats):
    assert recheck(cheats) == []


def test_a_hanging_candidate_is_killed(tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    monkeypatch.setenv("INDEX_BENCH_PIDS", str(pids))
    result = bench_index(rows(), options=options(tmp_path / "work", "Hangs", timeout_s=4.0))
    assert [row.name for row in result.rows] == ["index/hangs"]
    assert "still at it after 4 s" in result.rows[0].reason
    assert not is_alive(int(pids.read_text()))


def test_an_unknown_candidate_is_refused_before_anything_runs(tmp_path):
    for wrong in ("index_bench_peers:Nobody", "index_bench_peers:Path", "no_such_module:Peer"):
        with pytest.raises(InputError, match=r"no peer|no Peer"):
            bench_index(rows(), options=IndexBenchOptions(only=(wrong,), work=tmp_path))
    with pytest.raises(InputError, match="named twice"):
        bench_index(rows(), options=options(tmp_path, "Exact", "Exact"))
    assert list(tmp_path.iterdir()) == []


def test_a_hard_limit_holds_the_searching_process(tmp_path):
    if reason := MemoryLimit.available():
        pytest.skip(reason)
    result = bench_index(rows(), options=options(tmp_path, "Exact", memory_limit=17 << 20))
    assert [row.name for row in result.rows] == ["index/exact"]
    assert "search: out of memory under a hard limit of 17,825,792 B" in result.rows[0].reason


def test_two_runs_do_not_share_a_folder(tmp_path):
    bench_index(rows(), options=options(tmp_path, "CrashesAtBuild"))
    (root,) = tmp_path.iterdir()
    with writer_lock(root), pytest.raises(StoreBusy):
        bench_index(rows(), options=options(tmp_path, "CrashesAtBuild"))


def test_a_finished_candidate_is_not_measured_again_unless_asked(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("INDEX_BENCH_LOG", str(log))
    work = tmp_path / "work"
    first = bench_index(rows(), options=options(work, "Exact"))
    again = bench_index(rows(), options=options(work, "Exact"))
    assert log.read_text().splitlines() == ["exact"]
    assert first.about["resumed"] == []
    assert again.about["resumed"] == ["exact"]
    assert {row.name: row.value for row in again.rows} == {r.name: r.value for r in first.rows}
    assert not list(work.rglob("*.npy"))
    bench_index(rows(), options=options(work, "Exact", fresh=True, keep_indexes=True))
    assert log.read_text().splitlines() == ["exact"] * 2
    assert [path.name for path in work.rglob("*.npy")] == ["rows.npy"]


SCRIPT = """
import signal, sys
from pathlib import Path
import test_index_bench_run as run
from ragopt.benchmarks.index.bench import bench_index
signal.signal(signal.SIGINT, signal.default_int_handler)
bench_index(run.rows(), options=run.options(Path(sys.argv[1]), *NAMES, seed=SEED))
"""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(what, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def seed_with(first: str, *names: str) -> int:
    """A seed whose order of the candidates begins with this one."""
    return next(
        seed
        for seed in range(100)
        if names[np.random.default_rng(seed).permutation(len(names))[0]] == first
    )


def cut_short(work: Path, pids: Path, end: signal.Signals, *names: str, seed: int = 0) -> None:
    """Run until the hanging candidate builds, end the run, and see its worker go."""
    script = SCRIPT.replace("NAMES", repr(names)).replace("SEED", str(seed))
    path = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(work)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "INDEX_BENCH_PIDS": str(pids)},
    ) as parent:
        wait_for(lambda: pids.exists() and pids.read_text())
        worker = int(pids.read_text())
        assert is_alive(worker)
        parent.send_signal(end)
        parent.wait(20)
    wait_for(lambda: not is_alive(worker), 10)


def test_an_interrupted_run_leaves_no_worker(tmp_path):
    cut_short(tmp_path / "work", tmp_path / "pids", signal.SIGINT, "Hangs")


def test_a_killed_run_leaves_no_worker_and_goes_on(tmp_path, monkeypatch):
    log, work = tmp_path / "log", tmp_path / "work"
    monkeypatch.setenv("INDEX_BENCH_LOG", str(log))
    seed = seed_with("Exact", "Exact", "Hangs")
    cut_short(work, tmp_path / "pids", signal.SIGKILL, "Exact", "Hangs", seed=seed)
    left = sorted(str(path.relative_to(work)) for path in work.rglob("*"))
    monkeypatch.setenv("INDEX_BENCH_AWAKE", "1")
    result = bench_index(rows(), options=options(work, "Exact", "Hangs", seed=seed))
    assert result.about["resumed"] == ["exact"], left
    assert log.read_text().splitlines() == ["exact", "hangs"]
    assert result.value("index/exact/recall_at_10") == 1
    assert result.value("index/hangs/recall_at_10") == 1
    assert not list(work.rglob("*.npy"))
