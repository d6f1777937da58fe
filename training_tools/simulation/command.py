"""``python -m training_tools simulate``: write simulated scans."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.protocol import load_protocol


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools simulate", description=__doc__)
    parser.add_argument("--face-model", required=True, type=Path, help="ict_face_model.npz or ICT-FaceKit's FaceXModel")
    parser.add_argument("--output", required=True, type=Path, help="folder for the subject folders S0001, S0002, ...")
    parser.add_argument("--count", required=True, type=int, help="number of scans")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same scans (default 0)")
    parser.add_argument("--first", type=int, default=1, help="number of the first subject (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--landmarks", type=Path, help="landmarks on the model, JSON (default: the 50 of the project)")
    parser.add_argument("--asymmetry", type=float, default=0.0, metavar="MM",
                        help="add a left-right difference of about so many mm to every face (default 0)")  # fmt: skip
    parser.add_argument("--annotator", action="store_true",
                        help="mark the landmarks with the protocol's intra-observer errors")  # fmt: skip
    parser.add_argument("--registered", action="store_true",
                        help="clean neutral faces of one topology instead of scans, FaceScape layout")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="keep subjects that are already there")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one core for each process; set before Open3D and numpy's BLAS are loaded
    from training_tools.simulation.dataset import remove_leftovers, subject_name, write_scans
    from training_tools.simulation.face_model import LANDMARKS_FILE

    if options.count < 1 or options.first < 1 or options.jobs < 1:
        raise InputError("--count, --first and --jobs must be at least 1.", "Give positive numbers.")
    numbers = list(range(options.first, options.first + options.count))
    if options.registered:
        return _write_registered(options, numbers)
    present = [k for k in numbers if (options.output / subject_name(k)).exists()]
    if present and not options.resume:
        raise InputError(
            f"{subject_name(present[0])} is already in the output folder.", "Add --resume, or choose an empty folder."
        )
    todo = [k for k in numbers if k not in set(present)]
    if options.resume:
        remove_leftovers(options.output, todo)
    if not 0.0 <= options.asymmetry <= 20.0:
        raise InputError("--asymmetry must be from 0 to 20 mm.", "Larger differences would fold the surface.")
    landmarks = options.landmarks or LANDMARKS_FILE
    error_mm = None
    if options.annotator:
        error_mm = {point.label: point.intra_observer_mm or 0.0 for point in load_protocol().landmarks}
    start = time.monotonic()
    for done, (number, vertices) in enumerate(
        write_scans(
            options.face_model,
            landmarks,
            options.output,
            todo,
            options.seed,
            options.jobs,
            options.asymmetry,
            error_mm,
        ),
        start=1,
    ):
        rate = (time.monotonic() - start) / done
        print(
            f"{done}/{len(todo)} {subject_name(number)} {vertices} vertices, {rate:.2f} s a scan",
            file=sys.stderr,
            flush=True,
        )
    print(f"{len(todo)} scans written, {len(present)} kept.")
    return 0


def _write_registered(options: argparse.Namespace, numbers: list[int]) -> int:
    from training_tools.simulation.face_model import load_face_model
    from training_tools.simulation.registered import face_file, write_faces

    if options.asymmetry or options.annotator or options.landmarks:
        raise InputError("--registered takes neither --asymmetry, nor --annotator, nor --landmarks.", "Leave them out.")
    present = [k for k in numbers if (options.output / str(k)).exists()]
    if present and not options.resume:
        raise InputError(f"Face {present[0]} is already in the output folder.", "Add --resume, or choose an empty one.")
    todo = [k for k in numbers if not face_file(options.output, k).exists()]
    written = sum(1 for _ in write_faces(load_face_model(options.face_model), options.output, todo, options.seed))
    print(f"{written} faces written, {len(numbers) - len(todo)} kept.")
    return 0
