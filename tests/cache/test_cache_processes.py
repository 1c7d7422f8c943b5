"""Several real processes on one file, and processes killed in the middle of a put."""

import subprocess
import sys
import time

from ragopt.cache import ExactCache, SemanticCache

WORKER = """
import sys
import numpy as np
from ragopt.cache import SemanticCache

class Given:
    dim, id = 32, "given"
    def embed(self, texts):
        raise AssertionError("vectors are given")

def vector(worker, number):
    return np.random.default_rng((worker, number)).standard_normal(32)

path, me, workers, count = sys.argv[1], *map(int, sys.argv[2:])
cache = SemanticCache(Given(), path=path, guards=())
print("ready", flush=True)
sys.stdin.readline()
seen = set()
for number in range(count):
    cache.put(f"question {me} {number}", f"answer {me} {number}", vector=vector(me, number))
    for other in range(workers):
        hit = cache.get(f"asked {me} {other} {number}", vector=vector(other, number))
        if hit is not None:
            assert hit.answer == f"answer {other} {number}", hit
            seen.add(other)
    assert cache.get(f"question {me} {number}").answer == f"answer {me} {number}"
print("done", flush=True)
sys.stdin.readline()
for other in range(workers):
    for number in range(count):
        hit = cache.get(f"asked late {number}", vector=vector(other, number))
        assert hit.answer == f"answer {other} {number}", (other, number, hit)
assert cache.stats.corrupt == 0
print(len(cache), flush=True)
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def everyone(workers):
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    said = [worker.stdout.readline().strip() for worker in workers]
    failed = [
        worker.communicate()[1] for worker, line in zip(workers, said, strict=True) if not line
    ]
    assert not failed, failed[0]
    return said


def test_processes_see_what_the_others_put(tmp_path):
    path, count = tmp_path / "cache.db", 40
    workers = [start(WORKER, path, me, 3, count) for me in range(3)]
    try:
        assert [worker.stdout.readline().strip() for worker in workers] == ["ready"] * 3
        assert everyone(workers) == ["done"] * 3
        assert everyone(workers) == [str(3 * count)] * 3
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


WRITER = """
import sys
from ragopt.cache import ExactCache

cache = ExactCache(path=sys.argv[1], max_entries=int(sys.argv[3]) or None)
number = int(sys.argv[2])
while True:
    cache.put(f"question {number}", f"answer {number} " * 200, tags=["t"])
    print(number, flush=True)
    number += 1
"""


def acknowledged_before_kill(path, first, limit, lines):
    writer = start(WRITER, path, first, limit)
    last = first - 1
    for _ in range(lines):
        last = int(writer.stdout.readline())
    time.sleep(0.002 * (first % 7))  # strike at different moments of a put
    writer.kill()
    rest = writer.stdout.read().split()
    writer.communicate()
    return int(rest[-1]) if rest else last


def test_killed_writers_lose_nothing_they_acknowledged(tmp_path):
    path, known = tmp_path / "cache.db", -1
    for kill in range(10):
        known = acknowledged_before_kill(path, known + 1, 0, lines=3 + kill)
        with ExactCache(path=path) as cache:
            cache._store._database.verify()
            for number in range(known + 1):
                assert cache.get(f"question {number}").answer == f"answer {number} " * 200
            # one more may have been stored and not yet acknowledged
            assert known + 1 <= len(cache) <= known + 2
            assert cache.stats.corrupt == 0
            known = max(known, len(cache) - 1)


def test_killed_writers_leave_the_limit_and_the_totals_right(tmp_path):
    path, known = tmp_path / "cache.db", -1
    for _ in range(4):
        known = acknowledged_before_kill(path, known + 1, 5, lines=8)
        with ExactCache(path=path, max_entries=5) as cache:
            (rows,) = cache._store._database.read("SELECT count(*) FROM entries")
            (labels,) = cache._store._database.read("SELECT count(*) FROM labels")
            assert (rows[0], labels[0], len(cache)) == (5, 5, 5)
            assert cache.get(f"question {known}") is not None


def test_a_purge_elsewhere_reaches_a_cache_with_vectors_in_memory(tmp_path, embedder):
    path = tmp_path / "cache.db"
    with SemanticCache(embedder, path=path) as cache:
        cache.put("rotate the key", "a", sources=["doc"])
        assert cache.get("rotate a key") is not None
        script = (
            "import sys; from ragopt.cache import ExactCache; "
            "print(ExactCache(path=sys.argv[1]).purge(source='doc'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "1"
        assert cache.get("rotate a key") is None
