"""Cleaning: what is mended, what is counted, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from PALNetLandmarksLib.engine.cleaning import CleanMesh, clean, duplicate_map, single_precision
from PALNetLandmarksLib.engine.reading_raw import RawMesh
from PALNetLandmarksLib.engine.rigid import random_rotation
from PALNetLandmarksLib.errors import InputError


def patch(rows: int = 12, columns: int = 10, bulge: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a shell that bulges towards +z, as a face does; its triangles face +z."""
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    vertices = np.stack([70 * x, 90 * y, bulge * (2 - x**2 - y**2)], axis=-1).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (q.ravel() for q in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    return vertices, np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def cleaned(vertices: np.ndarray, triangles: np.ndarray, coordinates: np.ndarray | None = None) -> CleanMesh:
    return clean(RawMesh(np.asarray(vertices, dtype=float), np.asarray(triangles, dtype=np.int64), coordinates))


def ordered() -> tuple[np.ndarray, np.ndarray]:
    """Return the shell in the order and precision that cleaning gives, so that arrays can be compared as they are."""
    mesh = cleaned(*patch())
    return mesh.vertices, mesh.triangles


VERTICES, TRIANGLES = ordered()


def refusal(vertices: np.ndarray, triangles: np.ndarray) -> str:
    with pytest.raises(InputError) as caught:
        cleaned(vertices, triangles)
    assert caught.value.hint
    return caught.value.code


def facing(mesh: CleanMesh) -> np.ndarray:
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)[:, 2]


def test_a_good_mesh_is_left_alone() -> None:
    mesh = cleaned(VERTICES, TRIANGLES)
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    assert mesh.warnings == () and mesh.cleaning == type(mesh.cleaning)()


def test_few_invalid_vertices_are_dropped_with_a_warning() -> None:
    vertices = VERTICES.copy()
    first, second = np.flatnonzero((np.abs(VERTICES[:, :2]) < (50, 70)).all(axis=1))[[0, -1]]  # inside the rim
    vertices[first, 1], vertices[second, 0] = np.nan, np.inf
    mesh = cleaned(vertices, TRIANGLES)
    assert mesh.cleaning.not_finite_vertices == 2
    assert [warning.code for warning in mesh.warnings] == ["scan.not_finite"]
    assert np.isfinite(mesh.vertices).all() and len(mesh.vertices) == len(VERTICES) - 2
    vertices[:10] = np.nan
    assert refusal(vertices, TRIANGLES) == "scan.not_finite"


def test_order_depends_on_the_surface_alone() -> None:
    generator = np.random.default_rng(3)
    order = generator.permutation(len(VERTICES))
    triangles = np.argsort(order)[np.roll(TRIANGLES, 1, axis=1)][generator.permutation(len(TRIANGLES))]
    mesh = cleaned(VERTICES[order], triangles)
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)


def test_order_keeps_neighbours_together() -> None:
    centres = VERTICES[TRIANGLES].mean(axis=1)
    along = np.linalg.norm(np.diff(centres, axis=0), axis=1).mean()
    shuffled = np.linalg.norm(np.diff(np.random.default_rng(0).permutation(centres), axis=0), axis=1).mean()
    assert along < 0.35 * shuffled


def test_coordinates_are_rounded_to_single_precision() -> None:
    vertices = VERTICES + np.random.default_rng(4).normal(size=VERTICES.shape) * 1e-7
    mesh = cleaned(vertices, TRIANGLES)
    np.testing.assert_array_equal(mesh.vertices, mesh.vertices.astype(np.float32))
    assert np.abs(mesh.vertices[mesh.triangles].mean() - vertices[TRIANGLES].mean()) < 1e-5
    whole = single_precision(np.array([[1e300, 0.1, -1e-3]]))
    assert whole[0, 0] == 1e300 and whole[0, 1] == np.float32(0.1)


def test_triangle_soup_is_welded() -> None:
    mesh = cleaned(VERTICES[TRIANGLES].reshape(-1, 3), np.arange(TRIANGLES.size).reshape(-1, 3))
    assert len(mesh.vertices) == len(VERTICES)
    assert mesh.cleaning.duplicate_vertices == TRIANGLES.size - len(VERTICES)
    assert mesh.cleaning.unreferenced_vertices == 0
    np.testing.assert_array_equal(mesh.vertices[mesh.triangles], VERTICES[TRIANGLES])


def test_duplicate_map_is_exact() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=(500, 3))
    choice = generator.integers(500, size=3000)
    vertices = base[choice]
    _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(duplicate_map(vertices), first[inverse.ravel()])
    assert duplicate_map(base) is None
    near = np.array([[0.0, 1, 2], [0.0, 1, np.nextafter(2, 3)], [-0.0, 1, 2]])
    np.testing.assert_array_equal(duplicate_map(near), [0, 1, 0])  # minus zero is zero; a last bit is another place


def test_degenerate_duplicate_and_unused() -> None:
    vertices = np.vstack([VERTICES, [[500, 0, 0], [501, 0, 0], [502, 0, 0]]])
    in_line = len(VERTICES) + np.arange(3)
    bad = [[0, 0, 1], [5, 6, 5], in_line, TRIANGLES[4], TRIANGLES[7][[1, 2, 0]], TRIANGLES[9][::-1]]
    mesh = cleaned(vertices, np.vstack([TRIANGLES, bad]))
    assert mesh.cleaning.degenerate_triangles == 3  # twice the same vertex, and three in line
    assert mesh.cleaning.duplicate_triangles == 3
    assert mesh.cleaning.unreferenced_vertices == 3
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    np.testing.assert_array_equal(mesh.vertices, VERTICES)


def test_inside_out_is_turned_with_its_texture() -> None:
    coordinates = np.arange(TRIANGLES.size * 2, dtype=np.float32).reshape(-1, 3, 2)
    mesh = cleaned(VERTICES, TRIANGLES[:, [0, 2, 1]], coordinates[:, [0, 2, 1]])
    assert (facing(mesh) > 0).all()
    assert [warning.code for warning in mesh.warnings] == ["scan.inside_out"]
    assert mesh.cleaning.reversed_triangles == len(TRIANGLES)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    np.testing.assert_array_equal(mesh.coordinates, coordinates)


def test_mirrored_face_counts_as_inside_out() -> None:
    mesh = cleaned(VERTICES * (-1, 1, 1), TRIANGLES)
    assert (facing(mesh) > 0).all() and "mirrored" in mesh.warnings[0].message


def test_some_turned_triangles_follow_the_majority() -> None:
    generator = np.random.default_rng(1)
    turned = generator.random(len(TRIANGLES)) < 0.3
    triangles = TRIANGLES.copy()
    triangles[turned] = triangles[turned][:, [0, 2, 1]]
    mesh = cleaned(VERTICES, triangles)
    assert (facing(mesh) > 0).all()
    assert [warning.code for warning in mesh.warnings] == ["scan.mixed_orientation"]
    assert mesh.cleaning.reversed_triangles == turned.sum()


def test_hollow_of_a_mouth_keeps_facing_forwards_and_a_closed_speck_is_mended() -> None:
    hollow, faces = patch(6, 6, bulge=-30.0)  # seen from the front, a cup
    cube = np.array([[x, y, z] for x in (0, 5) for y in (0, 5) for z in (0, 5)], dtype=float) + (200, 0, 0)
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    box = np.array([t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))])
    count = len(VERTICES)
    vertices = np.vstack([VERTICES, hollow * 0.2, cube])
    parts = [TRIANGLES, faces + count, box + count + len(hollow)]

    def volume(mesh: CleanMesh) -> float:
        corners = mesh.vertices[mesh.triangles[mesh.vertices[mesh.triangles[:, 0], 0] > 190]] - (202.5, 2.5, 2.5)
        assert len(corners) == len(box)
        return float(np.linalg.det(corners).sum() / 6)

    outwards = volume(cleaned(vertices, np.vstack(parts)))
    inwards = volume(cleaned(vertices, np.vstack([*parts[:2], parts[2][:, ::-1]])))
    assert outwards == pytest.approx(125.0) and inwards == pytest.approx(125.0)
    mesh = cleaned(vertices, np.vstack(parts))
    of_box = mesh.vertices[mesh.triangles[:, 0], 0] > 190
    assert np.count_nonzero(~of_box) == len(TRIANGLES) + len(faces) and (facing(mesh)[~of_box] > 0).all()


def test_branching_edges_and_loose_parts_are_kept() -> None:
    fin = np.array([[0, 1, len(VERTICES)]])
    specks = np.arange(9).reshape(3, 3) + len(VERTICES) + 1
    vertices = np.vstack([VERTICES, VERTICES[0] + [0, 0, 30], np.random.default_rng(0).normal(size=(9, 3)) + 150])
    mesh = cleaned(vertices, np.vstack([TRIANGLES, fin, TRIANGLES[[0]][:, [1, 0, 2]] * 0 + [[0, 1, 40]], specks]))
    assert len(mesh.triangles) == len(TRIANGLES) + 5


def test_specks_change_nothing_about_the_order_of_the_rest() -> None:
    vertices, triangles = patch(40, 40)
    generator = np.random.default_rng(0)
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    specks = np.concatenate([corners + place for place in generator.uniform(-400, 400, (30, 3))])
    alone = cleaned(vertices, triangles)
    # Before the face in the file as well as after it.
    both = cleaned(np.vstack([specks, vertices]), np.vstack([np.arange(90).reshape(-1, 3), triangles + 90]))
    np.testing.assert_array_equal(both.vertices[:-90], alone.vertices)
    np.testing.assert_array_equal(both.triangles[:-30], alone.triangles)
    assert both.triangles[-30:].min() == len(alone.vertices)
    after = len(vertices) + np.arange(90).reshape(-1, 3)[:, ::-1]
    again = cleaned(np.vstack([vertices, specks[::-1]]), np.vstack([triangles, after]))
    np.testing.assert_array_equal(again.vertices, both.vertices)
    np.testing.assert_array_equal(again.triangles, both.triangles)


def test_cells_are_compact_and_the_same_in_any_pose_and_unit() -> None:
    vertices, triangles = patch(60, 60)
    mesh = cleaned(vertices, triangles)
    assert (np.diff(mesh.cells) >= 0).all()
    centres = mesh.vertices[mesh.triangles].mean(axis=1)
    radius = np.sqrt(((mesh.vertices - mesh.vertices.mean(axis=0)) ** 2).sum(axis=1).mean())
    longest = np.linalg.norm(mesh.vertices[mesh.triangles] - centres[:, None], axis=2).max()
    numbers = np.unique(mesh.cells)
    assert len(numbers) > 100
    for number in numbers:
        inside = centres[mesh.cells == number]
        assert np.linalg.norm(inside - inside[0], axis=1).max() < np.sqrt(3.0) * radius / 16.0 + 2.0 * longest
    turned = cleaned(0.001 * vertices @ random_rotation(np.random.default_rng(4)).T + 7.0, triangles)
    # Single precision is coarser seven metres away: a few triangles come to lie in the cell beside.
    assert abs(np.bincount(turned.cells, minlength=2**21) - np.bincount(mesh.cells, minlength=2**21)).sum() < 40


def test_one_more_triangle_leaves_other_cells_as_they_are() -> None:
    vertices, triangles = patch(60, 60)
    alone = cleaned(vertices, triangles)
    fin = np.array([[triangles[700, 0], triangles[700, 1], len(vertices)]])
    more = cleaned(np.append(vertices, vertices[[triangles[700, 2]]] + [0.0, 0.0, 2.0], axis=0),
                   np.append(triangles, fin, axis=0))  # fmt: skip
    before, after = (np.bincount(mesh.cells, minlength=2**21) for mesh in (alone, more))
    assert (before != after).sum() < 0.1 * (before > 0).sum()


def test_a_surface_all_in_pieces_has_no_specks() -> None:
    vertices, triangles = patch(40, 40)
    soup = vertices[triangles].reshape(-1, 3) + np.repeat(np.arange(len(triangles)) % 7 * 0.01, 3)[:, None]
    mesh = cleaned(soup, np.arange(len(soup)).reshape(-1, 3))
    along = mesh.vertices[mesh.triangles[:, 0]]
    steps = np.linalg.norm(np.diff(along, axis=0), axis=1)
    assert np.median(steps) < 0.1 * np.ptp(vertices[:, 0])


def test_refusals() -> None:
    assert refusal(np.empty((0, 3)), np.empty((0, 3))) == "scan.no_vertices"
    assert refusal(VERTICES, np.empty((0, 3))) == "scan.point_cloud"
    assert refusal(VERTICES, TRIANGLES + 1) == "scan.damaged"
    assert refusal(VERTICES, TRIANGLES - 1) == "scan.damaged"
    assert refusal(VERTICES, TRIANGLES[:3]) == "scan.too_few_triangles"
    assert refusal(VERTICES * 0 + 7, TRIANGLES) == "scan.flat"
    assert refusal(VERTICES * (1, 0, 0), TRIANGLES) == "scan.flat"
    assert refusal(VERTICES * 1e300, TRIANGLES) == "scan.damaged"


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_scale_does_not_matter(scale: float) -> None:
    mesh = cleaned(VERTICES * scale, TRIANGLES)
    assert len(mesh.triangles) == len(TRIANGLES) and mesh.warnings == ()
