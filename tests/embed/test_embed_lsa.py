"""LSA against an exact decomposition, on odd corpora, and through its files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from ragopt.embed import Embedder, LSAEmbedder
from ragopt.errors import IndexCorrupt, InputError
from ragopt.storage import write_folder
from ragopt.text import terms

TOPICS = (
    "river lake water fish boat swim harbor rain".split(),
    "bread butter oven flour bakery salt dough yeast".split(),
    "guitar piano violin concert melody drum chorus tune".split(),
    "planet moon orbit rocket comet galaxy star dust".split(),
)


def corpus(texts_a_topic: int = 25) -> list[str]:
    """Texts of one topic each, with a word of another: four directions stand out."""
    rng = np.random.default_rng(0)
    texts = []
    for number in range(texts_a_topic * len(TOPICS)):
        own, other = TOPICS[number % 4], TOPICS[(number + 1 + number // 4 % 3) % 4]
        texts.append(" ".join([*rng.choice(own, 20), rng.choice(other)]))
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return corpus()


@pytest.fixture(scope="module")
def embedder(texts: list[str]) -> LSAEmbedder:
    return LSAEmbedder.fit(texts, dim=4)


def exact_vectors(fitted_on: list[str], queries: list[str], dim: int) -> NDArray[np.float64]:
    """Deerwester et al. (1990) transcribed: TF-IDF, exact singular vectors, folding in."""
    counts = [Counter(terms(text)) for text in fitted_on]
    held = Counter(term for count in counts for term in count)
    vocabulary = [term for term in held if held[term] >= 2]
    idf = {term: math.log((1 + len(fitted_on)) / (1 + held[term])) + 1 for term in vocabulary}

    def weighted(count: Counter[str]) -> list[float]:
        return [(1 + math.log(count[t])) * idf[t] if count[t] else 0.0 for t in vocabulary]

    rows = np.array([weighted(count) for count in counts])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, _, directions = svds(csr_matrix(rows), k=dim, random_state=0)
    folded = np.array([weighted(Counter(terms(text))) for text in queries]) @ directions.T
    return np.asarray(folded / np.linalg.norm(folded, axis=1, keepdims=True))


def test_the_projection_is_the_exact_one(texts: list[str], embedder: LSAEmbedder) -> None:
    queries = [*texts, "river moon moon moon", "bread guitar", "orbit"]
    expected = exact_vectors(texts, queries, 4)
    found = embedder.embed(queries)
    assert subspace_angles(expected, found).max() < 1e-3
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


def test_related_texts_are_closer_than_unrelated_ones(embedder: LSAEmbedder) -> None:
    water, boat, oven = embedder.embed(["water in a lake", "a boat on the river", "flour and oven"])
    assert water @ boat > 0.9
    assert abs(water @ oven) < 0.5


def test_words_that_never_meet_are_related_through_others(embedder: LSAEmbedder) -> None:
    """What a bag of words cannot do: the two texts share no term."""
    first, second = embedder.embed(["violin melody", "concert drums"])
    assert first @ second > 0.9


@given(st.lists(st.text() | st.sampled_from(TOPICS[0] + TOPICS[1]), max_size=5))
def test_rows_have_length_one_or_zero(texts: list[str]) -> None:
    embedder = small_embedder()
    rows = embedder.embed(texts)
    assert rows.shape == (len(texts), embedder.dim)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    known = [any(term in TOPICS[0] + TOPICS[1] for term in terms(text)) for text in texts]
    np.testing.assert_allclose(lengths[known], 1, atol=1e-6)
    assert set(lengths[np.logical_not(known)].tolist()) <= {0.0}


def small_embedder() -> LSAEmbedder:
    return LSAEmbedder.fit([" ".join(TOPICS[0]), " ".join(TOPICS[1])] * 2, dim=2)


def test_one_text_at_a_time_or_all_at_once(texts: list[str], embedder: LSAEmbedder) -> None:
    together = embedder.embed(texts[:7])
    alone = np.concatenate([embedder.embed([text]) for text in texts[:7]])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_one_seed_gives_one_result(texts: list[str], embedder: LSAEmbedder) -> None:
    again = LSAEmbedder.fit(iter(texts), dim=4)
    assert again.id == embedder.id
    np.testing.assert_array_equal(again.embed(texts), embedder.embed(texts))


def test_the_seed_does_not_change_the_meaning(texts: list[str], embedder: LSAEmbedder) -> None:
    other, rows = LSAEmbedder.fit(texts, dim=4, seed=9).embed(texts), embedder.embed(texts)
    np.testing.assert_allclose(other @ other.T, rows @ rows.T, atol=1e-3)


def test_ids_tell_corpora_and_dimensions_apart(texts: list[str], embedder: LSAEmbedder) -> None:
    others = [LSAEmbedder.fit(texts, dim=3), LSAEmbedder.fit(texts[:-1], dim=4)]
    assert len({embedder.id, *(other.id for other in others)}) == 3
    assert isinstance(embedder, Embedder)
    assert repr(embedder) == "LSAEmbedder(dim=4, terms=32)"


def test_a_term_of_a_single_text_is_not_kept(texts: list[str]) -> None:
    fitted = LSAEmbedder.fit([*texts, "river hapax"], dim=4)
    assert not fitted.embed(["hapax"]).any()
    assert fitted.embed(["river"]).any()


def test_a_single_text_is_a_corpus() -> None:
    embedder = LSAEmbedder.fit(["river lake water"])
    assert embedder.dim == 1
    rows = embedder.embed(["river lake water", "lake", "bread"])
    np.testing.assert_allclose(np.abs(rows), [[1], [1], [0]], atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "rank"),
    [
        (["river lake"], 1),
        (["river lake"] * 30, 1),
        (["river", "lake", "river", "lake"], 2),
        (["river lake", "", "lake river", "the"], 1),
        ([" ".join(topic) for topic in TOPICS], 4),
    ],
)
def test_the_dimension_is_lowered_to_what_the_corpus_supports(texts: list[str], rank: int) -> None:
    embedder = LSAEmbedder.fit(texts, dim=100)
    assert embedder.dim == rank
    rows = embedder.embed(texts)
    same = np.array([[set(terms(a)) == set(terms(b)) != set() for b in texts] for a in texts])
    np.testing.assert_allclose(rows @ rows.T, same, atol=1e-4)


def test_rounding_is_not_scaled_up_to_a_direction() -> None:
    """One kept direction tells of water only: bread is neither like it nor its contrary."""
    embedder = LSAEmbedder.fit(["river lake water"] * 3 + ["bread oven"] * 2, dim=1)
    rows = embedder.embed(["river", "bread", "bread oven"])
    np.testing.assert_allclose(np.abs(rows), [[1], [0], [0]], atol=1e-6)


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"], ["the", "of it!"]])
def test_a_corpus_without_a_word_is_rejected(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text holds a single word"):
        LSAEmbedder.fit(texts)


@pytest.mark.parametrize("dim", [0, -1])
def test_a_dimension_below_one_is_rejected(dim: int) -> None:
    with pytest.raises(InputError, match=f"dim={dim}"):
        LSAEmbedder.fit(["river lake"], dim=dim)


def test_no_text_gives_no_row(embedder: LSAEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 4)


# ---------------------------------------------------------------------------------------- files


def test_what_is_loaded_is_what_was_saved(
    texts: list[str], embedder: LSAEmbedder, tmp_path: Path
) -> None:
    embedder.save(tmp_path / "deep" / "lsa")
    loaded = LSAEmbedder.load(str(tmp_path / "deep" / "lsa"))
    assert (loaded.id, loaded.dim) == (embedder.id, embedder.dim)
    np.testing.assert_array_equal(loaded.embed(texts), embedder.embed(texts))


def test_saving_again_replaces_the_older_one(embedder: LSAEmbedder, tmp_path: Path) -> None:
    embedder.save(tmp_path)
    newer = LSAEmbedder.fit(["naïve 漢字 river", "naïve 漢字 lake"])
    newer.save(tmp_path)
    assert LSAEmbedder.load(tmp_path).id == newer.id
    assert len(list(tmp_path.glob("*.bin"))) == 2


def flip_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_middle, truncate, empty, Path.unlink])
@pytest.mark.parametrize("name", ["MANIFEST.json", "projection-*.bin", "vocabulary-*.bin"])
def test_every_damage_to_every_file_is_noticed(
    embedder: LSAEmbedder, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    embedder.save(tmp_path)
    (path,) = tmp_path.glob(name)
    damage(path)
    gone = name == "MANIFEST.json" and damage is Path.unlink  # then nothing says it was saved
    with pytest.raises(InputError if gone else IndexCorrupt, match=path.name):
        LSAEmbedder.load(tmp_path)


def test_another_kind_of_folder_is_not_loaded(tmp_path: Path) -> None:
    write_folder(tmp_path, kind="something-else", version=1, about={}, parts={})
    with pytest.raises(InputError, match="something-else"):
        LSAEmbedder.load(tmp_path)
    with pytest.raises(InputError, match="nothing was saved"):
        LSAEmbedder.load(tmp_path / "missing")
