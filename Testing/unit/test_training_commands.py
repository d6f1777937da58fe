"""The training commands as a user calls them: dry run, training, fine-tuning, export, evaluation, comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.errors import BundleError, InputError
from PALNetLandmarksLib.files import sole_writer
from training_tools.__main__ import main
from training_tools.bundling import check_in_fresh_process, curves, finished_training
from training_tools.model_card import model_card
from training_tools.results_file import read_results

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "Resources" / "SampleData" / "face01"
BUNDLE = load_bundle()
TINY = json.dumps({"points": 16, "width": 20, "layers": 1})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans of the sample face, each moved a little so that they are different files."""
    folder = tmp_path_factory.mktemp("scans")
    text = (SAMPLE / "landmarks.txt").read_text(encoding="utf-8")
    for number in range(6):
        subject = folder / f"S{number + 1}"
        subject.mkdir()
        for name in ("mesh.ply", "meta.json"):
            shutil.copy(SAMPLE / name, subject / name)
        rows = [text.splitlines()[0]]
        for row in text.splitlines()[1:]:
            label, place = row.split("\t")
            x, y, z = (float(value) for value in place.strip("()").split(","))
            rows.append(f"{label}\t({x + 0.1 * number:.5f},{y:.5f},{z:.5f})")
        (subject / "landmarks.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def train_words(data: Path, run: Path, *further: str) -> list[str]:
    return ["train", "--data", str(data), "--run", str(run), "--reference", str(BUNDLE.path / "reference.safetensors"),
            "--workers", "0", "--device", "cpu", "--parameters", TINY, "--test-share", "0.3", "--epochs", "2",
            *further]  # fmt: skip


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a tiny network."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(train_words(data, folder)) == 0
    return folder


def test_a_dry_run_estimates_and_writes_nothing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train_words(data, tmp_path / "run", "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "3 training, 1 validation and 2 test scans" in said
    for word in ("parameters", "an epoch", "all 2 epochs", "memory", "checkpoint"):
        assert word in said
    assert list(tmp_path.iterdir()) == []


def test_a_training_leaves_log_curves_and_split(run: Path) -> None:
    assert "3 training and 1 validation scans ready" in (run / "train.log").read_text()
    split = json.loads((run / "split.json").read_text())
    assert [len(split[part]) for part in ("training", "validation", "test")] == [3, 1, 2]
    assert len((run / "log.csv").read_text().splitlines()) == 3
    figures = curves(run)
    assert figures["epochs_trained"] == 2 and figures["seconds_per_epoch"] > 0 and figures["training_memory_mb"] > 50
    description = json.loads((run / "run.json").read_text())
    assert description["network"]["parameters"]["points"] == 16 and description["left_out"] == []
    assert sorted(description["scans"]) == sorted(split["training"] + split["validation"])


def test_another_command_does_not_go_on_with_it(data: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "best.safetensors").read_bytes()
    assert main(train_words(data, run, "--seed", "1")) == 2
    assert "other settings" in capsys.readouterr().err
    assert (run / "best.safetensors").read_bytes() == before


@pytest.mark.slow
def test_export_evaluates_and_loads_in_a_fresh_process(data: Path, run: Path, tmp_path: Path) -> None:
    words = ["export", "--run", str(run), "--data", str(data), "--output", str(tmp_path / "tiny-1"), "--title", "Tiny",
             "--training-data", "Six times one simulated face.", "--jobs", "1", "--report",
             str(tmp_path / "report")]  # fmt: skip
    assert main(words) == 0
    bundle = load_bundle(tmp_path / "tiny-1")
    assert bundle.metrics["scans"] == 2 and bundle.metrics["failed"] == 0
    assert (
        "2 scans of identities seen nowhere else" in bundle.card and "without the points round the ears" in bundle.card
    )
    described = json.loads((tmp_path / "tiny-1" / "bundle.json").read_text())["training"]
    assert described["seconds_per_epoch"] > 0 and described["weights_mb"] > 0
    split = json.loads((run / "split.json").read_text())
    assert list(read_results(tmp_path / "report").subjects) == split["test"]
    assert "training epoch" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    # The bundle can be fine-tuned, and compared with another one.
    fine = ["train", "--data", str(data), "--run", str(tmp_path / "fine"), "--fine-tune", str(tmp_path / "tiny-1"),
            "--workers", "0", "--device", "cpu", "--epochs", "1", "--learning-rate", "1e-9"]  # fmt: skip
    assert main(fine) == 0
    from safetensors.torch import load_file

    start, end = (
        load_file(tmp_path / "tiny-1" / "weights.safetensors"),
        load_file(tmp_path / "fine" / "best.safetensors"),
    )
    assert max(float((start[name] - end[name]).abs().max()) for name in start) < 1e-5
    assert json.loads((tmp_path / "fine" / "run.json").read_text())["fine_tuned"] == "tiny-1"


def test_another_export_of_a_model_keeps_its_shape_regression(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert BUNDLE.shape is not None
    model, few = tmp_path / "model", tmp_path / "few"
    for folder in sorted(path for path in data.iterdir() if path.is_dir())[:2]:
        shutil.copytree(folder, few / folder.name)
    words = ["export", "--bundle", str(BUNDLE.path), "--validation", str(few), "--test", str(few), "--jobs", "1",
             "--title", "Again", "--training-data", "The same.", "--output", str(model)]  # fmt: skip
    assert main([*words, "--asymmetry-gain", "1.2", "--version", "7.0"]) == 0
    again = load_bundle(model)
    assert again.shape is not None and again.shape.asymmetry_gain == 1.2 and again.version == "7.0"
    for one, other in zip(again.shape.stages, BUNDLE.shape.stages, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=2e-3, atol=1e-9)
    assert again.weights_sha256 == BUNDLE.weights_sha256
    figures, before = (json.loads((path / "bundle.json").read_text())["training"] for path in (model, BUNDLE.path))
    assert figures["shape_scans"] == before["shape_scans"] > 2000
    few_words = [*words[:2], str(model), *words[3:-1], str(tmp_path / "third")]
    assert main(few_words) == 0
    third = load_bundle(tmp_path / "third").shape
    assert third is not None and third.asymmetry_gain == 1.2  # nothing said: the model keeps its own
    for gain in ("0.9", "1.6", "nan"):
        assert main([*words, "--asymmetry-gain", gain]) == 2
        assert "makes no sense" in capsys.readouterr().err
    assert load_bundle(model).version == "7.0"


def test_only_a_shape_regression_has_a_gain(data: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--run", str(run), "--data", str(data), "--title", "t", "--training-data", "d",
             "--output", str(run / "model"), "--asymmetry-gain", "1.1"]  # fmt: skip
    assert main(words) == 2
    assert "Give --shape-data as well" in capsys.readouterr().err
    assert not (run / "model").exists()


def test_a_damaged_bundle_does_not_pass(tmp_path: Path) -> None:
    check_in_fresh_process(BUNDLE.path)
    shutil.copytree(BUNDLE.path, tmp_path / "bad")
    weights = (tmp_path / "bad" / "weights.safetensors").read_bytes()
    (tmp_path / "bad" / "weights.safetensors").write_bytes(weights[:-1] + b"\x00")
    with pytest.raises(BundleError, match="does not load in a new process: .*damaged"):
        check_in_fresh_process(tmp_path / "bad")


def test_a_folder_without_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished training"):
        finished_training(tmp_path)
    assert curves(tmp_path) == {}


def test_evaluate_takes_the_part_of_a_split(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", str(data), "--split", str(run / "split.json"), "--jobs", "1", "--no-pictures",
             "--output", str(tmp_path / "results")]  # fmt: skip
    assert main(words) == 0
    split = json.loads((run / "split.json").read_text())
    assert list(read_results(tmp_path / "results").subjects) == split["test"]
    other = dict(split, test=["S1", "gone"])
    (tmp_path / "split.json").write_text(json.dumps(other | {"training": [], "validation": []}))
    words[4] = str(tmp_path / "split.json")
    assert main(words) == 3
    assert "'gone' of the split is not in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--data", "{data}", "--run", "{new}"], "A reference face is needed"),
        (["train", "--data", "{data}", "--run", "{new}", "--reference", "{ref}", "--parameters", "[1]"], "no JSON"),
        (["train", "--data", "{data}", "--run", "{new}", "--reference", "{ref}", "--epochs", "0"], "at least 1"),
        (["train", "--data", "{data}", "--run", "{new}", "--reference", "{ref}", "--network", "x"], "no recipe"),
        (["compare", "{data}", "--output", "{new}"], "cannot be compared"),
        (["ablate", "--data", "{data}", "--output", "{new}", "--only", "k7"], "no setting 'k7'"),
        (["cross-validate", "--data", "{data}", "--output", "{new}", "--reference", "{ref}", "--folds", "9"],
         "cannot be split"),
        (["export", "--run", "{new}", "--output", "{new}", "--title", "t", "--training-data", "d"],
         "No validation scans"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_one_line_and_writes_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    places = {"data": str(data), "new": str(tmp_path / "new"), "ref": str(BUNDLE.path / "reference.safetensors")}
    assert main([word.format(**places) if "{" in word else word for word in words]) in (2, 3)
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_the_list_of_ablations_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "--list", "--only", "d10", "top-k"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["d10", "top-k"]


def test_the_card_says_how_much_asymmetry_is_shown() -> None:
    description = json.loads((BUNDLE.path / "bundle.json").read_text(encoding="utf-8"))
    metrics = dict(description["metrics"])
    metrics["asymmetry"] = {
        "all pairs with a surface feature": {"plane": [0.8, 0.7, 0.9], "frame_free": [0.7, 0.6, 0.8]}
    }
    metrics |= {"distances_mean_error_mm": 1.5, "distances_relative_error_percent": 2.0, "angles_error_degrees": 0.9}
    card = model_card(description | {"metrics": metrics}, BUNDLE.protocol, 1000)
    assert "at 0.80 (0.70–0.90) of their true size" in card and "0.70 (0.60–0.80)" in card
    assert "1.50 mm (2.0 %)" in card and "0.90°" in card
    assert model_card(description, BUNDLE.protocol, 1000)  # an older bundle's figures do, too


def test_scans_that_cannot_be_read_are_failures_and_the_rest_goes_on(data: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    shutil.copytree(data / "S1", some / "S1")
    shutil.copytree(data / "S1", some / "S2")
    (some / "S2" / "mesh.ply").write_bytes(b"no mesh")
    shutil.copytree(data / "S1", some / "S3")
    (some / "S3" / "mesh.ply").unlink()
    shutil.copytree(data / "S1", some / "S4")
    rows = (some / "S4" / "landmarks.txt").read_text().splitlines()
    (some / "S4" / "landmarks.txt").write_text("\n".join(f"x{i}\t(1,2,3)" for i in range(len(rows) - 1)) + "\n")
    words = ["evaluate", "--data", str(some), "--jobs", "1", "--no-pictures", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    results = read_results(tmp_path / "out").results
    assert [bool(result.failure) for result in results] == [False, True, True, True]
    failures = (tmp_path / "out" / "failures.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in failures] == ["scan", "S2", "S3", "S4"]


def test_a_full_disk_anywhere_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "cache" / "a.npy"))

    monkeypatch.setattr("training_tools.dataset.np.save", full)
    assert main([*train_words(data, tmp_path / "run"), "--cache", str(tmp_path / "cache")]) == 3
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert error == ["error: 'a.npy': No space left on device. Check free space and permissions."]


def test_two_trainings_do_not_write_to_one_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with sole_writer(run / "training.lock", "", "", ""):
        assert main(train_words(data, run)) == 2
        assert (run / "training.lock").exists()  # else a third one would come in
    assert "Another process is training in 'run'" in capsys.readouterr().err
    assert not list(run.glob("*.safetensors")) and not (run / "training.lock").exists()
