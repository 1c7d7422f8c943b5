"""LangChain's document compressor with a reranker behind it (extra ``langchain``).

>>> from langchain_classic.retrievers import ContextualCompressionRetriever  # doctest: +SKIP
>>> compressor = LangChainReranker(reranker=CrossEncoderReranker(model))      # doctest: +SKIP
>>> ContextualCompressionRetriever(                                           # doctest: +SKIP
...     base_compressor=compressor, base_retriever=retriever
... )
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ragopt.chunk import Hit, numbered_hit
from ragopt.errors import BackendMissing
from ragopt.rerank.base import Reranker
from ragopt.rerank.cut import Cut, FixedK
from ragopt.rerank.scores import reranked

try:
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
except ImportError as error:
    raise BackendMissing("langchain-core", "langchain", "LangChainReranker") from error

__all__ = ["LangChainReranker"]


class LangChainReranker(BaseDocumentCompressor):
    """A reranker and a cut as LangChain calls them.

    Documents come back best first with the score in ``metadata["relevance_score"]``; of each the
    metadata's ``title`` is read before its text. A reranker that raises is counted, and the
    documents stay in the order they came in.

    Args:
        reranker: scores the documents.
        cut: decides how many go on; the ten best by default.
    """

    model_config: ClassVar[dict[str, Any]] = {"arbitrary_types_allowed": True}

    reranker: Reranker
    cut: Cut = FixedK(10)
    failures: int = 0

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Any = None,  # noqa: ARG002 - nothing of LangChain's runs inside
    ) -> Sequence[Document]:
        """The documents that go on, best first."""
        hits = [
            numbered_hit(place, one.page_content, one.metadata)
            for place, one in enumerate(documents)
        ]
        try:
            found = reranked(self.reranker, query, hits)
            ranked, failed = list(found.hits), bool(found.scores.failed)
        except Exception:  # noqa: BLE001 - what fails here must not fail the question
            ranked, failed = hits, True
        if failed:
            self.failures += 1
            return [documents[int(hit.chunk.id)] for hit in ranked]
        return [_scored(documents[int(hit.chunk.id)], hit.score) for hit in self._kept(ranked)]

    def _kept(self, ranked: list[Hit]) -> list[Hit]:
        return ranked[: self.cut.keep(ranked)]


def _scored(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
