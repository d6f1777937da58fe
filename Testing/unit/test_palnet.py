"""The published network: its size, its layers, what it computes, and its ablations."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from PALNetLandmarksLib.engine.networks import NetworkOutput, build_network, network_names
from PALNetLandmarksLib.engine.networks.palnet import PALNet, PointAttention, initialise_xavier_normal
from PALNetLandmarksLib.errors import BundleError

PUBLISHED_SHAPES = {
    "blocks.0.first.weight": (32, 3, 1),
    "blocks.0.first.bias": (32,),
    "blocks.0.second.weight": (32, 32, 1),
    "blocks.0.second.bias": (32,),
    "blocks.0.attention.weight": (32, 1),
    "blocks.0.attention.bias": (50_000, 1),
    "blocks.1.first.weight": (64, 32, 1),
    "blocks.1.first.bias": (64,),
    "blocks.1.second.weight": (64, 64, 1),
    "blocks.1.second.bias": (64,),
    "blocks.1.attention.weight": (64, 1),
    "blocks.1.attention.bias": (10_000, 1),
    "blocks.2.first.weight": (128, 64, 1),
    "blocks.2.first.bias": (128,),
    "blocks.2.second.weight": (128, 128, 1),
    "blocks.2.second.bias": (128,),
    "blocks.2.attention.weight": (128, 1),
    "blocks.2.attention.bias": (2_000, 1),
    "first_dense.weight": (1024, 64_224),
    "first_dense.bias": (1024,),
    "second_dense.weight": (1024, 1024),
    "second_dense.bias": (1024,),
    "output.weight": (150, 1024),
    "output.bias": (150,),
}


def shapes(**parameters: object) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network of any size without its memory."""
    with torch.device("meta"):
        network = build_network("palnet", parameters)
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def small(**parameters: object) -> PALNet:
    torch.manual_seed(0)
    network = build_network("palnet", {"landmarks": 4, "points_per_patch": 100, **parameters})
    assert isinstance(network, PALNet)
    return network.eval()


def test_published_layers_and_count() -> None:
    found = shapes()
    assert found == PUBLISHED_SHAPES
    assert sum(torch.Size(shape).numel() for shape in found.values()) == 67_064_262


def test_full_size_forward() -> None:
    network = build_network("palnet", {}).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 67_064_262
    with torch.inference_mode():
        output = network(torch.randn(1, 50, 1000, 3) * 50.0)
    assert isinstance(output, NetworkOutput)
    assert output.landmarks.shape == (1, 50, 3)
    assert output.log_scale is None
    assert torch.isfinite(output.landmarks).all()


def test_computes_what_the_description_says() -> None:
    network = small()
    points = torch.randn(2, 4, 100, 3)
    row = points.reshape(2, 400, 3)
    vectors = []
    for block, pooling in zip(network.blocks, (5, 5, 4), strict=True):
        row = torch.relu(row @ block.first.weight[:, :, 0].T + block.first.bias)
        row = torch.relu(row @ block.second.weight[:, :, 0].T + block.second.bias)
        attention = torch.exp(torch.tanh(row @ block.attention.weight + block.attention.bias))
        vectors.append((row * attention / attention.sum(dim=1, keepdim=True)).sum(dim=1))
        row = row.reshape(2, -1, pooling, row.shape[2]).amax(dim=2)
    flat = torch.cat([row.transpose(1, 2).flatten(1), *vectors], dim=1)
    hidden = torch.relu(flat @ network.first_dense.weight.T + network.first_dense.bias)
    hidden = hidden @ network.second_dense.weight.T + network.second_dense.bias
    expected = (hidden @ network.output.weight.T + network.output.bias).reshape(2, 4, 3)
    torch.testing.assert_close(network(points).landmarks, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(points.reshape(2, 400, 3)).landmarks, network(points).landmarks)


def test_dropout_only_in_training() -> None:
    network = small()
    points = torch.randn(1, 4, 100, 3)
    torch.testing.assert_close(network(points).landmarks, network(points).landmarks)
    network.train()
    assert (network(points).landmarks != network(points).landmarks).any()


def test_every_parameter_learns() -> None:
    network = small().train()
    network(torch.randn(2, 4, 100, 3)).landmarks.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("parameters", "inputs", "attentions"),
    [
        ({"attention": "none"}, 64_000, 0),
        ({"attention": "top_k"}, 64_224, 3),
        ({"blocks": 2}, 2_000 * 64 + 96, 2),
        ({"points_per_patch": 500}, 32_224, 3),
        ({"points_per_patch": 1500}, 96_224, 3),
        ({"landmarks": 68}, 680 * 128 + 224, 3),
    ],
)
def test_ablations_and_other_protocols(parameters: dict[str, object], inputs: int, attentions: int) -> None:
    found = shapes(**parameters)
    assert found["first_dense.weight"] == (1024, inputs)
    assert sum("attention.weight" in name for name in found) == attentions
    assert found["output.weight"] == (3 * int(str(parameters.get("landmarks", 50))), 1024)


@pytest.mark.parametrize("parameters", [{"attention": "none"}, {"attention": "top_k"}, {"blocks": 2}, {"landmarks": 7}])
def test_ablations_run(parameters: dict[str, object]) -> None:
    network = small(**parameters)
    landmarks = network.landmark_count
    assert network(torch.randn(2, landmarks, 100, 3)).landmarks.shape == (2, landmarks, 3)


def test_top_k_attention_sees_only_the_highest_scores() -> None:
    attention = PointAttention(channels=3, points=50, top_k=10)
    torch.nn.init.normal_(attention.weight)
    features = torch.randn(2, 3, 50)
    scores = torch.tanh(features.transpose(1, 2) @ attention.weight)[..., 0]
    for scan, score, vector in zip(features, scores, attention(features), strict=True):
        best = score.argsort(descending=True)[:10]
        weights = torch.softmax(score[best], dim=0)
        torch.testing.assert_close(vector, (scan[:, best] * weights).sum(dim=1))


@pytest.mark.parametrize(
    "parameters",
    [
        {"points_per_patch": 1010},
        {"points_per_patch": 0},
        {"landmarks": 0},
        {"blocks": 4},
        {"attention": "local"},
        {"attention": "top_k", "top_k": 0},
        {"colour": 3},
    ],
)
def test_impossible_parameters_are_a_bundle_error(parameters: dict[str, object]) -> None:
    with pytest.raises(BundleError) as caught:
        build_network("palnet", parameters)
    assert caught.value.hint


def test_wrong_number_of_points() -> None:
    with pytest.raises(ValueError, match="expected 400 points"):
        small()(torch.randn(1, 4, 50, 3))


def test_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(BundleError, match="palnet"):
        build_network("resnet", {})
    assert "palnet" in network_names()


def test_names_do_not_load_pytorch() -> None:
    code = (
        "import sys; from PALNetLandmarksLib.engine.networks import network_names; network_names(); print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    modules = child.stdout.split()
    assert "PALNetLandmarksLib.engine.networks" in modules
    assert "torch" not in modules


def test_xavier_normal_weights() -> None:
    network = torch.nn.Linear(300, 500)
    initialise_xavier_normal(network, torch.Generator().manual_seed(1))
    assert (network.bias == 0).all()
    assert network.weight.std().item() == pytest.approx((2.0 / 800) ** 0.5, rel=0.01)
    again = torch.nn.Linear(300, 500)
    initialise_xavier_normal(again, torch.Generator().manual_seed(1))
    assert (network.weight == again.weight).all()
