"""One kind of dataset as another: what is kept, what is drawn, what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.benchmarks.datasets import (
    Context,
    ContextSet,
    Dataset,
    IntentSet,
    LabelledPair,
    PairSet,
    QueryLog,
    RetrievalSet,
    TraceSet,
    VectorSet,
    load,
)
from ragopt.benchmarks.datasets.convert import (
    as_contexts,
    as_corpus,
    as_pairs,
    as_retrieval,
    as_vectors,
    corpus_items,
)
from ragopt.chunk import Chunk
from ragopt.embed import CallableEmbedder, Embedder
from ragopt.errors import InputError

TOPICS = "apples bridges clouds deserts engines forests glaciers harbours islands jungles".split()


def _lengths(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def embedder() -> Embedder:
    return CallableEmbedder(_lengths, dim=2, id="length")


def _passage(number: int) -> Chunk:
    topic = TOPICS[number]
    other = TOPICS[(number + 1) % len(TOPICS)]
    text = f"A text on {topic}. The number of {topic} is {100 + number}. Compare {other}."
    return Chunk(id=f"p{number}", text=text, source=f"p{number}", title=topic)


PASSAGES = [_passage(number) for number in range(len(TOPICS))]


def _context(number: int, **changes: object) -> Context:
    chunk = PASSAGES[number]
    start = chunk.text.index("The number")
    end = chunk.text.index(" Compare")
    fields: dict[str, object] = {
        "id": f"c{number}",
        "question": f"What is the number of {TOPICS[number]}?",
        "passages": (chunk,),
        "answers": (str(100 + number),),
        "evidence": ((chunk.id, start, end),),
    }
    return Context(**{**fields, **changes})  # type: ignore[arg-type]


CONTEXTS = ContextSet(
    name="small",
    contexts=tuple(_context(number) for number in range(len(TOPICS))),
    distractors=False,
    data_hash="abc",
)
PAIRS = PairSet(
    name="pairs",
    pairs=tuple(LabelledPair(f"a{n}", f"b{n}", n % 3 == 0) for n in range(30)),
)
INTENTS = IntentSet(
    name="intents",
    texts=(
        *(f"please tell me the {word} of my card" for word in ("limit", "number", "colour")),
        *(f"please tell me the {word} of my loan" for word in ("limit", "number", "colour")),
        "good bye",
        "see you later",
    ),
    intents=("card",) * 3 + ("loan",) * 3 + ("part",) * 2,
)
LOG = QueryLog(name="log", queries=("a", "b", "a"))
TRACE = TraceSet(
    name="trace",
    seconds=np.zeros(1),
    input_tokens=np.ones(1, dtype=np.int64),
    output_tokens=np.ones(1, dtype=np.int64),
)
VECTORS = VectorSet(name="vectors", vectors=np.eye(3, dtype=np.float32))


# -------------------------------------------------------------------------------------- vectors


def test_vectors_stay_and_texts_are_embedded(embedder: Embedder) -> None:
    assert as_vectors(VECTORS) is VECTORS
    found = as_vectors(CONTEXTS, embedder)
    assert found.vectors.shape == (10, 2)
    assert found.queries is not None
    assert found.queries.shape == (10, 2)
    assert found.texts is not None
    assert found.texts[0].startswith("apples\nA text on apples")
    assert as_vectors(LOG, embedder).texts == ("a", "b")
    assert as_vectors(INTENTS, embedder).vectors.shape == (8, 2)
    assert as_vectors(PAIRS, embedder).vectors.shape == (60, 2)
    assert as_vectors(LOG, embedder).data_hash != LOG.data_hash


def test_own_vectors_win_and_keep_their_order(embedder: Embedder) -> None:
    matrix = np.array([[0, 1], [1, 0]], dtype=np.float32)
    found = as_vectors(
        RetrievalSet(
            name="r",
            chunks=(PASSAGES[0], PASSAGES[1]),
            queries={"b": "second", "a": "first"},
            qrels={},
            vectors=matrix,
            query_vectors={"a": np.array([1, 1]), "b": np.array([2, 2])},
        ),
        embedder,
    )
    assert found.vectors is matrix
    assert found.queries is not None
    assert found.queries.tolist() == [[2, 2], [1, 1]]
    pairs = PairSet(name="p", pairs=PAIRS.pairs[:1], vectors=({"b0": 0, "a0": 1}, matrix))
    assert as_vectors(pairs).texts == ("b0", "a0")
    assert as_vectors(pairs).vectors is matrix


def test_vectors_of_what_has_none(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="pass an embedder, or choose one of qqp_minilm_384"):
        as_vectors(CONTEXTS)
    with pytest.raises(
        InputError, match="a trace, which holds no texts; expected one of qqp_minilm"
    ):
        as_vectors(TRACE, embedder)


# ---------------------------------------------------------------------------------------- pairs


def test_pairs_are_sampled_with_a_seed() -> None:
    assert as_pairs(PAIRS, seed=1) is PAIRS
    some = as_pairs(PAIRS, seed=1, limit=10)
    assert len(some.pairs) == 10
    assert set(some.pairs) <= set(PAIRS.pairs)
    assert some == as_pairs(PAIRS, seed=1, limit=10)
    assert some != as_pairs(PAIRS, seed=2, limit=10)
    with pytest.raises(InputError, match="limit=1"):
        as_pairs(PAIRS, seed=1, limit=1)


def test_intents_give_half_same_half_near_and_different() -> None:
    found = as_pairs(INTENTS, seed=3)
    labels = dict(zip(INTENTS.texts, INTENTS.intents, strict=True))
    assert found == as_pairs(INTENTS, seed=3)
    assert sum(pair.same for pair in found.pairs) * 2 == len(found.pairs) >= 4
    assert len({frozenset((pair.text_a, pair.text_b)) for pair in found.pairs}) == len(found.pairs)
    for pair in found.pairs:
        assert pair.text_a != pair.text_b
        assert (labels[pair.text_a] == labels[pair.text_b]) == pair.same
        if not pair.same:  # all but the words that tell the intents apart
            assert len(set(pair.text_a.split()) & set(pair.text_b.split())) >= 6


def test_an_utterance_of_two_intents_is_never_called_different() -> None:
    both = IntentSet(
        name="both",
        texts=("pay my card", "pay my card", "pay my card now", "pay my loan now"),
        intents=("card", "loan", "card", "loan"),
    )
    for seed in range(5):
        for pair in as_pairs(both, seed=seed).pairs:
            assert pair.same or "pay my card" not in (pair.text_a, pair.text_b)


@pytest.mark.parametrize("dataset", [CONTEXTS, LOG, TRACE, VECTORS])
def test_pairs_of_what_has_no_labels(dataset: Dataset) -> None:
    with pytest.raises(
        InputError, match="expected one of qqp, mrpc, clinc150, banking77, embedded"
    ):
        as_pairs(dataset, seed=0)


# ------------------------------------------------------------------------------------ retrieval


def test_retrieval_of_contexts() -> None:
    silent = _context(1, id="silent", answers=(), evidence=())
    by_answer = _context(2, id="by answer", evidence=(), passages=(PASSAGES[2], PASSAGES[3]))
    found = as_retrieval(
        ContextSet(name="x", contexts=(_context(0), silent, by_answer), distractors=False)
    )
    assert [chunk.id for chunk in found.chunks] == ["p0", "p1", "p2", "p3"]
    assert found.qrels == {"c0": {"p0": 1}, "by answer": {"p2": 1}}
    assert found.queries.keys() == found.qrels.keys()
    assert as_retrieval(found) is found
    with pytest.raises(InputError, match="no question has a passage that answers it"):
        as_retrieval(ContextSet(name="x", contexts=(silent,), distractors=False))


@pytest.mark.parametrize("dataset", [PAIRS, INTENTS, LOG, TRACE, VECTORS])
@pytest.mark.parametrize("convert", [as_retrieval, as_contexts, as_corpus])
def test_what_has_no_passages_is_refused(
    dataset: Dataset, convert: Callable[[Dataset], object]
) -> None:
    with pytest.raises(InputError, match=r"expected one of .*hotpotqa"):
        convert(dataset)


# ------------------------------------------------------------------------------------- contexts


def test_contexts_get_near_passages_that_do_not_answer() -> None:
    found = as_contexts(CONTEXTS, passages=4, seed=1)
    assert found.distractors
    assert found == as_contexts(CONTEXTS, passages=4, seed=1)
    assert found != as_contexts(CONTEXTS, passages=4, seed=2)
    places = set()
    for number, context in enumerate(found.contexts):
        ids = [chunk.id for chunk in context.passages]
        assert len(set(ids)) == 4
        assert context.evidence == CONTEXTS.contexts[number].evidence
        places.add(ids.index(f"p{number}"))
        # The passage that names the topic of the question in passing is the nearest other one.
        assert f"p{(number - 1) % 10}" in ids
        assert not any(
            context.answers[0] in chunk.text
            for chunk in context.passages
            if chunk.id != f"p{number}"
        )
    assert len(places) > 1


def test_a_passage_with_an_answer_is_no_distractor() -> None:
    twin = Chunk(id="twin", text="The number of apples is\n100.", source="twin")
    twins = ContextSet(
        name="x",
        contexts=(
            _context(0, answers=("is 100",)),
            _context(1, passages=(twin,), evidence=(("twin", 0, 5),), answers=()),
            _context(2),
        ),
        distractors=False,
    )
    found = as_contexts(twins, passages=10, seed=0)
    assert {chunk.id for chunk in found.contexts[0].passages} == {"p0", "p2"}


def test_own_distractors_stay_and_whole_documents_are_cut_to_the_near() -> None:
    own = ContextSet(name="x", contexts=(_context(0, passages=tuple(PASSAGES)),), distractors=True)
    assert as_contexts(own, passages=3) is own
    many = [
        Chunk(id=f"m{n}", text=f"filler {n}" + " bridges" * (n == 50), source="m", start=20 * n)
        for n in range(60)
    ]
    document = ContextSet(
        name="x",
        contexts=(
            _context(1, passages=tuple(many), answers=(), evidence=(("m7", 0, 6), ("m9", 0, 6))),
        ),
        distractors=True,
    )
    (context,) = as_contexts(document, passages=4, seed=0).contexts
    ids = [chunk.id for chunk in context.passages]
    assert len(ids) == 4
    assert {"m7", "m9", "m50"} <= set(ids)
    with pytest.raises(InputError, match="passages=1"):
        as_contexts(document, passages=1)


# --------------------------------------------------------------------------------------- corpus


def test_items_whose_answer_stands_in_a_gold_chunk() -> None:
    quoted = _context(1, answers=())
    whole = _context(2, answers=(), evidence=(("p2", 0, len(PASSAGES[2].text)),))
    silent = _context(3, answers=(), evidence=())
    again = _context(0, id="again")
    elsewhere = _context(4, id="elsewhere", question=_context(0).question)
    apart = _context(
        5,
        answers=("nowhere",),
        passages=(PASSAGES[5], PASSAGES[6]),
        evidence=(("p5", 0, 5), ("p6", 0, 5)),
    )
    given = ContextSet(
        name="x",
        contexts=(_context(0), quoted, whole, silent, again, elsewhere, apart),
        distractors=False,
    )
    chunks, items, unusable = corpus_items(given)
    assert [item.id for item in items] == ["c0", "c1"]
    assert items[0].answer == "100"
    assert items[1].answer == "The number of bridges is 101."
    by_id = {chunk.id: chunk for chunk in chunks}
    assert len(by_id) == len(chunks)
    for item in items:
        assert all(item.answer in by_id[gold].text for gold in item.gold)
    assert {name: reason.split(",")[0] for name, reason in unusable.items()} == {
        "c2": "no answer stands in its evidence",
        "c3": "it has no evidence: the passages do not answer it",
        "again": "question 'c0' is in the same words",
        "elsewhere": "question 'c0' is in the same words",
        "c5": "no answer stands in its evidence",
    }


def test_unusable_questions_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    given = ContextSet(
        name="x",
        contexts=(_context(0), _context(3, answers=(), evidence=())),
        distractors=False,
    )
    with caplog.at_level(logging.INFO, logger="ragopt"):
        _, items = as_corpus(given)
    assert len(items) == 1
    assert "x: 1 questions can be used, 1 cannot, such as c3: it has no evidence" in caplog.text
    with pytest.raises(InputError, match="no question can be used: it has no evidence"):
        as_corpus(ContextSet(name="x", contexts=given.contexts[1:], distractors=False))


def test_judged_documents_are_gold_from_half_the_highest_grade() -> None:
    judged = RetrievalSet(
        name="r",
        chunks=(*PASSAGES[:3], Chunk(id="blank", text=" ")),
        queries={"a": "first?", "b": "second?"},
        qrels={"a": {"p0": 3, "p1": 2, "p2": 1, "blank": 3}, "b": {"p2": 1}},
    )
    chunks, items, unusable = corpus_items(judged)
    assert [chunk.id for chunk in chunks] == ["p0", "p1", "p2"]
    assert [(item.id, item.gold, item.answer) for item in items] == [
        ("a", frozenset({"p0", "p1"}), "")
    ]
    assert unusable == {"b": "no document is relevant"}


# -------------------------------------------------------------------------- the embedded corpus


def test_the_embedded_corpus_as_every_kind() -> None:
    found = load("embedded")
    assert isinstance(found, RetrievalSet)
    known = {chunk.id for chunk in found.chunks}
    assert len(found.queries) == len(found.qrels) > 1000
    assert all(judged.keys() <= known and judged for judged in found.qrels.values())
    chunks, items = as_corpus(found)
    assert {f"{item.id}/{n}" for item in items for n in range(len(item.wordings))} == set(
        found.queries
    )
    assert len(chunks) == len(found.chunks)
    pairs = as_pairs(found, seed=0).pairs
    assert sum(pair.same for pair in pairs) == sum(len(item.wordings) - 1 for item in items)
    assert sum(not pair.same for pair in pairs) == sum(len(item.traps) for item in items)
    assert "look-alikes" in as_pairs(found, seed=0, limit=10).about
    known_items = {item.id: item for item in items}
    contexts = as_contexts(found, passages=5, seed=0, limit=30).contexts
    assert len({context.id for context in contexts}) == 30
    for context in contexts:
        item = known_items[context.id]
        by_id = {chunk.id: chunk.text for chunk in context.passages}
        ((gold, start, end),) = context.evidence
        assert len(by_id) == 5
        assert gold in item.gold
        assert not (set(by_id) - {gold}) & item.gold
        assert " ".join(item.answer.split()) in " ".join(by_id[gold][start:end].split())
