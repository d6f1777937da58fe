"""Slicer's place mode, steered to one control point after the other of a point list with a fixed number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .observing import Observers


class PlaceMode:
    """Lets the next click in a view set a chosen control point.

    Parameters
    ----------
    scene : vtkMRMLScene
    on_stopped : callable
        Called when the user, or another module, chose another mouse mode or another list.
    """

    def __init__(self, scene: Any, on_stopped: Callable[[], None]) -> None:
        self._interaction = scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        self._selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        self._on_stopped = on_stopped
        self._node: Any = None
        self._steering = False
        self._observers = Observers()

    @property
    def active(self) -> bool:
        """Whether the next click places a point of ours."""
        return self._node is not None

    def aim(self, node: Any, place: int) -> None:
        """Let the next click set a control point; starts place mode when it is off.

        Parameters
        ----------
        node : vtkMRMLMarkupsNode
            With a fixed number of control points.
        place : int
            An unset control point.
        """
        if self._interaction is None or self._selection is None:
            return
        self._steering = True
        try:
            # A preview of another point under the mouse would be the one that the click sets.
            for index in range(node.GetNumberOfControlPoints()):
                if index != place and node.GetNthControlPointPositionStatus(index) == node.PositionPreview:
                    node.UnsetNthControlPointPosition(index)
            node.SetControlPointPlacementStartIndex(place)
            if node is not self._node:
                self._observers.drop()
                self._node = node
                self._observers.add(
                    self._interaction, [self._interaction.InteractionModeChangedEvent], self._mode_changed
                )
                self._observers.add(self._selection, ["ModifiedEvent"], self._mode_changed)
            self._selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
            set_active = getattr(self._selection, "SetActivePlaceNodeID", None)
            (set_active or self._selection.SetReferenceActivePlaceNodeID)(node.GetID())
            self._interaction.SetPlaceModePersistence(1)
            self._interaction.SetCurrentInteractionMode(self._interaction.Place)
        finally:
            self._steering = False

    def stop(self) -> None:
        """Go back to the mouse mode that turns the view; nothing happens when place mode is not ours."""
        if self._node is None:
            return
        node, self._node = self._node, None
        self._observers.drop()
        if node.GetScene() is not None:
            node.SetControlPointPlacementStartIndex(-1)
        if self._interaction.GetCurrentInteractionMode() == self._interaction.Place:
            self._interaction.SetPlaceModePersistence(0)
            self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)

    def _mode_changed(self, _caller: Any, _event: Any) -> None:
        if self._steering or self._node is None:
            return
        ours = self._selection.GetActivePlaceNodeID() == self._node.GetID()
        if ours and self._interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place:
            return
        self._observers.drop()
        node, self._node = self._node, None
        if node.GetScene() is not None:
            node.SetControlPointPlacementStartIndex(-1)
        self._on_stopped()
