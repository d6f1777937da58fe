"""The report as one HTML file that needs nothing but itself, and one CSV file for each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.report_html import Row, element, figures, listing, page, table
from PALNetLandmarksLib.spreadsheet import write_table
from training_tools.asymmetry_slopes import pair_slopes
from training_tools.dataset import Subject
from training_tools.report import svg, tables
from training_tools.report.cases import case_pictures
from training_tools.report.tables import Table
from training_tools.results_file import Evaluation

RESEARCH_USE = "Research use only. Not a medical device, not for diagnosis."
CURVE_MM = 10.0
WIDE = "<style>body{max-width:1100px}svg{margin:2mm 0}.scroll{overflow-x:auto}</style>"


def html_table(one: Table) -> str:
    """Return a table with its heading and note as HTML."""
    parts = [element("h2", one.title)]
    if one.rows:
        numbers = range(one.words, len(one.header))
        header = [name.replace("_", " ") for name in one.header]
        parts.append(f'<div class="scroll">{table(header, [Row(row) for row in one.rows], numbers=numbers)}</div>')
    if one.note:
        parts.append(element("p", one.note, "note"))
    return "\n".join(parts)


def write_csv(folder: Path, one: Table) -> None:
    """Write a table as a CSV file named after it."""
    write_table(folder / f"{one.name}.csv", one.header, one.rows)


def success_curve(evaluations: Sequence[Evaluation]) -> str:
    """Draw the share of landmarks within each distance; what failed counts as not within."""
    limits = np.linspace(0.0, CURVE_MM, 101)
    series = []
    for one in evaluations:
        values = np.sort(one.errors()[np.isfinite(one.errors())])
        shown = sum(int(result.visible.sum()) for result in one.results)
        share = 100.0 * np.searchsorted(values, limits, side="right") / max(shown, 1)
        series.append(svg.Series(one.name, limits, share))
    return svg.line_chart(series, "error, mm", "landmarks within, %", "Share of landmarks within a distance")


def bland_altman(evaluation: Evaluation) -> str:
    """Draw distances between landmarks of the midline, the right and the left side (the paper's figure 5)."""
    charts = []
    for side in ("midline", "right", "left"):
        true, predicted = tables.group_distances(evaluation, side)
        if len(true) > 1:
            charts.append(svg.bland_altman_chart(0.5 * (true + predicted), predicted - true, side, f"{side} distances"))
    return "".join(charts)


def landmark_bars(evaluations: Sequence[Evaluation], title: str) -> str:
    """Draw the mean error of each landmark for one or more models, with the observer's own."""
    protocol = evaluations[0].protocol
    values = []
    for one in evaluations:
        errors = one.errors()
        means = [float(c[np.isfinite(c)].mean()) if np.isfinite(c).any() else np.nan for c in errors.T]
        values.append((one.name, np.array(means)))
    observer = np.array([np.nan if m.intra_observer_mm is None else m.intra_observer_mm for m in protocol.landmarks])
    marks = ("observer", observer) if np.isfinite(observer).any() else None
    return svg.bar_chart(protocol.labels, values, "mean error, mm", title, marks)


def report_tables(evaluation: Evaluation, seed: int = 0) -> list[Table]:
    """Return the tables of a report in their order."""
    predicted, truth = evaluation.positions()
    slopes = pair_slopes(predicted, truth, evaluation.protocol, seed)
    made = [
        tables.landmark_table(evaluation),
        tables.ear_table(evaluation),
        tables.success_table(evaluation),
        tables.failure_table(evaluation),
        tables.fold_table(evaluation),
        tables.measurement_table(evaluation) if evaluation.protocol.measurements else None,
        tables.asymmetry_table(slopes) if slopes else None,
        tables.runtime_table(evaluation),
    ]
    return [one for one in made if one is not None]


def write_report(
    folder: Path, evaluation: Evaluation, subjects: Mapping[str, Subject] | None = None, seed: int = 0
) -> Path:
    """Write ``report.html`` and a CSV file for each table.

    Parameters
    ----------
    folder : Path
    evaluation : Evaluation
    subjects : mapping, optional
        The scans by their names, for the pictures of cases; without it there are none.
    seed : int
        Of the confidence intervals.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = report_tables(evaluation, seed)
    matrix = tables.pair_matrix(evaluation)
    for one in (*made, tables.matrix_table(matrix, evaluation.protocol)):
        write_csv(folder, one)
    figures_after = {
        "landmarks": lambda: landmark_bars([evaluation], "Mean error of each landmark"),
        "success": lambda: success_curve([evaluation]),
        "measurements": lambda: _distance_figures(evaluation, matrix),
    }
    parts = [element("h1", f"Evaluation of {evaluation.name}"), element("p", RESEARCH_USE, "research")]
    parts.append(_facts(evaluation))
    for one in made:
        parts.append(html_table(one))
        if one.name in figures_after and evaluation.done:
            parts.append(f'<div class="scroll">{figures_after[one.name]()}</div>')
    if subjects is not None:
        pictures, problem = case_pictures(evaluation, subjects)
        parts += [element("h2", "Best, median and worst case (figure 7 of the paper)"), figures(pictures)]
        parts += [element("p", problem, "note")] if problem else []
    path = folder / "report.html"
    with atomic_write(path) as file:
        file.write(page(f"Evaluation of {evaluation.name}", WIDE + "\n".join(parts)))
    return path


def _distance_figures(evaluation: Evaluation, matrix: np.ndarray) -> str:
    return "".join([
        element("h3", "Error of the distance between each two landmarks (figure 4 of the paper)"),
        svg.matrix_chart(matrix, evaluation.protocol.labels, "mm", "Mean absolute error of all distances"),
        element("h3", "Predicted and true distances on the midline, the right and the left side (figure 5)"),
        bland_altman(evaluation),
    ])  # fmt: skip


def _facts(evaluation: Evaluation) -> str:
    information = evaluation.information
    errors = evaluation.errors()
    errors = errors[np.isfinite(errors)]
    pairs = [
        ("scans", f"{len(evaluation.results)}, of which {len(evaluation.failed)} failed"),
        ("mean point error", f"{errors.mean():.2f} mm" if len(errors) else "none"),
        ("landmarks", f"{evaluation.protocol.title} ({len(evaluation.protocol)})"),
    ]
    names = {"model": "model", "weights_sha256": "SHA-256 of the weights", "data": "data", "software": "software",
             "network": "network", "training_data": "training data"}  # fmt: skip
    pairs += [(words, str(information[key])) for key, words in names.items() if information.get(key)]
    return listing(pairs)
