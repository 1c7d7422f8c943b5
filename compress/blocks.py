"""Blocks of a text that must stay in one piece: code, data, tables, list items.

A single pass over the lines. What is not clearly a block is prose: taking prose for data would
silently stop its compression, so each detector asks for proof (a closing fence or the text's
end, JSON that parses, a delimiter row, two keys in a row).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["JSON_OPENS", "Block", "BlockKind", "JsonFinder", "scan_blocks"]

BlockKind = Literal["prose", "heading", "code", "data", "header", "row", "item"]

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_ITEM = re.compile(r"([ \t]*)(?:[-*+•‣◦·]|(\d{1,3}|[a-z])[.)]|\((?:\d{1,3}|[a-z])\))[ \t]+(?=\S)")
_DOCTEST = re.compile(r"[ \t]*>>>(?: |$)")
_DELIMITER_ROW = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
_GRID = re.compile(r"[ \t]*\+[-=+]{3,}\+[ \t]*$")
JSON_OPENS = re.compile(r"\{(?=\s*(?:[\"}]|$))|\[(?=\s*(?:[\[{\"\]\d-]|true|false|null|$))")
_YAML_LINE = re.compile(r"[ \t]*(?:- )?(?:[a-z_][\w.-]*:(?:[ \t]+\S.*)?|- \S.*)$")
_YAML_KEY = re.compile(r"[ \t]*(?:- )?[a-z_][\w.-]*:(?:[ \t]|$)")
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)]*$")
_CODE_LINE = re.compile(
    r"""
    [ \t]*(?:
      (?:async[ ])?def[ ]\w+\( | class[ ]\w+.*[:{]$ | import[ ][\w.{*] .*$ | from[ ]\S+[ ]import[ ]
    | return\b.{0,80}$ | \#include | \#define | using[ ]\w+ | @\w+ | (?:pub[ ])?fn[ ]\w+
    | func[ ]\w+\(
    | (?:public|private|protected|static|const|let|var|function|package|export)[ ]\S
    | (?:if|for|while|switch|catch)[ ]?\( | else\b.{0,3}$ | try:$ | except\b.*:$ | finally:$
    | (?:if|elif|for|while|with)[ ].*:$ | (?:SELECT|INSERT|UPDATE|CREATE|DELETE|FROM|WHERE)\b
    | [\w.\[\]"']+[ ]?[-+*/|&]?=[ ]?[^\s=] | [\w.]+\(.*\)[;:]?$ | \$[ ]\S | //[ ] | /\*
    ) | .*[;{}]$ | [ \t]*[)\]}]+[,;]?$
    """,
    re.VERBOSE,
)
_JSON = json.JSONDecoder()
_JSON_PATIENCE_CHARS = 1_000_000
_JSON_WINDOW_CHARS = 4096
_JSON_FAILURE_CHARS = 64
_YAML_LINE_CHARS = 120
_CODE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of whole lines.

    Args:
        kind: what it is; prose still has to be cut into sentences.
        start: first character.
        end: just past the last character, line end not included.
        indent: indentation of a list item, in characters.
    """

    kind: BlockKind
    start: int
    end: int
    indent: int = 0


class JsonFinder:
    """Finds where JSON arrays and objects of a text end.

    It reads in windows that grow: a failure costs the decoder everything from where it began to
    read (it counts lines for its message), and a hostile text could open a value on every line.

    Args:
        text: the text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._patience = _JSON_PATIENCE_CHARS + len(text)

    def end(self, start: int) -> int | None:
        """Where the value that opens at ``start`` ends; ``None`` if there is none."""
        window = _JSON_WINDOW_CHARS
        while self._patience > 0:
            piece = self._text[start : start + window]
            try:
                value, length = _JSON.raw_decode(piece)
            except json.JSONDecodeError as error:
                if start + window >= len(self._text) or not _may_go_on(error, piece):
                    self._patience -= error.pos + _JSON_FAILURE_CHARS
                    return None
            except RecursionError:
                self._patience -= _JSON_WINDOW_CHARS
                return None
            else:
                return start + length if isinstance(value, dict | list) else None
            self._patience -= window
            window *= 16
        return None


def _may_go_on(error: json.JSONDecodeError, piece: str) -> bool:
    """Whether a value failed only because the window ended."""
    return error.pos >= len(piece) - 16 or error.msg.startswith("Unterminated string")


def scan_blocks(text: str) -> list[Block]:
    """Cut a text into blocks.

    Returns:
        Blocks in order, disjoint; only white space lies between them.

    Cost: linear in the length ; what looks like JSON and is none is read on for at most a
        million characters more than the text has.
    """
    return list(_Scanner(text).blocks())


class _Scanner:
    """The lines of a text and the detectors that look at them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: list[int] = []
        self.lines: list[str] = []
        self.json = JsonFinder(text)
        self.no_yaml_before = 0
        at = 0
        for line in text.splitlines(keepends=True):
            self.starts.append(at)
            self.lines.append(line.rstrip())
            at += len(line)

    def blocks(self) -> Iterator[Block]:
        at = 0
        while at < len(self.lines):
            if not self.lines[at]:
                at += 1
                continue
            found, at = self._next(at)
            yield from found

    def _next(self, at: int) -> tuple[list[Block], int]:
        """The block or blocks that begin at line ``at``, and the line after them."""
        detectors = (
            self._fence,
            self._data,
            self._doctest,
            self._table,
            self._code,
            self._items,
            self._heading,
        )
        for detect in detectors:
            found, stop = detect(at)
            if found:
                return found, stop
        stop = at + 1
        while stop < len(self.lines) and self.lines[stop] and not self._interrupts(stop):
            stop += 1
        return [self._block("prose", at, stop)], stop

    def _interrupts(self, at: int) -> bool:
        """Whether line ``at`` ends a paragraph although no blank line stands before it."""
        line = self.lines[at]
        first = line.lstrip()[0]
        if first in "`~":
            return _FENCE.match(line) is not None
        if first == "#":
            return _HEADING.match(line) is not None
        if first == ">":
            return _DOCTEST.match(line) is not None
        if first == "|" or "|" in line:
            return bool(self._table(at)[0])
        if first in "{[" or "{" in line or "[" in line:
            return self._json(at) is not None
        item = _ITEM.match(line)
        # A wrapped sentence may go on with "12. " or "a) ": only a first number opens a list.
        return item is not None and item[2] in (None, "1", "a")

    def _block(self, kind: BlockKind, first: int, stop: int, indent: int = 0) -> Block:
        """Lines ``first`` to ``stop`` (not included), trailing blank lines left out."""
        while not self.lines[stop - 1]:
            stop -= 1
        last = stop - 1
        return Block(kind, self.starts[first], self.starts[last] + len(self.lines[last]), indent)

    def _fence(self, at: int) -> tuple[list[Block], int]:
        opening = _FENCE.match(self.lines[at])
        if opening is None or (opening[1][0] == "`" and "`" in self.lines[at][opening.end() :]):
            return [], at
        fence = opening[1]
        stop = at + 1
        while stop < len(self.lines):
            line = self.lines[stop].strip()
            stop += 1
            if line.startswith(fence) and not line.strip(fence[0]):
                break
        return [self._block("code", at, stop)], stop

    def _data(self, at: int) -> tuple[list[Block], int]:
        stop = self._json(at) or self._yaml(at)
        return ([self._block("data", at, stop)], stop) if stop else ([], at)

    def _json(self, at: int) -> int | None:
        """The line after the JSON value that line ``at`` opens, if it takes whole lines."""
        line = self.lines[at]
        if "{" not in line and "[" not in line:
            return None
        for opening in JSON_OPENS.finditer(line):
            start = self.starts[at] + opening.start()
            end = self.json.end(start)
            if end is None:
                continue
            if end > self.starts[at] + len(line):
                return bisect_left(self.starts, end, lo=at)
            if not line[: opening.start()].strip() and end == self.starts[at] + len(line):
                return at + 1
        return None

    def _yaml(self, at: int) -> int | None:
        if at < self.no_yaml_before:
            return None
        first = at + (self.lines[at] == "---")
        stop = first
        keys = 0
        while stop < len(self.lines) and _is_yaml(self.lines[stop]):
            keys += _YAML_KEY.match(self.lines[stop]) is not None
            stop += 1
        ends = stop == len(self.lines) or self.lines[stop] in ("", "---", "...")
        if not (ends and keys >= 2):
            # What spoils this run spoils every later part of it.
            self.no_yaml_before = stop
            return None
        return stop if _YAML_KEY.match(self.lines[first]) else None

    def _doctest(self, at: int) -> tuple[list[Block], int]:
        if _DOCTEST.match(self.lines[at]) is None:
            return [], at
        stop = self._paragraph_end(at)
        while stop + 1 < len(self.lines) and _DOCTEST.match(self.lines[stop + 1]):
            stop = self._paragraph_end(stop + 1)
        return [self._block("code", at, stop)], stop

    def _code(self, at: int) -> tuple[list[Block], int]:
        if at > 0 and self.lines[at - 1]:
            return [], at
        stop = self._code_end(at, self._paragraph_end(at))
        if stop == at:
            return [], at
        # A blank line inside a function: what follows it is indented still.
        while stop + 1 < len(self.lines) and not self.lines[stop] and _indent(self.lines[stop + 1]):
            paragraph_end = self._paragraph_end(stop + 1)
            stop = max(self._code_end(stop + 1, paragraph_end), self._indented_end(stop + 1))
        return [self._block("code", at, stop)], stop

    def _code_end(self, at: int, paragraph_end: int) -> int:
        """The line after the code that a paragraph consists of or begins with; ``at`` if none."""
        lines = self.lines[at:paragraph_end]
        indented = [line.startswith(("    ", "\t")) for line in lines]
        if all(indented):
            prose = any(_SENTENCE_END.search(line) or _ITEM.match(line) for line in lines)
            return at if prose else paragraph_end
        certain = [_CODE_LINE.match(line) is not None for line in lines]
        likely = [one or other for one, other in zip(indented, certain, strict=True)]
        while likely and not likely[-1]:
            likely.pop()
        if sum(certain) < 2 or sum(likely) < _CODE_SHARE * len(likely):
            return at
        return at + len(likely)

    def _indented_end(self, at: int) -> int:
        while at < len(self.lines) and _indent(self.lines[at]):
            at += 1
        return at

    def _table(self, at: int) -> tuple[list[Block], int]:
        line = self.lines[at]
        if _GRID.match(line):
            stop = at
            while stop < len(self.lines) and self.lines[stop].lstrip()[:1] in ("+", "|"):
                stop += 1
            return [self._block("data", at, stop)], stop
        found = self._pipe_table(at) if "|" in line else ([], at)
        for separator in ("|", "\t", ","):
            if not found[0] and separator in line:
                found = self._separated(at, separator)
        return found

    def _pipe_table(self, at: int) -> tuple[list[Block], int]:
        if at + 1 >= len(self.lines):
            return [], at
        delimiter = self.lines[at + 1].strip()
        if "|" not in delimiter or _DELIMITER_ROW.match(delimiter) is None:
            return [], at
        stop = at + 2
        while stop < len(self.lines) and "|" in self.lines[stop]:
            stop += 1
        rows = [self._block("row", row, row + 1) for row in range(at + 2, stop)]
        return [self._block("header", at, at + 2), *rows], stop

    def _separated(self, at: int, separator: str) -> tuple[list[Block], int]:
        """A table without a delimiter row: three lines with the same number of separators."""
        count = self.lines[at].count(separator)
        prose_like = separator == "," and ", " in self.lines[at]
        if prose_like or (separator != "\t" and count < 2):
            return [], at
        stop = at + 1
        while stop < len(self.lines) and self.lines[stop].count(separator) == count:
            stop += 1
        if stop - at < 3:
            return [], at
        rows = [self._block("row", row, row + 1) for row in range(at + 1, stop)]
        return [self._block("header", at, at + 1), *rows], stop

    def _items(self, at: int) -> tuple[list[Block], int]:
        found = []
        stop = at
        while (marker := self._item_marker(stop)) is not None:
            first, stop = stop, self._item_end(stop, len(marker[1]))
            found.append(self._block("item", first, stop, indent=len(marker[1].expandtabs(4))))
            following = stop
            while following < len(self.lines) and not self.lines[following]:
                following += 1
            if self._item_marker(following) is not None:
                stop = following
        return found, stop

    def _item_marker(self, at: int) -> re.Match[str] | None:
        return _ITEM.match(self.lines[at]) if at < len(self.lines) else None

    def _item_end(self, at: int, indent: int) -> int:
        """The line after the item of line ``at``: its wrapped lines belong to it."""
        stop = at + 1
        while stop < len(self.lines):
            line = self.lines[stop]
            if not line:
                deeper = stop + 1 < len(self.lines) and _indent(self.lines[stop + 1]) > indent + 1
                if not deeper or self._starts_other(stop + 1):
                    break
            elif self._starts_other(stop):
                break
            stop += 1
        return stop

    def _starts_other(self, at: int) -> bool:
        line = self.lines[at]
        return any(pattern.match(line) for pattern in (_ITEM, _FENCE, _HEADING, _DOCTEST))

    def _heading(self, at: int) -> tuple[list[Block], int]:
        if _HEADING.match(self.lines[at]) is None:
            return [], at
        return [self._block("heading", at, at + 1)], at + 1

    def _paragraph_end(self, at: int) -> int:
        while at < len(self.lines) and self.lines[at]:
            at += 1
        return at


def _is_yaml(line: str) -> bool:
    fits = len(line) <= _YAML_LINE_CHARS and _YAML_LINE.match(line) is not None
    return fits and _SENTENCE_END.search(line) is None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip()) if line else 0
