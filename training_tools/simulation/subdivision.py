"""Loop subdivision of a fixed topology as one sparse matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def triangle_edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the undirected edges of a mesh.

    Parameters
    ----------
    triangles : (m, 3) int

    Returns
    -------
    edges : (e, 2) int
        Each edge once, smaller id first.
    edge_of_side : (m, 3) int
        Edge opposite to no corner but between corner k and corner k + 1 of each triangle.
    """
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
    sides = np.sort(sides, axis=1).astype(np.int64)
    base = int(triangles.max()) + 1
    _, first, inverse = np.unique(sides[:, 0] * base + sides[:, 1], return_index=True, return_inverse=True)
    return sides[first], inverse.reshape(-1, 3)


def loop_subdivision(triangles: np.ndarray, vertex_count: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """One step of Loop subdivision.

    Original vertices keep their ids (their positions are smoothed), so whatever is defined on them stays valid.

    Parameters
    ----------
    triangles : (m, 3) int
    vertex_count : int

    Returns
    -------
    matrix : (vertex_count + edges, vertex_count) sparse
        Multiply by the coarse positions to get the fine ones.
    fine_triangles : (4 m, 3) int32
        The four children of triangle k are rows 4 k to 4 k + 3.
    """
    edges, edge_of_side = triangle_edges(triangles)
    count = len(edges)
    uses = np.bincount(edge_of_side.ravel(), minlength=count)
    opposite = np.roll(triangles, 1, axis=1)  # the corner opposite to side k (corner k -> corner k + 1)
    border = uses != 2
    fine_ids = np.arange(count)
    end_weight = np.where(border, 0.5, 0.375)
    rows = [fine_ids, fine_ids]
    columns = [edges[:, 0], edges[:, 1]]
    values = [end_weight, end_weight]
    side_edge = edge_of_side.ravel()
    inner = ~border[side_edge]
    rows.append(side_edge[inner])
    columns.append(opposite.ravel()[inner])
    values.append(np.full(inner.sum(), 0.125))
    edge_rows = sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, vertex_count)
    )

    both = np.concatenate([edges, edges[:, ::-1]])
    neighbours = sp.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(vertex_count, vertex_count))
    valence = np.maximum(np.asarray(neighbours.sum(axis=1)).ravel(), 1.0)
    border_edges = edges[border]
    border_both = np.concatenate([border_edges, border_edges[:, ::-1]])
    border_neighbours = sp.csr_matrix(
        (np.ones(len(border_both)), (border_both[:, 0], border_both[:, 1])), shape=(vertex_count, vertex_count)
    )
    on_border = np.asarray(border_neighbours.sum(axis=1)).ravel() > 0
    beta = (0.625 - (0.375 + 0.25 * np.cos(2 * np.pi / valence)) ** 2) / valence
    inner_rows = sp.diags(np.where(on_border, 0.0, beta)) @ neighbours
    border_rows = sp.diags(np.where(on_border, 0.125, 0.0)) @ border_neighbours
    vertex_rows = inner_rows + border_rows
    own = 1.0 - np.asarray(vertex_rows.sum(axis=1)).ravel()
    vertex_rows = vertex_rows + sp.diags(own)
    matrix = sp.vstack([vertex_rows, edge_rows]).tocsr()

    middle = edge_of_side + vertex_count
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    fine = np.stack([np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))], axis=1)
    return matrix, fine.reshape(-1, 3).astype(np.int32)


def border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Return the closed border polygons of a mesh, in the direction of its triangles.

    Parameters
    ----------
    triangles : (m, 3) int

    Returns
    -------
    list of (k,) int
        Vertex ids along each border, the longest first. Pinched borders are cut at the pinch.
    """
    edges, edge_of_side = triangle_edges(triangles)
    uses = np.bincount(edge_of_side.ravel(), minlength=len(edges))
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
    sides = sides[uses[edge_of_side.ravel()] == 1]
    following: dict[int, list[int]] = {}
    for start, end in sides.tolist():
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        first = next(iter(following))
        path = [first]
        position = {first: 0}
        while path:
            here = path[-1]
            ends = following.get(here)
            if not ends:
                break
            there = ends.pop()
            if not ends:
                del following[here]
            if there in position:
                cut = position[there]
                loop = path[cut:]
                if len(loop) >= 3:
                    loops.append(np.asarray(loop))
                for vertex in loop[1:]:
                    del position[vertex]
                path = path[: cut + 1]
                if there not in following:
                    break
            else:
                position[there] = len(path)
                path.append(there)
    return sorted(loops, key=len, reverse=True)
