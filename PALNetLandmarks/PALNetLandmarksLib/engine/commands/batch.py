"""Place the landmarks on every scan in a folder (and the folders in it).

OUTPUT gets a .mrk.json file for each case, tables over all cases (measurements.csv, landmarks.csv, asymmetry.csv),
status.csv (how each case ended) and cases.csv (which case is which scan: the only one with file names; keep it apart).
An error in one case does not stop the others. Landmarks that were corrected by hand are never replaced.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PALNetLandmarksLib.engine.commands.common import LAYOUTS, add_model_arguments, positive_integer, set_threads
from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.errors import InputError, UsageError

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.batch_record import CaseStatus

HELP = "place the landmarks on a folder of scans"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="folder with scans")
    parser.add_argument(
        "--output", metavar="FOLDER", required=True, help="folder for the results; made if it is not there"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an earlier batch: finished cases are kept")
    again.add_argument("--overwrite", action="store_true", help="do an earlier batch again")
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        default=1,
        metavar="N",
        help="processes side by side (default: 1); each takes about 1 GB of memory",
    )
    parser.add_argument("--images", action="store_true", help="make a picture of each case")
    parser.add_argument(
        "--measurements-layout",
        choices=LAYOUTS,
        default="wide",
        help="one row per measurement, or one row per case (default: wide)",
    )
    parser.add_argument(
        "--case-from-name",
        action="store_true",
        help="use the files' names as case ids; only for names that are pseudonyms",
    )
    parser.add_argument(
        "--progress",
        choices=("bar", "json"),
        default="bar",
        help="how to tell what is going on: a bar on a terminal, or for programs one JSON object a line on standard "
        "error, with event 'begun' and the cases, then 'case' for each (default: bar)",
    )
    add_model_arguments(parser)


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Do the batch and say how it went."""
    folder, output = Path(options.folder), Path(options.output)
    if folder.is_dir() and output.exists() and output.resolve() == folder.resolve():
        raise UsageError("The output folder is the folder of the scans.", "Choose another one.", code="output.input")
    set_threads(options.threads)
    from PALNetLandmarksLib.engine.batch import run_batch
    from PALNetLandmarksLib.engine.batch_case import BatchSettings

    settings = BatchSettings(
        folder=folder,
        output=output,
        model=options.model,
        device=options.device,
        threads=options.threads,
        unit=options.unit,
        seed=options.seed,
        images=options.images,
        layout=options.measurements_layout,
        case_from_name=options.case_from_name,
        resume=options.resume,
        overwrite=options.overwrite,
        jobs=options.jobs,
    )

    as_lines = options.progress == "json"

    def begun(cases: Sequence[str]) -> None:
        if as_lines:
            console.event({"event": "begun", "cases": cases})

    def report(done: int, count: int, status: CaseStatus) -> None:
        if as_lines:
            console.event({"event": "case", "done": done, "count": count, **dataclasses.asdict(status)})
            return
        if status.status == "failed":
            console.warning(f"{status.case}: {status.message} {status.hint}")
        console.progress(f"{done} of {count} cases", done / count)

    console.progress("loading", 0.0)
    statuses = run_batch(settings, report, begun=begun)
    failed = [status for status in statuses if status.status != "done"]
    console.summary(f"{len(statuses) - len(failed)} of {len(statuses)} cases done, {len(failed)} failed.")
    console.summary(f"Results in {output}. Research use only.")
    return Outcome(
        InputError.exit_code if failed else 0,
        {
            "done": len(statuses) - len(failed),
            "failed": len(failed),
            "cases": [dataclasses.asdict(status) for status in statuses],
            "output": str(output),
        },
    )
