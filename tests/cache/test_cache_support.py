"""Whether evidence says what an answer says: words, numbers, and what nobody can tell."""

import pytest

from ragopt.cache import Support
from ragopt.errors import InputError

ANSWER = "Backups run every night at 02:00 and are kept for 30 days."
EVIDENCE = ["Backups\nBackups run every night at 02:00 and are kept for 30 days.", "Other things."]


def test_an_answer_that_stands_there_is_supported():
    support = Support()
    assert support.lacking(ANSWER, EVIDENCE) == []
    verdict = support.check(ANSWER, EVIDENCE, [])
    assert verdict.enough
    assert (verdict.share, verdict.lost) == (1.0, ())


@pytest.mark.parametrize(
    "evidence",
    [
        "Every night a backup is run, at 02:00; it is kept thirty days.",
        "Nightly: backup runs at 02:00. Every one keeps 30 days. Night after night.",
    ],
)
def test_other_forms_of_the_words_count(evidence):
    assert Support().check(ANSWER, [evidence], []).enough


@pytest.mark.parametrize(
    ("answer", "then", "now"),
    [
        ("It costs $1,000.", "The price is 1000 dollars: it costs that.", "It costs $1,500."),
        ("Three users are free.", "3 users are free.", "Four users are free."),
        ("It needs Python 3.10.", "It needs Python 3.10 or later.", "It needs Python 3.1."),
        ("Due within 14 days.", "Payment is due within 14 days.", "Payment is due within 30 days."),
    ],
)
def test_a_number_that_is_no_longer_there_stops_it(answer, then, now):
    support = Support(least=0.01)
    lacking = support.lacking(answer, [then])
    assert support.check(answer, [then], lacking).enough
    verdict = support.check(answer, [now], lacking)
    assert not verdict.enough
    assert len(verdict.lost) == 1
    assert verdict.lost[0] in str(verdict)


def test_a_number_that_its_evidence_never_had_is_no_loss():
    support = Support(least=0.5)
    answer = "Kept for 720 hours, that is 30 days."
    then = ["Backups are kept for 30 days."]
    lacking = support.lacking(answer, then)
    assert lacking == ["720", "hour"]
    assert support.check(answer, then, lacking).enough


def test_without_a_record_numbers_count_as_words_do():
    verdict = Support(least=0.5).check("Kept for 30 days.", ["Kept 14 days."])
    assert verdict.lost == ()
    assert verdict.share == pytest.approx(2 / 3)
    assert verdict.enough


def test_a_models_own_words_are_not_held_against_it():
    support = Support()
    answer = "Certainly! Retention amounts to 30 days."
    then = ["Backups are kept for 30 days."]
    assert not support.check(answer, then).enough
    assert support.check(answer, then, support.lacking(answer, then)).enough


def test_the_floor_belongs_to_what_is_served():
    answer, evidence = "alpha beta gamma delta", ["alpha beta gamma"]
    assert Support(least=0.75).check(answer, evidence).enough
    assert not Support(least=0.76).check(answer, evidence).enough


@pytest.mark.parametrize("answer", ["Yes.", "", "It is."])
def test_what_cannot_be_looked_for_is_not_supported(answer):
    verdict = Support().check(answer, ["Yes, it is."], ["yes"])
    assert not verdict.enough
    assert str(verdict) == "nothing in the answer can be looked for"


def test_without_evidence_nothing_is_supported():
    assert not Support().check(ANSWER, [], []).enough


def test_chinese_is_compared_too():
    support = Support()
    then = ["备份保留三十天。"]
    assert support.check("备份保留三十天", then, []).enough
    assert not support.check("备份保留三十天", ["发票每月寄出。"], []).enough


@pytest.mark.parametrize("least", [0, -0.1, 1.1, float("nan"), "x", True, None])
def test_a_share_outside_its_range_is_refused(least):
    with pytest.raises(InputError, match="expected a share above 0"):
        Support(least=least)
