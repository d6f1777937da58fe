"""Landmarks as CSV tables: long (one row per point) and wide (one row per case)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NoReturn

import numpy as np

from .errors import InputError
from .label_matching import LabelMatcher
from .landmarks import COORDINATE_SYSTEMS, RECORD_KEYS, STATUSES, LandmarkSet
from .markups_json import known_provenance, protocol_warnings
from .protocol import Protocol
from .spreadsheet import merged_columns, number_text, parse_number, parse_table

Table = tuple[list[str], list[list[str]]]
_AXES = ("x", "y", "z")
_POINT_COLUMNS = ("case", "label", "name", "x", "y", "z", "status", "expected_error_mm", "note")
#: Columns of the record that let a wide table say who placed which point.
_LISTS = ("corrected", "placed")


def long_table(cases: Mapping[str, LandmarkSet], now: datetime | None = None) -> Table:
    """Make the long table: one row per point, with the record of its set in further columns.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        Names of the columns.
    rows : list of list of str
        Cells; coordinates of a missing landmark are empty.
    """
    records = {case: landmarks.record(now) for case, landmarks in cases.items()}
    recorded = merged_columns(list(records.values()), RECORD_KEYS)
    rows: list[list[str]] = []
    for case, landmarks in cases.items():
        tail = [records[case].get(key, "") for key in recorded]
        for place, landmark in enumerate(landmarks.protocol.landmarks):
            xyz = [number_text(value, 4) for value in landmarks.positions[place]]
            error = number_text(landmarks.expected_error_mm[place], 2)
            words = [landmarks.status[place], error, landmarks.notes[place]]
            rows.append([case, landmark.label, landmark.name, *xyz, *words, *tail])
    return [*_POINT_COLUMNS, *recorded], rows


def wide_table(cases: Mapping[str, LandmarkSet], now: datetime | None = None) -> Table:
    """Make the wide table: one row per case, columns ``<label>_x``, ``<label>_y``, ``<label>_z``.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier, all of one protocol.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        Names of the columns.
    rows : list of list of str
        Cells. Expected errors and notes are not in this table.
    """
    sets = list(cases.values())
    if len({landmarks.protocol.labels for landmarks in sets}) > 1:
        raise ValueError("a wide table needs sets of one protocol")
    records = [landmarks.record(now) for landmarks in sets]
    recorded = merged_columns(records, RECORD_KEYS)
    labels = sets[0].protocol.labels if sets else ()
    header = ["case", *(f"{label}_{axis}" for label in labels for axis in _AXES)]
    rows: list[list[str]] = []
    for case, landmarks, record in zip(cases, sets, records):
        xyz = [number_text(value, 4) for value in landmarks.positions.ravel()]
        rows.append([case, *xyz, *(record.get(key, "") for key in recorded)])
    return [*header, *recorded], rows


def parse_landmark_table(text: str, name: str, protocol: Protocol) -> tuple[dict[str, LandmarkSet], list[str]]:
    """Read a long or a wide table.

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
    cases : dict of str to LandmarkSet
        By the column ``case``; ``case`` when there is none.
    warnings : list of str
        For example unknown labels.

    Raises
    ------
    InputError
        When it is neither table, a number is unreadable, or a point or case is there twice.
    """
    header, rows = parse_table(text, name)
    if not rows:
        _refuse(name, "it has no rows")
    lower = {column.lower() for column in header}
    # Columns are found whatever their case; those named after landmarks keep theirs, as labels may differ by it.
    rows = [(number, {**row, **{column.lower(): cell for column, cell in row.items()}}) for number, row in rows]
    if {"label", *_AXES} <= lower:
        return _parse_long(rows, name, protocol)
    columns = _wide_columns(header, protocol)
    if columns:
        return _parse_wide(rows, columns, name, protocol)
    _refuse(name, "it has neither the columns label, x, y, z nor columns like " + f"{protocol.labels[0]}_x")


def _parse_long(
    rows: list[tuple[int, dict[str, str]]], name: str, protocol: Protocol
) -> tuple[dict[str, LandmarkSet], list[str]]:
    matcher = LabelMatcher(protocol)
    unknown: list[str] = []
    by_case: dict[str, dict[str, tuple[int, dict[str, str]]]] = {}
    for number, row in rows:
        label = matcher.find(row["label"])
        points = by_case.setdefault(row.get("case") or "case", {})
        if label is None:
            unknown.append(row["label"])
        elif label in points:
            _refuse(name, f"line {number} gives the landmark {label} again (first in line {points[label][0]})")
        else:
            points[label] = (number, row)
    if not any(by_case.values()):
        _refuse(name, f"none of its labels is of the protocol {protocol.id} (they are {', '.join(unknown[:5])})")
    warnings = [f"unknown labels left out: {', '.join(sorted(set(unknown)))}"] if unknown else []
    cases = {}
    for case, points in by_case.items():
        cases[case] = _long_set(points, name, protocol)
        absent = [label for label in protocol.labels if label not in points]
        if absent:
            warnings.append(f"{case}: not in the file: {', '.join(absent)}")
    first = next(iter(rows))[1]
    return cases, warnings + protocol_warnings(first, protocol)


def _long_set(points: dict[str, tuple[int, dict[str, str]]], name: str, protocol: Protocol) -> LandmarkSet:
    count = len(protocol)
    positions, errors = np.full((count, 3), np.nan), np.full(count, np.nan)
    status, notes = ["missing"] * count, ["not in the file"] * count
    for label, (number, row) in points.items():
        place, where = protocol.index(label), f"{name}: line {number}"
        positions[place] = [parse_number(row[axis], where) for axis in _AXES]
        errors[place] = parse_number(row.get("expected_error_mm", ""), where)
        notes[place] = row.get("note", "")
        said = row.get("status", "").lower()
        if said and said not in STATUSES:
            _refuse(name, f"line {number}: the status '{said[:40]}' is none of {', '.join(STATUSES)}")
        gone = bool(np.isnan(positions[place]).any())
        if gone and said not in ("", "missing"):
            _refuse(name, f"line {number}: {label} is {said} but has no position")
        if said == "missing" and not gone:
            _refuse(name, f"line {number}: {label} is missing but has a position")
        if errors[place] < 0:
            _refuse(name, f"line {number}: the expected error is negative")
        status[place] = "missing" if gone else said or "placed"
    first = next(iter(points.values())) if points else (0, {})
    return LandmarkSet(
        protocol,
        positions,
        tuple(status),
        expected_error_mm=errors,
        notes=tuple(notes),
        coordinate_system=_coordinate_system(first[1], name, first[0]),
        provenance=known_provenance(first[1]),
    )


def _wide_columns(columns: list[str], protocol: Protocol) -> dict[int, tuple[str, str, str]]:
    """Find the three columns of each landmark, by place in the protocol; incomplete triples are left out."""
    matcher = LabelMatcher(protocol)
    found: dict[tuple[str, str], str] = {}
    for column in columns:
        match = re.fullmatch(r"(.+)[ _.-]([xyzXYZ])", column)
        label = matcher.find(match.group(1)) if match else None
        if match and label:
            found[label, match.group(2).lower()] = column
    result = {}
    for place, label in enumerate(protocol.labels):
        x, y, z = (found.get((label, axis), "") for axis in _AXES)
        if x and y and z:
            result[place] = (x, y, z)
    return result


def _parse_wide(
    rows: list[tuple[int, dict[str, str]]], columns: dict[int, tuple[str, str, str]], name: str, protocol: Protocol
) -> tuple[dict[str, LandmarkSet], list[str]]:
    absent = [label for place, label in enumerate(protocol.labels) if place not in columns]
    warnings = [f"not in the file: {', '.join(absent)}"] if absent else []
    cases: dict[str, LandmarkSet] = {}
    for number, row in rows:
        case = row.get("case") or (f"row {number}" if len(rows) > 1 else "case")
        if case in cases:
            _refuse(name, f"line {number}: the case {case} is there twice")
        positions = np.full((len(protocol), 3), np.nan)
        for place, triple in columns.items():
            positions[place] = [parse_number(row[column], f"{name}: line {number}") for column in triple]
        lists = {word: set(row.get(f"{word}_landmarks", "").split()) for word in _LISTS}
        # A table of ours tells who placed a point; of any other, a person is taken to have placed it.
        rest = "predicted" if "corrected_landmarks" in row else "placed"
        status = []
        for place, label in enumerate(protocol.labels):
            said = next((word for word in _LISTS if label in lists[word]), rest)
            status.append("missing" if math.isnan(positions[place].sum()) else said)
        cases[case] = LandmarkSet(
            protocol,
            positions,
            tuple(status),
            coordinate_system=_coordinate_system(row, name, number),
            provenance=known_provenance(row),
        )
    return cases, warnings + protocol_warnings(rows[0][1], protocol)


def _coordinate_system(row: Mapping[str, str], name: str, number: int) -> str:
    units = row.get("units", "") or "mm"
    if units.lower() != "mm":
        _refuse(name, f"line {number}: the unit '{units[:20]}' is not mm")
    system = (row.get("coordinate_system", "") or "LPS").upper()
    if system not in COORDINATE_SYSTEMS:
        _refuse(name, f"line {number}: the coordinate system '{system[:20]}' is neither LPS nor RAS")
    return system


def _refuse(name: str, problem: str) -> NoReturn:
    raise InputError(
        f"{name} cannot be used as a landmark table: {problem}.",
        "docs/file-formats.md describes both tables.",
        code="landmarks.table",
    )
