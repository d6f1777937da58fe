"""``python -m training_tools evaluate``: measure a model on annotated scans."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.protocol import Protocol
from training_tools.dataset import list_subjects
from training_tools.evaluation import ScanResult, evaluate, summarise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools evaluate", description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="test scans in LAFAS layout")
    parser.add_argument("--model", help="bundle's folder (default: the bundled one)")
    parser.add_argument("--output", required=True, type=Path, help="folder for errors.csv and summary.json")
    parser.add_argument("--count", type=int, help="only the first so many scans")
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def errors_table(results: list[ScanResult], protocol: Protocol) -> str:
    """Return the errors as CSV text: a row for each scan, a column for each landmark, mm; empty where not counted."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject", "failure", "registration_mm", "seconds", *protocol.labels])
    for result in results:
        counted = np.where(result.visible & result.found, result.error_mm, np.nan)
        cells = ["" if not np.isfinite(value) else f"{value:.3f}" for value in counted]
        writer.writerow([
            result.subject, result.failure, f"{result.registration_mm:.2f}", f"{result.seconds:.3f}", *cells,
        ])  # fmt: skip
    return text.getvalue()


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    bundle = load_bundle(options.model)
    folders = list_subjects(options.data)[: options.count]
    results = []
    for result in evaluate(bundle.path, folders, options.jobs):
        results.append(result)
        print(f"\r{len(results)}/{len(folders)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    summary = {"model": bundle.id, "weights_sha256": bundle.weights_sha256, **summarise(results, bundle.protocol)}
    options.output.mkdir(parents=True, exist_ok=True)
    with atomic_write(options.output / "errors.csv") as file:
        file.write(errors_table(results, bundle.protocol))
    with atomic_write(options.output / "summary.json") as file:
        json.dump(summary, file, indent=1)
    print(json.dumps({key: value for key, value in summary.items() if key != "landmarks"}, indent=1))
    return 0
