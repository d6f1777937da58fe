"""Guided placement: one landmark after the other is asked for, in protocol order, and set by a click on the scan."""

from __future__ import annotations

from PALNetLandmarksLib.landmarks import LandmarkSet

from .case import Case
from .edits import is_marked, mark_missing
from .scene.placing import PlaceMode
from .signals import Signal
from .text import _


class Placement:
    """Which landmark the next click is for.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case) -> None:
        self.changed = Signal()
        """Another landmark is asked for, or none any more; see ``current``."""
        self.current: str | None = None
        """The landmark that the next click places; None when not placing."""
        self._case = case
        self._mode = PlaceMode(case.scene, self.stop)
        self._visited: list[str] = []
        case.points_changed.connect(self._points_changed)
        case.landmarks_changed.connect(self.stop)

    @property
    def active(self) -> bool:
        """Whether clicks place landmarks now."""
        return self.current is not None

    def done(self) -> int:
        """Give the number of landmarks that are placed, or marked as missing."""
        landmarks = self._case.landmarks()
        return 0 if landmarks is None else sum(not _open(landmarks, label) for label in landmarks.protocol.labels)

    def start(self) -> None:
        """Ask for the first landmark that is neither placed nor marked; makes an empty set when there is none."""
        if self._case.landmarks() is None:
            self._case.start_empty()
        self._visited.clear()
        self._ask_for(self._next(None))

    def stop(self) -> None:
        """Place no more; the mouse turns the view again."""
        self._mode.stop()
        self._visited.clear()
        if self.current is not None:
            self.current = None
            self.changed.emit()

    def skip(self) -> None:
        """Leave this landmark for later; it comes again after the last one."""
        if self.current is not None:
            self._visited.append(self.current)
            self._ask_for(self._next(self.current))

    def mark_missing(self) -> None:
        """Note that this landmark cannot be seen on the scan, and ask for the next."""
        landmarks, label = self._case.landmarks(), self.current
        if landmarks is not None and label is not None:
            self._case.change(mark_missing(landmarks, label), _("Mark {label} as missing").format(label=label))

    def back(self) -> None:
        """Ask once more for the landmark before; what was placed or marked there is taken away, and can be undone."""
        landmarks = self._case.landmarks()
        if landmarks is None or self.current is None or not self._visited:
            return
        label = self._visited.pop()
        # First the question, then the change: the change alone would be taken for an undo.
        self.current = label
        if not _open(landmarks, label):
            without = landmarks.with_point(label, None, "missing")
            self._case.change(without, _("Remove {label}").format(label=label))
        self._ask_for(label)

    def cleanup(self) -> None:
        """Stop, and let go of the case."""
        self.changed.clear()
        self.stop()
        self._case.points_changed.disconnect(self._points_changed)
        self._case.landmarks_changed.disconnect(self.stop)

    def _points_changed(self, labels: tuple[str, ...]) -> None:
        landmarks = self._case.landmarks()
        if self.current is None or landmarks is None or self._case.dragging:
            return
        if not _open(landmarks, self.current):
            self._visited.append(self.current)
            self._ask_for(self._next(self.current))
            return
        undone = [label for label in labels if label in self._visited and _open(landmarks, label)]
        if undone and self.current not in labels:
            del self._visited[self._visited.index(undone[0]) :]
            self._ask_for(undone[0])

    def _next(self, after: str | None) -> str | None:
        """Give the next landmark to place, from the beginning again after the last; None when there is none left."""
        landmarks = self._case.landmarks()
        if landmarks is None:
            return None
        labels = landmarks.protocol.labels
        start = 0 if after is None else landmarks.protocol.index(after) + 1
        return next((label for label in labels[start:] + labels[:start] if _open(landmarks, label)), None)

    def _ask_for(self, label: str | None) -> None:
        landmarks = self._case.landmarks()
        if label is None or landmarks is None:
            self.stop()
            return
        self.current = label
        self._mode.aim(self._case.landmarks_node, landmarks.protocol.index(label))
        self.changed.emit()


def _open(landmarks: LandmarkSet, label: str) -> bool:
    """Say whether a landmark has no position and nobody marked it as missing."""
    return bool(landmarks.missing[landmarks.protocol.index(label)]) and not is_marked(landmarks, label)
