"""Documents, the chunks cut from them, and hits: chunks with a score.

A chunk is always a verbatim slice of its document: ``document.text[chunk.start : chunk.end]
== chunk.text``. Everything downstream (evidence, compression, citations) counts on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ragopt.errors import InputError

__all__ = ["Chunk", "Document", "Hit", "chunk_document", "chunk_documents", "numbered_hit"]


def _no_metadata() -> Mapping[str, Any]:
    return MappingProxyType({})


# Cut points from the most to the least welcome; a piece ends where a match ends. White space that
# is not a space or a tab counts too: "\r\n" ends lines, U+3000 parts words.
_BOUNDARIES = (
    re.compile(r"\n[^\S\n]*\n\s*|\r\s*\r\s*|\f\s*|\u2029\s*"),  # paragraph
    re.compile(r"[\n\r\v\x85\u2028]"),  # line
    re.compile(  # sentence; in Chinese and Japanese no space follows the full stop
        r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+"
        r"|(?<=[。！？])(?![」』”’）])|(?<=[。！？][」』”’）])"  # noqa: RUF001
    ),
    re.compile(r"\s+"),  # word
)
_SOLID = re.compile(r"\S")
_SPACE = re.compile(r"\s")
# A place to resume: after white space, or at any character of a script written without it.
_RESUME = re.compile(
    r"(?<=\s)\S|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text to retrieve from.

    Args:
        id: unique within a corpus.
        text: the whole text; chunk offsets count its characters.
        title: a short name, shown to scorers and to the model with each chunk.
        source: where it came from (a path, a URL), for citations.
        metadata: anything else the caller wants to carry along.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=_no_metadata)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A verbatim slice of a document.

    Args:
        id: unique within a corpus.
        text: the slice itself.
        source: id of the document it was cut from.
        title: the document's title.
        start: offset of the slice in the document, in characters.
        metadata: carried over from the document.
    """

    id: str
    text: str
    source: str = ""
    title: str = ""
    start: int = 0
    metadata: Mapping[str, Any] = field(default_factory=_no_metadata)

    @property
    def end(self) -> int:
        """Offset just past the slice in the document, in characters."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk with a score; higher is better, everywhere, never a distance.

    Args:
        chunk: what was found.
        score: comparable only among hits of one scorer.
        probability: calibrated probability of relevance, when the scorer is calibrated.
    """

    chunk: Chunk
    score: float
    probability: float | None = None


def numbered_hit(place: int, text: str, metadata: Mapping[str, Any], score: float = 0.0) -> Hit:
    """A hit made of another library's document: its place for an id, the metadata's title.

    Args:
        place: of the document among those that came in.
        text: its content.
        metadata: its own; a ``title`` that is text is read.
        score: 0 for all where the library hands none over.
    """
    title = metadata.get("title")
    return Hit(Chunk(str(place), text, title=title if isinstance(title, str) else ""), score)


def chunk_document(
    document: Document, *, max_chars: int = 800, overlap_chars: int = 0
) -> Iterator[Chunk]:
    """Cut a document into verbatim chunks of at most ``max_chars`` characters.

    Cuts fall on paragraphs where possible, else on lines, sentences, words, and inside a
    word only when a single word is longer than a chunk. Surrounding white space is left
    out of the chunks; a document of white space alone has none.

    Args:
        document: what to cut.
        max_chars: largest chunk, in characters (800 is about 200 English tokens).
        overlap_chars: up to how much of a chunk's end the next one repeats, from a word boundary
            (between any two characters in Chinese and Japanese); 0 by default, since an overlap
            is paid for twice in every prompt.

    Raises:
        InputError: ``max_chars`` below 1, or an overlap outside ``[0, max_chars / 2]``.
    """
    if max_chars < 1:
        raise InputError(f"max_chars={max_chars}: expected at least 1 character")
    if not 0 <= overlap_chars <= max_chars // 2:
        raise InputError(
            f"overlap_chars={overlap_chars}: expected 0 to {max_chars // 2} "
            f"(half of max_chars={max_chars})"
        )
    text = document.text
    start = 0
    number = 0
    while (start := _skip_space(text, start)) < len(text):
        end = _cut(text, start, max_chars)
        kept = len(text[start:end].rstrip())
        yield Chunk(
            id=f"{document.id}#{number}",
            text=text[start : start + kept],
            source=document.id,
            title=document.title,
            start=start,
            metadata=document.metadata,
        )
        number += 1
        start = _next_start(text, start, end, overlap_chars, max_chars)


def chunk_documents(
    documents: Iterable[Document], *, max_chars: int = 800, overlap_chars: int = 0
) -> Iterator[Chunk]:
    """Cut many documents, in order, as `chunk_document` does.

    Raises:
        InputError: two documents share an id, or the sizes are unusable.
    """
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise InputError(
                f"document id {document.id!r} occurs twice; ids must be unique within a corpus"
            )
        seen.add(document.id)
        yield from chunk_document(document, max_chars=max_chars, overlap_chars=overlap_chars)


def _skip_space(text: str, start: int) -> int:
    solid = _SOLID.search(text, start)
    return solid.start() if solid else len(text)


def _cut(text: str, start: int, max_chars: int) -> int:
    """Offset to end the chunk that begins at ``start``: the last welcome cut that fits.

    It may lie past ``start + max_chars``, though only by white space that the chunk drops.
    """
    limit = start + max_chars
    if limit >= len(text):
        return len(text)
    # A cut in the first half would leave a stub of a chunk: try the next kind instead.
    earliest = start + max(1, max_chars // 2)
    for boundary in _BOUNDARIES:
        ends = [
            match.end()
            for match in boundary.finditer(text, earliest, limit + 1)
            if match.start() <= limit
        ]
        if ends:
            return ends[-1]
    return _cut_before_long_word(text, start, earliest, limit)


def _cut_before_long_word(text: str, start: int, earliest: int, limit: int) -> int:
    """A stub after all when that keeps whole a word which fits into a chunk of its own."""
    spaces = [match.end() for match in _SPACE.finditer(text, start, earliest)]
    if not spaces:
        return limit
    word = spaces[-1]
    # One character past the longest word that fits.
    rest = text[word : word + limit - start + 1]
    return word if len(rest) <= limit - start or _SPACE.search(rest) else limit


def _next_start(text: str, start: int, end: int, overlap_chars: int, max_chars: int) -> int:
    """Where the chunk after ``text[start:end]`` begins: before ``end`` by the overlap, if any."""
    if overlap_chars == 0 or end >= len(text):
        return end
    resume = _RESUME.search(text, max(start + 1, end - overlap_chars), end)
    # A long word may leave no room for both itself and the overlap. The overlap then gives way:
    # a chunk that lies wholly inside the one before it is paid for and says nothing.
    if resume and _cut(text, resume.start(), max_chars) > _skip_space(text, end):
        return resume.start()
    return end
