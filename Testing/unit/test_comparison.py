"""Comparisons: paired, with intervals that hold, and no model looks better by refusing scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import Predict, evaluation, noisy

from PALNetLandmarksLib.errors import InputError
from training_tools.bootstrap import mean_interval
from training_tools.compare_command import main as compare
from training_tools.comparison import comparison_table, on_common_scans, paired_difference
from training_tools.results_file import RESULTS, read_results, write_results


def scaled(predict: Predict, factor: float) -> Predict:
    return lambda truth, generator: truth + factor * (predict(truth, generator) - truth)


def test_the_difference_is_that_of_the_same_scans() -> None:
    baseline = evaluation(noisy(2.0), name="old")
    better = evaluation(scaled(noisy(2.0), 0.75), name="new")
    pair = paired_difference(*on_common_scans([baseline, better]), draws=200)
    assert pair.baseline_mm == pytest.approx(2.0) and pair.mean_mm == pytest.approx(1.5)
    assert pair.difference == pytest.approx((-0.5, -0.5, -0.5))
    assert pair.percent.value == pytest.approx(-25.0)
    assert all(interval.value == pytest.approx(-0.5) for interval in pair.landmarks)
    # Errors three quarters as long give distances whose errors are about three quarters as large.
    first = paired_difference(*on_common_scans([baseline, baseline]), draws=10)
    assert first.difference.value == 0.0 and pair.distances.value < 0 < pair.baseline_mm


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for repeat in range(100):
        interval = mean_interval(generator.normal(1.0, 2.0, (40, 1)), seed=repeat, draws=300)[0]
        covered += interval.low <= 1.0 <= interval.high
    assert 86 <= covered <= 99


def test_refusing_difficult_scans_does_not_help() -> None:
    honest = evaluation(noisy(2.5), name="honest")
    picky = evaluation(noisy(2.5), name="picky", fail=(0, 1, 2, 3))
    pair = paired_difference(*on_common_scans([honest, picky]), draws=50)
    assert (pair.scans, pair.failed, pair.baseline_failed) == (8, 4, 0)
    assert pair.difference.value == pytest.approx(0.0)
    rows = comparison_table([honest, picky], [pair]).rows
    within_3 = rows[0][6], rows[1][6]
    assert within_3 == ("100.0", "66.7")


def test_other_annotations_are_refused() -> None:
    one = evaluation(noisy(1.0))
    moved = replace(one.results[0], truth=one.results[0].truth + 1.0)
    with pytest.raises(InputError, match="annotated differently"):
        on_common_scans([one, replace(one, results=(moved, *one.results[1:]))])


def test_only_common_scans_are_compared_and_the_others_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, one in (("a", evaluation(noisy(2.0), 12)), ("b", evaluation(noisy(1.0), 9))):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / RESULTS, replace(one, name=name))
    assert compare([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "9 scans that all models were tested on" in said and "3 of a" in said
    assert "1.000 mm against 2.000 mm" in said
    html = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "<svg" in html and "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    table = (tmp_path / "out" / "comparison_landmarks.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 51 and table[0].startswith("landmark,a_mm,b_mm,b_difference")


def test_nothing_in_common_is_an_error() -> None:
    one = evaluation(noisy(1.0), 3)
    others = tuple(replace(result, subject="X" + result.subject) for result in one.results)
    with pytest.raises(InputError, match="no scan in common"):
        on_common_scans([one, replace(one, results=others)])


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = evaluation(noisy(1.3), 5, fail=(2,))
    write_results(tmp_path / RESULTS, replace(one, folds=(1, 1, 2, 2, 2)))
    again = read_results(tmp_path)
    assert again.subjects == one.subjects and again.folds == (1, 1, 2, 2, 2) and again.information == one.information
    for a, b in zip(one.results, again.results, strict=True):
        assert (a.failure, dict(a.stages)) == (b.failure, dict(b.stages))
        np.testing.assert_array_equal(a.predicted, b.predicted)
        np.testing.assert_array_equal(a.counted, b.counted)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_damaged_results_are_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RESULTS).write_bytes(content)
    with pytest.raises(InputError, match="no results"):
        read_results(tmp_path)
