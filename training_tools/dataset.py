"""Annotated scans on disk, read into the reference frame for training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.cloud import face_cloud
from PALNetLandmarksLib.engine.locating import alignment_mask
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]

TRAINING_AREA_PER_POINT = 1.6
"""Denser than at prediction (2.0 mm²): every training step keeps another random share of the points."""


@dataclass(frozen=True)
class Subject:
    """One annotated scan of a data set in LAFAS layout.

    ``landmarks`` (l, 3) float64 in the scan's own frame, NaN where not annotated; ``visible`` (l,) bool says which of
    them lie on captured surface; ``scan_to_reference`` (4, 4) or None where the data set brings no matrix.
    """

    folder: Path
    mesh: Path
    landmarks: FloatArray
    visible: NDArray[np.bool_]
    scan_to_reference: FloatArray | None


def list_subjects(folder: Path) -> list[Path]:
    """Return the subjects' folders of a data set, in order of their names.

    Raises
    ------
    InputError
        If there is none.
    """
    found = sorted(p.parent for p in folder.glob("*/landmarks.txt"))
    if not found:
        raise InputError(
            f"'{folder.name}' holds no annotated scans.",
            "Expected are sub-folders with a mesh and landmarks.txt (LAFAS layout).",
            code="dataset.empty",
        )
    return found


def read_subject(folder: Path, protocol: Protocol) -> Subject:
    """Read the annotation of one subject; the mesh itself is only located."""
    meshes = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".ply", ".obj", ".stl", ".vtp"})
    if not meshes:
        raise InputError(f"'{folder.name}' holds no mesh.", "Put mesh.ply or mesh.obj into it.", code="dataset.mesh")
    landmarks = np.asarray(read_landmarks(folder / "landmarks.txt", protocol).positions, dtype=np.float64)
    visible = np.asarray(np.isfinite(landmarks).all(axis=1))
    meta = folder / "meta.json"
    if meta.exists():
        flags = json.loads(meta.read_text(encoding="utf-8")).get("visible")
        if flags is not None:
            visible = visible & np.array([bool(flags[label]) for label in protocol.labels])
    matrix = folder / "transformation_matrix.npy"
    return Subject(
        folder=folder,
        mesh=meshes[0],
        landmarks=landmarks,
        visible=visible,
        scan_to_reference=np.load(matrix, allow_pickle=False) if matrix.exists() else None,
    )


@dataclass(frozen=True)
class CanonicalSubject:
    """A subject in the reference frame: ``cloud`` (n, 6) float32 points and normals, ``landmarks`` (l, 3) float32."""

    name: str
    cloud: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    visible: NDArray[np.bool_]


def canonical_subject(folder: Path, protocol: Protocol, mean: FloatArray, cache: Path) -> CanonicalSubject:
    """Read a subject and bring it into the reference frame by its own landmarks.

    The alignment used for training is the rigid least-squares fit of the annotated landmarks to the mean landmarks,
    which is what prediction converges to when it re-aligns by what it found. The sampled cloud is kept in ``cache``
    under the digest of everything it depends on.
    """
    subject = read_subject(folder, protocol)
    use = alignment_mask(protocol) & np.isfinite(subject.landmarks).all(axis=1)
    transform = rigid_fit(subject.landmarks[use], mean[use])
    key = hashlib.sha256(subject.mesh.read_bytes())
    key.update(transform.tobytes() + mean.tobytes() + repr(TRAINING_AREA_PER_POINT).encode())
    stored = cache / f"{key.hexdigest()[:32]}.npy"
    if stored.exists():
        cloud = np.load(stored, allow_pickle=False)
    else:
        scan = read_scan(subject.mesh, unit="mm")
        sampled = face_cloud(
            scan.vertices, scan.triangles, transform, mean, area_per_point=TRAINING_AREA_PER_POINT, seed=0
        )
        cloud = np.hstack([apply_transform(transform, sampled.points), sampled.normals @ transform[:3, :3].T]).astype(
            np.float32
        )
        cache.mkdir(parents=True, exist_ok=True)
        temporary = stored.with_suffix(".part.npy")
        np.save(temporary, cloud)
        temporary.replace(stored)
    landmarks = apply_transform(transform, subject.landmarks).astype(np.float32)
    return CanonicalSubject(folder.name, cloud, landmarks, subject.visible)


def mean_landmarks(folders: list[Path], protocol: Protocol, start: FloatArray, rounds: int = 3) -> FloatArray:
    """Average the landmarks of the training subjects after rigid alignment (generalised Procrustes, no scaling).

    Parameters
    ----------
    folders : list of Path
        Training subjects only.
    protocol : Protocol
    start : (l, 3) float64
        Landmarks of the reference; the result stays in its frame.
    rounds : int
    """
    sets = np.stack([read_subject(folder, protocol).landmarks for folder in folders])
    mask = alignment_mask(protocol)
    mean = start.copy()
    for _ in range(rounds):
        aligned = []
        for landmarks in sets:
            use = mask & np.isfinite(landmarks).all(axis=1)
            aligned.append(apply_transform(rigid_fit(landmarks[use], mean[use]), landmarks))
        mean = np.nanmean(np.stack(aligned), axis=0)
        # The mean itself drifts from the frame of the reference by a rigid motion; take that out.
        mean = apply_transform(rigid_fit(mean[mask], start[mask]), mean)
    return mean


def symmetric(landmarks: FloatArray, protocol: Protocol) -> FloatArray:
    """Average landmarks (l, 3) with their mirror image at the mid-plane x = 0 of the reference frame."""
    reflected: FloatArray = landmarks[protocol.mirror] * [-1.0, 1.0, 1.0]
    return 0.5 * (landmarks + reflected)
