"""Names beside a picture of a face: two columns at its edges, with a line from each name to its point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import vtk

#: Pixels, for pictures that are printed a third of a page wide.
_FONT = 21
_STEP = 26
_INSET = 8
_TEXT_WIDTH = 72
_INK = (0.13, 0.16, 0.2)


def label_actors(names: Sequence[str], pixels: np.ndarray, size: tuple[int, int]) -> list[Any]:
    """Make the names and lines for a picture.

    Parameters
    ----------
    names : sequence of str
        Names of k points.
    pixels : (k, 2) float
        Where the points are, pixels from the lower left.
    size : (int, int)
        Width and height of the picture, pixels.

    Returns
    -------
    list of vtkProp
        Names and lines, to be added to the renderer.
    """
    width, height = size
    actors = []
    ends = np.empty((len(names), 2))
    for place, on_left, level in spread(pixels, width, height):
        actor = vtk.vtkTextActor()
        actor.SetInput(names[place])
        text = actor.GetTextProperty()
        text.SetFontSize(_FONT)
        text.SetFontFamilyToArial()
        text.SetColor(*_INK)
        text.SetBackgroundColor(1.0, 1.0, 1.0)
        text.SetBackgroundOpacity(0.7)
        text.SetVerticalJustificationToCentered()
        (text.SetJustificationToLeft if on_left else text.SetJustificationToRight)()
        actor.SetPosition(_INSET if on_left else width - _INSET, level)
        ends[place] = (_TEXT_WIDTH if on_left else width - _TEXT_WIDTH), level
        actors.append(actor)
    return [_lines(ends, pixels), *actors]


def spread(pixels: np.ndarray, width: int, height: int) -> list[tuple[int, bool, float]]:
    """Place names in two columns so that none lies over another and their lines do not cross within a column.

    Parameters
    ----------
    pixels : (k, 2) float
        Where the points are, pixels from the lower left.
    width, height : int
        Size of the picture, pixels.

    Returns
    -------
    list of (int, bool, float)
        Place of the point, whether its name stands in the left column, height of the name in pixels.

    Examples
    --------
    >>> spread(np.array([[10.0, 50.0], [12.0, 52.0], [90.0, 50.0]]), 100, 100)
    [(0, True, 38.0), (1, True, 64.0), (2, False, 50.0)]
    """
    order = np.argsort(pixels[:, 0], kind="stable")
    room = max(int((height - _STEP) / _STEP), 1)
    on_left = np.zeros(len(pixels), dtype=bool)
    # Points at the sides have their names on their side; those near the middle make the columns equally long.
    left, right = int(np.sum(pixels[:, 0] < 0.46 * width)), int(np.sum(pixels[:, 0] > 0.54 * width))
    count = int(np.clip(np.clip(len(pixels) // 2, left, len(pixels) - right), len(pixels) - room, room))
    on_left[order[:count]] = True
    placed = []
    for side in (True, False):
        column = [int(place) for place in np.argsort(pixels[:, 1], kind="stable") if on_left[place] == side]
        levels = _levels(pixels[column, 1], height)
        placed += [(place, side, level) for place, level in zip(column, levels)]
    return placed


def _levels(wanted: np.ndarray, height: int) -> list[float]:
    """Move rising heights (k,) apart by at least a step, as little as possible, within the picture."""
    if not len(wanted):
        return []
    step = min(float(_STEP), (height - _STEP) / max(len(wanted) - 1, 1))
    steps = step * np.arange(len(wanted))
    # Heights minus their steps must not fall: the nearest such sequence is found by pooling those that do.
    blocks: list[list[float]] = []
    for value in wanted - steps:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, weight = blocks.pop()
            total = weight + blocks[-1][1]
            blocks[-1] = [(mean * weight + blocks[-1][0] * blocks[-1][1]) / total, total]
    flat = np.concatenate([np.full(int(weight), mean) for mean, weight in blocks])
    low, high = 0.5 * _STEP, height - 0.5 * _STEP - steps[-1]
    return [float(level) for level in np.clip(flat, low, max(high, low)) + steps]


def _lines(starts: np.ndarray, ends: np.ndarray) -> Any:
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for start, end in zip(starts, ends):
        cells.InsertNextCell(2)
        for x, y in (start, end):
            cells.InsertCellPoint(points.InsertNextPoint(float(x), float(y), 0.0))
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetLines(cells)
    mapper = vtk.vtkPolyDataMapper2D()
    mapper.SetInputData(data)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*_INK)
    actor.GetProperty().SetOpacity(0.45)
    actor.GetProperty().SetLineWidth(1.0)
    return actor
