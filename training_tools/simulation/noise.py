"""Smooth random fields in space, each drawn once from a generator and then evaluated anywhere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_SIZE = 48


class ScalarNoise:
    """Zero-mean, unit-variance random field in space with a given grain.

    Parameters
    ----------
    rng : numpy.random.Generator
    wavelength : float
        Typical size of one bump, mm.
    """

    def __init__(self, rng: np.random.Generator, wavelength: float) -> None:
        volume = ndimage.gaussian_filter(rng.standard_normal((_SIZE,) * 3, dtype=np.float32), 1.0, mode="wrap")
        self._volume = volume / volume.std()
        self._scale = 5.0 / wavelength
        self._turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)  # grid planes not along the axes

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Evaluate at (n, 3) points, mm; returns (n,) float32."""
        grid = (np.asarray(points, dtype=np.float32) @ self._turn) * np.float32(self._scale)
        value = ndimage.map_coordinates(self._volume, grid.T, order=1, mode="grid-wrap")
        return value.astype(np.float32)


class WaveField:
    """Smooth random vector field made of a few plane waves.

    Parameters
    ----------
    rng : numpy.random.Generator
    shortest, longest : float
        Wavelengths, mm.
    waves : int
    asymmetry : float
        Share of the variance that is not mirrored between right and left, 0 to 1.
    """

    def __init__(
        self, rng: np.random.Generator, shortest: float, longest: float, waves: int = 24, asymmetry: float = 0.3
    ) -> None:
        direction = rng.normal(size=(waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(rng.uniform(np.log(shortest), np.log(longest), size=(waves, 1)))
        self._wave = direction * (2 * np.pi / length)
        self._phase = rng.uniform(0, 2 * np.pi, size=waves)
        self._amplitude = rng.normal(size=(waves, 3)) * np.sqrt(2.0 / waves)
        self._asymmetry = asymmetry

    def _evaluate(self, points: np.ndarray) -> np.ndarray:
        return np.cos(points @ self._wave.T + self._phase) @ self._amplitude

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Evaluate at (n, 3) points, mm; returns (n, 3) displacements of about unit variance per axis."""
        mirror = np.array([-1.0, 1.0, 1.0])
        here, there = self._evaluate(points), self._evaluate(points * mirror) * mirror
        symmetric, antisymmetric = (here + there) / np.sqrt(2.0), (here - there) / np.sqrt(2.0)
        return np.sqrt(1.0 - self._asymmetry) * symmetric + np.sqrt(self._asymmetry) * antisymmetric


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (falls if ``high < low``)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
