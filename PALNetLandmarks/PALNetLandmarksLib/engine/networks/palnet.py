"""The published network PAL-Net (arXiv 2510.00910) and its ablations.

All points of all patches stand in one row: 50 × 1000 × 3 absolute coordinates. Blocks of two 1×1 convolutions look at
each point alone; a max pooling after each block shortens the row by 5, 5 and 4, so that each window holds neighbours
of one patch (a patch is sorted by distance to the nose). What remains, 500 × 128 features, goes into dense layers
together with one attention vector per block: 67,064,262 parameters, nearly all of them in the first dense layer.

What the paper leaves open, and what is done here:

- The attention looks at the features that a block gives, before they are pooled, and only adds its vector to the dense
  layer's input; the points go on to the pooling as they are. Multiplying them by the weights instead would make them
  50,000 times smaller, because the weights of all points add up to one. The parameter count is the same.
- The attention's score of a point is tanh(w · features + b), with one b for each place in the row: only so does the
  count come out (50,000 + 10,000 + 2,000 biases).
- The second dense layer has no activation: ReLU is named for the first only.
- With two blocks the third is left out with its pooling: 2,000 × 64 features go into the dense layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from PALNetLandmarksLib.engine.networks import NetworkOutput
from PALNetLandmarksLib.engine.patches import PatchSettings
from PALNetLandmarksLib.errors import BundleError

CHANNELS = (32, 64, 128)
POOLING = (5, 5, 4)
DENSE = 1024
DROPOUT = 0.1

Attention = Literal["global", "top_k", "none"]


class PointAttention(nn.Module):
    """One vector that sums up all points: a mean of their features, weighted by tanh and softmax.

    Parameters
    ----------
    channels : int
        C, features per point.
    points : int
        N, places in the row; each has a bias of its own.
    top_k : int, optional
        Share the weight among the k points that score highest; default all.
    """

    def __init__(self, channels: int, points: int, top_k: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1))
        self.bias = nn.Parameter(torch.zeros(points, 1))
        self.top_k = top_k

    def forward(self, features: Tensor) -> Tensor:
        """Sum up features (b, C, N) as (b, C)."""
        scores = torch.tanh(features.transpose(1, 2) @ self.weight + self.bias)
        if self.top_k is not None and self.top_k < scores.shape[1]:
            scores, places = scores.topk(self.top_k, dim=1)
            features = features.gather(2, places.transpose(1, 2).expand(-1, features.shape[1], -1))
        return (features @ torch.softmax(scores, dim=1)).squeeze(2)


class Block(nn.Module):
    """Two 1×1 convolutions with ReLU, the attention's look at them, and the pooling."""

    def __init__(self, inputs: int, outputs: int, pooling: int, attention: PointAttention | None) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, outputs, kernel_size=1)
        self.second = nn.Conv1d(outputs, outputs, kernel_size=1)
        self.attention = attention
        self.pool = nn.MaxPool1d(pooling)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return pooled features (b, C, N / pooling) and the attention's vector (b, C) of features (b, c, N)."""
        features = torch.relu(self.second(torch.relu(self.first(features))))
        return self.pool(features), None if self.attention is None else self.attention(features)


class PALNet(nn.Module):
    """The published network.

    Parameters
    ----------
    landmarks : int
        L.
    points_per_patch : int
        K; must be a multiple of 100 (of 25 with two blocks), so that no pooling window spans two patches.
    attention : {'global', 'top_k', 'none'}
        Attention over all points (as published), over the `top_k` that score highest, or none.
    top_k : int
        For ``attention='top_k'``.
    blocks : int
        3 (as published) or 2.
    patches : mapping, optional
        Fields of :class:`PatchSettings` other than the number of points, where they differ from the published ones:
        ``selection``, ``radius_mm``, ``order``.
    cloud_points : int, optional
        Thin the scan out to so many points before patches are cut; default: all points.

    Raises
    ------
    BundleError
        If a parameter cannot be what is asked.
    """

    def __init__(
        self,
        landmarks: int = 50,
        points_per_patch: int = 1000,
        attention: Attention = "global",
        top_k: int = 10,
        blocks: int = 3,
        patches: Mapping[str, Any] | None = None,
        cloud_points: int | None = None,
    ) -> None:
        super().__init__()
        _check(landmarks, points_per_patch, attention, top_k, blocks)
        self.landmark_count = landmarks
        self.points_per_patch = points_per_patch
        self.patch_settings, self.cloud_points = palnet_patches(
            {"points_per_patch": points_per_patch, "patches": patches, "cloud_points": cloud_points}
        )
        points, inputs, built = landmarks * points_per_patch, 3, []
        for channels, pooling in zip(CHANNELS[:blocks], POOLING[:blocks], strict=True):
            look = PointAttention(channels, points, top_k if attention == "top_k" else None)
            built.append(Block(inputs, channels, pooling, None if attention == "none" else look))
            points, inputs = points // pooling, channels
        self.blocks = nn.ModuleList(built)
        vectors = 0 if attention == "none" else sum(CHANNELS[:blocks])
        self.first_dense = nn.Linear(points * inputs + vectors, DENSE)
        self.second_dense = nn.Linear(DENSE, DENSE)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(DENSE, 3 * landmarks)
        initialise_xavier_normal(self)

    def forward(self, points: Tensor, normals: Tensor | None = None, centres: Tensor | None = None) -> NetworkOutput:
        """Find the landmarks of a batch.

        Parameters
        ----------
        points : (b, L, K, 3) or (b, L · K, 3) float tensor
            Absolute coordinates in the reference frame, mm, each patch sorted by distance to the origin.
        normals, centres
            Not used; every network takes them.

        Returns
        -------
        NetworkOutput
            Without ``log_scale``: the published network does not say how sure it is.
        """
        batch = len(points)
        expected = (self.landmark_count * self.points_per_patch, 3)
        features = points.reshape(batch, -1, 3).transpose(1, 2)
        if features.shape[2] != expected[0]:
            raise ValueError(f"expected {expected[0]} points of 3 coordinates, got {tuple(points.shape)}")
        vectors = []
        for block in self.blocks:
            features, vector = block(features)
            vectors += [] if vector is None else [vector]
        hidden = torch.relu(self.first_dense(torch.cat([features.flatten(1), *vectors], dim=1)))
        hidden = self.dropout(self.second_dense(hidden))
        return NetworkOutput(self.output(hidden).reshape(batch, self.landmark_count, 3))


def palnet_patches(parameters: Mapping[str, Any]) -> tuple[PatchSettings, int | None]:
    """Return which points a network with these parameters sees, and to how many points the scan is thinned out.

    Parameters
    ----------
    parameters : mapping
        Keyword arguments of :class:`PALNet`.
    """
    fields = {"points_per_patch": int(parameters["points_per_patch"]), **(parameters.get("patches") or {})}
    return PatchSettings.from_dict(fields), parameters.get("cloud_points")


def initialise_xavier_normal(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all weights from Xavier's normal distribution and set all biases to zero, as published.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    generator : torch.Generator, optional
        Makes the draw repeatable; default PyTorch's own.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_normal_(parameter, generator=generator)


def _check(landmarks: int, points_per_patch: int, attention: str, top_k: int, blocks: int) -> None:
    problem = ""
    if blocks not in (2, 3):
        problem = f"it has 2 or 3 blocks, not {blocks}"
    elif attention not in ("global", "top_k", "none"):
        problem = f"its attention is 'global', 'top_k' or 'none', not '{attention}'"
    elif landmarks < 1 or top_k < 1:
        problem = "it needs at least one landmark, and top_k of at least 1"
    elif points_per_patch < 1 or points_per_patch % math.prod(POOLING[:blocks]):
        windows = math.prod(POOLING[:blocks])
        problem = f"{points_per_patch} points per patch cannot be pooled by {windows} without a rest"
    if problem:
        raise BundleError(
            f"The network 'palnet' cannot be built: {problem}.",
            "Correct the network's parameters; published are 3 blocks, global attention and 1000 points per patch.",
            code="bundle.parameters",
        )
