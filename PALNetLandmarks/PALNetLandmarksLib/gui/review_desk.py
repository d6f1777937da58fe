"""Cases of a batch, opened in the scene one after the other: each goes whole before the next one comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from ..landmark_files import read_landmarks
from ..landmarks import LandmarkSet
from .case import Case
from .scene.removing import remove_whole
from .scene.scan_loading import load_scan, scale_scan
from .scene.texture import apply_texture, remove_texture


class SceneDesk:
    """Where a case of a batch is looked at: the module's own panels, on a scan of their own.

    Parameters
    ----------
    case : Case
    choose : callable
        Gets the model node and the case's name: the panels work on them from now on. (None, "") for none.
    look_at_face : callable
        Turns the 3D view to the face.
    """

    def __init__(self, case: Case, choose: Callable[[Any, str], None], look_at_face: Callable[[], None]) -> None:
        self._case, self._choose, self._look_at_face = case, choose, look_at_face
        self._scan: Any = None

    def open_case(self, scan_path: str, landmarks_path: Optional[str], case_id: str, scale_to_mm: float) -> None:
        """Load a scan and its landmarks and show them.

        Parameters
        ----------
        scan_path : str
        landmarks_path : str or None
            ``.mrk.json`` in the frame of the scan's file, mm.
        case_id : str
        scale_to_mm : float
            Factor from the file's coordinates to mm.

        Raises
        ------
        LandmarkingError
            If one of the files cannot be used; nothing is left in the scene then.
        """
        landmarks = read_landmarks(landmarks_path, self._case.protocol) if landmarks_path is not None else None
        scan = load_scan(scan_path)
        apply_texture(scan, scan_path)  # a missing picture does not stop the work
        if scale_to_mm != 1.0:
            scale_scan(scan, scale_to_mm)
        scan.SetName(case_id)  # the file's name may be that of a person
        self._scan = scan
        self._choose(scan, case_id)
        if landmarks is not None:
            self._case.show_prediction(landmarks)
            self._look_at_face()

    def landmarks(self) -> Optional[LandmarkSet]:
        """Give the landmarks of the open case in the frame of the scan's file, mm; None if there are none."""
        if self._scan is None or self._case.scan is not self._scan:
            return None
        landmarks = self._case.landmarks()
        return None if landmarks is None else landmarks.in_coordinate_system("LPS")

    def close_case(self) -> None:
        """Remove what `open_case` loaded from the scene, with everything made for it."""
        scan, self._scan = self._scan, None
        if scan is None or scan.GetScene() is None:
            return
        if self._case.scan is scan:
            landmarks = self._case.landmarks_node
            self._choose(None, "")
            self._case.set_landmarks_node(None)
            if landmarks is not None:
                remove_whole(landmarks)
        remove_texture(scan)
        remove_whole(scan)
