"""Looking through a batch: one case after the other is loaded, corrected, saved and let go."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Protocol

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmarks import LandmarkSet

from .batch_folder import BatchCase, BatchFolder, scan_scale
from .signals import Signal
from .text import _


class ReviewDesk(Protocol):
    """Where a case is looked at: the module's panels and the scene."""

    def open_case(self, scan_path: str, landmarks_path: Optional[str], case_id: str, scale_to_mm: float) -> None:
        """Load a scan and its landmarks and show them.

        Parameters
        ----------
        scan_path : str
        landmarks_path : str or None
            ``.mrk.json`` in the frame of the scan's file, mm; None where there are no landmarks yet.
        case_id : str
        scale_to_mm : float
            Factor from the file's coordinates to mm; the scan must be scaled by it to meet its landmarks.

        Raises
        ------
        LandmarkingError
            If one of the files cannot be used; nothing is left in the scene then.
        """

    def landmarks(self) -> Optional[LandmarkSet]:
        """Return the landmarks of the open case in the frame of the scan's file, mm; None if there are none."""

    def close_case(self) -> None:
        """Remove what `open_case` loaded from the scene, with everything made for it."""


class BatchReview:
    """The user's way through a batch.

    Signals: ``opened(case id or None)``, ``saved(case id, changed)``.

    Parameters
    ----------
    desk : ReviewDesk
    """

    def __init__(self, desk: ReviewDesk) -> None:
        self.opened, self.saved = Signal(), Signal()
        self._desk = desk
        self._folder: Optional[BatchFolder] = None
        self._open: Optional[BatchCase] = None

    @property
    def case(self) -> Optional[BatchCase]:
        """The case that is open."""
        return self._open

    def open(self, folder: BatchFolder, scans: Path, case: BatchCase) -> None:
        """Save and close the case that is open, and open another one.

        Raises
        ------
        LandmarkingError
            If the open case cannot be saved (it stays open), or the new one cannot be loaded.
        """
        path = scans / case.scan
        if not path.is_file():
            raise InputError(
                _("The scan of case {case} is not in the folder of scans.").format(case=case.case),
                _("Choose the folder that the batch was made from."),
                code="batch.scan",
            )
        landmarks = folder.landmarks(case.case)
        self.close()
        file = str(folder.landmark_file(case.case)) if landmarks is not None else None
        self._desk.open_case(str(path), file, case.case, scan_scale(landmarks))
        self._folder, self._open = folder, case
        self.opened.emit(case.case)

    def save(self) -> bool:
        """Write the landmarks of the open case back; gives whether there was something to write."""
        if self._open is None or self._folder is None:
            return False
        landmarks = self._desk.landmarks()
        if landmarks is None:
            return False
        changed = self._folder.save(self._open.case, landmarks)
        self.saved.emit(self._open.case, changed)
        return True

    def changed(self) -> bool:
        """Say whether the landmarks of the open case differ from those in its file."""
        landmarks = self._desk.landmarks() if self._open is not None else None
        if landmarks is None or self._open is None or self._folder is None:
            return False
        return self._folder.differs(self._open.case, landmarks)

    def close(self, *, save: bool = True) -> None:
        """Save the open case and let go of everything that was loaded for it."""
        if self._open is None:
            return
        if save:
            self.save()
        self._open = self._folder = None
        self._desk.close_case()
        self.opened.emit(None)


def next_case(cases: list[BatchCase], after: Optional[str]) -> Optional[BatchCase]:
    """Choose the next case to look through: done, not looked through yet, the first after the present one.

    Parameters
    ----------
    cases : list of BatchCase
    after : str or None
        Name of the present case.

    Returns
    -------
    BatchCase or None
        None when all are looked through.
    """
    names = [case.case for case in cases]
    start = names.index(after) + 1 if after in names else 0
    for case in [*cases[start:], *cases[:start]]:
        if case.status == "done" and not case.reviewed and case.case != after:
            return case
    return None
