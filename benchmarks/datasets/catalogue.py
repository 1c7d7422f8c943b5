"""The named datasets: what each holds and which files it is read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ragopt.benchmarks.datasets.beir import read_beir
from ragopt.benchmarks.datasets.contexts import (
    read_clapnq,
    read_nq,
    read_pubmedqa,
    read_squad_rows,
)
from ragopt.benchmarks.datasets.embedded import NAME as EMBEDDED
from ragopt.benchmarks.datasets.embedded import load_embedded_set
from ragopt.benchmarks.datasets.intents import read_clinc, read_intent_table
from ragopt.benchmarks.datasets.logs import read_azure, read_lines, read_mooncake, read_prompts
from ragopt.benchmarks.datasets.long_documents import read_chunking, read_qmsum
from ragopt.benchmarks.datasets.multihop import read_hotpotqa, read_musique
from ragopt.benchmarks.datasets.pairs import read_pair_rows, read_pair_table
from ragopt.benchmarks.datasets.source import Source, string
from ragopt.benchmarks.datasets.types import Dataset, PairSet, RetrievalSet, VectorSet
from ragopt.benchmarks.datasets.vectors import load_vectors, read_texts, read_vector_rows

__all__ = ["CATALOGUE", "Entry"]

Read = Callable[[Path, Source], Dataset]

_DL19 = "retrieval/msmarco_dl19"
_DL19_VECTORS = "vectors/msmarco_dl19_minilm_384_f16.npy"
_DL19_QUERIES = "vectors/msmarco_dl19_query_minilm_384_f32.npy"
_QQP_VECTORS = "vectors/qqp_minilm_384_f16.npy"
_QQP_TEXTS = "vectors/qqp_texts.json.gz"
_BGE_VECTORS = "vectors/bge_base_768_f16.npy"
_BGE_TEXTS = "vectors/bge_base_768_meta.jsonl"
_TOPICS = "vectors/topics.dl19-passage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A named dataset.

    Args:
        kind: of what it holds (`ragopt.benchmarks.datasets.formats.KINDS`).
        about: in a few words.
        files: below the data folder; all must be there.
        read: from the data folder.
        vectors: whether it brings vectors of its own.
    """

    kind: str
    about: str
    files: tuple[str, ...]
    read: Read
    vectors: bool = False


def _at(relative: str, read: Read) -> Read:
    return lambda folder, source: read(folder / relative, source)


def _file(kind: str, about: str, file: str, read: Read) -> Entry:
    return Entry(kind=kind, about=about, files=(file,), read=_at(file, read))


def _beir(about: str, folder: str) -> Entry:
    files = tuple(f"{folder}/{name}" for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    return Entry(kind="retrieval", about=about, files=files, read=_at(folder, read_beir))


def _topics(about: str, suffix: str) -> Entry:
    file = f"{_TOPICS}.{suffix}.jsonl.gz"
    entry = _file("vectors", f"{about} vectors of the 43 DL19 queries", file, read_vector_rows)
    return replace(entry, vectors=True)


def _embedded(_folder: Path, _source: Source) -> RetrievalSet:
    return load_embedded_set()


def _qqp(folder: Path, source: Source) -> PairSet:
    return read_pair_rows(
        folder / "cache/qqp_pairs.jsonl",
        source,
        vectors=folder / _QQP_VECTORS,
        texts=folder / _QQP_TEXTS,
    )


def _dl19(folder: Path, source: Source) -> RetrievalSet:
    """The corpus with its runs; with vectors where their files are there."""
    files = (folder / _DL19_VECTORS, folder / _DL19_QUERIES)
    vectors, queries = files if all(file.is_file() for file in files) else (None, None)
    return read_beir(folder / _DL19, source, vectors=vectors, query_vectors=queries)


def _dl19_vectors(folder: Path, source: Source) -> VectorSet:
    found = load_vectors(folder / _DL19_VECTORS, queries=folder / _DL19_QUERIES, source=source)
    rows = source.rows(folder / _DL19 / "corpus.jsonl")
    texts = tuple(string(row, "text", blank=True) for _, row in rows)
    return replace(
        found,
        texts=texts if len(texts) == len(found.vectors) else None,
        data_hash=source.data_hash,
    )


def _with_texts(vectors: str, texts: str, folder: Path, source: Source) -> VectorSet:
    found = load_vectors(folder / vectors, source=source)
    read = read_texts(folder / texts, source, len(found.vectors))
    return replace(found, texts=read, data_hash=source.data_hash)


CATALOGUE: dict[str, Entry] = {
    EMBEDDED: Entry(
        kind="retrieval",
        about="documentation of the running Python with hand-written questions; no download",
        files=(),
        read=_embedded,
    ),
    "qqp_minilm_384": Entry(
        kind="vectors",
        about="68,622 distinct Quora questions, all-MiniLM-L6-v2",
        files=(_QQP_VECTORS, _QQP_TEXTS),
        read=partial(_with_texts, _QQP_VECTORS, _QQP_TEXTS),
        vectors=True,
    ),
    "msmarco_dl19_minilm_384": Entry(
        kind="vectors",
        about="14,581 passages and 43 queries of MS MARCO DL19, all-MiniLM-L6-v2",
        files=(_DL19_VECTORS, _DL19_QUERIES, f"{_DL19}/corpus.jsonl"),
        read=_dl19_vectors,
        vectors=True,
    ),
    "bge_base_768": Entry(
        kind="vectors",
        about="7,597 queries of twelve retrieval sets, bge-base-en-v1.5",
        files=(_BGE_VECTORS, _BGE_TEXTS),
        read=partial(_with_texts, _BGE_VECTORS, _BGE_TEXTS),
        vectors=True,
    ),
    "dl19_queries_ada2": _topics("text-embedding-ada-002", "openai-ada2"),
    "dl19_queries_cohere": _topics("Cohere embed-english-v3.0", "cohere-embed-english-v3.0"),
    "dl19_queries_bge": _topics("bge-base-en-v1.5", "bge-base-en-v1.5"),
    "msmarco_dl19": replace(
        _beir("14,581 passages, 43 judged queries, six first stages", _DL19),
        read=_dl19,
        vectors=True,
    ),
    "cranfield": _beir("1,400 abstracts on aerodynamics", "retrieval/cranfield"),
    "cisi": _beir("1,460 abstracts on information science", "retrieval/cisi"),
    "npl_vaswani": _beir("11,429 titles and abstracts on electronics", "retrieval/npl_vaswani"),
    "hotpotqa": _file(
        "contexts",
        "multi-hop questions with supporting sentences among ten passages",
        "qa/hotpotqa_train100.jsonl",
        read_hotpotqa,
    ),
    "musique": _file(
        "contexts",
        "multi-hop questions with supporting paragraphs among twenty",
        "qa/musique50.jsonl",
        read_musique,
    ),
    "squad": _file(
        "contexts",
        "half of the SQuAD 2.0 development set",
        "qa/squad_devhalf.jsonl",
        read_squad_rows,
    ),
    "nq": _file(
        "contexts",
        "Natural Questions with the passage that answers each",
        "qa/nq_oracle.jsonl",
        read_nq,
    ),
    "clapnq": _file(
        "contexts",
        "questions with selected sentences, answerable",
        "qa/clapnq_answerable_150.jsonl",
        read_clapnq,
    ),
    "clapnq_unanswerable": _file(
        "contexts",
        "questions whose passage does not answer them",
        "qa/clapnq_dev_unanswerable.jsonl",
        read_clapnq,
    ),
    "pubmedqa": _file(
        "contexts",
        "questions on abstracts, answered yes, no or maybe",
        "qa/pubmedqa.jsonl",
        read_pubmedqa,
    ),
    "chunking_eval": Entry(
        kind="contexts",
        about="three long documents, questions with exact references",
        files=("qa/chunking_eval/questions.jsonl",),
        read=_at("qa/chunking_eval", read_chunking),
    ),
    "qmsum": _file(
        "contexts",
        "meetings with questions and relevant turns",
        "qa/qmsum_val.jsonl",
        read_qmsum,
    ),
    "qqp": Entry(
        kind="pairs",
        about="labelled pairs of Quora questions, with vectors",
        files=("cache/qqp_pairs.jsonl",),
        read=_qqp,
        vectors=True,
    ),
    "mrpc": _file(
        "pairs", "labelled paraphrases of news sentences", "cache/mrpc_train.tsv", read_pair_table
    ),
    "clinc150": _file(
        "intents", "150 intents of an assistant", "cache/clinc150_trainval.json", read_clinc
    ),
    "banking77": _file(
        "intents",
        "77 intents of a bank's customers",
        "cache/banking77_train.csv",
        read_intent_table,
    ),
    "million_query": _file(
        "queries",
        "web search queries of the TREC Million Query track, each once",
        "cache/million_query_1-20000.txt",
        read_lines,
    ),
    "nq_queries": _file(
        "queries",
        "search queries of Natural Questions, each once",
        "cache/nq_dev_queries.tsv",
        read_lines,
    ),
    "arena_hard": _file(
        "queries", "hard prompts of real users", "prompts/arena_hard.jsonl", read_prompts
    ),
    "rankllm_prompts": _file(
        "queries",
        "listwise rerank prompts over DL19",
        "prompts/rankllm_dl19_prompts.jsonl",
        read_prompts,
    ),
    "azure2023_conv": _file(
        "trace",
        "an hour of Azure LLM chat: times and lengths",
        "traces/azure2023_conv.csv",
        read_azure,
    ),
    "mooncake_conversation": _file(
        "trace",
        "an hour of Kimi chat: times, lengths, prefix blocks",
        "traces/mooncake_conversation.jsonl",
        read_mooncake,
    ),
}
