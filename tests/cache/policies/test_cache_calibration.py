"""From labelled pairs to a cache: splits, guards, and what the certificate is about."""

import numpy as np
import pytest

from ragopt.cache import ContentWords, Numbers, SemanticCache, Static
from ragopt.cache.policies import Calibrated, calibrate, score_pairs
from ragopt.cache.policies.splitting import components, parts
from ragopt.errors import InputError

TOPICS = "invoice key report pipeline cluster bucket token gateway volume schema".split()
DONE = "rotate delete export rename archive restore resize encrypt share lock".split()


def labelled(count, seed=0):
    """Questions, half reworded and half about another matter; a few labels are wrong."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        verb, topic, other = rng.choice(DONE), rng.choice(TOPICS), rng.choice(TOPICS)
        asked = f"How do I {verb} the {topic} of project{number}?"
        same = number % 2 == 0
        again = f"how can I {verb} a {topic if same else other} from project{number}"
        if topic == other:
            same = True
        pairs.append((asked, again, same != (rng.random() < 0.01)))
    return pairs


def test_a_cache_with_a_certificate_is_two_lines(embedder):
    cache = SemanticCache.calibrated(embedder, labelled(800), max_error=0.1, guards=())
    assert cache.policy.certificate.holds
    cache.put("How do I rotate the key of project7?", "Use rotate().")
    assert cache.get("how can I rotate a key from project7").answer == "Use rotate()."
    assert cache.get("how can I rotate a bucket from project7") is None


def test_without_a_certificate_only_the_same_text_is_served(embedder):
    cache = SemanticCache.calibrated(embedder, labelled(40), max_error=0.02)
    assert cache.policy.is_off
    assert "semantic cache off" in repr(cache)
    cache.put("How do I rotate the key?", "Use rotate().")
    asked = embedder.asked
    assert cache.get("how can I rotate the key") is None
    assert embedder.asked == asked, "nothing to embed where nothing similar is served"
    assert cache.get("how do I rotate the key").tier == "exact"


def test_a_policy_of_another_embedder_is_refused(embedder, make_embedder):
    policy = calibrate(embedder, labelled(800), max_error=0.1, guards=())
    with pytest.raises(InputError, match="calibrated with the embedder 'bag-of-words'"):
        SemanticCache(make_embedder(name="other"), policy=policy)


def test_other_guards_than_it_was_calibrated_with_are_refused(embedder):
    policy = calibrate(embedder, labelled(800), max_error=0.1, guards=(Numbers(),))
    assert policy.guards == ("numbers",)
    with pytest.raises(InputError, match="its certificate speaks of other hits"):
        SemanticCache(embedder, policy=policy)
    SemanticCache(embedder, policy=policy, guards=(Numbers(),))


def test_a_threshold_beside_a_policy_is_refused(embedder):
    with pytest.raises(InputError, match="give one of them"):
        SemanticCache(embedder, threshold=0.9, policy=Static(0.9))
    with pytest.raises(InputError, match=r"expected one of ragopt\.cache\.policies"):
        SemanticCache(embedder, policy="static")


def test_the_verifier_is_fitted_on_other_questions_than_it_is_judged_on(embedder):
    pairs = labelled(2400)
    policy = calibrate(embedder, pairs, max_error=0.1, guards=(), verify=True)
    assert policy.verifier.n + policy.n <= len(pairs)
    assert policy.n == pytest.approx(len(pairs) / 2, rel=0.05)
    assert not policy.is_off
    plain = calibrate(embedder, pairs, max_error=0.1, guards=(), verify=False)
    assert plain.verifier is None
    assert plain.n == len(pairs)


def test_few_pairs_are_not_spent_on_a_verifier(embedder):
    assert calibrate(embedder, labelled(600), max_error=0.1).verifier is None


def test_guards_decide_before_the_score(embedder):
    pairs = [("Is 5 enough?", "is 6 enough", False)] * 50 + [("Is it on?", "is it on", True)] * 50
    scored = score_pairs(embedder, pairs, guards=(Numbers(),))
    assert scored.guarded[:50].all()
    assert not scored.guarded[50:].any()
    assert (scored.scores(None, np.arange(50)) == -np.inf).all()
    assert not score_pairs(embedder, pairs, guards=(ContentWords(additions=9),)).guarded[50:].any()


def test_what_the_embedder_does_not_know_is_never_served(embedder):
    scored = score_pairs(embedder, [("the of", "of the", True)])
    assert scored.similarities.tolist() == [0.0]
    assert scored.scores(None, np.arange(1)).tolist() == [-np.inf]


def test_progress_is_told_of_every_stage(embedder):
    told = {}
    calibrate(
        embedder, labelled(600), verify=True,
        progress=lambda step, done, total: told.__setitem__(step, (done, total)),
    )  # fmt: skip
    assert list(told) == ["embedding questions", "comparing pairs", "fitting the verifier"]
    assert all(done == total for done, total in told.values())


def test_the_certificate_names_the_data(embedder):
    pairs = labelled(600)
    one, same, other = (
        calibrate(embedder, each, max_error=0.2, guards=()).certificate.data_hash
        for each in (pairs, pairs, pairs[1:])
    )
    assert one == same != other


def test_pairs_may_be_objects(embedder):
    class Pair:
        def __init__(self, text_a, text_b, same):
            self.text_a, self.text_b, self.same = text_a, text_b, same

    pairs = labelled(300)
    as_objects = calibrate(embedder, [Pair(*pair) for pair in pairs], max_error=0.2)
    plain = calibrate(embedder, pairs, max_error=0.2)
    assert as_objects.steps == plain.steps
    assert isinstance(plain, Calibrated)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([], "pairs is empty"),
        ([("a", "b")], r"pairs\[0\] is \('a', 'b'\)"),
        ([("a", "b", True), "abc"], r"pairs\[1\] is 'abc'"),
        ([("a", "", True)], r"the second text of pairs\[0\] is blank"),
        ([(1, "a", True)], r"the first text of pairs\[0\] is int"),
        ([("a", "b", "yes")], "expected True or False"),
    ],
)
def test_bad_pairs_are_refused_by_number(embedder, pairs, told):
    with pytest.raises(InputError, match=told):
        calibrate(embedder, pairs)


def test_parts_share_no_question():
    pairs = [(f"q{n}", f"q{n + 1 if n % 3 else n}") for n in range(300)]
    fit, report = parts(pairs, (0.5, 0.5), seed=1)
    assert sorted([*fit, *report]) == list(range(300))
    assert {text for row in fit for text in pairs[row]}.isdisjoint(
        text for row in report for text in pairs[row]
    )
    assert abs(len(fit) - 150) < 10


def test_components_join_what_edges_join():
    found = components([("a", "b"), ("c", "d"), ("b", "e"), ("f", "f")])
    assert found["a"] == found["b"] == found["e"] != found["c"] == found["d"] != found["f"]
