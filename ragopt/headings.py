"""The first heading of a Markdown or reStructuredText file, for want of a better title."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

__all__ = ["markdown_heading", "rst_heading"]

_HEAD_CHARS = 16_384  # a heading further down is no title
_LINE_CHARS = 600

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(\S.*)$", re.MULTILINE)
_UNDERLINE = re.compile(r"(=+|-{2,})\s*")
_IMAGE_OR_TAG = re.compile(r"!\[[^\]]*\]\([^)]*\)|<[^>]*>")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_RST_ROLE = re.compile(r":[\w:+.-]+:(?=`)")


def markdown_heading(text: str) -> str:
    """First heading with words in it, ``# so`` or underlined; the front matter's title first.

    Returns:
        The words without mark-up; empty when the first 16,384 characters hold no heading.
    """
    text = text[:_HEAD_CHARS]
    front = _FRONT_MATTER.match(text)
    if front:
        title = _FRONT_TITLE.search(front[1])
        if title:
            return title[1].strip().strip("\"'")
        text = text[front.end() :]
    before = last = ""
    for line in _outside_code(text):
        heading = ""
        if line.startswith("#"):
            heading = _after_signs(line)
        # A paragraph of several lines, a list or a table above a rule is not a heading.
        elif last and not before and last[0] not in "-*+>|#" and _UNDERLINE.fullmatch(line):
            heading = _words(last)
        if heading:
            return heading
        before, last = last, line
    return ""


def rst_heading(text: str) -> str:
    """First line that one repeated sign underlines at its whole length.

    Returns:
        The words without mark-up; empty when the first 16,384 characters hold no heading.
    """
    lines = [line.rstrip() for line in text[:_HEAD_CHARS].splitlines()]
    before = ""
    for line, under in itertools.pairwise(lines):
        title = line.strip()
        alone = not before or _is_rule(before)
        if title and alone and not _is_rule(title) and _is_rule(under) and len(under) >= len(title):
            return _RST_ROLE.sub("", title).replace("`", "")
        before = line
    return ""


def _outside_code(markdown: str) -> Iterator[str]:
    """Lines, stripped; those of fenced and indented code as empty ones."""
    fence = ""
    for raw in markdown.splitlines():
        line = raw.strip()
        if fence:
            fence = "" if line.startswith(fence) else fence
            yield ""
        elif line.startswith(("```", "~~~")) and "```" not in line[3:]:
            fence = line[:3]
            yield ""
        else:
            yield "" if raw.startswith(("    ", "\t")) else line


def _after_signs(line: str) -> str:
    """Words of ``## Words ##``; empty when the line is something else."""
    words = line.lstrip("#")
    if len(line) - len(words) > 6 or not words[:1].isspace():
        return ""
    closed = words.rstrip("#")
    return _words(closed if closed[-1:].isspace() else words)  # "C#" keeps its sign


def _words(markdown: str) -> str:
    """A heading without images, tags, link targets and emphasis."""
    words = _IMAGE_OR_TAG.sub("", markdown[:_LINE_CHARS])
    return _LINK.sub(r"\1", words).replace("`", "").replace("**", "").strip()


def _is_rule(line: str) -> bool:
    return len(line) >= 2 and not line[0].isalnum() and line == line[0] * len(line)
