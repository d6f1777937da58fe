import numpy as np
import pytest

from PALNetLandmarksLib.engine.rigid import (
    apply_transform,
    invert_rigid,
    random_rotation,
    rigid_fit,
    rotation_angle,
    rotation_from_vector,
)


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def pose(generator):
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = random_rotation(generator), generator.normal(size=3) * 200
    return transform


def test_random_rotations_are_rotations_and_reach_every_angle(generator):
    rotations = np.array([random_rotation(generator) for _ in range(2000)])
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    # Uniform over all rotations: the mean of each entry is 0 and of its square 1/3.
    np.testing.assert_allclose(rotations.mean(0), 0.0, atol=0.05)
    np.testing.assert_allclose((rotations**2).mean(0), 1 / 3, atol=0.03)


def test_apply_and_invert_undo_each_other(generator):
    points, transform = generator.normal(size=(7, 4, 3)) * 100, pose(generator)
    np.testing.assert_allclose(apply_transform(invert_rigid(transform), apply_transform(transform, points)), points)
    np.testing.assert_allclose(invert_rigid(transform) @ transform, np.eye(4), atol=1e-12)


def test_apply_keeps_missing_points_missing():
    moved = apply_transform(np.eye(4), [[1.0, 2.0, 3.0], [np.nan] * 3])
    assert np.isfinite(moved[0]).all() and np.isnan(moved[1]).all()


def test_fit_recovers_a_known_transform(generator):
    points, transform = generator.normal(size=(9, 3)) * 50, pose(generator)
    np.testing.assert_allclose(rigid_fit(points, apply_transform(transform, points)), transform, atol=1e-9)


def test_fit_never_reflects(generator):
    points = generator.normal(size=(20, 3))
    fitted = rigid_fit(points, points * [-1, 1, 1])
    assert np.linalg.det(fitted[:3, :3]) == pytest.approx(1.0)


def test_fit_works_for_points_in_one_plane(generator):
    points = np.c_[generator.normal(size=(4, 2)), np.zeros(4)]
    transform = pose(generator)
    np.testing.assert_allclose(rigid_fit(points, apply_transform(transform, points)), transform, atol=1e-9)


def test_fit_leaves_out_missing_and_weightless_pairs(generator):
    points, transform = generator.normal(size=(6, 3)) * 50, pose(generator)
    target = apply_transform(transform, points)
    target[0], target[1] = np.nan, 1e4
    fitted = rigid_fit(points, target, weights=[1, 0, 1, 2, 3, 4])
    np.testing.assert_allclose(fitted, transform, atol=1e-9)


def test_fit_follows_the_weights():
    source = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    target = source.copy()
    target[3, 2] = 20.0
    loose = np.linalg.norm(apply_transform(rigid_fit(source, target, [1, 1, 1, 1e-6]), source)[:3] - source[:3])
    tight = np.linalg.norm(apply_transform(rigid_fit(source, target, [1, 1, 1, 1]), source)[:3] - source[:3])
    assert loose < 1e-3 < 1.0 < tight


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 3)), "three pairs"),
        (np.outer(np.arange(5.0), [1, 2, 3]), "one line"),
        (np.ones((5, 3)), "one line"),
        (np.zeros((4, 2)), "arrays"),
    ],
)
def test_fit_says_what_is_missing(source, message):
    with pytest.raises(ValueError, match=message):
        rigid_fit(source, source)


def test_pairs_without_weight_do_not_count(generator):
    points = generator.normal(size=(5, 3))
    with pytest.raises(ValueError, match="three pairs"):
        rigid_fit(points, points, weights=[1.0, 2.0, 0.0, 0.0, 0.0])


def test_fit_needs_as_many_weights_as_pairs(generator):
    points = generator.normal(size=(5, 3))
    with pytest.raises(ValueError, match="one weight"):
        rigid_fit(points, points, weights=[1.0, 2.0])


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.01, 1.0, 90.0, 179.9, 180.0])
def test_angle_of_a_rotation_about_a_vector(angle):
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    turned = rotation_from_vector(np.radians(angle) * axis)
    np.testing.assert_allclose(turned @ axis, axis, atol=1e-12)
    assert rotation_angle(np.eye(3), turned) == pytest.approx(angle, abs=1e-6)


def test_rotation_about_a_vector_follows_the_right_hand():
    np.testing.assert_allclose(rotation_from_vector([0, 0, np.pi / 2]) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
