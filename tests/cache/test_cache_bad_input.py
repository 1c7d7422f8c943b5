"""What is none of what was asked for is refused by name, by every method, and changes nothing."""

import math
from functools import partial

import numpy as np
import pytest

from ragopt.cache import (
    Admission,
    Audit,
    DriftMonitor,
    ExactCache,
    Lifetimes,
    Limits,
    PerEntry,
    Quota,
    Safety,
    Scope,
    SemanticCache,
    Static,
    cached,
)
from ragopt.cache.policies import Calibrated
from ragopt.errors import RagoptError

JUNK = [
    5, -1, 3.5, math.nan, math.inf, 10**400, 2**70, True, None, b"x", "x", "", "\ud800", ["x"],
    ("x", 1), {"a": 1}, {1}, object(),
]  # fmt: skip


class Ones:
    dim, id = 8, "ones"

    def embed(self, texts):
        return np.ones((len(texts), 8), dtype=np.float32)


def answered(question):
    return "a"


def methods(cache):
    """By name, calls that take one argument."""
    yield from (
        (f"get {name}", partial(cache.get, "q")) for name in ("scope", "principal", "vector")
    )
    for name in ("scope", "principal", "vector", "payload", "sources", "tags", "ttl_s",
                 "content_class", "usd"):  # fmt: skip
        yield f"put {name}", partial(cache.put, "new", "a")
    for name in ("scope", "older_than_s", "source", "tag", "corpus_version"):
        # a condition that nothing meets, beside the one that is tried
        other = {"tag": "nowhere"} if name == "source" else {"source": "nowhere"}
        yield f"purge {name}", partial(cache.purge, **other)
    yield "warm timeout_s", cache.warm
    yield "warm scope", partial(cache.warm, timeout_s=0)
    yield "cached scope", cached(cache)(answered)
    yield "cached question", cached(cache)(answered)


def makers():
    """By name, what takes one option."""
    for name in ("embedder", "threshold", "policy", "guards", "judge", "audit", "store", "ttl_s",
                 "lifetimes", "max_entries", "max_bytes", "safety", "secret", "clock"):  # fmt: skip
        yield (
            f"cache {name}",
            partial(SemanticCache, **({"embedder": Ones()} if name != "embedder" else {})),
        )
    for make, names in (
        (Safety, ("confirmations", "latency_floor_s")),
        (partial(Quota, inserts=1), ("inserts", "seconds")),
        (Limits, ("max_entries", "max_bytes")),
        (Admission, ("max_temperature", "pii", "max_bytes")),
        (Audit, ("share", "on_drift")),
        (PerEntry, ("max_error", "max_hit_error", "explored", "least", "seed")),
        (Lifetimes, ("seconds", "classify")),
        (Scope, ("tenant", "model", "system_prompt", "tools", "sampling", "corpus_version")),
        (partial(DriftMonitor, max_error=0.1), ("max_error", "confidence")),
        (Static, ("threshold",)),
        (
            partial(Calibrated.fit, scores=[0.9], same=[True]),
            ("scores", "same", "max_error", "confidence"),
        ),
        (partial(SemanticCache.calibrated, Ones(), pairs=[("a", "b", True)]), ("pairs",)),
    ):
        for name in names:
            yield f"{getattr(make, '__name__', 'made')} {name}", make


def outcome(call, *arguments, **options):
    """``"taken"`` or ``"refused"``; whatever else is raised fails the test."""
    try:
        call(*arguments, **options)
    except RagoptError:
        return "refused"
    return "taken"


def test_every_method_takes_an_argument_or_refuses_it():
    with SemanticCache(Ones()) as cache:
        for what, call in methods(cache):
            cache.put("q", "a")
            name = what.split()[1]
            seen = {outcome(call, **{name: junk}) for junk in JUNK if what != "cached scope"}
            if what == "cached scope":
                seen = {outcome(call, "q", scope=junk) for junk in JUNK}
            assert "refused" in seen, f"{what} takes anything"
            assert cache.get("q").answer == "a"
            assert cache.stats.errors == 0, f"{what} is refused before anything is looked up"


@pytest.mark.parametrize(("what", "make"), list(makers()))
def test_every_option_is_taken_or_refused(what, make):
    assert "refused" in {outcome(make, **{what.split()[1]: junk}) for junk in JUNK}


def test_texts_that_are_none_are_refused():
    with ExactCache() as cache:
        for junk in JUNK:
            if isinstance(junk, str) and junk == "x":
                continue
            for call in (cache.get, partial(cache.put, answer="a"), partial(cache.put, "q")):
                assert outcome(call, junk) == "refused"
        for junk in JUNK:
            if isinstance(junk, bool) or not isinstance(junk, int) or not 0 <= junk < 2**63:
                assert outcome(cache.revoke, junk) == "refused"
        assert len(cache) == 0
        assert cache.stats.lookups == 0


def test_a_number_from_an_array_revokes():
    with ExactCache() as cache:
        entry = cache.put("q", "a")
        assert cache.revoke(np.int64(entry))
