"""Annotated scans on disk, read into the reference frame for training."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.cloud import face_cloud
from PALNetLandmarksLib.engine.locating import alignment_mask
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets import Dataset, Reader, open_dataset, read_annotation, read_matrix, reader_at

FloatArray = NDArray[np.float64]
logger = logging.getLogger(__name__)

TRAINING_AREA_PER_POINT = 1.6
"""Denser than at prediction (2.0 mm²): every training step keeps another random share of the points."""

SAMPLING = b"cells"
"""Name of the way points are drawn, part of the cache's keys: to be changed with it."""


@dataclass(frozen=True)
class Subject:
    """One annotated scan of a data set.

    ``folder`` is the subject's place, whose last part is the subject's id (see :mod:`training_tools.datasets.reader`);
    ``landmarks`` (l, 3) float64 in the scan's own frame, mm, NaN where not annotated; ``visible`` (l,) bool says which
    of them lie on captured surface; ``scan_to_reference`` (4, 4) or None where the data set brings no matrix; ``unit``
    is that of the scan's file.
    """

    folder: Path
    mesh: Path
    landmarks: FloatArray
    visible: NDArray[np.bool_]
    scan_to_reference: FloatArray | None
    unit: str = "mm"


def list_subjects(folder: Path, reader: Reader | None = None) -> list[Path]:
    """Return the places of a data set's annotated subjects, in order of their names.

    Parameters
    ----------
    folder : Path
        In any layout that :mod:`training_tools.datasets` knows.
    reader : Reader, optional
        How to read it; recognised by default.

    Raises
    ------
    InputError
        If there is none.
    """
    dataset = open_dataset(folder) if reader is None else Dataset(folder, reader, tuple(reader.places(folder)))
    annotated = dataset.annotated
    if not annotated:
        raise InputError(
            f"'{folder.name}' holds no annotated scans.",
            "Expected are sub-folders with a mesh and landmarks.txt (LAFAS layout), or another layout of "
            "docs/datasets.md.",
            code="dataset.empty",
        )
    without = [place.name for place in dataset.places if place not in set(annotated)]
    if without:
        listed = ", ".join(without[:5]) + (" and others" if len(without) > 5 else "")
        logger.warning("%s: %d without landmarks left out: %s", folder.name, len(without), listed)
    return annotated


def read_subject(folder: Path, protocol: Protocol, reader: Reader | None = None) -> Subject:
    """Read the annotation of one subject; the mesh itself is only located.

    Parameters
    ----------
    folder : Path
        The subject's place.
    protocol : Protocol
    reader : Reader, optional
        How to read it; told from the place by default.

    Raises
    ------
    InputError
        If it lacks a mesh or landmarks, or what is there cannot be used.
    """
    reader = reader or reader_at(folder)
    mesh = reader.scan(folder)
    annotation = read_annotation(reader, folder, protocol)
    assert annotation.visible is not None
    return Subject(
        folder=folder,
        mesh=mesh,
        landmarks=np.array(annotation.landmarks.positions, dtype=np.float64),
        visible=annotation.visible,
        scan_to_reference=read_matrix(reader.matrix_file(folder)),
        unit=reader.scan_unit(folder, protocol),
    )


@dataclass(frozen=True)
class CanonicalSubject:
    """A subject in the reference frame: ``cloud`` (n, 6) float32 points and normals, ``landmarks`` (l, 3) float32."""

    name: str
    cloud: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    visible: NDArray[np.bool_]


def canonical_subject(
    folder: Path,
    protocol: Protocol,
    mean: FloatArray,
    cache: Path,
    facet_normals: bool = False,
    reader: Reader | None = None,
) -> CanonicalSubject:
    """Read a subject and bring it into the reference frame by its own landmarks.

    The alignment used for training is the rigid least-squares fit of the annotated landmarks to the mean landmarks,
    which is what prediction converges to when it re-aligns by what it found. The sampled cloud is kept in ``cache``
    under the digest of everything it depends on. With ``facet_normals`` points have the normals of their triangles.
    """
    subject = read_subject(folder, protocol, reader)
    use = alignment_mask(protocol) & np.isfinite(subject.landmarks).all(axis=1)
    transform = rigid_fit(subject.landmarks[use], mean[use])
    key = hashlib.sha256(subject.mesh.read_bytes())
    key.update(transform.tobytes() + mean.tobytes() + repr(TRAINING_AREA_PER_POINT).encode() + SAMPLING)
    key.update(b"facet normals" if facet_normals else b"")
    key.update(b"" if subject.unit == "mm" else subject.unit.encode())
    stored = cache / f"{key.hexdigest()[:32]}.npy"
    if stored.exists():
        cloud = np.load(stored, allow_pickle=False)
    else:
        scan = read_scan(subject.mesh, unit=subject.unit)
        sampled = face_cloud(
            scan.vertices,
            scan.triangles,
            transform,
            mean,
            cells=scan.cells,
            area_per_point=TRAINING_AREA_PER_POINT,
            facet_normals=facet_normals,
            seed=0,
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


def mean_landmarks(
    folders: list[Path], protocol: Protocol, start: FloatArray, rounds: int = 3, reader: Reader | None = None
) -> FloatArray:
    """Average the landmarks of the training subjects after rigid alignment (generalised Procrustes, no scaling).

    Parameters
    ----------
    folders : list of Path
        Training subjects only.
    protocol : Protocol
    start : (l, 3) float64
        Landmarks of the reference; the result stays in its frame.
    rounds : int
    reader : Reader, optional
        How to read them; told from their places by default.
    """
    sets = np.stack([read_subject(folder, protocol, reader).landmarks for folder in folders])
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
