"""False alarms are as rare as promised, drifts are noticed as soon as promised."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache import DriftMonitor
from ragopt.errors import InputError


def outcomes(error, count, rng):
    return (rng.random(count) >= error).tolist()


def mixture(correct, max_error):
    """The sum over all beginnings, written out."""
    factors = [(1 - 2 * max_error) / (1 - max_error) if right else 2.0 for right in correct]
    begun = sum(
        math.prod(factors[start:]) / ((start + 1) * (start + 2)) for start in range(len(factors))
    )
    return begun + 1 / (len(factors) + 1)


@given(st.lists(st.booleans(), max_size=40), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_evidence_is_the_mixture_over_all_beginnings(correct, max_error):
    monitor = DriftMonitor(max_error)
    monitor.observe(correct)
    assert monitor.state().evidence == pytest.approx(mixture(correct, max_error))


@pytest.mark.parametrize("max_error", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_at_the_certified_error_the_bet_is_fair(max_error, length):
    """Its mean over all outcomes is the stake: the supermartingale that Ville's bound is about."""
    mean = 0.0
    for correct in itertools.product([True, False], repeat=length):
        monitor = DriftMonitor(max_error)
        monitor.observe(correct)
        wrong = correct.count(False)
        chance = max_error**wrong * (1 - max_error) ** (length - wrong)
        mean += chance * monitor.state().evidence
    assert mean == pytest.approx(1)


@pytest.mark.parametrize("max_error", [0.02, 0.05, 0.2])
def test_false_alarms_stay_below_their_level(max_error):
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(400):
        monitor = DriftMonitor(max_error, confidence=0.9)
        monitor.observe(outcomes(max_error, 2000, rng))
        alarms += monitor.state().alarmed
    assert alarms <= 40
    assert alarms >= 1, "a monitor that never alarms has no power"


@pytest.mark.parametrize("after", [0, 300, 3000])
@pytest.mark.parametrize(("max_error", "drifted"), [(0.05, 0.2), (0.02, 0.1), (0.1, 0.3)])
def test_a_drift_is_noticed_within_the_audits_promised(max_error, drifted, after):
    rng = np.random.default_rng(11)
    delays = []
    for _ in range(60):
        monitor = DriftMonitor(max_error)
        monitor.observe(outcomes(max_error / 2, after, rng))
        if monitor.state().alarmed:  # a false alarm, as rare as the test above says
            continue
        promised = monitor.audits_needed(drifted, after=after)
        monitor.observe(outcomes(drifted, int(20 * promised), rng))
        noticed = monitor.state().alarmed_after
        assert noticed is not None
        delays.append(noticed - after)
    assert len(delays) >= 55
    assert np.mean(delays) <= promised
    assert np.mean(delays) >= promised / 5, "the promise says something"


def test_a_drift_too_small_for_the_bet_is_said_to_be():
    assert DriftMonitor(0.05).audits_needed(0.05) == math.inf
    assert DriftMonitor(0.05).audits_needed(0.06) == math.inf
    assert DriftMonitor(0.05).audits_needed(0.5) < DriftMonitor(0.05).audits_needed(0.2) < 200


def test_an_alarm_stays_raised():
    monitor = DriftMonitor(0.05)
    monitor.observe([False] * 10)
    raised = monitor.state().alarmed_after
    assert raised is not None
    monitor.observe([True] * 5000)
    assert monitor.state().alarmed_after == raised


def test_thousands_of_wrong_hits_do_not_overflow():
    monitor = DriftMonitor(0.05)
    monitor.observe([False] * 5000)
    assert math.isfinite(monitor.state().evidence)
    assert json.loads(json.dumps(monitor.to_dict()))["wrong"] == 5000


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=60))
def test_a_monitor_goes_on_where_another_stood(before, after):
    first, whole = DriftMonitor(0.1), DriftMonitor(0.1)
    first.observe(before)
    second = DriftMonitor.from_dict(json.loads(json.dumps(first.to_dict())))
    second.observe(after)
    whole.observe(before + after)
    assert second.state() == whole.state()


def test_what_it_says():
    monitor = DriftMonitor(0.05)
    assert str(monitor.state()) == "no hit audited yet"
    assert monitor.state().rate is None
    monitor.observe([True] * 88 + [False] * 12)
    state = monitor.state()
    assert (state.audits, state.wrong, state.rate) == (100, 12, 0.12)
    assert state.lower < 0.12 < state.upper
    assert "12 of 100 audited hits wrong (7.1% to 18.7%); drift noticed after" in str(state)
    assert "max_error=0.05" in repr(monitor)


@pytest.mark.parametrize("max_error", [0, 0.5, 1, -0.1, float("nan")])
def test_an_error_out_of_range_is_refused(max_error):
    with pytest.raises(InputError, match="expected a share above 0 and below"):
        DriftMonitor(max_error)


def test_other_bad_input_is_refused():
    with pytest.raises(InputError, match="expected a probability"):
        DriftMonitor(0.05, confidence=1)
    with pytest.raises(InputError, match="not the state of a drift monitor"):
        DriftMonitor.from_dict({"max_error": 0.05})
