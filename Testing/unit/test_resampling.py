"""Even points and normals: exact count, evenness, pose independence, speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from PALNetLandmarksLib.engine.resampling import even_points, triangle_areas, triangle_normals, vertex_normals
from PALNetLandmarksLib.errors import InputError


def sphere(rows: int, columns: int, radius: float = 90.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a sphere whose triangles are tiny at the poles: far from even."""
    theta = np.linspace(0.02, np.pi - 0.02, rows)
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    vertices = radius * np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(corner, -1, axis=1)
    a, b, c, d = (x.ravel() for x in (corner[:-1], right[:-1], right[1:], corner[1:]))
    return vertices, np.concatenate([np.stack([a, d, c], axis=1), np.stack([a, c, b], axis=1)])


MESH = sphere(60, 80)


@pytest.mark.parametrize("count", [1, 2, 50, 997, 10_000])
def test_exact_count_on_the_surface(count: int) -> None:
    points, normals = even_points(*MESH, count, 3)
    assert points.shape == normals.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-12)
    radii = np.linalg.norm(points, axis=1)
    assert (radii < 90.0 + 1e-9).all() and (radii > 89.5).all()
    assert (np.einsum("nd,nd->n", points, normals) > 0.95 * radii).all()  # outwards
    assert len(np.unique(points, axis=0)) == count


def test_one_triangle() -> None:
    points, normals = even_points(np.eye(3), np.array([[0, 1, 2]]), 500, 0)
    assert points.shape == (500, 3)
    np.testing.assert_allclose(points.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(normals, np.full((500, 3), 3**-0.5), atol=1e-12)


def test_evenness_is_near_poisson_disk() -> None:
    count = 4000
    points, _ = even_points(*MESH, count, 0)
    densest = np.sqrt(2 * triangle_areas(*MESH).sum() / (np.sqrt(3) * count))
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    # Dart throwing to saturation reaches 0.70-0.76 of the densest packing's spacing; independent points have a smallest
    # distance near 0 and a coefficient of variation of 0.52.
    assert nearest.min() > 0.60 * densest
    assert nearest.std() / nearest.mean() < 0.13
    # The same density everywhere: by area, a cap of 30 degrees holds (1 - cos 30) / 2 of the sphere.
    share = (points[:, 2] > 90 * np.cos(np.pi / 6)).mean() / ((1 - np.cos(np.pi / 6)) / 2)
    assert share == pytest.approx(1.0, abs=0.08)


def test_same_seed_same_points_and_other_seed_others() -> None:
    first, second, other = (even_points(*MESH, 500, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


def test_turned_mesh_gives_turned_points() -> None:
    vertices, triangles = MESH
    points, normals = even_points(vertices, triangles, 2000, 5)
    for seed in range(3):
        rotation = Rotation.random(random_state=seed).as_matrix()
        moved = even_points(vertices @ rotation.T + [50, -20, 300], triangles, 2000, 5)
        np.testing.assert_allclose(moved[0], points @ rotation.T + [50, -20, 300], atol=1e-8)
        np.testing.assert_allclose(moved[1], normals @ rotation.T, atol=1e-8)


def test_folded_sheet_keeps_normals() -> None:
    """Where vertex normals cancel out, the triangle's own is taken."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]], dtype=float)
    _, normals = even_points(vertices, np.array([[0, 1, 2], [0, 2, 1]]), 100, 0)
    np.testing.assert_allclose(np.abs(normals), np.tile([0.0, 0.0, 1.0], (100, 1)), atol=1e-12)


def test_no_area_and_no_count_are_errors() -> None:
    with pytest.raises(InputError) as caught:
        even_points(np.zeros((3, 3)), np.array([[0, 1, 2]]), 10, 0)
    assert caught.value.code == "scan.no_area" and caught.value.hint
    with pytest.raises(InputError):
        even_points(np.eye(3), np.empty((0, 3), dtype=np.int64), 10, 0)
    with pytest.raises(ValueError, match="at least 1"):
        even_points(*MESH, 0, 0)


def test_normals_agree_with_the_plain_formula() -> None:
    vertices, triangles = MESH
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    np.testing.assert_allclose(triangle_normals(vertices, triangles), np.cross(b - a, c - a), atol=1e-9)
    expected = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(expected, triangles[:, k], np.cross(b - a, c - a))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(vertices, triangles), expected, atol=1e-9)
    assert not vertex_normals(np.vstack([vertices, [[0, 0, 0]]]), triangles)[-1].any()  # a vertex without a triangle


def test_fast_enough_for_a_large_scan() -> None:
    """100,000 vertices to 10,000 points: 0.08 s on one quiet core; the bound leaves room for a busy machine."""
    vertices, triangles = sphere(250, 400)
    times = []
    for _ in range(4):
        start = time.process_time()
        even_points(vertices, triangles, 10_000, 0)
        times.append(time.process_time() - start)
    assert min(times) < 0.5
