"""``python -m training_tools repeatability``: compare two annotations of the same scans.

FIRST and SECOND are folders of landmark files, matched by subject: S0001.mrk.json (or .txt, .csv, .tps) or
S0001/landmarks.txt. Writes repeatability.txt, landmarks.csv, measurements.csv and differences.csv into OUTPUT.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.observer_files import difference_table, read_folder
from PALNetLandmarksLib.spreadsheet import write_table
from training_tools.datasets.opening import find_protocol

TEXT, LANDMARKS, MEASUREMENTS, DIFFERENCES = "repeatability.txt", "landmarks.csv", "measurements.csv", "differences.csv"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training_tools repeatability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="FIRST", type=Path, help="folder with the first annotation")
    parser.add_argument("second", metavar="SECOND", type=Path, help="folder with the second annotation")
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables")
    parser.add_argument("--protocol", help="landmarks: face50 (default), face68, or the path of your own protocol")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code: 3 when a file could not be used, the others being compared."""
    options = _parser().parse_args(arguments)
    from training_tools.check_command import prepare_output
    from training_tools.repeatability import (
        landmark_rows,
        measurement_rows,
        refuse_same_folder,
        repeatability,
        summary_text,
    )

    protocol = find_protocol(options.protocol)
    refuse_same_folder(str(options.first.resolve()), str(options.second.resolve()))
    first, second = (read_folder(folder, protocol) for folder in (options.first, options.second))
    result = repeatability(first.cases, second.cases)
    problems = [
        f"{name}: {problem}" for name, sets in (("first", first), ("second", second)) for problem in sets.problems
    ]
    prepare_output(options.output)
    text = summary_text(result, problems)
    with atomic_write(options.output / TEXT) as stream:
        stream.write(text)
    for name, table in (
        (LANDMARKS, landmark_rows(result)),
        (MEASUREMENTS, measurement_rows(result)),
        (DIFFERENCES, difference_table(result.comparison)),
    ):
        write_table(options.output / name, *table)
    print(text, end="")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return InputError.exit_code if problems else 0
