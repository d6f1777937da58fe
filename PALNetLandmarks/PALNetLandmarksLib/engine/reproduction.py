"""Doing a recorded prediction again, and saying whether the same comes out.

Models and scans are found by their SHA-256, never by a path: none is recorded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from PALNetLandmarksLib.engine.traces import Trace
from PALNetLandmarksLib.errors import DeviceError, LandmarkingError, RegistrationError
from PALNetLandmarksLib.files import file_sha256
from PALNetLandmarksLib.measurements import measure
from PALNetLandmarksLib.resources import bundled_models

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.predictor import Predictor
    from PALNetLandmarksLib.engine.scan import Scan
    from PALNetLandmarksLib.landmarks import LandmarkSet

IDENTICAL, WITHIN, DIFFERENT, NOT_DONE = "identical", "within tolerance", "different", "not recomputed"
#: Not to the last bit, and the file holds nothing that could tell by how much.
UNDECIDED = "undecided"
#: Files hold positions to 0.0001 mm and measurements to 0.001 of their unit.
_POSITION_ROUNDING, _VALUE_ROUNDING = 0.0002, 0.0011
_SHOWN = 5
#: What may explain another result, in words.
_CIRCUMSTANCES = {
    "bundle_sha256": "model",
    "model_sha256": "weights of the model",
    "scan_sha256": "scan file",
    "mesh_sha256": "mesh",
    "software_version": "program version",
    "libraries": "libraries",
    "device": "device",
    "processor": "processor",
    "threads": "threads",
    "projection": "projection",
    "seed": "seed",
}


@dataclass(frozen=True)
class Comparison:
    """Whether a prediction that was done again gives what a file holds.

    Parameters
    ----------
    verdict : str
        `IDENTICAL` (to the last bit, but for the file's rounding), `WITHIN` the tolerance, `DIFFERENT`, `UNDECIDED` or
        `NOT_DONE`.
    reason : str
        Why it differs or was not done; empty otherwise.
    compared : int
        Number of landmarks or measurements compared.
    largest : float
        Largest difference: of positions in mm, of measurements in their unit; NaN where none was compared.
    left_out : tuple of str
        Landmarks that a person corrected, placed or removed.
    circumstances : tuple of str
        What is another than it was.
    """

    verdict: str
    reason: str = ""
    compared: int = 0
    largest: float = math.nan
    left_out: tuple[str, ...] = ()
    circumstances: tuple[str, ...] = ()


class NotDoneError(Exception):
    """A prediction cannot be done again; ``code`` is ``model``, ``scan`` or ``record``."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Reproducer:
    """Does predictions again.

    Parameters
    ----------
    models : sequence of Path
        Folders of models to look at before those that come with the program.
    scan : Path, optional
        A scan file to take whatever its digest.
    scans : sequence of Path
        Scan files to look through for the right digest.
    device : str
        ``auto`` for the recorded one where there is one.
    threads : int, optional
        Default: as recorded.
    """

    def __init__(
        self,
        models: Sequence[Path] = (),
        *,
        scan: Path | None = None,
        scans: Sequence[Path] = (),
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._given = list(models)
        self._models = [*models, *bundled_models()]
        self._scan, self._scans = scan, list(scans)
        self._device, self._threads = device, threads
        self._digests: dict[Path, str] = {}
        self._meshes: dict[Path, str] = {}
        self._predictors: dict[tuple[Path, str, int | None], Predictor] = {}
        self._done: dict[tuple[str, ...], LandmarkSet] = {}

    def again(self, record: Mapping[str, str]) -> LandmarkSet:
        """Do a prediction again.

        Parameters
        ----------
        record : mapping of str to str
            What was recorded of it.

        Returns
        -------
        LandmarkSet
            The scan's frame, LPS, mm, with what is recorded now.

        Raises
        ------
        NotDoneError
            When the model or the scan is not there, or the record does not say which they are.
        LandmarkingError
            When the scan cannot be used, or the device fails.
        """
        if not record.get("model_id"):
            raise NotDoneError("record", "No model is recorded: the landmarks were not predicted.")
        model, scan = self._find_model(record), self._find_scan(record)
        settings = [record.get(key, "") for key in ("seed", "scan_unit", "start_points", "device", "threads")]
        key = (str(model), str(scan), *settings)
        if key not in self._done:
            self._done.clear()  # files of one case follow each other: more need not be kept
            self._done[key] = self._predict(model, scan, record)
        return self._done[key]

    def _predict(self, model: Path, path: Path, record: Mapping[str, str]) -> LandmarkSet:
        from PALNetLandmarksLib.engine.provenance import parse_start_points

        predictor = self._predictor(model, record)
        try:
            seed = int(record.get("seed") or 0)
            initial = parse_start_points(record.get("start_points", ""), predictor.bundle.protocol)
        except ValueError as error:
            raise NotDoneError("record", f"What is recorded cannot be read ({error}).") from error
        return predictor.predict(_read(path, record), initial=initial, seed=seed).landmarks

    def _predictor(self, model: Path, record: Mapping[str, str]) -> Predictor:
        from PALNetLandmarksLib.engine.bundle import load_bundle
        from PALNetLandmarksLib.engine.predictor import Predictor

        device, said = self._device, record.get("threads", "")
        threads = self._threads or (int(said) if said.isdecimal() and 0 < int(said) <= 1024 else None)
        if device == "auto":
            device = "cuda" if record.get("device", "").startswith("cuda") else "cpu"
        key = (model, device, threads)
        if key not in self._predictors:
            try:
                made = Predictor(load_bundle(model), device, threads)
            except DeviceError:
                if self._device != "auto":
                    raise
                made = Predictor(load_bundle(model), "auto", threads)
            self._predictors.clear()
            self._predictors[key] = made
        return self._predictors[key]

    def _find_model(self, record: Mapping[str, str]) -> Path:
        wanted, weights = record.get("bundle_sha256", ""), record.get("model_sha256", "")
        for folder in self._models:
            found = _model_digests(folder)
            # Older outputs do not say the digest of all that decides.
            if found and (found[0] == wanted if wanted else found[1:] == (weights, record["model_id"])):
                return folder
        if self._given:
            return self._given[0]
        raise NotDoneError(
            "model",
            f"Its model {record['model_id']} (SHA-256 {(wanted or weights)[:12]}...) is not here: name its folder "
            "with --model.",
        )

    def _find_scan(self, record: Mapping[str, str]) -> Path:
        if self._scan is not None:
            return self._scan
        wanted, mesh = record.get("scan_sha256", ""), record.get("mesh_sha256", "")
        for path in self._scans:
            if wanted:
                if self._digest(path) == wanted:
                    return path
            elif mesh and self._mesh(path) == mesh:
                return path
        raise NotDoneError(
            "scan",
            f"Its scan (SHA-256 {(wanted or mesh)[:12]}...) is not here: name it after the result."
            if wanted or mesh
            else "Its scan is not recorded: name it after the result.",
        )

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = file_sha256(path)
            except OSError:
                self._digests[path] = ""
        return self._digests[path]

    def _mesh(self, path: Path) -> str:
        from PALNetLandmarksLib.engine.provenance import mesh_sha256

        if path not in self._meshes:
            try:
                self._meshes[path] = mesh_sha256(_read(path, {}))
            except LandmarkingError:
                self._meshes[path] = ""
        return self._meshes[path]


def compare(trace: Trace, again: LandmarkSet, tolerance_mm: float) -> Comparison:
    """Compare what a file holds with a prediction that was done again.

    Parameters
    ----------
    trace : Trace
    again : LandmarkSet
        As `Reproducer.again` gives it.
    tolerance_mm : float

    Returns
    -------
    Comparison
    """
    recorded = trace.record.get("prediction_sha256", "")
    same = recorded == again.provenance["prediction_sha256"] if recorded else None
    circumstances = tuple(_circumstances(trace.record, again.provenance))
    if trace.landmarks is not None:
        found = _compare_positions(trace.landmarks, again, same, tolerance_mm)
    elif trace.values is not None and not trace.by_hand:
        found = _compare_values(trace.values, again, same, tolerance_mm)
    elif same is None:
        found = Comparison(NOT_DONE, "The file holds nothing to compare.", left_out=trace.by_hand)
    elif same:
        found = Comparison(IDENTICAL, left_out=trace.by_hand)
    else:
        reason = "The prediction is another one in its bits; by how much, its landmark file can tell."
        found = Comparison(UNDECIDED, reason, left_out=trace.by_hand)
    return replace(found, circumstances=circumstances)


def failed(error: RegistrationError) -> Comparison:
    """Say that a prediction that once succeeded fails now."""
    return Comparison(DIFFERENT, f"The prediction fails now: {error.message}")


def _compare_positions(held: LandmarkSet, again: LandmarkSet, same: bool | None, tolerance_mm: float) -> Comparison:
    labels = held.protocol.labels
    if labels != again.protocol.labels:
        return Comparison(DIFFERENT, "The model has other landmarks.")
    left_out = [label for label, status in zip(labels, held.status, strict=True) if status in ("corrected", "placed")]
    gone, gone_now = held.missing, again.missing
    if same:
        # The very prediction had these: a person took them away.
        left_out += [label for i, label in enumerate(labels) if gone[i] and not gone_now[i]]
    kept = np.array([label not in left_out for label in labels])
    contradicting = [label for i, label in enumerate(labels) if kept[i] and gone[i] != gone_now[i]]
    both = kept & ~gone & ~gone_now
    difference = held.in_coordinate_system("LPS").positions - again.positions
    apart = np.where(both, np.linalg.norm(np.where(both[:, None], difference, 0.0), axis=1), 0.0)
    largest, compared = (float(apart.max()) if both.any() else math.nan), int(kept.sum())
    out = tuple(left_out)
    if contradicting:
        reason = f"Missing in one of both: {_listed(contradicting)}."
        return Comparison(DIFFERENT, reason, compared, largest, out)
    limit = _POSITION_ROUNDING if same else tolerance_mm
    if apart.max() > max(limit, 0.0):
        order = [labels[i] for i in np.argsort(-apart, kind="stable") if apart[i] > limit]
        where = f"{_listed(order)} (up to {apart.max():.3g} mm)"
        if same:
            # It reproduces; the file does not hold it any more.
            reason = f"The prediction is the same, but positions in the file were changed since: {where}."
        else:
            reason = f"Positions differ: {where}."
        return Comparison(DIFFERENT, reason, compared, largest, out)
    bits = same or (same is None and bool(both.any()) and largest == 0.0)
    return Comparison(IDENTICAL if bits else WITHIN, "", compared, largest, out)


def _compare_values(
    held: Mapping[str, float], again: LandmarkSet, same: bool | None, tolerance_mm: float
) -> Comparison:
    now = dict(zip((item.id for item in again.protocol.measurements), measure(again).values.tolist(), strict=True))
    if set(held) != set(now):
        return Comparison(DIFFERENT, "The model has other measurements.")
    apart = {
        key: 0.0 if math.isnan(value) and math.isnan(now[key]) else abs(value - now[key]) for key, value in held.items()
    }
    # A distance changes by at most twice what its points move by, an angle or an index by about as much.
    limit = _VALUE_ROUNDING + (0.0 if same else 2.0 * tolerance_mm)
    wrong = [key for key, value in apart.items() if not value <= limit]
    finite = [value for value in apart.values() if math.isfinite(value)]
    largest = max(finite, default=math.nan)
    if wrong:
        because = "The prediction is the same, but values in the file were changed since" if same else "Values differ"
        return Comparison(DIFFERENT, f"{because}: {_listed(wrong)}.", len(apart), largest)
    return Comparison(IDENTICAL if same else WITHIN, "", len(apart), largest)


def _circumstances(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for key, word in _CIRCUMSTANCES.items():
        before, after = then.get(key, ""), now.get(key, "")
        # Slicer hands over a mesh, not a file: it has the digest of the mesh only.
        if before and before != after and not (key == "model_sha256" and "bundle_sha256" in then):
            short = key.endswith("sha256")
            yield f"{word}: {before[:12] if short else before} then, {(after[:12] if short else after) or 'none'} now"


def _listed(labels: Sequence[str]) -> str:
    rest = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(labels[:_SHOWN]) + rest


def _read(path: Path, record: Mapping[str, str]) -> Scan:
    from PALNetLandmarksLib.engine.reading import read_scan

    # Slicer's scans are in mm already; their files need not be.
    unit = record.get("scan_unit", "") if record.get("scan_sha256") else ""
    return read_scan(path, unit if unit in ("mm", "cm", "m", "in") else "auto", texture=False)


def _model_digests(folder: Path) -> tuple[str, str, str] | None:
    """Give the digests of a bundle, of all that decides and of the weights, and its id, without loading it."""
    from PALNetLandmarksLib.engine.bundle import DESCRIPTION, WEIGHTS, deciding_sha256

    try:
        data = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return deciding_sha256(data), str(data["files"][WEIGHTS]), str(data["id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
