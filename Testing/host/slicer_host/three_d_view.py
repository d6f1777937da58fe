"""A real 3D view, rendered off the screen and shown as a picture; it takes the mouse."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

from .scene_widget import SceneMixin

DISPLAYABLE_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLLinearTransformsDisplayableManager",
)


class qMRMLThreeDView(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """The view itself.

    It renders when it is asked to (``forceRender``, a mouse event of the helpers, a picture) and not by itself, so
    that the software renderer's slowness is not taken for that of the module.
    """

    host_class = True

    def __init__(self, logic: slicer.vtkSlicerApplicationLogic, name: str = "1", parent: Any = None) -> None:
        super().__init__(parent)
        self._application_logic = logic
        self._scene = logic.GetMRMLScene()
        self.setMinimumSize(100, 100)
        self.setMouseTracking(True)
        self.paused = 0
        self.renders = 0
        self._picture: QtGui.QImage | None = None
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(640, 640)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(logic)
        for manager in DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)
        self._style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._style.SetDisplayableManagers(self._group)
        self._style.SetInteractor(self._interactor)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self.view_logic = slicer.vtkMRMLViewLogic()
        self.view_logic.SetMRMLApplicationLogic(logic)
        logic.GetViewLogics().AddItem(self.view_logic)
        self.view_logic.SetMRMLScene(self._scene)
        self._node = self.view_logic.AddViewNode(name)
        self.attach()

    def attach(self) -> None:
        """Show the scene again after it was closed."""
        if self._node.GetScene() is None:
            self._node = self.view_logic.AddViewNode("1")
        if self._group.GetMRMLDisplayableNode() is not self._node:
            self._group.SetMRMLDisplayableNode(self._node)
        self._node.SetMappedInLayout(1)

    # ---- what a module may ask for

    def mrmlViewNode(self) -> slicer.vtkMRMLViewNode:  # noqa: N802
        return self._node

    def renderWindow(self) -> vtk.vtkRenderWindow:  # noqa: N802
        return self._window

    def interactor(self) -> vtk.vtkRenderWindowInteractor:
        return self._interactor

    def interactorStyle(self) -> Any:  # noqa: N802
        return self._style

    def cameraNode(self) -> Any:  # noqa: N802
        return self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def displayableManagerByClassName(self, name: str) -> Any:  # noqa: N802
        return self._group.GetDisplayableManagerByClassName(name)

    def scheduleRender(self) -> None:  # noqa: N802
        pass

    def forceRender(self) -> None:  # noqa: N802
        if self.paused:
            return
        self._window.Render()
        self.renders += 1
        self._picture = None
        self.update()

    def pauseRender(self) -> None:  # noqa: N802
        self.paused += 1

    def resumeRender(self) -> None:  # noqa: N802
        self.paused -= 1

    def setRenderPaused(self, paused: bool) -> None:  # noqa: N802
        self.paused += 1 if paused else -1

    def isRenderPaused(self) -> bool:  # noqa: N802
        return self.paused > 0

    def resetCamera(self, rotation: bool = True, translation: bool = True, distance: bool = True) -> None:  # noqa: N802
        self.cameraNode().Reset(rotation, translation, distance, self._renderer)

    def resetFocalPoint(self) -> None:  # noqa: N802
        box, labels = self._node.GetBoxVisible(), self._node.GetAxisLabelsVisible()
        self._node.SetBoxVisible(0)
        self._node.SetAxisLabelsVisible(0)
        bounds = self._renderer.ComputeVisiblePropBounds()
        self._node.SetBoxVisible(box)
        self._node.SetAxisLabelsVisible(labels)
        if bounds[0] <= bounds[1]:
            self.setFocalPoint(*(np.array(bounds[0::2]) + np.array(bounds[1::2])) / 2)

    def setFocalPoint(self, x: float, y: float, z: float) -> None:  # noqa: N802
        self._renderer.GetActiveCamera().SetFocalPoint(x, y, z)

    def lookFromAxis(self, axis: int, _fov: float = -1.0) -> None:  # noqa: N802
        self.cameraNode().RotateTo(int(axis))

    def rotateToViewAxis(self, axis: int) -> None:  # noqa: N802
        self.cameraNode().RotateTo(int(axis))

    lookFromViewAxis = rotateToViewAxis  # noqa: N815

    def zoomIn(self) -> None:  # noqa: N802
        self._renderer.GetActiveCamera().Dolly(1.1)

    def zoomOut(self) -> None:  # noqa: N802
        self._renderer.GetActiveCamera().Dolly(0.9)

    # ---- the picture

    def picture(self) -> QtGui.QImage:
        """Render and give the picture."""
        self._window.Render()
        self.renders += 1
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.ShouldRerenderOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]
        pixels = np.ascontiguousarray(pixels)
        self._picture = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()
        return self._picture

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802
        self._window.SetSize(max(event.size().width(), 10), max(event.size().height(), 10))
        self._interactor.UpdateSize(*self._window.GetSize())
        self._picture = None

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:  # noqa: N802
        painter = QtGui.QPainter(self)
        painter.drawImage(self.rect(), self._picture or self.picture())
        painter.end()

    # ---- the mouse: Qt's events go to VTK as Slicer's own widget passes them on

    def send(self, event: str, x: float, y: float, shift: bool = False, control: bool = False) -> None:
        """Send one event to the view, in VTK's display coordinates (pixels from the lower left corner)."""
        self._interactor.SetEventInformation(round(x), round(y), int(control), int(shift))
        self._interactor.InvokeEvent(event)

    def _pass_on(self, name: str, event: QtGui.QMouseEvent) -> None:
        position = event.position()
        shift = bool(event.modifiers() & QtCore.Qt.KeyboardModifier.ShiftModifier)
        control = bool(event.modifiers() & QtCore.Qt.KeyboardModifier.ControlModifier)
        self.send(name, position.x(), self.height() - 1 - position.y(), shift, control)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802
        self._pass_on("MouseMoveEvent", event)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802
        button = {1: "Left", 2: "Right", 4: "Middle"}[event.button().value]
        self._pass_on(f"{button}ButtonPressEvent", event)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802
        button = {1: "Left", 2: "Right", 4: "Middle"}[event.button().value]
        self._pass_on(f"{button}ButtonReleaseEvent", event)

    def display_position(self, world: Any) -> np.ndarray:
        """Project a point in RAS, mm, to display coordinates.

        Returns
        -------
        (2,) float
            Pixels from the lower left corner.
        """
        self._renderer.SetWorldPoint(*(float(c) for c in world), 1.0)
        self._renderer.WorldToDisplay()
        return np.array(self._renderer.GetDisplayPoint()[:2])

    def release(self) -> None:
        """Let go of VTK's objects before the application ends."""
        self._group.SetMRMLDisplayableNode(None)
        self._interactor.SetInteractorStyle(None)
        self._window.Finalize()


class qMRMLThreeDWidget(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """The view with its controller, which is not shown."""

    host_class = True

    def __init__(self, view: qMRMLThreeDView) -> None:
        super().__init__()
        self._view = view
        self._scene = view.mrmlScene()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(view)

    def threeDView(self) -> qMRMLThreeDView:  # noqa: N802
        return self._view

    def mrmlViewNode(self) -> Any:  # noqa: N802
        return self._view.mrmlViewNode()

    def viewLogic(self) -> Any:  # noqa: N802
        return self._view.view_logic

    logic = viewLogic
