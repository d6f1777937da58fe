"""LAFAS layout: a folder for each subject with ``mesh.obj`` and ``landmarks.txt``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import read_text
from PALNetLandmarksLib.landmark_files import read_landmark_file, read_landmarks
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.reader import Annotation, Layout, folders_in, recorded_unit, scans_in, the_scan

LANDMARKS = "landmarks.txt"
META = "meta.json"
RECORD = "landmarks.record.json"


@dataclass(frozen=True)
class Lafas(Layout):
    """``S001/mesh.obj`` (any scan format), ``S001/landmarks.txt``, optionally ``S001/transformation_matrix.npy``.

    Rows of ``landmarks.txt`` are ``name<TAB>(x,y,z)`` after a header, or plain ``x y z``; rows without names are taken
    in the order of their numbers sorted as text, see :func:`PALNetLandmarksLib.landmark_text.parse_lafas`.
    ``meta.json``, which simulated scans have, says which landmarks lie on captured surface.
    """

    format: ClassVar[str] = "lafas"

    def recognises(self, folder: Path) -> bool:
        """Say whether any sub-folder has landmarks.txt."""
        return any((sub / LANDMARKS).is_file() for sub in folders_in(folder))

    def places(self, folder: Path) -> list[Path]:
        """List all sub-folders, also those that lack something."""
        return folders_in(folder)

    def has_landmarks(self, place: Path) -> bool:
        """Say whether the subject has landmarks.txt."""
        return (place / LANDMARKS).is_file()

    def scan(self, place: Path) -> Path:
        """Give the one mesh of the folder, or that called ``mesh``."""
        return the_scan(scans_in(place), place, "mesh")

    def scan_unit(self, place: Path, protocol: Protocol) -> str:
        """Give the unit that the record beside landmarks.txt names, else that of the data set."""
        if not (place / RECORD).is_file():
            return self.unit
        try:
            return recorded_unit(read_landmarks(place / LANDMARKS, protocol)) or self.unit
        except InputError:  # said when the landmarks themselves are read
            return self.unit

    def landmarks(self, place: Path, protocol: Protocol) -> Annotation:
        """Read landmarks.txt, and from meta.json what is visible."""
        if not self.has_landmarks(place):
            raise InputError(
                f"'{place.name}' has no {LANDMARKS}.",
                "Annotate the scan and save the landmarks there, or move the folder out of the data set.",
                code="dataset.landmarks",
            )
        content = read_landmark_file(place / LANDMARKS, protocol)
        landmarks = content.cases["case"]
        # What this program wrote is in millimetres, whatever the unit of the scan it was made on.
        unit = "mm" if recorded_unit(landmarks) else ""
        return Annotation(landmarks, content.warnings, _visible(place / META, protocol), unit)


def _visible(meta: Path, protocol: Protocol) -> NDArray[np.bool_] | None:
    if not meta.is_file():
        return None
    try:
        flags = json.loads(read_text(meta, what="meta file")).get("visible")
        return None if flags is None else np.array([bool(flags[label]) for label in protocol.labels])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{META} does not say which landmarks are visible.",
            "Remove it if it is not the simulator's; it is optional.",
            code="dataset.meta",
        ) from error
