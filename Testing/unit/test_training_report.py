"""The report of an evaluation: figures that can be checked by hand, one page that needs nothing else."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import evaluation, noisy, scan

from training_tools.evaluate_command import errors_table, full_summary, write_evaluation
from training_tools.report import svg, tables
from training_tools.report.cases import chosen_cases
from training_tools.report.page import write_report

SHIFTS = (4, 2, 7, 1, 6, 3, 5)


def rows_of(table: tables.Table) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def test_landmark_table_stands_beside_the_observer() -> None:
    one = evaluation(noisy(2.0))
    result = one.results[0]
    truth = result.truth.copy()
    truth[0] = np.nan  # not annotated on one scan
    one = replace(one, results=(scan(result.subject, truth, result.predicted), *one.results[1:]))
    rows = rows_of(tables.landmark_table(one))
    assert rows["Tr"]["scans"] == "11" and rows["Sn"]["scans"] == "12"
    assert rows["Sn"]["mean_mm"] == "2.00" and rows["Sn"]["sd_mm"] == "0.00"
    assert (rows["Sn"]["observer_mm"], rows["Sn"]["paper_mean_mm"]) == ("1.86", "1.65")
    assert rows["all"]["scans"] == str(12 * 50 - 1)
    assert rows["all"]["observer_mm"] == "2.25"  # the paper's own mean
    assert float(rows["right"]["ci_low_mm"]) <= 2.0 <= float(rows["right"]["ci_high_mm"])


def test_measurements_are_over_all_scans_with_relative_errors() -> None:
    # Everything a tenth too large: distances are 10 % off, angles are right.
    one = evaluation(lambda truth, _: 1.1 * truth)
    rows = rows_of(tables.measurement_table(one))
    assert rows["N-Sn"]["relative_error_percent"] == "10.00"
    assert float(rows["N-Sn"]["bias"]) == pytest.approx(0.1 * float(rows["N-Sn"]["true_mean"]), abs=0.01)
    assert rows["N-Sn-Pg"]["mean_absolute_error"] == "0.00" and rows["N-Sn-Pg"]["unit"] == "degrees"
    assert rows["N-Sn"]["paper_error"] == "1.99" and rows["N-Sn"]["scans"] == "12"
    summary = tables.measurement_summary(one)
    assert summary["distances_relative_error_percent"] == pytest.approx(10.0)
    assert summary["angles_error_degrees"] == pytest.approx(0.0, abs=1e-9)


def test_ears_are_left_out_where_it_says_so() -> None:
    one = evaluation(noisy(1.0))
    ears = np.array([landmark.peripheral_ear for landmark in one.protocol.landmarks])
    assert ears.sum() == 8
    far = tuple(
        scan(r.subject, r.truth, r.truth + np.where(ears[:, None], [9.0, 0, 0], [1.0, 0, 0])) for r in one.results
    )
    rows = rows_of(tables.ear_table(replace(one, results=far)))
    assert rows["without the ear points"]["mean_mm"] == "1.00"
    assert rows["ear points only"]["mean_mm"] == "9.00"
    assert float(rows["all landmarks"]["mean_mm"]) == pytest.approx((42 + 72) / 50, abs=0.01)


def test_failures_are_counted_and_count() -> None:
    one = evaluation(noisy(0.5), fail=(3, 4, 5))
    assert tables.failure_table(one).rows == tuple((f"S00{k}", "registration.none") for k in (4, 5, 6))
    row = rows_of(tables.success_table(one))["1 mm"]
    assert (row["of_found_percent"], row["of_all_percent"]) == ("100.0", "75.0")
    summary = full_summary(one)
    assert summary["failed"] == 3 and summary["share_within_mm_with_failures"]["1"] == pytest.approx(0.75)


def test_pair_matrix_is_the_error_of_distances() -> None:
    one = evaluation(lambda truth, _: truth + np.where(np.arange(50)[:, None] == 3, [0.0, 0.0, 5.0], 0.0))
    matrix = tables.pair_matrix(one)
    others = np.delete(np.arange(50), 3)
    assert np.abs(matrix[np.ix_(others, others)]).max() < 1e-9
    assert matrix[3, others].min() >= 0 and matrix[3, others].max() <= 5.0 + 1e-9 and matrix[3, others].mean() > 0.5
    np.testing.assert_allclose(matrix, matrix.T)


def test_bland_altman_is_within_a_side() -> None:
    one = evaluation(noisy(1.0), 4)
    true, predicted = tables.group_distances(one, "right")
    assert len(true) == 4 * 19 * 18 // 2
    assert np.abs(predicted - true).max() <= 2.0 + 1e-9
    drawn = svg.bland_altman_chart(true, predicted - true, "right", "t")
    assert f"bias {np.mean(predicted - true):.2f}" in drawn


def test_best_median_and_worst_are_what_they_say() -> None:
    one = evaluation(noisy(1.0), 7)
    results = tuple(
        scan(r.subject, r.truth, r.truth + [[float(k), 0.0, 0.0]]) for k, r in zip(SHIFTS, one.results, strict=True)
    )
    cases = {name: result.subject for name, result in chosen_cases(replace(one, results=results))}
    assert cases == {"best": "S004", "median": "S001", "worst": "S003"}


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    one = replace(evaluation(noisy(2.0), fail=(1,)), name="<b>model</b>", folds=(1, 2) * 6)
    write_evaluation(tmp_path, one, None)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;model" in html and "<b>model" not in html
    assert "<script" not in html and not re.search(r'(src|href)="(?!data:)', html)
    drawings = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(drawings) == 6
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing
    for name in ("landmarks", "ears", "success", "failures", "measurements", "asymmetry", "runtime", "folds",
                 "distance_errors"):  # fmt: skip
        with (tmp_path / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
            assert {len(row) for row in csv.reader(file)} != set()
    assert "1 of 12 scans" in html and "Research use only" in html


def test_a_report_of_failures_only_is_written(tmp_path: Path) -> None:
    one = evaluation(noisy(1.0), 3, fail=(0, 1, 2))
    summary = write_evaluation(tmp_path, one, {})
    assert summary["failed"] == 3
    assert "Failures: 3 of 3 scans" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_runtime_and_training_stand_in_one_table() -> None:
    one = evaluation(noisy(1.0))
    one = replace(one, information={"training": {"seconds_per_epoch": 12.5, "training_memory_mb": 700.0}})
    rows = rows_of(tables.runtime_table(one))
    assert rows["network"]["median"] == "0.200" and rows["all stages"]["median"] == "0.600"
    assert rows["training epoch"]["median"] == "12.50"


def test_every_scan_has_a_row_in_the_errors(tmp_path: Path) -> None:
    one = evaluation(noisy(1.5), 3, fail=(1,))
    lines = errors_table(one.results, one.protocol).splitlines()
    assert len(lines) == 4 and lines[2].startswith("S002,registration.none,")
    assert lines[1].endswith("1.500") and set(lines[2].split(",")[4:]) == {""}


def test_write_report_gives_its_place(tmp_path: Path) -> None:
    assert write_report(tmp_path, evaluation(noisy(1.0), 6)) == tmp_path / "report.html"


def test_pictures_of_cases_say_that_the_error_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from training_tools.dataset import read_subject
    from training_tools.report import cases

    said = []

    def draw(vertices: object, triangles: object, landmarks: object, transform: np.ndarray, **words: object) -> object:
        said.append((transform, words))
        return Image.new("RGB", (200, 92))

    monkeypatch.setattr(cases, "draw_picture", draw)
    one = evaluation(noisy(1.5), 3)
    sample = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "face01"
    subject = read_subject(sample, one.protocol)
    pictures, problem = cases.case_pictures(one, {"S001": subject, "S002": subject})
    assert len(pictures) == 2 and "not at hand" in problem
    assert all(words["error_name"] == "measured error" and "1.50 mm" in str(words["remark"]) for _, words in said)
    assert pictures[0].png.startswith(b"\x89PNG")
