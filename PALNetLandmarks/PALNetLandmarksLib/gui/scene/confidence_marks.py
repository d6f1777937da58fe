"""Coloured spheres at the landmarks that show how sure each is: markups themselves know two colours only."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

from PALNetLandmarksLib.landmarks import LandmarkSet

from ..case import Case
from ..confidence import COLOURS, MISSING, confidence_kinds
from .observing import Observers, one_event

NAME = "PALNetLandmarks confidence"
#: The node is found by this after another module, or an older self, left one behind.
ATTRIBUTE = "PALNet.helper"
#: Slicer shows and moves a control point only when nothing lies more than half its marker's size in front of it.
RADIUS_MM = 1.3
#: Outer radius, mm, and colour of the ring round the chosen landmark, and round its mirror partner.
CHOSEN_RING, PARTNER_RING = (5.0, (255, 235, 60)), (4.0, (120, 225, 255))
#: A ring is this wide, and lies this far above the skin.
_RING_WIDTH, _RING_LIFT = 0.8, 1.3

_ANGLES = np.linspace(0.0, 2.0 * np.pi, 32, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_NEXT = np.roll(np.arange(len(_CIRCLE)), -1)
_INNER, _OUTER = np.arange(len(_CIRCLE)), np.arange(len(_CIRCLE)) + len(_CIRCLE)
_RING_CELLS = np.concatenate(
    [np.stack([_INNER, _OUTER, _OUTER[_NEXT]], axis=1), np.stack([_INNER, _OUTER[_NEXT], _NEXT], axis=1)]
)


class ConfidenceMarks:
    """Keeps a helper model with one sphere for each landmark; it is not saved, not picked and not listed.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._observers = Observers()
        self._model: Any = None
        self._sphere, self._cells = _sphere()
        case.landmarks_changed.connect(self._landmarks_changed)
        case.points_changed.connect(self._points_changed)
        case.selection_changed.connect(self._points_changed)
        self._landmarks_changed()

    @property
    def node(self) -> Any:
        """The helper's vtkMRMLModelNode; None while there are no landmarks."""
        return self._model

    def update(self) -> None:
        """Move and colour the spheres as the landmarks are now."""
        landmarks = self._case.landmarks()
        if landmarks is None or self._model is None:
            return
        positions, kinds = landmarks.positions, confidence_kinds(landmarks)
        present = kinds != MISSING
        # What is absent shrinks to a point in the middle of the others, where nobody sees it.
        middle = positions[present].mean(axis=0) if present.any() else np.zeros(3)
        centres = np.where(present[:, None], positions, middle)
        radii = np.where(present, RADIUS_MM, 0.0)
        corners = [(centres[:, None, :] + radii[:, None, None] * self._sphere[None]).reshape(-1, 3)]
        colours = [np.repeat(COLOURS[kinds], len(self._sphere), axis=0)]
        for place, (radius, colour) in self._rings(landmarks):
            shown = place is not None and present[place]
            corners.append(self._ring(positions[place], radius) if shown else np.tile(middle, (len(_CIRCLE) * 2, 1)))
            colours.append(np.tile(np.array(colour, dtype=np.uint8), (len(_CIRCLE) * 2, 1)))
        with one_event(self._model):
            polydata = self._model.GetPolyData()
            polydata.GetPoints().SetData(numpy_to_vtk(np.concatenate(corners).astype(np.float32), deep=True))
            scalars = numpy_to_vtk(np.concatenate(colours), deep=True)
            scalars.SetName("Colour")
            polydata.GetPointData().SetScalars(scalars)
            polydata.Modified()

    def _rings(self, landmarks: LandmarkSet) -> list[tuple[int | None, tuple[float, tuple[int, int, int]]]]:
        """Give the places that get a ring, or None, and what it looks like."""
        if self._case.selected is None:
            return [(None, CHOSEN_RING), (None, PARTNER_RING)]
        chosen = landmarks.protocol.index(self._case.selected)
        partner = int(landmarks.protocol.mirror[chosen])
        return [(chosen, CHOSEN_RING), (partner if partner != chosen else None, PARTNER_RING)]

    def _ring(self, place: np.ndarray, radius: float) -> np.ndarray:
        """Make a flat ring's corners that lies on the skin round a place."""
        surface = self._case.surface()
        normal = np.full(3, np.nan) if surface is None else surface.outward_normals(place[None], radius)[0]
        if not np.isfinite(normal).all():
            normal = np.array([0.0, 1.0, 0.0])
        first = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
        first /= np.linalg.norm(first)
        circle = _CIRCLE[:, :1] * first + _CIRCLE[:, 1:] * np.cross(normal, first)
        middle = place + _RING_LIFT * normal
        return np.concatenate([middle + (radius - _RING_WIDTH) * circle, middle + radius * circle])

    def cleanup(self) -> None:
        """Remove the helper and let go of the case."""
        for signal in (self._case.points_changed, self._case.selection_changed):
            signal.disconnect(self._points_changed)
        self._case.landmarks_changed.disconnect(self._landmarks_changed)
        self._remove()

    def _landmarks_changed(self) -> None:
        node = self._case.landmarks_node
        self._observers.drop()
        if node is None:
            self._remove()
            return
        if self._model is None or self._model.GetScene() is None:
            self._model = self._make()
        self._observers.add(node, [node.DisplayModifiedEvent], self._display_changed)
        self.update()
        self._display_changed(node, "")

    def _points_changed(self, _which: Any) -> None:
        self.update()

    def _display_changed(self, node: Any, _event: Any) -> None:
        """Hide the spheres with the landmarks."""
        display = node.GetDisplayNode()
        shown = display is not None and bool(display.GetVisibility())
        if self._model is not None and self._model.GetDisplayNode() is not None:
            self._model.GetDisplayNode().SetVisibility(shown)

    def _make(self) -> Any:
        count = len(self._case.protocol)
        polydata = vtk.vtkPolyData()
        polydata.SetPoints(vtk.vtkPoints())
        spheres = self._cells[None] + len(self._sphere) * np.arange(count)[:, None, None]
        rings = count * len(self._sphere) + np.concatenate([_RING_CELLS, _RING_CELLS + 2 * len(_CIRCLE)])
        cells = np.concatenate([spheres.reshape(-1, 3), rings])
        array = vtk.vtkCellArray()
        array.SetData(
            numpy_to_vtkIdTypeArray(np.arange(0, 3 * len(cells) + 1, 3, dtype=np.int64), deep=True),
            numpy_to_vtkIdTypeArray(np.ascontiguousarray(cells.ravel(), dtype=np.int64), deep=True),
        )
        polydata.SetPolys(array)
        points = np.zeros((count * len(self._sphere) + 4 * len(_CIRCLE), 3), dtype=np.float32)
        polydata.GetPoints().SetData(numpy_to_vtk(points, deep=True))
        model, display = slicer.vtkMRMLModelNode(), slicer.vtkMRMLModelDisplayNode()
        model.SetName(NAME)
        model.SetAttribute(ATTRIBUTE, "confidence")
        for node in (model, display):
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            # Not found when the mouse looks for the surface under it: else a dragged point would climb its own sphere.
            node.SetSelectable(False)
        display.SetScalarVisibility(True)
        display.SetActiveScalar("Colour", vtk.vtkAssignAttribute.POINT_DATA)
        display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseDirectMapping)
        display.SetAmbient(0.45)
        display.SetDiffuse(0.6)
        display.SetVisibility2D(False)
        display.SetBackfaceCulling(False)
        display.SetInterpolation(slicer.vtkMRMLDisplayNode.GouraudInterpolation)
        scene = self._case.scene
        scene.AddNode(display)
        model.SetAndObservePolyData(polydata)
        scene.AddNode(model)
        model.SetAndObserveDisplayNodeID(display.GetID())
        return model

    def _remove(self) -> None:
        self._observers.drop()
        model, self._model = self._model, None
        if model is not None and model.GetScene() is not None:
            scene, display = model.GetScene(), model.GetDisplayNode()
            scene.RemoveNode(model)
            if display is not None and display.GetScene() is not None:
                scene.RemoveNode(display)


def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """Make a unit sphere: corners (v, 3) and triangles (t, 3)."""
    source = vtk.vtkSphereSource()
    source.SetRadius(1.0)
    source.SetThetaResolution(14)
    source.SetPhiResolution(9)
    source.Update()
    corners = vtk_to_numpy(source.GetOutput().GetPoints().GetData()).astype(np.float64)
    return corners, vtk_to_numpy(source.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
