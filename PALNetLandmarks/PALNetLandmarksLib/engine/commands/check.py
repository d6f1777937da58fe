"""Say what a scan file holds and whether landmarks can be placed on it, without placing any."""

from __future__ import annotations

import argparse
import dataclasses

from PALNetLandmarksLib.engine.commands.common import UNITS
from PALNetLandmarksLib.engine.commands.console import Console, Outcome

HELP = "say whether a scan can be used, and what is odd about it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scan", metavar="SCAN", help="OBJ, PLY, STL, VTP, VTK, OFF, GLB or glTF file")
    parser.add_argument(
        "--unit",
        choices=UNITS,
        default="auto",
        help="unit of the scan's coordinates (default: told from the size of the face)",
    )


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Read the scan and tell about it."""
    console.progress("reading", 0.1)
    from PALNetLandmarksLib.engine.reading import read_scan
    from PALNetLandmarksLib.engine.scan_check import check_scan

    scan = read_scan(options.scan, options.unit)
    facts = check_scan(scan)
    for sentence in facts.sentences:
        console.print(sentence)
    warnings = [{"code": item.code, "message": item.message} for item in scan.warnings]
    return Outcome(0, {**dataclasses.asdict(facts), "sha256": scan.sha256, "warnings": warnings})
