"""Time of a training epoch of the default network against the published one, in one run.

    python Testing/benchmarks/training_benchmark.py --data data/lafas --reference reference.safetensors

Each network trains for a few epochs, one after the other, as the command line trains it, with two processor cores: the
published one in two threads (its large matrix products share them well), the default one in one thread beside a process
that prepares the faces, which are other ones in every epoch. Nothing else should run.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

RUNS = {
    "palnet": ("--preset", "paper", "--threads", "2", "--workers", "1"),
    "default": ("--preset", "default", "--threads", "1", "--workers", "1"),
}


def epochs(data: Path, reference: Path, folder: Path, name: str, count: int) -> list[dict[str, str]]:
    """Train for some epochs and return the rows of the run's curves."""
    command = [
        sys.executable, "-m", "training_tools", "train", "--data", str(data), "--reference", str(reference),
        "--run", str(folder / name), "--cache", str(folder / "cache"), "--epochs", str(count),
        "--test-share", "0.2", "--seed", "1", *RUNS[name],
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with (folder / name / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Time the epochs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotated scans, for instance 214 simulated ones")
    parser.add_argument("--reference", type=Path, required=True, help="reference file of a model")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    seconds = {}
    with tempfile.TemporaryDirectory(prefix="palnet-benchmark-") as folder:
        for name in RUNS:
            rows = epochs(options.data, options.reference, Path(folder), name, options.epochs)
            times = [float(row["seconds"]) for row in rows]
            seconds[name] = median(times)
            memory = max(float(row["memory_mb"]) for row in rows)
            print(
                f"{name:8} {seconds[name]:6.2f} s an epoch, median of {len(times)} "
                f"({min(times):.2f} to {max(times):.2f}); {memory:,.0f} MB"
            )
    print(f"the default network is {seconds['palnet'] / seconds['default']:.1f} times faster")


if __name__ == "__main__":
    main()
