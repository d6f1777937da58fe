"""``python -m training_tools train``: train a network on annotated scans."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.errors import UsageError
from PALNetLandmarksLib.files import raise_write_error
from training_tools.datasets.opening import find_protocol
from training_tools.presets import PRESETS, preset_named
from training_tools.scan_sources import add_scan_arguments, scans_of_options
from training_tools.splits import Split, person_of, split_scans

if TYPE_CHECKING:
    from PALNetLandmarksLib.protocol import Protocol
    from training_tools.datasets import Reader
    from training_tools.training import TrainingSettings
    from training_tools.training_job import NetworkChoice

logger = logging.getLogger(__name__)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that trains understands."""
    group = parser.add_argument_group("training")
    group.add_argument("--reference", type=Path, help="reference.safetensors, of a bundle or your own")
    group.add_argument("--preset", default="default", choices=tuple(PRESETS), help="paper: the published recipe")
    group.add_argument("--network", help="network's name (default: the preset's)")
    group.add_argument("--parameters", metavar="JSON", help="parameters of the network, as '{\"blocks\": 2}'")
    group.add_argument("--fine-tune", type=Path, metavar="BUNDLE", help="go on with the weights of this model")
    group.add_argument("--epochs", type=int, help="epochs at most (default: the preset's)")
    group.add_argument("--batch-size", type=int, help="scans in a step, of all processes together")
    group.add_argument("--learning-rate", type=float)
    group.add_argument("--no-augmentation", action="store_true", help="show every scan as it is")
    group.add_argument("--align", choices=("landmarks", "registration"), help="how training scans are aligned")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--person", metavar="REGEX", help="first group: the person in a scan's name, as in '(S[0-9]+)_'")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--threads", type=int, default=1, help="threads for the network (default 1)")
    machine.add_argument("--workers", type=int, default=1, help="processes that prepare the faces (default 1)")
    machine.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    machine.add_argument("--cache", type=Path, help="folder for prepared scans (default: beside the results)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training_tools train", description=__doc__,
        epilog="Several GPUs or machines: torchrun --nproc-per-node=2 -m training_tools train --data … --output …",
    )  # fmt: skip
    add_scan_arguments(parser)
    # torchrun takes --run for the beginning of an option of its own.
    parser.add_argument("--run", "--output", required=True, type=Path, help="folder of this training; an interrupted "
                        "one goes on (under torchrun write --output)")  # fmt: skip
    parser.add_argument("--validation", type=Path, help="scans of other persons, to choose the best epoch on")
    parser.add_argument("--validation-share", type=float, default=0.15, help="without --validation (default 0.15)")
    parser.add_argument("--test-share", type=float, default=0.0, help="persons kept apart for 'evaluate' (default 0)")
    parser.add_argument("--dry-run", action="store_true", help="estimate time and memory; train and write nothing")
    add_training_arguments(parser)
    return parser


def settings_of(options: argparse.Namespace) -> TrainingSettings:
    """Return the settings that a command line asks for."""
    from PALNetLandmarksLib.engine.devices import choose_device
    from training_tools.training import TrainingSettings

    preset = preset_named(options.preset).changed(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        augmentation=False if options.no_augmentation else None,
        aligned_by=options.align,
    )
    for name, value in (("--epochs", preset.epochs), ("--batch-size", preset.batch_size or 1)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1.", "Give a positive number.", code="training.options")
    return TrainingSettings(
        seed=options.seed,
        workers=options.workers,
        threads=options.threads,
        device=choose_device(options.device).type,
        bfloat16={"auto": None, "float32": False, "bfloat16": True}[options.precision],
        preset=preset,
    )


def network_of(options: argparse.Namespace, protocol: Protocol) -> NetworkChoice:
    """Return the network that a command line asks for."""
    from training_tools.training_job import NetworkChoice, fine_tuned

    if options.fine_tune is None:
        return NetworkChoice(options.network or preset_named(options.preset).network, parameters_of(options.parameters))
    if options.network is not None or options.parameters is not None:
        raise UsageError(
            "--fine-tune brings its own network.", "Leave out --network and --parameters.", code="training.options"
        )
    return fine_tuned(options.fine_tune, protocol)[0]


def parameters_of(text: str | None) -> dict[str, Any]:
    """Return the parameters of a network that are given as JSON.

    Raises
    ------
    UsageError
        If it is no JSON object.
    """
    try:
        values = json.loads(text) if text else {}
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UsageError(
            "--parameters is no JSON object.", "Write it as '{\"blocks\": 2}'.", code="training.parameters"
        )
    return values


def check_reference(options: argparse.Namespace) -> None:
    """Refuse a command line that names no reference face."""
    if options.reference is None and options.fine_tune is None:
        raise UsageError(
            "A reference face is needed.",
            "Give --reference FILE (reference.safetensors of any bundle), or --fine-tune BUNDLE.",
            code="training.options",
        )


def log_to(folder: Path, name: str) -> None:
    """Write the log to the screen and to a file; of several processes only the first one talks."""
    first = os.environ.get("RANK", "0") == "0"
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(folder / name, encoding="utf-8"))
        except OSError as error:
            raise_write_error(error, folder / name)
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", handlers=handlers, force=True)


def split_of(options: argparse.Namespace) -> tuple[Split, dict[str, Path], Reader | None]:
    """Return which scans train, validate and are kept for the test, where each lies, and how to read them."""
    scans = scans_of_options(options)
    place = {folder.name: folder for folder in scans.folders}
    person = person_of(options.person)
    if options.validation is None:
        split = split_scans(list(place), options.validation_share, options.test_share, options.seed, person)
        return split, place, scans.reader
    inner = split_scans(list(place), 0.0, options.test_share, options.seed, person)
    # Other folders may use the same names for other scans: they are told apart by the folder they came from.
    further = scans_of_options(options, options.validation).folders
    others = {f"{options.validation.name}/{folder.name}": folder for folder in further}
    return Split(inner.training, tuple(sorted(others)), inner.test), place | others, scans.reader


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    check_reference(options)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # makes matrix products on the GPU repeatable
    protocol = find_protocol(options.protocol)
    split, place, reader = split_of(options)

    from training_tools.training_job import TrainingJob, run_training, start_face

    job = TrainingJob(
        run=options.run,
        training=[place[name] for name in split.training],
        validation=[place[name] for name in split.validation],
        protocol=protocol,
        start=start_face(options.reference, options.fine_tune),
        network=network_of(options, protocol),
        settings=settings_of(options),
        cache=options.cache or options.run.parent / "cache",
        reader=reader,
    )
    job.network.recipe(protocol)  # refuses impossible parameters before anything is written
    if options.dry_run:
        from training_tools.estimate import estimate

        print(f"{len(job.training)} training, {len(job.validation)} validation and {len(split.test)} test scans")
        print(estimate(job, options.workers + options.threads).text())
        return 0
    log_to(options.run, "train.log")
    if os.environ.get("RANK", "0") == "0":
        split.write(options.run / "split.json")
    best = run_training(job, options.workers + options.threads)
    logger.info("best weights: %s", best)
    return 0
