"""Heat targets, the unit frame, the alignment by principal axes, and the input made of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.cloud import CROP_MARGIN
from PALNetLandmarksLib.engine.heat_inputs import HeatInput, heat_input
from PALNetLandmarksLib.engine.heatmaps import SIGMA, UnitFrame, heat_targets
from PALNetLandmarksLib.engine.principal_axes import PrincipalFrame, align_principal_axes
from PALNetLandmarksLib.engine.resampling import even_subset
from PALNetLandmarksLib.engine.rigid import apply_transform, random_rotation
from PALNetLandmarksLib.errors import BundleError

MEAN = np.array([[0.0, 60.0, 0.0], [-70.0, -30.0, -60.0], [70.0, -30.0, -60.0], [0.0, -60.0, -10.0]])


def test_heat_is_the_gaussian_of_the_distance() -> None:
    landmarks = torch.tensor([[[0.1, -0.2, 0.3], [0.5, 0.5, 0.5]]], dtype=torch.float64)
    points = torch.tensor([[[0.1, -0.2, 0.3], [0.13, -0.2, 0.3], [0.1, -0.26, 0.3]]], dtype=torch.float64)
    heat = heat_targets(points, landmarks)
    assert heat.shape == (1, 3, 2)
    expected = [1.0, math.exp(-0.5), math.exp(-2.0)]  # at the landmark, one σ and two σ away
    np.testing.assert_allclose(heat[0, :, 0], expected, rtol=1e-12)
    assert heat[0, :, 1].max() < 1e-20
    np.testing.assert_allclose(heat_targets(points, landmarks, 0.06)[0, 2, 0], math.exp(-0.5))
    assert SIGMA == 0.03


def test_unknown_landmark_has_no_heat() -> None:
    landmarks = torch.tensor([[[math.nan] * 3, [0.0, 0.0, 0.0]]])
    heat = heat_targets(torch.zeros(1, 2, 3), landmarks)
    assert heat[..., 0].eq(0).all()
    assert heat[..., 1].eq(1).all()


def test_unit_frame_is_the_box_that_faces_are_cut_from() -> None:
    frame = UnitFrame.of(MEAN)
    corners = np.array([MEAN.min(axis=0) - CROP_MARGIN, MEAN.max(axis=0) + CROP_MARGIN])
    unit = frame.normalise(corners)
    assert np.abs(unit).max() == pytest.approx(1.0)
    np.testing.assert_allclose(unit[0], -unit[1])
    np.testing.assert_allclose(frame.restore(unit), corners)
    assert frame.half_extent == pytest.approx(70.0 + CROP_MARGIN)
    # Nothing but the mean landmarks decides: another face, larger or cut off, is not stretched to fill the cube.
    np.testing.assert_allclose(
        np.diff(frame.normalise(np.array([[0.0, 0, 0], [10, 0, 0]])), axis=0) * 100, [[10, 0, 0]]
    )


def lopsided(count: int, seed: int = 0) -> np.ndarray:
    """A cloud with three different axes, each with a heavy end."""
    return np.random.default_rng(seed).gamma(2.0, [30.0, 18.0, 9.0], (count, 3))


def test_principal_axes_undo_any_pose() -> None:
    generator = np.random.default_rng(1)
    points = lopsided(4000)
    own = PrincipalFrame.of(points)
    turned = PrincipalFrame(own.centre, own.axes * [[-1.0], [-1.0], [1.0]])
    for reference in (own, turned, own, turned):  # the directions of the reference's axes mean nothing
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-300, 300, 3)
        moved = apply_transform(pose, points)
        back = align_principal_axes(moved, reference, points[:20])
        np.testing.assert_allclose(apply_transform(back, moved), points, atol=1e-6)
        assert np.linalg.det(back[:3, :3]) == pytest.approx(1.0)


def test_principal_axes_are_right_handed_and_ordered() -> None:
    for seed in range(12):
        points = lopsided(100, seed) @ random_rotation(np.random.default_rng(seed)).T
        frame = PrincipalFrame.of(points)
        assert np.linalg.det(frame.axes) == pytest.approx(1.0)
        assert (np.diff(((points - frame.centre) @ frame.axes.T).std(axis=0)) < 0).all()


def test_principal_axes_survive_the_bundle_and_refuse_nonsense() -> None:
    frame = PrincipalFrame.of(lopsided(500))
    again = PrincipalFrame.from_dict(frame.to_dict())
    np.testing.assert_array_equal(again.axes, frame.axes)
    for broken in ({}, {**frame.to_dict(), "axes": [[1.0, 0.0], [0.0, 1.0]]}, {**frame.to_dict(), "centre": "x"},
                   {**frame.to_dict(), "axes": (-frame.axes).tolist()}):  # fmt: skip
        with pytest.raises(BundleError):
            PrincipalFrame.from_dict(broken)


def disc(count: int, seed: int = 0) -> np.ndarray:
    """Random points on a disc of 100 mm radius."""
    generator = np.random.default_rng(seed)
    radius, angle = 100.0 * np.sqrt(generator.random(count)), generator.uniform(0, 2 * np.pi, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(count)], axis=1)


def test_subset_is_even() -> None:
    """Poisson-disk: no two points close together, no hole. Of random points the ratio below would be 0.52."""
    points = disc(20_000)
    chosen = even_subset(points, 2000, seed=0)
    assert len(np.unique(chosen)) == 2000
    assert (np.diff(chosen) > 0).all()
    densest = math.sqrt(math.pi * 100.0**2 / (math.sqrt(3.0) / 2.0 * 2000))  # spacing of the hexagonal packing
    nearest = cKDTree(points[chosen]).query(points[chosen], k=2)[0][:, 1]
    assert nearest.min() > 0.5 * densest
    assert nearest.std() / nearest.mean() < 0.15
    assert cKDTree(points[chosen]).query(points)[0].max() < densest


def test_subset_depends_on_the_seed_and_not_on_the_pose() -> None:
    points = disc(6000)
    chosen = even_subset(points, 500, seed=3)
    np.testing.assert_array_equal(chosen, even_subset(points, 500, seed=3))
    assert (chosen != even_subset(points, 500, seed=4)).any()
    turned = points @ random_rotation(np.random.default_rng(0)).T + 50.0
    assert np.isin(even_subset(turned, 500, seed=3), chosen).mean() > 0.99


def test_subset_of_too_few_points_repeats_them() -> None:
    np.testing.assert_array_equal(even_subset(disc(3), 7, seed=0), [0, 0, 0, 1, 1, 2, 2])


def made(points: int = 300, **more: object) -> tuple[HeatInput, np.ndarray]:
    cloud = lopsided(3000) - [60.0, 60.0, 60.0]
    normals = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
    settings = SimpleNamespace(points=points, neighbours=6)
    return heat_input(cloud, normals, MEAN, settings, **more), cloud


def test_input_holds_normalised_points_of_the_cloud() -> None:
    face, cloud = made()
    assert face.points.shape == (300, 6)
    np.testing.assert_allclose(UnitFrame.of(MEAN).restore(face.points[:, :3]), cloud[face.index], atol=1e-4)
    directions = cloud[face.index] / np.linalg.norm(cloud[face.index], axis=1, keepdims=True)
    np.testing.assert_allclose(face.points[:, 3:], directions, atol=1e-6)
    assert len(face.starts) == 301


def test_coarse_set_are_the_points_nearest_to_the_mean_landmarks() -> None:
    face, cloud = made()
    apart = np.linalg.norm(cloud[face.index][None] - MEAN[:, None], axis=2)
    expected = np.zeros(300)
    expected[apart.argmin(axis=1)] = 1.0
    np.testing.assert_array_equal(face.member, expected)
    crowded, _ = made(points=2)
    assert crowded.member.sum() < len(MEAN)  # a set: landmarks may share their nearest point


def test_input_can_be_aligned_by_principal_axes() -> None:
    cloud = lopsided(3000) - [60.0, 60.0, 60.0]
    reference = PrincipalFrame.of(cloud)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(np.random.default_rng(5)), [10.0, 20.0, 30.0]
    settings = SimpleNamespace(points=200, neighbours=4)
    normals = np.tile([0.0, 0.0, 1.0], (3000, 1))
    moved = heat_input(apply_transform(pose, cloud), normals @ pose[:3, :3].T, MEAN, settings, principal_axes=reference)
    np.testing.assert_allclose(moved.to_aligned @ pose, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(UnitFrame.of(MEAN).restore(moved.points[:, :3]), cloud[moved.index], atol=1e-3)
    np.testing.assert_allclose(moved.points[:, 3:], normals[:200], atol=1e-6)
