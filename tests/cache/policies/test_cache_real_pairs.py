"""What is certified and learnt, held against questions that people asked, and against known truth.

An error that is measured on a few hundred hits is not the error: a half with an error below the
limit shows one above it now and then. So a half speaks against a certificate where an exact
binomial test rejects at 5 % that its error keeps the limit. Where certificates hold in exactly 95
of 100 cases, as promised at least, some .05 + .95 * .05 of the halves do so; more than an exact
binomial test of 200 draws allows at 1 % is a fault.
"""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from ragopt.benchmarks.datasets import data_folder, load
from ragopt.cache import DEFAULT_GUARDS, Audit, DriftMonitor, PerEntry, SemanticCache
from ragopt.cache.policies import Calibrated, Candidate, Observation
from ragopt.cache.policies.splitting import components
from ragopt.quality import binomial_lower

RESAMPLES = 200
LEVEL = 0.05
MOST = int(binom.ppf(0.99, RESAMPLES, LEVEL + (1 - LEVEL) * LEVEL))
LOOKED_AT = 0.9


@pytest.fixture(scope="session")
def qqp():
    """Pairs, cosines, labels, scores behind the guards, and components of shared questions."""
    if data_folder() is None:
        pytest.skip("no evaluation data: RAGOPT_DATA is not set and ../shared/data is not there")
    dataset = load("qqp")
    rows, matrix = dataset.vectors
    unit = matrix.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = dataset.pairs
    one, other = (np.array([rows[text] for text in texts]) for texts in (
        [pair.text_a for pair in pairs], [pair.text_b for pair in pairs]))  # fmt: skip
    cosines = np.einsum("ij,ij->i", unit[one], unit[other]).astype(np.float64)
    scores = np.where(cosines >= LOOKED_AT, cosines, -np.inf)
    for row in np.flatnonzero(cosines >= LOOKED_AT):
        pair = pairs[row]
        if not all(guard.agrees(pair.text_a, pair.text_b) for guard in DEFAULT_GUARDS):
            scores[row] = -np.inf
    # coarser than the exact tier: what it takes for one text stays together all the more
    joined = [
        (pair.text_a.casefold().strip("?. "), pair.text_b.casefold().strip("?. ")) for pair in pairs
    ]
    component = components(joined)
    return {
        "pairs": pairs,
        "cosines": cosines,
        "same": np.array([pair.same for pair in pairs]),
        "scores": scores,
        "component": np.array([component[text] for text, _ in joined]),
    }


def speaks_against(policy, scores, same, max_error):
    """Whether unseen pairs show that the certified error does not hold."""
    served = scores >= policy.threshold
    hits, wrong = int(served.sum()), int((served & ~same).sum())
    return binom.sf(wrong - 1, hits, max_error) < LEVEL if hits else False


@pytest.mark.data
@pytest.mark.parametrize(("max_error", "certified"), [(0.05, 5), (0.10, 180)])
def test_certificates_hold_on_questions_that_were_not_seen(qqp, max_error, certified):
    """Halves that share no question; at 5 % most of them certify nothing, which is no error."""
    scores, same, component = qqp["scores"], qqp["same"], qqp["component"]
    against = issued = 0
    for seed in range(RESAMPLES):
        half = np.random.default_rng(seed).random(component.max() + 1) < 0.5
        seen = half[component]
        policy = Calibrated.fit(scores[seen], same[seen], max_error=max_error)
        issued += not policy.is_off
        if not policy.is_off:
            against += speaks_against(policy, scores[~seen], same[~seen], max_error)
    assert against <= MOST
    assert issued >= certified, "what certifies nothing is never wrong"


@pytest.mark.data
def test_certificates_hold_on_pairs_drawn_one_by_one(qqp):
    """Fewer pairs, as a user labels them, and all others to judge by."""
    scores, same = qqp["scores"], qqp["same"]
    against = issued = 0
    for seed in range(RESAMPLES):
        seen = np.random.default_rng(1000 + seed).random(len(scores)) < 0.2
        policy = Calibrated.fit(scores[seen], same[seen], max_error=0.1)
        issued += not policy.is_off
        if not policy.is_off:
            against += speaks_against(policy, scores[~seen], same[~seen], 0.1)
    assert against <= MOST
    assert issued >= 20


@pytest.mark.parametrize("shape", ["rises", "plateau", "cliff"])
def test_certificates_hold_where_the_truth_is_known(shape):
    """The error is that of the population itself: nothing is allowed for but 200 draws.

    A plateau at exactly the limit is where a procedure that looks at many thresholds errs most.
    """
    limit, grid = 0.1, np.linspace(0.5, 1, 2001)
    right = {
        "rises": lambda score: 1 / (1 + np.exp(-14 * (score - 0.72))),
        "plateau": lambda score: np.where(score < 0.6, 0.5, 1 - limit * 1.02),
        "cliff": lambda score: np.where(score < 0.8, 0.7, 0.95),
    }[shape]
    exceeded = issued = 0
    for seed in range(RESAMPLES):
        rng = np.random.default_rng(seed)
        scores = rng.uniform(0.5, 1, 3000)
        policy = Calibrated.fit(scores, rng.random(3000) < right(scores), max_error=limit)
        issued += not policy.is_off
        if not policy.is_off:
            exceeded += (1 - right(grid[grid >= policy.threshold])).mean() > limit
    assert exceeded <= binom.ppf(0.99, RESAMPLES, LEVEL)
    assert shape == "plateau" or issued >= 100


# The policy that learns --------------------------------------------------------------------------


def within(wrong, count, limit):
    """Whether so many wrong ones are what an error of the limit may give, at 99 %."""
    return binomial_lower(wrong, count, 0.99) <= limit


@pytest.mark.data
def test_what_an_entry_learns_holds_on_pairs_of_questions(qqp):
    """Questions that stand in many pairs are the entries, the others are asked."""
    of = {}
    for row, pair in enumerate(qqp["pairs"]):
        for text in (pair.text_a, pair.text_b):
            of.setdefault(text, []).append(row)
    entries = [rows for rows in of.values() if len(rows) >= 12]
    asked = [(entry, row) for entry, rows in enumerate(entries) for row in rows]
    np.random.default_rng(0).shuffle(asked)
    policy, observed = PerEntry(max_error=0.05, max_hit_error=0.2, seed=1), {}
    served = wrong = 0
    for entry, row in asked[:2500]:
        similarity, correct = float(qqp["cosines"][row]), bool(qqp["same"][row])
        if similarity < policy.least:
            continue
        known = observed.get(entry, ())
        if policy.decide(Candidate("a", "b", similarity, entry, known)) == "serve":
            served, wrong = served + 1, wrong + (not correct)
        else:
            new = Observation(entry, similarity, correct)
            observed[entry] = (*known, new)
            policy.learn([new])
    assert served >= 20
    assert within(wrong, served, 0.2)
    assert within(wrong, len(asked[:2500]), 0.05)


@pytest.mark.data
def test_what_a_cache_learns_holds_on_a_stream_of_intents(make_embedder):
    """The answer to a question is its intent; each is asked, served or answered and compared."""
    if data_folder() is None:
        pytest.skip("no evaluation data: RAGOPT_DATA is not set and ../shared/data is not there")
    intents = load("clinc150")
    rng = np.random.default_rng(3)
    chosen = set(rng.choice(sorted(set(intents.intents)), 8, replace=False))
    asked = [pair for pair in zip(intents.texts, intents.intents, strict=True) if pair[1] in chosen]
    asked = [asked[place] for place in rng.permutation(len(asked))[:1000]]
    policy = PerEntry(max_error=0.05, max_hit_error=0.2, least=0.4, seed=2)
    served = wrong = 0
    with SemanticCache(
        make_embedder(), policy=policy, guards=(), judge=lambda _, old, new: old == new
    ) as cache:
        for question, intent in asked:
            hit = cache.get(question)
            if hit is None:
                cache.put(question, intent)
                cache._watch.finish()
            elif hit.tier == "semantic":
                served, wrong = served + 1, wrong + (hit.answer != intent)
    assert served >= 20
    assert within(wrong, served, 0.2)
    assert within(wrong, len(asked), 0.05)


def test_a_cache_stops_a_drift_within_the_audits_promised(make_embedder):
    """From the first wrong answer on, through look-ups, judge and store; on average of ten."""
    rng, before, delays = np.random.default_rng(9), 60, []
    for _ in range(10):
        cache = SemanticCache(
            make_embedder(dim=16), threshold=0.5, guards=(), exact=False,
            judge=lambda _, cached, fresh: fresh == "right",
            audit=Audit(share=1, max_error=0.05, on_drift="off"),
        )  # fmt: skip
        cache.put("rotate key", "right")
        for number in itertools.count():
            assert cache.get("key rotate") is None, "every hit is audited"
            error = 0.02 if number < before else 0.4
            cache.put("key rotate", "wrong" if rng.random() < error else "right")
            cache._watch.finish()
            if cache.policy.least > 1:
                break
        delays.append(number + 1 - before)
    assert min(delays) > 0, "none stops before the drift"
    assert np.mean(delays) <= DriftMonitor(0.05).audits_needed(0.4, after=before)
