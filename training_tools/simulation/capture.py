"""A virtual stereophotogrammetric scanner: views, noisy depth maps, fusion into one surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from PALNetLandmarksLib.engine.open3d_loader import open3d
from training_tools.simulation.noise import ScalarNoise
from training_tools.simulation.scene import Surface

KINDS = ("two_pods", "three_pods", "phone_single", "phone_sweep", "handheld", "full_head", "cleaned")
_SHARES = (0.32, 0.20, 0.05, 0.09, 0.14, 0.08, 0.12)


@dataclass(frozen=True)
class View:
    """One stereo unit: where it looks from (degrees, mm) and where its second camera is."""

    azimuth: float
    elevation: float
    distance: float
    baseline: float
    baseline_vertical: bool


@dataclass(frozen=True)
class Optics:
    """Imperfections of one scanner; lengths in mm, angles in degrees."""

    pixel: float
    white: float
    correlated: float
    correlation: float
    window: float
    grazing: float
    edge: float
    edge_loss: float
    near_edge_loss: float
    miscalibration: float
    speckle_loss: float


def draw_kind(rng: np.random.Generator) -> str:
    """Draw the kind of scanner."""
    return str(rng.choice(KINDS, p=_SHARES))


def draw_views(kind: str, rng: np.random.Generator) -> list[View]:
    """Draw where the cameras of a scanner stand."""
    distance = rng.uniform(650.0, 1200.0)
    baseline = distance * rng.uniform(0.1, 0.28)
    vertical = bool(rng.random() < 0.5)

    def view(azimuth: float, elevation: float) -> View:
        return View(azimuth + rng.normal(0, 2.0), elevation + rng.normal(0, 2.0), distance, baseline, vertical)

    low, high = rng.uniform(-34.0, -8.0), rng.uniform(2.0, 20.0)
    turned = rng.normal(0, 4.0)  # nobody sits perfectly straight
    if kind == "two_pods":
        side = rng.uniform(28.0, 58.0)
        return [view(turned + s * side, e) for s in (-1, 1) for e in (low, high)]
    if kind == "three_pods":
        side = rng.uniform(45.0, 85.0)
        rows = (low, high) if rng.random() < 0.6 else ((low + high) / 2,)
        return [view(turned + a, e) for a in (-side, 0.0, side) for e in rows]
    if kind == "phone_single":
        return [view(turned + rng.normal(0, 4.0), rng.uniform(-8.0, 5.0))]
    if kind == "phone_sweep":
        side = rng.uniform(20.0, 45.0)
        return [view(turned + a, rng.uniform(-8.0, 8.0)) for a in (-side, 0.0, side)]
    if kind == "handheld":
        side = rng.uniform(60.0, 105.0)
        return [view(turned + a, rng.uniform(-18.0, 20.0)) for a in np.linspace(-side, side, int(rng.integers(5, 9)))]
    count = int(rng.integers(8, 12))
    around = [view(360.0 * k / count, rng.uniform(-14.0, 6.0) + 16.0 * (k % 2)) for k in range(count)]
    return [*around, view(0.0, 62.0)]


def draw_optics(pixel: float, rng: np.random.Generator) -> Optics:
    """Draw the imperfections of a scanner whose depth pixels measure ``pixel`` mm on the subject."""
    quality = rng.beta(1.6, 2.6)  # 0 best, 1 worst
    return Optics(
        pixel=pixel,
        white=(0.02 + 0.25 * quality) * rng.uniform(0.5, 1.5),
        correlated=(0.03 + 0.3 * quality) * rng.uniform(0.5, 1.5),
        correlation=rng.uniform(2.5, 7.0),
        window=rng.uniform(0.5, 2.2),
        grazing=rng.uniform(67.0, 79.0),
        edge=max(rng.uniform(4.0, 11.0), 5.5 * pixel),
        edge_loss=rng.uniform(0.75, 1.0),
        near_edge_loss=rng.uniform(0.1, 0.9),
        miscalibration=rng.uniform(0.0, 0.35),
        speckle_loss=rng.uniform(0.0, 0.004),
    )


def _extrinsic(view: View, target: np.ndarray) -> np.ndarray:
    a, e = np.radians([view.azimuth, view.elevation])
    outward = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    forward = -outward
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    matrix = np.eye(4)
    matrix[:3, :3] = [right, down, forward]
    matrix[:3, 3] = -matrix[:3, :3] @ (target + outward * view.distance)
    return matrix


def _small_motion(rng: np.random.Generator, size: float) -> np.ndarray:
    """Rigid motion that moves points on the head by about ``size`` mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.normal(0, size / 150.0, 3)).as_matrix()
    matrix[:3, 3] = rng.normal(0, size / 2, 3)
    return matrix


def _smooth_map(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Unit-variance random image whose bumps are about ``grain`` pixels wide."""
    step = max(1, int(grain / 2))
    small = rng.standard_normal((shape[0] // step + 3, shape[1] // step + 3), dtype=np.float32)
    small = ndimage.gaussian_filter(small, grain / step / 2)
    small /= small.std() + 1e-9
    if step > 1:
        small = ndimage.zoom(small, step, order=1)
    return small[: shape[0], : shape[1]]


class Scanner:
    """Casts, spoils and fuses depth maps of one scene; everything random comes from one generator."""

    def __init__(self, surface: Surface, rng: np.random.Generator) -> None:
        self._o3d = open3d()
        self._surface = surface
        self._rng = rng
        self._scene = self._o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            self._o3d.core.Tensor(np.ascontiguousarray(surface.vertices, np.float32)),
            self._o3d.core.Tensor(np.ascontiguousarray(surface.triangles, np.uint32)),
        )
        self._relief = (ScalarNoise(rng, rng.uniform(2.0, 4.0)), ScalarNoise(rng, rng.uniform(5.0, 11.0)))
        self._gaps = ScalarNoise(rng, rng.uniform(9.0, 22.0))

    def depth_map(
        self, view: View, optics: Optics, target: np.ndarray, size: tuple[float, float]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Noisy depth of one view.

        Returns
        -------
        depth : (h, w) float32
            Along the optical axis, mm; 0 where nothing was measured.
        intrinsic, extrinsic : (3, 3), (4, 4) float64
        """
        o3d, rng = self._o3d, self._rng
        extrinsic = _extrinsic(view, target)
        focal = view.distance / optics.pixel
        width, height = int(size[0] / optics.pixel), int(size[1] / optics.pixel)
        intrinsic = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        rays = self._scene.create_rays_pinhole(o3d.core.Tensor(intrinsic), o3d.core.Tensor(extrinsic), width, height)
        answer = self._scene.cast_rays(rays, nthreads=1)
        depth = answer["t_hit"].numpy()
        hit = np.isfinite(depth)
        ray = rays.numpy()[hit]
        distance = depth[hit]
        points = ray[:, :3] + ray[:, 3:] * distance[:, None]
        triangle = answer["primitive_ids"].numpy()[hit]
        uv = answer["primitive_uvs"].numpy()[hit]
        normal = answer["primitive_normals"].numpy()[hit]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        length = np.linalg.norm(ray[:, 3:], axis=1)
        slope = np.abs((normal * ray[:, 3:]).sum(axis=1)) / length
        rough, loss = self._mixed(triangle, uv)
        # relief along the viewing ray, the same field in space for all views
        coarse_grain = rough > 0.2
        relief = 0.45 * self._relief[0](points) * rough
        relief[coarse_grain] += 0.8 * self._relief[1](points[coarse_grain]) * rough[coarse_grain]
        distance = distance - relief

        shape = depth.shape
        lost = rng.random(len(distance)) < optics.speckle_loss
        dense = loss > 0.02
        lost[dense] |= self._gaps(points[dense]) > 2.7 - 3.2 * loss[dense]
        limit = np.cos(np.radians(optics.grazing))
        lost |= slope < limit * (1.0 + 0.25 * _smooth_map(rng, shape, 9.0)[hit])
        if view.baseline > 0:
            lost |= self._hidden_from_partner(points, view, extrinsic)

        image = np.zeros(shape, np.float32)
        image[hit] = distance
        mask = np.zeros(shape, np.float32)
        mask[hit] = 1.0
        # a matching window averages, also across steps in depth
        image = self._windowed(image, mask, optics.window)
        low = ndimage.minimum_filter(np.where(mask > 0, image, np.inf).astype(np.float32), 3)
        high = ndimage.maximum_filter(np.where(mask > 0, image, -np.inf).astype(np.float32), 3)
        here = image[hit]
        step = (high - low)[hit] > optics.edge
        behind = here - low[hit] > high[hit] - here
        # matchers lose the farther side of a step; the nearer side (the rim of an ear) mostly stays
        lost |= step & (rng.random(len(distance)) < np.where(behind, optics.edge_loss, optics.near_edge_loss))
        oblique = 1.0 / np.maximum(slope, 0.2)
        spoiled = image[hit] + optics.white * oblique * rng.standard_normal(len(distance), dtype=np.float32)
        spoiled += optics.correlated * (oblique * _smooth_map(rng, shape, optics.correlation)[hit])
        image[hit] = np.where(lost, 0.0, spoiled)
        return image, intrinsic, extrinsic

    def _mixed(self, triangle: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners = self._surface.triangles[triangle]
        weight = np.stack([1 - uv.sum(axis=1), uv[:, 0], uv[:, 1]], axis=1)
        return (
            (self._surface.roughness[corners] * weight).sum(axis=1),
            (self._surface.loss[corners] * weight).sum(axis=1),
        )

    def _hidden_from_partner(self, points: np.ndarray, view: View, extrinsic: np.ndarray) -> np.ndarray:
        axis = extrinsic[1, :3] if view.baseline_vertical else extrinsic[0, :3]
        eye = -extrinsic[:3, :3].T @ extrinsic[:3, 3] + axis * view.baseline * (1 if self._rng.random() < 0.5 else -1)
        toward = eye - points
        reach = np.linalg.norm(toward, axis=1, keepdims=True)
        toward /= reach
        rays = np.concatenate([points + toward * 0.8, toward], axis=1).astype(np.float32)
        return self._scene.test_occlusions(self._o3d.core.Tensor(rays), nthreads=1).numpy()

    @staticmethod
    def _windowed(image: np.ndarray, mask: np.ndarray, window: float) -> np.ndarray:
        weight = ndimage.gaussian_filter(mask, window, truncate=2.0)
        mean = ndimage.gaussian_filter(image, window, truncate=2.0) / np.maximum(weight, 1e-3)
        # across large steps most matchers keep the nearer or the farther side, not the mean
        return np.where(mask > 0, np.where(np.abs(mean - image) < 6.0, mean, image), 0.0).astype(np.float32)

    def fuse(
        self, views: list[View], optics: Optics, voxel: float, target: np.ndarray, size: tuple[float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Capture all views and fuse them.

        Parameters
        ----------
        views : list of View
        optics : Optics
        voxel : float
            Edge of the fusion's voxels, mm.
        target : (3,) float
            Where the cameras look.
        size : (width, height)
            Field of view on the subject, mm.

        Returns
        -------
        vertices : (n, 3) float64
        triangles : (m, 3) int64
        """
        o3d = self._o3d
        grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"), (o3d.core.float32, o3d.core.float32), ((1), (1)), voxel, 8, int(9000 / voxel)
        )
        reach = max(4.0, 4.0 / voxel)
        for view in views:
            depth, intrinsic, extrinsic = self.depth_map(view, optics, target, size)
            if not depth.any():
                continue
            moved = extrinsic @ _small_motion(self._rng, optics.miscalibration)
            image = o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(depth[..., None])))
            camera, pose = o3d.core.Tensor(intrinsic), o3d.core.Tensor(moved)
            blocks = grid.compute_unique_block_coordinates(image, camera, pose, 1.0, 5000.0, reach)
            grid.integrate(blocks, image, camera, pose, 1.0, 5000.0, reach)
        mesh = grid.extract_triangle_mesh(0.5)
        vertices = mesh.vertex.positions.numpy().astype(np.float64)
        triangles = mesh.triangle.indices.numpy().astype(np.int64)
        return canonical_order(vertices, triangles)


def canonical_order(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort vertices by position and triangles by corners, so that the order does not depend on threads."""
    order = np.lexsort(vertices.T[::-1])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    corners = rank[triangles]
    first = np.argmin(corners, axis=1)
    corners = corners[np.arange(len(corners))[:, None], (first[:, None] + [0, 1, 2]) % 3]
    return vertices[order], corners[np.lexsort(corners.T[::-1])]
