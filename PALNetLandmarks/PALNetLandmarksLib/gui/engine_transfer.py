"""The mesh on its way to the engine: a file in a private folder, written in small steps so that nothing waits."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Optional

import numpy as np

from PALNetLandmarksLib.files import try_lock

from .mesh import Mesh

#: The worker takes meshes from such folders only.
PREFIX = "palnet-engine-"
_LOCK = "in-use"
#: Bytes written at once: about 10 ms.
STEP = 4 * 1024 * 1024
#: A folder without a lock is left alone for this long: its owner may be about to make one.
_NEWBORN_SECONDS = 600.0


class TransferFolder:
    """A folder for meshes that only this process uses and that disappears with it.

    Folders that an earlier process left behind, because it crashed, are removed at the start.

    Parameters
    ----------
    base : path, optional
        Where to make it; default: the system's folder for temporary files.
    """

    def __init__(self, base: Optional[os.PathLike[str]] = None) -> None:
        self._base = Path(base) if base is not None else Path(tempfile.gettempdir())
        self._base.mkdir(parents=True, exist_ok=True)
        sweep(self._base)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=str(self._base)))  # readable for this user only
        self._lock: Optional[IO[bytes]] = open(self.path / _LOCK, "wb")  # noqa: SIM115 - open as long as the folder
        try_lock(self._lock)
        self._number = 0

    def new_file(self) -> Path:
        """Name a file that is not there yet."""
        self._number += 1
        return self.path / f"mesh{self._number}.npz"

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)


def write_mesh(path: Path, mesh: Mesh) -> Iterator[float]:
    """Write a mesh in steps of a few milliseconds.

    Parameters
    ----------
    path : Path
        File to write; it may not be there.
    mesh : Mesh

    Yields
    ------
    float
        Share written so far.
    """
    arrays: dict[str, np.ndarray] = {
        "vertices": np.ascontiguousarray(mesh.vertices, dtype=np.float64),
        "triangles": np.ascontiguousarray(mesh.triangles, dtype=np.int32),
    }
    whole, done = sum(array.nbytes for array in arrays.values()) or 1, 0
    descriptor = os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    with open(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
                )
                content = array.data.cast("B") if array.size else memoryview(b"")
                for start in range(0, len(content), STEP):
                    piece = content[start : start + STEP]
                    member.write(piece)
                    done += len(piece)
                    yield done / whole


def sweep(base: Path) -> int:
    """Remove the folders of processes that are no more.

    Parameters
    ----------
    base : Path
        Where folders for meshes are made.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for folder in base.glob(PREFIX + "*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        try:
            with open(folder / _LOCK, "r+b") as lock:
                dead = try_lock(lock)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _NEWBORN_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
            continue
        except OSError:  # somebody else's
            continue
        if dead:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
