"""Place landmarks by hand, one after the other, and save scan and landmarks as a training case."""

from __future__ import annotations

from typing import Any

import qt

from ..case import Case
from ..edits import to_look_at
from ..messages import Messages, showing_errors
from ..placement import Placement
from ..scene.mesh import mesh_of
from ..signals import connect
from ..text import _
from ..training_case import next_name, save_training_case
from .landmark_text import landmark_html, show_picture


class PlacementPanel:
    """Guide through the landmarks that are not placed yet.

    Parameters
    ----------
    ui : object
        Widgets of ``PlacementPanel.ui``.
    case : Case
    messages : Messages
    """

    def __init__(self, ui: Any, case: Case, messages: Messages) -> None:
        self._ui, self._case, self._messages = ui, case, messages
        self._placement = Placement(case)
        self._proposed = ""
        connect(ui.newSetButton, "clicked()", self._new_set)
        connect(ui.startButton, "clicked(bool)", self._start_or_stop)
        connect(ui.backButton, "clicked()", self._back)
        connect(ui.skipButton, "clicked()", self._skip)
        connect(ui.absentButton, "clicked()", self._mark_missing)
        connect(ui.chooseFolderButton, "clicked()", self._choose_folder)
        connect(ui.trainingFolderEdit, "textChanged(QString)", self._propose_name)
        connect(ui.saveCaseButton, "clicked()", self._save)
        # While placing, wherever the keyboard's focus is: the user's eyes and hand are on the 3D view.
        self._escape = qt.QShortcut(qt.QKeySequence("Esc"), ui.startButton)
        self._escape.enabled = False
        connect(self._escape, "activated()", self._placement.stop)
        self._placement.changed.connect(self._show)
        self._slots = (
            (case.landmarks_changed, self._show),
            (case.scan_changed, self._scan_changed),
            (case.points_changed, self._points_changed),
        )
        for signal, slot in self._slots:
            signal.connect(slot)
        self._propose_name()
        self._show()

    def exit(self) -> None:
        """Leave the mouse to other modules."""
        self._placement.stop()

    def cleanup(self) -> None:
        """Let go of the case and of the mouse."""
        self._escape.enabled = False
        self._placement.cleanup()
        for signal, slot in self._slots:
            signal.disconnect(slot)

    def _show(self) -> None:
        ui, case, placement = self._ui, self._case, self._placement
        landmarks = case.landmarks()
        ui.newSetButton.enabled = case.scan is not None
        ui.startButton.enabled = case.scan is not None
        ui.startButton.checked = placement.active
        ui.startButton.text = _("Stop placing") if placement.active else _("Place")
        self._escape.enabled = placement.active
        ui.guideRow.visible = placement.active
        ui.placedBar.maximum = len(case.protocol)
        ui.placedBar.value = placement.done()
        ui.saveCaseButton.enabled = landmarks is not None and case.scan is not None
        if placement.current is not None:
            number = case.protocol.index(placement.current) + 1
            ui.promptLabel.text = _("Click on {label} ({number} of {all}). Esc stops.").format(
                label=f"<b>{placement.current}</b>", number=number, all=len(case.protocol)
            )
            ui.guideDefinitionLabel.text = landmark_html(case.protocol, placement.current)
            show_picture(ui.guidePictureLabel, case.protocol, placement.current)

    def _points_changed(self, _labels: tuple[str, ...]) -> None:
        if not self._case.dragging:
            self._ui.placedBar.value = self._placement.done()

    def _scan_changed(self) -> None:
        self._placement.stop()
        self._ui.savedLabel.text = ""
        self._show()

    def _new_set(self) -> None:
        with showing_errors(self._messages):
            self._placement.stop()
            self._case.start_empty()
            self._placement.start()

    def _start_or_stop(self, wanted: bool) -> None:
        with showing_errors(self._messages):
            if not wanted:
                self._placement.stop()
            else:
                self._placement.start()
                if not self._placement.active:
                    self._messages.information(
                        _("All landmarks are placed or marked as missing. Drag them to correct them.")
                    )
            self._show()

    def _back(self) -> None:
        with showing_errors(self._messages):
            self._placement.back()

    def _skip(self) -> None:
        with showing_errors(self._messages):
            self._placement.skip()

    def _mark_missing(self) -> None:
        with showing_errors(self._messages):
            self._placement.mark_missing()

    # Training cases ---------------------------------------------------------------------------------------------------

    def _choose_folder(self) -> None:
        with showing_errors(self._messages):
            chosen = self._messages.folder(_("Folder for training cases"), self._ui.trainingFolderEdit.text)
            if chosen:
                self._ui.trainingFolderEdit.text = chosen

    def _propose_name(self) -> None:
        """Propose the next free name, unless the user typed one of their own."""
        folder, edit = self._ui.trainingFolderEdit.text, self._ui.subjectEdit
        if edit.text in ("", self._proposed):
            self._proposed = next_name(folder) if folder else "S0001"
            edit.text = self._proposed

    def _save(self) -> None:
        with showing_errors(self._messages):
            landmarks, scan = self._case.landmarks(), self._case.scan
            if landmarks is None or scan is None:
                return
            unseen = int(to_look_at(landmarks).sum())
            if unseen and not self._messages.confirm(
                _(
                    "Nobody has looked at {n} of the landmarks yet, or decided that they are missing. A model learns "
                    "the errors that it is shown. Save all the same?"
                ).format(n=unseen)
            ):
                return
            folder = save_training_case(
                self._ui.trainingFolderEdit.text,
                self._ui.subjectEdit.text,
                mesh_of(scan),
                landmarks,
                self._case.scan_to_reference(),
            )
            self._ui.savedLabel.text = _("Saved as {name}.").format(name=folder.name)
            self._proposed = self._ui.subjectEdit.text
            self._propose_name()
