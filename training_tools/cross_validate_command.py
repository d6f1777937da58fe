"""``python -m training_tools cross-validate``: train and test in folds, each scan tested once by a model new to it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training_tools.datasets.opening import find_protocol
from training_tools.scan_sources import Scans, add_scan_arguments, scans_of_options
from training_tools.splits import person_of
from training_tools.train_command import add_training_arguments, check_reference, log_to, network_of, settings_of

if TYPE_CHECKING:
    from training_tools.cross_validation import CrossValidation


def add_fold_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that cross-validates understands."""
    add_scan_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder of the results; finished folds are kept")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--validation-share", type=float, default=0.15, help="of the persons that a fold trains on")
    parser.add_argument("--projection", default="surface", choices=("surface", "nearest_vertex", "vertex_centroid"))
    parser.add_argument("--only-fold", type=int, help="do this fold only, from 1, to spread the work over machines")
    parser.add_argument("--jobs", type=int, default=2, help="processes that read and predict scans (default 2)")
    parser.add_argument("--shape", action="store_true", help="fit a shape regression to the scans of each training")
    parser.add_argument("--no-pictures", action="store_true", help="leave out the pictures of cases")
    add_training_arguments(parser)


def plan_of(options: argparse.Namespace, name: str, output: Path) -> CrossValidation:
    """Return the cross-validation that a command line asks for."""
    from training_tools.cross_validation import CrossValidation
    from training_tools.training_job import start_face

    protocol = find_protocol(options.protocol)
    scans = scans_of_options(options)
    network = network_of(options, protocol)
    return CrossValidation(
        name=name or network.name,
        output=output,
        scans=scans.folders,
        protocol=protocol,
        start=start_face(options.reference, options.fine_tune),
        network=network,
        settings=settings_of(options),
        cache=options.cache or options.output / "cache",
        fold_count=options.folds,
        validation_share=options.validation_share,
        person=person_of(options.person),
        projection=options.projection,
        jobs=options.jobs,
        reader=scans.reader,
        shape=options.shape,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training_tools cross-validate", description=__doc__)
    parser.add_argument("--name", default="", help="what to call it in tables (default: the network's name)")
    add_fold_arguments(parser)
    options = parser.parse_args(arguments)
    check_reference(options)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))

    from training_tools.cross_validation import cross_validate
    from training_tools.evaluate_command import subjects_of, write_evaluation

    plan = plan_of(options, options.name, options.output)
    plan.splits()  # refuses impossible folds and parameters before anything is written
    plan.network.recipe(plan.protocol)
    log_to(options.output, "cross-validation.log")
    evaluation = cross_validate(plan, options.only_fold)
    if evaluation is None:
        print("Other folds are still missing: the report is written when all are finished.")
        return 0
    scans = Scans(tuple(plan.scans), plan.reader)
    subjects = None if options.no_pictures else subjects_of(scans, plan.protocol)
    summary = write_evaluation(options.output, evaluation, subjects)
    print(json.dumps({k: v for k, v in summary.items() if k not in ("landmarks", "asymmetry", "training")}, indent=1))
    return 0
