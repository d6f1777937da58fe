"""Landmarks as a point list of the scene: one control point per landmark, in protocol order.

The point list is all that a saved scene keeps. What Slicer knows of a point stands in its label, position and
description; how the set came about, and what the model had said, stand in the node's attributes.
Positions here are in the node's own frame, RAS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.label_matching import LabelMatcher
from PALNetLandmarksLib.landmarks import LandmarkSet, parse_description
from PALNetLandmarksLib.markups_json import RECORD_MEASUREMENT, known_provenance
from PALNetLandmarksLib.protocol import Protocol

from ..text import _
from .observing import one_event

PROTOCOL_ATTRIBUTE = "PALNet.protocol"
PROVENANCE_ATTRIBUTE = "PALNet.provenance"
PREDICTED_ATTRIBUTE = "PALNet.predicted"
REGISTRATION_ATTRIBUTE = "PALNet.registration"
SCAN_ROLE = "PALNet.scan"

GLYPH_MM = 3.6
"""Size of a marker: a cross over the sphere of ``confidence_marks`` that shows how sure the landmark is."""
TEXT_SCALE = 2.8
_DEFINED = slicer.vtkMRMLMarkupsNode.PositionDefined


def create_node(scene: Any, protocol: Protocol, name: str) -> Any:
    """Make a point list with a control point for each landmark, none of them set.

    Parameters
    ----------
    scene : vtkMRMLScene
    protocol : Protocol
    name : str
        Name of the node; made unique when the scene has one of that name.

    Returns
    -------
    vtkMRMLMarkupsFiducialNode
    """
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName(scene.GenerateUniqueName(name))
    # Filled before it enters the scene: whoever sees it sees it whole.
    _fill(node, protocol)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    style(node)
    return node


def style(node: Any) -> None:
    """Give a point list's markers sizes that fit a face, whatever the zoom."""
    display = node.GetDisplayNode()
    if display is None:
        return
    with one_event(display):
        display.SetUseGlyphScale(False)
        display.SetGlyphType(display.Cross2D)
        display.SetGlyphSize(GLYPH_MM)
        display.SetTextScale(TEXT_SCALE)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(True)
        display.SetSnapMode(display.SnapModeToVisibleSurface)
        display.SetOccludedVisibility(False)
        display.SetColor(0.9, 0.9, 0.9)
        display.SetSelectedColor(1.0, 1.0, 1.0)
        display.SetActiveColor(1.0, 0.9, 0.1)


def show_alone(node: Any) -> None:
    """Show a point list and hide the others of the same scan, whose markers would catch the clicks meant for it."""
    for other in lists_of(node.GetNodeReference(SCAN_ROLE)):
        if other is not node:
            other.SetDisplayVisibility(False)
    node.SetDisplayVisibility(True)


def lists_of(scan: Any) -> list[Any]:
    """Give the point lists that were made for a scan; none for None."""
    if scan is None or scan.GetScene() is None:
        return []
    scene, kind = scan.GetScene(), "vtkMRMLMarkupsFiducialNode"
    found = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
    return [node for node in found if node.GetNodeReferenceID(SCAN_ROLE) == scan.GetID()]


def read_set(node: Any, protocol: Protocol) -> LandmarkSet:
    """Read a point list, also one from elsewhere: its points are found by their labels, whatever the order.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode
    protocol : Protocol

    Returns
    -------
    LandmarkSet
        RAS, in the node's own frame. Landmarks that are not in the list are missing; a point with no word of ours on
        its origin is *placed*.

    Raises
    ------
    InputError
        When the list is empty, a point is no landmark of the protocol, or a landmark is there twice.
    """
    places = _places(node, protocol)
    positions, statuses = points_of(node)
    count = len(protocol)
    result, errors = np.full((count, 3), np.nan), np.full(count, np.nan)
    status, notes = ["missing"] * count, [""] * count
    exact = _predicted_points(node)
    for place, label in enumerate(protocol.labels):
        if label not in places:
            notes[place] = _("not in the point list")
            continue
        index = places[label]
        said, error, note = parse_description(node.GetNthControlPointDescription(index))
        if statuses[index] != _DEFINED:
            notes[place] = note
            continue
        result[place] = positions[index]
        status[place] = said if said not in ("", "missing") else "placed"
        notes[place] = "" if said == "missing" else note
        # The description holds the error to 0.1 mm only.
        stored = exact.get(label, {}).get("expected_error_mm")
        precise = isinstance(stored, float) and abs(stored - error) <= 0.0501
        errors[place] = stored if precise else error
    return LandmarkSet(
        protocol, result, tuple(status), errors, tuple(notes), coordinate_system="RAS", provenance=_provenance(node)
    )


def is_ours(node: Any, protocol: Protocol) -> bool:
    """Say whether a point list has the protocol's labels in its order, and nothing else."""
    if node.GetNumberOfControlPoints() != len(protocol):
        return False
    return all(node.GetNthControlPointLabel(place) == label for place, label in enumerate(protocol.labels))


def points_of(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give all control points' positions (n, 3) float64 in the node's own frame, and their position statuses (n,)."""
    count = node.GetNumberOfControlPoints()
    positions = np.empty((count, 3))
    statuses = np.empty(count, dtype=int)
    point = [0.0, 0.0, 0.0]
    for index in range(count):
        node.GetNthControlPointPosition(index, point)
        positions[index] = point
        statuses[index] = node.GetNthControlPointPositionStatus(index)
    return positions, statuses


def defined_points(node: Any) -> np.ndarray:
    """Give the positions (n, 3) of the control points in the node's own frame; NaN where not set, or a preview only."""
    positions, statuses = points_of(node)
    positions[statuses != _DEFINED] = np.nan
    return positions


def write_set(node: Any, landmarks: LandmarkSet, before: LandmarkSet | None = None) -> None:
    """Write a set into a point list of ours, by one event.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode
        With the protocol's points; made so when it is not.
    landmarks : LandmarkSet
        RAS, in the node's own frame.
    before : LandmarkSet, optional
        What the node is known to hold: only what differs is written.
    """
    protocol = landmarks.protocol
    with one_event(node):
        if not is_ours(node, protocol):
            _fill(node, protocol)
            before = None
        now = defined_points(node)
        same = ((now == landmarks.positions) | (np.isnan(now) & np.isnan(landmarks.positions))).all(axis=1)
        for place, label in enumerate(protocol.labels):
            if not same[place]:
                if landmarks.missing[place]:
                    node.UnsetNthControlPointPosition(place)
                else:
                    node.SetNthControlPointPosition(place, *(float(value) for value in landmarks.positions[place]))
            text = landmarks.description(label)
            if node.GetNthControlPointDescription(place) != text:
                node.SetNthControlPointDescription(place, text)
        if before is None or before.provenance != landmarks.provenance:
            _set_attribute(node, PROTOCOL_ATTRIBUTE, f"{protocol.id} {protocol.version}")
            _set_attribute(node, PROVENANCE_ATTRIBUTE, _json(dict(landmarks.provenance)))
            _write_record(node, landmarks)


def read_predicted(node: Any, protocol: Protocol) -> LandmarkSet | None:
    """Read what the model had said of each landmark.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode
    protocol : Protocol

    Returns
    -------
    LandmarkSet or None
        RAS, in the node's own frame; None when nothing was predicted.
    """
    stored = _predicted_points(node)
    if not stored:
        return None
    positions, errors = np.full((len(protocol), 3), np.nan), np.full(len(protocol), np.nan)
    notes = [""] * len(protocol)
    for place, label in enumerate(protocol.labels):
        point = stored.get(label, {})
        if _is_position(point.get("position")):
            positions[place] = point["position"]
            error = point.get("expected_error_mm")
            errors[place] = error if isinstance(error, (int, float)) and error >= 0 else np.nan
        notes[place] = str(point.get("note", ""))
    return LandmarkSet.from_positions(
        protocol,
        positions,
        "predicted",
        expected_error_mm=errors,
        notes=notes,
        coordinate_system="RAS",
        provenance=_provenance(node),
    )


def write_predicted(node: Any, landmarks: LandmarkSet | None) -> None:
    """Keep what the model said of each landmark with the point list, in the node's own frame; None forgets it."""
    if landmarks is None:
        node.RemoveAttribute(PREDICTED_ATTRIBUTE)
        return
    points = {}
    for place, label in enumerate(landmarks.protocol.labels):
        error = landmarks.expected_error_mm[place]
        points[label] = {
            "position": None if landmarks.missing[place] else [round(float(x), 6) for x in landmarks.positions[place]],
            "expected_error_mm": None if np.isnan(error) else round(float(error), 4),
            "note": landmarks.notes[place],
        }
    _set_attribute(node, PREDICTED_ATTRIBUTE, _json(points))


def read_registration(node: Any) -> np.ndarray | None:
    """Read the matrix (4, 4) from the node's own frame, RAS, to the reference; None where none is kept."""
    rows = _attribute(node, REGISTRATION_ATTRIBUTE).get("matrix")
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return matrix if matrix.shape == (4, 4) and np.isfinite(matrix).all() else None


def write_registration(node: Any, matrix: np.ndarray | None) -> None:
    """Keep the matrix (4, 4) from the node's own frame, RAS, to the reference with the point list; None forgets it."""
    if matrix is None:
        node.RemoveAttribute(REGISTRATION_ATTRIBUTE)
    else:
        _set_attribute(node, REGISTRATION_ATTRIBUTE, _json({"matrix": np.asarray(matrix, dtype=float).tolist()}))


def _fill(node: Any, protocol: Protocol) -> None:
    """Make a list's points those of the protocol, none of them set."""
    with one_event(node):
        node.SetFixedNumberOfControlPoints(False)
        node.RemoveAllControlPoints()
        for place, label in enumerate(protocol.labels):
            node.AddControlPoint(0.0, 0.0, 0.0, label)
            node.UnsetNthControlPointPosition(place)
            node.SetNthControlPointDescription(place, "missing")
        node.SetFixedNumberOfControlPoints(True)
        node.SetMarkupLabelFormat("%N-%d")


def _places(node: Any, protocol: Protocol) -> dict[str, int]:
    """Give the place in the list of each landmark that it has."""
    matcher = LabelMatcher(protocol)
    places: dict[str, int] = {}
    unknown = []
    for index in range(node.GetNumberOfControlPoints()):
        spelled = node.GetNthControlPointLabel(index)
        label = matcher.find(spelled)
        if label is None:
            unknown.append(spelled)
        elif label in places:
            raise InputError(
                _("The point list has the landmark {label} twice.").format(label=label),
                _("Delete or rename one of the two points in the Markups module."),
                code="landmarks.twice",
            )
        else:
            places[label] = index
    if unknown or not places:
        problem = _("The point list holds points that are no landmarks of this protocol: {names}.")
        listed = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise InputError(
            problem.format(names=listed) if unknown else _("The point list has no points."),
            _("Choose a list whose points are named after the protocol ({labels}), or start a new one.").format(
                labels=", ".join(protocol.labels[:4]) + ", …"
            ),
            code="landmarks.labels",
        )
    return places


def _provenance(node: Any) -> dict[str, str]:
    """Give what is recorded of the set: by the attribute, or by the measurement that our files carry it in."""
    record = _attribute(node, PROVENANCE_ATTRIBUTE)
    if not record:
        for index in range(node.GetNumberOfMeasurements()):
            measurement = node.GetNthMeasurement(index)
            if measurement is not None and measurement.GetName() == RECORD_MEASUREMENT:
                record = _parsed(measurement.GetDescription())
    return known_provenance(record)


def _write_record(node: Any, landmarks: LandmarkSet) -> None:
    """Keep the record where a ``.mrk.json`` file that Slicer writes has it too: attributes go into scenes only."""
    protocol = landmarks.protocol
    record = {"protocol_id": protocol.id, "protocol_version": protocol.version, **landmarks.provenance}
    kept = [node.GetNthMeasurement(index) for index in range(node.GetNumberOfMeasurements())]
    measurement = next((item for item in kept if item is not None and item.GetName() == RECORD_MEASUREMENT), None)
    if measurement is None:
        measurement = slicer.vtkMRMLStaticMeasurement()
        measurement.SetName(RECORD_MEASUREMENT)
        measurement.SetEnabled(False)
        node.AddMeasurement(measurement)
    measurement.SetDescription(_json(record))


def _predicted_points(node: Any) -> Mapping[str, Any]:
    points = _attribute(node, PREDICTED_ATTRIBUTE)
    return {label: point for label, point in points.items() if isinstance(point, Mapping)}


def _is_position(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(isinstance(x, (int, float)) and not isinstance(x, bool) and np.isfinite(x) for x in value)


def _json(value: Any) -> str:
    # ASCII, so that nothing depends on how a system's XML reader takes other letters.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _set_attribute(node: Any, name: str, value: str) -> None:
    if node.GetAttribute(name) != value:
        node.SetAttribute(name, value)


def _attribute(node: Any, name: str) -> Mapping[str, Any]:
    return _parsed(node.GetAttribute(name))


def _parsed(text: str | None) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
