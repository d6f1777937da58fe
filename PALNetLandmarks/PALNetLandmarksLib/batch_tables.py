"""The tables over all cases of a batch, made from the landmark files that are there; needs numpy only.

Run as ``python -m PALNetLandmarksLib.batch_tables FOLDER`` it makes them anew, for example after cases were reviewed:
3D Slicer does that in a process of its own, with its own Python and without the engine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.export import write_asymmetry, write_measurements
from PALNetLandmarksLib.files import read_text
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmark_cases
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.manifest import BATCH_MANIFEST, write_manifest
from PALNetLandmarksLib.protocol import Protocol, load_protocol
from PALNetLandmarksLib.spreadsheet import parse_table

#: Endings of a case's landmark file and picture.
LANDMARKS, PICTURE = ".mrk.json", ".png"
#: The key from case to scan: the only file of a batch that holds file names.
KEY_FILE = "cases.csv"
STATUS_FILE = "status.csv"
#: Written by the Slicer module: cases that a person has looked through. A batch never replaces them.
REVIEW_FILE = "review.csv"
TABLES = ("measurements.csv", "landmarks.csv", "asymmetry.csv")


def write_tables(output: Path, cases: Sequence[str], protocol: Protocol, layout: str) -> int:
    """Write the tables over all cases from the landmark files that are there, and the manifest of the folder.

    Parameters
    ----------
    output : Path
        Folder of the batch.
    cases : sequence of str
        Names of the cases.
    protocol : Protocol
        Their landmarks.
    layout : {"wide", "long"}
        Kind of table.

    Returns
    -------
    int
        Number of cases in the tables.
    """
    sets = {}
    for case in cases:
        path = output / (case + LANDMARKS)
        found = read_case(path, protocol) if path.exists() else None
        if found is not None:
            sets[case] = found
    if sets:
        measurements, landmarks, asymmetry = (output / name for name in TABLES)
        write_measurements(measurements, sets, layout=layout)
        write_landmark_cases(landmarks, sets, layout=layout)
        write_asymmetry(asymmetry, sets)
        made = [case + ending for case in sets for ending in (LANDMARKS, PICTURE)]
        there = [output / name for name in (*made, *TABLES, STATUS_FILE) if (output / name).is_file()]
        write_manifest(output / BATCH_MANIFEST, sets, there, command="batch")
    return len(sets)


def read_case(path: Path, protocol: Protocol) -> LandmarkSet | None:
    """Read a case's landmarks; None where the file cannot be used."""
    try:
        return read_landmarks(path, protocol)
    except LandmarkingError:
        return None


def known_layout(output: Path) -> str:
    """Tell which layout the measurements that are there have; wide where there are none."""
    try:
        header, _ = parse_table(read_text(output / TABLES[0], what="table"), TABLES[0])
    except LandmarkingError:
        return "wide"
    return "long" if "kind" in header else "wide"


def main(arguments: Sequence[str]) -> int:
    """Make the tables of a folder anew; gives the exit code."""
    try:
        (name,) = arguments
        output = Path(name)
        _, rows = parse_table(read_text(output / KEY_FILE, what="table of a batch"), KEY_FILE)
        cases = [row["case"] for _, row in rows]
        count = write_tables(output, cases, load_protocol(), known_layout(output))
    except LandmarkingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (KeyError, ValueError):
        sys.stderr.write("This is no folder of a batch.\n")
        return InputError.exit_code
    sys.stdout.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
