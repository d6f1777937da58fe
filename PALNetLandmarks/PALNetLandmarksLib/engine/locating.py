"""From a registered scan to raw landmark positions: how each network is asked.

Each function takes the network, the surface cloud and the registration, and returns a :class:`Located`. A new network
adds its function to ``LOCATORS``; nothing else needs to know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from PALNetLandmarksLib.engine.cloud import SurfaceCloud
from PALNetLandmarksLib.engine.networks.palnet import PALNet
from PALNetLandmarksLib.engine.networks.patch_transformer import PassOutput, PatchTransformer
from PALNetLandmarksLib.engine.patches import PatchSettings, patch_indices, point_tree
from PALNetLandmarksLib.engine.registration import refine_with_landmarks
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid
from PALNetLandmarksLib.engine.shape_regression import LookAgain
from PALNetLandmarksLib.errors import BundleError
from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]

REALIGNMENTS = 1
"""Times the scan is re-aligned by what the first pass found, before the answer counts: hair and beard drag the
registration by some millimetres. A second time changed the mean error on validation scans by 0.01 mm only."""


@dataclass(frozen=True)
class Located:
    """What a network says, before projection.

    ``landmarks`` (l, 3) in the scan's frame, mm; ``scan_to_reference`` (4, 4), re-aligned where the network can;
    ``raw_error`` (l,) the network's own estimate of its error in mm, 1 where it gives none; ``visible`` (l,) the
    probability that the landmark's surface is in the scan, 1 where the network does not tell; ``look_again``, where the
    network can, takes landmarks (l, 3) in the reference frame and returns what it finds when it starts from there.
    """

    landmarks: FloatArray
    scan_to_reference: FloatArray
    raw_error: FloatArray
    visible: FloatArray
    look_again: LookAgain | None = None


def alignment_mask(protocol: Protocol) -> NDArray[np.bool_]:
    """Return which landmarks carry the alignment to the reference, (l,) bool.

    Left out are the ears and the hairline: hair covers them, and they vary most.
    """
    return np.array([landmark.region != "ear" and landmark.label != "Tr" for landmark in protocol.landmarks])


class _TwoSided:
    """Patches of a cloud as they are and as in a mirror, as a batch of two."""

    def __init__(self, cloud: SurfaceCloud, transform: FloatArray, mirror: NDArray[np.int64], points: int) -> None:
        self.cloud, self.transform, self.mirror, self.points = cloud, transform, mirror, points
        self.back = invert_rigid(transform)

    def patches(self, centres: FloatArray, cloud: SurfaceCloud, device: torch.device) -> tuple[torch.Tensor, ...]:
        points, normals = cloud.nearest(apply_transform(self.back, centres), self.points)
        points = apply_transform(self.transform, points)
        normals = normals @ self.transform[:3, :3].T
        both = (self._both(points), self._both(normals), self._both(centres))
        return tuple(torch.from_numpy(array.astype(np.float32)).to(device) for array in both)

    def _both(self, values: FloatArray) -> FloatArray:
        return np.stack([values, values[self.mirror] * [-1.0, 1.0, 1.0]])

    def merged(self, values: torch.Tensor) -> FloatArray:
        """Average what is said of the face and of its mirror image; (2, l) or (2, l, 3)."""
        own, mirrored = values.double().cpu().numpy()
        mirrored = mirrored[self.mirror] * ([-1.0, 1.0, 1.0] if own.ndim == 2 else 1.0)
        return 0.5 * (own + mirrored)


def locate_with_patch_transformer(
    network: nn.Module, cloud: SurfaceCloud, scan_to_reference: FloatArray, mean: FloatArray, protocol: Protocol
) -> Located:
    """Find landmarks with :class:`PatchTransformer`: re-align by the first pass, then take both passes.

    The face and its mirror image are asked together and their answers averaged, so that left and right are treated
    alike.
    """
    assert isinstance(network, PatchTransformer)
    device = next(network.parameters()).device
    mask = alignment_mask(protocol)
    transform = scan_to_reference
    with torch.inference_mode():
        for _ in range(REALIGNMENTS):
            sides = _TwoSided(cloud, transform, protocol.mirror, network.points)
            first = network.first_pass(*sides.patches(mean, cloud.coarse, device))
            weights = mask * np.exp(-2.0 * sides.merged(first.log_error))
            transform = refine_with_landmarks(transform, sides.merged(first.landmarks), mean, weights)
        sides = _TwoSided(cloud, transform, protocol.mirror, network.points)
        first = network.first_pass(*sides.patches(mean, cloud.coarse, device))

        def second_pass(centres: FloatArray) -> PassOutput:
            with torch.inference_mode():
                points, normals, agreed = sides.patches(centres, cloud, device)
                return network.second_pass(points, normals, first._replace(landmarks=agreed))

        second = second_pass(sides.merged(first.landmarks))
        return Located(
            landmarks=apply_transform(sides.back, sides.merged(second.landmarks)),
            scan_to_reference=transform,
            raw_error=np.exp(sides.merged(second.log_error)),
            visible=sides.merged(torch.sigmoid(second.visible_logit)),
            look_again=lambda landmarks: sides.merged(second_pass(landmarks).landmarks),
        )


def locate_with_palnet(
    network: nn.Module, cloud: SurfaceCloud, scan_to_reference: FloatArray, mean: FloatArray, protocol: Protocol
) -> Located:
    """Find landmarks as published: patches round the points nearest to the mean landmarks, one pass."""
    device = next(network.parameters()).device
    points = apply_transform(scan_to_reference, cloud.points)
    assert isinstance(network, PALNet)
    patches = ordered_patches(thinned(points, network.cloud_points), mean, network.patch_settings)
    with torch.inference_mode():
        output = network(torch.from_numpy(patches)[None].to(device))
    landmarks = output.landmarks[0].double().cpu().numpy()
    count = len(protocol)
    return Located(
        landmarks=apply_transform(invert_rigid(scan_to_reference), landmarks),
        scan_to_reference=scan_to_reference,
        raw_error=np.ones(count),
        visible=np.ones(count),
    )


def thinned(points: FloatArray, count: int | None) -> FloatArray:
    """Thin a cloud out evenly to ``count`` points; the cloud follows the surface by area, and so does the rest."""
    if count is None or count >= len(points):
        return points
    return points[np.linspace(0, len(points) - 1, count).astype(np.int64)]


def ordered_patches(points: FloatArray, mean: FloatArray, settings: PatchSettings) -> NDArray[np.float32]:
    """Cut the published network's input: ordered patches of absolute coordinates round the snapped mean landmarks.

    Parameters
    ----------
    points : (n, 3) float64
        In the reference frame.
    mean : (l, 3) float64
    settings : PatchSettings

    Returns
    -------
    (l, k, 3) float32
    """
    tree = point_tree(points)
    centres = points[tree.query(mean)[1]]
    return points[patch_indices(points, centres, settings, tree=tree)].astype(np.float32)


def locate_with_sgcn(
    network: nn.Module, cloud: SurfaceCloud, scan_to_reference: FloatArray, mean: FloatArray, protocol: Protocol
) -> Located:
    """Find landmarks with :class:`SGCN`, see `locating_sgcn`; imported when it is asked for."""
    from PALNetLandmarksLib.engine import locating_sgcn

    return locating_sgcn.locate_with_sgcn(network, cloud, scan_to_reference, mean, protocol)


Locator = Callable[[nn.Module, SurfaceCloud, FloatArray, FloatArray, Protocol], Located]
LOCATORS: dict[str, Locator] = {
    "patch_transformer": locate_with_patch_transformer,
    "palnet": locate_with_palnet,
    "sgcn": locate_with_sgcn,
}


def locator_for(name: str) -> Locator:
    """Return how a network is asked, by its name.

    Raises
    ------
    BundleError
        If there is none.
    """
    try:
        return LOCATORS[name]
    except KeyError:
        raise BundleError(
            f"The network '{name}' is not known.", f"Known are {', '.join(sorted(LOCATORS))}.", code="bundle.network"
        ) from None
