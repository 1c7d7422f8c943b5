"""The command line: ``ragopt demo``, ``ragopt savings``."""

from __future__ import annotations

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 unusable input, 130 interrupted."""
    from ragopt.cli.app import run

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name in letters that the terminal lacks is no reason to fail after minutes.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
