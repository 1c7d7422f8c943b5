"""A small real corpus, a word counter and round prices, so that sums can be done by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Document, Hit
from ragopt.corpus import Corpus
from ragopt.cost.model_prices import Usage
from ragopt.cost.prices import PriceSheet
from ragopt.cost.tokens import TokenCounter
from ragopt.llm import Completion, Message
from ragopt.retrieve import Retrieved, Stage

_TEXTS = {
    "API keys": (
        "To rotate an API key, open the settings page and press Rotate. The old key keeps working "
        "for 24 hours.\n\nA key that leaked is revoked at once with the command keyring revoke. "
        "Revoked keys never come back."
    ),
    "Backups": (
        "Backups run every night at 02:00 and are kept for 30 days.\n\nTo restore a backup, choose "
        "its date and press Restore. Restoring replaces the whole database."
    ),
    "Billing": (
        "Invoices are sent on the first day of each month. Payment is due within 14 days.\n\n"
        "The free plan covers three users and one gigabyte of storage."
    ),
    "Search": (
        "The search index is rebuilt after every import. Queries may use quotes for exact phrases."
        "\n\nResults are ranked by relevance and then by date."
    ),
    "Webhooks": (
        "A webhook is called when an invoice is paid or a backup fails. Its body is signed with "
        "the secret of the endpoint.\n\nFailed deliveries are tried again for three days."
    ),
    "Exports": (
        "An export holds every document and all comments as a ZIP archive.\n\nExports of more than "
        "10 GB are cut into several archives, each with a manifest."
    ),
    "Users": (
        "An administrator may invite users by mail. Invitations expire after seven days.\n\n"
        "Removing a user keeps the documents that the user wrote."
    ),
    "Limits": (
        "The interface answers 100 requests a minute for each key. Beyond this limit it answers "
        "with status 429 and a header that names the seconds to wait."
    ),
}


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    return [Document(title.lower(), text, title) for title, text in _TEXTS.items()]


@pytest.fixture(scope="session")
def corpus(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("corpus")
    # So few rows would wait in RAM by default, and nothing would be read.
    with Corpus.build(documents, folder, max_chars=120, index="tiered(fresh=4)") as built:
        yield built


@pytest.fixture
def words() -> TokenCounter:
    return TokenCounter(lambda text: len(text.split()), "words")


@pytest.fixture(scope="session")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> PriceSheet:
    """Dollars per token: input 0.000002, cached input 0.0000005, output 0.000008."""
    rates = {"provider": "me", "mode": "chat", "input": 2, "output": 8}
    models = {"m": {**rates, "cached_input": 0.5}, "no-cached-rate": rates}
    path: Path = tmp_path_factory.mktemp("prices") / "prices.json"
    path.write_text(json.dumps({"source": "test", "as_of": "2026-11-01", "models": models}))
    return PriceSheet.from_json(path)


class Model:
    """A language model that says what it was told to, and keeps what it was asked."""

    model = "parrot"

    def __init__(self, text: str = "yes it is", usage: Usage | None = None) -> None:
        self.text = text
        self.usage = usage
        self.prompts: list[list[Message]] = []

    def __call__(self, messages: Sequence[Message]) -> Completion:
        self.prompts.append(list(messages))
        return Completion(self.text, usage=self.usage, model=self.model)


class Fixed:
    """A retriever that finds the same for every question."""

    def __init__(self, hits: Sequence[str], plain: Sequence[str]) -> None:
        self.hits = self._hits("hit", hits)
        self.plain = self._hits("plain", plain)

    @staticmethod
    def _hits(name: str, texts: Sequence[str]) -> tuple[Hit, ...]:
        chunks = [Chunk(f"{name}{i}", text, "doc", "Title") for i, text in enumerate(texts)]
        return tuple(Hit(chunk, 1.0) for chunk in chunks)

    def retrieve(self, question: str, vector: NDArray[np.float32] | None = None) -> Retrieved:
        return Retrieved(
            hits=self.hits,
            plain=self.plain,
            vector=np.zeros(4, np.float32),
            stages=(Stage(name="search", ms=0.0),),
        )


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def new_model() -> type[Model]:
    return Model


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed
