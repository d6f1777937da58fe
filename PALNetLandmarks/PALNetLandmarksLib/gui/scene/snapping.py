"""Put control points that were moved back onto the scan.

Slicer's own snapping finds what lies under the mouse pointer. Where that is nothing, beside the face, it lets the point
float in mid-air (Slicer/Slicer#5126); so each moved point goes to the nearest place on the mesh.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .frames import from_world, to_world
from .observing import one_event
from .surface import Surface

#: A point nearer than this is on the surface: it is left as it is, so that a point at rest stays at rest.
ON_SURFACE_MM = 1e-3

#: A click that meets nothing within this distance of the scan was not meant to place a landmark on it.
BESIDE_MM = 10.0


def snap(node: Any, places: Iterable[int], surface: Surface) -> None:
    """Put control points onto the surface, by one event; locked ones stay where they are.

    Parameters
    ----------
    node : vtkMRMLMarkupsNode
    places : iterable of int
        Which control points; those without a position are left out.
    surface : Surface
        World RAS, mm.
    """
    set_ones = [place for place in places if node.GetNthControlPointPositionStatus(place) == node.PositionDefined]
    free = [place for place in set_ones if not node.GetNthControlPointLocked(place)]
    if node.GetLocked() or not free:
        return
    own = np.array([node.GetNthControlPointPosition(place) for place in free])
    nearest, distances, _normals = surface.project(to_world(node, own))
    far = distances > ON_SURFACE_MM
    if not far.any():
        return
    with one_event(node):
        for place, position in zip(np.array(free)[far], from_world(node, nearest[far])):
            node.SetNthControlPointPosition(int(place), *(float(value) for value in position))


def drop_far_ones(node: Any, places: Iterable[int], surface: Surface) -> None:
    """Unset control points that were placed far beside the scan: clicks on the background.

    Parameters
    ----------
    node : vtkMRMLMarkupsNode
    places : iterable of int
        Control points that have just been placed.
    surface : Surface
        World RAS, mm.
    """
    for place in places:
        own = np.array([node.GetNthControlPointPosition(place)])
        if surface.project(to_world(node, own))[1][0] > BESIDE_MM:
            node.UnsetNthControlPointPosition(place)
