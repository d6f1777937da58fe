"""Which way is forward and up on the scan that is looked at."""

from __future__ import annotations

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet

_BELOW_EYES = ("Sn", "Ls", "Sto", "Li", "Sl", "Pg", "Gn", "C", "Prn")
_ABOVE = ("Tr", "G", "N")
_RAS_FORWARD, _RAS_UP = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
#: Below this, mm, what was averaged lies too close together to tell a direction.
_SHORT_MM = 15.0


def face_directions(landmarks: LandmarkSet) -> tuple[np.ndarray, np.ndarray]:
    """Give the directions out of the face and up, from the landmarks themselves: a scan may lie in any pose.

    Parameters
    ----------
    landmarks : LandmarkSet
        RAS.

    Returns
    -------
    forward, up : (3,) float64
        Unit vectors at a right angle. Anterior and superior where too few landmarks are there to tell.
    """
    protocol, positions = landmarks.protocol, landmarks.positions
    pairs = [(right, left) for right, left in protocol.pairs if not landmarks.missing[[right, left]].any()]
    above = _mean(landmarks, _ABOVE)
    below = _mean(landmarks, _BELOW_EYES)
    if not pairs or above is None or below is None:
        return _RAS_FORWARD, _RAS_UP
    to_left = np.mean([positions[left] - positions[right] for right, left in pairs], axis=0)
    up = above - below
    if np.linalg.norm(to_left) < _SHORT_MM or np.linalg.norm(up) < _SHORT_MM:
        return _RAS_FORWARD, _RAS_UP
    to_left /= np.linalg.norm(to_left)
    up = up - (up @ to_left) * to_left
    up /= np.linalg.norm(up)
    # Left cross up: with the subject's left along +x and up along +y, forward is +z, as in the reference's frame.
    return np.cross(to_left, up), up


def _mean(landmarks: LandmarkSet, labels: tuple[str, ...]) -> np.ndarray | None:
    places = [landmarks.protocol.index(label) for label in labels if label in landmarks.protocol]
    known = [place for place in places if not landmarks.missing[place]]
    return np.asarray(landmarks.positions[known].mean(axis=0)) if known else None
