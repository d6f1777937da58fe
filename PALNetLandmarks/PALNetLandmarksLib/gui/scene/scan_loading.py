"""Load scans into the scene and bring them to millimetres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PALNetLandmarksLib.errors import InputError

from ..text import _
from .removing import remove_whole

FILE_FILTER = "*.obj *.ply *.stl *.vtp *.vtk"
#: Node attribute: factor from the file's coordinates to the node's, when it is not one.
SCALE_ATTRIBUTE = "PALNet.scale_to_mm"
#: Factors to millimetres.
MILLIMETRES = {"mm": 1.0, "cm": 10.0, "in": 25.4, "m": 1000.0}
#: Longest side of the box round a scan of a face or head, mm.
_USUAL_SIZE_MM = (120.0, 900.0)
_SKIN = (0.83, 0.70, 0.62)


def load_scan(path: str) -> Any:
    """Load a scan file as a model node.

    Parameters
    ----------
    path : str
        OBJ, PLY, STL, VTP or VTK file.

    Returns
    -------
    vtkMRMLModelNode

    Raises
    ------
    InputError
        If Slicer cannot read it or it holds no surface; nothing stays in the scene then.
    """
    name = Path(path).name
    try:
        node = slicer.util.loadModel(path)
    except RuntimeError as error:
        raise InputError(
            _("{name} could not be read as a scan.").format(name=name),
            _("Choose an OBJ, PLY, STL, VTP or VTK file with a surface, or export the scan again."),
            code="scan.unreadable",
        ) from error
    polydata = node.GetPolyData()
    if polydata is None or polydata.GetNumberOfPolys() + polydata.GetNumberOfStrips() == 0:
        remove_whole(node)
        raise InputError(
            _("{name} holds no surface.").format(name=name),
            _("Export the scan with its surface (a mesh), not as a point cloud."),
            code="scan.no_surface",
        )
    show_surface(node)
    return node


def show_surface(model: Any) -> None:
    """Show a scan in its own colours where its vertices have them, else in a quiet skin colour.

    Parameters
    ----------
    model : vtkMRMLModelNode
        New in the scene: Slicer gave it the next of its bright colours.
    """
    display = model.GetDisplayNode()
    if display is None:
        return
    display.SetColor(*_SKIN)
    display.SetBackfaceCulling(False)
    colours = model.GetPolyData().GetPointData()
    for index in range(colours.GetNumberOfArrays()):
        array = colours.GetArray(index)
        if array is None or array.GetDataType() != vtk.VTK_UNSIGNED_CHAR:
            continue
        if array.GetNumberOfComponents() in (3, 4):
            display.SetActiveScalar(array.GetName(), vtk.vtkAssignAttribute.POINT_DATA)
            display.SetScalarRangeFlag(display.UseDirectMapping)
            display.SetScalarVisibility(True)
            return


def possible_units(size: float) -> dict[str, float]:
    """Tell from its size in which units a scan may be.

    Parameters
    ----------
    size : float
        Longest side of the scan's box, in its own unit.

    Returns
    -------
    dict of str to float
        Unit and its factor to mm; only millimetres where they are plausible, or where no unit is.

    Examples
    --------
    >>> possible_units(0.25)
    {'m': 1000.0}
    """
    low, high = _USUAL_SIZE_MM
    if low <= size <= high:
        return {"mm": 1.0}
    return {unit: factor for unit, factor in MILLIMETRES.items() if low <= size * factor <= high} or {"mm": 1.0}


def extent(model: Any) -> np.ndarray:
    """Give the sides of a model's box (3,) in world coordinates; zeros when it is empty."""
    bounds = np.zeros(6)
    model.GetRASBounds(bounds)
    return np.maximum(bounds[1::2] - bounds[::2], 0.0)


def scale_scan(model: Any, factor: float) -> None:
    """Multiply a model's coordinates, once and for good.

    Parameters
    ----------
    model : vtkMRMLModelNode
        Its surface is replaced by a scaled copy; colours, texture coordinates and normals stay.
    factor : float
    """
    old = model.GetPolyData()
    points = vtk.vtkPoints()
    scaled = vtk_to_numpy(old.GetPoints().GetData()).astype(np.float64) * factor
    points.SetData(numpy_to_vtk(scaled.astype(np.float32), deep=True))
    new = vtk.vtkPolyData()
    new.ShallowCopy(old)
    new.SetPoints(points)
    model.SetAndObservePolyData(new)
    before = float(model.GetAttribute(SCALE_ATTRIBUTE) or 1.0)
    model.SetAttribute(SCALE_ATTRIBUTE, f"{before * factor:g}")
