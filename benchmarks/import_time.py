"""What ``import ragopt`` costs a program that has not used it yet.

Run ``python -m ragopt.benchmarks.import_time``: fresh interpreters import the package under
``-X importtime``; the median is printed with the slowest modules of the median run. Exit status 1
above the limit, 2 when an interpreter failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

__all__ = ["ImportCost", "main", "measure", "parse"]

LIMIT_MS = 50.0
RUNS = 9

_PACKAGE = "ragopt"
_SHOWN = 8
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|( *)(\S+)")
_STATEMENT = f"import {_PACKAGE}"


@dataclass(frozen=True, slots=True)
class ImportCost:
    """What one module cost.

    Args:
        module: its name.
        self_us: microseconds in its own code.
        total_us: microseconds with all that it imported for the first time.
    """

    module: str
    self_us: int
    total_us: int


def parse(log: str, package: str = _PACKAGE) -> list[ImportCost]:
    """The package and all that it imported, itself first.

    Args:
        log: standard error of an interpreter run with ``-X importtime``, which lists a module
            after the modules that it imported, each level indented by two more spaces.
        package: the one that was imported.

    Raises:
        ValueError: the log does not hold the package.
    """
    rows = [match.groups() for match in map(_LINE.match, log.splitlines()) if match]
    places = [place for place, row in enumerate(rows) if row[3] == package]
    if not places:
        raise ValueError(f"the log holds no import of {package!r}; expected -X importtime output")
    last = places[-1]
    depth = len(rows[last][2])
    found: list[ImportCost] = []
    for own, total, indent, module in reversed(rows[: last + 1]):
        if found and len(indent) <= depth:
            break
        found.append(ImportCost(module, int(own), int(total)))
    return found


def measure(runs: int = RUNS) -> list[ImportCost]:
    """The run with the median total of so many fresh interpreters.

    Raises:
        subprocess.CalledProcessError: an interpreter failed.
    """
    command = [sys.executable, "-X", "importtime", "-c", _STATEMENT]
    logs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stderr  # noqa: S603
        for _ in range(runs)
    ]
    costs = [parse(log) for log in logs[1:] or logs]  # the first may compile
    middle = median_low([cost[0].total_us for cost in costs])
    return next(cost for cost in costs if cost[0].total_us == middle)


def report(costs: Sequence[ImportCost], limit_ms: float) -> str:
    """The total against the limit, and the slowest modules."""
    whole = costs[0]
    head = f"import {whole.module}: {whole.total_us / 1e3:.1f} ms, {len(costs)} modules"
    slowest = sorted(costs, key=lambda cost: -cost.self_us)[:_SHOWN]
    rows = [f"{cost.self_us / 1e3:8.2f} ms  {cost.module}" for cost in slowest]
    return "\n".join([f"{head}, limit {limit_ms:g} ms", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether the limit holds."""
    parser = argparse.ArgumentParser(prog="python -m ragopt.benchmarks.import_time")
    parser.add_argument("--limit", type=float, default=LIMIT_MS, help="milliseconds (%(default)g)")
    parser.add_argument("--runs", type=int, default=RUNS, help="interpreters (%(default)d)")
    options = parser.parse_args(arguments)
    if options.runs < 1 or not options.limit > 0:
        parser.error(f"--runs {options.runs} --limit {options.limit}: expected both above 0")
    try:
        costs = measure(options.runs)
    except (subprocess.CalledProcessError, ValueError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'stderr', '')}\n")
        return 2
    sys.stdout.write(report(costs, options.limit) + "\n")
    return 1 if costs[0].total_us > options.limit * 1e3 else 0


if __name__ == "__main__":
    sys.exit(main())
