"""The list of all measurements in the panel: grouped, searchable, with doubts told by colour and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

from PALNetLandmarksLib.measurements import LOW_CONFIDENCE_MM, Measurements
from PALNetLandmarksLib.norms import ZScore
from PALNetLandmarksLib.protocol import Measurement, Protocol
from PALNetLandmarksLib.report import value_text, z_text
from PALNetLandmarksLib.spreadsheet import number_text

from ..text import _

NAME, VALUE, ERROR, Z, REMARKS = range(5)
#: Background and letters of a row with a doubt: readable on light and dark themes, as both are given.
_DOUBT, _INK, _PALE, _HEAD = "#ffe9c2", "#1b1f24", "#8a929b", "#5f6b78"


class MeasurementList:
    """Rows of a QTableWidget, one for each measurement under the heading of its group.

    Parameters
    ----------
    table : QTableWidget
    protocol : Protocol
        With M measurements.
    """

    def __init__(self, table: Any, protocol: Protocol) -> None:
        self._table, self._protocol = table, protocol
        self._rows: list[int] = [0] * len(protocol.measurements)
        self._headings: dict[int, list[int]] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._marks: dict[int, tuple[str, ...]] = {}
        self._words: dict[int, str] = {}
        self._filter = ""
        self._flag_words = {"missing": _("missing"), "low-confidence": _("low confidence"), "palpated": _("palpated")}
        self._build()

    @property
    def selected(self) -> int | None:
        """Place of the selected measurement in the protocol, from 0; None when none is selected."""
        if not self._table.selectedItems():
            return None
        row = self._table.currentRow()
        return self._rows.index(row) if row in self._rows else None

    def update(self, measurements: Measurements | None, scores: Sequence[ZScore]) -> None:
        """Bring the cells up to date; only those that differ are touched.

        Parameters
        ----------
        measurements : Measurements or None
            None empties the values.
        scores : sequence of ZScore
            One for each measurement, or none: then there is no column for them.
        """
        self._table.setColumnHidden(Z, not scores)
        for place, item in enumerate(self._protocol.measurements):
            row = self._rows[place]
            flags = measurements.flags(place, LOW_CONFIDENCE_MM) if measurements is not None else ()
            score = scores[place] if scores else None
            texts = {
                VALUE: value_text(measurements.values[place], item.unit) if measurements is not None else "",
                ERROR: number_text(measurements.expected_error[place], 1) if measurements is not None else "",
                Z: z_text(score.z) if score is not None else "",
                REMARKS: ", ".join(self._flag_words[flag] for flag in flags),
            }
            for column, text in texts.items():
                if self._texts[row, column] != text:
                    self._texts[row, column] = text
                    self._table.item(row, column).setText(text)
                    if column == REMARKS:
                        # The last column is narrow where the panel is.
                        self._table.item(row, column).setToolTip(text)
            self._mark(row, flags)
            if score is not None:
                self._explain(row, score, item.unit)
        if self._filter:
            self._hide_rows()

    def search(self, text: str) -> None:
        """Show only rows in which all words of a text occur; all rows for an empty text."""
        self._filter = " ".join(text.casefold().split())
        self._hide_rows()

    def visible(self) -> list[str]:
        """Names of the measurements that are shown, from the top."""
        shown = [(row, place) for place, row in enumerate(self._rows) if not self._table.isRowHidden(row)]
        return [self._protocol.measurements[place].id for _row, place in sorted(shown)]

    def _build(self) -> None:
        groups: dict[str, list[int]] = {}
        for place, item in enumerate(self._protocol.measurements):
            groups.setdefault(item.group, []).append(place)
        table = self._table
        table.clear()
        table.columnCount = REMARKS + 1
        table.rowCount = len(groups) + len(self._protocol.measurements)
        table.setHorizontalHeaderLabels([_("Measurement"), _("Value"), _("Error"), _("z"), _("Remarks")])
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Interactive)
        header.setSectionResizeMode(REMARKS, qt.QHeaderView.Stretch)
        for column, width in ((NAME, 100), (VALUE, 76), (ERROR, 46), (Z, 38)):
            table.setColumnWidth(column, width)
        table.verticalHeader().hide()
        table.verticalHeader().defaultSectionSize = 22
        row = 0
        for group, places in groups.items():
            self._heading(row, group)
            self._headings[row] = [row + 1 + k for k in range(len(places))]
            for place in places:
                row += 1
                self._rows[place] = row
                self._fill_row(row, self._protocol.measurements[place])
            row += 1

    def _heading(self, row: int, group: str) -> None:
        heading = qt.QTableWidgetItem(group[:1].upper() + group[1:])
        heading.setFlags(qt.Qt.ItemIsEnabled)
        heading.setForeground(qt.QBrush(qt.QColor(_HEAD)))
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        self._table.setItem(row, NAME, heading)
        self._table.setSpan(row, NAME, 1, REMARKS + 1)

    def _fill_row(self, row: int, item: Measurement) -> None:
        names = [self._protocol.landmarks[self._protocol.index(label)].name for label in item.points]
        tip = f"{item.id}: {_tip(item, names)}"
        for column in range(REMARKS + 1):
            cell = qt.QTableWidgetItem(item.id if column == NAME else "")
            cell.setToolTip(tip)
            if column in (VALUE, ERROR, Z):
                cell.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            self._table.setItem(row, column, cell)
            self._texts[row, column] = ""
        self._words[row] = " ".join((item.id, item.group, *item.points, *names)).casefold()
        self._marks[row] = ()

    def _mark(self, row: int, flags: tuple[str, ...]) -> None:
        # Palpated points stay so: the words are enough, and a table full of colours says nothing.
        telling = tuple(flag for flag in flags if flag != "palpated")
        if self._marks[row] == telling:
            return
        self._marks[row] = telling
        doubt = "low-confidence" in telling
        back = qt.QBrush(qt.QColor(_DOUBT)) if doubt else qt.QBrush()
        fore = qt.QBrush(qt.QColor(_INK if doubt else _PALE)) if telling else qt.QBrush()
        for column in range(REMARKS + 1):
            cell = self._table.item(row, column)
            cell.setBackground(back)
            cell.setForeground(fore)

    def _explain(self, row: int, score: ZScore, unit: str) -> None:
        if score.norm is not None and not score.reason:
            mean = f"{value_text(score.mean, unit)} \u00b1 {number_text(score.sd, 1)}"
            text = _("{mean} ({people})\n{source}\nMethod: {method}").format(
                mean=mean, people=score.norm.people, source=score.source, method=score.method
            )
        else:
            text = score.reason
        if self._texts.get((row, -1)) != text:
            self._texts[row, -1] = text
            self._table.item(row, Z).setToolTip(text)

    def _hide_rows(self) -> None:
        words = self._filter.split()
        for heading, rows in self._headings.items():
            hidden = []
            for row in rows:
                content = f"{self._words[row]} {self._texts[row, REMARKS].casefold()}"
                hidden.append(not all(word in content for word in words))
                self._table.setRowHidden(row, hidden[-1])
            self._table.setRowHidden(heading, all(hidden))


def _tip(item: Measurement, names: Sequence[str]) -> str:
    points = [f"{label} ({name})" for label, name in zip(item.points, names)]
    if item.kind == "distance":
        return _("Distance from {a} to {b}.").format(a=points[0], b=points[1])
    if item.kind == "angle":
        return _("Angle at {b} between {a} and {c}.").format(a=points[0], b=points[1], c=points[2])
    if item.kind == "point_to_line":
        return _("Distance of {a} from the line through {b} and {c}.").format(a=points[0], b=points[1], c=points[2])
    return _("Distance from {a} to {b} in percent of that from {c} to {d}.").format(
        a=points[0], b=points[1], c=points[2], d=points[3]
    )
