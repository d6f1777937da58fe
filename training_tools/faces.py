"""Training faces as a network's input: a changed one at every step, or always the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.utils.data import Dataset

from training_tools.augmentation import Augmentation, augment
from training_tools.dataset import CanonicalSubject
from training_tools.recipes import Recipe

STILL = Augmentation(
    holes=0,
    mirror_share=0.0,
    anisotropy=0.0,
    shear=0.0,
    bend_mm=0.0,
    noise_mm=0.0,
    normal_noise=0.0,
    keep_share=(0.8, 0.8),  # the density of points that prediction has
    large_share=0.0,
    small_degrees=0.0,
    small_mm=0.0,
)
"""A face as it was scanned and aligned."""

UNSEEN = Augmentation(**{**STILL.__dict__, "small_degrees": 1.2, "small_mm": 1.2})
"""A validation face: with the residual of an alignment, without which it would be easier than a new scan."""

REMEMBERED_BYTES = 4 * 1024**3
"""Inputs that never change are kept in memory up to this size."""


class FaceDataset(Dataset[dict[str, Tensor]]):
    """Faces as the network's input; with an augmentation another one at every epoch, else always the same.

    Parameters
    ----------
    subjects : list of CanonicalSubject
    mean : (l, 3) float32
        Mean landmarks of the training subjects.
    mirror : (l,) int64
    recipe : Recipe
    augmentation : Augmentation
    seed : int
    changes : bool
        Whether the same face is another one in the next epoch.
    """

    def __init__(
        self,
        subjects: list[CanonicalSubject],
        mean: NDArray[np.float32],
        mirror: NDArray[np.int64],
        recipe: Recipe,
        augmentation: Augmentation,
        seed: int,
        changes: bool = True,
    ) -> None:
        self.subjects, self.mean, self.mirror = subjects, mean, mirror
        self.recipe, self.seed, self.changes = recipe, seed, changes
        self.near_landmarks: int = getattr(recipe, "near_landmarks", 0) if changes else 0
        self.thinning: int = getattr(recipe, "thinning", 1) if changes else 1
        low, high = augmentation.keep_share
        self.augmentation = replace(augmentation, keep_share=(low / self.thinning, high / self.thinning))
        self.epoch = 0
        self._near: list[NDArray[np.int32]] = []
        self._kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        """Return the number of subjects."""
        return len(self.subjects)

    def prepare(self) -> None:
        """Make now what never changes, so that processes forked later share it."""
        if not self.subjects:
            return
        if self.changes:
            self._near = [self._near_landmarks(subject) for subject in self.subjects] if self.near_landmarks else []
            return
        first = self._made(0)
        size = sum(value.element_size() * value.nelement() for value in first.values())
        if size * len(self) <= REMEMBERED_BYTES:
            self._kept = {0: first} | {index: self._made(index) for index in range(1, len(self))}

    def prepare_first(self, count: int) -> None:
        """Prepare the first faces and let them stand for all: for a dry run over few scans."""
        first = range(min(count, len(self)))
        if not self.changes:
            made = [self._made(index) for index in first]
            self._kept = {index: made[index % len(made)] for index in range(len(self))}
        elif self.near_landmarks:
            near = [self._near_landmarks(self.subjects[index]) for index in first]
            self._near = [near[index % len(near)] for index in range(len(self))]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one face's input and truth: what the recipe makes, ``landmarks``, ``visible`` and ``known``."""
        return self._kept[index] if index in self._kept else self._made(index)

    def _made(self, index: int) -> dict[str, Tensor]:
        subject = self.subjects[index]
        # Depends on seed, epoch and subject only: resuming gives the same faces as never having stopped.
        generator = np.random.default_rng((self.seed, self.epoch if self.changes else 0, index))
        cloud, landmarks, mirrored, kept = augment(
            subject.cloud, subject.landmarks, self.mirror, self.augmentation, generator
        )
        known = np.asarray(np.isfinite(landmarks).all(axis=1))
        # A landmark that nobody marked stands at its mean place, where it does no harm, and counts nowhere.
        landmarks = np.where(known[:, None], landmarks, self.mean).astype(np.float32)
        visible = (subject.visible[self.mirror] if mirrored else subject.visible) & known
        sample: dict[str, Any] = self.recipe.sample(
            cloud, self.mean, landmarks, generator, **self._candidates(index, mirrored, kept)
        )
        sample |= {"landmarks": landmarks, "visible": visible, "known": known}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in sample.items()}

    def _near_landmarks(self, subject: CanonicalSubject) -> NDArray[np.int32]:
        """Return the indices (l, c) of the points nearest to each landmark of an unchanged face."""
        centres = np.where(np.isfinite(subject.landmarks), subject.landmarks, self.mean)
        tree = cKDTree(subject.cloud[:, :3], balanced_tree=False, compact_nodes=False)
        count = min(self.near_landmarks, len(subject.cloud))
        return np.asarray(tree.query(centres, k=count)[1], dtype=np.int32)

    def _candidates(self, index: int, mirrored: bool, kept: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the further arguments of the ``sample`` of a recipe that thins, see `training_tools.recipes`."""
        if not self.near_landmarks:
            return {}
        near = self._near[index] if self._near else self._near_landmarks(self.subjects[index])
        place = np.where(kept, np.cumsum(kept, dtype=np.int32) - 1, -1).astype(np.int32)
        return {"thinned": self.thinning, "candidates": place[near[self.mirror] if mirrored else near]}


def faces_for(
    recipe: Recipe,
    subjects: list[CanonicalSubject],
    mean: NDArray[np.float32],
    mirror: NDArray[np.int64],
    augmentation: Augmentation,
    seed: int,
    changes: bool,
) -> FaceDataset:
    """Return the data set of a recipe: its own where it has one (a method ``dataset``), else patches of clouds."""
    make = getattr(recipe, "dataset", None)
    if make is not None:
        own: FaceDataset = make(subjects, mean, mirror, augmentation, seed, changes)
        return own
    return FaceDataset(subjects, mean, mirror, recipe, augmentation, seed, changes)
