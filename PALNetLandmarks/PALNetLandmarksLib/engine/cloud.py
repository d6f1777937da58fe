"""The surface of a scan as an even cloud of points with normals, ready for patches to be cut from it.

Patches of mesh vertices would follow the triangulation: dense where a scanner or an artist put many vertices. A cloud
of fixed density (points per mm²) makes a patch of K points cover the same area on every scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.patches import point_tree
from PALNetLandmarksLib.engine.resampling import triangle_areas, triangle_normals, vertex_normals
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.errors import RegistrationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

AREA_PER_POINT = 2.0
"""Surface that one point of the fine cloud stands for, mm²; 256 points then cover a disc of about 13 mm radius."""

FEWEST_POINTS, MOST_POINTS = 2_000, 120_000
"""Where the density gives fewer or more points than that, it gives way."""

COARSE_STEP = 4
"""Every fourth point makes the coarse cloud: 256 of them cover a disc of about 26 mm radius."""

CROP_MARGIN = 30.0
"""Surface kept round the box of the mean landmarks, mm: the registration may be off by 10 mm, and ears stand out."""

NEIGHBOURHOOD = 1_000.0
"""What lies farther outside that, mm, is no part of the person; it would only cost memory."""

PIXEL = 3.0
"""Width of a pixel of the views that tell what is seen from outside, mm: wider than the spacing of the points."""

DEPTH_TOLERANCE = 6.0
"""What lies so far behind the front of its pixel still counts as seen, mm: steep surfaces are that deep."""

LEAST_VIEWS = 2


@dataclass(frozen=True)
class SurfaceCloud:
    """Even points of a scan's surface in the scan's own frame.

    Parameters
    ----------
    points : (n, 3) float64
        Positions in mm.
    normals : (n, 3) float64
        Unit normals, pointing out of the head.
    vertices : (m, 3) float64, optional
        Vertices of the mesh that the points were sampled from, as far as it lies where the face is.
    ranks : (n,) int64, optional
        Place of each point among those near it, see `sample_surface`; default: one after the other.
    """

    points: FloatArray
    normals: FloatArray
    vertices: FloatArray | None = None
    ranks: IntArray | None = None

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree over all points."""
        return point_tree(self.points)

    @cached_property
    def coarse(self) -> SurfaceCloud:
        """Every fourth point, for patches that see further at the same cost."""
        ranks = np.arange(len(self.points)) if self.ranks is None else self.ranks
        chosen = ranks % COARSE_STEP == 0
        return SurfaceCloud(self.points[chosen], self.normals[chosen])

    def nearest(self, centres: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Return the ``count`` nearest points and their normals round each centre.

        Parameters
        ----------
        centres : (l, 3) float64
        count : int

        Returns
        -------
        points, normals : (l, count, 3) float64
            Nearest first. A cloud with fewer points repeats them.
        """
        index = self.tree.query(centres, k=min(count, len(self.points)))[1].reshape(len(centres), -1)
        if index.shape[1] < count:
            index = np.take(index, np.arange(count) % index.shape[1], axis=1)
        return self.points[index], self.normals[index]


class Samples(NamedTuple):
    """Points sampled from a surface.

    Attributes
    ----------
    points, normals : (n, 3) float64
    ranks : (n,) int64
        Place of each point among those of its cell, counted from a random number on.
    """

    points: FloatArray
    normals: FloatArray
    ranks: IntArray


def sample_surface(
    vertices: FloatArray,
    triangles: IntArray,
    normals: FloatArray | None,
    area_per_point: float,
    *,
    cells: IntArray | None = None,
    keep: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Samples:
    """Sample a surface by systematic steps along its cumulative area, cell by cell.

    The triangles of a cell, in their order, are cut into strips of equal area, from a random start on, and each strip
    gets a point: the result is even where strips are compact, and costs one pass. It depends neither on the pose of
    the scan nor on ``keep``, and each cell has its own random numbers: two cuts of a scan, or a scan before and after
    a repair, have the same points wherever both are the same.

    Parameters
    ----------
    vertices : (n, 3) float64
    triangles : (m, 3) int64
    normals : (n, 3) float64 or None
        Normals of the vertices, interpolated in the triangles; without them a point has the normal of its triangle.
    area_per_point : float
        Area of a strip, in the square of the vertices' unit.
    cells : (m,) int64, optional
        Cell of each triangle, ascending, not negative; default: one cell holds all.
    keep : (m,) bool, optional
        Triangles to sample; default: all.
    seed : int

    Returns
    -------
    Samples
    """
    facets = triangle_normals(vertices, triangles)
    cumulative = np.cumsum(0.5 * np.sqrt(np.einsum("nd,nd->n", facets, facets)))
    cells = np.zeros(len(triangles), dtype=np.int64) if cells is None else cells
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    before = np.where(first > 0, cumulative[first - 1], 0.0)
    after = np.append(before[1:], cumulative[-1])
    keys = _mixed(cells[first].astype(np.uint64) ^ _mixed(np.array([seed], dtype=np.uint64)))
    start = _uniform(keys)
    # One strip too many, for the part of one at either end: what falls out of the cell is dropped below.
    counts = np.ceil((after - before) / area_per_point).astype(np.int64) + 1
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    keys_of = _mixed(np.repeat(keys, counts) + number.astype(np.uint64))
    places = (number - np.repeat(start, counts) + _uniform(keys_of)) * area_per_point
    inside = (places >= 0.0) & (places < np.repeat(after - before, counts))
    chosen = np.searchsorted(cumulative, np.repeat(before, counts)[inside] + places[inside], side="right")
    # Rounding may put the last place of a cell into the next one.
    chosen = np.minimum(chosen, np.repeat(np.append(first[1:], len(triangles)) - 1, counts)[inside])
    keys_of, ranks = keys_of[inside], (number + np.repeat(keys & np.uint64(0xFF), counts).astype(np.int64))[inside]
    if keep is not None:
        kept = keep[chosen]
        chosen, keys_of, ranks = chosen[kept], keys_of[kept], ranks[kept]
    weights = np.column_stack([_uniform(_mixed(keys_of + np.uint64(1 + one))) for one in range(2)])
    outside = weights.sum(axis=1) > 1.0
    weights[outside] = 1.0 - weights[outside]
    barycentric = np.column_stack([1.0 - weights.sum(axis=1), weights])[:, :, None]
    corners = triangles[chosen]
    points = (vertices[corners] * barycentric).sum(axis=1)
    directions = facets[chosen] if normals is None else (normals[corners] * barycentric).sum(axis=1)
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    return Samples(points, directions / np.maximum(length, 1e-12), ranks)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return random-looking bits for each number: a step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    numbers = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _uniform(bits: NDArray[np.uint64]) -> FloatArray:
    """Return numbers in [0, 1) from random bits."""
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def seen_from_outside(points: FloatArray) -> NDArray[np.bool_]:
    """Tell which points of a head somebody walking round it would see.

    Scanners do not see the inside of a head, but cleaned models have eye sockets and mouth bags behind the skin, whose
    points would mix with those of lids and lips. Each view is a picture of depths; a point counts as seen if it lies at
    the front in two of them (one may look through a gap between the points).

    Parameters
    ----------
    points : (n, 3) float64
        In the reference frame, mm.

    Returns
    -------
    (n,) bool
    """
    views = np.zeros(len(points), dtype=np.int64)
    for azimuth in np.radians([-130.0, -90.0, -50.0, -20.0, 0.0, 20.0, 50.0, 90.0, 130.0]):
        for elevation in np.radians([-35.0, 15.0]):
            right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
            towards = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
                                np.cos(azimuth) * np.cos(elevation)])  # fmt: skip
            up = np.cross(towards, right)
            column, row = (np.floor(points @ axis / PIXEL).astype(np.int64) for axis in (right, up))
            column, row = column - column.min(), row - row.min()
            pixel = column * (row.max() + 1) + row
            depth = points @ towards
            front = np.full(pixel.max() + 1, -np.inf)
            np.maximum.at(front, pixel, depth)
            views += depth >= front[pixel] - DEPTH_TOLERANCE
    return views >= LEAST_VIEWS


def face_cloud(
    vertices: FloatArray,
    triangles: IntArray,
    scan_to_reference: FloatArray,
    mean_landmarks: FloatArray,
    *,
    cells: IntArray | None = None,
    area_per_point: float = AREA_PER_POINT,
    facet_normals: bool = False,
    seed: int = 0,
) -> SurfaceCloud:
    """Cut the face out of a registered scan and sample what is seen of it from outside, evenly.

    Parameters
    ----------
    vertices : (n, 3) float64
        In the scan's own frame, mm.
    triangles : (m, 3) int64
    scan_to_reference : (4, 4) float64
        Rigid transform from the registration.
    mean_landmarks : (l, 3) float64
        In the reference frame; their box and a margin bound what is kept.
    cells : (m,) int64, optional
        Of the scan, see `sample_surface`.
    area_per_point : float
        mm² of surface for each point.
    facet_normals : bool
        Give each point the normal of its triangle instead of one interpolated between the vertices.
    seed : int

    Raises
    ------
    RegistrationError
        If no surface lies where the face should be.
    """
    aligned = apply_transform(scan_to_reference, vertices)
    low, high = mean_landmarks.min(axis=0) - CROP_MARGIN, mean_landmarks.max(axis=0) + CROP_MARGIN
    inside = ((aligned >= low) & (aligned <= high)).all(axis=1)
    near = ((aligned >= low - NEIGHBOURHOOD) & (aligned <= high + NEIGHBOURHOOD)).all(axis=1)
    if not near.all():
        there = near[triangles].all(axis=1)
        triangles, cells = triangles[there], None if cells is None else cells[there]
    keep = inside[triangles].any(axis=1)
    kept = triangles[keep]
    if len(kept) < 100:
        raise RegistrationError(
            "After the alignment hardly any surface lies where the face should be.",
            "Check that the scan shows a face, or give three picked points with --init.",
            code="registration.empty_face",
        )
    area = float(triangle_areas(vertices, kept).sum())
    area_per_point = float(np.clip(area_per_point, area / MOST_POINTS, area / FEWEST_POINTS))
    used, kept = np.unique(kept, return_inverse=True)
    kept = kept.reshape(-1, 3)
    at_vertices = None
    if not facet_normals:
        at_vertices = np.zeros_like(vertices)
        at_vertices[used] = vertex_normals(vertices[used], kept)
    sampled = sample_surface(vertices, triangles, at_vertices, area_per_point, cells=cells, keep=keep, seed=seed)
    seen = seen_from_outside(apply_transform(scan_to_reference, sampled.points))
    return SurfaceCloud(sampled.points[seen], sampled.normals[seen], vertices[used], sampled.ranks[seen])
