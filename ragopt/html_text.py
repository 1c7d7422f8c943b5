"""Readable text of an HTML page: paragraphs, list items, table rows; no scripts, no menus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["declared_encoding", "html_text"]

_LINE, _PARAGRAPH = 1, 2
_BREAKS = {
    **dict.fromkeys(
        "address article aside blockquote body caption center details dialog div dl fieldset "
        "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr main ol p pre section "
        "summary table ul".split(),
        _PARAGRAPH,
    ),
    **dict.fromkeys("br dd dt li option tr".split(), _LINE),
}
_LEFT_OUT = frozenset("button canvas iframe nav noscript object select svg template".split())
_INVISIBLE = re.compile(r"[\xad\u200b\u2060\ufeff]")
_HEADING_MARKS = frozenset(("¶", "\uf0c1"))  # links that documentation builders add to headings
_OPAQUE = re.compile(r"<!--|<!|<\?|<(script|style)\b", re.IGNORECASE)
_SCRIPT_END = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style")}
# A tag whose quoted values may hold ">"; one with broken quotes; or a mere less-than sign.
_TAG = re.compile(r"<(?:(/?[a-zA-Z][^\s/<>]*)(?:(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*>|[^>]*>))?")
_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_HEAD_BYTES = 2048


def html_text(markup: str) -> tuple[str, str]:
    """Title and text of a page.

    Scripts, styles, menus (``nav``), buttons and the like are left out; block elements become
    paragraphs, list items begin with a dash or their number, table cells are parted by ``" | "``
    and the lines of ``pre`` stay as they are.

    Args:
        markup: HTML, however broken; entities may stand in it.

    Returns:
        The first ``<title>``, else the first ``<h1>``, else nothing; and the text. Cost: linear in
        the markup.
    """
    visible = _plain(markup)
    page = _read(visible, _LEFT_OUT)
    if page.leaving_out:  # never closed: better a menu in the text than no text
        page = _read(visible, frozenset())
    return page.title, page.text


def declared_encoding(data: bytes) -> str:
    """The encoding that a page names in its head; empty when it names none."""
    found = _DECLARED.search(data, 0, _HEAD_BYTES)
    name = found[1].decode("ascii", "replace").lower() if found else ""
    # As browsers do (WHATWG Encoding Standard, section 4.2).
    return "windows-1252" if name in {"iso-8859-1", "latin1", "us-ascii", "ascii"} else name


def _read(visible: str, left_out: frozenset[str]) -> _Page:
    page = _Page(left_out)
    page.feed(visible)
    page.close()
    return page


def _plain(markup: str) -> str:
    """The same page of bare tags: no attributes, comments, declarations, scripts or styles.

    `HTMLParser` rescans the rest of a page for each of these that has no end: 40 kB of ``<a ``
    took it ten seconds. Here every search moves forward.
    """
    shown = "".join(_shown(markup))
    last = shown.rfind(">") + 1
    return _TAG.sub(_bare, shown[:last]) + shown[last:].replace("<", "&lt;")


def _shown(markup: str) -> Iterator[str]:
    position = 0
    comments_end = True
    while opening := _OPAQUE.search(markup, position):
        yield markup[position : opening.start()]
        end = -1
        if opening[1]:
            end = _script_end(markup, opening)
        elif opening[0] == "<!--" and comments_end:
            end = markup.find("-->", opening.end() - 2)  # "<!-->" is a whole comment
            comments_end = end >= 0
            end += 2 * comments_end
        if end < 0:
            end = markup.find(">", opening.end())
        if end < 0:
            position = opening.start()
            break
        position = end + 1
    yield markup[position:]


def _script_end(markup: str, opening: re.Match[str]) -> int:
    """Offset of the last character of a script or style element; of the page when it is open."""
    end = markup.find(">", opening.end())
    if end > 0 and markup[end - 1] == "/":
        return end
    closing = _SCRIPT_END[opening[1].lower()].search(markup, opening.end())
    end = markup.find(">", closing.end()) if closing else -1
    return end if end >= 0 else len(markup) - 1


def _bare(tag: re.Match[str]) -> str:
    if not tag[1]:
        return "&lt;"
    return f"<{tag[1]}/>" if tag[0].endswith("/>") else f"<{tag[1]}>"


@dataclass(slots=True)
class _Row:
    """The table row being read: whether text stands in it, and cell bounds still to be written."""

    cells: int = 0
    begun: bool = False
    bounds: int = 0


@dataclass(slots=True)
class _Lists:
    """Open lists, outermost first: the next number of each, 0 for those with dashes."""

    numbers: list[int] = field(default_factory=list)

    def item(self) -> str:
        """What the next item of the innermost list begins with."""
        if not self.numbers:
            return "- "
        indent = "  " * (len(self.numbers) - 1)
        number = self.numbers[-1]
        if number == 0:
            return f"{indent}- "
        self.numbers[-1] += 1
        return f"{indent}{number}. "


class _Page(HTMLParser):
    """Writes text as it comes; breaks, bullets and cell bounds wait until text follows them."""

    def __init__(self, left_out: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._left_out = left_out
        self._leaving_out = ""
        self._depth = 0
        self._pieces: list[str] = []
        self._break = 0
        self._space = False
        self._bullet = ""
        self._pre = 0
        self._lists = _Lists()
        self._rows = [_Row()]
        self._title: list[str] = []
        self._in_title = False
        self._heading_from = -1
        self._heading = ""

    @property
    def leaving_out(self) -> bool:
        """Whether an element that is left out is still open."""
        return bool(self._leaving_out)

    @property
    def title(self) -> str:
        return " ".join("".join(self._title).split()) or self._heading

    @property
    def text(self) -> str:
        return "".join(self._pieces).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if self._leaving_out:
            self._depth += tag == self._leaving_out
            return
        if tag in self._left_out:
            self._leaving_out, self._depth = tag, 1
            return
        if tag == "title":
            self._in_title = not self._title
            return
        if tag in _BREAKS:
            self._in_title = False
            self._pause(tag)
        self._open(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._leaving_out:
            self._depth -= tag == self._leaving_out
            self._leaving_out = self._leaving_out if self._depth else ""
            return
        if tag == "title":
            self._in_title = False
        self._close(tag)
        self._pause(tag)

    def handle_data(self, data: str) -> None:
        if self._leaving_out or data.strip() in _HEADING_MARKS:
            return
        data = _INVISIBLE.sub("", data)
        if self._in_title:
            self._title.append(data)
        elif self._pre:
            self._write_lines(data)
        elif words := data.split():
            self._space |= data[0].isspace()
            self._write(" ".join(words))
            self._space = data[-1].isspace()
        else:
            self._space |= bool(data)

    def _pause(self, tag: str) -> None:
        level = _BREAKS.get(tag, 0)
        # A row, and a list, stay together whatever stands in them.
        if self._rows[-1].cells or self._lists.numbers:
            level = min(level, _LINE)
        self._break = max(self._break, level)

    def _open(self, tag: str) -> None:
        if tag == "li":
            self._bullet = self._lists.item()
        elif tag in {"ul", "ol"}:
            self._lists.numbers.append(int(tag == "ol"))
        elif tag == "pre":
            self._pre += 1
        elif tag == "table":
            self._rows.append(_Row())
        elif tag == "tr":
            self._rows[-1] = _Row()
        elif tag in {"td", "th"}:
            self._open_cell()
        elif tag == "h1" and not self._heading:
            self._heading_from = len(self._pieces)

    def _open_cell(self) -> None:
        row = self._rows[-1]
        row.bounds += row.cells > 0
        row.cells += 1

    def _close(self, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists.numbers:
            self._lists.numbers.pop()
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag == "table" and len(self._rows) > 1:
            self._rows.pop()
        elif tag == "h1" and self._heading_from >= 0:
            self._heading = " ".join("".join(self._pieces[self._heading_from :]).split())
            self._heading_from = -1

    def _write(self, text: str) -> None:
        row = self._rows[-1]
        if row.bounds:
            # The paragraph inside a cell must not tear its row apart.
            self._break = 0 if row.begun else self._break
            self._write_break()
            self._pieces.append(" | " * row.bounds)
            row.bounds = 0
        elif self._break:
            self._write_break()
        elif self._space and self._pieces:
            self._pieces.append(" ")
        row.begun = True
        self._space = False
        self._pieces.append(self._bullet + text)
        self._bullet = ""

    def _write_break(self) -> None:
        if self._break and self._pieces:
            self._pieces[-1] = self._pieces[-1].rstrip()
            self._pieces.append("\n" * self._break)
        self._break = 0

    def _write_lines(self, data: str) -> None:
        if self._break and data.startswith("\n"):
            data = data[1:]  # the newline after <pre> is not part of it
        if data:
            self._space = False
            self._write(data)
