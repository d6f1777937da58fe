"""The review panel, driven by clicks and keys, beside Slicer's own 3D view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "PALNetLandmarks" / "Resources" / "UI"
SAMPLE = ROOT / "Resources" / "SampleData" / "face01"


class Review:
    """The panel with the sample scan and a made-up prediction: Prn 5 mm, Ex_R 4.5 mm, T_L missing, the rest good."""

    def __init__(self, host: Any, messages: Any) -> None:
        import qt
        import slicer

        from PALNetLandmarksLib.gui.case import Case
        from PALNetLandmarksLib.gui.messages import Messages
        from PALNetLandmarksLib.gui.panels.review_panel import ReviewPanel
        from PALNetLandmarksLib.landmark_files import read_landmarks
        from PALNetLandmarksLib.landmarks import LandmarkSet
        from PALNetLandmarksLib.protocol import load_protocol

        protocol = load_protocol()
        self.view = host.view
        self.case = Case(slicer.mrmlScene, protocol)
        self.case.set_scan(slicer.util.loadModel(str(SAMPLE / "mesh.ply")))
        true = read_landmarks(SAMPLE / "landmarks.txt", protocol)
        positions, errors = true.positions.copy(), np.full(50, 1.2)
        errors[protocol.index("Prn")], errors[protocol.index("Ex_R")] = 5.0, 4.5
        positions[protocol.index("T_L")] = errors[protocol.index("T_L")] = np.nan
        self.prediction = LandmarkSet.from_positions(protocol, positions, "predicted", expected_error_mm=errors)
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        self.other_field = qt.QLineEdit()
        layout.addWidget(self.other_field)
        self.widget = slicer.util.loadUI(str(UI / "ReviewPanel.ui"))
        layout.addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.window.resize(400, 700)
        self.window.show()
        self.panel = ReviewPanel(self.ui, self.case, lambda: self.view.cameraNode(), Messages())
        self.panel.enter()
        self.case.show_prediction(self.prediction)

    def rows(self) -> list[str]:
        table = self.ui.landmarkTable
        return [table.item(row, 1).text() for row in range(table.rowCount) if not table.isRowHidden(row)]

    def row(self, label: str) -> list[str]:
        table = self.ui.landmarkTable
        for row in range(table.rowCount):
            if table.item(row, 1).text() == label:
                return [table.item(row, column).text() for column in range(5)]
        raise AssertionError(label)


@pytest.fixture
def review(host: Any, messages: Any) -> Any:
    made = Review(host, messages)
    yield made
    made.panel.cleanup()
    made.case.cleanup()
    made.window.close()


def test_table_lists_the_least_certain_first(review: Review, screenshot: Any) -> None:
    assert len(review.rows()) == 50
    absent = [label for label in review.rows() if review.prediction.missing[review.case.protocol.index(label)]]
    assert "T_L" in absent and review.rows()[: len(absent)] == absent
    first = [label for label in review.rows() if not review.prediction.missing[review.case.protocol.index(label)]][:3]
    assert first == ["Prn", "Ex_R", "Tr" if not review.prediction.missing[0] else "G"]
    assert review.row("Prn")[2:] == ["pronasale", "predicted", "5.0"]
    assert review.row("T_L")[2:] == ["tragion, left", "missing", ""]
    assert "tip" in review.ui.landmarkTable.item(review.rows().index("Prn"), 2).toolTip()
    review.ui.orderSelector.currentIndex = 1
    assert review.rows() == list(review.case.protocol.labels)
    missing = int(review.prediction.missing.sum())
    assert review.ui.countsLabel.text.startswith(f"{2 + missing} of 50")
    screenshot("review_table", review.widget)


def test_step_accept_mark_restore_undo(review: Review, screenshot: Any) -> None:
    from slicer_host.user import click

    ui, case = review.ui, review.case
    case.select("Prn")
    left = int(ui.countsLabel.text.split()[0])
    assert "pronasale" in ui.definitionLabel.text and ui.pictureLabel.visible
    assert ui.landmarkTable.currentRow() == review.rows().index("Prn")
    click(ui.acceptButton)
    assert review.row("Prn")[3:] == ["accepted", "5.0"]
    assert case.landmarks().status[3] == "predicted" and case.landmarks().notes[3] == "accepted"
    assert case.selected == "Ex_R", "on to the next"
    assert int(ui.countsLabel.text.split()[0]) == left - 1
    click(ui.missingButton)
    assert review.row("Ex_R")[3:] == ["marked missing", ""] and not ui.missingButton.enabled
    click(ui.restoreButton)
    assert review.row("Ex_R")[3:] == ["predicted", "4.5"] and not ui.restoreButton.enabled
    assert ui.undoButton.toolTip == "Undo: Restore Ex_R"
    for _step in range(3):
        click(ui.undoButton)
    assert not ui.undoButton.enabled and review.row("Prn")[3] == "predicted"
    click(ui.redoButton)
    assert review.row("Prn")[3] == "accepted"
    case.select("Ex_R")
    click(ui.previousButton)
    assert case.selected == "Prn"
    click(ui.nextButton)
    assert case.selected == "Ex_R"
    screenshot("review_detail", review.widget)


def test_row_clicked_turns_the_view(review: Review) -> None:
    from slicer_host.user import click_cell

    before = review.view.cameraNode().GetPosition()
    click_cell(review.ui.landmarkTable, review.rows().index("Ex_R"), 2)
    assert review.case.selected == "Ex_R"
    assert review.view.cameraNode().GetPosition() != before
    np.testing.assert_allclose(review.view.cameraNode().GetFocalPoint(), review.case.landmarks().position("Ex_R"))
    review.ui.followCheck.checked = False
    before = review.view.cameraNode().GetPosition()
    click_cell(review.ui.landmarkTable, review.rows().index("Prn"), 2)
    assert review.view.cameraNode().GetPosition() == before


def test_filter_shows_what_is_left(review: Review) -> None:
    from slicer_host.user import click

    ui = review.ui
    review.case.select("Prn")
    click(ui.toLookAtCheck)
    left = review.rows()
    assert "Prn" in left and "Ex_R" in left and "Sn" not in left
    assert len(left) == int(ui.countsLabel.text.split()[0])
    click(ui.acceptButton)
    assert "Prn" not in review.rows() and review.case.selected == "Ex_R"
    assert len(review.rows()) == len(left) - 1
    click(ui.acceptButton)
    click(ui.toLookAtCheck)
    assert len(review.rows()) == 50


def test_keys_work_only_while_entered_and_not_while_typing(review: Review) -> None:
    from slicer_host.user import click, press_key, type_text

    ui, case = review.ui, review.case
    case.select("Prn")
    press_key(ui.landmarkTable, "N")
    assert case.selected == "Ex_R"
    press_key(ui.landmarkTable, "B")
    assert case.selected == "Prn"
    press_key(ui.landmarkTable, "A")
    assert review.row("Prn")[3] == "accepted"
    click(review.other_field)
    type_text(review.other_field, "banana MN")
    assert review.other_field.text == "banana MN" and case.selected == "Ex_R"
    review.panel.exit()
    press_key(ui.undoButton, "N")  # in the table it would be a search for a row
    assert case.selected == "Ex_R"
    review.panel.enter()
    press_key(ui.landmarkTable, "M")
    assert review.row("Ex_R")[3] == "marked missing"
    press_key(ui.landmarkTable, "R")
    assert review.row("Ex_R")[3] == "predicted"


def test_drag_in_the_view_updates_the_row(review: Review, screenshot: Any) -> None:
    from slicer_host.user import drag_view

    case = review.case
    case.select("Prn")
    start = case.landmarks().position("Prn")
    camera = review.view.cameraNode()
    right = np.cross(np.array(camera.GetViewUp()), np.array(camera.GetPosition()) - camera.GetFocalPoint())
    target = case.surface().project((start + 12 * right / np.linalg.norm(right))[None])[0][0]
    case.select(None)
    drag_view(review.view, start, [target])
    assert case.selected == "Prn"
    assert review.row("Prn")[3:] == ["corrected", ""]
    assert case.surface().project(case.landmarks().position("Prn")[None])[1][0] < 1e-3
    assert review.ui.restoreButton.enabled
    assert review.ui.undoButton.toolTip == "Undo: Move Prn"


def test_lock_and_labels(review: Review) -> None:
    from slicer_host.user import click

    node = review.case.landmarks_node
    assert not node.GetLocked() and node.GetDisplayNode().GetPointLabelsVisibility()
    click(review.ui.lockCheck)
    click(review.ui.labelsCheck)
    assert node.GetLocked() and not node.GetDisplayNode().GetPointLabelsVisibility()
    review.case.start_empty()
    assert review.case.landmarks_node is not node and review.case.landmarks_node.GetLocked()


def test_panel_without_landmarks(review: Review) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(review.case.landmarks_node)
    ui = review.ui
    assert ui.landmarkTable.rowCount == 0 and ui.countsLabel.text == "No landmarks yet."
    for name in ("acceptButton", "missingButton", "restoreButton", "undoButton", "redoButton", "nextButton"):
        assert not getattr(ui, name).enabled
    review.case.show_prediction(review.prediction)
    assert len(review.rows()) == 50


def test_everything_is_let_go_of(host: Any, messages: Any) -> None:
    import slicer

    review = Review(host, messages)
    review.case.select("Prn")
    review.panel.cleanup()
    assert not any(signal._functions for signal in (review.case.points_changed, review.case.selection_changed))
    assert not any(signal._functions for signal in (review.case.landmarks_changed, review.case.history_changed))
    assert slicer.mrmlScene.GetFirstNodeByName("PALNetLandmarks confidence") is None
    review.case.cleanup()
    review.window.close()


def test_updates_are_quick(review: Review) -> None:
    times = []
    for number in range(10):
        start = time.thread_time()
        review.case.landmarks_node.SetNthControlPointPosition(3, *(np.array([1.0, 2.0, 3.0]) + number))
        times.append(time.thread_time() - start)
    assert np.median(times) < 0.02
    start = time.thread_time()
    review.case.select("Sn")
    review.case.select("Ls")
    assert time.thread_time() - start < 0.05
