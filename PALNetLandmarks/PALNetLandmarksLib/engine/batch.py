"""Landmarks for a folder of scans, one after the other, so that it can be stopped and gone on with at any time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PALNetLandmarksLib.batch_tables import KEY_FILE, LANDMARKS, PICTURE, STATUS_FILE, read_case, write_tables
from PALNetLandmarksLib.engine.batch_case import BatchSettings, CaseRunner, Job
from PALNetLandmarksLib.engine.batch_record import (
    CaseStatus,
    batch_lock,
    name_cases,
    read_key,
    read_reviewed,
    read_statuses,
    write_key,
    write_statuses,
)
from PALNetLandmarksLib.engine.processes import as_completed
from PALNetLandmarksLib.engine.reading import EXTENSIONS
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import file_sha256, raise_write_error
from PALNetLandmarksLib.manifest import BATCH_MANIFEST

if TYPE_CHECKING:
    pass

#: Statuses that stand for a person's work, which a batch never replaces.
_BY_HAND = ("corrected", "placed")

Report = Callable[[int, int, CaseStatus], None]
Begun = Callable[[Sequence[str]], None]


def find_scans(folder: Path, without: Path | None = None) -> list[str]:
    """List the scans in a folder and the folders in it.

    Parameters
    ----------
    folder : Path
        Where to look. Hidden files and folders, and folders behind symbolic links, are left out.
    without : Path, optional
        A folder inside it that is left out: the batch's own output.

    Returns
    -------
    list of str
        Paths relative to `folder`, with ``/``, in natural order (S2 before S10).

    Raises
    ------
    InputError
        When there is no such folder, or no scan in it.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder.name}'.", "Check the name.", code="batch.folder")
    skipped = os.path.realpath(without) if without is not None else ""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != skipped
        ]
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                found.append(os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/"))
    if not found:
        endings = ", ".join(EXTENSIONS)
        raise InputError("There are no scans in this folder.", f"Scans end in {endings}.", code="batch.empty")
    return sorted(found, key=_natural)


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that counts numbers in names as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def run_batch(
    settings: BatchSettings,
    report: Report | None = None,
    *,
    begun: Begun | None = None,
    runner: Callable[[BatchSettings], CaseRunner] = CaseRunner,
) -> list[CaseStatus]:
    """Place the landmarks on every scan of a folder.

    An error in one case is written down and the next one is begun. The tables ``cases.csv`` and ``status.csv`` are
    brought up to date after every case; the tables over all cases are made at the end of what is in the output folder,
    so that points that were corrected by hand in the meantime count.

    Parameters
    ----------
    settings : BatchSettings
    report : callable, optional
        Called after each case with the number of cases done, of all cases, and the status.
    begun : callable, optional
        Called with the names of all cases when they are known and written down.
    runner : callable
        Makes what does single cases.

    Returns
    -------
    list of CaseStatus
        One for each scan, in order.

    Raises
    ------
    UsageError
        When the output folder holds an earlier run and neither `resume` nor `overwrite` is set.
    InputError
        When there are no scans, or the output folder cannot be written to.
    BundleError, DeviceError
        When the model cannot be used.
    """
    scans = find_scans(settings.folder, settings.output)
    _make_folder(settings.output)
    with batch_lock(settings.output):
        earlier = [name for name in (KEY_FILE, STATUS_FILE) if (settings.output / name).exists()]
        if earlier and not (settings.resume or settings.overwrite):
            raise UsageError(
                "The output folder holds an earlier batch.",
                "Add --resume to go on with it, or --overwrite to do it again.",
                code="batch.exists",
            )
        names = {scan: _text_of(scan) for scan in scans}
        known = read_key(settings.output)
        cases = name_cases(list(names.values()), known, from_names=settings.case_from_name)
        write_key(settings.output, {**known, **cases})
        jobs = [Job(cases[names[scan]], settings.folder / scan, scan) for scan in scans]
        if begun is not None:
            begun([job.case for job in jobs])
        return _run_jobs(settings, jobs, report or (lambda done, count, status: None), runner)


def _text_of(scan: str) -> str:
    """Give a file name as text that can be written; bytes that are no text are shown by their numbers."""
    return " ".join(scan.encode("utf-8", "backslashreplace").decode("utf-8").split())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / ".palnet-probe.tmp"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise_write_error(error, folder)


def _run_jobs(
    settings: BatchSettings, jobs: Sequence[Job], report: Report, make_runner: Callable[[BatchSettings], CaseRunner]
) -> list[CaseStatus]:
    runner = make_runner(settings)
    before = read_statuses(settings.output)
    statuses = {**before, **{job.case: before.get(job.case, CaseStatus(job.case)) for job in jobs}}
    reviewed = read_reviewed(settings.output)
    todo, done = [], 0
    for job in jobs:
        kept = _kept(settings, job, statuses[job.case], runner, job.case in reviewed)
        if kept is None:
            statuses[job.case] = CaseStatus(job.case)
            todo.append(job)
        else:
            statuses[job.case] = kept
            done += 1
            report(done, len(jobs), kept)
    write_statuses(settings.output, statuses)
    if todo:  # until the end it would tell of files that are replaced
        (settings.output / BATCH_MANIFEST).unlink(missing_ok=True)
    try:
        for status in _results(settings, todo, runner, make_runner):
            statuses[status.case] = status
            write_statuses(settings.output, statuses)
            done += 1
            report(done, len(jobs), status)
    finally:
        write_tables(settings.output, [job.case for job in jobs], runner.protocol, settings.layout)
    return [statuses[job.case] for job in jobs]


def _kept(
    settings: BatchSettings, job: Job, status: CaseStatus, runner: CaseRunner, reviewed: bool
) -> CaseStatus | None:
    """Give the status of a case that is not to be done (again); None for one that is."""
    landmarks = settings.output / (job.case + LANDMARKS)
    if not landmarks.exists():
        return None
    found = read_case(landmarks, runner.protocol)
    same_scan = status.scan_sha256 == _sha256(job.scan)
    if found is None:  # it may still be somebody's work
        return _not_replaced(status, "batch.unreadable", "Its landmark file cannot be read.", landmarks.name)
    if reviewed or any(found.count(name) for name in _BY_HAND):
        if same_scan:
            return replace(status, status="done", exit_code="0", code="", message="", hint="")
        message = "The scan is another one than that on which its landmarks were corrected by hand."
        return _not_replaced(status, "batch.corrected", message, landmarks.name)
    same = (
        same_scan
        and status.status == "done"
        # Weights alone do not decide: a model has a reference, settings, perhaps a shape regression.
        and status.bundle_sha256 == runner.model[2]
        and status.settings == settings.fingerprint
    )
    return status if same and settings.resume and (not settings.images or _has_picture(settings, job)) else None


def _not_replaced(status: CaseStatus, code: str, message: str, name: str) -> CaseStatus:
    return replace(
        status,
        status="failed",
        exit_code=str(InputError.exit_code),
        code=code,
        message=f"{message} It is kept as it is.",
        hint=f"To predict it again, move {name} away.",
    )


def _has_picture(settings: BatchSettings, job: Job) -> bool:
    return (settings.output / (job.case + PICTURE)).exists()


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _results(
    settings: BatchSettings,
    jobs: Sequence[Job],
    runner: CaseRunner,
    make_runner: Callable[[BatchSettings], CaseRunner],
) -> Iterable[CaseStatus]:
    """Do the cases, here or in several processes."""
    if settings.jobs == 1 or len(jobs) < 2:
        return (runner.run(job) for job in jobs)
    return _side_by_side(settings, jobs, make_runner)


_runner: CaseRunner | None = None  # of a process of the pool


def _start_process(settings: BatchSettings, make_runner: Callable[[BatchSettings], CaseRunner]) -> None:
    global _runner
    _runner = make_runner(settings)


def _run_here(job: Job) -> CaseStatus:
    assert _runner is not None
    return _runner.run(job)


def _side_by_side(
    settings: BatchSettings, jobs: Sequence[Job], make_runner: Callable[[BatchSettings], CaseRunner]
) -> Iterator[CaseStatus]:
    share = settings.threads or max(1, (os.cpu_count() or 1) // settings.jobs)
    return as_completed(
        _run_here,
        jobs,
        settings.jobs,
        initializer=_start_process,
        initargs=(replace(settings, threads=share), make_runner),
        hint="Run it again with --resume and fewer --jobs.",
        code="batch.process",
    )
