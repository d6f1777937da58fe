"""Guesses of the pose from matching local shapes, best first.

Every guess comes from two matched pairs of oriented points (a point with its normal has all a pose needs but a turn
about the line between the two), so that a share of right matches of 5 % still gives one right guess in 400; triplets
would need 8000. All guesses are drawn, checked and scored at once, in arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.registration_features import shape_descriptors, thin
from PALNetLandmarksLib.engine.registration_reference import Anchors, Reference

Array = NDArray[np.float64]

_DRAWS = 60_000
_BASELINE_MM = (25.0, 140.0)
_SCALE_RANGE = (0.82, 1.20)
"""Size of faces against the reference: of the smallest child to the largest adult that can be expected."""
_NORMAL_TOLERANCE = 0.35
_SCORED = 1500
_RESCORED = 120
_FAR_MM = 12.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Even points of a scan, and its thinned part with a tree for quick looks.

    Parameters
    ----------
    points, normals : (n, 3) float64
        Even points, mm, and outward unit normals.
    """

    points: Array
    normals: Array

    def thinned(self, spacing: float) -> Sample:
        """Return the sample with points at least ``spacing`` mm apart."""
        chosen = thin(self.points, spacing)
        return Sample(self.points[chosen], self.normals[chosen])

    def tree(self) -> cKDTree:
        """Return a tree over the points."""
        return cKDTree(self.points, balanced_tree=False, leafsize=16)

    def described(self, spacing: float, radius: float) -> Described:
        """Describe the surface round points ``spacing`` mm apart, as far as ``radius`` mm."""
        scan = self.thinned(spacing)
        return Described(scan, shape_descriptors(scan.points, scan.normals, radius), spacing, radius)


@dataclass(frozen=True, eq=False)
class Described:
    """Points of a scan with descriptions of the surface round them: what is searched.

    Parameters
    ----------
    scan : Sample
        The described points, n of them.
    descriptors : (n, 33) float32
        See ``shape_descriptors``.
    spacing, radius : float
        Spacing of the points and radius of the descriptions, mm.
    """

    scan: Sample
    descriptors: NDArray[np.float32]
    spacing: float
    radius: float

    def part(self, chosen: NDArray[np.bool_]) -> Described:
        """Return the chosen points (n,) with the descriptions they have in the whole scan."""
        scan = Sample(self.scan.points[chosen], self.scan.normals[chosen])
        return Described(scan, self.descriptors[chosen], self.spacing, self.radius)


@dataclass(frozen=True, eq=False)
class Guess:
    """A guessed pose of the face.

    Parameters
    ----------
    pose : (4, 4) float64
        Reference to scan.
    disagreement : float
        How badly the scan meets the face there, see ``disagreement``: 0 best, 1 worst.
    """

    pose: Array
    disagreement: float


def _matches(
    anchors: Anchors, descriptors: NDArray[np.float32], nearest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each anchor with the scan points of the most similar descriptors; mutual best matches count twice."""
    squared = (
        np.einsum("ad,ad->a", anchors.descriptors, anchors.descriptors)[:, None]
        + np.einsum("sd,sd->s", descriptors, descriptors)[None]
        - 2.0 * anchors.descriptors @ descriptors.T
    )
    nearest = min(nearest, squared.shape[1] - 1)
    candidates = np.argpartition(squared, nearest, axis=1)[:, :nearest]
    best, back = squared.argmin(1), squared.argmin(0)
    mutual = np.flatnonzero(back[best] == np.arange(len(best)))
    anchor = np.concatenate([np.repeat(np.arange(len(best)), nearest), mutual, mutual, mutual])
    scan = np.concatenate([candidates.ravel(), best[mutual], best[mutual], best[mutual]])
    return anchor, scan


def _frames(first: Array, second: Array, first_normal: Array, second_normal: Array) -> Array:
    """Right-handed frames from two oriented points each: along the line, towards the normals, and across; columns."""
    along = second - first
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = first_normal + second_normal
    up -= np.einsum("nd,nd->n", up, along)[:, None] * along
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
    return np.stack([along, up, np.cross(along, up)], axis=2)


def _draw_poses(
    anchors: Anchors, scan: Sample, anchor: NDArray[np.int64], point: NDArray[np.int64], generator: np.random.Generator
) -> tuple[Array, Array]:
    """Draw pairs of matches, keep those that fit together, and return their poses reference to scan."""
    left, right = generator.integers(len(anchor), size=(2, _DRAWS))
    reference_points, reference_normals = anchors.points, anchors.normals
    r1, r2, s1, s2 = anchor[left], anchor[right], point[left], point[right]
    reference_length = np.linalg.norm(reference_points[r2] - reference_points[r1], axis=1)
    scan_length = np.linalg.norm(scan.points[s2] - scan.points[s1], axis=1)
    fits = (reference_length > _BASELINE_MM[0]) & (reference_length < _BASELINE_MM[1])
    fits &= (scan_length > _SCALE_RANGE[0] * reference_length) & (scan_length < _SCALE_RANGE[1] * reference_length)
    r1, r2, s1, s2 = r1[fits], r2[fits], s1[fits], s2[fits]

    def cosines(points: Array, normals: Array, one: NDArray[np.int64], two: NDArray[np.int64]) -> Array:
        line = points[two] - points[one]
        line /= np.linalg.norm(line, axis=1, keepdims=True)
        return np.stack(
            [np.einsum("nd,nd->n", a, b) for a, b in
             ((normals[one], line), (normals[two], line), (normals[one], normals[two]))], axis=1
        )  # fmt: skip

    difference = cosines(reference_points, reference_normals, r1, r2) - cosines(scan.points, scan.normals, s1, s2)
    fits = (np.abs(difference) < _NORMAL_TOLERANCE).all(1)
    r1, r2, s1, s2 = r1[fits], r2[fits], s1[fits], s2[fits]
    reference_frame = _frames(reference_points[r1], reference_points[r2], reference_normals[r1], reference_normals[r2])
    scan_frame = _frames(scan.points[s1], scan.points[s2], scan.normals[s1], scan.normals[s2])
    rotations = scan_frame @ reference_frame.transpose(0, 2, 1)
    reference_middle = 0.5 * (reference_points[r1] + reference_points[r2])
    scan_middle = 0.5 * (scan.points[s1] + scan.points[s2])
    return rotations, scan_middle - np.einsum("nij,nj->ni", rotations, reference_middle)


def disagreement(
    tree: cKDTree, scan_normals: Array, points: Array, normals: Array, rotations: Array, shifts: Array
) -> Array:
    """Score poses of the reference by how badly the scan meets it: 0 best, 1 worst.

    Parameters
    ----------
    tree : cKDTree
        Over the scan's points.
    scan_normals : (n, 3) float
        Their normals.
    points, normals : (k, 3) float
        Points of the reference that should be met.
    rotations : (h, 3, 3) float
        Poses reference to scan.
    shifts : (h, 3) float
        Their translations, mm.

    Returns
    -------
    (h,) float
        Mean over the points of the distance capped at 12 mm, as a share of this cap; a point whose nearest scan point
        faces elsewhere (more than 60 degrees off) counts as not met.
    """
    moved = np.einsum("hij,kj->hki", rotations, points) + shifts[:, None]
    distances, nearest = tree.query(moved.reshape(-1, 3), distance_upper_bound=_FAR_MM)
    met = np.isfinite(distances)
    turned = np.einsum("hij,kj->hki", rotations, normals).reshape(-1, 3)
    agreeing = np.zeros(len(met), dtype=bool)
    agreeing[met] = np.einsum("nd,nd->n", turned[met], scan_normals[nearest[met]]) > 0.5
    cost = np.where(agreeing, distances / _FAR_MM, 1.0)
    return cost.reshape(len(rotations), -1).mean(1)


def search(
    described: Described, reference: Reference, generator: np.random.Generator, *, extent: int, guesses: int
) -> list[Guess]:
    """Guess the pose of the face in a scan.

    Parameters
    ----------
    described : Described
        Points of the scan, or of the part of it that is searched, with their descriptions.
    reference : Reference
        The common face.
    generator : numpy.random.Generator
        Source of the draws.
    extent : int
        How much of the reference's head the descriptions see.
    guesses : int
        How many guesses to return at most; no two of them lie within 15 degrees and 15 mm.

    Returns
    -------
    list of Guess
        The most promising first; empty if nothing matched.
    """
    anchors, scan = reference.anchors(described.spacing, described.radius, extent), described.scan
    if len(scan.points) < 50:
        return []
    anchor, point = _matches(anchors, described.descriptors, nearest=2)
    rotations, shifts = _draw_poses(anchors, scan, anchor, point, generator)
    rotations, shifts = rotations[:_SCORED], shifts[:_SCORED]
    if not len(rotations):
        return []
    tree = scan.tree()
    points, normals = reference.face
    for count, stay in ((40, _RESCORED), (200, 40)):
        chosen = np.linspace(0, len(points) - 1, count).astype(np.int64)
        cost = disagreement(tree, scan.normals, points[chosen], normals[chosen], rotations, shifts)
        order = np.argsort(cost, kind="stable")[:stay]
        rotations, shifts, cost = rotations[order], shifts[order], cost[order]
    centre = points.mean(0)
    places = np.einsum("hij,j->hi", rotations, centre) + shifts
    kept: list[int] = []
    for index in range(len(rotations)):
        same = [
            np.linalg.norm(places[index] - places[other]) < 15.0
            and np.trace(rotations[index].T @ rotations[other]) > 1.0 + 2.0 * np.cos(np.radians(15.0))
            for other in kept
        ]
        if not any(same):
            kept.append(index)
        if len(kept) == guesses:
            break
    found = []
    for index in kept:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotations[index], shifts[index]
        found.append(Guess(pose, float(cost[index])))
    return found
