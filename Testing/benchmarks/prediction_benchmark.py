"""Time and memory of a prediction: warm engine by stage, whole command from a cold start, peak resident set.

    python Testing/benchmarks/prediction_benchmark.py [--scan SCAN] [--vertices 100000] [--threads 2]

Without a scan the sample scan is taken, subdivided or thinned to about the number of vertices.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine import open3d_loader
from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.predictor import Predictor
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.resources import sample_scans


def with_vertices(scan: Scan, count: int) -> Scan:
    """Subdivide or thin a scan to about ``count`` vertices."""
    o3d = open3d_loader.open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(scan.vertices), o3d.utility.Vector3iVector(scan.triangles.astype(np.int32))
    )
    while len(mesh.vertices) < count:
        mesh = mesh.subdivide_midpoint(1)
    mesh = mesh.simplify_quadric_decimation(int(len(mesh.triangles) * count / len(mesh.vertices)))
    return scan_from_arrays(np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--vertices", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--cold", type=int, default=5, help="runs of the whole command")
    options = parser.parse_args()
    path = options.scan or sample_scans()[0]
    predictor = Predictor(load_bundle(options.model), "cpu", threads=options.threads)
    scan = with_vertices(read_scan(path), options.vertices)
    predictor.predict(scan)
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        started = time.perf_counter()
        prediction = predictor.predict(scan)
        totals.append(time.perf_counter() - started)
        for stage, seconds in prediction.stage_seconds.items():
            stages.setdefault(stage, []).append(seconds)
    print(
        f"{len(scan.vertices)} vertices, {options.threads} threads, median of {options.repeats}: "
        f"{statistics.median(totals):.3f} s warm"
    )
    for stage, values in stages.items():
        print(f"  {stage:14s} {statistics.median(values):.3f} s")
    print(f"peak resident set of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    command = [sys.executable, "-m", "PALNetLandmarksLib.engine.cli", "predict", str(path), "--output"]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(options.cold):
            started = time.perf_counter()
            subprocess.run([*command, os.path.join(folder, f"{run}.mrk.json"), "--quiet"], check=True)
            times.append(time.perf_counter() - started)
    print(
        f"whole command from a cold start, median of {options.cold}: {statistics.median(times):.2f} s; "
        f"peak resident set {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB"
    )


if __name__ == "__main__":
    main()
