"""LangChain's document compressor with a compressor of ragopt behind it (extra ``langchain``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ragopt.chunk import numbered_hit
from ragopt.compress.base import Compressor
from ragopt.errors import BackendMissing

try:
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
except ImportError as error:
    raise BackendMissing("langchain-core", "langchain", "LangChainCompressor") from error

__all__ = ["LangChainCompressor"]


class LangChainCompressor(BaseDocumentCompressor):
    """A compressor as LangChain calls it.

    Documents keep their order; one of which nothing is left is missing. A compressor that raises is
    counted, and the documents go on as they are.

    Args:
        compressor: makes them shorter.
        max_tokens: of all documents together; the compressor's own budget by default.
    """

    model_config: ClassVar[dict[str, Any]] = {"arbitrary_types_allowed": True}

    compressor: Compressor
    max_tokens: int | None = None
    failures: int = 0

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Any = None,  # noqa: ARG002 - nothing of LangChain's runs inside
    ) -> Sequence[Document]:
        """What is left of the documents."""
        # Equal scores: compressors weigh chunks by them, and LangChain hands none over.
        hits = [
            numbered_hit(place, one.page_content, one.metadata)
            for place, one in enumerate(documents)
        ]
        try:
            found = self.compressor.compress(query, hits, max_tokens=self.max_tokens)
        except Exception:  # noqa: BLE001 - what fails here must not fail the question
            self.failures += 1
            return list(documents)
        return [
            documents[int(part.chunk.id)].model_copy(update={"page_content": part.text})
            for part in found.chunks
        ]
