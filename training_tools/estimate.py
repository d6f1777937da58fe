"""A dry run: how long a training would take and how much memory, from a few steps; nothing is kept."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from training_tools.checkpoints import save_checkpoint
from training_tools.distributed import Team
from training_tools.memory import peak_memory_mb
from training_tools.training import Trainer
from training_tools.training_job import TrainingJob, prepare

TIMED_STEPS = 3
SCANS_READ = 3


@dataclass(frozen=True)
class Estimate:
    """What a training would need.

    ``parameters`` of the network; ``reading_s`` to read all scans once; ``epoch_s``; ``epochs`` at most; ``total_s``;
    ``memory_mb`` of the training process; ``checkpoint_mb`` on disk.
    """

    parameters: int
    reading_s: float
    epoch_s: float
    epochs: int
    memory_mb: float
    checkpoint_mb: float

    @property
    def total_s(self) -> float:
        """Reading and all epochs."""
        return self.reading_s + self.epochs * self.epoch_s

    def text(self) -> str:
        """Return the estimate in words, a line for each figure."""
        return "\n".join([
            f"network             {self.parameters:,} parameters",
            f"reading the scans   {duration(self.reading_s)} once",
            f"an epoch            {duration(self.epoch_s)}",
            f"all {self.epochs} epochs".ljust(20) + f"{duration(self.total_s)} with reading, at most",
            f"memory              {self.memory_mb:,.0f} MB",
            f"checkpoint          {self.checkpoint_mb:,.0f} MB on disk",
        ])  # fmt: skip


def duration(seconds: float) -> str:
    """Write a time in the unit that fits.

    Examples
    --------
    >>> duration(12.34), duration(600), duration(90000)
    ('12.3 s', '10 min', '25.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def estimate(job: TrainingJob, jobs: int) -> Estimate:
    """Take a few steps of a training and say what all of it would need; nothing of it stays on disk.

    The few scans that are read stand for all, so that input and steps have their real size. One process is measured;
    with several (``torchrun``) each takes its part of the steps.

    Parameters
    ----------
    job : TrainingJob
    jobs : int
        Processes that would read the scans.
    """
    with tempfile.TemporaryDirectory(prefix="palnet-dry-run-") as folder:
        few = replace(
            job,
            run=Path(folder) / "run",
            training=job.training[:SCANS_READ],
            validation=job.validation[:1],
            cache=Path(folder) / "cache",
        )
        started = time.perf_counter()
        read = prepare(few, 1)
        each = (time.perf_counter() - started) / (len(few.training) + len(few.validation))
        training = [read.training[i % len(read.training)] for i in range(len(job.training))]
        # Faces are made in this process, so that making them is timed too.
        settings = replace(job.settings, workers=0)
        torch.set_num_threads(settings.threads)
        device = settings.device
        trainer = Trainer(
            job.network.recipe(job.protocol), settings, training, read.validation, read.mean,
            np.asarray(job.protocol.mirror), Team(device=device),
        )  # fmt: skip
        # What never changes is made once: as much as the steps need is made now and shared by the rest.
        trainer.faces.prepare_first(len(few.training))
        times = []
        last = time.perf_counter()
        for _ in trainer.epoch(0, 0, most_steps=1 + TIMED_STEPS):
            times.append(time.perf_counter() - last)
            last = time.perf_counter()
        step = float(np.mean(times[1:] or times))  # the first one warms up
        last = time.perf_counter()
        trainer.validate()
        look = (time.perf_counter() - last) * len(job.validation) / trainer.plan.validate_every
        probe = Path(folder) / "checkpoint"
        save_checkpoint(probe, trainer.network, trainer.average, trainer.optimizer, {})
        return Estimate(
            parameters=sum(p.numel() for p in trainer.network.parameters()),
            reading_s=each * (len(job.training) + len(job.validation)) / max(jobs, 1),
            epoch_s=step * len(trainer.batches) + look,
            epochs=trainer.plan.epochs,
            memory_mb=peak_memory_mb(device) + _faces_mb(trainer, len(read.training)),
            checkpoint_mb=probe.stat().st_size / 1e6,
        )


def _faces_mb(trainer: Trainer, read: int) -> float:
    """Memory of the clouds that a dry run did not read, MB."""
    one = float(np.mean([subject.cloud.nbytes for subject in trainer.faces.subjects[:read]]))
    return one * max(len(trainer.faces) - read, 0) / 1e6
