"""The batch panel with the real batch in its own process, and the way through its cases."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from engine_stand_ins import real_engine

from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.resources import sample_scans

UI = Path(__file__).resolve().parents[2] / "PALNetLandmarks" / "Resources" / "UI" / "BatchPanel.ui"


class Desk:
    """Plays the module: holds the landmarks of the open case; its user moves a point if a test wants it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.now: LandmarkSet | None = None

    def open_case(self, scan_path: str, landmarks_path: str | None, case_id: str, scale_to_mm: float) -> None:
        assert self.now is None, "the case before is still loaded"
        assert Path(scan_path).is_file()
        self.calls.append(("open", case_id, scale_to_mm))
        self.now = read_landmarks(landmarks_path, load_protocol()) if landmarks_path else None

    def landmarks(self) -> LandmarkSet | None:
        return self.now.in_coordinate_system("RAS") if self.now else None

    def close_case(self) -> None:
        self.calls.append(("close",))
        self.now = None

    def move(self, label: str, by: float) -> None:
        assert self.now is not None
        self.now = self.now.with_point(label, self.now.position(label) + [by, 0, 0], "corrected")


@pytest.fixture
def panel(host: Any, tmp_path: Path) -> Iterator[Any]:
    import slicer

    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.panels.batch_panel import BatchPanel

    widget = slicer.util.loadUI(str(UI))
    panel = BatchPanel(
        slicer.util.childWidgetVariables(widget), real_engine(tmp_path), load_protocol(), Desk(), Messages()
    )
    panel.widget = widget  # type: ignore[attr-defined]
    widget.resize(400, 700)
    widget.show()
    yield panel
    panel.cleanup()
    widget.close()


def folders(tmp_path: Path, names: list[str]) -> tuple[Path, Path]:
    scans, output = tmp_path / "Gesichter und mehr", tmp_path / "Ergebnisse ä"
    scans.mkdir()
    for name in names:
        if "bad" in name:
            (scans / name).write_text("no mesh")
        else:
            shutil.copy(sample_scans()[0], scans / name)
    return scans, output


def finished_folder(tmp_path: Path, count: int) -> tuple[Path, Path]:
    """Write what a batch leaves behind, without running one."""
    from PALNetLandmarksLib.landmark_files import write_landmarks
    from PALNetLandmarksLib.spreadsheet import write_table

    scans, output = folders(tmp_path, [])
    output.mkdir()
    rng = np.random.default_rng(0)
    cases = [f"C{n:04d}" for n in range(1, count + 1)]
    for case in cases:
        (scans / f"{case}.ply").write_bytes(b"scan")
        found = LandmarkSet.from_positions(
            load_protocol(), rng.normal(0, 60, (50, 3)), "predicted", expected_error_mm=np.full(50, 1.0),
            provenance={"scan_scale_to_mm": "10"},
        )  # fmt: skip
        write_landmarks(output / f"{case}.mrk.json", found, case=case)
    write_table(output / "cases.csv", ("case", "scan"), [(case, f"{case}.ply") for case in cases])
    write_table(output / "status.csv", ("case", "status"), [(case, "done") for case in cases])
    return scans, output


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def text(panel: Any, row: int, column: int) -> str:
    return str(panel.ui.casesTable.item(row, column).text())


def test_a_batch_is_run_stopped_and_gone_on_with(
    panel: Any, tmp_path: Path, messages: Any, wait_until: Any, ui_blocking: Any, screenshot: Any
) -> None:
    from slicer_host.user import click

    scans, output = folders(tmp_path, ["Zoë 1.ply", "bad.ply", "c.ply", "d.ply", "e.ply"])
    chosen: list[tuple[str, str]] = []
    panel.paths_changed.connect(lambda *paths: chosen.append(paths))
    panel.ui.scansPath.currentPath = str(scans)
    panel.ui.outputPath.currentPath = str(output)
    assert chosen[-1] == (str(scans), str(output))
    with ui_blocking:
        click(panel.ui.startButton)
        assert not panel.ui.startButton.enabled and panel.ui.cancelButton.enabled
        wait_until(lambda: panel.ui.progressBar.value >= 2, 60, "two cases")
    print(f"longest pause {1000 * ui_blocking.longest:.0f} ms")
    assert ui_blocking.longest_work < 0.05
    assert panel.ui.casesTable.rowCount == 5
    assert "running" in [text(panel, row, 2) for row in range(5)]
    process = psutil.Process(panel._run._process._leader or panel._run._process.pid)
    began = time.perf_counter()
    click(panel.ui.cancelButton)
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 2, "its end")
    print(f"stopped in {time.perf_counter() - began:.2f} s")
    assert panel.ui.startButton.text == "Go on" and "Go on" not in messages.texts()
    done_before = {row["case"]: row["finished_utc"] for row in rows(output / "status.csv") if row["status"] == "done"}
    assert done_before
    click(panel.ui.startButton)
    wait_until(lambda: not panel._run.running, 60, "the batch")
    assert "4 cases done, 1 failed" in panel.ui.progressLabel.text
    statuses = {row["case"]: row for row in rows(output / "status.csv")}
    assert {case: statuses[case]["finished_utc"] for case in done_before} == done_before, "they were done again"
    names = {text(panel, row, 1): (text(panel, row, 2), text(panel, row, 4)) for row in range(5)}
    assert names["bad.ply"][0] == "failed" and names["bad.ply"][1]
    assert names["Zoë 1.ply"][0] == "done"
    assert len(rows(output / "measurements.csv")) == 4
    assert not messages.texts("error")
    screenshot("batch_panel", panel.widget)


def test_review_keeps_corrections_and_a_later_batch_does_not_replace_them(
    panel: Any, tmp_path: Path, wait_until: Any
) -> None:
    from slicer_host.user import click

    desk = panel._review._desk
    scans, output = folders(tmp_path, ["a.ply", "b.ply"])
    panel.set_paths(str(scans), str(output))
    click(panel.ui.startButton)
    wait_until(lambda: not panel._run.running, 60, "the batch")
    before = {case: read_landmarks(output / f"{case}.mrk.json") for case in ("C0001", "C0002")}
    table_before = rows(output / "measurements.csv")
    click(panel.ui.nextButton)
    assert desk.calls == [("open", "C0001", 1.0)]
    desk.move("Prn", 5.0)
    click(panel.ui.nextButton)  # saves, lets go, opens the next
    assert desk.calls[1:] == [("close",), ("open", "C0002", 1.0)]
    assert text(panel, 0, 3) == "yes" and text(panel, 1, 3) == ""
    click(panel.ui.closeButton)
    assert desk.now is None
    corrected = read_landmarks(output / "C0001.mrk.json")
    assert corrected.status[corrected.protocol.index("Prn")] == "corrected"
    np.testing.assert_allclose(corrected.position("Prn") - before["C0001"].position("Prn"), [5, 0, 0], atol=1e-6)
    assert corrected.provenance == before["C0001"].provenance
    untouched = read_landmarks(output / "C0002.mrk.json")
    np.testing.assert_array_equal(untouched.positions, before["C0002"].positions)
    panel.update_tables()
    wait_until(lambda: not panel._tables.running, 20, "the tables")
    table = rows(output / "measurements.csv")
    assert [row["case"] for row in table] == ["C0001", "C0002"]
    changed = [key for key in table[0] if key.startswith("N-Prn") and table[0][key] != table_before[0][key]]
    assert changed or table[0] != table_before[0]
    assert table[0]["corrected_points"] == "1" and table[1]["corrected_points"] == "0"
    # Everything again: what was looked through stays.
    content = {case: (output / f"{case}.mrk.json").read_bytes() for case in before}
    panel.ui.againBox.checked = True
    click(panel.ui.startButton)
    wait_until(lambda: not panel._run.running, 60, "the second batch")
    assert {case: (output / f"{case}.mrk.json").read_bytes() for case in before} == content


def test_300_cases_one_after_the_other(panel: Any, tmp_path: Path, wait_until: Any) -> None:
    scans, output = finished_folder(tmp_path, 300)
    desk = panel._review._desk
    began = time.perf_counter()
    panel.set_paths(str(scans), str(output))
    print(f"folder of 300 shown in {1000 * (time.perf_counter() - began):.0f} ms")
    assert panel.ui.casesTable.rowCount == 300
    slowest = 0.0
    for number in range(1, 7):
        began = time.perf_counter()
        panel.open_next()
        slowest = max(slowest, time.perf_counter() - began)
        assert desk.calls[-1] == ("open", f"C{number:04d}", 10.0)
    print(f"next case in at most {1000 * slowest:.0f} ms (without the scan)")
    assert panel.ui.reviewLabel.text == "5 of 300 cases looked through"
    panel.close_case()
    began = time.perf_counter()
    panel.update_tables()
    asked = time.perf_counter() - began
    wait_until(lambda: not panel._tables.running, 30, "the tables")
    print(f"tables of 300 cases in {time.perf_counter() - began:.1f} s, asked for in {1000 * asked:.0f} ms")
    assert asked < 0.05
    assert len(rows(output / "measurements.csv")) == 300
    assert "up to date" in panel.ui.progressLabel.text


def test_the_way_through_ends_when_all_are_looked_through(panel: Any, tmp_path: Path, wait_until: Any) -> None:
    scans, output = finished_folder(tmp_path, 2)
    panel.set_paths(str(scans), str(output))
    for _ in range(3):
        panel.open_next()
    assert "All cases" in panel.ui.progressLabel.text
    assert panel._review.case is None and panel._review._desk.now is None
    assert not panel.ui.nextButton.enabled
    wait_until(lambda: not panel._tables.running, 20, "the tables")
    # A case that is looked through can be opened again by hand.
    panel.ui.casesTable.selectRow(0)
    panel.open_selected()
    assert panel._review.case.case == "C0001"
    panel.let_go()
    assert panel._review._desk.calls[-1] == ("close",)


def test_a_scan_that_is_gone_and_a_damaged_table(panel: Any, tmp_path: Path, messages: Any) -> None:
    scans, output = finished_folder(tmp_path, 2)
    panel.set_paths(str(scans), str(output))
    (scans / "C0001.ply").unlink()
    panel.open_next()
    assert "not in the folder" in messages.texts("error")[0]
    (output / "cases.csv").write_bytes(b"\0\1\2")
    panel.show_folder()
    assert panel.ui.casesTable.rowCount == 0 and "cases.csv" in panel.ui.progressLabel.text


def test_a_second_batch_in_the_same_folder_is_refused_in_words(
    panel: Any, tmp_path: Path, messages: Any, wait_until: Any
) -> None:
    from slicer_host.user import click

    if os.name != "posix":
        pytest.skip("locks with fcntl")
    import fcntl

    scans, output = finished_folder(tmp_path, 2)
    panel.set_paths(str(scans), str(output))
    with open(output / ".palnet-batch.lock", "wb") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        click(panel.ui.startButton)
        wait_until(lambda: not panel._run.running, 60, "the refusal")
    assert "Another batch" in messages.texts("error")[0]


def test_a_crash_is_said_and_nothing_is_lost(panel: Any, tmp_path: Path, messages: Any, wait_until: Any) -> None:
    import signal

    from slicer_host.user import click

    if os.name != "posix":
        pytest.skip("SIGKILL")
    scans, output = folders(tmp_path, ["a.ply", "b.ply", "c.ply"])
    panel.set_paths(str(scans), str(output))
    click(panel.ui.startButton)
    wait_until(lambda: panel.ui.progressBar.value >= 1, 60, "one case")
    os.kill(panel._run._process._leader, signal.SIGKILL)
    wait_until(lambda: not panel._run.running, 10, "the news")
    assert "goes on where it stopped" in messages.texts("error")[0]
    assert text(panel, 0, 2) == "done"
    click(panel.ui.startButton)
    wait_until(lambda: not panel._run.running, 60, "the rest")
    assert "3 cases done" in panel.ui.progressLabel.text


def test_without_an_engine_the_dialog_is_asked_for(host: Any, tmp_path: Path) -> None:
    import slicer

    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment
    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.panels.batch_panel import BatchPanel

    widget = slicer.util.loadUI(str(UI))
    environment = EngineEnvironment({}, tmp_path / "nothing", own_python=[sys.executable])
    panel = BatchPanel(slicer.util.childWidgetVariables(widget), environment, load_protocol(), Desk(), Messages())
    asked: list[int] = []
    panel.engine_missing.connect(lambda: asked.append(1))
    scans, output = finished_folder(tmp_path, 1)
    panel.set_paths(str(scans), str(output))
    panel.start()
    assert asked and "not installed" in panel.ui.progressLabel.text
    # Looking through works all the same.
    panel.open_next()
    assert panel._review.case.case == "C0001"
    panel.cleanup()


def test_correction_is_kept_when_the_scene_is_closed(module: Any, tmp_path: Path, messages: Any) -> None:
    """In the whole module: what was corrected is saved; what was only opened is not called reviewed."""
    import shutil

    import slicer

    from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
    from PALNetLandmarksLib.resources import sample_scans

    scans, output = finished_folder(tmp_path, 2)
    known = read_landmarks(sample_scans()[0].with_name("landmarks.txt"), load_protocol())
    for case in ("C0001", "C0002"):
        shutil.copy(sample_scans()[0], scans / f"{case}.ply")
        file = LandmarkSet.from_positions(load_protocol(), known.positions, "predicted")
        write_landmarks(output / f"{case}.mrk.json", file, case=case)
    panels = module.widget.panels
    panels._batch.set_paths(str(scans), str(output))
    nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode")
    panels._batch.ui.casesTable.selectRow(0)
    panels._batch.open_selected()
    moved = panels.case.landmarks().position("Prn") + (0.0, 0.0, 4.0)
    panels.case.change(panels.case.landmarks().with_point("Prn", moved, "corrected"), "Move Prn")
    slicer.mrmlScene.Clear(0)
    assert panels.case.scan is None and not messages.texts("error")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode") <= nodes
    kept = read_landmarks(output / "C0001.mrk.json")
    assert kept.status[kept.protocol.index("Prn")] == "corrected"
    np.testing.assert_allclose(kept.position("Prn"), moved * (-1, -1, 1), atol=1e-3)
    assert [row["case"] for row in rows(output / "review.csv")] == ["C0001"]
    panels._batch.ui.casesTable.selectRow(1)
    panels._batch.open_selected()
    slicer.mrmlScene.Clear(0)
    assert [row["case"] for row in rows(output / "review.csv")] == ["C0001"]
