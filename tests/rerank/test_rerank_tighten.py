"""As few chunks as the floor allows: nothing of the floor is lost, and everything is said."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Compressed, CompressedChunk, Extractive, Span
from ragopt.errors import InputError
from ragopt.rerank import (
    BM25Reranker,
    ConformalFloor,
    Cut,
    Evidence,
    LabelledQuery,
    LargestGap,
    ScoreCalibration,
    Tighten,
    TightenOptions,
)
from ragopt.rerank.order import EDGES_FROM, prompt_order
from ragopt.rerank.remembered import Remembered
from ragopt.shingles import shingles, words

SCORER = "made"
SCALE = ScoreCalibration(scorer_id=SCORER, location=0, temperature=1)


def count(text: str) -> int:
    return len(text.split())


def floor_at(threshold: float, *, alpha: float = 0.1) -> ConformalFloor:
    """A floor whose threshold is this one."""
    return ConformalFloor.fit([Evidence((threshold,), 1)] * 40, alpha=alpha)


def sentence(number: int, length: int) -> str:
    """Words that no other number has."""
    return " ".join(f"w{number}x{place}" for place in range(length))


def hits_of(scores: Sequence[float], lengths: Sequence[int] | None = None) -> list[Hit]:
    return [
        Hit(Chunk(id=f"c{place}", text=sentence(place, (lengths or [20] * 99)[place])), score)
        for place, score in enumerate(scores)
    ]


def tight(threshold: float = 0.5, **options: object) -> Tighten:
    compressor = options.pop("compressor", None)
    made = TightenOptions(**options)  # type: ignore[arg-type]
    return Tighten(
        SCALE,
        floor_at(threshold),
        options=made,
        compressor=compressor,
        count=count,  # type: ignore[arg-type]
    )


class FirstWords:
    """Leaves as many of a text's first words as it may."""

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        chunks = []
        for hit in hits:
            text = hit.chunk.text
            kept = text[: len(" ".join(text.split()[: max_tokens or 0]))]
            chunks.append(CompressedChunk(hit.chunk, kept, (Span(hit.chunk.id, 0, len(kept)),)))
        before = sum(count(hit.chunk.text) for hit in hits)
        after = sum(count(one.text) for one in chunks)
        return Compressed(tuple(chunks), "\n\n".join(one.text for one in chunks), before, after)


# Invariants --------------------------------------------------------------------------------

candidate = st.tuples(st.floats(-6, 6), st.integers(0, 60), st.integers(0, 12), st.integers(0, 2))


limits = st.builds(
    TightenOptions,
    k_min=st.integers(1, 4),
    k_max=st.integers(4, 12),
    max_tokens=st.one_of(st.none(), st.integers(1, 400)),
    extend=st.booleans(),
)


@settings(max_examples=150)
@given(
    st.lists(candidate, max_size=30),
    st.sampled_from([0.0, 0.2, 0.7, 0.99]),
    limits,
    st.booleans(),
)
def test_what_always_holds(
    drawn: list[tuple[float, int, int, int]],
    threshold: float,
    options: TightenOptions,
    compress: bool,
) -> None:
    hits = [
        Hit(Chunk(id=str(n), text=sentence(same, length), source=f"d{source}", start=n), score)
        for n, (score, length, same, source) in enumerate(drawn)
    ]
    max_tokens = options.max_tokens
    made = Tighten(
        SCALE,
        floor_at(threshold) if threshold else ConformalFloor.fit([Evidence((1.0,), 1)], alpha=0.1),
        options=options,
        compressor=FirstWords() if compress else None,
        count=count,
    )
    result = made.tighten("w0x0", hits)
    assert made.floor is not None
    kept = [hit.chunk.id for hit in result.hits]
    # Kept and dropped are all, each once; every one has its reason, best first.
    assert sorted([*kept, *(hit.chunk.id for hit in result.dropped)]) == sorted(
        hit.chunk.id for hit in hits
    )
    assert [r.hit.score for r in result.reasons] == sorted((h.score for h in hits), reverse=True)
    assert all(reason.why for reason in result.reasons)
    # Nothing of the floor is lost: it is kept, or it repeats a chunk that is.
    for reason in result.reasons:
        assert reason.hit.probability is not None
        if reason.hit.probability >= made.floor.threshold:
            twin = reason.why.removeprefix("repeats ").strip("'")
            assert reason.hit.chunk.id in kept or twin in kept
    # The budget is respected, or it is said.
    if max_tokens is not None:
        assert result.budget_exceeded == (result.tokens_after > max_tokens)
        if result.budget_exceeded:
            assert {one.hit.chunk.id for one in result.kept} == {
                reason.hit.chunk.id for reason in result.reasons if reason.in_floor
            }
    # What is told of tokens is what goes in.
    assert result.tokens_after == sum(one.tokens for one in result.kept) + max(0, len(kept) - 1)
    assert all(one.tokens == count(one.text) for one in result.kept)
    assert result.tokens_after <= result.tokens_before
    for one in result.kept:
        if one.spans is None:
            assert one.text == one.hit.chunk.text
    assert made.tighten("w0x0", hits) == result
    ranked = sorted(hits, key=lambda hit: -hit.score)
    demanded = sum(reason.in_floor for reason in result.reasons)
    assert demanded <= made.keep(ranked) <= len(hits)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.randoms())
def test_the_order_of_arrival_changes_nothing_but_ties(scores: list[float], rnd: object) -> None:
    hits = hits_of(scores)
    shuffled = hits.copy()
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (tight(0.4).tighten("q", some) for some in (hits, shuffled))
    assert {hit.score for hit in first.hits} == {hit.score for hit in second.hits}
    assert len(first.kept) == len(second.kept)


# Sizes --------------------------------------------------------------------------------------


def test_the_gap_extends_the_floor_and_never_cuts_it() -> None:
    scores = [5.0, 4.9, 4.8, 1.0, 0.9, -3.0]
    extended = tight(0.99).tighten("q", hits_of(scores))  # floor: p >= .99, score >= 4.6
    assert (extended.k_floor, extended.k_gap, len(extended.kept)) == (3, 5, 5)
    assert not tight(0.99, extend=False).tighten("q", hits_of(scores)).k_floor > 3
    assert len(tight(0.99, extend=False).tighten("q", hits_of(scores)).kept) == 3
    low = tight(0.5, k_max=2).tighten("q", hits_of(scores))  # k_max bounds the gap alone
    assert (low.k_gap, len(low.kept), low.guarantee) == (2, 5, "kept")
    assert len(tight(0.999, k_min=4, extend=False).tighten("q", hits_of(scores)).kept) == 4


def test_a_hard_limit_below_the_floor_loses_the_guarantee_and_says_so() -> None:
    hits = hits_of([3.0, 2.0, 1.0, -4.0])
    result = tight(0.5, hard_limit=2).tighten("q", hits)
    assert (len(result.kept), result.k_floor, result.guarantee) == (2, 3, "lost")
    assert "guarantee lost" in str(result)
    assert result.reasons[2].why == "beyond the hard limit of 2"
    assert tight(0.5, hard_limit=3).tighten("q", hits).guarantee == "kept"


def test_without_a_calibration_there_is_no_guarantee() -> None:
    hits = hits_of([9.0, 8.5, 2.0, 1.9, 1.8])
    made = Tighten(options=TightenOptions(buffer=1), count=count)
    result = made.tighten("q", hits, scorer_id="anything")
    assert (len(result.kept), result.guarantee, result.promise) == (3, "none", "no guarantee")
    assert all(hit.probability is None for hit in result.hits)
    assert "no guarantee" in str(made)
    assert made.keep(hits) == LargestGap(k_max=20, buffer=1).keep(hits) == 3
    assert isinstance(made, Cut)


def test_a_floor_that_does_not_hold_promises_nothing() -> None:
    few = ConformalFloor.fit([Evidence((0.9,), 1)] * 5, alpha=0.05)
    result = Tighten(SCALE, few, count=count).tighten("q", hits_of([2.0, -2.0]))
    assert (len(result.kept), result.guarantee) == (2, "none")
    assert "too few" in result.promise


@pytest.mark.parametrize("score", [-3.0, 0.0, 3.0])
def test_a_single_result_and_all_equal_scores(score: float) -> None:
    alone = tight(0.5).tighten("q", hits_of([score]))
    assert [hit.score for hit in alone.hits] == [score]  # k_min, whatever its probability
    equal = tight(0.5).tighten("q", hits_of([score] * 8))
    assert len(equal.kept) == (8 if score >= 0 else 1)


def test_nothing_to_tighten() -> None:
    result = tight(0.5, max_tokens=10).tighten("q", [])
    assert (result.kept, result.dropped, result.abstain) == ((), (), True)
    assert (result.tokens_before, result.tokens_after, result.ratio) == (0, 0, 1.0)
    assert tight(0.5).keep([]) == 0
    assert Tighten().keep([]) == 0


def test_abstaining() -> None:
    low, high = hits_of([-2.0, -3.0]), hits_of([2.0, -3.0])
    assert tight(0.5, p_min=0.3).tighten("q", low).abstain
    assert "abstain" in str(tight(0.5, p_min=0.3).tighten("q", low))
    assert not tight(0.5, p_min=0.3).tighten("q", high).abstain
    assert not tight(0.5).tighten("q", low).abstain


def test_nan_and_scores_of_another_scorer_are_refused() -> None:
    with pytest.raises(InputError, match=r"hit 1 \(chunk 'c1'\) has the score NaN"):
        tight().tighten("q", hits_of([1.0, math.nan]))
    with pytest.raises(InputError, match=r"'other'.*'made'"):
        tight().tighten("q", hits_of([1.0]), scorer_id="other")
    with pytest.raises(InputError, match=r"'bm25\(k1=1\.2, b=0\.75, statistics=candidates\)'"):
        tight().run(BM25Reranker(), "w0x1", hits_of([1.0, 2.0]))


def test_infinite_scores() -> None:
    result = tight(0.5).tighten("q", hits_of([math.inf, 1.0, -math.inf]))
    assert [hit.probability for hit in result.hits] == [1.0, pytest.approx(0.731, abs=1e-3)]


def test_a_chunk_of_five_megabytes() -> None:
    long = Chunk(id="long", text="a river runs to the sea and stays a river " * 125_000)
    hits = [Hit(long, 2.0), *hits_of([1.0, -4.0])]
    result = tight(0.5, max_tokens=1_000, compressor=FirstWords()).tighten("river", hits)
    assert len(long.text) > 5_000_000
    assert {hit.chunk.id for hit in result.hits} == {"long", "c0"}
    assert result.budget_exceeded  # half of it is too much still, and it is the floor's
    assert result.reasons[0].action == "compressed"


# Copies ---------------------------------------------------------------------------------------

TEXT = "the river rises in the high mountains and runs for ninety miles to the southern sea"


@pytest.mark.parametrize(
    ("title", "text", "copied"),
    [
        ("", TEXT, True),
        ("", TEXT.replace("the river", "a river"), True),  # 13 of 14 shingles, and an article
        ("", " ".join(reversed(TEXT.split())), False),
        ("", f"{TEXT} and runs for ninety miles to the southern sea", True),
        ("", TEXT.replace("ninety", "eighty"), False),
        ("", TEXT.replace("southern ", ""), True),
        ("", f"{TEXT} not", False),
        ("Rivers", TEXT, False),
        ("", "", False),
    ],
)
def test_near_duplicates(title: str, text: str, copied: bool) -> None:
    first = Chunk(id="first", text=TEXT)
    hits = [Hit(first, 3.0), Hit(Chunk(id="second", text=text, title=title), 2.0)]
    result = tight(0.5).tighten("q", hits)
    assert (len(result.kept) == 1) == copied
    assert (result.reasons[1].why == "repeats 'first'") == copied


def test_long_texts_that_differ_in_a_number_are_no_copies() -> None:
    made = " ".join([TEXT] * 6)
    hits = [Hit(Chunk(id=str(n), text=f"{made} in 19{n:02}"), 3.0 - n / 10) for n in range(5)]
    shared = shingles(words(hits[0].chunk.text)) & shingles(words(hits[1].chunk.text))
    assert len(shared) > 0.85 * len(shingles(words(hits[1].chunk.text)))
    assert len(tight(0.5).tighten("q", hits).kept) == 5


def test_the_same_chunk_twice_goes_in_once() -> None:
    hits = [Hit(Chunk(id="a", text="ok"), 3.0), Hit(Chunk(id="a", text="ok"), 2.0)]
    result = tight(0.5).tighten("q", hits)
    assert (len(result.kept), len(result.dropped)) == (1, 1)


# Budget ---------------------------------------------------------------------------------------


def test_the_floor_goes_before_everything_else() -> None:
    # Two of the floor (40 tokens and a blank line), and room for one of three further ones.
    hits = hits_of([2.0, 1.0, -1.0, -1.2, -1.4], [20, 20, 30, 20, 20])
    result = tight(0.5, max_tokens=62, k_min=5).tighten("q", hits)
    assert {hit.chunk.id for hit in result.hits} == {"c0", "c1", "c3"}
    assert result.tokens_after == 62
    assert (result.guarantee, result.budget_exceeded) == ("kept", False)
    assert result.reasons[2].why == "no room within 62 tokens"


def test_a_floor_that_is_too_much_is_compressed_then_reported() -> None:
    hits = hits_of([3.0, 2.0, 1.0, -2.0])
    short = tight(0.5, max_tokens=45, compressor=FirstWords()).tighten("q", hits)
    assert (len(short.kept), short.budget_exceeded, short.guarantee) == (3, False, "compressed")
    assert short.tokens_after <= 45
    assert [reason.action for reason in short.reasons[:3]].count("compressed") >= 1
    assert "shortened" in short.promise
    over = tight(0.5, max_tokens=20, compressor=FirstWords()).tighten("q", hits)
    assert (len(over.kept), over.budget_exceeded) == (3, True)
    assert all(one.spans is not None for one in over.kept)
    assert "budget of 20 tokens exceeded" in str(over)
    whole = tight(0.5, max_tokens=20).tighten("q", hits)
    assert (whole.tokens_after, whole.budget_exceeded, whole.guarantee) == (62, True, "kept")


def test_what_is_compressed_stands_in_the_chunk() -> None:
    text = " ".join(f"The {n}th river is {n * 7} miles long." for n in range(12))
    hits = [Hit(Chunk(id=f"c{n}", text=text.replace("river", f"river{n}")), 3.0) for n in range(3)]
    made = Tighten(
        SCALE, floor_at(0.5), options=TightenOptions(max_tokens=150), compressor=Extractive()
    )
    result = made.tighten("How long is the 3th river?", hits)
    assert result.is_compressed
    for one in result.kept:
        for span in one.spans or ():
            assert one.hit.chunk.text[span.start : span.end] in one.text


def test_a_budget_without_a_floor_may_leave_nothing() -> None:
    result = Tighten(options=TightenOptions(max_tokens=5), count=count).tighten("q", hits_of([1.0]))
    assert (result.kept, result.abstain, result.budget_exceeded) == ((), True, False)


def test_repeated_content_is_worth_less() -> None:
    # c1 says half of what c0 says; c2, less likely, is all new.
    base = sentence(0, 20)
    hits = [
        Hit(Chunk(id="c0", text=base), 3.0),
        Hit(Chunk(id="c1", text=f"{' '.join(base.split()[:16])} {sentence(7, 4)}"), -0.5),
        Hit(Chunk(id="c2", text=sentence(2, 20)), -0.9),
    ]
    result = tight(0.9, k_min=3, max_tokens=42).tighten("q", hits)
    assert {hit.chunk.id for hit in result.hits} == {"c0", "c2"}


# Order ----------------------------------------------------------------------------------------


def chunk(source: str, start: int) -> Hit:
    return Hit(
        Chunk(id=f"{source}{start}", text=f"{source} {start}", source=source, start=start), 0
    )


def test_documents_by_score_and_chunks_as_they_stand() -> None:
    hits = [chunk("b", 50), chunk("a", 10), chunk("b", 0), chunk("", 3), chunk("", 1)]
    assert prompt_order(hits) == [2, 0, 1, 3, 4]


def test_edges_from_eleven_on() -> None:
    ten, eleven = ([chunk(f"d{n:02}", 0) for n in range(size)] for size in (10, EDGES_FROM))
    assert EDGES_FROM == 11
    assert prompt_order(ten) == list(range(10))
    assert prompt_order(eleven) == [0, 2, 4, 6, 8, 10, 9, 7, 5, 3, 1]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 9)), max_size=25))
def test_every_place_once_and_documents_together(drawn: list[tuple[str, int]]) -> None:
    hits = [chunk(source, start) for source, start in drawn]
    order = prompt_order(hits)
    assert sorted(order) == list(range(len(hits)))
    for source in "abc":
        places = [at for at, place in enumerate(order) if hits[place].chunk.source == source]
        assert places == list(range(places[0], places[0] + len(places))) if places else True
        starts = [hits[order[at]].chunk.start for at in places]
        assert starts == sorted(starts)


# Fitting --------------------------------------------------------------------------------------


class Overlap:
    """Words in common, and some noise that comes back."""

    id = "overlap"

    def score(self, query: str, chunks: Sequence[Chunk]) -> np.ndarray:
        asked = set(query.split())
        shared = [len(asked & set(chunk.text.split())) for chunk in chunks]
        noise = [np.random.default_rng(len(chunk.text)).normal(0, 0.3) for chunk in chunks]
        return np.array(shared, dtype=np.float32) + np.array(noise, dtype=np.float32)


def labelled(count_of: int, seed: int = 0) -> list[LabelledQuery]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count_of):
        asked = [f"q{number}a", f"q{number}b", f"q{number}c"]
        chunks = []
        for place in range(12):
            own = rng.integers(1, 4) if place < 2 else rng.integers(0, 2)
            text = f"{' '.join(asked[:own])} {sentence(number * 100 + place, rng.integers(5, 30))}"
            chunks.append(Chunk(id=f"{number}-{place}", text=text.strip()))
        found.append(
            LabelledQuery(
                query=" ".join(asked),
                hits=tuple(Hit(one, 0.0) for one in chunks),
                gold=frozenset({f"{number}-0", f"{number}-1"}),
            )
        )
    return found


def test_fitting_on_some_keeps_the_evidence_of_others() -> None:
    made = Tighten.fit(Overlap(), labelled(120), alpha=0.1)
    assert made.scorer_id == "overlap"
    assert made.floor is not None
    assert made.floor.certificate.holds
    whole, sent = 0, []
    for one in labelled(300, seed=1):
        result = made.run(Overlap(), one.query, one.hits)
        whole += one.gold <= {hit.chunk.id for hit in result.hits}
        sent.append(result.ratio)
    assert whole >= 0.85 * 300
    assert np.mean(sent) < 0.7


def test_evidence_that_is_a_copy_counts_with_what_it_copies() -> None:
    hits = (
        Hit(Chunk(id="kept", text=TEXT), 2.0),
        Hit(Chunk(id="copy", text=TEXT), -3.0),
        Hit(Chunk(id="other", text=sentence(1, 9)), -1.0),
    )
    asked = LabelledQuery(query="q", hits=hits, gold=frozenset({"copy", "gone"}))
    found = tight(0.5).evidence(asked)
    assert found is not None
    assert found.owed == 2
    assert found.found == (pytest.approx(1 / (1 + math.exp(-2))),)
    assert tight(0.5).evidence(LabelledQuery(query="q", hits=hits, gold=frozenset())) is None


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="needs both kinds"):
        Tighten.fit(Overlap(), [])
    nobody = [
        LabelledQuery(query=one.query, hits=one.hits, gold=frozenset()) for one in labelled(3)
    ]
    with pytest.raises(InputError, match="needs both kinds"):
        Tighten.fit(Overlap(), nobody)
    with pytest.raises(InputError, match="go together"):
        Tighten(SCALE)


def test_saving_and_loading(tmp_path: Path) -> None:
    made = Tighten.fit(
        Overlap(), labelled(60), alpha=0.1, promise="mean recall", options=TightenOptions(k_max=7)
    )
    made.save(tmp_path / "tight.json")
    again = Tighten.load(tmp_path / "tight.json", compressor=FirstWords(), count=count)
    assert (again.calibration, again.floor, again.options) == (
        made.calibration,
        made.floor,
        made.options,
    )
    one = labelled(1, seed=5)[0]
    results = [some.run(Overlap(), one.query, one.hits) for some in (made, again)]
    assert [hit.chunk.id for hit in results[0].hits] == [hit.chunk.id for hit in results[1].hits]
    content = json.loads((tmp_path / "tight.json").read_text())
    for change, told in (
        ({"version": 7}, "tight.json: kind .* upgrade"),
        ({"floor": None}, "go together"),
        ({"options": {"k_mix": 3}}, "not a tight top-k"),
        ({"options": {"k_min": 0}}, "k_min=0"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=told.replace("tight.json", "bad.json")):
            Tighten.load(tmp_path / "bad.json")
    Tighten(options=TightenOptions(k_max=9)).save(tmp_path / "plain.json")
    assert Tighten.load(tmp_path / "plain.json").options.k_max == 9


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"k_min": 0}, "k_min=0"),
        ({"k_min": 5, "k_max": 4}, "k_min <= k_max"),
        ({"hard_limit": 0}, "hard_limit=0"),
        ({"hard_limit": 2, "k_min": 3}, "below k_min=3"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_tokens": True}, "max_tokens=True"),
        ({"p_min": 1.5}, "p_min=1.5"),
        ({"containment": 0}, "containment=0"),
        ({"compressed_ratio": math.nan}, "compressed_ratio=nan"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        TightenOptions(**options)  # type: ignore[arg-type]


# What it says ---------------------------------------------------------------------------------


def test_the_decision_explains_itself() -> None:
    hits = hits_of([2.0, 1.0, -3.0])
    hits[1] = Hit(Chunk(id="c1", text=hits[1].chunk.text, title="A <b>title</b>"), 1.0)
    result = tight(0.5).tighten("q", hits)
    told = result.explain()
    assert told.splitlines()[0] == str(result)
    assert "2 of 3 chunks kept" in told
    assert "all evidence kept with probability >= 0.9" in told
    assert "below the floor" in told
    assert "0.881" in told
    assert "&lt;b&gt;" in result._repr_html_()
    assert "<b>" not in result._repr_html_()
    assert "p >= 0.5" in tight(0.5)._repr_html_().replace("&gt;", ">")


def test_the_plot_shows_every_candidate_and_the_floor() -> None:
    pytest.importorskip("matplotlib")
    axes = tight(0.5).tighten("q", hits_of([2.0, 1.0, -3.0])).plot().axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == pytest.approx(
        sorted(1 / (1 + np.exp([-2.0, -1.0, 3.0])))
    )
    assert axes.lines[0].get_ydata()[0] == 0.5
    bare = Tighten(count=count)
    assert len(bare.tighten("q", []).plot().axes[0].patches) == 0
    assert bare.tighten("q", hits_of([2.0])).plot().axes[0].get_ylabel() == "score"


def test_results_of_texts_are_remembered_not_mixed_up() -> None:
    calls: list[str] = []

    def measured(text: str) -> int:
        calls.append(text)
        return len(text)

    known = Remembered(measured)
    assert [known(text) for text in ("a", "bb", "a", "bb")] == [1, 2, 1, 2]
    assert calls == ["a", "bb"]
    long = "x" * 50_000
    assert [known(long), known(long)] == [50_000, 50_000]
    assert len(calls) == 4
