"""LLMLingua, LongLLMLingua and LLMLingua-2 through the real package, with tiny models made here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_causal, save_token_classifier

from ragopt.chunk import Chunk, Hit
from ragopt.compress import LLMLinguaCompressor
from ragopt.compress.lingua_package import VARIANTS, Variant
from ragopt.compress.whole_words import Source, aligned
from ragopt.errors import BackendMissing, InputError

TOPICS = "Cedar Maple Birch Aspen Willow Alder Rowan Hazel Linden Elm".split()
TEXTS = [
    f"The bucket {name} keeps its objects for {30 + place} days. Objects of {name} are copied to "
    f"another region every night, and an owner may restore each of them for {2 + place} weeks. "
    f"It must not be opened by guests of the {name} project, unless the owner agrees."
    for place, name in enumerate(TOPICS)
]
QUERY = "How long does the bucket Cedar keep its objects?"
CODE = "```python\nkeep = {'Cedar': 30}  # days, not weeks\n```"
JSON = '{"bucket": "Cedar", "days": [30, 31]}'
TABLE = "| bucket | days |\n|---|---|\n| Cedar | 30 |"
LINKS = "See [the page](https://example.org/cedar?days=30) and https://example.org/b.c [12]."


def count(text: str) -> int:
    return len(text.split())


HITS = [Hit(Chunk(str(n), text, title=TOPICS[n]), 1.0 - n / 10) for n, text in enumerate(TEXTS)]
FENCED = [
    Hit(Chunk("fenced", "\n\n".join([TEXTS[0], CODE, TEXTS[1], JSON, LINKS, TABLE])), 1.0),
    *HITS[2:],
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("llmlingua", reason="llmlingua is not installed")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lingua")
    causal = save_causal(folder / "tiny-gpt2", [*TEXTS, QUERY])
    classifier = save_token_classifier(folder / "tiny-xlm-roberta-large", [*TEXTS, QUERY])
    return {"llmlingua": causal, "longllmlingua": causal, "llmlingua2": classifier}


@pytest.fixture(params=VARIANTS)
def compressor(request: pytest.FixtureRequest, models: dict[str, Path]) -> LLMLinguaCompressor:
    variant: Variant = request.param
    return LLMLinguaCompressor(models[variant], variant=variant, count=count)


# These packages warn of one another's and of their own old names.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_whole_words_of_the_source_in_their_order(compressor: LLMLinguaCompressor) -> None:
    budget = sum(count(f"{hit.chunk.title} {hit.chunk.text}") for hit in HITS) // 2
    result = compressor.compress(QUERY, HITS, max_tokens=budget)
    assert result.skipped_reason is None
    assert result.tokens_after == count(result.text) <= budget
    assert result.spans == ()
    assert result.ms > 0
    for part in result.chunks:
        left = iter(part.chunk.text.split())
        assert all(any(word in whole for whole in left) for word in part.text.split())
        assert part.rendered.startswith(f"{part.chunk.title}\n")
        if "opened" in part.text or "guests" in part.text:
            assert "must not be" in part.text


def test_what_is_fenced_off_comes_out_byte_for_byte(compressor: LLMLinguaCompressor) -> None:
    result = compressor.compress(QUERY, FENCED)
    assert result.skipped_reason is None
    assert result.tokens_after < result.tokens_before
    text = result.chunks[0].text
    for whole in (CODE, JSON, TABLE, "[the page](https://example.org/cedar?days=30)", "[12]"):
        assert whole in text
    assert text.index(CODE) < text.index(JSON) < text.index(TABLE)


def test_long_contexts_are_handed_on_in_several_windows(compressor: LLMLinguaCompressor) -> None:
    long = [Hit(Chunk(f"{n}", TEXTS[n % 10]), 0.0) for n in range(60)]
    result = compressor.compress(QUERY, long, max_tokens=700)
    assert result.skipped_reason is None
    assert result.tokens_after <= 700


def test_the_question_is_not_part_of_the_result(compressor: LLMLinguaCompressor) -> None:
    result = compressor.compress("Zanzibar quokka xylophone?", HITS)
    assert not {"Zanzibar", "quokka", "xylophone"} & set(result.text.replace("?", "").split())


def test_within_the_budget_no_model_is_asked(tmp_path: Path) -> None:
    compressor = LLMLinguaCompressor(tmp_path / "absent", variant="llmlingua", count=count)
    result = compressor.compress(QUERY, HITS, max_tokens=10_000)
    assert "within the budget" in str(result.skipped_reason)
    assert compressor.compress(QUERY, []).text == ""


@pytest.mark.parametrize("text", [CODE + "\n\n" + TABLE, TABLE + "\n\nWhat follows."])
def test_where_fences_leave_no_room_nothing_is_compressed(
    text: str, compressor: LLMLinguaCompressor
) -> None:
    result = compressor.compress(QUERY, [Hit(Chunk("a", text), 1.0)], max_tokens=10)
    assert result.text == text
    assert result.skipped_reason in (
        "there is no prose to compress",
        "what may not be compressed is over the budget",
    )


# Failures ---------------------------------------------------------------------------------


def test_a_model_that_is_not_there_skips_compression(tmp_path: Path) -> None:
    compressor = LLMLinguaCompressor(tmp_path / "absent", variant="llmlingua", count=count)
    result = compressor.compress(QUERY, HITS)
    assert result.tokens_after == result.tokens_before
    assert "could not be loaded" in str(result.skipped_reason)
    with pytest.raises(InputError, match="could not be loaded"):
        compressor.load()


def test_a_device_that_is_not_there_skips_compression(models: dict[str, Path]) -> None:
    compressor = LLMLinguaCompressor(models["llmlingua2"], device="no-such-device", count=count)
    assert "no-such-device" in str(compressor.compress(QUERY, HITS).skipped_reason)


def test_a_damaged_model_skips_compression(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "xlm-roberta-large"
    folder.mkdir()
    for file in models["llmlingua2"].iterdir():
        content = file.read_bytes()
        damaged = file.suffix == ".safetensors"
        (folder / file.name).write_bytes(content[: len(content) // 2] if damaged else content)
    result = LLMLinguaCompressor(folder, count=count).compress(QUERY, HITS)
    assert "could not be loaded" in str(result.skipped_reason)


def test_a_model_that_raises_skips_compression(
    compressor: LLMLinguaCompressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmlingua

    def out_of_memory(self: Any, *args: Any, **settings: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(llmlingua.PromptCompressor, "compress_prompt", out_of_memory)
    result = compressor.compress(QUERY, HITS)
    assert result.text == "\n\n".join(f"{hit.chunk.title}\n{hit.chunk.text}" for hit in HITS)
    assert f"{compressor.variant} failed: RuntimeError('out of memory')" == result.skipped_reason


def test_without_the_package_compression_is_skipped(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llmlingua", None)
    compressor = LLMLinguaCompressor(models["llmlingua2"], count=count)
    assert "pip install 'ragopt[llmlingua]'" in str(compressor.compress(QUERY, HITS).skipped_reason)
    with pytest.raises(BackendMissing, match="llmlingua"):
        compressor.load()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "gpt2"}, "LLMLingua-2 tells words apart"),
        ({"variant": "llmlingua3"}, "variant='llmlingua3'"),
        ({"variant": "llmlingua", "keep_ratio": 0}, "keep_ratio=0"),
        ({"variant": "llmlingua", "attempts": 0}, "attempts=0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LLMLinguaCompressor(**{"model": "a/b", **settings})


def test_torch_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys; from ragopt.compress import LLMLinguaCompressor; "
        "LLMLinguaCompressor('a/b', variant='llmlingua').compress('q', []); "
        "sys.exit('torch' in sys.modules or 'llmlingua' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Alignment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "output", "rendered"),
    [
        ("Alpha beta gamma, delta.", "Alpha delta.", "Alpha delta."),
        ("Alpha beta gamma, delta.", "beta gamma,", "beta gamma,"),
        # Pieces become the words they are of; numbers are whole or missing.
        ("The retention is 1,273 days.", "reten 1,2 days", "retention 1,273 days"),
        ("The retention is 1,273 days.", "1 73", ""),
        # What the source has not is dropped.
        ("Alpha beta.", "zeta Alpha <s>", "Alpha"),
        # A negation stays where words of its sentence do.
        ("It must not be opened. It is red.", "opened", "must not be opened"),
        ("It must not be opened. It is red.", "red", "red"),
        ("Run `a b` or see [1] now.", "now", "`a b` [1] now"),
        ("数据在3.14这里。", "数在3.14", "数 在3.14"),
        ("One.\n\nTwo three.", "One three", "One\n\nthree"),
    ],
)
def test_output_is_aligned_with_whole_words(text: str, output: str, rendered: str) -> None:
    source = Source(text)
    assert source.render(aligned(output, [source])[0]) == rendered


def test_words_of_several_sources_go_back_to_their_own() -> None:
    sources = [Source("Alpha beta."), Source("Beta alpha gamma.")]
    kept = aligned("Alpha alpha gamma", sources)
    assert [one.render(choice) for one, choice in zip(sources, kept, strict=True)] == [
        "Alpha",
        "alpha gamma",
    ]


def test_what_would_take_minutes_to_align_is_refused() -> None:
    source = Source("the " * 3000)
    with pytest.raises(ValueError, match="too often"):
        aligned("the " * 3000, [source])
