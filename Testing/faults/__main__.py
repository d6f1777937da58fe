"""Break what the program works with, many times, and report how often it went well.

    python -m Testing.faults --kills 20 --seed 1

Processes are killed at moments spread over the duration of an undisturbed run; disks are full or read-only, folders
vanish, clocks jump back, two batches share a folder, the engine gets garbage, loses its reader, answers 10,000 requests
and runs out of memory. All of it takes about 40 minutes on two quiet cores. Exit code 1 if anything is not survived.
Linux; small disks are mounted where that is allowed, else a limit on the size of files stands in for them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from Testing.faults import disks, engine_line, kills
from Testing.faults.scenes import Outcome


def main() -> int:
    """Run the trials that are asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills of each kind (default 20)")
    parser.add_argument("--requests", type=int, default=10_000, help="light requests in a row (default 10000)")
    parser.add_argument("--predictions", type=int, default=200, help="predictions in a row (default 200)")
    parser.add_argument("--garbage", type=int, default=1000, help="lines of garbage (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=("kills", "disks", "engine"), help="part of the trials")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("these trials need Linux")

    def trials(folder: Path) -> dict[str, Iterable[Callable[[], Outcome]]]:
        count, seed = options.kills, options.seed
        return {
            "kills": (
                lambda: kills.engine(folder / "kill-engine", count, seed),
                lambda: kills.batch(folder / "kill-batch", count, seed),
                lambda: kills.batch(folder / "kill-batch-2", count, seed, jobs=2),
                lambda: kills.training(folder / "kill-training", count, seed),
            ),
            "engine": (
                lambda: engine_line.garbage(folder / "garbage", options.garbage, seed),
                lambda: engine_line.closed_line(folder / "closed"),
                lambda: engine_line.many_requests(folder / "many", options.requests, options.predictions),
                lambda: engine_line.no_memory(folder / "memory"),
                lambda: engine_line.no_memory_command(folder / "memory-command"),
            ),
        }

    outcomes = []
    print(f"{'fault':30s} {'tried':>6s} {'survived':>9s} {'seconds':>8s}  remark")
    with tempfile.TemporaryDirectory(prefix="palnet-faults-") as place:
        folder = Path(place)
        chosen = options.only or ["kills", "disks", "engine"]
        for part in chosen:
            if part == "disks":
                begun = time.monotonic()
                for outcome in disks.all_trials(folder):
                    outcomes.append(outcome)
                    begun = _report(outcome, begun)
                continue
            for trial in trials(folder)[part]:
                begun = time.monotonic()
                outcomes.append(trial())
                _report(outcomes[-1], begun)
    return int(any(outcome.failures for outcome in outcomes))


def _report(outcome: Outcome, begun: float) -> float:
    now = time.monotonic()
    print(f"{outcome.fault:30s} {outcome.tried:6d} {outcome.survived:9d} {now - begun:8.0f}  {outcome.remark}")
    for failure in outcome.failures[:20]:
        print(f"    {failure}")
    sys.stdout.flush()
    return now


if __name__ == "__main__":
    raise SystemExit(main())
