"""Several processes that train one network together, as ``torchrun`` starts them; alone, everything here does nothing.

Each process takes an equal part of the same batch, so that the mean of their gradients is the gradient of the batch
and the training follows the same path as with one process, within rounding and dropout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

from PALNetLandmarksLib.errors import UsageError

LONGEST_WAIT = timedelta(hours=12)
"""The others wait while the first process reads and aligns thousands of scans."""


@dataclass(frozen=True)
class Team:
    """The processes that train together: this one's number ``rank`` from 0, how many there are, its device."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def added(self, values: Tensor) -> Tensor:
        """Add up a tensor over the processes; each gets the sum."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the other processes that ``torchrun`` started, for the time of a training.

    Parameters
    ----------
    device : str
        ``cpu`` (gloo) or ``cuda`` (nccl, one GPU for each process of a machine).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        yield Team(device=device)
        return
    own = device
    if device == "cuda":
        own = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        torch.cuda.set_device(own)
    started = not dist.is_initialized()
    if started:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        team = Team(dist.get_rank(), size, own)
        yield team
        # One that leaves while another still talks to it would have that one aborted.
        team.wait()
    finally:
        if started:
            dist.destroy_process_group()


class BatchParts(Sampler[list[int]]):
    """The batches of an epoch, of each the part of one process.

    The order depends on seed and epoch only, so that one process and several see the same batches. What is left over
    at the end of an epoch is dropped.

    Parameters
    ----------
    count : int
        Number of scans.
    batch_size : int
        Of all processes together.
    team : Team
    seed : int
    """

    def __init__(self, count: int, batch_size: int, team: Team, seed: int) -> None:
        if batch_size % team.size:
            raise UsageError(
                f"A batch of {batch_size} scans cannot be shared evenly by {team.size} processes.",
                f"Choose --batch-size as a multiple of {team.size}, or another number of processes.",
                code="training.batch",
            )
        self.count, self.batch_size, self.team, self.seed = count, batch_size, team, seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of the scans of this process's part of each batch."""
        generator = torch.Generator().manual_seed(self.seed * 7919 + self.epoch)
        order: list[int] = torch.randperm(self.count, generator=generator).tolist()
        part = self.batch_size // self.team.size
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            first = start + self.team.rank * part
            yield order[first : first + part]
