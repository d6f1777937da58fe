"""Read and write landmark files; the format follows from the ending of the name.

``.mrk.json`` (3D Slicer), ``.txt`` (LAFAS), ``.csv`` (long or wide table), ``.tps`` (geometric morphometrics).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError, UsageError
from .files import PathLike, atomic_write, read_text
from .landmark_tables import long_table, parse_landmark_table, wide_table
from .landmark_text import lafas_text, parse_lafas, parse_tps, tps_text
from .landmarks import COORDINATE_SYSTEMS, STATUSES, LandmarkSet
from .markups_json import known_provenance, markups_text, parse_markups, protocol_warnings
from .protocol import Protocol, load_protocol
from .spreadsheet import table_text

FORMATS = (".mrk.json", ".txt", ".csv", ".tps")
_HINT = f"Use one of the endings {', '.join(FORMATS)}."
#: A landmarks.txt has no room for a record: it lies beside it under this ending.
RECORD_SUFFIX = ".record.json"


@dataclass(frozen=True)
class LandmarkFile:
    """What a landmark file holds.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier; one named ``case`` where the format has no identifiers.
    warnings : tuple of str
        What a user should know, for example unknown labels.
    """

    cases: Mapping[str, LandmarkSet]
    warnings: tuple[str, ...] = ()


def landmark_format(path: PathLike) -> str:
    """Give the format of a landmark file by the ending of its name.

    Parameters
    ----------
    path : str or PathLike
        The file; it need not exist.

    Returns
    -------
    str
        One of :data:`FORMATS`.

    Raises
    ------
    UsageError
        When the ending is none of them.

    Examples
    --------
    >>> landmark_format("case 1.MRK.JSON")
    '.mrk.json'
    """
    name = Path(path).name.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending
    raise UsageError(f"{Path(path).name} has no ending of a landmark file.", _HINT, code="landmarks.format")


def read_landmarks(path: PathLike, protocol: Protocol | None = None, *, case: str | None = None) -> LandmarkSet:
    """Read one set of landmarks.

    Parameters
    ----------
    path : str or PathLike
        A file in one of the formats.
    protocol : Protocol, optional
        The landmarks to look for; default: the 50 landmarks of the face.
    case : str, optional
        Which case, for a file with several.

    Returns
    -------
    LandmarkSet
        In the file's own coordinate system.

    Raises
    ------
    InputError
        When the file cannot be used, has several cases and none is named, or not the one named.
    UsageError
        When the ending is unknown.
    """
    cases = read_landmark_file(path, protocol).cases
    if case is None and len(cases) == 1:
        return next(iter(cases.values()))
    if case is not None and case in cases:
        return cases[case]
    listed = ", ".join(list(cases)[:5]) + (" and so on" if len(cases) > 5 else "")
    problem = f"holds {len(cases)} cases" if case is None else f"has no case '{case}'"
    raise InputError(f"{Path(path).name} {problem}.", f"Name one of its cases: {listed}.", code="landmarks.case")


def read_landmark_file(path: PathLike, protocol: Protocol | None = None) -> LandmarkFile:
    """Read all sets of a landmark file, with warnings.

    Parameters
    ----------
    path : str or PathLike
        A file in one of the formats.
    protocol : Protocol, optional
        The landmarks to look for; default: the 50 landmarks of the face.

    Returns
    -------
    LandmarkFile
        The sets by case, and warnings.

    Raises
    ------
    InputError
        When the file cannot be used.
    UsageError
        When the ending is unknown.
    """
    ending = landmark_format(path)
    protocol = protocol or load_protocol()
    name = Path(path).name
    text = read_text(path, what="landmark file")
    cases: dict[str, LandmarkSet]
    if ending == ".mrk.json":
        single, warnings = parse_markups(text, name, protocol)
        cases = {"case": single}
    elif ending == ".txt":
        single, warnings = parse_lafas(text, name, protocol)
        cases = {"case": _with_record(single, Path(path), text, warnings)}
    elif ending == ".csv":
        cases, warnings = parse_landmark_table(text, name, protocol)
    else:
        cases, warnings = parse_tps(text, name, protocol)
    return LandmarkFile(cases, tuple(warnings))


def write_landmarks(
    path: PathLike,
    landmarks: LandmarkSet,
    *,
    case: str = "case",
    layout: str = "long",
    now: datetime | None = None,
) -> None:
    """Write one set of landmarks; the file appears whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        File to write; its ending gives the format. Beside a ``.txt``, which has no room for it, a file
        ``<name>.record.json`` keeps what is recorded of the set.
    landmarks : LandmarkSet
        The set.
    case : str
        Identifier typed by the user, for tables and TPS; never the name of a file or a person.
    layout : {"long", "wide"}
        Kind of CSV table.
    now : datetime, optional
        Time of the export; default: now.

    Raises
    ------
    InputError
        When the file cannot be written.
    UsageError
        When the ending is unknown.
    """
    ending = landmark_format(path)
    if ending in (".csv", ".tps"):
        write_landmark_cases(path, {case: landmarks}, layout=layout, now=now)
        return
    if ending == ".mrk.json":
        text = markups_text(landmarks, now)
    else:
        text = lafas_text(landmarks)
        # First the record, which is only believed beside the text it was made for.
        with atomic_write(_record_path(Path(path))) as stream:
            stream.write(_record_text(landmarks, text, now))
    with atomic_write(path) as stream:
        stream.write(text)


def write_landmark_cases(
    path: PathLike,
    cases: Mapping[str, LandmarkSet],
    *,
    layout: str = "long",
    now: datetime | None = None,
) -> None:
    """Write the sets of several cases into one ``.csv`` or ``.tps`` file.

    Parameters
    ----------
    path : str or PathLike
        File to write.
    cases : mapping of str to LandmarkSet
        Sets by case identifier typed by the user.
    layout : {"long", "wide"}
        Kind of CSV table.
    now : datetime, optional
        Time of the export; default: now.

    Raises
    ------
    InputError
        When the file cannot be written.
    UsageError
        When the format holds one case only.
    """
    ending = landmark_format(path)
    clean = {" ".join(case.split()) or "case": landmarks for case, landmarks in cases.items()}
    if len(clean) != len(cases):
        raise UsageError("Two cases have the same identifier.", "Give each case its own.", code="landmarks.case")
    if ending == ".tps":
        text = tps_text(clean, now)
    elif ending == ".csv":
        if layout not in ("long", "wide"):
            raise ValueError(f"layout must be 'long' or 'wide', not {layout!r}")
        text = table_text(*(long_table if layout == "long" else wide_table)(clean, now))
    else:
        raise UsageError("Only .csv and .tps files hold several cases.", _HINT, code="landmarks.format")
    with atomic_write(path) as stream:
        stream.write(text)


def _record_path(path: Path) -> Path:
    return path.with_name(path.name[: -len(".txt")] + RECORD_SUFFIX)


def _record_text(landmarks: LandmarkSet, text: str, now: datetime | None) -> str:
    points = {
        label: {
            "status": landmarks.status[place],
            "expected_error_mm": None if np.isnan(landmarks.expected_error_mm[place])
            else float(landmarks.expected_error_mm[place]),
            "note": landmarks.notes[place],
        }
        for place, label in enumerate(landmarks.protocol.labels)
    }  # fmt: skip
    record = {"for_sha256": _sha256(text), "record": landmarks.record(now), "points": points}
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _with_record(landmarks: LandmarkSet, path: Path, text: str, warnings: list[str]) -> LandmarkSet:
    """Add what lies recorded beside a landmarks.txt, as long as it was made for this very text."""
    beside = _record_path(path)
    if not beside.is_file():
        return landmarks
    try:
        document = json.loads(read_text(beside, what="record"))
        if document["for_sha256"] != _sha256(text):
            warnings.append(f"{beside.name} was made for other landmarks and is left out")
            return landmarks
        record, points = document["record"], document["points"]
        status, errors, notes = list(landmarks.status), landmarks.expected_error_mm.copy(), list(landmarks.notes)
        for place, label in enumerate(landmarks.protocol.labels):
            entry: Mapping[str, Any] = points.get(label, {})
            if entry and (entry["status"] == "missing") == (status[place] == "missing"):
                status[place] = entry["status"] if entry["status"] in STATUSES else status[place]
                errors[place] = np.nan if entry["expected_error_mm"] is None else float(entry["expected_error_mm"])
                notes[place] = str(entry["note"])
        system = record.get("coordinate_system")
        result = replace(
            landmarks,
            status=tuple(status),
            expected_error_mm=errors,
            notes=tuple(notes),
            coordinate_system=system if system in COORDINATE_SYSTEMS else "LPS",
            provenance=known_provenance(record),
        )
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        warnings.append(f"{beside.name} is damaged and is left out")
        return landmarks
    warnings += protocol_warnings(record, landmarks.protocol)
    return result
