"""Asymmetry against shifts that are known."""

from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.asymmetry import FALLBACK_AXIS, asymmetry
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol, load_protocol

DATA = Path(__file__).resolve().parents[1] / "data"
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
PROTOCOL = load_protocol()


def rotation(seed):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def pair(label):
    return [right for right, _ in PROTOCOL.pairs].index(PROTOCOL.index(label))


def axes_of_face():
    """Left, up and front of the symmetric face, worked from mid-tragion to mid-orbitale in its plane x = 0."""
    front = FACE[PROTOCOL.index("Or_R")] - FACE[PROTOCOL.index("T_R")]
    front = np.array([0.0, front[1], front[2]]) / np.hypot(front[1], front[2])
    return np.array([1.0, 0, 0]), np.array([0.0, front[2], -front[1]]), front


def test_a_symmetric_face_has_none():
    result = asymmetry(FACE, PROTOCOL)
    assert np.abs(result.components).max() < 1e-9
    assert result.residual_rms_mm < 1e-9
    assert result.points_used == 31 and len(result.pairs) == 19
    assert result.plane_normal == pytest.approx([1, 0, 0], abs=1e-9)
    assert result.axes_method.startswith("Frankfurt")
    assert result.axes == pytest.approx(np.array(axes_of_face()), abs=1e-9)


@pytest.mark.parametrize("amount", [3.0, -3.0])
@pytest.mark.parametrize("side", ["Ch_L", "Ch_R"])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_shift_in_the_plane_is_given_back_exactly(amount, side, axis):
    face = FACE.copy()
    face[PROTOCOL.index(side)] += amount * axes_of_face()[axis]
    result = asymmetry(face, PROTOCOL)
    expected = np.zeros((19, 3))
    expected[pair("Ch_R"), axis] = amount if side == "Ch_L" else -amount
    assert result.components == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "shift"), [("Ch_L", 3.0), ("Ch_R", -3.0)])
def test_a_lateral_shift_outwards_has_the_sign_of_its_side(side, shift):
    face = FACE.copy()
    face[PROTOCOL.index(side), 0] += shift
    lateral = asymmetry(face, PROTOCOL).lateral[pair("Ch_R")]
    # The midpoint moves by 1.5 mm and draws the plane of 31 points along a little.
    assert lateral == pytest.approx(3.0 if side == "Ch_L" else -3.0, abs=0.3)
    assert abs(lateral) < 3.0


def test_rotation_and_translation_change_nothing():
    face = FACE + np.random.default_rng(5).normal(size=FACE.shape) * 2
    first = asymmetry(face, PROTOCOL)
    for seed in range(5):
        turn = rotation(seed)
        second = asymmetry(face @ turn.T + [10, 200, -3000], PROTOCOL)
        assert second.components == pytest.approx(first.components, abs=1e-8)
        assert second.residual_rms_mm == pytest.approx(first.residual_rms_mm, abs=1e-8)
        assert second.plane_normal == pytest.approx(turn @ first.plane_normal, abs=1e-8)


def test_the_plane_is_the_total_least_squares_plane():
    optimize = pytest.importorskip("scipy.optimize")
    face = FACE + np.random.default_rng(2).normal(size=FACE.shape) * 4
    result = asymmetry(face, PROTOCOL)
    right, left = np.array(PROTOCOL.pairs).T
    points = np.concatenate([face[list(PROTOCOL.midline)], (face[right] + face[left]) / 2])

    def rms(angles):
        around, up = angles
        normal = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
        heights = points @ normal
        return np.sqrt(np.mean((heights - heights.mean()) ** 2))

    best = optimize.minimize(rms, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12})
    assert result.residual_rms_mm == pytest.approx(best.fun, abs=1e-7)


def test_weights_draw_the_plane():
    face = FACE.copy()
    face[PROTOCOL.index("Pg"), 0] += 6.0
    even = asymmetry(face, PROTOCOL)
    weights = np.ones(50)
    weights[PROTOCOL.index("Pg")] = 1e-9
    assert np.abs(even.components).max() > 0.1
    assert np.abs(asymmetry(face, PROTOCOL, weights=weights).components).max() < 1e-6
    with pytest.raises(ValueError):
        asymmetry(face, PROTOCOL, weights=np.ones(3))


def test_missing_landmarks_leave_their_pair_empty_and_change_the_axis():
    face = FACE.copy()
    face[PROTOCOL.index("Or_R")] = np.nan
    result = asymmetry(face, PROTOCOL)
    assert np.isnan(result.components[pair("Or_R")]).all()
    assert np.isnan(result.components).any(axis=1).sum() == 1
    assert result.axes_method == "mid-tragion to the midpoint of nasion and subnasale"
    face[PROTOCOL.index("T_L")] = np.nan
    result = asymmetry(face, PROTOCOL)
    assert result.axes_method in (FALLBACK_AXIS, "")
    assert np.abs(result.lateral[pair("Ch_R")]) < 1e-9


def test_without_named_axes_the_longest_axis_is_the_vertical():
    protocol = Protocol.from_dict(
        {
            "id": "plain",
            "version": "1.0",
            "title": "no axes",
            "landmarks": [{"label": f"M{k}", "side": "midline"} for k in range(3)]
            + [{"label": "E_R", "side": "right"}, {"label": "E_L", "side": "left"}],
        }
    )
    # The longest axis is exactly y; the midline lies in front of the pair.
    face = np.array([[0.0, 60, 10], [0, 0, 10], [0, -60, 10], [-30, 0, -10], [30, 2, -10]])
    result = asymmetry(face, protocol)
    assert result.axes_method == FALLBACK_AXIS
    assert result.axes[1] @ [0, 1, 0] > 0.99 and result.axes[2] @ [0, 0, 1] > 0.99
    assert result.vertical[0] == pytest.approx(2.0, abs=0.01)
    turned = asymmetry(face @ rotation(3).T, protocol)
    assert turned.components == pytest.approx(result.components, abs=1e-9)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (("N", "Sn"), "fewer than 3"),
        ((), "fewer than 3"),
        (("N", "Sn", "Pg", "Gn"), "no pair is complete"),
    ],
)
def test_too_little_is_said_and_gives_no_numbers(keep, said):
    face = np.full((50, 3), np.nan)
    for label in keep:
        face[PROTOCOL.index(label)] = FACE[PROTOCOL.index(label)]
    result = asymmetry(face, PROTOCOL)
    assert said in result.failure
    assert np.isnan(result.components).all() and np.isnan(result.residual_rms_mm)


def test_points_on_a_line_or_all_alike_have_no_plane():
    line = FACE.copy()
    line[:, 1:] = np.linspace(0, 50, 50)[:, None]
    line[PROTOCOL.mirror, 1:] = line[:, 1:].copy()
    line[:, 1:] = (line[:, 1:] + line[PROTOCOL.mirror, 1:]) / 2
    assert "line" in asymmetry(line, PROTOCOL).failure
    assert asymmetry(np.zeros((50, 3)), PROTOCOL).failure


def test_points_in_a_wrong_order_are_no_face():
    by_text = np.empty_like(FACE)
    by_text[[mark.lafas_file_row - 1 for mark in PROTOCOL.landmarks]] = FACE
    assert asymmetry(by_text, PROTOCOL).failure


def test_asymmetry_below_the_landmarks_error_is_not_distinguishable():
    face = FACE.copy()
    face[PROTOCOL.index("Ch_L")] += 3.0 * axes_of_face()[1]
    errors = np.full(50, np.nan)
    errors[[PROTOCOL.index("Ch_R"), PROTOCOL.index("Ch_L")]] = (1.5, 2.0)
    landmarks = LandmarkSet.from_positions(PROTOCOL, face, "predicted", expected_error_mm=errors)
    result = asymmetry(landmarks)
    assert result.expected_error_mm[pair("Ch_R")] == pytest.approx(2.5)
    assert result.distinguishable[pair("Ch_R")]
    assert not asymmetry(landmarks, expected_error_mm=errors * 2).distinguishable.any()
    with pytest.raises(ValueError):
        asymmetry(FACE)
