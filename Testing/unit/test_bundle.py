"""Model bundles: written, loaded, verified; damage is found before anything is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save

from PALNetLandmarksLib.engine.bundle import DESCRIPTION, REFERENCE, WEIGHTS, load_bundle, verify_bundle, write_bundle
from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.registration import Reference
from PALNetLandmarksLib.engine.shape_regression import ShapeRegression
from PALNetLandmarksLib.errors import BundleError
from PALNetLandmarksLib.protocol import load_protocol

PROTOCOL = load_protocol()


def make_bundle(folder: Path, shape: ShapeRegression | None = None, **changes: object) -> Path:
    """Write a bundle with fresh weights."""
    network = {"name": "patch_transformer", "parameters": {
        "landmarks": len(PROTOCOL), "mirror": [int(i) for i in PROTOCOL.mirror], "points": 32, "width": 20,
    }}  # fmt: skip
    description = {
        "id": "tiny", "version": "1", "title": "Tiny", "network": network, "protocol": PROTOCOL.to_dict(),
        "projection": {"kind": "surface"}, "confidence": {"scale": [1.0] * len(PROTOCOL)},
        "missing": {"distance_mm": 8.0, "border_margin_mm": 4.0, "visible_probability": 0.0},
        "training_data": "none", "metrics": {}, "licence": "MIT",
    } | changes  # fmt: skip
    weights = save(build_network(network["name"], network["parameters"]).state_dict())
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 3)).astype(np.float32)
    reference = Reference(points, points, np.zeros(200, dtype=np.uint8))
    mean = generator.normal(size=(len(PROTOCOL), 3))
    return write_bundle(folder, description, weights, reference, mean, "# Card\n", shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def code_of(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path).network_with_weights()
    assert caught.value.hint
    return caught.value.code


def test_round_trip(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.id, bundle.network, bundle.card) == ("tiny", "patch_transformer", "# Card\n")
    assert bundle.protocol == PROTOCOL
    assert bundle.mean_landmarks.shape == (len(PROTOCOL), 3)
    assert len(bundle.reference.points) == 200
    assert bundle.network_with_weights().training is False
    assert verify_bundle(folder) == []


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE, "MODEL_CARD.md"])
@pytest.mark.parametrize("place", [0, -1])
def test_one_changed_byte_is_found(folder: Path, name: str, place: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    assert code_of(folder) == "bundle.damaged"
    assert len(verify_bundle(folder)) == 1


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE, "MODEL_CARD.md"])
def test_missing_file_is_found(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert code_of(folder) == "bundle.incomplete"


def edited(folder: Path, **changes: object) -> Path:
    data = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(data | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": 99}, "bundle.format"),
        ({"files": None}, "bundle.content"),
        ({"files": {}}, "bundle.incomplete"),
        ({"files": {"../secret": "0"}}, "bundle.content"),
        ({"projection": {"kind": "magic"}}, "bundle.content"),
        ({"confidence": {"scale": [1.0]}}, "bundle.content"),
        ({"protocol": {"id": "x"}}, "bundle.protocol"),
        ({"network": {"name": "oracle", "parameters": {}}}, "bundle.network"),
        ({"network": {"name": "patch_transformer", "parameters": {"landmarks": 4, "mirror": [0, 1, 2, 3]}}},
         "bundle.shape"),
    ],
)  # fmt: skip
def test_unfit_descriptions_are_refused(folder: Path, changes: dict[str, object], code: str) -> None:
    assert code_of(edited(folder, **changes)) == code


def test_description_that_is_no_json(folder: Path) -> None:
    (folder / DESCRIPTION).write_bytes(b"\xff\x00")
    assert code_of(folder) == "bundle.content"


def test_folder_without_a_bundle_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model bundle"):
        load_bundle(tmp_path)
