"""From a finished training to a model bundle: calibrated on validation scans, checked by loading it anew."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from PALNetLandmarksLib.engine.bundle import DESCRIPTION, WEIGHTS, Bundle, load_bundle, write_bundle
from PALNetLandmarksLib.engine.shape_regression import ShapeRegression
from PALNetLandmarksLib.errors import BundleError, InputError
from training_tools.calibration import error_scale, visibility_limit
from training_tools.datasets import Reader
from training_tools.evaluation import evaluate
from training_tools.reference_file import ReferenceFile, read_reference

MAXIMUM_DISTANCE_MM = 8.0
BORDER_MARGIN_MM = 4.0
TIME_LIMIT_S = 300.0

_CHECK = (
    "import sys; from PALNetLandmarksLib.engine.bundle import verify_bundle; "
    "problems = verify_bundle(sys.argv[1]); print('\\n'.join(problems)); sys.exit(bool(problems))"
)


@dataclass(frozen=True)
class Identity:
    """What a bundle says of itself."""

    id: str
    version: str = "1.0.0"
    title: str = ""
    training_data: str = ""
    licence: str = "MIT"
    projection: str = "surface"


@dataclass(frozen=True)
class Training:
    """A finished training: what it was, its best weights (a safetensors file), its reference and mean landmarks."""

    description: Mapping[str, Any]
    weights: bytes
    face: ReferenceFile
    figures: Mapping[str, Any]


def finished_training(run: Path) -> Training:
    """Read a training's folder.

    Raises
    ------
    InputError
        If there is none, or it has not brought weights yet.
    """
    try:
        description = json.loads((run / "run.json").read_text(encoding="utf-8"))
        weights = (run / "best.safetensors").read_bytes()
        # Trainings of earlier versions did not write all of it down.
        kept = ("training_scans", "validation_scans", "epochs", "seed", "preset", "fine_tuned", "left_out")
        figures = {key: description[key] for key in kept if key in description}
        return Training(description, weights, read_reference(run / "reference.safetensors"), figures | curves(run))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{run.name}' holds no finished training.",
            "Give the folder that 'train' wrote, after at least one validation.",
            code="training.unfinished",
        ) from error


def curves(run: Path) -> dict[str, Any]:
    """Return time and memory of a training from its curves, as far as they tell."""
    try:
        with (run / "log.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or "memory_mb" not in rows[0]:
            return {}
        seconds = np.array([float(row["seconds"]) for row in rows])
        return {
            "epochs_trained": len(rows),
            "seconds_per_epoch": round(float(np.median(seconds)), 3),
            "training_seconds": round(float(seconds.sum()), 1),
            "training_memory_mb": round(max(float(row["memory_mb"]) for row in rows), 1),
        }
    except (OSError, ValueError, KeyError):
        return {}


def bundle_description(training: Training, identity: Identity) -> dict[str, Any]:
    """Return the fields of ``bundle.json`` before calibration and evaluation."""
    count = len(training.face.landmarks)
    return {
        "id": identity.id,
        "version": identity.version,
        "title": identity.title or identity.id,
        "network": training.description["network"],
        "protocol": training.description["protocol"],
        "projection": {"kind": identity.projection, "count": 10},
        "confidence": {"scale": np.ones(count).tolist()},
        "missing": {
            "distance_mm": MAXIMUM_DISTANCE_MM, "border_margin_mm": BORDER_MARGIN_MM, "visible_probability": 0.0,
        },
        "training_data": identity.training_data,
        "training": {**training.figures, "weights_mb": round(len(training.weights) / 1e6, 3)},
        "metrics": {},
        "licence": identity.licence,
    }  # fmt: skip


def bundled_training(folder: Path) -> Training:
    """Read a bundle as the training that it was made of, to make another bundle of the same weights."""
    bundle = load_bundle(folder)
    description = {
        "network": {"name": bundle.network, "parameters": dict(bundle.parameters)},
        "protocol": bundle.protocol.to_dict(),
    }
    written = _training_figures(folder)
    figures = {key: value for key, value in written.items() if key not in ("weights_mb", "shape_scans")}
    face = ReferenceFile(bundle.reference, bundle.mean_landmarks)
    return Training(description, (folder / WEIGHTS).read_bytes(), face, figures)


def bundled_shape(folder: Path) -> tuple[ShapeRegression, int] | None:
    """Return the shape regression of a bundle and the number of scans that it rests on; None if it has none."""
    shape = load_bundle(folder).shape
    return None if shape is None else (shape, int(_training_figures(folder).get("shape_scans", 0)))


def _training_figures(folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")).get("training", {})
    return figures


def write_training(
    folder: Path, description: Mapping[str, Any], training: Training, card: str, shape: ShapeRegression | None = None
) -> Bundle:
    """Write a bundle of a training with a description and a model card, and load it."""
    write_bundle(folder, description, training.weights, training.face.reference, training.face.landmarks, card, shape)
    return load_bundle(folder)


def calibrated_bundle(
    training: Training,
    folder: Path,
    validation: Sequence[Path],
    identity: Identity,
    jobs: int,
    reader: Reader | None = None,
    shape_from: Callable[[Bundle], tuple[ShapeRegression, int]] | None = None,
) -> dict[str, Any]:
    """Write a bundle whose expected errors are calibrated on validation scans.

    Parameters
    ----------
    training : Training
    folder : Path
        Folder of the bundle.
    validation : sequence of Path
    identity : Identity
    jobs : int
        Processes that predict.
    reader : Reader, optional
        How to read the scans.
    shape_from : callable, optional
        Fits the shape regression to the bundle without it, and tells to how many scans.

    Returns
    -------
    dict
        The fields of ``bundle.json``, metrics still empty.
    """
    description = bundle_description(training, identity)
    written = write_training(folder, description, training, "Not calibrated yet.\n")
    shape: ShapeRegression | None = None
    if shape_from is not None:
        shape, description["training"]["shape_scans"] = shape_from(written)
        write_training(folder, description, training, "Not calibrated yet.\n", shape)
    results = list(evaluate(folder, validation, jobs, reader))
    if all(result.failure for result in results):
        raise InputError(
            f"None of the {len(results)} validation scans could be predicted ({results[0].failure}).",
            "Look at the data set with 'python -m training_tools check', and at the reference face.",
            code="calibration.none",
        )
    description["confidence"]["scale"] = [round(float(value), 4) for value in error_scale(results)]
    description["missing"]["visible_probability"] = round(visibility_limit(results), 4)
    write_training(folder, description, training, "Not evaluated yet.\n", shape)
    return description


def check_in_fresh_process(folder: Path) -> None:
    """Load a bundle in a new process, as another program would.

    Raises
    ------
    BundleError
        If it cannot be used.
    """
    # The new process finds the program where this one did, wherever it was started.
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {_CHECK}", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
        problem = "" if done.returncode == 0 else (done.stdout.strip() or done.stderr.strip() or "no reason given")
    except subprocess.TimeoutExpired:
        problem = f"it did not load within {TIME_LIMIT_S:.0f} s"
    if problem:
        raise BundleError(
            f"The bundle '{folder.name}' does not load in a new process: {problem.splitlines()[-1]}",
            "Export it again.",
            code="bundle.export",
        )
