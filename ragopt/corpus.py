"""A searchable corpus in one folder: chunks, vectors, embedder, word statistics and index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Document, chunk_documents
from ragopt.chunk_store import ChunkStore
from ragopt.embed import Embedder, LSAEmbedder, StoredEmbedder
from ragopt.errors import IndexCorrupt, InputError
from ragopt.indexes import open as open_index
from ragopt.indexes.registry import build as build_index
from ragopt.rerank import BM25Reranker, CorpusStatistics, Cut, FixedK, Reranker
from ragopt.rerank.base import passage
from ragopt.retrieve import Retriever
from ragopt.storage import atomic_write, storage_errors, writer_lock

if TYPE_CHECKING:
    from ragopt.indexes.base import PositionIndex

__all__ = ["DEFAULT_INDEX", "Corpus", "Progress", "embed_chunks"]

DEFAULT_INDEX = "rabitq(bits=1)+rescore(f16)"
COSINE_WEIGHT = 0.5
"""Weight of the search's cosine beside BM25's 1.0; see `ragopt.rerank.base.convex`."""

_DESCRIPTION = "CORPUS.json"
_EMBEDDED_AT_ONCE = 256

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    """What a folder was built from; written last, so that its presence means a whole corpus."""

    documents: str
    max_chars: int
    overlap_chars: int
    index: str
    embedder: str
    chunks: int
    version: int = 1


class Corpus:
    """Chunks with an index over them; make one with `build` or `open`.

    Args:
        chunks: the chunk of each id in the index.
        embedder: the one that the vectors are from.
        index: over the chunks' vectors.
        statistics: of the chunks' words.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        embedder: Embedder,
        index: PositionIndex,
        statistics: CorpusStatistics,
    ) -> None:
        self.chunks = chunks
        self.embedder = embedder
        self.index = index
        self.statistics = statistics

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        folder: Path | str,
        *,
        embedder: Embedder | None = None,
        index: str = DEFAULT_INDEX,
        max_chars: int = 800,
        overlap_chars: int = 0,
        progress: Progress | None = None,
    ) -> Corpus:
        """Chunk, embed and index documents in a folder.

        Interrupted, it goes on where it stopped when called again: vectors are stored batch by
        batch, the other parts are whole or absent.

        Args:
            documents: what to retrieve from.
            folder: where everything is kept; made when missing.
            embedder: `ragopt.embed.LSAEmbedder` fitted on the chunks by default.
            index: spec of the vector index.
            max_chars: largest chunk, in characters.
            overlap_chars: see `ragopt.chunk.chunk_document`.
            progress: told of every batch.

        Raises:
            InputError: no text in the documents, or the folder holds another corpus.
            StoreBusy: another process is building there.
            StorageError: the disk is full, read-only or failing.
        """
        place = Path(folder)
        report = progress or _silent
        chunks = list(chunk_documents(documents, max_chars=max_chars, overlap_chars=overlap_chars))
        if not chunks:
            raise InputError("the documents hold no text; there is nothing to index")
        with writer_lock(place):
            _check_same(place, _documents_hash(chunks))
            _write_chunks(place / "chunks.sqlite", chunks)
            report("chunk", len(chunks), len(chunks))
            if embedder is None:
                embedder = _lsa(place / "embedder", chunks)
            vectors = embed_chunks(
                embedder, chunks, store=place / "vectors.sqlite", progress=progress
            )
            build_index(index, vectors, path=place / "index")
            report("index", len(chunks), len(chunks))
            CorpusStatistics.fit(chunks).save(place / "statistics")
            description = _Description(
                documents=_documents_hash(chunks),
                max_chars=max_chars,
                overlap_chars=overlap_chars,
                index=index,
                embedder=embedder.id,
                chunks=len(chunks),
            )
            atomic_write(place / _DESCRIPTION, json.dumps(asdict(description), indent=1).encode())
        return cls.open(place, embedder=embedder)

    @classmethod
    def open(
        cls, folder: Path | str, *, embedder: Embedder | None = None, verify: bool = True
    ) -> Corpus:
        """Open what `build` made; many processes may.

        Args:
            folder: the one given to `build`.
            embedder: the one given to `build`; needless for the LSA default.
            verify: check every file's checksum first.

        Raises:
            InputError: no corpus stands there, or another embedder is given.
            IndexCorrupt: a file is damaged.
        """
        place = Path(folder)
        description = _read_description(place)
        if embedder is None:
            if not (place / "embedder").is_dir():
                raise InputError(
                    f"{place} was embedded with {description.embedder!r}; pass that embedder"
                )
            embedder = LSAEmbedder.load(place / "embedder")
        if embedder.id != description.embedder:
            raise InputError(
                f"{place} was embedded with {description.embedder!r}, got {embedder.id!r}; pass "
                "the same embedder, or build into another folder"
            )
        chunks = ChunkStore(place / "chunks.sqlite")
        if len(chunks) != description.chunks:
            raise IndexCorrupt(
                f"{place / 'chunks.sqlite'}: {len(chunks)} chunks, expected "
                f"{description.chunks}; build the folder again"
            )
        index = open_index(place / "index", verify=verify)
        return cls(chunks, embedder, index, CorpusStatistics.load(place / "statistics"))

    def retriever(
        self,
        *,
        k: int = 10,
        candidates: int = 50,
        reranker: Reranker | None = None,
        cut: Cut | None = None,
    ) -> Retriever:
        """A retriever with reranking, by default BM25 with the corpus's own word statistics.

        The search's cosine counts half as much as the reranker.

        Args:
            k: chunks a plain search would send; what savings are counted against.
            candidates: how many the index brings in for the reranker.
            reranker: instead of BM25.
            cut: how many chunks go on; the best ``k`` by default.
        """
        return Retriever(
            chunks=self.chunks,
            embedder=self.embedder,
            index=self.index,
            k=k,
            candidates=candidates,
            reranker=reranker or BM25Reranker(self.statistics),
            prior_weight=COSINE_WEIGHT,
            cut=cut or FixedK(k),
        )

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Corpus({len(self.chunks):,} chunks, {self.embedder!r}, {self.index!r})"


def embed_chunks(
    embedder: Embedder,
    chunks: Sequence[Chunk],
    *,
    store: Path | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Vectors (n, dim) of chunks, titles included.

    Args:
        embedder: does the work.
        chunks: n of them.
        store: SQLite file that keeps the vectors, so that an interrupted run goes on.
        progress: told of every batch.
    """
    vectors = np.empty((len(chunks), embedder.dim), dtype=np.float32)
    stored = StoredEmbedder(embedder, store) if store is not None else None
    try:
        for start in range(0, len(chunks), _EMBEDDED_AT_ONCE):
            texts = [passage(chunk) for chunk in chunks[start : start + _EMBEDDED_AT_ONCE]]
            vectors[start : start + len(texts)] = (stored or embedder).embed(texts)
            (progress or _silent)("embed", start + len(texts), len(chunks))
    finally:
        if stored is not None:
            stored.close()
    return vectors


def _lsa(folder: Path, chunks: Sequence[Chunk]) -> LSAEmbedder:
    embedder = LSAEmbedder.fit(passage(chunk) for chunk in chunks)
    embedder.save(folder)
    return embedder


def _write_chunks(path: Path, chunks: Sequence[Chunk]) -> None:
    store = ChunkStore(path)
    try:
        if not len(store):  # else a run before this one wrote them, all in one transaction
            store.extend(chunks)
    finally:
        store.close()


def _check_same(folder: Path, documents: str) -> None:
    """Refuse a folder begun with other documents: what is there would be mixed up."""
    claim = folder / "DOCUMENTS"
    with storage_errors(claim):
        begun = claim.read_text("ascii") if claim.exists() else None
    if begun is None:
        atomic_write(claim, documents.encode("ascii"))
    elif begun != documents:
        raise InputError(
            f"{folder} holds a corpus of other documents or another chunking; choose another "
            "folder, or delete this one"
        )


def _documents_hash(chunks: Sequence[Chunk]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        row = [chunk.id, chunk.source, chunk.title, chunk.start, chunk.text]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _read_description(folder: Path) -> _Description:
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{folder}: no corpus stands here, or its building was not finished; run "
            "Corpus.build on it (it goes on where it stopped)"
        )
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return _Description(**fields)
    except (ValueError, TypeError) as error:
        raise IndexCorrupt(f"{path}: damaged ({error}); build the folder again") from error


def _silent(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
