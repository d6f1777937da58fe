"""Manifests, and what every exported file says of how it came about."""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import landmarks_on_shell, shell

from PALNetLandmarksLib.engine.traces import read_traces
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.export import write_asymmetry, write_measurements
from PALNetLandmarksLib.landmark_files import write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.manifest import (
    manifest_beside,
    read_manifest,
    state_of,
    write_manifest,
    write_manifests,
)
from PALNetLandmarksLib.report import report_html, write_report

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
#: What must be found again from every single file.
TRACED = {
    "model_id": "face50-x",
    "model_version": "3.1",
    "model_sha256": "ab" * 32,
    "bundle_sha256": "cd" * 32,
    "software_version": "PALNetLandmarks 9.9.9",
    "libraries": "Python 3.12.1; numpy 2.0.0; torch 2.9.0",
    "created_utc": "2026-03-04T05:00:00Z",
    "scan_sha256": "12" * 32,
    "mesh_sha256": "34" * 32,
    "registration_verdict": "good",
    "registration_fitness": "0.970",
    "registration_rms_mm": "0.91",
    "projection": "surface",
    "device": "cpu",
    "processor": "Linux x86_64 AVX2",
    "threads": "4",
    "seed": "7",
    "start_points": "Prn 1.0 2.0 3.0; Ex_R 4.5 5.0 6.0; Ex_L -7.0 8.0 1e-05",
    "prediction_sha256": "56" * 32,
}


def example() -> LandmarkSet:
    """Landmarks with a corrected, a placed and a missing point."""
    found = landmarks_on_shell(("Tr",))
    found = LandmarkSet(found.protocol, found.positions, found.status, found.expected_error_mm, provenance=TRACED)
    found = found.with_point("Prn", found.position("Prn") + [0.5, 0, 0], "corrected")
    return found.with_point("Go_L", (60.0, -40.0, -30.0), "placed")


def write_all(folder: Path, case: str = "K7") -> list[Path]:
    """Write one file of each kind."""
    from PALNetLandmarksLib.engine.picture import write_picture

    found = example()
    files = [folder / name for name in ("l.mrk.json", "l.txt", "long.csv", "wide.csv", "l.tps")]
    for file in files:
        write_landmarks(file, found, case=case, layout="wide" if file.stem == "wide" else "long", now=NOW)
    for layout in ("long", "wide"):
        files.append(folder / f"m_{layout}.csv")
        write_measurements(files[-1], found, case=case, layout=layout, now=NOW)
    files += [folder / "asymmetry.csv", folder / "report.html", folder / "p.png"]
    write_asymmetry(files[-3], found, case=case, now=NOW)
    write_report(files[-2], report_html(found, case=case, now=NOW))
    vertices, triangles = shell()
    write_picture(files[-1], vertices, triangles, found, np.eye(4), case=case)
    return files


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("Jane Doe 1970")
    return folder, write_all(folder)


def test_every_kind_of_file_can_be_traced_by_itself(written: tuple[Path, list[Path]]) -> None:
    for path in written[1]:
        traces = read_traces(path, [example().protocol])
        nameless = path.name.endswith((".mrk.json", ".txt"))
        assert list(traces) == (["case"] if nameless else ["K7"]), path.name
        (trace,) = traces.values()
        said = {key: trace.record.get(key) for key in TRACED}
        assert said == TRACED, path.name
        assert set(trace.by_hand) == {"Prn", "Go_L"}, path.name


def test_the_manifest_lists_every_file_and_says_all_there_is_to_say(written: tuple[Path, list[Path]]) -> None:
    folder, files = written
    (path,) = write_manifests({"K7": example()}, files, command="predict", now=NOW)
    assert path == folder / "l.manifest.json"
    document = json.loads(path.read_text())
    (export,) = document["exports"]
    assert (document["version"], export["command"], export["written_utc"]) == (1, "predict", "2026-03-04T05:06:07Z")
    record = export["cases"]["K7"]
    assert {key: record[key] for key in TRACED} == TRACED
    assert (record["corrected_landmarks"], record["placed_landmarks"], record["missing_landmarks"]) == (
        "Prn", "Go_L", "Tr",
    )  # fmt: skip
    assert record["protocol_sha256"] == example().protocol.sha256 and record["protocol_id"] == "face50"
    assert record["exported_utc"] == export["written_utc"]
    listed = {entry["name"]: entry for entry in export["files"]}
    assert set(listed) == {file.name for file in files} | {"l.record.json"}
    for name, entry in listed.items():
        data = (folder / name).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data)), name
    # Shorter names are found in anything, a picture for instance.
    names = [name for name in (platform.node(), getpass.getuser()) if len(name) > 4]
    for file in (path, *files, folder / "l.record.json"):  # the report and the picture too
        text = file.read_bytes().decode("utf-8", "replace")
        for private in ("Jane", str(folder), folder.name, str(Path.home()) + "/", *names):
            assert private not in text, (file.name, private)


def test_files_in_two_folders_get_a_manifest_each(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    outputs = [tmp_path / "a.csv", tmp_path / "other" / "b.csv"]
    for output in outputs:
        write_landmarks(output, example())
    first, second = write_manifests({"case": example()}, outputs, command="predict")
    assert (first.name, second.parent, second.name) == ("a.manifest.json", tmp_path / "other", "b.manifest.json")
    assert [file.name for file in read_manifest(first)[0].files] == ["a.csv"]
    assert ".." not in second.read_text() and "other" not in second.read_text()


def test_a_later_export_keeps_what_is_still_true(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"K7{ending}" for ending in (".csv", ".tps", ".mrk.json"))
    path = manifest_beside(a)
    for output in (a, b, c):
        write_landmarks(output, example(), now=NOW)
    write_manifest(path, {"K7": example()}, [a, b, c], command="export")
    b.write_text("changed")
    moved = example().with_point("Sn", (1.0, 2.0, 3.0), "corrected")
    write_landmarks(a, moved)
    write_manifest(path, {"K7": moved}, [a], command="measure")
    first, second = read_manifest(path)
    assert [file.name for file in first.files] == ["K7.mrk.json"]  # b changed, a was written anew
    assert [file.name for file in second.files] == ["K7.csv"]
    assert "Sn" not in first.cases["K7"]["corrected_landmarks"] and "Sn" in second.cases["K7"]["corrected_landmarks"]
    assert [state_of(tmp_path, file) for file in (*first.files, *second.files)] == ["whole", "whole"]
    a.write_text("x")
    c.unlink()
    assert [state_of(tmp_path, file) for file in (*first.files, *second.files)] == ["missing", "changed"]
    path.write_text("{damaged")
    write_manifest(path, {"K7": moved}, [a], command="measure")
    assert len(read_manifest(path)) == 1
    write_manifest(path, {"K7": moved}, [a], command="export")  # the same bytes once more are listed once
    assert [[file.name for file in export.files] for export in read_manifest(path)] == [["K7.csv"]]


def _with(**changes: Any) -> dict[str, Any]:
    file = {"name": "a.csv", "sha256": "ab" * 32, "bytes": 3}
    file.update(changes.pop("file", {}))
    export = {"command": "x", "written_utc": "", "software_version": "", "cases": {"a": {}}, "files": [file]}
    export.update(changes.pop("export", {}))
    return {"format": "palnet-landmarks manifest", "version": 1, "exports": [export], **changes}


@pytest.mark.parametrize(
    "document",
    [
        [], {}, "x", 5, None,
        _with(format="other"), _with(version=2), _with(exports=None), _with(exports=[1]), _with(exports={"a": 1}),
        _with(export={"files": None}), _with(export={"cases": [1]}), _with(export={"cases": {"a": 1}}),
        _with(file={"name": "../a.csv"}), _with(file={"name": "/etc/passwd"}), _with(file={"name": ".."}),
        _with(file={"name": "b\\a.csv"}), _with(file={"name": 5}), _with(file={"name": ""}), _with(file={"bytes": "x"}),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.manifest.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as error:
        read_manifest(path)
    assert error.value.code == "manifest.content"
    path.write_text(json.dumps(_with()))
    assert read_manifest(path)[0].files[0].name == "a.csv"


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"format": "palnet'])
def test_a_damaged_manifest_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.manifest.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_manifest(path)
    assert error.value.code == "manifest.content"
