"""Patches: the right points, in the right order, the same on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PALNetLandmarksLib.engine.patches import (
    PatchSettings,
    nearest_points,
    order_by_distance,
    patch_indices,
    patch_inputs,
    point_tree,
    points_within,
)
from PALNetLandmarksLib.engine.patches_torch import patch_indices_torch
from PALNetLandmarksLib.errors import BundleError, InputError

ALL_SETTINGS = [
    PatchSettings(points_per_patch=60, selection=selection, order=order, radius_mm=radius)
    for selection, radius in (("nearest", 1.0), ("radius", 18.0), ("radius", 3.0))  # 3: on lattice points
    for order in ("origin", "centre", "none")
]


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    return np.random.default_rng(1).normal(0.0, 40.0, (3000, 3))


@pytest.fixture(scope="module")
def lattice() -> np.ndarray:
    """Points at whole millimetres in random order, some of them twice: ties everywhere."""
    axis = np.arange(-6.0, 7.0)
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    points = np.concatenate([points, points[::7]])
    return np.random.default_rng(2).permutation(points)


@pytest.fixture(scope="module")
def centres(cloud: np.ndarray) -> np.ndarray:
    return cloud[:12] + np.array([1.0, -2.0, 0.5])


def squared(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    d = points - centre
    return d[:, 0] ** 2 + d[:, 1] ** 2 + d[:, 2] ** 2


def sorted_by_hand(points: np.ndarray, centre: np.ndarray) -> list[int]:
    distances = squared(points, centre)
    return sorted(range(len(points)), key=lambda i: (distances[i], i))


def test_nearest_points_are_those_of_a_full_sort(cloud: np.ndarray, centres: np.ndarray) -> None:
    found = nearest_points(cloud, centres, 60)
    assert found.dtype == np.int64
    for row, centre in zip(found, centres, strict=True):
        assert row.tolist() == sorted_by_hand(cloud, centre)[:60]


@pytest.mark.parametrize("count", [1, 7, 50, 400])
def test_ties_go_to_the_lower_index(lattice: np.ndarray, count: int) -> None:
    centres = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [2.0, -1.0, 3.0]])
    found = nearest_points(lattice, centres, count)
    for row, centre in zip(found, centres, strict=True):
        assert row.tolist() == sorted_by_hand(lattice, centre)[:count]


def test_all_points_can_be_asked_for(cloud: np.ndarray, centres: np.ndarray) -> None:
    found = nearest_points(cloud[:60], centres, 60)
    assert (np.sort(found, axis=1) == np.arange(60)).all()


def test_too_few_points_are_an_input_error(cloud: np.ndarray, centres: np.ndarray) -> None:
    with pytest.raises(InputError, match="only 59 points"):
        nearest_points(cloud[:59], centres, 60)


def test_more_points_than_wanted_are_drawn_without_replacement(cloud: np.ndarray, centres: np.ndarray) -> None:
    centres = centres * 0.3  # where the cloud is dense
    found = points_within(cloud, centres, 30.0, 40)
    for row, centre in zip(found, centres, strict=True):
        inside = np.flatnonzero(squared(cloud, centre) <= 900.0)
        assert len(inside) > 40
        assert len(set(row)) == 40
        assert set(row) <= set(inside)
        assert (np.diff(squared(cloud[row], centre)) >= 0).all()


def test_fewer_points_are_all_kept_and_repeated(cloud: np.ndarray, centres: np.ndarray) -> None:
    found = points_within(cloud, centres, 12.0, 200)
    for row, centre in zip(found, centres, strict=True):
        assert set(row) == set(np.flatnonzero(squared(cloud, centre) <= 144.0))


def test_the_draw_is_even_and_follows_the_seed(cloud: np.ndarray, centres: np.ndarray) -> None:
    centre = centres[:1] * 0.3
    one = points_within(cloud, centre, 30.0, 40, seed=3)
    assert (one == points_within(cloud, centre, 30.0, 40, seed=3)).all()
    assert (one != points_within(cloud, centre, 30.0, 40, seed=4)).any()
    inside = np.flatnonzero(squared(cloud, centre[0]) <= 900.0)
    assert len(inside) > 80
    hits = np.zeros(len(cloud))
    for seed in range(300):
        hits[points_within(cloud, centre, 30.0, 40, seed=seed)[0]] += 1
    share = hits[inside] / 300
    assert share.min() > 0.5 * 40 / len(inside)
    assert share.max() < 2.0 * 40 / len(inside)


def test_a_point_exactly_on_the_radius_is_inside(lattice: np.ndarray) -> None:
    found = points_within(lattice, np.zeros((1, 3)), 5.0, 2000)
    assert squared(lattice[found[0]], np.zeros(3)).max() == 25.0


def test_an_empty_radius_gives_the_nearest_point(cloud: np.ndarray) -> None:
    centres = np.array([[500.0, 0.0, 0.0], cloud[5]])
    found = points_within(cloud, centres, 0.001, 4)
    assert found[0].tolist() == [sorted_by_hand(cloud, centres[0])[0]] * 4
    assert found[1].tolist() == [5] * 4


def test_patches_are_ordered_by_distance_to_the_origin(cloud: np.ndarray, lattice: np.ndarray) -> None:
    for points in (cloud, lattice):
        found = order_by_distance(points, nearest_points(points, points[:9], 50))
        for row in found:
            distances = squared(points[row], np.zeros(3))
            assert row.tolist() == [i for _, i in sorted(zip(distances, row.tolist(), strict=True))]


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: f"{s.selection}-{s.radius_mm:g}-{s.order}")
@pytest.mark.parametrize("name", ["cloud", "lattice"])
def test_torch_gives_the_same_indices(settings: PatchSettings, name: str, request: pytest.FixtureRequest) -> None:
    compare_with_torch(request.getfixturevalue(name), settings, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: f"{s.selection}-{s.radius_mm:g}-{s.order}")
@pytest.mark.parametrize("name", ["cloud", "lattice"])
def test_gpu_gives_the_same_indices(settings: PatchSettings, name: str, request: pytest.FixtureRequest) -> None:
    compare_with_torch(request.getfixturevalue(name), settings, "cuda")


def compare_with_torch(points: np.ndarray, settings: PatchSettings, device: str) -> None:
    scans = np.stack([points, np.roll(points, 11, axis=0), points * 0.5])
    centres = np.stack([scan[:9] + shift for scan, shift in zip(scans, (0.0, 0.5, 60.0), strict=True)])
    on_device = patch_indices_torch(
        torch.from_numpy(scans).to(device), torch.from_numpy(centres).to(device), settings, seed=5
    )
    for scan, centre, row in zip(scans, centres, on_device.cpu().numpy(), strict=True):
        assert (patch_indices(scan, centre, settings, seed=5, tree=point_tree(scan)) == row).all()


def test_scans_filled_up_with_infinity_keep_their_patches(cloud: np.ndarray, centres: np.ndarray) -> None:
    settings = PatchSettings(points_per_patch=60)
    filled = np.concatenate([cloud, np.full((500, 3), np.inf)])
    found = patch_indices_torch(torch.from_numpy(filled)[None], torch.from_numpy(centres)[None], settings)
    assert (found[0].numpy() == patch_indices(cloud, centres, settings)).all()


def test_inputs_are_gathered_and_centred_before_rounding(cloud: np.ndarray, centres: np.ndarray) -> None:
    settings = PatchSettings(points_per_patch=60, coordinates="centred", normals=True)
    far = cloud + 1e6
    indices = patch_indices(far, centres + 1e6, settings)
    inputs = patch_inputs(far, cloud, centres + 1e6, indices, settings)
    assert inputs.points.shape == (12, 60, 3)
    assert inputs.points.dtype == np.float32
    np.testing.assert_allclose(inputs.points, cloud[indices] - centres[:, None], atol=1e-4)
    assert inputs.normals is not None
    np.testing.assert_allclose(inputs.normals, cloud[indices].astype(np.float32))
    plain = patch_inputs(cloud, cloud, centres, indices, PatchSettings(points_per_patch=60))
    assert plain.normals is None
    np.testing.assert_allclose(plain.points, cloud[indices].astype(np.float32))
    with pytest.raises(ValueError, match="normals"):
        patch_inputs(cloud, None, centres, indices, settings)


def test_settings_survive_a_bundle_and_refuse_nonsense() -> None:
    settings = PatchSettings(points_per_patch=500, selection="radius", radius_mm=20.0, normals=True)
    assert PatchSettings.from_dict(settings.to_dict()) == settings
    for bad in ({"selection": "best"}, {"points_per_patch": 0}, {"radius_mm": float("nan")}, {"colour": True}):
        with pytest.raises(BundleError):
            PatchSettings.from_dict(bad)
