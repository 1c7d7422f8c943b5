"""Comparing what would have been served with fresh answers: audits, drift, learning."""

import asyncio
import threading
import time

import pytest

from ragopt.cache import Audit, LLMJudge, PerEntry, SemanticCache, Static, same_words
from ragopt.cache.policies import Calibrated
from ragopt.errors import InputError, ProviderError
from ragopt.llm import Completion


def say_equal(question, cached, fresh):
    return cached == fresh


class AlwaysFirst:
    """Serves everything similar."""

    least, max_error = 0.5, 0.05

    def decide(self, candidate):
        return "serve"


def asked(cache, question, answer):
    """One request: served from the cache, or answered afresh and stored."""
    hit = cache.get(question)
    if hit is not None:
        return hit.answer
    cache.put(question, answer)
    return None


def test_an_audited_hit_is_a_miss_that_is_compared(embedder):
    cache = SemanticCache(
        embedder, threshold=0.9, judge=say_equal, audit=Audit(share=1, max_error=0.1)
    )
    cache.put("How do I rotate a key?", "Use rotate().")
    assert cache.get("how can I rotate the key") is None
    assert cache.live_error().audits == 0, "nothing to compare with yet"
    cache.put("how can I rotate the key", "Use rotate().")
    live = cache.live_error()
    assert (live.audits, live.wrong) == (1, 0)
    assert cache.stats.compared == 1
    assert (cache.stats.misses, cache.stats.semantic_hits) == (1, 0)


def test_a_share_of_the_hits_is_audited(embedder):
    cache = SemanticCache(
        embedder, threshold=0.9, judge=say_equal, audit=Audit(share=0.2, max_error=0.1), exact=False
    )
    cache.put("rotate a key", "a")
    for number in range(600):
        cache.get("rotate the key" if number % 2 else "the key: rotate")
    assert 60 < cache.stats.compared < 180


def drifting(cache, rounds, *, fresh):
    """Requests whose hits are all audited, one wording each."""
    for number in range(rounds):
        cache.get(f"rotate the key, {'please ' * (number % 7)}now")
        cache.put(f"rotate the key, {'please ' * (number % 7)}now", fresh, ttl_s=1e9)


def test_a_drift_tightens_the_policy_and_then_turns_it_off(embedder):
    cache = SemanticCache(
        embedder, threshold=0.5, guards=(), exact=False, judge=say_equal,
        audit=Audit(share=1, max_error=0.05),
    )  # fmt: skip
    thresholds = []
    for number in range(400):
        cache.put("rotate key", f"answer {number}")
        if cache.get("key rotate") is None:
            cache.put("key rotate", "another")
            cache.revoke(cache.put("key rotate", "another"))
        cache.live_error()
        thresholds.append(cache.policy.least)
        if thresholds[-1] > 1:
            break
    steps = list(dict.fromkeys(thresholds))
    assert steps[:3] == [0.5, 0.75, 0.875]
    assert steps[-1] == float("inf")
    assert cache.get("key rotate") is None
    assert "drift noticed after" in repr(cache)


def test_an_alarm_can_turn_it_off_at_once(embedder):
    cache = SemanticCache(
        embedder, policy=AlwaysFirst(), guards=(), exact=False, judge=lambda *_: False,
        audit=Audit(share=1, on_drift="off"),
    )  # fmt: skip
    cache.put("rotate key", "a")
    for _ in range(40):
        cache.get("key rotate")
        cache.put("key rotate", "b")
        if cache.live_error().alarmed:
            break
    assert cache.policy.least == float("inf")


def test_what_was_learnt_is_known_after_a_restart_and_elsewhere(embedder, tmp_path):
    path = tmp_path / "cache.db"
    options = {
        "policy": AlwaysFirst(), "guards": (), "exact": False, "judge": lambda *_: False,
        "audit": Audit(share=1, on_drift="off"), "path": path,
    }  # fmt: skip
    with SemanticCache(embedder, **options) as cache, SemanticCache(embedder, **options) as other:
        cache.put("rotate key", "a")
        for _ in range(40):
            cache.get("key rotate")
            cache.put("key rotate", "b")
        assert cache.live_error().alarmed
        assert other.get("key rotate") is None
        assert other.policy.least == float("inf")
    with SemanticCache(embedder, **options) as again:
        assert again.live_error().alarmed
        assert again.policy.least == float("inf")
    with SemanticCache(
        embedder, **{**options, "policy": Static(0.9), "audit": Audit(max_error=0.1)}
    ) as new:
        assert new.live_error().audits == 0, "the audits were of another policy"


def test_an_entry_learns_when_it_may_be_served(embedder):
    """Wordings that turned out to say the same are one candidate, and it is the one that learns."""
    cache = SemanticCache(
        embedder, policy=PerEntry(max_error=0.1, seed=0), guards=(), judge=say_equal
    )
    entry = cache.put("rotate key", "a")
    served = []
    for number in range(120):
        served.append(asked(cache, f"key rotate {'how ' * number}", "a"))
        cache.live_error()
    assert served[0] is None
    assert served[-20:].count("a") > 10
    assert len(cache._store.observed(entry)) == cache.stats.compared
    assert set(served) == {"a", None}


def test_an_entry_that_says_something_else_is_found_by_similar_questions(embedder):
    cache = SemanticCache(embedder, policy=PerEntry(seed=0), guards=(), judge=say_equal)
    cache.put("rotate key", "a")
    for question, answer in (("rotate key now", "b"), ("rotate key please", "a")):
        cache.get(question)
        cache.put(question, answer)
        cache.live_error()
    vectors = cache._vectors.of(cache._scope_key(None))
    assert len(vectors) == 2
    assert len(cache) == 3
    assert cache.get("rotate key now").answer == "b"


def test_judges_work_beside_the_requests(embedder):
    release = threading.Event()

    def slow(question, cached, fresh):
        release.wait(10)
        return True

    cache = SemanticCache(embedder, threshold=0.9, judge=slow, audit=Audit(share=1, max_error=0.1))
    cache.put("rotate a key", "a")
    begin = time.perf_counter()
    cache.get("the key: rotate")
    cache.put("the key: rotate", "a")
    assert time.perf_counter() - begin < 5
    release.set()
    assert cache.live_error().audits == 1


def test_a_judge_that_fails_gives_no_label_and_no_hit(embedder):
    def broken(question, cached, fresh):
        raise ProviderError("overloaded")

    cache = SemanticCache(
        embedder, threshold=0.9, judge=broken, audit=Audit(share=1, max_error=0.1)
    )
    cache.put("rotate a key", "a")
    assert cache.get("the key: rotate") is None
    cache.put("the key: rotate", "a")
    assert cache.live_error().audits == 0
    assert cache.stats.judge_failures == 1


@pytest.mark.parametrize("raised", [asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_no_judge_ends_the_thread_of_judges(embedder, raised):
    judged = []

    def judge(question, cached, fresh):
        judged.append(question)
        if len(judged) == 1:
            raise raised
        return True

    cache = SemanticCache(embedder, threshold=0.9, judge=judge, audit=Audit(share=1, max_error=0.1))
    cache.put("rotate a key", "a")
    for question in ("the key: rotate", "the key, rotate"):
        cache.get(question)
        cache.put(question, "a")
    assert cache.live_error().audits == 1
    assert cache.stats.judge_failures == 1


def test_answers_that_never_come_are_forgotten(embedder):
    cache = SemanticCache(
        embedder, threshold=0.5, guards=(), judge=say_equal, audit=Audit(share=1, max_error=0.1)
    )
    cache.put("rotate key", "a")
    for number in range(1500):
        cache.get(f"rotate key {number}")
    assert len(cache._watch._pending) == 1000


def test_a_calibrated_policy_tightens_to_another_certified_threshold():
    scores = [0.9] * 300 + [0.7] * 600
    policy = Calibrated.fit(scores, [True] * 895 + [False] * 5, max_error=0.05)
    assert policy.threshold == 0.5
    stricter = policy.stricter()
    assert stricter.certificate.holds
    assert stricter.certificate.n == 300
    assert stricter.threshold > 0.7
    assert stricter.stricter() is None


JUDGED = [
    ("It was built in 1889.", "It was built in 1889", True),
    ("It was built in 1889.", "It was built in 1899.", False),
    ("Use rotate() with a key.", "With a key, use rotate().", True),
    ("Call the support team.", "Write to the support team by mail.", False),
    ("42", "42", True),
    ("yes", "no", False),
    ("!", "!", True),
]


@pytest.mark.parametrize(("cached", "fresh", "same"), JUDGED)
def test_words_and_numbers_in_common(cached, fresh, same):
    assert same_words("q", cached, fresh) is same
    assert same_words("q", fresh, cached) is same


@pytest.mark.parametrize(("said", "same"), [("YES", True), ("yes.", True), (" No", False)])
def test_a_model_as_judge(said, same):
    asked = []

    def llm(messages):
        asked.append(messages)
        return Completion(said)

    assert LLMJudge(llm)("Who?", "Ann", "Bob") is same
    assert "First answer:\nAnn" in asked[0][1].content


def test_a_model_that_does_not_answer_the_judge_is_refused():
    with pytest.raises(InputError, match="expected YES or NO"):
        LLMJudge(lambda messages: "perhaps")("Who?", "Ann", "Bob")


def test_bad_settings_are_refused(embedder):
    with pytest.raises(InputError, match="needs judge="):
        SemanticCache(embedder, policy=PerEntry())
    with pytest.raises(InputError, match="needs judge="):
        SemanticCache(embedder, audit=Audit(max_error=0.1))
    with pytest.raises(InputError, match="names no tolerated error"):
        SemanticCache(embedder, judge=say_equal, audit=Audit())
    with pytest.raises(InputError, match="expected a share"):
        Audit(share=0)
    with pytest.raises(InputError, match="expected 'tighten' or 'off'"):
        Audit(on_drift="stop")
