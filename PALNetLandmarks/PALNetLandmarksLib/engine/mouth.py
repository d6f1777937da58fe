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
DEPTH_MM = 60.0
"""What lies farther in front of the subnasale or behind it is no part of the lower face."""
BELOW_NOSE_MM = (12.0, 66.0)
"""Where an open mouth can be, below the subnasale: further up is the upper lip, further down the neck begins."""
CHIN_MM = 99.0
DEEP_MM = 8.0
"""How far the surface lies behind what is above and below it: the groove below a lower lip is shallower."""
OPEN_MM = 9.0
"""Height of an opening from which it is a mouth. None of 148 simulated scans with a closed mouth had above 6."""

UPPER_LIP_MM, LOWER_LIP_MM = (9.0, 27.0), (30.0, 36.0)
"""Where the upper lip is, and where the lower lip is as long as the mouth is closed, below the subnasale."""
NECK_MM = 20.0
"""The chin ends where the surface lies so far behind the lower lip."""
FALL_MM, LONG_CHIN_MM, STEEP_FALL_MM = 10.0, 77.0, 14.0
"""An open mouth that was filled flat: a fall below the upper lip with a chin that reaches far down, or a steeper fall
alone. So were 24 of 25 simulated ones, and none of 259 simulated scans with a closed mouth, some of them with a chin
that recedes by 13 mm."""

OPEN_MOUTH_ERROR_MM = {"Sto": 15.0, "Li": 21.0, "Ch_R": 6.0, "Ch_L": 6.0, "Sl": 17.0, "Pg": 20.0, "Gn": 18.0}
"""Least expected error of landmarks where the mouth seems open: their mean errors on 33 simulated scans of open mouths.
The network, which has never seen one, itself expects 2 to 4 mm there. Upper lip and jaw angle are found as ever."""


def midline_profile(
    vertices: FloatArray, triangles: IntArray, scan_to_reference: FloatArray, subnasale: FloatArray
) -> FloatArray:
    """Return how far the lower face stands out in rows below the subnasale, in a strip along the midline.

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
    (33,) float64
        Foremost surface of each row of 3 mm, in mm before the subnasale; -inf where there is none.
    """
    aligned = apply_transform(scan_to_reference, vertices) - apply_transform(scan_to_reference, subnasale[None])
    points = np.concatenate([aligned, triangle_centres(aligned, triangles)])
    near = (np.abs(points[:, 0]) < HALF_WIDTH_MM) & (np.abs(points[:, 2]) < DEPTH_MM)
    row = np.floor(-points[:, 1] / STEP_MM).astype(np.int64)
    rows = int(CHIN_MM / STEP_MM)
    near &= (row >= 0) & (row < rows)
    front = np.full(rows, -np.inf)
    np.maximum.at(front, row[near], points[near, 2])
    return front


def mouth_opening(profile: FloatArray) -> float:
    """Measure the opening between the lips.

    Parameters
    ----------
    profile : (33,) float64
        See `midline_profile`.

    Returns
    -------
    float
        Height, mm, over which the surface lies far behind the upper lip and what is below, or is not there at all, as
        where a camera could not look into the mouth; a multiple of 3.
    """
    bridge = np.minimum(np.maximum.accumulate(profile), np.maximum.accumulate(profile[::-1])[::-1])
    below = _below(profile)
    open_ = (profile < bridge - DEEP_MM) & (below > BELOW_NOSE_MM[0]) & (below < BELOW_NOSE_MM[1])
    changes = np.flatnonzero(np.diff(np.concatenate([[False], open_, [False]]).astype(np.int8)))
    longest = int((changes[1::2] - changes[::2]).max(initial=0))
    return longest * STEP_MM


def fall_below_lip(profile: FloatArray) -> tuple[float, float]:
    """Measure how the profile falls back below the upper lip, as it does where an open mouth has been filled flat.

    A jaw swings down and back: where the lower lip would be, the filled surface lies far behind the upper lip, and the
    chin reaches far down. A receding chin does the first and not the second.

    Parameters
    ----------
    profile : (33,) float64

    Returns
    -------
    fall_mm : float
        From the foremost place of the upper lip to the surface 30 to 36 mm below the subnasale; NaN where the scan
        does not show both.
    chin_mm : float
        How far below the subnasale the chin ends; the profile's length where it does not end in it.
    """
    below = _below(profile)

    def rows(limits: tuple[float, float]) -> NDArray[np.bool_]:
        return np.asarray((below > limits[0]) & (below < limits[1]))

    lip, lower = profile[rows(UPPER_LIP_MM)], profile[rows(LOWER_LIP_MM)]
    if not (np.isfinite(lip).any() and np.isfinite(lower).all()):
        return np.nan, np.nan
    behind = (below > LOWER_LIP_MM[1]) & (profile < lower.min() - NECK_MM)
    return float(lip.max() - lower.mean()), float(below[behind].min(initial=CHIN_MM))


def open_mouth(vertices: FloatArray, triangles: IntArray, scan_to_reference: FloatArray, subnasale: FloatArray) -> str:
    """Say what looks like an open mouth, in a sentence for the user; empty if nothing does.

    Parameters
    ----------
    vertices, triangles, scan_to_reference, subnasale
        See `midline_profile`.
    """
    profile = midline_profile(vertices, triangles, scan_to_reference, subnasale)
    opening = mouth_opening(profile)
    if opening >= OPEN_MM:
        return f"The mouth seems to be open ({opening:.0f} mm), or the scan has a hole there."
    fall, chin = fall_below_lip(profile)
    if fall >= STEEP_FALL_MM or (fall >= FALL_MM and chin >= LONG_CHIN_MM):
        return (
            "The mouth seems to be open and filled by the capture software: the face falls back by "
            f"{fall:.0f} mm below the upper lip."
        )
    return ""


def _below(profile: FloatArray) -> FloatArray:
    """Return how far the middle of each row lies below the subnasale, mm."""
    return np.asarray((np.arange(len(profile)) + 0.5) * STEP_MM)
