"""The machine behind a figure."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks import measure, workloads
from ragopt.benchmarks.environment import _version, environment
from ragopt.benchmarks.measure.support import mount_of, mounts


def test_the_keys_that_results_have_always_had_are_there() -> None:
    found = environment()
    assert {"cpu", "system", "python", "packages"} <= set(found)
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages["numpy"] == np.__version__
    assert set(packages) >= {"ragopt", "scipy", "faiss-cpu", "tiktoken"}
    assert all(isinstance(version, str) and version for version in packages.values())
    assert json.loads(json.dumps(found)) == found


def test_peers_are_listed_where_they_are_installed() -> None:
    packages = environment()["packages"]
    assert isinstance(packages, dict)
    peers = set(packages) - {"ragopt", "numpy", "scipy", "faiss-cpu", "rank-bm25", "bm25s"}
    assert all(packages[name] != "not installed" for name in peers - {"tiktoken"})


@pytest.mark.parametrize(
    ("folder", "file"), [("made_up-3.1.dist-info", "METADATA"), ("made_up.egg-info", "PKG-INFO")]
)
def test_a_version_is_read_from_what_is_installed_and_from_a_source_tree(
    folder: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 3.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _version.__wrapped__("made-up") == "3.1"


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_linux_tells_flags_cores_memory_and_file_system(tmp_path: Path) -> None:
    found = environment(tmp_path)
    flags = Path("/proc/cpuinfo").read_text("utf-8").split()
    named = found["cpu_flags"]
    assert isinstance(named, list)
    assert set(named) <= set(flags)
    assert ("avx2" in named) == ("avx2" in flags)
    assert any(flag.startswith("avx512") for flag in named) == ("avx512f" in flags)
    assert found["cores"] == {
        "machine": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
    }
    kilobytes = int(Path("/proc/meminfo").read_text("utf-8").split("MemTotal:")[1].split()[0])
    assert found["ram_bytes"] == kilobytes * 1024
    assert found["filesystem"] == mount_of(tmp_path).filesystem
    assert str(found["kernel"]).endswith(os.uname().release)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_mount_of_a_path_is_the_innermost() -> None:
    assert mount_of("/proc/self").filesystem == "proc"
    assert mount_of("/").point == "/"
    assert mount_of("/no/such/folder").point == "/"
    for mount in mounts():
        assert mount.point.startswith("/")
        assert mount.options


def test_what_is_exported_is_there_and_named_once() -> None:
    for room in (measure, workloads):
        assert len(set(room.__all__)) == len(room.__all__)
        for name in room.__all__:
            assert callable(getattr(room, name))
    assert measure.memory().rss > 0 if sys.platform == "linux" else True
