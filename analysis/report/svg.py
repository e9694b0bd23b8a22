"""The parts of a figure as SVG: a plot with axes, and what stands in it. Colours are classes of base.css.

Coordinates of a figure are pixels of its `viewBox`; values are in the units of the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 380, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 44  # margins


@dataclass
class Plot:
    """Two axes with ticks and names; add parts, then take `str`.

    Attributes:
        x, y: lowest and highest value of each axis.
        title: of the whole figure, for who cannot see it.
        x_ticks: value and text of each tick; None: round numbers.
        y_ticks: whether the values up mean anything.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_name: str
    y_name: str
    title: str
    x_ticks: Sequence[tuple[float, str]] | None = None
    y_ticks: bool = True
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    def across(self, value: float) -> float:
        return _LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - _LEFT - _RIGHT)

    def up(self, value: float) -> float:
        return self.height - _BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - _TOP - _BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], look: str) -> None:
        told = " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline class="{look}" points="{told}"/>')

    def band(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """An area around which `points` go."""
        told = " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)
        self.parts.append(f'<polygon class="band {look}" points="{told}"/>')

    def point(self, x: float, y: float, look: str, told: str) -> None:
        """A dot that says `told` under the pointer."""
        self.parts.append(
            f'<circle class="dot {look}" cx="{self.across(x):.1f}" cy="{self.up(y):.1f}" r="4.5">'
            f"<title>{escape(told)}</title></circle>"
        )

    def text(self, x: float, y: float, words: str, look: str, anchor: str = "start") -> None:
        """Words at a place in pixels."""
        self.parts.append(f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def __str__(self) -> str:
        bottom, right = self.height - _BOTTOM, WIDTH - _RIGHT
        frame = []
        for value in ticks(*self.y) if self.y_ticks else ():
            at = self.up(value)
            frame.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            frame.append(f'<text class="tick" x="{_LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{value:g}</text>')
        for value, words in self.x_ticks or [(value, f"{value:g}") for value in ticks(*self.x)]:
            at = self.across(value)
            frame.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            frame.append(
                f'<text class="tick" x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{escape(words)}</text>'
            )
        middle = (_LEFT + right) / 2
        frame.append(
            f'<text class="name" x="{middle}" y="{self.height - 6}" text-anchor="middle">{escape(self.x_name)}</text>'
        )
        frame.append(
            f'<text class="name" transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_name)}</text>"
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(self.title)}">'
            f"{''.join(frame)}{''.join(self.parts)}</svg>"
        )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within an axis, at most so many."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """Ends of an axis with room beside the outermost values."""
    low, high = min(values), max(values)
    room = (high - low) * share or 1.0
    return low - room, high + room
