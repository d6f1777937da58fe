"""The second published network: the two-stage stratified graph convolutional network, 2S-SGCN.

Burger, Blandano, Facchi, Lanzarotti, Computer Vision and Image Understanding, 2024. |V| points of the face are the
nodes of two graphs: the fine one joins neighbours, the coarse one joins the points nearest to the mean landmarks, each
with each. D blocks look along both; a linear layer gives a heatmap over the points for each landmark. The second stage,
from heatmaps to a vertex of the mesh, is `mesh_localisation`.

What the paper leaves open, and what is done here (docs/decisions/0003-stratified-graphs.md):

- Both graphs have the same nodes. Outside the set C a node of the coarse graph has no edge but its self loop, so the
  graph convolution is a linear layer there, and the branches can be concatenated at every node.
- The fine graph is undirected, which the symmetric normalisation supposes.
- The first block has no residual connection: it changes the number of channels from 6 to 64.
- There is no activation after the fusion and after the last layer: heat is not forced into [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from PALNetLandmarksLib.engine.graphs import Graph, batch_graphs, neighbour_sum
from PALNetLandmarksLib.engine.heatmaps import SIGMA
from PALNetLandmarksLib.errors import BundleError

FEATURES = 6  # position and normal


class GraphConvolution(nn.Module):
    """A layer of Kipf and Welling (2017): D^(−½) (A + I) D^(−½) X W + b; D counts neighbours and the point itself.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, graph: Graph, norm: Tensor) -> Tensor:
        """Map features (n, i) to (n, o); `norm` (n, 1) is (degree + 1)^(−½)."""
        features = (features @ self.weight.T) * norm
        return (features + neighbour_sum(features, graph)) * norm + self.bias


class CompleteGraphConvolution(nn.Module):
    """The same layer on a graph that joins all members of a set with each other and leaves all other nodes alone.

    A member has as many edges, its self loop counted, as there are members: the layer gives each of them the mean of
    X W over the members. To every other node it gives its own X W.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, member: Tensor) -> Tensor:
        """Map features (b, n, i) to (b, n, o); `member` (b, n) is 1 in the set and 0 outside."""
        features = features @ self.weight.T
        member = member.to(features.dtype)
        share = member / member.sum(dim=1, keepdim=True).clamp(min=1.0)
        mean = share[:, None, :] @ features
        return torch.where(member[:, :, None] > 0, mean, features) + self.bias


class Block(nn.Module):
    """One look along both graphs: convolution, LayerNorm, ReLU in each, then concatenation and fusion."""

    def __init__(self, inputs: int, channels: int, coarse: bool) -> None:
        super().__init__()
        self.fine = GraphConvolution(inputs, channels)
        self.fine_norm = nn.LayerNorm(channels)
        self.coarse = CompleteGraphConvolution(inputs, channels) if coarse else None
        self.coarse_norm = nn.LayerNorm(channels) if coarse else None
        self.fusion = nn.Linear(2 * channels, channels) if coarse else None

    def forward(self, features: Tensor, graph: Graph, norm: Tensor, member: Tensor) -> Tensor:
        """Map features (b, n, i) to (b, n, c)."""
        batch, points, _ = features.shape
        fine = self.fine(features.flatten(0, 1), graph, norm).unflatten(0, (batch, points))
        fine = torch.relu(self.fine_norm(fine))
        if self.coarse is None or self.coarse_norm is None or self.fusion is None:
            return fine
        coarse = torch.relu(self.coarse_norm(self.coarse(features, member)))
        fused: Tensor = self.fusion(torch.cat([fine, coarse], dim=2))
        return fused


class SGCN(nn.Module):
    """The network, with all that its users must know of how it is fed and read.

    Parameters
    ----------
    landmarks : int
        |L|.
    points : int
        |V|, points that a face is resampled to; 2,000 to 32,768 in the paper.
    neighbours : int
        k of the fine graph: 16, in the paper 32 for the LAFAS scans.
    depth : int
        D, number of blocks: 20, in the paper 4 for the LAFAS scans.
    channels : int
    coarse : bool
        Whether there is a coarse branch; without it the network is the ablation 2S-GCN.
    stages : int
        2, or 1 for the ablations 1S: the softmax-weighted mean of the hottest points is the answer.
    hottest : int
        t, points of highest heat that the localisation takes.
    reach : float
        γ: candidates of the second stage lie within γ times the radius of the hottest points.
    sigma : float
        Width of the heat, in the unit frame.
    facet_normals : bool
        Each point has the normal of its triangle (paper), not one interpolated between the triangle's corners.
    principal_axes : mapping, optional
        Align the principal axes of each face to these (`principal_axes.PrincipalFrame`), as in the paper; by default
        the registration of the engine aligns.

    Raises
    ------
    BundleError
        If a parameter cannot be what is asked.
    """

    def __init__(
        self,
        landmarks: int,
        points: int = 8000,
        neighbours: int = 16,
        depth: int = 20,
        channels: int = 64,
        coarse: bool = True,
        stages: int = 2,
        hottest: int = 12,
        reach: float = 5.0,
        sigma: float = SIGMA,
        facet_normals: bool = True,
        principal_axes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        whole = {"landmarks": landmarks, "points": points, "neighbours": neighbours, "depth": depth,
                 "channels": channels, "hottest": hottest}  # fmt: skip
        wrong = [name for name, value in whole.items() if type(value) is not int or value < 1]
        wrong += [name for name, value in {"reach": reach, "sigma": sigma}.items() if not value > 0.0]
        if stages not in (1, 2):
            wrong.append("stages")
        if not wrong and hottest > points:
            wrong.append("hottest")
        if wrong:
            raise BundleError(
                f"The network 'sgcn' cannot be built: {', '.join(wrong)} cannot be what is asked.",
                "Counts are at least 1, stages 1 or 2, reach and sigma above 0, hottest no more than points.",
                code="bundle.parameters",
            )
        self.landmark_count, self.points, self.neighbours = landmarks, points, neighbours
        self.stages, self.hottest, self.reach, self.sigma = stages, hottest, reach, sigma
        self.facet_normals, self.principal_axes = facet_normals, principal_axes
        sizes = [FEATURES, *[channels] * depth]
        self.blocks = nn.ModuleList(Block(i, o, coarse) for i, o in zip(sizes[:-1], sizes[1:], strict=True))
        self.heat = nn.Linear(channels, landmarks)

    def forward(self, points: Tensor, starts: Tensor, neighbours: Tensor, member: Tensor) -> Tensor:
        """Give the heatmaps of a batch of faces.

        Parameters
        ----------
        points : (b, n, 6) float tensor
            Positions in the unit frame and unit normals.
        starts : (b, n + 1) int32 tensor
        neighbours : (b, e) int32 tensor
            The fine graphs, see `graphs`.
        member : (b, n) float tensor
            1 for the points of the set C, 0 for all others.

        Returns
        -------
        (b, n, l) float tensor
            Heat, about 1 at a landmark and 0 far from it.
        """
        graph = batch_graphs(starts, neighbours)
        norm = (graph.degrees.to(points.dtype) + 1.0).rsqrt()[:, None]
        features = points
        for block in self.blocks:
            found = block(features, graph, norm, member)
            features = found + features if found.shape == features.shape else found
        heat: Tensor = self.heat(features)
        return heat
