"""The table of landmarks in the review: one row for each, of which only what changed is written again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import qt

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

from ..confidence import COLOURS, confidence_kinds
from ..edits import is_accepted, is_marked
from ..signals import connect
from ..text import _

CHIP, LABEL, NAME, STATUS, ERROR = range(5)
_CHIP_WIDTH = 18


def status_text(landmarks: LandmarkSet, label: str) -> str:
    """Say a landmark's status as the table shows it."""
    if is_accepted(landmarks, label):
        return _("accepted")
    if is_marked(landmarks, label):
        return _("marked missing")
    status = landmarks.status[landmarks.protocol.index(label)]
    words = {
        "predicted": _("predicted"),
        "corrected": _("corrected"),
        "placed": _("placed"),
        "missing": _("missing"),
    }
    return words[status]


def error_text(landmarks: LandmarkSet, label: str) -> str:
    """Say a landmark's expected error in mm; empty where it is unknown."""
    error = landmarks.expected_error_mm[landmarks.protocol.index(label)]
    return "" if np.isnan(error) else f"{error:.1f}"


class ReviewTable:
    """Rows of landmarks in a given order.

    Parameters
    ----------
    table : QTableWidget
        With five columns.
    protocol : Protocol
    on_chosen : callable
        Called with a label when the user chose its row.
    """

    def __init__(self, table: Any, protocol: Protocol, on_chosen: Callable[[str], None]) -> None:
        self._table, self._protocol, self._on_chosen = table, protocol, on_chosen
        self._order: tuple[str, ...] = ()
        self._filling = False
        self._items: list[Any] = []  # kept, or PythonQt may destroy what only the table knows
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(CHIP, qt.QHeaderView.Fixed)
        table.setColumnWidth(CHIP, _CHIP_WIDTH)
        table.verticalHeader().setDefaultSectionSize(22)
        tip = _("Expected error in mm: how far from its true place the landmark is likely to be.")
        table.horizontalHeaderItem(ERROR).setToolTip(tip)
        connect(table, "currentCellChanged(int,int,int,int)", self._current_changed)

    @property
    def order(self) -> tuple[str, ...]:
        """Labels of the rows, from the top."""
        return self._order

    def fill(self, landmarks: LandmarkSet | None, order: Sequence[str]) -> None:
        """Show landmarks in an order; none for None."""
        self._filling = True
        try:
            self._order = tuple(order) if landmarks is not None else ()
            self._table.setRowCount(len(self._order))
            items = []
            for row, label in enumerate(self._order):
                mark = self._protocol.landmarks[self._protocol.index(label)]
                name = mark.name if mark.side == "midline" else f"{mark.name}, {mark.side}"
                for column, text in ((CHIP, ""), (LABEL, label), (NAME, name), (STATUS, ""), (ERROR, "")):
                    item = qt.QTableWidgetItem(text)
                    item.setToolTip(mark.definition)
                    if column == ERROR:
                        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                    self._table.setItem(row, column, item)
                    items.append(item)
            self._items = items
        finally:
            self._filling = False
        if landmarks is not None:
            self.update(landmarks, self._order)

    def update(self, landmarks: LandmarkSet, labels: Sequence[str]) -> None:
        """Write again what is known of some landmarks."""
        kinds = confidence_kinds(landmarks)
        for label in labels:
            row = self._order.index(label)
            colour = [int(value) for value in COLOURS[kinds[landmarks.protocol.index(label)]]]
            self._table.item(row, CHIP).setBackground(qt.QBrush(qt.QColor(*colour)))
            for column, text in ((STATUS, status_text(landmarks, label)), (ERROR, error_text(landmarks, label))):
                item = self._table.item(row, column)
                if item.text() != text:
                    item.setText(text)

    def hide_all_but(self, labels: Sequence[str] | None) -> None:
        """Show only the rows of some landmarks; all for None."""
        wanted = self._order if labels is None else set(labels)
        for row, label in enumerate(self._order):
            hidden = label not in wanted
            if self._table.isRowHidden(row) != hidden:
                self._table.setRowHidden(row, hidden)

    def select(self, label: str | None) -> None:
        """Mark a landmark's row as the chosen one."""
        row = self._order.index(label) if label in self._order else -1
        if row == self._table.currentRow():
            return
        self._filling = True
        try:
            if row < 0:
                self._table.clearSelection()
                self._table.setCurrentCell(-1, -1)
            else:
                self._table.setCurrentCell(row, LABEL)
                self._table.scrollToItem(self._table.item(row, LABEL))
        finally:
            self._filling = False

    def neighbour(self, label: str | None, step: int) -> str | None:
        """Give the landmark of the next shown row (step 1) or of the one before (-1), round the end; None without rows.

        From no landmark at all, the first or the last.
        """
        shown = [other for row, other in enumerate(self._order) if other == label or not self._table.isRowHidden(row)]
        if label not in shown:
            return (shown[0] if step > 0 else shown[-1]) if shown else None
        return shown[(shown.index(label) + step) % len(shown)]

    def _current_changed(self, row: int, _column: int, _row_before: int, _column_before: int) -> None:
        if not self._filling and 0 <= row < len(self._order):
            self._on_chosen(self._order[row])
