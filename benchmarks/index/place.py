"""The work folder: what a run that was cut short has finished, and where indexes stand."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragopt.benchmarks.environment import environment
from ragopt.benchmarks.index.candidates import Candidate
from ragopt.benchmarks.index.job import read_json, write_json
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.benchmarks.index.split import Split
from ragopt.errors import InputError
from ragopt.quality import data_hash
from ragopt.report.serialise import plain

__all__ = ["KEPT_S", "Place", "place_of", "sweep"]

KEPT_S = 24 * 3600
"""Older figures are measured anew: the machine is not what it was."""

# What a run may differ in without its figures being others.
_NOT_MEASURED = {"only", "work", "fresh", "keep_indexes"}


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one candidate.

    Args:
        folder: named by a hash of all that its figures depend on.
    """

    folder: Path

    @property
    def index(self) -> Path:
        """Where its index stands."""
        return self.folder / "index"

    def kept(self, phase: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a phase found, from an earlier run where that finished it."""
        path = self.folder / f"{phase}.json"
        try:
            return read_json(path)
        except InputError:
            content = make()
            write_json(path, content)
            return content

    def finished(self) -> dict[str, Any] | None:
        """What an earlier run found about the whole candidate."""
        try:
            return read_json(self.folder / "result.json")
        except InputError:
            return None

    def finish(self, result: dict[str, Any], *, keep_index: bool) -> None:
        """Keep the result, and nothing else but the index where that is asked for."""
        write_json(self.folder / "result.json", result)
        self._clear(keep={"result.json", *(["index"] if keep_index else [])})

    def prepare(self, *, fresh: bool) -> None:
        """Make the folder; an index without the record of its build is half a one and goes."""
        if fresh or self._age_s() > KEPT_S:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        built = (self.folder / "build.json").exists() and self.index.exists()
        if not built and self.finished() is None:
            self._clear(keep=set())

    def _clear(self, keep: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name in keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _age_s(self) -> float:
        return _age_s(self.folder)


def place_of(root: Path, candidate: Candidate, split: Split, options: IndexBenchOptions) -> Place:
    """The folder of a candidate: another for other data, options, versions, code or machine."""
    asked = {name: value for name, value in asdict(options).items() if name not in _NOT_MEASURED}
    machine = environment()
    rests_on = {
        "candidate": asdict(candidate),
        "split": split.describe(),
        "options": {**asked, "threads": options.all_threads},
        "machine": [machine["cpu"], machine["system"], os.cpu_count(), platform.node()],
        "python": [machine["python"], machine["packages"]],
    }
    key = data_hash(json.dumps(plain(rests_on), sort_keys=True))
    name = re.sub(r"[^\w.-]+", "_", candidate.name)[:60]
    return Place(root / f"{name}-{key}")


def sweep(work: Path) -> None:
    """Remove what runs of other days left behind, but for indexes that were to be kept."""
    for folder in work.glob("index-*/*-*"):
        kept = (folder / "result.json").exists() and (folder / "index").exists()
        if folder.is_dir() and not kept and _age_s(folder) > KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
