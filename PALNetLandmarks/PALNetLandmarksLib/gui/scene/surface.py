"""A scan's surface, ready for asking which of its points is nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy


class Surface:
    """Triangles with a search structure.

    Parameters
    ----------
    polydata : vtkPolyData
        Triangles, world RAS, mm. Not changed.
    """

    def __init__(self, polydata: Any) -> None:
        self.polydata = polydata
        self._locator = vtk.vtkStaticCellLocator()
        self._locator.SetDataSet(polydata)
        self._locator.BuildLocator()
        self._triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3)
        self._points = vtk_to_numpy(polydata.GetPoints().GetData())

    @property
    def vertices(self) -> np.ndarray:
        """Vertices (n, 3), mm, world RAS; not to be changed."""
        return self._points

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the nearest places on the surface.

        Parameters
        ----------
        points : (k, 3) float
            World RAS, mm.

        Returns
        -------
        nearest : (k, 3) float64
            Places on the surface; NaN for a point that is NaN.
        distances : (k,) float64
            How far off the points were, mm.
        normals : (k, 3) float64
            Unit normals of the triangles met, turned by their own winding.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        nearest, distances, normals = np.full((len(points), 3), np.nan), np.full(len(points), np.nan), np.full(
            (len(points), 3), np.nan
        )
        closest, cell = [0.0, 0.0, 0.0], vtk.vtkGenericCell()
        triangle, part, squared = vtk.mutable(0), vtk.mutable(0), vtk.mutable(0.0)
        for place in np.flatnonzero(np.isfinite(points).all(axis=1)):
            self._locator.FindClosestPoint(points[place].tolist(), closest, cell, triangle, part, squared)
            nearest[place] = closest
            distances[place] = float(squared) ** 0.5
            normals[place] = self._normal(int(triangle))
        return nearest, distances, normals

    def outward_normals(self, places: np.ndarray, radius_mm: float = 8.0) -> np.ndarray:
        """Give smooth normals (k, 3) at places on the surface: the mean over the triangles within a radius.

        Parameters
        ----------
        places : (k, 3) float
            World RAS, mm, on or near the surface.
        radius_mm : float
            How far round each place.

        Returns
        -------
        (k, 3) float64
            Unit normals; NaN for a place that is NaN, or where the triangles cancel each other.
        """
        result = np.full((len(places), 3), np.nan)
        cells = vtk.vtkIdList()
        for index, place in enumerate(np.asarray(places, dtype=np.float64)):
            if not np.isfinite(place).all():
                continue
            low, high = place - radius_mm, place + radius_mm
            self._locator.FindCellsWithinBounds([low[0], high[0], low[1], high[1], low[2], high[2]], cells)
            numbers = np.array([cells.GetId(i) for i in range(cells.GetNumberOfIds())], dtype=np.int64)
            if not len(numbers):
                continue
            corners = self._points[self._triangles[numbers]].astype(np.float64)
            # Not of unit length: large triangles count for more, as they should.
            normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(axis=0)
            length = np.linalg.norm(normal)
            if length > 0:
                result[index] = normal / length
        return result

    def _normal(self, triangle: int) -> np.ndarray:
        corners = self._points[self._triangles[triangle]].astype(np.float64)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        length = np.linalg.norm(normal)
        return np.asarray(normal / length) if length > 0 else np.full(3, np.nan)
