"""Bad input through the real command line with the default model: exit code, one clear line, nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from PALNetLandmarksLib.engine.bundle import find_bundles
from PALNetLandmarksLib.engine.cli import main
from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.engine.units import surface_size
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.resources import sample_scans

Maker = Callable[[Path, Scan], Path]


@pytest.fixture(scope="module")
def sample() -> Scan:
    return read_scan(sample_scans()[0])


def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, scan: Path, *more: str) -> tuple[int, str]:
    """Predict; return the exit code and what was said, after checking that a failure left no file."""
    output = tmp_path / "out" / "face.mrk.json"
    output.parent.mkdir(exist_ok=True)
    code = main(["predict", str(scan), "--output", str(output), "--quiet", *more])
    said = capsys.readouterr().err.strip()
    assert output.exists() == (code == 0)
    assert {p.name for p in output.parent.iterdir()} == ({output.name, "face.manifest.json"} if code == 0 else set())
    if code:
        lines = [line for line in said.splitlines() if "error:" in line]
        assert len(lines) == 1
        assert "Traceback" not in said
    return code, said


def surface(path: Path, mesh: trimesh.Trimesh) -> Path:
    write_mesh(path, np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))
    return path


def empty(folder: Path, sample: Scan) -> Path:
    (folder / "a.ply").write_bytes(b"")
    return folder / "a.ply"


def truncated(folder: Path, sample: Scan) -> Path:
    write_mesh(folder / "a.ply", sample.vertices, sample.triangles)
    content = (folder / "a.ply").read_bytes()
    (folder / "a.ply").write_bytes(content[: len(content) // 2])
    return folder / "a.ply"


def text_as_obj(folder: Path, sample: Scan) -> Path:
    (folder / "a.obj").write_text("Dear doctor,\nplease find attached the scan.\n")
    return folder / "a.obj"


def three_triangles(folder: Path, sample: Scan) -> Path:
    (folder / "a.obj").write_text("v 0 0 0\nv 100 0 0\nv 0 100 0\nv 0 0 100\nf 1 2 3\nf 1 3 4\nf 1 4 2\n")
    return folder / "a.obj"


def all_equal(folder: Path, sample: Scan) -> Path:
    lines = ["v 1 2 3"] * 300 + [f"f {i} {i + 1} {i + 2}" for i in range(1, 299)]
    (folder / "a.obj").write_text("\n".join(lines))
    return folder / "a.obj"


def all_nan(folder: Path, sample: Scan) -> Path:
    lines = ["v nan nan nan"] * 300 + [f"f {i} {i + 1} {i + 2}" for i in range(1, 299)]
    (folder / "a.obj").write_text("\n".join(lines))
    return folder / "a.obj"


def missing_file(folder: Path, sample: Scan) -> Path:
    return folder / "nowhere.ply"


def a_folder(folder: Path, sample: Scan) -> Path:
    (folder / "a.ply").mkdir()
    return folder / "a.ply"


def ambiguous_size(folder: Path, sample: Scan) -> Path:
    """As large as a face alone in centimetres and a head with shoulders in inches."""
    scale = 16.0 / surface_size(sample.vertices, sample.triangles)
    return surface(folder / "a.ply", trimesh.Trimesh(sample.vertices * scale, sample.triangles, process=False))


def sphere(folder: Path, sample: Scan) -> Path:
    return surface(folder / "a.ply", trimesh.creation.icosphere(5, radius=95.0))


def cube(folder: Path, sample: Scan) -> Path:
    return surface(folder / "a.ply", trimesh.creation.box(extents=(180, 220, 190)).subdivide_to_size(6.0))


def hand_sized(folder: Path, sample: Scan) -> Path:
    palm = trimesh.creation.box(extents=(85, 100, 28)).subdivide_to_size(5.0)
    fingers = [trimesh.creation.capsule(height=70, radius=9).apply_transform(
        trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0])).apply_translation([x, 55, 0])
        for x in (-32, -11, 11, 32)]  # fmt: skip
    return surface(folder / "a.ply", trimesh.util.concatenate([palm, *fingers]))


def back_of_head(folder: Path, sample: Scan) -> Path:
    """An egg with two ear-like bumps, without a face."""
    head = trimesh.creation.icosphere(5)
    head.apply_scale([75.0, 110.0, 95.0])
    ears = [trimesh.creation.icosphere(4).apply_scale([8, 30, 18]).apply_translation([x, 0, 0]) for x in (-78, 78)]
    return surface(folder / "a.ply", trimesh.util.concatenate([head, *ears]))


@pytest.mark.parametrize(
    ("make", "exit_code", "says"),
    [
        (empty, 3, "empty"), (truncated, 3, ""), (text_as_obj, 3, ""), (three_triangles, 3, "triangle"),
        (all_equal, 3, ""), (all_nan, 3, ""), (missing_file, 3, ""), (a_folder, 3, "folder"),
        (ambiguous_size, 3, "--unit"), (sphere, 4, "--init"), (cube, 4, "--init"), (hand_sized, 4, "--init"),
        (back_of_head, 4, "--init"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_scans_that_cannot_be_used(
    make: Maker, exit_code: int, says: str, sample: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, tmp_path, make(tmp_path, sample))
    assert code == exit_code, said
    assert says.lower() in said.lower()
    assert str(tmp_path) not in said


def metres(folder: Path, sample: Scan) -> Path:
    write_mesh(folder / "a.ply", sample.vertices / 1000.0, sample.triangles)
    return folder / "a.ply"


def a_few_nan(folder: Path, sample: Scan) -> Path:
    write_mesh(folder / "a.obj", sample.vertices, sample.triangles)
    lines = (folder / "a.obj").read_text().splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("v ")][100:110]
    for i in at:
        lines[i] = "v nan nan nan"
    (folder / "a.obj").write_text("\n".join(lines))
    return folder / "a.obj"


def odd_name(folder: Path, sample: Scan) -> Path:
    (folder / "Gesicht Müller 脸").mkdir()
    path = folder / "Gesicht Müller 脸" / "scän 1.ply"
    write_mesh(path, sample.vertices, sample.triangles)
    return path


def inside_out(folder: Path, sample: Scan) -> Path:
    write_mesh(folder / "a.ply", sample.vertices, sample.triangles[:, ::-1])
    return folder / "a.ply"


@pytest.mark.parametrize("make", [metres, a_few_nan, odd_name, inside_out], ids=lambda value: value.__name__)
def test_scans_that_can_be_mended(
    make: Maker, sample: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, tmp_path, make(tmp_path, sample))
    assert code == 0, said
    found = read_landmarks(tmp_path / "out" / "face.mrk.json")
    truth = read_landmarks(sample_scans()[0].with_name("landmarks.txt"))
    assert np.nanmean(np.linalg.norm(found.positions - truth.positions, axis=1)) < 3.0
    assert "Müller" not in (tmp_path / "out" / "face.mrk.json").read_text(encoding="utf-8")


def test_inches_can_be_forced(sample: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mesh(tmp_path / "a.ply", sample.vertices / 25.4, sample.triangles)
    assert run(capsys, tmp_path, tmp_path / "a.ply", "--unit", "in")[0] == 0


@pytest.mark.slow
def test_a_million_vertices(sample: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = trimesh.Trimesh(sample.vertices, sample.triangles, process=False)
    while len(mesh.vertices) < 1_000_000:
        mesh = mesh.subdivide()
    code, said = run(capsys, tmp_path, surface(tmp_path / "a.ply", mesh))
    assert code == 0, said


def test_a_bundle_with_one_byte_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(find_bundles()[0], tmp_path / "bundle")
    weights = tmp_path / "bundle" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    code, said = run(capsys, tmp_path, sample_scans()[0], "--model", str(tmp_path / "bundle"))
    assert code == 5
    assert "damaged" in said


def test_cuda_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run(capsys, tmp_path, sample_scans()[0], "--device", "cuda")[0] == 6
