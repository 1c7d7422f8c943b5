"""Listwise reranking: permutations out of garbage, windows, costs, and a model that fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_made import chunks_of, order_of, sheet_of

from ragopt.cost.model_prices import Usage
from ragopt.cost.tokens import TokenCounter
from ragopt.errors import InputError, UnknownPrice
from ragopt.llm import AsyncOpenAIClient, Message, OpenAIClient
from ragopt.rerank import LLMReranker, rerank
from ragopt.rerank.permutation import read_permutation

WORDS = TokenCounter(lambda text: len(text.split()), "words")
SHEET = sheet_of(
    {"name": "m", "mode": "chat", "input": Decimal("0.001"), "output": Decimal("0.01")}
)


def best_number_first(prompt: str) -> str:
    """What a model would say that ranks passages by the number they end with."""
    passages = re.findall(r"^\[(\d+)\] .*?(\d+)$", prompt, re.MULTILINE)
    ranked = sorted(passages, key=lambda each: -int(each[1]))
    return " > ".join(f"[{number}]" for number, _ in ranked)


def oracle(messages: Sequence[Message]) -> str:
    return best_number_first(messages[-1].content)


# ----------------------------------------------------------------------------------- permutations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[2] > [1] > [3]", (1, 0, 2)),
        ("2 > 1 > 3", (1, 0, 2)),
        ("2, 1, 3", (1, 0, 2)),
        ("[2, 1, 3]", (1, 0, 2)),
        ("2\n1\n3", (1, 0, 2)),
        ("1. [3]\n2. [1]\n3. [2]", (2, 0, 1)),
        ("Of the 3 passages: [3] > [1] > [2]. Passage [1] is old.", (2, 0, 1)),
        ("<think>[1] > [2] > [3] looks right</think>[3] > [2] > [1]", (2, 1, 0)),
        ("[1] > [2] is my first idea. Answer: [2] > [3] > [1]", (1, 2, 0)),
        ("Only [3] helps.", (2, 0, 1)),
    ],
)
def test_orders_are_read_however_they_are_written(text: str, expected: tuple[int, ...]) -> None:
    assert read_permutation(text, 3).order == expected


def test_what_was_wrong_with_an_answer_is_counted() -> None:
    found = read_permutation("[2] > [2] > [9] > [0] > [4]", 5)
    assert found.order == (1, 3, 0, 2, 4)
    assert (found.missing, found.doubled, found.unknown) == (3, 1, 2)
    assert found.readable
    assert not found.clean
    assert read_permutation("[2] > [1]", 2).clean


@pytest.mark.parametrize("text", ["", "I cannot rank these.", "<think>[1] > [2]", "-1, v2.5"])
def test_an_answer_without_a_passage_is_not_readable(text: str) -> None:
    found = read_permutation(text, 3)
    assert found.order == (0, 1, 2)
    assert not found.readable


@given(
    st.one_of(st.text(max_size=80), st.text("[]>0123456789, \n", max_size=80)), st.integers(1, 9)
)
def test_any_text_gives_a_permutation(text: str, count: int) -> None:
    found = read_permutation(text, count)
    assert sorted(found.order) == list(range(count))
    assert 0 <= found.missing <= count


def test_a_number_longer_than_python_reads_is_no_passage() -> None:
    assert read_permutation(f"[{'1' * 10_000}] > [2]", 2).unknown == 1


# ---------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 20])
def test_windows_bring_the_best_to_the_top_from_anywhere(count: int) -> None:
    texts = [f"passage {number}" for number in range(count)]
    scorer = LLMReranker(oracle, window=4, step=2)
    found = scorer.scored("q", chunks_of(*texts))
    # A pass carries window - step passages along: the two best are at the top, best first.
    assert order_of(found.values)[:2] == sorted(range(count), reverse=True)[:2]
    assert sorted(order_of(found.values)) == list(range(count))
    assert found.calls == (0 if count < 2 else max(0, -(-(count - 4) // 2)) + 1)


def test_windows_run_from_the_back_to_the_front() -> None:
    shown: list[list[str]] = []

    def model(messages: Sequence[Message]) -> str:
        shown.append(re.findall(r"^\[\d+\] (.*)$", messages[-1].content, re.MULTILINE))
        return "[1] > [2] > [3]"

    LLMReranker(model, window=3, step=2).scored("q", chunks_of(*"abcdef"))
    assert shown == [["d", "e", "f"], ["b", "c", "d"], ["a", "b", "c"]]


def test_long_passages_are_shown_in_part_and_that_is_said() -> None:
    shown: list[str] = []

    def model(messages: Sequence[Message]) -> str:
        shown.append(messages[-1].content)
        return "[1] > [2]"

    scorer = LLMReranker(model, passage_words=3)
    found = scorer.scored("q", chunks_of("one two three", "one two three four"))
    assert found.read_in_part == (1,)
    assert "four" not in shown[0]


# ------------------------------------------------------------------------------- costs and faults


def test_tokens_and_dollars_of_all_windows_are_told() -> None:
    scorer = LLMReranker(oracle, window=3, step=2, model="m", prices=SHEET, counter=WORDS)
    found = scorer.scored("q", chunks_of("a 1", "b 2", "c 3", "d 4", "e 5"))
    assert found.calls == 2
    assert found.usage.input > 0
    assert found.usage.output == 10  # "[1] > [2] > [3]", twice
    rate = Decimal("0.001") * found.usage.input + Decimal("0.01") * found.usage.output
    assert found.usd == rate
    assert scorer.outcomes == {"clean": 2, "failed": 0, "repaired": 0, "unreadable": 0}


def test_a_quote_counts_the_same_input() -> None:
    scorer = LLMReranker(oracle, model="m", prices=SHEET, counter=WORDS)
    chunks = chunks_of("a 1", "b 2", "c 3")
    found = scorer.scored("q", chunks)
    quoted = scorer.quote("q", chunks)
    assert quoted == Decimal("0.001") * found.usage.input + Decimal("0.01") * 6 * 3
    assert scorer.quote("q", []) == 0


def test_without_a_price_the_cost_is_unknown_not_nothing() -> None:
    scorer = LLMReranker(oracle, counter=WORDS)
    assert scorer.scored("q", chunks_of("a 1", "b 2")).usd is None
    assert scorer.scored("q", chunks_of("a 1")).usd == 0
    assert scorer.quote("q", chunks_of("a 1")) is None
    with pytest.raises(UnknownPrice, match="no-such-model"):
        LLMReranker(oracle, model="no-such-model", prices=SHEET)


def test_a_model_that_fails_leaves_the_order_of_arrival_and_is_counted() -> None:
    calls: list[int] = []

    def model(messages: Sequence[Message]) -> str:
        calls.append(len(calls))
        if len(calls) == 2:
            raise RuntimeError("out of cheese")
        return oracle(messages)

    scorer = LLMReranker(model, window=3, step=2, model="m", prices=SHEET, counter=WORDS)
    found = scorer.scored("q", chunks_of("a 1", "b 2", "c 3", "d 4", "e 5"))
    assert order_of(found.values) == [0, 1, 2, 3, 4]
    assert "out of cheese" in found.failed
    assert scorer.outcomes["failed"] == 1
    assert scorer.outcomes["clean"] == 1
    assert found.usd is not None
    assert found.usd > 0  # the first window was billed all the same


@pytest.mark.parametrize("answer", [None, 7, b"[1] > [2]"])
def test_a_model_that_answers_no_text_fails_only_itself(answer: Any) -> None:
    found = LLMReranker(lambda messages: answer).scored("q", chunks_of("a 1", "b 2"))
    assert "expected a Completion or a str" in found.failed


def test_answers_that_name_no_passage_are_a_failure() -> None:
    scorer = LLMReranker(lambda messages: "No.")
    found = scorer.scored("q", chunks_of("a 1", "b 2"))
    assert found.failed == "no answer names a passage"
    assert order_of(found.values) == [0, 1]
    assert scorer.outcomes["unreadable"] == 1


def test_one_window_without_an_answer_keeps_its_order() -> None:
    answers = iter(["No.", "[3] > [2] > [1]"])
    found = LLMReranker(lambda messages: next(answers), window=3, step=2).scored(
        "q", chunks_of(*"abcde")
    )
    assert order_of(found.values) == [2, 1, 0, 3, 4]
    assert found.failed == ""
    assert found.notes == ("1 of 2 answers unreadable",)


@pytest.mark.parametrize(
    "options", [{"window": 1}, {"step": 0}, {"window": 3, "step": 4}, {"passage_words": 0}]
)
def test_sizes_that_rank_nothing_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        LLMReranker(oracle, **options)


# -------------------------------------------------------------------------------- a real endpoint


def completion(request: dict[str, Any]) -> dict[str, Any]:
    text = best_number_first(request["messages"][-1]["content"])
    return {
        "object": "chat.completion",
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


CHUNKS = chunks_of("a 2", "b 9", "c 1", "d 7", "e 8")


def test_an_endpoint_ranks_and_bills(serve: Any) -> None:
    endpoint = serve(completion)
    endpoint.script.append((503, {}))
    address = {"base_url": f"{endpoint.url}/v1", "api_key": "sk-test"}
    with OpenAIClient(model="m", sleep=lambda seconds: None, **address) as client:
        scorer = LLMReranker(client, window=4, step=2, prices=SHEET)
        found = scorer.scored("q", CHUNKS)
    assert order_of(found.values) == [1, 4, 3, 0, 2]
    assert found.usage == Usage(input=200, output=20)
    assert found.usd == Decimal("0.4")
    assert len(endpoint.requests) == 3


def test_so_it_does_asynchronously(serve: Any) -> None:
    endpoint = serve(completion)

    async def ask() -> Any:
        async with AsyncOpenAIClient(
            model="m", base_url=f"{endpoint.url}/v1", api_key="sk-test"
        ) as client:
            return await LLMReranker(client, window=4, step=2, prices=SHEET).ascored("q", CHUNKS)

    found = asyncio.run(ask())
    assert order_of(found.values) == [1, 4, 3, 0, 2]
    assert found.usd == Decimal("0.4")


def test_an_endpoint_that_stays_down_changes_nothing(serve: Any) -> None:
    endpoint = serve(completion)
    endpoint.script.extend([(500, {})] * 2)
    address = {"base_url": f"{endpoint.url}/v1", "api_key": "sk-test"}
    with OpenAIClient(model="m", retries=1, sleep=lambda seconds: None, **address) as client:
        found = LLMReranker(client, prices=SHEET).scored("q", CHUNKS)
    assert order_of(found.values) == [0, 1, 2, 3, 4]
    assert "HTTP 500" in found.failed
    assert "sk-test" not in found.failed


def test_it_is_a_reranker_like_any_other() -> None:
    from ragopt.chunk import Hit

    hits = [Hit(chunk, 0.5) for chunk in CHUNKS]
    assert [hit.chunk.text for hit in rerank(LLMReranker(oracle), "q", hits)][:2] == ["b 9", "e 8"]
