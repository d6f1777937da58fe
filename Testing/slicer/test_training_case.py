"""Training cases written by the module are what the training tools read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from slicer_scene import Scene, some_landmarks

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.gui.case import Case
from PALNetLandmarksLib.gui.scene.mesh import mesh_of
from PALNetLandmarksLib.gui.training_case import next_name, save_training_case
from training_tools.dataset import canonical_subject, list_subjects, read_subject

MOVED = np.array([[0.96, -0.28, 0, 4], [0.28, 0.96, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]])
REGISTRATION = np.array([[0.0, 0, 1, 5], [1, 0, 0, -20], [0, 1, 0, 3], [0, 0, 0, 1]])


@pytest.fixture
def shown(case: Case, scene: Scene) -> Case:
    case.scan.SetAndObserveTransformNodeID(scene.add_transform(MOVED).GetID())
    case.show_prediction(some_landmarks(case.protocol, case.surface().polydata), REGISTRATION)
    return case


def test_training_tools_read_what_was_saved(shown: Case, tmp_path: Path) -> None:
    wanted = shown.landmarks().in_coordinate_system("LPS")
    folder = save_training_case(tmp_path, "S0001", mesh_of(shown.scan), shown.landmarks(), shown.scan_to_reference())
    assert folder == tmp_path / "S0001"
    assert sorted(file.name for file in folder.iterdir()) == [
        "landmarks.record.json",
        "landmarks.txt",
        "mesh.ply",
        "transformation_matrix.npy",
    ]
    assert list_subjects(tmp_path) == [folder]
    subject = read_subject(folder, shown.protocol)
    np.testing.assert_allclose(subject.landmarks, wanted.positions, atol=1e-4)
    np.testing.assert_array_equal(subject.visible, ~wanted.missing)
    assert not subject.visible[3]
    np.testing.assert_allclose(subject.scan_to_reference, REGISTRATION, atol=1e-9)
    scan = read_scan(subject.mesh, unit="mm")
    # Landmarks lie on the mesh that was written: both are in one frame.
    for position in wanted.positions[~wanted.missing]:
        assert np.linalg.norm(scan.vertices - position, axis=1).min() < 5.0
    world = shown.surface().vertices * (-1, -1, 1)
    np.testing.assert_allclose(np.sort(scan.vertices, axis=0), np.sort(world, axis=0), atol=1e-3)


def test_training_brings_it_into_the_reference_frame(case: Case, tmp_path: Path) -> None:
    import safetensors.numpy

    root = Path(__file__).resolve().parents[2] / "Resources"
    reference = root / "Models" / "face50-simulated-2" / "reference.safetensors"
    mean = safetensors.numpy.load_file(reference)["mean_landmarks"]
    import slicer

    from PALNetLandmarksLib.landmark_files import read_landmarks

    model = slicer.vtkMRMLModelNode()
    case.scene.AddNode(model)
    storage = slicer.vtkMRMLModelStorageNode()
    storage.SetFileName(str(root / "SampleData" / "face01" / "mesh.ply"))
    assert storage.ReadData(model)
    case.set_scan(model)
    case.show_prediction(read_landmarks(root / "SampleData" / "face01" / "landmarks.txt"))
    assert np.nanmax(case.surface().project(case.landmarks().positions)[1]) < 3
    folder = save_training_case(tmp_path, "A-1", mesh_of(model), case.landmarks())
    assert not (folder / "transformation_matrix.npy").exists()
    subject = canonical_subject(folder, case.protocol, mean, tmp_path / "cache")
    assert len(subject.cloud) > 3000
    known = np.isfinite(subject.landmarks[:, 0])
    assert np.linalg.norm(subject.landmarks[known] - mean[known], axis=1).mean() < 12


def test_registration_follows_the_scan(shown: Case, scene: Scene) -> None:
    np.testing.assert_allclose(shown.scan_to_reference(), REGISTRATION, atol=1e-9)
    landmark = shown.landmarks().in_coordinate_system("LPS").positions[5]
    there = apply_transform(REGISTRATION, landmark[None])[0]
    shown.scan.HardenTransform()
    np.testing.assert_allclose(shown.scan_to_reference(), REGISTRATION, atol=1e-6)
    shown.scan.SetAndObserveTransformNodeID(scene.add_transform(MOVED).GetID())
    landmark = shown.landmarks().in_coordinate_system("LPS").positions[5]
    np.testing.assert_allclose(apply_transform(shown.scan_to_reference(), landmark[None])[0], there, atol=1e-4)
    shown.show_prediction(shown.landmarks())
    assert shown.scan_to_reference() is None


def test_nothing_is_overwritten_and_names_are_proposed(shown: Case, tmp_path: Path) -> None:
    mesh, landmarks = mesh_of(shown.scan), shown.landmarks()
    assert next_name(tmp_path) == "S0001"
    save_training_case(tmp_path, next_name(tmp_path), mesh, landmarks)
    (tmp_path / "s0041").mkdir()
    (tmp_path / "S12").mkdir()
    assert next_name(tmp_path) == "S0042" and next_name(tmp_path / "none") == "S0001"
    before = (tmp_path / "S0001" / "landmarks.txt").read_bytes()
    for name in ("S0001", "s0001", "S0041"):
        with pytest.raises(InputError, match="already") as failure:
            save_training_case(tmp_path, name, mesh, landmarks)
        assert "S0042" in failure.value.hint
    assert (tmp_path / "S0001" / "landmarks.txt").read_bytes() == before


@pytest.mark.parametrize("name", ["", "  ", "a b", "../x", "a/b", "prn", "COM1", "x" * 60, ".hidden", "Jürgen", "a.b"])
def test_names_that_cannot_be_used(shown: Case, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as failure:
        save_training_case(tmp_path, name, mesh_of(shown.scan), shown.landmarks())
    assert failure.value.code == "training_case.name"
    assert list(tmp_path.iterdir()) == []


def test_all_or_nothing(shown: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import PALNetLandmarksLib.gui.training_case as module

    mesh, landmarks = mesh_of(shown.scan), shown.landmarks()
    with pytest.raises(InputError, match="does not exist"):
        save_training_case(tmp_path / "gone", "S0001", mesh, landmarks)
    with pytest.raises(InputError, match="does not exist"):
        save_training_case("", "S0001", mesh, landmarks)
    shown.start_empty()
    with pytest.raises(InputError, match="No landmark"):
        save_training_case(tmp_path, "S0001", mesh, shown.landmarks())

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    for what in ("write_landmarks", "_write_mesh"):
        with monkeypatch.context() as patch:
            patch.setattr(module, what, full)
            with pytest.raises(InputError) as failure:
                save_training_case(tmp_path, "S0001", mesh, landmarks)
            assert "disk is full" in failure.value.hint
        assert list(tmp_path.iterdir()) == []
