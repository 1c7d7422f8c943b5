"""A searchable corpus in one folder: chunks, vectors, embedder, word statistics and index."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Document, chunk_documents
from ragopt.chunk_store import ChunkStore, chunk_row
from ragopt.closing import Closing
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

DEFAULT_INDEX = "tiered"
COSINE_WEIGHT = 0.5
"""Weight of the search's cosine beside BM25's 1.0; see `ragopt.rerank.base.convex`."""

_DESCRIPTION = "CORPUS.json"
_VERSION = 1
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
    version: int = _VERSION


class Corpus(Closing):
    """Chunks with an index over them; make one with `build` or `open`.

    Args:
        chunks: the chunk of each id in the index.
        embedder: the one that the vectors are from.
        index: over the chunks' vectors.
        statistics: of the chunks' words.
        version: names the documents; another for other documents or another chunking.

    Example:
        >>> corpus = Corpus.build(load_documents("docs").documents, "corpus")  # doctest: +SKIP
        >>> Pipeline(corpus.retriever(), ExtractiveAnswerer()).ask("…")        # doctest: +SKIP
    """

    def __init__(
        self,
        chunks: ChunkStore,
        embedder: Embedder,
        index: PositionIndex,
        statistics: CorpusStatistics,
        *,
        version: str = "",
    ) -> None:
        self.chunks = chunks
        self.embedder = embedder
        self.index = index
        self.statistics = statistics
        self.version = version

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
        batch, the other parts are whole or absent. Called on a finished folder it makes anew what
        is damaged.

        Args:
            documents: what to retrieve from.
            folder: where everything is kept; made when missing.
            embedder: `ragopt.embed.LSAEmbedder` fitted on the chunks by default.
            index: spec of the vector index.
            max_chars: largest chunk, in characters.
            overlap_chars: see `ragopt.chunk.chunk_document`.
            progress: told of every batch.

        Raises:
            InputError: no text in the documents, text or metadata that cannot be kept, or the
                folder holds another corpus or vectors of another embedder.
            StoreBusy: another process is building there.
            StorageError: the disk is full, read-only or failing.
        """
        place = Path(folder)
        report = progress or _silent
        chunks = list(chunk_documents(documents, max_chars=max_chars, overlap_chars=overlap_chars))
        if not chunks:
            raise InputError("the documents hold no text; there is nothing to index")
        documents_hash = _documents_hash(chunks)
        with writer_lock(place):
            finished = _finished(place)
            _check_same(place, documents_hash, finished)
            embedder = _chosen_embedder(place, embedder, chunks, finished)
            _write_chunks(place / "chunks.sqlite", chunks)
            report("chunk", len(chunks), len(chunks))
            vectors = embed_chunks(
                embedder, chunks, store=place / "vectors.sqlite", progress=progress
            )
            build_index(index, vectors, path=place / "index")
            report("index", len(chunks), len(chunks))
            CorpusStatistics.fit(chunks).save(place / "statistics")
            description = _Description(
                documents=documents_hash,
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
        index = open_index(place / "index", verify=verify)
        statistics = CorpusStatistics.load(place / "statistics")
        chunks = _open_chunks(place, description.chunks)
        return cls(chunks, embedder, index, statistics, version=description.documents)

    def close(self) -> None:
        """Close the file of the chunks; nothing can be retrieved afterwards."""
        self.chunks.close()

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
            corpus_version=self.version,
        )

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Corpus({len(self):,} chunks, {self.embedder!r}, {self.index!r})"


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


def _finished(place: Path) -> _Description | None:
    """What stands there whole; None also where the description is damaged."""
    try:
        return _read_description(place)
    except (InputError, IndexCorrupt):
        return None


def _chosen_embedder(
    place: Path,
    embedder: Embedder | None,
    chunks: Sequence[Chunk],
    finished: _Description | None,
) -> Embedder:
    """The embedder to build with; another one than a finished folder's would void its vectors."""
    own = place / "embedder"
    if embedder is None and (finished is None or own.is_dir()):
        embedder = _lsa(own, chunks)
    if embedder is not None and (finished is None or embedder.id == finished.embedder):
        return embedder
    raise InputError(
        f"{place} was embedded with {finished.embedder if finished else None!r}, got "
        f"{embedder.id if embedder else None!r}; pass the same embedder, or build into another "
        "folder"
    )


def _lsa(folder: Path, chunks: Sequence[Chunk]) -> LSAEmbedder:
    try:
        return LSAEmbedder.load(folder)  # of a run before this one: its vectors are kept
    except (InputError, IndexCorrupt):
        embedder = LSAEmbedder.fit(passage(chunk) for chunk in chunks)
        embedder.save(folder)
        return embedder


def _write_chunks(path: Path, chunks: Sequence[Chunk]) -> None:
    store = ChunkStore(path)
    try:
        if not _holds(store, chunks):
            store.replace(chunks)
    finally:
        store.close()


def _holds(store: ChunkStore, chunks: Sequence[Chunk]) -> bool:
    """Whether a run before this one wrote them and nothing was altered since."""
    try:
        return len(store) == len(chunks) and all(
            chunk_row(kept) == chunk_row(chunk) for kept, chunk in zip(store, chunks, strict=True)
        )
    except IndexCorrupt:
        return False


def _open_chunks(place: Path, count: int) -> ChunkStore:
    path = place / "chunks.sqlite"
    if not path.is_file():  # opening would make an empty one
        raise IndexCorrupt(f"{path}: missing; build the folder again")
    chunks = ChunkStore(path)
    with contextlib.ExitStack() as refused:
        refused.callback(chunks.close)
        found = len(chunks)
        if found != count:
            raise IndexCorrupt(f"{path}: {found} chunks, expected {count}; build the folder again")
        refused.pop_all()
    return chunks


def _check_same(place: Path, documents: str, finished: _Description | None) -> None:
    """Refuse a folder begun with other documents: what is there would be mixed up."""
    claim = place / "DOCUMENTS"
    with storage_errors(claim):
        begun = claim.read_bytes() if claim.exists() else None
    ours = documents.encode("ascii")
    if begun not in (None, ours) or (finished and finished.documents != documents):
        raise InputError(
            f"{place} holds a corpus of other documents or another chunking; choose another "
            "folder, or delete this one"
        )
    if begun is None:
        atomic_write(claim, ours)


def _documents_hash(chunks: Sequence[Chunk]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(json.dumps(chunk_row(chunk)).encode())
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
        newer = fields["version"] > _VERSION
        if not newer:
            return _Description(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise IndexCorrupt(f"{path}: damaged ({error}); build the folder again") from error
    raise IndexCorrupt(
        f"{path}: format version {fields['version']} is newer than this ragopt reads "
        f"({_VERSION}); upgrade ragopt"
    )


def _silent(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
