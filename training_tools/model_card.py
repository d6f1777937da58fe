"""The model card: what a model is, what it was trained on, how far off it is, what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PALNetLandmarksLib.protocol import Protocol


def model_card(description: Mapping[str, Any], protocol: Protocol, weight_bytes: int) -> str:
    """Write the model card as Markdown.

    Parameters
    ----------
    description : mapping
        The fields of ``bundle.json``.
    protocol : Protocol
    weight_bytes : int
        Size of the weights' file.
    """
    metrics, training = description["metrics"], description["training"]
    confidence = metrics.get("confidence", {})
    within = ", ".join(f"{100 * share:.1f} % within {limit} mm" for limit, share in metrics["share_within_mm"].items())
    rows = [
        f"| {label} | {_mm(entry['mean_mm'])} | {_mm(entry['sd_mm'])} | {entry['scans']} |"
        for label, entry in metrics["landmarks"].items()
    ]
    return "\n".join([
        f"# {description['title']}",
        "",
        "**Research use only. Not a medical device, not for diagnosis.** Look at every landmark before you rely on it, "
        "and retrain on scans of your own scanner before you draw conclusions.",
        "",
        f"- Model: `{description['id']}`, version {description['version']}, network "
        f"`{description['network']['name']}`, {weight_bytes / 1e6:.1f} MB of weights, licence {description['licence']}",
        f"- Protocol: {protocol.title} ({len(protocol)} landmarks)",
        f"- Training data: {description['training_data']}",
        f"- Trained on {training['training_scans']} scans for {training['epochs']} epochs (seed {training['seed']}); "
        f"best epoch and calibration chosen on {training['validation_scans']} other scans",
        *([f"- Shape regression fitted to {training['shape_scans']} others"] if "shape_scans" in training else []),
        "",
        "## Measured on test scans",
        "",
        f"{metrics['scans']} scans of identities seen nowhere else, each in an arbitrary pose, through the "
        f"whole program; {metrics['failed']} failed (refused registration) and are not in the means. Landmarks whose "
        "surface the scan does not show are left out.",
        "",
        f"- Mean point error {metrics['mean_mm']:.2f} mm, median {metrics['median_mm']:.2f} mm, 95th percentile "
        f"{metrics['p95_mm']:.2f} mm; worst scan {metrics['worst_scan_mm']:.2f} mm",
        f"- {within}",
        f"- Captured landmarks wrongly reported missing: {100 * metrics['visible_reported_missing']:.2f} %; covered or "
        f"uncaptured ones reported missing: {100 * metrics['hidden_reported_missing']:.1f} %",
        *_further(metrics),
        *([f"- Expected error: of the errors above 4 mm, {100 * confidence['large_among_least_confident']:.0f} % are "
           "among the 20 % least confident landmarks"] if confidence else []),
        "",
        "These figures tell how the model does on simulated scans like those it was trained on. Real scans differ."
        if "simulat" in description["training_data"].lower() else
        "These figures hold for scans like the test scans; other scanners and populations differ.",
        "",
        "| landmark | mean error, mm | SD, mm | scans |",
        "|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def _further(metrics: Mapping[str, Any]) -> list[str]:
    """Return lines on failures, ears, distances, angles and asymmetry, as far as they were measured."""
    lines = []
    with_failures = metrics.get("share_within_mm_with_failures")
    if with_failures and metrics["failed"]:
        within = ", ".join(f"{100 * share:.1f} % within {limit} mm" for limit, share in with_failures.items())
        lines.append(f"- With failed scans and left-out landmarks counted as wrong: {within}")
    if metrics.get("mean_without_ears_mm") is not None:
        lines.append(f"- Mean point error without the points round the ears: {metrics['mean_without_ears_mm']:.2f} mm")
    if metrics.get("distances_relative_error_percent") is not None:
        lines.append(
            f"- Distances of the paper's table 4: mean error {metrics['distances_mean_error_mm']:.2f} mm "
            f"({metrics['distances_relative_error_percent']:.1f} %)"
        )
    if metrics.get("angles_error_degrees") is not None:
        lines.append(f"- Angles of the paper's table 5: mean error {metrics['angles_error_degrees']:.2f}°")
    slopes = metrics.get("asymmetry", {}).get("all pairs with a surface feature")
    if slopes and slopes["plane"][0] is not None:
        plane, free = slopes["plane"], slopes["frame_free"]
        lines.append(
            f"- Left–right differences are shown at {_interval(plane)} of their true size after the midplane and at "
            f"{_interval(free)} measured without a plane (1 is honest; pairs with a surface feature)"
        )
    return lines


def _interval(values: list[float | None]) -> str:
    value, low, high = ("?" if number is None else f"{number:.2f}" for number in values)
    return f"{value} ({low}–{high})"


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
