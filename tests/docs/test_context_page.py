"""The examples of docs/context.md run as written, one after the other, and what it says is so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ragopt.compress
import ragopt.rerank
from ragopt.chunk import Document
from ragopt.cli.app import app
from ragopt.compress import BreakEvenGate, Compressor, ExtractiveOptions, Span
from ragopt.corpus import Corpus
from ragopt.errors import InputError
from ragopt.llm import ExtractiveAnswerer
from ragopt.pipeline import Pipeline
from ragopt.quality import Floor
from ragopt.rerank import BM25Reranker, Tighten, TightenOptions
from ragopt.rerank.conformal import conformal_rank
from ragopt.rerank.order import EDGES_FROM

PAGE = (Path(__file__).parents[2] / "docs" / "context.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
VERBS = "rotate delete rename share archive export restore lock".split()
THINGS = "key project invoice report folder account dashboard token ticket backup".split()
NAMES = set(ragopt.rerank.__all__) | set(ragopt.compress.__all__)
ELSEWHERE = {"Billing", "Retrieved", "Stage", "StoredEmbedder"}


def documents() -> list[Document]:
    return [
        Document(
            f"{verb}-{thing}",
            f"A {thing} belongs to one team. To {verb} a {thing}, call {verb}_{thing}(). It takes "
            f"{place} seconds, and whoever owns the {thing} is told by mail when it is done.",
            f"{verb} a {thing}".capitalize(),
        )
        for place, (verb, thing) in enumerate(product(VERBS, THINGS), start=2)
    ]


def labels(corpus: Corpus) -> dict[str, Any]:
    """The names that the page takes for given."""
    texts = {chunk.id: chunk.text for chunk in corpus.chunks}
    known, marked = [], []
    for verb, thing in product(VERBS, THINGS):
        question, wanted = f"How do I {verb} a {thing}?", f"{verb}-{thing}#0"
        start = texts[wanted].index(call := f"call {verb}_{thing}()")
        known.append((question, {wanted}))
        marked.append((question, (Span(wanted, start, start + len(call)),)))
    return {"known": known, "marked": marked}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What is left after all examples have run."""
    folder = tmp_path_factory.mktemp("context") / "corpus"
    with Corpus.build(documents(), folder) as corpus:
        rules = "\n".join(f"Rule {number}: answer from the context alone." for number in range(200))
        names = {
            "corpus": corpus,
            "llm": ExtractiveAnswerer(max_sentences=1),
            "Pipeline": Pipeline,
            "rules": rules,
            "brief": rules[: len(rules) // 2],
            "context": "What was found.",
            **labels(corpus),
        }
        for block in BLOCKS:
            exec(block, names)
        yield names


def test_the_examples_run(names: dict[str, Any]) -> None:
    assert len(BLOCKS) == 4
    tight = names["tight"]
    assert tight.floor.certificate.holds
    assert not tight.floor.keeps_all
    assert "rotate_key()" in names["answer"].text
    stages = [stage.name for stage in names["answer"].stages]
    assert stages.index("rerank") < stages.index("tighten") < stages.index("compress")
    assert 0 < len(names["found"].hits) < len(names["found"].tightened.reasons) == 50


def test_scores_of_another_scorer_are_refused(names: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="fitted with scores of"):
        names["corpus"].retriever(cut=names["tight"], reranker=BM25Reranker())


def test_the_budget_is_kept(names: dict[str, Any]) -> None:
    result = names["result"]
    assert result.guarantee == "kept"
    assert result.tokens_after <= 800 < result.tokens_before
    assert not result.budget_exceeded
    assert not result.abstain


@pytest.mark.parametrize(("budget", "exceeded"), [(30, False), (5, True)])
def test_a_floor_that_is_too_large_is_compressed_and_what_is_left_reported(
    names: dict[str, Any], budget: int, exceeded: bool
) -> None:
    small, question = names["small"], "How do I rotate a key?"
    less = Tighten(
        small.calibration,
        small.floor,
        options=TightenOptions(max_tokens=budget),
        compressor=small.compressor,
    )
    result = less.tighten(question, names["retriever"].ranked(question))
    assert result.guarantee == "compressed"
    assert [hit.chunk.id for hit in result.hits] == ["rotate-key#0"]
    assert result.budget_exceeded == exceeded


def test_the_budget_is_certified(names: dict[str, Any]) -> None:
    auto = names["auto"]
    assert auto.certificate.holds
    assert len(names["examples"]) > 60
    assert auto.mean_ratio < 1
    assert "rotate_key()" in names["shorter"].text


def test_a_shortened_prefix_is_priced(names: dict[str, Any]) -> None:
    assert not names["prompt"].warnings
    assert names["prompt"].prefix_tokens >= 1024
    assert names["change"].breaks
    assert not names["change"].pays
    assert "breaks the cached prefix" in names["change"].warning


@pytest.mark.parametrize(("confidence", "enough"), [(None, 19), (0.95, 59)])
def test_so_many_questions_are_needed(confidence: float | None, enough: int) -> None:
    assert f"0.05 needs {19} labelled questions, and {59} with a confidence of 0.95" in PAGE
    assert conformal_rank(enough, 0.05, confidence) == 1
    assert conformal_rank(enough - 1, 0.05, confidence) == 0


def test_its_numbers_are_the_defaults() -> None:
    options, gate = TightenOptions(), BreakEvenGate.__init__.__kwdefaults__
    assert (options.containment, options.buffer, EDGES_FROM) == (0.85, 2, 11)
    assert ExtractiveOptions().min_gain == 0.1
    assert (gate["least_calls"], gate["retry_every"]) == (8, 200)
    assert Floor(metric="any", at_least=0.5).confidence == 0.95


def test_what_it_names_is_there() -> None:
    named = set(re.findall(r"`([A-Z][A-Za-z0-9]+)[`(.]", PAGE))
    assert named - ELSEWHERE - {"Pipeline", "Retriever"} <= NAMES
    assert {"Tighten", "AutoBudget", "Summarize", "PrefixLayout"} <= NAMES


def test_it_names_every_compressor_and_scorer() -> None:
    for module, protocol in (
        (ragopt.rerank, ragopt.rerank.Reranker),
        (ragopt.compress, Compressor),
    ):
        there = [getattr(module, name) for name in module.__all__]
        kinds = [one for one in there if isinstance(one, type) and issubclass(one, protocol)]
        missing = [
            one.__name__ for one in kinds if not inspect.isabstract(one) and one is not protocol
        ]
        assert missing
        for name in missing:
            assert f"`{name}" in PAGE


@pytest.mark.parametrize(
    "line",
    [line for line in PAGE.splitlines() if re.match(r"ragopt (rerank|compress|bench) ", line)],
)
def test_the_commands_it_names_are_there(line: str) -> None:
    command = line.split()[1:3]
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    for option in re.findall(r"--[a-z-]+", line):
        assert option in shown.output
