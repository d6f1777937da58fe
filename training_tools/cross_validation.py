"""Cross-validation, nested: each fold trains, chooses on its validation part, is reported on scans it never saw.

Every fold goes through the whole program: training, a calibrated bundle, and prediction of the test scans from the mesh
on. A scan whose registration fails is counted and reported. A fold that is finished is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.errors import UsageError
from PALNetLandmarksLib.protocol import Protocol
from training_tools.bundling import Identity, calibrated_bundle, finished_training
from training_tools.datasets import Reader
from training_tools.evaluate_command import evaluate_bundle
from training_tools.reference_file import ReferenceFile
from training_tools.results_file import RESULTS, Evaluation, read_results, write_results
from training_tools.scan_sources import Scans
from training_tools.shape_fitting import fit_shape
from training_tools.splits import Split, folds
from training_tools.training import TrainingSettings
from training_tools.training_job import NetworkChoice, TrainingJob, describe, run_training

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidation:
    """What is cross-validated.

    Attributes
    ----------
    name : str
        In tables.
    output : Path
    scans : sequence of Path
    protocol : Protocol
    start : ReferenceFile
    network : NetworkChoice
    settings : TrainingSettings
    cache : Path
    fold_count : int
    validation_share : float
        Of the persons outside the tested fold.
    person : callable
        From a scan's name to its person.
    projection : str
    jobs : int
        Processes that read and predict scans.
    reader : Reader, optional
        How to read the scans; told from their places by default.
    shape : bool
        Fit a shape regression to the scans that each fold trains on.
    trained : Path, optional
        Output of another cross-validation of the same folds, whose trainings are taken: its network must be the same
        but for parameters that only matter once it is trained.
    """

    name: str
    output: Path
    scans: Sequence[Path]
    protocol: Protocol
    start: ReferenceFile
    network: NetworkChoice
    settings: TrainingSettings
    cache: Path
    fold_count: int = 5
    validation_share: float = 0.15
    person: Callable[[str], str] = lambda name: name
    projection: str = "surface"
    jobs: int = 1
    reader: Reader | None = None
    shape: bool = False
    trained: Path | None = None

    def splits(self) -> list[Split]:
        """Return the folds; they depend on names, seed and shares only, so that all models see the same."""
        names = [folder.name for folder in self.scans]
        return folds(names, self.fold_count, self.validation_share, self.settings.seed, self.person)


def cross_validate(plan: CrossValidation, only: int | None = None) -> Evaluation | None:
    """Train and test the folds that are not finished yet.

    Parameters
    ----------
    plan : CrossValidation
    only : int, optional
        Number of the one fold to do, from 1 (to spread folds over machines).

    Returns
    -------
    Evaluation or None
        Of all scans, each by the model that had not seen it; None while folds are missing.

    Raises
    ------
    UsageError
        If the output folder holds another cross-validation.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "Cross-validation does not run under torchrun.",
            "Start it plainly; spread the folds over machines with --only-fold.",
            code="folds.torchrun",
        )
    splits = plan.splits()
    if only is not None and not 1 <= only <= len(splits):
        raise UsageError(f"There is no fold {only}.", f"Choose 1 to {len(splits)}.", code="folds.number")
    finished: list[Evaluation] = []
    for number, split in enumerate(splits, start=1):
        found = _finished(plan, number, split)
        if found is None and only in (None, number):
            found = _fold(plan, number, split)
        if found is not None:
            finished.append(found)
    if len(finished) < len(splits):
        return None
    return pooled(plan, finished)


def pooled(plan: CrossValidation, parts: Sequence[Evaluation]) -> Evaluation:
    """Put the folds' results together in the order of the scans' names; the training figures are their means."""
    rows = sorted(
        ((result, number) for number, part in enumerate(parts, start=1) for result in part.results),
        key=lambda row: row[0].subject,
    )
    information = {k: v for k, v in parts[0].information.items() if k not in ("model", "weights_sha256", "fold_key")}
    trainings = [part.information.get("training", {}) for part in parts]
    keys = ("seconds_per_epoch", "training_seconds", "training_memory_mb", "weights_mb")
    information["training"] = {
        key: sum(training[key] for training in trainings) / len(trainings)
        for key in keys
        if all(isinstance(training.get(key), (int, float)) for training in trainings)
    }
    information["model"] = f"{plan.name}, {len(parts)} folds"
    information["left_out_of_training"] = sum(len(training.get("left_out", [])) for training in trainings)
    return Evaluation(
        plan.name, plan.protocol, tuple(row[0] for row in rows), information, tuple(row[1] for row in rows)
    )


def fold_job(plan: CrossValidation, number: int, split: Split) -> TrainingJob:
    """Return the training of one fold."""
    place = {folder.name: folder for folder in plan.scans}
    return TrainingJob(
        run=plan.output / f"fold{number}" / "training",
        training=[place[name] for name in split.training],
        validation=[place[name] for name in split.validation],
        protocol=plan.protocol,
        start=plan.start,
        network=plan.network,
        settings=replace(plan.settings, seed=plan.settings.seed + number),
        cache=plan.cache,
        reader=plan.reader,
    )


def _key(plan: CrossValidation, number: int, split: Split) -> str:
    """Return the digest of all that a fold's result depends on, scans by name."""
    description: dict[str, Any] = describe(fold_job(plan, number, split))
    description |= {"test": list(split.test), "projection": plan.projection}
    description |= {"shape": True} if plan.shape else {}
    description |= {"trained": plan.trained.name} if plan.trained is not None else {}
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _finished(plan: CrossValidation, number: int, split: Split) -> Evaluation | None:
    path = plan.output / f"fold{number}" / RESULTS
    if not path.exists():
        return None
    found = read_results(path)
    if found.information.get("fold_key") != _key(plan, number, split):
        raise UsageError(
            f"'{plan.output.name}' holds a cross-validation with other scans or settings.",
            "Give the same command again to go on with it, or another folder with --output.",
            code="folds.other",
        )
    logger.info("fold %d is finished already", number)
    return found


def _fold(plan: CrossValidation, number: int, split: Split) -> Evaluation:
    logger.info("fold %d of %d: %d training, %d validation, %d test scans", number, plan.fold_count,
                len(split.training), len(split.validation), len(split.test))  # fmt: skip
    job, folder = fold_job(plan, number, split), plan.output / f"fold{number}"
    place = {one.name: one for one in plan.scans}
    folder.mkdir(parents=True, exist_ok=True)
    split.write(folder / "split.json")
    if plan.trained is None:
        run_training(job, plan.jobs)
        training = finished_training(job.run)
    else:
        training = finished_training(plan.trained / folder.name / "training")
        training = replace(training, description={**training.description, "network": describe(job)["network"]})
    identity = Identity(f"{plan.name}-fold{number}", title=f"{plan.name}, fold {number}", projection=plan.projection,
                        training_data="Scans of the other folds.")  # fmt: skip
    shape_from, prepared = None, folder / "shape"
    if plan.shape:
        scans = [Scans(tuple(job.training), plan.reader)]
        shape_from = partial(fit_shape, scans=scans, cache=prepared, jobs=plan.jobs)
    calibrated_bundle(training, folder / "bundle", job.validation, identity, plan.jobs, plan.reader, shape_from)
    tested = evaluate_bundle(
        load_bundle(folder / "bundle"),
        Scans(tuple(place[name] for name in split.test), plan.reader),
        plan.jobs,
        f"{plan.name} fold {number}",
        plan.scans[0].parent.name,
    )
    tested = replace(tested, information={**tested.information, "fold_key": _key(plan, number, split)})
    write_results(folder / RESULTS, tested)
    # Up to a gigabyte, and of no use any more.
    (job.run / "checkpoint.safetensors").unlink(missing_ok=True)
    shutil.rmtree(prepared, ignore_errors=True)
    logger.info("fold %d: %d of %d test scans failed", number, len(tested.failed), len(tested.results))
    return tested
