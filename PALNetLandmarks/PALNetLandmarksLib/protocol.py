"""The landmark protocol: which landmarks there are, in which order, and what is measured of them.

A protocol is data: a folder with ``protocol.json``, ``landmarks.csv`` and ``measurements.csv``, or one JSON file that
holds all of it. A laboratory that uses other landmarks writes its own, and everything else follows.
"""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import PathLike, json_sha256, read_text
from .protocol_checks import (
    Problems,
    Row,
    checked_axes,
    checked_header,
    checked_landmarks,
    checked_measurements,
)
from .resources import resources_dir

DEFAULT_PROTOCOL = "face50"
_UNITS = {"distance": "mm", "angle": "degree", "point_to_line": "mm", "ratio_percent": "percent"}


@dataclass(frozen=True)
class Landmark:
    """One landmark of a protocol.

    Parameters
    ----------
    number : int
        Place in the protocol, from 1.
    label : str
        The only name used in files and tables, for example ``Ex_R``.
    abbreviation : str
        Name without the side; right and left landmark of a pair share it.
    name : str
        Full name.
    side : {"midline", "right", "left"}
        The subject's side.
    region : str
        Part of the face.
    palpated : bool
        A bony point without a feature on the skin.
    peripheral_ear : bool
        One of the ear points left out in the PAL-Net paper's table 7.
    definition : str
        Where it lies, in words.
    lafas_file_row : int
        Row, from 1, in a text file whose rows are not named: their numbers are sorted as text.
    intra_observer_mm, palnet_lafas_mean_mm, palnet_lafas_sd_mm : float, optional
        Published errors (table 3 of arXiv 2510.00910), mm.
    """

    number: int
    label: str
    abbreviation: str
    name: str
    side: str
    region: str = ""
    palpated: bool = False
    peripheral_ear: bool = False
    definition: str = ""
    lafas_file_row: int = 0
    intra_observer_mm: float | None = None
    palnet_lafas_mean_mm: float | None = None
    palnet_lafas_sd_mm: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One measurement of a protocol.

    Parameters
    ----------
    id : str
        Its name in tables.
    kind : {"distance", "angle", "point_to_line", "ratio_percent"}
        What is computed.
    points : tuple of str
        Labels. Distance: 2. Angle: 3, the vertex in the middle. Point to line: the point, then two on the line.
        Ratio: 4, the first distance divided by the second.
    group, source : str
        Heading in tables; where the measurement comes from.
    intra_observer, palnet_error, palnet_error_percent : float, optional
        Published figures (tables 4 and 5 of arXiv 2510.00910); not to be used as limits.
    """

    id: str
    kind: str
    points: tuple[str, ...]
    group: str = ""
    source: str = ""
    intra_observer: float | None = None
    palnet_error: float | None = None
    palnet_error_percent: float | None = None

    @property
    def unit(self) -> str:
        """Unit of the value: ``mm``, ``degree`` or ``percent``."""
        return _UNITS[self.kind]


@dataclass(frozen=True)
class Axis:
    """A way to find the forward direction: from the mean of some landmarks to the mean of others.

    Parameters
    ----------
    name : str
        What it is called, for example Frankfurt horizontal.
    start, end : tuple of str
        Labels; the direction runs from the mean of ``start`` to the mean of ``end``.
    """

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """An ordered set of landmarks and the measurements made of them.

    Parameters
    ----------
    id, version, title : str
        Name, version and one line of description.
    landmarks : tuple of Landmark
        In canonical order; L of them.
    measurements : tuple of Measurement
        M of them, possibly none.
    source : str
        Where it comes from.
    conventions : tuple of str
        What a reader has to know.
    anterior_axes : tuple of Axis
        Ways to find the forward direction, in order of preference.
    """

    id: str
    version: str
    title: str
    landmarks: tuple[Landmark, ...]
    measurements: tuple[Measurement, ...] = ()
    source: str = ""
    conventions: tuple[str, ...] = ()
    anterior_axes: tuple[Axis, ...] = ()

    def __hash__(self) -> int:
        """Hash the name and the counts."""
        # Cheap on purpose: compiled measurement plans are cached by protocol and looked up while points move.
        return hash((self.id, self.version, len(self.landmarks), len(self.measurements)))

    def __len__(self) -> int:
        """Give the number of landmarks."""
        return len(self.landmarks)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels in canonical order."""
        return tuple(landmark.label for landmark in self.landmarks)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {label: place for place, label in enumerate(self.labels)}

    def index(self, label: str) -> int:
        """Give the place of a label, from 0; KeyError when the protocol has no such landmark."""
        return self._index[label]

    def __contains__(self, label: object) -> bool:
        """Say whether there is a landmark with this label."""
        return label in self._index

    @functools.cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (right, left) of places, from 0, in the order of the right landmarks."""
        left = {mark.abbreviation: place for place, mark in enumerate(self.landmarks) if mark.side == "left"}
        return tuple(
            (place, left[mark.abbreviation]) for place, mark in enumerate(self.landmarks) if mark.side == "right"
        )

    @functools.cached_property
    def midline(self) -> tuple[int, ...]:
        """Places, from 0, of the midline landmarks."""
        return tuple(place for place, mark in enumerate(self.landmarks) if mark.side == "midline")

    @functools.cached_property
    def mirror(self) -> np.ndarray:
        """Permutation (L,) int that swaps right and left: ``positions[mirror]`` are those of the mirrored face."""
        permutation = np.arange(len(self.landmarks))
        for right, left in self.pairs:
            permutation[right], permutation[left] = left, right
        permutation.setflags(write=False)
        return permutation

    @functools.cached_property
    def palpated(self) -> np.ndarray:
        """Mask (L,) bool of the landmarks without a feature on the skin."""
        mask = np.array([landmark.palpated for landmark in self.landmarks], dtype=bool)
        mask.setflags(write=False)
        return mask

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of :meth:`to_dict` as JSON with sorted keys and without spaces, in ASCII."""
        return json_sha256(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Give the protocol as plain data for JSON; :meth:`from_dict` makes it again."""
        return {
            "id": self.id,
            "version": self.version,
            "title": self.title,
            "source": self.source,
            "conventions": list(self.conventions),
            "landmarks": [asdict(landmark) for landmark in self.landmarks],
            "measurements": [{**asdict(item), "points": list(item.points)} for item in self.measurements],
            "anterior_axes": [
                {"name": axis.name, "from": list(axis.start), "to": list(axis.end)} for axis in self.anterior_axes
            ],
        }

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "") -> Protocol:
        """Make a protocol of plain data.

        Parameters
        ----------
        data : mapping
            As in the JSON schema, both tables as lists.
        name : str
            What to call it in errors.

        Returns
        -------
        Protocol
            The checked protocol.

        Raises
        ------
        InputError
            With every problem and its place, when the data are not a protocol.
        """
        problems = Problems()
        if not isinstance(data, Mapping):
            problems.add("", "it is not a JSON object")
            problems.raise_if_any(name)
        landmarks = _rows(data.get("landmarks"), "landmark", problems)
        measurements = _rows(data.get("measurements", []), "measurement", problems)
        return _build(data, landmarks, measurements, problems, name)


def load_protocol(path: PathLike | None = None) -> Protocol:
    """Load a landmark protocol.

    Parameters
    ----------
    path : str or PathLike, optional
        A folder with ``protocol.json`` and its tables, or a JSON file. Default: the 50 landmarks of the face.

    Returns
    -------
    Protocol
        The checked protocol.

    Raises
    ------
    InputError
        When a file cannot be read, or with every problem in it.

    Examples
    --------
    >>> protocol = load_protocol()
    >>> len(protocol.landmarks), len(protocol.measurements), len(protocol.pairs)
    (50, 93, 19)
    """
    if path is None:
        return _bundled_protocol(str(resources_dir() / "Protocols" / DEFAULT_PROTOCOL))
    return _load(Path(path))


@functools.lru_cache(maxsize=4)
def _bundled_protocol(folder: str) -> Protocol:
    return _load(Path(folder))


def _load(path: Path) -> Protocol:
    file = path / "protocol.json" if path.is_dir() else path
    try:
        data = json.loads(read_text(file, what="landmark protocol"))
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError of another kind
        raise InputError(
            f"{file.name} is not valid JSON ({error}).", "Correct it at the place named.", code="protocol.invalid"
        ) from error
    problems = Problems()
    if not isinstance(data, Mapping):
        problems.add("", "it is not a JSON object")
        problems.raise_if_any(file.name)
    tables: list[list[Row]] = []
    for key in ("landmarks", "measurements"):
        value = data.get(key, [])
        if isinstance(value, str):
            tables.append(_csv_rows(file.parent, value, problems))
        else:
            tables.append(_rows(value, key[:-1], problems))
    return _build(data, tables[0], tables[1], problems, path.name)


def _build(
    data: Mapping[str, Any], landmarks: list[Row], measurements: list[Row], problems: Problems, name: str
) -> Protocol:
    header = checked_header(data, problems)
    marks = checked_landmarks(landmarks, problems)
    labels = {mark["label"] for mark in marks}
    items = checked_measurements(measurements, labels, problems)
    axes = checked_axes(data.get("anterior_axes", []), labels, problems)
    problems.raise_if_any(name)
    return Protocol(
        landmarks=tuple(Landmark(**mark) for mark in marks),
        measurements=tuple(Measurement(**item) for item in items),
        anterior_axes=tuple(Axis(**axis) for axis in axes),
        **header,
    )


def _rows(value: Any, what: str, problems: Problems) -> list[Row]:
    if not isinstance(value, (list, tuple)):
        problems.add("", f"'{what}s' must be a list")
        return []
    rows: list[Row] = []
    for place, row in enumerate(value, start=1):
        if isinstance(row, Mapping):
            rows.append((f"{what} {place}", row))
        else:
            problems.add(f"{what} {place}", "it is not a JSON object")
    return rows


def _csv_rows(folder: Path, name: str, problems: Problems) -> list[Row]:
    """Read a table that lies beside ``protocol.json``; a name that leads elsewhere is refused."""
    if Path(name).name != name or "\\" in name or not name.lower().endswith(".csv"):
        problems.add("", f"'{name}' must be the name of a CSV file in the same folder")
        return []
    reader = csv.reader(io.StringIO(read_text(folder / name, what="CSV table")), strict=True)
    rows: list[Row] = []
    try:
        header = [column.strip() for column in next(reader, [])]
        if len(set(header)) != len(header):
            problems.add(f"{name} line 1", "a column is there twice")
        for cells in reader:
            where = f"{name} line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.add(where, f"{len(cells)} cells where the header has {len(header)}")
                continue
            rows.append((where, dict(zip(header, cells))))
    except csv.Error as error:
        problems.add(f"{name} line {reader.line_num}", str(error))
    return rows
