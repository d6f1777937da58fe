"""A set of landmark positions on one scan, with what is known of each: predicted, corrected, placed or missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import numpy as np

from . import __version__
from .protocol import Protocol

#: predicted by a model; corrected: predicted, then moved by a person; placed by a person; missing: no position.
STATUSES = ("predicted", "corrected", "placed", "missing")
COORDINATE_SYSTEMS = ("LPS", "RAS")

#: What may be recorded about how a set came about. The list is closed on purpose: nothing else is written to a file,
#: so no path and no name of a person can get into an export by accident.
PROVENANCE_KEYS = (
    "model_id",
    "model_version",
    "model_sha256",
    "bundle_sha256",
    "model_training_data",
    "software_version",
    "libraries",
    "created_utc",
    "scan_sha256",
    "mesh_sha256",
    "scan_unit",
    "scan_scale_to_mm",
    "registration_verdict",
    "registration_fitness",
    "registration_rms_mm",
    "registration_score",
    "registration_attempts",
    "projection",
    "settings",
    "device",
    "processor",
    "threads",
    "seed",
    "start_points",
    "prediction_sha256",
    "warnings",
)
#: Columns that every export has, in this order; further recorded keys follow.
RECORD_KEYS = (
    "units",
    "coordinate_system",
    "protocol_id",
    "protocol_version",
    "protocol_sha256",
    "model_id",
    "model_sha256",
    "software_version",
    "corrected_points",
    "placed_points",
    "missing_points",
    "corrected_landmarks",
    "placed_landmarks",
    "missing_landmarks",
    "created_utc",
    "exported_utc",
)

#: What the record is called in reports (HTML) and pictures (PNG).
RECORD_NAME = "palnet-landmarks-record"

_DESCRIPTION_ERROR = re.compile(r"expected error (\d+(?:\.\d+)?) mm")


@dataclass(frozen=True, eq=False)
class LandmarkSet:
    """Positions of a protocol's landmarks on one scan.

    Parameters
    ----------
    protocol : Protocol
        The landmarks, L of them.
    positions : (L, 3) float
        Millimetres; a missing landmark is a row of NaN, never zeros.
    status : tuple of str
        One of :data:`STATUSES` for each landmark.
    expected_error_mm : (L,) float, optional
        Expected distance from the true place, mm; NaN where unknown (the default).
    notes : tuple of str, optional
        For example why a landmark is missing; empty text by default.
    coordinate_system : {"LPS", "RAS"}
        Frame of the positions. Files of scans are read as LPS, as 3D Slicer does.
    provenance : mapping of str to str
        How the set came about; keys from :data:`PROVENANCE_KEYS` only.

    Raises
    ------
    ValueError
        When shapes, statuses and positions contradict each other.
    """

    protocol: Protocol
    positions: np.ndarray
    status: tuple[str, ...]
    expected_error_mm: np.ndarray = None  # type: ignore[assignment]
    notes: tuple[str, ...] = ()
    coordinate_system: str = "LPS"
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the parts against each other and make the arrays read-only."""
        count = len(self.protocol)
        positions = np.array(self.positions, dtype=np.float64)
        if positions.shape != (count, 3):
            raise ValueError(f"positions must have shape ({count}, 3), not {positions.shape}")
        errors = np.full(count, np.nan) if self.expected_error_mm is None else np.array(self.expected_error_mm, float)
        if errors.shape != (count,):
            raise ValueError(f"expected_error_mm must have shape ({count},), not {errors.shape}")
        status = tuple(self.status)
        notes = tuple(self.notes) or ("",) * count
        if len(status) != count or len(notes) != count:
            raise ValueError(f"status and notes must have {count} entries")
        if not set(status) <= set(STATUSES):
            raise ValueError(f"status must be one of {STATUSES}, not {sorted(set(status) - set(STATUSES))}")
        if self.coordinate_system not in COORDINATE_SYSTEMS:
            raise ValueError(f"coordinate_system must be one of {COORDINATE_SYSTEMS}")
        if np.isinf(positions).any() or np.isinf(errors).any() or (errors < 0).any():
            raise ValueError("positions and expected errors must not be infinite, errors not negative")
        absent = np.isnan(positions).any(axis=1)
        if not np.array_equal(absent, np.array([text == "missing" for text in status])):
            raise ValueError("exactly the landmarks without a position must have the status 'missing'")
        positions[absent] = np.nan
        positions.setflags(write=False)
        errors.setflags(write=False)
        unknown = sorted(set(self.provenance) - set(PROVENANCE_KEYS))
        if unknown:
            raise ValueError(f"unknown provenance {unknown}: add to PROVENANCE_KEYS what holds nothing private")
        # What is empty is not known: it is left out, so that a set read from a file equals the one that was written.
        said = {key: _one_line(self.provenance.get(key, "")) for key in PROVENANCE_KEYS}
        provenance = {key: text for key, text in said.items() if text}
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "expected_error_mm", errors)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "notes", tuple(_one_line(note) for note in notes))
        object.__setattr__(self, "provenance", MappingProxyType(provenance))

    def __getstate__(self) -> dict[str, Any]:
        """Give the parts for pickling and deep copies."""
        # A mapping proxy cannot be pickled or copied deeply; processes and undo stacks need both.
        return {**self.__dict__, "provenance": dict(self.provenance)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the parts back."""
        self.__dict__.update({**state, "provenance": MappingProxyType(state["provenance"])})

    @classmethod
    def from_positions(
        cls,
        protocol: Protocol,
        positions: Any,
        status: str = "placed",
        *,
        expected_error_mm: np.ndarray | None = None,
        notes: Sequence[str] = (),
        coordinate_system: str = "LPS",
        provenance: Mapping[str, str] | None = None,
    ) -> LandmarkSet:
        """Make a set in which every landmark has the same status, save those without a position.

        Parameters
        ----------
        protocol : Protocol
            The landmarks, L of them.
        positions : (L, 3) float
            Millimetres; rows with NaN become missing.
        status : str
            Status of the landmarks that have a position.
        expected_error_mm, notes, coordinate_system, provenance
            As in the class.

        Returns
        -------
        LandmarkSet
            The new set.
        """
        array = np.array(positions, dtype=np.float64)
        if array.shape != (len(protocol), 3):
            raise ValueError(f"positions must have shape ({len(protocol)}, 3), not {array.shape}")
        absent = np.asarray(np.isnan(array).any(axis=1))
        return cls(
            protocol,
            array,
            tuple("missing" if gone else status for gone in absent),
            expected_error_mm=expected_error_mm,  # type: ignore[arg-type]
            notes=tuple(notes),
            coordinate_system=coordinate_system,
            provenance=provenance or {},
        )

    @property
    def missing(self) -> np.ndarray:
        """Mask (L,) bool of the landmarks without a position."""
        return np.asarray(np.isnan(self.positions[:, 0]))

    def count(self, status: str) -> int:
        """Give the number of landmarks with a status."""
        return self.status.count(status)

    def _labels(self, status: str) -> str:
        return " ".join(label for label, said in zip(self.protocol.labels, self.status) if said == status)

    def position(self, label: str) -> np.ndarray:
        """Give the position (3,) of a landmark, mm; NaN when it is missing."""
        return self.positions[self.protocol.index(label)]

    def in_coordinate_system(self, coordinate_system: str) -> LandmarkSet:
        """Give the same points in the other frame.

        LPS and RAS differ by half a turn about the third axis: x and y change their signs.

        Parameters
        ----------
        coordinate_system : {"LPS", "RAS"}
            The frame wanted.

        Returns
        -------
        LandmarkSet
            Positions in that frame; the set itself when it is in it already.
        """
        if coordinate_system not in COORDINATE_SYSTEMS:
            raise ValueError(f"coordinate_system must be one of {COORDINATE_SYSTEMS}")
        if coordinate_system == self.coordinate_system:
            return self
        return replace(self, positions=self.positions * (-1.0, -1.0, 1.0), coordinate_system=coordinate_system)

    def with_point(
        self, label: str, position: Any, status: str, *, note: str = "", expected_error_mm: float = np.nan
    ) -> LandmarkSet:
        """Give a copy in which one landmark has another position.

        Parameters
        ----------
        label : str
            The landmark.
        position : (3,) float or None
            Millimetres in the set's frame; None makes it missing.
        status : str
            Its new status; ``missing`` goes with None.
        note : str
            Its new note.
        expected_error_mm : float
            Its new expected error, mm; unknown by default, as nobody knows how well a person placed it.

        Returns
        -------
        LandmarkSet
            The changed copy.
        """
        place = self.protocol.index(label)
        positions, errors = self.positions.copy(), self.expected_error_mm.copy()
        positions[place] = np.nan if position is None else position
        errors[place] = expected_error_mm
        statuses, notes = list(self.status), list(self.notes)
        statuses[place], notes[place] = status, note
        return replace(self, positions=positions, expected_error_mm=errors, status=tuple(statuses), notes=tuple(notes))

    def description(self, label: str) -> str:
        """Say in words what is known of a landmark, as written into Slicer's description of the point.

        Parameters
        ----------
        label : str
            The landmark.

        Returns
        -------
        str
            For example ``predicted; expected error 1.8 mm`` or ``missing: no surface within 8 mm``;
            :func:`parse_description` reads it again.
        """
        place = self.protocol.index(label)
        status, note, error = self.status[place], self.notes[place], self.expected_error_mm[place]
        if status == "missing":
            return f"missing: {note}" if note else "missing"
        parts = [status]
        if np.isfinite(error):
            parts.append(f"expected error {error:.1f} mm")
        if note:
            parts.append(f"note: {note}")
        return "; ".join(parts)

    def record(self, now: datetime | None = None) -> dict[str, str]:
        """Say how the set came about: what every export carries.

        Parameters
        ----------
        now : datetime, optional
            Time of the export, with its time zone; default: now.

        Returns
        -------
        dict of str to str
            :data:`RECORD_KEYS` in their order, then the further provenance that is known.
        """
        own = {
            "units": "mm",
            "coordinate_system": self.coordinate_system,
            "protocol_id": self.protocol.id,
            "protocol_version": self.protocol.version,
            "protocol_sha256": self.protocol.sha256,
            "model_id": self.provenance.get("model_id", ""),
            "model_sha256": self.provenance.get("model_sha256", ""),
            "software_version": self.provenance.get("software_version", f"PALNetLandmarks {__version__}"),
            "corrected_points": str(self.count("corrected")),
            "placed_points": str(self.count("placed")),
            "missing_points": str(self.count("missing")),
            "corrected_landmarks": self._labels("corrected"),
            "placed_landmarks": self._labels("placed"),
            "missing_landmarks": self._labels("missing"),
            "created_utc": self.provenance.get("created_utc", ""),
            "exported_utc": utc_text(now),
        }
        return {**own, **{key: value for key, value in self.provenance.items() if key not in own}}


def parse_description(text: str) -> tuple[str, float, str]:
    """Read a point's description as :meth:`LandmarkSet.description` writes it.

    Parameters
    ----------
    text : str
        Description of a point; anything a person wrote is kept as the note.

    Returns
    -------
    status : str
        One of :data:`STATUSES`; empty when the text does not say.
    expected_error_mm : float
        NaN when the text does not say.
    note : str
        The rest.

    Examples
    --------
    >>> parse_description("predicted; expected error 1.8 mm; note: hair")
    ('predicted', 1.8, 'hair')
    >>> parse_description("missing: no surface within 8 mm")
    ('missing', nan, 'no surface within 8 mm')
    """
    head, colon, reason = text.partition(":")
    if head.strip().lower() == "missing":
        return "missing", float("nan"), reason.strip() if colon else ""
    parts = text.split("; ", 2)
    status = parts[0].strip().lower()
    if status not in STATUSES:
        return "", float("nan"), text.strip()
    error = _DESCRIPTION_ERROR.fullmatch(parts[1].strip()) if len(parts) > 1 else None
    rest = "; ".join(parts[2:] if error else parts[1:])
    note = rest[len("note: ") :] if rest.startswith("note: ") else rest
    return status, float(error.group(1)) if error else float("nan"), note.strip()


def utc_text(now: datetime | None = None) -> str:
    """Write a time in UTC to the second, like ``2026-01-31T12:00:00Z``.

    Parameters
    ----------
    now : datetime, optional
        With its time zone; default: the present time.

    Returns
    -------
    str
        ISO 8601.
    """
    moment = datetime.now(timezone.utc) if now is None else now.astimezone(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _one_line(text: Any) -> str:
    """Keep text on one line, as tables and descriptions need it."""
    return " ".join(str(text).split())
