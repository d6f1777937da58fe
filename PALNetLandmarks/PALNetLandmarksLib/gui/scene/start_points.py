"""Three points that the user picks to show where the face is, when the search for it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

from .removing import remove_whole

#: Tip of the nose, and the outer corners of the subject's right and left eye.
LABELS = ("Prn", "Ex_R", "Ex_L")


class StartPoints:
    """A small markups node with the three points, in place mode until all are there.

    Parameters
    ----------
    scene : vtkMRMLScene
    protocol : Protocol
        It knows the three labels.
    changed : callable
        Called when a point was set.
    """

    def __init__(self, scene: Any, protocol: Protocol, changed: Callable[[], None]) -> None:
        self._scene, self._protocol, self._changed = scene, protocol, changed
        self._node: Any = None
        self._tag = 0

    @property
    def active(self) -> bool:
        """Whether the points are being picked or wait to be used."""
        return self._node is not None

    @property
    def next_label(self) -> str:
        """Label of the next point to pick; empty when all are there."""
        if self._node is None:
            return ""
        for place, label in enumerate(LABELS):
            if self._node.GetNthControlPointPositionStatus(place) != slicer.vtkMRMLMarkupsNode.PositionDefined:
                return label
        return ""

    def begin(self) -> None:
        """Make the node and go into place mode."""
        self.end()
        node = self._scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Start points")
        node.CreateDefaultDisplayNodes()
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        for label in LABELS:
            node.AddControlPoint(vtk.vtkVector3d(0.0, 0.0, 0.0), label)
        for place in range(len(LABELS)):
            node.UnsetNthControlPointPosition(place)
        node.SetFixedNumberOfControlPoints(True)
        self._node = node
        self._tag = node.AddObserver(slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self._defined)
        self._place_mode(True)

    def _place_mode(self, on: bool) -> None:
        selection = self._scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
        interaction = self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if on:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
            selection.SetActivePlaceNodeID(self._node.GetID())
            interaction.SetPlaceModePersistence(1)
            interaction.SetCurrentInteractionMode(interaction.Place)
        elif interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    def _defined(self, _node: Any, _event: Any) -> None:
        if not self.next_label:
            self._place_mode(False)
        self._changed()

    def landmarks(self) -> LandmarkSet:
        """Give the points as a set in LPS, mm; what was not picked is missing."""
        positions = np.full((len(self._protocol), 3), np.nan)
        for place, label in enumerate(LABELS):
            if self._node.GetNthControlPointPositionStatus(place) == slicer.vtkMRMLMarkupsNode.PositionDefined:
                positions[self._protocol.index(label)] = self._node.GetNthControlPointPositionWorld(place)
        picked = LandmarkSet.from_positions(self._protocol, positions, coordinate_system="RAS")
        return picked.in_coordinate_system("LPS")

    def end(self) -> None:
        """Leave place mode and take the node away."""
        if self._node is None:
            return
        self._place_mode(False)
        node, self._node = self._node, None
        node.RemoveObserver(self._tag)
        remove_whole(node)
