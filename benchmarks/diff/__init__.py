"""Two runs compared row by row, for pull requests: what changed, and what fails."""

from ragopt.benchmarks.diff.comparison import Change, Diff, DiffOptions, Finding, diff
from ragopt.benchmarks.diff.read import read_run, rechecked

__all__ = ["Change", "Diff", "DiffOptions", "Finding", "diff", "read_run", "rechecked"]
