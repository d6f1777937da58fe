"""Patches for a batch of scans on the GPU: the same indices as `patches` gives on the CPU."""

from __future__ import annotations

import torch

from PALNetLandmarksLib.engine.patches import PatchSettings, draws, require_points


def patch_indices_torch(
    points: torch.Tensor, centres: torch.Tensor, settings: PatchSettings, *, seed: int = 0
) -> torch.Tensor:
    """Choose and order the points of every patch for a batch of scans, on the device of the tensors.

    Gives the indices of `patch_indices` for each scan of the batch, with the same `seed` for every scan.

    Parameters
    ----------
    points : (b, n, 3) float tensor
        Registered scans; scans with fewer points are filled up with infinite coordinates, which are never chosen
        as long as a scan has K points of its own.
    centres : (b, L, 3) float tensor
    settings : PatchSettings
    seed : int
        As in `patch_indices`; scans that were filled up draw differently from the CPU, which does not see the filling.

    Returns
    -------
    (b, L, K) int64 tensor
    """
    points, centres = points.double(), centres.double()
    count = settings.points_per_patch
    if settings.selection == "nearest":
        require_points(points.shape[1], count)
    keys, uniform = draws(points.shape[1], centres.shape[1], count, seed)
    device_keys = torch.from_numpy(keys).to(points.device)
    device_uniform = torch.from_numpy(uniform).to(points.device)
    chosen = []
    for scan, wanted in zip(points, centres, strict=True):  # one scan at a time: (L, n) distances are 40 MB for 100,000
        squared = _squared_distances(scan[None, :, :], wanted[:, None, :])
        if settings.selection == "nearest":
            found = _lowest(squared, count)
        else:
            found = _within(squared, settings.radius_mm, count, device_keys, device_uniform)
        if settings.order == "none":
            found = found.sort(dim=1).values
        elif settings.order == "origin":
            found = _sorted_by(_squared_distances(scan[found], scan.new_zeros(3)), found)
        else:
            found = _sorted_by(squared.gather(1, found), found)
        chosen.append(found)
    return torch.stack(chosen)


def _squared_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    difference = first[..., 0] - second[..., 0]
    total = difference * difference
    for axis in (1, 2):
        difference = first[..., axis] - second[..., axis]
        total = total + difference * difference
    return total


def _lowest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Return the places of the `count` lowest values of each row, ties by place; ascending places."""
    # topk is fast but leaves the choice between equal values open: it only finds the last value here.
    last = values.topk(count, dim=1, largest=False).values[:, -1:]
    lower, tied = values < last, values == last
    missing = count - lower.sum(dim=1, keepdim=True)
    chosen = lower | (tied & (tied.cumsum(dim=1) <= missing))
    return chosen.nonzero()[:, 1].reshape(len(values), count)


def _within(
    squared: torch.Tensor, radius: float, count: int, keys: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    inside = squared <= radius * radius
    nearest = _lowest(squared, 1)
    inside.scatter_(1, nearest, inside.gather(1, nearest) | ~inside.any(dim=1, keepdim=True))
    wanted = min(count, squared.shape[1])
    ranked = keys.expand_as(squared).masked_fill(~inside, squared.shape[1]).topk(wanted, dim=1, largest=False)
    kept = inside.sum(dim=1, keepdim=True).clamp(max=count)
    position = torch.arange(count, device=squared.device).expand_as(uniform)
    drawn = (uniform * kept).long().minimum(kept - 1)
    return ranked.indices.gather(1, position.where(position < kept, drawn))


def _sorted_by(values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    indices, by_index = indices.sort(dim=1, stable=True)
    order = values.gather(1, by_index).sort(dim=1, stable=True).indices
    return indices.gather(1, order)
