"""Lines between two axes as SVG text: one line a candidate, a mark a setting, intervals, names.

Pure functions of figures and labels. What cannot be drawn (not measured, or nothing to take a
logarithm of) is counted and left out; a picture of nothing says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ragopt.report.bench_curves import Axis, Curve, CurvePoint, Line
from ragopt.report.figures import MINUS, clean, count, percent
from ragopt.report.svg_parts import (
    PALETTE,
    SHAPES,
    Box,
    Scale,
    check_width,
    colour,
    drawable,
    fitted,
    frame,
    line,
    mark,
    message,
    number,
    text,
    text_width,
)

__all__ = ["lines"]

_SIZE = 12
_BOLD = 1.1
_MARKED = 40
"""Lines of more points have marks on the chosen ones only, and a band for intervals."""
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))
_COVERED = 0.3  # a name that hides more than this share of itself behind others stays away


def lines(curve: Curve, *, width: float = 880, height: float = 420) -> str:
    """The picture of a curve.

    Args:
        curve: axes and lines; points in the order in which they are joined.
        width: of the picture, pixels.
        height: of the picture without its legend, pixels.

    Raises:
        InputError: a width or height below 240 pixels.
    """
    check_width(width)
    check_width(height)
    shown = [
        Line(name=each.name, points=tuple(p for p in each.points if _drawn(curve, p)))
        for each in curve.lines
    ]
    left_out = sum(len(each.points) for each in curve.lines) - sum(len(e.points) for e in shown)
    shown = [each for each in shown if each.points]
    if not shown:
        return message(width, f"{curve.title or 'This curve'}: nothing was measured to draw.")
    picture = _Lines(curve, shown, width, height, left_out)
    return frame(width, picture.height, _described(curve, shown, left_out), picture.parts())


def _drawn(curve: Curve, point: CurvePoint) -> bool:
    return all(
        drawable(value) and (value > 0 or not axis.log)
        for axis, value in ((curve.x, point.x), (curve.y, point.y))
    )


def _described(curve: Curve, shown: Sequence[Line], left_out: int) -> str:
    told = [f"{curve.title}: {curve.y.label} against {curve.x.label}, {len(shown)} lines"]
    told += [_told(curve, each.name, p) for each in shown for p in each.points if p.chosen]
    if left_out:
        told.append(f"{left_out} points left out")
    return "; ".join(told)


def _told(curve: Curve, name: str, point: CurvePoint) -> str:
    label = f" at {point.label}" if point.label else ""
    spread = ""
    if drawable(point.low) and drawable(point.high):
        spread = f" [{_value(curve.y, point.low)}, {_value(curve.y, point.high)}]"
    x, y = _value(curve.x, point.x), _value(curve.y, point.y)
    return f"{name}{label}: {curve.x.label} {x}, {curve.y.label} {y}{spread}"


def _value(axis: Axis, value: float) -> str:
    if axis.percent:
        return percent(value)
    return f"{count(value)} {axis.unit}".strip()


# Axes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ruler:
    """An axis in the picture: linear in the figures, or in their logarithms."""

    axis: Axis
    scale: Scale

    @classmethod
    def around(cls, axis: Axis, values: Sequence[float], start: float, end: float) -> _Ruler:
        placed = [math.log10(value) for value in values] if axis.log else values
        return cls(axis, Scale.around(placed, start, end))

    def __call__(self, value: float) -> float:
        if not self.axis.log:
            return self.scale(value)
        return self.scale(math.log10(value)) if value > 0 else self.scale.start

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Round figures and how they are written."""
        if not self.axis.log:
            values, step = self.scale.ticks(most)
            return [(value, _plain(self.axis, value, step)) for value in values]
        return [(value, _short(self.axis, value)) for value in self._decades(most)]

    def _decades(self, most: int) -> list[float]:
        low, high = self.scale.low, self.scale.high
        for factors in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [
                factor * 10.0**decade
                for decade in range(math.floor(low), math.ceil(high) + 1)
                for factor in factors
                if low <= math.log10(factor) + decade <= high
            ]
            if len(found) <= most:
                break
        else:
            found = found[:: math.ceil(len(found) / most)]
        if len(found) >= 2:
            return found
        values, _ = Scale(10**low, 10**high, 0, 1).ticks(most)  # less than a step of the above
        return [value for value in values if value > 0]


def _plain(axis: Axis, value: float, step: float) -> str:
    """A tick with as many decimals as its step has."""
    if axis.percent:
        value, step = value * 100, step * 100
    if not axis.percent and step >= 1e3:
        return _short(axis, value)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**places - round(step * 10**places)) > 1e-6:  # 2.5 and its like
        places += 1
    written = f"{value:,.{min(places, 9)}f}"
    if not any(digit in written for digit in "123456789"):
        written = written.removeprefix("-")
    return written.replace("-", MINUS) + ("%" if axis.percent else "")


def _short(axis: Axis, value: float) -> str:
    if axis.percent:
        return f"{value * 100:.6g}%".replace("-", MINUS)
    for size, sign in _SI:
        if abs(value) >= size:
            divisor = 1e3 if sign == "k" else size
            return f"{value / divisor:.6g}{sign}".replace("-", MINUS)
    if abs(value) >= 1e3:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.6g}".replace("e-", f"e{MINUS}").replace("-", MINUS)


# The picture ------------------------------------------------------------------------------


class _Lines:
    """Scales, styles and obstacles of one picture."""

    def __init__(
        self, curve: Curve, shown: Sequence[Line], width: float, height: float, left_out: int
    ) -> None:
        self.curve, self.shown, self.width, self.left_out = curve, shown, width, left_out
        self.legend, below = self._legend()
        top = below + 34
        self.height = height + below + 14
        self.y = _Ruler.around(curve.y, list(self._heights()), self.height - 54, top)
        self.y_ticks = self.y.ticks(int(min(max(height // 56, 2), 8)))
        labels = max((text_width(words, _SIZE) for _, words in self.y_ticks), default=0.0)
        xs = [point.x for each in shown for point in each.points]
        self.x = _Ruler.around(curve.x, xs, min(labels + 12, width * 0.4), width - 12)

    def parts(self) -> list[str]:
        """Everything, from the back to the front."""
        drawn = [*self.legend, *self._axes()]
        drawn += [self._spread(each, place) for place, each in enumerate(self.shown)]
        drawn += [self._line(each, place) for place, each in enumerate(self.shown)]
        return [*drawn, *self._names()]

    def _heights(self) -> Iterator[float]:
        for each in self.shown:
            for point in each.points:
                yield point.y
                for end in (point.low, point.high):
                    if drawable(end) and (end > 0 or not self.curve.y.log):
                        yield end

    def _axes(self) -> list[str]:
        left, right = self.x.scale.start, self.x.scale.end
        bottom, top = self.y.scale.start, self.y.scale.end
        parts = []
        for value, words in self.y_ticks:
            at = self.y(value)
            parts.append(line(left, at, right, at))
            parts.append(_muted(left - 8, at + 4, words, anchor="end"))
        for value, words in self._x_ticks():
            at = self.x(value)
            parts.append(line(at, bottom, at, bottom + 5, stroke="--rs-muted"))
            parts.append(_muted(at, bottom + 19, words, anchor="middle"))
        parts.append(line(left, bottom, right, bottom, stroke="--rs-muted"))
        x_title, y_title = _title(self.curve.x, "→", "←"), _title(self.curve.y, "↑", "↓")
        room = right - left
        parts.append(_muted(right, bottom + 42, fitted(x_title, room, _SIZE), anchor="end"))
        parts.append(_muted(0, top - 12, fitted(y_title, self.width, _SIZE)))
        return parts

    def _x_ticks(self) -> list[tuple[float, str]]:
        """As many as their labels leave room for."""
        room = self.x.scale.end - self.x.scale.start
        for most in range(10, 1, -1):
            ticks = self.x.ticks(most)
            places = sorted((self.x(value), text_width(words, _SIZE)) for value, words in ticks)
            if all(
                right - left > (wide + other) / 2 + 14
                for (left, wide), (right, other) in pairwise(places)
            ):
                return ticks
        return self.x.ticks(2) if room > 160 else []

    def _at(self, point: CurvePoint) -> tuple[float, float]:
        return self.x(point.x), self.y(point.y)

    def _line(self, each: Line, place: int) -> str:
        shade, shape, dashes = _style(place)
        places = [self._at(point) for point in each.points]
        joined = " ".join(f"{number(x)},{number(y)}" for x, y in places)
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        style = f"fill:none;stroke:{colour(shade)};stroke-width:2px;stroke-linejoin:round{dashed}"
        drawn = [f'<polyline points="{joined}" style="{style}"/>'] if len(places) > 1 else []
        few = len(places) <= _MARKED
        for point, (x, y) in zip(each.points, places, strict=True):
            if not (few or point.chosen):
                continue
            ring = f"fill:{colour('--rs-card')};stroke:{colour(shade)};stroke-width:2px"
            shown = mark("circle", x, y, 8, ring) if point.chosen else ""
            shown += mark(shape, x, y, 4, f"fill:{colour(shade)}")
            told = escape(clean(_told(self.curve, each.name, point)))
            kind = "chosen" if point.chosen else "point"
            drawn.append(f'<g class="{kind}"><title>{told}</title>{shown}</g>')
        return f'<g class="line">{"".join(drawn)}</g>'

    def _spread(self, each: Line, place: int) -> str:
        """Intervals: a whisker a point, one band where there are many."""
        shade = colour(_style(place)[0])
        ends = [
            (self.x(point.x), self.y(point.low), self.y(point.high))
            for point in each.points
            if drawable(point.low) and drawable(point.high) and point.low <= point.high
        ]
        if not ends:
            return ""
        if len(each.points) <= _MARKED:
            style = f"stroke:{shade};stroke-opacity:.45;stroke-width:1.5px"
            path = "".join(
                f"M{number(x)} {number(low)}V{number(high)}"
                f"M{number(x - 3)} {number(low)}h6M{number(x - 3)} {number(high)}h6"
                for x, low, high in ends
            )
            return f'<path class="spread" d="{path}" style="fill:none;{style}"/>'
        around = [(x, low) for x, low, _ in ends] + [(x, high) for x, _, high in reversed(ends)]
        places = " ".join(f"{number(x)},{number(y)}" for x, y in around)
        style = f"fill:{shade};fill-opacity:.14"
        return f'<polygon class="spread" points="{places}" style="{style}"/>'

    # Names ----------------------------------------------------------------------------

    def _names(self) -> list[str]:
        """Each line's name beside it, where it covers little; the legend has them all."""
        if len(self.shown) < 2:
            return []
        taken = [
            Box(x - 6, y - 6, x + 6, y + 6)
            for each in self.shown
            for x, y in map(self._at, each.points)
        ]
        parts = []
        for place, each in enumerate(self.shown):
            words = fitted(each.name, (self.x.scale.end - self.x.scale.start) * 0.4, _SIZE)
            wide = text_width(words, _SIZE) * _BOLD
            box = min(
                self._places(each, wide),
                key=lambda box: sum(box.overlap(other) for other in taken),
            )
            if sum(box.overlap(other) for other in taken) > _COVERED * wide * 16:
                continue
            taken.append(box)
            parts.append(
                text(
                    box.left,
                    box.bottom - 4,
                    words,
                    size=_SIZE,
                    weight=600,
                    fill=_style(place)[0],
                    halo=True,
                )
            )
        return parts

    def _places(self, each: Line, wide: float) -> list[Box]:
        """Around the ends of a line and its chosen points, nearest to those that count first."""
        chosen = [point for point in each.points if point.chosen]
        anchors = dict.fromkeys((*chosen, each.points[-1], each.points[0]))
        found = []
        for point in anchors:
            x, y = self._at(point)
            for dx, dy in (
                (12, -8),
                (-12 - wide, -8),
                (-wide / 2, -28),
                (-wide / 2, 12),
                (8, 10),
                (-8 - wide, 10),
                (8, -26),
                (-8 - wide, -26),
            ):
                found.append(self._inside(Box(x + dx, y + dy, x + dx + wide, y + dy + 16)))
        return found

    def _inside(self, box: Box) -> Box:
        wide = box.right - box.left
        left = max(min(box.left, self.x.scale.end - wide), self.x.scale.start)
        top = max(min(box.top, self.y.scale.start - 16), self.y.scale.end)
        return Box(left, top, left + wide, top + 16)

    def _legend(self) -> tuple[list[str], float]:
        """Entries in as many lines as they need, and the height of those."""
        entries = [
            (shape, f"fill:{colour(shade)}", each.name or "unnamed")
            for each, (shade, shape, _) in zip(
                self.shown, map(_style, range(len(self.shown))), strict=True
            )
        ]
        if any(point.chosen for each in self.shown for point in each.points):
            ring = f"fill:none;stroke-width:2px;stroke:{colour('--rs-ink')}"
            entries.append(("circle", ring, "reported"))
        parts, x, y = [], 0.0, 14.0
        for shape, style, label in entries:
            words = fitted(label, self.width - 24, _SIZE)
            wide = text_width(words, _SIZE) + 34
            if x and x + wide - 16 > self.width:
                x, y = 0.0, y + 20
            parts.append(mark(shape, x + 8, y - 4, 4.5, style) + text(x + 19, y, words, size=_SIZE))
            x += wide
        if self.left_out:
            y += 20
            said = f"{self.left_out} points without figures, or off the logarithmic scale, left out"
            parts.append(_muted(0, y, fitted(said, self.width, _SIZE)))
        return parts, y


def _style(place: int) -> tuple[str, str, str]:
    """Colour, shape and dashes: twelve pairs of the first two, then other dashes."""
    dashes = _DASHES[place // 12 % len(_DASHES)]
    return PALETTE[place % len(PALETTE)][0], SHAPES[place % len(SHAPES)], dashes


def _title(axis: Axis, more: str, less: str) -> str:
    unit = f" ({axis.unit})" if axis.unit and not axis.percent else ""
    better = {"bigger": f", more is better {more}", "smaller": f", less is better {less}"}
    return f"{axis.label}{unit}{better.get(axis.better, '')}"


def _muted(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return text(x, y, words, fill="--rs-muted", size=_SIZE, anchor=anchor)
