"""A case for the tests of the measuring panels: a face-like scan with landmarks on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "PALNetLandmarks" / "Resources" / "UI"
_FACE = ROOT / "Testing" / "data" / "symmetric_face50.csv"


class FakeParameters:
    """The fields that the panels use; a name that is not there is an error."""

    __slots__ = (
        "measurements_table", "asymmetry_table", "norms_path", "norms_sex", "norms_age", "case_id", "export_folder",
        "compare_first", "compare_second", "compare_first_folder", "compare_second_folder",
    )  # fmt: skip

    def __init__(self) -> None:
        self.measurements_table = self.asymmetry_table = self.compare_first = self.compare_second = None
        self.norms_path = self.norms_sex = self.case_id = self.export_folder = ""
        self.compare_first_folder = self.compare_second_folder = ""
        self.norms_age = 0.0


def face_landmarks(*, missing: Any = (), moved: dict[str, Any] | None = None, errors: float = 2.0) -> Any:
    """Give the average face's 50 landmarks as predicted, world LPS; Ch_L stands 8 mm too high, Tr is uncertain."""
    from PALNetLandmarksLib.landmarks import LandmarkSet
    from PALNetLandmarksLib.protocol import load_protocol

    protocol = load_protocol()
    positions = np.loadtxt(_FACE, delimiter=",", skiprows=1, usecols=(1, 2, 3))
    positions[protocol.index("Ch_L"), 2] += 8.0
    for label, offset in (moved or {}).items():
        positions[protocol.index(label)] += offset
    for label in missing:
        positions[protocol.index(label)] = np.nan
    expected = np.full(50, errors)
    expected[protocol.index("Tr")] = 6.5
    return LandmarkSet.from_positions(
        protocol,
        positions,
        "predicted",
        expected_error_mm=expected,
        provenance={"model_id": "face50-simulated-2", "model_sha256": "cd" * 32, "model_training_data": "simulated"},
    )


def add_head(landmarks: Any) -> Any:
    """Add a model node to the scene, a smooth head with the landmarks on it: an ellipsoid round them."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    sphere = vtk.vtkSphereSource()
    sphere.SetThetaResolution(90)
    sphere.SetPhiResolution(90)
    sphere.Update()
    polydata = sphere.GetOutput()
    points = landmarks.in_coordinate_system("RAS").positions
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    unit = 2.0 * vtk_to_numpy(polydata.GetPoints().GetData()).astype(float)
    polydata.GetPoints().SetData(numpy_to_vtk(unit * (0.56 * (high - low)) + 0.5 * (low + high), deep=1))
    polydata.GetPointData().Initialize()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Patient Smith")
    model.SetAndObservePolyData(polydata)
    model.CreateDefaultDisplayNodes()
    model.GetDisplayNode().SetColor(0.85, 0.7, 0.6)
    return model


def load_panel(name: str) -> tuple[Any, Any]:
    """Load a panel's ``.ui`` file and show it at 400 px: the widget, and its parts by name."""
    import slicer

    widget = slicer.util.loadUI(str(UI / f"{name}.ui"))
    widget.setMRMLScene(slicer.mrmlScene) if hasattr(widget, "setMRMLScene") else None
    return widget, slicer.util.childWidgetVariables(widget)


def show(widget: Any, width: int = 400, height: int = 700) -> None:
    """Show a panel as narrow as Slicer's module panel can be."""
    from PySide6 import QtWidgets

    QtWidgets.QWidget.resize(widget, width, height)
    QtWidgets.QWidget.show(widget)
    QtWidgets.QApplication.processEvents()
