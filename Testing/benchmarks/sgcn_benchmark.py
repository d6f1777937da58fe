"""Times of the network `sgcn` on one scan: input, network, second stage, a training step; memory; sums over neighbours.

    python Testing/benchmarks/sgcn_benchmark.py [--depth 4] [--neighbours 32] [--points 8000] [--threads 1]

Weights are random, which does not matter for the network's time; the second stage gets the heat of the annotation with
noise. Times are medians of CPU seconds (all threads together), which other work on the machine does not lengthen much.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prediction_benchmark import with_vertices

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.cloud import face_cloud
from PALNetLandmarksLib.engine.graphs import Graph, neighbour_sum
from PALNetLandmarksLib.engine.heat_inputs import heat_input
from PALNetLandmarksLib.engine.heatmaps import SIGMA, UnitFrame
from PALNetLandmarksLib.engine.mesh_localisation import locate_on_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.registration import register
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.resources import sample_scans
from training_tools.sgcn_recipe import sgcn_recipe


def timed(what: str, call: Callable[[], Any], repeats: int = 7) -> Any:
    """Print the median CPU time of a call and return its last result."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        result = call()
        seconds.append(time.process_time() - started)
    print(f"{what:42s} {1e3 * statistics.median(seconds):8.1f} ms")
    return result


def sums_over_neighbours(graph: Graph) -> None:
    """Compare ways to sum 64 channels over the neighbours."""
    count = len(graph.starts) - 1
    features = torch.randn(count, 64)
    rows = torch.repeat_interleave(torch.arange(count), graph.degrees)
    columns = graph.neighbours.long()
    sparse = torch.sparse_csr_tensor(graph.starts, graph.neighbours, torch.ones(len(columns)), size=(count, count))
    timed("sum: embedding_bag (ours)", lambda: neighbour_sum(features, graph))
    timed("sum: torch.sparse CSR", lambda: sparse @ features)
    timed("sum: index_add", lambda: torch.zeros(count, 64).index_add(0, rows, features[columns]))


def second_stage(vertices: int) -> None:
    """Time MSE-over-mesh for the sample scan with so many vertices, and say how far off it is."""
    path = sample_scans()[0]
    scan = with_vertices(read_scan(path), vertices)
    truth = np.asarray(read_landmarks(path.with_name("landmarks.txt")).positions)
    truth = truth[np.isfinite(truth).all(axis=1)]
    points = scan.vertices[np.random.default_rng(0).choice(len(scan.vertices), 20_000, replace=False)]
    sigma = SIGMA * UnitFrame.of(load_bundle().mean_landmarks).half_extent
    heat = np.exp(-(np.linalg.norm(points[None] - truth[:, None], axis=2) ** 2) / (2.0 * sigma**2))
    heat += np.random.default_rng(1).normal(0.0, 0.02, heat.shape)
    hottest = np.argsort(-heat, axis=1)[:, :12]
    given = (scan.vertices, points[hottest], np.take_along_axis(heat, hottest, axis=1), sigma)
    fit = timed(f"second stage, {len(scan.vertices)} vertices, {len(truth)} landmarks", lambda: locate_on_mesh(*given))
    print(f"{'':42s} {np.linalg.norm(fit.landmarks - truth, axis=1).mean():8.2f} mm off")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, default=sample_scans()[0])
    parser.add_argument("--vertices", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=8000)
    parser.add_argument("--neighbours", type=int, default=32)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundle, scan = load_bundle(), with_vertices(read_scan(options.scan), options.vertices)
    parameters = {name: getattr(options, name) for name in ("points", "neighbours", "depth")}
    recipe = sgcn_recipe(len(bundle.protocol), [int(i) for i in bundle.protocol.mirror], parameters)
    network = recipe.build().eval()
    print(f"weights {sum(p.numel() for p in network.parameters()) * 4 / 1e6:.2f} MB")
    transform = register(scan, bundle.reference).scan_to_reference
    cloud = face_cloud(scan.vertices, scan.triangles, transform, bundle.mean_landmarks, facet_normals=True)
    points, normals = apply_transform(transform, cloud.points), cloud.normals @ transform[:3, :3].T
    face = timed("input", lambda: heat_input(points, normals, bundle.mean_landmarks, recipe.settings))
    arrays = [torch.from_numpy(array)[None] for array in (face.points, face.starts, face.neighbours, face.member)]
    with torch.inference_mode():
        timed("network", lambda: network(*arrays))
    sums_over_neighbours(Graph(arrays[1][0], arrays[2][0]))
    second_stage(200_000)

    whole, mean = np.hstack([points, normals]).astype(np.float32), bundle.mean_landmarks.astype(np.float32)
    sample = recipe.sample(whole, mean, mean, np.random.default_rng(0)) | {"landmarks": mean}
    batch = {name: torch.from_numpy(np.stack([array] * recipe.batch_size)) for name, array in sample.items()}
    optimiser = torch.optim.Adam(network.train().parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        recipe.loss(network, batch).backward()
        optimiser.step()

    timed(f"training step of {recipe.batch_size} faces", step, repeats=3)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
