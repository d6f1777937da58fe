"""Simulated scans: determinism, layout, landmarks on the surface, the face model's two sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from PALNetLandmarksLib.errors import InputError
from training_tools.__main__ import main as training_tools
from training_tools.dataset import read_subject
from training_tools.datasets.opening import find_protocol, open_dataset
from training_tools.simulation import capture, finishing
from training_tools.simulation.dataset import subject_name, write_scans
from training_tools.simulation.face_model import LANDMARKS_FILE, FaceModel, load_face_model
from training_tools.simulation.finishing import NothingCapturedError
from training_tools.simulation.reference import build_reference, mean_landmarks
from training_tools.simulation.registered import face_part, write_faces
from training_tools.simulation.scan import rigid_fit, simulate_scan
from training_tools.simulation.subdivision import border_loops, loop_subdivision, triangle_edges
from training_tools.simulation.subject import draw_subject, with_asymmetry

# Rough places on a head, origin at the nose tip, +x the subject's left; the tiny model takes the nearest vertices.
PLACES = {
    "Tr": (0, 102, -40), "G": (0, 54, -23), "N": (0, 42, -24), "Prn": (0, 0, 0), "Sn": (0, -13, -14),
    "Sto": (0, -35, -18), "Pg": (0, -64, -20), "Gn": (0, -81, -34),
    "T_R": (-74, 12, -121), "Ft_R": (-56, 58, -52), "Ex_R": (-46, 32, -44), "Ch_R": (-25, -37, -29),
    "T_L": (74, 12, -121), "Ft_L": (56, 58, -52), "Ex_L": (46, 32, -44), "Ch_L": (25, -37, -29),
}  # fmt: skip


def _sphere(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere: a subdivided octahedron, outward triangles."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    corners = np.array(
        [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int64
    )
    for _ in range(steps):
        points, corners = finishing.refine(points, corners)
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points, corners


def _head() -> dict[str, np.ndarray]:
    """Arrays of a face model of an egg with a nose and an open neck, mm."""
    points, corners = _sphere(5)
    head = points * [76.0, 125.0, 98.0] + [0.0, 15.0, -108.0]
    nose = np.exp(-(((head[:, 0] / 12) ** 2) + ((head[:, 1] + 2) / 14) ** 2)) * (head[:, 2] > -60)
    head[:, 2] += 12 * nose
    neck = head[:, 1] < -104.0
    corners = corners[~neck[corners].any(axis=1)]
    used = np.unique(corners)
    rank = np.full(len(head), -1)
    rank[used] = np.arange(len(used))
    head, corners = head[used], rank[corners]
    count = len(head)
    wide = np.stack([0.04 * head[:, 0], np.zeros(count), np.zeros(count)], axis=1)
    tall = np.stack([np.zeros(count), 0.03 * head[:, 1], np.zeros(count)], axis=1)
    lids = np.zeros((count, 3))
    lids[:, 2] = 0.5 * np.exp(-(((np.abs(head[:, 0]) - 31) / 8) ** 2) - ((head[:, 1] - 33) / 6) ** 2)
    return {
        "neutral": head,
        "faces": corners.astype(np.int32),
        "vertex_region": np.zeros(count, np.uint8),
        "face_region": np.zeros(len(corners), np.uint8),
        "identity": np.stack([wide, tall]).astype(np.float32),
        "expression": np.stack([lids, lids]).astype(np.float32),
        "expression_names": np.array(["eyeBlink_L", "eyeBlink_R"]),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny face model and its landmarks as files."""
    folder = tmp_path_factory.mktemp("face model")
    arrays = _head()
    rows = []
    for label, place in PLACES.items():
        distance = np.linalg.norm(arrays["neutral"] - place, axis=1)
        rows.append({"key": label, "vertices": [int(np.argmin(distance))], "weights": [1.0]})
    np.savez(folder / "model.npz", **arrays)
    (folder / "landmarks.json").write_text(json.dumps({"landmarks": rows}), encoding="utf-8")
    return folder / "model.npz", folder / "landmarks.json"


@pytest.fixture(scope="module")
def model(files: tuple[Path, Path]) -> FaceModel:
    return load_face_model(*files)


@pytest.fixture(scope="module")
def written(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects written by one process."""
    output = tmp_path_factory.mktemp("scans") / "new folder"
    list(write_scans(*files, output, [1, 2, 3], seed=5))
    return output


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    header, _, body = data.partition(b"end_header\n")
    count = {
        words[1]: int(words[2]) for line in header.decode().splitlines() if (words := line.split())[0] == "element"
    }
    vertices = np.frombuffer(body, "<f4", count["vertex"] * 3).reshape(-1, 3)
    rows = np.frombuffer(body[vertices.nbytes :], [("n", "u1"), ("corners", "<i4", 3)])
    assert len(rows) == count["face"]
    assert (rows["n"] == 3).all()
    return vertices, rows["corners"]


def _read_landmarks(path: Path) -> dict[str, np.ndarray]:
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header == "landmark names"
    return {
        label: np.array([float(v) for v in place.strip("()").split(",")])
        for label, place in (row.split("\t") for row in rows)
    }


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_layout_is_readable(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == ["S0001", "S0002", "S0003"]
    for folder in written.iterdir():
        assert sorted(_content(folder)) == ["landmarks.txt", "mesh.ply", "meta.json", "transformation_matrix.npy"]
        vertices, triangles = _read_ply(folder / "mesh.ply")
        assert 5_000 <= len(vertices) <= 200_000
        assert np.isfinite(vertices).all()
        assert triangles.min() >= 0
        assert set(np.unique(triangles)) == set(range(len(vertices)))  # all used, none beyond
        assert list(_read_landmarks(folder / "landmarks.txt")) == list(PLACES)
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        assert meta["unit"] == "mm"
        assert meta["vertices"] == len(vertices)
        assert "MIT" in meta["licence"]
        assert set(meta["visible"]) == set(meta["distance_mm"]) == set(PLACES)


def test_visible_landmarks_lie_on_the_scan(written: Path) -> None:
    shown = 0
    for folder in written.iterdir():
        vertices, triangles = _read_ply(folder / "mesh.ply")
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        middles = vertices[triangles].mean(axis=1)
        cloud = np.concatenate([vertices, middles])
        for label, place in _read_landmarks(folder / "landmarks.txt").items():
            nearest = np.linalg.norm(cloud - place, axis=1).min()
            assert meta["distance_mm"][label] <= nearest + 1e-3
            if meta["visible"][label]:
                shown += 1
                assert meta["distance_mm"][label] <= 3.0
                assert nearest <= 3.0 + 4.0  # the cloud is as coarse as the largest triangles
    assert shown >= 0.6 * 3 * len(PLACES)


def test_transformation_takes_landmarks_to_the_reference(written: Path, model: FaceModel) -> None:
    mean = dict(zip(model.labels, mean_landmarks(model), strict=True))
    for folder in written.iterdir():
        matrix = np.load(folder / "transformation_matrix.npy", allow_pickle=False)
        assert matrix.shape == (4, 4)
        assert matrix.dtype == np.float64
        assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.0)
        places = {
            label: matrix[:3, :3] @ place + matrix[:3, 3]
            for label, place in _read_landmarks(folder / "landmarks.txt").items()
        }
        assert np.mean([np.linalg.norm(places[k] - mean[k]) for k in PLACES]) < 15.0
        assert places["T_L"][0] > 40 > -40 > places["T_R"][0]  # right and left are the subject's
        assert places["Tr"][1] > places["Pg"][1] + 50
        assert places["Prn"][2] > places["T_R"][2] + 50


def test_poses_are_arbitrary(written: Path) -> None:
    files = [folder / "transformation_matrix.npy" for folder in sorted(written.iterdir())]
    turns = [np.load(file, allow_pickle=False)[:3, :3] for file in files]
    for one, other in zip(turns, turns[1:], strict=False):
        assert np.trace(one.T @ other) < 2.9


def test_same_seed_gives_the_same_bytes_in_any_order(written: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    # other order, other processes, each with one thread
    list(write_scans(*files, tmp_path, [3, 2], seed=5, jobs=2))
    for number in (2, 3):
        assert _content(tmp_path / subject_name(number)) == _content(written / subject_name(number))
    list(write_scans(*files, tmp_path / "other", [2], seed=6))
    assert _content(tmp_path / "other" / "S0002")["mesh.ply"] != _content(written / "S0002")["mesh.ply"]


def test_asymmetry_changes_the_sides_and_nothing_else(
    written: Path, files: tuple[Path, Path], model: FaceModel, tmp_path: Path
) -> None:
    list(write_scans(*files, tmp_path / "none", [2], seed=5, asymmetry_mm=0.0))
    assert _content(tmp_path / "none" / "S0002") == _content(written / "S0002")  # the default's bytes stay
    list(write_scans(*files, tmp_path / "some", [2], seed=5, asymmetry_mm=6.0))
    before, after = (json.loads((f / "S0002" / "meta.json").read_text()) for f in (written, tmp_path / "some"))
    assert after["asymmetry_mm"] == 6.0 and "asymmetry_mm" not in before
    for key in ("identity", "expression", "proportions", "capture"):
        assert before[key] == after[key]  # the same head but for its sides
    assert _content(tmp_path / "some" / "S0002")["mesh.ply"] != _content(written / "S0002")["mesh.ply"]


def test_an_annotator_errs_along_the_surface_and_the_truth_is_kept(
    written: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    list(write_scans(*files, tmp_path, [1, 2, 3], seed=5, error_mm=dict.fromkeys(PLACES, 2.0) | {"Prn": 0.0}))
    moved = []
    for folder in sorted(tmp_path.iterdir()):
        plain = written / folder.name
        assert (folder / "mesh.ply").read_bytes() == (plain / "mesh.ply").read_bytes()
        meta, truth = json.loads((folder / "meta.json").read_text()), _read_landmarks(plain / "landmarks.txt")
        vertices, triangles = _read_ply(folder / "mesh.ply")
        cloud = np.concatenate([vertices, vertices[triangles].mean(axis=1)])
        for label, place in _read_landmarks(folder / "landmarks.txt").items():
            np.testing.assert_allclose(meta["true_landmarks"][label], truth[label], atol=1e-4)
            if meta["visible"][label]:
                assert np.linalg.norm(cloud - place, axis=1).min() < 4.0  # the cloud is as coarse as its triangles
                apart = np.linalg.norm(place - truth[label])
                assert apart < 12.0
                moved += [apart] if label != "Prn" else []
                assert label != "Prn" or apart <= meta["distance_mm"][label] + 1e-3
    assert 1.4 < np.mean(moved) < 2.8
    assert "true_landmarks" not in json.loads((written / "S0001" / "meta.json").read_text())


def test_registered_faces_have_one_topology_and_are_read_as_facescape(model: FaceModel, tmp_path: Path) -> None:
    kept, _ = face_part(model)
    (tmp_path / "68.json").write_text(json.dumps({"vertices": [int(v) for v in kept[:: len(kept) // 68][:68]]}))
    sizes = dict(write_faces(model, tmp_path / "faces", [1, 2], 3, tmp_path / "68.json"))
    assert sizes == {1: len(kept), 2: len(kept)}
    dataset, protocol = open_dataset(tmp_path / "faces"), find_protocol("face68")
    assert dataset.reader.format == "facescape"
    one, two = (read_subject(place, protocol, dataset.reader) for place in dataset.annotated)
    assert np.isfinite(one.landmarks).all()
    before = tmp_path / "faces" / "1" / "models_reg" / "1_neutral.obj"
    rows = [line for line in before.read_text().splitlines() if line.startswith("f ")]
    assert rows == [line for line in two.mesh.read_text().splitlines() if line.startswith("f ")]
    transform = rigid_fit(one.landmarks, two.landmarks)
    left = np.linalg.norm(one.landmarks @ transform[:3, :3].T + transform[:3, 3] - two.landmarks, axis=1)
    assert 0.5 < left.mean() < 30.0  # other persons, in other poses
    first = before.read_bytes()
    list(write_faces(model, tmp_path / "again", [1], 3, tmp_path / "68.json"))
    assert (tmp_path / "again" / "1" / "models_reg" / "1_neutral.obj").read_bytes() == first


def test_registered_faces_need_the_model_of_their_landmarks(model: FaceModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not lie on this face model"):
        list(write_faces(model, tmp_path, [1], 0))


@pytest.mark.parametrize("option", ["--annotator", "--asymmetry=3"])
def test_registered_faces_take_no_options_of_scans(files: tuple[Path, Path], tmp_path: Path, option: str) -> None:
    command = ["simulate", "--face-model", str(files[0]), "--output", str(tmp_path / "a"), "--count", "1"]
    assert training_tools([*command, "--registered", option]) != 0
    assert not (tmp_path / "a").exists()


def test_asymmetry_has_the_size_that_is_asked_for(model: FaceModel) -> None:
    lengths = []
    for seed in range(30):
        subject = draw_subject(model, np.random.default_rng(seed))
        pushed = with_asymmetry(model, subject, 6.0, np.random.default_rng(seed + 1000)).coarse - subject.coarse
        neutral = model.neutral.astype(float)
        distance, twin = cKDTree(neutral).query(neutral * [-1, 1, 1])
        paired = distance < 1e-3
        difference = pushed[paired] - pushed[twin[paired]] * [-1, 1, 1]
        lengths.append((difference**2).sum(axis=1).mean())
    assert np.sqrt(np.mean(lengths)) == pytest.approx(6.0, rel=0.15)


def test_command_resumes_and_does_not_overwrite(
    files: tuple[Path, Path], written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", "--face-model", str(files[0]), "--output", str(tmp_path), "--count", "2", "--seed", "5"]
    (tmp_path / "S0001").mkdir()
    (tmp_path / "S0001" / "mine.txt").write_text("kept")
    (tmp_path / ".S0002-killed").mkdir()
    assert training_tools(words) == 3
    assert "--resume" in capsys.readouterr().err
    words += ["--resume", "--landmarks", str(files[1])]
    assert training_tools(words) == 0
    assert "1 scans written, 1 kept" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["S0001", "S0002"]
    assert _content(tmp_path / "S0001") == {"mine.txt": b"kept"}
    assert _content(tmp_path / "S0002") == _content(written / "S0002")


def test_subject_appears_whole_or_not_at_all(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training_tools.simulation.dataset.simulate_scan", lambda *_: _Scan())
    monkeypatch.setattr("training_tools.simulation.dataset.np.save", full_disk)
    with pytest.raises(InputError, match="No space left"):
        list(write_scans(*files, tmp_path, [1], seed=0))
    assert list(tmp_path.iterdir()) == []


class _Scan:
    vertices = np.zeros((3, 3), np.float32)
    triangles = np.zeros((1, 3), np.int32)
    landmarks = np.zeros((len(PLACES), 3))
    visible = np.zeros(len(PLACES), bool)
    distance_mm = np.zeros(len(PLACES))
    scan_to_reference = np.eye(4)
    record: dict[str, object] = {}


def test_a_scan_that_shows_too_little_is_an_error(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise NothingCapturedError

    monkeypatch.setattr("training_tools.simulation.scan._simulate", nothing)
    with pytest.raises(InputError, match="No usable scan"):
        simulate_scan(model, 0, 1)


def _write_obj(path: Path, vertices: np.ndarray, polygons: list[list[int]]) -> None:
    lines = ["# synthetic", *(f"v {x:.8f} {y:.8f} {z:.8f}" for x, y, z in vertices), "vt 0 0"]
    lines += ["f " + " ".join(f"{k + 1}/1" for k in polygon) for polygon in polygons]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_reads_a_checkout(tmp_path: Path, files: tuple[Path, Path]) -> None:
    head = _head()
    count = len(head["neutral"])
    source = np.zeros((26719, 3))
    source[:count] = head["neutral"] / 10.0  # the checkout is in centimetres
    source[13294] = [1.5, 3.0, -5.0]  # first vertex of the left eye socket: id 11248 of the compact mesh
    source[21451:21454] = np.eye(3)  # left sclera: 12016 onwards
    quad = [0, 1, 2, 3]
    polygons = [list(map(int, t)) for t in head["faces"]]
    polygons += [[5, 6, 13294], [21451, 21452, 21453], [7, 8, 11248], quad]  # 11248 is in the mouth: dropped
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    _write_obj(folder / "generic_neutral_mesh.obj", source, polygons)
    for i in range(2):
        moved = source.copy()
        moved[:count] += head["identity"][i] / 10.0
        _write_obj(folder / f"identity{i:03d}.obj", moved, [])
    moved = source.copy()
    moved[:count] += head["expression"][0] / 10.0
    _write_obj(folder / "eyeBlink_L.obj", moved, [])

    read = load_face_model(tmp_path, files[1])  # the checkout's root does as well
    direct = load_face_model(*files)
    assert read.neutral.shape == (13556, 3)
    assert np.allclose(read.neutral[:count], direct.neutral, atol=1e-4)
    assert np.allclose(read.identity[:, :count], direct.identity, atol=1e-4)
    assert read.expression_names == ("eyeBlink_L",)
    assert np.allclose(read.expression[0, :count], direct.expression[0], atol=1e-4)
    new = [t.tolist() for t in read.triangles[len(head["faces"]) :]]
    assert [5, 6, 11248] in new
    assert [12016, 12017, 12018] in new
    assert len([t for t in new if set(t) <= set(quad)]) == 2
    assert len(read.triangles) - len(head["faces"]) == 4
    assert read.triangle_region[[t.tolist() == [5, 6, 11248] for t in read.triangles]] == [2]
    assert read.triangle_region[[t.tolist() == [12016, 12017, 12018] for t in read.triangles]] == [4]
    assert np.allclose(read.landmark_matrix @ read.neutral, direct.landmark_matrix @ direct.neutral, atol=1e-4)

    (folder / "identity000.obj").write_text("v 0 0 0\n")
    with pytest.raises(InputError, match="identity000"):
        load_face_model(folder, files[1])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken"])
def test_damaged_model_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(InputError, match="m.npz"):
        load_face_model(tmp_path / "m.npz")
    with pytest.raises(InputError, match="generic_neutral_mesh"):
        load_face_model(tmp_path)


def test_landmarks_of_another_mesh_are_refused(files: tuple[Path, Path]) -> None:
    # the shipped landmarks name vertices that the tiny model does not have
    with pytest.raises(InputError, match="vertices"):
        load_face_model(files[0], LANDMARKS_FILE)


def test_shipped_landmarks_are_mirrored_pairs() -> None:
    rows = {row["key"]: row for row in json.loads(LANDMARKS_FILE.read_text(encoding="utf-8"))["landmarks"]}
    assert len(rows) == 50
    for key, row in rows.items():
        assert sum(row["weights"]) == pytest.approx(1.0, abs=1e-5)
        if key.endswith("_R"):
            left = rows[key[:-1] + "L"]
            assert row["neutral_mm"][0] < 0 < left["neutral_mm"][0]
            assert np.allclose(np.multiply(row["neutral_mm"], [-1, 1, 1]), left["neutral_mm"], atol=0.1)


def test_reference_lies_on_the_mean_face(model: FaceModel) -> None:
    reference = build_reference(model, count=1500)
    assert set(np.unique(reference.extent)) == {0, 1, 2, 3}
    assert np.allclose(np.linalg.norm(reference.normals, axis=1), 1.0, atol=1e-5)
    outward = reference.points - np.array([0.0, 15.0, -105.0])
    assert ((outward * reference.normals).sum(axis=1) > 0).mean() > 0.98
    nose = reference.mean_landmarks[model.labels.index("Prn")]
    assert np.allclose(nose, 0.0, atol=1e-6)
    centre = reference.points[reference.extent == 0]
    assert (np.abs(centre[:, 0]) < 50).all()
    assert np.linalg.norm(centre - nose, axis=1).min() < 8.0


def test_rigid_fit_recovers_a_motion() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(6, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    fitted = rigid_fit(points, points @ turn.T + [1, 2, 3])
    assert np.allclose(fitted[:3, :3], turn)
    assert np.allclose(fitted[:3, 3], [1, 2, 3])
    mirrored = rigid_fit(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored[:3, :3]) == pytest.approx(1.0)  # a rigid motion never swaps right and left


def test_subdivision_keeps_a_closed_surface_closed() -> None:
    points, corners = _sphere(2)
    matrix, fine = loop_subdivision(corners, len(points))
    edges, side = triangle_edges(fine)
    assert matrix.shape[0] - len(edges) + len(fine) == 2  # Euler
    assert (np.bincount(side.ravel()) == 2).all()
    assert np.allclose(np.asarray(matrix.sum(axis=1)), 1.0)
    assert np.linalg.norm(matrix @ points - 0, axis=1).max() <= 1.0 + 1e-9


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    points = np.stack([x.ravel(), y.ravel(), np.zeros(rows * columns)], axis=1)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return points, np.concatenate([np.c_[a, a + 1, a + columns], np.c_[a + 1, a + columns + 1, a + columns]])


def test_holes_are_found_and_filled() -> None:
    points, corners = _grid(9, 9)
    open_corners = corners[~(corners == 40).any(axis=1)]  # the middle vertex is gone
    loops = border_loops(open_corners)
    assert [len(loop) for loop in loops] == [32, 6]
    filled_points, filled = finishing.fill_holes(points, open_corners, 10)
    assert [len(loop) for loop in border_loops(filled)] == [32]
    a, b, c = (filled_points[filled[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # same side as the rest
    assert len(finishing.fill_holes(points, open_corners, 5)[1]) == len(open_corners)


def test_the_component_with_the_face_is_kept() -> None:
    points, corners = _grid(9, 9)
    far, far_corners = _grid(30, 30)
    both = np.concatenate([points, far + [0, -300, 0]])
    triangles = np.concatenate([corners, far_corners + len(points)])
    kept, _ = finishing.keep_components(both, triangles, 0.0, np.zeros(3))
    assert len(kept) == len(both)
    kept, _ = finishing.keep_components(both, triangles, 20.0, np.zeros(3))
    assert len(kept) == len(points)  # the shirt is larger, but it is not the face
    with pytest.raises(NothingCapturedError):
        finishing.keep_components(both, triangles, 0.1, np.array([0, 5000.0, 0]))


def test_thinning_and_decimation_reach_the_target() -> None:
    points, corners = _sphere(5)
    points = points * 80.0
    for thinned, triangles in (
        finishing.thin_out(points, corners, 1000, np.random.default_rng(0)),
        finishing.decimate(points, corners, 1000),
    ):
        assert 900 <= len(thinned) <= 1050
        assert np.abs(np.linalg.norm(thinned, axis=1) - 80.0).max() < 1.0
        assert triangles.max() < len(thinned)


def test_canonical_order_does_not_depend_on_the_input_order() -> None:
    points, corners = _grid(4, 5)
    rng = np.random.default_rng(0)
    shuffle = rng.permutation(len(points))
    rank = np.argsort(shuffle)
    rolled = np.stack([np.roll(t, rng.integers(3)) for t in rank[corners]])[rng.permutation(len(corners))]
    one, other = capture.canonical_order(points, corners), capture.canonical_order(points[shuffle], rolled)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_commands_are_imported_only_when_run() -> None:
    code = (
        "import sys; from training_tools.__main__ import main; "
        "assert main(['--help']) == 0 and main(['nonsense']) == 2; "
        "assert 'open3d' not in sys.modules and 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
