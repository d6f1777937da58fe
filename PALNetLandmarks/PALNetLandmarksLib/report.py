"""A report of one case for people: one HTML file that needs nothing but itself.

It holds what the user typed as the case's identifier and what :meth:`LandmarkSet.record` knows; no path, no file's
name, no name of a person or computer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from .asymmetry import METHOD, Asymmetry, asymmetry
from .files import PathLike, atomic_write
from .landmarks import LandmarkSet
from .measurements import LOW_CONFIDENCE_MM, Measurements, measure
from .norms import ZScore
from .report_html import Picture, Row, element, figures, listing, page, table
from .spreadsheet import number_text

__all__ = ["RESEARCH_USE", "Picture", "report_html", "write_report"]

RESEARCH_USE = "Research use only. Not a medical device, not for diagnosis or treatment decisions."
#: Said of a left-right difference that the landmarks' own errors could have made.
NOT_DISTINGUISHABLE = "not distinguishable"
UNIT_SIGNS = {"mm": " mm", "degree": "\u00b0", "percent": " %"}
_NOTHING = "\u2014"
_FLAG_WORDS = {"missing": "missing", "low-confidence": "low confidence", "palpated": "palpated"}
_RECORD_WORDS = {
    "model_id": "Model",
    "model_version": "Version of the model",
    "model_sha256": "SHA-256 of its weights",
    "bundle_sha256": "SHA-256 of all that decides its results",
    "model_training_data": "Trained on",
    "software_version": "Software",
    "libraries": "Libraries",
    "protocol_id": "Landmark protocol",
    "protocol_version": "Version of the protocol",
    "protocol_sha256": "SHA-256 of the protocol",
    "coordinate_system": "Coordinate system of the scan",
    "scan_sha256": "SHA-256 of the scan's file",
    "mesh_sha256": "SHA-256 of its surface",
    "scan_unit": "Unit of the scan",
    "scan_scale_to_mm": "Scale to mm",
    "registration_verdict": "Alignment to the reference face",
    "registration_fitness": "Alignment: share of the surface that fits",
    "registration_rms_mm": "Alignment: root mean square distance [mm]",
    "registration_score": "Alignment: score",
    "registration_attempts": "Alignment: attempts",
    "projection": "Projection onto the surface",
    "settings": "Settings",
    "device": "Computed on",
    "processor": "Processor",
    "threads": "Threads",
    "seed": "Seed",
    "start_points": "Search started from",
    "prediction_sha256": "SHA-256 of the prediction",
    "warnings": "Warnings",
    "created_utc": "Landmarks predicted (UTC)",
    "exported_utc": "Report written (UTC)",
}
_LEGEND = (
    "Low confidence: rests on a landmark with an expected error above {limit} mm. Palpated: rests on a bony point "
    "without a feature on the skin, whose place on a scan is an estimate. Missing: a landmark has no position. The "
    "expected error is empty where that of a landmark is unknown, as for points placed by hand."
)
_REFLECTED = (
    "Each right landmark is reflected in the plane and compared with the left one. Positive: the left one lies further "
    "out, higher, further forward."
)
_COUNTED = {"corrected": "Corrected by a person", "placed": "Placed by a person", "missing": "Missing"}
#: Counted in the summary already, or said beside every value.
_NOT_REPEATED = ("units", *(f"{word}_{kind}" for word in _COUNTED for kind in ("points", "landmarks")))


def report_html(
    landmarks: LandmarkSet,
    *,
    case: str,
    pictures: Sequence[Picture] = (),
    picture_note: str = "",
    charts: Sequence[Picture] = (),
    scores: Sequence[ZScore] = (),
    sex: str = "",
    age: float | None = None,
    now: datetime | None = None,
    low_confidence_mm: float = LOW_CONFIDENCE_MM,
) -> str:
    """Write the report of one case.

    Parameters
    ----------
    landmarks : LandmarkSet
        Its landmarks, L of them, M measurements.
    case : str
        Identifier typed by the user.
    pictures : sequence of Picture
        Of the scan with its landmarks.
    picture_note : str
        What their colours mean.
    charts : sequence of Picture
        Of the asymmetry.
    scores : sequence of ZScore
        One for each measurement, or none.
    sex, age : str, float
        Of the person, as far as given for the norms; age in years.
    now : datetime, optional
        Time of the report; default: now.
    low_confidence_mm : float
        Landmarks with a larger expected error count as uncertain.

    Returns
    -------
    str
        An HTML document without scripts and without links to elsewhere.
    """
    if scores and len(scores) != len(landmarks.protocol.measurements):
        raise ValueError(f"scores must have {len(landmarks.protocol.measurements)} entries or none")
    record = landmarks.record(now)
    result = measure(landmarks)
    parts = [
        element("h1", "Landmarks and measurements of the face"),
        element("p", f"Case {case}", "case"),
        element("p", f"Written {record['exported_utc']}", "note"),
        element("p", RESEARCH_USE, "research"),
        *_summary(landmarks, result, record, low_confidence_mm),
        figures(pictures),
        element("p", picture_note, "note") if pictures and picture_note else "",
        *_measurements(landmarks, result, scores, _person(sex, age), low_confidence_mm),
        *_asymmetry(landmarks, charts),
        *_landmarks(landmarks, low_confidence_mm),
        element("h2", "How this came about"),
        listing(_record_pairs(record)),
        element("p", RESEARCH_USE, "research"),
    ]
    body = "\n".join(part for part in parts if part)
    return page(f"{case}: landmarks and measurements of the face", body, {"case": case, **record})


def write_report(path: PathLike, text: str) -> None:
    """Write a report as a file that appears whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        File to write.
    text : str
        As :func:`report_html` makes it.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write(text)


def value_text(value: float, unit: str, decimals: int = 1) -> str:
    """Write a value with its unit, empty when it is missing.

    Parameters
    ----------
    value : float
        The value.
    unit : {"mm", "degree", "percent"}
        Its unit.
    decimals : int
        Digits after the point.

    Returns
    -------
    str
        For example ``112.3 mm``.

    Examples
    --------
    >>> value_text(112.34, "mm"), value_text(45.06, "degree"), value_text(float("nan"), "mm")
    ('112.3 mm', '45.1°', '')
    """
    text = number_text(value, decimals)
    return text + UNIT_SIGNS[unit] if text else ""


def z_text(z: float) -> str:
    """Write a z-score with its sign, empty when there is none.

    Parameters
    ----------
    z : float
        The score.

    Returns
    -------
    str
        For example ``+1.5``.

    Examples
    --------
    >>> z_text(1.5), z_text(-0.04), z_text(float("nan"))
    ('+1.5', '0.0', '')
    """
    text = number_text(z, 1)
    return f"+{text}" if text and float(text) > 0 else text


def verdict(result: Asymmetry, place: int) -> str:
    """Say in words whether a left-right difference exceeds the landmarks' own errors.

    Parameters
    ----------
    result : Asymmetry
        Of P pairs.
    place : int
        Which pair, from 0.

    Returns
    -------
    str
        ``distinguishable``, ``not distinguishable``, ``error not known`` or ``missing``.
    """
    if math.isnan(result.magnitude_mm[place]):
        return "missing"
    if math.isnan(result.expected_error_mm[place]):
        return "error not known"
    return "distinguishable" if result.distinguishable[place] else NOT_DISTINGUISHABLE


def flag_words(flags: Sequence[str]) -> str:
    """Say the flags of a measurement in words, see :meth:`Measurements.flags`."""
    return ", ".join(_FLAG_WORDS.get(flag, flag) for flag in flags)


def _person(sex: str, age: float | None) -> str:
    known = age is not None and math.isfinite(age) and age > 0.0
    return ", ".join(part for part in (sex, f"{age:g} years" if known else "") if part)


def _summary(landmarks: LandmarkSet, result: Measurements, record: dict[str, str], limit: float) -> list[str]:
    counts = [f"{landmarks.count(status)} {status}" for status in ("predicted", "corrected", "placed", "missing")]
    uncertain = [
        label
        for label, error in zip(landmarks.protocol.labels, landmarks.expected_error_mm)
        if error > limit and label not in _gone(landmarks)
    ]
    gone = _gone(landmarks)
    lines = [f"Landmarks: {', '.join(counts)}."]
    lines.append(f"{int((~result.missing).sum())} of {len(result.values)} measurements have a value.")
    parts = [element("h2", "Summary"), *(element("p", line) for line in lines)]
    if uncertain:
        parts.append(element("p", f"Expected error above {limit:g} mm: {', '.join(uncertain)}.", "alarm"))
    if gone:
        parts.append(element("p", f"Missing: {', '.join(gone)}.", "alarm"))
    if record.get("warnings"):
        parts.append(element("p", f"Warnings: {record['warnings']}", "alarm"))
    if record.get("registration_verdict"):
        parts.append(element("p", f"Alignment to the reference face: {record['registration_verdict']}."))
    if not landmarks.provenance.get("model_id"):
        parts.append(element("p", "No model is recorded: the landmarks were placed by a person or come from a file."))
    return parts


def _gone(landmarks: LandmarkSet) -> list[str]:
    return [label for label, missing in zip(landmarks.protocol.labels, landmarks.missing) if missing]


def _measurements(
    landmarks: LandmarkSet, result: Measurements, scores: Sequence[ZScore], person: str, limit: float
) -> list[str]:
    parts = [element("h2", "Measurements")]
    compared = any(not math.isnan(score.z) for score in scores)
    sources = list(dict.fromkeys((score.source, score.method) for score in scores if not math.isnan(score.z)))
    groups: dict[str, list[Row]] = {}
    for place, item in enumerate(landmarks.protocol.measurements):
        flags = result.flags(place, limit)
        cells = [item.id, value_text(result.values[place], item.unit) or _NOTHING]
        cells.append(value_text(result.expected_error[place], item.unit))
        if compared:
            score = scores[place]
            known = not math.isnan(score.z)
            cells.append(f"{z_text(score.z)} [{sources.index((score.source, score.method)) + 1}]" if known else "")
            norm = score.norm if known else None
            spread = f"{number_text(norm.mean, 1)} \u00b1 {number_text(norm.sd, 1)}" if norm else ""
            cells.append(f"{spread} ({norm.people})" if norm else "")
        mark = "gone" if "missing" in flags else "doubt" if "low-confidence" in flags else ""
        groups.setdefault(item.group or "other", []).append(Row((*cells, flag_words(flags)), mark))
    header = ["Measurement", "Value", "Expected error", *(["z", "Norm: mean \u00b1 SD"] if compared else []), "Remarks"]
    widths = (26, 12, 12, 10, 24, 16) if compared else (32, 16, 16, 36)
    for group, rows in groups.items():
        numbers = (1, 2, 3) if compared else (1, 2)
        parts += [element("h3", group[:1].upper() + group[1:]), table(header, rows, numbers=numbers, widths=widths)]
    parts.append(
        element(
            "p",
            _LEGEND.format(limit=f"{limit:g}"),
            "note",
        )
    )
    parts += _norm_notes(scores, sources, person)
    return parts


def _norm_notes(scores: Sequence[ZScore], sources: Sequence[tuple[str, str]], person: str) -> list[str]:
    if not any(score.norm or score.reason for score in scores):
        return []
    notes = []
    if sources:
        notes.append(f"z = (value \u2212 mean) / SD against the user's own norms{f' for: {person}' if person else ''}.")
        notes += [f"[{number}] {source}. Method: {method}." for number, (source, method) in enumerate(sources, start=1)]
    reasons: dict[str, int] = {}
    for score in scores:
        if score.reason and "does not have it" not in score.reason and math.isnan(score.z):
            reasons[score.reason] = reasons.get(score.reason, 0) + 1
    notes += [f"Without a z: {count}, {reason}." for reason, count in reasons.items()]
    if not notes:
        notes = ["The norms file has none of these measurements."]
    return [element("p", note, "note") for note in notes]


def _asymmetry(landmarks: LandmarkSet, charts: Sequence[Picture]) -> list[str]:
    result = asymmetry(landmarks)
    parts = [element("h2", "Left\u2013right asymmetry")]
    if result.failure:
        return [*parts, element("p", f"Not computed: {result.failure}.", "alarm")]
    axes = f" Axes: {result.axes_method}." if result.axes_method else " Vertical and forward could not be told apart."
    parts.append(
        element(
            "p",
            f"Plane: {METHOD} ({result.points_used} points, residual {number_text(result.residual_rms_mm, 1)} mm)."
            f"{axes} {_REFLECTED}",
            "note",
        )
    )
    parts.append(figures(charts))
    rows = []
    for place, (right, left) in enumerate(result.pairs):
        name = landmarks.protocol.landmarks[landmarks.protocol.index(right)].name
        numbers = [*result.components[place], result.magnitude_mm[place], result.expected_error_mm[place]]
        said = verdict(result, place)
        mark = {NOT_DISTINGUISHABLE: "same", "missing": "gone"}.get(said, "")
        cells = [number_text(value, 1) or _NOTHING for value in numbers]
        rows.append(Row((f"{name} ({right}, {left})", *cells, said), mark))
    header = ["Pair", "Outwards", "Upwards", "Forwards", "Total", "Expected error", "Against that error"]
    header[1:6] = [f"{name} [mm]" for name in header[1:6]]
    parts.append(table(header, rows, numbers=(1, 2, 3, 4, 5), widths=(27, 12, 11, 12, 9, 11, 18)))
    parts.append(
        element(
            "p",
            f"{NOT_DISTINGUISHABLE.capitalize()}: the difference is not larger than the landmarks' own errors would "
            "make of a symmetric face; it says nothing about this face.",
            "note",
        )
    )
    return parts


def _landmarks(landmarks: LandmarkSet, limit: float) -> list[str]:
    rows = []
    for place, landmark in enumerate(landmarks.protocol.landmarks):
        error = landmarks.expected_error_mm[place]
        mark = "gone" if landmarks.missing[place] else "doubt" if error > limit else ""
        bone = "palpated" if landmark.palpated else ""
        remarks = ", ".join(part for part in (bone, landmarks.notes[place]) if part)
        status = landmarks.status[place]
        rows.append(Row((landmark.label, landmark.name, landmark.side, status, number_text(error, 1), remarks), mark))
    header = ["Label", "Name", "Side", "Status", "Expected error [mm]", "Remarks"]
    return [element("h2", "Landmarks"), table(header, rows, numbers=(4,), widths=(9, 30, 10, 12, 13, 26))]


def _record_pairs(record: dict[str, str]) -> list[tuple[str, str]]:
    known = [key for key in _RECORD_WORDS if record.get(key)]
    others = [key for key in record if key not in _RECORD_WORDS and key not in _NOT_REPEATED and record[key]]
    counts = [
        (said, " ".join(filter(None, (record[f"{word}_points"], record[f"{word}_landmarks"]))))
        for word, said in _COUNTED.items()
    ]
    return [(_RECORD_WORDS.get(key, key), record[key]) for key in (*known, *others)] + counts
