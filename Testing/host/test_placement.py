"""The panel for placing by hand, driven by clicks on it and on Slicer's own 3D view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "PALNetLandmarks" / "Resources" / "UI"
SAMPLE = ROOT / "Resources" / "SampleData" / "face01"


class Placing:
    """The panel with the sample scan, seen from the front, and no landmarks."""

    def __init__(self, host: Any) -> None:
        import slicer

        from PALNetLandmarksLib.gui.case import Case
        from PALNetLandmarksLib.gui.messages import Messages
        from PALNetLandmarksLib.gui.panels.placement_panel import PlacementPanel
        from PALNetLandmarksLib.gui.scene.camera import look_at
        from PALNetLandmarksLib.gui.scene.face_frame import face_directions
        from PALNetLandmarksLib.landmark_files import read_landmarks
        from PALNetLandmarksLib.protocol import load_protocol

        self.view = host.view
        self.case = Case(slicer.mrmlScene, load_protocol())
        self.case.set_scan(slicer.util.loadModel(str(SAMPLE / "mesh.ply")))
        self.true = read_landmarks(SAMPLE / "landmarks.txt").in_coordinate_system("RAS")
        self.widget = slicer.util.loadUI(str(UI / "PlacementPanel.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.resize(400, 500)
        self.widget.show()
        self.panel = PlacementPanel(self.ui, self.case, Messages())
        forward, up = face_directions(self.true)
        look_at(self.view.cameraNode(), np.nanmean(self.true.positions, axis=0), forward, up, 260)
        self.mouse = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")

    def placed(self) -> list[str]:
        landmarks = self.case.landmarks()
        pairs = zip(landmarks.protocol.labels, landmarks.status, strict=True)
        return [label for label, status in pairs if status == "placed"]


@pytest.fixture
def placing(host: Any, messages: Any) -> Any:
    made = Placing(host)
    yield made
    made.panel.cleanup()
    made.case.cleanup()
    made.widget.close()


def test_guided_by_clicks(placing: Placing, screenshot: Any) -> None:
    from slicer_host.user import click, click_view

    ui, case = placing.ui, placing.case
    assert not ui.guideRow.visible and not ui.saveCaseButton.enabled
    click(ui.startButton)
    assert ui.guideRow.visible and "Tr" in ui.promptLabel.text and "trichion" in ui.guideDefinitionLabel.text
    assert ui.startButton.text == "Stop placing"
    click(ui.skipButton)
    for label in ("G", "N", "Prn"):
        assert f"<b>{label}</b>" in ui.promptLabel.text
        click_view(placing.view, placing.true.position(label))
    assert placing.placed() == ["G", "N", "Prn"]
    for label in ("G", "N", "Prn"):
        assert np.linalg.norm(case.landmarks().position(label) - placing.true.position(label)) < 3
    assert ui.placedBar.value == 3
    screenshot("placement_guide", placing.widget)
    click(ui.absentButton)
    assert case.landmarks().notes[4] == "marked by hand" and "Sn" in ui.promptLabel.text
    click(ui.backButton)
    click(ui.backButton)
    assert "Prn" in ui.promptLabel.text and placing.placed() == ["G", "N"]
    click(ui.startButton)
    assert not ui.guideRow.visible and ui.startButton.text == "Place"
    assert placing.mouse.GetCurrentInteractionMode() == placing.mouse.ViewTransform


def test_escape_and_leaving_stop(placing: Placing) -> None:
    from slicer_host.user import click, press_key

    ui = placing.ui
    click(ui.startButton)
    press_key(ui.skipButton, "Esc")
    assert not ui.startButton.checked and not ui.guideRow.visible
    click(ui.startButton)
    placing.panel.exit()
    assert not ui.startButton.checked
    click(ui.startButton)
    placing.mouse.SetCurrentInteractionMode(placing.mouse.ViewTransform)
    assert not ui.startButton.checked
    click(ui.startButton)
    placing.case.set_scan(None)
    assert not ui.startButton.enabled and not ui.guideRow.visible


def test_new_set_keeps_the_old(placing: Placing) -> None:
    from slicer_host.user import click

    placing.case.show_prediction(placing.true)
    old = placing.case.landmarks_node
    click(placing.ui.newSetButton)
    assert placing.case.landmarks_node is not old and placing.case.landmarks().missing.all()
    assert old.GetNumberOfDefinedControlPoints() > 40
    assert placing.ui.startButton.checked


def test_nothing_left_to_place(placing: Placing, messages: Any) -> None:
    from slicer_host.user import click

    placing.case.show_prediction(placing.true)
    landmarks = placing.case.landmarks()
    for label, gone in zip(landmarks.protocol.labels, landmarks.missing, strict=True):
        if gone:
            landmarks = landmarks.with_point(label, (0, 0, 0), "placed")
    placing.case.change(landmarks, "fill")
    click(placing.ui.startButton)
    assert "All landmarks are placed" in messages.texts()[-1]
    assert not placing.ui.startButton.checked


def test_save_as_training_case(placing: Placing, messages: Any, tmp_path: Path, screenshot: Any) -> None:
    from slicer_host.user import click, type_text

    from training_tools.dataset import read_subject

    ui, case = placing.ui, placing.case
    case.start_empty()
    case.change(placing.true, "all placed")
    messages.answer("folder", str(tmp_path))
    click(ui.chooseFolderButton)
    assert ui.trainingFolderEdit.text == str(tmp_path) and ui.subjectEdit.text == "S0001"
    unseen = int(placing.true.missing.sum())
    if unseen:
        messages.answer("confirm", False)
        click(ui.saveCaseButton)
        assert list(tmp_path.iterdir()) == []
        messages.answer("confirm", True)
    click(ui.saveCaseButton)
    assert ui.savedLabel.text == "Saved as S0001." and ui.subjectEdit.text == "S0002"
    subject = read_subject(tmp_path / "S0001", case.protocol)
    np.testing.assert_allclose(subject.landmarks, placing.true.in_coordinate_system("LPS").positions, atol=1e-4)
    ui.subjectEdit.text = "S0001"
    messages.answer("confirm", True)
    click(ui.saveCaseButton)
    assert "already a training case S0001" in messages.texts("error")[-1]
    ui.subjectEdit.text = ""
    type_text(ui.subjectEdit, "lab-7")
    messages.answer("confirm", True)
    click(ui.saveCaseButton)
    assert (tmp_path / "lab-7" / "landmarks.txt").is_file()
    screenshot("placement_saved", placing.widget)
