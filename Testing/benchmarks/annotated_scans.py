"""Measure a model on single annotated scans: point errors, and how far landmarks move between poses.

The folder holds meshes (``NAME.ply``) and ``annotations.json`` with, for each NAME, ``landmarks``: label → ``xyz_mm``.

    python Testing/benchmarks/annotated_scans.py FOLDER [--model BUNDLE] [--poses 10] [--leave-out N Gn]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.predictor import Predictor
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, random_rotation
from PALNetLandmarksLib.errors import LandmarkingError


def random_poses(count: int, seed: int) -> list[np.ndarray]:
    """Return rigid transforms (4, 4): uniform rotations, shifts of up to 500 mm."""
    generator = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        pose = np.eye(4)
        pose[:3, :3] = random_rotation(generator)
        pose[:3, 3] = generator.uniform(-500.0, 500.0, 3)
        poses.append(pose)
    return poses


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--poses", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", nargs="*", default=["N", "Gn"], help="labels of another convention")
    options = parser.parse_args()
    predictor = Predictor(load_bundle(options.model), "cpu")
    labels = predictor.bundle.protocol.labels
    annotations = json.loads((options.folder / "annotations.json").read_text(encoding="utf-8"))
    for name, annotation in annotations.items():
        mesh = options.folder / f"{name}.ply"
        if not mesh.exists():
            continue
        truth = {k: np.array(v["xyz_mm"]) for k, v in annotation["landmarks"].items() if k in labels}
        scan = read_scan(mesh)
        sets, failures = [], 0
        for pose in [np.eye(4), *random_poses(options.poses, options.seed)]:
            try:
                moved = replace(scan, vertices=apply_transform(pose, scan.vertices))
                found = predictor.predict(moved).landmarks.positions
            except LandmarkingError as error:
                failures += 1
                print(f"{name}: refused ({error.code})")
                continue
            sets.append(apply_transform(invert_rigid(pose), found))
        if not sets:
            continue
        errors = {k: float(np.linalg.norm(sets[0][labels.index(k)] - p)) for k, p in truth.items()}
        counted = {k: v for k, v in errors.items() if k not in options.leave_out and np.isfinite(v)}
        missing = [k for k, v in errors.items() if not np.isfinite(v)]
        every = [v for v in errors.values() if np.isfinite(v)]
        print(
            f"{name}: mean {np.mean(list(counted.values())):.2f} mm over {len(counted)} points without "
            f"{' '.join(options.leave_out)}; {np.mean(every):.2f} mm over all {len(every)}; missing: {missing}"
        )
        worst = sorted(counted.items(), key=lambda item: -item[1])
        print("  " + "  ".join(f"{k} {v:.1f}" for k, v in worst))
        with np.errstate(invalid="ignore"):
            stack = np.stack(sets)
            spread = np.linalg.norm(stack[:, None] - stack[None], axis=-1).max(axis=(0, 1))
        agree = np.isfinite(stack).all(axis=2)
        print(
            f"  {len(sets)} poses, {failures} refused: largest move of a landmark {np.nanmax(spread):.2f} mm "
            f"({labels[int(np.nanargmax(spread))]}), median {np.nanmedian(spread):.2f} mm; "
            f"missing in some poses only: {int((agree.any(axis=0) & ~agree.all(axis=0)).sum())}"
        )


if __name__ == "__main__":
    main()
