"""Run the corpus and print figures: ``python -m Testing.corpus [scans] [heavy] [fuzz] [programs]``."""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.resources import sample_scans
from Testing.corpus.damage import Case, attempt, cases
from Testing.corpus.fuzzing import attempts, targets
from Testing.corpus.heavy import heavy_cases
from Testing.corpus.isolated import Outcome, isolated
from Testing.corpus.meshes import FORMATS, Mesh, shell
from Testing.corpus.programs import predicted, run_measured

_PARTS = ("scans", "heavy", "fuzz", "programs")
#: Damage of which a whole prediction is run; the rest is only read.
_WHOLE = (
    "undamaged", "nan", "60 components", "duplicated", "inside-out", "mixed orientation", "soup", "some zero-area",
    "truncated", "bytes flipped", "header lies", "empty", "binary junk", "gzip", "symbolic link",
    "folder instead of file", "5 GB", "odd name", "pipe", "wrong extension", "CRLF", "non-ASCII comment", "metres",
    "one huge coordinate",
    "far vertex", "0 vertices", "point cloud", "non-manifold", "flat", "far from the origin",
)  # fmt: skip


def main() -> int:
    """Run what was asked for; the exit code is 1 if anything bad was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flips", type=int, default=20, help="files with flipped bytes of each format")
    parser.add_argument("--budget", type=int, default=1000, help="inputs of each quick parser")
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=tuple(FORMATS))
    options = parser.parse_args()
    parts = options.parts or _PARTS
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        if "scans" in parts:
            chosen = cases(shell(), flips=options.flips, seed=options.seed, formats=tuple(options.formats))
            found += _report("scans read", _read(chosen, shell(), base))
        if "heavy" in parts:
            found += _report("heavy scans read", _read(heavy_cases(), shell(), base))
        if "fuzz" in parts:
            for target in targets():
                count = max(10, options.budget // target.cost)
                found += _report(f"fuzz {target.name}", isolated(list(attempts(target, count, options.seed, base))))
        if "programs" in parts:
            found += _report("whole predictions", _programs(options.seed, base))
    _report("all", found)
    return int(any(outcome.bad for outcome in found))


def _read(chosen: Iterable[Case], mesh: Mesh, base: Path) -> Iterator[Outcome]:
    for case in chosen:
        folder = Path(tempfile.mkdtemp(dir=base))
        path = _made(case, folder)
        yield from isolated([(case.name, lambda c=case, p=path, f=folder: attempt(c, p, f, mesh))])
        shutil.rmtree(folder)


def _made(case: Case, folder: Path) -> Path:
    """Write a case's file in a process of its own, so that the memory for it is not counted."""
    said = folder.with_suffix(".path")
    (outcome,) = isolated([("make", lambda: said.write_bytes(os.fsencode(case.make(folder))) and None)], 300.0)
    if outcome.bad:
        raise RuntimeError(f"{case.name} could not be made: {outcome.detail}")
    return Path(os.fsdecode(said.read_bytes()))


def _programs(seed: int, base: Path) -> Iterator[Outcome]:
    """One case of each class of damage, on the formats in turn, and a large scan."""
    scan = read_scan(sample_scans()[0])
    mesh = (scan.vertices, scan.triangles)
    truth_file = base / "truth.mrk.json"
    run_measured(["predict", str(sample_scans()[0]), "--output", str(truth_file), "--quiet"], base, 300.0)
    truth = read_landmarks(truth_file).positions
    by_damage: dict[str, list[Case]] = {}
    for case in cases(mesh, flips=1, seed=seed, formats=("ply", "obj", "stl", "vtp", "glb")):
        by_damage.setdefault(case.damage, []).append(case)
    rng = np.random.default_rng(seed)
    chosen = [by_damage[damage][int(rng.integers(len(by_damage[damage])))] for damage in _WHOLE if damage in by_damage]
    chosen += [case for case in heavy_cases() if case.name in ("ply: million vertices", "obj: million vertices")]
    for case in chosen:
        folder = Path(tempfile.mkdtemp(dir=base))
        # The largest are no faces: only that they end well is looked at.
        yield predicted(case, folder, None if case.damage in ("metres", "million vertices") else truth)
        shutil.rmtree(folder)


def _report(title: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    found = []
    try:
        for outcome in outcomes:
            found.append(outcome)
            if outcome.bad and title != "all":
                print(f"  {outcome.kind}: {outcome.name}: {outcome.detail}", flush=True)
    except KeyboardInterrupt:  # goes on with the next part, and still tells what was found
        print(f"{title}: stopped", flush=True)
    if found:
        kinds = collections.Counter(outcome.kind for outcome in found)
        slowest, largest = max(found, key=lambda x: x.seconds), max(found, key=lambda x: x.memory)
        print(
            f"{title}: {len(found)} tried; {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}; "
            f"longest {slowest.seconds:.1f} s of processor time ({slowest.name}), most memory "
            f"{largest.memory / 1024**2:.0f} MB ({largest.name})",
            flush=True,
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
