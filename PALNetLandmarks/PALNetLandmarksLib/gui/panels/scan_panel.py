"""Section 1: the scan, and at once what is to be known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..case import Case
from ..engine_results import Failure
from ..engine_session import EngineSession
from ..messages import Messages, showing_errors
from ..scene.landmarks_node import SCAN_ROLE
from ..scene.mesh import mesh_of
from ..scene.scan_loading import FILE_FILTER, MILLIMETRES, extent, load_scan, possible_units, scale_scan
from ..scene.texture import apply_texture
from ..signals import connect
from ..text import _


class ScanPanel:
    """Choose or load a scan; say its size, its unit, its holes, and whether the ears are in view.

    Parameters
    ----------
    ui : object
        Widgets of ``ScanPanel.ui``.
    case : Case
    session : EngineSession
        It checks the scan in the background.
    engine_there : callable
        Tells whether an engine is installed; without one only the size is checked.
    choose_scan : callable
        Gets the model node to work on from now on.
    look_at_face : callable
        Gets the registration (4, 4), from world LPS to the reference, of a scan that was just loaded: the view turns to
        the face.
    load_sample : callable
        Loads the sample scan and gives its model node.
    messages : Messages
    """

    def __init__(
        self,
        ui: Any,
        case: Case,
        session: EngineSession,
        engine_there: Callable[[], bool],
        choose_scan: Callable[[Any], None],
        look_at_face: Callable[[np.ndarray], None],
        load_sample: Callable[[], Any],
        messages: Messages,
    ) -> None:
        self._ui, self._case, self._session, self._messages = ui, case, session, messages
        self._engine_there, self._choose_scan, self._load_sample = engine_there, choose_scan, load_sample
        self._look_at_face, self._just_loaded = look_at_face, False
        self._factors: dict[str, float] = {}
        self._asked = 0
        connect(ui.loadButton, "clicked()", self._load)
        connect(ui.sampleButton, "clicked()", self._sample)
        connect(ui.fixUnitsButton, "clicked()", self._fix_units)
        case.scan_changed.connect(self.refresh)
        self.refresh()

    def cleanup(self) -> None:
        """Let go of the case; a check that is still under way is of no interest any more."""
        self._asked += 1
        self._case.scan_changed.disconnect(self.refresh)

    def refresh(self) -> None:
        """Say what is known of the scan, and have it checked."""
        self._asked += 1
        self._offer_units({})
        self._ui.checkLabel.toolTip = ""
        scan = self._case.scan
        if scan is None:
            self._ui.checkLabel.text = ""
            return
        size = extent(scan)
        polydata = scan.GetPolyData()
        if polydata is None or polydata.GetNumberOfCells() == 0:
            self._ui.checkLabel.text = _("This model has no surface: choose a face scan.")
            return
        facts = _("{x:.4g} × {y:.4g} × {z:.4g} mm, {count:,} vertices.").format(
            x=size[0], y=size[1], z=size[2], count=polydata.GetNumberOfPoints()
        )
        if not self._engine_there():
            self._offer_units(possible_units(float(size.max())))
            self._ui.checkLabel.text = facts
            return
        self._ui.checkLabel.text = facts + " " + _("Checking...")
        number = self._asked
        with showing_errors(self._messages):
            self._session.check(
                mesh_of(scan),
                lambda answer: self._checked(number, facts, answer),
                lambda failure: self._not_checked(number, facts, failure),
            )

    def _checked(self, number: int, facts: str, answer: Mapping[str, Any]) -> None:
        if number != self._asked:  # about a scan that is no longer the chosen one
            return
        if answer["unit"] != "mm":
            self._offer_units({unit: MILLIMETRES[unit] for unit in answer["possible_units"] if unit in MILLIMETRES})
        sentences = [facts]
        holes = answer["facts"]["holes"] if answer["facts"] else 0
        if holes:
            sentences.append(_("{n} holes, the longest {length:.0f} mm round.").format(
                n=holes, length=answer["facts"]["longest_hole_mm"]
            ))  # fmt: skip
        self._ui.checkLabel.text = " ".join([*sentences, *answer["summary"]])
        self._ui.checkLabel.toolTip = "\n".join(answer["sentences"])
        registration = answer["registration"].get("scan_to_reference")
        if self._just_loaded and registration is not None and answer["unit"] == "mm":
            self._look_at_face(np.array(registration, dtype=np.float64))
        self._just_loaded = False

    def _not_checked(self, number: int, facts: str, failure: Failure) -> None:
        if number == self._asked:
            self._ui.checkLabel.text = f"{facts} {failure.message} {failure.hint}".strip()

    def _offer_units(self, factors: Mapping[str, float]) -> None:
        """Offer to convert the scan from one of some units; from none where it is in millimetres."""
        self._factors = {unit: factor for unit, factor in factors.items() if factor != 1.0}
        self._ui.unitsRow.visible = bool(self._factors)
        self._ui.unitSelector.visible = len(self._factors) > 1
        self._ui.unitSelector.clear()
        for unit in self._factors:
            self._ui.unitSelector.addItem(unit)
        if self._factors:
            unit = next(iter(self._factors))
            self._ui.unitsLabel.text = (
                _("Its size is that of a face in {unit}.").format(unit=unit)
                if len(self._factors) == 1
                else _("Its size could be that of a face in:")
            )

    def _load(self) -> None:
        with showing_errors(self._messages):
            path = self._messages.open_file(_("Load a face scan"), _("Scans ({patterns})").format(patterns=FILE_FILTER))
            if not path:
                return
            node = load_scan(path)
            complaint = apply_texture(node, path)
            self._just_loaded = True
            self._choose_scan(node)
            if complaint:
                self._messages.warning(complaint)

    def _sample(self) -> None:
        with showing_errors(self._messages):
            node = self._load_sample()
            self._just_loaded = True
            self._choose_scan(node)

    def _fix_units(self) -> None:
        with showing_errors(self._messages):
            landmarks = self._case.landmarks()
            if landmarks is not None and not landmarks.missing.all():
                question = _("The landmarks will not fit the converted scan: they are put aside in the scene. Convert?")
                if not self._messages.confirm(question):
                    return
                self._case.landmarks_node.SetNodeReferenceID(SCAN_ROLE, None)
                self._case.set_landmarks_node(None)
            scale_scan(self._case.scan, self._factors[self._ui.unitSelector.currentText])
            self.refresh()
