"""Words as a terminal can show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.report.figures import DASH, MINUS, TIMES, clean

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["said", "utf"]

_PLAIN = {
    "→": "->",
    "←": "<-",
    "·": "-",
    "µ": "u",
    TIMES: "x",
    DASH: "-",
    "…": "...",
    "“": '"',
    "”": '"',
    "≥": ">=",
    "±": "+-",
}


def said(words: str, console: Console) -> str:
    """Words without control characters; minus signs always plain, so that `grep` finds them.

    What the console's encoding lacks is spelled in ASCII. Line breaks and indents stay.
    """
    lines = "\n".join(
        " " * (len(line) - len(line.lstrip(" "))) + clean(line) for line in words.split("\n")
    ).replace(MINUS, "-")
    if utf(console):
        return lines
    for sign, plain in _PLAIN.items():
        lines = lines.replace(sign, plain)
    return lines.encode(console.encoding, "replace").decode(console.encoding)


def utf(console: Console) -> bool:
    """Whether the console shows every sign."""
    return console.encoding.lower().startswith("utf")
