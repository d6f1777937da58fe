"""Neighbour graphs: undirected, right, batched without mixing, and with gradients that hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PALNetLandmarksLib.engine.graphs import Graph, batch_graphs, neighbour_graph, neighbour_sum, padded


def cloud(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


def dense(starts: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Adjacency matrix (n, n) with the number of edges."""
    count = len(starts) - 1
    matrix = np.zeros((count, count))
    np.add.at(matrix, (np.repeat(np.arange(count), np.diff(starts)), neighbours), 1.0)
    return matrix


def torch_graph(points: np.ndarray, count: int) -> Graph:
    starts, neighbours = neighbour_graph(points, count)
    return Graph(torch.from_numpy(starts), torch.from_numpy(neighbours))


@pytest.mark.parametrize("count", [1, 4, 16])
def test_neighbours_are_the_nearest_in_either_direction(count: int) -> None:
    points = cloud(60)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, :count]
    expected = np.zeros((60, 60))
    np.put_along_axis(expected, nearest, 1.0, axis=1)
    expected = np.maximum(expected, expected.T)
    starts, neighbours = neighbour_graph(points, count)
    np.testing.assert_array_equal(dense(starts, neighbours), expected)
    assert (starts.dtype, neighbours.dtype) == (np.int32, np.int32)
    assert np.diff(starts).min() >= count
    assert len(neighbours) <= 2 * count * 60


def test_points_at_one_place_are_no_neighbours_of_themselves() -> None:
    points = np.repeat(cloud(5), 6, axis=0)  # each place six times: the point itself may not be among its nearest 4
    matrix = dense(*neighbour_graph(points, 3))
    assert np.trace(matrix) == 0
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix.max() == 1
    assert (matrix.sum(axis=1) >= 3).all()


@pytest.mark.parametrize(("points", "count", "edges"), [(1, 3, 0), (2, 3, 2), (4, 3, 12), (3, 100, 6)])
def test_few_points_make_a_complete_graph(points: int, count: int, edges: int) -> None:
    starts, neighbours = neighbour_graph(cloud(points), count)
    assert len(starts) == points + 1
    assert len(neighbours) == starts[-1] == edges


def test_no_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        neighbour_graph(cloud(5), 0)


def test_padding_does_not_count() -> None:
    starts, neighbours = neighbour_graph(cloud(20), 3)
    filled = padded(neighbours, 120)
    graph = batch_graphs(torch.from_numpy(starts)[None], torch.from_numpy(filled)[None])
    np.testing.assert_array_equal(graph.neighbours.numpy(), neighbours)
    with pytest.raises(ValueError, match="do not fit"):
        padded(neighbours, len(neighbours) - 1)


def test_graphs_of_a_batch_do_not_mix() -> None:
    graphs = [neighbour_graph(cloud(20, seed), 3) for seed in range(3)]
    assert len({len(neighbours) for _, neighbours in graphs}) > 1  # else the test would not see a wrong offset
    batch = batch_graphs(
        torch.stack([torch.from_numpy(starts) for starts, _ in graphs]),
        torch.stack([torch.from_numpy(padded(neighbours, 120)) for _, neighbours in graphs]),
    )
    assert (batch.starts.dtype, batch.neighbours.dtype) == (torch.int32, torch.int32)
    whole = dense(batch.starts.numpy(), batch.neighbours.numpy())
    expected = np.zeros((60, 60))
    for place, graph in enumerate(graphs):
        part = slice(20 * place, 20 * place + 20)
        expected[part, part] = dense(*graph)
    np.testing.assert_array_equal(whole, expected)


def test_sum_is_the_product_with_the_adjacency() -> None:
    points = cloud(50)
    graph = torch_graph(points, 5)
    matrix = torch.from_numpy(dense(*neighbour_graph(points, 5)))
    features = torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(neighbour_sum(features, graph), matrix @ features)
    torch.testing.assert_close(neighbour_sum(features.T.contiguous().T, graph), matrix @ features)


def test_gradients_of_the_sum() -> None:
    graph = torch_graph(cloud(9), 2)
    features = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: neighbour_sum(x, graph), features)
    assert torch.autograd.gradgradcheck(lambda x: neighbour_sum(x, graph).square(), features)


def test_twice_the_same_gives_the_same_bits() -> None:
    graph = torch_graph(cloud(2000), 16)
    features = torch.randn(2000, 64)
    results = []
    for _ in range(2):
        given = features.clone().requires_grad_()
        summed = neighbour_sum(given, graph)
        summed.square().sum().backward()
        results.append((summed.detach(), given.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.gpu
def test_sum_on_the_gpu() -> None:
    graph = torch_graph(cloud(500), 8)
    features = torch.randn(500, 64)
    on_gpu = neighbour_sum(features.cuda(), Graph(graph.starts.cuda(), graph.neighbours.cuda()))
    torch.testing.assert_close(on_gpu.cpu(), neighbour_sum(features, graph))
