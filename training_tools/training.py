"""The training loop: any network by its recipe, any preset, exact resume after a kill, one process or several."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from PALNetLandmarksLib.errors import DeviceError, InputError
from PALNetLandmarksLib.spreadsheet import write_table
from training_tools.augmentation import Augmentation
from training_tools.checkpoints import WeightAverage, load_checkpoint, save_checkpoint, save_tensors
from training_tools.dataset import CanonicalSubject
from training_tools.distributed import BatchParts, Team, joined
from training_tools.faces import STILL, UNSEEN, FaceDataset, faces_for
from training_tools.memory import peak_memory_mb
from training_tools.presets import Preset, Progress, learning_rate
from training_tools.recipes import Batch, Recipe

__all__ = ["FaceDataset", "TrainingSettings", "save_checkpoint", "train"]

logger = logging.getLogger(__name__)

COLUMNS = ("epoch", "loss", "validation_mm", "validation_loss", "learning_rate", "seconds", "memory_mb")


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained how, and on what machine; ``epochs`` and the like change the preset where they are given.

    ``workers`` processes prepare the faces; ``threads`` are the network's. ``bfloat16``: mixed precision, by default
    where the recipe says that it helps.
    """

    epochs: int | None = None
    seed: int = 0
    averaging: float | None = None
    validate_every: int | None = None
    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    bfloat16: bool | None = None
    preset: Preset = field(default_factory=Preset)

    @property
    def plan(self) -> Preset:
        """The preset with what was changed."""
        return self.preset.changed(epochs=self.epochs, averaging=self.averaging, validate_every=self.validate_every)


class _Loss(nn.Module):
    """A recipe's loss as a module, so that the gradients of any network can be shared between processes."""

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        super().__init__()
        self.recipe, self.network = recipe, network

    def forward(self, batch: Batch) -> Tensor:
        return self.recipe.loss(self.network, batch)


class Trainer:
    """A network in training: takes steps, looks at the validation scans. Holds no files.

    Parameters
    ----------
    recipe : Recipe
    settings : TrainingSettings
    training, validation : list of CanonicalSubject
    mean : (l, 3) float
    mirror : (l,) int64
    team : Team
    augmentation : Augmentation, optional
        Instead of the preset's.
    weights : dict, optional
        To begin with (fine-tuning).
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: TrainingSettings,
        training: list[CanonicalSubject],
        validation: list[CanonicalSubject],
        mean: NDArray[np.float64],
        mirror: NDArray[np.int64],
        team: Team,
        augmentation: Augmentation | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        self.recipe, self.settings, self.plan, self.team = recipe, settings, settings.plan, team
        mean32 = mean.astype(np.float32)
        changes = augmentation is not None or self.plan.augmentation
        change = augmentation or (Augmentation() if changes else STILL)
        self.faces = faces_for(recipe, training, mean32, mirror, change, settings.seed, changes)
        unseen = UNSEEN if self.plan.aligned_by == "landmarks" else STILL
        self.unseen = faces_for(recipe, validation, mean32, mirror, unseen, settings.seed + 1, False)
        torch.manual_seed(settings.seed)
        self.network = recipe.build()
        if weights is not None:
            self.network.load_state_dict(weights)
        self.network.to(team.device)
        if team.device == "cpu" and hasattr(self.network, "part_by_part"):
            setattr(self.network, "part_by_part", True)  # noqa: B010  (a module's attributes have no type of their own)
        self.rate = self.plan.learning_rate if self.plan.learning_rate is not None else recipe.learning_rate
        self.optimizer = _optimizer(self.network, self.plan, self.rate, recipe.weight_decay)
        self.average = WeightAverage(self.network, self.plan.averaging)
        size = min(self.plan.batch_size or recipe.batch_size, len(training) // team.size * team.size)
        if size < 1:
            raise InputError(
                f"There are only {len(training)} training scans for {team.size} processes.",
                "Add annotated scans, or start fewer processes.",
                code="training.few",
            )
        self.batches = BatchParts(len(training), size, team, settings.seed)
        loss = _Loss(recipe, self.network)
        self.loss: nn.Module = DistributedDataParallel(loss) if team.size > 1 else loss
        self.mixed = recipe.bfloat16 if settings.bfloat16 is None else settings.bfloat16

    def prepare(self) -> None:
        """Make the inputs that never change, before any process is forked."""
        self.faces.prepare()
        self.unseen.prepare()

    def epoch(self, number: int, lowered: int, most_steps: int | None = None) -> Iterator[float]:
        """Train for one epoch, numbered from 0; yields the loss of every step."""
        # Dropout must differ between the processes, or each would drop the same.
        torch.manual_seed(self.settings.seed * 100_003 + number + 1_000_003 * self.team.rank)
        self.faces.epoch = self.batches.epoch = number
        steps = len(self.batches)
        loader: DataLoader[dict[str, Tensor]] = DataLoader(
            self.faces, batch_sampler=self.batches, num_workers=self.settings.workers
        )
        for step, batch in enumerate(loader):
            if step == most_steps:
                return
            rate = learning_rate(self.plan, self.rate, number * steps + step, steps * self.plan.epochs, lowered)
            yield self._step(batch, rate)

    def _step(self, batch: dict[str, Tensor], rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = torch.device(self.team.device)
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.mixed):
            loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.plan.largest_gradient:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.largest_gradient)
        self.optimizer.step()
        if self.plan.averaging:
            self.average.update(self.network)
        return float(self.team.added(loss.detach().float().clone())) / self.team.size

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that count: their average, or the last ones."""
        return self.average.weights if self.plan.averaging else dict(self.network.state_dict())

    @torch.no_grad()
    def validate(self) -> tuple[NDArray[np.float64], float]:
        """Return the mean error of each landmark over the validation scans, (l,) mm, hidden ones left out; the loss."""
        network = self.recipe.build().to(self.team.device)
        network.load_state_dict(self.weights())
        network.eval()
        own = range(self.team.rank, len(self.unseen), self.team.size)
        size = max(1, self.batches.batch_size // self.team.size)
        batches = [list(own[start : start + size]) for start in range(0, len(own), size)]
        loader: DataLoader[dict[str, Tensor]] = DataLoader(self.unseen, batch_sampler=batches)
        count = len(self.faces.mean)
        sums = torch.zeros(2 * count + 2, dtype=torch.float64, device=self.team.device)
        for batch in loader:
            batch = {k: v.to(self.team.device) for k, v in batch.items()}
            error = (self.recipe.predict(network, batch).float() - batch["landmarks"]).norm(dim=-1)
            sums[:count] += (error * batch["visible"]).sum(dim=0)
            sums[count : 2 * count] += batch["visible"].sum(dim=0)
            if self.plan.chosen_by == "loss":
                sums[-2] += self.recipe.loss(network, batch).double() * len(error)
            sums[-1] += len(error)
        sums = self.team.added(sums).cpu()
        return (sums[:count] / sums[count : 2 * count]).numpy(), float(sums[-2] / sums[-1])


def train(
    run: Path,
    recipe: Recipe,
    training: list[CanonicalSubject],
    validation: list[CanonicalSubject],
    mean: NDArray[np.float64],
    mirror: NDArray[np.int64],
    settings: TrainingSettings,
    augmentation: Augmentation | None = None,
    weights: dict[str, Tensor] | None = None,
) -> Path:
    """Train a network and return the file of its best weights.

    Parameters
    ----------
    run : Path
        Folder of this training; what is there is gone on with and gives the same bits as never having stopped.
    recipe : Recipe
    training, validation : list of CanonicalSubject
    mean : (l, 3) float
        Mean landmarks of the training subjects.
    mirror : (l,) int64
    settings : TrainingSettings
    augmentation : Augmentation, optional
    weights : dict, optional
        To begin with, for fine-tuning.

    Notes
    -----
    The best epoch is chosen on ``validation``; nothing here ever sees the test scans.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda":
        # The same seed gives the same bits on one GPU as far as PyTorch can; what cannot is said once.
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    with joined(settings.device) as team:
        trainer = Trainer(recipe, settings, training, validation, mean, mirror, team, augmentation, weights)
        try:
            trainer.prepare()
            return _run(run, trainer)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise DeviceError(
                f"There is not enough memory for steps of {trainer.batches.batch_size} scans.",
                "Choose a smaller --batch-size; the training goes on from its last checkpoint only with the same one.",
                code="device.memory",
            ) from error


def _run(run: Path, trainer: Trainer) -> Path:
    plan, team = trainer.plan, trainer.team
    checkpoint, best_file = run / "checkpoint.safetensors", run / "best.safetensors"
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "progress": Progress().__dict__, "history": []}
    if checkpoint.exists():
        state |= load_checkpoint(checkpoint, trainer.network, trainer.average, trainer.optimizer)
        logger.info("going on after epoch %d", state["epoch"])
        if team.leads:  # it may have ended after the checkpoint, before the curves
            _write_curves(run / "log.csv", state["history"])
    progress = Progress(**state["progress"])
    for epoch in range(state["epoch"], plan.epochs):
        if progress.finished(epoch, plan):
            break
        started = time.monotonic()
        losses = list(trainer.epoch(epoch, progress.lowered))
        seconds = time.monotonic() - started
        state["seconds"] += seconds
        rate = trainer.optimizer.param_groups[0]["lr"]
        row: dict[str, Any] = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "learning_rate": rate}
        row |= {"seconds": seconds, "memory_mb": peak_memory_mb(team.device)}
        if (epoch + 1) % plan.validate_every == 0 or epoch + 1 == plan.epochs:
            errors, loss = trainer.validate()
            row |= {"validation_mm": float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")}
            row |= {"validation_loss": loss} if plan.chosen_by == "loss" else {}
            better = progress.seen(loss if plan.chosen_by == "loss" else row["validation_mm"], epoch + 1, plan)
            if better and team.leads:
                save_tensors(best_file, trainer.weights())
        if team.leads:
            state |= {"epoch": epoch + 1, "progress": progress.__dict__, "history": [*state["history"], row]}
            save_checkpoint(checkpoint, trainer.network, trainer.average, trainer.optimizer, state)
            _write_curves(run / "log.csv", state["history"])
            logger.info(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
        team.wait()
    if not best_file.exists() and team.leads:
        raise InputError(
            "The training never gave a finite error on the validation scans.",
            "Check the annotations with 'python -m training_tools check', or lower the learning rate.",
            code="training.diverged",
        )
    return best_file


def _optimizer(network: nn.Module, plan: Preset, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    decay = plan.weight_decay if plan.weight_decay is not None else weight_decay
    if plan.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay, fused=True)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)


def _write_curves(path: Path, history: list[dict[str, Any]]) -> None:
    rows = [{k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in row.items()} for row in history]
    write_table(path, COLUMNS, [[row.get(column, "") for column in COLUMNS] for row in rows])
