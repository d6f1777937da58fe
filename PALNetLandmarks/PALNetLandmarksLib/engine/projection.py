"""From where a network says a landmark is to the surface of the scan; three ways, chosen in the bundle.

The paper (arXiv 2510.00910) takes the nearest vertex, or the centroid of the K = 10 nearest where a region is degraded.
The closest point on the triangles is more exact on coarse meshes, where vertices stand some millimetres apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.patches import point_tree
from PALNetLandmarksLib.errors import BundleError, InputError

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

CENTROID_VERTICES = 10  # paper

# So many of the largest triangles are tried one by one for every point; only the others, which are small, are looked
# for through their vertices. 4,096 × 50 comparisons take 2 ms.
_LARGE_TRIANGLES = 4096
# Pairs of a point and a triangle compared at once: 16 MB for each array of numbers.
_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Projection:
    """Points on a surface.

    Attributes
    ----------
    points : (L, 3) float64
        In the frame of the surface, mm.
    moved_mm : (L,) float64
        How far each point was moved.
    index : (L,) int64
        The triangle the point lies on, or the nearest vertex.
    barycentric : (L, 3) float64 or None
        Shares of the triangle's corners, exactly 0 where the point lies on an edge or corner; None if `index` is a
        vertex.
    """

    points: FloatArray
    moved_mm: FloatArray
    index: IndexArray
    barycentric: FloatArray | None = None


@dataclass(frozen=True)
class Border:
    """Edges that belong to one triangle only, grouped into connected rims.

    Attributes
    ----------
    edge_keys : (e,) int64
        Sorted; lower vertex × number of vertices + higher vertex.
    rim_of_vertex : (n,) int64
        The rim a vertex lies on, -1 where it lies on none.
    rim_length_mm : (r,) float64
        Length of all edges of a rim.
    """

    edge_keys: IndexArray
    rim_of_vertex: IndexArray
    rim_length_mm: FloatArray


@dataclass(frozen=True)
class Surface:
    """A mesh made ready for projection; build it with `prepare_surface`.

    Attributes
    ----------
    vertices : (n, 3) float64
    corners : three (m,) int64
        First, second and third vertex of the triangles.
    tree : scipy.spatial.cKDTree
        Of the vertices.
    longest_edge : (m,) float64
    """

    vertices: FloatArray
    corners: tuple[IndexArray, IndexArray, IndexArray]
    tree: cKDTree
    longest_edge: FloatArray

    @cached_property
    def large(self) -> tuple[IndexArray, float]:
        """The largest triangles, and the longest edge among all others."""
        rest = len(self.longest_edge) - _LARGE_TRIANGLES
        if rest <= 0:
            return np.arange(len(self.longest_edge)), 0.0
        limit = float(np.partition(self.longest_edge, rest - 1)[rest - 1])
        return np.flatnonzero(self.longest_edge > limit), limit

    @cached_property
    def border(self) -> Border:
        """Open edges of the mesh, found when first asked for (100 ms for 400,000 triangles)."""
        return _find_border(self.vertices, self.corners)


def prepare_surface(vertices: FloatArray, triangles: IndexArray, *, tree: cKDTree | None = None) -> Surface:
    """Make a mesh ready for projection.

    Parameters
    ----------
    vertices : (n, 3) float, mm
        Vertices at the same place must be merged: a seam would look like a border.
    triangles : (m, 3) int
    tree : scipy.spatial.cKDTree, optional
        Of the vertices, if the caller has one already.

    Raises
    ------
    InputError
        If there is no triangle.
    """
    if not len(triangles):
        raise InputError(
            "The scan has points but no surface between them.",
            "Export it as a mesh with triangles.",
            code="scan.no_triangles",
        )
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    first, second, third = (np.ascontiguousarray(triangles[:, i], dtype=np.int64) for i in range(3))
    squared = np.zeros((3, len(first)))
    for axis in range(3):  # column by column: a third of the time of gathering rows
        values = np.ascontiguousarray(vertices[:, axis])
        a, b, c = values[first], values[second], values[third]
        for edge, difference in enumerate((a - b, b - c, c - a)):
            squared[edge] += difference * difference
    longest = np.sqrt(squared.max(axis=0))
    return Surface(vertices, (first, second, third), point_tree(vertices) if tree is None else tree, longest)


def project_to_nearest_vertex(surface: Surface, points: FloatArray) -> Projection:
    """Move points to the nearest vertex (paper).

    Parameters
    ----------
    surface : Surface
    points : (L, 3) float
    """
    moved, index = surface.tree.query(points)
    return Projection(surface.vertices[index], moved, index.astype(np.int64))


def project_to_vertex_centroid(surface: Surface, points: FloatArray, count: int = CENTROID_VERTICES) -> Projection:
    """Move points to the centroid of their `count` nearest vertices (paper: 10, for degraded regions).

    The centroid of vertices on a curved surface lies a little beneath it. ``index`` is the nearest vertex.
    """
    asked = np.arange(1, min(count, len(surface.vertices)) + 1)
    index = surface.tree.query(points, k=asked)[1]
    centroids = surface.vertices[index].mean(axis=1)
    moved = np.linalg.norm(centroids - points, axis=1)
    return Projection(centroids, moved, index[:, 0].astype(np.int64))


def project_to_surface(surface: Surface, points: FloatArray) -> Projection:
    """Move points to the closest point on any triangle; exact for triangles of any shape.

    Parameters
    ----------
    surface : Surface
    points : (L, 3) float
    """
    points = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
    bound = surface.tree.query(points)[0]
    result = _closest_within(surface, points, bound)
    # The nearest vertex may belong to no triangle; then the surface is further away than it.
    wrong = np.flatnonzero(~(result.moved_mm <= bound * (1 + 1e-9) + 1e-12))
    if len(wrong):
        used = point_tree(surface.vertices[surface.corners[0]])
        again = _closest_within(surface, points[wrong], used.query(points[wrong])[0])
        assert result.barycentric is not None and again.barycentric is not None
        for ours, theirs in (
            (result.points, again.points),
            (result.moved_mm, again.moved_mm),
            (result.index, again.index),
            (result.barycentric, again.barycentric),
        ):
            ours[wrong] = theirs
    return result


PROJECTIONS: dict[str, Callable[[Surface, FloatArray], Projection]] = {
    "surface": project_to_surface,
    "nearest_vertex": project_to_nearest_vertex,
    "vertex_centroid": project_to_vertex_centroid,
}


def project(surface: Surface, points: FloatArray, kind: str, *, count: int = CENTROID_VERTICES) -> Projection:
    """Project points the way a bundle asks for.

    Parameters
    ----------
    surface : Surface
    points : (L, 3) float
    kind : {'surface', 'nearest_vertex', 'vertex_centroid'}
    count : int
        For ``vertex_centroid``.

    Raises
    ------
    BundleError
        If the way is not known.
    """
    if kind not in PROJECTIONS:
        raise BundleError(
            f"The projection '{kind}' is not known.", f"Known are {', '.join(PROJECTIONS)}.", code="bundle.projection"
        )
    if kind == "vertex_centroid":
        return project_to_vertex_centroid(surface, points, count)
    return PROJECTIONS[kind](surface, points)


def _closest_within(surface: Surface, points: FloatArray, bound: FloatArray) -> Projection:
    """Find the closest points, of which none is further away than its bound; infinitely far where none is."""
    large, limit = surface.large
    # No point of a triangle is further from the nearest of its corners than its longest edge / √3 (that is the centre
    # of an equilateral one). A small triangle that holds the closest point has a corner within this radius.
    near = surface.tree.query_ball_point(points, bound * (1 + 1e-9) + limit / np.sqrt(3.0), workers=-1)
    reached = np.zeros(len(surface.vertices), dtype=bool)
    reached[np.concatenate([*map(np.asarray, near), np.empty(0)]).astype(np.int64)] = True
    first, second, third = surface.corners
    candidates = reached[first] | reached[second] | reached[third]
    candidates[large] = True
    triangles = np.flatnonzero(candidates)
    chunk = max(1, _PAIRS_AT_ONCE // max(1, len(triangles)))
    parts = [
        _closest_of(surface, points[start : start + chunk], bound[start : start + chunk], triangles)
        for start in range(0, len(points), chunk)
    ]
    if not parts:
        return Projection(points, bound, np.empty(0, dtype=np.int64), points)
    return Projection(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _closest_of(
    surface: Surface, points: FloatArray, bound: FloatArray, triangles: IndexArray
) -> tuple[FloatArray, FloatArray, IndexArray, FloatArray]:
    """Compare each point with the triangles that can come within its bound."""
    a, b, c = (surface.vertices[corner[triangles]] for corner in surface.corners)
    squared = np.zeros((len(points), len(triangles)))
    for axis in range(3):
        difference = points[:, axis, None] - a[None, :, axis]
        squared += difference * difference
    reach = bound[:, None] * (1 + 1e-9) + surface.longest_edge[triangles] * (1 + 1e-9) + 1e-12
    point, triangle = np.nonzero(squared <= reach * reach)
    found, shares = _closest_on_triangles(points[point], a[triangle], b[triangle], c[triangle])
    distance = np.linalg.norm(found - points[point], axis=1)
    order = np.lexsort((triangles[triangle], distance, point))
    owners, first = np.unique(point[order], return_index=True)
    best = order[first]
    closest = np.full((len(points), 3), np.nan)
    moved = np.full(len(points), np.inf)
    index = np.full(len(points), -1, dtype=np.int64)
    barycentric = np.full((len(points), 3), np.nan)
    closest[owners], moved[owners] = found[best], distance[best]
    index[owners], barycentric[owners] = triangles[triangle[best]], shares[best]
    return closest, moved, index, barycentric


def _closest_on_triangles(
    points: FloatArray, a: FloatArray, b: FloatArray, c: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the closest point of each triangle to the point of the same row, and its barycentric shares, (p, 3) each.

    The foot of the perpendicular where it falls inside, else the best of the three edges: right for triangles without
    area too.
    """
    ab, ac, ap = b - a, c - a, points - a
    normal = np.cross(ab, ac)
    area = np.einsum("ij,ij->i", normal, normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        share_b = np.einsum("ij,ij->i", np.cross(ap, ac), normal) / area
        share_c = np.einsum("ij,ij->i", np.cross(ab, ap), normal) / area
    shares = np.stack([1.0 - share_b - share_c, share_b, share_c], axis=1)
    # Of a sliver only rounding errors would be left of the normal: its edges are as close as its inside.
    size = np.einsum("ij,ij->i", ab, ab) * np.einsum("ij,ij->i", ac, ac)
    inside = (shares >= 0.0).all(axis=1) & (area > 1e-18 * size)
    best = np.where(inside, 0.0, np.inf)
    shares[~inside] = 0.0
    for start, end in ((0, 1), (1, 2), (2, 0)):
        corners = (a, b, c)
        along = corners[end] - corners[start]
        length = np.einsum("ij,ij->i", along, along)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.einsum("ij,ij->i", points - corners[start], along) / length
        share = np.clip(np.where(length > 0.0, share, 0.0), 0.0, 1.0)
        difference = points - corners[start] - share[:, None] * along
        squared = np.einsum("ij,ij->i", difference, difference)
        better = squared < best
        best[better] = squared[better]
        shares[better] = 0.0
        shares[better, start] = 1.0 - share[better]
        shares[better, end] = share[better]
    return shares[:, :1] * a + shares[:, 1:2] * b + shares[:, 2:] * c, shares


def _find_border(vertices: FloatArray, corners: tuple[IndexArray, IndexArray, IndexArray]) -> Border:
    count = len(vertices)
    first, second, third = corners
    keys = np.concatenate(
        [edge_keys(one, other, count) for one, other in ((first, second), (second, third), (third, first))]
    )
    keys.sort()
    differs = np.concatenate([[True], keys[1:] != keys[:-1], [True]])
    alone = keys[differs[:-1] & differs[1:]]
    start, end = alone // count, alone % count
    used, places = np.unique(np.concatenate([start, end]), return_inverse=True)
    places = places.reshape(2, -1)
    rim = np.full(count, -1, dtype=np.int64)
    if not len(alone):
        return Border(alone, rim, np.empty(0))
    graph = coo_array((np.ones(len(alone)), (places[0], places[1])), shape=(len(used), len(used)))
    rims, member = connected_components(graph, directed=False)
    rim[used] = member
    lengths = np.linalg.norm(vertices[start] - vertices[end], axis=1)
    return Border(alone, rim, np.bincount(rim[start], lengths, rims).astype(np.float64))


def edge_keys(one: IndexArray, other: IndexArray, vertices: int) -> IndexArray:
    """Return one number for each undirected edge, as in `Border.edge_keys`."""
    return np.minimum(one, other) * vertices + np.maximum(one, other)
