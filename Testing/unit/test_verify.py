"""``palnet-landmarks verify``: real predictions on the sample scan, done again from what the files say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PALNetLandmarksLib import batch_tables
from PALNetLandmarksLib.engine.bundle import find_bundles
from PALNetLandmarksLib.engine.cli import main
from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.engine.reproduction import Comparison, Reproducer, compare
from PALNetLandmarksLib.engine.traces import Trace, read_traces
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.manifest import read_manifest, write_manifest
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.resources import sample_scans

SCAN = sample_scans()[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one prediction of the sample scan, which lies elsewhere."""
    folder = tmp_path_factory.mktemp("results")
    options = ["--case", "K7", "--device", "cpu", "--seed", "3", "--quiet", "--threads", "1"]
    files = {"--output": "k.mrk.json", "--csv": "k.csv", "--measurements": "m.csv", "--asymmetry": "a.csv"}
    words = [word for option, name in files.items() for word in (option, str(folder / name))]
    assert main(["predict", str(SCAN), *words, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def again(made: Path) -> LandmarkSet:
    """The same prediction once more, from the record alone."""
    (trace,) = read_traces(made / "k.mrk.json", [load_protocol()]).values()
    return Reproducer(scans=[SCAN]).again(trace.record)


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    """Run the command; gives its exit code and its answer."""
    capsys.readouterr()
    code = main(["verify", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def trace_of(path: Path) -> Trace:
    (trace,) = read_traces(path, [load_protocol()]).values()
    return trace


# --- the command -----------------------------------------------------------------------------------------------------


def test_all_files_of_a_prediction_reproduce_to_the_last_bit(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = verify(capsys, results / "k.manifest.json", SCAN)
    assert (code, answer["verdict"], answer["verified"], answer["problems"]) == (0, "identical", True, [])
    assert answer["files"] == answer["files_in_manifest"] == 4
    case = answer["cases"]["K7"]
    assert set(case["files"].items()) == {(name, "identical") for name in ("k.mrk.json", "k.csv", "m.csv", "a.csv")}
    assert case["compared"] >= 50 and case["largest"] < 0.002 and case["circumstances"] == []


def test_without_the_scan_the_files_are_checked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = verify(capsys, results / "m.csv")
    assert (code, answer["verdict"], answer["files"]) == (0, "not recomputed", 1)
    assert "scan" in answer["cases"]["K7"]["reason"]
    with open(results / "m.csv", "a") as file:
        file.write("\n")
    code, answer = verify(capsys, results / "m.csv")
    assert (code, answer["problems"]) == (7, [{"file": "m.csv", "state": "changed"}])
    (results / "a.csv").unlink()
    code, answer = verify(capsys, results / "k.manifest.json", "--no-recompute")
    assert code == 7 and {"file": "a.csv", "state": "missing"} in answer["problems"]
    assert main(["verify", str(results / "k.manifest.json"), "--no-recompute"]) == 7
    said = capsys.readouterr().out
    assert "m.csv was changed since it was written" in said and "a.csv is not there any more" in said


def test_a_scan_beside_is_found_by_its_hash_and_no_other_is_taken(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results / "a first one.ply"
    write_mesh(other, np.eye(3), np.array([[0, 1, 2]]))
    assert verify(capsys, results / "k.csv")[1]["verdict"] == "not recomputed"
    shutil.copy(SCAN, results / "renamed.PLY")
    code, answer = verify(capsys, results / "k.csv")
    assert (code, answer["verdict"]) == (0, "identical")
    (results / "renamed.PLY").unlink()
    code, answer = verify(capsys, results / "k.csv", results)
    assert code == 3 and answer["error"]["code"] == "verify.scan"


@pytest.mark.parametrize(
    ("name", "content", "code", "what"),
    [
        ("x.csv", "a,b\n1,2\n", 3, "verify.nothing"),
        ("x.html", "<p>nothing</p>", 3, "verify.nothing"),
        ("x.manifest.json", "{}", 3, "manifest.content"),
        ("x.doc", "x", 3, "verify.nothing"),
    ],
)
def test_what_says_nothing_is_refused(
    name: str, content: str, code: int, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    found, answer = verify(capsys, tmp_path / name)
    assert (found, answer["error"]["code"]) == (code, what)
    assert verify(capsys, tmp_path / "nowhere.csv")[0] == 3
    assert verify(capsys, tmp_path)[0] == 3


def test_another_model_is_told_by_more_than_its_weights(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model with the same weights, but another confidence: its identity covers all that decides a result."""
    changed = tmp_path / "changed"
    shutil.copytree(find_bundles()[-1], changed)
    description = json.loads((changed / "bundle.json").read_text(encoding="utf-8"))
    description["confidence"]["scale"] = [2.0 * value for value in description["confidence"]["scale"]]
    (changed / "bundle.json").write_text(json.dumps(description), encoding="utf-8")
    found = read_landmarks(results / "k.mrk.json")
    facts = {**found.provenance, "bundle_sha256": "00" * 32}
    write_landmarks(results / "k.mrk.json", replace(found, provenance=facts))
    (results / "k.manifest.json").unlink()
    code, answer = verify(capsys, results / "k.mrk.json", SCAN)
    assert (code, answer["error"]["code"]) == (5, "verify.model")
    assert verify(capsys, results / "k.mrk.json")[1]["verdict"] == "not recomputed"
    code, answer = verify(capsys, results / "k.mrk.json", SCAN, "--model", changed)
    # The landmarks are where they were; what is expected of them is not.
    assert (code, answer["verdict"]) == (0, "within tolerance")
    said = answer["cases"]["k"]["circumstances"]
    assert len(said) == 1 and said[0].startswith("model: 000000000000 then")


@pytest.mark.slow
def test_another_scan_does_not_reproduce(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = read_scan(SCAN)
    moved = tmp_path / "moved.ply"
    write_mesh(moved, scan.vertices + [0.0, 0.5, 0.0], scan.triangles)
    code, answer = verify(capsys, results / "k.mrk.json", moved)
    assert (code, answer["verdict"]) == (7, "different")
    case = answer["cases"]["k"]
    assert case["largest"] > 0.3 and {text.split(":")[0] for text in case["circumstances"]} >= {"scan file", "mesh"}


@pytest.mark.slow
def test_points_to_start_from_are_recorded_and_used_again(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_landmarks(results / "k.mrk.json")
    picked = LandmarkSet.from_positions(found.protocol, np.full((50, 3), np.nan))
    for label in ("Prn", "Ex_R", "Ex_L"):
        picked = picked.with_point(label, found.position(label) + [0.4, 0.3, -0.2], "placed")
    write_landmarks(tmp_path / "picked.mrk.json", picked)
    words = [str(SCAN), "--init", str(tmp_path / "picked.mrk.json"), "--output", str(tmp_path / "i.csv"), "--quiet"]
    assert main(["predict", *words, "--device", "cpu"]) == 0
    assert len(trace_of(tmp_path / "i.csv").record["start_points"].split(";")) == 3
    assert verify(capsys, tmp_path / "i.csv", SCAN)[1]["verdict"] == "identical"


@pytest.mark.slow
def test_the_folder_of_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, scans, output = read_scan(SCAN), tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_mesh(scans / "Jane.ply", scan.vertices + [0.0, 0.5, 0.0], scan.triangles)
    shutil.copy(SCAN, scans / "Joe.ply")
    assert main(["batch", str(scans), "--output", str(output), "--quiet", "--device", "cpu"]) == 0
    assert "J" + "ane" not in (output / "batch.manifest.json").read_text()
    code, answer = verify(capsys, output, scans)
    assert (code, answer["verdict"], answer["files"]) == (0, "identical", 6)
    assert set(answer["cases"]) == {"C0001", "C0002"}
    assert set(answer["cases"]["C0001"]["files"]) == {"C0001.mrk.json", *batch_tables.TABLES}

    found = read_landmarks(output / "C0001.mrk.json")
    found = found.with_point("Prn", found.position("Prn") + [2, 0, 0], "corrected")
    write_landmarks(output / "C0001.mrk.json", found, case="C0001")
    code, answer = verify(capsys, output, "--no-recompute")
    assert (code, answer["problems"]) == (7, [{"file": "C0001.mrk.json", "state": "changed"}])
    assert batch_tables.main([str(output)]) == 0  # as the Slicer module does after a review
    code, answer = verify(capsys, output, scans, "--case", "C0001")
    assert (code, answer["verdict"]) == (0, "identical")
    assert answer["cases"]["C0001"]["left_out"] == ["Prn"]
    record = read_manifest(output / "batch.manifest.json")[-1].cases["C0001"]
    assert record["corrected_landmarks"] == "Prn"


@pytest.mark.slow
def test_what_slicer_exports_is_known_by_its_mesh(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Slicer module hands over a mesh, not a file; its scan is read by VTK, and turned to RAS and back."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOPLY import vtkPLYReader

    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor

    reader = vtkPLYReader()
    reader.SetFileName(str(SCAN))
    reader.Update()
    vertices = vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)
    triangles = vtk_to_numpy(reader.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)
    turned = vertices * (-1.0, -1.0, 1.0) * (-1.0, -1.0, 1.0)
    predicted = Predictor(load_bundle(), "cpu").predict(scan_from_arrays(turned, triangles)).landmarks
    assert "scan_sha256" not in predicted.provenance
    write_landmarks(results / "s.tps", predicted.in_coordinate_system("RAS").in_coordinate_system("LPS"), case="S")
    write_mesh(results / "another one.ply", vertices + [0.0, 0.5, 0.0], triangles)
    code, answer = verify(capsys, results / "s.tps")
    assert answer["verdict"] == "not recomputed"
    shutil.copy(SCAN, results / "scan.ply")
    code, answer = verify(capsys, results / "s.tps")
    assert (code, answer["verdict"]) == (0, "identical")


# --- the comparison --------------------------------------------------------------------------------------------------


def check(path: Path, again: LandmarkSet, tolerance: float = 0.01) -> Comparison:
    return compare(trace_of(path), again, tolerance)


@pytest.mark.parametrize("name", ["x.mrk.json", "x.txt", "x.csv", "x.tps"])
@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_every_format_holds_enough_to_tell(
    name: str, system: str, results: Path, again: LandmarkSet, tmp_path: Path
) -> None:
    found = read_landmarks(results / "k.mrk.json").in_coordinate_system(system)
    for layout in ("long", "wide") if name == "x.csv" else ("long",):
        write_landmarks(tmp_path / name, found, layout=layout)
        result = check(tmp_path / name, again)
        assert (result.verdict, result.compared, result.reason) == ("identical", 50, ""), layout
        corrected = found.with_point("Prn", found.position("Prn") + 3.0, "corrected").with_point("G", None, "missing")
        write_landmarks(tmp_path / name, corrected, layout=layout)
        result = check(tmp_path / name, again)
        assert (result.verdict, result.compared, set(result.left_out)) == ("identical", 48, {"Prn", "G"}), layout
        silent = found.with_point("Prn", found.position("Prn") + [0, 0, 0.02], "predicted")
        write_landmarks(tmp_path / name, silent, layout=layout)
        result = check(tmp_path / name, again)
        assert result.verdict == "different" and "changed since: Prn" in result.reason, layout


def other_bits(again: LandmarkSet, shift: float) -> LandmarkSet:
    """The answer of a machine that computes a little differently."""
    facts = {**again.provenance, "prediction_sha256": "11" * 32, "libraries": "Python 3.10.0; torch 2.4.0"}
    return replace(again, positions=again.positions + [shift, 0, 0], provenance=facts)


def test_the_tolerance_is_kept(results: Path, again: LandmarkSet) -> None:
    for shift, tolerance, verdict in (
        (0.004, 0.01, "within tolerance"), (0.02, 0.01, "different"), (0.02, 0.05, "within tolerance"),
        (0.0, 0.0, "within tolerance"),
    ):  # fmt: skip
        result = check(results / "k.mrk.json", other_bits(again, shift), tolerance)
        assert result.verdict == verdict, (shift, tolerance)
        assert result.largest == pytest.approx(shift, abs=1e-9)
        assert [text.split(":")[0] for text in result.circumstances] == ["libraries"]
    assert "Positions differ: " in check(results / "k.csv", other_bits(again, 0.5)).reason
    gone = other_bits(again, 0.0).with_point("Sn", None, "missing")
    assert "Missing in one of both: Sn" in check(results / "k.csv", gone).reason


def test_tables_without_positions_are_compared_by_their_values(results: Path, again: LandmarkSet) -> None:
    assert check(results / "m.csv", again).verdict == "identical"
    assert check(results / "m.csv", other_bits(again, 0.004)).verdict == "within tolerance"
    wide = other_bits(again, 0.0)
    wide = wide.with_point("Zy_R", wide.position("Zy_R") + [-1.0, 0, 0], "predicted")
    result = check(results / "m.csv", wide)
    assert result.verdict == "different" and "Zy_R-Zy_L" in result.reason
    text = (results / "m.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(text) if ",Zy_R-Zy_L," in line)
    cells = text[place].split(",")
    cells[4] = f"{float(cells[4]) + 0.5:.3f}"
    text[place] = ",".join(cells)
    (results / "m.csv").write_text("\n".join(text) + "\n")
    result = check(results / "m.csv", again)
    assert result.verdict == "different" and result.reason.endswith("changed since: Zy_R-Zy_L.")
    # Asymmetry has neither positions nor measurements: its bits are known, or nothing is.
    assert check(results / "a.csv", again).verdict == "identical"
    assert check(results / "a.csv", other_bits(again, 0.001)).verdict == "undecided"


def test_a_manifest_does_not_lead_elsewhere(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "k.manifest.json"
    write_manifest(path, {}, [results / "k.csv"], command="predict")
    path.write_text(path.read_text().replace('"k.csv"', '"../k.csv"'))
    code, answer = verify(capsys, path)
    assert (code, answer["error"]["code"]) == (3, "manifest.content")
