"""Section Measurements: values, doubts, asymmetry and z-scores, live while landmarks move."""

from __future__ import annotations

from typing import Any

import qt

from PALNetLandmarksLib.asymmetry import Asymmetry, asymmetry
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import LOW_CONFIDENCE_MM, Measurements, measure
from PALNetLandmarksLib.norms import SEXES
from PALNetLandmarksLib.report import value_text

from ..case import Case
from ..messages import Messages, showing_errors
from ..norms_choice import NormsChoice
from ..pixmaps import pixmap_of, room_for
from ..scene.charts import asymmetry_chart
from ..scene.measurement_drawing import MeasurementDrawing
from ..scene.measurement_table import clear_table, create_table, write_asymmetry, write_measurements
from ..signals import connect
from ..text import _
from .measurement_list import MeasurementList

#: A plot is drawn when nothing has moved for so long: drawing takes longer than a drag should wait.
_CHART_DELAY_MS = 250
#: A path is read when nobody has typed for so long.
_TYPING_MS = 400
_CHART_HEIGHT = 440


class MeasurementPanel:
    """Measure the landmarks of a case; keep two table nodes and the drawing in the 3D view in step.

    Parameters
    ----------
    ui : object
        Widgets of ``MeasurementPanel.ui``.
    case : Case
    norms : NormsChoice
        Shared with whoever else shows z-scores.
    messages : Messages
    """

    def __init__(self, ui: Any, case: Case, norms: NormsChoice, messages: Messages) -> None:
        self._ui, self._case, self._norms, self._messages = ui, case, norms, messages
        self._parameters: Any = None
        self._filling, self._visible = False, True
        self._shown: Measurements | None = None
        self._list = MeasurementList(ui.measurementTable, case.protocol)
        self._drawing = MeasurementDrawing(case.scene)
        # All that moves in one go is measured once, when the event loop comes round.
        self._soon = _timer(0, self._measure)
        self._chart_soon = _timer(_CHART_DELAY_MS, self._draw_chart)
        self._norms_soon = _timer(_TYPING_MS, self._read_norms)
        connect(ui.measurementSearch, "textChanged(QString)", self._list.search)
        connect(ui.measurementTable, "itemSelectionChanged()", self._draw)
        connect(ui.drawMeasurement, "toggled(bool)", lambda _on: self._draw())
        connect(ui.asymmetryButton, "contentsCollapsed(bool)", lambda _closed: self._draw_chart())
        connect(ui.normsPath, "currentPathChanged(QString)", self._path_changed)
        connect(ui.normsSex, "currentIndexChanged(int)", self._person_changed)
        connect(ui.normsAge, "valueChanged(double)", lambda _value: self._person_changed())
        case.landmarks_changed.connect(self.refresh)
        case.points_changed.connect(self._points_changed)
        self.refresh()

    def cleanup(self) -> None:
        """Let go of the case, the timers and what is drawn."""
        for timer in (self._soon, self._chart_soon, self._norms_soon):
            timer.stop()
        self._case.landmarks_changed.disconnect(self.refresh)
        self._case.points_changed.disconnect(self._points_changed)
        self._drawing.cleanup()
        self._parameters = None

    def set_parameters(self, parameters: Any) -> None:
        """Work with another parameter node, or with none."""
        self._parameters = parameters
        self._filling = True
        try:
            self._ui.normsPath.currentPath = parameters.norms_path if parameters is not None else ""
            sex = parameters.norms_sex if parameters is not None else ""
            self._ui.normsSex.currentIndex = SEXES.index(sex) + 1 if sex in SEXES else 0
            self._ui.normsAge.value = parameters.norms_age if parameters is not None else 0.0
        finally:
            self._filling = False
        self._norms_soon.stop()
        self._read_norms()

    def refresh(self) -> None:
        """Measure again, now."""
        self._soon.stop()
        self._measure()

    def enter(self) -> None:
        """Draw again: the user came to the module."""
        self.set_visible(True)

    def exit(self) -> None:
        """Leave no drawing in the view: the user went to another module."""
        self.set_visible(False)

    def set_visible(self, visible: bool) -> None:
        """Say whether the section is in use; else nothing is drawn in the view."""
        self._visible = visible
        self._draw()

    # What moved -------------------------------------------------------------------------------------------------

    def _points_changed(self, _labels: Any) -> None:
        if not self._soon.active:
            self._soon.start()

    def _measure(self) -> None:
        with showing_errors(self._messages):
            landmarks = self._case.landmarks()
            result = measure(landmarks) if landmarks is not None else None
            scores = self._norms.scores(result) if result is not None else ()
            self._shown = result
            self._list.update(result, scores)
            self._write_tables(landmarks, result)
            self._summarize(landmarks, result)
            self._draw()
            self._chart_soon.start()

    def _write_tables(self, landmarks: LandmarkSet | None, result: Measurements | None) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        if landmarks is None or result is None:
            for node in (parameters.measurements_table, parameters.asymmetry_table):
                if node is not None:
                    clear_table(node)
            return
        if parameters.measurements_table is None:
            parameters.measurements_table = create_table(self._case.scene, _("Measurements"))
        if parameters.asymmetry_table is None:
            parameters.asymmetry_table = create_table(self._case.scene, _("Asymmetry"))
        write_measurements(parameters.measurements_table, result, self._norms.scores(result))
        write_asymmetry(parameters.asymmetry_table, asymmetry(landmarks))

    def _summarize(self, landmarks: LandmarkSet | None, result: Measurements | None) -> None:
        if landmarks is None or result is None:
            self._ui.measurementSummary.text = _("No landmarks yet.")
            return
        doubtful = int((result.largest_point_error_mm > LOW_CONFIDENCE_MM).sum())
        text = _("{there} of {count} measurements have a value.").format(
            there=int((~result.missing).sum()), count=len(result.values)
        )
        if doubtful:
            text += " " + _("{count} rest on a landmark with an expected error above {limit:g} mm.").format(
                count=doubtful, limit=LOW_CONFIDENCE_MM
            )
        self._ui.measurementSummary.text = text

    # The selected measurement -----------------------------------------------------------------------------------

    def _draw(self) -> None:
        place = self._list.selected
        landmarks = self._case.landmarks()
        wanted = self._visible and self._ui.drawMeasurement.checked
        if place is None or landmarks is None or self._shown is None or not wanted:
            self._drawing.hide()
            return
        item = self._case.protocol.measurements[place]
        value = value_text(self._shown.values[place], item.unit)
        self._drawing.show(item, landmarks, f"{item.id}  {value}")

    # Asymmetry --------------------------------------------------------------------------------------------------

    def _draw_chart(self) -> None:
        ui = self._ui
        if ui.asymmetryButton.collapsed:
            return
        if self._case.dragging:
            self._chart_soon.start()
            return
        with showing_errors(self._messages):
            landmarks = self._case.landmarks()
            result = asymmetry(landmarks) if landmarks is not None else None
            if result is None or result.failure:
                ui.asymmetryChart.clear()
                reason = result.failure if result is not None else _("no landmarks yet")
                ui.asymmetryNote.text = _("Not computed: {reason}.").format(reason=reason)
                return
            picture = asymmetry_chart(result, width=room_for(ui.asymmetryChart), height=_CHART_HEIGHT)
            ui.asymmetryChart.setPixmap(pixmap_of(picture))
            ui.asymmetryNote.text = _asymmetry_note(result)

    # Norms ------------------------------------------------------------------------------------------------------

    def _path_changed(self, path: str) -> None:
        if self._filling:
            return
        if self._parameters is not None:
            self._parameters.norms_path = path
        self._norms_soon.start()

    def _person_changed(self, *_value: Any) -> None:
        if self._filling:
            return
        self._take_person()
        if self._parameters is not None:
            self._parameters.norms_sex = self._norms.sex
            self._parameters.norms_age = self._norms.age
        self._tell_of_norms()
        self.refresh()

    def _take_person(self) -> None:
        index = self._ui.normsSex.currentIndex
        self._norms.sex = SEXES[index - 1] if index > 0 else ""
        self._norms.age = float(self._ui.normsAge.value)

    def _read_norms(self) -> None:
        with showing_errors(self._messages):
            self._norms.read(self._ui.normsPath.currentPath)
            self._take_person()
            self._tell_of_norms()
            self.refresh()

    def _tell_of_norms(self) -> None:
        norms, note = self._norms.norms, self._ui.normsNote
        note.styleSheet = "color: #b02a2a;" if self._norms.problem else ""
        if self._norms.problem:
            note.text = self._norms.problem
        elif norms is None:
            note.text = _("No norms come with the program. Choose a table of your own for z-scores.")
        else:
            names = {row.measurement for row in norms.rows}
            found = sum(norms.find(name, self._norms.sex, self._norms.age)[0] is not None for name in names)
            note.text = _("Measurements with norms: {count}; for this sex and age: {found}.").format(
                count=len(names), found=found
            )
            if norms.unknown:
                listed = ", ".join(norms.unknown[:5]) + (", …" if len(norms.unknown) > 5 else "")
                note.text += " " + _("Not known here: {names}.").format(names=listed)


def _asymmetry_note(result: Asymmetry) -> str:
    same = int((result.magnitude_mm <= result.expected_error_mm).sum())
    text = _("Against the midplane of {count} points (residual {residual:.1f} mm).").format(
        count=result.points_used, residual=result.residual_rms_mm
    )
    text += " " + _("Orange: larger than the landmarks' own expected error (diamond).")
    text += " " + _("Grey ({count}): not distinguishable from that error; it says nothing about the face.").format(
        count=same
    )
    unknown = int(((result.magnitude_mm >= 0) & ~(result.expected_error_mm >= 0)).sum())
    if unknown:
        text += " " + _("Blue ({count}): error not known.").format(count=unknown)
    return text


def _timer(milliseconds: int, function: Any) -> Any:
    timer = qt.QTimer()
    # Not as properties: QTimer.singleShot is also the name of a function.
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    connect(timer, "timeout()", function)
    return timer
