"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# No test is judged by the clock: the first text drawn on a machine waits for a table of Unicode.
settings.register_profile("ragopt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragopt")


def pytest_configure() -> None:
    """Let Ctrl-C through to the processes that tests start.

    A shell starts background jobs with SIGINT ignored, and children inherit that: under such a
    shell no test of an interrupt would interrupt anything.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
