"""The retrieval cache: the same question is searched for once in one state of the documents.

A miss on the answer still saves the search, and the embedding of the question. What is found does
not depend on who asks: all tenants, models and prompts that read the same documents through the
same settings share it, where answers are not shared.
"""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.checks import check_text
from ragopt.cache.exact import ExactCache, text_digest
from ragopt.cache.results import CacheHit
from ragopt.cache.scope import Scope
from ragopt.cache.stores import EntryStore
from ragopt.chunk import Chunk, Hit
from ragopt.chunk_store import chunk_row
from ragopt.closing import Closing
from ragopt.errors import InputError, RagoptError
from ragopt.retrieve import Retrieved, Retrieves, Stage

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["CachedRetriever", "RetrievalStats"]

_STAGE = "retrieval cache"
_SAME_VECTOR = 1e-4  # largest difference between two runs of one embedder on one text
_Named = Callable[[str], "Chunk | None"]


@dataclass(frozen=True, slots=True)
class RetrievalStats:
    """Counters of one `CachedRetriever` since it was made; ``lookups == hits + misses + errors``.

    Args:
        lookups: questions.
        hits: searches that were saved.
        misses: questions that were searched for.
        errors: questions that were searched for because the cache failed.
        puts: results stored.
        embeddings_saved: questions whose vector was read instead of computed.
        unusable: entries that were there and not served: a chunk is no longer there, or the
            caller's vector is of another text.
    """

    lookups: int
    hits: int
    misses: int
    errors: int
    puts: int
    embeddings_saved: int
    unusable: int

    @property
    def hit_ratio(self) -> float:
        """Share of questions whose search was saved; 0 before the first."""
        return self.hits / self.lookups if self.lookups else 0.0


class CachedRetriever(Closing):
    """A retriever that remembers what another one found, itself a retriever.

    Questions are the same when `normalise` makes them the same. A result is found again only with
    the same ``corpus_version`` and the same ``settings``: whatever else is served is a miss, also
    in a file written years ago or by another process. Results in which a stage had failed are not
    kept, nor those with chunks that a `Tighten` shortened. A cache that fails costs a search, never
    a question.

    Args:
        retriever: finds the chunks on a miss.
        path: SQLite file, made when missing; in memory when None.
        store: instead of a file, such as `ragopt.cache.stores.RedisStore`; closed with this.
        max_entries: as in `ExactCache`.
        max_bytes: as in `ExactCache`.
        ttl_s: seconds a result is served; for ever when None, since it is true as long as the
            documents are the same.
        settings: everything beside the documents that decides on what is found (k, filters,
            models), as JSON values; the retriever's own ``settings`` when None.
        corpus_version: names the documents; the retriever's own, read at each question, when None.
        secret: as in `ExactCache`.
        clock: gives Unix time.

    Attributes:
        retriever: the one that was given.

    Raises:
        InputError: nothing names the documents or the settings, or a value outside its range.
        RagoptError: as `ExactCache`.

    Cost: a hit reads one row of the cache and, from a `Corpus`, two of the corpus for each chunk:
    some 0.5 ms for ten. An entry takes 16/3 bytes a dimension, and some 100 for each chunk of a
    `Corpus`; measured on the embedded corpus.

    Example:
        >>> retriever = CachedRetriever(corpus.retriever(), path="found.db")  # doctest: +SKIP
        >>> Pipeline(retriever, llm).ask("How do I rotate a key?")            # doctest: +SKIP
    """

    def __init__(
        self,
        retriever: Retrieves,
        *,
        path: Path | str | None = None,
        store: EntryStore | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        ttl_s: float | None = None,
        settings: Mapping[str, Any] | None = None,
        corpus_version: str | None = None,
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not callable(getattr(retriever, "retrieve", None)):
            raise InputError(
                f"retriever is {type(retriever).__name__}, expected something with "
                "retrieve(question), such as corpus.retriever()"
            )
        self.retriever = retriever
        self._settings = settings
        self._version = corpus_version
        self._scope()  # what cannot be told apart is refused now, not at the first question
        self._embeddings_saved = 0
        self._lock = threading.Lock()
        self._entries = _Entries(
            path=path,
            store=store,
            ttl_s=math.inf if ttl_s is None else ttl_s,
            max_entries=max_entries,
            max_bytes=max_bytes,
            secret=secret,
            clock=clock,
        )

    @property
    def corpus_version(self) -> str:
        """Names the documents, as they are now."""
        given = self._version
        return getattr(self.retriever, "corpus_version", "") if given is None else given

    @property
    def embedder(self) -> Embedder | None:
        """The retriever's own, where it has one."""
        return getattr(self.retriever, "embedder", None)

    @property
    def stats(self) -> RetrievalStats:
        """Counters at this moment."""
        kept = self._entries.stats
        return RetrievalStats(
            lookups=kept.lookups,
            hits=kept.hits,
            misses=kept.misses,
            errors=kept.errors,
            puts=kept.puts,
            embeddings_saved=self._embeddings_saved,
            unusable=kept.refused.get("check", 0),
        )

    def retrieve(self, question: str, vector: NDArray[np.float32] | None = None) -> Retrieved:
        """Chunks for a question, from the cache where they are known.

        Args:
            question: as the user put it.
            vector: the embedder's for this question, where it is known already.

        Raises:
            InputError: this is closed, or the documents have lost their name.
        """
        self._entries.check_open()
        begin = perf_counter()
        scope = self._scope()
        found, failure = self._look_up(question, vector, scope)
        if found is not None:
            saved = "search" if vector is not None else "embedding and search"
            stage = Stage(name=_STAGE, ms=_ms(begin), note=f"hit, {saved} saved", cached=True)
            return replace(found, stages=(stage,))
        ms = _ms(begin)
        found = self.retriever.retrieve(question, vector)
        begin = perf_counter()
        if not failure and _whole(found):
            failure = self._remember(question, found, scope)
        stage = Stage(name=_STAGE, ms=ms + _ms(begin), note=failure or "miss", failed=bool(failure))
        return replace(found, stages=(stage, *found.stages))

    def stored_vector(self, question: str) -> NDArray[np.float32] | None:
        """A question's vector where the cache has it: for whoever needs it before the search."""
        try:
            payload = self._entries.peek(question, self._scope())
            vector = None if payload is None else _vector(payload)
        except (RagoptError, *_MISSHAPEN):
            return None  # `retrieve` will meet the same fault, and says so
        if vector is not None:
            self._count_embedding()
        return vector

    def purge(
        self,
        *,
        corpus_version: str | None = None,
        source: str | None = None,
        older_than_s: float | None = None,
    ) -> int:
        """Remove the results that meet every condition given, all when none is; how many went.

        Args:
            corpus_version: of documents that are no longer retrieved from. Their results are never
                served, but take room.
            source: with a chunk of this document.
            older_than_s: stored at least so many seconds ago.
        """
        return self._entries.purge(
            corpus_version=corpus_version, source=source, older_than_s=older_than_s
        )

    def close(self) -> None:
        """Close the file, not the retriever; closing twice does nothing."""
        self._entries.close()

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        """True: without entries it retrieves still."""
        return True

    def __repr__(self) -> str:
        return f"CachedRetriever({self.retriever!r}, {self._entries!r})"

    def _scope(self) -> Scope:
        """All that decides on what is found, as a scope that no answer has."""
        version = self.corpus_version
        if not isinstance(version, str) or not version:
            raise InputError(
                f"corpus_version is {version!r}: nothing would tell results of these documents "
                "from those of later ones; use corpus.retriever(), or pass corpus_version="
            )
        settings = self._settings
        if settings is None:
            settings = getattr(self.retriever, "settings", None)
        if not isinstance(settings, Mapping):
            raise InputError(
                f"{type(self.retriever).__name__} does not say its settings; pass settings= with "
                "all that decides on what is found: {'k': 10, 'model': …, 'filter': …}"
            )
        return Scope(corpus_version=version, sampling={"retrieval": dict(settings)})

    def _look_up(
        self, question: str, vector: NDArray[np.float32] | None, scope: Scope
    ) -> tuple[Retrieved | None, str]:
        """What the cache has, or None and why it failed, if it did."""
        found: list[Retrieved] = []

        def usable(hit: CacheHit) -> bool:
            read = self._read(hit.payload)
            if read is None or not _same(vector, read.vector):
                return False
            found.append(read)
            return True

        try:
            self._entries.get(question, scope=scope, check=usable)
        except RagoptError as error:
            return None, repr(error)
        if found and vector is None:
            self._count_embedding()
        return (found[0] if found else None), ""

    def _read(self, payload: Mapping[str, Any]) -> Retrieved | None:
        """A stored result with its chunks; None where it is not whole any more."""
        try:
            chunks = [self._chunk(stored) for stored in payload["chunks"]]
            hits, plain = (_hits(payload[name], chunks) for name in ("hits", "plain"))
            vector = _vector(payload)
        except _MISSHAPEN:
            return None
        if hits is None or plain is None:
            return None
        return Retrieved(hits=hits, plain=plain, vector=vector, stages=())

    def _chunk(self, stored: Any) -> Chunk | None:
        if not isinstance(stored, str):
            chunk_id, text, source, title, start, metadata = stored
            return Chunk(chunk_id, text, source, title, start, json.loads(metadata))
        named = self._named()
        return None if named is None else named(stored)

    def _named(self) -> _Named | None:
        """Finds a chunk by its id, where the retriever's chunks can.

        From a `Corpus` only ids are stored: ten chunks take 1.0 KB instead of 7.1 (embedded
        corpus), and texts are those of the corpus, checked by its own sums. A list of chunks would
        have to be gone through, and of a retriever by somebody else nothing is known: their chunks
        are stored whole.
        """
        named = getattr(getattr(self.retriever, "chunks", None), "named", None)
        return named if callable(named) else None

    def _remember(self, question: str, found: Retrieved, scope: Scope) -> str:
        """Store a result; why that failed, if it did."""
        try:
            if self._scope() != scope:
                return ""  # the documents changed during the search: whose result is it?
            self._entries.put(
                question,
                f"{len(found.hits)} chunks",
                scope=scope,
                payload=self._stored(found),
                sources={hit.chunk.source for hit in found.hits if hit.chunk.source.strip()},
            )
        except RagoptError as error:
            return f"miss, not stored: {error!r}"
        return ""

    def _stored(self, found: Retrieved) -> dict[str, Any]:
        chunks = {_key(hit): hit.chunk for hit in (*found.hits, *found.plain)}
        places = {key: place for place, key in enumerate(chunks)}
        by_id = self._named() is not None
        return {
            "chunks": [each.id if by_id else chunk_row(each) for each in chunks.values()],
            "vector": base64.b64encode(np.asarray(found.vector, dtype="<f4").tobytes()).decode(),
            **{
                name: [[places[_key(hit)], hit.score, hit.probability] for hit in hits]
                for name, hits in (("hits", found.hits), ("plain", found.plain))
            },
        }

    def _count_embedding(self) -> None:
        with self._lock:
            self._embeddings_saved += 1


class _Entries(ExactCache):
    """The rows: times, sums, limits, eviction and counters are those of any cache."""

    def peek(self, question: str, scope: Scope) -> Mapping[str, Any] | None:
        """What is stored with a question; counts for nothing."""
        self.check_open()
        check_text(question, "question")
        entry = self._at_text(self._scope_key(scope), text_digest(question))
        return None if entry is None else json.loads(entry.payload)

    def check_open(self) -> None:
        """Refuse to go on after `close`."""
        self._check_open()


_MISSHAPEN = (KeyError, IndexError, TypeError, ValueError)


def _whole(found: Retrieved) -> bool:
    """Whether the hits say it all: no stage had failed, and no chunk was shortened."""
    shortened = found.tightened is not None and found.tightened.is_compressed
    return not shortened and not any(stage.failed for stage in found.stages)


def _key(hit: Hit) -> tuple[str, str]:
    """What tells chunks apart, also those of a retriever that gives an id to several."""
    return hit.chunk.id, hit.chunk.text


def _hits(stored: Sequence[Any], chunks: Sequence[Chunk | None]) -> tuple[Hit, ...] | None:
    """Hits of (place, score, probability); None where a chunk is gone."""
    found = [(chunks[place], score, probability) for place, score, probability in stored]
    hits = tuple(Hit(chunk, *rest) for chunk, *rest in found if chunk is not None)
    return hits if len(hits) == len(found) else None


def _vector(payload: Mapping[str, Any]) -> NDArray[np.float32]:
    blob = base64.b64decode(payload["vector"], validate=True)
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def _same(given: NDArray[np.float32] | None, stored: NDArray[np.float32]) -> bool:
    """Whether a vector that the caller brings may be the stored one."""
    if given is None:
        return True
    row = np.asarray(given)
    least = _SAME_VECTOR * float(np.abs(stored).max(initial=0.0))
    return row.shape == stored.shape and bool(np.allclose(row, stored, rtol=0, atol=least))


def _ms(begin: float) -> float:
    return (perf_counter() - begin) * 1e3
