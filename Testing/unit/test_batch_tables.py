"""The tables of a batch made anew without the engine, and what a batch tells the program that watches it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import StandInRunner, landmarks_on_shell, write_shell

from PALNetLandmarksLib import batch_tables
from PALNetLandmarksLib.engine import batch, cli
from PALNetLandmarksLib.engine.batch_case import BatchSettings
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.spreadsheet import write_table


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path / "cases.csv", ("case", "scan"), [("C0001", "a.ply"), ("C0002", "b.ply"), ("C0003", "c.ply")])
    for case in ("C0001", "C0003"):
        write_landmarks(tmp_path / f"{case}.mrk.json", landmarks_on_shell(("Tr",)), case=case)
    (tmp_path / "C0002.mrk.json").write_text("damaged")
    return tmp_path


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_the_tables_follow_the_files_in_the_layout_they_had(folder: Path, layout: str) -> None:
    protocol = landmarks_on_shell().protocol
    assert batch_tables.write_tables(folder, ["C0001", "C0002", "C0003"], protocol, layout) == 2
    before = rows(folder / "measurements.csv")
    found = read_landmarks(folder / "C0003.mrk.json")
    moved = found.with_point("Prn", found.position("Prn") + [7, 0, 0], "corrected")
    write_landmarks(folder / "C0003.mrk.json", moved, case="C0003")
    assert batch_tables.main([str(folder)]) == 0
    after = rows(folder / "measurements.csv")
    assert list(after[0]) == list(before[0]) and len(after) == len(before)
    of = {case: [row for row in after if row["case"] == case] for case in ("C0001", "C0003")}
    assert {row["corrected_points"] for row in of["C0003"]} == {"1"}
    assert {row["corrected_points"] for row in of["C0001"]} == {"0"}
    assert {row["case"] for row in rows(folder / "landmarks.csv")} == {"C0001", "C0003"}


def test_a_folder_that_is_none_of_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch_tables.main([str(tmp_path)]) == 3
    assert "cases.csv" in capsys.readouterr().err
    assert batch_tables.main([]) == 3


def test_it_needs_no_engine(folder: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'safetensors', 'open3d', 'trimesh', 'vtk'): sys.modules[name] = None\n"
        f"from PALNetLandmarksLib.batch_tables import main\nsys.exit(main([{str(folder)!r}]))\n"
    )
    library = Path(batch_tables.__file__).parents[1]
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(library)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


def test_progress_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    write_shell(scans / "a.ply")
    (scans / "bad.ply").write_bytes(b"")
    run = batch.run_batch
    monkeypatch.setattr(batch, "run_batch", lambda *args, **more: run(*args, **more, runner=StandInRunner))
    code = cli.main(["batch", str(scans), "--output", str(tmp_path / "out"), "--progress", "json", "--json"])
    said = capfd.readouterr()
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert events[0] == {"event": "begun", "cases": ["C0001", "C0002"]}
    assert [(e["case"], e["status"], e["done"], e["count"]) for e in events[1:]] == [
        ("C0001", "done", 1, 2), ("C0002", "failed", 2, 2),
    ]  # fmt: skip
    assert code == 3 and json.loads(said.out)["failed"] == 1


def test_a_case_that_was_looked_through_is_never_replaced(tmp_path: Path) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for name in ("a.ply", "b.ply"):
        write_shell(scans / name)
    batch.run_batch(BatchSettings(scans, output), runner=StandInRunner)
    before = {case: (output / f"{case}.mrk.json").stat().st_mtime_ns for case in ("C0001", "C0002")}
    write_table(output / "review.csv", ("case", "reviewed_utc"), [("C0002", "2026-01-01T00:00:00Z")])
    batch.run_batch(BatchSettings(scans, output, overwrite=True), runner=StandInRunner)
    after = {case: (output / f"{case}.mrk.json").stat().st_mtime_ns for case in ("C0001", "C0002")}
    assert after["C0001"] != before["C0001"]
    assert after["C0002"] == before["C0002"]
