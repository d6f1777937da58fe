"""The picture on a scan: found beside the scan, bounded in size, and never a reason to refuse the scan."""

from __future__ import annotations

import io
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.scan import ScanWarning

_LONGEST_SIDE = 4096  # pixels kept: enough for display, 50 MB at most
_MOST_PIXELS = 20_000 * 20_000
_MOST_BYTES = 512 * 1024 * 1024

MISSING = ScanWarning(
    "scan.texture_missing",
    "The scan names a texture that is not beside it or cannot be read; the surface is used without colours.",
)


def file_beside(folder: Path, name: str) -> Path | None:
    """Return a file that a scan refers to if it lies in the scan's folder or below, else None.

    Absolute names and names that lead out of the folder are tried by their last part only; addresses (``http:``) are
    never followed.
    """
    name = name.strip().strip('"')
    if not name or "\0" in name or "://" in name:
        return None
    parts = PureWindowsPath(name).parts if "\\" in name else PurePosixPath(name).parts
    if not parts:
        return None
    inside = folder.resolve()
    for candidate in (folder.joinpath(*parts), folder / parts[-1]):
        try:
            resolved = candidate.resolve()
            if resolved.is_file() and resolved.is_relative_to(inside):
                return resolved
        except (OSError, ValueError, RuntimeError):
            continue
    return None


def read_image(source: Path | bytes) -> npt.NDArray[np.uint8] | None:
    """Read a picture as (h, w, 3) uint8, at most 4096 pixels on its longest side; None if it cannot be read."""
    from PIL import Image

    try:
        if isinstance(source, Path):
            if source.stat().st_size > _MOST_BYTES:
                return None
            source = source.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; the bound is ours
            with Image.open(io.BytesIO(source)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    return None
                image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))  # JPEG: decode at a fraction where that suffices
                image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except Exception:  # noqa: BLE001  a damaged picture raises whatever its decoder likes; it only costs the colours
        return None
