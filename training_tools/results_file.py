"""An evaluation on disk: every prediction beside its truth, so that tables and comparisons can be made again."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.protocol import Protocol
from training_tools.evaluation import ScanResult

FloatArray = NDArray[np.float64]

RESULTS = "results.npz"
FORMAT = 1
_PER_LANDMARK = ("error_mm", "unprojected_error_mm", "expected_mm", "raw_mm", "visible_probability")
_FLAGS = ("visible", "found")
_POSITIONS = ("predicted", "truth")
_NUMBERS = ("registration_mm", "realigned_mm", "seconds", "memory_mb")


@dataclass(frozen=True)
class Evaluation:
    """All results of one model, or of the models of a cross-validation, on the same scans.

    Attributes
    ----------
    name : str
        What to call it in tables.
    protocol : Protocol
    results : tuple of ScanResult
        Failed scans included.
    information : mapping
        JSON values: model and digest, data, training figures.
    folds : tuple of int
        For each result the fold that tested it, from 1; 0 without folds.
    """

    name: str
    protocol: Protocol
    results: tuple[ScanResult, ...]
    information: Mapping[str, Any] = field(default_factory=dict)
    folds: tuple[int, ...] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the scans."""
        return tuple(result.subject for result in self.results)

    @property
    def done(self) -> tuple[ScanResult, ...]:
        """Results of the scans that did not fail."""
        return tuple(result for result in self.results if not result.failure)

    @property
    def failed(self) -> tuple[ScanResult, ...]:
        """Results of the scans that failed."""
        return tuple(result for result in self.results if result.failure)

    def errors(self) -> FloatArray:
        """Return the errors that count, (n, l) mm, of all scans; NaN where none counts."""
        return np.stack([result.counted for result in self.results])

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """Return predicted and true landmarks that count, (n, l, 3) each; NaN in both where either does not."""
        counted = np.isfinite(self.errors())[:, :, None]
        predicted = np.stack([result.predicted for result in self.results])
        truth = np.stack([result.truth for result in self.results])
        return np.where(counted, predicted, np.nan), np.where(counted, truth, np.nan)


def write_results(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation; appears whole or not at all."""
    results = evaluation.results
    stages = list(dict.fromkeys(name for result in results for name in result.stages))
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "name": np.array(evaluation.name),
        "protocol": np.array(json.dumps(evaluation.protocol.to_dict())),
        "information": np.array(json.dumps(dict(evaluation.information))),
        "subject": np.array([result.subject for result in results]),
        "failure": np.array([result.failure for result in results]),
        "fold": np.array(evaluation.folds or [0] * len(results), dtype=np.int64),
        "stage_names": np.array(stages, dtype=str),
        "stages": np.array([[r.stages.get(name, np.nan) for name in stages] for r in results], dtype=np.float64),
    }
    for name in (*_PER_LANDMARK, *_FLAGS, *_POSITIONS, *_NUMBERS):
        arrays[name] = np.stack([np.asarray(getattr(result, name)) for result in results])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with atomic_write(path, "wb") as file:
        file.write(buffer.getvalue())


def read_results(path: Path) -> Evaluation:
    """Read an evaluation from its file or folder.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    if path.is_dir():
        path = path / RESULTS
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if int(arrays["format"]) != FORMAT:
            raise ValueError("another format")
        protocol = Protocol.from_dict(json.loads(str(arrays["protocol"])))
        stages = [str(name) for name in arrays["stage_names"]]
        results = tuple(_result(arrays, index, stages) for index in range(len(arrays["subject"])))
        return Evaluation(
            str(arrays["name"]), protocol, results, json.loads(str(arrays["information"])),
            tuple(int(fold) for fold in arrays["fold"]),
        )  # fmt: skip
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        zipfile.BadZipFile,
        LandmarkingError,
    ) as error:
        raise InputError(
            f"'{path.parent.name}' holds no results of an evaluation that can be read.",
            "Give the folder that 'evaluate' or 'cross-validate' wrote.",
            code="results.file",
        ) from error


def _result(arrays: Mapping[str, NDArray[Any]], index: int, stages: Sequence[str]) -> ScanResult:
    values: dict[str, Any] = {name: arrays[name][index].astype(np.float64) for name in (*_PER_LANDMARK, *_POSITIONS)}
    values |= {name: arrays[name][index].astype(bool) for name in _FLAGS}
    values |= {name: float(arrays[name][index]) for name in _NUMBERS}
    seconds = {name: float(value) for name, value in zip(stages, arrays["stages"][index], strict=True)}
    return ScanResult(
        subject=str(arrays["subject"][index]),
        failure=str(arrays["failure"][index]),
        stages={name: value for name, value in seconds.items() if np.isfinite(value)},
        **values,
    )
