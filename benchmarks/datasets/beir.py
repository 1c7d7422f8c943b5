"""Corpora with judged queries: BEIR folders.

Thakur et al. (2021), "BEIR" (arXiv 2104.08663): ``corpus.jsonl`` (``_id``, ``title``, ``text``),
``queries.jsonl`` (``_id``, ``text``) and ``qrels.tsv`` or ``qrels/test.tsv`` (``query-id``,
``corpus-id``, ``score``, with a header). Optionally ``runs/*.tsv``: what first stages found, as
query, document, rank, score.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ragopt.benchmarks.datasets.source import Source, at, integer, string
from ragopt.benchmarks.datasets.types import RetrievalSet
from ragopt.benchmarks.datasets.vectors import read_vectors
from ragopt.chunk import Chunk
from ragopt.errors import InputError

__all__ = ["is_beir", "read_beir"]

_QRELS = ("qrels.tsv", "qrels/test.tsv")
_CELLS = {4: (0, 1, 2), 6: (0, 2, 3)}  # of a run: query, document, rank


def is_beir(folder: Path) -> bool:
    """Whether a folder has the files of a BEIR set."""
    return (folder / "corpus.jsonl").is_file() and (folder / "queries.jsonl").is_file()


def read_beir(
    folder: Path,
    source: Source,
    *,
    vectors: Path | None = None,
    query_vectors: Path | None = None,
) -> RetrievalSet:
    """A BEIR folder; queries that nobody judged are left out.

    Args:
        folder: holds the files.
        source: counts the files read.
        vectors: of the documents, in file order.
        query_vectors: of all queries, in file order.

    Raises:
        InputError: a file is missing or damaged, an id occurs twice, a judgement or a run names an
            unknown document or query, or vectors are not one each.
    """
    chunks = _corpus(folder / "corpus.jsonl", source)
    known = {chunk.id for chunk in chunks}
    asked = _queries(folder / "queries.jsonl", source)
    qrels = _qrels(_qrels_file(folder), source, known, asked)
    runs = {
        path.stem: _run(path, source, known, asked)
        for path in sorted((folder / "runs").glob("*.tsv"))
    }
    matrix = _one_each(vectors, source, len(chunks), "documents")
    asked_matrix = _one_each(query_vectors, source, len(asked), "queries")
    places = {query: place for place, query in enumerate(asked)}
    return RetrievalSet(
        name=source.name,
        chunks=tuple(chunks),
        queries={query: text for query, text in asked.items() if query in qrels},
        qrels=qrels,
        runs={
            name: {query: found for query, found in run.items() if query in qrels}
            for name, run in runs.items()
        },
        vectors=matrix,
        query_vectors=(
            None
            if asked_matrix is None
            else {query: asked_matrix[places[query]] for query in asked if query in qrels}
        ),
        data_hash=source.data_hash,
    )


def _corpus(path: Path, source: Source) -> list[Chunk]:
    chunks: list[Chunk] = []
    seen: set[str] = set()
    for where, row in source.rows(path):
        with at(where):
            name = _id(row)
            _add_once(seen, name)
            text, title = string(row, "text", blank=True), string(row, "title", blank=True)
            chunks.append(Chunk(id=name, text=text, source=name, title=title))
    return chunks


def _queries(path: Path, source: Source) -> dict[str, str]:
    queries: dict[str, str] = {}
    seen: set[str] = set()
    for where, row in source.rows(path):
        with at(where):
            name = _id(row)
            _add_once(seen, name)
            queries[name] = string(row, "text")
    return queries


def _qrels_file(folder: Path) -> Path:
    for name in _QRELS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder}: no judgements; expected {' or '.join(_QRELS)} with query-id, corpus-id, score"
    )


def _qrels(
    path: Path, source: Source, known: set[str], asked: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, (where, cells) in enumerate(source.table(path, delimiter="\t", quoted=False)):
        with at(where):
            if len(cells) != 3:
                raise InputError(f"{len(cells)} cells; expected query-id, corpus-id, score")
            query, document, grade_text = cells
            if number == 0 and not _is_number(grade_text):
                continue  # the header
            # Some judges give -1 to documents that must not be found; that is irrelevant too.
            grade = max(0, integer(grade_text, "score", least=-10))
            if query not in asked:
                raise InputError(f"query {query!r} is not among the queries")
            if document not in known and grade:
                raise InputError(
                    f"document {document!r} is judged relevant and is not in the corpus; nobody "
                    "could find it: add it, or leave the line out"
                )
            judged = qrels.setdefault(query, {})
            if judged.setdefault(document, grade) != grade:
                raise InputError(
                    f"document {document!r} is judged {judged[document]} and {grade} for query "
                    f"{query!r}; expected one grade"
                )
    if not qrels:
        raise InputError(f"{path}: no judgements below the header")
    return qrels


def _run(
    path: Path, source: Source, known: set[str], asked: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    ranked: dict[str, dict[str, int]] = {}
    for where, cells in source.table(path, delimiter="\t", quoted=False):
        with at(where):
            if len(cells) not in _CELLS:
                raise InputError(f"{len(cells)} cells; expected query, document, rank, score")
            query, document, rank = (cells[place] for place in _CELLS[len(cells)])
            if query not in asked:
                raise InputError(f"query {query!r} is not among the queries")
            if document not in known:
                raise InputError(f"document {document!r} is not in the corpus")
            found = ranked.setdefault(query, {})
            if document in found:
                raise InputError(f"document {document!r} occurs twice for query {query!r}")
            found[document] = integer(rank, "rank")
    return {query: tuple(sorted(found, key=found.__getitem__)) for query, found in ranked.items()}


def _one_each(path: Path | None, source: Source, count: int, what: str) -> NDArray[Any] | None:
    if path is None:
        return None
    vectors = read_vectors(path, source)
    if len(vectors) != count:
        raise InputError(
            f"{path}: {len(vectors):,} vectors of {count:,} {what}; expected one each, in the "
            "order of the file"
        )
    return vectors


def _id(row: Mapping[str, Any]) -> str:
    value = row.get("_id", row.get("id"))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return string(row, "_id", "id")


def _add_once(seen: set[str], id: str) -> None:
    if id in seen:
        raise InputError(f"id {id!r} occurs twice; expected unique ids")
    seen.add(id)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()
