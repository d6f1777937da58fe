"""Folders of landmark files as two observers leave them, and tables of how far they agree."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import __version__
from .errors import InputError, LandmarkingError
from .files import PathLike
from .landmark_files import FORMATS, landmark_format, read_landmark_file
from .landmarks import LandmarkSet, utc_text
from .observers import Agreement, Comparison
from .protocol import Protocol
from .spreadsheet import number_text, write_table

Table = tuple[list[str], list[list[str]]]
_DECIMALS = 3
#: Name of a landmark file that lies in a folder of its own, named after the case.
_OWN_FOLDER = "landmarks"
_OTHER_PROTOCOL = "made with protocol "


@dataclass(frozen=True)
class FolderSets:
    """Landmark sets of a folder.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        By case identifier, in natural order (S2 before S10).
    problems : tuple of str
        Files that could not be used, each with the reason.
    """

    cases: Mapping[str, LandmarkSet]
    problems: tuple[str, ...] = ()


def read_folder(folder: PathLike, protocol: Protocol) -> FolderSets:
    """Read the landmark sets of one observer.

    Files in the folder are named after their cases (``S0001.mrk.json``), or each case has a folder of its own
    (``S0001/landmarks.txt``). Tables and TPS files may hold many cases. Where a folder has files of several formats,
    only the first of these counts: ``.mrk.json``, ``.txt``, ``.csv``, ``.tps``.

    Parameters
    ----------
    folder : str or PathLike
        The folder; hidden files are left out.
    protocol : Protocol
        The landmarks to look for.

    Returns
    -------
    FolderSets
        Sets by case. A file that cannot be used, or was made with another protocol, is listed among the problems.

    Raises
    ------
    InputError
        When there is no such folder, or no set of landmarks in it.
    """
    steps = reading_folder(folder, protocol)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def reading_folder(folder: PathLike, protocol: Protocol) -> Generator[tuple[int, int], None, FolderSets]:
    """Read the landmark sets of one observer file by file, so that a panel stays alive meanwhile.

    Parameters
    ----------
    folder, protocol
        As for :func:`read_folder`.

    Yields
    ------
    (int, int)
        Files read, and files in all.

    Returns
    -------
    FolderSets
        As of :func:`read_folder`, with the same errors.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"There is no folder '{place.name}'.", "Choose a folder.", code="compare.folder")
    try:
        files = _landmark_files(place)
    except OSError as error:
        raise InputError(
            f"The folder '{place.name}' could not be read ({error.strerror}).", "Choose another one.", code="file.read"
        ) from error
    found: dict[str, LandmarkSet] = {}
    problems: list[str] = []
    for count, (case, file) in enumerate(files):
        yield count, len(files)
        _read_file(case, file, protocol, found, problems)
    if not found:
        listed = f" {problems[0]}" if problems else ""
        raise InputError(
            f"There are no landmarks in the folder '{place.name}'.{listed}",
            f"It needs one landmark file per case, ending in {', '.join(FORMATS)}.",
            code="compare.folder",
        )
    return FolderSets({case: found[case] for case in sorted(found, key=_natural)}, tuple(problems))


def _read_file(case: str, file: Path, protocol: Protocol, found: dict[str, LandmarkSet], problems: list[str]) -> None:
    """Add the sets of one file to those found, or what is wrong with it to the problems."""
    try:
        content = read_landmark_file(file, protocol)
    except LandmarkingError as error:
        problems.append(error.message)
        return
    other = [warning for warning in content.warnings if warning.startswith(_OTHER_PROTOCOL)]
    if other:
        problems.append(f"{case}: {other[0]}; left out.")
        return
    inside = list(content.cases.items())
    # A format without identifiers calls its only case "case": then the file's name says which one it is.
    named = inside if landmark_format(file) in (".csv", ".tps") and len(inside) > 1 else [(case, inside[0][1])]
    for name, landmarks in named:
        if name in found:
            problems.append(f"{file.name}: the case {name} is there twice; left out.")
        else:
            found[name] = landmarks


def landmark_table(comparison: Comparison, now: datetime | None = None) -> Table:
    """Make the table of agreement: one row per landmark, and one for all together.

    Parameters
    ----------
    comparison : Comparison
        Two sets for each of C cases.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        Landmark, counts, distances, differences along the axes, and what is recorded of the comparison.
    rows : list of list of str
        Cells; empty where there is nothing to compare.
    """
    axes = comparison.axes
    header = ["label", "name", "n", "missing_first", "missing_second", "missing_both"]
    header += ["mean_mm", "sd_mm", "max_mm", "dahlberg_mm"]
    header += [f"{kind}_{axis}_mm" for kind in ("bias", "sd", "dahlberg") for axis in axes]
    recorded, tail = _record(comparison, now)
    names = [landmark.name for landmark in comparison.protocol.landmarks]
    rows = [
        [*_agreement_cells(item, name), *tail]
        for item, name in zip((*comparison.landmarks(), comparison.overall()), (*names, "all landmarks"))
    ]
    return [*header, *recorded], rows


def measurement_table(comparison: Comparison, now: datetime | None = None) -> Table:
    """Make the table of agreement of the measurements (Bland and Altman): one row per measurement.

    Parameters
    ----------
    comparison : Comparison
        Two sets for each of C cases.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        Measurement, unit, number of cases, bias, SD of the differences, limits of agreement, Dahlberg error, record.
    rows : list of list of str
        Cells; SD and limits are empty with fewer than 2 cases.
    """
    header = ["id", "kind", "group", "unit", "n", "missing", "bias", "sd", "lower_limit", "upper_limit", "dahlberg"]
    recorded, tail = _record(comparison, now)
    rows = []
    for place, item in enumerate(comparison.protocol.measurements):
        result = comparison.measurement(place)
        numbers = _numbers((result.bias, result.sd, *result.limits, result.dahlberg))
        counts = [str(result.count), str(result.left_out)]
        rows.append([item.id, item.kind, item.group, item.unit, *counts, *numbers, *tail])
    return [*header, *recorded], rows


def difference_table(comparison: Comparison, now: datetime | None = None) -> Table:
    """Make the table of single differences, for statistics of one's own: one row per case and landmark.

    Parameters
    ----------
    comparison : Comparison
        Two sets for each of C cases.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    header : list of str
        Case, landmark, who has it, distance, difference second - first along the axes, record.
    rows : list of list of str
        Cells; empty where a landmark is missing.
    """
    header = ["case", "label", "there", "distance_mm", *(f"difference_{axis}_mm" for axis in comparison.axes)]
    recorded, tail = _record(comparison, now)
    rows = []
    distance, difference = comparison.distance, comparison.difference
    for c, case in enumerate(comparison.cases):
        for place, label in enumerate(comparison.protocol.labels):
            there = [int(not math.isnan(points[c, place, 0])) for points in (comparison.first, comparison.second)]
            who = ("neither", "first", "second", "both")[there[0] + 2 * there[1]]
            rows.append([case, label, who, *_numbers((distance[c, place], *difference[c, place])), *tail])
    return [*header, *recorded], rows


def write_comparison(folder: PathLike, comparison: Comparison, *, now: datetime | None = None) -> tuple[str, ...]:
    """Write the three tables of a comparison into a folder; each file appears whole or not at all.

    Parameters
    ----------
    folder : str or PathLike
        Where to write; the files are replaced.
    comparison : Comparison
        Two sets for each of C cases.
    now : datetime, optional
        Time of the export; default: now.

    Returns
    -------
    tuple of str
        Names of the files: :data:`FILES`.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    for name, table in zip(FILES, (landmark_table, measurement_table, difference_table)):
        write_table(Path(folder) / name, *table(comparison, now))
    return FILES


#: Names of the tables that :func:`write_comparison` writes.
FILES = ("comparison_landmarks.csv", "comparison_measurements.csv", "comparison_differences.csv")


def _landmark_files(folder: Path) -> list[tuple[str, Path]]:
    """List cases and files: those in the folder, or else those in folders of their own."""
    direct = _of_one_format(_visible(folder))
    if direct:
        return [(_case(file), file) for file in direct]
    found = []
    for sub in _visible(folder):
        if sub.is_dir():
            files = _visible(sub)
            own = _of_one_format([file for file in files if _case(file).lower() == _OWN_FOLDER]) or _of_one_format(
                files
            )
            found += [(sub.name if len(own) == 1 else _case(file), file) for file in own]
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(
        (Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith(".")),
        key=lambda path: _natural(path.name),
    )


def _of_one_format(paths: Iterable[Path]) -> list[Path]:
    files = [path for path in paths if path.is_file()]
    for ending in FORMATS:
        chosen = [path for path in files if path.name.lower().endswith(ending)]
        if chosen:
            return chosen
    return []


def _case(file: Path) -> str:
    """Give the case that a file is named after."""
    ending = next((ending for ending in FORMATS if file.name.lower().endswith(ending)), "")
    return file.name[: len(file.name) - len(ending)]


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that counts numbers in names as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def _agreement_cells(item: Agreement, name: str) -> list[str]:
    counts = (item.count, item.missing_first, item.missing_second, item.missing_both)
    numbers = (item.mean_mm, item.sd_mm, item.max_mm, item.dahlberg_mm)
    along = (*item.bias_mm, *item.axis_sd_mm, *item.axis_dahlberg_mm)
    return [item.label or "all", name, *(str(count) for count in counts), *_numbers((*numbers, *along))]


def _numbers(values: Iterable[float]) -> list[str]:
    return [number_text(float(value), _DECIMALS) for value in values]


def _record(comparison: Comparison, now: datetime | None) -> tuple[list[str], list[str]]:
    """Say what was compared: the same in every row, as comment lines would break spreadsheets."""
    record = {
        "cases": str(len(comparison.cases)),
        "cases_only_first": " ".join(comparison.only_first),
        "cases_only_second": " ".join(comparison.only_second),
        "difference_is": "second - first",
        "axes": " ".join(comparison.axes),
        "protocol_id": comparison.protocol.id,
        "protocol_version": comparison.protocol.version,
        "software_version": f"PALNetLandmarks {__version__}",
        "exported_utc": utc_text(now),
        "warnings": " ".join(comparison.warnings),
    }
    return list(record), list(record.values())
