"""A small annotated data set for tests: the sample face in several sizes, proportions and poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import random_rotation
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.resources import resources_dir

SAMPLE = resources_dir() / "SampleData" / "face01"
PROTOCOL = load_protocol()


def thinned(vertices: np.ndarray, triangles: np.ndarray, grid_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge the vertices of each cell of a grid: a coarse mesh, read in a fraction of the time."""
    _, cell = np.unique(np.floor(vertices / grid_mm).astype(int), axis=0, return_inverse=True)
    cell = cell.ravel()
    count = np.bincount(cell)
    merged = np.stack([np.bincount(cell, vertices[:, axis]) / count for axis in range(3)], axis=1)
    corners = cell[triangles]
    kept = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 0] != corners[:, 2])
    return merged, np.unique(corners[kept], axis=0)


def variants(count: int, seed: int = 5, grid_mm: float = 6.0) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return vertices, triangles and landmarks of the sample face, each changed a little differently."""
    scan = read_scan(SAMPLE / "mesh.ply", "mm")
    vertices, triangles = (
        thinned(scan.vertices, scan.triangles, grid_mm) if grid_mm else (scan.vertices, scan.triangles)
    )
    landmarks = np.array(read_landmarks(SAMPLE / "landmarks.txt").positions)
    centre = scan.vertices.mean(axis=0)
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        shape = np.eye(3) + rng.normal(0.0, 0.03, (3, 3))
        matrix = random_rotation(rng) @ shape
        offset = rng.normal(0.0, 30.0, 3)
        made.append(((vertices - centre) @ matrix.T + offset, triangles,
                     (landmarks - centre) @ matrix.T + offset))  # fmt: skip
    return made


def lafas_rows(landmarks: np.ndarray, labels: tuple[str, ...] = PROTOCOL.labels) -> str:
    rows = [f"{label}\t({x:.5f},{y:.5f},{z:.5f})" for label, (x, y, z) in zip(labels, landmarks, strict=True)]
    return "\n".join(["landmark names", *rows]) + "\n"


def write_lafas(folder: Path, count: int, seed: int = 5, grid_mm: float = 6.0) -> list[np.ndarray]:
    """Write S001, S002 ... in LAFAS layout; give their landmarks."""
    meta = json.dumps({"visible": json.loads((SAMPLE / "meta.json").read_text(encoding="utf-8"))["visible"]})
    faces = variants(count, seed, grid_mm)
    for number, (vertices, triangles, landmarks) in enumerate(faces, start=1):
        place = folder / f"S{number:03d}"
        place.mkdir(parents=True)
        write_mesh(place / "mesh.ply", vertices, triangles)
        (place / "landmarks.txt").write_text(lafas_rows(landmarks), encoding="utf-8")
        (place / "meta.json").write_text(meta, encoding="utf-8")
    return [landmarks for _, _, landmarks in faces]
