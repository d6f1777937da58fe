"""``python -m training_tools compare``: several models or cross-validations on the same scans."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.report_html import element, page
from training_tools.comparison import (
    comparison_table,
    landmark_comparison_table,
    on_common_scans,
    paired_difference,
)
from training_tools.evaluate_command import evaluate_bundle, part_of, subjects_of, write_evaluation
from training_tools.report.page import RESEARCH_USE, WIDE, html_table, landmark_bars, success_curve, write_csv
from training_tools.results_file import RESULTS, Evaluation, read_results
from training_tools.scan_sources import add_scan_arguments, scans_of_options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools compare", description=__doc__)
    parser.add_argument("models", nargs="+", help="results of 'evaluate' or 'cross-validate', or bundles with --data; "
                        "the first is the baseline")  # fmt: skip
    add_scan_arguments(parser, required=False)
    parser.add_argument("--split", type=Path, help="split.json of a training: only its test scans")
    parser.add_argument("--output", required=True, type=Path, help="folder for comparison.html and CSV files")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the confidence intervals")
    return parser


def evaluation_of(model: str, options: argparse.Namespace) -> Evaluation:
    """Return the results in a folder, or evaluate a bundle; its results are kept and not computed twice."""
    if (Path(model) / RESULTS).is_file():
        return read_results(Path(model))
    bundle = load_bundle(model)
    if options.data is None:
        raise UsageError(
            f"'{bundle.id}' is a model, not results.", "Give --data with the scans to evaluate it on.",
            code="compare.data",
        )  # fmt: skip
    scans = part_of(scans_of_options(options), options.split, "test")
    kept = options.output / f"{bundle.id}-{bundle.weights_sha256[:8]}"
    if (kept / RESULTS).is_file():
        before = read_results(kept)
        if before.subjects == tuple(folder.name for folder in scans.folders):
            return before
    evaluation = evaluate_bundle(bundle, scans, options.jobs, data=options.data.name)
    write_evaluation(kept, evaluation, subjects_of(scans, bundle.protocol))
    return evaluation


def named_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Give a number to models that are called the same."""
    named: list[Evaluation] = []
    for one in evaluations:
        taken, name, number = {other.name for other in named}, one.name, 2
        while name in taken:
            name, number = f"{one.name} ({number})", number + 1
        named.append(replace(one, name=name))
    return named


def write_comparison(output: Path, evaluations: Sequence[Evaluation], seed: int = 0) -> str:
    """Write ``comparison.html`` and CSV files; returns the main result in words, a line for each model.

    Raises
    ------
    InputError
        If the models were not evaluated on the same scans.
    """
    if len(evaluations) < 2:
        raise InputError("One model alone cannot be compared.", "Name two or more.", code="compare.one")
    common = on_common_scans(named_apart(evaluations))
    left_out = [len(one.results) - len(common[0].results) for one in evaluations]
    pairs = [paired_difference(common[0], other, seed) for other in common[1:]]
    tables = [comparison_table(common, pairs), landmark_comparison_table(common, pairs)]
    output.mkdir(parents=True, exist_ok=True)
    for one in tables:
        write_csv(output, one)
    title = "Comparison of models"
    facts = f"{len(common[0].results)} scans that all models were tested on"
    if any(left_out):
        facts += "; not common and left out: " + ", ".join(
            f"{count} of {one.name}" for one, count in zip(common, left_out, strict=True) if count
        )
    parts = [WIDE, element("h1", title), element("p", RESEARCH_USE, "research"), element("p", facts + ".")]
    parts += [html_table(tables[0]), success_curve(common), html_table(tables[1])]
    parts.append(f'<div class="scroll">{landmark_bars(common, "Mean error of each landmark")}</div>')
    with atomic_write(output / "comparison.html") as file:
        file.write(page(title, "\n".join(parts)))
    lines = [facts]
    for pair in pairs:
        value, low, high = pair.difference
        lines.append(
            f"{pair.name}: {pair.mean_mm:.3f} mm against {pair.baseline_mm:.3f} mm of {common[0].name}: "
            f"{value:+.3f} mm (95 % {low:+.3f} to {high:+.3f}), {pair.percent.value:+.1f} %; "
            f"failed {pair.failed} against {pair.baseline_failed}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if len(options.models) < 2:
        raise UsageError("One model alone cannot be compared.", "Name two or more.", code="compare.one")
    print(write_comparison(options.output, [evaluation_of(model, options) for model in options.models], options.seed))
    return 0
