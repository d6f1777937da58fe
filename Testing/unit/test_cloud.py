"""The surface cloud: even, pose independent, cut to the face."""

from __future__ import annotations

import numpy as np
import pytest

from PALNetLandmarksLib.engine.cloud import COARSE_STEP, SurfaceCloud, face_cloud, sample_surface, seen_from_outside
from PALNetLandmarksLib.engine.rigid import apply_transform, random_rotation
from PALNetLandmarksLib.errors import RegistrationError


def grid(size: float = 40.0, cells: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A flat square of side ``size`` in z = 0."""
    axis = np.linspace(0.0, size, cells + 1)
    x, y = np.meshgrid(axis, axis)
    vertices = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    triangles = np.concatenate([
        np.column_stack([corner, corner + 1, corner + cells + 2]),
        np.column_stack([corner, corner + cells + 2, corner + cells + 1]),
    ])  # fmt: skip
    return vertices, triangles.astype(np.int64), np.tile([0.0, 0.0, 1.0], (len(vertices), 1))


def test_points_lie_on_the_surface_and_cover_it_evenly() -> None:
    points, normals, _ = sample_surface(*grid(), 1.0)
    assert abs(len(points) - 1600) <= 1  # the strips begin at a random place
    assert np.abs(points[:, 2]).max() == 0.0
    np.testing.assert_allclose(normals, np.tile([0.0, 0.0, 1.0], (len(points), 1)))
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=8, range=[[0, 40], [0, 40]])[0]
    # 25 points belong to each cell; a random sample would scatter by 5.
    assert cells.std() < 3.0


def test_sample_moves_with_the_surface() -> None:
    vertices, triangles, normals = grid()
    rotation = random_rotation(np.random.default_rng(1))
    points, _, _ = sample_surface(vertices, triangles, normals, 3.2, seed=3)
    turned, turned_normals, _ = sample_surface(vertices @ rotation.T, triangles, normals @ rotation.T, 3.2, seed=3)
    np.testing.assert_allclose(turned, points @ rotation.T, atol=1e-9)
    np.testing.assert_allclose(turned_normals, np.tile(rotation[:, 2], (len(points), 1)), atol=1e-9)


def test_large_triangles_get_points_by_their_area() -> None:
    vertices = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0], [100, 0, 0], [110, 0, 0], [100, 10, 0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    points, _, _ = sample_surface(vertices, triangles, np.tile([0.0, 0, 1], (6, 1)), 0.5)
    assert abs((points[:, 0] < 50).sum() - 900) <= 1


def test_cloud_is_cut_to_the_box_of_the_landmarks() -> None:
    vertices, triangles, _ = grid(400.0, 100)
    mean = np.array([[190.0, 190.0, 0.0], [210.0, 210.0, 0.0]])
    shift = np.eye(4)
    shift[:3, 3] = [5.0, 0.0, 0.0]
    cloud = face_cloud(vertices, triangles, shift, mean)
    aligned = apply_transform(shift, cloud.points)
    assert aligned[:, :2].min() > 190 - 36
    assert aligned[:, :2].max() < 210 + 36
    assert len(cloud.points) == pytest.approx(84.0**2 / 2.0, rel=0.1)
    assert len(cloud.coarse.points) == pytest.approx(len(cloud.points) / COARSE_STEP, rel=0.1)


def test_where_the_scan_is_cut_moves_no_point() -> None:
    vertices, triangles, _ = grid(390.0, 100)  # a square does not hold a multiple of four points
    mean = np.array([[190.0, 190.0, 0.0], [210.0, 210.0, 0.0]])
    cut = np.eye(4)
    cut[:3, 3] = [5.0, 0.0, 0.0]
    one, other = (face_cloud(vertices, triangles, pose, mean) for pose in (np.eye(4), cut))
    for first, second in ((one, other), (one.coarse, other.coarse)):
        both = {tuple(point) for point in first.points} & {tuple(point) for point in second.points}
        assert len(first.points) > len(both) > 0.9 * len(first.points)


def in_cells(size: float, wide: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A flat square and the cell of each of its triangles, in their order."""
    vertices, triangles, normals = grid(size, int(size))
    column, row, _ = np.floor(vertices[triangles].mean(axis=1).T / wide).astype(np.int64)
    cells = row * 1000 + column
    order = np.argsort(cells, kind="stable")
    return vertices, triangles[order], normals, cells[order]


def test_each_cell_is_sampled_by_itself() -> None:
    vertices, triangles, _, cells = in_cells(40.0, 8.0)
    whole = sample_surface(vertices, triangles, None, 1.3, cells=cells)
    one = cells == 2003
    for there in (one, cells > 2000, ~one):
        part = sample_surface(vertices, triangles[there], None, 1.3, cells=cells[there])
        places = {tuple(point): rank for point, rank in zip(whole.points, whole.ranks, strict=True)}
        assert {places[tuple(point)] - rank for point, rank in zip(part.points, part.ranks, strict=True)} == {0}
    assert abs(len(part.points) - 1536 / 1.3) < 15
    assert len(part.points) + (np.floor(whole.points[:, :2] / 8.0) == [3, 2]).all(axis=1).sum() == len(whole.points)


def test_cells_are_covered_evenly() -> None:
    vertices, triangles, _, cells = in_cells(64.0, 6.4)
    counts = []
    for seed in range(60):
        points, _, ranks = sample_surface(vertices, triangles, None, 2.0, cells=cells, seed=seed)
        assert abs(len(points) - 2048) < 40
        counts.append(np.histogram2d(points[:, 0], points[:, 1], bins=10, range=[[0, 64], [0, 64]])[0])
        assert abs((ranks % COARSE_STEP == 0).sum() - 512) < 45
    small = np.argsort(np.floor(vertices[triangles].mean(axis=1) / 3.2).astype(np.int64) @ [1, 1000, 0], kind="stable")
    numbers = np.floor(vertices[triangles[small]].mean(axis=1) / 3.2).astype(np.int64) @ [1, 1000, 0]
    ranks = sample_surface(vertices, triangles[small], None, 2.0, cells=numbers).ranks
    # No cell gives its first point to the coarse cloud more often than another: 400 cells of five would give 600.
    assert abs((ranks % COARSE_STEP == 0).sum() - 512) < 60
    # Every cell gets its 20.5 points, on the average over seeds: none begins with a strip more often than another.
    assert np.std(counts) < 1.5
    assert abs(np.mean(counts, axis=0) - 20.48).max() < 0.8


def test_what_is_far_away_costs_nothing() -> None:
    vertices, triangles, _ = grid(400.0, 100)
    wall = np.array([[3e6, 0.0, 0.0], [3e6, 3e6, 0.0], [3e6, 0.0, 3e6]])
    mean = np.array([[190.0, 190.0, 0.0], [210.0, 210.0, 0.0]])
    far = np.concatenate([[[0, 1, 2]], triangles + 3])
    cloud = face_cloud(np.concatenate([wall, vertices]), far, np.eye(4), mean, cells=np.arange(len(far)) // 50)
    near = face_cloud(vertices, triangles, np.eye(4), mean, cells=(np.arange(len(triangles)) + 1) // 50)
    np.testing.assert_array_equal(cloud.points, near.points)


def test_nearest_repeats_points_of_a_tiny_cloud() -> None:
    cloud = SurfaceCloud(np.eye(3), np.eye(3))
    points, normals = cloud.nearest(np.zeros((2, 3)), 7)
    assert points.shape == normals.shape == (2, 7, 3)


def test_no_surface_in_the_box_is_refused() -> None:
    vertices, triangles, _ = grid()
    with pytest.raises(RegistrationError) as caught:
        face_cloud(vertices, triangles, np.eye(4), np.array([[5000.0, 0.0, 0.0], [5010.0, 0.0, 0.0]]))
    assert caught.value.hint


def test_what_lies_behind_a_surface_is_not_seen() -> None:
    directions = np.random.default_rng(0).normal(size=(40_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = seen_from_outside(np.concatenate([100.0 * directions, 70.0 * directions]))
    assert seen[:40_000].mean() > 0.99
    assert seen[40_000:].mean() < 0.05
