"""Plots as PNG pictures, drawn off the screen by VTK's charts: no window, no layout of the user is touched.

Words in them are English: VTK's built-in font lacks many scripts. What a plot shows is said beside it,
in the user's language.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from PALNetLandmarksLib.asymmetry import Asymmetry
from PALNetLandmarksLib.observers import BlandAltman
from PALNetLandmarksLib.spreadsheet import number_text

from .off_screen import off_screen_window, png_of

#: Colours (red, green, blue), 0 to 255; they differ in lightness too, for readers who do not see the hues.
_SEEN, _SAME, _OPEN = (196, 84, 30), (186, 192, 199), (110, 160, 205)
_LINE, _POINT, _GRID = (40, 46, 54), (30, 96, 160), (228, 231, 235)
_FONT = 13


def asymmetry_chart(result: Asymmetry, *, width: int = 380, height: int = 460, scale: float = 1.0) -> bytes:
    """Draw left-right differences as bars, one for each pair, with the landmarks' own expected errors as marks.

    Orange bars exceed their error; grey ones do not and say nothing about the face; blue ones have no known error, as
    where a person placed the landmarks.

    Parameters
    ----------
    result : Asymmetry
        Of P pairs. Missing pairs have no bar.
    width, height : int
        Size of the picture before scaling, pixels.
    scale : float
        Everything is drawn that much larger: 2 for print.

    Returns
    -------
    bytes
        A PNG file.
    """
    names = [right.rsplit("_", 1)[0] for right, _partner in result.pairs]
    places = np.arange(len(names), dtype=float)[::-1]
    length, error = result.magnitude_mm, result.expected_error_mm
    judged = np.isfinite(length) & np.isfinite(error)
    groups = {
        "seen": judged & result.distinguishable,
        "same": judged & ~result.distinguishable,
        "open": np.isfinite(length) & ~np.isfinite(error),
    }
    chart = _Chart(scale)
    values = {name: np.where(chosen, length, 0.0) for name, chosen in groups.items()}
    bars = chart.add(vtk.vtkPlotBar(), place=places, **values)
    bars.SetOrientation(vtk.vtkPlotBar.HORIZONTAL)
    colours = vtk.vtkColorSeries()
    colours.ClearColors()
    for colour in (_SEEN, _SAME, _OPEN):
        colours.AddColor(vtk.vtkColor3ub(*colour))
    bars.SetColorSeries(colours)
    bars.GetPen().SetLineType(vtk.vtkPen.NO_PEN)
    chart.view.SetBarWidthFraction(0.7)
    if judged.any():
        chart.points(error[judged], places[judged], _LINE, size=7.0, style=vtk.vtkPlotPoints.DIAMOND)
    longest = 1.08 * float(np.nanmax(np.concatenate([length, error, [1.0]])))
    chart.axis(vtk.vtkAxis.BOTTOM, "Difference between left and right [mm]", 0.0, longest)
    chart.axis(vtk.vtkAxis.LEFT, "", -0.7, len(names) - 0.3, ticks=list(zip(places.tolist(), names)))
    return chart.png(width, height)


def bland_altman_chart(
    result: BlandAltman, unit: str, *, width: int = 380, height: int = 300, scale: float = 1.0
) -> bytes:
    """Draw differences against means, with the bias and the limits of agreement.

    Parameters
    ----------
    result : BlandAltman
        Pairs of values; without a pair the picture is empty.
    unit : str
        What to call the unit on the axes.
    width, height : int
        Size of the picture before scaling, pixels.
    scale : float
        Everything is drawn that much larger: 2 for print.

    Returns
    -------
    bytes
        A PNG file.
    """
    chart = _Chart(scale)
    if result.count:
        lines = [("bias", result.bias)]
        if math.isfinite(result.sd):
            lines += [("\u22121.96 SD", result.limits[0]), ("+1.96 SD", result.limits[1])]
        low, high = _range(result.mean)
        heights = np.concatenate([result.difference, [value for _words, value in lines], [0.0]])
        bottom, top = _range(heights)
        # Many points are drawn see-through, so that where they lie thick can be seen.
        opacity = 200 if result.count < 200 else 70
        chart.line((low, high), (0.0, 0.0), _GRID, dashed=False)
        for place, (_words, value) in enumerate(lines):
            chart.line((low, high), (value, value), _LINE, dashed=place > 0)
        chart.points(result.mean, result.difference, _POINT, size=5.0, opacity=opacity)
        ticks = [(value, f"{name}: {_signed(value)}") for name, value in _apart(lines, (top - bottom) * 22.0 / height)]
        chart.axis(vtk.vtkAxis.BOTTOM, f"Mean of both [{unit}]", low, high)
        chart.axis(vtk.vtkAxis.LEFT, f"Second \u2212 first [{unit}]", bottom, top)
        chart.axis(vtk.vtkAxis.RIGHT, "", bottom, top, ticks=ticks)
    return chart.png(width, height)


class _Chart:
    """A chart on white with our fonts and lines."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.view = vtk.vtkChartXY()
        self.view.SetAutoAxes(False)
        self.view.SetShowLegend(False)
        for place in (vtk.vtkAxis.LEFT, vtk.vtkAxis.BOTTOM, vtk.vtkAxis.RIGHT, vtk.vtkAxis.TOP):
            self.view.GetAxis(place).SetVisible(False)

    def add(self, plot: Any, **columns: np.ndarray) -> Any:
        """Add a plot of columns: the first along the axis, the others its values, stacked."""
        table = vtk.vtkTable()
        for name, values in columns.items():
            array = numpy_to_vtk(np.ascontiguousarray(values, dtype=np.float64), deep=1)
            array.SetName(name)
            table.AddColumn(array)
        names = list(columns)
        plot.SetInputData(table, names[0], names[1])
        for place, name in enumerate(names[2:], start=2):
            plot.SetInputArray(place, name)
        self.view.AddPlot(plot)
        return plot

    def points(
        self, x: np.ndarray, y: np.ndarray, colour: Sequence[int], *, size: float, style: int = 4, opacity: int = 255
    ) -> None:
        """Add points."""
        plot = self.add(vtk.vtkPlotPoints(), x=x, y=y)
        plot.SetMarkerStyle(style)
        plot.SetMarkerSize(size * self.scale)
        plot.SetColor(*colour, opacity)

    def line(self, x: Sequence[float], y: Sequence[float], colour: Sequence[int], *, dashed: bool) -> None:
        """Add a line."""
        plot = self.add(vtk.vtkPlotLine(), x=np.array(x), y=np.array(y))
        plot.SetColor(*colour, 255)
        plot.SetWidth(1.4 * self.scale)
        plot.GetPen().SetLineType(vtk.vtkPen.DASH_LINE if dashed else vtk.vtkPen.SOLID_LINE)

    def axis(
        self, place: int, title: str, low: float, high: float, ticks: Sequence[tuple[float, str]] | None = None
    ) -> None:
        """Show an axis with a fixed range, and ticks of our own where given."""
        axis = self.view.GetAxis(place)
        axis.SetVisible(True)
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetRange(low, high)
        axis.SetTitle(title)
        axis.SetGridVisible(ticks is None)
        axis.GetGridPen().SetColor(*_GRID, 255)
        axis.GetPen().SetColor(*_LINE, 255)
        axis.GetPen().SetWidth(self.scale)
        for properties in (axis.GetLabelProperties(), axis.GetTitleProperties()):
            properties.SetFontSize(round(_FONT * self.scale))
            properties.SetBold(False)
            properties.SetColor(*(value / 255.0 for value in _LINE))
        if ticks is not None:
            labels = vtk.vtkStringArray()
            for _at, text in ticks:
                labels.InsertNextValue(text)
            axis.SetCustomTickPositions(numpy_to_vtk(np.array([value for value, _words in ticks]), deep=1), labels)

    def png(self, width: int, height: int) -> bytes:
        """Draw it."""
        scene = vtk.vtkContextScene()
        scene.AddItem(self.view)
        actor = vtk.vtkContextActor()
        actor.SetScene(scene)
        size = (round(width * self.scale), round(height * self.scale))
        # On the screen a chart must be there at once: text is smooth anyway, and bars have straight edges.
        with off_screen_window(*size, samples=8 if self.scale > 1.0 else 0) as (window, renderer):
            scene.SetRenderer(renderer)
            renderer.AddActor(actor)
            data = png_of(window)
            renderer.RemoveActor(actor)
            scene.SetRenderer(None)
        return data


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.06 * (high - low) or max(1.0, 0.06 * abs(high))
    return low - margin, high + margin


def _signed(value: float) -> str:
    text = number_text(value, 2)
    return f"+{text}" if float(text) > 0 else text.replace("-", "\u2212")


def _apart(lines: Sequence[tuple[str, float]], least: float) -> list[tuple[str, float]]:
    """Leave out the labels of limits that would lie on that of the bias."""
    bias = lines[0][1]
    return [line for place, line in enumerate(lines) if place == 0 or abs(line[1] - bias) >= least]
