"""What a cache saves in dollars on a stream, and what it costs itself.

Against no cache at all: every hit spares one call of the model. From that go the embedding of what
the exact tier did not answer, the judge of a policy that learns, and a month of memory and disk for
what was stored. A request that goes into exploring is a call that is not spared, so it is in the
account already; what those calls came to stands beside. A wrong answer costs something too, which
nobody can price but the user: the bill says at which price of one nothing is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.stream import ASKED
from ragopt.benchmarks.common import at_least
from ragopt.cache import LLMJudge
from ragopt.cost.infrastructure import GB, GIB, Infrastructure
from ragopt.cost.prices import PriceSheet
from ragopt.cost.tokens import token_counter
from ragopt.errors import UnknownPrice
from ragopt.llm.base import Completion, Message
from ragopt.quality import data_hash

if TYPE_CHECKING:
    from ragopt.cost.model_prices import ModelPrice

__all__ = ["Bill", "BillOptions", "UnitCosts", "bill_of", "question_tokens", "unit_costs"]

_PER = 1000  # requests that a bill is stated for
_VALUE_BYTES = 4  # of a float32
_ANSWER_BYTES = 4  # a token of English prose, about


@dataclass(frozen=True, slots=True, kw_only=True)
class BillOptions:
    """What is billed.

    Args:
        model: that answers, as the price sheet names it.
        embedding_model: that embeds the questions.
        judge_model: that compares a fresh answer with a stored one.
        context_tokens: of a prompt beside the question: instructions and passages.
        answer_tokens: of an answer.

    Raises:
        InputError: a number of tokens below 1.
    """

    model: str = "gpt-5-mini"
    embedding_model: str = "text-embedding-3-small"
    judge_model: str = "gpt-5-nano"
    context_tokens: int = 2000
    answer_tokens: int = 250

    def __post_init__(self) -> None:
        at_least("context_tokens", self.context_tokens)
        at_least("answer_tokens", self.answer_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """US dollars of each thing that is billed.

    Args:
        call: of the model, its question's tokens apart.
        call_token: of the question.
        embedding_token: of the question.
        judgement: of two answers, the question's tokens apart.
        judgement_token: of the question.
        stored: an entry without a vector, for a month on disk.
        vector: of an entry, for a month on disk and in memory.
    """

    call: Decimal
    call_token: Decimal
    embedding_token: Decimal
    judgement: Decimal
    judgement_token: Decimal
    stored: Decimal
    vector: Decimal

    def to_dict(self) -> dict[str, str]:
        """Exact, as text."""
        return {each.name: str(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, str]) -> UnitCosts:
        """What `to_dict` made."""
        return cls(**{each.name: Decimal(content[each.name]) for each in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """US dollars per 1,000 requests.

    Args:
        saved: calls that hits spared.
        embedding: of requests that no exact tier answered.
        judge: of what was compared.
        storage: of what was stored, for a month.
        explored: calls of the requests that were asked to learn; not spared, so not in `saved`.
        hits: of 1,000 requests.
        wrong: of 1,000 requests; None where nobody knows.
    """

    saved: Decimal
    embedding: Decimal
    judge: Decimal
    storage: Decimal
    explored: Decimal
    hits: Decimal
    wrong: Decimal | None

    @property
    def spent(self) -> Decimal:
        """What the cache costs itself."""
        return self.embedding + self.judge + self.storage

    @property
    def net(self) -> Decimal:
        """What is left of the saving."""
        return self.saved - self.spent

    @property
    def break_even_call(self) -> Decimal | None:
        """Price of a call at which nothing is left; None without a hit."""
        return self.spent / self.hits if self.hits else None

    @property
    def break_even_wrong(self) -> Decimal | None:
        """Price of a wrong answer at which nothing is left; None where none is known."""
        return self.net / self.wrong if self.wrong else None

    def to_dict(self) -> dict[str, float | None]:
        """Of a row's extra."""
        return {
            "saved_usd": float(self.saved),
            "embedding_usd": float(self.embedding),
            "judge_usd": float(self.judge),
            "storage_usd": float(self.storage),
            "explored_usd": float(self.explored),
            "break_even_call_usd": _float(self.break_even_call),
            "break_even_wrong_usd": _float(self.break_even_wrong),
        }


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def question_tokens(texts: Sequence[str], options: BillOptions) -> NDArray[np.int32]:
    """(n,) tokens of the questions, as the model that answers counts them."""
    count = token_counter(options.model).count
    known = {text: count(text) for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.int32)


def unit_costs(
    options: BillOptions, *, dim: int, question_bytes: float
) -> tuple[UnitCosts, dict[str, Any]]:
    """Costs at the shipped prices, and what they are made of.

    Args:
        options: models and lengths.
        dim: of the vectors, stored as float32.
        question_bytes: of a stored question, on average.

    Raises:
        UnknownPrice: a model that the sheet has no such price for.
    """
    sheet, machines = PriceSheet.default(), Infrastructure.default()
    model, embedding, judge = (
        sheet.model(name) for name in (options.model, options.embedding_model, options.judge_model)
    )
    length = options.context_tokens
    call_token, answer_token = (_rate(model, kind, length) for kind in ("input", "output"))
    counter = token_counter(options.judge_model)
    judged = counter.count(_judges_prompt()) + 2 * options.answer_tokens
    disk = machines.unit_price("gp3_gb_month").usd / GB
    memory = machines.unit_price("ram_gib_month").usd / GIB
    entry_bytes = Decimal(repr(question_bytes)) + _ANSWER_BYTES * options.answer_tokens
    costs = UnitCosts(
        call=length * call_token + options.answer_tokens * answer_token,
        call_token=call_token,
        embedding_token=_rate(embedding, "input"),
        judgement=judged * _rate(judge, "input") + _rate(judge, "output"),
        judgement_token=_rate(judge, "input"),
        stored=entry_bytes * disk,
        vector=_VALUE_BYTES * dim * (disk + memory),
    )
    about = {
        "prices": [model.price_id, embedding.price_id, judge.price_id],
        "infrastructure": f"AWS {machines.unit_price('gp3_gb_month').region}, "
        f"{machines.unit_price('gp3_gb_month').as_of}",
        "hash": data_hash(*(repr(each) for each in (model, embedding, judge)), machines.hash),
        "date": sheet.date,
        "tokens_counted_by": token_counter(options.model).method,
        "kept": "what is stored is paid for a month",
    }
    return costs, about


def _rate(price: ModelPrice, kind: Literal["input", "output"], tokens: int = 0) -> Decimal:
    rates = price.rates_for(tokens)
    rate = rates.input if kind == "input" else rates.output
    if rate is None:
        raise UnknownPrice(f"{price.name}: no price of its {kind} tokens; expected one that has it")
    return rate


def _judges_prompt() -> str:
    """What the judge reads beside the question and the answers."""
    seen: list[str] = []

    def reading(messages: Sequence[Message]) -> Completion:
        seen.extend(message.content for message in messages)
        return Completion("YES")

    LLMJudge(reading)("", "", "")
    return "\n".join(seen)


def bill_of(
    log: NDArray[np.int32],
    tokens: NDArray[np.int32],
    words: NDArray[np.int32],
    costs: UnitCosts,
    *,
    embeds: str,
    wrong: int | None,
) -> Bill:
    """The bill of a policy for a stream.

    Args:
        log: (n,) of `run_stream`.
        tokens: (n,) of the questions.
        words: (n,) of `words_of`.
        costs: of each thing.
        embeds: ``"never"``, ``"always"``, or ``"unseen"`` texts only, behind an exact tier.
        wrong: wrong hits; None where nobody knows.
    """
    asked, missed = log == ASKED, log < 0
    same = ~missed & (words == words[np.maximum(log, 0)])
    embedded = {
        "never": np.zeros(len(log), dtype=bool),
        "always": np.ones(len(log), dtype=bool),
        "unseen": ~same,
    }[embeds]
    share = Decimal(_PER) / max(1, len(log))

    def priced(which: NDArray[np.bool_], each: Decimal, token: Decimal) -> Decimal:
        return share * (int(which.sum()) * each + int(tokens[which].sum()) * token)

    entry = costs.stored + (costs.vector if embeds != "never" else 0)
    return Bill(
        saved=priced(~missed, costs.call, costs.call_token),
        embedding=priced(embedded, Decimal(0), costs.embedding_token),
        judge=priced(asked, costs.judgement, costs.judgement_token),
        storage=share * int(missed.sum()) * entry,
        explored=priced(asked, costs.call, costs.call_token),
        hits=share * int((~missed).sum()),
        wrong=None if wrong is None else share * wrong,
    )
