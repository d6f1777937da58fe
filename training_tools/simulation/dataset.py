"""Write simulated scans as subject folders, several processes at a time, resumable."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.processes import end_with_parent
from PALNetLandmarksLib.engine.projection import prepare_surface, project
from PALNetLandmarksLib.errors import InputError
from training_tools.simulation.face_model import LICENCE_NOTICE, FaceModel, load_face_model
from training_tools.simulation.scan import SimulatedScan, simulate_scan

SIMULATION_VERSION = "1.0"
_ANNOTATOR = 78  # marks the random numbers of the annotator, apart from all others
_MODEL: dict[str, FaceModel] = {}


def subject_name(number: int) -> str:
    """Folder of a subject, ``S0001`` for number 1."""
    return f"S{number:04d}"


def write_ply(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Write a binary little-endian PLY with float32 positions and int32 triangles."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment unit mm\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, triangles
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(np.ascontiguousarray(vertices, "<f4").tobytes())
        file.write(rows.tobytes())


def annotated(scan: SimulatedScan, error_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mark the landmarks as a person would: on the surface, and not quite where they are.

    Parameters
    ----------
    scan : SimulatedScan
    error_mm : (landmarks,) float
        Mean distance of the marks from the true landmark along the surface.
    rng : numpy.random.Generator

    Returns
    -------
    (landmarks, 3) float64
        Those that the scan does not show are moved, too, but lie on no surface.
    """
    # A Gaussian in two directions of standard deviation s is s * sqrt(pi / 2) long on average.
    marks = scan.landmarks + rng.normal(size=scan.landmarks.shape) * (error_mm / np.sqrt(np.pi / 2.0))[:, None]
    surface = prepare_surface(scan.vertices.astype(np.float64), scan.triangles.astype(np.int64))
    marks[scan.visible] = project(surface, marks[scan.visible], "surface").points
    return marks


def write_subject(
    folder: Path,
    scan: SimulatedScan,
    model: FaceModel,
    seed: int,
    number: int,
    marks: np.ndarray | None = None,
) -> None:
    """Write one subject's folder; it appears whole or not at all.

    Parameters
    ----------
    folder : path
        ``.../S0001``; must not exist.
    scan : SimulatedScan
    model : FaceModel
    seed, number : int
    marks : (landmarks, 3) float, optional
        What is written into ``landmarks.txt`` in place of the true landmarks, which then stand in ``meta.json``.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    try:
        _write_whole(folder, scan, model, seed, number, marks)
    except OSError as error:
        raise InputError(
            f"{folder.name} cannot be written ({error.strerror or error}).",
            "Check the permissions and the free space of the output folder.",
        ) from error


def _write_whole(
    folder: Path, scan: SimulatedScan, model: FaceModel, seed: int, number: int, marks: np.ndarray | None
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        write_ply(temporary / "mesh.ply", scan.vertices, scan.triangles)
        written = scan.landmarks if marks is None else marks
        rows = [f"{k}\t({x:.5f},{y:.5f},{z:.5f})" for k, (x, y, z) in zip(model.labels, written, strict=True)]
        text = "\n".join(["landmark names", *rows]) + "\n"
        (temporary / "landmarks.txt").write_text(text, encoding="utf-8", newline="\n")
        np.save(temporary / "transformation_matrix.npy", scan.scan_to_reference)
        meta = {
            "software_version": __version__,
            "simulation_version": SIMULATION_VERSION,
            "model": model.name,
            "licence": LICENCE_NOTICE,
            "unit": "mm",
            "seed": seed,
            "number": number,
            "vertices": len(scan.vertices),
            "triangles": len(scan.triangles),
            "visible": {k: bool(v) for k, v in zip(model.labels, scan.visible, strict=True)},
            "distance_mm": {k: round(float(v), 3) for k, v in zip(model.labels, scan.distance_mm, strict=True)},
            **scan.record,
        }
        if marks is not None:
            truth = {k: np.round(point, 5).tolist() for k, point in zip(model.labels, scan.landmarks, strict=True)}
            meta["true_landmarks"] = truth
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8", newline="\n")
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _work(
    face_model: str,
    landmarks_file: str,
    output: str,
    seed: int,
    number: int,
    asymmetry_mm: float,
    error_mm: Mapping[str, float] | None,
) -> tuple[int, int]:
    key = f"{face_model}|{landmarks_file}"
    if key not in _MODEL:
        _MODEL[key] = load_face_model(face_model, landmarks_file)
    model = _MODEL[key]
    scan = simulate_scan(model, seed, number, asymmetry_mm)
    marks = None
    if error_mm is not None:
        rng = np.random.default_rng(np.random.SeedSequence([seed, number, _ANNOTATOR]))
        marks = annotated(scan, np.array([error_mm.get(label, 0.0) for label in model.labels]), rng)
    write_subject(Path(output) / subject_name(number), scan, model, seed, number, marks)
    return number, len(scan.vertices)


def write_scans(
    face_model: Path,
    landmarks_file: Path,
    output: Path,
    numbers: list[int],
    seed: int,
    jobs: int = 1,
    asymmetry_mm: float = 0.0,
    error_mm: Mapping[str, float] | None = None,
) -> Iterator[tuple[int, int]]:
    """Simulate and write the numbered subjects.

    Parameters
    ----------
    face_model, landmarks_file : path
        See `load_face_model`.
    output : path
        Folder of the subject folders; made if missing.
    numbers : list of int
    seed : int
    jobs : int
        Processes.
    asymmetry_mm : float
        Added left–right difference, see `with_asymmetry`.
    error_mm : mapping, optional
        Label to the annotator's mean error, see `annotated`; the true landmarks are written otherwise.

    Yields
    ------
    number, vertices : int
        Of each finished subject, in any order.

    Raises
    ------
    InputError
        If the face model cannot be read, or the output cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {output} cannot be made ({error}).", "Choose another output folder.") from error
    arguments = [
        (str(face_model), str(landmarks_file), str(output), seed, number, asymmetry_mm, error_mm) for number in numbers
    ]
    if jobs <= 1:
        for row in arguments:
            yield _work(*row)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent)
    try:
        for future in as_completed([pool.submit(_work, *row) for row in arguments]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def remove_leftovers(output: Path, numbers: list[int]) -> None:
    """Delete the half-written temporary folders that a killed run left for these subjects."""
    for number in numbers:
        for leftover in output.glob(f".{subject_name(number)}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
