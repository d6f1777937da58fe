"""The section Measurements, worked by hand: list, search, drawing, asymmetry, norms, live while points move."""

from __future__ import annotations

import time

import numpy as np
import pytest
from measured_case import FakeParameters, add_head, face_landmarks, load_panel, show


@pytest.fixture
def panel(host, messages):
    import slicer

    from PALNetLandmarksLib.gui.case import Case
    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.norms_choice import NormsChoice
    from PALNetLandmarksLib.gui.panels.measurement_panel import MeasurementPanel
    from PALNetLandmarksLib.protocol import load_protocol

    class Bench:
        def __init__(self):
            self.case = Case(slicer.mrmlScene, load_protocol())
            self.widget, self.ui = load_panel("MeasurementPanel")
            self.norms = NormsChoice(self.case.protocol)
            self.panel = MeasurementPanel(self.ui, self.case, self.norms, Messages())
            self.parameters = FakeParameters()
            self.panel.set_parameters(self.parameters)
            show(self.widget)

        def predict(self, **changes):
            landmarks = face_landmarks(**changes)
            self.case.set_scan(add_head(landmarks))
            self.case.show_prediction(landmarks)

        def row(self, name):
            table = self.ui.measurementTable
            return next(row for row in range(table.rowCount) if table.item(row, 0).text() == name)

        def cells(self, name):
            table = self.ui.measurementTable
            return [table.item(self.row(name), column).text() for column in range(1, 5)]

        def drawn(self):
            nodes = [slicer.mrmlScene.GetNthNodeByClass(k, "vtkMRMLMarkupsNode") for k in range(9)]
            return [n for n in nodes if n is not None and n.GetAttribute("PALNet.drawing") and n.GetDisplayVisibility()]

    bench = Bench()
    yield bench
    bench.panel.cleanup()
    bench.case.cleanup()
    bench.widget.close()
    assert not [1 for node in bench.drawn()]


def test_without_landmarks_everything_is_empty(panel, host):
    assert panel.cells("N-Gn") == ["", "", "", ""]
    assert panel.ui.measurementSummary.text == "No landmarks yet."
    assert panel.parameters.measurements_table is None


def test_values_doubts_and_groups(panel, screenshot):
    from PALNetLandmarksLib.measurements import measure

    panel.predict(missing=["Sn"])
    value = measure(face_landmarks()).value("N-Gn")
    assert panel.cells("N-Gn") == [f"{value:.1f} mm", "1.4", "", ""]
    assert panel.cells("Tr-N")[3] == "low confidence" and panel.cells("Zy_R-Zy_L")[3] == "palpated"
    assert panel.cells("N-Sn") == ["", "", "", "missing"]
    assert panel.cells("T_R-N-T_L")[0].endswith("\u00b0") and panel.cells("facial index")[0].endswith(" %")
    doubtful, sound, gone = (panel.ui.measurementTable.item(panel.row(name), 1) for name in ("Tr-N", "N-Gn", "N-Sn"))
    assert doubtful.background().color().name() == "#ffe9c2" and doubtful.foreground().color().name() == "#1b1f24"
    assert sound.background().color().name() != "#ffe9c2" and gone.foreground().color().name() == "#8a929b"
    assert "4 rest on" in panel.ui.measurementSummary.text or "rest on a landmark" in panel.ui.measurementSummary.text
    assert panel.ui.measurementTable.isColumnHidden(3)
    screenshot("measurement_panel", panel.widget)


def test_searching(panel):
    from slicer_host.user import type_text

    panel.predict()
    everything = panel.panel._list.visible()
    assert len(everything) == 93
    type_text(panel.ui.measurementSearch, "facial index")
    assert panel.panel._list.visible() == ["facial index", "upper facial index"]
    type_text(panel.ui.measurementSearch, "pronasale")
    assert "N-Prn" in panel.panel._list.visible() and "N-Gn" not in panel.panel._list.visible()
    type_text(panel.ui.measurementSearch, "low confidence")
    assert set(panel.panel._list.visible()) == {"Tr-N", "Tr-G", "Tr-Gn"}
    table = panel.ui.measurementTable
    headings = [row for row in range(table.rowCount) if table.columnSpan(row, 0) > 1 and not table.isRowHidden(row)]
    assert [table.item(row, 0).text() for row in headings] == ["Frontal", "Facial heights"]
    type_text(panel.ui.measurementSearch, "")
    assert panel.panel._list.visible() == everything


def test_the_selected_measurement_is_drawn_and_follows(panel, host, wait_until, screenshot):
    from slicer_host.user import click, click_cell, look

    panel.predict()
    look(host.view, "Anterior")
    click_cell(panel.ui.measurementTable, panel.row("Ex_R-Ex_L"))
    (line,) = panel.drawn()
    value = panel.cells("Ex_R-Ex_L")[0]
    assert line.GetName() == f"Ex_R-Ex_L  {value}" and line.GetClassName() == "vtkMRMLMarkupsLineNode"
    ends = [np.array(line.GetNthControlPointPositionWorld(k)) for k in range(2)]
    assert np.allclose(ends[1], panel.case.landmarks().position("Ex_L"))
    moved = panel.case.landmarks().position("Ex_L") + (-3.0, 0.0, 0.0)
    panel.case.change(panel.case.landmarks().with_point("Ex_L", moved, "corrected"), "Move")
    wait_until(lambda: panel.cells("Ex_R-Ex_L")[0] != value, 5, "the new value")
    assert np.allclose(line.GetNthControlPointPositionWorld(1), moved)
    assert panel.cells("Ex_R-Ex_L")[0] in line.GetName()
    host.view.forceRender()
    screenshot("measurement_drawn", panel.widget)
    click_cell(panel.ui.measurementTable, panel.row("facial index"))
    assert len(panel.drawn()) == 2
    click_cell(panel.ui.measurementTable, panel.row("T_R-N-T_L"))
    assert [node.GetClassName() for node in panel.drawn()] == ["vtkMRMLMarkupsAngleNode"]
    click(panel.ui.drawMeasurement)
    assert not panel.drawn()
    click(panel.ui.drawMeasurement)
    assert len(panel.drawn()) == 1
    panel.panel.set_visible(False)
    assert not panel.drawn()
    panel.panel.set_visible(True)
    panel.case.change(panel.case.landmarks().with_point("N", None, "missing"), "Missing")
    wait_until(lambda: not panel.drawn(), 5, "the drawing to go")


def test_many_moves_are_measured_once(panel, wait_until, monkeypatch):
    from PALNetLandmarksLib.gui.panels import measurement_panel

    panel.predict()
    count = []
    real = measurement_panel.measure
    monkeypatch.setattr(measurement_panel, "measure", lambda landmarks: count.append(1) or real(landmarks))
    for step in range(20):
        panel.case.points_changed.emit(("Prn",))
        assert not count, step
    wait_until(lambda: count, 5, "the measuring")
    assert len(count) == 1


def test_a_move_is_in_list_and_table_within_50_ms(panel, wait_until):
    panel.predict()
    took = []
    for step in range(10):
        landmarks = panel.case.landmarks()
        moved = landmarks.with_point("Prn", landmarks.position("Prn") + (0.1, 0.2 * step, 0.1), "corrected")
        panel.case.change(moved, "Move")
        start = time.thread_time()
        panel.panel.refresh()
        took.append(time.thread_time() - start)
    assert np.median(took) < 0.05, took


def test_the_table_nodes_follow(panel, wait_until):
    panel.predict()
    table, other = panel.parameters.measurements_table, panel.parameters.asymmetry_table
    assert table.GetNumberOfRows() == 93 and other.GetNumberOfRows() == 19
    place = panel.case.protocol.measurements.index(
        next(item for item in panel.case.protocol.measurements if item.id == "N-Prn")
    )
    before = table.GetCellText(place, 2)
    landmarks = panel.case.landmarks()
    panel.case.change(landmarks.with_point("Prn", landmarks.position("Prn") + (0, 0, 2.0), "corrected"), "Move")
    wait_until(lambda: table.GetCellText(place, 2) != before, 5, "the table")
    panel.case.undo()
    wait_until(lambda: table.GetCellText(place, 2) == before, 5, "the old value")
    panel.case.set_landmarks_node(None)
    assert table.GetNumberOfColumns() == 0 and panel.cells("N-Gn")[0] == ""


def test_asymmetry(panel, wait_until, screenshot):
    from slicer_host.user import click

    panel.predict()
    assert panel.ui.asymmetryNote.text == ""
    click(panel.ui.asymmetryButton)
    pixmap = panel.ui.asymmetryChart.pixmap
    assert 300 < pixmap.width() <= 400 and pixmap.height() == 440
    assert "not distinguishable" in panel.ui.asymmetryNote.text and "Grey (18)" in panel.ui.asymmetryNote.text
    assert "31 points" in panel.ui.asymmetryNote.text
    show(panel.widget, height=1150)
    screenshot("asymmetry_panel", panel.widget)
    panel.case.change(face_landmarks(missing=["T_R", "Ch_L"]), "Edit")
    wait_until(lambda: "29 points" in panel.ui.asymmetryNote.text, 5, "the note")
    panel.case.set_landmarks_node(None)
    wait_until(lambda: "Not computed" in panel.ui.asymmetryNote.text, 5, "the note")


def test_a_plot_is_not_drawn_while_the_mouse_drags(panel, wait_until, monkeypatch):
    from slicer_host.user import click

    from PALNetLandmarksLib.gui.panels import measurement_panel

    panel.predict()
    click(panel.ui.asymmetryButton)
    wait_until(lambda: not panel.panel._chart_soon.active, 5, "the first plot")
    drawn = []
    real = measurement_panel.asymmetry_chart
    monkeypatch.setattr(measurement_panel, "asymmetry_chart", lambda *a, **k: drawn.append(1) or real(*a, **k))
    panel.case.dragging = True
    panel.case.points_changed.emit(("Prn",))
    end = time.perf_counter() + 0.7
    wait_until(lambda: time.perf_counter() > end, 5)
    assert not drawn
    panel.case.dragging = False
    wait_until(lambda: drawn, 5, "the plot")


NORMS = (
    "measurement,sex,age_min,age_max,mean,SD,n,source,method\n"
    "N-Gn,female,18,25,{mean},4,50,Own lab,scan\nX-Y,f,1,2,3,4,5,A,B\n"
)


def test_norms(panel, wait_until, tmp_path, screenshot):
    from slicer_host.user import choose, click, type_text

    from PALNetLandmarksLib.measurements import measure

    panel.predict()
    file = tmp_path / "norms.csv"
    file.write_text(NORMS.format(mean=measure(face_landmarks()).value("N-Gn") - 6.0))
    click(panel.ui.normsButton)
    show(panel.widget, height=760)
    type_text(panel.ui.normsPath, str(file))
    wait_until(lambda: panel.norms.norms is not None, 5, "the norms")
    assert panel.cells("N-Gn")[2] == "" and "with norms: 1; for this sex and age: 0" in panel.ui.normsNote.text
    assert "Not known here: X-Y" in panel.ui.normsNote.text
    choose(panel.ui.normsSex, "female")
    type_text(panel.ui.normsAge, "20")
    assert panel.cells("N-Gn")[2] == "+1.5" and "age: 1." in panel.ui.normsNote.text
    assert not panel.ui.measurementTable.isColumnHidden(3)
    assert "Own lab" in panel.ui.measurementTable.item(panel.row("N-Gn"), 3).toolTip()
    assert (panel.parameters.norms_path, panel.parameters.norms_sex, panel.parameters.norms_age) == (
        str(file),
        "female",
        20.0,
    )
    table = panel.parameters.measurements_table
    column = [table.GetColumnName(k) for k in range(table.GetNumberOfColumns())].index("z")
    assert "+1.5" in [table.GetCellText(row, column) for row in range(93)]
    screenshot("norms_panel", panel.widget)
    # Another scene has its own choice.
    panel.panel.set_parameters(FakeParameters())
    assert (
        panel.ui.normsPath.currentPath == ""
        and panel.norms.norms is None
        and panel.ui.measurementTable.isColumnHidden(3)
    )
    panel.panel.set_parameters(panel.parameters)
    assert panel.cells("N-Gn")[2] == "+1.5" and panel.ui.normsSex.currentText == "female"


def test_a_bad_table_of_norms_says_what_is_wrong_without_a_box(panel, wait_until, tmp_path, messages):
    panel.predict()
    file = tmp_path / "norms.csv"
    file.write_text(NORMS.format(mean="abc"))
    panel.ui.normsPath.currentPath = str(file)
    wait_until(lambda: "'abc' is not a number" in panel.ui.normsNote.text, 5, "the note")
    assert "line 2" in panel.ui.normsNote.text and panel.norms.norms is None
    assert not messages.texts("error")


def test_closing_the_scene_and_starting_again(panel, host):
    import slicer
    from slicer_host.user import click_cell

    panel.predict()
    click_cell(panel.ui.measurementTable, panel.row("Ex_R-Ex_L"))
    slicer.mrmlScene.Clear(False)
    panel.panel.set_parameters(FakeParameters())
    assert panel.cells("N-Gn")[0] == ""
    panel.predict()
    assert panel.cells("N-Gn")[0] != ""
    assert len(panel.drawn()) == 1
