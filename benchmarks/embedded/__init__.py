"""The embedded corpus: reference texts of the running Python, with hand-written questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragopt.benchmarks.evidence import EvalItem
    from ragopt.chunk import Chunk

__all__ = ["load_embedded"]


def load_embedded() -> tuple[list[Chunk], list[EvalItem]]:
    """Chunks of the corpus and the questions whose answers stand in them; takes some seconds.

    Raises:
        InputError: this Python carries no standard-library sources.
    """
    from ragopt.benchmarks.embedded.questions import read_questions
    from ragopt.benchmarks.embedded.reference import CHUNK_CHARS, reference_documents
    from ragopt.benchmarks.evidence import from_embedded
    from ragopt.chunk import chunk_documents

    chunks = list(chunk_documents(reference_documents(), max_chars=CHUNK_CHARS))
    return chunks, from_embedded(read_questions(), chunks)
