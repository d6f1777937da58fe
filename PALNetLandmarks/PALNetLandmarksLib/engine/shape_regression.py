"""What the shape of the whole face says about each landmark: linear regression on a template's distances to the scan.

A network that looks at patches knows little of the face between them. Here a template, warped by the landmarks found so
far, is compared with the scan at about a thousand points: how far the surface lies from it along its normals, and how
much it is turned. From these numbers and the landmarks themselves a linear map, learnt by ridge regression on scans
that the network was not trained on, tells how far each landmark is off. It may be done in stages, the network looking
again from the better places in between (a cascade of regressions, as in Xiong and De la Torre, "Supervised descent
method", CVPR 2013; the features are those of a surface instead of an image).

Everything is in the reference frame, in mm. A face and its mirror image get mirrored answers, because the map is fitted
to both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.patches import point_tree
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit

FloatArray = NDArray[np.float64]
LookAgain = Callable[[FloatArray], FloatArray]

WARP_STIFFNESS = 5.0
"""Added to the diagonal of the warp's kernel, mm: landmarks that are a millimetre off do not crease the template."""

NEIGHBOURS = 12
REACH_MM = 12.0
"""Points of the scan are looked for so far from a point of the template."""

SPREAD_MM = 2.0
"""A point of the scan counts by a Gaussian of its distance from the template's normal."""

LEAST_AGREEMENT = 0.3
"""Cosine between the normals from which a point of the scan may belong to the template's place."""

FARTHEST_MM = 8.0
LARGEST_MM = 4.0
"""Surface farther off than the first is taken for something else (hair, clothes); distances are cut at the second."""

LEAST_GAIN, LARGEST_GAIN = 1.0, 1.5
"""Limits of a model's gain of asymmetry: beyond them noise, too, would grow by half."""


@dataclass(frozen=True, eq=False)
class Template:
    """Points of an average face that are looked at on each scan.

    Parameters
    ----------
    points, normals : (m, 3) float64
        Reference frame, mm; symmetric about x = 0 when the answers are to be.
    mean_landmarks : (l, 3) float64
    """

    points: FloatArray
    normals: FloatArray
    mean_landmarks: FloatArray

    @cached_property
    def warp(self) -> FloatArray:
        """Matrix (m, l) from the landmarks' displacements to those of the points.

        A smoothing spline in three dimensions with the biharmonic kernel -r and an affine part (Bookstein, 1989).
        """
        count = len(self.mean_landmarks)

        def kernel(first: FloatArray) -> FloatArray:
            return -np.linalg.norm(first[:, None] - self.mean_landmarks[None], axis=2)

        def affine(first: FloatArray) -> FloatArray:
            return np.hstack([np.ones((len(first), 1)), first / 100.0])

        inside = kernel(self.mean_landmarks) + WARP_STIFFNESS * np.eye(count)
        edge = affine(self.mean_landmarks)
        system = np.block([[inside, edge], [edge.T, np.zeros((4, 4))]])
        solved = np.linalg.solve(system, np.eye(count + 4)[:, :count])
        matrix: FloatArray = np.hstack([kernel(self.points), affine(self.points)]) @ solved
        return matrix

    def surface(self, tree: cKDTree, cloud: FloatArray, landmarks: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Compare the template, warped by landmarks, with a scan.

        Parameters
        ----------
        tree : cKDTree
            Of the cloud's points.
        cloud : (n, 6) float
            Points and unit normals of the scan.
        landmarks : (l, 3) float64

        Returns
        -------
        features : (m, 4) float64
            How far the surface lies along the template's normal (of the warped template and its warp together), and the
            difference of the normals; of a place that the scan does not show, what the warp alone gives.
        shown : (m,) bool
        """
        moved = np.einsum("ml,ld->md", self.warp, landmarks - self.mean_landmarks)
        places = self.points + moved
        apart, index = tree.query(places, k=NEIGHBOURS, distance_upper_bound=REACH_MM)
        near = np.isfinite(apart)
        found = cloud[np.where(near, index, 0)]
        offset = found[..., :3] - places[:, None]
        along = np.einsum("mkd,md->mk", offset, self.normals)
        beside = (offset**2).sum(axis=2) - along**2
        agreement = np.einsum("mkd,md->mk", found[..., 3:], self.normals)
        weight = near * (agreement > LEAST_AGREEMENT) * np.exp(-0.5 * np.maximum(beside, 0.0) / SPREAD_MM**2)
        total = weight.sum(axis=1)
        known = total > 0.05
        safe = np.where(known, total, 1.0)
        distance = (weight * along).sum(axis=1) / safe
        shown = known & (np.abs(distance) < FARTHEST_MM)
        normal = np.einsum("mk,mkd->md", weight, found[..., 3:])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        features = np.empty((len(places), 4))
        features[:, 0] = (moved * self.normals).sum(axis=1)
        features[:, 0] += np.where(shown, np.clip(distance, -LARGEST_MM, LARGEST_MM), 0.0)
        features[:, 1:] = np.where(shown[:, None], normal - self.normals, 0.0)
        return features, shown


@dataclass(frozen=True, eq=False)
class LinearStage:
    """A linear map from features to corrections.

    Parameters
    ----------
    weights : (f, 3l) float32
    offset : (3l,) float64
        Correction where all features are zero.
    """

    weights: NDArray[np.float32]
    offset: FloatArray

    def correction(self, features: FloatArray) -> FloatArray:
        """Return the corrections (l, 3), mm, for features (f,)."""
        # einsum, not a matrix product: the same bits with any number of threads.
        return (np.einsum("f,fo->o", features, self.weights) + self.offset).reshape(-1, 3)


def first_features(template: Template, surface: FloatArray, landmarks: FloatArray) -> FloatArray:
    """Return the features of the first stage: the landmarks and the surface; (3l + 4m,)."""
    return np.concatenate([(landmarks - template.mean_landmarks).ravel(), surface.ravel()])


def second_features(
    template: Template, surface: FloatArray, before: FloatArray, corrected: FloatArray, seen: FloatArray
) -> FloatArray:
    """Return the features of the second stage: landmarks before and after the first, as seen again, and the surface."""
    sets = [(one - template.mean_landmarks).ravel() for one in (corrected, seen, before)]
    return np.concatenate([*sets, surface.ravel()])


def widened(landmarks: FloatArray, mirror: NDArray[np.int64], gain: float) -> FloatArray:
    """Multiply the differences between right and left.

    What is learnt by least squares draws every face towards the average one, and that is symmetric: true asymmetry is
    shown too small. The landmarks are compared with their mirror image, after reflection in the plane that brings the
    two closest, and moved away from it.

    Parameters
    ----------
    landmarks : (l, 3) float64
        All of them known, x from right to left.
    mirror : (l,) int64
        Index of each landmark's partner on the other side.
    gain : float
        1 changes nothing.

    Returns
    -------
    (l, 3) float64
    """
    image = landmarks[mirror] * [-1.0, 1.0, 1.0]
    # The image as it lies best on the landmarks: half the way there is the symmetric face in the landmarks' own pose.
    image = apply_transform(rigid_fit(image, landmarks), image)
    moved: FloatArray = landmarks + 0.5 * (gain - 1.0) * (landmarks - image)
    return moved


@dataclass(frozen=True, eq=False)
class ShapeRegression:
    """The fitted regression of a model.

    Parameters
    ----------
    template : Template
    stages : tuple of LinearStage
        One, or two with the network looking again in between.
    error_share : (l, 2) float64
        Expected error before calibration: shares of the network's own estimate and of the correction's length.
    asymmetry_gain : float
        What differences between right and left are multiplied by at last, see `widened`.
    """

    template: Template
    stages: tuple[LinearStage, ...]
    error_share: FloatArray
    asymmetry_gain: float = 1.0

    def refine(
        self, points: FloatArray, normals: FloatArray, landmarks: FloatArray, look_again: LookAgain | None
    ) -> FloatArray:
        """Correct the landmarks of a scan.

        Parameters
        ----------
        points, normals : (n, 3) float64
            The scan's surface, reference frame.
        landmarks : (l, 3) float64
            What the network found.
        look_again : callable, optional
            Returns what the network finds when it starts from other places; without it only the first stage is done.

        Returns
        -------
        (l, 3) float64
        """
        tree, cloud = point_tree(points), np.hstack([points, normals])
        surface, _ = self.template.surface(tree, cloud, landmarks)
        corrected = landmarks + self.stages[0].correction(first_features(self.template, surface, landmarks))
        if len(self.stages) < 2 or look_again is None:
            return corrected
        seen = look_again(corrected)
        middle = 0.5 * (corrected + seen)
        surface, _ = self.template.surface(tree, cloud, middle)
        features = second_features(self.template, surface, landmarks, corrected, seen)
        return middle + self.stages[1].correction(features)

    def expected_error(self, raw: FloatArray, correction_mm: FloatArray) -> FloatArray:
        """Return the expected error (l,) before calibration, mm: of the network's own and the corrections' lengths."""
        return self.error_share[:, 0] * raw + self.error_share[:, 1] * correction_mm

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is written into a bundle: the maps as float16, each feature's weights scaled to at most 1."""
        stored: dict[str, NDArray[np.generic]] = {
            "points": self.template.points.astype(np.float32),
            "normals": self.template.normals.astype(np.float32),
            "error_share": self.error_share,
            "asymmetry_gain": np.array([self.asymmetry_gain]),
        }
        for number, stage in enumerate(self.stages, start=1):
            scale = np.maximum(np.abs(stage.weights).max(axis=1), 1e-12).astype(np.float32)
            # Row by row: safetensors writes an array's memory as it lies, whatever its order.
            stored[f"weights{number}"] = np.ascontiguousarray(stage.weights / scale[:, None], np.float16)
            stored[f"scale{number}"] = scale
            stored[f"offset{number}"] = stage.offset
        return stored

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[np.generic]], mean_landmarks: FloatArray) -> ShapeRegression:
        """Read what `arrays` gave.

        Raises
        ------
        KeyError, ValueError
            If an array is missing, or has a shape that does not fit.
        """
        points, normals = (np.asarray(stored[name], np.float64) for name in ("points", "normals"))
        landmarks = len(mean_landmarks)
        template = Template(points, normals, mean_landmarks)
        share = np.asarray(stored["error_share"], np.float64)
        gain = np.asarray(stored.get("asymmetry_gain", np.ones(1)), np.float64)
        if gain.shape != (1,) or not LEAST_GAIN <= gain[0] <= LARGEST_GAIN:
            raise ValueError(f"the gain of asymmetry is not one number from {LEAST_GAIN:g} to {LARGEST_GAIN:g}")
        stages = []
        for number, sets in ((1, 1), (2, 3)):
            if f"weights{number}" not in stored:
                break
            scale = np.asarray(stored[f"scale{number}"], np.float32)
            with np.errstate(invalid="ignore", over="ignore"):
                weights = np.asarray(stored[f"weights{number}"], np.float32) * scale[:, None]
            offset = np.asarray(stored[f"offset{number}"], np.float64)
            if weights.shape != (sets * 3 * landmarks + 4 * len(points), 3 * landmarks):
                raise ValueError(f"stage {number} of the shape regression has the shape {weights.shape}")
            if offset.shape != (3 * landmarks,):
                raise ValueError(f"stage {number} of the shape regression has another number of landmarks")
            if not (np.isfinite(weights).all() and np.isfinite(offset).all()):
                raise ValueError(f"stage {number} of the shape regression is not finite")
            stages.append(LinearStage(weights, offset))
        if not stages or normals.shape != points.shape or points.shape[1:] != (3,) or share.shape != (landmarks, 2):
            raise ValueError("the shape regression is incomplete")
        return cls(template, tuple(stages), share, float(gain[0]))
