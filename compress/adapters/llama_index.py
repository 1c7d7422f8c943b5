"""LlamaIndex's node postprocessor with a compressor behind it (extra ``llama-index``)."""

from __future__ import annotations

from typing import Any

from ragopt.chunk import numbered_hit
from ragopt.errors import BackendMissing

try:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore, TextNode
except ImportError as error:
    raise BackendMissing("llama-index-core", "llama-index", "LlamaIndexCompressor") from error

__all__ = ["LlamaIndexCompressor"]


class LlamaIndexCompressor(BaseNodePostprocessor):
    """A compressor as LlamaIndex calls it.

    Nodes keep their order, ids, metadata and scores; one of which nothing is left is missing.
    Without a question, or with a compressor that raises, they stay as they came; the latter is
    counted.

    Args:
        compressor: makes them shorter.
        max_tokens: of all nodes together; the compressor's own budget by default.
    """

    compressor: Any  # typed by protocol; LlamaIndex would make a JSON schema of it
    max_tokens: int | None = None
    failures: int = 0

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it."""
        return "LlamaIndexCompressor"

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
            found = self.compressor.compress(
                query_bundle.query_str, hits, max_tokens=self.max_tokens
            )
        except Exception:  # noqa: BLE001 - what fails here must not fail the question
            self.failures += 1
            return nodes
        return [_shortened(nodes[int(part.chunk.id)], part.text) for part in found.chunks]


def _shortened(node: Any, text: str) -> NodeWithScore:
    """The node with another text; the caller's own, which an index may hold, stays as it is."""
    inner = node.node
    short = TextNode(
        id_=inner.node_id,
        text=text,
        metadata=dict(inner.metadata),
        relationships=dict(inner.relationships),
    )
    return NodeWithScore(node=short, score=node.score)
