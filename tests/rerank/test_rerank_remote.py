"""Rerankers behind an API: the real litellm against a server that speaks their protocols."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from typing import Any

import pytest
from rerank_made import chunks_of, order_of, sheet_of

from ragopt.cost.tokens import TokenCounter
from ragopt.errors import BackendMissing, InputError
from ragopt.rerank import RemoteReranker, Reranker

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it looks for a newer one in the network
litellm = pytest.importorskip("litellm")

# pydantic on types of litellm, when they are first used
pytestmark = pytest.mark.filterwarnings("ignore")

KEY = "key-0123456789"
WORDS = TokenCounter(lambda text: len(text.split()), "words")
CHUNKS = chunks_of("a 2", "b 9", "c 1", "d 7")
SHEET = sheet_of(
    {"name": "rerank-v3.5", "provider": "cohere", "mode": "rerank", "per_search": Decimal("0.002")},
    {
        "name": "jina-reranker-v2-base-multilingual",
        "provider": "jina_ai",
        "mode": "rerank",
        "input": Decimal("0.0001"),
    },
    {
        "name": "voyage/rerank-2.5",
        "provider": "voyage",
        "mode": "rerank",
        "input": Decimal("0.001"),
    },
)


def ranked(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Every document with its last number over ten, best first, as all three providers do."""
    found = [
        {"index": place, "relevance_score": int(text.split()[-1]) / 10}
        for place, text in enumerate(request["documents"])
    ]
    return sorted(found, key=lambda each: -each["relevance_score"])


def cohere(request: dict[str, Any]) -> dict[str, Any]:
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return {"id": "c1", "results": ranked(request), "meta": meta}


def jina(request: dict[str, Any]) -> dict[str, Any]:
    return {"model": request["model"], "results": ranked(request), "usage": {"total_tokens": 40}}


def voyage(request: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": ranked(request), "usage": {"total_tokens": 30}}


PROVIDERS = {
    "cohere/rerank-v3.5": (cohere, "/v2/rerank", Decimal("0.002")),
    "jina_ai/jina-reranker-v2-base-multilingual": (jina, "/v1/rerank", Decimal("0.004")),
    "voyage/rerank-2.5": (voyage, "/v1/rerank", Decimal("0.03")),
}


def scorer_of(endpoint: Any, model: str = "cohere/rerank-v3.5", **options: Any) -> RemoteReranker:
    given = {"prices": SHEET, "counter": WORDS, "sleep": lambda seconds: None, **options}
    return RemoteReranker(model, api_key=KEY, api_base=endpoint.url, **given)


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_provider_scores_and_bills(model: str, serve: Any) -> None:
    answer, path, usd = PROVIDERS[model]
    endpoint = serve(answer)
    scorer = scorer_of(endpoint, model)
    found = scorer.scored("which letter", CHUNKS)
    assert found.failed == ""
    assert found.values.tolist() == pytest.approx([0.2, 0.9, 0.1, 0.7])
    assert (found.usd, found.calls) == (usd, 1)
    [(asked_path, headers, request)] = endpoint.requests
    assert asked_path.startswith(path)
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == (
        f"Bearer {KEY}"
    )
    assert request["query"] == "which letter"
    assert request["documents"] == [chunk.text for chunk in CHUNKS]
    assert isinstance(scorer, Reranker)


@pytest.mark.parametrize("model", PROVIDERS)
def test_so_it_does_asynchronously(model: str, serve: Any) -> None:
    answer, _, usd = PROVIDERS[model]
    scorer = scorer_of(serve(answer), model)
    found = asyncio.run(scorer.ascored("which letter", CHUNKS))
    assert found.failed == ""
    assert order_of(found.values) == [1, 3, 0, 2]
    assert found.usd == usd


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_provider_is_asked_again(model: str, status: int, serve: Any) -> None:
    endpoint = serve(PROVIDERS[model][0])
    endpoint.script.append((status, {"retry-after": "1"}))
    pauses: list[float] = []
    scorer = scorer_of(endpoint, model, sleep=pauses.append)
    found = scorer.scored("q", CHUNKS)
    assert found.failed == ""
    assert (found.calls, len(endpoint.requests), len(pauses)) == (2, 2, 1)
    assert scorer.outcomes == {"retried": 1}


def test_one_that_stays_down_leaves_the_order_of_arrival(serve: Any) -> None:
    endpoint = serve(cohere)
    endpoint.script.extend([(500, {})] * 3)
    scorer = scorer_of(endpoint)
    found = scorer.scored("q", CHUNKS)
    assert order_of(found.values) == [0, 1, 2, 3]
    assert found.failed.startswith("cohere/rerank-v3.5: ")
    assert KEY not in found.failed
    assert found.usd == 0
    assert len(endpoint.requests) == 3
    assert scorer.outcomes == {"failed": 1}


def test_a_wrong_key_is_not_tried_again(serve: Any) -> None:
    endpoint = serve(cohere)
    endpoint.script.append((401, {}))
    assert scorer_of(endpoint).scored("q", CHUNKS).failed
    assert len(endpoint.requests) == 1


def test_one_that_does_not_answer_is_given_up_and_may_have_billed(serve: Any) -> None:
    endpoint = serve(cohere)
    endpoint.script.append((0, {}))
    found = scorer_of(endpoint, timeout_s=0.2, retries=0).scored("q", CHUNKS)
    assert "imeout" in found.failed
    assert found.usd is None


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([{"index": 0, "relevance_score": 0.5}], "scores for 1 of 4 chunks"),
        ([{"index": 9, "relevance_score": 0.5}], "a score for chunk 9 of 4"),
        ([], "scores for 0 of 4 chunks"),
    ],
)
def test_answers_that_rank_nothing_are_a_failure(results: Any, said: str, serve: Any) -> None:
    endpoint = serve(lambda request: {"id": "c1", "results": results, "meta": {}})
    found = scorer_of(endpoint).scored("q", CHUNKS)
    assert said in found.failed
    assert found.usd is None
    assert len(endpoint.requests) == 1


def test_chunks_without_a_word_are_not_sent_and_come_last(serve: Any) -> None:
    endpoint = serve(cohere)
    found = scorer_of(endpoint).scored("q", chunks_of("", "a 2", " \n", "b 9"))
    assert order_of(found.values) == [3, 1, 0, 2]
    assert endpoint.requests[0][2]["documents"] == ["a 2", "b 9"]
    assert scorer_of(endpoint).scored("q", []).values.shape == (0,)
    assert scorer_of(endpoint).scored("q", chunks_of("", " ")).calls == 0
    assert len(endpoint.requests) == 1


def test_chunks_beyond_the_limit_are_named(serve: Any) -> None:
    scorer = scorer_of(serve(cohere), max_tokens=4)
    found = scorer.scored("two words", chunks_of("x 1", "x y 2", "z 3"))
    assert found.read_in_part == (1,)


def test_the_limit_comes_from_litellm_s_table() -> None:
    long = chunks_of("word " * 1_100 + "1")
    limits = {name: RemoteReranker(name, counter=WORDS)._max_tokens for name in PROVIDERS}
    assert limits == {
        "cohere/rerank-v3.5": 4096,
        "jina_ai/jina-reranker-v2-base-multilingual": 1024,
        "voyage/rerank-2.5": 32000,
    }
    assert len(long[0].text.split()) > 1024


def test_quotes_follow_the_providers_units() -> None:
    many = chunks_of(*[f"a {number}" for number in range(101)])
    per_search = RemoteReranker("cohere/rerank-v3.5", prices=SHEET, counter=WORDS)
    assert per_search.quote("q", many[:100]) == Decimal("0.002")
    assert per_search.quote("q", many) == Decimal("0.004")
    # 600 words and the question's one count as two documents.
    assert per_search.quote("q", [*many[:99], *chunks_of("word " * 600)]) == Decimal("0.004")
    per_token = RemoteReranker("voyage/rerank-2.5", prices=SHEET, counter=WORDS)
    assert per_token.quote("two words", many[:3]) == Decimal("0.001") * 3 * (2 + 2)
    assert per_token.quote("q", []) == 0


def test_a_model_without_a_price_costs_an_unknown_amount(serve: Any) -> None:
    scorer = scorer_of(serve(cohere), "cohere/rerank-v9")
    assert scorer.price is None
    assert scorer.scored("q", CHUNKS).usd is None
    assert scorer.quote("q", CHUNKS) is None


def test_the_shipped_sheet_prices_all_three() -> None:
    assert all(RemoteReranker(name).price is not None for name in PROVIDERS)


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"retries": -1}, {"max_tokens": 0}, {"backoff_s": -1}]
)
def test_settings_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        RemoteReranker("cohere/rerank-v3.5", **options)


def test_without_litellm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(BackendMissing, match=r"ragopt\[litellm\]"):
        RemoteReranker("cohere/rerank-v3.5")
