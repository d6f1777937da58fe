"""The second stage of 2S-SGCN, MSE-over-mesh: from heatmaps to vertices of the scan.

For each landmark the t hottest points and their heat are known. The answer is the vertex p for which heat spread round
p as in training, exp(−d(p, q)² / 2σ²), is most like the heat that the network gave these points (mean squared
difference). Candidates lie within γ r of the points' weighted mean m, where r is the largest distance from m to them.

That ball is wide: with γ = 5 it holds thousands of vertices of a dense mesh, times t points, times 50 landmarks. Most
can be left out without changing the answer. A vertex further than R from all t points has modelled heat of less than
E(R) = exp(−R² / 2σ²) at them, so its difference is at least mean(max(heat − E(R), 0)²), which grows with R. Beyond the
R at which this is more than what some vertex near m already achieves, there is nothing to find. Nor is there beyond 4σ
where the modelled heat is 0.0003: such a vertex says only that there is no heat, which any other far one says as well.
What remains is compared all at once, in rows of (landmark, vertex).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REACH = 5.0  # γ of the paper
_STEPS = 64  # radii tried for the bound
_FAR = 4.0  # σ; see above
_ROWS_AT_ONCE = 32_768  # pairs of a landmark and a vertex compared at once: 1.6 MB with t = 12, as much as a cache


@dataclass(frozen=True)
class HeatFit:
    """Landmarks located by heat.

    Attributes
    ----------
    landmarks : (l, 3) float64
        In the frame and unit of the points.
    vertex : (l,) int64
        The vertex each lies on, -1 if it lies on none (first stage only).
    mean_square : (l,) float64
        Mean squared difference between given and modelled heat.
    standard_error : (l,) float64
        How far the landmark could be moved before that difference grows markedly: the root of the mean squared
        difference over the root mean square slope of the modelled heat at the points; in the unit of the points.
    peak : (l,) float64
        Highest heat.
    """

    landmarks: FloatArray
    vertex: IntArray
    mean_square: FloatArray
    standard_error: FloatArray
    peak: FloatArray


def weighted_means(points: FloatArray, heat: FloatArray) -> FloatArray:
    """Return the first stage's answer: the mean of the hottest points, weighted by the softmax of their heat.

    Parameters
    ----------
    points : (l, t, 3) float64
    heat : (l, t) float64

    Returns
    -------
    (l, 3) float64
    """
    weights = np.exp(heat - heat.max(axis=1, keepdims=True))
    means: FloatArray = np.einsum("lt,ltd->ld", weights / weights.sum(axis=1, keepdims=True), points)
    return means


def expected_error(fit: HeatFit, sigma: float) -> FloatArray:
    """Return the error that the heat itself lets expect, (l,) in the unit of the points; to be calibrated.

    Two things in one: how badly the heat fits round the answer (`HeatFit.standard_error`), and how far away from the
    landmark the hottest point would be if its heat were true, d = σ √(2 ln 1/peak). A network that is not sure heats
    nothing much, and the first alone would miss that: low heat everywhere can be explained well by a vertex aside.

    Parameters
    ----------
    fit : HeatFit
    sigma : float
    """
    away = sigma * np.sqrt(-2.0 * np.log(np.clip(fit.peak, 1e-3, 1.0)))
    error: FloatArray = np.hypot(fit.standard_error, away)
    return error


def locate_by_mean(points: FloatArray, heat: FloatArray, sigma: float) -> HeatFit:
    """Take the weighted means as they are (ablations 1S); parameters as in `locate_on_mesh`."""
    found = weighted_means(points, heat)
    difference = np.linalg.norm(points - found[:, None], axis=2)
    return _fit(found, np.full(len(found), -1), difference, heat, sigma)


def locate_on_mesh(
    vertices: FloatArray, points: FloatArray, heat: FloatArray, sigma: float, reach: float = REACH,
    *, tree: cKDTree | None = None,
) -> HeatFit:  # fmt: skip
    """Find the vertex of a mesh that explains the heat best, for all landmarks together.

    Parameters
    ----------
    vertices : (n, 3) float64
        Vertices of the scan's own mesh.
    points : (l, t, 3) float64
        The t hottest points of each landmark, in the frame of the vertices.
    heat : (l, t) float64
        Heat that the network gives them.
    sigma : float
        Width of the heat in the unit of the vertices.
    reach : float
        γ.
    tree : scipy.spatial.cKDTree, optional
        Of the vertices, if the caller has one.

    Returns
    -------
    HeatFit
        Differences are compared in float32; of vertices that are equally good, the first. Where no vertex is a
        candidate, the one nearest to the weighted mean is the answer.
    """
    tree = cKDTree(vertices, balanced_tree=False, compact_nodes=False) if tree is None else tree
    means = weighted_means(points, heat)
    radius = np.linalg.norm(points - means[:, None], axis=2).max(axis=1)
    best, bound = _near_guess(vertices, tree, means, points, heat, sigma, reach * radius)
    owner, candidate = _candidates(tree, means, points, reach * radius, _search_radius(heat, sigma, bound))
    if len(owner):
        # Relative to m the coordinates are small: nothing is lost in float32.
        relative = (points - means[:, None]).astype(np.float32)
        given = heat.astype(np.float32)
        factor = np.float32(-0.5 / sigma**2)
        difference = np.empty(len(owner), dtype=np.float32)
        for start in range(0, len(owner), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = owner[part]
            offset = (vertices[candidate[part]] - means[rows]).astype(np.float32)
            difference[part] = _mean_square(offset, relative[rows], given[rows], factor)
        order = np.lexsort((candidate, difference, owner))
        owners, first = np.unique(owner[order], return_index=True)
        best[owners] = candidate[order[first]]
    found = vertices[best]
    return _fit(found, best, np.linalg.norm(points - found[:, None], axis=2), heat, sigma)


def _mean_square(offset: NDArray, points: NDArray, heat: NDArray, factor: np.floating) -> NDArray:
    """Return the difference for rows of a vertex (r, 3) and the points (r, t, 3) and heat (r, t) of its landmark."""
    squared = np.square(points[:, :, 0] - offset[:, 0, None])
    for axis in (1, 2):
        squared += np.square(points[:, :, axis] - offset[:, axis, None])
    squared *= factor
    np.exp(squared, out=squared)
    squared -= heat
    result: NDArray = np.einsum("rt,rt->r", squared, squared) / np.asarray(heat.shape[1], dtype=heat.dtype)
    return result


def _near_guess(
    vertices: FloatArray, tree: cKDTree, means: FloatArray, points: FloatArray, heat: FloatArray, sigma: float,
    reach: FloatArray,
) -> tuple[IntArray, FloatArray]:  # fmt: skip
    """Return the vertex nearest to each mean, and the least difference (l,) of some candidates close by."""
    landmarks, count, _ = points.shape
    tried = np.concatenate([means[:, None], points], axis=1)
    vertex = tree.query(tried.reshape(-1, 3))[1].astype(np.int64)
    offset = vertices[vertex]
    rows = np.repeat(np.arange(landmarks), count + 1)
    difference = _mean_square(offset, points[rows], heat[rows], np.float64(-0.5 / sigma**2))
    allowed = np.linalg.norm(offset - means[rows], axis=1) <= reach[rows]
    least = np.where(allowed, difference, np.inf).reshape(landmarks, count + 1).min(axis=1)
    return vertex.reshape(landmarks, count + 1)[:, 0].copy(), least


def _search_radius(heat: FloatArray, sigma: float, bound: FloatArray) -> FloatArray:
    """Return the distance (l,) from the hottest points beyond which no vertex can be better than `bound`."""
    distance = np.linspace(0.0, _FAR * sigma, _STEPS)
    modelled = np.exp(np.square(distance) / (-2.0 * sigma * sigma))
    least = np.square(np.maximum(heat[None] - modelled[:, None, None], 0.0)).mean(axis=2)  # (s, l)
    hopeless = least > bound * (1.0 + 1e-6) + 1e-9
    found: FloatArray = distance[np.where(hopeless.any(axis=0), hopeless.argmax(axis=0), _STEPS - 1)]
    return found


def _candidates(
    tree: cKDTree, means: FloatArray, points: FloatArray, reach: FloatArray, near: FloatArray
) -> tuple[IntArray, IntArray]:
    """Return pairs of a landmark and a vertex: all within `reach` of the mean and `near` to one of its points.

    Where the points lie close together, one ball round them all is cheaper than one round each; it may hold more.
    """
    landmarks, count, _ = points.shape
    around = np.linalg.norm(points - means[:, None], axis=2).max(axis=1) + near
    together = around**2 <= count * near**2
    owner, vertex = _within(tree, means[together], np.minimum(around, reach)[together])
    owner = np.flatnonzero(together)[owner]
    apart = np.flatnonzero(~together)
    if len(apart):
        row, other = _within(tree, points[apart].reshape(-1, 3), np.repeat(near[apart], count))
        pairs = np.unique(apart[row // count] * tree.n + other)
        row, other = pairs // tree.n, pairs % tree.n
        inside = np.linalg.norm(tree.data[other] - means[row], axis=1) <= reach[row]
        owner, vertex = np.concatenate([owner, row[inside]]), np.concatenate([vertex, other[inside]])
    return owner, vertex


def _within(tree: cKDTree, centres: FloatArray, radius: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the pairs of a centre and a vertex within its radius."""
    balls = tree.query_ball_point(centres, radius)
    sizes = np.fromiter((len(ball) for ball in balls), dtype=np.int64, count=len(balls))
    parts = [np.asarray(ball, dtype=np.int64) for ball in balls]
    return np.repeat(np.arange(len(balls)), sizes), np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _fit(landmarks: FloatArray, vertex: IntArray, distance: FloatArray, heat: FloatArray, sigma: float) -> HeatFit:
    """Judge landmarks by their distances (l, t) from the hottest points."""
    modelled = np.exp(np.square(distance) / (-2.0 * sigma * sigma))
    mean_square = np.square(heat - modelled).mean(axis=1)
    slope = np.square(modelled * distance / sigma**2).mean(axis=1)
    # Where the points lie so far away that the model is flat, nothing is known: the error may be as large as that.
    largest = np.maximum(distance.max(axis=1), sigma)
    error = np.sqrt(mean_square / np.maximum(slope, 1e-12 / sigma**2))
    return HeatFit(landmarks, vertex, mean_square, np.minimum(error, largest), heat.max(axis=1))
