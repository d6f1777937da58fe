"""What the engine's answers become on Slicer's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

from .text import _

#: Version of the protocol that the engine must speak.
PROTOCOL = 1


@dataclass(frozen=True)
class Failure:
    """Why the engine did not do what was asked.

    Parameters
    ----------
    code : str
        Stable name for programs.
    message : str
        What happened.
    hint : str
        What to do about it.
    """

    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True, eq=False)
class PredictionResult:
    """Landmarks of a scan and how they came about.

    Parameters
    ----------
    landmarks : LandmarkSet
        LPS, world, mm.
    scan_to_reference : (4, 4) float64
    registration : mapping
        ``verdict``, ``fitness``, ``inlier_rms_mm``, ``score``, ``attempts``.
    warnings : tuple of (str, str)
        Code and message.
    seconds : mapping of str to float
        Time of each stage.
    device : str
    """

    landmarks: LandmarkSet
    scan_to_reference: np.ndarray
    registration: Mapping[str, Any]
    warnings: Sequence[tuple[str, str]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    device: str = ""


def prediction_result(event: Mapping[str, Any], protocol: Protocol) -> PredictionResult:
    """Read a ``result`` event of a prediction.

    Parameters
    ----------
    event : mapping
        As the engine sent it; null is a number that is not there.
    protocol : Protocol
        Taken where the engine's is the same one.

    Raises
    ------
    LandmarkingError, KeyError, TypeError, ValueError
        If the event is not what the protocol says.
    """
    said = event["protocol"]
    if (said["id"], said["version"]) != (protocol.id, protocol.version) or tuple(event["labels"]) != protocol.labels:
        protocol = Protocol.from_dict(said)
    missing = [np.nan] * 3
    landmarks = LandmarkSet(
        protocol,
        np.array([missing if row is None else row for row in event["positions"]], dtype=np.float64),
        tuple(event["status"]),
        expected_error_mm=np.array(event["expected_error_mm"], dtype=np.float64),
        notes=tuple(event["notes"]),
        coordinate_system=event["coordinate_system"],
        provenance=event["provenance"],
    )
    return PredictionResult(
        landmarks,
        np.array(event["scan_to_reference"], dtype=np.float64),
        dict(event["registration"]),
        tuple((item["code"], item["message"]) for item in event["warnings"]),
        dict(event["seconds"]),
        str(event["device"]),
    )


def failure(event: Mapping[str, Any]) -> Failure:
    """Read an ``error`` event; hints that name options of the command line become the module's own."""
    code, hint = str(event.get("code", "")), str(event.get("hint", ""))
    hint = _hints().get(code, "" if "--" in hint else hint)
    return Failure(code, str(event.get("message", "")) or _("The engine failed."), hint)


def lost(details: str = "") -> Failure:
    """Say that the engine ended by itself."""
    message = _("The engine stopped unexpectedly.")
    if details:
        message = f"{message} {details}"
    hint = _("Try again: it is started anew. If this happens with this scan only, the scan may be too large.")
    return Failure("engine.lost", message, hint)


def silent() -> Failure:
    """Say that the engine did not answer and was ended."""
    return Failure(
        "engine.silent",
        _("The engine did not answer any more and was ended."),
        _("Try again: it is started anew."),
    )


def missing() -> Failure:
    """Say that no engine is installed."""
    return Failure(
        "engine.missing",
        _("The engine's packages are not installed."),
        _("Press Engine... and install it, or name a Python that has them."),
    )


def not_started() -> Failure:
    """Say that the engine's Python could not be started."""
    return Failure(
        "engine.missing",
        _("The engine's Python could not be started."),
        _("Press Engine... and check it."),
    )


def wrong_version(found: str, expected: str) -> Failure:
    """Say that the engine is of another version than the module."""
    return Failure(
        "engine.version",
        _("The engine is of version {found}, the module of version {expected}.").format(found=found, expected=expected),
        _("Restart Slicer. If that does not help, set up the engine again."),
    )


def cancelled() -> Failure:
    """Say that the user stopped the work."""
    return Failure("cancelled", _("Cancelled."))


def not_understood() -> Failure:
    """Say that an answer of the engine was not what it should be."""
    return Failure("engine.answer", _("The engine's answer could not be read."), _("Please report it."))


def _hints() -> dict[str, str]:
    """Give the hints for errors whose own hints name options of the command line."""
    pick = _("Check that the scan shows a face, or pick three points (Prn, Ex_R, Ex_L) to start from.")
    on_cpu = _("Choose CPU as the device and try again.")
    return {
        "registration.no_face": pick,
        "registration.few": pick,
        "registration.implausible": pick,
        "scan.size": _("Press Convert to millimetres, then try again."),
        "scan.not_mm": _("Press Convert to millimetres, then try again."),
        "scan.unit_ambiguous": _("Choose the unit and press Convert to millimetres."),
        "device.memory": _("Close other programs, choose CPU as the device, or reduce the scan's number of triangles."),
        "device.failure": on_cpu,
        "device.cuda": on_cpu,
        "engine.package": _("Press Engine... to install it."),
        "bundle.missing": _("Choose another model."),
        "bundle.damaged": _("Copy the model again from where it came, or choose another one."),
        "bundle.incomplete": _("Copy the model again from where it came, or choose another one."),
        "bundle.content": _("Copy the model again from where it came, or choose another one."),
        "bundle.shape": _("Copy the model again from where it came, or choose another one."),
    }
