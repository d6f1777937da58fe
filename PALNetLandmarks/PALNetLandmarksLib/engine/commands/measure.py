"""Compute distances, angles, indices and asymmetry of landmark files.

Without --output and --asymmetry the measurements are printed as a table.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.engine.commands.common import (
    LAYOUTS,
    add_overwrite_argument,
    case_name,
    check_ending,
    check_outputs,
    read_protocol,
)
from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.errors import UsageError

if TYPE_CHECKING:
    from PALNetLandmarksLib.landmarks import LandmarkSet

HELP = "measure landmark files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("landmarks", metavar="LANDMARKS", nargs="+", help=".mrk.json, .txt, .csv or .tps file")
    parser.add_argument("--output", metavar="F.csv", help="distances, angles and indices")
    parser.add_argument("--asymmetry", metavar="F.csv", help="differences of right and left")
    parser.add_argument(
        "--layout",
        "--measurements-layout",
        choices=LAYOUTS,
        default="long",
        help="one row per measurement, or one row per case (default: long)",
    )
    parser.add_argument(
        "--case", action="append", type=case_name, metavar="ID", help="your name for the case; once for each file"
    )
    parser.add_argument("--protocol", metavar="P", help="folder or JSON file of your own landmark protocol")
    add_overwrite_argument(parser)


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Measure and write or print."""
    check_ending("--output", options.output, ".csv")
    check_ending("--asymmetry", options.asymmetry, ".csv")
    outputs = check_outputs(
        {"--output": options.output, "--asymmetry": options.asymmetry},
        inputs=options.landmarks,
        overwrite=options.overwrite,
    )
    cases = read_cases(options.landmarks, options.case, options.protocol, console)
    from PALNetLandmarksLib.export import write_asymmetry, write_measurements
    from PALNetLandmarksLib.manifest import write_manifests
    from PALNetLandmarksLib.measurements import measure

    if "--output" in outputs:
        write_measurements(outputs["--output"], cases, layout=options.layout)
    if "--asymmetry" in outputs:
        write_asymmetry(outputs["--asymmetry"], cases)
    write_manifests(cases, list(outputs.values()), command="measure")
    facts: list[dict[str, Any]] = []
    for case, landmarks in cases.items():
        values = measure(landmarks)
        facts.append(
            {
                "case": case,
                "measurements": [
                    {"id": item.id, "value": values.values[place], "unit": item.unit, "flags": values.flags(place)}
                    for place, item in enumerate(landmarks.protocol.measurements)
                ],
            }
        )
        if not outputs:
            console.print(_table(case, facts[-1]["measurements"]))
    for option, path in outputs.items():
        console.summary(f"{option[2:]:9s} {path} ({len(cases)} case{'s' if len(cases) != 1 else ''})")
    return Outcome(0, {"cases": facts, "outputs": {option[2:]: str(path) for option, path in outputs.items()}})


def read_cases(
    files: list[str], names: list[str] | None, protocol_path: str | None, console: Console
) -> dict[str, LandmarkSet]:
    """Read landmark files, each with one case or several, and name the cases.

    Parameters
    ----------
    files : list of str
        Landmark files.
    names : list of str, optional
        One name for each file; only for files with one case.
    protocol_path : str, optional
        The user's protocol.
    console : Console
        For warnings.

    Returns
    -------
    dict of str to LandmarkSet
        Sets by case.

    Raises
    ------
    UsageError
        When names and cases do not fit together.
    """
    from PALNetLandmarksLib.landmark_files import read_landmark_file

    if names is not None and len(names) != len(files):
        message = f"There are {len(files)} files and {len(names)} case ids."
        raise UsageError(message, "Give --case once for each file, or leave it out.", code="case.count")
    protocol = read_protocol(protocol_path)
    cases: dict[str, LandmarkSet] = {}
    for number, file in enumerate(files, start=1):
        content = read_landmark_file(file, protocol)
        for text in content.warnings:
            console.warning(text)
        found = dict(content.cases)
        if names is not None:
            if len(found) != 1:
                message = f"A file with {len(found)} cases cannot take one case id."
                raise UsageError(message, "Leave --case out: the file names its cases.", code="case.count")
            found = {names[number - 1]: next(iter(found.values()))}
        elif list(found) == ["case"] and len(files) > 1:
            found = {f"case{number:03d}": found["case"]}
        for case, landmarks in found.items():
            if case in cases:
                raise UsageError(
                    f"The case id '{case}' is there twice.",
                    "Give each case its own with --case.",
                    code="landmarks.case",
                )
            cases[case] = landmarks
    return cases


def _table(case: str, rows: list[dict[str, Any]]) -> str:
    lines = ["case\tmeasurement\tvalue\tunit\tflags"]
    for row in rows:
        shown = "" if math.isnan(row["value"]) else f"{row['value']:.2f}"
        lines.append(f"{case}\t{row['id']}\t{shown}\t{row['unit']}\t{' '.join(row['flags'])}")
    return "\n".join(lines)
