"""What a heatmap network gets of one face: even points with normals, their graphs, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.graphs import neighbour_graph
from PALNetLandmarksLib.engine.heatmaps import UnitFrame
from PALNetLandmarksLib.engine.principal_axes import PrincipalFrame, align_principal_axes
from PALNetLandmarksLib.engine.resampling import even_subset
from PALNetLandmarksLib.engine.rigid import apply_transform

FloatArray = NDArray[np.float64]


class HeatSettings(Protocol):
    """What must be known of a heatmap network to feed it."""

    @property
    def points(self) -> int:
        """|V|, the points of a face."""

    @property
    def neighbours(self) -> int:
        """Neighbours of a point in the fine graph."""


@dataclass(frozen=True)
class HeatInput:
    """The points of one face and their graphs.

    Attributes
    ----------
    points : (v, 6) float32
        Positions in the unit frame and unit normals.
    starts : (v + 1,) int32
    neighbours : (e,) int32
        The fine graph, see `graphs`.
    member : (v,) float32
        1 for the points of the set C: those nearest to the mean landmarks.
    index : (v,) int64
        Which points of the cloud they are.
    to_aligned : (4, 4) float64
        From the reference frame to the frame that the points were normalised in; identity unless principal axes align.
    """

    points: NDArray[np.float32]
    starts: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    member: NDArray[np.float32]
    index: NDArray[np.int64]
    to_aligned: FloatArray


def heat_input(
    points: NDArray[np.floating],
    normals: NDArray[np.floating],
    mean: NDArray[np.floating],
    settings: HeatSettings,
    *,
    principal_axes: PrincipalFrame | None = None,
    seed: int = 0,
) -> HeatInput:
    """Resample a face to |V| points, normalise them, and build both graphs.

    Parameters
    ----------
    points, normals : (n, 3) float
        A dense cloud in the reference frame, mm.
    mean : (l, 3) float
        Mean landmarks of the training set in the reference frame, mm.
    settings : HeatSettings
    principal_axes : PrincipalFrame, optional
        Align the cloud's principal axes to these first.
    seed : int
        Decides which points are kept.
    """
    cloud: FloatArray = np.asarray(points, dtype=np.float64)
    to_aligned = np.eye(4) if principal_axes is None else align_principal_axes(cloud, principal_axes, mean)
    index = even_subset(cloud, settings.points, seed)
    kept = apply_transform(to_aligned, cloud[index])
    directions = np.asarray(normals, dtype=np.float64)[index] @ to_aligned[:3, :3].T
    starts, neighbours = neighbour_graph(kept, settings.neighbours)
    member = np.zeros(len(kept), dtype=np.float32)
    # Two landmarks may have the same nearest point: C is a set, and may be smaller than the number of landmarks.
    member[cKDTree(kept).query(np.asarray(mean, dtype=np.float64))[1]] = 1.0
    features = np.hstack([UnitFrame.of(mean).normalise(kept), directions]).astype(np.float32)
    return HeatInput(features, starts, neighbours, member, index, to_aligned)
