"""``python -m training_tools export``: make a model bundle of a finished training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from PALNetLandmarksLib.engine.bundle import load_bundle, verify_bundle, write_bundle
from PALNetLandmarksLib.errors import BundleError
from training_tools.calibration import error_scale, visibility_limit
from training_tools.dataset import list_subjects
from training_tools.evaluation import ScanResult, evaluate, summarise
from training_tools.model_card import model_card
from training_tools.reference_file import read_reference

MAXIMUM_DISTANCE_MM = 8.0
BORDER_MARGIN_MM = 4.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools export", description=__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder of the training")
    parser.add_argument("--validation", required=True, type=Path, help="scans to calibrate the expected error on")
    parser.add_argument("--test", required=True, type=Path, help="scans to report on, of people seen nowhere else")
    parser.add_argument("--output", required=True, type=Path, help="folder of the bundle")
    parser.add_argument("--id", help="the model's name (default: name of the output folder)")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--title", required=True)
    parser.add_argument("--training-data", required=True, help="the training data in words; appears in every export")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--projection", default="surface", choices=("surface", "nearest_vertex", "vertex_centroid"))
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def _evaluated(bundle: Path, data: Path, jobs: int, what: str) -> list[ScanResult]:
    folders = list_subjects(data)
    results = []
    for result in evaluate(bundle, folders, jobs):
        results.append(result)
        print(f"\r{what} {len(results)}/{len(folders)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    run = json.loads((options.run / "run.json").read_text(encoding="utf-8"))
    weights = (options.run / "best.safetensors").read_bytes()
    face = read_reference(options.run / "reference.safetensors")
    count = len(face.landmarks)
    description: dict[str, Any] = {
        "id": options.id or options.output.name,
        "version": options.version,
        "title": options.title,
        "network": run["network"],
        "protocol": run["protocol"],
        "projection": {"kind": options.projection, "count": 10},
        "confidence": {"scale": np.ones(count).tolist()},
        "missing": {
            "distance_mm": MAXIMUM_DISTANCE_MM, "border_margin_mm": BORDER_MARGIN_MM, "visible_probability": 0.0,
        },
        "training_data": options.training_data,
        "training": {key: run[key] for key in ("training_scans", "validation_scans", "epochs", "seed")},
        "metrics": {},
        "licence": options.licence,
    }  # fmt: skip

    def write(card: str) -> None:
        write_bundle(options.output, description, weights, face.reference, face.landmarks, card)

    write("Not calibrated yet.\n")
    validation = _evaluated(options.output, options.validation, options.jobs, "calibration")
    description["confidence"]["scale"] = [round(float(value), 4) for value in error_scale(validation)]
    description["missing"]["visible_probability"] = round(visibility_limit(validation), 4)
    write("Not evaluated yet.\n")
    protocol = load_bundle(options.output).protocol
    summary = summarise(_evaluated(options.output, options.test, options.jobs, "test"), protocol)
    description["metrics"] = _rounded(summary)
    write(model_card(description, protocol, len(weights)))
    problems = verify_bundle(options.output)
    if problems:
        raise BundleError(problems[0], "Export it again.", code="bundle.export")
    print(json.dumps({key: value for key, value in description["metrics"].items() if key != "landmarks"}, indent=1))
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
