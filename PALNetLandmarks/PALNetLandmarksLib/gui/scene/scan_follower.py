"""Keep the landmarks on their scan when the scan is put under a transform, or freed of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frames import to_world

#: Vertices that tell whether the scan has moved.
_PROBES = 5
_SAME_MM = 1e-2


class ScanFollower:
    """Remembers where a scan was, to tell why its transform is another one.

    Parameters
    ----------
    scan : vtkMRMLModelNode
    """

    def __init__(self, scan: Any) -> None:
        self._scan = scan
        self._transform_id = scan.GetTransformNodeID()
        self._probes = self._earlier = self._places()

    def update(self, landmarks: Any) -> None:
        """Give the landmarks the scan's transform, after the scan has told of a change.

        A scan whose transform was *hardened* has stayed where it was: so do the landmarks. One that was put under
        another transform takes its landmarks along. Landmarks that were not under the scan's transform stay alone.

        Parameters
        ----------
        landmarks : vtkMRMLMarkupsNode or None
        """
        before_id, before, now = self._transform_id, (self._probes, self._earlier), self._places()
        self._transform_id = self._scan.GetTransformNodeID()
        if self._transform_id == before_id:
            # Hardening first changes the mesh, then takes the transform away: the place before the mesh changed counts.
            if not _same(now, self._probes):
                self._probes, self._earlier = now, self._probes
            return
        self._probes = self._earlier = now
        if landmarks is None or landmarks.GetTransformNodeID() != before_id:
            return
        if before_id is not None and any(_same(now, places) for places in before):
            landmarks.HardenTransform()
            if self._transform_id is None:
                return
        landmarks.SetAndObserveTransformNodeID(self._transform_id)

    def _places(self) -> np.ndarray:
        mesh = self._scan.GetPolyData()
        count = mesh.GetNumberOfPoints() if mesh is not None else 0
        chosen = np.linspace(0, count - 1, min(_PROBES, count)).astype(int)
        own = np.array([mesh.GetPoint(int(place)) for place in chosen], dtype=np.float64).reshape(-1, 3)
        return to_world(self._scan, own)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, atol=_SAME_MM))
