"""What a scanner sees: skin, eyes, hair and clothing as one mesh with surface properties per vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np


class Material(IntEnum):
    """What a triangle is made of."""

    SKIN = 0
    EYE = 1
    HAIR = 2
    CLOTH = 3


@dataclass(frozen=True)
class Surface:
    """A triangle mesh with what the capture needs to know about it.

    Attributes
    ----------
    vertices : (n, 3) float
    triangles : (m, 3) int
    roughness : (n,) float32
        Amplitude of the rough relief, mm.
    loss : (n,) float32
        Share of pixels that a stereo matcher loses here, 0 to 1.
    material : (m,) uint8
    """

    vertices: np.ndarray
    triangles: np.ndarray
    roughness: np.ndarray
    loss: np.ndarray
    material: np.ndarray

    @staticmethod
    def plain(vertices: np.ndarray, triangles: np.ndarray, material: int, roughness: float, loss: float) -> Surface:
        """Build a surface that has the same properties everywhere."""
        count = len(vertices)
        return Surface(
            vertices,
            triangles,
            np.full(count, roughness, np.float32),
            np.full(count, loss, np.float32),
            np.full(len(triangles), material, np.uint8),
        )

    def moved(self, vertices: np.ndarray) -> Surface:
        """Return the same surface with other positions."""
        return replace(self, vertices=vertices)


def merge(surfaces: list[Surface]) -> Surface:
    """Put surfaces into one mesh."""
    offsets = np.cumsum([0, *[len(s.vertices) for s in surfaces[:-1]]])
    return Surface(
        np.concatenate([s.vertices for s in surfaces]),
        np.concatenate([s.triangles + k for s, k in zip(surfaces, offsets, strict=True)]),
        np.concatenate([s.roughness for s in surfaces]),
        np.concatenate([s.loss for s in surfaces]),
        np.concatenate([s.material for s in surfaces]),
    )


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals, (n, 3)."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    flat = triangles.ravel()
    repeated = np.repeat(face, 3, axis=0)
    total = np.stack([np.bincount(flat, repeated[:, k], minlength=len(vertices)) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def grid_triangles(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Triangles of a grid of vertices (row-major); ``closed`` joins the last column to the first."""
    across = columns if closed else columns - 1
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(across), indexing="ij")
    a = (r * columns + c).ravel()
    b = (r * columns + (c + 1) % columns).ravel()
    return np.concatenate([np.stack([a, a + columns, b], 1), np.stack([b, a + columns, b + columns], 1)]).astype(
        np.int32
    )
