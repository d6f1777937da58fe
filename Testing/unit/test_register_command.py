"""``training_tools register``: every subject gets a matrix or a reason; nothing is overwritten unasked."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import training_tools.registering as registering
from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit
from PALNetLandmarksLib.errors import RegistrationError
from Testing.unit.annotated_faces import PROTOCOL, lafas_rows, write_lafas
from Testing.unit.stand_ins import write_shell
from training_tools.__main__ import main
from training_tools.datasets import read_matrix
from training_tools.datasets.bundled_mean import bundled_mean

MATRIX = "transformation_matrix.npy"
PROJECT = Path(__file__).resolve().parents[2]
MEAN = np.asarray(bundled_mean(PROTOCOL))


def run(data: Path, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command; give its exit code and the report by subject."""
    code = main(["register", "--data", str(data), *more])
    with open(data / "register.csv", encoding="utf-8-sig", newline="") as stream:
        return code, {row["subject"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path / "data"
    return folder, write_lafas(folder, 3, grid_mm=8.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put a registration that moves by one centimetre in place of the real one; gives the seeds it was called with."""
    calls: list[int] = []

    def stand_in(scan: object, reference: object, *, seed: int = 0) -> SimpleNamespace:
        calls.append(seed)
        matrix = np.eye(4)
        matrix[0, 3] = 10.0
        return SimpleNamespace(scan_to_reference=matrix, verdict="good", score=2.5, fitness=0.9, inlier_rms_mm=1.1)

    monkeypatch.setattr(registering, "register", stand_in)
    return calls


def test_scans_in_any_pose_are_aligned_and_a_stranger_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real registration: two faces, something that is no face, a mesh that cannot be read."""
    folder = tmp_path / "data"
    faces = write_lafas(folder, 2, grid_mm=0.0)
    (folder / "S003").mkdir()
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    points *= 100.0 / np.linalg.norm(points, axis=1, keepdims=True)
    from scipy.spatial import ConvexHull

    write_mesh(folder / "S003" / "mesh.ply", points, ConvexHull(points).simplices)
    (folder / "S004").mkdir()
    (folder / "S004" / "mesh.ply").write_bytes(b"ply\nnonsense")
    code, report = run(folder)
    assert code == 4
    assert [row["status"] for row in report.values()] == ["written", "written", "failed", "failed"]
    assert report["S003"]["code"].startswith("registration.") and report["S004"]["code"].startswith("scan.")
    assert not (folder / "S003" / MATRIX).exists()
    for number, face in enumerate(faces, start=1):
        matrix = read_matrix(folder / f"S{number:03d}" / MATRIX)
        assert matrix is not None
        moved = np.linalg.norm(apply_transform(matrix, face) - apply_transform(rigid_fit(face, MEAN), face), axis=1)
        row = report[f"S{number:03d}"]
        assert moved.mean() < 8.0 and float(row["landmarks_moved_mm"]) == pytest.approx(moved.mean(), abs=0.01)
        apart = np.linalg.norm(apply_transform(matrix, face) - MEAN, axis=1).mean()
        assert float(row["landmarks_from_mean_mm"]) == pytest.approx(apart, abs=0.01)
        assert float(row["score"]) > 0.0 and row["verdict"] in ("good", "doubtful")
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith("S003: failed: ") for line in out)
    assert out[-1].startswith("4 subjects: 2 matrices written, 0 kept, 2 failed")


def test_a_matrix_that_is_there_is_kept_and_its_verdict_remembered(
    data: tuple[Path, list[np.ndarray]], quick: list[int]
) -> None:
    folder, _ = data
    own = np.eye(4)
    own[1, 3] = 3.0
    np.save(folder / "S002" / MATRIX, own)
    before = (folder / "S002" / MATRIX).read_bytes()
    code, report = run(folder)
    assert code == 0 and len(quick) == 2
    assert [row["status"] for row in report.values()] == ["written", "kept", "written"]
    assert (folder / "S002" / MATRIX).read_bytes() == before and report["S002"]["verdict"] == ""
    code, report = run(folder)
    assert len(quick) == 2 and [row["status"] for row in report.values()] == ["kept"] * 3
    assert report["S001"]["verdict"] == "good" and float(report["S001"]["score"]) == 2.5
    code, report = run(folder, "--overwrite", "--seed", "7")
    assert quick[2:] == [7, 7, 7] and [row["status"] for row in report.values()] == ["written"] * 3
    assert (folder / "S002" / MATRIX).read_bytes() != before


def test_a_damaged_matrix_is_neither_used_nor_replaced(data: tuple[Path, list[np.ndarray]], quick: list[int]) -> None:
    folder, _ = data
    (folder / "S002" / MATRIX).write_bytes(b"damaged")
    code, report = run(folder)
    assert code == 3 and report["S002"]["status"] == "failed" and report["S002"]["code"] == "dataset.matrix"
    assert (folder / "S002" / MATRIX).read_bytes() == b"damaged"
    assert run(folder, "--overwrite")[0] == 0 and read_matrix(folder / "S002" / MATRIX) is not None


def test_landmarks_that_contradict_the_registration_are_named(
    data: tuple[Path, list[np.ndarray]], quick: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, faces = data
    fitted = apply_transform(rigid_fit(faces[0], MEAN), faces[0])
    (folder / "S001" / "landmarks.txt").write_text(lafas_rows(fitted - (10.0, 0.0, 0.0)))  # what the stand-in expects
    (folder / "S002" / "landmarks.txt").write_text(lafas_rows(fitted - (40.0, 0.0, 0.0)))
    (folder / "S003" / "landmarks.txt").unlink()
    _, report = run(folder)
    assert (report["S001"]["code"], report["S002"]["code"]) == ("", "registration.contradicted")
    assert float(report["S001"]["landmarks_moved_mm"]) < 0.1
    assert float(report["S002"]["landmarks_moved_mm"]) == pytest.approx(30.0, abs=0.1)
    assert report["S002"]["landmarks_best_mm"] == report["S001"]["landmarks_best_mm"]
    assert report["S003"]["landmarks_moved_mm"] == "" and report["S003"]["status"] == "written"
    assert "1 contradicted by their landmarks" in capsys.readouterr().out


def test_other_layouts_keep_their_matrices_beside_the_scans_or_elsewhere(tmp_path: Path, quick: list[int]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_shell(folder / "P1.ply")
    assert run(folder)[0] == 0 and (folder / f"P1_{MATRIX}").is_file()
    code, _ = run(folder, "--matrices", str(tmp_path / "elsewhere"))
    assert code == 0 and (tmp_path / "elsewhere" / "P1" / MATRIX).is_file()


def test_what_was_done_before_an_interruption_is_reported_and_kept(
    data: tuple[Path, list[np.ndarray]], quick: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = data
    run(folder)
    whole = registering.register_subject

    def interrupted(place: Path, *more: object) -> object:
        if place.name == "S002":
            raise KeyboardInterrupt
        return whole(place, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(registering, "register_subject", interrupted)
    code, report = run(folder)
    assert code == 130 and set(report) == {"S001", "S002", "S003"}  # also those it did not come to
    assert report["S003"]["verdict"] == "good"


def test_no_matrix_is_half_written_when_the_disk_is_full(
    data: tuple[Path, list[np.ndarray]],
    quick: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _ = data
    saved = np.save

    def full(stream: object, matrix: np.ndarray, **more: object) -> None:
        if quick[-1:] and len(quick) == 2:
            stream.write(b"\x93NUMPY")  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        saved(stream, matrix, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(registering.np, "save", full)
    code, report = run(folder)
    assert code == 3 and "disk is full" in capsys.readouterr().err
    assert list(report) == ["S001"] and not (folder / "S002" / MATRIX).exists()
    assert sorted(p.name for p in (folder / "S002").iterdir()) == ["landmarks.txt", "mesh.ply", "meta.json"]


def test_an_output_that_cannot_be_written_is_noticed_first(
    data: tuple[Path, list[np.ndarray]], quick: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = data
    (tmp_path / "file").write_text("x")
    for option in ("--report", "--matrices"):
        assert main(["register", "--data", str(folder), option, str(tmp_path / "file" / "below" / "x")]) == 3
    assert quick == [] and capsys.readouterr().err.count("could not be written") == 2


def test_an_empty_folder_a_missing_reference_and_a_double_name(
    data: tuple[Path, list[np.ndarray]], tmp_path: Path, quick: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["register", "--data", str(tmp_path / "empty")]) == 3
    assert main(["register", "--data", str(data[0]), "--reference", str(tmp_path / "no.safetensors")]) == 3
    twice = tmp_path / "twice"
    for sub in ("a", "b"):
        (twice / sub).mkdir(parents=True)
        write_shell(twice / sub / "P1.ply")
        write_shell(twice / sub / "P2.ply")
    (twice / "landmark_indices.txt").write_text("1 2 3")
    assert main(["register", "--data", str(twice)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert "'empty' holds no annotated scans" in said[0] and "no reference face" in said[1]
    assert "Two subjects have the id 'P1'" in said[2] and len(said) == 3 and quick == []


def test_a_refusal_is_a_line_and_the_others_go_on(
    data: tuple[Path, list[np.ndarray]], quick: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = registering.register

    def refusing(scan: object, reference: object, *, seed: int = 0) -> object:
        if len(quick) == 1:
            quick.append(seed)
            raise RegistrationError("No face was recognised.", "Look at it.", code="registration.no_face")
        return good(scan, reference, seed=seed)  # type: ignore[arg-type]

    monkeypatch.setattr(registering, "register", refusing)
    code, report = run(data[0])
    assert code == 4 and [row["status"] for row in report.values()] == ["written", "failed", "written"]
    assert report["S002"]["message"] == "No face was recognised. Look at it."


@pytest.mark.slow
def test_a_killed_run_leaves_whole_files_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_lafas(folder, 2, grid_mm=0.0)
    shutil.copytree(folder / "S001", folder / "S003")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "training_tools", "register", "--data", str(folder), "--jobs", "2"]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True)
    limit = time.monotonic() + 120
    while not list(folder.glob(f"*/{MATRIX}")) and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = list(folder.glob(f"*/{MATRIX}"))
    assert done and all(read_matrix(path) is not None for path in done)
    stamps = {path: path.stat().st_mtime_ns for path in done}
    code, report = run(folder)
    assert code == 0 and {row["status"] for row in report.values()} <= {"written", "kept"}
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert len(list(folder.glob(f"*/{MATRIX}"))) == 3
