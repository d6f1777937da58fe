"""Close alignment: the reference's face, a little elastic, is fitted to the scan; what is kept is its rigid part.

No face is the mean face. A rigid iterative-closest-point alignment takes a nose of another size for an outlier and
slides along the cheeks: on 40 random heads it moved landmarks by a median of 7.1 mm (largest 19.5 mm) from where they
belong, this one by 3.4 mm (8.2 mm). Here the reference may deform smoothly and symmetrically at a price, in the manner
of a Gaussian-process morphable model (Lüthi, Gerig, Jud and Vetter, IEEE TPAMI 2018) that needs no training faces. The
pose is then the rigid fit of the undeformed reference to the deformed one.

The reference is moved and the scan stays: the face has the same points on every scan, so that the result does not
depend on how densely the scan was made, and hair, shoulders or missing regions are nobody's closest point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.rigid import rigid_fit, rotation_from_vector

Array = NDArray[np.float64]

_MIRROR = np.array([-1.0, 1.0, 1.0])
_KERNELS = ((90.0, 7.0), (35.0, 2.5))
"""Width and standard deviation of the deformations, mm: of the whole face, and of parts such as nose and chin."""
_EVEN_MODES, _ODD_MODES = 30, 22
_CONTROL_POINTS = 300
_STIFFNESS = 0.01
"""Price of one squared standard deviation per point of the face, in mm² of squared residual."""
_LEAST_PAIRS = 30


@dataclass(frozen=True, eq=False)
class Modes:
    """Smooth deformations of the face, symmetric about its midplane, each with unit variance.

    Parameters
    ----------
    even : (k, e) float64
        Displacements along y or z at the k points, mm: the same on both sides.
    odd : (k, o) float64
        Displacements along x, mm: opposite on both sides.
    """

    even: Array
    odd: Array

    @property
    def count(self) -> int:
        """Number of coefficients: of odd along x, even along y, even along z."""
        return self.odd.shape[1] + 2 * self.even.shape[1]

    def displacement(self, coefficients: Array) -> Array:
        """Return the displacements (k, 3), mm, for the coefficients (count,)."""
        odd, even = self.odd.shape[1], self.even.shape[1]
        moved = np.empty((len(self.even), 3))
        moved[:, 0] = np.einsum("km,m->k", self.odd, coefficients[:odd])
        moved[:, 1] = np.einsum("km,m->k", self.even, coefficients[odd : odd + even])
        moved[:, 2] = np.einsum("km,m->k", self.even, coefficients[odd + even :])
        return moved

    def every(self, stride: int) -> Modes:
        """Return the modes at every ``stride``-th point."""
        return Modes(np.ascontiguousarray(self.even[::stride]), np.ascontiguousarray(self.odd[::stride]))


def smooth_modes(points: Array) -> Modes:
    """Derive smooth symmetric deformations of a face from a covariance function (Nyström's approximation).

    Parameters
    ----------
    points : (k, 3) float64
        Points of the reference's face, midplane at x = 0, mm.

    Returns
    -------
    Modes
        The deformations of most variance.
    """
    control = points[np.random.default_rng(0).permutation(len(points))[:_CONTROL_POINTS]]

    def covariance(first: Array, second: Array) -> Array:
        squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2.0 * first @ second.T
        return np.sum([spread**2 * np.exp(-squared / (2.0 * width**2)) for width, spread in _KERNELS], axis=0)

    def modes(sign: float, count: int) -> Array:
        among = 0.5 * (covariance(control, control) + sign * covariance(control, control * _MIRROR))
        values, vectors = np.linalg.eigh(among)
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        across = 0.5 * (covariance(points, control) + sign * covariance(points, control * _MIRROR))
        # The last bits depend on how many threads the linear-algebra library takes; 0.1 µm does not.
        return np.round(across @ vectors / np.sqrt(np.maximum(values, 1e-9)), 4)

    return Modes(modes(1.0, _EVEN_MODES), modes(-1.0, _ODD_MODES))


@dataclass(frozen=True)
class Stage:
    """One stage of the alignment.

    Parameters
    ----------
    scale_mm : float
        Residual from which a pair has no influence (constant of Tukey's biweight).
    stride : int
        Every how manieth point of the reference's face is used.
    iterations : int
        Most iterations.
    tolerance_mm : float
        The stage ends when pose and shape together move less than about this in one iteration.
    stiffness : float
        Price of deformation as a multiple of the final one.
    """

    scale_mm: float
    stride: int
    iterations: int
    tolerance_mm: float
    stiffness: float = 1.0


# From stiff and wide to soft and narrow: of 24 scans, each started from eight poses about 5 degrees and 8 mm off, all
# ended within 0.04 mm; with the final stiffness from the start, 3 of 24 had starts that ended more than 1 mm apart.
ROUGH = (Stage(20.0, 4, 15, 0.05, 100.0), Stage(15.0, 4, 12, 0.1, 10.0))
CLOSE = (Stage(10.0, 3, 12, 0.1, 3.0),)
FINAL = (Stage(7.0, 2, 10, 0.1), Stage(5.0, 2, 20, 0.05), Stage(5.0, 1, 6, 0.02))


@dataclass(frozen=True, eq=False)
class ElasticFit:
    """Where the deformed reference lies on the scan.

    Parameters
    ----------
    pose : (4, 4) float64
        Rigid transform of the deformed reference to the scan.
    coefficients : (m,) float64
        Of the modes, in standard deviations.
    """

    pose: Array
    coefficients: Array


@dataclass(frozen=True, eq=False)
class FittedFace:
    """The reference's face on a scan.

    Parameters
    ----------
    points, normals : (k, 3) float64
        The undeformed face in the reference frame, mm, and unit normals.
    shape : (k, 3) float64
        The deformed face in the reference frame, mm.
    pose : (4, 4) float64
        Rigid transform of ``shape`` to the scan.
    rigid_pose : (4, 4) float64
        Rigid transform that lays ``points`` as close as possible to the deformed face on the scan.
    effort : float
        Root mean square of the deformation's coefficients, in standard deviations.
    """

    points: Array
    normals: Array
    shape: Array
    pose: Array
    rigid_pose: Array
    effort: float


def fitted_face(points: Array, normals: Array, modes: Modes, fit: ElasticFit) -> FittedFace:
    """Put the reference's face (points and normals (k, 3) and its modes) where a fit found it."""
    shape = points + modes.displacement(fit.coefficients)
    effort = float(np.sqrt(np.mean(fit.coefficients**2)))
    return FittedFace(points, normals, shape, fit.pose, fit.pose @ rigid_fit(points, shape), effort)


def _gram(rows: Array, weight: Array) -> Array:
    """Return ``rows.T @ diag(weight) @ rows``.

    In blocks small enough that the linear-algebra library computes each in one thread: with several, the threads of
    many small products wait for each other on a busy machine, and the order of sums depends on their number.
    """
    block = 32
    short = -len(rows) % block
    padded = np.concatenate([rows * np.sqrt(weight)[:, None], np.zeros((short, rows.shape[1]))])
    blocks = padded.reshape(-1, block, rows.shape[1])
    return np.asarray((blocks.transpose(0, 2, 1) @ blocks).sum(0))


def fit_elastic(
    tree: cKDTree, scan_points: Array, scan_normals: Array, points: Array, normals: Array, modes: Modes,
    start: ElasticFit, stages: tuple[Stage, ...],
) -> ElasticFit:  # fmt: skip
    """Fit the deformable reference to a scan.

    Parameters
    ----------
    tree : cKDTree
        Over ``scan_points``.
    scan_points, scan_normals : (n, 3) float64
        Points of the scan, mm, and unit normals.
    points, normals : (k, 3) float64
        Points of the reference's face and unit normals.
    modes : Modes
        Deformations at these points.
    start : ElasticFit
        Rough pose, and coefficients (zeros for the undeformed reference).
    stages : tuple of Stage
        From wide to narrow.

    Returns
    -------
    ElasticFit
        The fitted pose and shape.
    """
    rotation, shift = start.pose[:3, :3].copy(), start.pose[:3, 3].copy()
    coefficients = start.coefficients.copy()
    for stage in stages:
        used, used_normals, used_modes = points[:: stage.stride], normals[:: stage.stride], modes.every(stage.stride)
        for _ in range(stage.iterations):
            moved = (used + used_modes.displacement(coefficients)) @ rotation.T + shift
            turned = used_normals @ rotation.T
            distances, nearest = tree.query(moved, distance_upper_bound=2.5 * stage.scale_mm)
            met = np.flatnonzero(np.isfinite(distances))
            met = met[np.einsum("nd,nd->n", turned[met], scan_normals[nearest[met]]) > 0.4]
            if len(met) < _LEAST_PAIRS:
                break
            # Halfway between the two normals, as in symmetric ICP (Rusinkiewicz, ACM TOG 2019).
            plane = turned[met] + scan_normals[nearest[met]]
            plane /= np.linalg.norm(plane, axis=1, keepdims=True)
            residual = np.einsum("nd,nd->n", scan_points[nearest[met]] - moved[met], plane)
            weight = np.maximum(1.0 - (residual / stage.scale_mm) ** 2, 0.0) ** 2 * stage.stride
            centre = moved.mean(0)
            inwards = plane @ rotation
            rows = np.concatenate(
                [
                    np.cross(moved[met] - centre, plane),
                    plane,
                    inwards[:, 0:1] * used_modes.odd[met],
                    inwards[:, 1:2] * used_modes.even[met],
                    inwards[:, 2:3] * used_modes.even[met],
                ],
                axis=1,
            )
            # A surface without features must not slide away along itself: a little resistance to moving at all.
            resistance = 1e-4 * weight.sum()
            stiffness = np.full(modes.count, stage.stiffness * _STIFFNESS * len(points))
            price = np.concatenate([np.full(3, resistance * 2500.0), np.full(3, resistance), stiffness])
            matrix = _gram(rows, weight)
            matrix[np.diag_indices_from(matrix)] += price + 1e-9
            gradient = np.einsum("nm,n->m", rows, weight * residual)
            gradient[6:] -= price[6:] * coefficients
            step = np.linalg.solve(matrix, gradient)
            turn = rotation_from_vector(step[:3])
            rotation = turn @ rotation
            shift = turn @ (shift - centre) + centre + step[3:6]
            coefficients = coefficients + step[6:]
            moved_by = np.linalg.norm(step[3:6]) + 80.0 * np.linalg.norm(step[:3]) + np.abs(step[6:]).max()
            if moved_by < stage.tolerance_mm:
                break
    left, _, right = np.linalg.svd(rotation)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = left @ right, shift
    return ElasticFit(pose, coefficients)
