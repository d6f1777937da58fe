"""The training loop: augmented faces, weight averaging, exact resume after a kill."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training_tools.augmentation import Augmentation, augment
from training_tools.dataset import CanonicalSubject
from training_tools.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how a network is trained."""

    epochs: int = 40
    seed: int = 0
    averaging: float = 0.998
    validate_every: int = 2
    workers: int = 1
    threads: int = 1
    device: str = "cpu"


class FaceDataset(Dataset[dict[str, Tensor]]):
    """Faces as the network's input; with an augmentation another one at every epoch, else always the same."""

    def __init__(
        self,
        subjects: list[CanonicalSubject],
        mean: NDArray[np.float32],
        mirror: NDArray[np.int64],
        recipe: Recipe,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.subjects, self.mean, self.mirror = subjects, mean, mirror
        self.recipe, self.augmentation, self.seed = recipe, augmentation, seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of subjects."""
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one face's input and truth."""
        subject = self.subjects[index]
        # Depends on seed, epoch and subject only: resuming gives the same faces as never having stopped.
        generator = np.random.default_rng((self.seed, self.epoch, index))
        cloud, landmarks, mirrored = augment(
            subject.cloud, subject.landmarks, self.mirror, self.augmentation, generator
        )
        visible = subject.visible[self.mirror] if mirrored else subject.visible
        sample: dict[str, Any] = self.recipe.sample(cloud, self.mean, landmarks, generator)
        sample |= {"landmarks": landmarks.astype(np.float32), "visible": visible}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in sample.items()}


class WeightAverage:
    """Exponential moving average of the weights; the averaged network generalises better than the last step."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Take one step's weights in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value.detach(), 1.0 - decay)


def save_checkpoint(
    path: Path, network: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write everything that an exact resume needs, as tensors and JSON (no pickle); appears whole or not at all."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
    temporary = path.with_suffix(".part")
    metadata = {"state": json.dumps(state | {"average_steps": average.steps})}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary, metadata=metadata)
    temporary.replace(path)


def load_checkpoint(
    path: Path, network: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what :func:`save_checkpoint` wrote and return its state."""
    from safetensors import safe_open

    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])

    def part(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    network.load_state_dict(part("network."))
    average.weights, average.steps = part("average."), state["average_steps"]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


@torch.no_grad()
def validate(network: nn.Module, recipe: Recipe, loader: DataLoader[dict[str, Tensor]], device: str) -> NDArray[Any]:
    """Return the mean error of each landmark over the validation faces, (l,) mm, hidden ones left out."""
    network.eval()
    total, count = 0.0, 0.0
    for batch in loader:
        batch = {k: v.to(device) for k, v in batch.items()}
        error = (recipe.predict(network, batch).float() - batch["landmarks"]).norm(dim=-1)
        total = total + (error * batch["visible"]).sum(dim=0)
        count = count + batch["visible"].sum(dim=0)
    network.train()
    return np.asarray(torch.as_tensor(total / count).cpu())


def train(
    run: Path,
    recipe: Recipe,
    training: list[CanonicalSubject],
    validation: list[CanonicalSubject],
    mean: NDArray[np.float64],
    mirror: NDArray[np.int64],
    settings: TrainingSettings,
    augmentation: Augmentation | None = None,
) -> Path:
    """Train a network and return the file of its best averaged weights.

    Parameters
    ----------
    run : Path
        Folder of this training: checkpoint, log, best weights. An interrupted training goes on from here.
    recipe : Recipe
    training, validation : lists of CanonicalSubject
    mean : (l, 3) float64
    mirror : (l,) int64
    settings : TrainingSettings
    augmentation : Augmentation, optional

    Notes
    -----
    The best epoch is chosen on ``validation``; nothing here ever sees the test scans.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = settings.device
    mean32 = mean.astype(np.float32)
    faces = FaceDataset(training, mean32, mirror, recipe, augmentation or Augmentation(), settings.seed)
    still = Augmentation(
        holes=0,
        mirror_share=0.0,
        anisotropy=0.0,
        shear=0.0,
        bend_mm=0.0,
        noise_mm=0.0,
        normal_noise=0.0,
        keep_share=(0.8, 0.8),
        large_share=0.0,
    )
    unseen = FaceDataset(validation, mean32, mirror, recipe, still, settings.seed + 1)
    unseen_loader: DataLoader[dict[str, Tensor]] = DataLoader(unseen, recipe.batch_size)
    network = recipe.build().to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    average = WeightAverage(network, settings.averaging)
    steps_per_epoch = len(faces) // recipe.batch_size
    total_steps = steps_per_epoch * settings.epochs
    checkpoint, best_file, log_file = run / "checkpoint.safetensors", run / "best.safetensors", run / "log.csv"
    state: dict[str, Any] = {"epoch": 0, "best": None, "seconds": 0.0}
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, network, average, optimizer)
        logger.info("going on after epoch %d", state["epoch"])

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / 200)
        return recipe.learning_rate * warm * (0.5 * (1 + np.cos(np.pi * step / total_steps)) * 0.99 + 0.01)

    for epoch in range(state["epoch"], settings.epochs):
        started = time.monotonic()
        torch.manual_seed(settings.seed * 100_003 + epoch)
        faces.epoch = epoch
        loader = DataLoader(
            faces,
            recipe.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=settings.workers,
            generator=torch.Generator().manual_seed(settings.seed * 7919 + epoch),
        )
        losses = []
        for step, batch in enumerate(_to_device(loader, device)):
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch * steps_per_epoch + step)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=recipe.bfloat16):
                loss = recipe.loss(network, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            average.update(network)
            losses.append(loss.item())
        state["epoch"] = epoch + 1
        state["seconds"] += time.monotonic() - started
        row: dict[str, Any] = {"epoch": epoch + 1, "loss": np.mean(losses), "seconds": state["seconds"]}
        if (epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs:
            averaged = recipe.build().to(device)
            averaged.load_state_dict(average.weights)
            errors = validate(averaged, recipe, unseen_loader, device)
            row["validation_mm"] = float(np.nanmean(errors))
            if state["best"] is None or row["validation_mm"] < state["best"]:
                state["best"] = row["validation_mm"]
                save_file({k: v.contiguous() for k, v in average.weights.items()}, best_file)
        save_checkpoint(checkpoint, network, average, optimizer, state)
        _append(log_file, row)
        logger.info(" ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return best_file


def _to_device(loader: DataLoader[dict[str, Tensor]], device: str) -> Iterator[dict[str, Tensor]]:
    for batch in loader:
        yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def _append(path: Path, row: dict[str, Any]) -> None:
    columns = ["epoch", "loss", "validation_mm", "seconds"]
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
