"""Write simulated scans as subject folders, several processes at a time, resumable."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.errors import InputError
from training_tools.simulation.face_model import LICENCE_NOTICE, FaceModel, load_face_model
from training_tools.simulation.scan import SimulatedScan, simulate_scan

SIMULATION_VERSION = "1.0"
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


def write_subject(folder: Path, scan: SimulatedScan, model: FaceModel, seed: int, number: int) -> None:
    """Write one subject's folder; it appears whole or not at all.

    Parameters
    ----------
    folder : path
        ``.../S0001``; must not exist.
    scan : SimulatedScan
    model : FaceModel
    seed, number : int

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    try:
        _write_whole(folder, scan, model, seed, number)
    except OSError as error:
        raise InputError(
            f"{folder.name} cannot be written ({error.strerror or error}).",
            "Check the permissions and the free space of the output folder.",
        ) from error


def _write_whole(folder: Path, scan: SimulatedScan, model: FaceModel, seed: int, number: int) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        write_ply(temporary / "mesh.ply", scan.vertices, scan.triangles)
        rows = [f"{k}\t({x:.5f},{y:.5f},{z:.5f})" for k, (x, y, z) in zip(model.labels, scan.landmarks, strict=True)]
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
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8", newline="\n")
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _work(
    face_model: str, landmarks_file: str, output: str, seed: int, number: int, asymmetry_mm: float
) -> tuple[int, int]:
    key = f"{face_model}|{landmarks_file}"
    if key not in _MODEL:
        _MODEL[key] = load_face_model(face_model, landmarks_file)
    model = _MODEL[key]
    scan = simulate_scan(model, seed, number, asymmetry_mm)
    write_subject(Path(output) / subject_name(number), scan, model, seed, number)
    return number, len(scan.vertices)


def write_scans(
    face_model: Path,
    landmarks_file: Path,
    output: Path,
    numbers: list[int],
    seed: int,
    jobs: int = 1,
    asymmetry_mm: float = 0.0,
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
    arguments = [(str(face_model), str(landmarks_file), str(output), seed, number, asymmetry_mm) for number in numbers]
    if jobs <= 1:
        for row in arguments:
            yield _work(*row)
        return
    pool = ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn"))
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
