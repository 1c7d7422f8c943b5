"""When two questions are the same text: the exact tier's normalisation.

The exact tier serves without any further check, so it may only fold what cannot change a meaning:

- Unicode forms (NFC, and the compatibility forms that are mere typography: full width, ligatures,
  no-break spaces, curly quotes, invisible characters). Not all of NFKC: it would turn "10²" into
  "102" and "5½" into "51/2".
- runs of blanks outside quotes and backticks, blanks at both ends. Line breaks and indentation
  stay: they mean something in code.
- the case of the first letter, and of "I" after a verb ("How do I", "how do i"). All other case
  stays: `List` is not `list`, nor "Polish" "polish".
- question marks and full stops at the end, exclamation marks after a word; "n!" and "1." stay.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["normalise"]

_FOLDED = ("<wide>", "<narrow>", "<noBreak>", "<compat>", "<initial>", "<medial>", "<final>")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
_TYPOGRAPHY = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',  # curly quotes
        "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-",  # dashes
    }
)  # fmt: skip
_LITERAL = r"`[^`]*`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)"
_BLANKS = re.compile(rf"({_LITERAL})|(?<=\S)[^\S\n]+(?=\S)")
_UNTIDY = re.compile(r"[^\S\n ]|  | \n")
_FIRST = re.compile(r"[^\W\d_]+")
_LINE_ENDS = re.compile(r"(?<![^\S\n])[^\S\n]+(?=\n|\Z)")  # a run is tried once, not at each blank
_PRONOUN = re.compile(r"\b(do|did|can|could|should|would|may|must|will|am|have|had) I\b")
_ENDINGS = re.compile(r"(?<=[^\W_]|[)\]\"'`])(?:\s*\?)+\Z|(?<=[^\W\d_]{2})(?:\s*[.!])+\Z|…\Z")


def normalise(question: str) -> str:
    """The text under which a question is stored and sought, word for word.

    Applying it twice changes nothing.
    """
    text = question if question.isascii() else _folded(question)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while (shorter := _tidied(text)) != text:
        text = shorter
    return text


def _folded(text: str) -> str:
    text = "".join(_typography(character) for character in text)
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE).translate(_TYPOGRAPHY))


def _typography(character: str) -> str:
    form = unicodedata.decomposition(character)
    if form.startswith(_FOLDED):
        return unicodedata.normalize("NFKC", character)
    return character


def _tidied(text: str) -> str:
    text = text.strip()
    if _UNTIDY.search(text):
        text = _BLANKS.sub(_one_blank, _LINE_ENDS.sub("", text))
    if not text[-1:].isalnum():
        text = _ENDINGS.sub("", text)
    if " I" in text:
        text = _PRONOUN.sub(r"\1 i", text)
    first = _FIRST.match(text)
    if first is None or not first[0][1:].islower():
        return text
    small = text[0].lower()
    return small + text[1:] if len(small) == 1 else text


def _one_blank(match: re.Match[str]) -> str:
    return match[1] or " "
