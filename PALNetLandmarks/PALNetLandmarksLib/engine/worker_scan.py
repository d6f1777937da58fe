"""The mesh on its way into the engine process: a file of two arrays that is checked, read and deleted."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import InputError

#: Folders that scans are taken from begin so; the worker deletes what it reads and must not be led to other files.
FOLDER_PREFIX = "palnet-engine-"
LARGEST_MESH = 2 * 1024**3  # bytes, as for scan files
_ARRAYS = {"vertices": "float64", "triangles": "int32"}


def take_mesh(path: str) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Read a mesh and delete its file, also when it cannot be read.

    Parameters
    ----------
    path : str
        ``.npz`` file in a folder of ours, uncompressed, with ``vertices`` (n, 3) float64 and ``triangles`` (m, 3)
        int32.

    Returns
    -------
    vertices : (n, 3) float64
    triangles : (m, 3) int32

    Raises
    ------
    InputError
        If the file is not such a file (``scan.transfer``).
    """
    if not _ours(Path(path)):
        raise _refused("it is not in a folder of the engine's")
    file = Path(path)
    try:
        return _read(file)
    except FileNotFoundError as error:
        raise _refused("the file is not there") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _refused(str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def delete_mesh(path: str) -> None:
    """Delete the file of a mesh that nobody wants any more."""
    if _ours(Path(path)):
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _ours(file: Path) -> bool:
    try:
        return file.suffix == ".npz" and file.parent.name.startswith(FOLDER_PREFIX) and not file.is_symlink()
    except OSError:  # no system has a file of this name
        return False


def _read(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    size = os.stat(file).st_size
    if size > LARGEST_MESH:
        raise InputError(
            "The scan is too large for the engine.",
            "Reduce it to fewer than a million vertices and try again.",
            code="scan.too_large",
        )
    with zipfile.ZipFile(file) as archive:
        members = {item.filename: item for item in archive.infolist()}
        if set(members) != {f"{name}.npy" for name in _ARRAYS} or len(archive.infolist()) != len(members):
            raise ValueError("it holds other arrays than a mesh")
        # Stored, not compressed: so no array is larger than the file.
        if any(item.compress_type != zipfile.ZIP_STORED or item.file_size > size for item in members.values()):
            raise ValueError("its arrays are compressed")
        found: dict[str, NDArray[Any]] = {
            name: _array(archive.read(f"{name}.npy"), kind) for name, kind in _ARRAYS.items()
        }
    return found["vertices"], found["triangles"]


def _array(content: bytes, kind: str) -> NDArray[Any]:
    """Read one array; its header is held against the bytes that are there before any memory is taken for it."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(stream)
    if dtype != np.dtype(kind) or len(shape) != 2 or shape[1] != 3 or fortran:
        raise ValueError(f"an array is not (n, 3) {kind}")
    if shape[0] * 3 * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("an array is cut off")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def _refused(why: str) -> InputError:
    return InputError(
        f"The scan did not reach the engine: {why[:200]}.",  # libraries quote what they could not read
        "Try again. If it happens again, see whether the disk is full.",
        code="scan.transfer",
    )
