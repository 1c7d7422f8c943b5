"""What a prompt wastes: findings with tokens, dollars a month and, where mechanical, a rewrite."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ragopt.compress.base import CountTokens
from ragopt.compress.lint_rules import (
    TEXT_RULES,
    Draft,
    said_twice,
    similar,
    tool_name,
    unused_tools,
)
from ragopt.compress.prefix import stable_json
from ragopt.compress.prompts import Prompt, PromptText, as_prompt
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.cost.model_prices import ModelPrice
    from ragopt.cost.prices import PriceSheet

__all__ = ["Finding", "LintReport", "PromptLint"]

_CONTEXT_CHARS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in a prompt that costs and may not be worth it.

    Args:
        rule: ``format``, ``json``, ``verbose``, ``repeated``, ``similar``, ``examples`` or
            ``unused tool``.
        where: the text or tool it stands in.
        start: first character in it.
        end: just past the last one.
        line: of the first character, from 1.
        message: what is wasteful about it.
        tokens: saved by the suggestion; without one, tokens of the whole stretch.
        usd_per_month: what these cost at the given traffic.
        suggestion: to be written instead; ``None`` where that takes judgement.
    """

    rule: str
    where: str
    start: int
    end: int
    line: int
    message: str
    tokens: int
    usd_per_month: Decimal
    suggestion: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """All that was found in a prompt.

    Args:
        findings: the dearest first.
        tokens: of the prompt, tools included.
        usd_per_month: of its input at the given traffic.
        tokens_rewritten: of the prompt with every suggestion taken.
        rewritten: the texts with every suggestion taken, in the prompt's order.
        model: whose prices were used.
        requests_per_month: the traffic.
    """

    findings: tuple[Finding, ...]
    tokens: int
    usd_per_month: Decimal
    tokens_rewritten: int
    rewritten: tuple[str, ...]
    model: str
    requests_per_month: int

    @property
    def usd_saved_per_month(self) -> Decimal:
        """By taking every suggestion."""
        share = self.tokens - self.tokens_rewritten
        return self.usd_per_month * share / self.tokens if self.tokens else Decimal(0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form; money as text."""
        fields = asdict(self)
        for one in (fields, *fields["findings"]):
            one["usd_per_month"] = str(one["usd_per_month"])
        return {**fields, "usd_saved_per_month": str(self.usd_saved_per_month)}


class PromptLint:
    """Finds what a prompt pays for at every request without need.

    Verbose phrases, instructions given twice, examples beyond the third, tool schemas that nothing
    calls, JSON laid out for eyes, white space. What can be rewritten without judgement comes with
    its rewrite; code, data and tables are never touched, except that white space between the tokens
    of JSON may go. English phrases only; the other rules know no language.

    Args:
        model: name in the price sheet.
        requests_per_month: how often the prompt is sent, 1 or more.
        prices: the sheet; the shipped one by default.
        cached_ratio: share of the requests for which the provider reads the prompt from its
            prefix cache, 0 to 1; 0 by default, which is the most that findings can cost.
        used_tools: names of the tools that real traffic has called; without them a tool is only
            reported where the prompt itself shows that nothing calls it.
        count: token counter; by default the best at hand for the model.

    Raises:
        UnknownPrice: the sheet does not know the model, or not its cached price where
            ``cached_ratio`` needs it.
        InputError: traffic below 1 or a ratio outside 0 to 1.
    """

    def __init__(
        self,
        model: str,
        *,
        requests_per_month: int = 1_000_000,
        prices: PriceSheet | None = None,
        cached_ratio: float = 0.0,
        used_tools: Collection[str] | None = None,
        count: CountTokens | None = None,
    ) -> None:
        from ragopt.cost.prices import PriceSheet
        from ragopt.cost.tokens import token_counter

        if requests_per_month < 1 or not 0 <= cached_ratio <= 1:
            raise InputError(
                f"requests_per_month={requests_per_month!r}, cached_ratio={cached_ratio!r}: "
                "expected 1 or more, and 0 to 1"
            )
        price = (prices or PriceSheet.default()).model(model)
        self.model = price.name
        self.requests_per_month = requests_per_month
        self.usd_per_token = _rate(price, cached_ratio)
        self.used_tools = None if used_tools is None else frozenset(used_tools)
        self._count = count or token_counter(model).count

    def lint(self, prompt: Prompt | str | Sequence[Any] | dict[str, Any]) -> LintReport:
        """Look through a prompt.

        Args:
            prompt: a text, messages, a whole request with its tools, or a `Prompt`.

        Raises:
            InputError: no prompt.

        Cost: linear in the text.
        """
        known = prompt if isinstance(prompt, Prompt) else as_prompt(prompt)
        drafts = _without_overlap(_drafts(known.texts))
        found = [self._finding(known.texts[draft.text], draft) for draft in drafts]
        found = [one for one in found if one.tokens > 0]
        tools = [stable_json(tool) for tool in known.tools]
        unused = dict(unused_tools(known, self.used_tools))
        found += [self._tool(known, tools, place, why) for place, why in unused.items()]
        rewritten = _rewritten(known.texts, drafts)
        left = [text for place, text in enumerate(tools) if place not in unused]
        tokens = self._counted([one.text for one in known.texts]) + self._counted(tools)
        return LintReport(
            findings=tuple(sorted(found, key=lambda one: -one.tokens)),
            tokens=tokens,
            usd_per_month=self._usd(tokens),
            tokens_rewritten=self._counted(rewritten) + self._counted(left),
            rewritten=tuple(rewritten),
            model=self.model,
            requests_per_month=self.requests_per_month,
        )

    def _counted(self, texts: Sequence[str]) -> int:
        return sum(map(self._count, texts))

    def _usd(self, tokens: int) -> Decimal:
        return tokens * self.usd_per_token * self.requests_per_month

    def _finding(self, text: PromptText, draft: Draft) -> Finding:
        tokens = self._tokens(text.text, draft)
        return Finding(
            rule=draft.rule,
            where=text.where,
            start=draft.start,
            end=draft.end,
            line=text.text.count("\n", 0, draft.start) + 1,
            message=draft.message,
            tokens=tokens,
            usd_per_month=self._usd(tokens),
            suggestion=draft.suggestion,
        )

    def _tokens(self, text: str, draft: Draft) -> int:
        """Tokens that a suggestion saves, counted with some characters around it."""
        if draft.suggestion is None:
            return self._count(text[draft.start : draft.end])
        left = text[max(0, draft.start - _CONTEXT_CHARS) : draft.start]
        right = text[draft.end : draft.end + _CONTEXT_CHARS]
        before = self._count(left + text[draft.start : draft.end] + right)
        return before - self._count(left + draft.suggestion + right)

    def _tool(self, prompt: Prompt, tools: Sequence[str], place: int, why: str) -> Finding:
        tokens = self._count(tools[place])
        return Finding(
            rule="unused tool",
            where=f"tools[{place}]",
            start=0,
            end=len(tools[place]),
            line=1,
            message=f"{tool_name(prompt.tools[place]) or 'a tool without a name'} {why}",
            tokens=tokens,
            usd_per_month=self._usd(tokens),
            suggestion="",
        )

    def __repr__(self) -> str:
        return f"PromptLint({self.model!r}, requests_per_month={self.requests_per_month})"


def _rate(price: ModelPrice, cached_ratio: float) -> Decimal:
    """US dollars of an input token, the provider's prefix cache included."""
    from ragopt.cost.model_prices import Usage

    full = price.cost(Usage(input=1))
    if cached_ratio == 0:
        return full
    share = Decimal(repr(float(cached_ratio)))
    return full * (1 - share) + price.cost(Usage(input=1, cached_input=1)) * share


def _drafts(texts: Sequence[PromptText]) -> Iterator[Draft]:
    """Findings of all rules, those that take most away first."""
    yield from said_twice(texts)
    for number, one in enumerate(texts):
        for rule in TEXT_RULES:
            yield from rule(number, one.text)
    yield from similar(texts)


def _without_overlap(drafts: Iterator[Draft]) -> list[Draft]:
    """Of suggestions that overlap the first; what suggests nothing may lie over others."""
    kept: list[Draft] = []
    repeated: set[tuple[int, int]] = set()
    at = (-1, 0)
    for draft in sorted(drafts, key=lambda one: (one.suggestion is None, one.text, one.start)):
        if draft.suggestion is None:
            if draft.rule != "similar" or (draft.text, draft.start) not in repeated:
                kept.append(draft)
        elif (draft.text, draft.start) >= at:
            at = (draft.text, draft.end)
            kept.append(draft)
            if draft.rule == "repeated":
                repeated.add((draft.text, draft.start))
    return kept


def _rewritten(texts: Sequence[PromptText], drafts: Sequence[Draft]) -> list[str]:
    written = [one.text for one in texts]
    for draft in sorted(drafts, key=lambda one: -one.start):
        if draft.suggestion is not None:
            text = written[draft.text]
            written[draft.text] = text[: draft.start] + draft.suggestion + text[draft.end :]
    return written
