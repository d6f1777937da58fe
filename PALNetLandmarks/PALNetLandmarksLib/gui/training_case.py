"""Save a scan with its landmarks as a training case, in the LAFAS layout that the training tools read."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import PathLike, raise_write_error
from PALNetLandmarksLib.landmark_files import write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet

from .mesh import Mesh
from .text import _

MESH_FILE, LANDMARKS_FILE, MATRIX_FILE = "mesh.ply", "landmarks.txt", "transformation_matrix.npy"
_NUMBERED = re.compile(r"S(\d{4,9})", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
# Windows keeps these names for devices, whatever their case.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def next_name(folder: PathLike) -> str:
    """Propose the name of the next case in a folder.

    Parameters
    ----------
    folder : str or PathLike
        It need not exist.

    Returns
    -------
    str
        ``S0001``, or one more than the highest number there.
    """
    try:
        taken = [_NUMBERED.fullmatch(entry.name) for entry in Path(folder).iterdir()]
    except OSError:
        taken = []
    return f"S{max((int(match.group(1)) for match in taken if match), default=0) + 1:04d}"


def save_training_case(
    folder: PathLike,
    name: str,
    mesh: Mesh,
    landmarks: LandmarkSet,
    scan_to_reference: np.ndarray | None = None,
    now: datetime | None = None,
) -> Path:
    """Write one case; all of it appears, or nothing does, and nothing is overwritten.

    Parameters
    ----------
    folder : str or PathLike
        The data set's folder, which exists.
    name : str
        Name of the case's own folder: letters, digits, ``-`` and ``_``. A pseudonym, never a person's name.
    mesh : Mesh
        LPS, mm, world.
    landmarks : LandmarkSet
        In world coordinates. Missing ones are written as such.
    scan_to_reference : (4, 4) float, optional
        From the scan's frame (LPS, mm) to the reference's, where it is known.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    InputError
        When the name cannot be used or is taken, no landmark has a position, or the disk refuses.
    """
    parent = Path(folder)
    name = name.strip()
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise InputError(
            _("'{name}' cannot be the name of a training case.").format(name=name[:60]),
            _("Use letters, digits, - and _, and no name of a person; {proposal} for example.").format(
                proposal=next_name(parent)
            ),
            code="training_case.name",
        )
    if landmarks.missing.all():
        raise InputError(
            _("No landmark of this scan has a position yet."), _("Place landmarks first."), code="training_case.empty"
        )
    if not str(folder).strip() or not parent.is_dir():
        raise InputError(
            _("The folder for training cases does not exist."), _("Choose another folder."), code="training_case.folder"
        )
    target = parent / name
    # Also a name that differs by its case only: some disks take it for the same.
    if any(entry.name.lower() == name.lower() for entry in parent.iterdir()):
        raise InputError(
            _("There is already a training case {name}.").format(name=name),
            _("Choose another name: {proposal} is free.").format(proposal=next_name(parent)),
            code="training_case.taken",
        )
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".palnet-", suffix=".tmp", dir=str(parent)))
    except OSError as error:
        raise_write_error(error, target)
    try:
        _write_mesh(temporary / MESH_FILE, mesh)
        write_landmarks(temporary / LANDMARKS_FILE, landmarks.in_coordinate_system("LPS"), now=now)
        if scan_to_reference is not None:
            np.save(temporary / MATRIX_FILE, np.asarray(scan_to_reference, dtype=np.float64), allow_pickle=False)
        os.chmod(temporary, 0o777 & ~_umask())  # a temporary folder is made for its owner only
        os.rename(temporary, target)
    except OSError as error:
        raise_write_error(error, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write_mesh(path: Path, mesh: Mesh) -> None:
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    points.SetData(numpy_to_vtk(mesh.vertices.astype(np.float32), deep=True))
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.arange(0, 3 * len(mesh.triangles) + 1, 3, dtype=np.int64), deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(mesh.triangles, dtype=np.int64).ravel(), deep=True),
    )
    polydata = vtk.vtkPolyData()
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    writer: Any = vtk.vtkPLYWriter()
    writer.SetFileName(str(path))
    writer.SetFileTypeToBinary()
    writer.SetInputData(polydata)
    if not writer.Write() or writer.GetErrorCode() or not path.is_file() or not path.stat().st_size:
        raise OSError(0, vtk.vtkErrorCode.GetStringFromErrorCode(writer.GetErrorCode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
