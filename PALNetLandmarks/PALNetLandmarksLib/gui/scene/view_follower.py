"""Let a 3D view follow the chosen landmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..case import Case
from .camera import look_at, view_direction
from .face_frame import face_directions


class ViewFollower:
    """Turns a 3D view to the landmark that is chosen, unless it was chosen by taking hold of it in the view.

    Parameters
    ----------
    case : Case
    camera_node : callable
        Gives the vtkMRMLCameraNode of the view to turn, or None.
    """

    def __init__(self, case: Case, camera_node: Callable[[], Any]) -> None:
        self._case = case
        self._camera_node = camera_node
        self.enabled = True
        """Whether the view follows."""
        case.selection_changed.connect(self._selected)

    def show(self, label: str) -> None:
        """Turn the view to a landmark; one without a position is shown where it was predicted, if it was."""
        landmarks, camera = self._case.landmarks(), self._camera_node()
        if landmarks is None or camera is None:
            return
        position = landmarks.position(label)
        if not np.isfinite(position).all():
            predicted = self._case.predicted()
            position = position if predicted is None else predicted.position(label)
        if not np.isfinite(position).all():
            return
        forward, up = face_directions(landmarks)
        surface = self._case.surface()
        normal = np.full(3, np.nan) if surface is None else surface.outward_normals(position[None])[0]
        look_at(camera, position, view_direction(normal, forward), up)

    def cleanup(self) -> None:
        """Let go of the case."""
        self._case.selection_changed.disconnect(self._selected)

    def _selected(self, label: str | None) -> None:
        if self.enabled and label is not None and not self._case.dragging:
            self.show(label)
