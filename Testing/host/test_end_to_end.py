"""The user's path through the module, with real clicks on the real ``.ui`` and the real engine process."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "open3d")),
    reason="the engine's packages are not installed",
)

WARM_UP = 90.0  # s until a cold engine has its packages in memory, on a busy machine


@pytest.fixture
def engine(host):
    """Use this Python as the engine's, as a user who named it; removed afterwards."""
    import slicer

    settings = slicer.app.userSettings()
    settings.setValue("PALNetLandmarks/EnginePython", sys.executable)
    yield settings
    settings.remove("PALNetLandmarks/EnginePython")


@pytest.fixture
def panel(engine, module):
    """The module's panel with an engine."""
    return module


def load_sample(panel, wait_until):
    """Press "Sample" and wait until the scan is checked."""
    from slicer_host.user import click

    click(panel.find("sampleButton"))
    label = panel.find("checkLabel")
    wait_until(lambda: "mm" in label.text and "Checking" not in label.text, WARM_UP, "the check of the scan")
    assert panel.widget.panels.case.scan is not None


def place(panel, wait_until):
    """Press "Place landmarks" and wait for them."""
    from slicer_host.user import click

    click(panel.find("placeButton"))
    wait_until(lambda: not panel.find("progressRow").visible, WARM_UP, "the landmarks")


def landmarks(panel):
    """Give the landmarks of the case."""
    return panel.widget.panels.case.landmarks()


def engine_processes():
    """List the engine's processes of this Python."""
    import psutil

    children = psutil.Process().children(recursive=True)
    return [p for p in children if "PALNetLandmarksLib.engine.worker" in " ".join(p.cmdline())]


def distance_to_surface(panel, points):
    """Give the distances of points to the scan, (n,) mm."""
    import vtk

    scan = panel.widget.panels.case.scan
    locator = vtk.vtkStaticCellLocator()
    locator.SetDataSet(scan.GetPolyData())
    locator.BuildLocator()
    distances = []
    for point in points:
        squared, cell, part, nearest = vtk.reference(0.0), vtk.reference(0), vtk.reference(0), [0.0, 0.0, 0.0]
        locator.FindClosestPoint(point, nearest, cell, part, squared)
        distances.append(float(squared) ** 0.5)
    return np.array(distances)


def cells(table, row):
    """Give the texts of a table's row."""
    items = [table.item(row, column) for column in range(table.columnCount)]
    return [item.text() if item is not None else "" for item in items]


def row_of(table, text):
    """Find the row whose cells hold a text."""
    return next(row for row in range(table.rowCount) if text in cells(table, row))


def test_whole_path(panel, messages, wait_until, screenshot, ui_blocking, tmp_path):
    """One case from the empty panel to files, a saved scene, and that scene opened again; with the figures."""
    import slicer
    from slicer_host.user import click, drag_view, look, press_key, type_text

    case = panel.widget.panels.case

    # 1 Scan
    screenshot("1_empty", panel)
    assert not panel.find("placeButton").enabled and not panel.find("reviewSection").visible
    load_sample(panel, wait_until)
    look(panel.view)
    screenshot("2_scan", panel)

    # 2 Landmarks
    with ui_blocking:
        started = time.perf_counter()
        place(panel, wait_until)
        seconds = time.perf_counter() - started
    before = landmarks(panel)
    assert before.count("predicted") + before.count("missing") == 50 and before.count("missing") < 5
    assert distance_to_surface(panel, before.positions[~before.missing]).max() < 1e-3
    assert panel.find("reviewSection").visible
    screenshot("3_landmarks", panel)
    stood, worked = 1000 * ui_blocking.longest, 1000 * ui_blocking.longest_work
    print(f"landmarks after {seconds:.2f} s; the panel stood still for {stood:.0f} ms, working for {worked:.0f} ms")
    assert worked < 100  # ms; without what other programs took, but with what the host itself costs

    # 3 Review: the next one by key, accepted, and a point put right by the mouse
    table = panel.find("landmarkTable")
    assert table.rowCount == 50
    press_key(panel.find("nextButton", "ReviewPanel"), "N")
    first = case.selected
    assert first is not None and cells(table, 0)[1] == first
    press_key(panel.find("nextButton", "ReviewPanel"), "A")
    assert case.selected == cells(table, 1)[1] and cells(table, 0)[3] == "accepted"
    screenshot("4_review", panel)
    prn = before.protocol.index("Prn")
    down = (before.positions[before.protocol.index("Sn")] - before.positions[prn]) * 0.3
    look(panel.view)
    panel.widget.panels._look_at_face()
    drag_view(panel.view, before.positions[prn], [before.positions[prn] + down * 0.5, before.positions[prn] + down])
    after = landmarks(panel)
    moved = np.linalg.norm(after.positions - before.positions, axis=1)
    assert np.nanargmax(moved) == prn and 1.0 < moved[prn] < 20.0 and np.nansum(np.delete(moved, prn)) == 0.0
    assert after.status[prn] == "corrected" and case.selected == "Prn"
    assert distance_to_surface(panel, after.positions[[prn]]).max() < 1e-3
    screenshot("5_corrected", panel)
    click(panel.find("undoButton"))
    np.testing.assert_allclose(landmarks(panel).positions[prn], before.positions[prn], atol=1e-6)
    click(panel.find("redoButton"))
    np.testing.assert_allclose(landmarks(panel).positions[prn], after.positions[prn], atol=1e-6)

    # 5 Measure: the values are those of the points, and follow them
    click(panel.find("measurementSection"))
    values = panel.find("measurementTable")
    pair = "Ex_R-Ex_L"
    text = wait_until(
        lambda: next((t for t in cells(values, row_of(values, pair)) if "mm" in t), ""), 5, "the measurement"
    )
    ends = [after.positions[after.protocol.index(label)] for label in ("Ex_R", "Ex_L")]
    assert abs(float(text.split()[0]) - np.linalg.norm(ends[0] - ends[1])) < 0.06
    screenshot("6_measurements", panel)
    click(panel.find("measurementSection"))

    # 6 Export
    click(panel.find("exportSection"))
    folder = tmp_path / "Größe 1"
    folder.mkdir()
    type_text(panel.find("caseId"), "S0001")
    type_text(panel.find("exportFolder"), str(folder))
    screenshot("7_export", panel)
    click(panel.find("exportButton"))
    wait_until(lambda: panel.find("exportNote").text or messages.texts("error"), 30, "the files")
    assert messages.texts("error") == []
    written = sorted(file.name for file in folder.iterdir())
    assert any(name.endswith(".mrk.json") for name in written) and any(name.endswith(".csv") for name in written)
    assert all("S0001" in name for name in written)
    assert "PALNetFace01" not in "".join(f.read_text(errors="ignore") for f in folder.iterdir()), (
        "the scan's name leaks"
    )
    screenshot("8_exported", panel)

    # 7 Save, close, open again
    file = folder / "case.mrb"
    assert slicer.util.saveScene(str(file))
    slicer.mrmlScene.Clear(0)
    assert case.scan is None and landmarks(panel) is None
    assert not panel.find("placeButton").enabled and not panel.find("reviewSection").visible
    slicer.util.loadScene(str(file))
    loaded = wait_until(lambda: landmarks(panel), 5, "the loaded landmarks")
    np.testing.assert_allclose(loaded.positions, after.positions, atol=1e-4)
    assert loaded.status == after.status
    told = {key: value for key, value in after.provenance.items() if value}
    assert {key: value for key, value in loaded.provenance.items() if value} == told
    np.testing.assert_allclose(case.predicted().positions, before.positions, atol=1e-4)
    assert panel.find("caseId").text == "S0001" and panel.find("reviewSection").visible
    screenshot("9_loaded", panel)
    assert messages.texts("error") == []


@pytest.mark.slow
def test_engine_is_killed_and_comes_back(panel, messages, wait_until, screenshot):
    """SIGKILL: noticed, said, and the next click works."""
    from slicer_host.user import click

    load_sample(panel, wait_until)
    (process,) = [p for p in engine_processes() if p.is_running()][:1]
    click(panel.find("placeButton"))
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not panel.find("progressRow").visible, 10, "the loss to be noticed")
    assert landmarks(panel) is None
    assert panel.find("resultLabel").text
    screenshot("4_engine_lost", panel)
    place(panel, wait_until)
    assert landmarks(panel) is not None and landmarks(panel).count("predicted") > 45


@pytest.mark.slow
def test_cancel_in_each_stage(panel, wait_until):
    """The click on "Cancel" ends the prediction within 2 s, whatever it is doing, and the engine stays usable."""
    from slicer_host.user import click

    load_sample(panel, wait_until)
    bar, cancel = panel.find("progressBar", "LandmarksPanel"), panel.find("cancelButton", "LandmarksPanel")
    seen, wanted, pressed = [], [""], []

    def stage_changed():
        name = bar.format.partition(" (")[0]
        if name not in seen and not pressed:
            seen.append(name)
        if name == wanted[0] and cancel.enabled and not pressed:
            pressed.append(time.perf_counter())
            click(cancel)

    bar.connect("valueChanged(int)", stage_changed)
    place(panel, wait_until)
    first_run = [name for name in seen if name]
    assert len(first_run) >= 4, first_run
    assert landmarks(panel).count("predicted") > 45
    cancelled = []
    for name in first_run:
        panel.widget.panels.case.set_landmarks_node(None)
        wanted[0] = name
        pressed.clear()
        place(panel, wait_until)
        if pressed:  # a stage of a few milliseconds may be over before its line is read
            assert time.perf_counter() - pressed[0] < 2.0, name
            assert panel.find("resultLabel").text == "Cancelled.", name
            assert landmarks(panel) is None, name
            cancelled.append(name)
    assert len(cancelled) >= 3, (first_run, cancelled)
    wanted[0] = ""
    place(panel, wait_until)
    assert landmarks(panel).count("predicted") > 45


@pytest.fixture
def kept_library():
    """Put the library back that was loaded before: other tests hold classes of it."""
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "PALNetLandmarksLib"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "PALNetLandmarksLib"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.mark.slow
def test_module_is_reloaded(kept_library, panel, wait_until):
    """The developer's "Reload" keeps the scene and leaves nothing of the old panel behind."""
    import slicer

    load_sample(panel, wait_until)
    place(panel, wait_until)
    before, old = landmarks(panel), panel.widget
    processes = engine_processes()
    panel.widget.onReload()
    assert panel.widget is not old and old.panels is None
    np.testing.assert_allclose(landmarks(panel).positions, before.positions)
    wait_until(
        lambda: not any(p.is_running() and p.status() != "zombie" for p in processes), 10, "the old engine to end"
    )
    place(panel, wait_until)
    assert landmarks(panel).count("predicted") > 45
    assert slicer.modules.PALNetLandmarksWidget is panel.widget


@pytest.mark.slow
def test_engine_ends_with_the_module(panel, panel_of, wait_until):
    """No process is left behind."""
    load_sample(panel, wait_until)
    processes = engine_processes()
    assert processes
    panel.widget.cleanup()
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in processes), 10, "the engine to end")


@pytest.mark.slow
def test_module_is_closed_while_it_predicts(panel, wait_until):
    """What the engine still says is for nobody, and no slot raises: the fixture `host` looks."""
    import qt
    from slicer_host.user import click

    load_sample(panel, wait_until)
    processes = engine_processes()
    click(panel.find("placeButton"))
    panel.close()
    ended = []
    qt.QTimer.singleShot(2500, lambda: ended.append(1))
    wait_until(lambda: ended, 10)
    assert not any(p.is_running() and p.status() != "zombie" for p in processes)


@pytest.mark.slow
def test_batch_of_five_with_a_killed_engine(panel, messages, wait_until, screenshot, tmp_path):
    """Step 8: a folder of scans; its process is killed on the way, the batch goes on; a case is corrected and kept."""
    import shutil

    from slicer_host.user import click, click_cell, drag_view, type_text

    from PALNetLandmarksLib.gui.sample_data import sample_path

    scans, output = tmp_path / "Gesichter und mehr", tmp_path / "Ergebnisse"
    scans.mkdir()
    for name in ("a", "b", "Zoë 1", "d"):
        shutil.copyfile(sample_path(), scans / f"{name}{sample_path().suffix}")
    (scans / "bad.ply").write_text("this is no mesh")
    click(panel.find("batchSection"))
    type_text(panel.find("scansPath"), str(scans))
    type_text(panel.find("outputPath"), str(output))
    start, table = panel.find("startButton", "BatchPanel"), panel.find("casesTable")

    def done():
        return sum("done" in cells(table, row) for row in range(table.rowCount))

    click(start)
    wait_until(lambda: done() >= 1, WARM_UP, "the first case")
    import psutil

    for process in psutil.Process().children(recursive=True):
        if "batch" in " ".join(process.cmdline()):
            process.kill()
    wait_until(lambda: messages.texts("error") or start.enabled, 20, "the loss to be said")
    screenshot("10_batch_lost", panel)
    messages.clear()
    assert done() < 4
    wait_until(lambda: start.enabled, 10, "the button to go on")
    click(start)
    wait_until(lambda: done() == 4 and start.enabled, WARM_UP, "the other cases")
    screenshot("11_batch", panel)
    assert sorted(cells(table, row)[2] for row in range(table.rowCount)) == ["done"] * 4 + ["failed"]

    case = panel.widget.panels.case
    row = next(row for row in range(table.rowCount) if "done" in cells(table, row))
    click_cell(table, row, double=True)
    before = wait_until(lambda: landmarks(panel), 10, "the case to be opened")
    panel.widget.panels._look_at_face()
    prn = before.protocol.index("Prn")
    aim = before.positions[prn] + (before.positions[before.protocol.index("Sn")] - before.positions[prn]) * 0.3
    drag_view(panel.view, before.positions[prn], [aim])
    corrected = landmarks(panel)
    assert corrected.status[prn] == "corrected"
    click(panel.find("nextButton", "BatchPanel"))
    assert case.scan is not None and landmarks(panel).status[prn] == "predicted"
    click_cell(table, row, double=True)
    kept = landmarks(panel)
    assert kept.status[prn] == "corrected"
    np.testing.assert_allclose(kept.positions, corrected.positions, atol=1e-3)
    screenshot("12_batch_review", panel)
    assert messages.texts("error") == []


def test_without_an_engine_the_dialog_comes(module, messages, wait_until):
    """On first use nothing is installed in silence: the dialog asks."""
    from slicer_host.user import click, process_events

    assert module.widget.panels.environment.status() == "missing"
    click(module.find("sampleButton"))
    assert "mm" in module.find("checkLabel").text
    shown = []

    def look_and_close(dialog):
        shown.append(dialog.windowTitle)
        dialog.reject()

    messages.on_dialog = look_and_close
    before = {id(w) for w in module.host.top_level_windows()}
    click(module.find("placeButton"))
    process_events()
    new = [w for w in module.host.top_level_windows() if id(w) not in before]
    assert shown or new, "no dialog came"
    for window in new:
        window.close()
    assert landmarks(module) is None and not engine_processes()
