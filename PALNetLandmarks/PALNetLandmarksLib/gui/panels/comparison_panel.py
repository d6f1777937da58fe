"""Section Compare: two sets of landmarks of one scan, or of two observers over many cases."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import qt

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.observer_files import FILES, FolderSets, reading_folder, write_comparison
from PALNetLandmarksLib.observers import BlandAltman, Comparison, compare_cases, compare_sets
from PALNetLandmarksLib.report import UNIT_SIGNS

from ..case import Case
from ..export_files import existing
from ..messages import Messages, showing_errors
from ..pixmaps import pixmap_of, room_for
from ..scene.charts import bland_altman_chart
from ..scene.landmark_lists import read_list
from ..signals import connect
from ..text import _
from .agreement_list import AgreementList, number

#: Files are read for so long at a time, then the panel has its turn.
_SLICE_SECONDS = 0.03
_CHART_HEIGHT = 280
_NODES, _FOLDERS, _PREDICTION = 0, 1, 2
_UNITS = ("mm", "degree", "percent")


class ComparisonPanel:
    """Say how far two sets of landmarks agree.

    Parameters
    ----------
    ui : object
        Widgets of ``ComparisonPanel.ui``.
    case : Case
        Its selection follows the list, where point lists of the scene are compared.
    messages : Messages
    """

    def __init__(self, ui: Any, case: Case, messages: Messages) -> None:
        self._ui, self._case, self._messages = ui, case, messages
        self._parameters: Any = None
        self._filling = False
        self._result: Comparison | None = None
        self._reading: Generator[str, None, None] | None = None
        self._list = AgreementList(ui.comparisonTable)
        self._tick = qt.QTimer()
        self._tick.setInterval(0)
        connect(self._tick, "timeout()", self._go_on_reading)
        connect(ui.comparisonKind, "currentIndexChanged(int)", self._kind_changed)
        connect(ui.compareButton, "clicked()", self.compare)
        connect(ui.saveComparisonButton, "clicked()", self._save)
        connect(ui.blandAltmanKind, "currentIndexChanged(int)", lambda _index: self._draw())
        connect(ui.comparisonTable, "itemSelectionChanged()", self._select)
        connect(ui.firstFolder, "currentPathChanged(QString)", lambda path: self._folder_changed("first", path))
        connect(ui.secondFolder, "currentPathChanged(QString)", lambda path: self._folder_changed("second", path))
        self._kind_changed(ui.comparisonKind.currentIndex)

    def cleanup(self) -> None:
        """Stop reading."""
        self._stop()
        self._parameters = None

    def set_parameters(self, parameters: Any) -> None:
        """Work with another parameter node, or with none."""
        self._stop()
        self._parameters = parameters
        self._filling = True
        self._ui.firstFolder.currentPath = parameters.compare_first_folder if parameters is not None else ""
        self._ui.secondFolder.currentPath = parameters.compare_second_folder if parameters is not None else ""
        self._filling = False
        self._show(None)

    def compare(self) -> None:
        """Compare what is chosen; folders are read bit by bit. A second click stops the reading."""
        if self._reading is not None:
            self._stop()
            self._ui.comparisonSummary.text = _("Stopped.")
            return
        self._show(None)
        with showing_errors(self._messages):
            kind = self._ui.comparisonKind.currentIndex
            if kind == _NODES:
                self._show(self._compare_lists())
            elif kind == _PREDICTION:
                self._show(self._compare_with_prediction())
            else:
                self._reading = self._compare_folders()
                self._ui.compareButton.text = _("Stop")
                self._tick.start()

    # Comparing --------------------------------------------------------------------------------------------------

    def _compare_lists(self) -> Comparison:
        first, second = self._ui.compareFirst.currentNode(), self._ui.compareSecond.currentNode()
        if first is None or second is None or first is second:
            raise InputError(
                _("Two different point lists are needed."),
                _("Choose one as the first and another as the second."),
                code="compare.lists",
            )
        protocol = self._case.protocol
        return compare_sets(read_list(first, protocol), read_list(second, protocol))

    def _compare_with_prediction(self) -> Comparison:
        predicted, landmarks = self._case.predicted(), self._case.landmarks()
        if predicted is None or landmarks is None:
            raise InputError(
                _("This scan has no landmarks that a model placed."),
                _("Place landmarks with a model, correct them, and compare then."),
                code="compare.prediction",
            )
        return compare_sets(predicted, landmarks)

    def _compare_folders(self) -> Generator[str, None, None]:
        """Read and compare, giving a line to show after each file."""
        sets: list[FolderSets] = []
        places = (self._ui.firstFolder.currentPath.strip(), self._ui.secondFolder.currentPath.strip())
        if not all(places) or places[0] == places[1]:
            raise InputError(
                _("Two different folders are needed."), _("Choose one for each observer."), code="compare.folder"
            )
        names = (_("first"), _("second"))
        for which, place in zip(names, places):
            steps = reading_folder(place, self._case.protocol)
            while True:
                try:
                    done, count = next(steps)
                except StopIteration as end:
                    sets.append(end.value)
                    break
                yield _("Reading the {which} folder: {done} of {count}").format(which=which, done=done, count=count)
        yield _("Comparing...")
        comparison = compare_cases(sets[0].cases, sets[1].cases)
        problems = [f"{which}: {problem}" for which, side in zip(names, sets) for problem in side.problems]
        self._show(comparison, problems)

    def _go_on_reading(self) -> None:
        end = time.perf_counter() + _SLICE_SECONDS
        line = ""
        finished = True
        with showing_errors(self._messages):
            while self._reading is not None and time.perf_counter() < end:
                line = next(self._reading, "")
                if not line:
                    break
            finished = not line
        if finished:
            self._stop()
        else:
            self._ui.comparisonSummary.text = line

    def _stop(self) -> None:
        self._tick.stop()
        if self._reading is not None:
            self._reading = None
            self._ui.compareButton.text = _("Compare")
            if self._result is None:
                self._ui.comparisonSummary.text = ""

    # Showing ----------------------------------------------------------------------------------------------------

    def _show(self, comparison: Comparison | None, problems: list[str] | None = None) -> None:
        ui = self._ui
        self._result = comparison
        ui.comparisonResult.visible = comparison is not None
        ui.saveComparisonButton.enabled = comparison is not None
        ui.comparisonSummary.text = _summary(comparison, problems or []) if comparison is not None else ""
        self._list.show(comparison)
        self._filling = True
        kind = max(ui.blandAltmanKind.currentIndex, 0)
        ui.blandAltmanKind.clear()
        for text in _plots(comparison) if comparison is not None else ():
            ui.blandAltmanKind.addItem(text)
        self._filling = False
        if comparison is not None:
            ui.blandAltmanKind.currentIndex = kind if kind < ui.blandAltmanKind.count else 0
        self._draw()

    def _draw(self) -> None:
        if self._filling:
            return
        ui, comparison = self._ui, self._result
        index = ui.blandAltmanKind.currentIndex
        if comparison is None or index < 0:
            ui.blandAltmanChart.clear()
            ui.blandAltmanNote.text = ""
            return
        with showing_errors(self._messages):
            result, unit = _plotted(comparison, index)
            picture = bland_altman_chart(result, unit, width=room_for(ui.blandAltmanChart), height=_CHART_HEIGHT)
            ui.blandAltmanChart.setPixmap(pixmap_of(picture))
            ui.blandAltmanNote.text = _figures(result, unit)

    def _select(self) -> None:
        label = self._list.selected
        if (
            label is not None
            and self._ui.comparisonKind.currentIndex != _FOLDERS
            and self._case.landmarks() is not None
        ):
            self._case.select(label)

    # What the user does -----------------------------------------------------------------------------------------

    def _kind_changed(self, index: int) -> None:
        self._stop()
        self._ui.comparisonNodes.visible = index == _NODES
        self._ui.comparisonFolders.visible = index == _FOLDERS
        self._show(None)

    def _folder_changed(self, which: str, path: str) -> None:
        if not self._filling and self._parameters is not None:
            setattr(self._parameters, f"compare_{which}_folder", path)

    def _save(self) -> None:
        with showing_errors(self._messages):
            if self._result is None:
                return
            folder = self._messages.folder(_("Save the tables into a folder"))
            if not folder:
                return
            there = existing(folder, FILES)
            if there and not self._messages.confirm(
                _("The folder holds these files already:\n\n{names}\n\nReplace them?").format(names="\n".join(there))
            ):
                return
            written = write_comparison(folder, self._result)
            self._ui.comparisonSummary.text = _("Written: {names}.").format(names=", ".join(written))


def _summary(comparison: Comparison, problems: list[str]) -> str:
    all_points = comparison.overall()
    lines = []
    if len(comparison.cases) > 1:
        lines.append(_("{count} cases in both.").format(count=len(comparison.cases)))
    lines.append(
        _(
            "{count} pairs of points: mean distance {mean} mm (SD {sd}), largest {max} mm, Dahlberg {dahlberg} mm."
        ).format(
            count=all_points.count,
            mean=number(all_points.mean_mm),
            sd=number(all_points.sd_mm),
            max=number(all_points.max_mm),
            dahlberg=number(all_points.dahlberg_mm),
        )
    )
    missing = (all_points.missing_first, all_points.missing_second, all_points.missing_both)
    if any(missing):
        text = _("Not compared: {first} missing in the first only, {second} in the second only, {both} in both.")
        lines.append(text.format(first=missing[0], second=missing[1], both=missing[2]))
    for text, cases in (
        (_("Only in the first: {cases}."), comparison.only_first),
        (_("Only in the second: {cases}."), comparison.only_second),
    ):
        if cases:
            lines.append(text.format(cases=", ".join(cases[:8]) + (", …" if len(cases) > 8 else "")))
    lines += comparison.warnings
    lines += problems[:8]
    if len(problems) > 8:
        lines.append(_("{count} more files could not be used.").format(count=len(problems) - 8))
    return "\n".join(lines)


def _plots(comparison: Comparison) -> list[str]:
    texts = [_("all distances (mm)"), _("all angles (degrees)"), _("all indices (percent)")]
    texts += [_("coordinate: {axis} (mm)").format(axis=axis) for axis in comparison.axes]
    if len(comparison.cases) > 1:
        texts += [item.id for item in comparison.protocol.measurements]
    return texts


def _plotted(comparison: Comparison, index: int) -> tuple[BlandAltman, str]:
    """Give what an entry of the list of plots stands for, and its unit."""
    if index < 3:
        return comparison.values(_UNITS[index]), UNIT_SIGNS[_UNITS[index]].strip()
    if index < 6:
        return comparison.coordinates(index - 3), "mm"
    place = index - 6
    return comparison.measurement(place), UNIT_SIGNS[comparison.protocol.measurements[place].unit].strip()


def _figures(result: BlandAltman, unit: str) -> str:
    text = _(
        "n = {count}, bias {bias} {unit}, SD {sd}, limits of agreement {low} to {high}, Dahlberg {dahlberg}."
    ).format(
        count=result.count,
        unit=unit,
        bias=number(result.bias),
        sd=number(result.sd),
        low=number(result.limits[0]),
        high=number(result.limits[1]),
        dahlberg=number(result.dahlberg),
    )
    if result.left_out:
        text += " " + _("{count} left out: a value is missing.").format(count=result.left_out)
    return text
