"""How a training scan comes into the reference frame: by its annotation, or by the registration of prediction."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.registration import Reference, register
from PALNetLandmarksLib.engine.rigid import apply_transform, rigid_fit
from PALNetLandmarksLib.errors import RegistrationError
from PALNetLandmarksLib.protocol import Protocol
from training_tools.dataset import CanonicalSubject, canonical_subject, read_subject
from training_tools.datasets import Reader

FloatArray = NDArray[np.float64]

MISALIGNED_MM = 25.0
"""Mean distance of registered from mean landmarks beyond which a registration has taken the face for something else."""


def registered_transform(
    folder: Path, protocol: Protocol, reference: Reference, cache: Path, reader: Reader | None = None
) -> FloatArray:
    """Return the registration (4, 4) of a scan to the reference, as prediction finds it; kept in ``cache``.

    Raises
    ------
    RegistrationError
        If no trustworthy one is found.
    """
    subject = read_subject(folder, protocol, reader)
    key = hashlib.sha256(subject.mesh.read_bytes() + subject.unit.encode())
    key.update(np.ascontiguousarray(reference.points).tobytes())
    stored = cache / f"registration-{key.hexdigest()[:32]}.npy"
    if stored.exists():
        kept: FloatArray = np.load(stored, allow_pickle=False)
        return kept
    transform = np.asarray(
        register(read_scan(subject.mesh, unit=subject.unit), reference).scan_to_reference, dtype=np.float64
    )
    cache.mkdir(parents=True, exist_ok=True)
    temporary = stored.with_suffix(".part.npy")
    np.save(temporary, transform)
    temporary.replace(stored)
    return transform


def prepared_subject(
    folder: Path,
    protocol: Protocol,
    mean: FloatArray,
    cache: Path,
    registered_to: Reference | None = None,
    facet_normals: bool = False,
    reader: Reader | None = None,
) -> CanonicalSubject:
    """Read a scan and bring it into the reference frame.

    Parameters
    ----------
    folder : Path
    protocol : Protocol
    mean : (l, 3) float
        Mean landmarks.
    cache : Path
    registered_to : Reference, optional
        Align by registration to this face, as published, instead of by the annotation.
    facet_normals : bool
        Points have the normals of their triangles, for networks that want them so.
    reader : Reader, optional
        How to read it; told from its place by default.

    Raises
    ------
    RegistrationError
        If the registration fails, or takes something else for the face.
    """
    subject = canonical_subject(folder, protocol, mean, cache, facet_normals, reader)
    if registered_to is None:
        return subject
    transform = registered_transform(folder, protocol, registered_to, cache, reader)
    annotated = read_subject(folder, protocol, reader).landmarks
    registered = apply_transform(transform, annotated)
    apart = float(np.nanmean(np.linalg.norm(registered - mean, axis=1)))
    if apart > MISALIGNED_MM:
        raise RegistrationError(
            f"The registration of '{folder.name}' is {apart:.0f} mm off.",
            "Register it by hand, or train with --align landmarks.",
            code="registration.implausible",
        )
    # From the frame of the annotation's alignment to that of the registration: one rigid motion for all points.
    known = np.isfinite(annotated).all(axis=1)
    motion = rigid_fit(subject.landmarks[known].astype(np.float64), registered[known])
    points = apply_transform(motion, subject.cloud[:, :3].astype(np.float64))
    normals = subject.cloud[:, 3:] @ motion[:3, :3].T
    return CanonicalSubject(
        subject.name,
        np.hstack([points, normals]).astype(np.float32),
        registered.astype(np.float32),
        subject.visible,
    )
