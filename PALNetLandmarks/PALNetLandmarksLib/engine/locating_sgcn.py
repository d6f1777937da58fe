"""How the network `sgcn` is asked: resampled points, heatmaps, then the vertex that explains the heat best."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from PALNetLandmarksLib.engine.cloud import SurfaceCloud
from PALNetLandmarksLib.engine.heat_inputs import heat_input
from PALNetLandmarksLib.engine.heatmaps import UnitFrame
from PALNetLandmarksLib.engine.locating import Located, alignment_mask
from PALNetLandmarksLib.engine.mesh_localisation import HeatFit, expected_error, locate_by_mean, locate_on_mesh
from PALNetLandmarksLib.engine.networks.sgcn import SGCN
from PALNetLandmarksLib.engine.principal_axes import PrincipalFrame
from PALNetLandmarksLib.engine.registration import refine_with_landmarks
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]

LEAST_ERROR_MM = 0.05
"""A fit better than this is luck: no vertex or network is that exact."""


def locate_with_sgcn(
    network: nn.Module, cloud: SurfaceCloud, scan_to_reference: FloatArray, mean: FloatArray, protocol: Protocol
) -> Located:
    """Find landmarks with :class:`SGCN`: heatmaps over |V| points, then the mesh (stage 2) or the mean (stage 1).

    Fit and height of the heat are the network's own estimate of its error (`mesh_localisation.expected_error`); the
    highest heat is the probability that the landmark's surface is in the scan.
    """
    assert isinstance(network, SGCN)
    device = next(network.parameters()).device
    frame = UnitFrame.of(mean)
    axes = None if network.principal_axes is None else PrincipalFrame.from_dict(network.principal_axes)
    points = apply_transform(scan_to_reference, cloud.points)
    normals = cloud.normals @ scan_to_reference[:3, :3].T
    face = heat_input(points, normals, mean, network, principal_axes=axes)
    with torch.inference_mode():
        arrays = (face.points, face.starts, face.neighbours, face.member)
        heat = network(*(torch.from_numpy(array)[None].to(device) for array in arrays))[0]
        hottest = heat.float().T.topk(network.hottest, dim=1)
        values, places = hottest.values.double().cpu().numpy(), hottest.indices.cpu().numpy()
    # Distances are the same in all frames: the second stage works in the scan's own, where its vertices are.
    sigma_mm = network.sigma * frame.half_extent
    fit = localise(network, cloud, cloud.points[face.index][places], values, sigma_mm)
    error = np.maximum(expected_error(fit, sigma_mm), LEAST_ERROR_MM)
    weights = alignment_mask(protocol) / error**2
    aligned = refine_with_landmarks(scan_to_reference, apply_transform(scan_to_reference, fit.landmarks), mean, weights)
    return Located(fit.landmarks, aligned, error, np.clip(fit.peak, 0.0, 1.0))


def localise(network: SGCN, cloud: SurfaceCloud, points: FloatArray, heat: FloatArray, sigma_mm: float) -> HeatFit:
    """Go from the hottest points (l, t, 3) and their heat (l, t) to landmarks, in as many stages as the network has."""
    if network.stages == 1:
        return locate_by_mean(points, heat, sigma_mm)
    vertices = cloud.points if cloud.vertices is None else cloud.vertices
    return locate_on_mesh(vertices, points, heat, sigma_mm, network.reach)
