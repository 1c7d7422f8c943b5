"""Sentence boundaries in prose, with offsets.

Rule-based, after Kiss and Strunk (2006, "Unsupervised multilingual sentence boundary
detection") in what it looks at (abbreviations, initials, ordinals, the case of the next word)
but with fixed lists: it has to be deterministic, free of training and fast. When unsure it does
not cut: two sentences kept together cost tokens, half a sentence costs the truth.
"""

# ruff: noqa: RUF001  (the punctuation of many scripts is the subject here)

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

from ragopt.compress.terms import NEGATION

__all__ = ["Region", "Regions", "protected_regions", "sentence_spans"]

Region = tuple[int, int]

# Longer pieces are cut at weaker places, so that text without punctuation still compresses.
LONG_CHARS = 1000
_SHORTEST_CUT_CHARS = 300
_NEGATION_REACH_CHARS = 120

_HEADING_LINE_CHARS = 50
_SAMPLE_CHARS = 4000
_WORD_CHARS = 24
_UNWRAPPED_LINE_CHARS = 120

_STOP = re.compile(
    r"""
    (?: (?P<western>(?<![.!?…])[.!?…]+) | (?P<full>[。！？｡؟۔।॥]+) )
    (?P<close>(?:["'”’»)\]}」』】）*_]|\[[0-9a-z,;\ –-]{1,24}\])*)   # quotes, brackets, [12]
    (?:[ ]''(?=\s|$))?                                              # a closing quote, tokenised
    (?P<cite>(?:[ ]\[\d{1,4}(?:[,–-][ ]?\d{1,4})*\](?=\s|$))*)      # a citation after the stop
    (?(western)(?=\s))
    """,
    re.VERBOSE,
)

_NEVER_LAST = frozenset(
    """
    mr mrs ms mx dr prof st mt ft gen col lt sgt capt cmdr maj adm gov sen rep hon rev pres messrs
    fr sr.a sra dra al vs v cf viz lit mgr e.g i.e eg ie resp approx esp incl excl
    """.split()
)
_BEFORE_NUMBER = frozenset(
    """
    no nos fig figs eq eqs sec secs ch chap vol vols pp p pg art ca c b d r est circa max min
    jan feb mar apr jun jul aug sep sept oct nov dec tab ref refs ver rev col op ex nr n
    """.split()
)
_SOMETIMES_LAST = frozenset(
    """
    inc ltd co corp llc bros jr sr etc ph.d m.d b.a m.a b.sc m.sc a.m p.m am pm dept univ assn
    ave blvd rd jan feb mar apr jun jul aug sep sept oct nov dec min max sq hr hrs lb lbs oz
    a.d b.c b.c.e c.e no est
    """.split()
)
_STARTERS = frozenset(
    """
    the a an in it he she they this that these those we you i on at after before when while if
    as for from with by his her its their our my there here however but and so or yet also
    although though since because during its both each some many most all one two several
    what who where why how which is are was were do does did can no not then thus therefore
    to under over among according despite following given today later meanwhile moreover
    furthermore additionally instead once until unlike such another other
    """.split()
)

_PROTECTED = re.compile(
    r"""
      `[^`\n]{1,200}`                              # inline code
    | !?\[[^\[\]\n]{0,200}\]\([^()\s]{1,400}\)     # a Markdown link
    | (?:https?|ftp)://[^\s<>"]*[^\s<>".,;:!?)\]}'] | \bwww\.[^\s<>"]*[^\s<>".,;:!?)\]}']
    | \b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+
    | \[[^\[\]\n]{1,80}\] | \([^()\n]{1,300}\)     # citations, asides
    """,
    re.VERBOSE,
)
_PROTECTION_SIGNS = re.compile(r"[`\[(@]|://|www\.")
_WORD_BEFORE = re.compile(r"[^\s(\[{\"'“‘«*_/—–]+$")
_NEXT_WORD = re.compile(r"[^\W\d_]+")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_WEAK_CUTS = (
    (re.compile(r"\n\s*"), False),
    (re.compile(r"(?<=[;；])\s*"), True),
    (re.compile(r"(?<=[,:，、：])(?<!\d[,:])\s+|(?<=[，、：])"), True),
    (re.compile(r"(?<![\d\s])\s+|\s+(?=[^\d\s])"), True),
)


class Regions:
    """Stretches of a text that no boundary may fall into.

    Args:
        spans: ``(start, end)`` offsets in any order; overlapping ones are joined.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Iterable[Region] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(spans):
            if self._ends and start < self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def hold(self, first: int, last: int) -> bool:
        """Whether a stop at ``first`` whose tail ends at ``last`` leaves a stretch unfinished."""
        at = bisect_right(self._starts, first) - 1
        return at >= 0 and self._starts[at] < first and last < self._ends[at]


def protected_regions(text: str) -> list[Region]:
    """Links, addresses, inline code, bracketed citations and parentheses of one line."""
    if not _PROTECTION_SIGNS.search(text):
        return []
    return [match.span() for match in _PROTECTED.finditer(text)]


def sentence_spans(
    text: str,
    start: int = 0,
    end: int | None = None,
    *,
    protected: Regions | None = None,
) -> list[Region]:
    """Cut ``text[start:end]`` into sentences.

    Args:
        text: the whole text.
        start: first character of the prose.
        end: just past its last character; the whole text by default.
        protected: stretches to keep in one piece; `protected_regions` of the text by default.

    Returns:
        ``(start, end)`` offsets in ``text``, in order, disjoint, without white space at either
        end; all that lies between them is white space.

    Cost: linear in the length.
    """
    end = len(text) if end is None else end
    regions = Regions(protected_regions(text)) if protected is None else protected
    spans: list[Region] = []
    at = start
    for cut in (*_cuts(text, start, end, regions), end):
        for first, last in _trimmed(text, at, cut):
            if spans and not any(map(str.isalnum, text[first:last])):
                spans[-1] = (spans[-1][0], last)  # a quote or dash left alone
            else:
                spans.append((first, last))
        at = cut
    if any(stop - first > LONG_CHARS for first, stop in spans):
        return [piece for span in spans for piece in _split_long(text, span, regions)]
    return spans


def _trimmed(text: str, start: int, end: int) -> list[Region]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return [(start, end)] if start < end else []


def _cuts(text: str, start: int, end: int, regions: Regions) -> list[int]:
    sample = text[start : min(end, start + _SAMPLE_CHARS)]
    cased = sample != sample.lower()
    cuts = [
        match.end()
        for match in _STOP.finditer(text, start, end)
        if not regions.hold(match.start(), match.end())
        and (match["full"] or _ends_sentence(text, start, end, match, cased))
    ]
    if "\n" in text[start:end]:
        lines = (cut for cut in _line_cuts(text, start, end) if not regions.hold(cut, cut))
        cuts = sorted({*cuts, *lines})
    return cuts


def _ends_sentence(text: str, start: int, end: int, match: re.Match[str], cased: bool) -> bool:
    following = _next_visible(text, match.end(), end)
    if following == end:
        return True
    if _opens_lower(text, following) and cased:
        return False
    if match["western"] != ".":
        return True
    return _period_ends(text, start, match.start(), following)


def _period_ends(text: str, start: int, stop: int, following: int) -> bool:
    if text[stop - 1 : stop].isspace():  # tokenised text: "Dr . Smith"
        stop -= 1
    found = _WORD_BEFORE.search(text, max(start, stop - _WORD_CHARS), stop)
    if found is None:
        return True
    word = found[0].lower()
    if word in _NEVER_LAST:
        return False
    if text[following].isdigit() and word in _BEFORE_NUMBER:
        return False
    if word.isdigit() and len(word) <= 3 and _begins_line(text, start, found.start()):
        return False
    initial = len(word) == 1 and word.isalpha() and word != "i"
    if initial or word in _SOMETIMES_LAST or _DOTTED.fullmatch(word):
        return _is_starter(text, following)
    return True


def _is_starter(text: str, at: int) -> bool:
    found = _NEXT_WORD.search(text, at, at + _WORD_CHARS)
    return found is not None and found[0].lower() in _STARTERS


def _begins_line(text: str, start: int, at: int) -> bool:
    return at == start or not text[text.rfind("\n", start, at) + 1 : at].strip()


def _next_visible(text: str, at: int, end: int) -> int:
    while at < end and text[at].isspace():
        at += 1
    return at


def _opens_lower(text: str, at: int) -> bool:
    # "iPhone" and "eBay" open sentences in lower case.
    return text[at].islower() and not text[at + 1 : at + 2].isupper()


def _line_cuts(text: str, start: int, end: int) -> Iterator[int]:
    """Line ends that end a sentence without a stop: headings, verse, one-line paragraphs."""
    for first, last in _paragraphs(text, start, end):
        if first > start:
            yield first
        lines = text[first:last].splitlines(keepends=True)
        longest = max(len(line.rstrip()) for line in lines)
        at = first
        for line, following in pairwise(lines):
            at += len(line)
            if _line_ends(line.rstrip(), following.lstrip(), longest):
                yield at


def _paragraphs(text: str, start: int, end: int) -> Iterator[Region]:
    at = start
    for match in _BLANK_LINE.finditer(text, start, end):
        if match.start() > at:
            yield at, match.start()
        at = match.end()
    if at < end:
        yield at, end


def _line_ends(line: str, following: str, longest: int) -> bool:
    if not line or not following or line.endswith(","):
        return False
    if longest > _UNWRAPPED_LINE_CHARS:
        return not following[0].islower()
    short = len(line) < min(_HEADING_LINE_CHARS, 0.75 * longest)
    return short and (following[0].isupper() or following[0] in "\"'“‘«")


def _split_long(text: str, span: Region, regions: Regions) -> Iterator[Region]:
    """Cut an over-long sentence at line ends, semicolons, commas, at last between words.

    Never next to a negation (its clause would be lost), nor in a protected stretch or between
    two numbers; a piece that offers no such place stays whole.
    """
    start, end = span
    while end - start > LONG_CHARS:
        cut = _weak_cut(text, start, end, regions)
        if cut is None:
            break
        yield from _trimmed(text, start, cut)
        start = cut
    yield from _trimmed(text, start, end)


def _weak_cut(text: str, start: int, end: int, regions: Regions) -> int | None:
    low, high = start + _SHORTEST_CUT_CHARS, start + LONG_CHARS
    while low < end:
        negations = [
            match.start()
            for match in NEGATION.finditer(
                text, max(start, low - _NEGATION_REACH_CHARS), high + _NEGATION_REACH_CHARS
            )
        ]
        for pattern, spoils_negation in _WEAK_CUTS:
            for match in reversed(list(pattern.finditer(text, low, min(high, end)))):
                at = match.start()
                near = spoils_negation and any(
                    abs(at - negation) < _NEGATION_REACH_CHARS for negation in negations
                )
                if not near and not regions.hold(at, at):
                    return match.end()
        low, high = high, high + LONG_CHARS
    return None
