"""Cases of a batch in the scene, one after the other: each comes whole and goes whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.resources import sample_scans


@pytest.fixture
def files(tmp_path: Path, protocol: Any) -> tuple[Path, Path]:
    """A scan in metres and its landmarks in mm, as a batch leaves them."""
    scan = read_scan(sample_scans()[0])
    write_mesh(tmp_path / "Mrs Miller.ply", scan.vertices / 1000, scan.triangles)
    known = read_landmarks(sample_scans()[0].with_name("landmarks.txt"), protocol)
    landmarks = LandmarkSet.from_positions(protocol, known.positions, "predicted")
    write_landmarks(tmp_path / "case_0001.mrk.json", landmarks, case="case_0001")
    return tmp_path / "Mrs Miller.ply", tmp_path / "case_0001.mrk.json"


@pytest.fixture
def desk(scene: Scene, case: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    import slicer

    from PALNetLandmarksLib.gui import review_desk

    monkeypatch.setattr(slicer.util, "loadModel", lambda path: scene.models.AddModel(path))
    monkeypatch.setattr(slicer, "mrmlScene", scene.mrml, raising=False)
    chosen: list[tuple[Any, str]] = []

    def choose(node: Any, name: str) -> None:
        chosen.append((node, name))
        case.set_scan(node)

    made = review_desk.SceneDesk(case, choose, lambda: None)
    made.chosen = chosen
    return made


def test_case_is_shown_in_mm_under_its_own_name(desk: Any, case: Any, files: tuple[Path, Path], protocol: Any) -> None:
    scan, landmarks = files
    desk.open_case(str(scan), str(landmarks), "case_0001", 1000.0)
    assert case.scan.GetName() == "case_0001" and desk.chosen[-1][1] == "case_0001"
    assert not any("Miller" in node.GetName() for node in (case.scan, case.landmarks_node))
    shown, written = desk.landmarks(), read_landmarks(landmarks, protocol)
    np.testing.assert_allclose(shown.positions, written.positions, atol=1e-3)
    found = ~shown.missing
    _nearest, distances, _normals = case.surface().project(case.landmarks().positions[found])
    assert distances.max() < 5.0


def test_nothing_stays_of_twenty_cases(desk: Any, case: Any, scene: Scene, files: tuple[Path, Path]) -> None:
    scan, landmarks = files
    case.set_scan(None)
    desk.open_case(str(scan), str(landmarks), "case_0001", 1000.0)
    desk.close_case()
    before = scene.mrml.GetNumberOfNodes()
    for number in range(20):
        desk.open_case(str(scan), str(landmarks), f"case_{number:04d}", 1000.0)
        desk.close_case()
    assert scene.mrml.GetNumberOfNodes() == before
    assert case.scan is None and case.landmarks_node is None and desk.landmarks() is None


def test_what_cannot_be_read_leaves_nothing(desk: Any, scene: Scene, files: tuple[Path, Path], tmp_path: Path) -> None:
    before = scene.mrml.GetNumberOfNodes()
    bad = tmp_path / "bad.mrk.json"
    bad.write_text("{")
    with pytest.raises(InputError):
        desk.open_case(str(files[0]), str(bad), "case_0001", 1.0)
    assert scene.mrml.GetNumberOfNodes() == before and desk.landmarks() is None
