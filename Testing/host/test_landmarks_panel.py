"""Section 2 of the panel: models, placing the landmarks with the real engine, and starting from three points."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PALNetLandmarksLib.resources import bundled_models


@pytest.fixture
def engine(module: Any) -> Any:
    """The module with the real engine, in this Python."""
    module.widget.panels.environment.set_external_python(sys.executable)
    yield module
    module.widget.panels.environment.set_external_python("")


def _sphere(scale: tuple[float, float, float] = (100.0, 100.0, 100.0)) -> Any:
    import slicer
    import vtk

    source = vtk.vtkSphereSource()
    source.SetRadius(1.0)
    source.SetThetaResolution(60)
    source.SetPhiResolution(60)
    stretch = vtk.vtkTransform()
    stretch.Scale(*scale)
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetInputConnection(source.GetOutputPort())
    moved.SetTransform(stretch)
    moved.Update()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Ball")
    model.SetAndObservePolyData(moved.GetOutput())
    model.CreateDefaultDisplayNodes()
    return model


def test_nothing_can_be_placed_without_a_scan(module: Any) -> None:
    assert not module.find("placeButton").enabled
    for name in ("reviewSection", "measurementSection", "exportSection"):
        assert not module.find(name).visible


def test_models_are_listed_shown_and_added(module: Any, messages: Any, tmp_path: Path) -> None:
    from slicer_host.user import choose, click

    selector = module.find("modelSelector")
    assert selector.count == len(bundled_models()) and "simulated" in selector.currentText
    messages.answer("folder", str(tmp_path))
    click(module.find("addModelButton"))
    assert "no model bundle" in messages.texts("error")[0] and selector.count == len(bundled_models())
    for name in ("bundle.json", "MODEL_CARD.md"):
        shutil.copy(bundled_models()[-1] / name, tmp_path / name)
    description = json.loads((tmp_path / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**description, "id": "ours", "title": "Our clinic"}))
    messages.answer("folder", str(tmp_path))
    click(module.find("addModelButton"))
    assert selector.currentText.startswith("Our clinic (ours")
    expected = f"ours {description['version']}"  # no path: scenes are handed on
    assert module.widget.logic.getParameterNode().model_id == expected
    choose(selector, selector.itemText(0))
    assert module.widget.logic.getParameterNode().model_id.startswith("face50")
    click(module.find("modelCardButton"))


def test_ball_is_refused_and_three_points_are_offered(engine: Any, module: Any, messages: Any, wait_until: Any) -> None:
    import slicer
    from slicer_host.user import click, click_view, look

    panels = module.widget.panels
    module.widget.logic.getParameterNode().scan = _sphere()
    click(module.find("placeButton"))
    result = module.find("resultLabel")
    wait_until(lambda: bool(result.text), 60, "the refusal")
    assert "face" in result.text and not messages.texts("error")
    assert module.find("startPointsRow").visible and module.find("placeButton").enabled
    assert panels.case.landmarks_node is None
    look(module.view, "Anterior")
    button = module.find("startPointsButton")
    click(button)
    for point, following in (((0, 100, 0), "Ex_R"), ((40, 85, 40), "Ex_L"), ((-40, 85, 40), "")):
        position = np.array(point) / np.linalg.norm(point) * 100
        click_view(module.view, position)
        assert not following or following in button.text
    assert button.text == "Place landmarks from these points"
    click(button)
    wait_until(lambda: not module.find("progressRow").visible, 60, "the second answer")
    # Who shows where the face is is believed, and told that it does not look like one.
    assert "doubtful" in result.text and panels.case.landmarks().count("missing") >= 5
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1  # the three points are put away
    click(module.find("placeButton"))
    click(module.find("cancelButton", "LandmarksPanel"))
    wait_until(lambda: not module.find("progressRow").visible, 2.5, "the end of the cancelled run")


def test_own_points_are_not_replaced(engine: Any, module: Any, messages: Any, wait_until: Any) -> None:
    from slicer_host.user import click

    panels = module.widget.panels
    click(module.find("sampleButton"))
    click(module.find("placeButton"))
    wait_until(lambda: panels.case.landmarks() is not None, 60, "landmarks")
    first = panels.case.landmarks_node
    moved = panels.case.landmarks().position("Prn") + (0, 0, 3)
    panels.case.change(panels.case.landmarks().with_point("Prn", moved, "corrected"), "Move Prn")
    wait_until(lambda: module.find("placeButton").enabled, 10, "the engine")
    click(module.find("placeButton"))
    wait_until(lambda: panels.case.landmarks_node is not first, 60, "a second set")
    assert first.GetScene() is not None and not messages.texts("error")
    place = panels.case.protocol.index("Prn")
    np.testing.assert_allclose(first.GetNthControlPointPositionWorld(place), moved, atol=1e-6)
    assert panels.case.landmarks().count("corrected") == 0
    # Back to the first one by the list.
    module.find("landmarksSelector").setCurrentNode(first)
    assert panels.case.landmarks_node is first and panels.case.landmarks().count("corrected") == 1


def test_foreign_points_are_refused_with_a_reason(module: Any, messages: Any) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Something")
    node.AddControlPoint([1.0, 2.0, 3.0], "tumour")
    module.find("landmarksSelector").setCurrentNode(node)
    assert len(messages.texts("error")) == 1
    assert module.widget.panels.case.landmarks_node is None and module.find("landmarksSelector").currentNode() is None
    assert node.GetNumberOfControlPoints() == 1
