"""Random changes to a training face in the reference frame.

What a network must not depend on is changed at every step: the residual of the registration, size and proportions,
side (mirror image), sampling and noise, and holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How strong the changes are (standard deviations unless said otherwise).

    ``small_*`` stands for a face re-aligned by its landmarks, ``large_*`` for one that comes straight from the
    iterative closest points, which hair and beard drag along; a share ``large_share`` of the steps takes the latter.
    """

    large_share: float = 0.4
    small_degrees: float = 1.2
    small_mm: float = 1.2
    large_degrees: float = 4.0
    large_mm: float = 4.5
    anisotropy: float = 0.03
    shear: float = 0.015
    bend_mm: float = 1.2
    mirror_share: float = 0.5
    noise_mm: float = 0.25
    normal_noise: float = 0.08
    keep_share: tuple[float, float] = (0.65, 0.95)
    holes: int = 3
    hole_mm: tuple[float, float] = (3.0, 14.0)


def _bend(points: Array, waves: NDArray[np.float64], phases: NDArray[np.float64], size: Array) -> Array:
    """Displace points by a sum of long sine waves; a smooth change of shape that keeps the surface whole."""
    return (np.sin(points @ waves.T.astype(np.float32) + phases.astype(np.float32)) @ size).astype(np.float32)


def augment(
    cloud: Array, landmarks: Array, mirror: NDArray[np.int64], settings: Augmentation, generator: np.random.Generator
) -> tuple[Array, Array, bool]:
    """Return a changed copy of a face.

    Parameters
    ----------
    cloud : (n, 6) float32
        Points and normals in the reference frame, mm.
    landmarks : (l, 3) float32
    mirror : (l,) int64
        Landmark on the other side.
    settings : Augmentation
    generator : numpy Generator

    Returns
    -------
    cloud : (m, 6) float32
    landmarks : (l, 3) float32
    mirrored : bool
        Whether left and right were exchanged (the visible flags must follow ``mirror`` then).
    """
    keep = generator.random(len(cloud)) < generator.uniform(*settings.keep_share)
    for _ in range(generator.integers(0, settings.holes + 1)):
        centre = cloud[generator.integers(len(cloud)), :3]
        radius = generator.uniform(*settings.hole_mm)
        keep &= ((cloud[:, :3] - centre) ** 2).sum(axis=1) > radius**2
    cloud = cloud[keep]
    points, normals = cloud[:, :3], cloud[:, 3:]
    large = generator.random() < settings.large_share
    degrees, shift = (
        (settings.large_degrees, settings.large_mm) if large else (settings.small_degrees, settings.small_mm)
    )
    shape = np.diag(np.exp(generator.normal(0.0, settings.anisotropy, 3)))
    shape += np.where(np.eye(3, dtype=bool), 0.0, generator.normal(0.0, settings.shear, (3, 3)))
    rotation = Rotation.from_rotvec(np.radians(generator.normal(0.0, degrees, 3))).as_matrix()
    matrix = rotation @ shape
    mirrored = bool(generator.random() < settings.mirror_share)
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
        landmarks = landmarks[mirror]
    waves = generator.normal(0.0, 1.0 / 45.0, (4, 3))
    phases = generator.uniform(0.0, 2.0 * np.pi, 4)
    size = (settings.bend_mm / 2.0 * generator.normal(0.0, 1.0, (4, 3))).astype(np.float32)
    points = points + _bend(points, waves, phases, size)
    landmarks = landmarks + _bend(landmarks, waves, phases, size)
    translation = generator.normal(0.0, shift, 3).astype(np.float32)
    matrix32 = matrix.astype(np.float32)
    points = points @ matrix32.T + translation
    landmarks = landmarks @ matrix32.T + translation
    points += generator.normal(0.0, settings.noise_mm * generator.random(), points.shape).astype(np.float32)
    # Normals follow the inverse transpose; the sine waves' own effect on them stays within the noise added here.
    normals = normals @ np.linalg.inv(matrix).astype(np.float32)
    normals = normals + generator.normal(0.0, settings.normal_noise * generator.random(), normals.shape).astype(
        np.float32
    )
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return np.hstack([points, normals]), landmarks, mirrored
