"""Point-wise features of all patches: as tensors over all of them, or, to train on a processor, part by part.

As tensors over all patches the point-wise layers make arrays of tens of megabytes, and most of a training step on a
processor goes into moving them to memory and back. Part by part, all layers of a few landmarks' patches are done while
they are in the processor's cache, and back again with gradients written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

ROWS = 2048
"""Points that go through the layers together; in bfloat16 their last features take 400 kB."""

_relu_backward = torch.ops.aten.threshold_backward.grad_input


class PatchFeatures(NamedTuple):
    """Features of the points of all patches, and what is pooled of them.

    ``values`` (l, b·k, c); ``highest`` and ``mean`` (l, b, c) over the points of a patch. Where there are ``factors``,
    the values are differentiable through :func:`similarities` only.
    """

    values: Tensor
    highest: Tensor
    mean: Tensor
    factors: Tensor | None


def patch_features(
    points: Tensor, batch: int, layers: Sequence[tuple[Tensor, Tensor]], part_by_part: bool = False
) -> PatchFeatures:
    """Send the points of each landmark through its own layers, each a linear map and a ReLU.

    Parameters
    ----------
    points : (l, b·k, i)
        Input of the k points of b patches of l landmarks; it gets no gradient.
    batch : int
        b.
    layers : sequence of (l, o, i) and (l, o)
        Weights and biases of each landmark.
    part_by_part : bool
        Faster in training on a processor; a GPU always does all patches at once.

    Notes
    -----
    Where several points of a patch share the highest value, the first takes its gradient; part by part it is divided
    among them.
    """
    if not part_by_part or points.device.type != "cpu":
        values = points
        for weight, bias in layers:
            values = torch.relu(torch.baddbmm(bias[:, None], values, weight.transpose(1, 2)))
        patches = values.reshape(len(values), batch, -1, values.shape[-1])
        return PatchFeatures(values, patches.max(dim=2).values, patches.mean(dim=2), None)
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else points.dtype
    tensors = [tensor.to(precision) for layer in layers for tensor in layer]
    with torch.autocast("cpu", enabled=False):
        return PatchFeatures(*_Features.apply(points.to(precision), batch, *tensors))


def similarities(features: PatchFeatures, queries: Tensor) -> Tensor:
    """Return the dot products (l, b, k) of each patch's points with its query (l, b, c)."""
    if features.factors is None:
        patches = features.values.reshape(*queries.shape[:2], -1, queries.shape[-1])
        return (patches @ queries[..., None])[..., 0]
    with torch.autocast("cpu", enabled=False):
        queries = queries.to(features.values.dtype)
        return cast(Tensor, _Similarities.apply(features.factors, features.values, queries))


def _highest(patches: Tensor) -> Tensor:
    """Maximum over the points of (p, b, k, c); none is negative, so that bfloat16 compares as integers, much faster."""
    if patches.dtype == torch.bfloat16:
        return patches.view(torch.int16).amax(2).view(torch.bfloat16)
    return patches.amax(2)


class _Features(torch.autograd.Function):
    """The layers; outputs values, highest, mean and a stand-in whose gradient holds the two factors of the values'.

    The similarities' gradient with respect to the values of a patch is an outer product, gradient of the similarity
    (k) times query (c): handed on as these k + c numbers it need not be written out for all points at once.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, batch: int, *layers: Tensor) -> tuple[Tensor, ...]:
        weights, biases = layers[0::2], layers[1::2]
        landmarks, rows, _ = points.shape
        width = weights[-1].shape[1]
        size = max(1, ROWS // rows)
        stages = [points, *(points.new_empty(landmarks, rows, weight.shape[1]) for weight in weights)]
        highest, mean = (points.new_empty(landmarks, batch, width) for _ in range(2))
        steps = [
            list(
                zip(
                    source.split(size),
                    target.split(size),
                    weight.mT.split(size),
                    bias[:, None].split(size),
                    strict=True,
                )
            )
            for source, target, weight, bias in zip(stages, stages[1:], weights, biases, strict=False)
        ]
        pooled = zip(
            stages[-1].view(landmarks, batch, -1, width).split(size), highest.split(size), mean.split(size), strict=True
        )
        for number, (patches, largest, average) in enumerate(pooled):
            for step in steps:
                source, target, weight, bias = step[number]
                torch.baddbmm(bias, source, weight, out=target).relu_()
            largest.copy_(_highest(patches))
            torch.sum(patches, 2, out=average)
        mean /= rows // batch
        ctx.save_for_backward(highest, *stages, *weights)
        ctx.mark_non_differentiable(stages[-1])
        ctx.set_materialize_grads(False)
        return stages[-1], highest, mean, points.new_empty(landmarks, batch, rows // batch + width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        highest, *saved = ctx.saved_tensors
        depth = len(saved) // 2
        stages, weights = saved[: depth + 1], saved[depth + 1 :]
        landmarks, batch, width = highest.shape
        rows = stages[0].shape[1]
        count, size = rows // batch, max(1, ROWS // rows)
        # Of an output that nobody used there is no gradient; that of the values is always the factors'.
        of_highest, of_mean, factors = (
            highest.new_zeros(landmarks, batch, columns) if gradient is None else gradient
            for gradient, columns in zip(gradients[1:], (width, width, count + width), strict=True)
        )
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_biases = [weight.new_empty(weight.shape[:2]) for weight in weights]
        parts = [stage.split(size) for stage in stages]
        maps = [
            list(zip(*(tensor.split(size) for tensor in three), strict=True))
            for three in zip(weights, of_weights, of_biases, strict=True)
        ]
        pooled = zip(
            stages[-1].view(landmarks, batch, count, width).split(size),
            *(tensor[:, :, None].split(size) for tensor in (highest, of_highest, of_mean / count)),
            factors[..., :count, None].split(size),
            factors[..., None, count:].split(size),
            strict=True,
        )
        buffers = [stage.new_empty(size, *stage.shape[1:]) for stage in stages[1:]]
        top = torch.empty_like(buffers[-1]).view(size, batch, count, width)
        for number, (patches, largest, of_largest, of_each, of_similarity, query) in enumerate(pooled):
            own = len(patches)
            # One where a value is the patch's highest; written as numbers at once, not as bool, it takes a tenth.
            torch.eq(patches, largest, out=top[:own])
            last = buffers[-1][:own].view_as(patches)
            torch.addcmul(of_each, of_similarity, query, out=last)
            last.addcmul_(top[:own], of_largest / top[:own].sum(2, keepdim=True))
            for layer in reversed(range(depth)):
                gradient, (weight, of_weight, of_bias) = buffers[layer][:own], maps[layer][number]
                _relu_backward(gradient, parts[layer + 1][number], 0, grad_input=gradient)
                torch.bmm(gradient.mT, parts[layer][number], out=of_weight)
                torch.sum(gradient, 1, out=of_bias)
                if layer:
                    torch.bmm(gradient, weight, out=buffers[layer - 1][:own])
        return None, None, *(tensor for pair in zip(of_weights, of_biases, strict=True) for tensor in pair)


class _Similarities(torch.autograd.Function):
    """Values times queries; the gradient of the values goes back as its factors, see :class:`_Features`."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor, values: Tensor, queries: Tensor) -> Tensor:
        ctx.save_for_backward(values, queries)
        return (values.view(*queries.shape[:2], -1, queries.shape[2]) @ queries[..., None])[..., 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, queries = ctx.saved_tensors
        patches = values.view(*queries.shape[:2], -1, queries.shape[2])
        of_queries = (gradients[0][:, :, None] @ patches)[:, :, 0]
        return torch.cat([gradients[0], queries], dim=-1), None, of_queries
