"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C through to the processes that tests start.

    A shell starts background jobs with SIGINT ignored, and children inherit that: under such a
    shell no test of an interrupt would interrupt anything.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
