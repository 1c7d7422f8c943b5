"""LlamaIndex's node postprocessor with a reranker behind it (extra ``llama-index``).

>>> index.as_query_engine(                                            # doctest: +SKIP
...     node_postprocessors=[LlamaIndexReranker(reranker=BM25Reranker())]
... )
"""

from __future__ import annotations

from typing import Any

from ragopt.chunk import numbered_hit
from ragopt.errors import BackendMissing
from ragopt.rerank.cut import FixedK
from ragopt.rerank.scores import reranked

try:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore
except ImportError as error:
    raise BackendMissing("llama-index-core", "llama-index", "LlamaIndexReranker") from error

__all__ = ["LlamaIndexReranker"]


class LlamaIndexReranker(BaseNodePostprocessor):
    """A reranker and a cut as LlamaIndex calls them.

    Nodes come back best first with their new scores. Without a question, or with a reranker that
    raises, they stay as they came; the latter is counted.

    Args:
        reranker: scores the nodes.
        cut: decides how many go on; the ten best by default.
    """

    reranker: Any  # typed by protocol; LlamaIndex would make a JSON schema of it
    cut: Any = FixedK(10)
    failures: int = 0

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it."""
        return "LlamaIndexReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: Any = None
    ) -> list[NodeWithScore]:
        if query_bundle is None or not nodes:
            return nodes
        hits = [
            numbered_hit(place, one.node.get_content(), one.node.metadata, one.score or 0.0)
            for place, one in enumerate(nodes)
        ]
        try:
            found = reranked(self.reranker, query_bundle.query_str, hits)
            failed = bool(found.scores.failed)
        except Exception:  # noqa: BLE001 - what fails here must not fail the question
            failed = True
        if failed:
            self.failures += 1
            return nodes
        kept = list(found.hits)[: self.cut.keep(found.hits)]
        return [NodeWithScore(node=nodes[int(hit.chunk.id)].node, score=hit.score) for hit in kept]
