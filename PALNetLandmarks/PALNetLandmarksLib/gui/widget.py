"""The module's panel: its sections put together, and kept in step with the scene's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from ..protocol import load_protocol
from .case import Case
from .engine_environment import default_environment
from .engine_session import EngineSession
from .engine_settings import UserSettings
from .messages import Messages, showing_errors
from .models import ModelList
from .norms_choice import NormsChoice
from .panels.batch_panel import BatchPanel
from .panels.comparison_panel import ComparisonPanel
from .panels.engine_dialog import EngineDialog
from .panels.export_panel import ExportPanel
from .panels.landmarks_panel import LandmarksPanel
from .panels.measurement_panel import MeasurementPanel
from .panels.placement_panel import PlacementPanel
from .panels.review_panel import ReviewPanel
from .panels.scan_panel import ScanPanel
from .review_desk import SceneDesk
from .sample_data import load_sample
from .scene.camera import look_at
from .scene.face_frame import face_directions
from .scene.landmarks_node import SCAN_ROLE, lists_of
from .scene.texture import restore_textures
from .signals import connect

#: Sections that make sense only when there are landmarks.
_WITH_LANDMARKS = ("reviewSection", "measurementSection", "exportSection")


#: How much of the view a face fills, mm from top to bottom.
_FACE_MM = 300.0


def _three_d_view() -> Any:
    """Give the first 3D view; None where there is none, as without a main window."""
    manager = slicer.app.layoutManager()
    if manager is None or manager.threeDViewCount < 1:
        return None
    return manager.threeDWidget(0).threeDView()


def _camera_node() -> Any:
    view = _three_d_view()
    return None if view is None else view.cameraNode()


class ModulePanels:
    """The sections of the panel, the case they are about, and the engine behind them.

    Parameters
    ----------
    layout : QLayout
        Where the panel goes.
    resource_path : callable
        Gives the path of a file under the module's ``Resources``.
    """

    def __init__(self, layout: Any, resource_path: Callable[[str], str]) -> None:
        self.entered = False
        self._resource_path = resource_path
        self._parameters: Any = None
        self._connection: Any = None
        self._tag = 0
        self._shown: Any = None
        self._engine_dialog: EngineDialog | None = None
        self._then: Callable[[], None] | None = None
        self.messages = Messages()
        self.case = Case(slicer.mrmlScene, load_protocol())
        self.environment = default_environment()
        self.session = EngineSession(self.environment)
        self.root = slicer.util.loadUI(resource_path("UI/PALNetLandmarks.ui"))
        layout.addWidget(self.root)
        self.ui = slicer.util.childWidgetVariables(self.root)
        # Before the panels: what they write into the parameter node must not meet the scan and landmarks of before.
        self.case.scan_changed.connect(self._scan_changed)
        self.case.landmarks_changed.connect(self._landmarks_changed)
        self.panels = self._make_panels()
        self.root.setMRMLScene(slicer.mrmlScene)
        self._show_sections()

    def _make_panels(self) -> list[Any]:
        case, session, messages = self.case, self.session, self.messages
        norms = NormsChoice(case.protocol)
        landmarks = LandmarksPanel(
            self._section("landmarksSection", "LandmarksPanel"),
            case, session, self._ensure_engine, self._show_engine, self._look_at_face,
            ModelList(UserSettings()), messages,
        )  # fmt: skip
        measurements = MeasurementPanel(self._section("measurementSection", "MeasurementPanel"), case, norms, messages)
        measurements.set_visible(not self.ui.measurementSection.collapsed)
        connect(
            self.ui.measurementSection, "contentsCollapsed(bool)", lambda folded: measurements.set_visible(not folded)
        )
        desk = SceneDesk(case, self._choose_case, self._look_at_face)
        self._batch = BatchPanel(
            self._section("batchSection", "BatchPanel"),
            self.environment, case.protocol, desk, messages, landmarks.choices,
        )  # fmt: skip
        self._batch.paths_changed.connect(self._batch_paths_changed)
        self._batch.engine_missing.connect(self._show_engine)
        return [
            ScanPanel(
                self._section("scanSection", "ScanPanel"),
                case, session, self._engine_there, self._choose_scan, self._look_by_registration,
                load_sample, messages,
            ),
            landmarks,
            ReviewPanel(self._section("reviewSection", "ReviewPanel"), case, _camera_node, messages),
            PlacementPanel(self._section("placementSection", "PlacementPanel"), case, messages),
            measurements,
            ExportPanel(self._section("exportSection", "ExportPanel"), case, norms, messages),
            self._batch,
            ComparisonPanel(self._section("comparisonSection", "ComparisonPanel"), case, messages),
        ]  # fmt: skip

    def _section(self, section: str, name: str) -> Any:
        """Load a panel's widgets into its section and give them by name."""
        widget = slicer.util.loadUI(self._resource_path(f"UI/{name}.ui"))
        getattr(self.ui, section).layout().addWidget(widget)
        if hasattr(widget, "setMRMLScene"):
            widget.setMRMLScene(slicer.mrmlScene)
        return slicer.util.childWidgetVariables(widget)

    # The scene's parameters ---------------------------------------------------------------------------------------

    def set_parameters(self, parameters: Any) -> None:
        """Work with another parameter node; None lets go of the scene."""
        if parameters is None:
            self._batch.let_go()
        if self._parameters is not None:
            self._parameters.disconnectGui(self._connection)
            self._parameters.parameterNode.RemoveObserver(self._tag)
        self._parameters = parameters
        if parameters is not None:
            self._connection = parameters.connectGui(self.root)
            self._tag = parameters.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        for panel in self.panels:
            if hasattr(panel, "set_parameters"):
                panel.set_parameters(parameters)
        if parameters is not None:
            self._batch.set_paths(parameters.batch_input, parameters.batch_output)
        self._parameters_changed()

    def _batch_paths_changed(self, scans: str, output: str) -> None:
        if self._parameters is not None:
            self._parameters.batch_input, self._parameters.batch_output = scans, output

    def _parameters_changed(self, _caller: Any = None, _event: Any = None) -> None:
        """Take up the scan and the landmarks that the scene names."""
        self.case.set_scan(self._parameters.scan if self._parameters is not None else None)
        with showing_errors(self.messages):
            # Asked for only now: with another scan come its own landmarks.
            self.case.set_landmarks_node(self._parameters.landmarks if self._parameters is not None else None)

    def _choose_scan(self, node: Any) -> None:
        self._parameters.scan = node
        self._look_at_scan()

    def _choose_case(self, node: Any, case_id: str) -> None:
        """Work on a case of a batch, under its own identifier."""
        self._parameters.scan = node
        self._parameters.case_id = case_id

    def _scan_changed(self) -> None:
        """Show this scan alone, and go to the landmarks that belong to it unless the scene names them already."""
        before, self._shown = self._shown, self.case.scan
        if before is not None and self._shown is not None and before.GetScene() is not None:
            for node in (before, *lists_of(before)):
                node.SetDisplayVisibility(False)
        if self._shown is not None:
            self._shown.SetDisplayVisibility(True)
        if self._parameters is None:
            return
        scan, node = self.case.scan, self._parameters.landmarks
        if scan is None or node is None or node.GetNodeReferenceID(SCAN_ROLE) != scan.GetID():
            self._parameters.landmarks = self.case.find_landmarks_node()

    def _landmarks_changed(self) -> None:
        if self._parameters is not None and self._parameters.landmarks is not self.case.landmarks_node:
            self._parameters.landmarks = self.case.landmarks_node
        self._show_sections()

    def _look_at_scan(self) -> None:
        """Bring a scan that was just loaded into the middle of the view; its own position may be anywhere."""
        view = _three_d_view()
        if view is not None:
            view.resetFocalPoint()
            view.resetCamera()

    def _look_at_face(self) -> None:
        """Look at the face from the front, as far as its landmarks say where that is."""
        view, landmarks = _three_d_view(), self.case.landmarks()
        if view is None or landmarks is None or landmarks.missing.all():
            return
        forward, up = face_directions(landmarks)
        middle = np.nanmean(landmarks.positions, axis=0)
        look_at(view.cameraNode(), middle, forward, up, _FACE_MM)

    def _look_by_registration(self, scan_to_reference: np.ndarray) -> None:
        """Look at a face from the front before it has landmarks."""
        view = _three_d_view()
        if view is None or self.case.landmarks_node is not None:
            return
        # The reference looks along its third axis, its second points up, and its origin is the tip of the nose.
        back = np.linalg.inv(scan_to_reference)
        to_ras = np.array([-1.0, -1.0, 1.0])
        look_at(view.cameraNode(), back[:3, 3] * to_ras, back[:3, 2] * to_ras, back[:3, 1] * to_ras, _FACE_MM)

    def scene_loaded(self) -> None:
        """Show again what a scene file does not hold."""
        restore_textures(slicer.mrmlScene)

    # The engine ---------------------------------------------------------------------------------------------------

    def _engine_there(self) -> bool:
        return self.environment.status() != "missing"

    def _ensure_engine(self, then: Callable[[], None]) -> None:
        """Go on when there is an engine; where there is none, once the user has set one up."""
        if self._engine_there():
            then()
            return
        self._then = then
        self._show_engine()

    def _show_engine(self) -> None:
        if self._engine_dialog is None:
            widget = slicer.util.loadUI(self._resource_path("UI/EngineDialog.ui"))
            self._engine_dialog = EngineDialog(widget, self.environment, self.messages, self.session.stop)
            self._engine_dialog.changed.connect(self._engine_changed)
        self._engine_dialog.show()

    def _engine_changed(self) -> None:
        self.session.stop()
        then, self._then = self._then, None
        if then is not None and self._engine_there():
            then()

    # Coming and going -----------------------------------------------------------------------------------------------

    def _show_sections(self) -> None:
        """Show no section before it has something to work on."""
        there = self.case.landmarks_node is not None
        for name in _WITH_LANDMARKS:
            getattr(self.ui, name).visible = there

    def enter(self) -> None:
        """Take up the keys: the user came to the module."""
        self.entered = True
        for panel in self.panels:
            if hasattr(panel, "enter"):
                panel.enter()

    def exit(self) -> None:
        """Give up the keys: the user went to another module."""
        self.entered = False
        for panel in self.panels:
            if hasattr(panel, "exit"):
                panel.exit()

    def cleanup(self) -> None:
        """Let go of the scene and end the engine."""
        self.set_parameters(None)
        for panel in self.panels:
            panel.cleanup()
        if self._engine_dialog is not None:
            self._engine_dialog.cleanup()
        self.case.cleanup()
        self.session.cleanup()
        self.root.setMRMLScene(None)
