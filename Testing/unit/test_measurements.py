"""Measurements against values worked by hand, scipy-like formulas written out, and random trials."""

import math
import time
import timeit
import warnings
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import measure, measurement_values
from PALNetLandmarksLib.protocol import Protocol, load_protocol

DATA = Path(__file__).resolve().parents[1] / "data"
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))


def protocol_of(*measurements):
    return Protocol.from_dict(
        {
            "id": "four",
            "version": "1.0",
            "title": "four points",
            "landmarks": [{"label": label, "side": "midline", "palpated": label == "D"} for label in "ABCD"],
            "measurements": [
                {"id": f"{kind} {points}", "kind": kind, "points": points} for kind, points in measurements
            ],
        }
    )


def test_values_worked_by_hand():
    protocol = protocol_of(
        ("distance", "A B"),
        ("angle", "A B C"),
        ("angle", "C A B"),
        ("point_to_line", "D A C"),
        ("ratio_percent", "A B / B C"),
    )
    # A right triangle 3-4-5 with the right angle in B; D stands 12 mm above the middle of the hypotenuse.
    points = np.array([[3.0, 0, 0], [0, 0, 0], [0, 4, 0], [1.5, 2, 12]])
    values = measure(points, protocol).values
    assert values == pytest.approx([3.0, 90.0, math.degrees(math.atan(4 / 3)), 12.0, 75.0])


def test_the_perpendicular_distance_has_no_sign():
    protocol = protocol_of(("point_to_line", "A B C"))
    for side in (-2.0, 2.0):
        assert measure(np.array([[7, side, 0], [0, 0, 0], [1, 0, 0], [9, 9, 9.0]]), protocol).values == [2.0]


def independent_value(item, at):
    """The same quantity by other formulas: law of cosines and Heron, from the sides' lengths only."""
    side = {(a, b): math.dist(at[a], at[b]) for a in item.points for b in item.points}
    if item.kind == "distance":
        return side[item.points]
    if item.kind == "ratio_percent":
        return 100 * side[item.points[:2]] / side[item.points[2:]]
    a, b, c = item.points
    if item.kind == "angle":
        cosine = (side[a, b] ** 2 + side[b, c] ** 2 - side[a, c] ** 2) / (2 * side[a, b] * side[b, c])
        return math.degrees(math.acos(cosine))
    half = (side[a, b] + side[b, c] + side[a, c]) / 2
    return 2 * math.sqrt(half * (half - side[a, b]) * (half - side[b, c]) * (half - side[a, c])) / side[b, c]


def test_all_93_against_formulas_from_side_lengths():
    protocol = load_protocol()
    points = FACE + np.random.default_rng(3).normal(size=(50, 3)) * 3
    at = {label: points[place] for place, label in enumerate(protocol.labels)}
    expected = [independent_value(item, at) for item in protocol.measurements]
    result = measure(points, protocol)
    assert len(result.values) == 93
    assert result.values == pytest.approx(expected, rel=1e-9)
    assert result.ids[0] == "Tr-N" and result.value("Tr-N") == pytest.approx(math.dist(at["Tr"], at["N"]))
    with pytest.raises(KeyError):
        result.value("nonsense")


def test_angles_near_0_and_180_degrees_stay_exact():
    protocol = protocol_of(("angle", "A B C"))
    for small in (1e-7, 1e-10):
        points = np.array([[100, 0, 0], [0, 0, 0], [100, 100 * small, 0], [0, 0, 1.0]])
        assert measure(points, protocol).values[0] == pytest.approx(math.degrees(small), rel=1e-6)


def test_rigid_motion_changes_nothing():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    protocol = load_protocol()
    moved = FACE @ rotation.T + [100, -2000, 30]
    assert measure(moved, protocol).values == pytest.approx(measure(FACE, protocol).values, abs=1e-8)


def test_a_missing_landmark_leaves_exactly_its_measures_empty():
    protocol = load_protocol()
    points = FACE.copy()
    points[protocol.index("Sn")] = np.nan
    result = measure(points, protocol)
    expected = ["Sn" in item.points for item in protocol.measurements]
    assert result.missing.tolist() == expected and any(expected)


def test_landmarks_that_coincide_give_nothing_and_no_warning():
    protocol = protocol_of(
        ("distance", "A B"), ("angle", "A B C"), ("point_to_line", "C A B"), ("ratio_percent", "C D / A B")
    )
    points = np.array([[1.0, 1, 1], [1, 1, 1], [5, 0, 0], [0, 5, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure(points, protocol, expected_error_mm=np.ones(4))
    assert result.values[0] == 0.0
    assert np.isnan(result.values[1:]).all() and np.isnan(result.expected_error).all()


def test_many_faces_at_once_equal_one_by_one():
    protocol = load_protocol()
    faces = FACE + np.random.default_rng(1).normal(size=(2, 3, 50, 3))
    together = measurement_values(faces, protocol)
    assert together.shape == (2, 3, 93)
    assert np.array_equal(together[1, 2], measure(faces[1, 2], protocol).values)


def test_expected_error_worked_by_hand():
    protocol = protocol_of(
        ("distance", "A B"), ("ratio_percent", "A B / A C"), ("point_to_line", "D A C"), ("angle", "A B C")
    )
    points = np.array([[0.0, 0, 0], [30, 0, 0], [0, 40, 0], [0, 10, 5]])
    errors = np.array([1.0, 2.0, 3.0, 4.0])
    result = measure(points, protocol, expected_error_mm=errors).expected_error
    assert result[0] == pytest.approx(0.5 * math.hypot(1, 2))
    # r = 100 AB / AC with A in both: its gradient is (-100/40, +100*30/1600) in (x, y).
    variance = ((100 / 40) ** 2 + (100 * 30 / 1600) ** 2) * 1 + (100 / 40) ** 2 * 4 + (100 * 30 / 1600) ** 2 * 9
    assert result[1] == pytest.approx(0.5 * math.sqrt(variance))
    # The foot of D lies a quarter of the way from A to C.
    assert result[2] == pytest.approx(0.5 * math.sqrt(16 + (0.75 * 1) ** 2 + (0.25 * 3) ** 2))
    # Angle at B: 1/30 rad per mm for A, 1/50 for C, |AC| / (30 * 50) for B.
    radians = math.sqrt((1 / 30) ** 2 * 1 + (40 / 1500) ** 2 * 4 + (1 / 50) ** 2 * 9)
    assert result[3] == pytest.approx(0.5 * math.degrees(radians))


def test_expected_error_against_random_trials():
    protocol = load_protocol()
    rng = np.random.default_rng(7)
    errors = rng.uniform(0.2, 0.6, 50)  # small, so that the first order is all there is
    expected = measure(FACE, protocol, expected_error_mm=errors).expected_error
    deviations = errors / math.sqrt(8 / math.pi)
    noise = rng.normal(size=(4000, 50, 3)) * deviations[None, :, None]
    assert np.linalg.norm(noise, axis=2).mean(axis=0) == pytest.approx(errors, rel=0.05)
    found = np.abs(measurement_values(FACE + noise, protocol) - measurement_values(FACE, protocol)).mean(axis=0)
    # Where three points lie nearly on a line the second order shows.
    assert np.median(np.abs(found / expected - 1)) < 0.02
    assert np.mean(np.abs(found / expected - 1) < 0.06) > 0.97


def test_flags_say_what_a_value_rests_on():
    protocol = protocol_of(("distance", "A B"), ("distance", "C D"), ("distance", "B C"))
    points = np.array([[0.0, 0, 0], [1, 0, 0], [np.nan] * 3, [0, 0, 2]])
    result = measure(points, protocol, expected_error_mm=np.array([1.0, 4.5, np.nan, 1.0]))
    assert [result.flags(place) for place in range(3)] == [
        ("low-confidence",),
        ("missing", "palpated"),
        ("missing", "low-confidence"),
    ]
    assert result.flags(0, low_confidence_mm=5.0) == ()
    assert np.isnan(result.expected_error).tolist() == [False, True, True]


def test_sets_bring_their_own_protocol_and_errors():
    protocol = load_protocol()
    landmarks = LandmarkSet.from_positions(protocol, FACE, "predicted", expected_error_mm=np.full(50, 2.0))
    result = measure(landmarks)
    assert result.value("T_R-T_L") == pytest.approx(2 * abs(FACE[protocol.index("T_R"), 0]))
    # Two points of 2 mm each: half of the root of 4 + 4.
    assert result.expected_error[0] == pytest.approx(math.sqrt(2))
    with pytest.raises(ValueError):
        measure(FACE)
    with pytest.raises(ValueError):
        measure(FACE[:49], protocol)


def test_a_recomputation_is_fast_enough_to_follow_the_mouse():
    protocol = load_protocol()
    errors = np.full(50, 2.0)

    def recompute():
        measure(FACE, protocol, expected_error_mm=errors)

    # 0.4 ms on a quiet machine; time of this process only, and a wide margin, as others may be busy.
    best = min(timeit.repeat(recompute, timer=time.process_time, number=20, repeat=10)) / 20
    assert best < 3e-3


def test_a_protocol_without_measurements():
    result = measure(np.zeros((4, 3)), protocol_of(), expected_error_mm=np.ones(4))
    assert result.values.shape == (0,) and result.ids == ()
