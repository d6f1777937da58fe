"""How a network is trained, by name: ours, and the published recipe (arXiv 2510.00910, section on training)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from PALNetLandmarksLib.errors import UsageError


@dataclass(frozen=True)
class Preset:
    """Optimiser, learning rate over time, when to stop, and what the network sees.

    Attributes
    ----------
    network : str
        Network that is trained where none is named.
    optimiser : {'adamw', 'adam'}
        With momentum factors 0.9 and 0.98, or 0.9 and 0.999 (PyTorch's default).
    learning_rate, batch_size, weight_decay
        None: what the network's recipe says.
    schedule : {'cosine', 'plateau', 'constant'}
        Half a cosine from the learning rate to a hundredth of it; or times ``plateau_factor`` whenever
        ``plateau_epochs`` epochs have brought nothing better; or always the same.
    warm_up_steps : int
        Steps in which the learning rate rises from zero; a tenth of all steps at most.
    stop_after : int
        Epochs without anything better after which the training ends; 0: never.
    epochs : int
    averaging : float
        Decay of the weights' moving average; 0: none.
    largest_gradient : float
        Gradients are shortened to this length; 0: never.
    chosen_by : {'point_error', 'loss'}
        What is least on the validation scans in the epoch that is kept.
    augmentation : bool
        Whether every step sees a randomly changed face.
    aligned_by : {'landmarks', 'registration'}
        How training scans come into the reference frame: by their annotation (to which the default network's second
        alignment converges), or by the registration that prediction uses, as published.
    validate_every : int
        Epochs from one look at the validation scans to the next.
    """

    network: str = "patch_transformer"
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    plateau_factor: float = 0.5
    plateau_epochs: int = 8
    warm_up_steps: int = 200
    stop_after: int = 0
    epochs: int = 40
    averaging: float = 0.998
    largest_gradient: float = 5.0
    chosen_by: Literal["point_error", "loss"] = "point_error"
    augmentation: bool = True
    aligned_by: Literal["landmarks", "registration"] = "landmarks"
    validate_every: int = 2

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as they are written down beside a training."""
        return asdict(self)

    def changed(self, **values: Any) -> Preset:
        """Return a copy with those values that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


#: What both published trainings have in common.
_PUBLISHED = Preset(
    optimiser="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    warm_up_steps=0,
    epochs=500,
    averaging=0.0,
    largest_gradient=0.0,
    chosen_by="loss",
    augmentation=False,
    aligned_by="registration",
)

PRESETS: dict[str, Preset] = {
    "default": Preset(),
    # The loss (0.6 × point + 0.4 × pairwise distance error) and Xavier's weights belong to the network's own recipe.
    # The paper does not say how many epochs at most; early stopping ends the training long before.
    "paper": replace(
        _PUBLISHED,
        network="palnet",
        batch_size=16,
        schedule="plateau",
        plateau_factor=0.5,
        plateau_epochs=8,
        stop_after=30,
        validate_every=1,
    ),
    # Burger et al., CVIU 2024: 500 epochs of Adam; the network's recipe holds loss and |V|, k, D.
    "paper-sgcn": replace(_PUBLISHED, network="sgcn", batch_size=4, schedule="constant", validate_every=5),
}


def preset_named(name: str) -> Preset:
    """Return a preset by its name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in PRESETS:
        raise UsageError(
            f"The preset '{name}' is not known.", f"Known are: {', '.join(PRESETS)}.", code="training.preset"
        )
    return PRESETS[name]


@dataclass
class Progress:
    """What the loop remembers of its validation: the best so far, when it was, and how often the rate was lowered.

    ``waited`` counts validations without anything better since the best or the last lowering.
    """

    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    lowered: int = 0

    def seen(self, value: float, epoch: int, preset: Preset) -> bool:
        """Take in the validation of an epoch; returns whether it is the best so far."""
        if math.isfinite(value) and (self.best is None or value < self.best):
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += preset.validate_every
        if preset.schedule == "plateau" and self.waited >= preset.plateau_epochs:
            self.waited, self.lowered = 0, self.lowered + 1
        return False

    def finished(self, epoch: int, preset: Preset) -> bool:
        """Say whether the training has ended early."""
        return bool(preset.stop_after) and epoch - self.best_epoch >= preset.stop_after


def learning_rate(preset: Preset, full: float, step: int, steps: int, lowered: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    preset : Preset
    full : float
        The rate to begin with.
    step, steps : int
        Number of the step from 0, and how many there will be.
    lowered : int
        How often the plateau has lowered the rate.

    Examples
    --------
    >>> paper = preset_named("paper")
    >>> learning_rate(paper, 1e-3, 5000, 10000, lowered=2)
    0.00025
    """
    # A small data set has few steps in all: it must not spend them all on warming up.
    warm_up = min(preset.warm_up_steps, max(steps // 10, 1))
    warm = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    if preset.schedule == "plateau":
        return full * warm * preset.plateau_factor**lowered
    if preset.schedule == "constant":
        return full * warm
    return full * warm * (0.5 * (1 + math.cos(math.pi * step / steps)) * 0.99 + 0.01)
