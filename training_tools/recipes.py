"""What each network eats and how it is trained: one recipe for each network name.

A new network adds its recipe to ``RECIPES``, in a file of its own; nothing else needs to know it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol as TypingProtocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from PALNetLandmarksLib.engine.cloud import COARSE_STEP
from PALNetLandmarksLib.engine.locating import ordered_patches, thinned
from PALNetLandmarksLib.engine.losses import combined_loss
from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.networks.palnet import initialise_xavier_normal, palnet_patches
from PALNetLandmarksLib.engine.networks.patch_transformer import PassOutput, PatchTransformer
from PALNetLandmarksLib.errors import UsageError

Array = NDArray[np.float32]
Candidates = NDArray[np.int32]
Batch = Mapping[str, Tensor]

HIDDEN_WEIGHT = 0.25
"""Weight of a landmark under hair or in a hole: its place can only be guessed from the rest of the face."""


class Recipe(TypingProtocol):
    """What training needs to know of a network.

    A recipe whose input is not cut from a cloud of points may also have a method ``dataset(subjects, mean, mirror,
    augmentation, seed, changes)`` that returns its own data set; see :mod:`training_tools.faces`. It may name in
    ``answer_parameters`` those of its parameters that only matter once the network is trained.

    One with ``thinning`` and ``near_landmarks`` learns from clouds of so many times fewer points than it will see, and
    its ``sample`` gets two more arguments: ``thinned``, by how much this cloud is, and ``candidates``, (l, c) int32,
    indices into the cloud of so many points that were nearest to each landmark before the face was changed, −1 for
    those left out since.
    """

    name: str
    parameters: dict[str, Any]
    learning_rate: float
    batch_size: int
    weight_decay: float
    bfloat16: bool

    def build(self) -> nn.Module:
        """Return a fresh network."""
        ...

    def sample(self, cloud: Array, mean: Array, landmarks: Array, generator: np.random.Generator) -> dict[str, Array]:
        """Make the input of one face from its cloud, (n, 6) float32 in the reference frame."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        ...

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return landmarks, (b, l, 3)."""
        ...


def same_training(first: Recipe, second: Recipe) -> bool:
    """Tell whether two recipes train the same network, and differ at most in what is made of its output."""
    one, other = (
        {key: value for key, value in recipe.parameters.items() if key not in getattr(recipe, "answer_parameters", ())}
        for recipe in (first, second)
    )
    return first.name == second.name and one == other


def _nearest(cloud: Array, centres: Array, count: int) -> Array:
    tree = cKDTree(cloud[:, :3], balanced_tree=False, compact_nodes=False)
    return cloud[tree.query(centres, k=count)[1]]


def nearest_among(cloud: Array, centres: Array, count: int, candidates: Candidates) -> Array:
    """Return the (l, k, 6) points nearest to each centre (l, 3), in no order, among its own candidates.

    ``candidates`` (l, c) are indices into the cloud, −1 where there is none; where too few are left, the whole cloud is
    searched.
    """
    apart = cloud[candidates, :3] - centres[:, None]
    apart = np.einsum("lcj,lcj->lc", apart, apart)
    apart[candidates < 0] = np.inf
    chosen = candidates[np.arange(len(centres))[:, None], np.argpartition(apart, count - 1, axis=1)[:, :count]]
    return _nearest(cloud, centres, count) if (chosen < 0).any() else cloud[chosen]


def distances(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the point errors (b, l) in mm, with a gradient that stays finite at zero."""
    return (predicted - truth).square().sum(dim=-1).add(1e-4).sqrt()


@dataclass
class PatchTransformerRecipe:
    """The default network: mean point error of both passes, pairwise distances, expected error and visibility."""

    parameters: dict[str, Any]
    name: str = "patch_transformer"
    learning_rate: float = 1.2e-3
    batch_size: int = 8
    weight_decay: float = 0.01
    bfloat16: bool = True
    pool: int = 640
    thinning: int = 4
    near_landmarks: int = 1400

    def build(self) -> nn.Module:
        """Return a fresh network."""
        return build_network(self.name, self.parameters)

    def sample(
        self,
        cloud: Array,
        mean: Array,
        landmarks: Array,
        generator: np.random.Generator,
        thinned: int = 1,
        candidates: Candidates | None = None,
    ) -> dict[str, Array]:
        """Cut wide patches round the mean landmarks and a pool of close points round the true ones."""
        near = landmarks + generator.normal(0.0, 2.0, landmarks.shape).astype(np.float32)
        pool = self.pool // thinned
        if candidates is None or candidates.shape[1] < pool:
            fine = _nearest(cloud, near, pool)
        else:
            fine = nearest_among(cloud, near, pool, candidates)
        return {
            "coarse": _nearest(cloud[::COARSE_STEP], mean, self.parameters["points"] // thinned),
            "fine": fine,
            "centres": mean,
        }

    def _passes(self, network: nn.Module, batch: Batch) -> tuple[PassOutput, PassOutput]:
        assert isinstance(network, PatchTransformer)
        coarse, fine = batch["coarse"], batch["fine"]
        first = network.first_pass(coarse[..., :3], coarse[..., 3:], batch["centres"])
        with torch.no_grad():
            apart = (fine[..., :3] - first.landmarks[:, :, None].float()).square().sum(dim=-1)
            nearest = apart.topk(coarse.shape[2], dim=-1, largest=False, sorted=False).indices
            fine = torch.gather(fine, 2, nearest[..., None].expand(-1, -1, -1, 6))
        return first, network.second_pass(fine[..., :3], fine[..., 3:], first)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        first, second = self._passes(network, batch)
        truth, visible = batch["landmarks"], batch["visible"]
        known = known_landmarks(batch).float()
        pairs = known[:, :, None] * known[:, None, :]
        weight = torch.where(visible, 1.0, HIDDEN_WEIGHT) * known
        total = torch.zeros((), device=truth.device)
        for output, share in ((first, 0.4), (second, 1.0)):
            error = distances(output.landmarks.float(), truth)
            between = torch.cdist(output.landmarks.float(), output.landmarks.float())
            between_error = ((between - torch.cdist(truth, truth)).abs() * pairs).sum() / pairs.sum()
            # Negative log-likelihood of an exponential distribution: least where the scale is the expected error.
            scale = output.log_error.float()
            likelihood = ((scale + error.detach() * torch.exp(-scale)) * known).sum() / known.sum()
            seen = nn.functional.binary_cross_entropy_with_logits(
                output.visible_logit.float(), visible.float(), weight=known
            )
            point = (error * weight).sum() / weight.sum()
            total = total + share * (point + 0.2 * between_error + 0.1 * likelihood + 0.1 * seen)
        return total

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return landmarks, (b, l, 3)."""
        return self._passes(network, batch)[1].landmarks


@dataclass
class PalnetRecipe:
    """The published network with the published loss and optimiser settings.

    ``parameters`` are the network's own; its patch settings say which points it sees, so that training and prediction
    cannot differ.
    """

    parameters: dict[str, Any]
    name: str = "palnet"
    learning_rate: float = 1e-3
    batch_size: int = 16
    weight_decay: float = 0.0
    bfloat16: bool = False  # absolute coordinates up to 150 mm would be rounded to half a millimetre

    def build(self) -> nn.Module:
        """Return a fresh network, initialised as published."""
        network = build_network(self.name, self.parameters)
        initialise_xavier_normal(network)
        return network

    def sample(self, cloud: Array, mean: Array, landmarks: Array, generator: np.random.Generator) -> dict[str, Array]:
        """Cut the ordered patches, (l, k, 3), absolute coordinates."""
        settings, cloud_points = palnet_patches(self.parameters)
        points = thinned(cloud[:, :3].astype(np.float64), cloud_points)
        return {"points": ordered_patches(points, mean.astype(np.float64), settings)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return 0.6 × mean point error + 0.4 × mean pairwise distance error, over all landmarks as published."""
        return combined_loss(self.predict(network, batch), batch["landmarks"], known_landmarks(batch))

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return landmarks, (b, l, 3)."""
        return cast(Tensor, network(batch["points"]).landmarks)


def known_landmarks(batch: Batch) -> Tensor:
    """Return which landmarks of a batch are annotated, (b, l) bool; all where the batch does not say."""
    return batch["known"] if "known" in batch else torch.ones_like(batch["landmarks"][..., 0], dtype=torch.bool)


def patch_transformer_recipe(landmarks: int, mirror: list[int], parameters: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the default network."""
    return PatchTransformerRecipe({"landmarks": landmarks, "mirror": mirror, "points": 256, **parameters})


def palnet_recipe(landmarks: int, mirror: list[int], parameters: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the published network."""
    return PalnetRecipe({"landmarks": landmarks, "points_per_patch": 1000, **parameters})


RECIPES: dict[str, str] = {
    # network: function (number of landmarks, mirror, further parameters of the network) -> recipe
    "patch_transformer": "training_tools.recipes:patch_transformer_recipe",
    "palnet": "training_tools.recipes:palnet_recipe",
    "sgcn": "training_tools.sgcn_recipe:sgcn_recipe",
}


def recipe_for(name: str, landmarks: int, mirror: list[int], parameters: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a network by its name, for a protocol.

    Parameters
    ----------
    name : str
        One of ``RECIPES``.
    landmarks : int
    mirror : list of int
        Landmark on the other side.
    parameters : mapping, optional
        Parameters of the network that differ from the recipe's own.

    Raises
    ------
    UsageError
        If there is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(
            f"There is no recipe for a network '{name}'.",
            f"Choose one of {', '.join(RECIPES)}.",
            code="training.network",
        )
    module, _, attribute = RECIPES[name].partition(":")
    make: Callable[..., Recipe] = getattr(importlib.import_module(module), attribute)
    further = dict(parameters or {})
    # A recipe of few words need not take parameters.
    return make(landmarks, mirror, further) if len(inspect.signature(make).parameters) > 2 else make(landmarks, mirror)
