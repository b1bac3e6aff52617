"""Line plots as SVG and HTML text: the drawing stretches with the page, the letters do not.

Points are (x, y) pairs. However many there are, at most a few per column of the drawing remain, the extremes among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Point = tuple[float, float]
WIDTH, HEIGHT = 1000, 300
COLUMNS = 500


@dataclass(frozen=True)
class Series:
    """One line of a plot; `style` is a class of the page's style sheet."""

    label: str
    style: str
    lines: list[list[Point]]
    """Pieces that are not connected with each other."""
    dots: bool = False


class Thinner:
    """First, least, greatest and last point of each column, in the order given."""

    def __init__(self, x_min: float, x_max: float) -> None:
        self._x_min, self._scale = x_min, COLUMNS / (x_max - x_min) if x_max > x_min else 0.0
        self._kept: list[Point] = []
        self._column: int | None = None
        self._held = [(0.0, 0.0)] * 4  # first, least, greatest, last

    def add(self, point: Point) -> None:
        here = int((point[0] - self._x_min) * self._scale)
        if here != self._column:
            self._kept = self.points()
            self._column, self._held = here, [point] * 4
        if point[1] < self._held[1][1]:
            self._held[1] = point
        if point[1] > self._held[2][1]:
            self._held[2] = point
        self._held[3] = point

    def points(self) -> list[Point]:
        if self._column is not None:
            self._kept.extend(_ordered(self._held))
            self._column = None
        return self._kept


def thin(points: Iterable[Point], x_min: float, x_max: float) -> list[Point]:
    """A `Thinner`'s points."""
    thinner = Thinner(x_min, x_max)
    for point in points:
        thinner.add(point)
    return thinner.points()


def _ordered(points: Sequence[Point]) -> list[Point]:
    return sorted(set(points), key=lambda point: point[0])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(first * step + i * step, 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def label(value: float) -> str:
    """1200000 -> 1.2M, 0.25 -> 0.25."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def plot(title: str, series: list[Series], *, x_name: str, y_name: str, note: str = "", y_max: float | None = None) -> str:
    """A figure; says so when there is nothing to draw. `y_max` cuts higher values off at the upper edge."""
    points = [point for one in series for line in one.lines for point in line]
    if not points:
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="empty">nothing to draw yet</p></figure>'
    x_low, x_high = _range([x for x, _ in points])
    y_low, y_high = _range([min(y, y_max) if y_max is not None else y for _, y in points])
    pad = (y_high - y_low) * 0.05
    y_low, y_high = (max(0.0, y_low - pad) if y_low >= 0 else y_low - pad), y_high + pad
    frame = _Frame(x_low, x_high, y_low, y_high)
    legend = "".join(f'<span class="key {one.style}">{escape(one.label)}</span>' for one in series if any(one.lines))
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(y_name)}</small></figcaption>"
        f'<div class="plot"><div class="y">{frame.y_labels()}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{frame.grid()}{''.join(frame.draw(one) for one in series)}</svg>"
        f'<div class="x">{frame.x_labels()}</div></div>'
        f'<p class="legend">{legend}<span class="axis">{escape(x_name)}</span></p>'
        + (f'<p class="note">{escape(note)}</p>' if note else "")
        + "</figure>"
    )


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    around = abs(low) * 0.1 or 0.5
    return (low, high) if high > low else (low - around, high + around)


@dataclass(frozen=True)
class _Frame:
    """From data to drawing: y grows downwards there."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return (value - self.x_low) / (self.x_high - self.x_low) * WIDTH

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT * (1 - min(1.0, max(0.0, share)))

    def grid(self) -> str:
        lines = [f"M0 {self.y(value):.1f}H{WIDTH}" for value in ticks(self.y_low, self.y_high)]
        return f'<path class="grid" d="{"".join(lines)}"/>'

    def draw(self, series: Series) -> str:
        parts = []
        for line in series.lines:
            if series.dots or len(line) == 1:  # a line of no length with round ends stays round when the drawing is stretched
                dots = "".join(f"M{self.x(x):.1f} {self.y(y):.1f}h0" for x, y in line)
                parts.append(f'<path class="{series.style} dots" d="{dots}"/>')
            if len(line) > 1:
                path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in line)
                parts.append(f'<path class="{series.style}" d="M{path}"/>')
        return "".join(parts)

    def y_labels(self) -> str:
        values = ticks(self.y_low, self.y_high)
        return "".join(f'<span style="top:{self.y(value) / HEIGHT * 100:.1f}%">{label(value)}</span>' for value in values)

    def x_labels(self) -> str:
        values = ticks(self.x_low, self.x_high, 6)
        return "".join(f'<span style="left:{self.x(value) / WIDTH * 100:.1f}%">{label(value)}</span>' for value in values)
