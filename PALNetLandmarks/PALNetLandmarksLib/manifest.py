"""The manifest beside exported files: how each set came about, and the SHA-256 of every file, as JSON.

A manifest holds a list of exports, as files of one case may be written one after the other: a new export takes the
place of the files that it replaces, and files that are gone or have changed since are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Optional

from . import __version__
from .errors import InputError
from .files import atomic_write, file_sha256, read_text
from .landmarks import LandmarkSet, utc_text

MANIFEST = ".manifest.json"
BATCH_MANIFEST = f"batch{MANIFEST}"
FORMAT, VERSION = "palnet-landmarks manifest", 1
#: Endings that are taken off a file's name to get its manifest's; what stands behind them is the same case.
_ENDINGS = (".mrk.json", ".csv", ".txt", ".tps", ".png", ".html")
_LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True)
class ManifestFile:
    """A file of an export: its name without a folder, SHA-256 in hexadecimal digits, and size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Export:
    """Files that were written together.

    Parameters
    ----------
    command : str
        What wrote them: ``predict``, ``batch``, ``measure``, ``convert`` or ``export`` (the Slicer module).
    written_utc, software_version : str
        When, and by which version of the program.
    cases : mapping of str to mapping
        Record of each case, as :meth:`LandmarkSet.record` gives it.
    files : tuple of ManifestFile
    """

    command: str
    written_utc: str
    software_version: str
    cases: Mapping[str, Mapping[str, str]]
    files: tuple[ManifestFile, ...]


def manifest_beside(output: Path) -> Path:
    """Give the manifest's path of a file.

    Examples
    --------
    >>> manifest_beside(Path("K7.mrk.json")).name
    'K7.manifest.json'
    """
    name = output.name
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
            break
    return output.with_name(name + MANIFEST)


def write_manifest(
    path: Path,
    cases: Mapping[str, LandmarkSet],
    files: Sequence[Path],
    *,
    command: str,
    now: Optional[datetime] = None,
    earlier: Optional[Path] = None,
) -> None:
    """Write the manifest of files that were just written; it appears whole or not at all.

    Parameters
    ----------
    path : Path
        File to write.
    cases : mapping of str to LandmarkSet
        What the files were made of, by case identifier.
    files : sequence of Path
        All in the manifest's folder.
    command : str
        What wrote them.
    now : datetime, optional
        Time of the export; default: now.
    earlier : Path, optional
        The manifest to go on with; default: the one that is there.

    Raises
    ------
    InputError
        When a file cannot be read or the manifest cannot be written.
    """
    present = [ManifestFile(file.name, *_digest(file)) for file in files]
    records = {case: landmarks.record(now) for case, landmarks in cases.items()}
    export = Export(command, utc_text(now), f"PALNetLandmarks {__version__}", records, tuple(present))
    exports = [*_still_true(path if earlier is None else earlier, {file.name for file in present}), export]
    document = {"format": FORMAT, "version": VERSION, "exports": [_plain(item) for item in exports]}
    with atomic_write(path) as stream:
        stream.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_manifests(
    cases: Mapping[str, LandmarkSet], outputs: Sequence[Path], *, command: str, now: Optional[datetime] = None
) -> list[Path]:
    """Write a manifest into each folder that files were written to, named after the first file there.

    Parameters
    ----------
    cases : mapping of str to LandmarkSet
        What the files were made of.
    outputs : sequence of Path
        The files, in the order in which they were asked for.
    command, now
        As in :func:`write_manifest`.

    Returns
    -------
    list of Path
        The manifests.
    """
    folders: dict[Path, list[Path]] = {}
    for output in outputs:
        folders.setdefault(output.parent.resolve(), []).extend(files_of_output(output))
    written = []
    for files in folders.values():
        written.append(manifest_beside(files[0]))
        write_manifest(written[-1], cases, files, command=command, now=now)
    return written


def files_of_output(output: Path) -> list[Path]:
    """List a file and what lies beside it: a landmarks.txt has its record there."""
    from .landmark_files import RECORD_SUFFIX

    if output.name.lower().endswith(".txt"):
        return [output, output.with_name(output.name[: -len(".txt")] + RECORD_SUFFIX)]
    return [output]


def read_manifest(path: Path) -> list[Export]:
    """Read a manifest.

    Raises
    ------
    InputError
        When it cannot be read or is none; code ``manifest.content`` for the latter.
    """
    text = read_text(path, what="manifest", max_bytes=_LARGEST)
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            _refuse(path, "it is none")
        if document["version"] != VERSION:
            _refuse(path, "a newer version of the program wrote it")
        return [_export(item, path) for item in document["exports"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(path, "it is damaged") from error


def state_of(folder: Path, file: ManifestFile) -> str:
    """Say whether a listed file is ``whole``, ``changed`` or ``missing``."""
    try:
        return "whole" if _digest(folder / file.name)[0] == file.sha256 else "changed"
    except InputError:
        return "missing"


def _export(item: Mapping[str, Any], path: Path) -> Export:
    files = []
    for entry in item["files"]:
        name = entry["name"]
        # Only names: a manifest from elsewhere must not make us look at other folders.
        if not isinstance(name, str) or name != Path(name).name or name in ("", ".", "..") or "\\" in name:
            _refuse(path, "it names a file in another folder")
        files.append(ManifestFile(name, str(entry["sha256"]), int(entry["bytes"])))
    cases = {
        str(case): {str(key): str(value) for key, value in record.items()} for case, record in item["cases"].items()
    }
    command, written, software = (str(item[key]) for key in ("command", "written_utc", "software_version"))
    return Export(command, written, software, cases, tuple(files))


def _plain(export: Export) -> dict[str, Any]:
    return {
        "command": export.command,
        "written_utc": export.written_utc,
        "software_version": export.software_version,
        "cases": {case: dict(record) for case, record in export.cases.items()},
        "files": [{"name": file.name, "sha256": file.sha256, "bytes": file.size} for file in export.files],
    }


def _still_true(path: Path, replaced: set[str]) -> list[Export]:
    """Give the exports of an earlier manifest with those of their files that are still as they were."""
    if not path.is_file():
        return []
    try:
        exports = read_manifest(path)
    except InputError:
        return []  # it says nothing any more; the files themselves do
    kept = []
    for item in exports:
        files = [file for file in item.files if file.name not in replaced and state_of(path.parent, file) == "whole"]
        if files:
            kept.append(Export(item.command, item.written_utc, item.software_version, item.cases, tuple(files)))
    return kept


def _digest(path: Path) -> tuple[str, int]:
    try:
        return file_sha256(path), path.stat().st_size
    except OSError as error:
        raise InputError(
            f"{path.name} could not be read ({error.strerror}).", "Check the file and try again.", code="file.read"
        ) from error


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(
        f"{path.name} cannot be used as a manifest: {problem}.",
        "Give a manifest that the program wrote, or one of the exported files.",
        code="manifest.content",
    )


def _refuse(path: Path, problem: str) -> NoReturn:
    raise _unusable(path, problem)
