"""Look at one subject of a data set: whether it can be read, and whether its landmarks lie on its scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.projection import prepare_surface, project_to_surface
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.resampling import triangle_normals
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.engine.units import MILLIMETRES, surface_size
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.reader import Annotation, Reader, guarded, read_annotation, read_matrix

FloatArray = NDArray[np.float64]
Say = Callable[..., None]

OFF_SURFACE_MM = 5.0
"""Distance from the scan's surface beyond which a landmark that should lie on it is reported."""
_UNIT_WORDS = {"mm": "millimetres", "cm": "centimetres", "in": "inches", "m": "metres"}
#: Root mean square distance of a face's landmarks from their centre, mm: about 45 to 75 for adults.
_FACE_SPREAD_MM = (28.0, 120.0)
PROBLEM, DOUBT, NOTE = "problem", "doubt", "note"
LEVELS = (PROBLEM, DOUBT, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing found, for one line.

    Parameters
    ----------
    subject : str
        Its id; empty for the data set as a whole.
    level : {"problem", "doubt", "note"}
        Must be put right; should be looked at; good to know.
    code : str
        Stable name of the kind.
    message : str
        One or two sentences, without any path.
    labels : tuple of str
        The landmarks concerned.
    """

    subject: str
    level: str
    code: str
    message: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Examined:
    """What is known of one subject with L landmarks.

    Parameters
    ----------
    subject : str
        Its id.
    place : Path
    landmarks : (L, 3) float64
        In the scan's frame, in millimetres as far as that can be told; NaN where missing.
    off_surface_mm : (L,) float64
        Distance from the scan's surface; NaN where either is missing.
    scan_sha256 : str
        Of the scan's file; empty when it cannot be read.
    size_mm : float
        Of the scan, see `units.surface_size`; NaN without.
    vertices : int
    placed, predicted : int
        Landmarks that a person placed or corrected, and that only a model predicted.
    front : (3,) float64
        Mean outward direction of the surface at the landmarks, in the scan's frame; NaN without.
    matrix : (4, 4) float64, optional
    findings : tuple of Finding
    """

    subject: str
    place: Path
    landmarks: FloatArray
    off_surface_mm: FloatArray
    scan_sha256: str = ""
    size_mm: float = float("nan")
    vertices: int = 0
    placed: int = 0
    predicted: int = 0
    front: FloatArray = field(default_factory=lambda: np.full(3, np.nan))
    matrix: FloatArray | None = None
    findings: tuple[Finding, ...] = ()


def examine(place: Path, reader: Reader, protocol: Protocol) -> Examined:
    """Look at one subject.

    Parameters
    ----------
    place : Path
    reader : Reader
    protocol : Protocol
        The landmarks, L of them.

    Returns
    -------
    Examined
        Everything that is wrong is among the findings; nothing is raised.
    """
    findings: list[Finding] = []

    def note(level: str, code: str, message: str, labels: tuple[str, ...] = ()) -> None:
        findings.append(Finding(place.name, level, code, " ".join(message.split()), labels))

    annotation = _annotation(place, reader, protocol, note)
    scan = _scan(place, reader, protocol, note)
    count = len(protocol)
    positions = np.full((count, 3), np.nan)
    visible = np.zeros(count, dtype=bool)
    placed = predicted = 0
    if annotation is not None:
        positions = np.array(annotation.landmarks.positions)
        assert annotation.visible is not None
        visible = annotation.visible
        predicted = annotation.landmarks.count("predicted")
        placed = int((~annotation.landmarks.missing).sum()) - predicted
        positions = positions * _landmark_scale(positions, reader.unit, note)
    result = Examined(
        subject=place.name,
        place=place,
        landmarks=positions,
        off_surface_mm=np.full(count, np.nan),
        placed=placed,
        predicted=predicted,
        matrix=_matrix(place, reader, note),
    )
    if scan is not None:
        distance, front = _on_surface(scan, positions)
        _say_distances(distance, visible, protocol, note)
        result = replace(
            result,
            off_surface_mm=distance,
            front=front,
            scan_sha256=scan.sha256,
            size_mm=surface_size(scan.vertices, scan.triangles),
            vertices=len(scan.vertices),
        )
    return replace(result, findings=tuple(findings))


def _annotation(place: Path, reader: Reader, protocol: Protocol, note: Say) -> Annotation | None:
    if not reader.has_landmarks(place):
        note(DOUBT, "landmarks.none", "It has no landmarks and is left out of training.")
        return None
    try:
        annotation = read_annotation(reader, place, protocol)
    except LandmarkingError as error:
        note(PROBLEM, "landmarks.unusable", f"{error.message} {error.hint}")
        return None
    for warning in annotation.warnings:
        note(DOUBT, "landmarks.doubt", f"Its landmark file: {warning}.")
    landmarks = annotation.landmarks
    gone = tuple(label for label, absent in zip(protocol.labels, landmarks.missing, strict=True) if absent)
    if len(gone) == len(protocol):
        note(PROBLEM, "landmarks.empty", "None of its landmarks has a position. Annotate it or move it away.")
        return None
    if gone:
        note(NOTE, "landmarks.missing", f"{len(gone)} of {len(protocol)} landmarks are not annotated: "
             f"{_listed(gone)}.", gone)  # fmt: skip
    if landmarks.count("predicted"):
        note(NOTE, "landmarks.predicted", f"{landmarks.count('predicted')} landmarks are a model's predictions that "
             "nobody corrected. Leave them out with --without-predicted.")  # fmt: skip
    return annotation


def _scan(place: Path, reader: Reader, protocol: Protocol, note: Say) -> Scan | None:
    try:
        with guarded(place, "scan"):
            path, unit = reader.scan(place), reader.scan_unit(place, protocol)
        try:
            scan = read_scan(path, unit, texture=False)
            unusual = any(warning.code == "scan.unusual_size" for warning in scan.warnings)
        except InputError as error:
            if error.code != "scan.size":
                raise
            scan, unusual = read_scan(path, "auto", texture=False), True
        if unusual:
            scan = _in_its_own_unit(path, unit, scan, note)
        return scan
    except LandmarkingError as error:
        code = "mesh.missing" if error.code in ("dataset.mesh", "scan.not_found") else "mesh.unusable"
        note(PROBLEM, code, f"{error.message} {error.hint}")
    return None


def _in_its_own_unit(path: Path, unit: str, scan: Scan, note: Say) -> Scan:
    """Read a scan of an unusual size in the unit that its size suggests, and say so."""
    try:
        again = read_scan(path, "auto", texture=False)
    except LandmarkingError:
        again = scan
    if again.unit != unit:
        note(PROBLEM, "unit.mesh", f"The mesh looks like {_UNIT_WORDS[again.unit]}, not {_UNIT_WORDS[unit]}. Scale it, "
             f"or give --unit {again.unit} if the whole data set is so.")  # fmt: skip
    else:
        size = surface_size(scan.vertices, scan.triangles)
        note(DOUBT, "unit.size", f"The mesh is {size:.0f} mm in size, which is unusual for a face.")
    return again


def _landmark_scale(positions: FloatArray, unit: str, note: Say) -> float:
    """Give the factor that makes millimetres of landmarks that are stated to be but cannot be."""
    known = positions[np.isfinite(positions).all(axis=1)]
    spread = float(np.sqrt(((known - known.mean(axis=0)) ** 2).sum(axis=1).mean())) if len(known) > 2 else 0.0
    if len(known) < 3 or _FACE_SPREAD_MM[0] <= spread <= _FACE_SPREAD_MM[1]:
        return 1.0
    low, high = _FACE_SPREAD_MM
    stated = MILLIMETRES[unit]
    fitting = [name for name, factor in MILLIMETRES.items() if low <= spread / stated * factor <= high]
    if not fitting:
        note(PROBLEM, "unit.landmarks", f"The landmarks spread over {2 * spread:.3g} mm, which is no face in any unit.")
        return 1.0
    words = " or ".join(_UNIT_WORDS[name] for name in fitting)
    note(PROBLEM, "unit.landmarks", f"The landmarks look like {words}, not {_UNIT_WORDS[unit]}. Scale them, or give "
         f"--unit {fitting[0]} if the whole data set is so.")  # fmt: skip
    return MILLIMETRES[fitting[0]] / stated


def _on_surface(scan: Scan, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the landmarks' distances from the surface (L,) and the mean outward direction there (3,)."""
    distance, front = np.full(len(positions), np.nan), np.full(3, np.nan)
    known = np.isfinite(positions).all(axis=1)
    if known.any():
        found = project_to_surface(prepare_surface(scan.vertices, scan.triangles), positions[known])
        distance[known] = found.moved_mm
        normals = triangle_normals(scan.vertices, scan.triangles[found.index])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        front = (normals / np.maximum(length, 1e-300)).mean(axis=0)
    return distance, front


def _say_distances(distance: FloatArray, visible: NDArray[np.bool_], protocol: Protocol, note: Say) -> None:
    far = np.flatnonzero(visible & (distance > OFF_SURFACE_MM))
    if not len(far):
        return
    if len(far) > max(3, len(protocol) // 3):
        middle = float(np.median(distance[far]))
        note(
            PROBLEM,
            "surface.apart",
            f"{len(far)} landmarks lie off the surface, half of them by more than {middle:.0f} mm: scan and landmarks "
            "do not belong together, or one of them was moved.",
        )
        return
    far = far[np.argsort(-distance[far])]
    labels = tuple(protocol.labels[place] for place in far)
    each = _listed([f"{protocol.labels[place]} by {distance[place]:.1f} mm" for place in far])
    note(PROBLEM, "surface.off", f"Off the surface: {each}. Place them again.", labels)


def _matrix(place: Path, reader: Reader, note: Say) -> FloatArray | None:
    try:
        return read_matrix(reader.matrix_file(place))
    except LandmarkingError as error:
        note(PROBLEM, "matrix", f"{error.message} {error.hint}")
        return None


def _listed(words: list[str] | tuple[str, ...], most: int = 8) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
