"""Choosing the computing device, and turning its failures into errors a user understands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from PALNetLandmarksLib.errors import DeviceError, UsageError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name : str
        ``auto`` takes a CUDA device where there is one and the CPU otherwise.

    Raises
    ------
    UsageError
        If the name is not known.
    DeviceError
        If CUDA is asked for and there is none.
    """
    if name not in DEVICES:
        raise UsageError(
            f"The device '{name}' is not known.", f"Choose one of {', '.join(DEVICES)}.", code="device.name"
        )
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise DeviceError(
            "This computer has no CUDA device that PyTorch can use.", "Choose --device cpu or auto.", code="device.cuda"
        )
    return torch.device("cpu")


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn out-of-memory and device failures into :class:`DeviceError`."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise DeviceError(
            "There is not enough memory for this scan.",
            "Close other programs, choose --device cpu, or reduce the scan's number of triangles.",
            code="device.memory",
        ) from error
    except RuntimeError as error:
        text = str(error).lower()
        if "alloc" in text or "cuda" in text:
            raise DeviceError(
                "The computing device failed or ran out of memory.", "Choose --device cpu.", code="device.failure"
            ) from error
        raise
