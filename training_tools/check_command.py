"""``python -m training_tools check``: look a data set over before training.

Writes subjects.csv, findings.csv and check.html (pictures; needs no network) into OUTPUT. Nothing in the data set is
changed and no subject is left out. Exit code 0 when there is no problem, 3 when something has to be put right first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PALNetLandmarksLib.engine.processes import end_with_parent
from PALNetLandmarksLib.errors import DeviceError, InputError, UsageError
from PALNetLandmarksLib.files import atomic_write, raise_write_error
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import write_table
from training_tools.datasets.examining import DOUBT, PROBLEM, Examined
from training_tools.datasets.opening import Dataset, add_dataset_arguments, dataset_of, find_protocol

SUBJECTS, FINDINGS, PAGE = "subjects.csv", "findings.csv", "check.html"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training_tools check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables and the page")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--pictures", type=int, default=40, help="most flagged subjects to show (default 40; 0: no pictures)"
    )
    return parser


def prepare_output(folder: Path) -> None:
    """Make a folder and make sure that it can be written to, before any work is done.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    InputError
        When it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".palnet-probe.tmp"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise_write_error(error, folder)


def examine_all(dataset: Dataset, protocol: Protocol, jobs: int = 1) -> Iterator[Examined]:
    """Look at each subject.

    Parameters
    ----------
    dataset : Dataset
    protocol : Protocol
    jobs : int
        Processes.

    Yields
    ------
    Examined
        In the order of the data set.

    Raises
    ------
    DeviceError
        When a process ended unexpectedly.
    """
    from training_tools.datasets.examining import examine

    work = partial(examine, reader=dataset.reader, protocol=protocol)
    if jobs == 1 or len(dataset.places) < 2:
        yield from map(work, dataset.places)
        return
    try:
        with ProcessPoolExecutor(min(jobs, len(dataset.places)), get_context("spawn"), end_with_parent) as pool:
            yield from pool.map(work, dataset.places, chunksize=4)
    except BrokenProcessPool as error:
        raise DeviceError(
            "A process ended unexpectedly, often for lack of memory.",
            "Run the command again with fewer --jobs.",
            code="check.process",
        ) from error


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.jobs < 1 or options.pictures < 0:
        raise UsageError("--jobs must be at least 1, --pictures at least 0.", "Give other numbers.")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one core for each process
    protocol = find_protocol(options.protocol)
    dataset = dataset_of(options)
    if options.data.resolve() in (options.output.resolve(), *options.output.resolve().parents):
        raise UsageError(
            "The output folder lies in the data set, where it would be taken for a subject.", "Choose another one."
        )
    prepare_output(options.output)

    from training_tools.datasets.bundled_mean import bundled_mean
    from training_tools.datasets.judging import judge
    from training_tools.datasets.page import check_page, finding_table, subject_table

    subjects = []
    for subject in examine_all(dataset, protocol, options.jobs):
        subjects.append(subject)
        if sys.stderr.isatty():
            print(f"\r{len(subjects)}/{len(dataset.places)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    judgement = judge(subjects, protocol, bundled_mean(protocol))
    for finding in judgement.findings:
        if finding.level in (PROBLEM, DOUBT):
            print(f"{finding.subject or '(all)'}: {finding.level}: {finding.message}")
    write_table(options.output / SUBJECTS, *subject_table(subjects, judgement, protocol.labels))
    write_table(options.output / FINDINGS, *finding_table(judgement.findings))
    text = check_page(dataset.reader, protocol, subjects, judgement, options.pictures)
    with atomic_write(options.output / PAGE) as stream:
        stream.write(text)
    levels = Counter(finding.level for finding in judgement.findings)
    concerned = {finding.subject for finding in judgement.findings if finding.level == PROBLEM and finding.subject}
    print(
        f"{len(subjects)} subjects ({dataset.reader.format}, {protocol.id}): {levels[PROBLEM]} problems in "
        f"{len(concerned)} of them, {levels[DOUBT]} doubts. Tables and pictures: {SUBJECTS}, {FINDINGS}, {PAGE}."
    )
    return InputError.exit_code if levels[PROBLEM] else 0
