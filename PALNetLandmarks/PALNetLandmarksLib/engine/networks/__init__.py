"""The networks, by name.

A bundle names its network and the parameters it was built with; `build_network` is the only place that knows which
class that is. A class is imported when it is asked for, so listing the names does not load PyTorch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from PALNetLandmarksLib.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from PALNetLandmarksLib.engine.patches import PatchSettings

_NETWORKS = {
    "palnet": "PALNetLandmarksLib.engine.networks.palnet:PALNet",
    "patch_transformer": "PALNetLandmarksLib.engine.networks.patch_transformer:PatchTransformer",
    "sgcn": "PALNetLandmarksLib.engine.networks.sgcn:SGCN",
}


class NetworkOutput(NamedTuple):
    """What a network says of a batch of scans.

    Attributes
    ----------
    landmarks : (b, L, 3) float tensor
        Coordinates in the reference frame, mm.
    log_scale : (b, L) float tensor or None
        Logarithm of the error the network itself expects, mm; None where it does not say.
    """

    landmarks: Tensor
    log_scale: Tensor | None = None


class LandmarkNetwork(Protocol):
    """A `torch.nn.Module` that finds all landmarks from one set of patches, in one call.

    A network with more passes has methods of its own for them and returns its own tuple.

    Attributes
    ----------
    patch_settings : PatchSettings
        What the patches must be.
    landmark_count : int
        L.
    """

    patch_settings: PatchSettings
    landmark_count: int

    def __call__(self, points: Tensor, normals: Tensor | None = None, centres: Tensor | None = None) -> NetworkOutput:
        """Find the landmarks from points (b, L, K, 3), normals (b, L, K, 3) and patch centres (b, L, 3)."""
        ...


def network_names() -> tuple[str, ...]:
    """Return the names that `build_network` knows."""
    return tuple(_NETWORKS)


def build_network(name: str, parameters: Mapping[str, Any]) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        One of `network_names`.
    parameters : mapping
        Keyword arguments of the network's class, as a bundle holds them.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    BundleError
        If the network or one of its parameters is not known, is missing, or cannot be what is asked.
    """
    if name not in _NETWORKS:
        raise BundleError(
            f"The network '{name}' is not known.",
            f"Known are: {', '.join(network_names())}. The bundle may come from a newer version of this program.",
            code="bundle.network",
        )
    module, _, attribute = _NETWORKS[name].partition(":")
    network = getattr(importlib.import_module(module), attribute)
    try:
        inspect.signature(network).bind(**parameters)
    except TypeError as error:
        raise BundleError(
            f"The parameters do not fit the network '{name}': {error}.",
            f"Its parameters are: {', '.join(inspect.signature(network).parameters)}.",
            code="bundle.parameters",
        ) from error
    try:
        built: nn.Module = network(**parameters)
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError, OverflowError) as error:
        raise BundleError(
            f"The network '{name}' cannot be built with its parameters.",
            "Correct them; if they come from a bundle, it is damaged: get it again from where it came.",
            code="bundle.parameters",
        ) from error
    return built
