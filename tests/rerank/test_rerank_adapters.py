"""Rerankers and compressors behind LangChain's and LlamaIndex's interfaces: the real packages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rerank_made import ByNumber, Priced, Raises

from ragopt.compress import Extractive, Truncate
from ragopt.rerank import BM25Reranker, FixedK

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXTS = ["a 3", "b 1", "c 5", "d 2"]
LONG = (
    "The office opens at nine. To rotate an API key, press Rotate on the settings page. "
    "Lunch is served at noon. The garden is closed in winter. The lift is serviced in May."
)


class Broken:
    def compress(self, query: str, hits: Any, *, max_tokens: int | None = None) -> Any:
        raise RuntimeError("out of cheese")


# -------------------------------------------------------------------------------------- LangChain


def documents() -> list[Any]:
    core = pytest.importorskip("langchain_core.documents")
    return [core.Document(page_content=text, metadata={"n": text}) for text in TEXTS]


def test_langchain_documents_come_back_best_first() -> None:
    given = documents()
    from ragopt.rerank.adapters.langchain import LangChainReranker

    compressor = LangChainReranker(reranker=ByNumber(), cut=FixedK(2))
    found = compressor.compress_documents(given, "q")
    assert [one.page_content for one in found] == ["c 5", "a 3"]
    assert found[0].metadata == {"n": "c 5", "relevance_score": 5.0}
    assert given[2].metadata == {"n": "c 5"}
    again = asyncio.run(compressor.acompress_documents(given, "q"))
    assert [one.page_content for one in again] == ["c 5", "a 3"]
    assert compressor.compress_documents([], "q") == []


@pytest.mark.parametrize("scorer", [Raises(), Priced(fail="busy")])
def test_langchain_documents_stay_where_a_reranker_fails(scorer: Any) -> None:
    given = documents()
    from ragopt.rerank.adapters.langchain import LangChainReranker

    compressor = LangChainReranker(reranker=scorer, cut=FixedK(2))
    assert list(compressor.compress_documents(given, "q")) == given
    assert compressor.failures == 1


def test_langchain_reads_titles() -> None:
    core = pytest.importorskip("langchain_core.documents")
    from ragopt.rerank.adapters.langchain import LangChainReranker

    given = [
        core.Document(page_content="press it", metadata={"title": "the moon"}),
        core.Document(page_content="press it", metadata={"title": "rotate keys"}),
        core.Document(page_content="press it", metadata={"title": 7}),
    ]
    found = LangChainReranker(reranker=BM25Reranker()).compress_documents(given, "rotate keys")
    assert found[0].metadata["title"] == "rotate keys"


def test_langchain_documents_are_compressed() -> None:
    core = pytest.importorskip("langchain_core.documents")
    from ragopt.compress.adapters.langchain import LangChainCompressor

    given = [core.Document(page_content=LONG, metadata={"n": 1})]
    compressor = LangChainCompressor(compressor=Extractive(), max_tokens=25)
    (found,) = compressor.compress_documents(given, "How do I rotate an API key?")
    assert "press Rotate" in found.page_content
    assert len(found.page_content) < len(LONG)
    assert found.metadata == {"n": 1}
    assert given[0].page_content == LONG
    broken = LangChainCompressor(compressor=Broken())
    assert broken.compress_documents(given, "q") == given
    assert broken.failures == 1


# ------------------------------------------------------------------------------------- LlamaIndex


def nodes(*texts: str) -> list[Any]:
    schema = pytest.importorskip("llama_index.core.schema")
    return [
        schema.NodeWithScore(
            node=schema.TextNode(text=text, id_=f"n{place}", metadata={"p": place}), score=0.5
        )
        for place, text in enumerate(texts)
    ]


def test_llama_index_nodes_come_back_best_first() -> None:
    given = nodes(*TEXTS)
    from ragopt.rerank.adapters.llama_index import LlamaIndexReranker

    post = LlamaIndexReranker(reranker=ByNumber(), cut=FixedK(2))
    found = post.postprocess_nodes(given, query_str="q")
    assert [(one.node.node_id, one.score) for one in found] == [("n2", 5.0), ("n0", 3.0)]
    assert [one.score for one in given] == [0.5] * 4
    again = asyncio.run(post.apostprocess_nodes(given, query_str="q"))
    assert [one.node.node_id for one in again] == ["n2", "n0"]
    assert post.postprocess_nodes(given) == given
    assert post.class_name() == "LlamaIndexReranker"


@pytest.mark.parametrize("scorer", [Raises(), Priced(fail="busy")])
def test_llama_index_nodes_stay_where_a_reranker_fails(scorer: Any) -> None:
    given = nodes(*TEXTS)
    from ragopt.rerank.adapters.llama_index import LlamaIndexReranker

    post = LlamaIndexReranker(reranker=scorer)
    assert post.postprocess_nodes(given, query_str="q") == given
    assert post.failures == 1


def test_llama_index_nodes_are_compressed() -> None:
    given = nodes(LONG, "The moon is far away from here.")
    from ragopt.compress.adapters.llama_index import LlamaIndexCompressor

    post = LlamaIndexCompressor(compressor=Truncate(), max_tokens=12)
    found = post.postprocess_nodes(given, query_str="When does the office open?")
    assert found[0].node.node_id == "n0"
    assert found[0].node.metadata == {"p": 0}
    assert found[0].score == 0.5
    assert len(found[0].node.get_content()) < len(LONG)
    assert given[0].node.get_content() == LONG
    broken = LlamaIndexCompressor(compressor=Broken())
    assert broken.postprocess_nodes(given, query_str="q") == given
    assert broken.failures == 1
