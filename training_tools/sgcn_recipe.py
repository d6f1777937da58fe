"""How the network `sgcn` is trained: heatmaps over |V| points of each face, Adaptive Wing loss (CVIU 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from PALNetLandmarksLib.engine.cloud import CROP_MARGIN
from PALNetLandmarksLib.engine.graphs import padded
from PALNetLandmarksLib.engine.heat_inputs import heat_input
from PALNetLandmarksLib.engine.heatmaps import UnitFrame, heat_targets
from PALNetLandmarksLib.engine.mesh_localisation import locate_by_mean, locate_on_mesh
from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.networks.sgcn import SGCN
from PALNetLandmarksLib.engine.principal_axes import PrincipalFrame
from training_tools.adaptive_wing import heat_loss
from training_tools.reference_file import read_reference

Array = NDArray[np.float32]
Batch = Mapping[str, Tensor]

SURFACE_POINTS = 32_768
"""Points of the dense cloud that stand for the mesh's vertices when a network is validated during training."""

LAFAS: dict[str, Any] = {"points": 8000, "neighbours": 32, "depth": 4}
"""What the paper takes for the LAFAS scans, which the 50 landmarks and the simulated scans are like."""

FACESCAPE: dict[str, Any] = {"points": 8000, "neighbours": 16, "depth": 20}
"""What the paper takes for FaceScape; give it as parameters."""


@dataclass
class SgcnRecipe:
    """Heatmaps by a stratified graph network: Adam, 1e-3, batches of 4 as published."""

    parameters: dict[str, Any]
    name: str = "sgcn"
    learning_rate: float = 1e-3
    batch_size: int = 4
    weight_decay: float = 0.0
    bfloat16: bool = False  # positions in [-1, 1] would be rounded to half a millimetre
    answer_parameters: ClassVar[frozenset[str]] = frozenset({"stages", "hottest", "reach"})

    @cached_property
    def settings(self) -> SGCN:
        """The network without weights: all its settings, checked, with their defaults."""
        with torch.device("meta"):
            network = build_network(self.name, self.parameters)
        assert isinstance(network, SGCN)
        return network

    @property
    def facet_normals(self) -> bool:
        """Whether training clouds must carry the normals of triangles, as at prediction."""
        return self.settings.facet_normals

    def build(self) -> nn.Module:
        """Return a fresh network."""
        return build_network(self.name, self.parameters)

    def sample(
        self, cloud: Array, mean: Array, landmarks: Array, generator: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Resample a face (n, 6) to |V| points and build its graphs; other points at every epoch."""
        settings = self.settings
        axes = None if settings.principal_axes is None else PrincipalFrame.from_dict(settings.principal_axes)
        face = heat_input(
            cloud[:, :3], cloud[:, 3:], mean, settings, principal_axes=axes, seed=int(generator.integers(2**31))
        )
        chosen = generator.permutation(len(cloud))[np.arange(SURFACE_POINTS) % len(cloud)]
        frame = UnitFrame.of(mean)
        # All arrays have the same shapes for all faces: they will stand in one batch.
        return {
            "points": face.points,
            "starts": face.starts,
            "neighbours": padded(face.neighbours, 2 * settings.points * settings.neighbours),
            "member": face.member,
            "places": cloud[face.index, :3],
            "surface": cloud[chosen, :3],
            "to_aligned": face.to_aligned.astype(np.float32),
            "frame": np.array([*frame.centre, frame.half_extent], dtype=np.float32),
        }

    def _heat(self, network: nn.Module, batch: Batch) -> Tensor:
        heat: Tensor = network(batch["points"], batch["starts"], batch["neighbours"], batch["member"])
        return heat

    def targets(self, batch: Batch) -> Tensor:
        """Return the heat that the network should give, (b, n, l)."""
        turn, shift = batch["to_aligned"][:, :3, :3], batch["to_aligned"][:, :3, 3]
        aligned = batch["landmarks"] @ turn.transpose(1, 2) + shift[:, None]
        centre, half_extent = batch["frame"][:, None, :3], batch["frame"][:, None, 3:]
        unit = (aligned - centre) / half_extent
        return heat_targets(batch["points"][..., :3], unit, self.settings.sigma)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted Adaptive Wing loss over all points and annotated landmarks.

        Landmarks under hair or in a hole count like the others: no point is near them, so their heatmaps are cold, and
        that is how the network tells that they are hidden.
        """
        known = batch["known"] if "known" in batch else torch.isfinite(batch["landmarks"]).all(dim=2)
        return heat_loss(self._heat(network, batch).float(), self.targets(batch), known)

    @torch.no_grad()
    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return landmarks, (b, l, 3): both stages, with the points of the dense cloud in the place of vertices."""
        settings = self.settings
        hottest = self._heat(network, batch).float().transpose(1, 2).topk(settings.hottest, dim=2)
        values, index = hottest.values.double().cpu().numpy(), hottest.indices.cpu().numpy()
        found = []
        for face, (heat, chosen) in enumerate(zip(values, index, strict=True)):
            points = batch["places"][face].double().cpu().numpy()[chosen]
            sigma = settings.sigma * float(batch["frame"][face, 3])
            if settings.stages == 1:
                fit = locate_by_mean(points, heat, sigma)
            else:
                surface = batch["surface"][face].double().cpu().numpy()
                fit = locate_on_mesh(surface, points, heat, sigma, settings.reach)
            found.append(fit.landmarks)
        return torch.from_numpy(np.stack(found)).to(batch["landmarks"])


def axes_of_reference(path: Path) -> PrincipalFrame:
    """Return the principal axes of the reference face, cut out like every scan by the box of its landmarks."""
    face = read_reference(path)
    points = np.asarray(face.reference.points, dtype=np.float64)
    low, high = face.landmarks.min(axis=0) - CROP_MARGIN, face.landmarks.max(axis=0) + CROP_MARGIN
    inside = ((points >= low) & (points <= high)).all(axis=1)
    return PrincipalFrame.of(points[inside])


def sgcn_recipe(landmarks: int, mirror: list[int], parameters: Mapping[str, Any]) -> SgcnRecipe:
    """Return the recipe of the stratified graph network; by default with the sizes that the paper takes for LAFAS.

    The parameter ``principal_axes`` may also be a file with a reference face: its axes are put in its place.
    """
    parameters = {"landmarks": landmarks, **LAFAS, **parameters}
    if isinstance(parameters.get("principal_axes"), str):
        parameters["principal_axes"] = axes_of_reference(Path(parameters["principal_axes"])).to_dict()
    recipe = SgcnRecipe(parameters)
    _ = recipe.settings  # refuses impossible parameters before anything is prepared
    return recipe
