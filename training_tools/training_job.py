"""One training from scans on disk to weights: what ``train``, ``cross-validate`` and ``ablate`` share."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.processes import end_with_parent
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.errors import InputError, LandmarkingError, UsageError
from PALNetLandmarksLib.files import atomic_write, sole_writer
from PALNetLandmarksLib.protocol import Protocol
from training_tools.alignment import prepared_subject, registered_transform
from training_tools.dataset import CanonicalSubject, mean_landmarks, read_subject, symmetric
from training_tools.datasets import Reader
from training_tools.distributed import Team, joined
from training_tools.memory import process_died
from training_tools.recipes import Recipe, recipe_for
from training_tools.reference_file import ReferenceFile, read_reference, write_reference
from training_tools.training import TrainingSettings, train

logger = logging.getLogger(__name__)

SCANS_FOR_FIRST_MEAN = 20


@dataclass(frozen=True)
class NetworkChoice:
    """Which network is trained, and from what: fresh with ``parameters``, or from the weights of a bundle."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fine_tuned: Path | None = None

    def recipe(self, protocol: Protocol) -> Recipe:
        """Return the network's recipe for a protocol."""
        return recipe_for(self.name, len(protocol), [int(i) for i in protocol.mirror], self.parameters)


@dataclass(frozen=True)
class TrainingJob:
    """A training: where it is kept, the scans, the network and the settings.

    ``start`` is the reference face with the landmarks to begin the alignment of the training scans with;
    ``reader`` says how the scans are read, by default as their places tell.
    """

    run: Path
    training: Sequence[Path]
    validation: Sequence[Path]
    protocol: Protocol
    start: ReferenceFile
    network: NetworkChoice
    settings: TrainingSettings
    cache: Path
    reader: Reader | None = None


@dataclass(frozen=True)
class Prepared:
    """Scans ready for training, their mean landmarks (l, 3), and those left out as (name, reason)."""

    training: list[CanonicalSubject]
    validation: list[CanonicalSubject]
    mean: NDArray[np.float64]
    left_out: tuple[tuple[str, str], ...]


def fine_tuned(bundle: Path, protocol: Protocol) -> tuple[NetworkChoice, dict[str, Tensor]]:
    """Return network and weights of a bundle to go on with.

    Raises
    ------
    InputError
        If the bundle places other landmarks.
    """
    loaded = load_bundle(bundle)
    if loaded.protocol.labels != protocol.labels:
        raise InputError(
            f"The model '{loaded.id}' places other landmarks than the protocol asks for.",
            "Fine-tune a model of the same landmarks, or train without --fine-tune.",
            code="training.fine_tune",
        )
    choice = NetworkChoice(loaded.network, dict(loaded.parameters), loaded.path)
    return choice, dict(loaded.network_with_weights().state_dict())


def prepare(job: TrainingJob, jobs: int) -> Prepared:
    """Read and align the scans of a training, and average the landmarks of its training part.

    A scan that cannot be used is named in the log and counted; nothing is left out in silence.
    """
    readable = _readable(job.training, job)
    if not readable:
        raise _nothing_left("training")
    mean = mean_landmarks(readable, job.protocol, _first_mean(readable, job), reader=job.reader)
    mean = symmetric(mean, job.protocol)
    one = partial(
        prepared_subject,
        protocol=job.protocol,
        mean=mean,
        cache=job.cache,
        registered_to=job.start.reference if job.settings.plan.aligned_by == "registration" else None,
        facet_normals=bool(getattr(job.network.recipe(job.protocol), "facet_normals", False)),
        reader=job.reader,
    )
    everything = [*job.training, *job.validation]
    left_out: list[tuple[str, str]] = []
    kept: list[CanonicalSubject | None] = []
    for folder, subject in zip(everything, _mapped(partial(_attempt, one), everything, jobs), strict=True):
        if isinstance(subject, LandmarkingError):
            left_out.append((folder.name, subject.message))
            logger.warning("left out: %s: %s", folder.name, subject.message)
        kept.append(None if isinstance(subject, LandmarkingError) else subject)
    training = [s for s in kept[: len(job.training)] if s is not None]
    validation = [s for s in kept[len(job.training) :] if s is not None]
    if not training or not validation:
        raise _nothing_left("validation" if training else "training")
    return Prepared(training, validation, mean, tuple(left_out))


def _readable(folders: Sequence[Path], job: TrainingJob) -> list[Path]:
    """Return the scans whose annotation can be read; the others are named when they are prepared."""
    found = []
    for folder in folders:
        with contextlib.suppress(LandmarkingError):
            read_subject(folder, job.protocol, job.reader)
            found.append(folder)
    return found


def _first_mean(readable: Sequence[Path], job: TrainingJob) -> NDArray[np.float64]:
    """Return landmarks in the reference frame to begin the average with, (l, 3).

    Those of the reference face; where it has others than the protocol, the middle of those of registered scans.
    """
    if len(job.start.landmarks) == len(job.protocol):
        return job.start.landmarks
    registered = []
    for folder in readable[:SCANS_FOR_FIRST_MEAN]:
        with contextlib.suppress(LandmarkingError):
            motion = registered_transform(folder, job.protocol, job.start.reference, job.cache, job.reader)
            registered.append(apply_transform(motion, read_subject(folder, job.protocol, job.reader).landmarks))
    if not registered or not np.isfinite(np.stack(registered)).all(axis=2).any(axis=0).all():
        raise InputError(
            f"The reference face has {len(job.start.landmarks)} landmarks, the protocol {len(job.protocol)}, and "
            "the scans could not be registered to it.",
            "Look at the data set with 'python -m training_tools register'.",
            code="training.reference",
        )
    first: NDArray[np.float64] = np.nanmedian(np.stack(registered), axis=0)
    return first


def _nothing_left(part: str) -> InputError:
    return InputError(
        f"No usable {part} scan is left.",
        "Look at the data set with 'python -m training_tools check'.",
        code="training.empty",
    )


def _attempt(one: Callable[[Path], CanonicalSubject], folder: Path) -> CanonicalSubject | LandmarkingError:
    try:
        return one(folder)
    except LandmarkingError as error:
        return error


def _mapped(function: Callable[[Path], Any], items: Sequence[Path], jobs: int) -> list[Any]:
    def counted(results: Iterable[Any]) -> list[Any]:
        done = []
        for result in results:
            done.append(result)
            print(f"\rreading scans {len(done)}/{len(items)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return done

    if jobs <= 1:
        return counted(map(function, items))
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent) as pool:
        try:
            return counted(pool.map(function, items, chunksize=4))
        except BrokenProcessPool as error:
            raise process_died() from error


def run_training(job: TrainingJob, jobs: int = 1) -> Path:
    """Train, or go on with what is in the job's folder; returns the file of the best weights.

    Parameters
    ----------
    job : TrainingJob
    jobs : int
        Processes that read scans before the training.

    Raises
    ------
    UsageError
        If the folder holds another training, or another process is at it.
    """
    job.run.mkdir(parents=True, exist_ok=True)
    with joined(job.settings.device) as team, _sole_training(job.run, team):
        description = describe(job)
        if team.leads:
            check_same(job.run, description)
        weights = None
        if job.network.fine_tuned is not None:
            weights = fine_tuned(job.network.fine_tuned, job.protocol)[1]
        recipe = job.network.recipe(job.protocol)
        # The first process fills the cache; the others then only read it.
        prepared = prepare(job, jobs) if team.leads else None
        team.wait()
        prepared = prepared or prepare(job, 1)
        if team.leads:
            logger.info("%d training and %d validation scans ready", len(prepared.training), len(prepared.validation))
            write_reference(job.run / "reference.safetensors", job.start.reference, prepared.mean)
            description |= {"left_out": [list(item) for item in prepared.left_out]}
            with atomic_write(job.run / "run.json") as file:
                json.dump(description, file, indent=1, ensure_ascii=False)
        best = train(
            job.run, recipe, prepared.training, prepared.validation, prepared.mean,
            np.asarray(job.protocol.mirror), job.settings, weights=weights,
        )  # fmt: skip
        return best


def _sole_training(run: Path, team: Team) -> contextlib.AbstractContextManager[None]:
    if not team.leads:
        return contextlib.nullcontext()
    return sole_writer(
        run / "training.lock",
        f"Another process is training in '{run.name}'.",
        "Wait for it, or choose another folder.",
        "training.locked",
    )


def describe(job: TrainingJob) -> dict[str, Any]:
    """Return what makes a training what it is, as JSON values: written beside it and into the bundle."""
    recipe, plan = job.network.recipe(job.protocol), job.settings.plan
    return {
        "network": {"name": recipe.name, "parameters": recipe.parameters},
        "protocol": job.protocol.to_dict(),
        "preset": plan.to_dict(),
        "mixed_precision": recipe.bfloat16 if job.settings.bfloat16 is None else job.settings.bfloat16,
        "fine_tuned": job.network.fine_tuned.name if job.network.fine_tuned else "",
        "training_scans": len(job.training),
        "validation_scans": len(job.validation),
        "scans": [folder.name for folder in (*job.training, *job.validation)],
        "epochs": plan.epochs,
        "seed": job.settings.seed,
    }


def check_same(run: Path, description: Mapping[str, Any]) -> None:
    """Refuse to go on with a training that was begun with other settings.

    Raises
    ------
    UsageError
        Naming what differs.
    """
    path = run / "run.json"
    if not path.exists() or not (run / "checkpoint.safetensors").exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    now = json.loads(json.dumps(description))
    different = [name for name, value in now.items() if before.get(name) != value]
    if different:
        raise UsageError(
            f"'{run.name}' holds a training with other settings ({', '.join(different)}).",
            "Give the same command again to go on with it, or another folder with --run.",
            code="training.other",
        )


def start_face(reference: Path | None, bundle: Path | None) -> ReferenceFile:
    """Return the reference face of a file, or of the bundle that is fine-tuned."""
    if reference is not None:
        return read_reference(reference)
    loaded = load_bundle(bundle)
    return ReferenceFile(loaded.reference, loaded.mean_landmarks)
