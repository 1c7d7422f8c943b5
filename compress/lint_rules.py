"""What the linter looks for: each rule yields stretches of a text and what to write instead."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragopt.chunk import Chunk, Hit
from ragopt.compress.duplicates import NearDuplicates, opens_with_reference
from ragopt.compress.fence import fenced_pieces
from ragopt.compress.layout import Layout
from ragopt.compress.prompts import Prompt, PromptText
from ragopt.compress.segment import segment
from ragopt.compress.terms import NEGATION, terms

__all__ = [
    "MOST_EXAMPLES",
    "TEXT_RULES",
    "Draft",
    "said_twice",
    "similar",
    "tool_name",
    "unused_tools",
]

MOST_EXAMPLES = 3
_NEAR_DUPLICATE = 0.85
_LEAST_WORDS = 5
_LEAST_SHARED_TERMS = 4
_SIMILAR = 0.7
_MOST_COMMON = 20
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Draft:
    """A finding before it is priced.

    Args:
        rule: name of the rule.
        text: number of the text it stands in.
        start: first character.
        end: just past the last one.
        message: what is wasteful about it.
        suggestion: what to write instead; ``None`` where that takes judgement.
    """

    rule: str
    text: int
    start: int
    end: int
    message: str
    suggestion: str | None = None


_WASTE = (
    (re.compile(r"[ \t]+(?=\r?\n)|[ \t]+\Z"), "", "blanks at the end of a line"),
    (re.compile(r"\n(?:[ \t]*\r?\n){2,}"), "\n\n", "several empty lines"),
    (re.compile(r"(?<=[^\s|])[ \t]{2,}(?=[^\s|])"), " ", "several blanks in a row"),
    (re.compile(r"(?m)(?<=^===)=+(?=[ \t]*$)|(?<=^---)-+(?=[ \t]*$)"), "", "a long rule"),
    (re.compile(r"(?m)(?<=^\*\*\*)\*+(?=[ \t]*$)|(?<=^___)_+(?=[ \t]*$)"), "", "a long rule"),
)
# Phrase, what says the same, and whether it opens a sentence whose next word then does.
_PHRASES = (
    (r"in order to", "to"),
    (r"due to the fact that", "because"),
    (r"at this point in time", "now"),
    (r"in the event that", "if"),
    (r"for the purpose of", "for"),
    (r"with (?:regard|respect) to", "about"),
    (r"prior to", "before"),
    (r"subsequent to", "after"),
    (r"each and every", "each"),
    (r"a large number of", "many"),
    (r"is able to", "can"),
    (r"are able to", "can"),
    (r"has the ability to", "can"),
    (r"whether or not", "whether"),
)
_OPENERS = (
    r"please (?:note|be aware|remember|keep in mind) that",
    r"it is (?:very |extremely )?(?:important|essential|crucial) (?:to note |to remember )?that",
    r"(?:i would like you|i want you|i'd like you|you are (?:asked|required|expected)) to",
    r"your (?:task|job|goal) is to",
    (
        r"(?:please )?make sure (?:to"
        r"|(?:that )?you(?! (?:are|were|have|can|will|may|do|should|must)\b))"
    ),
    r"(?:please )?be sure to",
    r"please",
)
_PHRASE = re.compile(r"\b(?:" + "|".join(f"({phrase})" for phrase, _ in _PHRASES) + r")\b", re.I)
_OPENER = re.compile(r"(?:" + "|".join(_OPENERS) + r")[ ,]+(\w)", re.I)
_EXAMPLE = re.compile(
    r"(?im)^[ \t]*(?:#{1,6}[ \t]*|\*\*)?(?:example|sample|demonstration)[ \t]*#?\d*[ \t]*(?:\*\*)?"
    r"[:.)]|^[ \t]*(?:input|question|q|user|query)[ \t]*#?\d*[ \t]*:"
)


def format_waste(number: int, text: str) -> Iterator[Draft]:
    """White space and rules of signs that no reader needs, outside code, data and tables."""
    for piece in fenced_pieces(text):
        if piece.fenced:
            continue
        for pattern, better, what in _WASTE:
            for match in pattern.finditer(text, piece.start, piece.end):
                at_end = match.end() == piece.end and piece.end != len(text)
                if match[0] != better and not (at_end and better == ""):
                    yield Draft("format", number, *match.span(), what, better)


def loose_json(number: int, text: str) -> Iterator[Draft]:
    """JSON that is laid out for human eyes."""
    for found in segment(text):
        if found.kind == "data" and text[found.start] in "{[":
            dense = _dense(text[found.start : found.end])
            if dense is not None and len(dense) < found.end - found.start:
                message = "JSON with white space that no parser needs"
                yield Draft("json", number, found.start, found.end, message, dense)


def filler(number: int, text: str) -> Iterator[Draft]:
    """Phrases for which a word, or none, says the same."""
    opens = {found.start for found in segment(text) if found.kind in ("prose", "item")}
    for piece in fenced_pieces(text):
        if piece.fenced:
            continue
        for match in _PHRASE.finditer(text, piece.start, piece.end):
            better = _PHRASES[(match.lastindex or 1) - 1][1]
            capital = match[0][0].isupper()
            written = better.capitalize() if capital else better
            yield Draft("verbose", number, *match.span(), f"{match[0]!r} is long", written)
        for match in _OPENER.finditer(text, piece.start, piece.end):
            if match.start() in opens:
                message = f"{match[0][:-1].strip()!r} adds nothing to an instruction"
                yield Draft("verbose", number, *match.span(), message, match[1].upper())


def examples(number: int, text: str) -> Iterator[Draft]:
    """More worked examples than a model usually needs."""
    starts = [match.start() for match in _EXAMPLE.finditer(text)]
    if len(starts) > MOST_EXAMPLES:
        share = (len(text) - starts[0]) / len(text)
        message = (
            f"{len(starts)} examples, {share:.0%} of the text; measure whether {MOST_EXAMPLES} "
            "do as well"
        )
        yield Draft("examples", number, starts[MOST_EXAMPLES], len(text), message)


TEXT_RULES: tuple[Callable[[int, str], Iterator[Draft]], ...] = (
    format_waste,
    loose_json,
    filler,
    examples,
)


def said_twice(texts: Sequence[PromptText]) -> Iterator[Draft]:
    """Sentences of instructions that repeat an earlier one."""
    layout = _layout(texts)
    duplicates = NearDuplicates(layout, _NEAR_DUPLICATE)
    leads = set(layout.leads)
    for number in range(len(layout)):
        needed = number in leads or _points_back(layout, number + 1)
        enough = len(layout.words()[number]) >= _LEAST_WORDS
        prose = layout.segments[number].kind in ("prose", "item")
        if prose and enough and not needed and number in duplicates:
            yield _draft(layout, number, "repeated", "says again what was said before", "")
        else:
            duplicates.add(number)


def similar(texts: Sequence[PromptText]) -> Iterator[Draft]:
    """Sentences in other words with the same words: an instruction given twice, perhaps.

    Cost: linear, since terms that more than 20 sentences share are not followed.
    """
    layout = _layout(texts)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    bags: dict[int, frozenset[str]] = {}
    for number in range(len(layout)):
        if layout.segments[number].kind not in ("prose", "item"):
            continue
        bag = frozenset(terms(layout.text(number)))
        others = {one for term in bag for one in holders[term][-_MOST_COMMON:]}
        if any(_alike(layout, bag, number, bags[one], one) for one in sorted(others)):
            message = "has nearly the same words as an earlier sentence; say it once"
            yield _draft(layout, number, "similar", message, None)
        bags[number] = bag
        for term in bag:
            holders[term].append(number)


def unused_tools(prompt: Prompt, used: frozenset[str] | None) -> Iterator[tuple[int, str]]:
    """Places of tools that nothing calls, and how that is known."""
    written = "\n".join(text.text for text in prompt.texts)
    forced = _forced(prompt.tool_choice)
    seen: set[str] = set()
    for place, tool in enumerate(prompt.tools):
        name = tool_name(tool)
        if name in seen:
            yield place, "is declared twice"
        elif prompt.tool_choice == "none":
            yield place, "cannot be called: tool_choice is 'none'"
        elif forced and name != forced:
            yield place, f"cannot be called: tool_choice names {forced!r}"
        elif used is not None and name not in used:
            yield place, "was not called in the given traffic"
        elif used is None and prompt.called and name not in prompt.called and name not in written:
            yield place, "is neither called nor mentioned in this conversation"
        seen.add(name)


def tool_name(tool: Mapping[str, Any]) -> str:
    """Name of a tool in either provider's form; empty for one without."""
    inner = tool.get("function")
    name = (inner if isinstance(inner, Mapping) else tool).get("name")
    return name if isinstance(name, str) else ""


def _forced(choice: Any) -> str:
    return tool_name(choice) if isinstance(choice, Mapping) else ""


def _layout(texts: Sequence[PromptText]) -> Layout:
    """Instructions alone: turns of the assistant are examples or history."""
    return Layout(
        [
            Hit(Chunk(str(number), one.text if one.role != "assistant" else ""), 0.0)
            for number, one in enumerate(texts)
        ]
    )


def _draft(layout: Layout, number: int, rule: str, message: str, better: str | None) -> Draft:
    found = layout.segments[number]
    chunk = layout.chunk_of[number]
    end = found.end
    if better is not None:  # a sentence that goes takes the blanks behind it along
        after = layout.chunks[chunk].text[end:]
        end += len(after) - len(after.lstrip(" \t"))
    return Draft(rule, chunk, found.start, end, message, better)


def _points_back(layout: Layout, number: int) -> bool:
    same = number < len(layout) and layout.chunk_of[number] == layout.chunk_of[number - 1]
    return same and opens_with_reference(layout.text(number))


def _alike(
    layout: Layout, one: frozenset[str], number: int, other: frozenset[str], earlier: int
) -> bool:
    shared = len(one & other)
    if shared < _LEAST_SHARED_TERMS or shared < _SIMILAR * len(one | other):
        return False
    first, second = layout.text(earlier), layout.text(number)
    if _NUMBER.findall(first) != _NUMBER.findall(second):
        return False
    return len(NEGATION.findall(first)) == len(NEGATION.findall(second))


def _dense(text: str) -> str | None:
    """JSON without white space between its tokens; every token as it was written."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    return "".join(
        part if place % 2 else re.sub(r"\s+", "", part) for place, part in enumerate(parts)
    )
