"""Point-wise features part by part: the same values and gradients as all patches at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from PALNetLandmarksLib.engine.networks.patch_features import patch_features, similarities
from PALNetLandmarksLib.engine.networks.patch_transformer import PatchTransformer

LANDMARKS, BATCH, POINTS = 5, 3, 40


def layers(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(LANDMARKS, outputs, inputs, generator=generator).mul(inputs**-0.5).requires_grad_(),
            torch.randn(LANDMARKS, outputs, generator=generator).mul(0.1).requires_grad_(),
        )
        for inputs, outputs in ((6, 8), (8, 12), (12, 16))
    ]


def outputs_and_gradients(part_by_part: bool, bfloat16: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    points = torch.randn(LANDMARKS, BATCH * POINTS, 6, generator=torch.Generator().manual_seed(1))
    maps = layers()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        features = patch_features(points, BATCH, maps, part_by_part)
        products = similarities(features, torch.tanh(features.highest - features.mean))
    outputs = [features.values, features.highest, features.mean, products]
    place = torch.linspace(-1.0, 1.0, products.numel()).view_as(products)
    loss = (products.float().softmax(-1) * place).sum() + (features.highest * features.mean).float().mean()
    loss.backward()
    gradients = [tensor.grad for layer in maps for tensor in layer]
    assert all(gradient is not None for gradient in gradients)
    return [output.detach() for output in outputs], [gradient for gradient in gradients if gradient is not None]


def test_values_and_gradients_are_those_of_all_patches_at_once() -> None:
    together, parts = outputs_and_gradients(False), outputs_and_gradients(True)
    for at_once, one_by_one in zip(together, parts, strict=True):
        for expected, found in zip(at_once, one_by_one, strict=True):
            assert found.shape == expected.shape
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_mixed_precision_is_as_near_to_full_precision_as_all_patches_at_once() -> None:
    exact = outputs_and_gradients(False)[1]
    together, one_by_one = outputs_and_gradients(False, bfloat16=True)[1], outputs_and_gradients(True, bfloat16=True)[1]
    for expected, rounded, found in zip(exact, together, one_by_one, strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 2.0 * (rounded - expected).norm() + 0.01 * expected.norm()


def test_size_of_the_parts_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    all_in_one = outputs_and_gradients(True)
    for rows in (1, 2 * BATCH * POINTS):  # one landmark in a part; two, and one left over
        monkeypatch.setattr("PALNetLandmarksLib.engine.networks.patch_features.ROWS", rows)
        for one, other in zip(all_in_one, outputs_and_gradients(True), strict=True):
            for expected, found in zip(one, other, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_of_equal_highest_values_is_divided() -> None:
    weight = torch.ones(1, 1, 1, requires_grad=True)
    points = torch.tensor([[[2.0], [2.0], [1.0]]])
    features = patch_features(points, 1, [(weight, torch.zeros(1, 1, requires_grad=True))], part_by_part=True)
    features.highest.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 2.0  # half of it through each of two points at 2


def test_whole_network_learns_the_same_either_way() -> None:
    torch.manual_seed(0)
    network = PatchTransformer(4, [1, 0, 2, 3], points=32, width=20, layers=1, heads=5, point_widths=(8, 12)).eval()
    cloud = torch.randn(2, 4, 32, 6) * 10.0
    centres = torch.randn(2, 4, 3) * 30.0
    losses, gradients = [], []
    for part_by_part in (False, True):
        network.part_by_part = part_by_part
        network.zero_grad()
        first = network.first_pass(cloud[..., :3], cloud[..., 3:], centres)
        second = network.second_pass(cloud[..., :3], cloud[..., 3:], first)
        loss = second.landmarks.square().mean() + first.landmarks.abs().mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()
