"""What an exact resume needs, on disk: weights, their average, the optimiser's memory, and the state of the loop.

Tensors and JSON only, never a pickle. A file appears whole or not at all: when the disk is full, the last whole
checkpoint stays and the error says so.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import raise_write_error


class WeightAverage:
    """Exponential moving average of the weights; the averaged network generalises better than the last step.

    Parameters
    ----------
    network : torch.nn.Module
    decay : float
        Share of the old average that a step keeps; 0: none is kept.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        values = network.state_dict() if decay else {}
        self.weights = {name: value.detach().clone() for name, value in values.items()}

    def update(self, network: nn.Module) -> None:
        """Take one step's weights in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        values = network.state_dict()
        floating = [name for name, value in values.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([self.weights[n] for n in floating], [values[n].detach() for n in floating], 1.0 - decay)
        for name in values.keys() - set(floating):
            self.weights[name].copy_(values[name])


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file that appears whole or not at all.

    Raises
    ------
    InputError
        When the system refuses (full disk, no permission); a file that was there before keeps its content.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        whole = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
        save_file(whole, temporary, metadata=metadata)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a full network disk says so only here
        temporary.chmod(0o644)  # the library makes its files unreadable for others
        temporary.replace(path)
    except OSError as error:
        raise_write_error(error, path)
    except SafetensorError as error:
        # The library wraps what the system said in words; most often that is a full disk.
        full = any(word in str(error) for word in ("No space", "os error 28", "File too large", "os error 27"))
        number = errno.ENOSPC if full else errno.EIO
        raise_write_error(OSError(number, os.strerror(number)), path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(
    path: Path, network: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write everything that an exact resume needs.

    Parameters
    ----------
    path : Path
    network, average, optimizer
        Their tensors are written as they are.
    state : dict
        JSON values: the loop's own state.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
    save_tensors(path, tensors, {"state": json.dumps(state | {"average_steps": average.steps})})


def load_checkpoint(
    path: Path, network: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what :func:`save_checkpoint` wrote and return its state.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another network.
    """
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        network.load_state_dict(part("network."))
        device = next(network.parameters()).device
        average.weights = {name: value.to(device) for name, value in part("average.").items()}
        average.steps = state["average_steps"]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path.name} of '{path.parent.name}' cannot be used to go on with this training.",
            "Remove that file to train from the beginning, or choose another folder with --run.",
            code="training.checkpoint",
        ) from error
    return state
