"""The list of landmarks by how far two sets agree on them: those they agree on least come first."""

from __future__ import annotations

import math
from typing import Any

import qt

from PALNetLandmarksLib.observers import Agreement, Comparison
from PALNetLandmarksLib.spreadsheet import number_text

from ..text import _

_WIDTHS = (40, 50, 48, 58, 66)


class AgreementList:
    """Rows of a QTableWidget: all landmarks together, then each.

    Parameters
    ----------
    table : QTableWidget
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._labels: list[str] = []
        names = [_("Landmark"), _("n"), _("Mean"), _("SD"), _("Largest"), _("Dahlberg")]
        table.columnCount = len(names)
        table.setHorizontalHeaderLabels(names)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Interactive)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column, width in enumerate(_WIDTHS, start=1):
            table.setColumnWidth(column, width)
        table.verticalHeader().hide()
        table.verticalHeader().defaultSectionSize = 22

    @property
    def selected(self) -> str | None:
        """Label of the selected landmark; None when none, or the row of all, is selected."""
        row = self._table.currentRow()
        if not self._table.selectedItems() or not 0 <= row < len(self._labels):
            return None
        return self._labels[row] or None

    def show(self, comparison: Comparison | None) -> None:
        """Show a comparison, or nothing.

        Parameters
        ----------
        comparison : Comparison or None
        """
        self._labels = []
        self._table.rowCount = 0
        if comparison is None:
            return
        single = sorted(comparison.landmarks(), key=lambda item: -item.mean_mm if item.count else math.inf)
        items = [comparison.overall(), *single]
        names = {landmark.label: landmark.name for landmark in comparison.protocol.landmarks}
        self._table.rowCount = len(items)
        for row, item in enumerate(items):
            self._fill(row, item, names.get(item.label, ""))
        self._labels = [item.label for item in items]

    def _fill(self, row: int, item: Agreement, name: str) -> None:
        texts = [item.label or _("all"), str(item.count)]
        texts += [number(value) for value in (item.mean_mm, item.sd_mm, item.max_mm, item.dahlberg_mm)]
        tip = _("{name}: missing in the first only {first}, in the second only {second}, in both {both}.").format(
            name=name or _("all landmarks"),
            first=item.missing_first,
            second=item.missing_second,
            both=item.missing_both,
        )
        for column, text in enumerate(texts):
            cell = qt.QTableWidgetItem(text)
            cell.setToolTip(tip)
            if column:
                cell.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if not item.label:
                font = cell.font()
                font.setBold(True)
                cell.setFont(font)
            self._table.setItem(row, column, cell)


def number(value: float) -> str:
    """Write a figure of a comparison; a dash where there is none."""
    return number_text(value, 2) or "\u2013"
