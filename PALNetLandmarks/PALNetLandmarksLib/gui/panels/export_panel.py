"""Section Export: the landmarks and what was measured of them, as files under an identifier that the user types."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.case_id import checked_case_id
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import measure
from PALNetLandmarksLib.report import Picture, report_html

from ..case import Case
from ..confidence import COLOURS, confidence_kinds
from ..edits import FAIR_MM, GOOD_MM
from ..export_files import KINDS, REPORT, existing, files_of, write_files
from ..messages import Messages, showing_errors
from ..norms_choice import NormsChoice
from ..scene.charts import asymmetry_chart
from ..scene.pictures import face_pictures
from ..signals import connect
from ..text import _


class ExportPanel:
    """Write the kinds of file that are ticked, all or none.

    Parameters
    ----------
    ui : object
        Widgets of ``ExportPanel.ui``.
    case : Case
    norms : NormsChoice
        Z-scores in the report are made with these.
    messages : Messages
    """

    def __init__(self, ui: Any, case: Case, norms: NormsChoice, messages: Messages) -> None:
        self._ui, self._case, self._norms, self._messages = ui, case, norms, messages
        self._parameters: Any = None
        self._filling = False
        self._written_to = ""
        # Identifiers used so far, and for what: one left standing from the patient before is noticed.
        self._used: dict[str, str] = {}
        self._boxes = {
            "long": ui.exportLong,
            "wide": ui.exportWide,
            "asymmetry": ui.exportAsymmetry,
            "markups": ui.exportMarkups,
            "lafas": ui.exportLafas,
            "tps": ui.exportTps,
            REPORT: ui.exportReport,
        }
        ui.openFolderButton.visible = hasattr(qt, "QDesktopServices")
        connect(ui.exportButton, "clicked()", self.export)
        connect(ui.openFolderButton, "clicked()", self._open_folder)
        connect(ui.exportFolder, "currentPathChanged(QString)", self._folder_changed)
        connect(ui.caseId, "textChanged(QString)", lambda _text: self._forget())
        case.landmarks_changed.connect(self._forget)

    def cleanup(self) -> None:
        """Let go of the case."""
        self._case.landmarks_changed.disconnect(self._forget)
        self._parameters = None

    def set_parameters(self, parameters: Any) -> None:
        """Work with another parameter node, or with none."""
        self._parameters = parameters
        self._filling = True
        self._ui.exportFolder.currentPath = parameters.export_folder if parameters is not None else ""
        self._filling = False
        # Another scene numbers its nodes anew.
        self._used.clear()
        self._forget()

    def export(self) -> None:
        """Write what is ticked; nothing is written when anything is wrong."""
        with showing_errors(self._messages):
            landmarks = self._case.landmarks()
            if landmarks is None:
                raise InputError(
                    _("There are no landmarks to export."), _("Place landmarks first."), code="export.empty"
                )
            identifier = checked_case_id(self._ui.caseId.text)
            kinds = [kind for kind in KINDS if self._boxes[kind].checked]
            folder = self._ui.exportFolder.currentPath.strip()
            there = existing(folder, files_of(identifier, kinds))
            if not self._is_meant(identifier) or not self._may_replace(there):
                return
            with slicer.util.WaitCursor():
                report = self._report(landmarks, identifier) if REPORT in kinds else ""
                written = write_files(folder, identifier, landmarks.in_coordinate_system("LPS"), kinds, report)
            self._ui.exportFolder.addCurrentPathToHistory()
            self._used[identifier] = self._about()
            self._written_to = folder
            self._ui.openFolderButton.enabled = True
            self._ui.exportNote.text = _("Written: {names}.").format(names=", ".join(written))

    def _about(self) -> str:
        """Give the node that the export is about: the scan, or the point list where there is none."""
        node = self._case.scan or self._case.landmarks_node
        return str(node.GetID()) if node is not None else ""

    def _is_meant(self, identifier: str) -> bool:
        if self._used.get(identifier, self._about()) == self._about():
            return True
        return self._messages.confirm(
            _("The identifier {identifier} was used for another scan. Use it for this one too?").format(
                identifier=identifier
            )
        )

    def _may_replace(self, there: list[str]) -> bool:
        return not there or self._messages.confirm(
            _("The folder holds these files already:\n\n{names}\n\nReplace them?").format(names="\n".join(there))
        )

    def _report(self, landmarks: LandmarkSet, identifier: str) -> str:
        result = measure(landmarks)
        pictures: tuple[Picture, ...] = ()
        if self._case.surface() is not None:
            colours = COLOURS[confidence_kinds(landmarks)] / 255.0
            pictures = face_pictures(self._case.scan, landmarks, colours=colours)
        charts = []
        balance = asymmetry(landmarks)
        if not balance.failure:
            drawn = asymmetry_chart(balance, width=640, height=380, scale=2.0)
            charts.append(Picture(_("Difference between left and right, by pair of landmarks"), drawn, wide=True))
        scores = self._norms.scores(result)
        return report_html(
            landmarks.in_coordinate_system("LPS"),
            case=identifier,
            pictures=pictures,
            picture_note=_(
                "Green: expected error up to {good:g} mm. Yellow: up to {fair:g} mm. Red: above, or not known. "
                "Blue: placed or corrected by a person."
            ).format(good=GOOD_MM, fair=FAIR_MM),
            charts=charts,
            scores=scores,
            sex=self._norms.sex if scores else "",
            age=self._norms.age if scores else None,
        )

    def _folder_changed(self, path: str) -> None:
        if not self._filling and self._parameters is not None:
            self._parameters.export_folder = path
        self._forget()

    def _forget(self) -> None:
        """Say no longer what was written: it belongs to another case or folder."""
        self._written_to = ""
        self._ui.openFolderButton.enabled = False
        self._ui.exportNote.text = ""

    def _open_folder(self) -> None:
        if self._written_to:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._written_to))
