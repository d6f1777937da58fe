"""A batch's output folder as the panel sees it: cases, how they ended, and which a person has looked through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from PALNetLandmarksLib.batch_tables import KEY_FILE, LANDMARKS, REVIEW_FILE, STATUS_FILE
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.files import read_text
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet, utc_text
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import parse_table, write_table


@dataclass(frozen=True)
class BatchCase:
    """One case of a batch.

    Parameters
    ----------
    case : str
        Its name.
    scan : str
        Its scan, relative to the folder of scans.
    status : str
        ``waiting``, ``done`` or ``failed``.
    message, hint : str
        Why it failed.
    verdict : str
        Of the registration: ``good``, ``doubtful`` or empty.
    missing : str
        Number of landmarks without a position.
    reviewed : str
        When a person looked it through, UTC; empty if nobody has.
    """

    case: str
    scan: str
    status: str = "waiting"
    message: str = ""
    hint: str = ""
    verdict: str = ""
    missing: str = ""
    reviewed: str = ""

    def after(self, event: Mapping[str, Any]) -> BatchCase:
        """Give the case as the batch says that it ended."""
        return replace(
            self,
            status=str(event.get("status", self.status)),
            message=str(event.get("message", "")),
            hint=str(event.get("hint", "")),
            verdict=str(event.get("verdict", "")),
            missing=str(event.get("missing_points", "")),
        )


class BatchFolder:
    """The output folder of a batch.

    Parameters
    ----------
    path : Path
    protocol : Protocol
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path
        self._protocol = protocol

    @property
    def exists(self) -> bool:
        """Whether there is a batch in it."""
        return (self.path / KEY_FILE).is_file()

    def cases(self) -> list[BatchCase]:
        """Read all cases in their order.

        Raises
        ------
        InputError
            If one of the batch's tables is damaged.
        """
        key = self._rows(KEY_FILE)
        statuses = {row.get("case", ""): row for row in self._rows(STATUS_FILE)}
        reviewed = {row.get("case", ""): row.get("reviewed_utc", "") for row in self._rows(REVIEW_FILE)}
        cases = []
        for row in key:
            case = BatchCase(row.get("case", ""), row.get("scan", ""), reviewed=reviewed.get(row.get("case", ""), ""))
            cases.append(case.after(statuses[case.case]) if case.case in statuses else case)
        return cases

    def landmark_file(self, case: str) -> Path:
        """Name the file of a case's landmarks."""
        return self.path / (case + LANDMARKS)

    def landmarks(self, case: str) -> Optional[LandmarkSet]:
        """Read a case's landmarks; None when there are none.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        path = self.landmark_file(case)
        return read_landmarks(path, self._protocol) if path.is_file() else None

    def differs(self, case: str, landmarks: LandmarkSet) -> bool:
        """Say whether landmarks, in the frame of the scan's file, differ from those in the case's file."""
        try:
            before = self.landmarks(case)
        except LandmarkingError:
            return True
        lps = landmarks.in_coordinate_system("LPS")
        return before is None or not same_landmarks(before.in_coordinate_system("LPS"), lps)

    def save(self, case: str, landmarks: LandmarkSet) -> bool:
        """Write reviewed landmarks back and remember that the case was looked through.

        Parameters
        ----------
        case : str
        landmarks : LandmarkSet
            In the frame of the scan's file, mm.

        Returns
        -------
        bool
            Whether the landmarks differ from those in the file.
        """
        lps = landmarks.in_coordinate_system("LPS")
        changed = self.differs(case, lps)
        if changed:
            write_landmarks(self.landmark_file(case), lps, case=case)
        rows = {row.get("case", ""): row for row in self._rows(REVIEW_FILE)}
        rows[case] = {
            "case": case,
            "reviewed_utc": utc_text(),
            "corrected_points": str(lps.count("corrected") + lps.count("placed")),
            "missing_points": str(lps.count("missing")),
        }
        columns = ("case", "reviewed_utc", "corrected_points", "missing_points")
        table = [[row.get(column, "") for column in columns] for row in rows.values()]
        write_table(self.path / REVIEW_FILE, columns, table)
        return changed

    def _rows(self, name: str) -> list[dict[str, str]]:
        path = self.path / name
        if not path.is_file():
            return []
        return [row for _, row in parse_table(read_text(path, what="table of a batch"), name)[1]]


def same_landmarks(one: LandmarkSet, other: LandmarkSet) -> bool:
    """Tell whether two sets say the same, to a thousandth of a millimetre: a scene rounds to single precision."""
    return (
        one.status == other.status
        and one.notes == other.notes
        and bool(np.allclose(one.positions, other.positions, rtol=0.0, atol=1e-3, equal_nan=True))
    )


def scan_scale(landmarks: Optional[LandmarkSet]) -> float:
    """Return the factor from a scan file's coordinates to the mm of its landmarks; 1 where nothing is said."""
    try:
        return float(landmarks.provenance.get("scan_scale_to_mm", "1")) if landmarks is not None else 1.0
    except ValueError:
        return 1.0
