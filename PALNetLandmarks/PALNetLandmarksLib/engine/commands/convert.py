"""Convert landmarks between .mrk.json (3D Slicer), .txt (LAFAS), .csv and .tps."""

from __future__ import annotations

import argparse

from PALNetLandmarksLib.engine.commands.common import (
    LAYOUTS,
    add_overwrite_argument,
    case_name,
    check_landmark_ending,
    check_outputs,
)
from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.engine.commands.measure import read_cases
from PALNetLandmarksLib.errors import UsageError

HELP = "convert a landmark file to another format"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("input", metavar="IN", help="landmark file to read")
    parser.add_argument("output", metavar="OUT", help="landmark file to write; the ending gives the format")
    parser.add_argument(
        "--case",
        type=case_name,
        metavar="ID",
        help="your name for the case, or which case to take from a file with several",
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="long", help="kind of CSV table (default: long)")
    parser.add_argument("--coordinate-system", choices=("LPS", "RAS"), help="turn the points to this frame")
    parser.add_argument("--protocol", metavar="P", help="folder or JSON file of your own landmark protocol")
    add_overwrite_argument(parser)


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Read and write."""
    check_landmark_ending(options.output)
    output = check_outputs({"OUT": options.output}, inputs=(options.input,), overwrite=options.overwrite)["OUT"]
    cases = read_cases([options.input], None, options.protocol, console)
    if options.case is not None:
        if options.case in cases:
            cases = {options.case: cases[options.case]}
        elif len(cases) == 1:
            cases = {options.case: next(iter(cases.values()))}
        else:
            message = f"The file has no case '{options.case}'."
            raise UsageError(message, f"It has {', '.join(list(cases)[:5])}.", code="landmarks.case")
    if options.coordinate_system:
        cases = {case: landmarks.in_coordinate_system(options.coordinate_system) for case, landmarks in cases.items()}
    from PALNetLandmarksLib.landmark_files import write_landmark_cases, write_landmarks
    from PALNetLandmarksLib.manifest import write_manifests

    if len(cases) == 1:
        case, landmarks = next(iter(cases.items()))
        write_landmarks(output, landmarks, case=case, layout=options.layout)
    else:
        write_landmark_cases(output, cases, layout=options.layout)
    write_manifests(cases, [output], command="convert")
    missing = sum(int(landmarks.missing.sum()) for landmarks in cases.values())
    points = sum(len(landmarks.protocol) for landmarks in cases.values())
    console.summary(f"{output}: {points - missing} landmarks, {missing} missing")
    return Outcome(0, {"cases": list(cases), "landmarks": points, "missing": missing, "output": str(output)})
