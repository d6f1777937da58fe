"""What lies over the skin: hair that hangs over the ears, shoulders, clothing."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PALNetLandmarksLib.engine.open3d_loader import open3d
from training_tools.simulation.face_model import FaceModel
from training_tools.simulation.noise import ScalarNoise, smoothstep
from training_tools.simulation.scene import Material, Surface, grid_triangles
from training_tools.simulation.subject import Subject

CLOTHING_KINDS = ("none", "bare_shoulders", "crew_neck", "collar", "high_collar")
_CLOTHING_SHARES = (0.22, 0.18, 0.28, 0.24, 0.08)


def draw_clothing(rng: np.random.Generator) -> str:
    """Draw what the subject wears."""
    return str(rng.choice(CLOTHING_KINDS, p=_CLOTHING_SHARES))


def _outer_radius(surface: Surface, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance from ``centre`` to the outermost surface along each unit direction; 0 where there is none."""
    o3d = open3d()
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(surface.vertices.astype(np.float32)), o3d.core.Tensor(surface.triangles.astype(np.uint32))
    )
    reach = 400.0
    flat = directions.reshape(-1, 3)
    rays = np.concatenate([centre.reshape(-1, 3) + flat * reach, -flat], axis=1).astype(np.float32)
    hit = scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)["t_hit"].numpy()
    return np.where(np.isfinite(hit) & (hit < reach), reach - hit, 0.0).reshape(directions.shape[:-1])


def hair_shell(skin: Surface, subject: Subject, kind: str, rng: np.random.Generator) -> Surface:
    """Hair that covers the ears: over the scalp to the equator of the head, then hanging down."""
    scale = subject.proportions["scale"]
    columns, upper_rows = 120, 26
    opening = rng.uniform(58.0, 88.0) if kind == "long" else rng.uniform(76.0, 90.0)
    azimuth = np.radians(np.linspace(opening, 360.0 - opening, columns))
    bottom = rng.uniform(-150.0, -70.0) if kind == "long" else rng.uniform(-45.0, -15.0)
    thick = rng.uniform(4.0, 14.0)
    centre = np.array([0.0, 30.0, -108.0]) * scale
    elevation = np.radians(np.linspace(80.0, 0.0, upper_rows))
    ring = np.stack([np.sin(azimuth), np.zeros(columns), np.cos(azimuth)], axis=1)
    up = np.array([0.0, 1.0, 0.0])
    directions = np.cos(elevation)[:, None, None] * ring + np.sin(elevation)[:, None, None] * up
    radius = _outer_radius(skin, centre, directions)
    radius = ndimage.gaussian_filter(np.maximum(radius, 60.0), 1.5, mode="nearest")
    cover = thick * smoothstep(75.0, 40.0, np.degrees(elevation))[:, None] + 1.0
    upper_part = centre + directions * (radius + cover)[..., None]
    levels = np.linspace(centre[1] - 5.0, bottom, 30)
    flat = np.broadcast_to(ring, (len(levels), columns, 3))
    starts = np.stack([np.full_like(levels, centre[0]), levels, np.full_like(levels, centre[2])], axis=1)
    out = _outer_radius(skin, np.repeat(starts, columns, axis=0), flat)
    out = np.minimum(out, radius[-1] + 25.0)
    out = ndimage.gaussian_filter(out, (1.0, 2.0), mode="nearest") + thick
    hang = np.maximum.accumulate(np.concatenate([(radius[-1] + cover[-1])[None], out]), axis=0)[1:]
    hang -= rng.uniform(0.0, 0.12) * (levels[0] - levels)[:, None]
    hang = np.maximum(hang, out)
    lower_part = np.stack(
        [
            centre[0] + ring[:, 0] * hang,
            np.broadcast_to(levels[:, None], hang.shape),
            centre[2] + ring[:, 2] * hang,
        ],
        axis=2,
    )
    points = np.concatenate([upper_part, lower_part])
    strand = ScalarNoise(rng, rng.uniform(8.0, 18.0))
    flat_points = points.reshape(-1, 3)
    waves = strand(flat_points * [1.0, 0.25, 1.0]).reshape(points.shape[:2])
    tips = np.linspace(0.0, 1.0, len(points))[:, None] ** 3
    outward = ring + 0.0
    points = points + outward * (waves * 2.2)[..., None]
    points[..., 1] += tips * ndimage.gaussian_filter1d(rng.normal(0, 14.0, columns), 2.0)
    rows = len(points)
    material = Material.HAIR
    grain, lost = rng.uniform(0.5, 1.5), rng.uniform(0.0, 0.35)
    return Surface.plain(points.reshape(-1, 3), grid_triangles(rows, columns, False), material, grain, lost)


def bun(subject: Subject, rng: np.random.Generator) -> Surface:
    """Make a knot of hair behind the head."""
    u, v = np.linspace(0, np.pi, 16), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    direction = np.stack(
        [np.sin(u)[:, None] * np.cos(v), np.cos(u)[:, None] * np.ones(24), np.sin(u)[:, None] * np.sin(v)], axis=2
    ).reshape(-1, 3)
    centre = np.array([0.0, rng.uniform(20, 90), -222.0 + rng.uniform(0, 12)]) * subject.proportions["scale"]
    points = centre + direction * rng.uniform(20, 38) * (1 + 0.1 * ScalarNoise(rng, 20.0)(direction * 30))[:, None]
    return Surface.plain(points, grid_triangles(16, 24, True)[:, ::-1], Material.HAIR, 1.2, 0.2)


def torso(model: FaceModel, subject: Subject, kind: str, rng: np.random.Generator) -> list[Surface]:
    """Shoulders below the model's neck border, and clothing round the neck."""
    border = model.neck_border
    if not len(border) or kind == "none":
        return []
    edge = subject.coarse[border]
    middle = edge.mean(axis=0)
    angle = np.linspace(-np.pi, np.pi, 121)[:-1]
    order = np.arctan2(edge[:, 0] - middle[0], edge[:, 2] - middle[2])
    sort = np.argsort(order)
    ring = np.stack([np.interp(angle, order[sort], edge[sort, k], period=2 * np.pi) for k in range(3)], axis=1)
    width, drop = rng.uniform(175.0, 225.0), rng.uniform(35.0, 75.0)
    chest, back = rng.uniform(70.0, 110.0), rng.uniform(60.0, 95.0)
    steps = np.linspace(0.0, 1.0, 18)[:, None]
    # superellipse outline of the shoulders
    sin, cos = np.sin(angle), np.cos(angle)
    power = 0.75
    outline_x = width * np.sign(sin) * np.abs(sin) ** power
    outline_z = np.where(cos > 0, chest, back) * np.sign(cos) * np.abs(cos) ** power
    goal = np.stack([outline_x, np.full_like(angle, -drop), outline_z], axis=1) + middle * [0, 1, 1]
    goal[:, 1] -= 25.0 * np.abs(cos)
    grow = steps ** np.where(np.abs(sin) > 0.5, 0.85, 0.7)
    x = ring[:, 0] + (goal[:, 0] - ring[:, 0]) * grow
    z = ring[:, 2] + (goal[:, 2] - ring[:, 2]) * grow
    y = ring[:, 1] + (goal[:, 1] - ring[:, 1]) * steps**1.4
    skirt_steps = np.linspace(0.1, 1.0, 10)[:, None]
    skirt_x = np.broadcast_to(x[-1] + 6 * np.sin(angle), (10, len(angle)))
    skirt_z = np.broadcast_to(z[-1] + 6 * np.cos(angle), (10, len(angle)))
    skirt_y = y[-1] - 130.0 * skirt_steps
    body = np.stack([np.concatenate([x, skirt_x]), np.concatenate([y, skirt_y]), np.concatenate([z, skirt_z])], axis=2)
    rows, columns = body.shape[:2]
    triangles = grid_triangles(rows, columns, True)
    if kind == "bare_shoulders":
        return [Surface.plain(body.reshape(-1, 3), triangles, Material.SKIN, 0.06, 0.0)]

    # clothing: starts from a loop round the neck on the model's own surface, follows neck and body with folds
    rise = {"crew_neck": rng.uniform(8, 26), "collar": rng.uniform(15, 35), "high_collar": rng.uniform(35, 55)}[kind]
    front_dip = rng.uniform(0.0, 40.0) if kind != "high_collar" else rng.uniform(0.0, 10.0)
    loops = 10
    neck_top = ring + (ring.mean(axis=0) * [0, 0, 1] + [0, 0, -8] - ring) * [0.42, 0, 0.35]
    neck_top[:, 1] = ring[:, 1] + rise - front_dip * np.clip(cos, 0, 1) ** 2
    neck_top[:, [0, 2]] *= 1.0
    t = np.linspace(0.0, 1.0, loops)[:, None, None]
    yoke = neck_top * (1 - t) + body[4] * t
    cloth = np.concatenate([yoke, body[5:]])
    outward = np.stack([sin, np.full_like(sin, 0.35), cos], axis=1)
    gap = rng.uniform(3.0, 9.0)
    cloth = cloth + outward * gap
    folds = ScalarNoise(rng, rng.uniform(35.0, 70.0))
    small = ScalarNoise(rng, 18.0)
    flat = cloth.reshape(-1, 3)
    amount = rng.uniform(1.5, 5.0) * folds(flat) + 0.8 * small(flat)
    fade = np.linspace(0.3, 1.0, len(cloth))[:, None]
    cloth = cloth + outward * (amount.reshape(cloth.shape[:2]) * fade)[..., None]
    surfaces = [Surface.plain(cloth.reshape(-1, 3), grid_triangles(len(cloth), columns, True), Material.CLOTH, 0.15, 0)]
    if kind == "collar":  # a turned-down collar: a flared band that stands up and falls outward, open in front
        opening = rng.uniform(0.15, 0.5)
        keep = np.abs(angle) > opening
        base = cloth[1][keep]
        out = outward[keep]
        stand, fall = rng.uniform(12, 28), rng.uniform(25, 45)
        up = base + out * 1.0 + [0, stand, 0]
        over = up + out * 7.0 + [0, -2.0, 0]
        end = over + out * rng.uniform(14, 26) + [0, -fall, 0]
        turn = np.argsort((angle[keep] + 2 * np.pi) % (2 * np.pi))
        band = np.stack([base, (base + up) / 2, up, over, (over + end) / 2, end])[:, turn]
        shape = band.shape
        band = band + 1.5 * folds(band.reshape(-1, 3)).reshape(shape[:2])[..., None] * out[turn]
        surfaces.append(
            Surface.plain(band.reshape(-1, 3), grid_triangles(shape[0], shape[1], False), Material.CLOTH, 0.1, 0)
        )
    return surfaces
