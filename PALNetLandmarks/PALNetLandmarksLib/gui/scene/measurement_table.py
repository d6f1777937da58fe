"""Measurements and asymmetry as table nodes of the scene, in step with the landmarks.

All cells are text, as a number could not be empty: a missing value is an empty cell, never zero or "nan". Nobody edits
these tables, so they are locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from PALNetLandmarksLib.asymmetry import Asymmetry
from PALNetLandmarksLib.measurements import LOW_CONFIDENCE_MM, Measurements
from PALNetLandmarksLib.norms import ZScore
from PALNetLandmarksLib.report import flag_words, verdict, z_text
from PALNetLandmarksLib.spreadsheet import number_text

from .observing import one_event

MEASUREMENT_COLUMNS = ("group", "measurement", "value", "unit", "expected error", "remarks", "z", "norm")
ASYMMETRY_COLUMNS = (
    "pair",
    "right",
    "left",
    "outwards [mm]",
    "upwards [mm]",
    "forwards [mm]",
    "total [mm]",
    "expected error [mm]",
    "against that error",
)
#: As in the exported tables: finer than any scanner or observer resolves.
_DECIMALS = 3


def create_table(scene: Any, name: str) -> Any:
    """Make an empty table node.

    Parameters
    ----------
    scene : vtkMRMLScene
    name : str
        Name of the node; made unique when the scene has one of that name.

    Returns
    -------
    vtkMRMLTableNode
    """
    node = slicer.vtkMRMLTableNode()
    node.SetName(scene.GenerateUniqueName(name))
    node.SetLocked(True)
    scene.AddNode(node)
    return node


def write_measurements(
    node: Any,
    measurements: Measurements,
    scores: Sequence[ZScore] = (),
    *,
    low_confidence_mm: float = LOW_CONFIDENCE_MM,
) -> bool:
    """Bring a table of measurements up to date, by one event, or none when nothing changed.

    Parameters
    ----------
    node : vtkMRMLTableNode
    measurements : Measurements
        M of them.
    scores : sequence of ZScore
        One for each measurement, or none.
    low_confidence_mm : float
        Landmarks with a larger expected error count as uncertain.

    Returns
    -------
    bool
        Whether anything changed.
    """
    items = measurements.protocol.measurements
    places = range(len(items))
    columns = (
        [item.group for item in items],
        [item.id for item in items],
        _numbers(measurements.values),
        [item.unit for item in items],
        _numbers(measurements.expected_error),
        [flag_words(measurements.flags(place, low_confidence_mm)) for place in places],
        [z_text(scores[place].z) if scores else "" for place in places],
        [scores[place].source if scores and z_text(scores[place].z) else "" for place in places],
    )
    return _write(node, MEASUREMENT_COLUMNS, columns)


def write_asymmetry(node: Any, result: Asymmetry) -> bool:
    """Bring a table of asymmetry up to date, by one event, or none when nothing changed.

    Parameters
    ----------
    node : vtkMRMLTableNode
    result : Asymmetry
        Of P pairs.

    Returns
    -------
    bool
        Whether anything changed.
    """
    columns = (
        [right.rsplit("_", 1)[0] for right, _left in result.pairs],
        [right for right, _left in result.pairs],
        [left for _right, left in result.pairs],
        *(_numbers(result.components[:, axis]) for axis in range(3)),
        _numbers(result.magnitude_mm),
        _numbers(result.expected_error_mm),
        [verdict(result, place) for place in range(len(result.pairs))],
    )
    return _write(node, ASYMMETRY_COLUMNS, columns)


def clear_table(node: Any) -> None:
    """Empty a table: there are no landmarks to measure."""
    if node.GetNumberOfColumns():
        with one_event(node):
            node.RemoveAllColumns()


def _numbers(values: Any) -> list[str]:
    return [number_text(float(value), _DECIMALS) for value in values]


def _write(node: Any, names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    table = node.GetTable()
    if table is None or not _fits(table, names, len(columns[0])):
        with one_event(node):
            node.SetAndObserveTable(_new_table(names, columns))
        return True
    changes = []
    for place, column in enumerate(columns):
        array = table.GetColumn(place)
        changes += [(array, row, text) for row, text in enumerate(column) if array.GetValue(row) != text]
    if changes:
        with one_event(node):
            for array, row, text in changes:
                array.SetValue(row, text)
            # Neither the arrays nor their cells tell anybody: the table does, once.
            table.Modified()
    return bool(changes)


def _fits(table: Any, names: Sequence[str], rows: int) -> bool:
    if table.GetNumberOfColumns() != len(names) or table.GetNumberOfRows() != rows:
        return False
    arrays = [table.GetColumn(place) for place in range(len(names))]
    return all(isinstance(array, vtk.vtkStringArray) for array in arrays) and [
        array.GetName() for array in arrays
    ] == list(names)


def _new_table(names: Sequence[str], columns: Sequence[Sequence[str]]) -> Any:
    table = vtk.vtkTable()
    for name, column in zip(names, columns):
        array = vtk.vtkStringArray()
        array.SetName(name)
        array.SetNumberOfValues(len(column))
        for row, text in enumerate(column):
            array.SetValue(row, text)
        table.AddColumn(array)
    return table
