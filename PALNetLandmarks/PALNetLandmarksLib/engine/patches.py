"""Patches: the points of a registered scan round each landmark, which the networks see.

Two ways to choose them, both from the paper (arXiv 2510.00910): the K nearest points, or all points within a radius D
resampled to K. Every function returns indices, shape (landmarks, K), so that coordinates, normals or anything else
that belongs to a point can be gathered with them.

These functions serve one scan on the CPU, where a KD-tree is the fastest; `patches_torch` serves a batch on a GPU. Both
give the same indices: distances are compared as squared distances in float64, added up in one fixed order, and points
at exactly the same distance are taken by their index, the lower one first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.errors import BundleError, InputError

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

# A KD-tree may add up a squared distance in another order than we do: its last bits can differ from ours. What lies
# closer than this to a boundary is decided again, with our own arithmetic.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PatchSettings:
    """Which points a network wants to see round each landmark, and how.

    Attributes
    ----------
    points_per_patch : int
        K, the number of points in every patch.
    selection : {'nearest', 'radius'}
        The K nearest points, or the points within `radius_mm` resampled to K.
    radius_mm : float
        D; used by ``selection='radius'`` only.
    order : {'origin', 'centre', 'none'}
        Points sorted by distance to the origin of the reference frame (the paper), to the centre of their patch, or as
        they stand in the scan (the paper's table 6).
    coordinates : {'absolute', 'centred'}
        Coordinates in the reference frame (the paper), or relative to the centre of the patch; mm.
    normals : bool
        Whether the network also wants the unit normal at every point.
    """

    points_per_patch: int = 1000
    selection: Literal["nearest", "radius"] = "nearest"
    radius_mm: float = 25.0
    order: Literal["origin", "centre", "none"] = "origin"
    coordinates: Literal["absolute", "centred"] = "absolute"
    normals: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that no patch can follow."""
        known = {
            "selection": ("nearest", "radius"),
            "order": ("origin", "centre", "none"),
            "coordinates": ("absolute", "centred"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise BundleError(
                    f"The patch setting '{name}' is '{getattr(self, name)}', which is not known.",
                    f"It can be {' or '.join(values)}.",
                    code="bundle.patches",
                )
        if self.points_per_patch < 1 or not self.radius_mm > 0:
            raise BundleError(
                "A patch needs at least one point and a radius above zero.",
                "Correct points_per_patch and radius_mm in the bundle.",
                code="bundle.patches",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as they are written into a bundle."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PatchSettings:
        """Read settings from a bundle.

        Raises
        ------
        BundleError
            If a setting is unknown or has an impossible value.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise BundleError(
                f"Unknown patch setting: {', '.join(unknown)}.",
                "The bundle may come from a newer version of this program.",
                code="bundle.patches",
            )
        return cls(**values)


class PatchInputs(NamedTuple):
    """What a network gets of one scan: points (L, K, 3), normals (L, K, 3) or None, centres (L, 3); float32, mm."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32] | None
    centres: NDArray[np.float32]


def point_tree(points: FloatArray) -> cKDTree:
    """Build the KD-tree that patches and projection search.

    Without balancing it is built in half the time (13 instead of 24 ms for 100,000 points) and searched as fast.

    Parameters
    ----------
    points : (n, 3) float
    """
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def patch_indices(
    points: FloatArray, centres: FloatArray, settings: PatchSettings, *, seed: int = 0, tree: cKDTree | None = None
) -> IndexArray:
    """Choose and order the points of every patch as the settings say.

    Parameters
    ----------
    points : (n, 3) float
        The scan's points in the reference frame, mm.
    centres : (L, 3) float
        Where the landmarks are expected, in the same frame.
    settings : PatchSettings
    seed : int
        Draws the points where a radius is resampled; the K nearest do not depend on it.
    tree : scipy.spatial.cKDTree, optional
        A tree of `points` that the caller has already.

    Returns
    -------
    (L, K) int64
        Indices into `points`.

    Raises
    ------
    InputError
        If the scan has fewer points than a patch.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    centres = np.ascontiguousarray(centres, dtype=np.float64).reshape(-1, 3)
    tree = point_tree(points) if tree is None else tree
    count = settings.points_per_patch
    if settings.selection == "nearest":
        chosen = _nearest_sets(points, centres, count, tree)
    else:
        chosen = _sets_within(points, centres, settings.radius_mm, count, seed, tree)
    if settings.order == "none":
        return np.sort(chosen, axis=1)
    return order_by_distance(points, chosen, None if settings.order == "origin" else centres[:, None, :])


def patch_inputs(
    points: FloatArray,
    normals: FloatArray | None,
    centres: FloatArray,
    indices: IndexArray,
    settings: PatchSettings,
) -> PatchInputs:
    """Gather what a network gets: coordinates, and normals if it wants them.

    Coordinates are made relative to the centres before they are rounded to float32.

    Raises
    ------
    ValueError
        If the network wants normals and none are given.
    """
    coordinates = points[indices]
    if settings.coordinates == "centred":
        coordinates = coordinates - np.asarray(centres)[:, None, :]
    if settings.normals and normals is None:
        raise ValueError("this network wants normals")
    gathered = normals[indices].astype(np.float32) if settings.normals and normals is not None else None
    return PatchInputs(coordinates.astype(np.float32), gathered, np.asarray(centres, dtype=np.float32))


def nearest_points(points: FloatArray, centres: FloatArray, count: int, *, tree: cKDTree | None = None) -> IndexArray:
    """Return the `count` nearest points of each centre, nearest first (paper: K = 1000).

    Parameters
    ----------
    points : (n, 3) float
    centres : (L, 3) float
    count : int
    tree : scipy.spatial.cKDTree, optional

    Returns
    -------
    (L, count) int64
        By distance, then by index.

    Raises
    ------
    InputError
        If there are fewer than `count` points.
    """
    tree = point_tree(points) if tree is None else tree
    return order_by_distance(points, _nearest_sets(points, centres, count, tree), centres[:, None, :])


def points_within(
    points: FloatArray,
    centres: FloatArray,
    radius: float,
    count: int,
    *,
    seed: int = 0,
    tree: cKDTree | None = None,
) -> IndexArray:
    """Return the points within `radius` of each centre, resampled to `count`, nearest first (paper: radius D).

    Where there are more, `count` of them are drawn without replacement; where there are fewer, each is kept once and
    the rest is drawn from them with replacement; where there are none, the nearest point of all stands in.

    Parameters
    ----------
    points : (n, 3) float
    centres : (L, 3) float
    radius : float
        In the unit of the points; a point exactly on the radius is inside.
    count : int
    seed : int
        The draw depends on it and on the number of points and centres only, so CPU and GPU draw the same.
    tree : scipy.spatial.cKDTree, optional

    Returns
    -------
    (L, count) int64
        By distance, then by index; drawn points repeat.
    """
    tree = point_tree(points) if tree is None else tree
    return order_by_distance(points, _sets_within(points, centres, radius, count, seed, tree), centres[:, None, :])


def order_by_distance(points: FloatArray, indices: IndexArray, origin: FloatArray | None = None) -> IndexArray:
    """Sort the points of each patch by their distance to the origin of the reference frame, near the nose (paper).

    Parameters
    ----------
    points : (n, 3) float
    indices : (L, K) int64
    origin : (3,) float, optional
        Default (0, 0, 0); or one for each patch, (L, 1, 3).

    Returns
    -------
    (L, K) int64
        The same indices, by distance, then by index.
    """
    centre = np.zeros(3) if origin is None else np.asarray(origin, dtype=np.float64)
    indices = np.sort(indices, axis=1)
    squared = _squared_distances(points[indices], centre)
    order = np.argsort(squared, axis=1)  # not stable, but six times as fast as a stable one; ties are put right below
    ordered = np.take_along_axis(squared, order, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    order[tied] = np.argsort(squared[tied], axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1)


def require_points(available: int, count: int) -> None:
    """Raise InputError if a scan has fewer points than a patch."""
    if available < count:
        raise InputError(
            f"The scan has only {available} points, but a patch needs {count}.",
            "Use a scan with more points, or a model with smaller patches.",
            code="scan.too_few_points",
        )


def draws(points: int, landmarks: int, count: int, seed: int) -> tuple[IndexArray, FloatArray]:
    """Return a random rank per point, and a uniform number per place in a patch, the same for CPU and GPU."""
    generator = np.random.default_rng(seed)
    return generator.permutation(points), generator.random((landmarks, count))


def _nearest_sets(points: FloatArray, centres: FloatArray, count: int, tree: cKDTree) -> IndexArray:
    """Return `nearest_points` in any order."""
    require_points(len(points), count)
    # One point more than asked for: where it lies as far as the last one, the tree's choice between the two is
    # arbitrary and the row is decided over all points.
    asked = min(count + 1, len(points))
    distances, nearest = tree.query(centres, k=np.arange(1, asked + 1), workers=-1)
    found: IndexArray = nearest.astype(np.int64)
    if asked > count:
        undecided = distances[:, count] <= distances[:, count - 1] * (1 + _ROUNDING)
        found = found[:, :count]
        if undecided.any():
            found[undecided] = _nearest_of_all(points, centres[undecided], count)
    return found


def _sets_within(
    points: FloatArray, centres: FloatArray, radius: float, count: int, seed: int, tree: cKDTree
) -> IndexArray:
    """Return `points_within` in any order."""
    require_points(len(points), 1)
    landmarks = len(centres)
    keys, uniform = draws(len(points), landmarks, count, seed)
    pairs = point_tree(centres).sparse_distance_matrix(tree, radius * (1 + _ROUNDING), output_type="ndarray")
    owner, member = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
    inside = pairs["v"] <= radius * (1 - _ROUNDING)
    unsure = np.flatnonzero(~inside)
    inside[unsure] = _squared_distances(points[member[unsure]], centres[owner[unsure]]) <= radius * radius
    owner, member = owner[inside], member[inside]
    empty = np.flatnonzero(np.bincount(owner, minlength=landmarks) == 0)
    if len(empty):
        stand_in = _nearest_sets(points, centres[empty], 1, tree)[:, 0]
        owner, member = np.concatenate([owner, empty]), np.concatenate([member, stand_in])
    # Rank the members of each patch by the random key of their point and keep the first ones.
    order = np.argsort(owner * len(points) + keys[member])
    owner, member = owner[order], member[order]
    sizes = np.bincount(owner, minlength=landmarks)
    starts = np.cumsum(sizes) - sizes
    kept = np.minimum(sizes, count)
    position = np.tile(np.arange(count), (landmarks, 1))
    drawn = np.minimum((uniform * kept[:, None]).astype(np.int64), kept[:, None] - 1)
    rank = np.where(position < kept[:, None], position, drawn)
    chosen: IndexArray = member[starts[:, None] + rank]
    return chosen


def _squared_distances(first: FloatArray, second: FloatArray) -> FloatArray:
    # x, y and z one after the other, in this order: the GPU does the same, so ties are ties on both.
    difference = first[..., 0] - second[..., 0]
    total = difference * difference
    for axis in (1, 2):
        difference = first[..., axis] - second[..., axis]
        total += difference * difference
    return total


def _nearest_of_all(points: FloatArray, centres: FloatArray, count: int) -> IndexArray:
    """Return the sets of nearest points without a tree, ties by index; each row unordered."""
    squared = _squared_distances(points[None, :, :], centres[:, None, :])
    last = np.partition(squared, count - 1, axis=1)[:, count - 1 : count]
    nearer, tied = squared < last, squared == last
    missing = count - nearer.sum(axis=1, keepdims=True)
    chosen = nearer | (tied & (np.cumsum(tied, axis=1) <= missing))
    return np.nonzero(chosen)[1].reshape(len(centres), count).astype(np.int64)
