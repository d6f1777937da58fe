"""Where the labels of a view go: two columns beside the face, in the order of their points, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Pixels between the edge of a panel and its labels.
INSET = 14


@dataclass(frozen=True)
class LabelRow:
    """A label, the point (pixels from the upper left) that it belongs to, and its column where that is fixed."""

    label: str
    x: float
    y: float
    column: str = ""


def spread_rows(
    rows: Sequence[LabelRow], *, left: int, width: int, top: float, bottom: float, step: float
) -> list[tuple[LabelRow, tuple[float, float, bool]]]:
    """Place labels in two columns.

    A label gets the column that is nearer to its point, unless that is fixed or full. In a column the labels keep the
    order of their points and lie as near to their height as the step allows.

    Parameters
    ----------
    rows : sequence of LabelRow
        Labels with their points.
    left, width : int
        Left edge and width of the panel, pixels.
    top, bottom : float
        Range of heights for the middle of a label, pixels.
    step : float
        Least distance between two labels of a column, pixels.

    Returns
    -------
    list of (LabelRow, (x, y, on_left))
        Anchor of each label: its left end in the left column, its right end in the right one.
    """
    middle, room = left + 0.5 * width, int((bottom - top) / step) + 1
    columns: dict[str, list[LabelRow]] = {"left": [], "right": []}
    # Those far from the middle first: the ones near it can go either way when a column is full.
    for row in sorted(rows, key=lambda row: (not row.column, -abs(row.x - middle))):
        wanted = row.column or ("left" if row.x < middle else "right")
        other = "right" if wanted == "left" else "left"
        columns[wanted if len(columns[wanted]) < room or len(columns[other]) >= room else other].append(row)
    placed = []
    for name, column in columns.items():
        on_left = name == "left"
        ordered = sorted(column, key=lambda row: row.y)
        heights = spread([row.y for row in ordered], top, bottom, step)
        x = float(left + INSET if on_left else left + width - INSET)
        placed += [(row, (x, height, on_left)) for row, height in zip(ordered, heights, strict=True)]
    return placed


def spread(heights: Sequence[float], top: float, bottom: float, step: float) -> list[float]:
    """Move sorted heights apart so that neighbours are at least a step from each other and all lie in the range.

    The sum of squared moves is the least possible (pool-adjacent-violators, as in isotonic regression).

    Parameters
    ----------
    heights : sequence of float
        In rising order.
    top, bottom : float
        Range; when it is too short for all, the step is made smaller.
    step : float
        Least distance wanted.

    Returns
    -------
    list of float
        New heights, in the same order.

    Examples
    --------
    >>> spread([10.0, 10.0, 50.0], 0.0, 100.0, 10.0)
    [5.0, 15.0, 50.0]
    """
    count = len(heights)
    if count > 1:
        step = min(step, (bottom - top) / (count - 1))
    ramp = step * np.arange(count)
    blocks: list[list[float]] = []  # sum and number of the values pooled
    for value in np.asarray(heights, dtype=np.float64) - ramp:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    level = [total / number for total, number in blocks for _ in range(int(number))]
    last = bottom - (ramp[-1] if count else 0.0)
    return [float(min(max(value, top), last) + shift) for value, shift in zip(level, ramp, strict=True)]
