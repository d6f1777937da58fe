"""What is recorded of a prediction, so that it can be traced and done again: see ``docs/file-formats.md``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import lru_cache

import numpy as np
import torch

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.bundle import Bundle
from PALNetLandmarksLib.engine.registration import Registration
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.landmarks import LandmarkSet, utc_text
from PALNetLandmarksLib.protocol import Protocol

#: Packages whose versions may change a result in its last digits.
_LIBRARIES = ("numpy", "scipy", "torch", "open3d", "trimesh")


def prediction_provenance(
    bundle: Bundle,
    scan: Scan,
    registration: Registration,
    *,
    device: torch.device,
    seed: int,
    initial: LandmarkSet | None = None,
) -> dict[str, str]:
    """Say how a prediction comes about: keys of ``PROVENANCE_KEYS``, without the digest of its result.

    Parameters
    ----------
    bundle : Bundle
    scan : Scan
    registration : Registration
    device : torch.device
    seed : int
    initial : LandmarkSet, optional
        The points that the search started from.

    Returns
    -------
    dict of str to str
        No path, and no name of a file, a person or a computer.
    """
    return {
        "model_id": bundle.id,
        "model_version": bundle.version,
        "model_sha256": bundle.weights_sha256,
        "bundle_sha256": bundle.sha256,
        "model_training_data": bundle.training_data,
        "software_version": f"PALNetLandmarks {__version__}",
        "libraries": libraries(),
        "created_utc": utc_text(),
        "scan_sha256": scan.sha256,
        "mesh_sha256": mesh_sha256(scan),
        "scan_unit": scan.unit,
        "scan_scale_to_mm": f"{scan.scale_to_mm:g}",
        "registration_verdict": registration.verdict,
        "registration_fitness": f"{registration.fitness:.3f}",
        "registration_rms_mm": f"{registration.inlier_rms_mm:.2f}",
        "registration_score": f"{registration.score:.3f}",
        "registration_attempts": str(registration.attempts),
        "projection": bundle.projection["kind"],
        "device": str(device),
        "processor": processor(device),
        "threads": str(torch.get_num_threads()),
        "seed": str(seed),
        "start_points": "" if initial is None else start_points(initial),
    }


@lru_cache(maxsize=1)
def libraries() -> str:
    """Name Python and the packages that compute, with their versions, such as ``Python 3.12.3; numpy 2.1.0``."""
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "; ".join(found)


def processor(device: torch.device) -> str:
    """Name what computes, as far as it may change the last digits: the graphics card, or the CPU's instruction set."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def mesh_sha256(scan: Scan) -> str:
    """Return the SHA-256 of a mesh as it is predicted on, whatever file it came from.

    Of the cleaned vertices (mm, float32, little-endian, row by row), then the triangles (int32 likewise).
    """
    digest = hashlib.sha256()
    # Adding zero makes the negative zeros that turned frames have positive.
    digest.update(np.ascontiguousarray(scan.vertices + 0.0, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(scan.triangles, dtype="<i4").tobytes())
    return digest.hexdigest()


def prediction_sha256(landmarks: LandmarkSet) -> str:
    """Return the SHA-256 of what was predicted, to the last bit.

    Of the positions in LPS and the expected errors (float64, little-endian), missing ones as the usual NaN.
    """
    values = np.column_stack([landmarks.in_coordinate_system("LPS").positions, landmarks.expected_error_mm]) + 0.0
    values[np.isnan(values)] = np.nan
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f8").tobytes()).hexdigest()


def start_points(initial: LandmarkSet) -> str:
    """Write the points that a search started from, so that :func:`parse_start_points` gives the same bits."""
    rows = zip(initial.protocol.labels, initial.positions.tolist(), initial.missing, strict=True)
    return "; ".join(f"{label} {x!r} {y!r} {z!r}" for label, (x, y, z), gone in rows if not gone)


def parse_start_points(text: str, protocol: Protocol) -> LandmarkSet | None:
    """Read what :func:`start_points` wrote; None where the search started from nothing.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    if not text:
        return None
    positions = np.full((len(protocol), 3), np.nan)
    for part in text.split(";"):
        label, *numbers = part.split()
        if len(numbers) != 3 or label not in protocol:
            raise ValueError("the points that the search started from cannot be read")
        positions[protocol.index(label)] = [float(number) for number in numbers]
    return LandmarkSet.from_positions(protocol, positions)
