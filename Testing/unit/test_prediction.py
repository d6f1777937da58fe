"""The whole way from a mesh to landmarks, with the default model on the sample scan."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.bundle import DESCRIPTION, WEIGHTS, find_bundles, load_bundle
from PALNetLandmarksLib.engine.predictor import Prediction, Predictor
from PALNetLandmarksLib.engine.provenance import prediction_provenance
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.errors import DeviceError, InputError
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.landmarks import PROVENANCE_KEYS, LandmarkSet
from PALNetLandmarksLib.resources import sample_scans


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_bundle(), "cpu")


@pytest.fixture(scope="module")
def scan() -> Scan:
    return read_scan(sample_scans()[0])


@pytest.fixture(scope="module")
def truth() -> LandmarkSet:
    return read_landmarks(sample_scans()[0].with_name("landmarks.txt"))


@pytest.fixture(scope="module")
def prediction(predictor: Predictor, scan: Scan) -> Prediction:
    return predictor.predict(scan)


def test_landmarks_are_close_to_the_truth(prediction: Prediction, truth: LandmarkSet) -> None:
    error = np.linalg.norm(prediction.landmarks.positions - truth.positions, axis=1)
    assert np.nanmean(error) < 3.0
    assert np.nanmax(error) < 10.0
    assert prediction.registration.verdict == "good"
    expected = np.asarray(prediction.landmarks.expected_error_mm)
    assert 0.3 < np.nanmean(expected) / np.nanmean(error) < 3.0


def test_landmarks_lie_on_the_surface(prediction: Prediction, scan: Scan) -> None:
    from PALNetLandmarksLib.engine.projection import prepare_surface, project_to_surface

    points = np.asarray(prediction.landmarks.positions)
    found = points[~np.isnan(points).any(axis=1)]
    assert project_to_surface(prepare_surface(scan.vertices, scan.triangles), found).moved_mm.max() < 1e-6


def test_provenance_is_complete(prediction: Prediction, predictor: Predictor, scan: Scan) -> None:
    record, found, bundle = prediction.landmarks.provenance, prediction.registration, predictor.bundle
    mesh = scan.vertices.astype("<f4").tobytes() + scan.triangles.astype("<i4").tobytes()
    values = np.column_stack([prediction.landmarks.positions, prediction.landmarks.expected_error_mm])
    created = datetime.fromisoformat(record["created_utc"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - created).total_seconds()) < 3600
    assert "simulat" in record["model_training_data"].lower()
    assert record == {
        "model_id": bundle.id,
        "model_version": json.loads((bundle.path / DESCRIPTION).read_text(encoding="utf-8"))["version"],
        "model_sha256": sha256((bundle.path / WEIGHTS).read_bytes()).hexdigest(),
        "bundle_sha256": bundle.sha256,
        "model_training_data": bundle.training_data,
        "software_version": f"PALNetLandmarks {__version__}",
        "libraries": "; ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "torch", "open3d", "trimesh")]
        ),
        "created_utc": record["created_utc"],
        "scan_sha256": sha256(sample_scans()[0].read_bytes()).hexdigest(),
        "mesh_sha256": sha256(mesh).hexdigest(),
        "scan_unit": "mm",
        "scan_scale_to_mm": "1",
        "registration_verdict": found.verdict,
        "registration_fitness": f"{found.fitness:.3f}",
        "registration_rms_mm": f"{found.inlier_rms_mm:.2f}",
        "registration_score": f"{found.score:.3f}",
        "registration_attempts": str(found.attempts),
        "projection": bundle.projection["kind"],
        "device": "cpu",
        "processor": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "seed": "0",
        "prediction_sha256": sha256(values.astype("<f8").tobytes()).hexdigest(),
    }
    # A batch adds its own; what is empty is left out.
    assert set(PROVENANCE_KEYS) - set(record) == {"settings", "warnings", "start_points"}
    picked = LandmarkSet.from_positions(bundle.protocol, np.full((len(bundle.protocol), 3), np.nan))
    picked = picked.with_point("Prn", (0.1, 2.0, -1e-7), "placed")
    inches = replace(scan, unit="in", scale_to_mm=25.4)
    other = prediction_provenance(bundle, inches, found, device=torch.device("cpu"), seed=7, initial=picked)
    keys = ("seed", "start_points", "scan_unit", "scan_scale_to_mm")
    assert [other[key] for key in keys] == ["7", "Prn 0.1 2.0 -1e-07", "in", "25.4"]
    assert set(prediction.stage_seconds) == {"registration", "patches", "network", "projection"}


def test_three_picked_points_are_enough_to_start(predictor: Predictor, prediction: Prediction, scan: Scan) -> None:
    protocol = predictor.bundle.protocol
    picked = np.full((len(protocol), 3), np.nan)
    for label in ("Prn", "Ex_R", "Ex_L"):
        picked[protocol.index(label)] = prediction.landmarks.positions[protocol.index(label)] + 2.0
    found = predictor.predict(scan, initial=LandmarkSet.from_positions(protocol, picked))
    assert np.nanmax(np.linalg.norm(found.landmarks.positions - prediction.landmarks.positions, axis=1)) < 2.0


def test_two_picked_points_are_not(predictor: Predictor, scan: Scan) -> None:
    protocol = predictor.bundle.protocol
    picked = np.full((len(protocol), 3), np.nan)
    picked[:2] = scan.vertices[:2]
    with pytest.raises(InputError) as caught:
        predictor.predict(scan, initial=LandmarkSet.from_positions(protocol, picked))
    assert caught.value.hint


def test_ears_cut_off_are_missing(predictor: Predictor, prediction: Prediction, scan: Scan) -> None:
    aligned = apply_transform(prediction.scan_to_reference, scan.vertices)
    tragion = predictor.bundle.mean_landmarks[predictor.bundle.protocol.index("T_R")]
    kept = (aligned[scan.triangles][:, :, 2] > tragion[2] + 30.0).all(axis=1)
    found = predictor.predict(scan_from_arrays(scan.vertices, scan.triangles[kept])).landmarks
    for label in ("Pa_R", "Pa_L", "Sa_R", "Sa_L", "T_R", "T_L"):
        place = found.protocol.index(label)
        assert found.status[place] == "missing", label
        assert "ear" in found.notes[place] or "covered" in found.notes[place]
    assert found.status[found.protocol.index("Prn")] == "predicted"


def test_a_protocol_of_68_landmarks_goes_the_whole_way(scan: Scan, predictor: Predictor, tmp_path: Path) -> None:
    """Untrained weights: where the landmarks lie does not count, that everything follows the protocol does."""
    from safetensors.torch import save

    from PALNetLandmarksLib.engine.bundle import write_bundle
    from PALNetLandmarksLib.engine.networks import build_network
    from PALNetLandmarksLib.landmark_files import write_landmarks
    from PALNetLandmarksLib.measurements import measure
    from PALNetLandmarksLib.protocol import load_protocol

    protocol = load_protocol(Path(__file__).parents[1] / "data" / "protocols" / "face68.json")
    parameters = {"landmarks": 68, "mirror": [int(i) for i in protocol.mirror], "points": 64, "width": 40}
    description = {
        "id": "face68", "version": "0", "title": "untrained", "protocol": protocol.to_dict(), "metrics": {},
        "network": {"name": "patch_transformer", "parameters": parameters}, "projection": {"kind": "vertex_centroid"},
        "confidence": {"scale": [1.0] * 68}, "training_data": "none", "licence": "MIT",
        "missing": {"distance_mm": 50.0, "border_margin_mm": 50.0, "visible_probability": 0.0},
    }  # fmt: skip
    weights = save(build_network("patch_transformer", parameters).state_dict())
    around = np.random.default_rng(0).normal(0.0, 30.0, (68, 3)) * [1.0, 1.0, 0.2]
    write_bundle(tmp_path / "b", description, weights, predictor.bundle.reference, around, "untrained")
    found = Predictor(load_bundle(tmp_path / "b"), "cpu").predict(scan).landmarks
    assert found.positions.shape == (68, 3)
    write_landmarks(tmp_path / "f.mrk.json", found)
    assert read_landmarks(tmp_path / "f.mrk.json", protocol).protocol.labels == protocol.labels
    assert len(measure(found, protocol).values) == len(protocol.measurements)


def test_cuda_without_a_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError) as caught:
        Predictor(load_bundle(), "cuda")
    assert caught.value.exit_code == 6


def test_bundled_models_are_small_enough() -> None:
    weights = [path / "weights.safetensors" for path in find_bundles()]
    assert weights
    assert sum(Path(path).stat().st_size for path in weights) <= 12e6
