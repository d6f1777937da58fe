"""Section 3: look at the landmarks, the least certain first, and put right what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt

from ..case import Case
from ..edits import accept, doubt_order, is_accepted, mark_missing, restore, to_look_at
from ..messages import Messages, showing_errors
from ..scene.confidence_marks import ConfidenceMarks
from ..scene.view_follower import ViewFollower
from ..signals import connect
from ..text import _
from .landmark_text import landmark_html, show_picture
from .review_table import ReviewTable

LEAST_CERTAIN_FIRST, PROTOCOL_ORDER = range(2)


class ReviewPanel:
    """Table of the landmarks, what is known of the chosen one, and what can be done about it.

    Parameters
    ----------
    ui : object
        Widgets of ``ReviewPanel.ui``.
    case : Case
    camera_node : callable
        Gives the camera node of the 3D view that turns to the chosen landmark, or None.
    messages : Messages
    """

    def __init__(self, ui: Any, case: Case, camera_node: Callable[[], Any], messages: Messages) -> None:
        self._ui, self._case, self._messages = ui, case, messages
        self._marks = ConfidenceMarks(case)
        self._follower = ViewFollower(case, camera_node)
        self._table = ReviewTable(ui.landmarkTable, case.protocol, case.select)
        self._shortcuts: list[Any] = []
        actions: tuple[tuple[str, str, Callable[[], None]], ...] = (
            ("previousButton", "B", self._previous),
            ("nextButton", "N", self._next),
            ("acceptButton", "A", self._accept),
            ("missingButton", "M", self._mark_missing),
            ("restoreButton", "R", self._restore),
            ("undoButton", "", self._undo),
            ("redoButton", "", self._redo),
        )
        for name, key, action in actions:
            connect(getattr(ui, name), "clicked()", action)
            if key:
                self._add_shortcut(key, getattr(ui, name))
        connect(ui.orderSelector, "currentIndexChanged(int)", self._fill)
        connect(ui.toLookAtCheck, "toggled(bool)", self._filter)
        connect(ui.followCheck, "toggled(bool)", self._follow)
        connect(ui.lockCheck, "toggled(bool)", self._apply_display)
        connect(ui.labelsCheck, "toggled(bool)", self._apply_display)
        self._slots = (
            (case.landmarks_changed, self._fill),
            (case.points_changed, self._points_changed),
            (case.selection_changed, self._selection_changed),
            (case.history_changed, self._show_history),
        )
        for signal, slot in self._slots:
            signal.connect(slot)
        self._fill()

    def enter(self) -> None:
        """Take keys."""
        for shortcut in self._shortcuts:
            shortcut.enabled = True

    def exit(self) -> None:
        """Leave the keys to others."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False

    def cleanup(self) -> None:
        """Let go of the case and remove what was put into the scene."""
        self.exit()
        for signal, slot in self._slots:
            signal.disconnect(slot)
        self._follower.cleanup()
        self._marks.cleanup()

    # What is shown --------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Show the landmarks, in the order that is chosen; it stays while they are edited, rows must not jump."""
        landmarks = self._case.landmarks()
        order = self._case.protocol.labels
        if landmarks is not None and self._ui.orderSelector.currentIndex == LEAST_CERTAIN_FIRST:
            order = tuple(order[place] for place in doubt_order(landmarks))
        self._table.fill(landmarks, order)
        self._apply_display()
        self._filter()
        self._show_selection()
        self._show_history()

    def _filter(self) -> None:
        landmarks = self._case.landmarks()
        if landmarks is None or not self._ui.toLookAtCheck.checked:
            self._table.hide_all_but(None)
        else:
            labels = [label for label, open_ in zip(landmarks.protocol.labels, to_look_at(landmarks)) if open_]
            # The chosen one stays, else it would vanish under the user's hand as soon as it is put right.
            self._table.hide_all_but([*labels, self._case.selected or ""])
        self._show_counts()

    def _show_counts(self) -> None:
        landmarks = self._case.landmarks()
        if landmarks is None:
            self._ui.countsLabel.text = _("No landmarks yet.")
            return
        left = int(to_look_at(landmarks).sum())
        text = _("{left} of {all} landmarks to look at. {corrected} corrected, {placed} placed, {missing} missing.")
        if left == 0:
            text = _("All {all} landmarks looked at. {corrected} corrected, {placed} placed, {missing} missing.")
        self._ui.countsLabel.text = text.format(
            left=left,
            all=len(landmarks.protocol),
            corrected=landmarks.count("corrected"),
            placed=landmarks.count("placed"),
            missing=landmarks.count("missing"),
        )

    def _points_changed(self, labels: tuple[str, ...]) -> None:
        landmarks = self._case.landmarks()
        if landmarks is None:
            return
        self._table.update(landmarks, labels)
        if self._case.dragging:
            return
        self._filter()
        if self._case.selected in labels:
            self._show_selection()

    def _selection_changed(self, label: str | None) -> None:
        if self._ui.toLookAtCheck.checked:
            self._filter()
        self._show_selection()

    def _show_selection(self) -> None:
        label, landmarks, ui = self._case.selected, self._case.landmarks(), self._ui
        self._table.select(label)
        show_picture(ui.pictureLabel, self._case.protocol, label)
        status, accepted = "", False
        if label is not None and landmarks is not None:
            status = landmarks.status[landmarks.protocol.index(label)]
            accepted = is_accepted(landmarks, label)
        ui.definitionLabel.text = (
            landmark_html(self._case.protocol, label, landmarks)
            if label is not None
            else _("Choose a landmark in the table or in the 3D view.")
        )
        ui.acceptButton.enabled = status == "predicted" and not accepted
        ui.missingButton.enabled = status not in ("", "missing")
        ui.restoreButton.enabled = self._restored() is not None
        for button in (ui.previousButton, ui.nextButton):
            button.enabled = landmarks is not None

    def _show_history(self) -> None:
        ui, case = self._ui, self._case
        ui.undoButton.enabled, ui.redoButton.enabled = case.can_undo, case.can_redo
        undo, redo = _("Undo: {what}"), _("Redo: {what}")
        ui.undoButton.toolTip = undo.format(what=case.undo_text) if case.can_undo else _("Nothing to undo.")
        ui.redoButton.toolTip = redo.format(what=case.redo_text) if case.can_redo else _("Nothing to redo.")

    def _apply_display(self) -> None:
        """Show or hide labels and lock or free the points, as the check boxes say."""
        node = self._case.landmarks_node
        if node is None:
            return
        node.SetLocked(self._ui.lockCheck.checked)
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetPointLabelsVisibility(self._ui.labelsCheck.checked)

    def _follow(self) -> None:
        self._follower.enabled = self._ui.followCheck.checked
        if self._follower.enabled and self._case.selected is not None:
            self._follower.show(self._case.selected)

    # What the user does ---------------------------------------------------------------------------------------------

    def _next(self) -> None:
        self._go(1)

    def _previous(self) -> None:
        self._go(-1)

    def _go(self, step: int) -> None:
        with showing_errors(self._messages):
            label = self._table.neighbour(self._case.selected, step)
            if label is not None:
                self._case.select(label)

    def _accept(self) -> None:
        with showing_errors(self._messages):
            landmarks, label = self._case.landmarks(), self._case.selected
            if landmarks is not None and label is not None:
                self._case.change(accept(landmarks, label), _("Accept {label}").format(label=label))
                self._go(1)

    def _mark_missing(self) -> None:
        with showing_errors(self._messages):
            landmarks, label = self._case.landmarks(), self._case.selected
            if landmarks is not None and label is not None:
                self._case.change(mark_missing(landmarks, label), _("Mark {label} as missing").format(label=label))

    def _restore(self) -> None:
        with showing_errors(self._messages):
            restored = self._restored()
            if restored is not None:
                self._case.change(restored, _("Restore {label}").format(label=self._case.selected))

    def _restored(self) -> Any:
        """Give the set with the chosen landmark as predicted; None when that is no change, or nothing was predicted."""
        landmarks, label, predicted = self._case.landmarks(), self._case.selected, self._case.predicted()
        if landmarks is None or label is None or predicted is None:
            return None
        place = landmarks.protocol.index(label)
        if landmarks.status[place] == predicted.status[place] and (
            predicted.missing[place] or np.allclose(landmarks.positions[place], predicted.positions[place], atol=1e-4)
        ):
            return None
        return restore(landmarks, predicted, label)

    def _undo(self) -> None:
        with showing_errors(self._messages):
            self._case.undo()

    def _redo(self) -> None:
        with showing_errors(self._messages):
            self._case.redo()

    def _add_shortcut(self, key: str, button: Any) -> None:
        # The whole window's, so that it works after a drag in the 3D view too. Fields for text keep letters for
        # themselves; a button that is disabled does nothing when it is clicked.
        shortcut = qt.QShortcut(qt.QKeySequence(key), self._ui.landmarkTable)
        shortcut.enabled = False
        connect(shortcut, "activated()", button.click)
        self._shortcuts.append(shortcut)
