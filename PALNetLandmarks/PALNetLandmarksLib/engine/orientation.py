"""Which triangles of a surface face inwards, and which parts a surface has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from PALNetLandmarksLib.engine.resampling import triangle_centres, triangle_normals
from PALNetLandmarksLib.engine.scan import FloatArray, IntArray


@dataclass(frozen=True)
class Orientation:
    """Result of looking for triangles that face inwards.

    Attributes
    ----------
    reversed : (m,) bool
        Triangles to turn round.
    inside_out : bool
        Whether the largest part as a whole faced inwards.
    part : (m,) int64
        Connected part of the surface that each triangle belongs to, see `parts_of`.
    """

    reversed: npt.NDArray[np.bool_]
    inside_out: bool
    part: IntArray


@dataclass(frozen=True)
class Edges:
    """The undirected edges of a triangle mesh.

    Attributes
    ----------
    ends : (e, 2) int64
        Vertices of each edge, the smaller first.
    count : (e,) int64
        Number of triangles at each edge: 1 on a border, 2 inside, more where the surface branches.
    of_side : (3 m,) int64
        Edge of each side; sides are ordered corner 0-1 of all triangles, then 1-2, then 2-0.
    forward : (3 m,) bool
        Whether the side runs from the smaller vertex to the larger.
    """

    ends: IntArray
    count: IntArray
    of_side: IntArray
    forward: npt.NDArray[np.bool_]


def edges_of(triangles: IntArray, vertex_count: int) -> Edges:
    """Return the edges of triangles (m, 3) over `vertex_count` vertices."""
    start = np.concatenate([triangles[:, 0], triangles[:, 1], triangles[:, 2]])
    end = np.concatenate([triangles[:, 1], triangles[:, 2], triangles[:, 0]])
    forward = start < end
    keys = np.where(forward, start * vertex_count + end, end * vertex_count + start)
    order = np.argsort(keys)  # the order of equal keys does not matter
    ordered = keys[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    of_side = np.empty(len(order), dtype=np.int64)
    of_side[order] = np.cumsum(new) - 1
    unique = ordered[new]
    ends = np.stack([unique // vertex_count, unique % vertex_count], axis=1)
    return Edges(ends, np.bincount(of_side, minlength=len(unique)), of_side, forward)


def parts_of(triangles: IntArray, vertex_count: int) -> tuple[int, IntArray]:
    """Return the number of connected parts and the part of each triangle, (m,); parts meet at shared vertices."""
    rows = np.concatenate([triangles[:, 0], triangles[:, 0]])
    columns = np.concatenate([triangles[:, 1], triangles[:, 2]])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(vertex_count, vertex_count))
    _, label = connected_components(graph.tocsr(), directed=False)
    used, part = np.unique(label[triangles[:, 0]], return_inverse=True)
    return len(used), part.astype(np.int64)


def outward(vertices: FloatArray, triangles: IntArray) -> Orientation:
    """Find the triangles that face inwards.

    First, triangles of one part are made to agree with their neighbours, following the majority by area. Then the
    largest part is asked whether its normals point away from its centroid (a face scan is open at the back and bulges
    forwards, so its centroid lies behind it): if they point towards it, every part is turned round. Last, each other
    part that is closed is turned if its volume comes out negative. Open small parts keep their direction: the lining of
    a mouth or an eye socket truly faces its own centroid.

    Parameters
    ----------
    vertices : (n, 3) float64
    triangles : (m, 3) int64

    Returns
    -------
    Orientation
    """
    normals = triangle_normals(vertices, triangles)
    areas = np.sqrt(np.einsum("md,md->m", normals, normals))
    edges = edges_of(triangles, len(vertices))
    turned = _disagreeing(triangles, edges, areas)
    sign = np.where(turned, -1.0, 1.0)

    count, part = parts_of(triangles, len(vertices))
    part_area = np.bincount(part, areas, count)
    largest = int(np.argmax(part_area))
    centres = triangle_centres(vertices, triangles)
    moments = [np.bincount(part, areas * centres[:, axis], count) for axis in range(3)]
    centroid = np.stack(moments, axis=1) / part_area[:, None]
    flux = np.einsum("md,md->m", normals, centres - centroid[part]) * sign
    volume = np.bincount(part, flux, count)
    inside_out = bool(volume[largest] < 0.0)
    if inside_out:
        turned = ~turned
        volume = -volume

    border = edges.count[edges.of_side] == 1
    open_parts = np.zeros(count, dtype=bool)
    open_parts[np.tile(part, 3)[border]] = True
    closed_inwards = (volume < 0.0) & ~open_parts
    closed_inwards[largest] = False
    turned ^= closed_inwards[part]
    return Orientation(turned, inside_out, part)


def _disagreeing(triangles: IntArray, edges: Edges, areas: FloatArray) -> npt.NDArray[np.bool_]:
    """Return the triangles to turn so that neighbours agree: in each patch of surface, the smaller share by area."""
    count = len(triangles)
    turned = np.zeros(count, dtype=bool)
    inner = edges.count[edges.of_side] == 2
    single = np.flatnonzero(inner)
    sides = single[np.argsort(edges.of_side[single])].reshape(-1, 2)  # the two sides of each inner edge
    # Two triangles that agree run along their common edge in opposite directions.
    agree = edges.forward[sides[:, 0]] != edges.forward[sides[:, 1]]
    if agree.all():
        return turned
    first, second = sides[:, 0] % count, sides[:, 1] % count
    # Two copies of each triangle, as it is and turned, linked so that linked copies agree: where the surface can be
    # oriented, each patch of it falls apart into two mirror images, one of which is chosen.
    shift = np.where(agree, 0, count)
    rows = np.concatenate([first, first + count])
    columns = np.concatenate([second + shift, (second + count + shift) % (2 * count)])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(2 * count, 2 * count))
    number, label = connected_components(graph.tocsr(), directed=False)
    as_is, as_turned = label[:count], label[count:]
    kept_area = np.bincount(as_is, areas, number)
    # Ties go to the copy with the smaller label, so that exactly one of the two is chosen.
    keep, other = kept_area[as_is], kept_area[as_turned]
    return np.where(as_is == as_turned, False, (keep < other) | ((keep == other) & (as_is > as_turned)))
