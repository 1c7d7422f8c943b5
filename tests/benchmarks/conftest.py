"""A small corpus in real English with questions, paraphrases and look-alikes over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.benchmarks.evidence import EvalItem
from ragopt.benchmarks.road.levers import Workbench
from ragopt.chunk import Chunk, Document, chunk_documents
from ragopt.corpus import embed_chunks
from ragopt.embed import LSAEmbedder
from ragopt.indexes import build
from ragopt.pipeline import Billing
from ragopt.rerank.base import passage

NAMES = (
    "Acacia Alder Aspen Beech Birch Cedar Cherry Chestnut Cypress Ebony Elder Fir Ginkgo Hawthorn "
    "Hazel Hemlock Hickory Holly Juniper Larch Laurel Linden Magnolia Mahogany Maple Myrtle Oak "
    "Olive Pear Pine Plum Poplar Rowan Spruce Sycamore Willow"
).split()
REGIONS = "Dublin Frankfurt Mumbai Oregon Osaka Paris Seoul Sydney Tokyo Virginia Zurich".split()
FILLER = (
    "Operators see the current value on the status page.",
    "A change is written to the audit log and takes effect at the next full hour.",
    "Requests that arrive in between are answered with the old value.",
    "Ask the storage team before you rely on it in a contract.",
    "Older releases called this setting by another name.",
    "The command line prints it together with the version of the server.",
)


@dataclass(frozen=True)
class SmallCorpus:
    """Four documents a bucket, two of them asked about; all of one chunk."""

    chunks: list[Chunk]
    items: list[EvalItem]
    embedder: LSAEmbedder
    vectors: NDArray[np.float32]


def _facts(place: int, name: str) -> dict[str, str]:
    days, hour = 7 + 3 * place, place % 24
    region, quota = REGIONS[place % len(REGIONS)], 50 + 10 * place
    return {
        "retention": f"The retention period of bucket {name} is {days} days.",
        "region": f"Bucket {name} stores its replicas in the region {region}-{place}.",
        "backup": f"The nightly backup of bucket {name} begins at {hour}:{place + 10} UTC.",
        "quota": f"The upload quota of bucket {name} amounts to {quota} gigabytes a day.",
    }


def _document(place: int, name: str, topic: str, fact: str) -> Document:
    other = NAMES[(place + 5) % len(NAMES)]
    rest = [FILLER[(place + number) % len(FILLER)] for number in range(3)]
    distractor = f"Bucket {other} has a {topic} of its own, described elsewhere."
    text = " ".join([rest[0], fact, rest[1], distractor, rest[2]])
    return Document(id=f"buckets/{name.lower()}/{topic}.md", text=text, title=f"{name}: {topic}")


def _questions(place: int, name: str, topic: str) -> tuple[str, ...]:
    """In turn: one wording; a second that differs in stop words; a third in other words."""
    asked = {
        "retention": (
            f"What is the retention period of bucket {name}?",
            f"What is the retention period of the bucket {name}?",
            f"How many days is the retention of {name}?",
        ),
        "backup": (
            f"When does the nightly backup of bucket {name} begin?",
            f"When will the nightly backup of the bucket {name} begin?",
            f"At which time UTC begins the backup of {name}?",
        ),
    }
    return asked[topic][: 1 + place % 3]


def _item(place: int, name: str, topic: str) -> EvalItem:
    other = NAMES[(place + 1) % len(NAMES)]
    return EvalItem(
        id=f"{topic}-{name.lower()}",
        wordings=_questions(place, name, topic),
        answer=_facts(place, name)[topic],
        gold=frozenset({f"buckets/{name.lower()}/{topic}.md#0"}),
        traps=(_questions(place + 1, other, topic)[0],) if place % 4 == 0 else (),
    )


@pytest.fixture(scope="session")
def small() -> SmallCorpus:
    documents = [
        _document(place, name, topic, fact)
        for place, name in enumerate(NAMES)
        for topic, fact in _facts(place, name).items()
    ]
    chunks = list(chunk_documents(documents))
    assert len(chunks) == len(documents) == 144
    items = [
        _item(place, name, topic)
        for place, name in enumerate(NAMES)
        for topic in ("retention", "backup")
    ]
    embedder = LSAEmbedder.fit([passage(chunk) for chunk in chunks])
    return SmallCorpus(chunks, items, embedder, embed_chunks(embedder, chunks))


@pytest.fixture(scope="session")
def make_bench(small: SmallCorpus) -> Callable[[], Workbench]:
    """Workbenches that share the indexes, and nothing that they measured."""
    indexes = {
        "hnsw": build("hnsw(m=16)", small.vectors),
        "compact": build("rabitq(bits=1)+rescore(f16)", small.vectors),
    }
    return lambda: Workbench(small.chunks, small.embedder, indexes, Billing("gpt-5-mini"))
