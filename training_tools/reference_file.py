"""The reference face and the mean landmarks as one file, from the face model to the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from PALNetLandmarksLib.engine.registration import Reference
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import atomic_write


@dataclass(frozen=True)
class ReferenceFile:
    """A reference face with the landmarks on it, (l, 3) float64, mm, in the reference frame."""

    reference: Reference
    landmarks: NDArray[np.float64]


def write_reference(path: Path, reference: Reference, landmarks: NDArray[np.float64]) -> None:
    """Write the reference face and its landmarks."""
    content = save(
        {
            "points": np.ascontiguousarray(reference.points, dtype=np.float32),
            "normals": np.ascontiguousarray(reference.normals, dtype=np.float32),
            "extent": np.ascontiguousarray(reference.extent, dtype=np.uint8),
            "mean_landmarks": np.ascontiguousarray(landmarks, dtype=np.float64),
        }
    )
    with atomic_write(path, "wb") as file:
        file.write(content)


def read_reference(path: Path) -> ReferenceFile:
    """Read what :func:`write_reference` wrote; the same file stands in every bundle.

    Raises
    ------
    InputError
        If the file is missing or something else.
    """
    try:
        arrays = load_file(path)
        reference = Reference(arrays["points"], arrays["normals"], arrays["extent"])
        return ReferenceFile(reference, arrays["mean_landmarks"].astype(np.float64))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"'{path.name}' is no reference face.",
            "Make one with 'python -m training_tools reference', or take reference.safetensors from a bundle.",
            code="reference.file",
        ) from error
