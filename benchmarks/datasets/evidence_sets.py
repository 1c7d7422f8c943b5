"""Questions with evidence as the rerank, compress and savings benches take them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ragopt.benchmarks.datasets.embedded import NAME as EMBEDDED
from ragopt.benchmarks.datasets.embedded import embedded_items
from ragopt.benchmarks.datasets.loading import kind_of, names
from ragopt.benchmarks.datasets.passages import Evidence, occurrences, sentence_around
from ragopt.benchmarks.datasets.types import Context, ContextSet, Dataset, RetrievalSet
from ragopt.benchmarks.embedded.questions import fold
from ragopt.benchmarks.evidence import EvalItem
from ragopt.cache import normalise
from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.quality import data_hash

__all__ = ["as_contexts", "as_corpus", "corpus_items"]

_log = logging.getLogger(__name__)

MOST_OWN = 40  # passages that a question's own source gave it; more is a whole document


def as_contexts(
    dataset: Dataset, *, passages: int = 10, seed: int = 0, limit: int | None = None
) -> ContextSet:
    """Questions with passages of which most do not answer them.

    Questions that come with distractors of their own keep them as they are. Those whose passages
    are a whole document (more than 40) keep the ones with evidence and, of the rest, the nearest
    to the question by BM25. Questions without distractors get the nearest passages of other
    questions; none that holds one of their answers. Passages with evidence stand at seeded places.

    Args:
        dataset: questions with contexts, or the embedded corpus (one question each, without the
            paraphrases).
        passages: of each question, where the source does not say; fewer where there are no more.
        seed: of the places, of what fills up when too few passages share a word, and of the limit.
        limit: most questions, a seeded sample of all; distractors still come from all.

    Raises:
        InputError: another kind, fewer than 2 passages or no question asked for.
    """
    if passages < 2:
        raise InputError(f"passages={passages}: expected at least 2 for a question")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: expected at least 1 question")
    given, pool = _with_pool(dataset)
    given = _sampled(given, seed, limit)
    if all(given.distractors and len(context.passages) <= MOST_OWN for context in given.contexts):
        return given
    builder = _Builder(pool, passages, seed)
    return ContextSet(
        name=given.name,
        contexts=tuple(
            context
            if given.distractors and len(context.passages) <= MOST_OWN
            else builder.context(number, context)
            for number, context in enumerate(given.contexts)
        ),
        distractors=True,
        data_hash=data_hash(given.data_hash, f"passages={passages} seed={seed}"),
    )


def as_corpus(dataset: Dataset) -> tuple[list[Chunk], list[EvalItem]]:
    """Chunks and the questions that quality can be measured with; the others are logged.

    See `corpus_items`, which also returns why questions cannot be used.
    """
    chunks, items, unusable = corpus_items(dataset)
    if unusable:
        first = next(iter(unusable.items()))
        _log.info(
            "%s: %d questions can be used, %d cannot, such as %s: %s",
            dataset.name,
            len(items),
            len(unusable),
            *first,
        )
    return chunks, items


def corpus_items(dataset: Dataset) -> tuple[list[Chunk], list[EvalItem], dict[str, str]]:
    """Chunks, usable questions, and of the unusable ones id to reason.

    A question with contexts is usable where an answer stands in a passage with evidence (those
    passages are its gold), or else where its evidence is one stretch of one passage (that stretch
    is then the answer), but not the whole of it. Of a judged query, gold are the documents with at
    least half the highest grade of the set (2 of 3 in TREC DL), and no answer is known. Questions
    in the same words with the same gold are one; with another gold only the first is used.

    Raises:
        InputError: another kind, or no question is usable.
    """
    own = embedded_items(dataset)
    if own is not None and isinstance(dataset, RetrievalSet):
        return list(dataset.chunks), list(own), {}
    if isinstance(dataset, ContextSet):
        chunks = {chunk.id: chunk for context in dataset.contexts for chunk in context.passages}
        found = [(context.id, _item(context)) for context in dataset.contexts]
    elif isinstance(dataset, RetrievalSet):
        chunks = {chunk.id: chunk for chunk in dataset.chunks if chunk.text.strip()}
        found = list(_judged(dataset, chunks))
    else:
        raise InputError(
            f"{dataset.name} holds {kind_of(dataset)}, without documents that answer; expected "
            f"one of {', '.join([*names('retrieval'), *names('contexts')])}, or a folder of "
            "documents with a file of questions"
        )
    items, unusable = _usable(found)
    if not items:
        reason = next(iter(unusable.values()), "it has none")
        raise InputError(
            f"{dataset.name}: no question can be used: {reason}; expected one of "
            f"{EMBEDDED}, squad, nq, hotpotqa, musique, chunking_eval"
        )
    return list(chunks.values()), items, unusable


class _Builder:
    """Adds distractors of a pool of passages to questions."""

    def __init__(self, pool: Sequence[Chunk], count: int, seed: int) -> None:
        from ragopt.indexes.lexical import LexicalIndex
        from ragopt.rerank.base import passage

        self._pool = pool
        self._places = {chunk.id: place for place, chunk in enumerate(pool)}
        self._index = LexicalIndex.build([passage(chunk) for chunk in pool])
        self._count = count
        self._seed = seed

    def context(self, number: int, context: Context) -> Context:
        """The question with its gold passages among the nearest others."""
        rng = np.random.default_rng([self._seed, number])
        whole_document = len(context.passages) > MOST_OWN
        gold = {chunk for chunk, _, _ in context.evidence}
        kept = [chunk for chunk in context.passages if chunk.id in gold or not whole_document]
        allowed = {chunk.id for chunk in context.passages} - gold if whole_document else None
        excluded = {chunk.id for chunk in kept}
        others: list[Chunk] = []
        for chunk in self._nearest(context.question, rng, whole=whole_document):
            if len(kept) + len(others) >= self._count:
                break
            if chunk.id in excluded or (allowed is not None and chunk.id not in allowed):
                continue
            if not _answered(chunk.text, context.answers):
                others.append(chunk)
        return Context(
            id=context.id,
            question=context.question,
            passages=_mixed(kept, others, rng),
            answers=context.answers,
            evidence=context.evidence,
        )

    def _nearest(self, question: str, rng: np.random.Generator, *, whole: bool) -> Iterator[Chunk]:
        """The pool, nearest first; what shares no word with the question in seeded order."""
        k = len(self._pool) if whole else min(len(self._pool), 10 * self._count)
        near = [int(place) for place in self._index.search(question, k).ids[0] if place >= 0]
        yield from (self._pool[place] for place in near)
        seen = set(near)
        for place in rng.permutation(len(self._pool)):
            if int(place) not in seen:
                yield self._pool[int(place)]


def _sampled(given: ContextSet, seed: int, limit: int | None) -> ContextSet:
    """At most ``limit`` questions, in their order."""
    if limit is None or limit >= len(given.contexts):
        return given
    drawn = np.random.default_rng(seed).choice(len(given.contexts), size=limit, replace=False)
    return ContextSet(
        name=given.name,
        contexts=tuple(given.contexts[place] for place in sorted(drawn)),
        distractors=given.distractors,
        data_hash=data_hash(given.data_hash, f"limit={limit} seed={seed}"),
    )


def _mixed(
    kept: Sequence[Chunk], others: Sequence[Chunk], rng: np.random.Generator
) -> tuple[Chunk, ...]:
    """The kept ones at drawn places, in their order, and the others around them in theirs."""
    count = len(kept) + len(others)
    places = set(rng.choice(count, size=len(kept), replace=False).tolist())
    first, second = iter(kept), iter(others)
    return tuple(next(first) if place in places else next(second) for place in range(count))


def _answered(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer stands in a text, whatever white space parts its words there."""
    folded = fold(text)
    return any(occurrences(folded, fold(answer)) for answer in answers)


def _with_pool(dataset: Dataset) -> tuple[ContextSet, Sequence[Chunk]]:
    """Questions with their own passages, and the passages to take others from."""
    if isinstance(dataset, ContextSet):
        every = {chunk.id: chunk for context in dataset.contexts for chunk in context.passages}
        return dataset, list(every.values())
    items = embedded_items(dataset)
    if items is not None and isinstance(dataset, RetrievalSet):
        return _embedded_contexts(dataset, items), dataset.chunks
    raise InputError(
        f"{dataset.name} holds {kind_of(dataset)}, without evidence inside passages; expected one "
        f"of {', '.join([*names('contexts'), EMBEDDED])}, or a SQuAD or HotpotQA file"
    )


def _embedded_contexts(dataset: RetrievalSet, items: Sequence[EvalItem]) -> ContextSet:
    """Each question with one gold chunk; the sentences that hold the quoted answer are evidence."""
    by_id = {chunk.id: chunk for chunk in dataset.chunks}
    contexts = []
    for item in items:
        chunk = by_id[min(item.gold)]
        start, end = _quoted(chunk.text, item.answer)
        evidence = (
            chunk.id,
            sentence_around(chunk.text, start)[0],
            sentence_around(chunk.text, end - 1)[1],
        )
        contexts.append(
            Context(
                id=item.id,
                question=item.wordings[0],
                passages=(chunk,),
                answers=(chunk.text[start:end],),
                evidence=(evidence,),
            )
        )
    return ContextSet(
        name=dataset.name,
        contexts=tuple(contexts),
        distractors=False,
        data_hash=dataset.data_hash,
    )


def _quoted(text: str, answer: str) -> tuple[int, int]:
    """Where words stand in a text, whatever white space parts them there."""
    match = re.search(r"\s+".join(map(re.escape, answer.split())), text)
    if match is None:
        raise InputError(f"the answer {answer!r} does not stand in its gold chunk")
    return match.span()


def _item(context: Context) -> EvalItem | str:
    """The question with its gold, or why it cannot be used."""
    if not context.evidence:
        return "it has no evidence: the passages do not answer it"
    by_id = {chunk.id: chunk for chunk in context.passages}
    gold = dict.fromkeys(chunk for chunk, _, _ in context.evidence)
    for answer in context.answers:
        holding = frozenset(one for one in gold if occurrences(by_id[one].text, answer))
        if holding:
            return _eval_item(context.id, context.question, answer, holding)
    stretch = _stretch(context.evidence, by_id)
    if stretch is None:
        return "no answer stands in its evidence, which is not one stretch of one passage either"
    chunk, start, end = stretch
    quote = by_id[chunk].text[start:end]
    return _eval_item(context.id, context.question, quote, frozenset({chunk}))


def _eval_item(id: str, question: str, answer: str, gold: frozenset[str]) -> EvalItem:
    return EvalItem(id=id, wordings=(question,), answer=answer, gold=gold)


def _stretch(evidence: Sequence[Evidence], by_id: Mapping[str, Chunk]) -> Evidence | None:
    """Evidence as one span, where nothing but white space parts its sentences."""
    first, *others = sorted(evidence)
    chunk, start, end = first
    text = by_id[chunk].text
    for other, begin, stop in others:
        if other != chunk or text[end:begin].strip():
            return None
        end = max(end, stop)
    return None if text[start:end].strip() == text.strip() else (chunk, start, end)


def _judged(
    dataset: RetrievalSet, chunks: Mapping[str, Chunk]
) -> Iterator[tuple[str, EvalItem | str]]:
    highest = max(
        (grade for judged in dataset.qrels.values() for grade in judged.values()), default=0
    )
    for query, text in dataset.queries.items():
        gold = frozenset(
            document
            for document, grade in dataset.qrels.get(query, {}).items()
            if grade and 2 * grade >= highest and document in chunks
        )
        yield query, _eval_item(query, text, "", gold) if gold else "no document is relevant"


def _usable(
    found: Sequence[tuple[str, EvalItem | str]],
) -> tuple[list[EvalItem], dict[str, str]]:
    """Items of distinct wording, and why the others are left out."""
    items: list[EvalItem] = []
    unusable: dict[str, str] = {}
    asked: dict[str, EvalItem] = {}
    for question, item in found:
        if isinstance(item, str):
            unusable[question] = item
            continue
        first = asked.setdefault(normalise(item.wordings[0]), item)
        if first is item:
            items.append(item)
        else:
            same = "with the same gold" if first.gold == item.gold else "with another gold"
            unusable[question] = f"question {first.id!r} is in the same words, {same}"
    return items, unusable
