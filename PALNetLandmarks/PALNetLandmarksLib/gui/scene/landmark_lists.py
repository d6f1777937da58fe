"""Any point list of the scene as a set of landmarks in world coordinates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

from ..text import _
from .frames import to_world
from .landmarks_node import PROTOCOL_ATTRIBUTE, read_set


def read_list(node: Any, protocol: Protocol) -> LandmarkSet:
    """Read a point list, whoever made it; it is not changed.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode
    protocol : Protocol
        The landmarks to look for.

    Returns
    -------
    LandmarkSet
        World RAS, mm.

    Raises
    ------
    InputError
        When its points are no landmarks of the protocol, or it was made with another protocol.
    """
    made = node.GetAttribute(PROTOCOL_ATTRIBUTE)
    if made and made != f"{protocol.id} {protocol.version}":
        raise InputError(
            _("The point list was made with the protocol {made}, not {ours}.").format(
                made=made, ours=f"{protocol.id} {protocol.version}"
            ),
            _("Only sets of one protocol can be compared: their landmarks may be defined differently."),
            code="compare.protocol",
        )
    local = read_set(node, protocol)
    return replace(local, positions=to_world(node, local.positions))
