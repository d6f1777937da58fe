"""A set of landmarks and the point list that is its picture in the scene, kept the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet

from ..edits import with_moved
from . import landmarks_node as nodes
from .frames import apply_matrix, from_world, matrix_to_world, to_world
from .snapping import drop_far_ones, snap
from .surface import Surface

#: A point that moved less than this has not moved: positions read from a file differ by rounding.
_MOVED_MM = 1e-6
#: Points that are this near to where they were, under another transform, are where they were.
_SAME_PLACE_MM = 1e-3
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NodeLink:
    """Writes a set into its point list, and reads from there what others did to it.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode
    local : LandmarkSet
        What it holds: RAS, in the node's own frame.
    """

    def __init__(self, node: Any, local: LandmarkSet) -> None:
        self.node = node
        self.local = local
        """The truth, RAS, in the node's own frame."""
        self.busy = False
        """The node is being changed by this object: what it tells of now is known."""
        self._protocol = local.protocol
        self._matrix = matrix_to_world(node)
        self._world: LandmarkSet | None = None

    def world(self) -> LandmarkSet:
        """Give the truth in world RAS."""
        if self._world is None:
            self._world = self.in_world(self.local)
        return self._world

    def in_world(self, local: LandmarkSet) -> LandmarkSet:
        """Bring a set from the node's own frame to world RAS."""
        return replace(local, positions=to_world(self.node, local.positions))

    def in_own_frame(self, landmarks: LandmarkSet) -> LandmarkSet:
        """Bring a set from world coordinates into the node's own frame; what equals ``world()`` equals ``local``."""
        wanted, now = landmarks.in_coordinate_system("RAS"), self.world()
        # Through a transform and back no number stays the same to the last digit: what is equal is not sent.
        same = ((wanted.positions == now.positions) | (wanted.missing & now.missing)[:, None]).all(axis=1)
        return replace(
            wanted,
            positions=np.where(same[:, None], self.local.positions, from_world(self.node, wanted.positions)),
        )

    def write(self, local: LandmarkSet) -> None:
        """Make a set the truth, and show it."""
        self.busy = True
        try:
            nodes.write_set(self.node, local, self.local)
        finally:
            self.busy = False
        self.local, self._world = local, None

    def registration(self) -> np.ndarray | None:
        """Give the kept matrix (4, 4) from world LPS to the reference; None where there is none."""
        stored = nodes.read_registration(self.node)
        if stored is None or self._matrix is None:
            return None
        return np.asarray(stored @ np.linalg.inv(self._matrix) @ _LPS_RAS)

    def keep_registration(self, world_to_reference: np.ndarray) -> None:
        """Keep the matrix (4, 4) from world LPS to the reference with the point list."""
        if self._matrix is not None:
            nodes.write_registration(self.node, world_to_reference @ _LPS_RAS @ self._matrix)

    def transform_changed(self, rebase: Callable[[Callable[[LandmarkSet], LandmarkSet]], None]) -> None:
        """Take note that the node is under another transform, or that this has changed or was hardened.

        Parameters
        ----------
        rebase : callable
            Applies a function to all other sets that are kept in the node's frame.
        """
        matrix, now = matrix_to_world(self.node), nodes.defined_points(self.node)
        hardened = len(now) == len(self._protocol) and self._moved(now).any() and self._stayed_in_world(now)
        before, self._matrix, self._world = self._matrix, matrix, None
        if hardened and before is not None:
            self._harden(before, now, rebase)

    def take_over(self, surface: Surface | None, placing: bool) -> bool:
        """Read from the node what others did to it, and make that the truth.

        Parameters
        ----------
        surface : Surface or None
            Where to put the points that moved; None leaves them where they are.
        placing : bool
            Points are set by clicks now: those far beside the surface were not meant.

        Returns
        -------
        bool
            Whether anything differs from before.
        """
        before = self.local
        self.busy = True
        try:
            if not nodes.is_ours(self.node, self._protocol):
                self._mend()
            now = nodes.defined_points(self.node)
            moved = self._moved(now)
            if not moved.any() or self._half_hardened(now):
                return self.local is not before
            if surface is not None:
                touched = np.flatnonzero(moved & np.isfinite(now[:, 0])).tolist()
                if placing:
                    drop_far_ones(self.node, [place for place in touched if self.local.missing[place]], surface)
                snap(self.node, touched, surface)
                now = nodes.defined_points(self.node)
                moved = self._moved(now)
            if moved.any():
                self.local, self._world = with_moved(self.local, now, np.flatnonzero(moved)), None
                nodes.write_set(self.node, self.local, before)
        finally:
            self.busy = False
        return self.local is not before

    def _moved(self, now: np.ndarray) -> np.ndarray:
        """Say (L,) bool which points are no longer where the truth has them."""
        before = self.local.positions
        gone = np.isnan(now[:, 0]) != np.isnan(before[:, 0])
        return np.asarray(gone | (np.abs(np.nan_to_num(now - before)) > _MOVED_MM).any(axis=1))

    def _stayed_in_world(self, now: np.ndarray) -> bool:
        if self._matrix is None:
            return False
        before = apply_matrix(self._matrix, self.local.positions)
        return bool(np.allclose(to_world(self.node, now), before, atol=_SAME_PLACE_MM, equal_nan=True))

    def _half_hardened(self, now: np.ndarray) -> bool:
        """Say whether the node's transform has been applied to its points, but not yet been taken away."""
        if self._matrix is None or np.array_equal(self._matrix, np.eye(4)):
            return False
        applied = apply_matrix(self._matrix, self.local.positions)
        return bool(np.allclose(now, applied, atol=_SAME_PLACE_MM, equal_nan=True))

    def _harden(
        self,
        before: np.ndarray,
        now: np.ndarray,
        rebase: Callable[[Callable[[LandmarkSet], LandmarkSet]], None],
    ) -> None:
        """Bring all that is kept in the node's frame into its new one: its transform was applied for good."""

        def move(state: LandmarkSet) -> LandmarkSet:
            return replace(state, positions=from_world(self.node, apply_matrix(before, state.positions)))

        predicted = nodes.read_predicted(self.node, self._protocol)
        nodes.write_predicted(self.node, None if predicted is None else move(predicted))
        registration = nodes.read_registration(self.node)
        if registration is not None:
            nodes.write_registration(self.node, registration @ np.linalg.inv(before))
        rebase(move)
        self.local = replace(self.local, positions=now)

    def _mend(self) -> None:
        """Give the node the protocol's points again, after another module renamed, added or removed some."""
        now = nodes.defined_points(self.node)
        positions = np.full_like(self.local.positions, np.nan)
        if len(now) == len(self._protocol):
            positions = now  # only names: a point is what it was made as
        else:
            for index in range(len(now)):
                label = self.node.GetNthControlPointLabel(index)
                if label in self._protocol:
                    positions[self._protocol.index(label)] = now[index]
        mended = with_moved(self.local, positions, np.flatnonzero(self._moved(positions)))
        nodes.write_set(self.node, mended)
        if (mended.missing != self.local.missing).any():
            self.local, self._world = mended, None
