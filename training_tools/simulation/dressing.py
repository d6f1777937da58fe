"""Skin relief, brows, beard, eyeballs, hair and clothing of a simulated head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from PALNetLandmarksLib.engine.open3d_loader import open3d
from training_tools.simulation.face_model import SCLERAS, SOCKETS, FaceModel
from training_tools.simulation.noise import ScalarNoise, smoothstep
from training_tools.simulation.scene import Material, Surface, grid_triangles, merge, vertex_normals
from training_tools.simulation.subject import Subject, ear_weight

HAIR_KINDS = ("bald", "stubble", "short", "medium", "tied_back", "over_ears", "long", "cap", "headband")
_HAIR_SHARES = (0.14, 0.10, 0.30, 0.10, 0.10, 0.05, 0.09, 0.07, 0.05)
CLOTHING_KINDS = ("none", "bare_shoulders", "crew_neck", "collar", "high_collar")
_CLOTHING_SHARES = (0.22, 0.18, 0.28, 0.24, 0.08)
_HEAD_AXIS = np.array([0.0, 30.0, -112.0])


@dataclass(frozen=True)
class DressedHead:
    """What the cameras see, and what hides landmarks.

    Attributes
    ----------
    skin : Surface
        Skin with relief, eyes and mouth closure.
    covers : Surface or None
        Separate hair and clothing.
    record : dict
        Kinds drawn.
    """

    skin: Surface
    covers: Surface | None
    record: dict[str, str | float]

    def everything(self) -> Surface:
        """Skin and covers as one surface."""
        return self.skin if self.covers is None else merge([self.skin, self.covers])


def _hairline_height(azimuth: np.ndarray, rng: np.random.Generator, trichion_y: float, recession: float) -> np.ndarray:
    """Lowest y of the hair of the neutral head at each azimuth about the vertical axis (0 front, +left, degrees)."""
    knots = np.array([0, 14, 28, 40, 50, 58, 65, 72, 78, 84, 95, 108, 122, 150, 180.0])
    y = trichion_y
    levels = np.array([y, y + 1, y + 1, y - 7, 82, 66, 52, 38, 26, 14, 0, 0, -22, -52, -62.0])
    levels[2:5] += np.array([0.7, 1.0, 0.6]) * recession
    wobble = ndimage.gaussian_filter1d(rng.normal(0, 9.0, len(knots)), 0.8)
    wobble[0] *= 0.15  # the middle of the hairline is the trichion
    both = levels + wobble
    left = both + rng.normal(0, 1.5, len(knots)) * (knots > 5)
    right = both + rng.normal(0, 1.5, len(knots)) * (knots > 5)
    level = np.where(azimuth >= 0, np.interp(np.abs(azimuth), knots, left), np.interp(np.abs(azimuth), knots, right))
    return level


def _azimuth(points: np.ndarray) -> np.ndarray:
    offset = points - _HEAD_AXIS
    return np.degrees(np.arctan2(offset[:, 0], offset[:, 2]))


def _trichion_y(model: FaceModel) -> float:
    if "Tr" not in model.labels:
        return 102.0
    return float((model.landmark_matrix @ model.neutral)[model.labels.index("Tr"), 1])


def _scalp(
    model: FaceModel, kind: str, thickness: np.ndarray, rough: np.ndarray, loss: np.ndarray, rng: np.random.Generator
) -> None:
    """Add the hair that follows the scalp to the per-vertex arrays, in place."""
    n = model.fine_neutral
    inner = np.isin(model.fine_vertex_region, (*SOCKETS, *SCLERAS))
    off_ears = 1.0 - smoothstep(0.15, 0.6, ear_weight(n))
    azimuth = _azimuth(n)
    if kind == "headband":
        middle, width = rng.uniform(88, 112), rng.uniform(18, 45)
        tilt = rng.uniform(-0.05, 0.25)
        height = n[:, 1] - tilt * (n[:, 2] + 40.0)
        band = smoothstep(middle - width / 2 - 3, middle - width / 2, height)
        band *= smoothstep(middle + width / 2 + 3, middle + width / 2, height) * off_ears
        thickness += 2.5 * band
        rough += 0.15 * band
        return
    recession = rng.gamma(1.2, 9.0) if kind in ("stubble", "short") and rng.random() < 0.5 else rng.normal(0, 3)
    line = _hairline_height(azimuth, rng, _trichion_y(model), recession)
    if kind == "cap":
        edge = rng.uniform(-6, 8)
        line = np.where(np.abs(azimuth) < 75, _trichion_y(model) - edge - 0.012 * azimuth**2, 15.0)
        if rng.random() < 0.4:
            off_ears = 1.0 - smoothstep(0.15, 0.6, ear_weight(n)) * (n[:, 1] < rng.uniform(10, 30))
    ragged = ScalarNoise(rng, 9.0)(n) * (1.0 if kind == "cap" else 2.5)
    mask = smoothstep(-2.0, 2.0 if kind == "cap" else 7.0, n[:, 1] - line + ragged) * off_ears
    mask = np.where(inner, 0.0, mask)
    depth, grain, lost = {
        "stubble": (0.6, rng.uniform(0.15, 0.45), 0.05),
        "short": (rng.uniform(2.0, 7.0), rng.uniform(0.35, 1.0), rng.uniform(0.0, 0.3)),
        "medium": (rng.uniform(6.0, 14.0), rng.uniform(0.6, 1.5), rng.uniform(0.05, 0.4)),
        "tied_back": (rng.uniform(2.0, 5.0), rng.uniform(0.3, 0.8), rng.uniform(0.0, 0.3)),
        "over_ears": (rng.uniform(4.0, 8.0), rng.uniform(0.6, 1.4), rng.uniform(0.1, 0.3)),
        "long": (rng.uniform(3.0, 7.0), rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.3)),
        "cap": (rng.uniform(2.0, 4.0), 0.25, 0.0),
    }[kind]
    top = smoothstep(70.0, 125.0, n[:, 1])
    volume = depth * (1.0 + 0.35 * ScalarNoise(rng, 55.0)(n) + (rng.uniform(0.0, 1.2) if kind != "cap" else 0.2) * top)
    thickness += mask * np.maximum(volume, 0.2)
    rough += mask * grain
    loss += mask * lost


def _skin_relief(model: FaceModel, subject: Subject, rng: np.random.Generator) -> tuple[Surface, dict[str, str | float]]:
    n = model.fine_neutral.astype(np.float64)
    count = len(n)
    thickness, rough, loss = np.zeros(count), np.zeros(count), np.zeros(count)
    skin = ~np.isin(model.fine_vertex_region, (*SOCKETS, *SCLERAS))
    rough += rng.uniform(0.03, 0.12)
    # brows: a low rough ridge just above the upper orbital rim
    bar = np.exp(-0.5 * ((n[:, 1] - 52.0 - 0.12 * (30 - np.abs(n[:, 0] - 0))) / 3.6) ** 2)
    bar *= smoothstep(8, 14, np.abs(n[:, 0])) * smoothstep(56, 44, np.abs(n[:, 0])) * (n[:, 2] > -70)
    brow = rng.uniform(0.0, 1.0)
    thickness += 0.9 * brow * bar
    rough += 0.45 * brow * bar
    loss += 0.15 * brow * bar
    record: dict[str, str | float] = {"beard": "none"}
    if rng.random() < 0.22:
        beard = str(rng.choice(["stubble", "short", "full", "moustache", "goatee"], p=[0.4, 0.22, 0.14, 0.1, 0.14]))
        x = np.abs(n[:, 0])
        chin = smoothstep(-36.0, -44.0, n[:, 1]) * smoothstep(-105.0, -92.0, n[:, 1])
        upper_lip = smoothstep(-12.5, -15.5, n[:, 1]) * smoothstep(31, 26, x) * (n[:, 1] > -60)
        lips = np.exp(-(((n[:, 1] + 34.5) / 9.0) ** 4) - (x / 23.0) ** 4) * (n[:, 2] > -34)
        cheek_edge = -8.0 + 0.35 * np.clip(x - 40, 0, 30) + rng.normal(0, 4)
        jaw = smoothstep(cheek_edge, cheek_edge - 9.0, n[:, 1]) * smoothstep(20, 30, x)
        jaw *= smoothstep(-128.0, -112.0, n[:, 2] - 0.3 * (n[:, 1] + 45)) * smoothstep(-108.0, -95.0, n[:, 1])
        near_mouth = smoothstep(34, 28, x)
        area = {
            "moustache": upper_lip,
            "goatee": np.maximum(upper_lip * (x < 40), chin * near_mouth * smoothstep(-50, -30, n[:, 2])),
        }.get(beard, np.maximum(np.maximum(chin, jaw), upper_lip))
        area = area * (1 - lips) * skin * (1.0 - smoothstep(0.1, 0.5, ear_weight(n)))
        area *= smoothstep(-1.2, 0.3, ScalarNoise(rng, 12.0)(n) + 0.4)
        depth = {"stubble": 0.3, "short": 1.8, "full": rng.uniform(3.0, 8.0), "moustache": 2.0, "goatee": 2.2}[beard]
        depth *= rng.uniform(0.7, 1.3)
        thickness += depth * area * (1.0 + 0.3 * ScalarNoise(rng, 18.0)(n)) * (1 + 0.5 * chin * (beard == "full"))
        rough += area * np.clip(0.2 + 0.12 * depth, 0.15, 0.9)
        loss += area * rng.uniform(0.02, 0.2)
        record["beard"] = beard
    hair = str(rng.choice(HAIR_KINDS, p=_HAIR_SHARES))
    record["hair"] = hair
    if hair != "bald":
        if hair == "headband":
            _scalp(model, str(rng.choice(["short", "tied_back"])), thickness, rough, loss, rng)
        _scalp(model, hair, thickness, rough, loss, rng)
    vertices = subject.vertices.copy()
    normals = vertex_normals(vertices, model.fine_triangles)
    thickness = np.where(skin, thickness, 0.0)
    vertices += normals * thickness[:, None]
    material = np.full(len(model.fine_triangles), Material.SKIN, np.uint8)
    material[np.isin(model.fine_region, SCLERAS)] = Material.EYE
    surface = Surface(
        vertices, model.fine_triangles, rough.astype(np.float32), np.clip(loss, 0, 0.8).astype(np.float32), material
    )
    return _eyes(model, surface, subject, rng, record), record


def _eyes(
    model: FaceModel, surface: Surface, subject: Subject, rng: np.random.Generator, record: dict[str, str | float]
) -> Surface:
    """Eyeballs as scanners give them: true, dented, bulging, noisy or lost."""
    kind = str(rng.choice(["true", "dented", "bulging", "noisy", "lost"], p=[0.3, 0.2, 0.12, 0.28, 0.1]))
    record["eyes"] = subject.eyes
    record["eyeballs"] = kind
    vertices, rough, loss = surface.vertices.copy(), surface.roughness.copy(), surface.loss.copy()
    for region in SCLERAS:
        ball = np.flatnonzero(model.fine_vertex_region == region)
        if not len(ball):
            continue
        centre = (vertices[ball].max(axis=0) + vertices[ball].min(axis=0)) / 2
        offset = vertices[ball] - centre
        radius = np.linalg.norm(offset, axis=1).max() + 1e-9
        front = smoothstep(0.55, 1.0, offset[:, 2] / radius)
        if subject.eyes == "closed":
            vertices[ball] = centre + 0.97 * offset  # the lids of some identities are thinner than the gap
            continue
        if kind == "dented":
            vertices[ball, 2] -= rng.uniform(1.0, 4.5) * front
        elif kind == "bulging":
            vertices[ball, 2] += rng.uniform(0.3, 1.2) * front
        elif kind == "noisy":
            rough[ball] = rng.uniform(0.4, 1.2)
            loss[ball] = rng.uniform(0.05, 0.3)
        elif kind == "lost":
            loss[ball] = rng.uniform(0.4, 0.9)
        vertices[ball, 2] += rng.normal(-0.3, 0.5)
    return replace(surface, vertices=vertices, roughness=rough, loss=loss)


def _lip_seal(model: FaceModel, vertices: np.ndarray) -> Surface | None:
    if not len(model.lip_seal):
        return None
    return Surface.plain(vertices[: len(model.neutral)].copy(), model.lip_seal, Material.SKIN, 0.05, 0.0)


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


def _hair_shell(skin: Surface, subject: Subject, kind: str, rng: np.random.Generator) -> Surface:
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


def _bun(subject: Subject, rng: np.random.Generator) -> Surface:
    """A knot of hair behind the head."""
    u, v = np.linspace(0, np.pi, 16), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    direction = np.stack(
        [np.sin(u)[:, None] * np.cos(v), np.cos(u)[:, None] * np.ones(24), np.sin(u)[:, None] * np.sin(v)], axis=2
    ).reshape(-1, 3)
    centre = np.array([0.0, rng.uniform(20, 90), -222.0 + rng.uniform(0, 12)]) * subject.proportions["scale"]
    points = centre + direction * rng.uniform(20, 38) * (1 + 0.1 * ScalarNoise(rng, 20.0)(direction * 30))[:, None]
    return Surface.plain(points, grid_triangles(16, 24, True)[:, ::-1], Material.HAIR, 1.2, 0.2)


def _torso(model: FaceModel, subject: Subject, kind: str, rng: np.random.Generator) -> list[Surface]:
    """Shoulders below the model's neck border, and clothing round the neck."""
    border = model.neck_border
    if not len(border) or kind == "none":
        return []
    edge = subject.coarse[border]
    middle = edge.mean(axis=0)
    angle = np.linspace(-np.pi, np.pi, 121)[:-1]
    order = np.arctan2(edge[:, 0] - middle[0], edge[:, 2] - middle[2])
    sort = np.argsort(order)
    ring = np.stack(
        [np.interp(angle, order[sort], edge[sort, k], period=2 * np.pi) for k in range(3)], axis=1
    )
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
    body = np.stack(
        [np.concatenate([x, skirt_x]), np.concatenate([y, skirt_y]), np.concatenate([z, skirt_z])], axis=2
    )
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


def dress(model: FaceModel, subject: Subject, rng: np.random.Generator) -> DressedHead:
    """Give a head its skin relief, eyes, hair and clothing.

    Parameters
    ----------
    model : FaceModel
    subject : Subject
    rng : numpy.random.Generator

    Returns
    -------
    DressedHead
    """
    skin, record = _skin_relief(model, subject, rng)
    covers: list[Surface] = []
    hair = record["hair"]
    if hair in ("over_ears", "long"):
        covers.append(_hair_shell(skin, subject, str(hair), rng))
    if hair == "tied_back" and rng.random() < 0.6:
        covers.append(_bun(subject, rng))
    clothing = str(rng.choice(CLOTHING_KINDS, p=_CLOTHING_SHARES))
    record["clothing"] = clothing
    torso = _torso(model, subject, clothing, rng)
    covers += [s for s in torso if s.material[0] != Material.SKIN]
    bodies = [s for s in torso if s.material[0] == Material.SKIN]
    seal = _lip_seal(model, skin.vertices)
    whole = merge([skin, *([seal] if seal else []), *bodies])
    return DressedHead(whole, merge(covers) if covers else None, record)


def visible_triangles(model: FaceModel, subject: Subject) -> np.ndarray:
    """Fine triangles of a clean head: without sockets, and without eyeballs behind closed lids; (k, 3)."""
    hidden = (*SOCKETS, *SCLERAS) if subject.eyes == "closed" else SOCKETS
    return model.fine_triangles[~np.isin(model.fine_region, hidden)]
