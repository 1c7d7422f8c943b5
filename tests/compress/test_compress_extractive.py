"""What the extractive compressor keeps, drops, and leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Extractive, ExtractiveOptions, RandomSentences, Truncate
from ragopt.errors import InputError

FILLER = [f"The weather on day {number} was rather mild and dull." for number in range(40)]
FACT = "The bridge over the Salzach was built in 1902 by Ida Krehm."


def count(text: str) -> int:
    return len(text.split())


def hit(text: str, *, id: str = "a", title: str = "", score: float = 0.0) -> Hit:
    return Hit(Chunk(id=id, text=text, title=title), score)


def test_the_fact_is_kept_and_the_filler_goes() -> None:
    text = " ".join([*FILLER[:20], FACT, *FILLER[20:]])
    options = ExtractiveOptions(keep_ratio=0.5)
    result = Extractive(options, count=count).compress("Who built the Salzach bridge?", [hit(text)])
    assert FACT in result.text
    assert result.skipped_reason is None
    assert result.tokens_after <= (result.tokens_before + 1) // 2
    assert result.keeps("a", text.index(FACT), text.index(FACT) + len(FACT))


def test_budget_of_the_call_wins_over_the_ratio() -> None:
    text = " ".join([*FILLER, FACT])
    result = Extractive(ExtractiveOptions(keep_ratio=0.9), count=count).compress(
        "Who built the Salzach bridge?", [hit(text)], max_tokens=15
    )
    assert result.text == FACT
    assert result.tokens_after == 12


def test_order_of_hits_and_sentences_is_kept() -> None:
    hits = [
        hit("Zero filler. Salzach bridge. Filler again here.", id="b", title="B"),
        hit("Nothing here. The bridge Salzach. Also nothing. Bridge one.", id="a", title="A"),
    ]
    result = Extractive(count=count).compress("bridge Salzach", hits, max_tokens=12)
    assert [part.chunk.id for part in result.chunks] == ["b", "a"]
    assert result.text == "B\nSalzach bridge.\n\nA\nThe bridge Salzach. … Bridge one."


def test_each_title_stands_once_and_is_paid_for() -> None:
    hits = [
        hit("Salzach one. Filler here now. Salzach two. Filler.", id=str(i), title=f"T{i} x")
        for i in range(2)
    ]
    result = Extractive(count=count).compress("Salzach", hits, max_tokens=14)
    assert all(result.text.count(f"T{i} x") == 1 for i in range(2))
    assert result.tokens_after == count(result.text) <= 14


def test_no_shared_word_passes_through() -> None:
    hits = [hit(" ".join(FILLER))]
    result = Extractive(count=count).compress("Zebra?", hits, max_tokens=5)
    assert result.text == hits[0].chunk.text
    assert result.skipped_reason == "the query shares no word with the hits"


def test_within_budget_passes_through() -> None:
    result = Extractive(count=count).compress("a b", [hit("A b c. D e f.")], max_tokens=6)
    assert result.text == "A b c. D e f."
    assert result.skipped_reason == "6 tokens are within the budget"


def test_small_gain_passes_through_only_without_a_hard_budget() -> None:
    text = " ".join([FACT, *FILLER])
    options = ExtractiveOptions(keep_score=0, keep_ratio=0.97, min_gain=0.1)
    soft = Extractive(options, count=count).compress("Salzach bridge", [hit(text)])
    assert soft.text == text
    assert soft.skipped_reason is not None
    assert "would be saved" in soft.skipped_reason
    tokens = count(text)
    hard = Extractive(options, count=count).compress(
        "Salzach bridge", [hit(text)], max_tokens=tokens - 1
    )
    assert hard.tokens_after < tokens
    assert hard.skipped_reason is None


def test_best_hit_always_keeps_a_sentence() -> None:
    hits = [
        hit("Salzach bridge. " + FACT, id="lexical", score=0.1),
        hit("A wholly other matter. " * 3, id="best", score=0.9),
    ]
    result = Extractive(count=count).compress("Salzach bridge", hits, max_tokens=8)
    assert "best" in {part.chunk.id for part in result.chunks}


def test_among_equal_hits_the_best_sentence_decides() -> None:
    hits = [hit("Filler is here. More.", id="a"), hit(FACT + " More filler.", id="b")]
    result = Extractive(count=count).compress("Salzach bridge", hits, max_tokens=12)
    assert result.text == FACT


def test_shortest_sentence_is_kept_when_none_fits() -> None:
    text = FACT + " The Salzach is a river. " + FACT.replace("1902", "1903")
    result = Extractive(count=count).compress("Salzach bridge", [hit(text)], max_tokens=2)
    assert result.text == "The Salzach is a river."
    assert result.tokens_after == 5


def test_huge_block_does_not_beat_a_sentence_that_fits() -> None:
    code = "```\n" + "salzach bridge\n" * 500 + "```"
    text = code + "\n\nThe Salzach is a river."
    result = Extractive(count=count).compress("salzach bridge", [hit(text)], max_tokens=10)
    assert result.text == "The Salzach is a river."


def test_predecessor_of_a_pronoun_is_pulled_in() -> None:
    text = " ".join([*FILLER[:9], "Ida Krehm came.", "She built the Salzach bridge.", *FILLER[9:]])
    query = "Salzach bridge"
    options = ExtractiveOptions(closure_share=0.3)
    closed = Extractive(options, count=count).compress(query, [hit(text)], max_tokens=18)
    bare = Extractive(ExtractiveOptions(closure_share=0), count=count).compress(
        query, [hit(text)], max_tokens=18
    )
    assert "Ida Krehm came. She built the Salzach bridge." in closed.text
    assert "Ida Krehm came." not in bare.text


def test_repetitions_across_chunks_are_dropped() -> None:
    other = "The Salzach is crossed by a bridge for trains and another one for cars."
    hits = [hit(FACT, id="a", title="A"), hit(FACT + " " + other, id="b", title="B")]
    result = Extractive(count=count).compress("Salzach bridge", hits, max_tokens=29)
    assert result.text.count("1902") == 1
    assert other in result.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1902", "1903"),
        ("was built", "was not built"),
        ("Ida Krehm", "Ada Krehm"),
        ("over the Salzach", "under the Salzach"),
    ],
)
def test_what_differs_in_a_word_is_no_repetition(one: str, other: str) -> None:
    long = FACT[:-1] + ", as the chronicle of the town says in its second volume on public works."
    text = " ".join([long, *FILLER[:8], long.replace(one, other)])
    result = Extractive(count=count).compress("Salzach bridge", [hit(text)], max_tokens=64)
    assert long in result.text
    assert long.replace(one, other) in result.text


def test_pronoun_sentences_of_two_titles_are_no_repetition() -> None:
    sentence = "He won the great Salzach prize in the year 1950."
    hits = [
        hit(f"{sentence} {FILLER[number]}", id=str(number), title=f"Person {number}")
        for number in range(2)
    ]
    result = Extractive(count=count).compress("Salzach prize", hits, max_tokens=30)
    assert result.text.count(sentence) == 2


def test_copied_chunk_is_kept_once() -> None:
    text = "| Salzach | km |\n|---|---|\n| bridge | 1 |\n| bridge | 2 |"
    hits = [hit(text, id="a", title="T"), hit(text, id="b", title="T"), hit(FILLER[0], id="c")]
    result = Extractive(count=count).compress("Salzach bridge", hits, max_tokens=25)
    assert result.chunks[0].chunk.id == "a"
    assert "b" not in {part.chunk.id for part in result.chunks}


def test_same_hit_twice_is_accepted() -> None:
    one = hit(FACT + " " + " ".join(FILLER))
    result = Extractive(count=count).compress("Salzach bridge", [one, one], max_tokens=30)
    assert result.text.count(FACT) == 1


def test_row_comes_with_its_header() -> None:
    rows = "\n".join(f"| town{number} | {number} |" for number in range(20))
    text = f"| place | people |\n|---|---|\n{rows}"
    result = Extractive(count=count).compress(
        "How many people in town7?", [hit(text)], max_tokens=14
    )
    assert result.text == "| place | people |\n|---|---|\n| … |\n| town7 | 7 |"


def test_item_comes_with_its_lead_in() -> None:
    text = "It was not allowed to:\n\n" + "\n".join(f"- use thing{n} there" for n in range(20))
    result = Extractive(count=count).compress("thing7", [hit(text)], max_tokens=12)
    assert result.text == "It was not allowed to:\n…\n- use thing7 there"


def test_json_lines_stay_json_lines() -> None:
    text = "\n".join(f'{{"id": {n}, "name": "thing{n}"}}' for n in range(20))
    result = Extractive(count=count).compress("thing7 thing12", [hit(text)], max_tokens=9)
    assert result.text == '{"id": 7, "name": "thing7"}\n{"id": 12, "name": "thing12"}'


class TwoWords:
    """Embeds a text by whether it speaks of water or of fire."""

    dim = 2

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [[float("river" in text), float("flame" in text)] for text in texts]
        return np.array(rows, dtype=np.float32)


def test_embedder_finds_what_words_do_not() -> None:
    text = "The flame is hot and bright. The river is deep and cold. Stones are just stones."
    query = "a river, by its synonym"
    plain = Extractive(count=count).compress("stream", [hit(text)], max_tokens=6)
    assert plain.skipped_reason is not None
    result = Extractive(count=count, embedder=TwoWords()).compress(query, [hit(text)], max_tokens=6)
    assert result.text == "The river is deep and cold."
    only = text.replace("river", "rivers")
    result = Extractive(count=count, embedder=TwoWords()).compress(
        "xriverx", [hit(only)], max_tokens=6
    )
    assert result.text == "The rivers is deep and cold."


@pytest.mark.parametrize(
    "options",
    [
        {"keep_ratio": 0.0},
        {"keep_ratio": 1.1},
        {"min_gain": 1.0},
        {"min_gain": -0.1},
        {"closure_share": 2.0},
        {"near_duplicate": 0.0},
        {"keep_ratio": float("nan")},
    ],
)
def test_unusable_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        ExtractiveOptions(**options)


def test_five_megabytes_in_one_chunk() -> None:
    text = " ".join(FILLER) * (5_000_000 // len(" ".join(FILLER))) + " " + FACT
    result = Extractive(count=len).compress(
        "Who built the Salzach bridge?", [hit(text)], max_tokens=2000
    )
    assert FACT in result.text
    assert result.tokens_after <= 2000


def test_five_megabytes_without_a_boundary() -> None:
    text = "salzach" + "x" * 5_000_000
    result = Extractive(count=len).compress("salzachx", [hit(text), hit("Salzachx is.", id="b")])
    assert result.tokens_after == len(result.text)


def test_failing_counter_is_not_hidden() -> None:
    def broken(text: str) -> int:
        raise RuntimeError("no tokenizer")

    with pytest.raises(RuntimeError, match="no tokenizer"):
        Extractive(count=broken).compress("a", [hit("A. B.")])


def test_truncate_keeps_the_head() -> None:
    text = "One two three. Four five. Six seven eight nine. Ten."
    result = Truncate(count=count).compress("anything", [hit(text)], max_tokens=6)
    assert result.text == "One two three. Four five."
    assert result.spans[0].start == 0
    # The next sentence does not fit; a later one that would is not taken.
    assert "Ten." not in result.text


def test_truncate_goes_through_the_hits_in_order() -> None:
    hits = [hit("One two.", id="a", title="A"), hit("Three four. Five six.", id="b", title="B")]
    result = Truncate(count=count).compress("x", hits, max_tokens=7)
    assert result.text == "A\nOne two.\n\nB\nThree four."


@pytest.mark.parametrize("control", [Truncate(count=count), RandomSentences(1, count=count)])
def test_controls_keep_one_sentence_at_least(control: Truncate | RandomSentences) -> None:
    result = control.compress("x", [hit("One two three. Four five six.")], max_tokens=1)
    assert result.tokens_after == 3


def test_random_is_repeatable_and_depends_on_seed() -> None:
    hits = [hit(" ".join(FILLER))]

    def draw(seed: int) -> str:
        return RandomSentences(seed, count=count).compress("q", hits, max_tokens=50).text

    assert draw(0) == draw(0)
    assert len({draw(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("kind", [Truncate, RandomSentences])
def test_controls_refuse_unusable_ratio(kind: type) -> None:
    with pytest.raises(InputError, match="keep_ratio"):
        kind(keep_ratio=0)


BANANAS = "Bananas are yellow fruit. They grow in bunches. Monkeys like them."
TOKENS = "The access token is valid for 30 days. Rotate the access token often."


@pytest.mark.parametrize("keep_score", [0.3, 0.5, 0.9])
def test_best_hit_keeps_a_sentence_where_none_of_its_own_reaches_the_share(
    keep_score: float,
) -> None:
    hits = [hit(BANANAS, score=9.0), hit(TOKENS, id="b", score=1.0)]
    options = ExtractiveOptions(keep_ratio=1.0, keep_score=keep_score)
    result = Extractive(options, count=count).compress("How long is the access token valid?", hits)
    assert result.skipped_reason is None
    assert [part.chunk.id for part in result.chunks] == ["a", "b"]
    assert result.chunks[0].text == "Bananas are yellow fruit."
    assert "30 days" in result.chunks[1].text


class _Opposite:
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.ones((len(texts), 2), dtype=np.float32)
        vectors[0] *= -1
        return vectors


def test_no_share_is_asked_of_a_negative_best_score() -> None:
    options = ExtractiveOptions(keep_ratio=1.0, keep_score=0.5, min_gain=0.5)
    compressor = Extractive(options, count=count, embedder=_Opposite())
    assert compressor.compress("zzz", [hit(BANANAS)]).text == BANANAS
