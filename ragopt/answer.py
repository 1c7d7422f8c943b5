"""An answer, the passages it rests on, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ragopt.compress.base import Compressed
from ragopt.cost.model_prices import Usage
from ragopt.retrieve import Stage

__all__ = ["Answer", "ServedFrom", "Source"]

ServedFrom = Literal["llm", "exact cache", "semantic cache"]
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that an answer rests on.

    Args:
        chunk_id: the chunk.
        document: id of its document.
        title: the document's title.
        start: offset of the chunk in the document, in characters.
    """

    chunk_id: str
    document: str
    title: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and what it cost.

    Args:
        text: what the model, or the cache, said.
        sources: the passages that were in its prompt.
        served_from: the model, or the tier of the cache.
        usage: tokens billed for this question; none for a hit.
        usage_method: who counted them: ``"provider"``, a tokenizer, or an estimate.
        cost: US dollars billed, by the price sheet, a reranker's included; without a priced model
            that alone, and 0 when the sheet lacks a rate for what was used, which a failed stage
            ``"price"`` then says.
        saved: US dollars less than the same question without cache, tight top-k and compression;
            negative where these made it dearer.
        context: what the model was given; None for a hit.
        stages: what each stage did, in order.
        cached_question: the question that the served answer was given to; None unless a hit.
    """

    text: str
    sources: tuple[Source, ...] = ()
    served_from: ServedFrom = "llm"
    usage: Usage = field(default_factory=Usage)
    usage_method: str = ""
    cost: Decimal = _NOTHING
    saved: Decimal = _NOTHING
    context: Compressed | None = None
    stages: tuple[Stage, ...] = ()
    cached_question: str | None = None

    @property
    def ms(self) -> float:
        """Wall time of all stages, the model's included."""
        return sum(stage.ms for stage in self.stages)

    def __str__(self) -> str:
        return self.text
