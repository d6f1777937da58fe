"""Landmarks as 3D Slicer's markups file, ``.mrk.json``.

Slicer keeps of a file what it knows: labels, positions, descriptions, and measurements with their description. Fields
it does not know are gone after it saves. What belongs to a point therefore stands in the point's description, and what
belongs to the set stands twice: in a top-level object ``palnet``, and as the description of a measurement that is
switched off, which Slicer keeps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

import numpy as np

from .errors import InputError
from .label_matching import LabelMatcher
from .landmarks import COORDINATE_SYSTEMS, PROVENANCE_KEYS, LandmarkSet, parse_description
from .protocol import Protocol

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
RECORD_MEASUREMENT = "PALNetLandmarks record"
_UNITS_TO_MM = {"mm": 1.0, "um": 0.001}
# Slicer's point axes are those of RAS; written in LPS, the first two axes of each turn round.
_ORIENTATION = {"LPS": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0], "RAS": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]}
# Slicer numbers the coordinate systems in old scenes.
_LEGACY_SYSTEMS = {0: "RAS", 1: "LPS", "0": "RAS", "1": "LPS"}


def markups_text(landmarks: LandmarkSet, now: datetime | None = None) -> str:
    """Write a set as the text of a ``.mrk.json`` file.

    Parameters
    ----------
    landmarks : LandmarkSet
        The set; its coordinate system is kept and stated.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    str
        JSON that 3D Slicer loads as one point list, in protocol order; missing landmarks are points with an undefined
        position.
    """
    record = landmarks.record(now)
    markup: dict[str, Any] = {
        "type": "Fiducial",
        "coordinateSystem": landmarks.coordinate_system,
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": True,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(landmarks.protocol),
        "controlPoints": [_control_point(landmarks, place) for place in range(len(landmarks.protocol))],
        "measurements": [
            {"name": RECORD_MEASUREMENT, "enabled": False, "description": json.dumps(record, sort_keys=False)}
        ],
    }
    known = zip(landmarks.protocol.labels, landmarks.expected_error_mm)
    errors = {label: float(error) for label, error in known if not np.isnan(error)}
    palnet = {"record": record, "expected_error_mm": errors}
    document = {"@schema": SCHEMA, "markups": [markup], "palnet": palnet}
    return json.dumps(document, indent=4, allow_nan=False) + "\n"


def _control_point(landmarks: LandmarkSet, place: int) -> dict[str, Any]:
    point: dict[str, Any] = {
        "id": str(place + 1),
        "label": landmarks.protocol.labels[place],
        "description": landmarks.description(landmarks.protocol.labels[place]),
        "associatedNodeID": "",
    }
    missing = bool(np.isnan(landmarks.positions[place, 0]))
    if not missing:
        point["position"] = [float(value) for value in landmarks.positions[place]]
    point.update(
        orientation=_ORIENTATION[landmarks.coordinate_system],
        selected=True,
        locked=False,
        visibility=True,
        positionStatus="undefined" if missing else "defined",
    )
    return point


def parse_markups(text: str, name: str, protocol: Protocol) -> tuple[LandmarkSet, list[str]]:
    """Read the text of a ``.mrk.json`` file.

    Points are matched by their labels, whatever the order and the number of point lists in the file.

    Parameters
    ----------
    text : str
        The file's content.
    name : str
        What to call the file in errors.
    protocol : Protocol
        The landmarks to look for.

    Returns
    -------
    landmarks : LandmarkSet
        In the coordinate system of the first point list that has a landmark of the protocol; landmarks that are not in
        the file are missing.
    warnings : list of str
        For example unknown labels.

    Raises
    ------
    InputError
        When the text is no markups file, a position is unusable, or a label is there twice.
    """
    document = _load(text, name)
    matcher = LabelMatcher(protocol)
    found: dict[str, tuple[np.ndarray, Mapping[str, Any]]] = {}
    unknown: list[str] = []
    first_system = ""
    record = _top_level_record(document)
    for markup in _point_lists(document, name):
        system, scale = _frame(markup, name)
        for point in markup.get("controlPoints") or []:
            if not isinstance(point, Mapping):
                _refuse(name, "a control point is not an object")
            spelled = str(point.get("label", ""))
            label = matcher.find(spelled)
            if label is None:
                unknown.append(spelled)
                continue
            if label in found:
                _refuse(name, f"the landmark {label} is there twice")
            first_system = first_system or system
            position = _position(point, label, name) * scale
            found[label] = (position if system == first_system else position * (-1.0, -1.0, 1.0), point)
        record = record or _measurement_record(markup)
    if not found:
        listed = f" (its points are called {', '.join(unknown[:5])})" if unknown else ""
        raise InputError(
            f"{name} has no point with a label of the protocol {protocol.id}{listed}.",
            f"Name the points after the protocol: {', '.join(protocol.labels[:5])} and so on.",
            code="landmarks.labels",
        )
    warnings = [f"unknown labels left out: {', '.join(sorted(unknown))}"] if unknown else []
    return _landmark_set(protocol, found, first_system, record, _exact_errors(document), warnings), warnings


def _landmark_set(
    protocol: Protocol,
    found: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]],
    system: str,
    record: Mapping[str, Any],
    exact: Mapping[str, Any],
    warnings: list[str],
) -> LandmarkSet:
    count = len(protocol)
    positions, errors = np.full((count, 3), np.nan), np.full(count, np.nan)
    status, notes = ["missing"] * count, [""] * count
    for place, label in enumerate(protocol.labels):
        if label not in found:
            notes[place] = "not in the file"
            continue
        positions[place], point = found[label]
        said, errors[place], notes[place] = parse_description(str(point.get("description") or ""))
        # The description holds the error to 0.1 mm; the exact one counts as long as it says the same.
        if isinstance(exact.get(label), float) and abs(exact[label] - errors[place]) <= 0.0501:
            errors[place] = exact[label]
        if not np.isnan(positions[place, 0]):
            # Without a word on its origin, or after someone set a missing point in Slicer, a point is placed by hand.
            status[place] = said if said not in ("", "missing") else "placed"
            notes[place] = "" if said == "missing" else notes[place]
    absent = [label for label in protocol.labels if label not in found]
    if absent:
        warnings.append(f"not in the file: {', '.join(absent)}")
    warnings.extend(protocol_warnings(record, protocol))
    return LandmarkSet(
        protocol,
        positions,
        tuple(status),
        expected_error_mm=errors,
        notes=tuple(notes),
        coordinate_system=system,
        provenance=known_provenance(record),
    )


def known_provenance(record: Mapping[str, Any]) -> dict[str, str]:
    """Pick what :class:`LandmarkSet` records from a record read from a file.

    Parameters
    ----------
    record : mapping
        As :meth:`LandmarkSet.record` writes it, or anything.

    Returns
    -------
    dict of str to str
        Known keys with a value.
    """
    return {key: str(record[key]) for key in PROVENANCE_KEYS if isinstance(record.get(key), str) and record[key]}


def protocol_warnings(record: Mapping[str, Any], protocol: Protocol) -> list[str]:
    """Say when a file was made with another protocol, or another version of it.

    Parameters
    ----------
    record : mapping
        As read from a file.
    protocol : Protocol
        The protocol the file is read with.

    Returns
    -------
    list of str
        One warning or none.
    """
    made = (record.get("protocol_id"), record.get("protocol_version"))
    if made[0] and made != (protocol.id, protocol.version):
        return [f"made with protocol {made[0]} {made[1]}, read with {protocol.id} {protocol.version}"]
    return []


def _load(text: str, name: str) -> Mapping[str, Any]:
    def refuse_constant(constant: str) -> NoReturn:
        _refuse(name, f"it holds {constant}, which is not a number")

    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        _refuse(name, f"it is not valid JSON ({reason})")
    if not isinstance(document, Mapping) or not isinstance(document.get("markups"), list):
        _refuse(name, "it has no list 'markups'")
    return document


def _point_lists(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    lists = [
        markup
        for markup in document["markups"]
        if isinstance(markup, Mapping) and markup.get("type", "Fiducial") == "Fiducial"
    ]
    if not lists:
        _refuse(name, "it holds no point list")
    for markup in lists:
        if not isinstance(markup.get("controlPoints") or [], list):
            _refuse(name, "'controlPoints' is not a list")
    return lists


def _frame(markup: Mapping[str, Any], name: str) -> tuple[str, float]:
    """Give the coordinate system and the factor to millimetres of one point list."""
    stated = markup.get("coordinateSystem", "LPS")
    system = _LEGACY_SYSTEMS.get(stated, stated) if isinstance(stated, (str, int)) else stated
    if not isinstance(system, str) or system.upper() not in COORDINATE_SYSTEMS:
        _refuse(name, f"the coordinate system '{stated}' is neither LPS nor RAS")
    units = markup.get("coordinateUnits", "mm")
    code = units[0] if isinstance(units, list) and units else units
    if not isinstance(code, str) or code not in _UNITS_TO_MM:
        _refuse(name, f"the unit '{code}' is not mm")
    return system.upper(), _UNITS_TO_MM[code]


def _position(point: Mapping[str, Any], label: str, name: str) -> np.ndarray:
    """Give the position (3,) as stated; NaN for a point that is undefined or only a preview."""
    if point.get("positionStatus", "defined") != "defined" or point.get("position") in (None, "", []):
        return np.full(3, np.nan)
    value = point["position"]
    good = isinstance(value, list) and len(value) == 3
    good = good and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    try:
        numbers = [float(x) for x in value] if good else []
    except OverflowError:
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(x) for x in numbers):
        _refuse(name, f"the position of {label} is not three numbers")
    return np.array(numbers)


def _top_level_record(document: Mapping[str, Any]) -> Mapping[str, Any]:
    palnet = document.get("palnet")
    record = palnet.get("record") if isinstance(palnet, Mapping) else None
    return record if isinstance(record, Mapping) else {}


def _exact_errors(document: Mapping[str, Any]) -> Mapping[str, Any]:
    palnet = document.get("palnet")
    errors = palnet.get("expected_error_mm") if isinstance(palnet, Mapping) else None
    return errors if isinstance(errors, Mapping) else {}


def _measurement_record(markup: Mapping[str, Any]) -> Mapping[str, Any]:
    items = markup.get("measurements")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, Mapping) and item.get("name") == RECORD_MEASUREMENT:
            try:
                record = json.loads(str(item.get("description", "")))
            except (ValueError, RecursionError):
                continue
            if isinstance(record, Mapping):
                return record
    return {}


def _refuse(name: str, problem: str) -> NoReturn:
    raise InputError(
        f"{name} cannot be used as a markups file: {problem}.",
        "Save the point list again in 3D Slicer (.mrk.json).",
        code="landmarks.markups",
    )
