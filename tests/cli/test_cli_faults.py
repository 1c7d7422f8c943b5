"""Disks, terminals and signals that fail in the middle of ``ragopt savings``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_places import Place, Said

if sys.platform == "win32":
    pytest.skip("pseudo-terminals, devices and signals of POSIX", allow_module_level=True)

import fcntl
import pty
import struct
import termios

ONE_SECOND_NAP = 1.0
PATIENCE_S = 120

FULL_FROM_THE_START = """
import resource, sys
from ragopt.cli.app import run
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(run(sys.argv[1:]))
"""
FULL_IN_THE_END = """
import resource, sys
from ragopt.cli import savings
from ragopt.cli.app import run
deliver = savings.deliver
def on_a_full_disk(*report, **files):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    deliver(*report, **files)
savings.deliver = on_a_full_disk
sys.exit(run(sys.argv[1:]))
"""


class Terminal:
    """The side of a pseudo-terminal that a person would sit at."""

    def __init__(self, columns: int) -> None:
        self.screen, self.line = pty.openpty()
        fcntl.ioctl(self.line, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.shown = b""

    def read(self) -> bool:
        """What was written meanwhile; False once nobody can write any more."""
        if select.select([self.screen], [], [], ONE_SECOND_NAP)[0]:
            try:
                found = os.read(self.screen, 1 << 16)
            except OSError:  # Linux tells the end of a terminal that way
                return False
            self.shown += found
            return bool(found)
        return True

    def wait_for(self, words: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.shown:
            assert self.read(), self.shown
            assert time.monotonic() < deadline, self.shown


@contextmanager
def at_a_terminal(
    place: Place, *more: str, columns: int = 90
) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    terminal = Terminal(columns)
    given = ("savings", "--docs", "docs", "--questions", "questions.jsonl", *more)
    env = {"TERM": "xterm-256color"}
    process = place.start(*given, stdin=terminal.line, stdout=terminal.line, env=env)
    os.close(terminal.line)
    try:
        yield process, terminal
    finally:
        process.kill()
        process.communicate()
        os.close(terminal.screen)


def finish(process: subprocess.Popen[bytes], terminal: Terminal) -> Said:
    while terminal.read():
        pass
    err = process.stderr.read() if process.stderr else b""
    return Said(process.wait(PATIENCE_S), terminal.shown.decode(), err.decode())


# Terminals -------------------------------------------------------------------------------


def test_progress_is_shown_at_a_terminal_and_gone_in_the_end(place: Place) -> None:
    with at_a_terminal(place, "--requests", "20") as (process, terminal):
        said = finish(process, terminal)
    assert said.status == 0, said
    assert not said.err
    assert "\x1b" in said.out
    assert "build indexes" in said.out
    report = said.out[said.out.index("The bill") :]
    assert "━" not in report
    assert "combined_without_cache" not in said.out  # names for people have no underscores


def test_quiet_shows_no_progress_at_a_terminal_either(place: Place) -> None:
    with at_a_terminal(place, "--requests", "20", "-q") as (process, terminal):
        said = finish(process, terminal)
    assert said.status == 0, said
    assert said.out.startswith("8 documents in 8 chunks, 8 questions with evidence\r\n")
    assert "build indexes" not in said.out
    assert "━" not in said.out


def test_a_reader_who_leaves_early_loses_no_figures(place: Place) -> None:
    """As in ``ragopt savings --json figures.json | head -2``."""
    options = ("--docs", "docs", "--questions", "questions.jsonl", "--requests", "20")
    process = place.start("savings", *options, "--json", "figures.json")
    assert process.stdout is not None
    for _ in range(2):  # what was read; the report comes later
        assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    err = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert not err
    assert place.values()["savings/combined/usd_ratio"] > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_onto_a_full_disk_is_said(place: Place) -> None:
    options = ("--docs", "docs", "--questions", "questions.jsonl", "--requests", "20")
    with Path("/dev/full").open("wb") as full:
        process = place.start("savings", *options, stdout=full)
        err = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 1
    assert Said(1, "", err).error == "[Errno 28] No space left on device"


# Ctrl-C ----------------------------------------------------------------------------------


def test_ctrl_c_ends_it_with_a_sentence_and_nothing_half_written(place: Place) -> None:
    former = {name: f"the former {name}".encode() for name in ("figures.json", "page.html")}
    for name, content in former.items():
        (place.folder / name).write_bytes(content)
    before = place.files()
    options = ("--requests", "50000", "--json", "figures.json", "--html", "page.html")
    with at_a_terminal(place, *options) as (process, terminal):
        terminal.wait_for(b"/50000")
        process.send_signal(signal.SIGINT)
        said = finish(process, terminal)
    assert said.status == 130
    assert said.err == (
        "Interrupted; nothing is half-written, and what a model has embedded is kept for the next "
        "run.\n"
    )
    assert "The bill" not in said.out
    assert said.out.endswith("\x1b[2K")  # no bar is left standing
    assert "\x1b[?25h" in said.out  # the cursor is back
    assert place.files() == before
    assert not list(place.temporary.iterdir())


# Disks -----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("option", ["json", "html"])
def test_a_folder_that_takes_no_file_is_found_before_the_work(
    option: str, refused: Callable[..., str]
) -> None:
    sentence = refused(status=1, **{option: "/proc/out"})
    assert sentence == "/proc/out: the operating system refused (No such file or directory)"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_of_others_is_found_before_the_work(
    refused: Callable[..., str], place: Place
) -> None:
    (place.folder / "theirs").mkdir(mode=0o500)
    sentence = refused(status=1, json="theirs/out.json")
    assert (
        "theirs/out.json: permission denied; choose a folder that this user may write" in sentence
    )


def test_a_name_that_no_file_can_have(refused: Callable[..., str]) -> None:
    assert "the operating system refused (File name too long" in refused(status=1, json="x" * 300)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "pipe"])
def test_a_device_or_pipe_is_not_replaced_by_a_file(
    name: str, refused: Callable[..., str], place: Place
) -> None:
    os.mkfifo(place.folder / "pipe")
    path = place.folder / name
    if not path.exists():
        pytest.skip(f"there is no {name}")
    before = path.stat()
    assert refused(json=name) == f"{name} is a device or a pipe; give the name of a file to write"
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("option", ["json", "html"])
def test_a_full_disk_keeps_the_former_file_and_the_table(option: str, place: Place) -> None:
    (place.folder / "out").write_text("the former file", "utf-8")
    before = place.files()
    options = ("--docs", "docs", "--questions", "questions.jsonl", "--requests", "20")
    process = place.start("savings", *options, f"--{option}", "out", code=("-c", FULL_IN_THE_END))
    out, err = (each.decode() for each in process.communicate(timeout=PATIENCE_S))
    said = Said(process.returncode, out, err)
    assert said.status == 1
    assert said.error == (
        "out: the file would pass the size limit set for this process (ulimit -f) (File too large)"
    )
    assert "\nCombined " in said.out  # the figures of minutes are not lost
    assert "written to" not in said.out
    assert place.files() == before


def test_a_full_temporary_folder_is_said(place: Place) -> None:
    """The caches that are measured stand there; the other levers do not need it."""
    before = place.files()
    options = ("--docs", "docs", "--questions", "questions.jsonl")
    process = place.start("savings", *options, code=("-c", FULL_FROM_THE_START))
    out, err = (each.decode() for each in process.communicate(timeout=PATIENCE_S))
    said = Said(process.returncode, out, err)
    assert said.status == 0
    assert not said.err
    words = "".join(said.out.split())  # a path is broken over lines
    for lever in ("Exact", "Semantic"):
        assert f"off{lever}cache:{place.temporary}/" in words
    assert words.count("nothingofthiswritewaskept") == 2
    assert "Compression  " in said.out
    assert place.files() == before


def test_two_at_once_write_the_same_file_whole(place: Place) -> None:
    options = ("--docs", "docs", "--questions", "questions.jsonl", "--json", "figures.json")
    both = [place.start("savings", *options, "--requests", count) for count in ("20", "21")]
    for process in both:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        assert out.endswith(b"Figures written to figures.json\n")
    assert place.figures()["options"]["requests"] in (20, 21)
    assert place.values()["savings/combined/usd_ratio"] > 0
    left = {path.name for path in place.folder.iterdir()}
    assert left == {"docs", "figures.json", "questions.jsonl", "tmp"}
