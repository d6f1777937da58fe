"""From the fused surface to the file a scanner's software would export: components, crops, holes, density."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.open3d_loader import open3d
from training_tools.simulation.scene import vertex_normals
from training_tools.simulation.subdivision import border_loops, triangle_edges

Mesh = tuple[np.ndarray, np.ndarray]


class NothingCapturedError(Exception):
    """The cameras saw no face (hidden by hair or clothing, or outside the field of view)."""


def compact(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    """Drop vertices that no triangle uses."""
    used = np.zeros(len(vertices), bool)
    used[triangles.ravel()] = True
    rank = np.cumsum(used) - 1
    return vertices[used], rank[triangles]


def adjacency(triangles: np.ndarray, count: int) -> sp.csr_matrix:
    """Return the (count, count) matrix with 1 for every edge."""
    edges, _ = triangle_edges(triangles)
    both = np.concatenate([edges, edges[:, ::-1]])
    return sp.csr_matrix((np.ones(len(both), np.float32), (both[:, 0], both[:, 1])), shape=(count, count))


def keep_components(vertices: np.ndarray, triangles: np.ndarray, share: float, centre: np.ndarray) -> Mesh:
    """Keep the component that has most of the face, and others that are not too small.

    Parameters
    ----------
    vertices, triangles : (n, 3), (m, 3)
    share : float
        Smallest other component to keep, as a share of the main one's triangles.
    centre : (3,) float
        Middle of the face; the main component is the one with most vertices within 80 mm.
    """
    count, label = connected_components(adjacency(triangles, len(vertices)), directed=False)
    size = np.bincount(label[triangles[:, 0]], minlength=count)
    near = np.linalg.norm(vertices - centre, axis=1) < 80.0
    if not near.any():
        raise NothingCapturedError
    main = int(np.argmax(np.bincount(label[near], minlength=count)))
    keep = size >= max(share * size[main], 4)
    keep[main] = True
    return compact(vertices, triangles[keep[label[triangles[:, 0]]]])


def smooth(vertices: np.ndarray, triangles: np.ndarray, rounds: int, taubin: bool) -> np.ndarray:
    """Laplacian (or Taubin: without shrinking) smoothing, ``rounds`` times."""
    links = adjacency(triangles, len(vertices))
    mean = sp.diags(1.0 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)) @ links
    for _ in range(rounds):
        vertices = vertices + 0.5 * (mean @ vertices - vertices)
        if taubin:
            vertices = vertices - 0.53 * (mean @ vertices - vertices)
    return vertices


def fill_holes(vertices: np.ndarray, triangles: np.ndarray, longest: int) -> Mesh:
    """Close borders of up to ``longest`` edges by a fan about their centre."""
    loops = [loop for loop in border_loops(triangles)[1:] if len(loop) <= longest]
    if not loops:
        return vertices, triangles
    centres = np.array([vertices[loop].mean(axis=0) for loop in loops])
    fans = [
        np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(vertices) + k)], axis=1)
        for k, loop in enumerate(loops)
    ]
    return np.concatenate([vertices, centres]), np.concatenate([triangles, *fans])


def decimate(vertices: np.ndarray, triangles: np.ndarray, target: int) -> Mesh:
    """Quadric edge collapse down to about ``target`` vertices: small triangles where the surface curves."""
    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(vertices), o3d.utility.Vector3iVector(triangles.astype(np.int32))
    )
    keep = max(int(len(triangles) * target / len(vertices)), 4)
    mesh = mesh.simplify_quadric_decimation(keep)
    return compact(np.asarray(mesh.vertices).copy(), np.asarray(mesh.triangles).astype(np.int64))


def thin_out(vertices: np.ndarray, triangles: np.ndarray, target: int, rng: np.random.Generator) -> Mesh:
    """Merge vertices into about ``target`` random neighbours: irregular triangles of even size, quickly.

    Vertices are compared by position and normal, so that the two sides of a thin sheet stay apart.
    """
    place = np.concatenate([vertices, 12.0 * vertex_normals(vertices, triangles)], axis=1)
    seeds = np.sort(rng.choice(len(vertices), size=min(target, len(vertices)), replace=False))
    group = cKDTree(place[seeds]).query(place)[1]
    corners = group[triangles]
    apart = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    corners = corners[apart]
    key = np.sort(corners, axis=1)
    _, first = np.unique(key, axis=0, return_index=True)
    count = np.bincount(group, minlength=len(seeds))[:, None]
    mean = np.stack([np.bincount(group, vertices[:, k], minlength=len(seeds)) for k in range(3)], axis=1) / count
    return compact(0.5 * (mean + vertices[seeds]), corners[np.sort(first)])


def refine(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    """Split every triangle into four (as software that exports a denser mesh than it measured)."""
    edges, side = triangle_edges(triangles)
    middle = side + len(vertices)
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    fine = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return np.concatenate([vertices, vertices[edges].mean(axis=1)]), fine


def border_vertices(triangles: np.ndarray) -> np.ndarray:
    """Ids of all vertices on a border."""
    edges, side = triangle_edges(triangles)
    return np.unique(edges[np.bincount(side.ravel(), minlength=len(edges)) == 1])


def add_spikes(vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Pull a few border vertices far out, as matching errors do at the edge of the measured surface."""
    border = border_vertices(triangles)
    if not len(border) or not count:
        return vertices
    chosen = rng.choice(border, size=min(count, len(border)), replace=False)
    vertices = vertices.copy()
    direction = rng.normal(size=(len(chosen), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vertices[chosen] += direction * rng.gamma(2.0, 5.0, (len(chosen), 1))
    return vertices
