"""Landmarks as plain text: LAFAS ``landmarks.txt`` and TPS for geometric morphometrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NoReturn

import numpy as np

from .asymmetry import asymmetry
from .errors import InputError
from .label_matching import LabelMatcher
from .landmarks import LandmarkSet
from .markups_json import known_provenance, protocol_warnings
from .protocol import Protocol
from .spreadsheet import number_text

LAFAS_HEADER = "landmark names"
# Lengths are bounded and no digit can be matched in two ways, so that no line takes long to refuse.
_NUMBER = r"(?:[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?|nan|NaN|NA)"
_ROW = re.compile(
    r"(?:(?P<name>[^\s(][^\t(]*?)(?:[\s,;:]+|(?=\()))?"
    rf"\(?\s*({_NUMBER})[\s,;]+({_NUMBER})[\s,;]+({_NUMBER})\s*\)?"
)
_EMPTY_ROW = re.compile(r"(?P<name>[^\t(]+?)\s*(?:\(\s*\))?")
_MAX_LINE = 400
#: Midline points and pair midpoints lie near one plane only in the right order. Measured on 200 average faces with 2 mm
#: of noise: right order 0.8 to 2.1 mm from it, a wrong one 17.6 to 19.1 mm or no plane between right and left at all.
_ORDER_RESIDUAL_MM = 10.0


def lafas_text(landmarks: LandmarkSet) -> str:
    """Write a set as the text of a LAFAS ``landmarks.txt``.

    Parameters
    ----------
    landmarks : LandmarkSet
        The set.

    Returns
    -------
    str
        The header, then ``label<TAB>(x,y,z)`` in protocol order, mm, in the set's own frame; a missing landmark is
        ``(nan,nan,nan)``, which readers that only know numbers take as such.
    """
    rows = [LAFAS_HEADER]
    for label, position in zip(landmarks.protocol.labels, landmarks.positions):
        rows.append(f"{label}\t({','.join(number_text(value, 4) or 'nan' for value in position)})")
    return "\n".join(rows) + "\n"


def parse_lafas(text: str, name: str, protocol: Protocol) -> tuple[LandmarkSet, list[str]]:
    """Read the text of a LAFAS ``landmarks.txt``, or of rows of three numbers.

    Rows with labels or full names go by the name, in any order. Rows without a name, or named by numbers, stand in the
    order of the numbers sorted as text (``lafas_file_row`` of the protocol); when only the canonical order gives a
    face, that one is taken, with a warning.

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
        With status *placed*; frame as in the file, taken as LPS.
    warnings : list of str
        For example unknown names, or which order was taken.

    Raises
    ------
    InputError
        When a row cannot be read, a landmark is there twice, or rows without names are not as many as the landmarks.
    """
    rows = _lafas_rows(text, name)
    names = [row[1] for row in rows]
    if all(not given or re.fullmatch(r"\d{1,5}", given) for given in names):
        positions, warnings = _by_order(rows, name, protocol)
    else:
        positions, warnings = _by_name(rows, name, protocol)
    notes = tuple("not in the file" if np.isnan(row[0]) else "" for row in positions)
    return LandmarkSet.from_positions(protocol, positions, "placed", notes=notes), warnings


def _lafas_rows(text: str, name: str) -> list[tuple[int, str, np.ndarray]]:
    """Give (line number, name, position (3,)) of each row; a first line without numbers is the header."""
    rows: list[tuple[int, str, np.ndarray]] = []
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for place, (number, line) in enumerate(lines):
        match = _ROW.fullmatch(line) if len(line) <= _MAX_LINE else None
        if match:
            position = np.array([math.nan if x.upper() in ("NA", "NAN") else float(x) for x in match.groups()[1:]])
            if np.isinf(position).any():
                _refuse(name, f"line {number} holds a number that is too large")
            if np.isnan(position).any():
                position[:] = np.nan
            rows.append((number, (match.group("name") or "").strip(), position))
            continue
        empty = _EMPTY_ROW.fullmatch(line) if len(line) <= _MAX_LINE else None
        if place == 0:
            continue
        if not empty or re.search(r"\d[.,\s]+-?\d", line):
            _refuse(name, f"line {number} is not 'name<TAB>(x,y,z)' or 'x y z': {line[:40]!r}")
        rows.append((number, empty.group("name").strip(), np.full(3, np.nan)))
    if not rows:
        _refuse(name, "it has no landmark rows")
    return rows


def _by_name(
    rows: list[tuple[int, str, np.ndarray]], name: str, protocol: Protocol
) -> tuple[np.ndarray, list[str]]:
    matcher = LabelMatcher(protocol)
    positions = np.full((len(protocol), 3), np.nan)
    seen: dict[str, int] = {}
    unknown: list[str] = []
    for number, given, position in rows:
        if not given:
            _refuse(name, f"line {number} has no name although others have")
        label = matcher.find(given)
        if label is None:
            unknown.append(given)
        elif label in seen:
            _refuse(name, f"line {number} gives the landmark {label} again (first in line {seen[label]})")
        else:
            seen[label] = number
            positions[protocol.index(label)] = position
    if not seen:
        raise InputError(
            f"{name} has no row with a name of the protocol {protocol.id}, but {', '.join(unknown[:5])}.",
            f"Use its labels: {', '.join(protocol.labels[:5])} and so on.",
            code="landmarks.labels",
        )
    warnings = [f"unknown names left out: {', '.join(unknown)}"] if unknown else []
    absent = [label for label in protocol.labels if label not in seen]
    if absent:
        warnings.append(f"not in the file: {', '.join(absent)}")
    return positions, warnings


def _by_order(
    rows: list[tuple[int, str, np.ndarray]], name: str, protocol: Protocol
) -> tuple[np.ndarray, list[str]]:
    """Order unnamed or number-named rows, and check the order by the face's symmetry."""
    count = len(protocol)
    if len(rows) != count:
        _refuse(name, f"it has {len(rows)} rows without names, and the protocol {protocol.id} {count} landmarks")
    numbers = [given for _, given, _ in rows]
    if any(numbers) and sorted(numbers, key=lambda text: text.zfill(5)) != [str(k) for k in range(1, count + 1)]:
        _refuse(name, f"its rows are not numbered from 1 to {count}")
    listed = np.array([position for _, _, position in rows])
    by_text = listed[[landmark.lafas_file_row - 1 for landmark in protocol.landmarks]]
    # Row names are either the landmarks' numbers, or count the rows of a file that was sorted as text.
    canonical = listed[np.argsort([int(text) for text in numbers])] if any(numbers) else listed
    if np.array_equal(by_text, canonical, equal_nan=True):
        return by_text, []
    residuals = [asymmetry(order, protocol).residual_rms_mm for order in (by_text, canonical)]
    first, second = (math.inf if math.isnan(residual) else residual for residual in residuals)
    if second <= _ORDER_RESIDUAL_MM and second < first / 2.0:
        said = "rows without names: taken in the protocol's own order, as only that gives a face"
        return canonical, [] if any(numbers) else [said]
    if first > _ORDER_RESIDUAL_MM:
        return by_text, ["rows without names: taken in text-sorted order, not confirmed by symmetry; check the points"]
    return by_text, []


def tps_text(cases: Mapping[str, LandmarkSet], now: datetime | None = None) -> str:
    """Write sets as TPS text, one specimen each.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    str
        Per specimen ``LM3=``, the coordinates in protocol order (mm; a missing landmark is ``NA NA NA``, which R's
        geomorph reads as missing), ``ID=``, and one ``COMMENT=`` line for each thing recorded.
    """
    lines: list[str] = []
    for case, landmarks in cases.items():
        lines.append(f"LM3={len(landmarks.protocol)}")
        lines += [" ".join(number_text(value, 4) or "NA" for value in position) for position in landmarks.positions]
        # In this format every line with an equals sign is a field: none may stand in a value.
        lines.append(f"ID={case.replace('=', '-')}")
        record = {**landmarks.record(now), "landmarks": " ".join(landmarks.protocol.labels)}
        lines += [f"COMMENT={key}: {value.replace('=', '-')}" for key, value in record.items() if value]
    return "\n".join(lines) + "\n"


def parse_tps(text: str, name: str, protocol: Protocol) -> tuple[dict[str, LandmarkSet], list[str]]:
    """Read TPS text with one or more specimens of three-dimensional landmarks.

    Parameters
    ----------
    text : str
        The file's content.
    name : str
        What to call the file in errors.
    protocol : Protocol
        The landmarks, in the file's order.

    Returns
    -------
    cases : dict of str to LandmarkSet
        By ``ID`` (or ``IMAGE``, or the specimen's number).
    warnings : list of str
        For example another protocol.

    Raises
    ------
    InputError
        When it is no TPS file, has two-dimensional points or curves, or another number of landmarks.
    """
    cases: dict[str, LandmarkSet] = {}
    warnings: list[str] = []
    for start, block in _specimens(text, name):
        fields, record, rows = _tps_block(start, block, name)
        count = fields["LM3"]
        if count != str(len(protocol)) or len(rows) != len(protocol):
            _refuse(name, f"the specimen at line {start} has LM3={count} and {len(rows)} points; the protocol "
                          f"{protocol.id} has {len(protocol)} landmarks")  # fmt: skip
        scale = _tps_number(fields.get("SCALE", "1"), name, start)
        if not scale > 0:
            _refuse(name, f"the specimen at line {start} has the scale {fields['SCALE']}")
        case = fields.get("ID") or fields.get("IMAGE") or str(len(cases) + 1)
        if case in cases:
            _refuse(name, f"the specimen {case} is there twice")
        listed = record.get("landmarks", "").split()
        if listed and listed != list(protocol.labels):
            _refuse(name, f"the specimen {case} lists other landmarks than the protocol {protocol.id}")
        warnings += [text for text in protocol_warnings(record, protocol) if text not in warnings]
        cases[case] = _tps_set(protocol, np.array(rows) * scale, record)
    return cases, warnings


def _specimens(text: str, name: str) -> list[tuple[int, list[tuple[int, str]]]]:
    blocks: list[tuple[int, list[tuple[int, str]]]] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if re.match(r"(?i)LM3?\s*=", line):
            blocks.append((number, []))
        if line and not blocks:
            _refuse(name, f"line {number} stands before the first LM3=")
        if line:
            blocks[-1][1].append((number, line))
    if not blocks:
        _refuse(name, "it has no specimen (LM3=)")
    return blocks


def _tps_block(
    start: int, block: list[tuple[int, str]], name: str
) -> tuple[dict[str, str], dict[str, str], list[list[float]]]:
    """Give the fields, the recorded comments and the points of one specimen."""
    fields: dict[str, str] = {}
    record: dict[str, str] = {}
    rows: list[list[float]] = []
    for number, line in block:
        key, equals, value = (part.strip() for part in line.partition("="))
        key = key.upper()
        if not equals:
            numbers = [_tps_number(part, name, number) for part in line.split()]
            if len(numbers) != 3:
                _refuse(name, f"line {number} has {len(numbers)} numbers where a point has 3")
            rows.append([math.nan] * 3 if any(math.isnan(x) for x in numbers) else numbers)
        elif key == "COMMENT":
            entry, colon, content = value.partition(":")
            if colon:
                record[entry.strip()] = content.strip()
        elif key in ("LM", "CURVES", "OUTLINES"):
            _refuse(name, f"line {number} ({key}) announces points that are no three-dimensional landmarks")
        else:
            fields[key] = value
    return fields, record, rows


def _tps_set(protocol: Protocol, positions: np.ndarray, record: Mapping[str, str]) -> LandmarkSet:
    corrected, placed = (set(record.get(f"{word}_landmarks", "").split()) for word in ("corrected", "placed"))
    # A file of ours tells who placed a point; of any other, a person is taken to have placed it.
    rest = "predicted" if "corrected_points" in record else "placed"
    status = []
    for label, position in zip(protocol.labels, positions):
        said = "corrected" if label in corrected else "placed" if label in placed else rest
        status.append("missing" if np.isnan(position[0]) else said)
    system = record.get("coordinate_system", "LPS")
    return LandmarkSet(
        protocol,
        positions,
        tuple(status),
        coordinate_system=system if system in ("LPS", "RAS") else "LPS",
        provenance=known_provenance(record),
    )


def _tps_number(text: str, name: str, number: int) -> float:
    try:
        value = math.nan if text.upper() in ("NA", "NAN") else float(text)
    except ValueError:
        _refuse(name, f"line {number}: '{text[:40]}' is not a number")
    if math.isinf(value):
        _refuse(name, f"line {number}: '{text[:40]}' is not a finite number")
    return value


def _refuse(name: str, problem: str) -> NoReturn:
    raise InputError(
        f"{name} cannot be used as a landmark file: {problem}.",
        "Check that the file and the protocol belong together.",
        code="landmarks.text",
    )
