"""``python -m training_tools register``: align every scan of a data set to the reference face.

Writes transformation_matrix.npy (scan to reference, 4 x 4) into each subject's folder, and REPORT with a row for each
subject. A matrix that is there is kept, so that an interrupted run goes on where it was; --overwrite makes it anew.
Exit code 0 when all scans are aligned, 4 when a face was not found in some, 3 when some could not be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.opening import add_dataset_arguments, dataset_of, find_protocol

if TYPE_CHECKING:
    from training_tools.registering import Target

REPORT = "register.csv"
_REPORT_EVERY = 20  # subjects: the report is brought up to date, in case the run is killed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training_tools register",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser)
    parser.add_argument("--reference", type=Path, help="reference.safetensors (default: that of the bundled model)")
    parser.add_argument("--report", type=Path, help=f"CSV file of the report (default: {REPORT} in the data set)")
    parser.add_argument("--overwrite", action="store_true", help="replace matrices that are there")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same matrices (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    return parser


def _target(reference: Path | None, protocol: Protocol) -> Target:
    """Give what to align to, and its mean landmarks where they are those of the protocol."""
    from PALNetLandmarksLib.resources import bundled_models
    from training_tools.datasets.bundled_mean import bundled_mean
    from training_tools.reference_file import read_reference
    from training_tools.registering import Target

    if reference is None:
        models = bundled_models()
        if not models:
            raise InputError(
                "No model comes with this copy of the program.", "Give --reference.", code="register.reference"
            )
        return Target(read_reference(models[-1] / "reference.safetensors").reference, bundled_mean(protocol))
    file = read_reference(reference)
    return Target(file.reference, file.landmarks if len(file.landmarks) == len(protocol) else None)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.jobs < 1:
        raise UsageError("--jobs must be at least 1.", "Give a positive number.")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one core for each process
    protocol = find_protocol(options.protocol)
    dataset = dataset_of(options)
    report = options.report or options.data / REPORT

    from training_tools.check_command import prepare_output
    from training_tools.registering import CONTRADICTED, FAILED, read_report, register_all, with_earlier, write_report

    target = _target(options.reference, protocol)
    twice = [name for name, number in Counter(place.name for place in dataset.places).items() if number > 1]
    if twice:
        raise InputError(f"Two subjects have the id '{twice[0]}'.", "Rename one of them.", code="dataset.twice")
    prepare_output(report.parent)
    prepare_output(options.matrices or dataset.reader.matrix_file(dataset.places[0]).parent)
    earlier = read_report(report)
    # A run that is stopped must not lose what an earlier one knew of the subjects that it did not come to.
    table = {place.name: earlier[place.name] for place in dataset.places if place.name in earlier}
    outcomes = []

    def write() -> None:
        write_report(report, [table[place.name] for place in dataset.places if place.name in table])

    try:
        for outcome in register_all(
            dataset, protocol, target, overwrite=options.overwrite, seed=options.seed, jobs=options.jobs
        ):
            outcome = with_earlier(outcome, earlier.get(outcome.subject))
            outcomes.append(outcome)
            table[outcome.subject] = outcome
            if outcome.message:
                print(f"{outcome.subject}: {outcome.status}: {outcome.message}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)}/{len(dataset.places)}", end="", file=sys.stderr, flush=True)
            if len(outcomes) % _REPORT_EVERY == 0:
                write()
    finally:
        if outcomes:
            write()
    count = Counter(outcome.status for outcome in outcomes)
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    contradicted = sum(outcome.code == CONTRADICTED for outcome in outcomes)
    print(
        f"{len(outcomes)} subjects: {count['written']} matrices written, {count['kept']} kept, {count[FAILED]} failed; "
        f"{verdicts['good']} good, {verdicts['doubtful']} doubtful, {contradicted} contradicted by their landmarks. "
        f"Report: {report.name}."
    )
    return max((outcome.exit_code for outcome in outcomes), default=0)
