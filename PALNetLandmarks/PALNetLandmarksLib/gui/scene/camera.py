"""Turn and zoom a 3D view to a landmark."""

from __future__ import annotations

from typing import Any

import numpy as np

#: How much of the way the view turns from the face's front to the landmark's own side. All of it would look at the
#: side of the nose from the ear.
TOWARDS_NORMAL = 0.65
#: How much of the scan is seen round the landmark, mm from top to bottom.
SEEN_MM = 130.0
#: A surface that turns away from the front further than this is seen from the inside: nostrils, mouth, inner ear.
_BACKWARDS = -0.3


def view_direction(normal: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Give the direction (3,) from a landmark to the viewer: between the face's front and the surface's normal.

    Parameters
    ----------
    normal : (3,) float
        Unit normal of the surface; NaN where there is none.
    forward : (3,) float
        Unit vector out of the face.

    Returns
    -------
    (3,) float64
        Unit vector, never into the face.
    """
    if not np.isfinite(normal).all():
        return forward
    towards = float(normal @ forward)
    if towards < _BACKWARDS:
        # Only what of it points aside: the landmark is seen in profile rather than from behind.
        normal = normal - towards * forward
        length = float(np.linalg.norm(normal))
        if length < 0.1:
            return forward
        normal = normal / length
    blend = (1.0 - TOWARDS_NORMAL) * forward + TOWARDS_NORMAL * normal
    return np.asarray(blend / np.linalg.norm(blend))


def look_at(
    camera_node: Any, place: np.ndarray, direction: np.ndarray, up: np.ndarray, seen_mm: float = SEEN_MM
) -> None:
    """Turn a view to a place.

    Parameters
    ----------
    camera_node : vtkMRMLCameraNode
    place : (3,) float
        World RAS, mm.
    direction : (3,) float
        From the place to the viewer, unit vector.
    up : (3,) float
        What is up in the view, unit vector; what of it is along the direction does not count.
    seen_mm : float
        How much is seen from top to bottom.
    """
    upright = up - (up @ direction) * direction
    if np.linalg.norm(upright) < 1e-3:
        upright = np.cross(direction, (1.0, 0.0, 0.0)) if abs(direction[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    upright = upright / np.linalg.norm(upright)
    angle = np.radians(camera_node.GetViewAngle())
    distance = 0.5 * seen_mm / np.tan(0.5 * angle)
    was_modifying = camera_node.StartModify()
    try:
        camera_node.SetFocalPoint(*(float(value) for value in place))
        camera_node.SetPosition(*(float(value) for value in place + distance * direction))
        camera_node.SetViewUp(*(float(value) for value in upright))
        camera_node.SetParallelScale(0.5 * seen_mm)
        camera_node.ResetClippingRange()
    finally:
        camera_node.EndModify(was_modifying)
