"""Random changes to a training face in the reference frame.

What a network must not depend on is changed at every step: the residual of the registration, size and proportions,
side (mirror image), sampling and noise, and holes. Every face in every epoch comes through here: what is done to
each of its points is kept in single precision and to few passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
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


class Augmented(NamedTuple):
    """A changed copy of a face.

    ``cloud`` (m, 6) float32; ``landmarks`` (l, 3) float32; ``mirrored``, whether left and right were exchanged (the
    visible flags must follow ``mirror`` then); ``kept`` (n,) bool, which points of the face before are in the cloud.
    """

    cloud: Array
    landmarks: Array
    mirrored: bool
    kept: NDArray[np.bool_]


def _times(rows: Array, matrix: Array) -> Array:
    """Matrix product by torch, whose threads the training sets; numpy's would wait for cores that others use."""
    return (torch.from_numpy(rows) @ torch.from_numpy(np.ascontiguousarray(matrix))).numpy()


def _noise(shape: tuple[int, ...], deviations: list[float], generator: np.random.Generator) -> Array:
    """Noise of a standard deviation for each column, evenly distributed: normal noise takes several times as long."""
    noise = generator.random(shape, dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.sqrt(12.0, dtype=np.float32) * np.asarray(deviations, dtype=np.float32)
    return noise


def augment(
    cloud: Array, landmarks: Array, mirror: NDArray[np.int64], settings: Augmentation, generator: np.random.Generator
) -> Augmented:
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
    """
    kept = generator.random(len(cloud), dtype=np.float32) < generator.uniform(*settings.keep_share)
    for _ in range(generator.integers(0, settings.holes + 1)):
        apart = cloud[:, :3] - cloud[generator.integers(len(cloud)), :3]
        kept &= np.einsum("ij,ij->i", apart, apart) > generator.uniform(*settings.hole_mm) ** 2
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
    # A sum of long sine waves bends the face: a smooth change of shape that keeps the surface whole.
    waves = generator.normal(0.0, 1.0 / 45.0, (4, 3))
    phases = generator.uniform(0.0, 2.0 * np.pi, 4).astype(np.float32)
    size = settings.bend_mm / 2.0 * generator.normal(0.0, 1.0, (4, 3))
    translation = generator.normal(0.0, shift, 3)
    # Normals follow the inverse transpose; the sine waves' own effect on them stays within the noise added here.
    straight = np.zeros((6, 6), np.float32)
    straight[:3, :3], straight[3:, 3:] = matrix.T, np.linalg.inv(matrix)
    across = np.vstack([waves.T, np.zeros((3, 4))]).astype(np.float32)
    along = np.hstack([size @ matrix.T, np.zeros((4, 3))]).astype(np.float32)
    offset = np.concatenate([translation, np.zeros(3)]).astype(np.float32)

    def moved(rows: Array) -> Array:
        result = _times(rows, straight)
        if settings.bend_mm:
            result += _times(np.sin(_times(rows, across) + phases), along)
        result += offset
        return result

    points = moved(cloud.compress(kept, axis=0))
    landmarks = moved(np.hstack([landmarks, np.zeros_like(landmarks)]))[:, :3]
    deviations = [settings.noise_mm * generator.random()] * 3 + [settings.normal_noise * generator.random()] * 3
    if any(deviations):
        points += _noise(points.shape, deviations, generator)
    points[:, 3:] /= np.maximum(np.sqrt(np.einsum("ij,ij->i", points[:, 3:], points[:, 3:])), 1e-6)[:, None]
    return Augmented(points, landmarks, mirrored, kept)
