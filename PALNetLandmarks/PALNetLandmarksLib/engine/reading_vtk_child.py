"""The process that reads one VTP or legacy VTK file: bytes on stdin, two numpy arrays on stdout.

Run as a file, not as a module, so that it starts with nothing but numpy and VTK. See ``reading_vtk.py`` for why.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

NO_VTK = 20
NO_SURFACE = 21
DAMAGED = 22
_MOST_MEMORY = 3 * 1024**3


def _bound_resources() -> None:
    """Bound the memory and leave no core file, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def main() -> int:
    """Read stdin, write the vertices (n, 3) float64 and triangles (m, 3) int64 to stdout; return the exit status."""
    _bound_resources()
    del sys.path[0]  # this file's folder, whose modules must not hide others
    try:
        import numpy as np
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkStringOutputWindow
        from vtkmodules.vtkCommonDataModel import vtkDataSet, vtkPolyData
        from vtkmodules.vtkFiltersCore import vtkTriangleFilter
        from vtkmodules.vtkFiltersGeometry import vtkGeometryFilter
        from vtkmodules.vtkIOLegacy import vtkGenericDataObjectReader
        from vtkmodules.vtkIOXML import vtkXMLPolyDataReader
    except ImportError:
        return NO_VTK

    data = sys.stdin.buffer.read()
    # All that VTK says goes here instead of to stderr. Anything said is taken as damage: a cut-off legacy file only
    # raises a warning, and the rest of its arrays is whatever was in memory.
    said = vtkStringOutputWindow()
    vtkOutputWindow.SetInstance(said)
    xml = sys.argv[1:] == ["xml"]
    reader: Any = vtkXMLPolyDataReader() if xml else vtkGenericDataObjectReader()
    reader.SetReadFromInputString(True)
    if xml:
        reader.SetInputString(data)
    else:
        reader.SetBinaryInputString(data, len(data))
    reader.Update()
    output = reader.GetOutput()
    if said.GetOutput() or output is None:
        return DAMAGED
    if not isinstance(output, vtkDataSet):
        return NO_SURFACE
    if not isinstance(output, vtkPolyData):
        surface = vtkGeometryFilter()
        surface.SetInputData(output)
        surface.Update()
        output = surface.GetOutput()
    if output.GetNumberOfPoints() == 0:
        return DAMAGED
    connectivity = [output.GetPolys(), output.GetStrips()]
    for cells in connectivity:
        if cells is not None and cells.GetNumberOfCells():
            indices = vtk_to_numpy(cells.GetConnectivityArray())
            if indices.size and (indices.min() < 0 or indices.max() >= output.GetNumberOfPoints()):
                return DAMAGED
    triangulate = vtkTriangleFilter()
    triangulate.SetInputData(output)
    triangulate.PassVertsOff()
    triangulate.PassLinesOff()
    triangulate.Update()
    output = triangulate.GetOutput()
    vertices = np.ascontiguousarray(vtk_to_numpy(output.GetPoints().GetData()), dtype=np.float64)
    cells = output.GetPolys()
    triangles = np.empty((0, 3), dtype=np.int64)
    if cells.GetNumberOfCells():
        triangles = np.ascontiguousarray(vtk_to_numpy(cells.GetConnectivityArray()), dtype=np.int64).reshape(-1, 3)
    np.save(sys.stdout.buffer, vertices, allow_pickle=False)
    np.save(sys.stdout.buffer, triangles, allow_pickle=False)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
