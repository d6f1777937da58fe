"""``training_tools repeatability``: two annotations of the same scans in figures that can be calculated by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.rigid import random_rotation
from PALNetLandmarksLib.landmark_files import write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol
from training_tools.__main__ import main
from training_tools.repeatability import icc_2_1, repeatability, summary_text

PROTOCOL = load_protocol()
DATA = Path(__file__).resolve().parents[1] / "data"
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
PRN = PROTOCOL.index("Prn")


def placed(positions: np.ndarray) -> LandmarkSet:
    return LandmarkSet.from_positions(PROTOCOL, positions)


def annotations(count: int, noise: float, seed: int = 0) -> tuple[dict[str, LandmarkSet], dict[str, LandmarkSet]]:
    """Faces of different people (5 mm) in any pose, placed twice with noise."""
    rng = np.random.default_rng(seed)
    first, second = {}, {}
    for k in range(count):
        face = FACE + rng.normal(0.0, 5.0, FACE.shape)
        turn, offset = random_rotation(rng), rng.normal(0.0, 100.0, 3)
        for sets in (first, second):
            sets[f"S{k + 1:03d}"] = placed((face + rng.normal(0.0, noise, FACE.shape)) @ turn.T + offset)
    return first, second


def test_icc_of_shrout_and_fleiss() -> None:
    """Table 2 of their paper (1979): ICC(2,1) = 0.29; with any two of its judges, by the analysis of variance."""
    judges = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert icc_2_1(judges) == pytest.approx(0.2898, abs=5e-5)
    assert icc_2_1(judges[:, [2, 1, 3, 0]]) == pytest.approx(icc_2_1(judges))
    two = judges[:, :2]
    mean, n, k = two.mean(), 6, 2
    rows = k * ((two.mean(axis=1) - mean) ** 2).sum() / 5
    columns = n * ((two.mean(axis=0) - mean) ** 2).sum() / 1
    error = (((two - mean) ** 2).sum() - 5 * rows - columns) / 5
    assert icc_2_1(two) == pytest.approx((rows - error) / (rows + error + 2 * (columns - error) / n))


def test_icc_counts_a_constant_shift_as_disagreement_and_leaves_out_missing() -> None:
    values = np.random.default_rng(0).normal(size=12)
    assert icc_2_1(np.stack([values, values], axis=1)) == pytest.approx(1.0)
    shifted = icc_2_1(np.stack([values, values + 2.0], axis=1))
    assert shifted < 0.5
    with_gap = np.vstack([np.stack([values, values + 2.0], axis=1), [np.nan, 1.0]])
    assert icc_2_1(with_gap) == pytest.approx(shifted)
    assert math.isnan(icc_2_1(np.ones((5, 2)))) and math.isnan(icc_2_1(with_gap[-3:]))
    assert icc_2_1(np.random.default_rng(1).normal(size=(4000, 2))) == pytest.approx(0.0, abs=0.05)


def test_distances_and_icc_follow_from_the_noise() -> None:
    noise = 1.5
    result = repeatability(*annotations(120, noise))
    overall = result.comparison.overall()
    # The difference of two points with independent noise has sqrt(2) times its spread along each axis.
    assert overall.dahlberg_mm == pytest.approx(noise * math.sqrt(3), rel=0.03)
    assert overall.mean_mm == pytest.approx(noise * math.sqrt(2) * math.sqrt(8 / math.pi), rel=0.03)
    lateral = [PROTOCOL.index(label) for label in ("Ex_R", "Ch_L", "Zy_R", "Go_L")]
    np.testing.assert_allclose(result.landmark_icc[lateral], 25 / (25 + noise**2), atol=0.05)
    # Chance errors of measurements follow in the same way.
    assert np.nanmedian(result.measurement_icc) > 0.85


def test_poses_do_not_make_the_icc_look_better() -> None:
    rng = np.random.default_rng(3)
    first, second = {}, {}
    for k in range(40):  # one and the same face each time: people do not differ, so nothing can be told apart
        turn, offset = random_rotation(rng), rng.normal(0.0, 200.0, 3)
        for sets in (first, second):
            sets[f"S{k}"] = placed((FACE + rng.normal(0.0, 1.0, FACE.shape)) @ turn.T + offset)
    assert abs(np.nanmedian(repeatability(first, second).landmark_icc)) < 0.15


def test_a_case_without_axes_is_left_out_of_the_icc_only_and_named() -> None:
    first, second = annotations(12, 1.0)
    few = np.full_like(FACE, np.nan)
    few[PRN] = FACE[PRN]
    first["S099"] = second["S099"] = placed(few)
    result = repeatability(first, second)
    assert result.without_axes == ("S099",) and len(result.comparison.cases) == 13
    assert result.comparison.landmarks()[PRN].count == 13
    plain = repeatability(*annotations(12, 1.0))
    np.testing.assert_allclose(result.landmark_icc, plain.landmark_icc)
    assert "S099" in summary_text(result)


def write(folder: Path, sets: dict[str, LandmarkSet], layout: str) -> Path:
    for case, landmarks in sets.items():
        place = folder / case if layout == "lafas" else folder
        place.mkdir(parents=True, exist_ok=True)
        write_landmarks(place / ("landmarks.txt" if layout == "lafas" else f"{case}.mrk.json"), landmarks)
    return folder


def test_the_command_matches_by_subject_and_counts_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = annotations(5, 1.0)
    first["S002"] = first["S002"].with_point("Prn", None, "missing")
    second["S003"] = second["S003"].with_point("Prn", None, "missing")
    del second["S004"]
    second["S077"] = second["S001"]
    one, other = write(tmp_path / "one", first, "lafas"), write(tmp_path / "other", second, "markups")
    assert main(["repeatability", str(one), str(other), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "repeatability.txt").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text
    assert "in 4 scans" in text and "first only: 1; in the second only: 1; in both: 0 (of 200" in text
    assert "Scans in the first only: 1 (S004)" in text and "Scans in the second only: 1 (S077)" in text
    with open(tmp_path / "out" / "landmarks.csv", encoding="utf-8-sig", newline="") as stream:
        rows = {row["label"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 51 and (rows["Prn"]["n"], rows["Prn"]["missing_first"]) == ("2", "1")
    assert rows["Prn"]["icc_up"] == "" and rows["Ex_R"]["icc_up"] != ""
    distance = [np.linalg.norm(first[case].position("Ex_R") - second[case].position("Ex_R"))
                for case in ("S001", "S002", "S003", "S005")]  # fmt: skip
    assert float(rows["Ex_R"]["mean_mm"]) == pytest.approx(np.mean(distance), abs=2e-3)
    assert float(rows["Ex_R"]["dahlberg_mm"]) == pytest.approx(math.sqrt(np.sum(np.square(distance)) / 8), abs=2e-3)
    with open(tmp_path / "out" / "measurements.csv", encoding="utf-8-sig", newline="") as stream:
        assert float(next(csv.DictReader(stream))["icc"]) <= 1.0
    with open(tmp_path / "out" / "differences.csv", encoding="utf-8-sig", newline="") as stream:
        assert sum(1 for _ in csv.DictReader(stream)) == 200


def test_a_file_that_cannot_be_used_is_named_and_the_rest_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = annotations(4, 1.0)
    one, other = write(tmp_path / "one", first, "markups"), write(tmp_path / "other", second, "markups")
    (other / "S002.mrk.json").write_text("{broken")
    assert main(["repeatability", str(one), str(other), "--output", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    assert "in 3 scans" in said.out and "second: S002.mrk.json" in said.err


def test_bad_folders_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one", annotations(3, 1.0)[0], "markups")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    other = write(tmp_path / "other", {"S900": annotations(1, 1.0)[0]["S001"]}, "markups")
    for second, out in ((one, "out"), (tmp_path / "empty", "out"), (other, "out"), (tmp_path / "absent", "out")):
        assert main(["repeatability", str(one), str(second), "--output", str(tmp_path / out)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and "same folder" in said[0] and "no landmarks in the folder 'empty'" in said[1]
    assert "No case is in both" in said[2] and "no folder 'absent'" in said[3]
    assert not (tmp_path / "out").exists()
    (tmp_path / "two").mkdir()
    write(tmp_path / "two", annotations(3, 1.0)[1], "markups")
    out = tmp_path / "file" / "out"
    assert main(["repeatability", str(one), str(tmp_path / "two"), "--output", str(out)]) == 3
    assert "could not be written" in capsys.readouterr().err
