"""Small charts as SVG text, to stand inside an HTML page: no drawing library, nothing fetched.

Colours are told apart with any kind of colour vision and in grey; every mark also differs in shape or place.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

COLOURS = ("#1b5e8c", "#d1691f", "#3b8f5a", "#8a3ea8", "#5b6570")
_INK, _GREY, _GRID = "#1b1f24", "#4a535d", "#dde2e7"
_FONT = 'font-family="Segoe UI,Helvetica,Arial,sans-serif"'


@dataclass(frozen=True)
class Series:
    """A named row of points (n,) x and y, drawn as a line or as dots."""

    name: str
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart: pixels and the values at its edges."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    left: int = 62
    right: int = 14
    top: int = 14
    bottom: int = 46

    def across(self, value: float) -> float:
        """Return the pixel of a value on the horizontal axis."""
        room = self.width - self.left - self.right
        return self.left + room * (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)

    def down(self, value: float) -> float:
        """Return the pixel of a value on the vertical axis."""
        room = self.height - self.top - self.bottom
        return self.height - self.bottom - room * (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round values between two limits.

    Examples
    --------
    >>> ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = high - low
    if not np.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(count - 1, 1)
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * m for m in (1.0, 2.0, 5.0, 10.0) if power * m >= rough * 0.999))
    first = np.ceil(low / step - 1e-9)
    return [round(float(k * step), 10) + 0.0 for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11, colour: str = _GREY,
         turn: float = 0.0) -> str:  # fmt: skip
    """Return words at a place."""
    rotation = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} font-size="{size}" fill="{colour}" text-anchor="{anchor}"{rotation}>'
        f"{html.escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str = _GRID, width: float = 1.0, dash: str = "") -> str:
    """Return a straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def chart(width: int, height: int, parts: Sequence[str], title: str) -> str:
    """Return the parts as one SVG element; the title is read out by screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" style="max-width:100%;height:auto"><title>{html.escape(title)}</title>' + "".join(parts) + "</svg>"
    )


def axes(frame: Frame, x_name: str, y_name: str) -> list[str]:
    """Return grid, ticks and names of both axes."""
    bottom, right = frame.height - frame.bottom, frame.width - frame.right
    parts = []
    for value in ticks(*frame.y):
        y = frame.down(value)
        parts += [line(frame.left, y, right, y), text(frame.left - 6, y + 4, f"{value:g}", anchor="end")]
    for value in ticks(*frame.x, count=8):
        x = frame.across(value)
        parts += [line(x, bottom, x, bottom + 4, _GREY), text(x, bottom + 17, f"{value:g}", anchor="middle")]
    parts.append(line(frame.left, bottom, right, bottom, _GREY))
    parts.append(text((frame.left + right) / 2, frame.height - 8, x_name, anchor="middle"))
    middle = (frame.top + bottom) / 2
    return [*parts, text(16, middle, y_name, anchor="middle", turn=-90)]


def line_chart(series: Sequence[Series], x_name: str, y_name: str, title: str, width: int = 640) -> str:
    """Draw lines over a common axis, with a legend."""
    every_x = np.concatenate([one.x for one in series])
    every_y = np.concatenate([one.y for one in series])
    top = float(np.nanmax(every_y)) if np.isfinite(every_y).any() else 1.0
    frame = Frame(width, 320, (float(every_x.min()), float(every_x.max())), (min(0.0, float(np.nanmin(every_y))), top))
    parts = axes(frame, x_name, y_name)
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        known = np.isfinite(one.y)
        points = " ".join(
            f"{frame.across(a):.1f},{frame.down(b):.1f}" for a, b in zip(one.x[known], one.y[known], strict=True)
        )
        dash = ' stroke-dasharray="6 3"' if number else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        y = frame.height - frame.bottom - 12 - 16 * (len(series) - 1 - number)
        parts.append(line(width - 190, y - 4, width - 166, y - 4, colour, 2, "6 3" if number else ""))
        parts.append(text(width - 160, y, one.name))
    return chart(width, 320, parts, title)


def bland_altman_chart(mean: FloatArray, difference: FloatArray, name: str, title: str) -> str:
    """Draw differences against means, with bias and the limits between which 95 % would lie (1.96 SD).

    Parameters
    ----------
    mean, difference : (n,) float
        Mm; at most some thousand points are drawn, the lines rest on all.
    """
    bias, spread = float(difference.mean()), float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    limits = (bias - 1.96 * spread, bias + 1.96 * spread)
    reach = float(np.abs(np.quantile(difference, [0.001, 0.999])).max()) if len(difference) else 1.0
    reach = max(reach, *(abs(limit) for limit in limits), 0.1) * 1.1
    frame = Frame(420, 300, (0.0, float(mean.max())), (-reach, reach))
    parts = axes(frame, "mean of predicted and true distance, mm", "predicted − true, mm")
    step = max(1, len(mean) // 1500)
    for a, b in zip(mean[::step], np.clip(difference[::step], -reach, reach), strict=True):
        parts.append(
            f'<circle cx="{frame.across(float(a)):.1f}" cy="{frame.down(float(b)):.1f}" r="1.3" '
            f'fill="{COLOURS[0]}" fill-opacity="0.35"/>'
        )
    for value, words, dash in ((bias, "bias", ""), (limits[0], "−1.96 SD", "5 3"), (limits[1], "+1.96 SD", "5 3")):
        y = frame.down(value)
        parts.append(line(frame.left, y, frame.width - frame.right, y, COLOURS[1], 1.5, dash))
        parts.append(text(frame.width - frame.right, y - 3, f"{words} {value:.2f}", anchor="end", colour=_INK))
    parts.append(text(frame.left + 6, frame.top + 12, name, colour=_INK, size=12))
    return chart(frame.width, frame.height, parts, title)


def matrix_chart(values: FloatArray, labels: Sequence[str], unit: str, title: str) -> str:
    """Draw a square matrix (n, n) as shades from light (0) to dark (the 99th percentile); diagonal left white."""
    count, cell, left = len(labels), max(7, 560 // max(len(labels), 1)), 54
    finite = values[np.isfinite(values)]
    top = float(np.quantile(finite, 0.99)) if len(finite) else 1.0
    width, height = left + count * cell + 90, left + count * cell + 10
    parts = []
    for i in range(count):
        parts.append(text(left - 4, left + (i + 0.8) * cell, labels[i], anchor="end", size=min(9, cell)))
        x = left + (i + 0.8) * cell
        parts.append(text(x, left - 4, labels[i], size=min(9, cell), turn=-90))
        for j in range(count):
            if i == j or not np.isfinite(values[i, j]):
                continue
            parts.append(
                f'<rect x="{left + j * cell}" y="{left + i * cell}" width="{cell}" height="{cell}" '
                f'fill="{shade(values[i, j] / (top or 1.0))}"/>'
            )
    for k in range(60):
        y = left + k * 3
        parts.append(f'<rect x="{width - 66}" y="{y}" width="16" height="3" fill="{shade(1 - k / 59)}"/>')
    parts += [text(width - 46, left + 8, f"{top:.1f} {unit}"), text(width - 46, left + 180, "0")]
    return chart(width, height, parts, title)


def shade(share: float) -> str:
    """Return a colour from near white (0) to dark blue (1), evenly darker.

    Examples
    --------
    >>> shade(0.0), shade(2.0)
    ('#f4f7fa', '#0b2f4f')
    """
    share = min(max(float(share), 0.0), 1.0)
    ends = ((244, 247, 250), (11, 47, 79))
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(*ends, strict=True))


def bar_chart(
    labels: Sequence[str], values: Sequence[tuple[str, FloatArray]], unit: str, title: str,
    marks: tuple[str, FloatArray] | None = None,
) -> str:  # fmt: skip
    """Draw one group of bars for each label, and a tick across where there is a value to compare with.

    Parameters
    ----------
    labels : sequence of str
    values : sequence of (name, (n,) float)
    unit : str
    title : str
    marks : (name, (n,) float), optional
        For example the observer's own error.
    """
    count, group = len(labels), max(12, 8 * len(values) + 4)
    every = np.concatenate([v for _, v in values] + ([marks[1]] if marks else []))
    top = float(np.nanmax(every)) if np.isfinite(every).any() else 1.0
    width = 62 + 14 + count * group
    top *= 1.08
    frame = Frame(width, 300, (0.0, float(count)), (0.0, top), top=20, bottom=64)
    base = frame.down(0.0)
    parts = []
    for value in ticks(0.0, top):
        y = frame.down(value)
        parts += [line(frame.left, y, width - frame.right, y), text(frame.left - 6, y + 4, f"{value:g}", anchor="end")]
    parts.append(text(16, (frame.top + base) / 2, unit, anchor="middle", turn=-90))
    for i, label in enumerate(labels):
        start = frame.left + i * group + 2
        for number, (_, one) in enumerate(values):
            if np.isfinite(one[i]):
                y = frame.down(float(one[i]))
                parts.append(
                    f'<rect x="{start + 8 * number}" y="{y:.1f}" width="7" height="{base - y:.1f}" '
                    f'fill="{COLOURS[number % len(COLOURS)]}"/>'
                )
        if marks is not None and np.isfinite(marks[1][i]):
            y = frame.down(float(marks[1][i]))
            parts.append(line(start - 1, y, start + 8 * len(values) + 1, y, _INK, 2))
        parts.append(text(start + group / 2, base + 10, label, anchor="end", size=10, turn=-60))
    names = [name for name, _ in values]
    for number, name in enumerate(names):
        x = frame.left + 8 + 170 * number
        parts.append(f'<rect x="{x}" y="2" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(text(x + 14, 11, name))
    if marks is not None:
        x = frame.left + 8 + 170 * len(names)
        parts += [line(x, 7, x + 12, 7, _INK, 2), text(x + 16, 11, marks[0])]
    return chart(width, frame.height, parts, title)
