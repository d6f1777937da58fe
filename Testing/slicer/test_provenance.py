"""What is recorded of a prediction survives Slicer's own reading and writing, and an export names it again."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from PALNetLandmarksLib.gui.export_files import write_files
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.manifest import read_manifest, state_of
from PALNetLandmarksLib.protocol import Protocol

FACTS = {
    "model_id": "m",
    "bundle_sha256": "ab" * 32,
    "mesh_sha256": "cd" * 32,
    "libraries": "Python 3.12.1; numpy 2.0.0",
    "start_points": "Prn 1.0 2.0 3.0; Ex_R 4.5 5.0 6.0",
    "prediction_sha256": "ef" * 32,
    "threads": "4",
}


def face(protocol: Protocol) -> LandmarkSet:
    positions = np.random.default_rng(1).normal(0.0, 50.0, (50, 3))
    return LandmarkSet.from_positions(protocol, positions, "predicted", provenance=FACTS)


def test_slicer_keeps_the_record(scene: Any, protocol: Protocol, tmp_path: Path) -> None:
    write_landmarks(tmp_path / "face.mrk.json", face(protocol).with_point("Prn", (1, 2, 3), "corrected"))
    node = scene.mrml.GetNodeByID(scene.markups.LoadMarkups(str(tmp_path / "face.mrk.json")))
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    scene.mrml.AddNode(storage)
    storage.SetFileName(str(tmp_path / "saved.mrk.json"))
    assert storage.WriteData(node)
    saved = read_landmarks(tmp_path / "saved.mrk.json")
    assert {key: saved.provenance.get(key) for key in FACTS} == FACTS
    assert [label for label, said in zip(protocol.labels, saved.status, strict=True) if said == "corrected"] == ["Prn"]
    np.testing.assert_allclose(saved.in_coordinate_system("LPS").positions[0], face(protocol).positions[0], atol=1e-6)


def test_an_export_has_a_manifest_that_goes_on(protocol: Protocol, tmp_path: Path) -> None:
    found = face(protocol)
    names = write_files(str(tmp_path), "P 001", found, ("long", "tps", "lafas"), "")
    assert names[-1] == "P 001.manifest.json" and len(names) == 5
    write_files(str(tmp_path), "P 001", found.with_point("Prn", None, "missing"), ("wide", "tps"), "")
    first, second = read_manifest(tmp_path / "P 001.manifest.json")
    assert {file.name for file in first.files} == {"P 001_measurements.csv", "P 001.txt", "P 001.record.json"}
    assert {file.name for file in second.files} == {"P 001_measurements_wide.csv", "P 001.tps"}
    assert {state_of(tmp_path, file) for file in (*first.files, *second.files)} == {"whole"}
    assert second.cases["P 001"]["missing_landmarks"] == "Prn" and first.cases["P 001"]["missing_landmarks"] == ""
    assert {key: first.cases["P 001"][key] for key in FACTS} == FACTS
    assert not list(tmp_path.glob(".palnet*"))


def test_what_a_killed_export_left_goes_with_the_next(
    protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *place, **options: None)
        write_files(str(tmp_path), "P 001", face(protocol), ("tps",), "")
    (left,) = tmp_path.glob(".palnet*")
    write_files(str(tmp_path), "P 001", face(protocol), ("tps",), "")
    assert left.exists()  # it may belong to another Slicer that writes now
    os.utime(left, (time.time() - 7200,) * 2)
    write_files(str(tmp_path), "P 001", face(protocol), ("tps",), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P 001.manifest.json", "P 001.tps"]
