"""How much memory was used."""

from __future__ import annotations

import sys

from PALNetLandmarksLib.errors import DeviceError


def peak_memory_mb(device: str = "cpu") -> float:
    """Return the most memory that this process has used so far, MB; of the GPU where ``device`` is one.

    NaN where the system does not tell (Windows).
    """
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1.0 if sys.platform == "darwin" else 1024.0  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def process_died() -> DeviceError:
    """Return the error for a helping process that the system has ended, mostly for want of memory."""
    return DeviceError(
        "A process that works on scans was ended by the system, most likely because memory ran out.",
        "Give the command again with fewer processes (--jobs 1, --workers 0).",
        code="device.process",
    )
