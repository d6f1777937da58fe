"""The default network: shapes, symmetry between sides, gradients, independence of batch-mates."""

from __future__ import annotations

import pytest
import torch

from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.networks.patch_transformer import PatchTransformer
from PALNetLandmarksLib.errors import BundleError

MIRROR = [0, 2, 1, 3]


@pytest.fixture
def network() -> PatchTransformer:
    torch.manual_seed(0)
    built = build_network("patch_transformer", {"landmarks": 4, "mirror": MIRROR, "points": 16, "width": 20})
    assert isinstance(built, PatchTransformer)
    return built.eval()


def patches(batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(batch, 4, 3, generator=generator) * 40
    points = centres[:, :, None] + torch.randn(batch, 4, 16, 3, generator=generator) * 8
    normals = torch.nn.functional.normalize(torch.randn(batch, 4, 16, 3, generator=generator), dim=-1)
    return points, normals, centres


def test_output_of_both_passes(network: PatchTransformer) -> None:
    points, normals, centres = patches(3, 0)
    first = network.first_pass(points, normals, centres)
    second = network.second_pass(points, normals, first)
    for output in (first, second):
        assert output.landmarks.shape == (3, 4, 3)
        assert output.log_error.shape == output.visible_logit.shape == (3, 4)
        assert torch.isfinite(output.landmarks).all()


def test_order_of_points_and_batch_mates_do_not_matter(network: PatchTransformer) -> None:
    points, normals, centres = patches(3, 1)
    whole = network.first_pass(points, normals, centres).landmarks
    alone = network.first_pass(points[1:2].flip(2), normals[1:2].flip(2), centres[1:2]).landmarks
    torch.testing.assert_close(alone[0], whole[1], atol=1e-4, rtol=1e-5)


def test_left_patches_are_seen_in_the_mirror(network: PatchTransformer) -> None:
    """What the point-wise layers make of a right patch, they make of its mirror image on the left."""
    assert network.kinds.tolist() == [0, 1, 1, 2]
    assert network.side[:, 0, 0].tolist() == [1.0, 1.0, -1.0, 1.0]
    points, normals, centres = patches(1, 2)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    points[:, 2], normals[:, 2], centres[:, 2] = points[:, 1] * flip, normals[:, 1] * flip, centres[:, 1] * flip
    with torch.no_grad():  # the tokens of a pair differ by label and position only: take these away
        network.coarse.label.weight[2] = network.coarse.label.weight[1]
        network.coarse.position.weight.zero_()
    answer = network.first_pass(points, normals, centres).landmarks[0]
    torch.testing.assert_close(answer[2], answer[1] * flip, atol=1e-4, rtol=1e-5)


def test_answer_moves_with_the_face_but_for_the_position_code(network: PatchTransformer) -> None:
    points, normals, centres = patches(1, 3)
    with torch.no_grad():
        network.coarse.position.weight.zero_()
    shift = torch.tensor([3.0, -2.0, 1.0])
    moved = network.first_pass(points + shift, normals, centres + shift).landmarks
    torch.testing.assert_close(moved, network.first_pass(points, normals, centres).landmarks + shift, atol=1e-3, rtol=0)


def test_every_parameter_learns(network: PatchTransformer) -> None:
    network.train()
    points, normals, centres = patches(2, 4)
    first = network.first_pass(points, normals, centres)
    second = network.second_pass(points, normals, first)
    total = sum(
        (o.landmarks.square().mean() + o.log_error.mean() + o.visible_logit.mean() for o in (first, second)),
        torch.zeros(()),
    )
    total.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_full_size_weighs_less_than_twelve_megabytes() -> None:
    mirror = [*range(12), *range(31, 50), *range(12, 31)]
    network = build_network("patch_transformer", {"landmarks": 50, "mirror": mirror})
    assert sum(p.numel() for p in network.parameters()) * 4 < 12e6


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(BundleError):
        build_network("patch_transformer", {"landmarks": 4, "mirror": MIRROR, "colour": "red"})
