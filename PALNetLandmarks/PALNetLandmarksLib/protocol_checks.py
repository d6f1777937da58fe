"""Checks of a landmark protocol given as plain data: every problem is collected and named with its place.

Nothing but the standard library is needed, so that a protocol can be checked inside 3D Slicer. The JSON schema beside
the protocols says the same for editors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError

SIDES = ("midline", "right", "left")
#: Number of landmarks that each kind of measurement needs.
POINTS_OF_KIND: dict[str, int] = {"distance": 2, "angle": 3, "point_to_line": 3, "ratio_percent": 4}
MAX_LANDMARKS = 1000
MAX_MEASUREMENTS = 10_000

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?")
_HEADER_KEYS = {
    "$schema", "id", "version", "title", "source", "conventions", "landmarks", "measurements", "anterior_axes",
}  # fmt: skip
_LANDMARK_NUMBERS = ("intra_observer_mm", "palnet_lafas_mean_mm", "palnet_lafas_sd_mm")
_LANDMARK_KEYS = {
    "number", "label", "abbreviation", "name", "side", "region", "palpated", "peripheral_ear", "lafas_file_row",
    "definition", *_LANDMARK_NUMBERS,
}  # fmt: skip
_MEASUREMENT_NUMBERS = ("intra_observer", "palnet_error", "palnet_error_percent")
_MEASUREMENT_KEYS = {"id", "kind", "points", "group", "source", *_MEASUREMENT_NUMBERS}
_TRUE, _FALSE = {"1", "true", "yes"}, {"", "0", "false", "no"}

#: A row of a table and where it stands, for messages.
Row = tuple[str, Mapping[str, Any]]


_MOST_PROBLEMS, _LONGEST_PROBLEM = 12, 250


class Problems:
    """Collects what is wrong with a protocol, to be told all at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Note one problem at one place."""
        self.texts.append(f"{where}: {text}" if where else text)

    def raise_if_any(self, name: str) -> None:
        """Raise an :class:`InputError` that lists all problems, if there are any."""
        if self.texts:
            count = f"{len(self.texts)} problem" + ("s" if len(self.texts) > 1 else "")
            # One wrong column is wrong in each row: the first lines say what it is.
            listed = [text if len(text) <= _LONGEST_PROBLEM else text[:_LONGEST_PROBLEM] + "…" for text in self.texts]
            if len(listed) > _MOST_PROBLEMS:
                listed = [*listed[:_MOST_PROBLEMS], f"and {len(listed) - _MOST_PROBLEMS} more"]
            raise InputError(
                f"The landmark protocol {name} has {count}: {'; '.join(listed)}.",
                "Correct the protocol's files; Resources/Protocols/protocol.schema.json says what each field may hold.",
                code="protocol.invalid",
            )


def checked_header(data: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Check identifier, version, title, source and conventions.

    Parameters
    ----------
    data : mapping
        The protocol as read from JSON.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    dict
        The checked values; empty text where a value is wrong.
    """
    for key in sorted(set(data) - _HEADER_KEYS):
        problems.add("", f"the field '{key}' is unknown")
    header: dict[str, Any] = {}
    for key, pattern, form in (("id", _ID, "small letters, digits, . _ -"), ("version", _VERSION, "like 1.0.0")):
        value = data.get(key, "")
        if not isinstance(value, str) or not pattern.fullmatch(value):
            problems.add("", f"'{key}' must be text ({form})")
            value = ""
        header[key] = value
    for key in ("title", "source"):
        value = data.get(key, "")
        if not isinstance(value, str) or (key == "title" and not value.strip()):
            problems.add("", f"'{key}' must be text")
            value = ""
        header[key] = value
    conventions = data.get("conventions", [])
    if not isinstance(conventions, (list, tuple)) or not all(isinstance(text, str) for text in conventions):
        problems.add("", "'conventions' must be a list of texts")
        conventions = []
    header["conventions"] = tuple(conventions)
    return header


def checked_landmarks(rows: Sequence[Row], problems: Problems) -> list[dict[str, Any]]:
    """Check the table of landmarks and fill in defaults.

    Parameters
    ----------
    rows : sequence of (where, row)
        Values are text (from CSV) or JSON values.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    list of dict
        One per row, with every field of :class:`~PALNetLandmarksLib.protocol.Landmark`.
    """
    if not 1 <= len(rows) <= MAX_LANDMARKS:
        problems.add("", f"there must be 1 to {MAX_LANDMARKS} landmarks, not {len(rows)}")
        return []
    result = [_landmark(where, row, place, problems) for place, (where, row) in enumerate(rows, start=1)]
    _check_unique(rows, [item["label"] for item in result], "label", problems)
    _check_pairs(rows, result, problems)
    given = [item["lafas_file_row"] for item in result]
    if all(row is None for row in given):
        by_text = sorted(range(1, len(rows) + 1), key=str)
        for item in result:
            item["lafas_file_row"] = by_text.index(item["number"]) + 1 if item["number"] in by_text else item["number"]
    elif sorted(row or 0 for row in given) != list(range(1, len(rows) + 1)):
        problems.add("", f"'lafas_file_row' must hold each of 1 to {len(rows)} once, or be left empty everywhere")
    return result


def _landmark(where: str, row: Mapping[str, Any], place: int, problems: Problems) -> dict[str, Any]:
    _unknown_fields(where, row, _LANDMARK_KEYS, problems)
    label = _text(where, row, "label", problems)
    if not _LABEL.fullmatch(label):
        problems.add(where, f"the label '{label}' must start with a letter and hold only letters, digits, _ and .")
    side = _text(where, row, "side", problems)
    if side not in SIDES:
        problems.add(where, f"the side '{side}' must be midline, right or left")
    number = _integer(where, row, "number", problems)
    if number not in (None, place):
        problems.add(where, f"the number is {number} but the row is the {place}. of the table")
    return {
        "number": place,
        "label": label,
        "abbreviation": _text(where, row, "abbreviation", problems) or re.sub(r"_[RL]$", "", label),
        "name": _text(where, row, "name", problems) or label,
        "side": side,
        "region": _text(where, row, "region", problems),
        "palpated": _flag(where, row, "palpated", problems),
        "peripheral_ear": _flag(where, row, "peripheral_ear", problems),
        "definition": _text(where, row, "definition", problems),
        "lafas_file_row": _integer(where, row, "lafas_file_row", problems),
        **{key: _number(where, row, key, problems) for key in _LANDMARK_NUMBERS},
    }


def _check_pairs(rows: Sequence[Row], landmarks: Sequence[Mapping[str, Any]], problems: Problems) -> None:
    """Every right landmark needs one left landmark of the same abbreviation, and the other way round."""
    places: dict[tuple[str, str], str] = {}
    for (where, _), item in zip(rows, landmarks):
        key = (item["abbreviation"], item["side"])
        if key in places:
            problems.add(where, f"{item['side']} '{item['abbreviation']}' is there already ({places[key]})")
        places[key] = where
    for (abbreviation, side), where in places.items():
        other = {"right": "left", "left": "right"}.get(side)
        if other and (abbreviation, other) not in places:
            problems.add(where, f"{side} '{abbreviation}' has no {other} partner with the same abbreviation")


def checked_measurements(rows: Sequence[Row], labels: set[str], problems: Problems) -> list[dict[str, Any]]:
    """Check the table of measurements.

    Parameters
    ----------
    rows : sequence of (where, row)
        Values are text (from CSV) or JSON values.
    labels : set of str
        The protocol's landmarks.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    list of dict
        One per row, with every field of :class:`~PALNetLandmarksLib.protocol.Measurement`.
    """
    if len(rows) > MAX_MEASUREMENTS:
        problems.add("", f"there may be at most {MAX_MEASUREMENTS} measurements, not {len(rows)}")
        return []
    result = [_measurement(where, row, labels, problems) for where, row in rows]
    _check_unique(rows, [item["id"] for item in result], "id", problems)
    return result


def _measurement(where: str, row: Mapping[str, Any], labels: set[str], problems: Problems) -> dict[str, Any]:
    _unknown_fields(where, row, _MEASUREMENT_KEYS, problems)
    identifier = _text(where, row, "id", problems)
    if not identifier or not identifier.isprintable():
        problems.add(where, "the measurement needs a printable 'id'")
    kind = _text(where, row, "kind", problems)
    points = _points(row.get("points"), kind)
    if kind not in POINTS_OF_KIND:
        problems.add(where, f"the kind '{kind}' must be one of {', '.join(POINTS_OF_KIND)}")
    elif points is None or len(points) != POINTS_OF_KIND[kind]:
        form = "two labels / two labels" if kind == "ratio_percent" else f"{POINTS_OF_KIND[kind]} labels"
        problems.add(where, f"a {kind} needs {form}, not '{row.get('points')}'")
        points = None
    unknown = [label for label in points or () if label not in labels]
    if unknown:
        problems.add(where, f"unknown landmark {', '.join(sorted(set(unknown)))}")
    groups = [(points or ())[:2], (points or ())[2:]] if kind == "ratio_percent" else [points or ()]
    if any(len(set(group)) != len(group) for group in groups):
        problems.add(where, f"'{' '.join(points or ())}' names a landmark twice")
    return {
        "id": identifier,
        "kind": kind,
        "points": points or (),
        "group": _text(where, row, "group", problems),
        "source": _text(where, row, "source", problems),
        **{key: _number(where, row, key, problems) for key in _MEASUREMENT_NUMBERS},
    }


def _points(value: Any, kind: str) -> tuple[str, ...] | None:
    """Split ``A B`` or ``A B / C D``, or take a list; None when it is neither."""
    if isinstance(value, str):
        halves = [tuple(half.split()) for half in value.split("/")]
        if kind == "ratio_percent":
            return halves[0] + halves[1] if [len(half) for half in halves] == [2, 2] else None
        return halves[0] if len(halves) == 1 else None
    if isinstance(value, (list, tuple)) and all(isinstance(label, str) for label in value):
        return tuple(value)
    return None


def checked_axes(data: Any, labels: set[str], problems: Problems) -> list[dict[str, Any]]:
    """Check the list of ways to find the forward direction.

    Parameters
    ----------
    data : object
        Value of ``anterior_axes``.
    labels : set of str
        The protocol's landmarks.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    list of dict
        With ``name``, ``start`` and ``end``.
    """
    result: list[dict[str, Any]] = []
    if not isinstance(data, (list, tuple)):
        problems.add("", "'anterior_axes' must be a list")
        return result
    for place, axis in enumerate(data, start=1):
        where = f"anterior_axes {place}"
        if not isinstance(axis, Mapping) or set(axis) != {"name", "from", "to"} or not isinstance(axis["name"], str):
            problems.add(where, "needs 'name', 'from' and 'to'")
            continue
        ends = []
        for key in ("from", "to"):
            end = axis[key]
            is_list = isinstance(end, (list, tuple)) and len(end) > 0
            if not is_list or not all(isinstance(label, str) and label in labels for label in end):
                problems.add(where, f"'{key}' must be a list of this protocol's labels")
                end = ()
            ends.append(tuple(end))
        result.append({"name": axis["name"], "start": ends[0], "end": ends[1]})
    return result


def _check_unique(rows: Sequence[Row], values: Sequence[str], field: str, problems: Problems) -> None:
    seen: dict[str, str] = {}
    for (where, _), value in zip(rows, values):
        # Labels that differ only in case would be mixed up by people and by some file readers.
        key = value.casefold()
        if value and key in seen:
            problems.add(where, f"the {field} '{value}' is there already ({seen[key]})")
        seen.setdefault(key, where)


def _unknown_fields(where: str, row: Mapping[str, Any], known: set[str], problems: Problems) -> None:
    """Name misspelt columns; those that begin with ``x_`` are the laboratory's own."""
    for key in row:
        if key not in known and not str(key).startswith("x_"):
            problems.add(where, f"the column '{key}' is unknown (a column of your own must begin with x_)")


def _text(where: str, row: Mapping[str, Any], key: str, problems: Problems) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        problems.add(where, f"'{key}' must be text")
        return ""
    return value.strip()


def _flag(where: str, row: Mapping[str, Any], key: str, problems: Problems) -> bool:
    text = str(row.get(key, "")).strip().lower()
    if text not in _TRUE | _FALSE:
        problems.add(where, f"'{key}' must be 0 or 1, not '{text}'")
    return text in _TRUE


def _integer(where: str, row: Mapping[str, Any], key: str, problems: Problems) -> int | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}", text):
        problems.add(where, f"'{key}' must be a whole number, not '{text}'")
        return None
    return int(text)


def _number(where: str, row: Mapping[str, Any], key: str, problems: Problems) -> float | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        problems.add(where, f"'{key}' must be a number of at least 0, not '{value}'")
        return None
    return number
