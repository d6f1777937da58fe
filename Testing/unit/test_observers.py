"""Two observers of the same scans: distances, Dahlberg errors, limits of agreement, tables."""

import csv
import io
import math
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmark_files import write_landmark_cases, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import measure
from PALNetLandmarksLib.observer_files import FILES, landmark_table, read_folder, write_comparison
from PALNetLandmarksLib.observers import bland_altman, compare_cases, compare_sets, dahlberg
from PALNetLandmarksLib.protocol import load_protocol

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
PRN, T_R = PROTOCOL.index("Prn"), PROTOCOL.index("T_R")


def face(moved=(), missing=(), system="LPS", provenance=None):
    positions = FACE.copy()
    for label, offset in dict(moved).items():
        positions[PROTOCOL.index(label)] += offset
    for label in missing:
        positions[PROTOCOL.index(label)] = np.nan
    return LandmarkSet.from_positions(PROTOCOL, positions, coordinate_system=system, provenance=provenance)


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_distances_of_one_scan():
    result = compare_sets(face(), face({"Prn": (3.0, 0.0, 4.0)}))
    prn = result.landmarks()[PRN]
    assert (prn.label, prn.count, prn.mean_mm, prn.max_mm) == ("Prn", 1, pytest.approx(5.0), pytest.approx(5.0))
    assert math.isnan(prn.sd_mm) and prn.dahlberg_mm == pytest.approx(5.0 / math.sqrt(2))
    overall = result.overall()
    assert overall.count == 50 and overall.mean_mm == pytest.approx(0.1) and overall.max_mm == pytest.approx(5.0)
    assert result.axes == ("left", "up", "front") and not result.warnings


def test_figures_over_cases_against_a_plain_calculation():
    rng = np.random.default_rng(1)
    offsets = rng.normal(size=(6, 50, 3)) + (0.5, 0.0, 0.0)
    turns = [rotation(k) for k in range(6)]
    first = {f"S{k}": LandmarkSet.from_positions(PROTOCOL, FACE @ turns[k].T + 10 * k) for k in range(6)}
    second = {
        f"S{k}": LandmarkSet.from_positions(PROTOCOL, (FACE + offsets[k]) @ turns[k].T + 10 * k) for k in range(6)
    }
    result = compare_cases(first, second)
    got = result.landmarks()[PRN]
    distance = np.linalg.norm(offsets[:, PRN], axis=1)
    assert got.mean_mm == pytest.approx(distance.mean())
    assert got.sd_mm == pytest.approx(distance.std(ddof=1))
    assert got.max_mm == pytest.approx(distance.max())
    assert got.dahlberg_mm == pytest.approx(math.sqrt((distance**2).sum() / 12))
    # The squares of the three axes add up to that of the point, whatever the axes.
    assert sum(value**2 for value in got.axis_dahlberg_mm) == pytest.approx(got.dahlberg_mm**2)
    # Every scan is turned differently, yet the shift to the subject's left comes out as one: axes are the face's own.
    expected = asymmetry(FACE, PROTOCOL).axes @ offsets.mean(axis=(0, 1))
    assert result.overall().bias_mm == pytest.approx(expected, abs=0.02) and expected[0] > 0.4


def test_left_is_the_subjects_left_in_both_frames():
    # LPS: x towards the subject's left, y towards the back, z up.
    moved = face({label: (2.0, -3.0, 5.0) for label in PROTOCOL.labels})
    result = compare_sets(face(), moved)
    left = FACE[PROTOCOL.index("T_L")] - FACE[T_R]
    assert result.overall().bias_mm[0] == pytest.approx(float(np.array([2.0, -3.0, 5.0]) @ left / np.linalg.norm(left)))


def test_sets_in_different_frames_are_converted():
    other = face({"Prn": (3.0, 0.0, 4.0)}).in_coordinate_system("RAS")
    for first, second in ((face(), other), (other, face())):
        result = compare_sets(first, second)
        assert result.landmarks()[PRN].mean_mm == pytest.approx(5.0) and not result.warnings
        assert result.overall().mean_mm == pytest.approx(0.1)


def test_missing_landmarks_are_counted_and_never_silently_dropped():
    first = {"a": face(missing=["Tr"]), "b": face(missing=["Tr", "G"]), "c": face()}
    second = {"a": face(missing=["Tr"]), "b": face(), "c": face(missing=["G"])}
    result = compare_cases(first, second)
    tr, g = result.landmarks()[0], result.landmarks()[1]
    assert (tr.count, tr.missing_first, tr.missing_second, tr.missing_both) == (1, 1, 0, 1)
    assert (g.count, g.missing_first, g.missing_second, g.missing_both) == (1, 1, 1, 0)
    overall = result.overall()
    assert overall.count + overall.missing_first + overall.missing_second + overall.missing_both == 150
    nothing = compare_sets(face(missing=["Tr"]), face()).landmarks()[0]
    assert nothing.count == 0 and math.isnan(nothing.mean_mm) and math.isnan(nothing.dahlberg_mm)


def test_without_the_subjects_axes_those_of_the_scan_are_used_for_all_cases():
    few = face(missing=[label for label in PROTOCOL.labels if label not in ("Prn", "Ex_R", "Ex_L")])
    moved = few.with_point("Prn", few.position("Prn") + (1.0, 2.0, 3.0), "placed")
    result = compare_cases({"a": face(), "b": few}, {"a": face(), "b": moved})
    assert result.axes == ("x", "y", "z") and "b" in result.warnings[0]
    assert result.landmarks()[PRN].bias_mm == pytest.approx((0.5, 1.0, 1.5))


def test_cases_are_matched_by_name_and_the_rest_is_listed():
    result = compare_cases({"a": face(), "b": face()}, {"b": face(), "c": face()})
    assert (result.cases, result.only_first, result.only_second) == (("b",), ("a",), ("c",))
    with pytest.raises(InputError, match="No case is in both"):
        compare_cases({"a": face()}, {"b": face()})


@pytest.mark.parametrize("change", [{"version": "0.9.0"}, {"id": "other"}])
def test_different_protocols_are_refused(change):
    other = replace(PROTOCOL, **change)
    with pytest.raises(InputError, match="different protocols") as caught:
        compare_sets(face(), LandmarkSet.from_positions(other, FACE))
    assert caught.value.code == "compare.protocol"


def test_sets_of_different_scans_are_pointed_out():
    one, other = face(provenance={"scan_sha256": "aa"}), face(provenance={"scan_sha256": "bb"})
    assert "different scans" in compare_sets(one, other).warnings[0]
    far = face({label: (100.0, 0.0, 0.0) for label in PROTOCOL.labels})
    assert "100 mm apart" in compare_sets(face(), far).warnings[0]


def test_bland_altman_against_a_plain_calculation():
    rng = np.random.default_rng(2)
    first, second = rng.normal(100, 5, 40), rng.normal(101, 5, 40)
    result = bland_altman(np.append(first, np.nan), np.append(second, 3.0))
    difference = second - first
    assert result.count == 40 and result.left_out == 1
    assert result.bias == pytest.approx(difference.mean())
    assert result.limits[1] == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1))
    assert result.limits[0] + result.limits[1] == pytest.approx(2 * result.bias)
    assert result.dahlberg == pytest.approx(math.sqrt((difference**2).sum() / 80))
    assert np.allclose(result.mean, (first + second) / 2)
    empty = bland_altman(np.array([np.nan]), np.array([1.0]))
    assert empty.count == 0 and math.isnan(empty.bias) and math.isnan(empty.dahlberg)
    assert math.isnan(bland_altman(np.array([1.0]), np.array([2.0])).sd)


def test_bland_altman_of_measurements_and_coordinates():
    moved = face({"N": (0.0, 0.0, 4.0)})
    result = compare_cases({"a": face(), "b": face()}, {"a": moved, "b": face()})
    place = [item.id for item in PROTOCOL.measurements].index("N-Gn")
    expected = measure(moved).value("N-Gn") - measure(face()).value("N-Gn")
    assert sorted(result.measurement(place).difference) == pytest.approx([0.0, expected])
    assert result.values("mm").count == 2 * 61 and result.values("degree").count == 2 * 17
    assert result.coordinates(0).count == 100
    assert result.values("percent").bias == pytest.approx(np.mean(result.values("percent").difference))


def test_dahlberg_leaves_nothing_out_but_what_is_missing():
    assert dahlberg(np.array([2.0, np.nan, -2.0])) == pytest.approx(math.sqrt(2.0))


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_the_tables(tmp_path):
    first = {"a": face(missing=["Tr"]), "b": face(), "=c": face()}
    second = {"a": face({"Prn": (3.0, 0.0, 4.0)}), "b": face({"Prn": (0.0, 0.0, 1.0)}), "d": face()}
    comparison = compare_cases(first, second)
    assert write_comparison(tmp_path, comparison, now=NOW) == FILES
    rows = {row["label"]: row for row in rows_of(tmp_path / FILES[0])}
    assert len(rows) == 51
    assert (rows["Prn"]["n"], rows["Prn"]["mean_mm"], rows["Prn"]["max_mm"]) == ("2", "3.000", "5.000")
    assert (rows["Prn"]["name"], rows["Prn"]["sd_mm"], rows["Prn"]["dahlberg_mm"]) == ("pronasale", "2.828", "2.550")
    assert (rows["Tr"]["n"], rows["Tr"]["missing_first"], rows["Tr"]["sd_mm"]) == ("1", "1", "")
    assert (rows["all"]["n"], rows["all"]["max_mm"]) == ("99", "5.000")
    # A case that looks like a formula is not run by a spreadsheet.
    assert (rows["all"]["cases_only_first"], rows["all"]["cases_only_second"]) == ("'=c", "d")
    assert (rows["all"]["protocol_id"], rows["all"]["exported_utc"]) == ("face50", "2026-03-04T05:06:07Z")
    assert "bias_left_mm" in rows["Tr"] and "dahlberg_front_mm" in rows["Tr"]
    measurements = {row["id"]: row for row in rows_of(tmp_path / FILES[1])}
    assert len(measurements) == 93 and measurements["Tr-N"]["missing"] == "1" and measurements["Tr-N"]["n"] == "1"
    assert measurements["Tr-N"]["sd"] == "" and measurements["N-Prn"]["lower_limit"] != ""
    single = rows_of(tmp_path / FILES[2])
    assert len(single) == 100
    assert (single[0]["case"], single[0]["there"], single[0]["distance_mm"]) == ("a", "second", "")
    assert (single[3]["there"], single[3]["distance_mm"]) == ("both", "5.000")


def test_an_overall_row_is_there_even_without_any_pair():
    header, rows = landmark_table(compare_sets(face(missing=PROTOCOL.labels), face()), NOW)
    assert rows[-1][:6] == ["all", "all landmarks", "0", "50", "0", "0"] and rows[-1][6] == ""
    assert all(len(row) == len(header) for row in rows)


def test_a_folder_with_one_file_per_case(tmp_path):
    for case in ("S10", "S2"):
        write_landmarks(tmp_path / f"{case}.mrk.json", face({"Prn": (0, 0, len(case))}), case=case)
    write_landmark_cases(tmp_path / "landmarks.csv", {"S99": face()})
    (tmp_path / "status.csv").write_text("case,status\nS2,done\n")
    (tmp_path / ".S3.mrk.json").write_text("{}")
    (tmp_path / "S4.mrk.json").write_text("{}")
    sets = read_folder(tmp_path, PROTOCOL)
    assert list(sets.cases) == ["S2", "S10"]
    assert len(sets.problems) == 1 and "S4.mrk.json" in sets.problems[0]
    assert sets.cases["S10"].position("Prn")[2] == pytest.approx(FACE[PRN, 2] + 3)


def test_a_folder_with_a_folder_per_case(tmp_path):
    for case in ("S0001", "S0002"):
        (tmp_path / case).mkdir()
        write_landmarks(tmp_path / case / "landmarks.txt", face())
        (tmp_path / case / "meta.json").write_text("{}")
    assert list(read_folder(tmp_path, PROTOCOL).cases) == ["S0001", "S0002"]


def test_one_table_with_all_cases(tmp_path):
    write_landmark_cases(tmp_path / "landmarks.csv", {"b": face(), "a": face()})
    assert list(read_folder(tmp_path, PROTOCOL).cases) == ["a", "b"]
    write_landmark_cases(tmp_path / "more.csv", {"b": face(), "c": face()})
    sets = read_folder(tmp_path, PROTOCOL)
    assert list(sets.cases) == ["a", "b", "c"] and "b is there twice" in sets.problems[0]


def test_a_file_made_with_another_protocol_is_left_out_and_listed(tmp_path):
    write_landmarks(tmp_path / "a.mrk.json", face())
    write_landmarks(tmp_path / "b.mrk.json", LandmarkSet.from_positions(replace(PROTOCOL, version="0.9.0"), FACE))
    sets = read_folder(tmp_path, PROTOCOL)
    assert list(sets.cases) == ["a"] and "b: made with protocol face50 0.9.0" in sets.problems[0]


def test_a_folder_without_landmarks_is_refused(tmp_path):
    with pytest.raises(InputError, match="no landmarks in the folder"):
        read_folder(tmp_path, PROTOCOL)
    with pytest.raises(InputError, match="no folder 'none'"):
        read_folder(tmp_path / "none", PROTOCOL)
    (tmp_path / "a.mrk.json").write_text("nonsense")
    with pytest.raises(InputError, match="a.mrk.json") as caught:
        read_folder(tmp_path, PROTOCOL)
    assert str(tmp_path) not in caught.value.message
