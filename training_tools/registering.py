"""Align the scans of a data set to a reference face; a run can be stopped and gone on with at any time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.processes import as_completed
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.registration import Reference, register
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.files import atomic_write, raise_write_error, read_text
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import number_text, parse_table, write_table
from training_tools.datasets.opening import Dataset
from training_tools.datasets.reader import Reader, guarded, read_annotation, read_matrix
from training_tools.datasets.shape import LEAST_LANDMARKS

FloatArray = NDArray[np.float64]

CONTRADICTED = "registration.contradicted"
CONTRADICTED_MM = 15.0
"""Mean distance that the landmarks move between the registration and their own best fit, beyond which one is wrong."""
WRITTEN, KEPT, FAILED = "written", "kept", "failed"


@dataclass(frozen=True)
class Outcome:
    """How the registration of one subject ended; all but the first two may be empty or NaN.

    Parameters
    ----------
    subject : str
    status : {"written", "kept", "failed"}
        A matrix was written; one that was there is kept; there is none.
    verdict : str
        ``good`` or ``doubtful``; empty where it is not known.
    score, fitness, inlier_rms_mm : float
        See `PALNetLandmarksLib.engine.registration.Registration`.
    landmarks_from_mean_mm : float
        Mean distance of the registered landmarks from the mean landmarks.
    landmarks_best_mm : float
        The same after the landmarks' own rigid fit: what is left is the shape of the face.
    landmarks_moved_mm : float
        Mean distance between both places of the landmarks: how far the registration is off.
    seconds : float
    code, message : str
        What went wrong or is to be looked at.
    """

    subject: str
    status: str
    verdict: str = ""
    score: float = float("nan")
    fitness: float = float("nan")
    inlier_rms_mm: float = float("nan")
    landmarks_from_mean_mm: float = float("nan")
    landmarks_best_mm: float = float("nan")
    landmarks_moved_mm: float = float("nan")
    seconds: float = float("nan")
    code: str = ""
    message: str = ""
    exit_code: int = 0


@dataclass(frozen=True, eq=False)
class Target:
    """What scans are aligned to: a reference, and its mean landmarks (L, 3) in mm where they are of the protocol."""

    reference: Reference
    mean: FloatArray | None


def register_subject(
    place: Path, reader: Reader, protocol: Protocol, target: Target, overwrite: bool = False, seed: int = 0
) -> Outcome:
    """Align one subject and write its matrix; a matrix that is there is kept unless it is to be overwritten.

    Parameters
    ----------
    place : Path
    reader : Reader
    protocol : Protocol
        Only to compare the landmarks, where there are any, with the mean landmarks.
    target : Target
    overwrite : bool
    seed : int
        Of the search.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        When the matrix cannot be written; everything else that goes wrong is in the outcome.
    """
    began = time.perf_counter()
    file = reader.matrix_file(place)
    try:
        if file.exists() and not overwrite:
            matrix = read_matrix(file)
            assert matrix is not None
            return _with_landmarks(Outcome(place.name, KEPT), place, reader, protocol, target, matrix)
        with guarded(place, "scan"):
            path, unit = reader.scan(place), reader.scan_unit(place, protocol)
        scan = read_scan(path, unit, texture=False)
        found = register(scan, target.reference, seed=seed)
    except LandmarkingError as error:
        message = " ".join(f"{error.message} {error.hint}".split())
        return Outcome(place.name, FAILED, code=error.code, message=message, exit_code=error.exit_code)
    matrix = np.asarray(found.scan_to_reference, dtype=np.float64)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise_write_error(error, file)
    with atomic_write(file, "wb") as stream:
        np.save(stream, matrix, allow_pickle=False)
    outcome = Outcome(
        place.name,
        WRITTEN,
        found.verdict,
        found.score,
        found.fitness,
        found.inlier_rms_mm,
        seconds=time.perf_counter() - began,
    )
    return _with_landmarks(outcome, place, reader, protocol, target, matrix)


def _with_landmarks(
    outcome: Outcome, place: Path, reader: Reader, protocol: Protocol, target: Target, matrix: FloatArray
) -> Outcome:
    """Say how well the annotation, if there is one, agrees with the registration."""
    if target.mean is None or not reader.has_landmarks(place):
        return outcome
    try:
        landmarks = read_annotation(reader, place, protocol).landmarks.positions
    except LandmarkingError as error:
        return replace(outcome, code=error.code, message=f"Not compared with its landmarks: {error.message}")
    known = np.isfinite(landmarks).all(axis=1) & np.isfinite(target.mean).all(axis=1)
    if int(known.sum()) < LEAST_LANDMARKS:
        return outcome
    points, mean = landmarks[known], target.mean[known]
    placed = apply_transform(matrix, points)
    try:
        best = apply_transform(rigid_fit(points, mean), points)
    except ValueError:  # on one line: no fit to compare with
        return outcome
    moved = _mean_distance(placed, best)
    outcome = replace(
        outcome,
        landmarks_from_mean_mm=_mean_distance(placed, mean),
        landmarks_best_mm=_mean_distance(best, mean),
        landmarks_moved_mm=moved,
    )
    if moved <= CONTRADICTED_MM:
        return outcome
    return replace(
        outcome,
        code=CONTRADICTED,
        message=f"Its landmarks and the registration are {moved:.0f} mm apart: one of them is wrong. Run 'check'.",
    )


def _mean_distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())


_work: tuple[Reader, Protocol, Target, bool, int] | None = None  # of a process of the pool


def _start(reader: Reader, protocol: Protocol, target: Target, overwrite: bool, seed: int) -> None:
    global _work
    _work = (reader, protocol, target, overwrite, seed)


def _run(place: Path) -> Outcome:
    assert _work is not None
    return register_subject(place, *_work)


def register_all(
    dataset: Dataset, protocol: Protocol, target: Target, *, overwrite: bool = False, seed: int = 0, jobs: int = 1
) -> Iterator[Outcome]:
    """Align all subjects.

    Parameters
    ----------
    dataset : Dataset
    protocol : Protocol
    target : Target
    overwrite : bool
        Whether matrices that are there are replaced.
    seed : int
    jobs : int
        Processes.

    Yields
    ------
    Outcome
        One for each subject as it is done, in any order.

    Raises
    ------
    InputError
        When a matrix cannot be written.
    DeviceError
        When a process ended unexpectedly.
    """
    if jobs == 1 or len(dataset.places) < 2:
        for place in dataset.places:
            yield register_subject(place, dataset.reader, protocol, target, overwrite, seed)
        return
    yield from as_completed(
        _run,
        dataset.places,
        jobs,
        initializer=_start,
        initargs=(dataset.reader, protocol, target, overwrite, seed),
        hint="Run the command again with fewer --jobs: what is done is kept.",
        code="register.process",
    )


_DECIMALS = {"score": 3, "fitness": 3}
_COLUMNS = [item.name for item in fields(Outcome) if item.name != "exit_code"]
#: What a run knows only of the matrices that it makes itself.
_OF_THE_RUN = ("verdict", "score", "fitness", "inlier_rms_mm", "seconds")


def write_report(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table of all outcomes; it appears whole or not at all."""
    rows = []
    for outcome in outcomes:
        values = {name: getattr(outcome, name) for name in _COLUMNS}
        rows.append([
            value if isinstance(value, str) else number_text(value, _DECIMALS.get(name, 2))
            for name, value in values.items()
        ])  # fmt: skip
    write_table(path, _COLUMNS, rows)


def read_report(path: Path) -> dict[str, Outcome]:
    """Read an earlier report, to say of matrices that are kept what was known when they were made.

    Parameters
    ----------
    path : Path
        It need not exist.

    Returns
    -------
    dict of str to Outcome
        By subject; empty when there is no report of ours.
    """
    if not path.is_file():
        return {}
    try:
        _, rows = parse_table(read_text(path, what="report"), path.name)
        return {row["subject"]: _outcome(row) for _, row in rows}
    except (LandmarkingError, KeyError, ValueError):  # something else of that name: it is replaced
        return {}


def _outcome(row: Mapping[str, str]) -> Outcome:
    texts = ("subject", "status", "verdict", "code", "message")
    values: dict[str, Any] = {name: row[name] if name in texts else float(row[name] or "nan") for name in _COLUMNS}
    return Outcome(**values)


def with_earlier(outcome: Outcome, earlier: Outcome | None) -> Outcome:
    """Fill in what an earlier report knows of a matrix that is kept."""
    if outcome.status != KEPT or earlier is None or earlier.status == FAILED:
        return outcome
    known = {name: getattr(earlier, name) for name in _OF_THE_RUN}
    return replace(outcome, **known)
