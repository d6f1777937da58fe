"""How sure a landmark is, in four colours: the same in the table and in the 3D view."""

from __future__ import annotations

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet

from .edits import FAIR_MM, GOOD_MM

GOOD, FAIR, POOR, BY_HAND, MISSING = range(5)
#: Red, green, blue, 0 to 255, of each kind: also told apart by their brightness.
COLOURS = np.array([[26, 152, 80], [245, 190, 0], [200, 30, 30], [45, 110, 230], [150, 150, 150]], dtype=np.uint8)


def confidence_kinds(landmarks: LandmarkSet) -> np.ndarray:
    """Sort landmarks by how sure they are.

    Parameters
    ----------
    landmarks : LandmarkSet

    Returns
    -------
    (L,) int
        ``GOOD`` (expected error up to 2 mm), ``FAIR`` (up to 4 mm), ``POOR`` (more, or unknown), ``BY_HAND``
        (corrected or placed) or ``MISSING``.
    """
    errors = np.where(np.isnan(landmarks.expected_error_mm), np.inf, landmarks.expected_error_mm)
    kinds = np.select([errors <= GOOD_MM, errors <= FAIR_MM], [GOOD, FAIR], POOR)
    status = np.array(landmarks.status)
    kinds[(status == "corrected") | (status == "placed")] = BY_HAND
    kinds[status == "missing"] = MISSING
    return np.asarray(kinds)
