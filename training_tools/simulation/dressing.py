"""Skin relief, brows, beard, eyeballs, hair and clothing of a simulated head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from training_tools.simulation.covers import bun, draw_clothing, hair_shell, torso
from training_tools.simulation.face_model import SCLERAS, SOCKETS, FaceModel
from training_tools.simulation.noise import ScalarNoise, smoothstep
from training_tools.simulation.scene import Material, Surface, merge, vertex_normals
from training_tools.simulation.subject import Subject, ear_weight

HAIR_KINDS = ("bald", "stubble", "short", "medium", "tied_back", "over_ears", "long", "cap", "headband")
_HAIR_SHARES = (0.14, 0.10, 0.30, 0.10, 0.10, 0.05, 0.09, 0.07, 0.05)
_HEAD_AXIS = np.array([0.0, 30.0, -112.0])


Record = dict[str, str]


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
    record: Record

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
    above = n[:, 1] - line + ragged
    soft = {"cap": 2.0, "stubble": 8.0, "short": rng.uniform(6.0, 26.0), "tied_back": rng.uniform(4.0, 16.0)}
    mask = smoothstep(-2.0, soft.get(kind, rng.uniform(5.0, 12.0)), above) * off_ears
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
    if kind == "short":  # hair is often cut shorter towards its edge at the sides and the neck
        volume *= 1.0 - rng.uniform(0.2, 0.85) * smoothstep(60.0, 5.0, above) * smoothstep(100.0, 70.0, n[:, 1])
    thickness += mask * np.maximum(volume, 0.2)
    rough += mask * grain * np.clip(volume / depth, 0.3, 1.2)
    loss += mask * lost


def _beard(
    model: FaceModel,
    skin: np.ndarray,
    thickness: np.ndarray,
    rough: np.ndarray,
    loss: np.ndarray,
    rng: np.random.Generator,
) -> str:
    """Add a beard to the per-vertex arrays, in place; returns its kind."""
    n = model.fine_neutral.astype(np.float64)
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
    return beard


def _skin_relief(model: FaceModel, subject: Subject, rng: np.random.Generator) -> tuple[Surface, Record]:
    """Skin with brows, beard, hair that follows the scalp, and eyes."""
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
    record: Record = {"beard": "none"}
    if rng.random() < 0.22:
        record["beard"] = _beard(model, skin, thickness, rough, loss, rng)
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


def _eyes(model: FaceModel, surface: Surface, subject: Subject, rng: np.random.Generator, record: Record) -> Surface:
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
        covers.append(hair_shell(skin, subject, str(hair), rng))
    if hair == "tied_back" and rng.random() < 0.6:
        covers.append(bun(subject, rng))
    clothing = draw_clothing(rng)
    record["clothing"] = clothing
    below = torso(model, subject, clothing, rng)
    covers += [s for s in below if s.material[0] != Material.SKIN]
    bodies = [s for s in below if s.material[0] == Material.SKIN]
    seal = _lip_seal(model, skin.vertices)
    whole = merge([skin, *([seal] if seal else []), *bodies])
    return DressedHead(whole, merge(covers) if covers else None, record)


def visible_triangles(model: FaceModel, subject: Subject) -> np.ndarray:
    """Fine triangles of a clean head: without sockets, and without eyeballs behind closed lids; (k, 3)."""
    hidden = (*SOCKETS, *SCLERAS) if subject.eyes == "closed" else SOCKETS
    return model.fine_triangles[~np.isin(model.fine_region, hidden)]
