"""Clean faces of one topology, as a morphable model registers them: no camera, no noise, no hair (FaceScape layout)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.rigid import apply_transform, random_rotation
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import atomic_write
from training_tools.simulation.face_model import SKIN, FaceModel

LANDMARKS_68_FILE = Path(__file__).with_name("landmarks68.json")
BACK_MM, BOTTOM_MM = -150.0, -130.0
"""What of the neutral head is kept, from the nose tip: registered faces end before the ears' back and at the neck."""


def face_part(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Choose the part of the model that every face consists of.

    Parameters
    ----------
    model : FaceModel

    Returns
    -------
    kept : (n,) int64
        Vertices of the model.
    triangles : (m, 3) int64
        Of the kept vertices.
    """
    triangles = model.triangles[np.isin(model.triangle_region, SKIN)].astype(np.int64)
    low = model.neutral[triangles].min(axis=1)
    kept, corners = np.unique(triangles[(low[:, 2] > BACK_MM) & (low[:, 1] > BOTTOM_MM)], return_inverse=True)
    return kept, corners.reshape(-1, 3)


def simulate_face(model: FaceModel, seed: int, number: int) -> np.ndarray:
    """Draw one neutral face in an arbitrary pose; it depends on the model, ``seed`` and ``number`` only.

    Returns
    -------
    (vertices, 3) float64
        All vertices of the model, mm.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
    vertices = model.shape(generator.normal(size=len(model.identity)), {})
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-100.0, 100.0, 3)
    return apply_transform(pose, vertices)


def face_file(output: Path, number: int) -> Path:
    """Return where a face's mesh lies."""
    return output / str(number) / "models_reg" / f"{number}_neutral.obj"


def _indices(landmarks_file: Path, kept: np.ndarray, vertex_count: int) -> np.ndarray:
    """Return the landmarks' vertices, (l,) int64, counted among the kept ones."""
    place = np.full(vertex_count, -1, np.int64)
    place[kept] = np.arange(len(kept))
    chosen = np.asarray(json.loads(landmarks_file.read_text(encoding="utf-8"))["vertices"])
    if chosen.max() >= vertex_count or (place[chosen] < 0).any():
        raise InputError(
            "The landmarks do not lie on this face model.",
            "Use the face model that they were defined on (ICT-FaceKit Face Model Light).",
        )
    return place[chosen]


def write_faces(
    model: FaceModel, output: Path, numbers: list[int], seed: int, landmarks_file: Path = LANDMARKS_68_FILE
) -> Iterator[tuple[int, int]]:
    """Write the numbered faces, ``1/models_reg/1_neutral.obj``, and ``landmark_indices.npz``.

    Parameters
    ----------
    model : FaceModel
    output : path
        Made if missing.
    numbers : list of int
    seed : int
    landmarks_file : path
        JSON with the model's vertices that are the landmarks.

    Yields
    ------
    number, vertices : int
        Of each finished face.

    Raises
    ------
    InputError
        If the landmarks are of another model, or the output cannot be written.
    """
    kept, triangles = face_part(model)
    indices = _indices(landmarks_file, kept, len(model.neutral))
    corners = "".join(f"f {a} {b} {c}\n" for a, b, c in triangles + 1)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with atomic_write(output / "landmark_indices.npz", "wb") as archive:
            np.savez(archive, v10=indices)
        for number in numbers:
            vertices = simulate_face(model, seed, number)[kept]
            rows = "".join(f"v {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in vertices)
            path = face_file(output, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(f"# simulated from {model.name}, unit mm\n{rows}{corners}")
            yield number, len(vertices)
    except OSError as error:
        raise InputError(
            f"{output.name} cannot be written ({error.strerror or error}).",
            "Check the permissions and the free space of the output folder.",
        ) from error
