"""Two pictures of a savings report as SVG text: the waterfall of the bill, the Pareto frontier.

Pure functions of figures and labels. Figures that are NaN, infinite or beyond all measure are
named and left out; a picture of nothing says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from itertools import pairwise

from ragopt.report.figures import MINUS, change, clean, count, dollars, share, signed_dollars
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

__all__ = ["ParetoPoint", "frontier", "pareto", "waterfall"]

_ROW = 36
_BAR = 22
_GAP = 10
_SIZE = 13
_BOLD = 1.1


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A setting that was tried.

    Args:
        x: what it costs; less is better.
        y: the quality it keeps, a share; more is better.
        label: what it is.
        series: which it belongs to; one colour and shape each.
        chosen: marked and labelled.
        passed: held quality where it was tried; drawn hollow if not.
    """

    x: float
    y: float
    label: str
    series: str
    chosen: bool = False
    passed: bool = True


def waterfall(
    steps: Sequence[tuple[str, float | Decimal]],
    *,
    width: float = 880,
    title: str = "The bill, lever by lever",
    show: Callable[[float], str] = dollars,
    show_change: Callable[[float], str] = signed_dollars,
) -> str:
    """How a total moves from the first step to the last, a horizontal bar each.

    Args:
        steps: labels with the total that stands after each: the baseline first, the end last.
            What lies between is drawn as the change it makes; one that raises the total has
            another colour, a dashed outline and a plus sign.
        width: of the picture, pixels; its height follows from the steps.
        title: of the picture, for those who do not see it.
        show: writes a total.
        show_change: writes a change.

    Raises:
        InputError: a width below 240 pixels.
    """
    check_width(width)
    bars = _bars([(clean(label), float(total)) for label, total in steps], show, show_change)
    totals = [end for bar in bars for end in (bar.start, bar.end) if bar.drawn]
    if not totals:
        return message(width, "No bill was measured, so there is no waterfall to draw.")
    labels = min(max(text_width(bar.label, _SIZE) for bar in bars) * _BOLD + _GAP, width * 0.34)
    values = min(max(text_width(bar.value, _SIZE) for bar in bars) * _BOLD + _GAP, width * 0.32)
    scale = Scale(min(0.0, *totals), max(0.0, *totals) or 1.0, labels, width - values)
    height = len(bars) * _ROW + 8
    parts = [line(scale(0), 0, scale(0), height, stroke="--rs-faint")]
    for place, bar in enumerate(bars):
        following = bars[place + 1] if place + 1 < len(bars) else None
        parts.extend(_drawn_bar(bar, following, 4 + place * _ROW, scale, labels - _GAP))
    told = "; ".join(f"{bar.label} {bar.value}" for bar in bars)
    return frame(width, height, f"{title}: {told}", parts)


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    start: float
    end: float
    value: str
    kind: str  # "total", "fall", "rise"
    drawn: bool = True


def _bars(
    steps: Sequence[tuple[str, float]],
    show: Callable[[float], str],
    show_change: Callable[[float], str],
) -> list[_Bar]:
    bars: list[_Bar] = []
    before: float | None = None
    first = next((total for _, total in steps if drawable(total)), math.nan)
    for place, (label, total) in enumerate(steps):
        last = place == len(steps) - 1
        if not drawable(total):
            bars.append(_Bar(label, 0, 0, "not measured", "total", drawn=False))
            continue
        if before is None or last:
            moved = f" ({change(total / first)})" if before is not None and first > 0 else ""
            bars.append(_Bar(label, 0, total, show(total) + moved, "total"))
        else:
            kind = "rise" if total > before else "fall"
            bars.append(_Bar(label, before, total, show_change(total - before), kind))
        before = total
    return bars


def _drawn_bar(
    bar: _Bar, following: _Bar | None, top: float, scale: Scale, room: float
) -> list[str]:
    middle = top + _BAR / 2 + _SIZE * 0.36
    weight = 600 if bar.kind == "total" else 400
    label = text(0, middle, fitted(bar.label, room, _SIZE), size=_SIZE, weight=weight)
    if not bar.drawn:
        said = text(scale(0) + 6, middle, bar.value, size=_SIZE, fill="--rs-muted")
        return [f"<g>{label}{said}</g>"]
    left, right = sorted((scale(bar.start), scale(bar.end)))
    if right - left < 2:  # a change too small to see still has its place
        left, right = max(min(left, scale.end - 2), scale.start), max(right, left + 2)
        right = min(right, scale.end)
    name = {"total": "--rs-total", "fall": "--rs-save", "rise": "--rs-rise"}[bar.kind]
    style = f"fill:{colour(name)}"
    if bar.kind == "rise":
        style += f";fill-opacity:.3;stroke:{colour(name)};stroke-width:1.5px;stroke-dasharray:4 2"
    rect = (
        f'<rect x="{number(left)}" y="{number(top)}" width="{number(right - left)}" '
        f'height="{_BAR}" rx="2" style="{style}"/>'
    )
    shade = "--rs-ink" if bar.kind == "total" else name
    said = text(right + 7, middle, bar.value, size=_SIZE, weight=600, fill=shade)
    joint = ""
    if following is not None and following.drawn:
        at = scale(bar.end)
        joint = line(at, top + _BAR, at, top + _ROW, stroke="--rs-faint")
    tooltip = f"<title>{escape(f'{bar.label}: {bar.value}')}</title>"
    return [f'<g class="{bar.kind}">{tooltip}{label}{joint}{rect}{said}</g>']


def frontier(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Points that no other beats: as cheap and better, or as good and cheaper. Cheapest first."""
    found: list[ParetoPoint] = []
    for point in sorted(points, key=lambda each: (each.x, -each.y)):
        if not found or point.y > found[-1].y or (point.x, point.y) == (found[-1].x, found[-1].y):
            found.append(point)
    return found


def pareto(
    points: Sequence[ParetoPoint],
    floor: float | None = None,
    *,
    width: float = 880,
    height: float = 420,
    x_title: str = "input tokens per question",
    y_title: str = "evidence recall",
    floor_label: str = "floor",
) -> str:
    """Quality kept against tokens sent, of every setting that was tried.

    What no other setting beats is joined by a line; what one beats is grey; what did not hold
    quality is hollow; what was chosen is ringed and labelled.

    Args:
        points: the settings.
        floor: least quality, drawn as a dashed line; none where it is not a number.
        width: of the picture, pixels.
        height: of the picture without its legend, pixels.
        x_title: of the axis.
        y_title: of the axis.
        floor_label: what the dashed line is.

    Raises:
        InputError: a width or height below 240 pixels.
    """
    check_width(width)
    check_width(height)
    known = [point for point in points if drawable(point.x) and drawable(point.y)]
    if not known:
        return message(width, "No setting was tried, so there is no frontier to draw.")
    if floor is not None and not drawable(floor):
        floor = None
    picture = _Pareto(known, floor, width, height)
    told = [f"{x_title} against {y_title}: {len(known)} settings tried"]
    told += [_told(point) for point in known if point.chosen]
    if len(known) < len(points):
        told.append(f"{len(points) - len(known)} without figures left out")
    parts = [*picture.axes(x_title, y_title), *picture.floor_line(floor_label), *picture.curve()]
    parts += [*picture.marks(), *picture.labels()]
    return frame(width, picture.height, "; ".join(told), parts)


def _told(point: ParetoPoint) -> str:
    names = dict.fromkeys((clean(point.series), clean(point.label)))
    verdict = "" if point.passed else ", quality not held"
    return f"{': '.join(names)}, {count(point.x)} tokens, {share(point.y)}{verdict}"


class _Pareto:
    """Scales, colours and obstacles of one Pareto picture."""

    def __init__(
        self, points: Sequence[ParetoPoint], floor: float | None, width: float, height: float
    ) -> None:
        self.points, self.floor, self.width = points, floor, width
        self.best = frontier(points)
        names = dict.fromkeys(clean(point.series) for point in points)
        self.style = {
            name: (PALETTE[place % len(PALETTE)][0], SHAPES[place % len(SHAPES)])
            for place, name in enumerate(names)
        }
        legend = self._legend()
        top = legend[1] + 14
        self.legend = legend[0]
        self.height = height + top
        self.y = Scale.around(
            [*(point.y for point in points), *([] if floor is None else [floor])],
            self.height - 52,
            top + 18,
        )
        y_labels = max(text_width(self._y_label(tick), 12) for tick in self.y.ticks()[0] or [0.0])
        left = min(y_labels + 12, width * 0.4)
        self.x = Scale.around([point.x for point in points], left, width - 12)

    def axes(self, x_title: str, y_title: str) -> list[str]:
        """Legend, grid, round ticks and titles."""
        parts = list(self.legend)
        for tick in self.y.ticks()[0]:
            at = self.y(tick)
            parts.append(line(self.x.start, at, self.x.end, at))
            parts.append(_muted(self.x.start - 8, at + 4, self._y_label(tick), anchor="end"))
        ticks, step = self.x.ticks(self._x_ticks())
        for tick in ticks:
            at = self.x(tick)
            parts.append(line(at, self.y.start, at, self.y.start + 5, stroke="--rs-faint"))
            parts.append(_muted(at, self.y.start + 19, _plain(tick, step), anchor="middle"))
        parts.append(
            line(self.x.start, self.y.start, self.x.end, self.y.start, stroke="--rs-faint")
        )
        room = self.x.end - self.x.start
        parts.append(
            _muted(self.x.end, self.y.start + 40, fitted(f"{x_title} →", room, 12), anchor="end")
        )
        parts.append(_muted(0, self.y.end - 10, fitted(f"↑ {y_title}", self.width, 12)))
        return parts

    def floor_line(self, label: str) -> list[str]:
        """The least quality, dashed."""
        if self.floor is None:
            return []
        at = self.y(self.floor)
        words = f"{label}, {share(self.floor)}"
        said = fitted(words, self.x.end - self.x.start, 12)
        return [
            line(self.x.start, at, self.x.end, at, stroke="--rs-rise", dashes="6 4"),
            text(self.x.end, at - 6, said, size=12, anchor="end", fill="--rs-rise", halo=True),
        ]

    def _corners(self) -> list[tuple[float, float]]:
        corners: list[tuple[float, float]] = []
        for point in self.best:
            if corners:
                corners.append((self.x(point.x), corners[-1][1]))
            corners.append((self.x(point.x), self.y(point.y)))
        return corners

    def _curve_boxes(self) -> list[Box]:
        return [
            Box(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1)
            for (x1, y1), (x2, y2) in pairwise(self._corners())
        ]

    def curve(self) -> list[str]:
        """The frontier as steps: what quality can be had for at most so many tokens."""
        corners = self._corners()
        if len(corners) < 2:
            return []
        places = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
        style = f"fill:none;stroke:{colour('--rs-muted')};stroke-width:1.5px;stroke-opacity:.7"
        return [f'<polyline points="{places}" style="{style}"/>']

    def marks(self) -> list[str]:
        """Every setting, the beaten ones first and the chosen ones on top."""
        best = {id(point) for point in self.best}
        order = sorted(self.points, key=lambda each: (each.chosen, id(each) in best))
        return [self._mark(point, beaten=id(point) not in best) for point in order]

    def labels(self) -> list[str]:
        """The chosen settings' names, where they cover least."""
        taken = [self._around(point, 6) for point in self.points]
        if self.floor is not None:
            at = self.y(self.floor)
            words = text_width("floor" + share(self.floor), 12) * 2
            taken.append(Box(self.x.end - words, at - 18, self.x.end, at + 2))
        taken.extend(self._curve_boxes())
        parts = []
        for point in self.points:
            if point.chosen:
                box, said = self._place(point, taken)
                taken.append(box)
                # Text never grows towards its point: its true width is known to the browser alone.
                left = (box.left + box.right) / 2 > self.x(point.x)
                at, anchor = (box.left, "start") if left else (box.right, "end")
                shade = self.style[clean(point.series)][0]
                drawn = text(
                    at,
                    box.bottom - 4,
                    said,
                    size=12,
                    anchor=anchor,
                    weight=600,
                    fill=shade,
                    halo=True,
                )
                parts.append(drawn)
        return parts

    def _mark(self, point: ParetoPoint, *, beaten: bool) -> str:
        name, shape = self.style[clean(point.series)]
        at = self.x(point.x), self.y(point.y)
        shade = colour("--rs-faint" if beaten else name)
        full = shade if point.passed else colour("--rs-card")
        drawn = mark(shape, *at, 4.5, f"fill:{full};stroke:{shade};stroke-width:1.5px")
        if point.chosen:
            edge = f"fill:{colour('--rs-card')};stroke:{colour(name)};stroke-width:2px"
            drawn = mark("circle", *at, 9, edge) + mark(shape, *at, 4.5, f"fill:{colour(name)}")
        kind = "chosen" if point.chosen else "beaten" if beaten else "best"
        return f'<g class="{kind}"><title>{escape(_told(point))}</title>{drawn}</g>'

    def _around(self, point: ParetoPoint, reach: float) -> Box:
        x, y = self.x(point.x), self.y(point.y)
        return Box(x - reach, y - reach, x + reach, y + reach)

    def _place(self, point: ParetoPoint, taken: Sequence[Box]) -> tuple[Box, str]:
        said = fitted(point.label, (self.x.end - self.x.start) * 0.6, 12)
        wide, x, y = text_width(said, 12) * _BOLD, self.x(point.x), self.y(point.y)
        places = [
            (x + 14, y - 9),
            (x - 14 - wide, y - 9),
            (x - wide / 2, y - 30),
            (x - wide / 2, y + 12),
            (x + 8, y + 12),
            (x + 8, y - 30),
            (x - 8 - wide, y + 12),
            (x - 8 - wide, y - 30),
            (x + 14, y + 30),
            (x - 14 - wide, y + 30),
            (x + 14, y - 48),
            (x - 14 - wide, y - 48),
        ]
        boxes = [self._inside(Box(left, top, left + wide, top + 18)) for left, top in places]
        own = self._around(point, 10)
        best = min(boxes, key=lambda box: sum(box.overlap(each) for each in (own, *taken)))
        return best, said

    def _inside(self, box: Box) -> Box:
        wide, high = box.right - box.left, box.bottom - box.top
        left = max(min(box.left, self.x.end - wide), self.x.start)
        top = max(min(box.top, self.y.start - high), self.y.end)
        return Box(left, top, left + wide, top + high)

    def _legend(self) -> tuple[list[str], float]:
        """Entries in as many lines as they need, and the height of those."""
        entries = [
            (shape, f"fill:{colour(name)}", label) for label, (name, shape) in self.style.items()
        ]
        entries.append(("circle", f"fill:{colour('--rs-faint')}", "beaten by another"))
        thin, thick = (f"fill:none;stroke-width:{px};stroke:" for px in ("1.5px", "2px"))
        if not all(point.passed for point in self.points):
            entries.append(("circle", thin + colour("--rs-faint"), "quality not held"))
        if any(point.chosen for point in self.points):
            entries.append(("circle", thick + colour("--rs-ink"), "chosen"))
        parts, x, y = [], 0.0, 14.0
        for shape, style, label in entries:
            said = fitted(label, self.width - 24, 12)
            wide = text_width(said, 12) + 34
            if x and x + wide - 16 > self.width:
                x, y = 0.0, y + 20
            parts.append(mark(shape, x + 8, y - 4, 4.5, style) + text(x + 19, y, said, size=12))
            x += wide
        return parts, y

    def _x_ticks(self) -> int:
        """As many as their labels leave room for."""
        ticks, step = self.x.ticks(2)
        widest = max((text_width(_plain(tick, step), 12) for tick in ticks), default=0.0)
        return int(min(max((self.x.end - self.x.start) // (widest + 24), 2), 10))

    def _y_label(self, tick: float) -> str:
        return f"{_plain(tick * 100, self.y.ticks()[1] * 100)}%"


def _muted(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return text(x, y, words, fill="--rs-muted", size=12, anchor=anchor)


def _plain(value: float, step: float) -> str:
    """A tick with as many decimals as its step has."""
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**places - round(step * 10**places)) > 1e-6:  # 2.5 and its like
        places += 1
    said = f"{value:,.{places}f}"
    return said.removeprefix("-") if float(said.replace(",", "")) == 0 else said.replace("-", MINUS)
