"""Measurements and asymmetry as CSV tables that say how they came about.

What is recorded of a set stands in columns, as comment lines would break spreadsheets and statistics programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from .asymmetry import METHOD, asymmetry
from .files import PathLike
from .landmarks import RECORD_KEYS, LandmarkSet
from .measurements import LOW_CONFIDENCE_MM, measure
from .spreadsheet import merged_columns, number_text, write_table

Cases = Mapping[str, LandmarkSet]
Table = tuple[list[str], list[list[str]]]
#: Decimals written: finer than any scanner or observer resolves.
_DECIMALS = 3


def measurements_long(
    cases: Cases, now: datetime | None = None, *, low_confidence_mm: float = LOW_CONFIDENCE_MM
) -> Table:
    """Make the long table of measurements: one row per case and measurement.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier.
    now : datetime, optional
        Time of the export; default: now.
    low_confidence_mm : float
        Landmarks with a larger expected error are flagged.

    Returns
    -------
    header : list of str
        ``case, id, kind, group, value, unit, expected_error, based_on, flags, source`` and the record's columns.
    rows : list of list of str
        Cells; the value is empty where a landmark is missing.

    Examples
    --------
    >>> from PALNetLandmarksLib.protocol import load_protocol
    >>> import numpy as np
    >>> face = LandmarkSet.from_positions(load_protocol(), np.full((50, 3), np.nan))
    >>> header, rows = measurements_long({"case": face})
    >>> rows[0][:9]
    ['case', 'Tr-N', 'distance', 'frontal', '', 'mm', '', 'Tr N', 'missing']
    """
    records = {case: landmarks.record(now) for case, landmarks in cases.items()}
    recorded = merged_columns(list(records.values()), RECORD_KEYS)
    # Every measurement has its own unit column: the record's would contradict it.
    recorded.remove("units")
    rows: list[list[str]] = []
    for case, landmarks in cases.items():
        result = measure(landmarks)
        tail = [records[case].get(key, "") for key in recorded]
        for place, item in enumerate(landmarks.protocol.measurements):
            value = number_text(result.values[place], _DECIMALS)
            error = number_text(result.expected_error[place], _DECIMALS)
            points = " / ".join((" ".join(item.points[:2]), " ".join(item.points[2:]))) if len(item.points) == 4 else ""
            flags = " ".join(result.flags(place, low_confidence_mm))
            row = [case, item.id, item.kind, item.group, value, item.unit, error]
            rows.append([*row, points or " ".join(item.points), flags, item.source, *tail])
    header = ["case", "id", "kind", "group", "value", "unit", "expected_error", "based_on", "flags", "source"]
    return [*header, *recorded], rows


def measurements_wide(cases: Cases, now: datetime | None = None) -> Table:
    """Make the wide table of measurements: one row per case, one column per measurement with its unit.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier, all of one protocol.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        ``case``, measurements like ``N-Pg [mm]``, and the record's columns.
    rows : list of list of str
        Cells; empty where a landmark is missing.
    """
    sets = list(cases.values())
    if len({landmarks.protocol.measurements for landmarks in sets}) > 1:
        raise ValueError("a wide table needs sets of one protocol")
    records = [landmarks.record(now) for landmarks in sets]
    recorded = merged_columns(records, RECORD_KEYS)
    recorded.remove("units")
    items = sets[0].protocol.measurements if sets else ()
    rows = []
    for case, landmarks, record in zip(cases, sets, records):
        values = [number_text(value, _DECIMALS) for value in measure(landmarks).values]
        rows.append([case, *values, *(record.get(key, "") for key in recorded)])
    return ["case", *(f"{item.id} [{item.unit}]" for item in items), *recorded], rows


def asymmetry_table(cases: Cases, now: datetime | None = None) -> Table:
    """Make the table of asymmetry: one row per case and pair of landmarks.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        Sets by case identifier.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        The pair, its signed components, their length and expected error in mm, whether it exceeds that error (empty
        where the error is unknown), the plane's residual and method, and the record's columns.
    rows : list of list of str
        Cells; empty where a landmark is missing.
    """
    records = {case: landmarks.record(now) for case, landmarks in cases.items()}
    recorded = merged_columns(list(records.values()), RECORD_KEYS)
    rows: list[list[str]] = []
    for case, landmarks in cases.items():
        result = asymmetry(landmarks)
        plane = [number_text(result.residual_rms_mm, _DECIMALS), str(result.points_used), METHOD, result.axes_method]
        tail = [*plane, result.failure, *(records[case].get(key, "") for key in recorded)]
        for place, (right, left) in enumerate(result.pairs):
            numbers = [*result.components[place], result.magnitude_mm[place], result.expected_error_mm[place]]
            cells = [number_text(value, _DECIMALS) for value in numbers]
            known = bool(cells[3] and cells[4])
            verdict = ("yes" if result.distinguishable[place] else "no") if known else ""
            name = landmarks.protocol.landmarks[landmarks.protocol.index(right)].abbreviation
            rows.append([case, name, right, left, *cells, verdict, *tail])
    header = ["case", "pair", "right", "left", "lateral_mm", "vertical_mm", "antero_posterior_mm", "magnitude_mm"]
    header += ["expected_error_mm", "distinguishable", "residual_rms_mm", "plane_points", "method", "axes", "failure"]
    return [*header, *recorded], rows


def write_measurements(
    path: PathLike,
    landmarks: LandmarkSet | Cases,
    *,
    case: str = "case",
    layout: str = "long",
    now: datetime | None = None,
) -> None:
    """Write measurements as a CSV file that appears whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        File to write.
    landmarks : LandmarkSet or mapping of str to LandmarkSet
        One set, or sets by case identifier.
    case : str
        Identifier of a single set, typed by the user.
    layout : {"long", "wide"}
        One row per measurement, or one row per case.
    now : datetime, optional
        Time of the export; default: now.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    if layout not in ("long", "wide"):
        raise ValueError(f"layout must be 'long' or 'wide', not {layout!r}")
    table = measurements_long if layout == "long" else measurements_wide
    write_table(path, *table(_cases(landmarks, case), now))


def write_asymmetry(
    path: PathLike,
    landmarks: LandmarkSet | Cases,
    *,
    case: str = "case",
    now: datetime | None = None,
) -> None:
    """Write asymmetry as a CSV file that appears whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        File to write.
    landmarks : LandmarkSet or mapping of str to LandmarkSet
        One set, or sets by case identifier.
    case : str
        Identifier of a single set, typed by the user.
    now : datetime, optional
        Time of the export; default: now.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    write_table(path, *asymmetry_table(_cases(landmarks, case), now))


def _cases(landmarks: LandmarkSet | Cases, case: str) -> Cases:
    return {case or "case": landmarks} if isinstance(landmarks, LandmarkSet) else landmarks
