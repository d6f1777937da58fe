"""An open mouth is told from a closed one by the surface alone."""

from __future__ import annotations

import numpy as np
import pytest

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.mouth import (
    OPEN_MM,
    OPEN_MOUTH_ERROR_MM,
    fall_below_lip,
    midline_profile,
    mouth_opening,
    open_mouth,
)
from PALNetLandmarksLib.engine.predictor import Predictor
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, random_rotation
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.resources import sample_scans

SUBNASALE = np.array([2.0, -40.0, 5.0])


def lower_face(depth: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """A wall with a groove ``height`` mm high and ``depth`` mm deep that begins 20 mm below the subnasale."""
    x, y = np.meshgrid(np.arange(-30.0, 31.0), np.arange(-120.0, 11.0))
    z = np.where((y < -20.0) & (y > -20.0 - height), -depth, 0.0)
    corner = (np.arange(len(x) - 1)[:, None] * x.shape[1] + np.arange(x.shape[1] - 1)).ravel()
    triangles = np.concatenate([
        np.column_stack([corner, corner + 1, corner + x.shape[1] + 1]),
        np.column_stack([corner, corner + x.shape[1] + 1, corner + x.shape[1]]),
    ])  # fmt: skip
    return np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1) + SUBNASALE, triangles


def opening(vertices: np.ndarray, triangles: np.ndarray, pose: np.ndarray, subnasale: np.ndarray) -> float:
    return mouth_opening(midline_profile(vertices, triangles, pose, subnasale))


@pytest.mark.parametrize(("depth", "height", "expected"), [(0.0, 0.0, 0.0), (6.0, 20.0, 0.0), (15.0, 20.0, 18.0)])
def test_a_deep_groove_is_an_opening_in_any_pose(depth: float, height: float, expected: float) -> None:
    vertices, triangles = lower_face(depth, height)
    assert opening(vertices, triangles, np.eye(4), SUBNASALE) == pytest.approx(expected, abs=3.0)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(np.random.default_rng(3)), [300.0, -20.0, 80.0]
    moved = opening(
        apply_transform(pose, vertices), triangles, invert_rigid(pose), apply_transform(pose, SUBNASALE[None])[0]
    )
    assert moved == pytest.approx(expected, abs=3.0)


def test_a_hole_is_an_opening_but_not_one_that_cuts_the_chin_off() -> None:
    vertices, triangles = lower_face(0.0, 0.0)
    below = SUBNASALE[1] - vertices[triangles][:, :, 1].mean(axis=1)
    for shown, expected in (((below < 20.0) | (below > 45.0), 25.0), (below < 20.0, 0.0)):
        scan = scan_from_arrays(vertices, triangles[shown])  # without the vertices that are not used
        assert opening(scan.vertices, scan.triangles, np.eye(4), SUBNASALE) == pytest.approx(expected, abs=3.0)


def test_nothing_in_the_strip_is_no_opening() -> None:
    vertices, triangles = lower_face(0.0, 0.0)
    assert opening(vertices + 500.0, triangles, np.eye(4), SUBNASALE) == 0.0
    assert open_mouth(vertices + 500.0, triangles, np.eye(4), SUBNASALE) == ""


def falling_back(fall: float, chin: float) -> tuple[np.ndarray, np.ndarray]:
    """An upper lip, a surface ``fall`` mm behind it from 28 mm below the subnasale on, and a chin that ends."""
    vertices, triangles = lower_face(0.0, 0.0)
    below = SUBNASALE[1] - vertices[:, 1]
    vertices[:, 2] -= np.where(below > 28.0, fall, 0.0) + np.where(below > chin, 30.0, 0.0)
    return vertices, triangles


@pytest.mark.parametrize(
    ("fall", "chin", "said"),
    [(6.0, 95.0, False), (12.0, 95.0, True), (12.0, 60.0, False), (18.0, 60.0, True), (12.0, 200.0, True)],
)
def test_a_filled_mouth_is_told_from_a_receding_chin(fall: float, chin: float, said: bool) -> None:
    vertices, triangles = falling_back(fall, chin)
    measured = fall_below_lip(midline_profile(vertices, triangles, np.eye(4), SUBNASALE))
    assert measured == pytest.approx((fall, min(chin, 99.0)), abs=5.0)
    sentence = open_mouth(vertices, triangles, np.eye(4), SUBNASALE)
    assert ("filled by the capture software" in sentence) is said
    assert bool(sentence) is said


def test_a_lower_face_that_is_not_there_does_not_fall_back() -> None:
    vertices, triangles = falling_back(20.0, 95.0)
    below = SUBNASALE[1] - vertices[triangles][:, :, 1].mean(axis=1)
    scan = scan_from_arrays(vertices, triangles[below < 29.0])
    assert np.isnan(fall_below_lip(midline_profile(scan.vertices, scan.triangles, np.eye(4), SUBNASALE))).all()
    assert open_mouth(scan.vertices, scan.triangles, np.eye(4), SUBNASALE) == ""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_bundle(), "cpu")


@pytest.fixture(scope="module")
def sample() -> Scan:
    return read_scan(sample_scans()[0])


def test_the_prediction_says_that_a_mouth_is_open(predictor: Predictor, sample: Scan) -> None:
    closed = predictor.predict(sample)
    assert "face.open_mouth" not in [warning.code for warning in closed.warnings]
    # As in a scan of an open mouth into which no camera could look: nothing between the lips.
    place = apply_transform(closed.scan_to_reference, sample.vertices[sample.triangles].mean(axis=1))
    lip = closed.landmarks.positions[[predictor.bundle.protocol.index("Li")]]
    inside = (np.abs(place - apply_transform(closed.scan_to_reference, lip)) < [18.0, 9.0, 40.0]).all(axis=1)
    opened = predictor.predict(scan_from_arrays(sample.vertices, sample.triangles[~inside]))
    assert inside.any() and OPEN_MM < 18.0
    warning = next(warning for warning in opened.warnings if warning.code == "face.open_mouth")
    assert "do not trust landmarks of lips and chin" in warning.message
    before, after = (np.asarray(one.landmarks.expected_error_mm) for one in (closed, opened))
    labels = predictor.bundle.protocol.labels
    for label, one, other in zip(labels, before, after, strict=True):
        least = OPEN_MOUTH_ERROR_MM.get(label, 0.0)
        assert not one >= least > 0.0
        assert other >= least or np.isnan(other)  # missing, in the hole
    assert after[labels.index("Pg")] == 20.0 and after[labels.index("Prn")] < 2.0
