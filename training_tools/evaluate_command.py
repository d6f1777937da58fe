"""``python -m training_tools evaluate``: measure a model on annotated scans and write the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.bundle import DESCRIPTION, Bundle, load_bundle
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import table_text
from training_tools.asymmetry_slopes import PairSlope, pair_slopes
from training_tools.dataset import Subject, read_subject
from training_tools.evaluation import ScanResult, evaluate, summarise
from training_tools.report.page import write_report
from training_tools.report.tables import measurement_summary
from training_tools.results_file import RESULTS, Evaluation, write_results
from training_tools.scan_sources import Scans, add_scan_arguments, scans_of_options
from training_tools.splits import PARTS, read_split


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools evaluate", description=__doc__)
    add_scan_arguments(parser)
    parser.add_argument("--model", help="bundle's folder (default: the bundled one)")
    parser.add_argument("--output", required=True, type=Path, help="folder for report.html, CSV files and results")
    parser.add_argument("--name", help="what to call it in tables (default: the model's name)")
    parser.add_argument("--split", type=Path, help="split.json of a training: only scans of one part of it")
    parser.add_argument("--part", choices=PARTS, default="test", help="part of the split (default test)")
    parser.add_argument("--count", type=int, help="only the first so many scans")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-pictures", action="store_true", help="leave out the pictures of cases")
    return parser


def errors_table(results: Sequence[ScanResult], protocol: Protocol) -> str:
    """Return the errors as CSV text: a row for each scan, a column for each landmark, mm; empty where not counted."""
    rows = []
    for result in results:
        cells = ["" if not np.isfinite(value) else f"{value:.3f}" for value in result.counted]
        rows.append([
            result.subject, result.failure, f"{result.registration_mm:.2f}", f"{result.seconds:.3f}", *cells,
        ])  # fmt: skip
    return table_text(["subject", "failure", "registration_mm", "seconds", *protocol.labels], rows)


def evaluate_bundle(bundle: Bundle, scans: Scans, jobs: int, name: str = "", data: str = "") -> Evaluation:
    """Predict every scan with a bundle and return all results, failed scans included."""
    results = []
    for result in evaluate(bundle.path, scans.folders, jobs, scans.reader):
        results.append(result)
        print(f"\r{name or bundle.id} {len(results)}/{len(scans.folders)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return Evaluation(name or bundle.id, bundle.protocol, tuple(results), information_of(bundle, data))


def information_of(bundle: Bundle, data: str) -> dict[str, Any]:
    """Return what a report says of a model, as JSON values."""
    described: Mapping[str, Any] = json.loads((bundle.path / DESCRIPTION).read_text(encoding="utf-8"))
    return {
        "model": f"{bundle.id} {bundle.version}",
        "weights_sha256": bundle.weights_sha256,
        "network": bundle.network,
        "training_data": bundle.training_data,
        "data": data,
        "software": f"PALNetLandmarks {__version__}",
        "training": dict(described.get("training", {})),
        "mean_landmarks": bundle.mean_landmarks.round(3).tolist(),
    }


def full_summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return all figures of an evaluation as JSON values: errors, distances and angles, asymmetry."""
    summary = summarise(list(evaluation.results), evaluation.protocol)
    if evaluation.done:
        summary |= measurement_summary(evaluation)
        slopes = pair_slopes(*evaluation.positions(), evaluation.protocol)
        summary["asymmetry"] = {_pair_name(slope): _slope_values(slope) for slope in slopes}
    return summary


def write_evaluation(folder: Path, evaluation: Evaluation, subjects: Mapping[str, Subject] | None) -> dict[str, Any]:
    """Write results, tables and report of an evaluation into a folder; returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {k: v for k, v in evaluation.information.items() if k != "mean_landmarks"}
    summary: dict[str, Any] = json_values({"name": evaluation.name, **facts, **full_summary(evaluation)})
    with atomic_write(folder / "errors.csv") as file:
        file.write(errors_table(evaluation.results, evaluation.protocol))
    with atomic_write(folder / "summary.json") as file:
        json.dump(summary, file, indent=1, ensure_ascii=False)
    write_report(folder, evaluation, subjects)
    write_results(folder / RESULTS, evaluation)
    return summary


def json_values(value: Any) -> Any:
    """Round figures to four decimals, and put null in the place of what is no number: JSON knows no NaN.

    Examples
    --------
    >>> json_values({"a": [1.23456, float("nan")]})
    {'a': [1.2346, None]}
    """
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: json_values(item) for key, item in value.items()}
    return [json_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def subjects_of(scans: Scans, protocol: Protocol) -> dict[str, Subject]:
    """Return each scan that can be read, by its name."""
    found = {}
    for folder in scans.folders:
        try:
            found[folder.name] = read_subject(folder, protocol, scans.reader)
        except LandmarkingError:
            continue  # it is among the failures already
    return found


def part_of(scans: Scans, split: Path | None, part: str, count: int | None = None) -> Scans:
    """Return the scans to evaluate: all, or one part of a split.

    Raises
    ------
    InputError
        If a scan of the split is not there: leaving it out would change the figures in silence.
    """
    found = scans.folders
    if split is not None:
        wanted = read_split(split).part(part)
        place = {folder.name: folder for folder in found}
        absent = [name for name in wanted if name not in place]
        if absent or not wanted:
            raise InputError(
                f"'{absent[0]}' of the split is not in the data set." if absent else f"The split has no {part} part.",
                "Give the data set that the split was made of." if absent else "Train with --test-share.",
                code="split.missing",
            )
        found = tuple(place[name] for name in wanted)
    return Scans(found[:count], scans.reader)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    bundle = load_bundle(options.model)
    scans = part_of(scans_of_options(options), options.split, options.part, options.count)
    evaluation = evaluate_bundle(bundle, scans, options.jobs, options.name or "", options.data.name)
    subjects = None if options.no_pictures else subjects_of(scans, bundle.protocol)
    summary = write_evaluation(options.output, evaluation, subjects)
    left_out = ("landmarks", "asymmetry", "training")
    print(json.dumps({key: value for key, value in summary.items() if key not in left_out}, indent=1))
    return 0


def _pair_name(slope: PairSlope) -> str:
    if slope.right:
        return f"{slope.right}-{slope.left}"
    return "all pairs with a surface feature" if slope.feature else "all pairs"


def _slope_values(slope: PairSlope) -> dict[str, Any]:
    return {
        "scans": slope.scans,
        "true_mm": _number(slope.true_mm),
        "plane": [_number(value) for value in slope.plane],
        "frame_free": [_number(value) for value in slope.frame_free],
    }


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
