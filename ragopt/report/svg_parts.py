"""What pictures are made of: text that fits, scales, round ticks, marks, the frame of an SVG.

Colours are CSS variables with a fallback, so that a picture follows the page it stands in (light or
dark) and still has its colours alone.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from ragopt.errors import InputError
from ragopt.report.figures import clean, shortened

__all__ = [
    "LARGEST",
    "MIN_WIDTH",
    "PALETTE",
    "SHAPES",
    "Box",
    "Scale",
    "check_width",
    "colour",
    "drawable",
    "fitted",
    "frame",
    "line",
    "mark",
    "message",
    "number",
    "text",
    "text_width",
]

MIN_WIDTH = 240
LARGEST = 1e15
"""Figures beyond are no measurement; ticks between them would have no digits left."""

_NOTHING = 1e-9

PALETTE = (
    ("--rs-blue", "#2457c5"),
    ("--rs-purple", "#8a3fb5"),
    ("--rs-save", "#0a7d5a"),
    ("--rs-amber", "#9a6200"),
    ("--rs-rise", "#b4430b"),
    ("--rs-cyan", "#0b7285"),
)
SHAPES = ("circle", "square", "diamond", "triangle")
_COLOURS = dict(
    (
        *PALETTE,
        ("--rs-ink", "#1c1f23"),
        ("--rs-total", "#46505c"),
        ("--rs-muted", "#5b6370"),
        ("--rs-rule", "#dfe2e6"),
        ("--rs-faint", "#aab0b9"),
        ("--rs-card", "#ffffff"),
    )
)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in picture coordinates."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Area that two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map of figures onto pixels.

    Args:
        low: figure at ``start``.
        high: figure at ``end``, above ``low``.
        start: pixel.
        end: pixel; may lie before ``start``.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Scale:
        """A scale with some air around the values, also where they are all equal."""
        low, high = min(values), max(values)
        size = max(abs(low), abs(high))
        if size < _NOTHING:
            margin = 1.0
        elif high - low <= 1e-9 * size:
            margin = size * 0.1
        else:
            margin = (high - low) * 0.07
        return cls(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> tuple[list[float], float]:
        """Round figures within the scale, and the step between them."""
        span = self.high - self.low
        magnitude = 10.0 ** math.floor(math.log10(span / most))
        step = next(
            factor * magnitude
            for factor in (1, 2, 2.5, 5, 10, 20)
            if span / (factor * magnitude) <= most
        )
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [place * step for place in range(first, last + 1)], step


def drawable(value: float) -> bool:
    """Whether a figure is finite and of a size that can be drawn."""
    return math.isfinite(value) and abs(value) <= LARGEST


def check_width(width: float) -> None:
    """Refuse a picture too narrow for its labels.

    Raises:
        InputError: a width below `MIN_WIDTH`, or none that is finite.
    """
    if not MIN_WIDTH <= width < math.inf:
        raise InputError(f"width={width}: expected at least {MIN_WIDTH} pixels")


def colour(name: str) -> str:
    """A colour that the page may set, with its own for where there is no page."""
    return f"var({name},{_COLOURS[name]})"


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    said = f"{value:.1f}".removesuffix(".0")
    return "0" if said == "-0" else said


def text_width(words: str, size: float = 13) -> float:
    """Roughly how wide text is drawn, in pixels; rather too wide than too narrow."""
    return size * sum(_em(sign) for sign in words)


def _em(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in "WF" or sign in "%mwMW@→":
        return 1.0
    if sign in " .,:;'|()[]ijlft":
        return 0.38
    return 0.72 if sign.isupper() or sign in "+=<>" else 0.62


def fitted(words: str, width: float, size: float = 13) -> str:
    """Text shortened to a width in pixels."""
    words = clean(words)
    length = len(words)
    while length > 1 and text_width(shortened(words, length), size) > width:
        length -= 1
    return shortened(words, length)


def text(
    x: float,
    y: float,
    words: str,
    *,
    fill: str = "--rs-ink",
    size: float = 13,
    anchor: str = "start",
    weight: int = 400,
    halo: bool = False,
) -> str:
    """One line of text; a halo keeps it readable on top of lines."""
    style = f"fill:{colour(fill)}"
    if halo:
        style += f";paint-order:stroke;stroke:{colour('--rs-card')};stroke-width:4px"
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    aligned = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}"{aligned}{bold} '
        f'style="{style}">{escape(clean(words))}</text>'
    )


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = "--rs-rule", dashes: str = ""
) -> str:
    """A straight line of one pixel."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"{dashed} '
        f'style="stroke:{colour(stroke)}"/>'
    )


def mark(shape: str, x: float, y: float, radius: float, style: str) -> str:
    """A circle, square, diamond or triangle of about the same area."""
    if shape == "circle":
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" style="{style}"/>'
    if shape == "square":
        half = radius * 0.89
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    elif shape == "diamond":
        reach = radius * 1.25
        corners = [(0, -reach), (reach, 0), (0, reach), (-reach, 0)]
    else:
        reach = radius * 1.3
        corners = [(0, -reach), (reach * 0.9, reach * 0.7), (-reach * 0.9, reach * 0.7)]
    places = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in corners)
    return f'<polygon points="{places}" style="{style}"/>'


def frame(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """The picture around its parts, with a name for those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
        f'role="img" aria-label="{escape(clean(label))}" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif\">"
        f"{''.join(parts)}</svg>"
    )


def message(width: float, words: str) -> str:
    """A picture's place where there is nothing to draw, saying so."""
    said = text(0, 24, fitted(words, width), fill="--rs-muted")
    return frame(width, 40, words, [said])
