"""What an exported file says of itself: how it came about, and the landmarks or values that it holds."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import read_text
from PALNetLandmarksLib.landmark_files import FORMATS, read_landmark_file
from PALNetLandmarksLib.landmarks import RECORD_NAME, LandmarkSet
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import parse_number, parse_table

READABLE = (*FORMATS, ".png", ".html")
_META = re.compile(f'<meta name="{RECORD_NAME}" content="([^"]*)">')
_VALUE = re.compile(r"(.+) \[(mm|degree|percent)\]")


@dataclass(frozen=True)
class Trace:
    """What a file says of one case.

    Parameters
    ----------
    record : mapping of str to str
        How the landmarks came about.
    landmarks : LandmarkSet or None
        In a landmark file.
    values : mapping of str to float
        Measurements by id, in a table of them; NaN where missing.
    """

    record: Mapping[str, str]
    landmarks: LandmarkSet | None = None
    values: Mapping[str, float] | None = None

    @property
    def by_hand(self) -> tuple[str, ...]:
        """Labels of the landmarks that a person corrected or placed."""
        if self.landmarks is not None:
            named = zip(self.landmarks.protocol.labels, self.landmarks.status, strict=True)
            return tuple(label for label, status in named if status in ("corrected", "placed"))
        words = (self.record.get(f"{status}_landmarks", "") for status in ("corrected", "placed"))
        return tuple(label for text in words for label in text.split())


def read_traces(path: Path, protocols: Sequence[Protocol]) -> dict[str, Trace]:
    """Read what a file says of each of its cases.

    Parameters
    ----------
    path : Path
        One that ends in one of `READABLE`.
    protocols : sequence of Protocol
        Those that its landmarks may be of; the one that fits is taken.

    Returns
    -------
    dict of str to Trace
        By case; empty for a table that is none of ours.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    name = path.name.lower()
    if name.endswith(".png"):
        return _recorded(_png_record(path))
    if name.endswith(".html"):
        found = _META.search(read_text(path, what="report"))
        return _recorded(html.unescape(found.group(1)) if found else "")
    if name.endswith(".csv"):
        traces = _table(path)
        if traces is not None:
            return traces
    return _landmarks(path, protocols)


def _recorded(text: str) -> dict[str, Trace]:
    """Read a record written as JSON; nothing where it is none."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    said = {str(key): value for key, value in record.items() if isinstance(value, str)}
    return {said.pop("case", "case"): Trace(said)}


def _png_record(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            chunks: Mapping[str, Any] = getattr(picture, "text", {})
            return str(chunks.get(RECORD_NAME, ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path.name} is not a PNG picture.", "Check that the file is whole.", code="verify.content"
        ) from error


def _table(path: Path) -> dict[str, Trace] | None:
    """Read a table of measurements or asymmetry; None for a table of landmarks."""
    header, rows = parse_table(read_text(path, what="table"), path.name)
    if {"label", "x", "y", "z"} <= set(header) or any(re.fullmatch(r".+_[xyz]", column) for column in header):
        return None
    if "exported_utc" not in header:
        return {}
    traces: dict[str, Trace] = {}
    values: dict[str, dict[str, float]] = {}
    wide = {column: found.group(1) for column in header if (found := _VALUE.fullmatch(column))}
    for number, row in rows:
        case, where = row.get("case") or "case", f"{path.name}: line {number}"
        known = values.setdefault(case, {})
        if "value" in row and "id" in row:
            known[row["id"]] = parse_number(row["value"], where)
        known.update((key, parse_number(row[column], where)) for column, key in wide.items())
        traces.setdefault(case, Trace(row, values=known if wide or "value" in row else None))
    return traces


def _landmarks(path: Path, protocols: Sequence[Protocol]) -> dict[str, Trace]:
    refused: InputError | None = None
    best = None
    for protocol in protocols:
        try:
            content = read_landmark_file(path, protocol)
        except InputError as error:
            refused = refused or error
            continue
        fits = not any(text.startswith("made with protocol") for text in content.warnings)
        best = content if fits else best or content
        if fits:
            break
    if best is None:
        assert refused is not None
        raise refused
    return {case: Trace(landmarks.provenance, landmarks) for case, landmarks in best.cases.items()}
