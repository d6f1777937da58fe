"""VTP and legacy VTK files, read with VTK in a process of its own.

VTK's readers are the reference for these formats, but a damaged file can crash the process they run in (2 of 100 files
with a few changed bytes, in trials). So they run in a child, with a bound on time and memory, and a crash is only a
damaged file.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine import reading_vtk_child
from PALNetLandmarksLib.engine.reading_raw import RawMesh, damaged, too_large, unsupported
from PALNetLandmarksLib.errors import DeviceError

_SECONDS = 25
_MOST_BYTES = 512 * 1024**2  # the reader holds it three times


def read_vtk(data: bytes, xml: bool) -> RawMesh:
    """Read a VTP (`xml`) or legacy VTK file.

    Parameters
    ----------
    data : bytes
        The file's content.
    xml : bool
        True for VTP, False for legacy VTK.

    Returns
    -------
    RawMesh
        Texture coordinates are not read: these files hold no picture.

    Raises
    ------
    InputError
        ``scan.damaged`` or ``scan.unsupported``.
    DeviceError
        If VTK is not installed.
    """
    if len(data) > _MOST_BYTES:
        raise too_large(f"its file is larger than {_MOST_BYTES // 1024**2} MB")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        child = subprocess.run(
            [sys.executable, str(Path(reading_vtk_child.__file__)), "xml" if xml else "legacy"],
            input=data,
            capture_output=True,
            timeout=_SECONDS,
            env=environment,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired as error:
        raise damaged(f"reading it took more than {_SECONDS} seconds") from error
    except OSError as error:
        raise DeviceError(
            "The reader of VTK files could not be started.", "Export the scan as PLY or OBJ.", code="scan.vtk_missing"
        ) from error
    if child.returncode == reading_vtk_child.NO_VTK:
        raise DeviceError(
            "VTK is not installed, so VTP and VTK files cannot be read.",
            "Install it with 'pip install vtk', or export the scan as PLY or OBJ.",
            code="scan.vtk_missing",
        )
    if child.returncode == reading_vtk_child.NO_SURFACE:
        raise unsupported("the VTK file holds no surface")
    if child.returncode != 0:
        raise damaged("it is not a whole VTK file")
    try:
        stream = io.BytesIO(child.stdout)
        vertices = np.load(stream, allow_pickle=False)
        triangles = np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise damaged("it is not a whole VTK file") from error
    return RawMesh(vertices, triangles)
