"""Take a model node's triangles out of the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from PALNetLandmarksLib.errors import InputError

from ..mesh import Mesh
from ..text import _

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def world_polydata(model: Any) -> Any:
    """Give a model's surface as triangles in world coordinates.

    Parameters
    ----------
    model : vtkMRMLModelNode

    Returns
    -------
    vtkPolyData
        RAS, mm, the parent transforms applied. It is the node's own data where nothing had to be done: not to be
        changed.

    Raises
    ------
    InputError
        If the node holds no surface.
    """
    polydata = model.GetPolyData()
    if polydata is None or polydata.GetNumberOfPolys() + polydata.GetNumberOfStrips() == 0:
        raise InputError(
            _("This model has no surface."), _("Choose a face scan: a model with triangles."), code="scan.no_surface"
        )
    transform = model.GetParentTransformNode()
    if transform is not None:
        to_world = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(transform, None, to_world)
        moved = vtk.vtkTransformPolyDataFilter()
        moved.SetInputData(polydata)
        moved.SetTransform(to_world)
        moved.Update()
        polydata = moved.GetOutput()
    others = polydata.GetNumberOfStrips() + polydata.GetNumberOfLines() + polydata.GetNumberOfVerts()
    if others or polydata.GetPolys().IsHomogeneous() != 3:
        triangles = vtk.vtkTriangleFilter()
        triangles.SetInputData(polydata)
        triangles.PassLinesOff()
        triangles.PassVertsOff()
        triangles.Update()
        polydata = triangles.GetOutput()
    return polydata


def mesh_of(model: Any) -> Mesh:
    """Give a model's surface as the engine wants it.

    Parameters
    ----------
    model : vtkMRMLModelNode

    Returns
    -------
    Mesh
        LPS, mm, the parent transforms applied.

    Raises
    ------
    InputError
        If the node holds no surface.
    """
    polydata = world_polydata(model)
    vertices = vtk_to_numpy(polydata.GetPoints().GetData()).astype(np.float64) * _RAS_TO_LPS
    triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int32)
    return Mesh(vertices, triangles)
