"""A triangle mesh on its way from the scene to the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Mesh:
    """Surface of a scan as the engine wants it.

    Parameters
    ----------
    vertices : (n, 3) float64
        Millimetres in LPS, the parent transforms applied.
    triangles : (m, 3) int32
        Indices into the vertices.
    """

    vertices: np.ndarray
    triangles: np.ndarray
