"""The whole way from a mesh to landmarks, with the default model on the sample scan: metamorphic properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.bundle import find_bundles, load_bundle
from PALNetLandmarksLib.engine.predictor import Prediction, Predictor
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, random_rotation
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.errors import DeviceError, InputError, RegistrationError
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
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


def largest_move(first: Prediction | np.ndarray, second: Prediction | np.ndarray) -> float:
    """Largest distance in mm between two answers; they must agree on what is missing."""
    a, b = (x.landmarks.positions if isinstance(x, Prediction) else x for x in (first, second))
    assert (np.isnan(a) == np.isnan(b)).all()
    return float(np.nanmax(np.linalg.norm(a - b, axis=1)))


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
    record = prediction.landmarks.provenance
    assert record["model_id"] == predictor.bundle.id
    assert record["model_sha256"] == predictor.bundle.weights_sha256
    assert record["scan_sha256"] == scan.sha256
    assert "simulat" in record["model_training_data"].lower()
    assert set(prediction.stage_seconds) == {"registration", "patches", "network", "projection"}


def test_twice_the_same_gives_the_same_bits(predictor: Predictor, prediction: Prediction, scan: Scan) -> None:
    again = predictor.predict(scan)
    np.testing.assert_array_equal(again.landmarks.positions, prediction.landmarks.positions)
    np.testing.assert_array_equal(again.landmarks.expected_error_mm, prediction.landmarks.expected_error_mm)


def test_landmarks_move_with_the_scan(predictor: Predictor, prediction: Prediction, scan: Scan) -> None:
    generator = np.random.default_rng(0)
    for _ in range(3):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-500, 500, 3)
        moved = predictor.predict(replace(scan, vertices=apply_transform(pose, scan.vertices)))
        back = apply_transform(invert_rigid(pose), moved.landmarks.positions)
        assert largest_move(prediction, back) < 0.5


def shuffled(scan: Scan) -> Scan:
    generator = np.random.default_rng(1)
    order = generator.permutation(len(scan.vertices))
    rank = np.argsort(order)
    triangles = rank[scan.triangles][generator.permutation(len(scan.triangles))]
    return scan_from_arrays(scan.vertices[order], np.roll(triangles, 1, axis=1))


def duplicated(scan: Scan) -> Scan:
    """Every triangle with vertices of its own, as in an STL file."""
    return scan_from_arrays(
        scan.vertices[scan.triangles].reshape(-1, 3), np.arange(3 * len(scan.triangles)).reshape(-1, 3)
    )


def in_metres(scan: Scan) -> Scan:
    return scan_from_arrays(scan.vertices / 1000.0, scan.triangles, unit="m")


@pytest.mark.parametrize(
    ("change", "limit"),
    [(shuffled, 2.5), (duplicated, 2.5), (in_metres, 0.5)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_mesh_may_be_written_otherwise(
    predictor: Predictor, prediction: Prediction, scan: Scan, change: Callable[[Scan], Scan], limit: float
) -> None:
    """Order decides which points are sampled, so landmarks move a little (1.8 mm at most here); units do not."""
    changed = predictor.predict(change(scan))
    both = ~(changed.landmarks.missing | prediction.landmarks.missing)
    assert both.sum() >= 48
    apart = np.linalg.norm(changed.landmarks.positions - prediction.landmarks.positions, axis=1)[both]
    assert apart.max() < limit


def test_mirrored_face_swaps_sides(predictor: Predictor, prediction: Prediction, scan: Scan) -> None:
    mirrored = scan_from_arrays(scan.vertices * [-1.0, 1.0, 1.0], scan.triangles[:, ::-1])
    found = predictor.predict(mirrored).landmarks.positions
    swapped = found[predictor.bundle.protocol.mirror] * [-1.0, 1.0, 1.0]
    apart = np.linalg.norm(swapped - prediction.landmarks.positions, axis=1)
    # Other points are sampled, as in the test above; and the top of an ear may be projected to either face of its rim.
    assert np.nanmedian(apart) < 0.6
    assert np.nanpercentile(apart, 95) < 2.0
    assert np.nanmax(apart) < 5.0


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


def box_round(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    box = trimesh.creation.box(extents=np.ptp(scan.vertices, axis=0)).subdivide_to_size(6.0)
    return np.asarray(box.vertices), np.asarray(box.faces)


def ball(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    sphere = trimesh.creation.icosphere(5, radius=100.0)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


@pytest.mark.parametrize("shape", [box_round, ball])
def test_what_is_no_face_is_refused(predictor: Predictor, scan: Scan, shape: Callable[[Scan], tuple]) -> None:
    with pytest.raises(RegistrationError) as caught:
        predictor.predict(scan_from_arrays(*shape(scan)))
    assert caught.value.exit_code == 4
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


@pytest.mark.gpu
def test_cpu_and_gpu_agree(prediction: Prediction, scan: Scan) -> None:
    assert largest_move(prediction, Predictor(load_bundle(), "cuda").predict(scan)) < 0.05


def test_bundled_models_are_small_enough() -> None:
    weights = [path / "weights.safetensors" for path in find_bundles()]
    assert weights
    assert sum(Path(path).stat().st_size for path in weights) <= 12e6
