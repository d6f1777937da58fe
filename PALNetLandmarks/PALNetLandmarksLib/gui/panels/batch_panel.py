"""The panel of a batch: a folder of scans is predicted in the background, then looked through case by case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import qt

from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.gui.batch_folder import BatchCase, BatchFolder
from PALNetLandmarksLib.gui.batch_review import BatchReview, ReviewDesk, next_case
from PALNetLandmarksLib.gui.batch_run import BatchRun, TablesRun
from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment
from PALNetLandmarksLib.gui.engine_results import Failure
from PALNetLandmarksLib.gui.messages import Messages, showing_errors
from PALNetLandmarksLib.gui.signals import Signal, connect
from PALNetLandmarksLib.gui.text import _
from PALNetLandmarksLib.landmarks import utc_text
from PALNetLandmarksLib.protocol import Protocol

_CASE, _SCAN, _STATUS, _REVIEWED, _MESSAGE = range(5)
#: Of the columns but the last, which takes the rest; all of them are seen in a panel of 400 px.
_WIDTHS = (58, 100, 76, 66)
#: Milliseconds from the last save until the tables are made anew.
_TABLES_LATER = 3000


class BatchPanel:
    """Run a batch and look through its cases.

    Signals: ``paths_changed(scans, output)`` when the user chose folders, ``engine_missing()`` when a start needs the
    engine to be set up.

    Parameters
    ----------
    ui : object
        Widgets of ``BatchPanel.ui`` by name.
    environment : EngineEnvironment
    protocol : Protocol
    desk : ReviewDesk
        Where a case is looked at.
    messages : Messages
    choices : callable
        Gives the model (empty for the default one) and the device that the user chose.
    """

    def __init__(
        self,
        ui: Any,
        environment: EngineEnvironment,
        protocol: Protocol,
        desk: ReviewDesk,
        messages: Messages,
        choices: Callable[[], tuple[str, str]] = lambda: ("", "auto"),
    ) -> None:
        self.ui = ui
        self.paths_changed, self.engine_missing = Signal(), Signal()
        self._protocol, self._messages, self._choices = protocol, messages, choices
        self._cases: list[BatchCase] = []
        self._run, self._tables, self._review = BatchRun(environment), TablesRun(environment), BatchReview(desk)
        self._run.begun.connect(self._begun)
        self._run.case_done.connect(self._case_done)
        self._run.log_line.connect(self._log)
        self._run.finished.connect(self._finished)
        self._tables.finished.connect(lambda _good, text: self._say(text))
        self._review.saved.connect(self._saved)
        self._review.opened.connect(lambda _case: self._refresh())
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(_TABLES_LATER)
        connect(self._later, "timeout()", self.update_tables)
        ui.casesTable.horizontalHeader().setStretchLastSection(True)
        ui.casesTable.verticalHeader().hide()
        for column, width in enumerate(_WIDTHS):
            ui.casesTable.setColumnWidth(column, width)
        connect(ui.scansPath, "currentPathChanged(QString)", self._paths_chosen)
        connect(ui.outputPath, "currentPathChanged(QString)", self._paths_chosen)
        connect(ui.startButton, "clicked()", self.start)
        connect(ui.cancelButton, "clicked()", self._run.cancel)
        connect(ui.casesTable, "itemSelectionChanged()", self._refresh)
        connect(ui.casesTable, "cellDoubleClicked(int,int)", self._double_clicked)
        connect(ui.openButton, "clicked()", self.open_selected)
        connect(ui.nextButton, "clicked()", self.open_next)
        connect(ui.saveButton, "clicked()", self.save)
        connect(ui.closeButton, "clicked()", self.close_case)
        connect(ui.tablesButton, "clicked()", self.update_tables)
        self.show_folder()

    def cleanup(self) -> None:
        """Stop the batch (it goes on at the next start) and let go of everything."""
        self._later.stop()
        self._run.stop()
        self._tables.stop()
        for signal in (self.paths_changed, self.engine_missing):
            signal.clear()

    def set_paths(self, scans: str, output: str) -> None:
        """Show folders, for example those that a scene remembers."""
        if (scans, output) != (self.scans, self.output):
            for widget, path in ((self.ui.scansPath, scans), (self.ui.outputPath, output)):
                before = widget.blockSignals(True)
                widget.currentPath = path
                widget.blockSignals(before)
            self.show_folder()

    @property
    def scans(self) -> str:
        """Folder of the scans."""
        return str(self.ui.scansPath.currentPath)

    @property
    def output(self) -> str:
        """Folder of the results."""
        return str(self.ui.outputPath.currentPath)

    # --- the batch

    def start(self) -> None:
        """Start the batch, or go on with it."""
        with showing_errors(self._messages):
            if not Path(self.scans).is_dir() or not self.scans:
                raise InputError(_("There is no folder of scans."), _("Choose one."), code="batch.folder")
            if not self.output:
                raise InputError(_("There is no folder for the results."), _("Choose one."), code="batch.output")
            model, device = self._choices()
            again = bool(self.ui.againBox.checked)
            failure = self._run.start(self.scans, self.output, model=model, device=device, again=again)
            if failure is not None:
                self.engine_missing.emit()
                self._say(str(failure))
                return
            self.ui.logText.clear()
            self.ui.progressBar.value = 0
            self._say(_("Loading the model …"))
            self._refresh()

    def _begun(self, cases: list[str]) -> None:
        self.show_folder()
        self.ui.progressBar.maximum = max(len(cases), 1)
        self._mark_next()

    def _case_done(self, event: dict[str, Any], done: int, count: int) -> None:
        names = [case.case for case in self._cases]
        if event["case"] in names:
            row = names.index(event["case"])
            self._cases[row] = self._cases[row].after(event)
            self._show_row(row)
        self.ui.progressBar.maximum = count
        self.ui.progressBar.value = done
        self._say(_("{done} of {count} cases").format(done=done, count=count))
        self._mark_next()
        self._refresh()

    def _mark_next(self) -> None:
        """Say which case is being worked on: the first one that waits."""
        for row, case in enumerate(self._cases):
            if case.status == "waiting":
                self._cell(row, _STATUS, _("running"))
                return

    def _finished(self, failure: Optional[Failure], done: int, failed: int) -> None:
        if failure is None:
            self._say(_("{done} cases done, {failed} failed.").format(done=done, failed=failed))
        elif failure.code == "cancelled":
            self._say(_("Stopped. Press Start to go on."))
        else:
            self._say(str(failure))
            self._messages.error(str(failure))
        self.show_folder()

    # --- looking through

    def open_selected(self) -> None:
        """Open the case that is chosen in the table."""
        row = int(self.ui.casesTable.currentRow())
        if 0 <= row < len(self._cases):
            self._open(self._cases[row])

    def _double_clicked(self, row: int, column: int) -> None:
        self._open(self._cases[row])

    def open_next(self) -> None:
        """Save the open case and open the next one that nobody has looked through."""
        with showing_errors(self._messages):
            present = self._review.case.case if self._review.case else None
            case = next_case(self._cases, present)
            if case is None:
                self._review.close()
                self._say(_("All cases are looked through."))
                self.update_tables()
            else:
                self._open_now(case)

    def save(self) -> None:
        """Write the open case's landmarks back."""
        with showing_errors(self._messages):
            self._review.save()

    def close_case(self) -> None:
        """Save and close the open case."""
        with showing_errors(self._messages):
            self._review.close()

    def let_go(self) -> None:
        """Close the open case, the scene goes or Slicer ends; what was corrected in it is saved."""
        with showing_errors(self._messages):
            self._review.close(save=self._review.changed())

    def _open(self, case: BatchCase) -> None:
        with showing_errors(self._messages):
            self._open_now(case)

    def _open_now(self, case: BatchCase) -> None:
        self._review.open(self._folder(), Path(self.scans), case)
        row = self._cases.index(case) if case in self._cases else -1
        if row >= 0:
            self.ui.casesTable.selectRow(row)
        self._say(_("Case {case} is open.").format(case=case.case))

    def _saved(self, case: str, changed: bool) -> None:
        for row, shown in enumerate(self._cases):
            if shown.case == case:
                self._cases[row] = replace(shown, reviewed=utc_text())
                self._show_row(row)
        self._refresh()
        self._say(_("Case {case} is saved.").format(case=case))
        if changed:
            self._later.start()

    def update_tables(self) -> None:
        """Make the tables over all cases anew."""
        self._later.stop()
        if self._folder().exists and not self._run.running:
            self._tables.start(self.output)

    # --- what is shown

    def _folder(self) -> BatchFolder:
        return BatchFolder(Path(self.output or "."), self._protocol)

    def _paths_chosen(self, _path: str) -> None:
        self.paths_changed.emit(self.scans, self.output)
        self.show_folder()

    def show_folder(self) -> None:
        """Read the output folder and show its cases."""
        try:
            self._cases = self._folder().cases() if self.output else []
        except LandmarkingError as error:
            self._cases = []
            self._say(str(error))
        table = self.ui.casesTable
        row = int(table.currentRow())
        table.updatesEnabled = False
        table.rowCount = len(self._cases)
        for number in range(len(self._cases)):
            self._show_row(number)
        table.updatesEnabled = True
        if 0 <= row < len(self._cases):
            table.selectRow(row)
        self._refresh()

    def _show_row(self, row: int) -> None:
        case = self._cases[row]
        words = {"done": _("done"), "failed": _("failed"), "waiting": _("waiting")}
        status = words.get(case.status, case.status)
        if case.status == "done" and case.verdict == "doubtful":
            status = _("done, doubtful")
        message = f"{case.message} {case.hint}".strip()
        if case.status == "done" and case.missing not in ("", "0"):
            message = _("{n} landmarks missing").format(n=case.missing)
        reviewed = _("yes") if case.reviewed else ""
        for column, text in enumerate((case.case, case.scan, status, reviewed, message)):
            self._cell(row, column, text)

    def _cell(self, row: int, column: int, text: str) -> None:
        item = self.ui.casesTable.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem(text)
            self.ui.casesTable.setItem(row, column, item)
        elif item.text() != text:
            item.setText(text)
        if column in (_SCAN, _MESSAGE) and text:
            item.setToolTip(text)

    def _refresh(self) -> None:
        ui, running = self.ui, self._run.running
        row = int(ui.casesTable.currentRow())
        chosen = self._cases[row] if 0 <= row < len(self._cases) else None
        opened = self._review.case is not None
        waiting = any(case.status == "waiting" for case in self._cases)
        ui.startButton.enabled = not running
        ui.startButton.text = _("Go on") if waiting and not ui.againBox.checked else _("Start")
        ui.cancelButton.enabled = running
        for widget in (ui.scansPath, ui.outputPath, ui.againBox):
            widget.enabled = not running
        ui.openButton.enabled = chosen is not None
        ui.nextButton.enabled = opened or any(case.status == "done" and not case.reviewed for case in self._cases)
        ui.nextButton.text = _("Save and open next") if opened else _("Open next")
        ui.saveButton.enabled = ui.closeButton.enabled = opened
        ui.tablesButton.enabled = bool(self._cases) and not running
        looked = sum(bool(case.reviewed) for case in self._cases)
        done = sum(case.status == "done" for case in self._cases)
        ui.reviewLabel.text = _("{looked} of {done} cases looked through").format(looked=looked, done=done)

    def _say(self, text: str) -> None:
        self.ui.progressLabel.text = text

    def _log(self, line: str) -> None:
        self.ui.logText.appendPlainText(line)
