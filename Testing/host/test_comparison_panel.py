"""The section Compare, worked by hand: point lists of the scene, folders of two observers, tables, plots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measured_case import FakeParameters, add_head, face_landmarks, load_panel, show


@pytest.fixture
def panel(host, messages):
    import slicer

    from PALNetLandmarksLib.gui.case import Case
    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.panels.comparison_panel import ComparisonPanel
    from PALNetLandmarksLib.gui.scene import landmarks_node
    from PALNetLandmarksLib.protocol import load_protocol

    class Bench:
        def __init__(self):
            self.case = Case(slicer.mrmlScene, load_protocol())
            self.widget, self.ui = load_panel("ComparisonPanel")
            self.panel = ComparisonPanel(self.ui, self.case, Messages())
            self.parameters = FakeParameters()
            self.panel.set_parameters(self.parameters)
            show(self.widget, height=760)

        def add_list(self, name, landmarks):
            node = landmarks_node.create_node(slicer.mrmlScene, self.case.protocol, name)
            landmarks_node.write_set(node, landmarks.in_coordinate_system("RAS"))
            return node

        def compare(self):
            from slicer_host.user import click

            click(self.ui.compareButton)

        def rows(self):
            table = self.ui.comparisonTable
            return {
                table.item(row, 0).text(): [table.item(row, column).text() for column in range(1, 6)]
                for row in range(table.rowCount)
            }

    bench = Bench()
    yield bench
    bench.panel.cleanup()
    bench.case.cleanup()
    bench.widget.setMRMLScene(None)
    bench.widget.close()


def test_two_lists_of_one_scan(panel, screenshot):
    from slicer_host.user import choose, click_cell

    landmarks = face_landmarks()
    panel.case.set_scan(add_head(landmarks))
    panel.case.show_prediction(landmarks)
    panel.add_list("Observer A", landmarks)
    panel.add_list("Observer B", face_landmarks(moved={"Prn": (3.0, 0.0, 4.0), "Sn": (1.0, 0.0, 0.0)}, missing=["Tr"]))
    choose(panel.ui.compareFirst, "Observer A")
    choose(panel.ui.compareSecond, "Observer B")
    panel.compare()
    rows = panel.rows()
    assert list(rows)[:3] == ["all", "Prn", "Sn"] and list(rows)[-1] == "Tr"
    assert rows["Prn"] == ["1", "5.00", "–", "5.00", "3.54"] and rows["Tr"] == ["0", "–", "–", "–", "–"]
    assert rows["all"][:2] == ["49", "0.12"]
    text = panel.ui.comparisonSummary.text
    assert (
        "49 pairs of points: mean distance 0.12 mm" in text and "0 missing in the first only, 1 in the second" in text
    )
    assert panel.ui.blandAltmanKind.count == 6
    assert "n = " in panel.ui.blandAltmanNote.text and "left out" in panel.ui.blandAltmanNote.text
    assert 300 < panel.ui.blandAltmanChart.pixmap.width() <= 400
    screenshot("comparison_panel", panel.widget)
    choose(panel.ui.blandAltmanKind, "coordinate: left (mm)")
    assert "n = 49" in panel.ui.blandAltmanNote.text
    click_cell(panel.ui.comparisonTable, 1)
    assert panel.case.selected == "Prn"
    click_cell(panel.ui.comparisonTable, 0)
    assert panel.case.selected == "Prn"


def test_the_prediction_and_its_correction(panel, messages):
    from slicer_host.user import choose

    choose(panel.ui.comparisonKind, "This scan: prediction (first) and correction (second)")
    assert not panel.ui.comparisonNodes.visible and not panel.ui.comparisonFolders.visible
    panel.compare()
    assert "no landmarks that a model placed" in messages.texts("error")[0]
    landmarks = face_landmarks()
    panel.case.set_scan(add_head(landmarks))
    panel.case.show_prediction(landmarks)
    now = panel.case.landmarks()
    panel.case.change(now.with_point("Prn", now.position("Prn") + (0.0, 3.0, 4.0), "corrected"), "Move")
    panel.compare()
    rows = panel.rows()
    assert list(rows)[1] == "Prn" and rows["Prn"][1] == "5.00" and rows["all"][0] == "50"


def test_lists_under_a_transform_are_compared_in_the_world(panel):
    import slicer
    from slicer_host.user import choose

    landmarks = face_landmarks()
    first = panel.add_list("A", landmarks)
    panel.add_list("B", landmarks)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 10.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    first.SetAndObserveTransformNodeID(transform.GetID())
    choose(panel.ui.compareFirst, "A")
    choose(panel.ui.compareSecond, "B")
    panel.compare()
    assert panel.rows()["all"][1] == "10.00"


def test_what_cannot_be_compared(panel, messages):
    from slicer_host.user import choose

    panel.compare()
    first = panel.add_list("A", face_landmarks())
    panel.add_list("B", face_landmarks())
    choose(panel.ui.compareFirst, "A")
    choose(panel.ui.compareSecond, "A")
    panel.compare()
    first.SetAttribute("PALNet.protocol", "other 2.0")
    choose(panel.ui.compareSecond, "B")
    panel.compare()
    texts = messages.texts("error")
    assert len(texts) == 3 and "Two different point lists" in texts[0] and "Two different point lists" in texts[1]
    assert "made with the protocol other 2.0" in texts[2]
    assert panel.rows() == {} and not panel.ui.saveComparisonButton.enabled and not panel.ui.comparisonResult.visible


@pytest.fixture
def folders(tmp_path):
    from PALNetLandmarksLib.landmark_files import write_landmarks

    rng = np.random.default_rng(5)
    places = []
    for observer in ("first", "second"):
        place = tmp_path / observer
        place.mkdir()
        for case in range(6):
            moved = {"Prn": rng.normal(size=3), "N": rng.normal(size=3)}
            write_landmarks(place / f"S{case}.mrk.json", face_landmarks(moved=moved))
        places.append(place)
    (places[0] / "S0.mrk.json").unlink()
    write_landmarks(places[1] / "S9.mrk.json", face_landmarks())
    (places[1] / "S5.mrk.json").write_text("{}")
    return places


def test_two_folders(panel, folders, wait_until, ui_blocking, messages, tmp_path, screenshot):
    from slicer_host.user import choose, click

    choose(panel.ui.comparisonKind, "Two folders with the files of two observers")
    assert panel.ui.comparisonFolders.visible and not panel.ui.comparisonNodes.visible
    panel.ui.firstFolder.currentPath, panel.ui.secondFolder.currentPath = str(folders[0]), str(folders[1])
    assert panel.parameters.compare_second_folder == str(folders[1])
    panel.compare()
    assert panel.ui.compareButton.text == "Stop"
    wait_until(lambda: panel.ui.comparisonResult.visible, 20, "the comparison")
    assert panel.ui.compareButton.text == "Compare"
    text = panel.ui.comparisonSummary.text
    assert "4 cases in both" in text and "Only in the first: S5" in text and "Only in the second: S0, S9" in text
    assert "second: S5.mrk.json" in text and str(tmp_path) not in text
    rows = panel.rows()
    assert rows["Prn"][0] == "4" and float(rows["Prn"][2]) > 0.2 and rows["all"][0] == "200"
    assert panel.ui.blandAltmanKind.count == 6 + 93
    choose(panel.ui.blandAltmanKind, "N-Prn")
    assert "n = 4" in panel.ui.blandAltmanNote.text
    screenshot("comparison_folders", panel.widget)
    target = tmp_path / "out"
    target.mkdir()
    messages.answer("folder", str(target))
    click(panel.ui.saveComparisonButton)
    assert sorted(file.name for file in target.iterdir()) == [
        "comparison_differences.csv", "comparison_landmarks.csv", "comparison_measurements.csv",
    ]  # fmt: skip
    messages.answer("folder", str(target))
    messages.answer("confirm", False)
    click(panel.ui.saveComparisonButton)
    assert len(messages.texts("confirm")) == 1
    messages.answer("folder", "")
    click(panel.ui.saveComparisonButton)
    assert not messages.texts("error")


def test_reading_folders_leaves_the_panel_alive_and_can_be_stopped(panel, folders, wait_until, ui_blocking):
    from slicer_host.user import choose

    choose(panel.ui.comparisonKind, "Two folders with the files of two observers")
    panel.ui.firstFolder.currentPath, panel.ui.secondFolder.currentPath = str(folders[0]), str(folders[1])
    panel.compare()
    panel.compare()
    assert panel.ui.comparisonSummary.text == "Stopped." and panel.ui.compareButton.text == "Compare"
    assert not panel.panel._tick.active and not panel.ui.comparisonResult.visible


def test_bad_folders(panel, folders, wait_until, messages, tmp_path):
    from slicer_host.user import choose

    choose(panel.ui.comparisonKind, "Two folders with the files of two observers")
    (tmp_path / "empty").mkdir()
    for first, second in ((folders[0], folders[0]), (folders[0], tmp_path / "none"), (tmp_path / "empty", folders[1])):
        panel.ui.firstFolder.currentPath, panel.ui.secondFolder.currentPath = str(first), str(second)
        panel.compare()
        wait_until(lambda: panel.ui.compareButton.text == "Compare", 10, "the end")
    texts = messages.texts("error")
    assert len(texts) == 3 and not panel.ui.comparisonResult.visible
    words = ("Two different folders", "no folder 'none'", "no landmarks in the folder 'empty'")
    assert all(word in text for word, text in zip(words, texts, strict=True))


def test_another_scene(panel, folders):
    other = FakeParameters()
    other.compare_first_folder = str(folders[0])
    panel.panel.set_parameters(other)
    assert panel.ui.firstFolder.currentPath == str(folders[0]) and panel.ui.secondFolder.currentPath == ""
    panel.panel.set_parameters(None)
    assert other.compare_first_folder == str(folders[0])


def test_lists_of_another_version_of_the_protocol_are_refused_in_files_too(panel, folders, wait_until):
    from slicer_host.user import choose

    from PALNetLandmarksLib.landmark_files import write_landmarks
    from PALNetLandmarksLib.landmarks import LandmarkSet

    old = replace(panel.case.protocol, version="0.9.0")
    write_landmarks(folders[0] / "S1.mrk.json", LandmarkSet.from_positions(old, face_landmarks().positions))
    choose(panel.ui.comparisonKind, "Two folders with the files of two observers")
    panel.ui.firstFolder.currentPath, panel.ui.secondFolder.currentPath = str(folders[0]), str(folders[1])
    panel.compare()
    wait_until(lambda: panel.ui.comparisonResult.visible, 20, "the comparison")
    assert "S1: made with protocol face50 0.9.0" in panel.ui.comparisonSummary.text
