"""AutoBudget: the smallest budget that keeps the evidence, with a certificate."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import (
    AutoBudget,
    Extractive,
    LabelledContext,
    Span,
    StopwordPruner,
    Truncate,
)
from ragopt.errors import InputError
from ragopt.quality import Floor

WORDS = (
    "amber birch cedar delta ember frost grove hazel inlet jetty knoll larch maple north".split()
)


def count(text: str) -> int:
    return len(text.split())


def labelled(number: int, seed: int = 0, *, place: int | None = None) -> list[LabelledContext]:
    """Questions that one sentence of ten answers, at a known place or at any."""
    rng = random.Random(seed)
    found = []
    for n in range(number):
        texts = [
            f"The {' and the '.join(rng.sample(WORDS, 4))} were seen {rng.randint(2, 99)} times."
            for _ in range(9)
        ]
        at = rng.randrange(10) if place is None else place
        texts.insert(at, f"The harbour of Zanzibar{n} was built in {1900 + n} by sailors.")
        text = " ".join(texts)
        start = len(" ".join(texts[:at])) + (at > 0)
        found.append(
            LabelledContext(
                f"When was the harbour of Zanzibar{n} built?",
                (Hit(Chunk(f"c{n}", text), 1.0),),
                (Span(f"c{n}", start, start + len(texts[at])),),
            )
        )
    return found


def test_the_smallest_budget_that_keeps_the_evidence() -> None:
    # The third sentence of ten answers: three tenths of the head hold it.
    auto = AutoBudget.fit(Truncate(count=count), labelled(80, place=2), floor=0.9, count=count)
    assert auto.profile == "ratio"
    assert 0.3 <= auto.setting <= 0.4
    assert auto.certificate.holds
    assert auto.certificate.n == 40
    fresh = labelled(50, seed=9, place=2)
    results = [auto.compress(one.query, one.hits) for one in fresh]
    assert all(one.kept_by(result) for one, result in zip(fresh, results, strict=True))
    assert all(result.ratio <= auto.setting + 0.05 for result in results)


def test_a_truncation_that_finds_evidence_anywhere_keeps_everything() -> None:
    auto = AutoBudget.fit(Truncate(count=count), labelled(160), floor=0.95, count=count)
    assert auto.setting == 1.0
    one = labelled(1, seed=5)[0]
    result = auto.compress(one.query, one.hits)
    assert "the whole context is needed" in str(result.skipped_reason)


def test_the_profile_that_leaves_fewer_tokens_is_taken() -> None:
    queries = labelled(80)
    compressor = Extractive(count=count)
    both = AutoBudget.fit(compressor, queries, floor=0.9, count=count)
    single = [
        AutoBudget.fit(compressor, queries, floor=0.9, profiles=[name], count=count)
        for name in ("ratio", "score")
    ]
    assert both.certificate.holds
    assert both.mean_ratio == min(one.mean_ratio for one in single) < 0.2
    assert both.profile == min(single, key=lambda one: one.mean_ratio).profile


def test_rewriting_compressors_are_judged_by_their_words() -> None:
    queries = labelled(40)
    auto = AutoBudget.fit(StopwordPruner(count=count), queries, floor=0.8, count=count)
    # Every sentence loses its "The": only the whole context holds one word for word.
    assert auto.setting == 1.0


def test_too_few_queries_for_a_certificate_compress_nothing() -> None:
    queries = labelled(40, place=2)
    floor = Floor(metric="evidence kept", at_least=0.9, confidence=0.99)
    auto = AutoBudget.fit(Truncate(count=count), queries, floor=floor, count=count)
    assert auto.certificate.floor is floor
    assert not auto.certificate.holds
    one = queries[0]
    result = auto.compress(one.query, one.hits)
    assert result.tokens_after == result.tokens_before
    assert "not certified: evidence kept >= 0.9 at 99% confidence" in str(result.skipped_reason)
    # A limit of the caller's is kept to all the same.
    assert auto.compress(one.query, one.hits, max_tokens=20).tokens_after <= 20


def test_the_callers_limit_is_kept_to() -> None:
    auto = AutoBudget.fit(Truncate(count=count), labelled(80, place=5), floor=0.9, count=count)
    one = labelled(1, seed=4, place=5)[0]
    free = auto.compress(one.query, one.hits)
    tight = auto.compress(one.query, one.hits, max_tokens=20)
    assert tight.tokens_after <= 20 < free.tokens_after


def test_stored_with_its_certificate(tmp_path: Path) -> None:
    auto = AutoBudget.fit(Truncate(count=count), labelled(80, place=2), floor=0.9, count=count)
    path = tmp_path / "auto.json"
    auto.save(path)
    again = AutoBudget.load(path, Truncate(count=count), count=count)
    assert again.certificate == auto.certificate
    assert (again.profile, again.setting, again.mean_ratio) == (
        auto.profile,
        auto.setting,
        auto.mean_ratio,
    )
    one = labelled(1, seed=3)[0]
    assert again.compress(one.query, one.hits) == auto.compress(one.query, one.hits)
    with pytest.raises(InputError, match=r"fitted for Truncate.*, not for Extractive"):
        AutoBudget.load(path, Extractive())


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"kind": "ragopt auto budget", "version": 2}', b"\xff\xfe"]
)
def test_other_files_are_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "auto.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"auto\.json"):
        AutoBudget.load(path, Truncate())


@pytest.mark.parametrize("change", [{"setting": "x"}, {"setting": 2}, {"profile": "odd"}])
def test_altered_files_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "auto.json"
    AutoBudget.fit(Truncate(count=count), labelled(20), floor=0.5, count=count).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"setting=|could not convert"):
        AutoBudget.load(path, Truncate())


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="19 labelled queries"):
        AutoBudget.fit(Truncate(), labelled(19), floor=0.9)
    with pytest.raises(InputError, match=r"floor=1\.0"):
        AutoBudget.fit(Truncate(), labelled(20), floor=1.0)
    with pytest.raises(InputError, match="'score' is one of Extractive"):
        AutoBudget.fit(Truncate(), labelled(20), floor=0.5, profiles=["score"])
    hit = Hit(Chunk("a", "text"), 0.0)
    with pytest.raises(InputError, match="no evidence"):
        LabelledContext("q", (hit,), ())
    with pytest.raises(InputError, match="lies in none"):
        LabelledContext("q", (hit,), (Span("a", 0, 5),))
