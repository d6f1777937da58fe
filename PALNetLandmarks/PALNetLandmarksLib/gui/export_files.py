"""The files of an export: what they are called, which are there already, and writing all of them or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.export import write_asymmetry, write_measurements
from PALNetLandmarksLib.files import raise_write_error, sweep_temporary
from PALNetLandmarksLib.landmark_files import write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.manifest import MANIFEST, write_manifest
from PALNetLandmarksLib.report import write_report

from .text import _

REPORT = "report"
#: Kinds of file and the endings that they put behind the identifier. A landmarks.txt has its record beside it.
KINDS: dict[str, tuple[str, ...]] = {
    "long": ("_measurements.csv",),
    "wide": ("_measurements_wide.csv",),
    "asymmetry": ("_asymmetry.csv",),
    "markups": (".mrk.json",),
    "lafas": (".txt", ".record.json"),
    "tps": (".tps",),
    REPORT: ("_report.html",),
}


def files_of(identifier: str, kinds: Sequence[str]) -> list[str]:
    """Give the names of the files that an export writes.

    Parameters
    ----------
    identifier : str
        The case's, checked.
    kinds : sequence of str
        Keys of :data:`KINDS`.

    Returns
    -------
    list of str
        Names without their folder.
    """
    return [identifier + ending for kind in kinds for ending in KINDS[kind]]


def existing(folder: str, names: Sequence[str]) -> list[str]:
    """Say which files are there already.

    Parameters
    ----------
    folder : str
        Where to write.
    names : sequence of str
        Names of files.

    Returns
    -------
    list of str
        Those that are there.

    Raises
    ------
    InputError
        When nothing is to be written, or there is no such folder.
    """
    if not names:
        raise InputError(_("No kind of file is ticked."), _("Tick what to export."), code="export.nothing")
    if not folder:
        raise InputError(_("No folder is chosen."), _("Choose the folder to write to."), code="export.folder")
    if not Path(folder).is_dir():
        raise InputError(
            _("The folder does not exist."), _("Choose another one, or create it first."), code="export.folder"
        )
    there = [name for name in names if (Path(folder) / name).exists()]
    folders = [name for name in there if (Path(folder) / name).is_dir()]
    if folders:
        raise InputError(
            _("A folder is called {name}, as a file to be written.").format(name=folders[0]),
            _("Choose another folder, or another case identifier."),
            code="export.folder",
        )
    return there


def write_files(
    folder: str, identifier: str, landmarks: LandmarkSet, kinds: Sequence[str], report: str
) -> tuple[str, ...]:
    """Write the files of an export and their manifest: all of them, or none when one of them fails.

    Parameters
    ----------
    folder : str
        Where to write; files that are there are replaced.
    identifier : str
        The case's, checked.
    landmarks : LandmarkSet
        In the frame that the files are to have.
    kinds : sequence of str
        Keys of :data:`KINDS`.
    report : str
        The report as HTML; used when it is among the kinds.

    Returns
    -------
    tuple of str
        Names of the files, the manifest last. An earlier manifest goes on with what it says of other files.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    names = files_of(identifier, kinds)
    sweep_temporary(folder)  # what an export left that was ended in the middle
    try:
        # Beside the target, so that moving the finished files there cannot fail half-way for want of space.
        waiting = Path(tempfile.mkdtemp(prefix=".palnet-", suffix=".tmp", dir=folder))
    except OSError as error:
        raise_write_error(error, Path(folder) / names[0])
    try:
        for kind in kinds:
            _write(waiting / (identifier + KINDS[kind][0]), kind, identifier, landmarks, report)
        manifest, made = identifier + MANIFEST, [waiting / name for name in names]
        earlier = Path(folder) / manifest
        write_manifest(waiting / manifest, {identifier: landmarks}, made, command="export", earlier=earlier)
        names.append(manifest)
        _move_all(waiting, Path(folder), names)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return tuple(names)


def _write(file: Path, kind: str, identifier: str, landmarks: LandmarkSet, report: str) -> None:
    if kind in ("long", "wide"):
        write_measurements(file, landmarks, case=identifier, layout=kind)
    elif kind == "asymmetry":
        write_asymmetry(file, landmarks, case=identifier)
    elif kind == REPORT:
        write_report(file, report)
    else:
        write_landmarks(file, landmarks, case=identifier)


def _move_all(waiting: Path, folder: Path, names: Sequence[str]) -> None:
    """Move finished files into place; what was there before comes back when one of them cannot be replaced."""
    before = waiting / "before"
    before.mkdir()
    moved: list[str] = []
    name = names[0]
    try:
        for name in names:
            if (folder / name).exists():
                shutil.copy2(folder / name, before / name)
        for name in names:
            os.replace(waiting / name, folder / name)
            moved.append(name)
    except OSError as error:
        for done in moved:
            with contextlib.suppress(OSError):
                if (before / done).exists():
                    os.replace(before / done, folder / done)
                else:
                    (folder / done).unlink()
        # On Windows a file that is open elsewhere, for instance in a spreadsheet, cannot be replaced.
        raise_write_error(error, folder / name)
