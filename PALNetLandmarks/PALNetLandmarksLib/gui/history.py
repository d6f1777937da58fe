"""Undo and redo of edits of a set of landmarks."""

from __future__ import annotations

from collections.abc import Callable

from PALNetLandmarksLib.landmarks import LandmarkSet

#: A set of 50 points takes about 10 kB; more steps than this nobody wants back.
MAX_STEPS = 200


class History:
    """Earlier and undone states, each with the words for what led away from it.

    Not Slicer's own undo: that one takes whole scenes back, with what other modules did meanwhile.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[LandmarkSet, str]] = []
        self._redo: list[tuple[LandmarkSet, str]] = []

    @property
    def undo_text(self) -> str:
        """What would be undone; empty when nothing can be."""
        return self._undo[-1][1] if self._undo else ""

    @property
    def redo_text(self) -> str:
        """What would be redone; empty when nothing can be."""
        return self._redo[-1][1] if self._redo else ""

    def clear(self) -> None:
        """Forget all."""
        self._undo.clear()
        self._redo.clear()

    def push(self, before: LandmarkSet, what: str) -> None:
        """Note the state before an edit; what had been undone can no longer be redone."""
        self._undo = [*self._undo[1 - MAX_STEPS :], (before, what)]
        self._redo.clear()

    def undo(self, now: LandmarkSet) -> LandmarkSet | None:
        """Give the state before the last edit; None when there is none."""
        return self._step(self._undo, self._redo, now)

    def redo(self, now: LandmarkSet) -> LandmarkSet | None:
        """Give the state that was last undone; None when there is none."""
        return self._step(self._redo, self._undo, now)

    def change_all(self, function: Callable[[LandmarkSet], LandmarkSet]) -> None:
        """Replace every state by what a function makes of it: another frame, for example."""
        self._undo = [(function(state), what) for state, what in self._undo]
        self._redo = [(function(state), what) for state, what in self._redo]

    @staticmethod
    def _step(
        source: list[tuple[LandmarkSet, str]], target: list[tuple[LandmarkSet, str]], now: LandmarkSet
    ) -> LandmarkSet | None:
        if not source:
            return None
        state, what = source.pop()
        target.append((now, what))
        return state
