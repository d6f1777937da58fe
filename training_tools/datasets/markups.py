"""A folder of scans, each with a point list of the same name: what the Slicer module saves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmark_files import read_landmark_file, read_landmarks
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.reader import Annotation, Layout, recorded_unit, scans_in, the_scan

ENDING = ".mrk.json"


@dataclass(frozen=True)
class Markups(Layout):
    """``S001.ply`` (any scan format) and ``S001.mrk.json``.

    Positions in ``.mrk.json`` are always millimetres, LPS or RAS as the file says; where the file records the unit of
    the scan it was made on, the scan is read in that unit.
    """

    format: ClassVar[str] = "markups"

    def recognises(self, folder: Path) -> bool:
        """Say whether there is any point list."""
        return any(_lists(folder))

    def places(self, folder: Path) -> list[Path]:
        """List the names of all scans and all point lists, whether or not they have a partner."""
        names = {path.stem for path in scans_in(folder)} | {path.name[: -len(ENDING)] for path in _lists(folder)}
        return [folder / name for name in sorted(names)]

    def has_landmarks(self, place: Path) -> bool:
        """Say whether the scan has a point list."""
        return _list(place).is_file()

    def scan(self, place: Path) -> Path:
        """Give the scan of this name."""
        scans = [path for path in scans_in(place.parent) if path.stem == place.name]
        if not scans:
            raise InputError(
                f"{_list(place).name} has no scan of the same name.",
                f"Put {place.name}.ply (or .obj, .stl, .vtp) beside it, or move it out of the data set.",
                code="dataset.mesh",
            )
        return the_scan(scans, place)

    def scan_unit(self, place: Path, protocol: Protocol) -> str:
        """Give the unit that the point list records of its scan, else that of the data set."""
        if not self.has_landmarks(place):
            return self.unit
        try:
            return recorded_unit(read_landmarks(_list(place), protocol)) or self.unit
        except InputError:  # said when the landmarks themselves are read
            return self.unit

    def landmarks(self, place: Path, protocol: Protocol) -> Annotation:
        """Read the point list."""
        if not self.has_landmarks(place):
            raise InputError(
                f"The scan '{place.name}' has no {_list(place).name}.",
                "Annotate it and save the landmarks under that name, or move it out of the data set.",
                code="dataset.landmarks",
            )
        content = read_landmark_file(_list(place), protocol)
        return Annotation(content.cases["case"], content.warnings, unit="mm")


def _list(place: Path) -> Path:
    return place.with_name(place.name + ENDING)


def _lists(folder: Path) -> Iterable[Path]:
    return (path for path in folder.glob(f"*{ENDING}") if not path.name.startswith(".") and path.is_file())
