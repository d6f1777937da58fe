"""Cross-validation: nested, resumable fold by fold, failures counted, nothing reported on what was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from evaluations import face, failed, scan

from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.protocol import load_protocol
from training_tools import cross_validation as module
from training_tools.ablation import SETTINGS_FILE, ablate, chosen_settings, read_settings
from training_tools.bundling import Training
from training_tools.cross_validation import CrossValidation, cross_validate
from training_tools.presets import PRESETS, preset_named
from training_tools.recipes import recipe_for, same_training
from training_tools.results_file import Evaluation, read_results
from training_tools.scan_sources import Scans
from training_tools.training import TrainingSettings
from training_tools.training_job import NetworkChoice, TrainingJob, check_same, describe

PROTOCOL = load_protocol()
SCANS = [Path(f"/data/P{person:02d}_{scan}") for person in range(10) for scan in range(2)]


def plan(output: Path, **further: Any) -> CrossValidation:
    values: dict[str, Any] = {
        "name": "tried", "output": output, "scans": SCANS, "protocol": PROTOCOL, "start": None,
        "network": NetworkChoice("palnet"), "settings": TrainingSettings(preset=PRESETS["paper"]),
        "cache": output / "cache", "person": lambda name: name.split("_")[0],
    }  # fmt: skip
    return CrossValidation(**(values | further))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainingJob]:
    """Put quick stand-ins in the place of training and prediction; gives the trainings in their order."""
    jobs: list[TrainingJob] = []

    def run_training(job: TrainingJob, workers: int) -> Path:
        jobs.append(job)
        job.run.mkdir(parents=True)
        (job.run / "checkpoint.safetensors").write_bytes(b"large")
        return job.run / "best.safetensors"

    def evaluate_bundle(bundle: object, scans: Scans, jobs: int, name: str, data: str) -> Evaluation:
        truth = face(PROTOCOL)
        results = tuple(
            failed(folder.name, truth) if folder.name == "P03_1" else scan(folder.name, truth, truth + 1.0)
            for folder in scans.folders
        )
        information = {"training": {"seconds_per_epoch": 2.0 * len(results), "left_out": [["x", "why"]]}}
        return Evaluation(name, PROTOCOL, results, information)

    monkeypatch.setattr(module, "run_training", run_training)
    monkeypatch.setattr(module, "finished_training", lambda run: None)
    monkeypatch.setattr(module, "calibrated_bundle", lambda *_: {})
    monkeypatch.setattr(module, "load_bundle", lambda path: SimpleNamespace(path=path))
    monkeypatch.setattr(module, "evaluate_bundle", evaluate_bundle)
    return jobs


def test_every_scan_is_reported_once_by_a_model_that_never_saw_its_person(
    tmp_path: Path, trained: list[TrainingJob]
) -> None:
    evaluation = cross_validate(plan(tmp_path))
    assert evaluation is not None and len(trained) == 5
    assert sorted(evaluation.subjects) == sorted(folder.name for folder in SCANS)
    for result, fold in zip(evaluation.results, evaluation.folds, strict=True):
        job = trained[fold - 1]
        seen = {folder.name.split("_")[0] for folder in (*job.training, *job.validation)}
        assert result.subject.split("_")[0] not in seen
        assert job.validation and not set(job.training) & set(job.validation)
    assert [result.subject for result in evaluation.failed] == ["P03_1"]
    assert evaluation.information["training"]["seconds_per_epoch"] == pytest.approx(8.0)
    assert evaluation.information["left_out_of_training"] == 5
    assert not list(tmp_path.rglob("checkpoint.safetensors"))


def test_finished_folds_are_not_done_again(tmp_path: Path, trained: list[TrainingJob]) -> None:
    assert cross_validate(plan(tmp_path), only=2) is None
    assert len(trained) == 1 and read_results(tmp_path / "fold2").failed is not None
    first = cross_validate(plan(tmp_path))
    assert len(trained) == 5
    again = cross_validate(plan(tmp_path))
    assert len(trained) == 5 and first is not None and again is not None
    assert again.subjects == first.subjects and again.folds == first.folds


@pytest.mark.parametrize(
    "further",
    [
        {"network": NetworkChoice("palnet", {"blocks": 2})},
        {"settings": TrainingSettings(preset=replace(PRESETS["paper"], epochs=7))},
        {"projection": "nearest_vertex"},
        {"scans": SCANS[:-2]},
        {"shape": True},
    ],
    ids=["network", "preset", "projection", "scans", "shape"],
)
def test_results_of_other_settings_are_not_taken_for_these(
    tmp_path: Path, trained: list[TrainingJob], further: dict[str, Any]
) -> None:
    cross_validate(plan(tmp_path))
    with pytest.raises(UsageError, match="other scans or settings"):
        cross_validate(plan(tmp_path, **further))


def test_the_shape_regression_of_a_fold_sees_its_training_scans_only(
    tmp_path: Path, trained: list[TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[Path, ...]] = []

    def fit_shape(bundle: object, scans: list[Scans], cache: Path, jobs: int) -> None:
        cache.mkdir()
        fitted.append(scans[0].folders)

    monkeypatch.setattr(module, "fit_shape", fit_shape)
    monkeypatch.setattr(module, "calibrated_bundle", lambda *given: given[-1](None))
    cross_validate(plan(tmp_path, shape=True))
    assert fitted == [tuple(job.training) for job in trained]
    assert not list(tmp_path.glob("fold*/shape"))


def test_all_networks_see_the_same_folds(tmp_path: Path) -> None:
    other = plan(tmp_path, network=NetworkChoice("patch_transformer"), settings=TrainingSettings())
    assert other.splits() == plan(tmp_path).splits()


def test_torchrun_and_impossible_folds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no fold 6"):
        cross_validate(plan(tmp_path), only=6)
    with pytest.raises(InputError, match="cannot be split"):
        cross_validate(plan(tmp_path, fold_count=30))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="torchrun"):
        cross_validate(plan(tmp_path))


def test_a_training_is_only_gone_on_with_by_the_same_command(tmp_path: Path) -> None:
    job = module.fold_job(plan(tmp_path), 1, plan(tmp_path).splits()[0])
    job.run.mkdir(parents=True)
    check_same(job.run, describe(job))  # nothing there yet
    (job.run / "run.json").write_text(json.dumps(describe(job)))
    (job.run / "checkpoint.safetensors").write_bytes(b"")
    check_same(job.run, describe(job))
    other = replace(job, settings=replace(job.settings, seed=9), training=job.training[1:])
    with pytest.raises(UsageError, match=r"other settings \(training_scans, scans, seed\)"):
        check_same(job.run, describe(other))


# --- ablations -------------------------------------------------------------------------------------------------------


def test_the_table_holds_all_of_table_6_and_every_setting_can_be_built() -> None:
    settings = read_settings()
    names = [setting.id for setting in settings]
    assert names == ["published", "k500", "k1500", "d10", "d15", "d20", "coarse", "unordered", "no-attention",
                     "top-k", "two-blocks"]  # fmt: skip
    generator = np.random.default_rng(0)
    normals = generator.normal(size=(14_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cloud = np.hstack([70 * normals - [0, 0, 60], normals]).astype(np.float32)
    mean = cloud[:4, :3]
    inputs = {}
    for setting in settings:
        assert setting.preset == "paper" and setting.network == "palnet"
        recipe = recipe_for(setting.network, 4, [0, 1, 2, 3], setting.parameters)
        inputs[setting.id] = recipe.sample(cloud, mean, mean, generator)["points"]
        with torch.inference_mode():
            found = recipe.predict(recipe.build(), {"points": torch.from_numpy(inputs[setting.id])[None]})
        assert found.shape == (1, 4, 3)
    assert inputs["k500"].shape == (4, 500, 3) and inputs["k1500"].shape == (4, 1500, 3)
    assert inputs["coarse"].shape == (4, 100, 3)
    for name, radius in (("d10", 10.0), ("d15", 15.0), ("d20", 20.0)):
        apart = np.linalg.norm(inputs[name] - mean[:, None], axis=2)
        assert inputs[name].shape == (4, 1000, 3) and radius - 1.5 < apart.max() <= radius + 1e-3
    one, other = np.linalg.norm(inputs["published"], axis=2), np.linalg.norm(inputs["unordered"], axis=2)
    assert (np.diff(one) >= -1e-4).all() and not (np.diff(other) >= -1e-4).all()
    np.testing.assert_array_equal(np.sort(inputs["published"], axis=1), np.sort(inputs["unordered"], axis=1))


def test_ablation_cross_validates_each_setting_on_the_same_folds(tmp_path: Path, trained: list[TrainingJob]) -> None:
    settings = chosen_settings(read_settings(SETTINGS_FILE), ["two-blocks", "k500"])
    made = ablate(plan(tmp_path), settings, lambda name: TrainingSettings(preset=preset_named(name)))
    assert [one.name for one in made] == ["k500", "two-blocks"]
    assert len(trained) == 10 and trained[0].validation == trained[5].validation
    assert trained[5].network.parameters == {"blocks": 2}
    ablate(plan(tmp_path), settings, lambda name: TrainingSettings(preset=preset_named(name)))
    assert len(trained) == 10
    with pytest.raises(UsageError, match="no setting 'k7'"):
        chosen_settings(settings, ["k7"])


def test_the_table_of_2s_sgcn_can_be_built_and_trains_what_differs_only() -> None:
    settings = read_settings(SETTINGS_FILE.with_name("ablation_sgcn.csv"))
    recipes = [recipe_for(one.network, 50, list(range(50)), one.parameters) for one in settings]
    first = recipes[0]
    for recipe in recipes:
        assert recipe.name == "sgcn" and sum(weight.numel() for weight in recipe.build().parameters()) > 10_000
    like = {one.id for one, recipe in zip(settings, recipes, strict=True) if same_training(first, recipe)}
    assert like == {"2s-sgcn", "1s-sgcn", "t4", "t8", "t16", "t32"}
    assert same_training(*(recipes[[one.id for one in settings].index(name)] for name in ("2s-gcn", "1s-gcn")))


def test_what_is_made_of_a_trained_network_is_not_trained_again(
    tmp_path: Path, trained: list[TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, Any]] = []

    def finished(run: Path) -> Training:
        network = {"name": "sgcn", "parameters": {"stages": 2}}
        return Training({"network": network}, run.as_posix().encode(), None, {})  # type: ignore[arg-type]

    def bundle(training: Training, folder: Path, *_: object) -> None:
        used.append((training.weights.decode(), training.description["network"]["parameters"]["stages"]))

    monkeypatch.setattr(module, "finished_training", finished)
    monkeypatch.setattr(module, "calibrated_bundle", bundle)
    table = tmp_path / "sgcn.csv"
    table.write_text('id,title,preset,network,parameters\ntwo,t,paper,sgcn,{}\none,t,paper,sgcn,"{""stages"": 1}"\n'
                     'other,t,paper,sgcn,"{""depth"": 2, ""stages"": 1}"\n')  # fmt: skip
    settings = read_settings(table)
    made = ablate(plan(tmp_path), settings, lambda name: TrainingSettings(preset=preset_named(name)), only_fold=3)
    assert [one.name for one in made] == ["two", "one", "other"]  # of that fold alone
    assert [job.run.parts[-3] for job in trained] == ["two", "other"]
    place = (tmp_path / "two" / "fold3" / "training").as_posix()
    # The second takes the training of the first with its own way to an answer; the third is what its own training says.
    assert [(run == place, stages) for run, stages in used] == [(True, 2), (True, 1), (False, 2)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,title\na,b\n", "does not have the columns"),
        ("id,title,preset,network,parameters\n", "holds no settings"),
        ("id,title,preset,network,parameters\na,b,paper,palnet,{\n", "line 2"),
        ("id,title,preset,network,parameters\na,b,other,palnet,{}\n", "line 2"),
        ("id,title,preset,network,parameters\n../a,b,paper,palnet,{}\n", "line 2"),
        ("id,title,preset,network,parameters\na,b,paper,palnet,{}\na,c,paper,palnet,{}\n", "line 3"),
        ("id,title,preset,network,parameters\na,b,paper\n", "line 2"),
    ],
)
def test_a_table_that_cannot_be_used_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_settings(tmp_path / "mine.csv")
