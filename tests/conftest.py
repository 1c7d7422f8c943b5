"""What holds for every test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings

# No test is judged by the clock: the first text drawn on a machine waits for a table of Unicode.
settings.register_profile("ragopt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragopt")


_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Find the evaluation data, and let Ctrl-C through to the processes that tests start.

    The data is where RAGOPT_DATA says, else in a folder beside the repository. A shell starts
    background jobs with SIGINT ignored, and children inherit that: under such a shell no test of an
    interrupt would interrupt anything.
    """
    if _BESIDE.is_dir():
        os.environ.setdefault("RAGOPT_DATA", str(_BESIDE))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
