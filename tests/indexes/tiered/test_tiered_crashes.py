"""Writers killed at random instants and at every step: what was acknowledged is there, whole."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

LONG = os.environ.get("RAGOPT_LONG_TESTS") == "1"
KILLS = 150 if LONG else 10  # of each durability

# Children are forked from a process that has compiled everything.
PRELUDE = """
import json, os, random, shutil, signal, sys, time, traceback
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
from tiered_planted import *
from ragopt.indexes import build, open as open_index
from ragopt.indexes.tiered import log

folder = Path(sys.argv[2])


def found(candidates):
    '''Which of these states the folder holds.'''
    index = open_index(folder, verify=True)
    matches = [at for at, state in enumerate(candidates) if holds(index, state)]
    assert matches, (len(index), [len(state) for state in candidates])
    check_search(index, candidates[matches[0]])
    return matches[0]


def forked(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        os._exit(3)
    return child


def start(durability, rows):
    build(SPEC % durability, planted(range(rows), 1), range(rows), metric="l2", path=folder)
    warm = open_index(folder)
    state = dict.fromkeys(range(rows), 1)
    assert holds(warm, state)
    check_search(warm, state)
    return state
"""

AT_RANDOM = (
    PRELUDE
    + """
kills, durability, seed = int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
instants = random.Random(seed)


def write(pipe, state, seed):
    draws, version = random.Random(seed), 1 + seed * 40
    index = open_index(folder)
    os.write(pipe, b"ready\\n")
    while True:
        version += 1
        operation = draw(draws, state, version)
        os.write(pipe, json.dumps(operation).encode() + b"\\n")
        run(index, state, operation, folder)
        state = apply(state, operation)
        os.write(pipe, b"done\\n")


state = start(durability, 200)
acknowledged, undone, kept, interrupted = 0, 0, 0, {}
for turn in range(kills):
    reading, writing = os.pipe()
    child = forked(lambda: write(writing, state, turn))
    os.close(writing)
    with open(reading) as lines:
        assert lines.readline() == "ready\\n"
        time.sleep(instants.uniform(0, 0.12))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the child died of something else"
        told = lines.read().split("\\n")[:-1]
    operations = [json.loads(line) for line in told if line != "done"]
    done = told.count("done")
    acknowledged += done
    for operation in operations[:done]:
        state = apply(state, operation)
    candidates = [state]
    if len(operations) > done:
        kind = operations[done][0]
        interrupted[kind] = interrupted.get(kind, 0) + 1
        candidates.append(apply(state, operations[done]))
    at = found(candidates)
    if len(operations) > done and candidates[0] != candidates[-1]:
        undone, kept = undone + (at == 0), kept + (at == 1)
    state = candidates[at]
    assert holds(open_index(folder, verify=False), state)
index = open_index(folder)
index.verify()
index.compact()
index.close()
assert holds(index, state)
assert listed(folder) == files_of(folder)
print(json.dumps([acknowledged, undone, kept, interrupted]))
"""
)


@pytest.mark.parametrize("durability", ["commit", "batch"])
def test_writers_killed_at_random_instants(
    durability: str, tmp_path: Path, run_script: Callable[..., str]
) -> None:
    printed = run_script(
        AT_RANDOM, HERE, tmp_path / "index", KILLS, durability, 7, timeout_s=60 + KILLS
    )
    acknowledged, undone, kept, interrupted = json.loads(printed)
    print(f"{KILLS} kills: {acknowledged} operations acknowledged, of those interrupted", end=" ")
    print(f"{undone} undone, {kept} kept whole; {interrupted}", file=sys.stderr)
    assert acknowledged >= KILLS
    assert sum(interrupted.values()) >= KILLS // 3, "the kills hit nothing"
    if LONG:
        assert {"add", "upsert", "delete", "flush", "compact", "rebalance"} <= set(interrupted)
        assert undone
        assert kept


# A child dies before, within or after its n-th call of the system that writes something.
AT_EVERY_STEP = (
    PRELUDE
    + """
operation, stride = json.loads(sys.argv[3]), int(sys.argv[4])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def armed(step):
    done = 0

    def wrap(real, within):
        def call(*arguments, **named):
            nonlocal done
            done += 1
            if done == step:
                within(real, arguments)
                die()
            return real(*arguments, **named)
        return call

    def half(real, arguments):
        handle, data = arguments
        real(handle, bytes(data)[: len(data) // 2])

    def before(real, arguments):
        pass

    for name in ("fsync", "replace", "unlink", "ftruncate", "posix_fallocate"):
        setattr(os, name, wrap(getattr(os, name), before))
    os.write = wrap(os.write, half)
    log._sync = wrap(log._sync, before)


def write(step):
    index = open_index(folder)
    armed(step)
    run(index, state, operation, folder)
    os._exit(0)


state = two_segments(folder.with_name("first"))
outcomes, step = [], 0


def again():
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.with_name("first"), folder)


again()
check_search(open_index(folder), state)
while True:
    step += stride
    again()
    status = os.waitpid(forked(lambda: write(step)), 0)[1]
    if not os.WIFSIGNALED(status):
        assert os.WEXITSTATUS(status) == 0, "the operation failed"
        assert holds(open_index(folder), apply(state, operation))
        break
    after = apply(state, operation)
    outcomes.append(found([state, after]))
    if len(outcomes) % 3:
        continue
    with open_index(folder) as index:  # a new writer goes on
        index.upsert(planted([5, 7000], 9), [5, 7000])
        index.flush()
    assert holds(open_index(folder), {**(after if outcomes[-1] else state), 5: 9, 7000: 9})
    assert listed(folder) == files_of(folder), (step, listed(folder))
print(json.dumps(outcomes))
"""
)

OPERATIONS = {
    "add to the log": ["add", 500, 3, 2],
    "add a segment": ["add", 500, 40, 2],
    "upsert to the log": ["upsert", 500, 3, 2],
    "upsert a segment": ["upsert", 500, 40, 2],
    "delete": ["delete", 0, 9, 2],
    "flush": ["flush", 0, 0, 0],
    "compact": ["compact", 0, 0, 0],
    "save": ["save", 0, 0, 0],
    "build in its place": ["build", 1000, 60, 2],
}
BRIEFLY = ("add to the log", "upsert a segment", "delete", "compact", "build in its place")


@pytest.mark.parametrize("operation", OPERATIONS if LONG else BRIEFLY)
def test_a_writer_killed_at_every_step(
    operation: str, tmp_path: Path, run_script: Callable[..., str]
) -> None:
    # A build takes its time; a few of its steps will do but once in a while.
    stride = 5 if operation.startswith("build") and not LONG else 1
    words = json.dumps(OPERATIONS[operation])
    printed = run_script(AT_EVERY_STEP, HERE, tmp_path / "index", words, stride)
    outcomes = json.loads(printed)
    assert len(outcomes) >= 2
    if operation not in {"flush", "compact", "save"}:  # which leave the state as it is
        # Undone up to some step, and whole from it on.
        assert outcomes == sorted(outcomes)
        assert outcomes[0] == 0


HERE = Path(__file__).parent
