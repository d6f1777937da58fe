"""What all widgets that show the scene share."""

from __future__ import annotations

import slicer
from PySide6 import QtWidgets

from .signals import emit


def parent_of(arguments: tuple) -> QtWidgets.QWidget | None:
    return next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)


class SceneMixin:
    """What all widgets with a scene share."""

    host_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    _scene: slicer.vtkMRMLScene | None = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:  # noqa: N802
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:  # noqa: N802
        if scene is not None and not isinstance(scene, slicer.vtkMRMLScene):
            raise TypeError(f"setMRMLScene() takes a scene, not {scene!r}")
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_set()
        emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)

    def _scene_set(self) -> None:
        pass
