from __future__ import annotations

import os
import time

import numpy as np
import pytest

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.candidates import Candidate, candidates
from ragopt.benchmarks.index.job import (
    Job,
    Pass,
    Searched,
    SweepPoint,
    load,
    read_json,
    write_json,
)
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.benchmarks.index.place import KEPT_S, place_of, sweep
from ragopt.benchmarks.index.split import split_queries
from ragopt.errors import InputError

CANDIDATE = Candidate(name="some(m=1)+x", target="spec:some", package="p", version="1")


def split_of(seed=0):
    rows = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    return split_queries(VectorSet(name="rows", vectors=rows), seed=seed, tuning=20, report=20)


@pytest.fixture
def place(tmp_path):
    return place_of(tmp_path, CANDIDATE, split_of(), IndexBenchOptions())


@pytest.mark.parametrize(
    "options",
    [{"k": 5}, {"recall": 0.9}, {"passes": 4}, {"seed": 2}, {"threads": 77}, {"quick": True}],
)
def test_other_options_have_another_folder(tmp_path, place, options):
    other = place_of(tmp_path, CANDIDATE, split_of(), IndexBenchOptions(**options))
    assert other.folder != place.folder


def test_another_version_code_build_or_split_has_another_folder(tmp_path, place):
    folders = {place.folder}
    for change in (
        {"version": "2"},
        {"source": "x"},
        {"build_options": {"m": 2}},
        {"values": (1,)},
    ):
        fields = {
            "name": CANDIDATE.name,
            "target": CANDIDATE.target,
            "package": "p",
            "version": "1",
        }
        candidate = Candidate(**{**fields, **change})
        folders.add(place_of(tmp_path, candidate, split_of(), IndexBenchOptions()).folder)
    folders.add(place_of(tmp_path, CANDIDATE, split_of(1), IndexBenchOptions()).folder)
    assert len(folders) == 6


def test_the_rest_of_the_run_does_not_matter(tmp_path, place):
    options = IndexBenchOptions(only=("a",), work=tmp_path / "x", fresh=True, keep_indexes=True)
    assert place_of(tmp_path, CANDIDATE, split_of(), options) == place


def test_a_phase_is_made_once(place):
    place.prepare(fresh=False)
    made = []
    for _ in range(2):
        assert place.kept("build", lambda: made.append(1) or {"n": len(made)}) == {"n": 1}
    (place.folder / "build.json").write_text("{torn")
    assert place.kept("build", lambda: {"n": 7}) == {"n": 7}


def test_half_an_index_is_not_gone_on_with(place):
    place.prepare(fresh=False)
    place.index.mkdir()
    (place.index / "half").write_text("x")
    (place.folder / "search.json").write_text("{}")
    place.prepare(fresh=False)
    assert list(place.folder.iterdir()) == []


def test_a_built_index_is_gone_on_with(place):
    place.prepare(fresh=False)
    place.index.mkdir()
    write_json(place.folder / "build.json", {"seconds": 1})
    place.prepare(fresh=False)
    assert place.index.exists()
    place.prepare(fresh=True)
    assert not place.index.exists()


def test_what_is_finished_is_kept_for_a_day(place):
    place.prepare(fresh=False)
    place.index.mkdir()
    place.finish({"facts": {}}, keep_index=False)
    assert [path.name for path in place.folder.iterdir()] == ["result.json"]
    place.prepare(fresh=False)
    assert place.finished() == {"facts": {}}
    before = time.time() - KEPT_S - 60
    os.utime(place.folder, (before, before))
    place.prepare(fresh=False)
    assert place.finished() is None


def test_what_others_left_days_ago_goes_but_kept_indexes(tmp_path):
    root = tmp_path / "index-0123"
    for name in ("old-1", "kept-1", "new-1"):
        (root / name / "index").mkdir(parents=True)
    (root / "kept-1" / "result.json").write_text("{}")
    before = time.time() - KEPT_S - 60
    for name in ("old-1", "kept-1"):
        os.utime(root / name, (before, before))
    sweep(tmp_path)
    assert sorted(path.name for path in root.iterdir()) == ["kept-1", "new-1"]


def test_jobs_and_outcomes_survive_their_files(tmp_path):
    job = Job(phase="cold", target="t", index="i", count=1, dim=2, k=3, out="o", values=(4, 5))
    write_json(tmp_path / "job", job)
    assert load(Job, read_json(tmp_path / "job")) == job
    point = SweepPoint(
        value=1,
        timed=2,
        warm_up=Pass(qps=1.0, p50_ms=2.0, p99_ms=3.0),
        passes=(Pass(qps=4.0, p50_ms=5.0, p99_ms=6.0),),
        batch_qps=(7.0,),
        changed=0,
        cpu_ratio=1.0,
        rss_anon=8,
        rss_file=9,
        rss_index=7,
    )
    searched = Searched(
        report_hash="r",
        tuning_hash="t",
        open_s=1.0,
        rss_anon_before=1,
        rss_file_before=2,
        points=(point,),
        skipped=(),
        pinned=True,
        trimmed=False,
    )
    write_json(tmp_path / "outcome", searched)
    assert load(Searched, read_json(tmp_path / "outcome")) == searched


@pytest.mark.parametrize("content", ["", "[]", "{torn"])
def test_what_is_no_outcome_is_said_to_be_none(tmp_path, content):
    (tmp_path / "outcome").write_text(content)
    with pytest.raises(InputError, match="outcome"):
        read_json(tmp_path / "outcome")
    with pytest.raises(InputError, match="not a Searched"):
        load(Searched, {"report_hash": "x"})


def test_a_class_is_a_candidate_by_its_path():
    (found,) = candidates(["index_bench_peers:Graded"])
    assert (found.name, found.knob, found.values) == ("graded", "percent", (50, 90, 99, 100))
    assert found.disk_backed
    assert found.version == np.__version__
    assert found.setting(90) == "percent=90"
