"""Neighbour graphs of point clouds: built on the CPU, put together into batches, summed over on any device.

A graph is undirected: two points are joined where either is among the other's k nearest. It is kept as compressed rows,
``starts`` (n + 1,) and ``neighbours`` (e,): the neighbours of point i are ``neighbours[starts[i]:starts[i + 1]]``. Self
loops are not stored; whoever needs them adds the point itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from torch import Tensor

FloatArray = NDArray[np.float64]
Int32Array = NDArray[np.int32]


class Graph(NamedTuple):
    """An undirected graph as compressed rows, on a device.

    Attributes
    ----------
    starts : (n + 1,) int32 tensor
        Where the neighbours of each point begin.
    neighbours : (e,) int32 tensor
        Each undirected edge stands here twice, once for either end.
    """

    starts: Tensor
    neighbours: Tensor

    @property
    def degrees(self) -> Tensor:
        """Number of neighbours of each point, (n,), without the point itself."""
        return self.starts.diff()


def neighbour_graph(points: FloatArray, count: int) -> tuple[Int32Array, Int32Array]:
    """Join each point with its nearest ones, in both directions.

    Parameters
    ----------
    points : (n, 3) float
    count : int
        k. A cloud of k points or fewer becomes a complete graph.

    Returns
    -------
    starts : (n + 1,) int32
    neighbours : (e,) int32
        Ascending for each point; at least k for each, and at most 2 k n altogether.

    Raises
    ------
    ValueError
        If `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    total = len(points)
    asked = min(count + 1, total)
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    nearest = tree.query(points, k=np.arange(1, asked + 1))[1]
    # A point is its own nearest one, but for others at exactly its place, which may come first or push it out.
    itself = nearest == np.arange(total)[:, None]
    itself[~itself.any(axis=1), -1] = True
    nearest = nearest[~itself].reshape(total, asked - 1)
    begins = np.arange(0, total * (asked - 1) + 1, asked - 1) if asked > 1 else np.zeros(total + 1, dtype=np.int64)
    directed = csr_array((np.ones(nearest.size, dtype=np.int8), nearest.ravel(), begins), shape=(total, total))
    both = csr_array(directed + directed.T)
    both.sort_indices()
    return both.indptr.astype(np.int32), both.indices.astype(np.int32)


def padded(neighbours: Int32Array, length: int) -> Int32Array:
    """Fill neighbours (e,) up with zeros, so that graphs of one size can stand in one array; `starts` tells the end."""
    if len(neighbours) > length:
        raise ValueError(f"{len(neighbours)} neighbours do not fit into {length} places")
    filled = np.zeros(length, dtype=np.int32)
    filled[: len(neighbours)] = neighbours
    return filled


def batch_graphs(starts: Tensor, neighbours: Tensor) -> Graph:
    """Put graphs of n points each side by side into one graph of b · n points without edges between them.

    Parameters
    ----------
    starts : (b, n + 1) int32 tensor
    neighbours : (b, e) int32 tensor
        What stands behind ``starts[:, -1]`` is padding.
    """
    batch, points = starts.shape[0], starts.shape[1] - 1
    used = starts[:, -1]
    first_point = torch.arange(batch, dtype=starts.dtype, device=starts.device) * points
    first_edge = used.cumsum(0).to(starts.dtype) - used
    joined = torch.cat([(starts[:, :-1] + first_edge[:, None]).flatten(), used.sum(dtype=starts.dtype)[None]])
    kept = torch.arange(neighbours.shape[1], device=starts.device) < used[:, None]
    return Graph(joined, (neighbours + first_point[:, None])[kept])


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, starts: Tensor, neighbours: Tensor) -> Tensor:
        """Sum the neighbours' features."""
        context.save_for_backward(starts, neighbours)
        return torch.nn.functional.embedding_bag(neighbours, features, starts, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Sum the neighbours' gradients: the adjacency of an undirected graph is its own transpose."""
        starts, neighbours = context.saved_tensors
        return _NeighbourSum.apply(gradients[0].contiguous(), starts, neighbours), None, None


def neighbour_sum(features: Tensor, graph: Graph) -> Tensor:
    """Sum the features of each point's neighbours: A X.

    Measured for 8,000 points, k = 16 and 64 channels on one core: 0.45 ms, against 1.3 ms with ``torch.sparse`` CSR,
    13 ms with a padded table and 28 ms with ``index_add``. Each row is summed in the order of its neighbours by one
    thread, forwards and backwards, so the result is the same each time on any device.

    Parameters
    ----------
    features : (n, c) float tensor
    graph : Graph
        Must be undirected: the gradient relies on it.

    Returns
    -------
    (n, c) float tensor
    """
    summed: Tensor = _NeighbourSum.apply(features.contiguous(), graph.starts, graph.neighbours)
    return summed
