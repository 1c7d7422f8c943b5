from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from cache_bench_made import SMALL, paired

from ragopt.benchmarks.cache import CacheBenchOptions, bench_cache
from ragopt.benchmarks.cache.figures import unpack, unpack_rising
from ragopt.benchmarks.cache.pairs import FLOOR, check_scores, judge, operating_point, score_pairs
from ragopt.benchmarks.cache.policies import OWN, Opening
from ragopt.benchmarks.cache.recheck import recheck
from ragopt.benchmarks.cache.services import Services
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet, QueryLog
from ragopt.benchmarks.rows import BenchResult
from ragopt.cache import DEFAULT_GUARDS, SemanticCache
from ragopt.errors import InputError

OWN_NAMES = ("exact", "static", "guarded")
METRICS = (
    "hit_rate_at_precision_90",
    "hit_rate_at_precision_95",
    "hit_rate_certified_10",
    "wrong_per_hit",
    "lookup_p50_us",
    "insert_p50_us",
    "stream/hit_rate",
    "stream/wrong_per_hit",
    "stream/wrong_per_request",
    "stream/net_usd_per_1000",
)
QUESTIONS = (
    ("How do I delete a file in Linux?", "How can I delete a file in Linux?", True),
    ("How do I delete a file in Linux?", "How do I delete a file in Windows?", False),
    ("How do I cook rice?", "How do I cook rice quickly?", False),
    ("What is the capital of France?", "What's the capital of France?", True),
    ("How many days are in 3 weeks?", "How many days are in 4 weeks?", False),
    ("How do I increase the volume?", "How do I reduce the volume?", False),
    ("Who wrote Hamlet?", "Who wrote Hamlet ?", True),
    ("How do I learn French?", "What is the best way to learn French?", True),
)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    options = dataclasses.replace(SMALL, only=OWN_NAMES, protocols=("pairs", "stream", "latency"))
    return bench_cache(paired(100), options=options)


def test_every_policy_has_every_row_under_its_name(result: BenchResult) -> None:
    assert [row.name for row in result.rows] == [
        f"cache/{name}/{metric}" for name in OWN_NAMES for metric in METRICS
    ]


def test_the_result_survives_a_file(result: BenchResult, tmp_path: Path) -> None:
    result.write(tmp_path / "run.json")
    assert BenchResult.read(tmp_path / "run.json").rows == result.rows


def test_the_result_says_what_it_rests_on(result: BenchResult) -> None:
    about, details = result.about, result.details
    assert (about["dataset"], about["data_hash"], about["embedder"]) == (
        "made",
        "made",
        "made/stored",
    )
    assert details["policies"]["static"]["about"].startswith("ragopt SemanticCache")
    assert "80 requests" in details["stream"]["about"] or details["stream"]["requests"] >= 80
    json.dumps(details["curves"])


def test_shares_come_with_an_interval_around_them(result: BenchResult) -> None:
    shares = [row for row in result.rows if row.value is not None and row.unit == "ratio"]
    assert len(shares) > 6
    for row in shares:
        assert row.range is not None
        assert row.range[0] <= row.value <= row.range[1]  # type: ignore[operator]


def test_latency_is_there_for_every_size_hits_and_misses_apart(result: BenchResult) -> None:
    row = next(row for row in result.rows if row.name == "cache/static/lookup_p50_us")
    assert row.extra["entries"] == 60
    assert list(row.extra["by_size"]) == ["20", "60"]
    for size in row.extra["by_size"].values():
        assert size["hits"]["n"] + size["misses"]["n"] == 30
        assert size["same_text"]["served"] == size["similar"]["served"] == 10


def test_curves_run_from_few_wrong_hits_to_many(result: BenchResult) -> None:
    for curve in result.details["curves"]:
        for line in curve["lines"]:
            wrong = [point["x"] for point in line["points"]]
            assert wrong == sorted(wrong)
            assert all(point["low"] <= point["y"] <= point["high"] for point in line["points"])


def test_the_same_seed_gives_the_same_figures_and_another_does_not() -> None:
    options = dataclasses.replace(SMALL, only=("static",), protocols=("pairs",))
    one, again, other = (
        bench_cache(paired(40), options=dataclasses.replace(options, seed=seed))
        for seed in (0, 0, 1)
    )
    assert one.rows == again.rows
    assert one.rows != other.rows


def test_the_report_is_what_the_real_cache_serves_at_the_reported_threshold() -> None:
    dataset = paired(100)
    options = dataclasses.replace(SMALL, only=("static",), protocols=("pairs",))
    row = bench_cache(dataset, options=options).rows[0]
    rows, matrix = dataset.vectors  # type: ignore[misc]
    table = VectorTable(rows, matrix, id="again")
    split_row = row.extra["n"]
    served = 0
    for pair in dataset.pairs:
        with SemanticCache(table, threshold=row.extra["threshold"], guards=()) as cache:
            cache.put(pair.text_a, "it")
            served += cache.get(pair.text_b) is not None
    fit = row.extra["fit"]
    assert split_row + fit["n"] == len(dataset.pairs)
    assert served == pytest.approx(row.extra["hits"] + fit["hits"], abs=1)


@pytest.mark.parametrize("name", ["static", "guarded"])
def test_scores_agree_with_the_real_cache_at_any_threshold(
    name: str, tmp_path: Path, services: Services
) -> None:
    pairs = [LabelledPair(*question) for question in QUESTIONS]
    table = _words([text for pair in pairs for text in (pair.text_a, pair.text_b)])
    candidate = next(each for each in OWN if each.name == name)

    def opened(threshold: float, folder: str) -> object:
        (tmp_path / folder).mkdir()
        return candidate.open(
            Opening(table=table, threshold=threshold, folder=tmp_path / folder, services=services)
        )

    scores = score_pairs(opened(FLOOR, "floor"), pairs, table, lambda _: None)  # type: ignore[arg-type]
    guards = () if name == "static" else DEFAULT_GUARDS
    for threshold in (0.5, 0.7, 0.9):
        for pair, score in zip(pairs, scores, strict=True):
            with SemanticCache(table, threshold=threshold, guards=guards) as cache:
                cache.put(pair.text_a, "it")
                assert (cache.get(pair.text_b) is not None) == (score >= threshold * 1e6)
        asked = check_scores(
            opened(threshold, str(threshold)),  # type: ignore[arg-type]
            pairs,
            scores,
            round(threshold * 1e6),
            seed=0,
        )
        assert asked >= 6
    assert (scores == -1).any() == (name == "guarded")


def test_intents_are_a_stream_with_an_embedder_that_saw_none_of_it() -> None:
    words = "open close lock move send read copy save".split()
    texts = tuple(f"please {word} the account {n}" for word in words for n in range(12))
    intents = tuple(word for word in words for _ in range(12))
    options = dataclasses.replace(SMALL, only=OWN_NAMES, requests=50)
    result = bench_cache(IntentSet(name="made", texts=texts, intents=intents), options=options)
    assert [row.name for row in result.rows][:3] == [
        "cache/exact/stream/hit_rate",
        "cache/exact/stream/wrong_per_hit",
        "cache/exact/stream/wrong_per_request",
    ]
    assert result.details["stream"]["requests"] <= 64
    assert result.about["embedder"].startswith("lsa")


def test_a_log_tells_repeats_and_not_what_is_wrong() -> None:
    queries = tuple(f"weather in {city}" for city in ("rome", "oslo", "rome", "bonn")) * 15
    options = dataclasses.replace(SMALL, only=("exact", "static"))
    result = bench_cache(QueryLog(name="log", queries=queries), options=options)
    repeats = result.details["stream"]["repeats"]
    assert result.value("cache/exact/stream/hit_rate") == repeats["exact"]
    assert result.details["material"]["exact_repeats"] == pytest.approx(1 - 3 / 60)
    assert "wrong" not in json.dumps(result.details["policies"]["static"]["stream"])
    reasons = {row.reason for row in result.rows if row.value is None}
    assert reasons == {"nobody says which questions of a log have one answer"}


def test_pairs_without_vectors_are_embedded_by_what_was_fitted_elsewhere() -> None:
    made = paired(90)
    options = dataclasses.replace(SMALL, only=("static",), protocols=("pairs",))
    bare = PairSet(name="bare", pairs=made.pairs, about="made of letters")
    result = bench_cache(bare, options=options)
    assert result.details["notes"][0].endswith("; made of letters")
    assert result.details["material"]["pairs"] <= 2 / 3 * len(made.pairs) + 2
    assert result.about["embedder"].startswith("lsa")


def test_a_name_nobody_has_is_an_error_that_lists_the_known_ones(pairs: PairSet) -> None:
    with pytest.raises(
        InputError, match=r"exact, static, guarded, verified, certified, .*gptcache, redisvl"
    ):
        bench_cache(pairs, options=CacheBenchOptions(only=("gptcash",)))


def test_another_kind_of_dataset_is_refused() -> None:
    with pytest.raises(InputError, match="expected labelled pairs"):
        bench_cache("qqp", options=SMALL)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"pairs": 1},
        {"requests": True},
        {"exponent": -1.0},
        {"threshold": 0.0},
        {"sizes": (100, 50)},
        {"protocols": ("speed",)},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        CacheBenchOptions(**wrong)  # type: ignore[arg-type]


def test_quick_reduces_what_was_not_given() -> None:
    quick = CacheBenchOptions(quick=True, peer_pairs=50)
    assert quick.peer_pairs == 50
    assert quick.pairs == 1500
    assert quick.sizes == (1000, 5000)
    assert dataclasses.replace(quick, seed=1).pairs == 1500


def test_progress_ends_where_it_should(pairs: PairSet) -> None:
    seen: dict[str, tuple[int, int]] = {}
    options = dataclasses.replace(SMALL, only=("exact",))

    def tell(task: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        seen[task] = (done, total)

    bench_cache(pairs, options=options, progress=tell)
    assert all(done == total for done, total in seen.values())


@pytest.mark.data
def test_static_cosine_on_qqp_serves_what_the_specification_found() -> None:
    """Precision .95 never, .90 at about .059 of the pairs, .85 at about .115."""
    from ragopt.benchmarks.cache.figures import NOT_SERVED
    from ragopt.benchmarks.cache.split import halves
    from ragopt.benchmarks.datasets import data_folder, load

    if data_folder() is None:
        pytest.skip("no evaluation data: RAGOPT_DATA names none")
    dataset = load("qqp")
    assert isinstance(dataset, PairSet)
    rows, matrix = dataset.vectors  # type: ignore[misc]
    one = np.array([rows[pair.text_a] for pair in dataset.pairs])
    other = np.array([rows[pair.text_b] for pair in dataset.pairs])
    unit = matrix.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = np.einsum("ij,ij->i", unit[one], unit[other])
    scores = np.where(cosine < FLOOR, NOT_SERVED, cosine * 1e6).astype(np.int32)
    split = halves(dataset.pairs, seed=0)
    fit, report = judge(dataset.pairs, split, np.arange(len(scores)), scores)
    assert operating_point(fit, report, 0.95).threshold is None
    for precision, share in ((0.9, 0.059), (0.85, 0.115)):
        point = operating_point(fit, report, precision)
        assert point.report is not None
        assert point.report.hit_rate == pytest.approx(share, abs=0.02)


def _words(texts: list[str]) -> VectorTable:
    """Counts of character triples."""
    distinct = list(dict.fromkeys(texts))
    triples = sorted({text[n : n + 3].lower() for text in distinct for n in range(len(text) - 2)})
    matrix = np.array([[text.lower().count(each) for each in triples] for text in distinct])
    return VectorTable({text: row for row, text in enumerate(distinct)}, matrix, id="triples")


def without_numbers(pairs: PairSet) -> PairSet:
    """The same with words that no guard takes for figures."""

    def said(text: str) -> str:
        return text.replace("one", "alpha").replace("two", "beta").replace("three", "gamma")

    assert pairs.vectors is not None
    places, matrix = pairs.vectors
    return dataclasses.replace(
        pairs,
        pairs=tuple(
            LabelledPair(said(pair.text_a), said(pair.text_b), pair.same) for pair in pairs.pairs
        ),
        vectors=({said(text): place for text, place in places.items()}, matrix),
    )


def test_a_verifier_is_fitted_on_pairs_that_it_is_not_asked() -> None:
    options = dataclasses.replace(
        SMALL, pairs=None, only=("static", "verified"), protocols=("pairs", "stream")
    )
    result = bench_cache(without_numbers(paired(800)), options=options)
    assert recheck(result) == []
    log = result.details["decisions"]["policies"]
    places = {
        name: set(unpack_rising(log[name]["place_steps"]).tolist())
        for name in ("static", "verified")
    }
    fit = set(unpack(result.details["decisions"]["fit"]).tolist())
    left_out = places["static"] - places["verified"]
    assert left_out < fit
    assert 0.3 < len(left_out) / len(fit) < 0.7
    rows = {row.name: row for row in result.rows}
    certified = rows["cache/verified/hit_rate_certified_10"]
    assert certified.value is None or certified.extra["precision"] > 0.8
    assert rows["cache/verified/stream/hit_rate"].value is not None


def test_without_pairs_there_is_no_verifier() -> None:
    log = QueryLog(name="log", queries=tuple(f"query {n % 60} about {n % 7}" for n in range(300)))
    result = bench_cache(log, options=dataclasses.replace(SMALL, only=("verified",)))
    assert [row.name for row in result.rows if row.value is not None] == []
    assert any("no labelled pairs" in row.reason for row in result.rows)
