"""Whether the mouth is open: no model here has learnt an open one, and none would say so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.resampling import triangle_centres
from PALNetLandmarksLib.engine.rigid import apply_transform

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEP_MM = 3.0
HALF_WIDTH_MM = 9.0
BELOW_NOSE_MM = (12.0, 66.0)
"""Where an open mouth can be, below the subnasale: further up is the upper lip, further down the neck begins."""
CHIN_MM = 99.0
DEEP_MM = 8.0
"""How far the surface lies behind what is above and below it: the groove below a lower lip is shallower."""
OPEN_MM = 9.0
"""Height of an opening from which it is a mouth. None of 148 simulated scans with a closed mouth had above 6."""


def mouth_opening(
    vertices: FloatArray, triangles: IntArray, scan_to_reference: FloatArray, subnasale: FloatArray
) -> float:
    """Measure the opening between the lips, seen from the front in a strip along the midline.

    Parameters
    ----------
    vertices : (n, 3) float64
        In the scan's own frame, mm.
    triangles : (m, 3) int64
    scan_to_reference : (4, 4) float64
    subnasale : (3,) float64
        In the scan's own frame.

    Returns
    -------
    float
        Height, mm, over which the surface lies far behind the upper lip and what is below, or is not there at all, as
        where a camera could not look into the mouth; a multiple of 3.
    """
    aligned = apply_transform(scan_to_reference, vertices) - apply_transform(scan_to_reference, subnasale[None])
    points = np.concatenate([aligned, triangle_centres(aligned, triangles)])
    near = (np.abs(points[:, 0]) < HALF_WIDTH_MM) & (np.abs(points[:, 2]) < 60.0)
    row = np.floor(-points[:, 1] / STEP_MM).astype(np.int64)
    rows = int(CHIN_MM / STEP_MM)
    near &= (row >= 0) & (row < rows)
    front = np.full(rows, -np.inf)
    np.maximum.at(front, row[near], points[near, 2])
    bridge = np.minimum(np.maximum.accumulate(front), np.maximum.accumulate(front[::-1])[::-1])
    below = (np.arange(rows) + 0.5) * STEP_MM
    open_ = (front < bridge - DEEP_MM) & (below > BELOW_NOSE_MM[0]) & (below < BELOW_NOSE_MM[1])
    changes = np.flatnonzero(np.diff(np.concatenate([[False], open_, [False]]).astype(np.int8)))
    longest = int((changes[1::2] - changes[::2]).max(initial=0))
    return longest * STEP_MM
