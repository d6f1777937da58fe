"""The stratified graph network: its layers against the formula and against torch_geometric, its size, its ablations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from PALNetLandmarksLib.engine.graphs import Graph, batch_graphs, neighbour_graph, padded
from PALNetLandmarksLib.engine.networks import build_network, network_names
from PALNetLandmarksLib.engine.networks.sgcn import SGCN, Block, CompleteGraphConvolution, GraphConvolution
from PALNetLandmarksLib.errors import BundleError


def small(**parameters: object) -> SGCN:
    torch.manual_seed(0)
    network = build_network("sgcn", {"landmarks": 3, "points": 40, "neighbours": 4, "depth": 3, "channels": 8,
                                     "hottest": 5, **parameters})  # fmt: skip
    assert isinstance(network, SGCN)
    return network.eval()


def face(seed: int, points: int = 40, neighbours: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random points with normals, their fine graph, and six members of the coarse one, as a batch of one."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(points, 6)).astype(np.float32)
    starts, edges = neighbour_graph(features[:, :3], neighbours)
    member = np.zeros(points, dtype=np.float32)
    member[generator.choice(points, 6, replace=False)] = 1.0
    arrays = (features, starts, padded(edges, 2 * points * neighbours), member)
    return tuple(torch.from_numpy(array)[None] for array in arrays)  # type: ignore[return-value]


def batch(*seeds: int) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*(face(seed) for seed in seeds), strict=True))


def fine_graph(starts: Tensor, edges: Tensor) -> tuple[Graph, Tensor]:
    graph = batch_graphs(starts, edges)
    return graph, (graph.degrees.double() + 1.0).rsqrt()[:, None]


def adjacency(graph: Graph) -> Tensor:
    count = len(graph.starts) - 1
    matrix = torch.zeros(count, count, dtype=torch.float64)
    matrix[torch.repeat_interleave(torch.arange(count), graph.degrees), graph.neighbours.long()] = 1.0
    return matrix


def complete_adjacency(member: Tensor) -> Tensor:
    """All members of the coarse graph joined with each other, all other nodes alone."""
    matrix = member.double()[:, None] * member.double()[None]
    return matrix - torch.diag(torch.diag(matrix))


def by_formula(features: Tensor, weight: Tensor, bias: Tensor, matrix: Tensor) -> Tensor:
    """Kipf and Welling, equation 2: D^(−½) (A + I) D^(−½) X W."""
    looped = matrix + torch.eye(len(matrix), dtype=matrix.dtype)
    scale = torch.diag(looped.sum(dim=1) ** -0.5)
    return scale @ looped @ scale @ features @ weight.T + bias


def randomised(layer: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer.double()


def test_fine_layer_is_the_formula() -> None:
    features, starts, edges, _ = face(0)
    graph, norm = fine_graph(starts, edges)
    layer = randomised(GraphConvolution(6, 8))
    expected = by_formula(features[0].double(), layer.weight, layer.bias, adjacency(graph))
    torch.testing.assert_close(layer(features[0].double(), graph, norm), expected)


def test_coarse_layer_is_the_formula_on_the_complete_graph() -> None:
    features, _, _, member = batch(0, 1)
    layer = randomised(CompleteGraphConvolution(6, 8))
    found = layer(features.double(), member)
    for one, nodes, result in zip(features.double(), member, found, strict=True):
        torch.testing.assert_close(result, by_formula(one, layer.weight, layer.bias, complete_adjacency(nodes)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch_geometric asks of torch while it is imported
@pytest.mark.parametrize("coarse", [False, True])
def test_layers_are_those_of_torch_geometric(coarse: bool) -> None:
    from torch_geometric.nn import GCNConv  # takes two seconds

    features, starts, edges, member = face(1)
    given = features[0].double()
    graph, norm = fine_graph(starts, edges)
    layer = randomised(CompleteGraphConvolution(6, 8) if coarse else GraphConvolution(6, 8))
    theirs = GCNConv(6, 8).double()
    with torch.no_grad():
        theirs.lin.weight.copy_(layer.weight)
        theirs.bias.copy_(layer.bias)
    matrix = complete_adjacency(member[0]) if coarse else adjacency(graph)
    ours = layer(features.double(), member)[0] if coarse else layer(given, graph, norm)
    torch.testing.assert_close(ours, theirs(given, matrix.nonzero().T))


def test_block_is_what_the_paper_says() -> None:
    features, starts, edges, member = face(2)
    graph, norm = fine_graph(starts, edges)
    block = randomised(Block(6, 8, coarse=True))
    given = features.double()
    branches = []
    for layer, order, matrix in (
        (block.fine, block.fine_norm, adjacency(graph)),
        (block.coarse, block.coarse_norm, complete_adjacency(member[0])),
    ):
        found = by_formula(given[0], layer.weight, layer.bias, matrix)
        found = (found - found.mean(dim=1, keepdim=True)) / (found.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt()
        branches.append(torch.relu(found * order.weight + order.bias))
    expected = torch.cat(branches, dim=1) @ block.fusion.weight.T + block.fusion.bias
    torch.testing.assert_close(block(given, graph, norm, member)[0], expected)


def test_blocks_are_joined_by_residual_connections() -> None:
    network, given = small(), face(3)
    graph, norm = fine_graph(given[1], given[2])
    norm, features = norm.float(), given[0]
    features = network.blocks[0](features, graph, norm, given[3])
    for block in list(network.blocks)[1:]:
        features = features + block(features, graph, norm, given[3])
    torch.testing.assert_close(network(*given), features @ network.heat.weight.T + network.heat.bias)


def test_published_size() -> None:
    """20 blocks of 64 channels and 68 landmarks: about 1.5 MB."""
    network = build_network("sgcn", {"landmarks": 68})
    assert len(network.blocks) == 20
    size = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    assert 1.2 < size < 1.6
    assert "sgcn" in network_names()


def test_faces_of_a_batch_do_not_mix() -> None:
    network = small()
    whole = network(*batch(0, 1, 2))
    assert whole.shape == (3, 40, 3)
    for place, seed in enumerate((0, 1, 2)):
        torch.testing.assert_close(network(*face(seed))[0], whole[place], atol=1e-5, rtol=1e-5)


def test_order_of_the_points_does_not_matter() -> None:
    network, (features, _, _, member) = small(), face(4)
    order = np.random.default_rng(0).permutation(40)
    starts, edges = neighbour_graph(features[0, order, :3].numpy(), 4)
    shuffled = network(features[:, order], torch.from_numpy(starts)[None], torch.from_numpy(edges)[None],
                       member[:, order])  # fmt: skip
    torch.testing.assert_close(shuffled, network(*face(4))[:, order], atol=1e-5, rtol=1e-5)


def test_coarse_graph_carries_information_across_the_face() -> None:
    """One block of the fine graph sees neighbours only; the coarse graph lets each member see all others."""
    features, starts, edges, member = face(5)
    first, other = member[0].nonzero()[:2, 0]
    reached = {}
    for coarse in (False, True):
        network = small(depth=1, coarse=coarse)
        changed = features.clone()
        changed[0, first] += 1.0
        difference = network(changed, starts, edges, member) - network(features, starts, edges, member)
        reached[coarse] = difference[0].abs().sum(dim=1) > 1e-6
    near = adjacency(fine_graph(starts, edges)[0])[first] > 0
    near[first] = True
    assert (reached[False] == near).all()
    assert (reached[True] == (near | (member[0] > 0))).all()
    assert reached[True][other]


@pytest.mark.parametrize("coarse", [False, True])
def test_every_parameter_learns(coarse: bool) -> None:
    network = small(coarse=coarse).train()
    network(*batch(0, 1)).square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert any("coarse" in name for name, _ in network.named_parameters()) is coarse


def test_gradients_of_the_whole_network() -> None:
    network = small(depth=2, channels=4).double()
    features, *rest = batch(0, 1)
    features = features.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: network(x, *rest), features)
    names, values = zip(*((n, p.detach().clone().requires_grad_()) for n, p in network.named_parameters()), strict=True)
    given = (features.detach(), *rest)

    def heat(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), given)

    assert torch.autograd.gradcheck(heat, values, fast_mode=True)


def test_twice_the_same_gives_the_same_bits() -> None:
    results = []
    for _ in range(2):
        network = small().train()
        heat = network(*batch(0, 1))
        heat.square().sum().backward()
        results.append([heat, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.gpu
def test_cpu_and_gpu_agree() -> None:
    network, given = small(), batch(0, 1, 2)
    torch.testing.assert_close(
        network.cuda()(*(tensor.cuda() for tensor in given)).cpu(), network.cpu()(*given), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    "parameters",
    [{"points": 0}, {"points": 4.5}, {"neighbours": 0}, {"depth": 0}, {"landmarks": 0}, {"stages": 3}, {"hottest": 41},
     {"sigma": 0.0}, {"reach": -1.0}, {"depth": True}, {"colour": 3}],
)  # fmt: skip
def test_impossible_parameters_are_a_bundle_error(parameters: dict[str, object]) -> None:
    with pytest.raises(BundleError) as caught:
        small(**parameters)
    assert caught.value.hint
