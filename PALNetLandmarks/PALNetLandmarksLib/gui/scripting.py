"""Use of the module from scripts, without its panel."""

from __future__ import annotations

import time
from typing import Any

import slicer

from ..errors import LandmarkingError
from ..protocol import load_protocol
from .case import Case
from .engine_environment import default_environment
from .engine_results import Failure, PredictionResult
from .engine_session import EngineSession
from .scene.mesh import mesh_of
from .text import _


def place_landmarks(model: Any, bundle: str = "", device: str = "auto", timeout: float = 120.0) -> Any:
    """Place the landmarks on a model node and wait until they are there.

    Slicer's events are handled meanwhile, so that the window stays alive.

    Parameters
    ----------
    model : vtkMRMLModelNode
    bundle : str
        Folder of a model bundle; the default one when empty.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    timeout : float
        Seconds.

    Returns
    -------
    vtkMRMLMarkupsFiducialNode
        As the panel makes it.

    Raises
    ------
    LandmarkingError
        If there is no engine, the face is not found, or it takes too long.
    """
    answers: list[Any] = []
    session = EngineSession(default_environment())
    try:
        session.predict(
            mesh_of(model),
            model=bundle,
            device=device,
            initial=None,
            on_progress=lambda stage, fraction: None,
            on_result=answers.append,
            on_error=answers.append,
        )
        end = time.monotonic() + timeout
        while not answers and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.005)
    finally:
        session.stop()
    if not answers:
        raise LandmarkingError(_("The engine did not answer in time."), _("Try again."), code="engine.silent")
    if isinstance(answers[0], Failure):
        raise LandmarkingError(answers[0].message, answers[0].hint, code=answers[0].code)
    result: PredictionResult = answers[0]
    case = Case(slicer.mrmlScene, load_protocol())
    try:
        case.set_scan(model)
        case.show_prediction(result.landmarks)
        return case.landmarks_node
    finally:
        case.cleanup()
