"""Local shape of a surface round each point, told so that it does not depend on the pose.

The descriptor is the Fast Point Feature Histogram (FPFH; Rusu, Blodow and Beetz, ICRA 2009), vectorised over all pairs
of neighbours. It is written out here rather than taken from a library so that the same points always give the same
numbers, whatever the number of processor threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
_BINS = 11


def thin(points: Array, spacing: float) -> NDArray[np.int64]:
    """Choose points at least ``spacing`` apart, earlier points before later ones.

    Only distances are used, never coordinates: a turned cloud keeps the same points.

    Parameters
    ----------
    points : (n, 3) float
        Points, mm.
    spacing : float
        Least distance between two points kept, mm.

    Returns
    -------
    (k,) int64
        Indices of the points kept, ascending.
    """
    pairs = cKDTree(points, balanced_tree=False, compact_nodes=False).query_pairs(spacing, output_type="ndarray")
    first, second = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    undecided = np.ones(len(points), dtype=bool)
    kept = np.zeros(len(points), dtype=bool)
    while undecided.any():
        both = undecided[first] & undecided[second]
        first, second = first[both], second[both]
        preceded = np.zeros(len(points), dtype=bool)
        preceded[second] = True
        now = undecided & ~preceded
        kept |= now
        undecided &= ~now
        undecided[second[now[first]]] = False
    return np.flatnonzero(kept)


def _dot(first: Array, second: Array) -> Array:
    return np.einsum("nd,nd->n", first, second)


def _cross(first: Array, second: Array) -> Array:
    # Written out: several times faster than numpy.cross on many short rows.
    result = np.empty_like(first)
    result[:, 0] = first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1]
    result[:, 1] = first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2]
    result[:, 2] = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return result


def shape_descriptors(points: Array, normals: Array, radius: float) -> NDArray[np.float32]:
    """Describe the surface round each point by its FPFH.

    Parameters
    ----------
    points : (n, 3) float
        Points, mm, about evenly spaced.
    normals : (n, 3) float
        Unit normals, all on the outer side.
    radius : float
        Radius of the neighbourhood, mm.

    Returns
    -------
    (n, 33) float32
        Three histograms of 11 bins (angles theta, alpha, phi); each row sums to 1, or is 0 for a point on its own.
    """
    count = len(points)
    pairs = cKDTree(points, balanced_tree=False, compact_nodes=False).query_pairs(radius, output_type="ndarray")
    first, second = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    line = points[second] - points[first]
    distance = np.sqrt(_dot(line, line))
    line /= np.maximum(distance, 1e-9)[:, None]
    first_normal, second_normal = normals[first], normals[second]
    first_angle, second_angle = _dot(first_normal, line), -_dot(second_normal, line)
    # Of the two, the point whose normal is closer to the line carries the frame (u, v, w).
    swapped = np.abs(first_angle) < np.abs(second_angle)
    u = np.where(swapped[:, None], second_normal, first_normal)
    other = np.where(swapped[:, None], first_normal, second_normal)
    v = _cross(np.where(swapped[:, None], -line, line), u)
    v /= np.maximum(np.sqrt(_dot(v, v)), 1e-9)[:, None]
    w = _cross(u, v)
    theta = np.arctan2(_dot(w, other), _dot(u, other)) / np.pi
    alpha = _dot(v, other)
    phi = np.where(swapped, second_angle, first_angle)

    owner = np.concatenate([first, second])
    neighbour = np.concatenate([second, first])
    simple = np.empty((count, 3 * _BINS))
    for place, angle in enumerate((theta, alpha, phi)):
        column = np.clip(((angle + 1.0) * (0.5 * _BINS)).astype(np.int64), 0, _BINS - 1)
        cell = owner * _BINS + np.concatenate([column, column])
        simple[:, place * _BINS : (place + 1) * _BINS] = np.bincount(cell, minlength=count * _BINS).reshape(-1, _BINS)
    simple /= np.maximum(np.bincount(owner, minlength=count), 1)[:, None]
    nearness = 1.0 / np.maximum(np.concatenate([distance, distance]), 1e-3) ** 2
    around = csr_matrix((nearness, (owner, neighbour)), shape=(count, count)) @ simple
    around /= np.maximum(around.sum(1, keepdims=True) / 3.0, 1e-12)
    both = simple + around
    both /= np.maximum(both.sum(1, keepdims=True), 1e-12)
    return both.astype(np.float32)
