"""Take a node out of the scene with what was made for it."""

from __future__ import annotations

from typing import Any


def remove_whole(node: Any) -> None:
    """Remove a node with its display and storage nodes, which the scene would keep.

    Parameters
    ----------
    node : vtkMRMLDisplayableNode
        In a scene.
    """
    scene = node.GetScene()
    others = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    others += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for other in others:
        if other is not None and other.GetScene() is scene:
            scene.RemoveNode(other)
