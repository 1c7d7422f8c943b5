"""StopwordPruner and Dedup: what they leave out, and what they must not."""

from __future__ import annotations

import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Compressor, Dedup, StopwordPruner
from ragopt.errors import InputError


def count(text: str) -> int:
    return len(text.split())


def hits(*texts: str, title: str = "") -> list[Hit]:
    return [Hit(Chunk(f"c{number}", text, title=title), 0.0) for number, text in enumerate(texts)]


# Stop words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The valve is in the tank of the plant.", "valve tank plant."),
        # Names stay, at the beginning of a sentence too when they are all capitals.
        ("It was played by The Who and is a hit.", "played by The Who hit."),
        ("IT was founded in the US by an engineer.", "IT founded US by engineer."),
        # Order, quantity and condition stay.
        ("It is kept for more than 30 days if it is used.", "kept more than 30 days if used."),
        # A negation and its neighbours stay.
        ("The valve is not in the tank of the plant.", "valve is not in tank plant."),
    ],
)
def test_stop_words_go_and_meaning_stays(text: str, left: str) -> None:
    result = StopwordPruner(count=count).compress("", hits(text))
    assert result.text == left
    assert result.tokens_after == count(left)
    assert result.spans == ()


def test_fenced_text_comes_out_byte_for_byte() -> None:
    code = "```\nfor it in the_list:  # the  items of a list\n    it.is_ok()\n```"
    table = "| the key | a value |\n|---|---|\n| of the | in a |"
    prose = "This is the code of the [page in the wiki](https://x.org/the/a) and the `is a` of it."
    data = '{"the": "is a", "of": [1, "in the"]}'
    text = "\n\n".join([prose, code, "The table is in the page:", table, data])
    result = StopwordPruner(count=count).compress("", hits(text))
    assert result.skipped_reason is None
    for kept in (code, table, data, "[page in the wiki](https://x.org/the/a)", "`is a`"):
        assert kept in result.text
    assert result.text.startswith("code [page")


def test_another_language_is_left_alone() -> None:
    german = "Was der Mann an so einem Tag in der Stadt will, war am Abend nie bekannt."
    result = StopwordPruner(count=count).compress("", hits(german))
    assert result.text == german
    assert "no stop words" in str(result.skipped_reason)


def test_pruning_to_a_budget_cuts_after_a_sentence() -> None:
    text = "The first is here. The second is there. The third and last is in the tank."
    result = StopwordPruner(count=count).compress("", hits(text), max_tokens=5)
    assert result.text == "first here. second there."
    assert StopwordPruner(count=count).compress("", hits(text), max_tokens=1).text == "first here."


# Repetitions ------------------------------------------------------------------------------

SAID = "The retention period of the archive is 30 days for all customers."


def test_the_first_occurrence_stays() -> None:
    again = "Backups run at night. The retention period of the archive is 30 days for customers."
    result = Dedup(count=count).compress("", hits(SAID, again))
    assert [part.text for part in result.chunks] == [SAID, "Backups run at night."]
    assert result.keeps("c1", 0, len("Backups run at night."))


@pytest.mark.parametrize(
    "other",
    [
        SAID.replace("30", "90"),
        SAID.replace("is 30", "is not 30"),
        SAID.replace("archive", "bucket"),
    ],
)
def test_another_number_negation_or_name_is_no_repetition(other: str) -> None:
    result = Dedup(count=count).compress("", hits(SAID, other))
    assert result.skipped_reason == "nothing is said twice"
    assert result.text == f"{SAID}\n\n{other}"


def test_what_the_conversation_has_said_goes() -> None:
    context = hits(SAID + " Invoices are sent on the first day of each month.")
    turns = ["How long is it kept?", SAID]
    result = Dedup(count=count).compress("", context, history=turns)
    assert result.text == "Invoices are sent on the first day of each month."
    assert result.tokens_before == count(context[0].chunk.text)
    assert Dedup(count=count).turns([*turns, SAID, "And then?"]) == (*turns, "", "And then?")


def test_a_sentence_that_another_points_back_to_stays() -> None:
    follows = SAID + " However, it can be longer for some of them."
    result = Dedup(count=count).compress("", hits(SAID, "Nothing else. " + follows))
    assert follows in result.text


def test_code_goes_only_if_it_is_equal() -> None:
    one, other = "```\nf(a, b); g(b, a)\n```", "```\ng(b, a); f(a, b)\n```"
    result = Dedup(count=count).compress("", hits(one, "Text.\n\n" + other, "More.\n\n" + one))
    assert [part.text for part in result.chunks] == [one, "Text.\n\n" + other, "More."]


def test_the_header_of_kept_rows_and_the_lead_of_kept_items_stay() -> None:
    lead = "The archive keeps the following for all of its customers in all regions:"
    result = Dedup(count=count).compress("", hits(lead + "\n- mails", lead + "\n- calls"))
    assert result.text == "\n\n".join([lead + "\n- mails", lead + "\n- calls"])


def test_deduplicating_to_a_budget_cuts_after_a_sentence() -> None:
    context = hits(SAID + " Backups run at night.", SAID + " Invoices are sent monthly.")
    result = Dedup(count=count).compress("", context, max_tokens=18)
    assert result.text == SAID + " Backups run at night."


@pytest.mark.parametrize("compressor", [Dedup(), StopwordPruner()], ids=["dedup", "stopwords"])
@pytest.mark.parametrize("texts", [(), ("",), (" \n ", "\t")])
def test_nothing_to_compress(compressor: Compressor, texts: tuple[str, ...]) -> None:
    result = compressor.compress("", hits(*texts))
    assert result.skipped_reason == "there is no text to compress"


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="near_duplicate=0"):
        Dedup(0)
    with pytest.raises(InputError, match="max_tokens=0"):
        Dedup().compress("", [], max_tokens=0)
    with pytest.raises(InputError, match="max_tokens=0"):
        StopwordPruner().compress("", [], max_tokens=0)
