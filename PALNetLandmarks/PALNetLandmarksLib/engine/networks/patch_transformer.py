"""The default network: shared point-wise features of each patch, attention between landmarks, two passes.

What it changes against the published network, and why:

- coordinates relative to the patch's centre, so that a feature looks the same wherever it stands (the published one
  sees absolute coordinates and must learn every place anew);
- one set of point-wise weights for all patches, steered by a learned scale and shift for each kind of landmark; the
  patches of the left side are reflected, so that right and left landmarks of a pair are the same kind and share all
  that is learnt (published: 64 million weights in one dense layer);
- normals as input;
- attention between the 50 landmarks instead of a dense layer over all patches;
- the answer is a weighted mean of the patch's own points plus a small offset: it lies near the surface and is not
  drawn towards the mean face;
- a second pass with smaller, denser patches round the first answer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from PALNetLandmarksLib.engine.networks.patch_features import patch_features, similarities

COARSE_SCALE = 25.0
FINE_SCALE = 12.0
POSITION_SCALE = 100.0
MINIMUM_LOG_ERROR, MAXIMUM_LOG_ERROR = -2.0, 4.0


class PassOutput(NamedTuple):
    """What one pass tells about each landmark.

    ``landmarks`` (b, l, 3) in mm, reference frame; ``log_error`` (b, l), logarithm of the expected error in mm;
    ``visible_logit`` (b, l), log-odds that the landmark's surface is in the scan.
    """

    landmarks: Tensor
    log_error: Tensor
    visible_logit: Tensor
    tokens: Tensor


class SteeredLinear(nn.Module):
    """A linear layer shared by all kinds of landmark, its outputs scaled and shifted for each kind."""

    def __init__(self, kinds: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shared = nn.Linear(inputs, outputs)
        self.scale = nn.Embedding(kinds, outputs)
        self.shift = nn.Embedding(kinds, outputs)
        nn.init.normal_(self.scale.weight, std=0.1)
        nn.init.normal_(self.shift.weight, std=0.1)

    def forward(self, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (l, o, i), scale folded in, and biases (l, o) of l landmarks of the given kinds (l,)."""
        return self.shared.weight * (1.0 + self.scale(kinds))[:, :, None], self.shared.bias + self.shift(kinds)


class Pass(nn.Module):
    """One look at all patches: encode the points, let the landmarks attend to each other, locate each landmark."""

    def __init__(
        self,
        landmarks: int,
        kinds: int,
        widths: tuple[int, ...],
        width: int,
        layers: int,
        heads: int,
        scale: float,
        follows: bool,
    ) -> None:
        super().__init__()
        self.scale = scale
        sizes = (6, *widths)
        self.encoder = nn.ModuleList(SteeredLinear(kinds, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.pooled = nn.Linear(2 * widths[-1], width)
        self.position = nn.Linear(3, width)
        self.label = nn.Embedding(landmarks, width)
        self.context = nn.Linear(width, width) if follows else None
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.05, activation="gelu", batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.query = nn.Linear(width, widths[-1])
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 5))
        nn.init.normal_(self.label.weight, std=0.1)
        last = self.head[2]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)

    def forward(
        self, patches: Tensor, centres: Tensor, kinds: Tensor, side: Tensor, context: Tensor | None, part_by_part: bool
    ) -> PassOutput:
        """Locate the landmarks.

        Parameters
        ----------
        patches : (b, l, k, 6)
            Positions relative to the centres in mm, and normals.
        centres : (b, l, 3)
            In the reference frame, mm.
        kinds : (l,) int64
        side : (l, 1, 3)
            Factors that reflect the patches of the left side.
        context : (b, l, c) or None
            Tokens of the pass before, where there is one.
        part_by_part : bool
            See :func:`PALNetLandmarksLib.engine.networks.patch_features.patch_features`.
        """
        batch, landmarks, count, _ = patches.shape
        points = patches[..., :3] * side
        features = torch.cat([points / self.scale, patches[..., 3:] * side], dim=-1)
        features = features.transpose(0, 1).reshape(landmarks, batch * count, 6)
        encoded = patch_features(features, batch, [layer(kinds) for layer in self.encoder], part_by_part)
        pooled = torch.cat([encoded.highest, encoded.mean], dim=-1).transpose(0, 1)
        tokens = self.pooled(pooled) + self.label.weight + self.position(centres / POSITION_SCALE)
        if self.context is not None and context is not None:
            tokens = tokens + self.context(context)
        tokens = self.attention(tokens)
        query = self.query(tokens).transpose(0, 1) / self.query.out_features**0.5
        weights = torch.softmax(similarities(encoded, query).float(), dim=-1).transpose(0, 1)
        answer = self.head(tokens).float()
        offset = (weights[:, :, None] @ points)[:, :, 0] + 0.2 * self.scale * answer[..., :3]
        return PassOutput(
            landmarks=centres + offset * side[:, 0],
            log_error=answer[..., 3].clamp(MINIMUM_LOG_ERROR, MAXIMUM_LOG_ERROR),
            visible_logit=answer[..., 4],
            tokens=tokens,
        )


class PatchTransformer(nn.Module):
    """Two passes over patches of a surface cloud.

    Parameters
    ----------
    landmarks : int
        Number of landmarks, L.
    mirror : sequence of int
        ``mirror[i]`` is the landmark on the other side (itself on the midline); its order tells pairs and sides: the
        first of a pair is taken as it is, the second reflected.
    points : int
        Points in a patch, K.
    width, layers, heads : int
        Size of the attention between landmarks in the first pass; the second has two layers.
    point_widths : sequence of int
        Channels of the point-wise layers.

    Attributes
    ----------
    part_by_part : bool
        Whether it is trained on a processor, in the way that is faster there.
    """

    def __init__(
        self,
        landmarks: int,
        mirror: list[int],
        points: int = 256,
        width: int = 160,
        layers: int = 4,
        heads: int = 5,
        point_widths: tuple[int, ...] = (48, 64, 96),
    ) -> None:
        super().__init__()
        self.points = points
        self.part_by_part = False
        representative = [min(i, m) for i, m in enumerate(mirror)]
        kinds = {r: k for k, r in enumerate(sorted(set(representative)))}
        self.register_buffer("kinds", torch.tensor([kinds[r] for r in representative]), persistent=False)
        reflected = torch.ones(landmarks, 1, 3)
        reflected[[i for i, m in enumerate(mirror) if m < i], :, 0] = -1.0
        self.register_buffer("side", reflected, persistent=False)
        widths = tuple(point_widths)
        self.coarse = Pass(landmarks, len(kinds), widths, width, layers, heads, COARSE_SCALE, follows=False)
        self.fine = Pass(landmarks, len(kinds), widths, width, 2, heads, FINE_SCALE, follows=True)

    def first_pass(self, points: Tensor, normals: Tensor, centres: Tensor) -> PassOutput:
        """Look at wide patches (b, l, k, 3) round the centres (b, l, 3)."""
        patches = torch.cat([points - centres[:, :, None], normals], dim=-1)
        return self.coarse(patches, centres, self.kinds, self.side, None, self.part_by_part)

    def second_pass(self, points: Tensor, normals: Tensor, first: PassOutput) -> PassOutput:
        """Look at close patches (b, l, k, 3) round the first answer, which is taken as given."""
        centres = first.landmarks.detach()
        patches = torch.cat([points - centres[:, :, None], normals], dim=-1)
        return self.fine(patches, centres, self.kinds, self.side, first.tokens, self.part_by_part)
