"""What the engine process does with a mesh: look at it, and place the landmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from PALNetLandmarksLib.errors import InputError, RegistrationError, UsageError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.predictor import Prediction, Predictor
    from PALNetLandmarksLib.engine.scan import Scan

Progress = Callable[[str, float], None]
_UNIT_NAMES = {"mm": "millimetres", "cm": "centimetres", "m": "metres", "in": "inches"}
#: Sizes of faces and heads, mm, see units.py.
_FACES = (120.0, 600.0)
_UNIT_WARNINGS = ("scan.unit_converted", "scan.unusual_size")


def check_mesh(
    vertices: np.ndarray, triangles: np.ndarray, predictor: Callable[[], Predictor], progress: Progress
) -> dict[str, Any]:
    """Say whether landmarks can be placed on a mesh, and what is odd about it.

    Parameters
    ----------
    vertices, triangles : (n, 3) float64, (m, 3) int32
        As they are in the scene, whatever their unit.
    predictor : callable
        Gives the predictor; asked for only when the mesh is one.
    progress : callable
        Called with a stage's name and the share done; what it raises ends the work.

    Returns
    -------
    dict
        ``size`` (in the mesh's own unit), ``unit`` (``mm``, ``cm``, ``m``, ``in`` or None where the size fits none or
        more than one), ``factor`` to mm (None likewise), ``possible_units``, ``facts`` of the surface (lengths in mm),
        ``registration`` (``verdict`` good, doubtful, refused or unknown; ``scan_to_reference`` in mm where a face was
        found), ``ears`` (``seen`` and ``of`` for ``right``
        and ``left``; None where unknown), ``warnings``, ``sentences`` (all there is to say), ``summary`` (those of them
        that say whether the scan can be used, but for its unit).
    """
    from PALNetLandmarksLib.engine.reading import scan_from_arrays
    from PALNetLandmarksLib.engine.scan_check import check_scan

    progress("check", 0.0)
    size = mesh_size(vertices, triangles)
    unit, factor, possible = guess_unit(size)
    facts: dict[str, Any] = {
        "size": size,
        "unit": unit,
        "factor": factor,
        "possible_units": possible,
        "facts": None,
        "registration": {"verdict": "unknown", "code": "", "message": ""},
        "ears": {"right": None, "left": None},
        "warnings": [],
        "sentences": [_unit_sentence(size, unit, possible)],
        "summary": [],
    }
    progress("check", 0.2)
    try:
        scan = scan_from_arrays(vertices, triangles, unit or "mm")
    except InputError as error:
        if error.code != "scan.size":
            raise
        return facts
    found = check_scan(scan)
    facts["facts"] = {key: value for key, value in asdict(found).items() if key not in ("sentences", "texture")}
    facts["warnings"] = [asdict(item) for item in scan.warnings if item.code not in _UNIT_WARNINGS]
    hidden = {item.message for item in scan.warnings if item.code in _UNIT_WARNINGS}
    said = [text for text in found.sentences if "texture" not in text and not text.startswith("The file is in")]
    facts["sentences"] = [*said[:1], *facts["sentences"], *(text for text in said[1:] if text not in hidden)]
    facts["summary"] = [item["message"] for item in facts["warnings"]]
    if unit is not None:
        progress("check", 0.4)
        face = _look_for_face(scan, predictor(), progress, facts)
        facts["sentences"] += face
        facts["summary"] += face
    progress("done", 1.0)
    return facts


def mesh_size(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Return the size of a mesh that has not been cleaned yet, in its own unit."""
    from PALNetLandmarksLib.engine.cleaning import clean
    from PALNetLandmarksLib.engine.reading_raw import RawMesh
    from PALNetLandmarksLib.engine.units import surface_size

    cleaned = clean(RawMesh(np.ascontiguousarray(vertices), triangles.astype(np.int64)))
    return surface_size(cleaned.vertices, cleaned.triangles)


def guess_unit(size: float) -> tuple[str | None, float | None, list[str]]:
    """Tell a mesh's unit from its size.

    Returns
    -------
    unit : str or None
        None where the size fits no unit or more than one.
    factor : float or None
        To mm.
    possible : list of str
        Units to choose from where it is not clear.
    """
    from PALNetLandmarksLib.engine.units import MILLIMETRES, choose_unit

    try:
        choice = choose_unit(size)
        return choice.unit, choice.scale_to_mm, [choice.unit]
    except InputError:
        return None, None, [name for name, factor in MILLIMETRES.items() if _FACES[0] <= size * factor <= _FACES[1]]


def _unit_sentence(size: float, unit: str | None, possible: Sequence[str]) -> str:
    if unit == "mm":
        return f"Its size of {size:.0f} mm is that of a face or head."
    if unit is not None:
        name = _UNIT_NAMES[unit]
        return f"It seems to be in {name}, not in millimetres: its size is {size:.3g}. Convert it to millimetres."
    if possible:
        names = " or ".join(_UNIT_NAMES[name] for name in possible)
        return f"Its size of {size:.3g} could be that of a face in {names}: choose the unit."
    return f"Its size of {size:.3g} is that of a face in no usual unit."


def _look_for_face(scan: Scan, predictor: Predictor, progress: Progress, facts: dict[str, Any]) -> list[str]:
    """Register the scan and see which ears it shows; fills in `facts` and gives the sentences."""

    def inner(stage: str, share: float) -> None:
        progress(stage if stage != "done" else "check", 0.4 + 0.6 * share)

    try:
        prediction = predictor.predict(scan, progress=inner)
    except RegistrationError as error:
        facts["registration"] = {"verdict": "refused", "code": error.code, "message": error.message}
        return [error.message]
    matrix = prediction.scan_to_reference.tolist()
    facts["registration"] = {**_registration(prediction), "code": "", "message": "", "scan_to_reference": matrix}
    sentences = []
    if prediction.registration.verdict != "good":
        sentences.append("A face was found, but its alignment is doubtful: look at all landmarks.")
    else:
        sentences.append("A face was found.")
    if prediction.registration.second_face:
        sentences.append("It seems to show two faces: cut one of them out of the scan.")
    if any(warning.code == "face.open_mouth" for warning in prediction.warnings):
        sentences.append("The mouth seems to be open: landmarks of lips and chin cannot be trusted.")
    ears = ears_in_view(prediction.landmarks)
    facts["ears"] = ears
    hidden = [side for side, ear in ears.items() if ear["of"] and not ear["seen"]]
    partly = [side for side, ear in ears.items() if 0 < ear["seen"] < ear["of"]]
    if not hidden and not partly:
        sentences.append("Both ears are in view.")
    for side in partly:
        sentences.append(f"The {side} ear is only partly in view: some of its landmarks will stay empty.")
    if len(hidden) == 2:
        sentences.append("The ears are not in view: their landmarks will stay empty.")
    elif hidden:
        sentences.append(f"The {hidden[0]} ear is not in view: its landmarks will stay empty.")
    return sentences


def ears_in_view(landmarks: LandmarkSet) -> dict[str, dict[str, int]]:
    """Count for each side the ear's landmarks that lie on the surface."""
    ears = {side: {"seen": 0, "of": 0} for side in ("right", "left")}
    for landmark, gone in zip(landmarks.protocol.landmarks, landmarks.missing, strict=True):
        if landmark.region == "ear" and landmark.side in ears:
            ears[landmark.side]["of"] += 1
            ears[landmark.side]["seen"] += not gone
    return ears


def predict_mesh(
    vertices: np.ndarray,
    triangles: np.ndarray,
    predictor: Predictor,
    progress: Progress,
    *,
    initial: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Place the landmarks on a mesh in mm.

    Parameters
    ----------
    vertices, triangles : (n, 3) float64, (m, 3) int32
        LPS, mm.
    predictor : Predictor
    progress : callable
        Called with a stage's name and the share done; what it raises ends the work.
    initial : mapping, optional
        Landmarks to start from: ``labels`` (k,) and ``positions`` (k, 3) in the mesh's frame.
    seed : int

    Returns
    -------
    dict
        The fields of a ``result`` event.

    Raises
    ------
    InputError
        ``scan.not_mm`` if the mesh is in another unit, and the errors of `scan_from_arrays`.
    RegistrationError, DeviceError
    """
    from PALNetLandmarksLib.engine.reading import scan_from_arrays
    from PALNetLandmarksLib.engine.units import surface_size

    progress("reading", 0.01)
    start = None if initial is None else _initial(initial, predictor.bundle.protocol)
    try:
        scan = scan_from_arrays(vertices, triangles, "mm")
        size = surface_size(scan.vertices, scan.triangles)
    except InputError as error:
        if error.code != "scan.size":
            raise
        size = mesh_size(vertices, triangles)
        refuse_other_units(size)
        raise
    refuse_other_units(size)
    prediction = predictor.predict(scan, initial=start, seed=seed, progress=progress)
    return _facts(prediction)


def refuse_other_units(size: float) -> None:
    """Refuse a mesh whose size says that its coordinates are not mm.

    Raises
    ------
    InputError
        ``scan.not_mm``.
    """
    unit, _, possible = guess_unit(size)
    if unit == "mm" or (unit is None and not possible):
        return
    names = " or ".join(_UNIT_NAMES[name] for name in possible)
    raise InputError(
        f"The scan is not in millimetres: its size is {size:.3g}, that of a face in {names}.",
        "Press Convert to millimetres, then try again.",
        code="scan.not_mm",
    )


def _initial(initial: Mapping[str, Any], protocol: Protocol) -> LandmarkSet:
    positions = np.full((len(protocol), 3), np.nan)
    try:
        for label, position in zip(initial["labels"], initial["positions"], strict=True):
            if label in protocol and None not in position:
                positions[protocol.index(label)] = np.asarray(position, dtype=np.float64)
        return LandmarkSet.from_positions(protocol, positions)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            "The points to start from cannot be read.",
            "Place them again, or predict without them.",
            code="initial.invalid",
        ) from error


def _registration(prediction: Prediction) -> dict[str, Any]:
    found = prediction.registration
    return {
        "verdict": found.verdict,
        "fitness": found.fitness,
        "inlier_rms_mm": found.inlier_rms_mm,
        "score": found.score,
        "attempts": found.attempts,
    }


def _facts(prediction: Prediction) -> dict[str, Any]:
    landmarks = prediction.landmarks
    return {
        "labels": landmarks.protocol.labels,
        "positions": [None if gone else row for row, gone in zip(landmarks.positions, landmarks.missing, strict=True)],
        "status": landmarks.status,
        "expected_error_mm": landmarks.expected_error_mm,
        "notes": landmarks.notes,
        "coordinate_system": landmarks.coordinate_system,
        "provenance": dict(landmarks.provenance),
        "protocol": landmarks.protocol.to_dict(),
        "scan_to_reference": prediction.scan_to_reference,
        "registration": _registration(prediction),
        "warnings": [{"code": item.code, "message": item.message} for item in prediction.warnings],
        "seconds": {**prediction.stage_seconds},
        "device": prediction.device,
    }
