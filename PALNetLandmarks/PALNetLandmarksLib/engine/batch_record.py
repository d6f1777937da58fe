"""What a batch remembers on the disk: which case is which scan, and how each ended. Enough to go on after a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from PALNetLandmarksLib.batch_tables import KEY_FILE, REVIEW_FILE, STATUS_FILE
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import read_text, sole_writer
from PALNetLandmarksLib.spreadsheet import parse_table, write_table

LOCK_FILE = ".palnet-batch.lock"
_DAMAGED = "Move the damaged table away to begin anew, or restore it from a backup."


@dataclass(frozen=True)
class CaseStatus:
    """How one case ended; every field is text, as in the table.

    Parameters
    ----------
    case : str
        Name of the case.
    status : str
        ``done``, ``failed`` or ``waiting``.
    exit_code, code, message, hint : str
        Of the error; ``0`` and empty when done.
    verdict, fitness, inlier_rms_mm : str
        Of the registration.
    missing_points : str
        Number of landmarks without a position.
    warnings : str
        Codes, with ``;`` between.
    seconds : str
        Time taken.
    scan_sha256, model_id, model_sha256, bundle_sha256, settings : str
        What the result rests on; a case is done only as long as these are the same.
    finished_utc : str
        When it ended.
    """

    case: str
    status: str = "waiting"
    exit_code: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""
    verdict: str = ""
    fitness: str = ""
    inlier_rms_mm: str = ""
    missing_points: str = ""
    warnings: str = ""
    seconds: str = ""
    scan_sha256: str = ""
    model_id: str = ""
    model_sha256: str = ""
    bundle_sha256: str = ""
    settings: str = ""
    finished_utc: str = ""


_COLUMNS = tuple(field.name for field in fields(CaseStatus))


def name_cases(scans: Sequence[str], known: Mapping[str, str], *, from_names: bool = False) -> dict[str, str]:
    """Give every scan a case name that stays the same when scans are added later.

    Parameters
    ----------
    scans : sequence of str
        Paths relative to the batch's folder, in order.
    known : mapping of str to str
        Case by scan, from an earlier run.
    from_names : bool
        Whether to use the scans' own names (for files that have pseudonyms as names) instead of C0001, C0002, ….

    Returns
    -------
    dict of str to str
        Case by scan.

    Raises
    ------
    UsageError
        When the scans' own names are not unique.
    """
    cases: dict[str, str] = {}
    taken = {case.casefold() for case in known.values()}
    number = 0
    for scan in scans:
        if scan in known:
            cases[scan] = known[scan]
            continue
        if from_names:
            parts = Path(scan).with_suffix("").parts
            case = " ".join("_".join(parts).split())
            if case.casefold() in taken:
                raise UsageError(
                    f"Two scans would have the case id '{case}'.",
                    "Rename one, or leave --case-from-name out.",
                    code="batch.case",
                )
        else:
            number = max(number + 1, 1)
            while f"c{number:04d}" in taken:
                number += 1
            case = f"C{number:04d}"
        taken.add(case.casefold())
        cases[scan] = case
    return cases


def read_key(folder: Path) -> dict[str, str]:
    """Read the case of every scan from an earlier run; empty when there was none."""
    return {row["scan"]: row["case"] for row in _read(folder / KEY_FILE, ("case", "scan"))}


def write_key(folder: Path, cases: Mapping[str, str]) -> None:
    """Write which case is which scan."""
    write_table(folder / KEY_FILE, ("case", "scan"), [(case, scan) for scan, case in cases.items()])


def read_statuses(folder: Path) -> dict[str, CaseStatus]:
    """Read how the cases of an earlier run ended; empty when there was none."""
    rows = _read(folder / STATUS_FILE, ("case", "status"))
    return {row["case"]: CaseStatus(**{name: row.get(name, "") for name in _COLUMNS}) for row in rows}


def write_statuses(folder: Path, statuses: Mapping[str, CaseStatus]) -> None:
    """Write how the cases ended so far."""
    write_table(folder / STATUS_FILE, _COLUMNS, [list(asdict(status).values()) for status in statuses.values()])


def read_reviewed(folder: Path) -> set[str]:
    """Read which cases a person has looked through; empty when there are none."""
    return {row["case"] for row in _read(folder / REVIEW_FILE, ("case",))}


def _read(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    header, rows = parse_table(read_text(path, what="table of a batch"), path.name)
    if not set(needed) <= set(header):
        raise InputError(f"{path.name} is not a table of a batch.", _DAMAGED, code="batch.table")
    return [row for _, row in rows]


def batch_lock(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keep a second batch out of the same output folder."""
    return sole_writer(
        folder / LOCK_FILE,
        "Another batch is writing to this output folder.",
        "Wait for it, or choose another folder.",
        "batch.locked",
    )
