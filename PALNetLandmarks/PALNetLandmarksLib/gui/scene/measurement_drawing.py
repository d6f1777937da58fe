"""The selected measurement, drawn in the 3D view: its distances as lines, its angle as an arc, its value beside them.

The drawing is no data: it is not saved, not listed in any chooser, and cannot be taken hold of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Measurement

from .observing import one_event
from .removing import remove_whole

#: Node attribute by which leftovers are known.
ATTRIBUTE = "PALNet.drawing"
_COLOUR, _BASE_COLOUR = (0.1, 0.45, 0.95), (0.95, 0.55, 0.1)
_LINE_MM = 1.5
_TEXT_SCALE = 3.2
_CLASSES = ("vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsAngleNode")


class MeasurementDrawing:
    """Lines and an arc in the scene that follow the landmarks.

    Parameters
    ----------
    scene : vtkMRMLScene
        Nodes are added to it when something is drawn for the first time.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._nodes: list[Any] = [None, None, None]

    def show(self, item: Measurement, landmarks: LandmarkSet, text: str) -> None:
        """Draw a measurement; nothing is drawn when one of its landmarks is missing.

        Parameters
        ----------
        item : Measurement
        landmarks : LandmarkSet
            World coordinates.
        text : str
            Name and value, written beside it.
        """
        landmarks = landmarks.in_coordinate_system("RAS")
        points = np.array([landmarks.position(label) for label in item.points])
        if np.isnan(points).any():
            self.hide()
            return
        # Two lines and an angle, each with its points, or None; the first that is there carries the text.
        parts: list[np.ndarray | None] = [None, None, None]
        if item.kind == "distance":
            parts[0] = points
        elif item.kind == "angle":
            parts[2] = points
        elif item.kind == "point_to_line":
            foot = _foot(*points)
            parts[0] = np.array([points[0], foot])
            parts[1] = _stretched(points[1:], foot)
        else:
            parts[0], parts[1] = points[:2], points[2:]
        for place, part in enumerate(parts):
            self._draw(place, part, text if place != 1 else "")

    def hide(self) -> None:
        """Draw nothing."""
        for place in range(len(self._nodes)):
            self._draw(place, None, "")

    def cleanup(self) -> None:
        """Take the drawing out of the scene."""
        for node in self._nodes:
            if node is not None and node.GetScene() is not None:
                remove_whole(node)
        self._nodes = [None] * len(self._nodes)

    def _draw(self, place: int, points: np.ndarray | None, text: str) -> None:
        node = self._nodes[place]
        # Closing the scene takes the nodes away.
        if node is not None and node.GetScene() is None:
            node = self._nodes[place] = None
        if points is None:
            if node is not None and node.GetDisplayVisibility():
                node.SetDisplayVisibility(False)
            return
        if node is None:
            node = self._nodes[place] = _new_node(self._scene, _CLASSES[place], _BASE_COLOUR if place == 1 else _COLOUR)
        # Shown first: a view takes no notice of points that move while they are hidden.
        if not node.GetDisplayVisibility():
            node.SetDisplayVisibility(True)
        with one_event(node):
            if node.GetName() != text:
                node.SetName(text)
            _set_points(node, points)


def _new_node(scene: Any, class_name: str, colour: Sequence[float]) -> Any:
    node = getattr(slicer, class_name)()
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetSelectable(False)
    node.SetLocked(True)
    node.SetUndoEnabled(False)
    node.SetAttribute(ATTRIBUTE, "1")
    with _same_active_list(scene):
        scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    # The text is ours: Slicer's own would repeat the value in its own format.
    for index in range(node.GetNumberOfMeasurements()):
        node.GetNthMeasurement(index).SetEnabled(False)
    display = node.GetDisplayNode()
    with one_event(display):
        display.SetSaveWithScene(False)
        display.SetColor(*colour)
        display.SetSelectedColor(*colour)
        display.SetActiveColor(*colour)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(True)
        display.SetTextScale(_TEXT_SCALE)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(_LINE_MM)
        display.SetCurveLineSizeMode(display.UseLineDiameter)
        display.SetLineDiameter(_LINE_MM)
        # A distance across the head runs inside it: it must be seen all the same.
        display.SetOccludedVisibility(True)
        display.SetOccludedOpacity(0.45)
    return node


@contextmanager
def _same_active_list(scene: Any) -> Iterator[None]:
    """Keep the list that the next point is placed into: a new markup makes itself that list."""
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    before = (selection.GetActivePlaceNodeID(), selection.GetActivePlaceNodeClassName()) if selection else None
    yield
    if before is not None and before[0] != selection.GetActivePlaceNodeID():
        selection.SetActivePlaceNodeClassName(before[1])
        selection.SetActivePlaceNodeID(before[0])


def _set_points(node: Any, points: np.ndarray) -> None:
    now = node.GetNumberOfControlPoints()
    same = now == len(points) and all(
        np.array_equal(node.GetNthControlPointPositionWorld(place), point) for place, point in enumerate(points)
    )
    if same:
        return
    given = vtk.vtkPoints()
    given.SetDataTypeToDouble()
    for point in points:
        given.InsertNextPoint(*(float(value) for value in point))
    node.SetControlPointPositionsWorld(given)


def _foot(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Give the place on the line through two points that is nearest to a third."""
    line = end - start
    length = float(line @ line)
    return start if length == 0.0 else start + ((point - start) @ line) / length * line


def _stretched(ends: np.ndarray, foot: np.ndarray) -> np.ndarray:
    """Make the line long enough to hold the foot of the perpendicular."""
    start, end = ends
    line = end - start
    length = float(line @ line)
    share = 0.0 if length == 0.0 else float((foot - start) @ line) / length
    return np.array([start + min(share, 0.0) * line, start + max(share, 1.0) * line])
