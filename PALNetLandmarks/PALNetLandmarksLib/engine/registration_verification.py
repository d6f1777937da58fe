"""Is it a face, and does it sit right? Evidence beyond the overlap of two surfaces.

A sphere, the back of a head or a face upside down overlap the reference's face well. They do not meet it point by
point, they face other ways, and above all they lack its relief: the nose, the eye sockets and the lips that stand out
of or lie below the smooth curve of the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.registration_elastic import FittedFace
from PALNetLandmarksLib.engine.rigid import apply_transform

Array = NDArray[np.float64]

_CAP_MM = 10.0
_INLIER_MM = 5.0
_MIDLINE_MM = 8.0


@dataclass(frozen=True)
class Evidence:
    """What speaks for an alignment.

    Parameters
    ----------
    distance_mm : float
        Mean distance of the fitted central face's points to the scan's, each capped at 10 mm.
    turned_share : float
        Share of the central face's points whose closest scan point faces elsewhere (more than 45 degrees off).
    relief : float
        Correlation, -1 to 1, of the scan's relief with the undeformed reference's over the central face.
    fitted_relief : float
        The same with the fitted reference.
    effort : float
        Root mean square of the deformation's coefficients: 1 is as far from the mean face as the model expects.
    fitness : float
        Share of the fitted face's points that have the scan within 5 mm, facing the same way.
    inlier_rms_mm : float
        Root mean square distance of these points to the scan's surface (point to plane), mm.
    side_share : float
        Share of the central face's points with the scan within 5 mm on its worse side, right or left of the midline.
    """

    distance_mm: float
    turned_share: float
    relief: float
    fitted_relief: float
    effort: float
    fitness: float
    inlier_rms_mm: float
    side_share: float

    @property
    def score(self) -> float:
        """The evidence in one figure: not trustworthy below 0, good from 1.

        The weights are those of a logistic regression between alignments of simulated faces that were right (499) and
        alignments that were wrong, or of things that are no face (1069). On these the right ones scored 0.2 to 8 (less
        than 1: 1 %), the wrong ones less than -0.1 (99 % less than -1.4).
        """
        return (
            7.39 - 0.74 * self.distance_mm - 9.53 * self.turned_share + 8.85 * self.relief + 2.96 * self.fitted_relief
            - 8.64 * self.effort - 2.68 * self.inlier_rms_mm
        )  # fmt: skip


def gather_evidence(
    tree: cKDTree, scan_points: Array, scan_normals: Array, face: FittedFace, central_count: int
) -> Evidence:
    """Compare the reference's face with a scan.

    Parameters
    ----------
    tree : cKDTree
        Over ``scan_points``.
    scan_points, scan_normals : (n, 3) float64
        Points of the scan, mm, and unit normals.
    face : FittedFace
        The reference's face on the scan, the central face first.
    central_count : int
        Number of points of the central face.

    Returns
    -------
    Evidence
        The figures.
    """
    moved = apply_transform(face.pose, face.shape)
    turned = face.normals @ face.pose[:3, :3].T
    distances, nearest = tree.query(moved, distance_upper_bound=4.0 * _CAP_MM)
    found = np.isfinite(distances)
    nearest = np.where(found, nearest, 0)
    cosine = np.where(found, np.einsum("nd,nd->n", turned, scan_normals[nearest]), -1.0)
    central = slice(0, central_count)
    offset = np.einsum("nd,nd->n", moved - scan_points[nearest], scan_normals[nearest])
    inlier = found & (np.abs(offset) < _INLIER_MM) & (distances < 2.0 * _INLIER_MM) & (cosine > 0.5)
    across, near = face.points[central, 0], distances[central] < _INLIER_MM
    return Evidence(
        distance_mm=float(np.minimum(distances[central], _CAP_MM).mean()),
        turned_share=float((cosine[central] < np.cos(np.radians(45.0))).mean()),
        relief=_relief(scan_points, scan_normals, face.points[central], face.rigid_pose),
        fitted_relief=_relief(scan_points, scan_normals, face.shape[central], face.pose),
        effort=face.effort,
        fitness=float(inlier.mean()),
        inlier_rms_mm=float(np.sqrt(np.mean(offset[inlier] ** 2))) if inlier.any() else _INLIER_MM,
        side_share=float(min(near[across > _MIDLINE_MM].mean(), near[across < -_MIDLINE_MM].mean())),
    )


def _relief(scan_points: Array, scan_normals: Array, central: Array, pose: Array) -> float:
    """Correlate the heights of scan and reference over the central face, less the best quadratic surface of each."""
    rotation, shift = pose[:3, :3], pose[:3, 3]
    in_frame = (scan_points - shift) @ rotation
    low, high = central.min(0) - 8.0, central.max(0) + [8.0, 8.0, 38.0]
    front = ((in_frame > low) & (in_frame < high)).all(1)
    front &= np.einsum("nd,d->n", scan_normals, rotation[:, 2]) > 0.15
    if np.count_nonzero(front) < 30:
        return 0.0
    above = in_frame[front]
    distances, nearest = cKDTree(above[:, :2]).query(central[:, :2], k=3)
    known = distances[:, 0] < 10.0
    if np.count_nonzero(known) < 0.5 * len(central):
        return 0.0
    closeness = 1.0 / (distances[known] + 1.0)
    heights = (above[nearest[known], 2] * closeness).sum(1) / closeness.sum(1)
    x, y = central[known, 0] / 50.0, central[known, 1] / 50.0
    smooth = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    both = np.stack([central[known, 2], heights], axis=1)
    # Normal equations: six unknowns of size 1, and no threads (see _gram in registration_elastic).
    products = np.einsum("nk,nm->km", smooth, smooth)
    both = both - smooth @ np.linalg.solve(products, np.einsum("nk,nm->km", smooth, both))
    expected, seen = both[:, 0], both[:, 1]
    power = float(np.sqrt((expected**2).sum() * (seen**2).sum()))
    return float((expected * seen).sum()) / power if power > 1e-9 else 0.0
