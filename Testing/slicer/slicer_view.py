"""Slicer's own 3D view, off-screen, with a mouse: displayable managers and interaction as in the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer_scene import Scene
from vtk.util.numpy_support import vtk_to_numpy

_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLLinearTransformsDisplayableManager",
)
# As with scenes: what is destroyed in the wrong order crashes.
_KEPT: list[Any] = []


class View:
    """A 3D view of a scene and a mouse in it; display positions (x, y) in pixels from the lower left."""

    def __init__(self, scene: Scene, size: tuple[int, int] = (600, 600)) -> None:
        self.scene = scene
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(scene.application)
        for name in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(factory, self.renderer)
        self.style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self.style.SetDisplayableManagers(self.group)
        self.style.SetInteractor(self.interactor)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(scene.application)
        scene.application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene.mrml)
        self.node = self.logic.AddViewNode("1")
        self.group.SetMRMLDisplayableNode(self.node)
        self.node.SetMappedInLayout(1)
        self.node.SetBoxVisible(0)
        self.node.SetAxisLabelsVisible(0)
        _KEPT.append(self)

    def camera_node(self) -> Any:
        """Give the view's vtkMRMLCameraNode."""
        return self.group.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def look_from_front(self) -> None:
        """Turn to the face and fit it into the view."""
        self.camera_node().RotateTo(slicer.vtkMRMLCameraNode.Anterior)
        self.renderer.ResetCamera()
        self.render()

    def render(self) -> None:
        self.window.Render()

    def picture(self) -> np.ndarray:
        """Render and give the picture (height, width, 3) uint8, the top row first."""
        self.render()
        grabbed = vtk.vtkWindowToImageFilter()
        grabbed.SetInput(self.window)
        grabbed.ReadFrontBufferOff()
        grabbed.Update()
        image = grabbed.GetOutput()
        width, height, _depth = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1]

    def save(self, path: Path) -> None:
        """Write the picture as a PNG file, to look at."""
        from PIL import Image

        Image.fromarray(np.ascontiguousarray(self.picture())).save(path)

    def at(self, world: Any) -> np.ndarray:
        """Give the display position (2,) of a place (3,) in the world."""
        self.renderer.SetWorldPoint(*(float(value) for value in world), 1.0)
        self.renderer.WorldToDisplay()
        return np.array(self.renderer.GetDisplayPoint())[:2]

    def event(self, name: str, where: Any, *, shift: bool = False, control: bool = False) -> None:
        x, y = (int(round(value)) for value in where)
        self.interactor.SetEventInformation(x, y, int(control), int(shift))
        self.interactor.InvokeEvent(name)

    def move(self, where: Any) -> None:
        self.event("MouseMoveEvent", where)

    def press(self, where: Any) -> None:
        self.event("LeftButtonPressEvent", where)

    def release(self, where: Any) -> None:
        self.event("LeftButtonReleaseEvent", where)

    def click(self, where: Any) -> None:
        """Move there, press and release."""
        self.move(np.asarray(where) + (9, 5))
        self.move(where)
        self.press(where)
        self.release(where)

    def drag(self, start: Any, end: Any, steps: int = 10) -> None:
        """Take hold of what is at the start and draw it to the end."""
        start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        self.move(start + (25, 25))
        self.move(start)
        self.press(start)
        for part in np.linspace(0, 1, steps + 1)[1:]:
            self.move(start + (end - start) * part)
        self.release(end)

    def key(self, symbol: str) -> None:
        """Press a key."""
        self.interactor.SetKeySym(symbol)
        self.interactor.SetKeyCode("\x1b" if symbol == "Escape" else symbol[:1])
        for name in ("KeyPressEvent", "CharEvent", "KeyReleaseEvent"):
            self.interactor.InvokeEvent(name)
