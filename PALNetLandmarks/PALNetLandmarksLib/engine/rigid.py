"""Rigid transforms: apply, invert, fit, measure.

A transform is a (4, 4) float64 matrix that maps column vectors: ``q = T @ [p, 1]``. Points are rows, in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def apply_transform(transform: ArrayLike, points: ArrayLike) -> Array:
    """Move points by a rigid (or affine) transform.

    Parameters
    ----------
    transform : (4, 4) float
        The transform.
    points : (..., 3) float
        Points; rows that are NaN stay NaN.

    Returns
    -------
    (..., 3) float64
        The moved points.

    Examples
    --------
    >>> apply_transform([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], [[1, 2, 3]])
    array([[6., 2., 3.]])
    """
    matrix = np.asarray(transform, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def invert_rigid(transform: ArrayLike) -> Array:
    """Return the inverse of a rigid transform, exactly rigid again.

    Parameters
    ----------
    transform : (4, 4) float
        A rotation and a translation.

    Returns
    -------
    (4, 4) float64
        The inverse.
    """
    matrix = np.asarray(transform, dtype=np.float64)
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def rigid_fit(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Fit the rotation and translation that bring ``source`` onto ``target`` with least squared distance.

    Solved by the singular value decomposition of the weighted covariance (Kabsch 1976, Umeyama 1991), reflections
    excluded. Pairs with a NaN coordinate or no weight are left out.

    Parameters
    ----------
    source, target : (k, 3) float
        Corresponding points, mm.
    weights : (k,) float, optional
        Weights of the pairs, not negative; equal if not given.

    Returns
    -------
    (4, 4) float64
        The transform source to target.

    Raises
    ------
    ValueError
        If the shapes differ, fewer than three pairs are left, or these lie on one line.
    """
    source_points = np.asarray(source, dtype=np.float64)
    target_points = np.asarray(target, dtype=np.float64)
    if source_points.shape != target_points.shape or source_points.ndim != 2 or source_points.shape[1] != 3:
        raise ValueError(f"need two (k, 3) arrays of the same length, got {source_points.shape}, {target_points.shape}")
    count = len(source_points)
    weight = np.ones(count) if weights is None else np.array(weights, dtype=np.float64)
    if weight.shape != (count,):
        raise ValueError(f"need one weight for each of the {count} pairs, got {weight.shape}")
    used = np.isfinite(source_points).all(1) & np.isfinite(target_points).all(1) & (weight > 0)
    if int(used.sum()) < 3:
        raise ValueError("a rigid fit needs at least three pairs of points")
    source_points, target_points, weight = source_points[used], target_points[used], weight[used]
    weight = weight / weight.sum()
    source_centre = weight @ source_points
    target_centre = weight @ target_points
    covariance = (target_points - target_centre).T @ ((source_points - source_centre) * weight[:, None])
    left, spread, right = np.linalg.svd(covariance)
    if spread[1] <= 1e-9 * max(spread[0], 1e-300):
        raise ValueError("a rigid fit needs points that do not lie on one line")
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    fitted = np.eye(4)
    fitted[:3, :3] = (left * flip) @ right
    fitted[:3, 3] = target_centre - fitted[:3, :3] @ source_centre
    return fitted


def rotation_angle(first: ArrayLike, second: ArrayLike) -> float:
    """Return the angle between the rotations of two transforms, degrees.

    Parameters
    ----------
    first, second : (4, 4) or (3, 3) float
        Two transforms.

    Returns
    -------
    float
        0 to 180 degrees.
    """
    between = np.asarray(first, dtype=np.float64)[:3, :3].T @ np.asarray(second, dtype=np.float64)[:3, :3]
    # From both sine and cosine: the cosine alone cannot tell angles below 1e-6 degrees from none.
    sine = 0.5 * np.linalg.norm(
        [between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]]
    )
    return float(np.degrees(np.arctan2(sine, 0.5 * (np.trace(between) - 1.0))))


def rotation_from_vector(vector: ArrayLike) -> Array:
    """Return the rotation about ``vector`` by its length (Rodrigues' formula).

    Parameters
    ----------
    vector : (3,) float
        Axis times angle, radians.

    Returns
    -------
    (3, 3) float64
        The rotation matrix.
    """
    axis = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(axis))
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    if angle < 1e-8:
        return np.eye(3) + cross + 0.5 * cross @ cross
    return np.eye(3) + np.sin(angle) / angle * cross + (1.0 - np.cos(angle)) / angle**2 * cross @ cross


def random_rotation(generator: np.random.Generator) -> Array:
    """Draw a rotation uniformly from all rotations (a normalised Gaussian quaternion).

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    (3, 3) float64
        The rotation matrix.
    """
    quaternion = generator.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
