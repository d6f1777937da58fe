"""Points between a node's own frame and the world's."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk


def matrix_to_world(node: Any) -> np.ndarray | None:
    """Give the transform from a node's own frame to the world.

    Parameters
    ----------
    node : vtkMRMLTransformableNode

    Returns
    -------
    (4, 4) float64 or None
        None when a parent transform is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_world(node: Any, points: np.ndarray) -> np.ndarray:
    """Bring points (n, 3) from a node's own frame to world RAS; rows with NaN stay as they are."""
    return _moved(node, points, forward=True)


def from_world(node: Any, points: np.ndarray) -> np.ndarray:
    """Bring points (n, 3) from world RAS into a node's own frame; rows with NaN stay as they are."""
    return _moved(node, points, forward=False)


def apply_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine matrix (4, 4) to points (n, 3)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _moved(node: Any, points: np.ndarray, *, forward: bool) -> np.ndarray:
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.array(points, dtype=np.float64)
    matrix = matrix_to_world(node)
    if matrix is not None:
        return apply_matrix(matrix if forward else np.linalg.inv(matrix), points)
    transform = vtk.vtkGeneralTransform()
    ends = (parent, None) if forward else (None, parent)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*ends, transform)
    moved = np.full((len(points), 3), np.nan)
    for place in np.flatnonzero(np.isfinite(points).all(axis=1)):
        moved[place] = transform.TransformPoint(*points[place])
    return moved
