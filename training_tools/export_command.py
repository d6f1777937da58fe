"""``python -m training_tools export``: make a model bundle of a finished training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PALNetLandmarksLib.engine.bundle import Bundle, load_bundle
from PALNetLandmarksLib.engine.shape_regression import LARGEST_GAIN, LEAST_GAIN, ShapeRegression
from PALNetLandmarksLib.errors import InputError, UsageError
from training_tools.bundling import (
    Identity,
    bundled_shape,
    bundled_training,
    calibrated_bundle,
    check_in_fresh_process,
    finished_training,
    write_training,
)
from training_tools.evaluate_command import (
    evaluate_bundle,
    full_summary,
    json_values,
    part_of,
    subjects_of,
    write_evaluation,
)
from training_tools.model_card import model_card
from training_tools.scan_sources import Scans, add_scan_arguments, scans_of_options
from training_tools.shape_fitting import fit_shape


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools export", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder of the training")
    source.add_argument("--bundle", type=Path, help="a model whose weights to take again instead of a training's")
    add_scan_arguments(parser, required=False)
    parser.add_argument(
        "--validation", type=Path, help="scans to calibrate the expected error on, instead of the split"
    )
    parser.add_argument("--test", type=Path, help="scans to report on, of people seen nowhere else")
    parser.add_argument(
        "--shape-data",
        type=Path,
        action="append",
        help="scans that the network was not trained on, to fit the shape regression to; may be given several times",
    )
    parser.add_argument("--cache", type=Path, help="folder for scans prepared for that (default: beside the bundle)")
    parser.add_argument("--output", required=True, type=Path, help="folder of the bundle")
    parser.add_argument("--report", type=Path, help="also write the evaluation's report into this folder")
    parser.add_argument("--id", help="the model's name (default: name of the output folder)")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--title", required=True)
    parser.add_argument("--training-data", required=True, help="the training data in words; appears in every export")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--projection", default="surface", choices=("surface", "nearest_vertex", "vertex_centroid"))
    parser.add_argument(
        "--asymmetry-gain",
        type=float,
        metavar="GAIN",
        help="multiply differences between right and left, against their shrinkage: 1 divided by the "
        "slope that 'evaluate' reports on asymmetric scans (default: what the model of --bundle has, else 1)",
    )
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def scans_for(options: argparse.Namespace, part: str) -> Scans:
    """Return the scans of one part: a folder of its own, or a part of the training's split."""
    own: Path | None = getattr(options, part)
    if own is not None:
        return scans_of_options(options, own)
    if options.data is None or options.run is None:
        raise UsageError(
            f"No {part} scans are named.", f"Give --{part} FOLDER, or --data with the training's data set.",
            code="export.scans",
        )  # fmt: skip
    return part_of(scans_of_options(options), options.run / "split.json", part)


def _shape_from(options: argparse.Namespace) -> Callable[[Bundle], tuple[ShapeRegression, int]] | None:
    """Return what gives a bundle its shape regression, with the number of scans that it rests on.

    It is fitted to ``--shape-data``, or the model's whose weights are taken.
    """
    known = None
    if options.bundle is not None and not options.shape_data:
        known = bundled_shape(options.bundle)
    kept = known[0].asymmetry_gain if known is not None else 1.0
    gain: float = kept if options.asymmetry_gain is None else options.asymmetry_gain
    if not LEAST_GAIN <= gain <= LARGEST_GAIN:
        raise UsageError(
            f"A gain of asymmetry of {gain:g} makes no sense.", f"Give one from {LEAST_GAIN:g} to {LARGEST_GAIN:g}.",
            code="export.gain",
        )  # fmt: skip
    if options.shape_data:
        cache = options.cache or options.output.with_name(f"{options.output.name}-cache")

        def fitted(bundle: Bundle) -> tuple[ShapeRegression, int]:
            scans = [scans_of_options(options, folder) for folder in options.shape_data]
            shape, count = fit_shape(bundle, scans, cache, options.jobs)
            return replace(shape, asymmetry_gain=gain), count

        return fitted
    if known is not None:
        shape, scans = known
        return lambda _: (replace(shape, asymmetry_gain=gain), scans)
    if gain != 1.0:
        raise UsageError(
            "Only a model with a shape regression has a gain of asymmetry.", "Give --shape-data as well.",
            code="export.gain",
        )  # fmt: skip
    return None


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    validation, test = scans_for(options, "validation"), scans_for(options, "test")
    identity = Identity(
        options.id or options.output.name, options.version, options.title, options.training_data, options.licence,
        options.projection,
    )  # fmt: skip
    training = finished_training(options.run) if options.run is not None else bundled_training(options.bundle)
    description = calibrated_bundle(
        training, options.output, validation.folders, identity, options.jobs, validation.reader, _shape_from(options)
    )
    bundle = load_bundle(options.output)
    evaluation = evaluate_bundle(bundle, test, options.jobs, data=test.folders[0].parent.name)
    if not evaluation.done:
        raise InputError(
            f"None of the {len(test.folders)} test scans could be predicted.",
            "Look at the data set with 'python -m training_tools check'.",
            code="export.test",
        )
    description["metrics"] = json_values(full_summary(evaluation))
    card = model_card(description, bundle.protocol, len(training.weights))
    write_training(options.output, description, training, card, bundle.shape)
    check_in_fresh_process(options.output)
    if options.report is not None:
        write_evaluation(options.report, evaluation, subjects_of(test, bundle.protocol))
    shown = {key: value for key, value in description["metrics"].items() if key not in ("landmarks", "asymmetry")}
    print(json.dumps(shown, indent=1))
    return 0
