"""Model bundles: a folder with one trained model and all that is needed to use and to judge it.

A bundle holds ``bundle.json`` (identity, network, protocol, settings, training data in words, metrics, licence, and
the digest of each other file), ``weights.safetensors``, ``reference.safetensors`` and ``MODEL_CARD.md``, and, where the
model has a shape regression, ``shape.safetensors``. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays, save as save_arrays
from torch import nn

from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.registration import Reference
from PALNetLandmarksLib.engine.shape_regression import ShapeRegression
from PALNetLandmarksLib.errors import BundleError, LandmarkingError
from PALNetLandmarksLib.files import atomic_write, json_sha256
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.resources import bundled_models

FORMATS = (1, 2)
"""Formats that can be read; bundles with a shape regression have the second, so that no older program leaves it out."""

DESCRIPTION, WEIGHTS, REFERENCE, CARD = "bundle.json", "weights.safetensors", "reference.safetensors", "MODEL_CARD.md"
SHAPE = "shape.safetensors"
PROJECTIONS = ("surface", "nearest_vertex", "vertex_centroid")
_REQUIRED = (
    "id",
    "version",
    "title",
    "network",
    "protocol",
    "projection",
    "confidence",
    "missing",
    "training_data",
    "metrics",
    "licence",
    "files",
)
_MEND = "Copy the bundle again from where it came, or choose another with --model."


@dataclass(frozen=True)
class Bundle:
    """A verified model bundle.

    Parameters
    ----------
    path : Path
        Folder of the bundle.
    id, version, title, licence, training_data, card : str
        Identity and description; ``card`` is the model card's text.
    network : str
        Name of the network.
    parameters : mapping
        Parameters of the network.
    protocol : Protocol
    reference : Reference
        The common face that scans are aligned to.
    mean_landmarks : (l, 3) float64
        Average landmarks of the training scans in the reference frame, mm.
    projection : mapping
        ``kind``: ``surface``, ``nearest_vertex`` or ``vertex_centroid``; ``count`` for the last.
    confidence_scale : (l,) float64
        Factor from the network's own estimate to the expected error, found on validation scans.
    missing : mapping
        Limits beyond which a landmark is reported missing.
    metrics : mapping
        Measured errors, as the model card tells them.
    weights_sha256 : str
    sha256 : str
        Of all that decides a result, see :func:`deciding_sha256`.
    shape : ShapeRegression or None
        What corrects the network's landmarks, where the model has it.
    """

    path: Path
    id: str
    version: str
    title: str
    network: str
    parameters: Mapping[str, Any]
    protocol: Protocol
    reference: Reference
    mean_landmarks: NDArray[np.float64]
    projection: Mapping[str, Any]
    confidence_scale: NDArray[np.float64]
    missing: Mapping[str, float]
    training_data: str
    metrics: Mapping[str, Any]
    licence: str
    card: str
    weights_sha256: str
    sha256: str
    _weights: bytes = field(repr=False)
    shape: ShapeRegression | None = field(repr=False, default=None)

    def network_with_weights(self) -> nn.Module:
        """Build the network and fill in the weights, ready to predict.

        Raises
        ------
        BundleError
            If names or shapes of the weights do not fit the network.
        """
        from safetensors.torch import load as load_tensors

        network = build_network(self.network, dict(self.parameters))
        try:
            network.load_state_dict(load_tensors(self._weights), strict=True)
        except (RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"The weights of model '{self.id}' do not fit its network '{self.network}'.", _MEND, code="bundle.shape"
            ) from error
        return network.eval()


def find_bundles() -> list[Path]:
    """Return the folders of the bundles that come with the program."""
    return list(bundled_models())


def load_bundle(path: str | Path | None = None) -> Bundle:
    """Load a bundle after checking each of its files against its digest.

    Parameters
    ----------
    path : str, Path or None
        Folder of the bundle, or the id of a bundle that comes with the program; None for the default one.

    Raises
    ------
    BundleError
        If the bundle is missing, incomplete, damaged, of a newer format, or does not fit together.
    """
    folder = _locate(path)
    data = _read_description(folder)
    contents = {name: _checked_file(folder, name, digest) for name, digest in data["files"].items()}
    missing = {WEIGHTS, REFERENCE, CARD} - contents.keys()
    if missing:
        raise BundleError(
            f"The bundle '{folder.name}' does not list {', '.join(sorted(missing))}.", _MEND, code="bundle.incomplete"
        )
    try:
        protocol = Protocol.from_dict(data["protocol"])
        arrays = load_arrays(contents[REFERENCE])
        mean = arrays["mean_landmarks"].astype(np.float64)
        reference = Reference(arrays["points"], arrays["normals"], arrays["extent"])
        scale = np.asarray(data["confidence"]["scale"], dtype=np.float64)
        network, projection = data["network"], data["projection"]
        shape = ShapeRegression.from_arrays(load_arrays(contents[SHAPE]), mean) if SHAPE in contents else None
        if mean.shape != (len(protocol), 3) or scale.shape != (len(protocol),):
            raise ValueError("the number of landmarks differs from the protocol's")
        if projection["kind"] not in PROJECTIONS:
            raise ValueError(f"projection '{projection['kind']}' is not one of {', '.join(PROJECTIONS)}")
        return Bundle(
            path=folder,
            id=str(data["id"]),
            version=str(data["version"]),
            title=str(data["title"]),
            network=str(network["name"]),
            parameters=network["parameters"],
            protocol=protocol,
            reference=reference,
            mean_landmarks=mean,
            projection=projection,
            confidence_scale=scale,
            missing={str(k): float(v) for k, v in data["missing"].items()},
            training_data=str(data["training_data"]),
            metrics=data["metrics"],
            licence=str(data["licence"]),
            card=contents[CARD].decode("utf-8"),
            weights_sha256=data["files"][WEIGHTS],
            sha256=deciding_sha256(data),
            _weights=contents[WEIGHTS],
            shape=shape,
        )
    except LandmarkingError as error:
        raise BundleError(
            f"The protocol in '{folder.name}' cannot be used: {error.message}", error.hint, code="bundle.protocol"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError, UnicodeDecodeError) as error:
        raise BundleError(
            f"The bundle '{folder.name}' does not fit together: {error}.", _MEND, code="bundle.content"
        ) from error


def deciding_sha256(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that decides what a model predicts; a new model card or title is none of it.

    Of the fields of ``bundle.json`` that count and the digests of the files that count, as JSON with sorted keys and
    without spaces.

    Parameters
    ----------
    description : mapping
        Content of ``bundle.json``.
    """
    counts = {key: description[key] for key in ("network", "protocol", "projection", "confidence", "missing")}
    files = {name: digest for name, digest in description["files"].items() if name != CARD}
    return json_sha256({**counts, "files": files})


def verify_bundle(path: str | Path) -> list[str]:
    """Return what is wrong with a bundle, one sentence each; an empty list if it can be used."""
    try:
        load_bundle(path).network_with_weights()
    except BundleError as error:
        return [str(error)]
    return []


def write_bundle(
    folder: Path,
    description: Mapping[str, Any],
    weights: bytes,
    reference: Reference,
    mean_landmarks: NDArray[np.float64],
    card: str,
    shape: ShapeRegression | None = None,
) -> Path:
    """Write a bundle folder.

    Parameters
    ----------
    folder : Path
        Created where missing; ``bundle.json`` is written last, so that a half-written bundle is no bundle.
    description : mapping
        The fields of ``bundle.json`` but ``format`` and ``files``.
    weights : bytes
        A safetensors file.
    reference : Reference
    mean_landmarks : (l, 3) float64
    card : str
        Markdown.
    shape : ShapeRegression, optional
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        WEIGHTS: weights,
        REFERENCE: save_arrays(
            {
                "points": np.asarray(reference.points, dtype=np.float32),
                "normals": np.asarray(reference.normals, dtype=np.float32),
                "extent": np.asarray(reference.extent, dtype=np.uint8),
                "mean_landmarks": np.asarray(mean_landmarks, dtype=np.float64),
            }
        ),
        CARD: card.encode("utf-8"),
    }
    if shape is not None:
        contents[SHAPE] = save_arrays(shape.arrays())
    else:
        (folder / SHAPE).unlink(missing_ok=True)
    for name, content in contents.items():
        with atomic_write(folder / name, "wb") as file:
            file.write(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    with atomic_write(folder / DESCRIPTION) as file:
        json.dump(
            {"format": FORMATS[shape is not None], **description, "files": digests}, file, indent=1, ensure_ascii=False
        )
        file.write("\n")
    return folder


def _locate(path: str | Path | None) -> Path:
    found = bundled_models()
    if path is None:
        if not found:
            raise BundleError(
                "No model comes with this copy of the program.", "Give a bundle with --model.", code="bundle.none"
            )
        return found[-1]
    for folder in found:
        if folder.name == str(path):
            return folder
    folder = Path(path)
    try:
        present = (folder / DESCRIPTION).is_file()
    except OSError:  # no system has a folder of this name
        present = False
    if not present:
        known = ", ".join(p.name for p in found) or "none"
        raise BundleError(
            f"'{folder.name}' is no model bundle: it has no {DESCRIPTION}.",
            f"Name a bundle's folder, or a model that comes with the program ({known}).",
            code="bundle.missing",
        )
    return folder


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{DESCRIPTION} of '{folder.name}' cannot be read.", _MEND, code="bundle.content") from error
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        raise BundleError(
            f"{DESCRIPTION} of '{folder.name}' is not a description of a model.", _MEND, code="bundle.content"
        )
    if data.get("format") not in FORMATS:
        raise BundleError(
            f"The bundle '{folder.name}' has format {data.get('format')!r}; this version reads up to {FORMATS[-1]}.",
            "Use a version of the program that fits the bundle.",
            code="bundle.format",
        )
    absent = [name for name in _REQUIRED if name not in data]
    if absent:
        raise BundleError(f"{DESCRIPTION} of '{folder.name}' lacks {', '.join(absent)}.", _MEND, code="bundle.content")
    return data


def _checked_file(folder: Path, name: str, digest: object) -> bytes:
    if Path(name).name != name:
        raise BundleError(f"The bundle '{folder.name}' names a file outside its folder.", _MEND, code="bundle.content")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{name} of '{folder.name}' is missing or cannot be read.", _MEND, code="bundle.incomplete"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(
            f"{name} of '{folder.name}' is damaged: its SHA-256 differs from the bundle's.",
            _MEND,
            code="bundle.damaged",
        )
    return content
