"""The module's self-test, run inside the real application: with or without a main window, with or without an engine."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, TypeVar

import numpy as np
import slicer

from ..asymmetry import asymmetry
from ..export import write_measurements
from ..landmark_files import read_landmarks, write_landmarks
from ..landmarks import LandmarkSet
from ..measurements import measure
from ..protocol import load_protocol
from ..report import report_html
from ..resources import sample_scans
from .case import Case
from .engine_environment import default_environment
from .pixmaps import pixmap_of
from .sample_data import NAME, load_sample
from .scene.charts import asymmetry_chart
from .scene.mesh import mesh_of
from .scene.pictures import face_pictures
from .scene.scan_loading import extent, possible_units, scale_scan
from .scripting import place_landmarks

#: Mean error on the sample scan above which the engine does not work as it should here, mm.
_LIMIT_MM = 4.0


_Thing = TypeVar("_Thing")


class SelfTest:
    """The steps, in the order of a user's work; each fails with its own name and what it found.

    Parameters
    ----------
    folder : Path
        For files; empty at the start.
    say : callable
        Tells what is being done.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self.protocol = load_protocol()
        self.skipped: list[str] = []

    def run(self) -> None:
        """Do all steps.

        Raises
        ------
        AssertionError
            With the name of the first step that failed.
        """
        for step in (
            self.loads_the_sample,
            self.converts_units,
            self.shows_landmarks,
            self.undoes_and_redoes,
            self.keeps_points_on_the_surface,
            self.measures_and_writes,
            self.draws,
            self.survives_a_saved_scene,
            self.works_by_the_panel,
            self.places_landmarks,
        ):
            name = step.__name__.replace("_", " ")
            self._say(name)
            started = time.monotonic()
            slicer.mrmlScene.Clear(0)
            try:
                step()
            except Exception as error:
                raise AssertionError(f"Self-test '{name}' failed: {type(error).__name__}: {error}") from error
            logging.info("PALNetLandmarks self-test: %s, %.2f s", name, time.monotonic() - started)
        slicer.mrmlScene.Clear(0)

    # Steps ----------------------------------------------------------------------------------------------------------

    def loads_the_sample(self) -> None:
        """Load the sample: it is there, whole, and in millimetres."""
        model = load_sample()
        _equal("name of the sample", model.GetName(), NAME)
        size = extent(model)
        _true("size of the sample in mm", bool(150 < size.max() < 500), size)
        mesh = mesh_of(model)
        _equal("vertices", len(mesh.vertices), model.GetPolyData().GetNumberOfPoints())
        # A file is read as LPS and shown in RAS: the engine gets the file's own coordinates back, near the true ones.
        truth = self._truth()
        offsets = truth.positions[~truth.missing][:, None] - mesh.vertices[None]
        _true("true landmarks on the mesh", float(np.linalg.norm(offsets, axis=2).min(axis=1).max()) < 5.0, "off it")

    def converts_units(self) -> None:
        """Recognise a scan in metres, and scale it."""
        model = load_sample()
        before = extent(model)
        scale_scan(model, 0.001)
        _equal("unit found", possible_units(float(extent(model).max())), {"m": 1000.0})
        scale_scan(model, 1000.0)
        _near("size after there and back", extent(model), before, 1e-3)

    def shows_landmarks(self) -> None:
        """Fifty points in protocol order, missing ones undefined, statuses in the descriptions."""
        case, _model = self._case()
        node = case.landmarks_node
        _equal("points", node.GetNumberOfControlPoints(), len(self.protocol))
        _equal("labels", tuple(node.GetNthControlPointLabel(i) for i in range(50)), self.protocol.labels)
        truth = self._truth()
        _equal("defined points", node.GetNumberOfDefinedControlPoints(), int((~truth.missing).sum()))
        _near("positions", _there(case.landmarks()).positions, truth.in_coordinate_system("RAS").positions, 1e-6)
        _equal("statuses", _there(case.landmarks()).status, truth.status)
        case.cleanup()

    def undoes_and_redoes(self) -> None:
        """Take an edit back and do it again."""
        case, _model = self._case()
        before = _there(case.landmarks())
        case.change(before.with_point("Prn", None, "missing"), "Mark Prn as missing")
        _equal("status after the edit", _there(case.landmarks()).status[self.protocol.index("Prn")], "missing")
        case.undo()
        _near("after undo", _there(case.landmarks()).position("Prn"), before.position("Prn"), 1e-6)
        case.redo()
        _equal("status after redo", _there(case.landmarks()).status[self.protocol.index("Prn")], "missing")
        case.cleanup()

    def keeps_points_on_the_surface(self) -> None:
        """Find the nearest point of the surface, under a transform too."""
        case, model = self._case()
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = transform.GetMatrixTransformToParent()
        matrix.SetElement(0, 3, 25.0)
        transform.SetMatrixTransformToParent(matrix)
        model.SetAndObserveTransformNodeID(transform.GetID())
        point = _there(case.surface()).vertices[100]
        nearest, distance, _normal = _there(case.surface()).project(point[None] + [[0.0, 0.0, 0.01]])
        _true("distance to the surface", float(distance[0]) < 0.02, distance)
        _near("nearest point", nearest[0], point, 0.05)
        case.cleanup()

    def measures_and_writes(self) -> None:
        """Measurements, files and report are written and read again."""
        case, _model = self._case()
        landmarks = _there(case.landmarks()).in_coordinate_system("LPS")
        values = measure(landmarks)
        _true("measurements found", int(np.isfinite(values.values).sum()) > 60, values.values)
        for ending in (".mrk.json", ".txt", ".csv", ".tps"):
            path = self._folder / f"landmarks{ending}"
            write_landmarks(path, landmarks, case="self-test")
            _near(f"read again from {ending}", read_landmarks(path).positions, landmarks.positions, 1e-3)
        write_measurements(self._folder / "measurements.csv", landmarks, case="self-test")
        _true("report", "self-test" in report_html(landmarks, case="self-test"), "")
        case.cleanup()

    def draws(self) -> None:
        """Draw the pictures and the chart of a report, off the screen, and give them to Qt."""
        case, model = self._case()
        pictures = face_pictures(model, _there(case.landmarks()), size=(300, 340))
        _equal("pictures", len(pictures), 3)
        for picture in pictures:
            _equal("width of a picture", pixmap_of(picture.png).width(), 300)
        _true("chart", pixmap_of(asymmetry_chart(asymmetry(_there(case.landmarks())))).width() > 100, "empty")
        case.cleanup()

    def survives_a_saved_scene(self) -> None:
        """Provenance, statuses and predicted positions come back with the scene."""
        case, _model = self._case()
        case.change(
            _there(case.landmarks()).with_point("Prn", _there(case.landmarks()).position("Sn"), "corrected"), "Move Prn"
        )
        before, predicted = _there(case.landmarks()), _there(case.predicted())
        case.cleanup()
        path = self._folder / "scene.mrb"
        _true("scene saved", slicer.util.saveScene(str(path)), path.name)
        slicer.mrmlScene.Clear(0)
        _true("scene loaded", slicer.util.loadScene(str(path)) is not False, path.name)
        case = Case(slicer.mrmlScene, self.protocol)
        case.set_landmarks_node(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsFiducialNode"))
        _near("positions", _there(case.landmarks()).positions, before.positions, 1e-3)
        _equal("statuses", _there(case.landmarks()).status, before.status)
        _equal("provenance", dict(_there(case.landmarks()).provenance), dict(before.provenance))
        _near("predicted positions", _there(case.predicted()).positions, predicted.positions, 1e-3)
        case.cleanup()

    def works_by_the_panel(self) -> None:
        """Bring up the module's panel: it follows the scene, exports, and lets go when the scene is closed."""
        widget = slicer.modules.palnetlandmarks.widgetRepresentation().self()
        widget.enter()
        parameters = widget.logic.getParameterNode()
        parameters.scan = load_sample()
        slicer.app.processEvents()
        case = widget.panels.case
        _true("scan taken up", case.scan is parameters.scan, parameters.scan)
        case.show_prediction(self._truth())
        slicer.app.processEvents()
        _true("landmarks taken up", parameters.landmarks is case.landmarks_node, parameters.landmarks)
        table = self._find(widget, "landmarkTable")
        _equal("rows of the review", table.rowCount, 50)
        case.select("Prn")
        self._find(widget, "missingButton").click()
        _equal("marked missing", _there(case.landmarks()).status[self.protocol.index("Prn")], "missing")
        self._find(widget, "undoButton").click()
        _equal("undone", _there(case.landmarks()).status[self.protocol.index("Prn")], "predicted")
        slicer.app.processEvents()
        _true("measurements listed", self._find(widget, "measurementTable").rowCount > 90, "too few")
        _true("table node", parameters.measurements_table is not None, None)
        folder = self._folder / "export"
        folder.mkdir()
        self._find(widget, "caseId").setText("self-test")
        self._find(widget, "exportFolder").currentPath = str(folder)
        for name in ("Long", "Wide", "Asymmetry", "Markups", "Lafas", "Tps", "Report"):
            self._find(widget, "export" + name).checked = True
        self._find(widget, "exportButton").click()
        _equal("files exported", len(list(folder.iterdir())), 9)
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        _true("scan let go", case.scan is None and case.landmarks_node is None, case.scan)
        widget.exit()

    @staticmethod
    def _find(widget: Any, name: str) -> Any:
        return slicer.util.findChild(widget.panels.root, name)

    def places_landmarks(self) -> None:
        """Have the engine find the sample's landmarks; left out, with a message, where no engine is installed."""
        if default_environment().status() == "missing":
            self.skipped.append("places landmarks: no engine is installed in this Slicer")
            return
        model = load_sample()
        node = place_landmarks(model, timeout=300.0)
        case = Case(slicer.mrmlScene, self.protocol)
        case.set_landmarks_node(node)
        found, truth = _there(case.landmarks()), self._truth().in_coordinate_system("RAS")
        both = ~(found.missing | truth.missing)
        error = float(np.linalg.norm(found.positions - truth.positions, axis=1)[both].mean())
        _true("landmarks found", int(both.sum()) >= 40, int(both.sum()))
        _true(f"mean error at most {_LIMIT_MM} mm", error <= _LIMIT_MM, error)
        case.cleanup()

    # Helpers --------------------------------------------------------------------------------------------------------

    def _truth(self) -> LandmarkSet:
        """Give the sample's true landmarks, dressed as a prediction."""
        known = read_landmarks(sample_scans()[0].with_name("landmarks.txt"), self.protocol)
        return LandmarkSet.from_positions(
            self.protocol,
            known.positions,
            "predicted",
            expected_error_mm=np.where(known.missing, np.nan, 1.5),
            provenance={"model_id": "self-test; with = odd : signs", "model_sha256": "0" * 64},
        )

    def _case(self) -> tuple[Case, Any]:
        model = load_sample()
        case = Case(slicer.mrmlScene, self.protocol)
        case.set_scan(model)
        case.show_prediction(self._truth())
        return case, model


def _there(found: Optional[_Thing]) -> _Thing:
    """Give what must be there."""
    if found is None:
        raise AssertionError("something that should be in the scene is not there")
    return found


def _equal(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def _true(what: str, holds: bool, found: Any) -> None:
    if not holds:
        raise AssertionError(f"{what}: {found!r}")


def _near(what: str, found: Any, expected: Any, tolerance: float) -> None:
    if not np.allclose(found, expected, atol=tolerance, rtol=0.0, equal_nan=True):
        worst = float(np.nanmax(np.abs(np.asarray(found) - np.asarray(expected))))
        raise AssertionError(f"{what}: off by {worst:g}, more than {tolerance:g}")


def run_self_test(test: Any) -> None:
    """Run the self-test for Slicer's test runner.

    Parameters
    ----------
    test : ScriptedLoadableModuleTest

    Raises
    ------
    AssertionError
        With the name of the step that failed.
    """
    with tempfile.TemporaryDirectory(prefix="palnet-self-test-") as folder:
        steps = SelfTest(Path(folder), lambda text: test.delayDisplay(text, 50))
        steps.run()
    for text in steps.skipped:
        test.delayDisplay(f"Skipped: {text}", 50)
