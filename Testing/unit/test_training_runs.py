"""Whole trainings on balls: presets, resume, full disk, unfinished annotation, dry run, two processes."""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import MIRROR, ball, small_recipe
from torch import nn

from PALNetLandmarksLib.errors import InputError, UsageError
from training_tools.checkpoints import WeightAverage, load_checkpoint, save_checkpoint, save_tensors
from training_tools.distributed import BatchParts, Team
from training_tools.faces import STILL, FaceDataset
from training_tools.presets import PRESETS, Preset, Progress, learning_rate, preset_named
from training_tools.recipes import RECIPES, PalnetRecipe, recipe_for
from training_tools.training import Trainer, TrainingSettings, train

PROJECT = Path(__file__).resolve().parents[2]


def small_palnet() -> PalnetRecipe:
    return PalnetRecipe({"landmarks": 4, "points_per_patch": 100}, batch_size=2)


def mean_of(count: int = 4) -> np.ndarray:
    return np.mean([ball(i).landmarks for i in range(count)], axis=0).astype(np.float64)


# --- presets ---------------------------------------------------------------------------------------------------------


def test_the_paper_preset_is_the_published_recipe() -> None:
    paper = preset_named("paper")
    assert (paper.network, paper.optimiser, paper.learning_rate, paper.batch_size) == ("palnet", "adam", 1e-3, 16)
    assert (paper.schedule, paper.plateau_factor, paper.plateau_epochs, paper.stop_after) == ("plateau", 0.5, 8, 30)
    assert not paper.augmentation and not paper.averaging and paper.chosen_by == "loss"


def test_the_preset_of_the_graph_network_keeps_its_rate() -> None:
    preset = preset_named("paper-sgcn")
    assert (preset.network, preset.epochs, preset.batch_size, preset.optimiser) == ("sgcn", 500, 4, "adam")
    steps = [(step, lowered) for step in (0, 1, 500, 999) for lowered in (0, 3)]
    assert {learning_rate(preset, 1e-3, step, 1000, lowered) for step, lowered in steps} == {1e-3}
    progress = Progress()
    for epoch in range(1, 501):
        assert not progress.finished(epoch, preset)
        progress.seen(1.0, epoch, preset)
    assert progress.lowered == 0


def test_a_plateau_halves_the_rate_after_eight_epochs_and_thirty_end_it() -> None:
    paper, progress = PRESETS["paper"], Progress()
    rates = []
    for epoch in range(1, 40):
        if progress.finished(epoch - 1, paper):
            break
        rates.append(learning_rate(paper, 1e-3, 0, 1, progress.lowered))
        progress.seen(5.0 if epoch == 1 else 6.0, epoch, paper)
    assert progress.best_epoch == 1 and len(rates) == 31
    assert rates[:9] == [1e-3] * 9 and rates[9] == 5e-4 and rates[17] == 2.5e-4


def test_something_better_starts_the_waiting_anew() -> None:
    paper, progress = PRESETS["paper"], Progress()
    values = [5.0] + [6.0] * 7 + [4.0] + [6.0] * 7
    for epoch, value in enumerate(values, start=1):
        progress.seen(value, epoch, paper)
    assert (progress.best, progress.best_epoch, progress.lowered) == (4.0, 9, 0)
    progress.seen(float("nan"), len(values) + 1, paper)
    assert progress.best == 4.0 and progress.lowered == 1


def test_the_cosine_ends_at_a_hundredth() -> None:
    ours = Preset()
    assert learning_rate(ours, 1.0, 199, 10_000, 0) == pytest.approx(1.0, abs=0.01)
    assert learning_rate(ours, 1.0, 10_000, 10_000, 0) == pytest.approx(0.01)
    assert learning_rate(ours, 1.0, 3, 40, 0) > 0.9  # a small data set does not only warm up


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="'other' is not known"):
        preset_named("other")
    with pytest.raises(UsageError, match="Choose one of"):
        recipe_for("other", 4, MIRROR.tolist())


def test_every_recipe_can_be_made() -> None:
    for name in RECIPES:
        assert recipe_for(name, 4, MIRROR.tolist()).name == name
    assert recipe_for("palnet", 4, [0, 1, 2, 3], {"blocks": 2}).parameters["blocks"] == 2


# --- trainings -------------------------------------------------------------------------------------------------------


def test_the_paper_recipe_trains_stops_early_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([9.0, 5.0, 6.0, 6.0, 6.0])
    kept = []

    def validate(trainer: Trainer) -> tuple[np.ndarray, float]:
        kept.append(trainer.weights()["output.bias"].clone())
        return np.ones(4), next(losses)

    monkeypatch.setattr(Trainer, "validate", validate)
    preset = replace(PRESETS["paper"], stop_after=3, plateau_epochs=2, epochs=40, learning_rate=1e-4)
    faces = [ball(i) for i in range(4)]
    train(tmp_path, small_palnet(), faces, [ball(9)], mean_of(), MIRROR, TrainingSettings(workers=0, preset=preset))
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["validation_loss"] for row in rows] == ["9", "5", "6", "6", "6"]  # three without anything better
    best = load_file(tmp_path / "best.safetensors")
    assert torch.equal(best["output.bias"], kept[1]) and not torch.equal(kept[1], kept[2])
    assert [float(row["learning_rate"]) for row in rows] == [1e-4] * 4 + [5e-5]
    assert all(float(row["seconds"]) > 0 and float(row["memory_mb"]) > 0 for row in rows)


def test_a_plateau_goes_on_after_a_kill_with_the_same_bits(tmp_path: Path) -> None:
    faces, unseen = [ball(i) for i in range(4)], [ball(9)]
    preset = replace(PRESETS["paper"], plateau_epochs=1, epochs=5, learning_rate=1e-4)
    settings = TrainingSettings(workers=0, preset=preset)
    train(tmp_path / "whole", small_palnet(), faces, unseen, mean_of(), MIRROR, settings)
    with pytest.MonkeyPatch.context() as patch:
        import training_tools.training as module

        def killed(path: Path, *arguments: object) -> None:
            save_checkpoint(path, *arguments)  # type: ignore[arg-type]
            if arguments[-1]["epoch"] == 3:  # type: ignore[index]
                raise KeyboardInterrupt

        patch.setattr(module, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", small_palnet(), faces, unseen, mean_of(), MIRROR, settings)
    train(tmp_path / "killed", small_palnet(), faces, unseen, mean_of(), MIRROR, settings)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        one, other = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert all(torch.equal(one[key], other[key]) for key in one) and one.keys() == other.keys()
    logs = [[line.split(",")[:5] for line in (tmp_path / run / "log.csv").read_text().splitlines()]
            for run in ("whole", "killed")]  # fmt: skip
    assert logs[0] == logs[1] and len(logs[0]) == 6


def test_a_subject_with_an_unmarked_landmark_trains(tmp_path: Path) -> None:
    whole = ball(0)
    landmarks = whole.landmarks.copy()
    landmarks[2] = np.nan
    gap = replace(whole, landmarks=landmarks)
    for recipe in (small_recipe(), small_palnet()):
        preset = Preset(epochs=1, validate_every=1)
        run = tmp_path / recipe.name
        train(run, recipe, [gap, ball(1)], [gap], mean_of(), MIRROR, TrainingSettings(workers=0, preset=preset))
        weights = load_file(run / "best.safetensors")
        assert all(torch.isfinite(value).all() for value in weights.values())


def test_an_unmarked_landmark_has_no_say_in_the_loss() -> None:
    landmarks = ball(0).landmarks.copy()
    landmarks[2] = np.nan
    for recipe in (small_recipe(), small_palnet()):
        faces = FaceDataset(
            [replace(ball(0), landmarks=landmarks)], mean_of().astype(np.float32), MIRROR, recipe, STILL, 0, False
        )
        batch = {name: value[None] for name, value in faces[0].items()}
        assert batch["known"].tolist() == [[True, True, False, True]] and not batch["visible"][0, 2]
        network = recipe.build().eval()
        loss = recipe.loss(network, batch)
        moved = batch["landmarks"].clone()
        moved[0, 2] += 50.0
        assert torch.equal(loss, recipe.loss(network, batch | {"landmarks": moved}))
        moved[0, 1] += 50.0
        assert not torch.equal(loss, recipe.loss(network, batch | {"landmarks": moved}))


def test_inputs_that_never_change_are_made_once(tmp_path: Path) -> None:
    settings = TrainingSettings(workers=0, preset=PRESETS["paper"])
    trainer = Trainer(small_palnet(), settings, [ball(i) for i in range(4)], [ball(9)], mean_of(), MIRROR, Team())
    trainer.prepare()
    first = trainer.faces[0]["points"]
    trainer.faces.epoch = 7
    assert trainer.faces[0]["points"] is first


def test_a_training_that_never_gives_a_number_says_so(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "validate", lambda self: (np.full(4, np.nan), np.nan))
        with pytest.raises(InputError, match="never gave a finite error"):
            train(tmp_path, small_palnet(), [ball(0), ball(1)], [ball(2)], mean_of(), MIRROR,
                  TrainingSettings(epochs=1, workers=0))  # fmt: skip


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_error_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    network = nn.Linear(200, 200)
    average, optimizer = WeightAverage(network, 0.9), torch.optim.Adam(network.parameters())
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, network, average, optimizer, {"epoch": 1})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # no file can grow larger: as on a full disk
    try:
        with pytest.raises(InputError, match=r"checkpoint.safetensors could not be written") as caught:
            save_checkpoint(path, network, average, optimizer, {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "disk" in caught.value.hint
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    assert load_checkpoint(path, network, average, optimizer)["epoch"] == 1


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    network = nn.Linear(3, 3)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="cannot be used to go on"):
        load_checkpoint(path, network, WeightAverage(network, 0.9), torch.optim.Adam(network.parameters()))
    save_tensors(path, nn.Linear(5, 5).state_dict(), {"state": "{}"})
    with pytest.raises(InputError, match="Remove that file"):
        load_checkpoint(path, network, WeightAverage(network, 0.9), torch.optim.Adam(network.parameters()))


# --- several processes -----------------------------------------------------------------------------------------------


def test_the_parts_of_a_batch_make_the_batch() -> None:
    alone = BatchParts(21, 4, Team(), seed=3)
    parts = [BatchParts(21, 4, Team(rank, 2), seed=3) for rank in (0, 1)]
    for epoch in (0, 1):
        for sampler in (alone, *parts):
            sampler.epoch = epoch
        together = [a + b for a, b in zip(*parts, strict=True)]
        assert together == list(alone) and len(together) == 5
    with pytest.raises(UsageError, match="evenly"):
        BatchParts(21, 5, Team(0, 2), seed=3)


SCRIPT = """
import sys, torch, numpy as np
from pathlib import Path
from torch import nn
sys.path.insert(0, {tests!r})
from test_training import ball, MIRROR
from training_tools.presets import Preset
from training_tools.training import TrainingSettings, train

class Recipe:
    parameters, name, learning_rate, batch_size, weight_decay, bfloat16 = {{}}, "tiny", 1e-2, 4, 0.0, False
    def build(self):
        return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 12))
    def sample(self, cloud, mean, landmarks, generator):
        return {{"points": landmarks / 60 + generator.normal(0, 0.02, landmarks.shape).astype(np.float32)}}
    def predict(self, network, batch):
        return 60 * network(batch["points"].flatten(1)).reshape(-1, 4, 3)
    def loss(self, network, batch):
        return (self.predict(network, batch) - batch["landmarks"]).norm(dim=-1).mean()

faces = [ball(i, 300) for i in range(13)]
mean = np.mean([f.landmarks for f in faces], axis=0).astype(float)
train(Path(sys.argv[1]), Recipe(), faces, [ball(i, 300) for i in range(20, 25)], mean, MIRROR,
      TrainingSettings(workers=0, preset=Preset(epochs=4, validate_every=1)))
"""


def run_script(script: Path, run: Path, processes: int) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "PALNetLandmarks")]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *start, str(script), str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_come_to_the_same_result(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    run_script(script, tmp_path / "one", 1)
    run_script(script, tmp_path / "two", 2)
    logs = []
    for run in ("one", "two"):
        with (tmp_path / run / "log.csv").open() as file:
            logs.append(list(csv.DictReader(file)))
    assert len(logs[0]) == len(logs[1]) == 4  # one process writes, not both
    for a, b in zip(*logs, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
        assert float(a["validation_mm"]) == pytest.approx(float(b["validation_mm"]), rel=1e-3)
    one, two = (load_file(tmp_path / run / "best.safetensors") for run in ("one", "two"))
    start = nn.Linear(12, 32)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)
    assert (one["0.weight"] - start.weight).abs().max() > 0.01
