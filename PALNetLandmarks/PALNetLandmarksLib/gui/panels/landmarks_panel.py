"""Section 2: choose a model and have the landmarks placed in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from PALNetLandmarksLib.errors import BundleError
from PALNetLandmarksLib.landmarks import LandmarkSet

from ..case import Case
from ..engine_job import Job
from ..engine_results import Failure, PredictionResult
from ..engine_session import EngineSession
from ..messages import Messages, showing_errors
from ..models import Model, ModelList
from ..scene.mesh import mesh_of
from ..scene.start_points import StartPoints
from ..signals import connect
from ..text import _
from .model_card import show_model_card


class LandmarksPanel:
    """Place the landmarks on the scan, with progress, cancel, and a way out when the face is not found.

    Parameters
    ----------
    ui : object
        Widgets of ``LandmarksPanel.ui``.
    case : Case
    session : EngineSession
    ensure_engine : callable
        Gets a function to call once there is an engine; asks the user to install one first where there is none.
    show_engine : callable
        Shows the dialog about the engine.
    look_at_face : callable
        Turns the 3D view to the face that was found.
    models : ModelList
    messages : Messages
    """

    def __init__(
        self,
        ui: Any,
        case: Case,
        session: EngineSession,
        ensure_engine: Callable[[Callable[[], None]], None],
        show_engine: Callable[[], None],
        look_at_face: Callable[[], None],
        models: ModelList,
        messages: Messages,
    ) -> None:
        self._ui, self._case, self._session, self._messages = ui, case, session, messages
        self._ensure_engine, self._look_at_face, self._models = ensure_engine, look_at_face, models
        self._parameters: Any = None
        self._listed: list[Model] = []
        self._job: Job | None = None
        self._card: Any = None
        self._closed = False
        self._started = 0.0
        self._start_points = StartPoints(case.scene, case.protocol, self._show_start_points)
        connect(ui.placeButton, "clicked()", self._place)
        connect(ui.cancelButton, "clicked()", self._cancel)
        connect(ui.startPointsButton, "clicked()", self._pick_or_start)
        connect(ui.engineButton, "clicked()", show_engine)
        connect(ui.modelCardButton, "clicked()", self._show_card)
        connect(ui.addModelButton, "clicked()", self._add_model)
        connect(ui.modelSelector, "activated(int)", self._model_chosen)
        session.state_changed.connect(self._show_state)
        session.log_line.connect(self._log)
        case.scan_changed.connect(self._scan_changed)
        self._list_models()
        self._show_state(session.state, "")
        self._scan_changed()

    def cleanup(self) -> None:
        """Cancel what runs and let go of everything."""
        self._cancel()
        self._closed = True  # the answer to the cancelled job comes later, when the widgets are gone
        self._start_points.end()
        if self._card is not None:
            self._card.close()
        self._session.state_changed.disconnect(self._show_state)
        self._session.log_line.disconnect(self._log)
        self._case.scan_changed.disconnect(self._scan_changed)
        self._parameters = None

    def set_parameters(self, parameters: Any) -> None:
        """Work with another parameter node, or with none."""
        self._parameters = parameters
        self._show_choice()

    def choices(self) -> tuple[str, str]:
        """Give the chosen model's folder and device, as the engine takes them."""
        model = self.model()
        device = self._parameters.device.value if self._parameters is not None else "auto"
        return ("" if model is None else str(model.folder)), device

    # The model ------------------------------------------------------------------------------------------------------

    def model(self) -> Model | None:
        """Give the chosen model; the default one where the scene names one that is not here."""
        wanted = self._parameters.model_id if self._parameters is not None else ""
        for model in self._listed:
            if model.key == wanted:
                return model
        return self._listed[0] if self._listed else None

    def _list_models(self) -> None:
        self._listed = self._models.models()
        self._ui.modelSelector.clear()
        for model in self._listed:
            title = f"{model.title} ({model.key})"
            self._ui.modelSelector.addItem(title)
            self._ui.modelSelector.setItemData(self._ui.modelSelector.count - 1, title, qt.Qt.ToolTipRole)
        self._show_choice()

    def _show_choice(self) -> None:
        model = self.model()
        if model is not None:
            self._ui.modelSelector.setCurrentIndex(self._listed.index(model))

    def _model_chosen(self, index: int) -> None:
        if self._parameters is not None and 0 <= index < len(self._listed):
            self._parameters.model_id = self._listed[index].key

    def _show_card(self) -> None:
        with showing_errors(self._messages):
            model = self.model()
            if model is not None:
                self._card = show_model_card(model)

    def _add_model(self) -> None:
        with showing_errors(self._messages):
            folder = self._messages.folder(_("Choose the folder of a model bundle"))
            if folder:
                model = self._models.add(Path(folder))
                self._list_models()
                if self._parameters is not None:
                    self._parameters.model_id = model.key
                self._show_choice()

    # Placing --------------------------------------------------------------------------------------------------------

    def _scan_changed(self) -> None:
        self._cancel()
        self._start_points.end()
        self._ui.resultLabel.text = ""
        self._ui.startPointsRow.visible = False
        self._show_running()

    def _place(self) -> None:
        self._start_points.end()
        self._ui.startPointsRow.visible = False
        self._ensure_engine(lambda: self._predict(None))

    def _predict(self, initial: LandmarkSet | None) -> None:
        scan, model = self._case.scan, self.model()
        if scan is None or model is None or self._job is not None:
            return
        folder, device = self.choices()
        with showing_errors(self._messages):
            if model.protocol.labels != self._case.protocol.labels:
                raise BundleError(
                    _("This model places {n} other landmarks than the panel works with.").format(n=len(model.protocol)),
                    _("Use it from the command line: palnet-landmarks predict --model."),
                    code="bundle.protocol",
                )
            mesh = mesh_of(scan)
            self._ui.resultLabel.text = ""
            self._started = time.monotonic()
            self._job = self._session.predict(
                mesh,
                model=folder,
                device=device,
                initial=initial,
                on_progress=self._progress,
                on_result=self._placed,
                on_error=self._failed,
            )
            self._progress("starting", 0.0)
        self._show_running()

    def _cancel(self) -> None:
        if self._job is not None:
            self._ui.progressBar.setFormat(_("Cancelling..."))
            self._ui.cancelButton.enabled = False
            self._job.cancel()

    def _progress(self, stage: str, fraction: float) -> None:
        if self._closed:
            return
        words = {
            "starting": _("Starting the engine"),
            "loading": _("Loading the model"),
            "reading": _("Reading the scan"),
            "registration": _("Finding the face"),
            "patches": _("Cutting the patches"),
            "network": _("Placing the landmarks"),
            "projection": _("Putting them on the surface"),
        }.get(stage, stage)
        self._ui.progressBar.setFormat(f"{words} (%p %)")
        self._ui.progressBar.setValue(int(round(100 * fraction)))

    def _placed(self, result: PredictionResult) -> None:
        if self._closed:
            return
        self._job = None
        self._show_running()
        with showing_errors(self._messages):
            self._start_points.end()
            self._ui.startPointsRow.visible = False
            landmarks = self._case.landmarks()
            if landmarks is not None and landmarks.count("corrected") + landmarks.count("placed"):
                self._case.set_landmarks_node(None)  # the user's own points stay, in their node
            self._case.show_prediction(result.landmarks, result.scan_to_reference)
            self._look_at_face()
            self._ui.resultLabel.text = self._summary(result)

    def _summary(self, result: PredictionResult) -> str:
        placed, missing = result.landmarks.count("predicted"), result.landmarks.count("missing")
        registration = result.registration
        sentences = [
            _("{placed} landmarks placed, {missing} missing, in {seconds:.1f} s.").format(
                placed=placed, missing=missing, seconds=time.monotonic() - self._started
            ),
            _("Alignment {verdict} (RMS {rms:.1f} mm).").format(
                verdict=registration["verdict"], rms=registration["inlier_rms_mm"]
            ),
        ]
        return " ".join(sentences + [message for _code, message in result.warnings])

    def _failed(self, failure: Failure) -> None:
        if self._closed:
            return
        self._job = None
        self._show_running()
        if failure.code == "cancelled":
            self._ui.resultLabel.text = _("Cancelled.")
            return
        self._ui.resultLabel.text = f"{failure.message} {failure.hint}".strip()
        if failure.code.startswith("registration."):
            self._show_start_points()
            self._ui.startPointsRow.visible = True
        elif failure.code.startswith("engine."):
            self._ui.logBox.collapsed = False

    # Starting from three points -------------------------------------------------------------------------------------

    def _pick_or_start(self) -> None:
        with showing_errors(self._messages):
            if self._start_points.active and not self._start_points.next_label:
                points = self._start_points.landmarks()
                self._ensure_engine(lambda: self._predict(points))
            elif self._start_points.active:
                self._start_points.end()
                self._show_start_points()
            else:
                self._start_points.begin()
                self._show_start_points()

    def _show_start_points(self) -> None:
        if not self._start_points.active:
            text = _("Pick three points")
        elif self._start_points.next_label:
            text = _("Click on {label} in the 3D view (press here to stop)").format(label=self._start_points.next_label)
        else:
            text = _("Place landmarks from these points")
        self._ui.startPointsButton.text = text

    # What is shown --------------------------------------------------------------------------------------------------

    def _show_running(self) -> None:
        running = self._job is not None
        self._ui.progressRow.visible = running
        self._ui.cancelButton.enabled = running
        self._ui.placeButton.enabled = not running and self._case.scan is not None and bool(self._listed)
        self._ui.modelSelector.enabled = not running
        self._ui.deviceSelector.enabled = not running

    def _show_state(self, state: str, text: str) -> None:
        words = {
            "off": _("Engine: not started"),
            "starting": _("Engine: starting"),
            "ready": _("Engine: ready"),
            "busy": _("Engine: at work"),
            "failed": _("Engine: stopped"),
        }
        self._ui.engineLabel.text = words.get(state, state)
        if text:
            self._log(text)

    def _log(self, line: str) -> None:
        self._ui.logText.appendPlainText(line)
