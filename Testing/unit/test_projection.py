"""Projection to the surface, and landmarks whose region is missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from PALNetLandmarksLib.engine import projection as projection_module
from PALNetLandmarksLib.engine.missing_regions import RegionCheck, missing_regions
from PALNetLandmarksLib.engine.open3d_loader import open3d
from PALNetLandmarksLib.engine.patches import point_tree
from PALNetLandmarksLib.engine.projection import (
    Surface,
    prepare_surface,
    project,
    project_to_nearest_vertex,
    project_to_surface,
    project_to_vertex_centroid,
)
from PALNetLandmarksLib.errors import BundleError, InputError

Mesh = tuple[np.ndarray, np.ndarray]


def sheet(columns: int, rows: int, spacing: float = 1.0) -> Mesh:
    """Return a flat sheet in the xy plane, its normals along +z."""
    x, y = np.meshgrid(np.arange(columns) * spacing, np.arange(rows) * spacing, indexing="ij")
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    i = np.arange(columns * rows).reshape(columns, rows)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return vertices, np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def bent(mesh: Mesh, seed: int = 0) -> Mesh:
    """Bend a sheet like a face and shake its vertices."""
    vertices, triangles = mesh
    vertices = vertices + np.random.default_rng(seed).normal(0.0, 0.05, vertices.shape)
    middle = vertices[:, :2].mean(axis=0)
    vertices[:, 2] -= ((vertices[:, :2] - middle) ** 2).sum(axis=1) / 150.0
    return vertices, triangles


def soup(count: int, seed: int) -> Mesh:
    """Return separate triangles of all shapes: tiny ones, huge ones, slivers, and ones without area."""
    generator = np.random.default_rng(seed)
    corners = generator.normal(0.0, 40.0, (count, 1, 3)) + generator.normal(0.0, 1.0, (count, 3, 3))
    corners[: count // 10, 2] += generator.normal(0.0, 100.0, (count // 10, 3))  # slivers up to 300 mm long
    corners[: count // 20, 1] = corners[: count // 20, 0] + generator.normal(0.0, 1e-5, (count // 20, 3))
    corners[0, 1:] = corners[0, 0]  # a point
    corners[1, 2] = 0.25 * corners[1, 0] + 0.75 * corners[1, 1]  # a line
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def distances_by_open3d(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    o3d = open3d()
    scene = o3d.t.geometry.RaycastingScene()
    vertices, triangles = mesh
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.uint32)))
    found = scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))["points"].numpy()
    return np.linalg.norm(found - points, axis=1)


@pytest.fixture(params=[4096, 50], ids=["all-large", "some-large"])
def large_triangles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with both ways of finding candidates: one by one, and through the vertices of small triangles."""
    monkeypatch.setattr(projection_module, "_LARGE_TRIANGLES", request.param)


@pytest.mark.usefixtures("large_triangles")
@pytest.mark.parametrize("shape", ["face", "soup"])
def test_as_close_as_open3d_finds(shape: str) -> None:
    mesh = bent(sheet(60, 60, 2.0)) if shape == "face" else soup(1500, 3)
    generator = np.random.default_rng(4)
    points = generator.choice(mesh[0], 200) + generator.normal(0.0, 1.0, (200, 3)) * generator.choice(
        [0.1, 2, 30], (200, 1)
    )
    found = project_to_surface(prepare_surface(*mesh), points)
    np.testing.assert_allclose(found.moved_mm, distances_by_open3d(mesh, points), atol=2e-4)
    np.testing.assert_allclose(found.moved_mm, np.linalg.norm(found.points - points, axis=1), atol=1e-9)


@pytest.mark.usefixtures("large_triangles")
def test_points_lie_on_their_triangle() -> None:
    vertices, triangles = mesh = soup(800, 5)
    points = np.random.default_rng(6).normal(0.0, 50.0, (60, 3))
    found = project_to_surface(prepare_surface(*mesh), points)
    assert found.barycentric is not None
    assert (found.barycentric >= 0.0).all()
    np.testing.assert_allclose(found.barycentric.sum(axis=1), 1.0)
    on_triangle = np.einsum("lk,lkd->ld", found.barycentric, vertices[triangles[found.index]])
    np.testing.assert_allclose(found.points, on_triangle, atol=1e-9)


@pytest.mark.usefixtures("large_triangles")
def test_known_answers_on_one_triangle_and_far_company() -> None:
    corners = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]])
    company = soup(200, 7)[0] + 1e4
    surface = prepare_surface(np.concatenate([corners, company]), np.arange(603).reshape(-1, 3))
    points = np.array([[2.0, 3.0, 4.0], [-3.0, 4.0, 4.0], [-3.0, -4.0, 0.0], [10.0, 10.0, 0.0], [3.0, -2.0, 0.0]])
    found = project_to_surface(surface, points)
    expected = [[2, 3, 0], [0, 4, 0], [0, 0, 0], [5, 5, 0], [3, 0, 0]]
    np.testing.assert_allclose(found.points, expected, atol=1e-12)
    np.testing.assert_allclose(found.moved_mm, [4.0, 5.0, 5.0, 50.0**0.5, 2.0])
    assert (found.index == 0).all()


def test_triangles_without_area_are_segments_and_points() -> None:
    generator = np.random.default_rng(11)
    for _ in range(50):
        start, step = generator.normal(0.0, 50.0, (2, 3))
        line = np.stack([start, start + step, start + generator.random() * step])
        aside = np.cross(step, generator.normal(size=3))
        aside *= 3.0 / np.linalg.norm(aside)
        surface = prepare_surface(np.concatenate([line, line[:1]]), np.array([[0, 1, 2], [3, 3, 3]]))
        points = np.stack([start + 0.37 * step + aside, start - 0.1 * step, start + 0.37 * step])
        found = project_to_surface(surface, points)
        np.testing.assert_allclose(found.points, [start + 0.37 * step, start, start + 0.37 * step], atol=1e-6)
        np.testing.assert_allclose(found.moved_mm, [3.0, 0.1 * np.linalg.norm(step), 0.0], atol=1e-6)
        alone = prepare_surface(line, np.array([[1, 1, 1]]))
        np.testing.assert_allclose(project_to_surface(alone, points).points, line[[1, 1, 1]])


@pytest.mark.usefixtures("large_triangles")
def test_a_vertex_without_triangle_is_no_surface() -> None:
    vertices, triangles = sheet(20, 20)
    vertices = np.concatenate([vertices, [[10.0, 10.0, 9.0]]])
    found = project_to_surface(prepare_surface(vertices, triangles), np.array([[10.0, 10.0, 8.0], [5.2, 5.1, 1.0]]))
    np.testing.assert_allclose(found.points, [[10.0, 10.0, 0.0], [5.2, 5.1, 0.0]], atol=1e-12)
    np.testing.assert_allclose(found.moved_mm, [8.0, 1.0])


def test_many_points_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = prepare_surface(*bent(sheet(30, 30)))
    points = np.random.default_rng(8).normal(10.0, 10.0, (40, 3))
    whole = project_to_surface(surface, points)
    monkeypatch.setattr(projection_module, "_PAIRS_AT_ONCE", 1)
    np.testing.assert_array_equal(project_to_surface(surface, points).points, whole.points)


def test_no_points_give_no_points() -> None:
    assert len(project_to_surface(prepare_surface(*sheet(3, 3)), np.empty((0, 3))).points) == 0


def test_nearest_vertex_and_centroid() -> None:
    vertices, triangles = mesh = bent(sheet(30, 30))
    surface = prepare_surface(*mesh, tree=point_tree(vertices))
    points = vertices[[40, 300, 800]] + 0.2
    apart = np.linalg.norm(vertices[None] - points[:, None], axis=2)
    nearest = project_to_nearest_vertex(surface, points)
    assert (nearest.index == apart.argmin(axis=1)).all()
    np.testing.assert_allclose(nearest.moved_mm, apart.min(axis=1))
    centroid = project_to_vertex_centroid(surface, points)
    ten = np.argsort(apart, axis=1)[:, :10]
    np.testing.assert_allclose(centroid.points, vertices[ten].mean(axis=1))
    np.testing.assert_allclose(centroid.moved_mm, np.linalg.norm(centroid.points - points, axis=1))
    one = project_to_vertex_centroid(surface, points, count=1)
    np.testing.assert_allclose(one.points, nearest.points)


def test_a_bundle_chooses_the_projection() -> None:
    surface = prepare_surface(*bent(sheet(20, 20)))
    points = np.array([[5.3, 5.4, 1.0]])
    np.testing.assert_array_equal(
        project(surface, points, "surface").points, project_to_surface(surface, points).points
    )
    np.testing.assert_array_equal(
        project(surface, points, "vertex_centroid", count=3).points,
        project_to_vertex_centroid(surface, points, 3).points,
    )
    assert project(surface, points, "nearest_vertex").barycentric is None
    with pytest.raises(BundleError, match="magic"):
        project(surface, points, "magic")


def test_points_without_triangles_are_an_input_error() -> None:
    with pytest.raises(InputError):
        prepare_surface(np.zeros((4, 3)), np.empty((0, 3), dtype=np.int64))


def test_border_of_a_sheet_with_a_hole() -> None:
    vertices, triangles = with_hole(sheet(40, 40), centre=(20.0, 20.0), half=2.1)
    border = prepare_surface(vertices, triangles).border
    # Round a hole of 6 × 6 with two corners cut off, and round the sheet of 39 × 39.
    np.testing.assert_allclose(sorted(border.rim_length_mm), [20.0 + 2 * 2**0.5, 156.0])
    edges = np.stack([border.edge_keys // len(vertices), border.edge_keys % len(vertices)], axis=1)
    assert np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).sum() == pytest.approx(
        176.0 + 2 * 2**0.5
    )
    assert (border.rim_of_vertex >= 0).sum() == 178


def with_hole(mesh: Mesh, centre: tuple[float, float], half: float) -> Mesh:
    vertices, triangles = mesh
    inside = (np.abs(vertices[:, :2] - centre) < half).all(axis=1)
    return vertices, triangles[~inside[triangles].any(axis=1)]


def test_closed_mesh_has_no_border() -> None:
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    surface = prepare_surface(np.vstack([np.eye(3) * 30.0, np.zeros(3)]), tetrahedron)
    assert len(surface.border.edge_keys) == 0
    assert not missing_regions(surface, np.array([[-4.0, -4.0, -4.0]]), ["chin"]).missing.any()


def check(surface: Surface, *points: tuple[float, float, float]) -> RegionCheck:
    names = [f"point {i}" for i in range(len(points))]
    return missing_regions(surface, np.array(points), names, structures=["right ear"] * len(points))


@pytest.fixture(scope="module")
def holed() -> Surface:
    return prepare_surface(*with_hole(bent(sheet(60, 60)), centre=(30.0, 30.0), half=4.1))


@pytest.fixture(scope="module")
def flat() -> Surface:
    return prepare_surface(*sheet(60, 60))


def test_over_the_surface_is_present(flat: Surface) -> None:
    result = check(flat, (30.2, 30.1, 0.4), (30.2, 30.1, -7.5), (59.0, 20.3, 6.0), (61.5, 20.3, 0.0))
    assert not result.missing.any()
    assert result.reasons == ("",) * 4
    assert result.warnings == ("",) * 4
    np.testing.assert_allclose(result.distance_mm, [0.4, 7.5, 6.0, 2.5], atol=1e-9)


def test_far_from_the_surface_is_missing(flat: Surface) -> None:
    result = check(flat, (30.2, 30.1, 8.5))
    assert result.missing.tolist() == [True]
    assert (
        result.reasons[0] == "No surface within 8 mm of where the point 0 is expected: the scan has no right ear here."
    )
    assert missing_regions(flat, np.array([[30.2, 30.1, 8.5]]), ["nose"]).reasons[0].endswith("does not show it.")
    assert not missing_regions(flat, np.array([[30.2, 30.1, 8.5]]), ["nose"], maximum_distance_mm=9.0).missing.any()


def test_beyond_the_border_is_missing(flat: Surface) -> None:
    # Beside an edge, beside a corner, and beside an edge but above the sheet.
    result = check(flat, (64.0, 20.3, 0.0), (62.0, 63.0, 0.0), (63.0, 20.3, 5.0))
    assert result.missing.all()
    np.testing.assert_allclose(result.beyond_border_mm, [5.0, 5.0, 4.0], atol=1e-6)
    np.testing.assert_allclose(result.rim_length_mm, 236.0)
    assert (
        result.reasons[0]
        == "The scan ends 5 mm short of where the point 0 is expected: it does not show the whole right ear."
    )
    wider = missing_regions(flat, np.array([[64.0, 20.3, 0.0]]), ["tragion"], border_margin_mm=6.0)
    assert not wider.missing.any()


def test_over_a_small_hole_is_a_warning(holed: Surface) -> None:
    result = check(holed, (30.0, 30.0, 0.5))
    assert not result.missing.any()
    assert "small hole" in result.warnings[0]
    assert 30.0 < result.rim_length_mm[0] < 50.0
    strict = missing_regions(holed, np.array([[30.0, 30.0, 0.5]]), ["eye"], hole_perimeter_mm=20.0)
    assert strict.missing.all()


def test_an_inner_edge_is_no_border() -> None:
    # Two sheets that meet in a sharp ridge: beyond the ridge there is no surface, but none is missing.
    vertices, triangles = sheet(60, 60)
    folded = vertices.copy()
    folded[:, 2] = -np.abs(vertices[:, 0] - 30.0)
    result = check(prepare_surface(folded, triangles), (30.0, 30.5, 5.0))
    assert not result.missing.any()


def test_a_given_projection_is_used(flat: Surface) -> None:
    points = np.array([[30.2, 30.1, 1.0]])
    found = project_to_surface(flat, points)
    pretended = dataclasses.replace(found, moved_mm=np.array([20.0]))
    assert missing_regions(flat, points, ["nose"], projection=pretended).missing.all()
    assert not missing_regions(flat, points, ["nose"], projection=project_to_nearest_vertex(flat, points)).missing.any()
