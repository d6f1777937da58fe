"""Draw one random head: identity, expression, eyes, proportions, local variations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from training_tools.simulation.face_model import FaceModel
from training_tools.simulation.noise import WaveField, smoothstep

_NO_RANDOM = ("eye", "jaw", "mouthClose")  # eyes and jaw are drawn on their own; mouthClose only undoes jawOpen
_EAR_CENTRE = np.array([80.0, 8.0, -131.0])  # left ear of the neutral face
_EAR_HINGE = np.array([72.0, 8.0, -116.0])


@dataclass(frozen=True)
class Subject:
    """One head in the model's frame (origin at the neutral nose tip), mm.

    Attributes
    ----------
    vertices : (fine vertices, 3) float64
        Subdivided mesh: skin, sockets, scleras, mouth closure.
    coarse : (n, 3) float64
        Mesh before subdivision.
    landmarks : (landmarks, 3) float64
    coefficients : (modes,) float64
    expression : dict
        Expression name to weight.
    eyes : str
        "open", "half" or "closed".
    proportions : dict
        Factors and offsets of the warps, for the record.
    """

    vertices: np.ndarray
    coarse: np.ndarray
    landmarks: np.ndarray
    coefficients: np.ndarray
    expression: dict[str, float]
    eyes: str
    proportions: dict[str, float]


def draw_expression(names: tuple[str, ...], rng: np.random.Generator) -> tuple[dict[str, float], str]:
    """Draw mild expression weights and the state of the eyes.

    Returns
    -------
    weights : dict
    eyes : str
        "open", "half" or "closed".
    """
    weights: dict[str, float] = {}
    usual = [n for n in names if not n.startswith(_NO_RANDOM)]
    for name in rng.choice(usual, size=min(int(rng.integers(0, 4)), len(usual)), replace=False) if usual else ():
        amount = float(rng.uniform(0.0, 0.3))
        twin = name[:-1] + ("R" if name.endswith("L") else "L")
        weights[str(name)] = amount
        if name[-2:] in ("_L", "_R") and twin in names and rng.random() < 0.8:
            weights[twin] = float(np.clip(amount + rng.normal(0, 0.03), 0, 0.35))
    opening = rng.random()
    jaw = 0.0 if opening < 0.7 else rng.uniform(0, 0.1) if opening < 0.95 else rng.uniform(0.1, 0.25)
    if "jawOpen" in names and jaw > 0:
        weights["jawOpen"] = float(jaw)
    state = rng.random()
    eyes = "closed" if state < 0.35 else "half" if state < 0.5 else "open"
    low, high = {"closed": (0.93, 1.0), "half": (0.25, 0.7), "open": (0.0, 0.2)}[eyes]
    blink = float(rng.uniform(low, high))
    for side in "LR":
        if f"eyeBlink_{side}" in names:
            weights[f"eyeBlink_{side}"] = float(np.clip(blink + rng.normal(0, 0.02), 0, 1))
    if eyes != "closed":
        for name in ("eyeWide", "eyeSquint"):
            if rng.random() < 0.2:
                for side in "LR":
                    if f"{name}_{side}" in names:
                        weights[f"{name}_{side}"] = float(rng.uniform(0, 0.3))
    return weights, eyes


def _bump(points: np.ndarray, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Gaussian weight (n, 1) about a point and its mirror image."""
    mirrored = points.copy()
    mirrored[:, 0] = np.abs(mirrored[:, 0])
    distance = ((mirrored - np.abs(centre) * np.array([1, np.sign(centre[1]) or 1, np.sign(centre[2]) or 1])) ** 2).sum(
        axis=1
    )
    return np.exp(-0.5 * distance / radius**2)[:, None]


def ear_weight(neutral: np.ndarray) -> np.ndarray:
    """1 on the ears, falling smoothly to 0 on the head about them; (n,) from neutral positions."""
    offset = (np.abs(neutral * [1, 0, 0]) + neutral * [0, 1, 1]) - _EAR_CENTRE
    reach = np.sqrt((offset[:, 1] / 40.0) ** 2 + (offset[:, 2] / 27.0) ** 2)
    return smoothstep(1.55, 0.85, reach) * smoothstep(60.0, 74.0, np.abs(neutral[:, 0]))


def _warp_ears(vertices: np.ndarray, neutral: np.ndarray, rng: np.random.Generator, record: dict[str, float]) -> None:
    weight = ear_weight(neutral)
    shared = rng.normal(0, 1, 7)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        own = 0.85 * shared + 0.5 * rng.normal(0, 1, 7)
        outward = np.radians(np.clip(2.0 + 9.0 * own[0], -16, 26))
        tilt = np.radians(6.0 * own[1])
        size = np.clip(1.0 + 0.06 * own[2], 0.84, 1.16)
        stretch = np.clip(1.0 + 0.04 * own[3], 0.88, 1.12)
        shift = np.array([0.0, 3.0 * own[4], 3.0 * own[5]])
        mask = weight * (neutral[:, 0] * sign > 0)
        active = mask > 0
        pivot = _EAR_HINGE * [sign, 1, 1]
        # the hinge follows what identity and the other warps did to the ear
        moved = (mask[active, None] * (vertices[active] - neutral[active])).sum(axis=0) / max(mask.sum(), 1e-9)
        q = vertices[active] - pivot - moved
        a, t = outward * sign, tilt
        yaw = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
        pitch = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
        target = (q * [size, size * stretch, size]) @ (yaw @ pitch).T + shift
        vertices[active] += mask[active, None] * (target - q)
        record[f"ear_outward_{side}_deg"] = float(np.degrees(outward))
        record[f"ear_size_{side}"] = float(size)


def _pose_neck(vertices: np.ndarray, neutral: np.ndarray, rng: np.random.Generator, record: dict[str, float]) -> None:
    """Bend the neck: the head stays, neck and shoulders turn under it."""
    angle = np.radians(rng.normal(0.0, (6.0, 4.0, 3.0)))
    pivot = np.array([0.0, -70.0, -115.0])
    amount = smoothstep(-78.0, -150.0, neutral[:, 1] + 0.25 * (neutral[:, 2] + 60.0))[:, None]
    offset = vertices - pivot
    vertices += Rotation.from_rotvec(angle * amount).apply(offset) - offset
    record["neck_pitch_deg"] = float(np.degrees(angle[0]))


def _warp(vertices: np.ndarray, neutral: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Change the proportions in place; weights are functions of the neutral positions, so landmarks follow."""
    n = neutral.astype(np.float64)
    record: dict[str, float] = {}
    # widths and depths that involve ears, cheekbones and jaw: the model's are 8-15 % above clinical averages
    narrow = rng.uniform(-0.02, 0.15)
    slope = rng.normal(0, 0.04)
    side = smoothstep(22.0, 66.0, np.abs(n[:, 0]))
    factor = rng.uniform(0.97, 1.03) * (1.0 - side * (narrow + slope * np.clip(n[:, 1] / 100.0, -1.2, 1.2)))
    vertices[:, 0] *= factor
    shorten = rng.uniform(-0.02, 0.16)
    behind = np.minimum(vertices[:, 2] + 42.0, 0.0)
    soft = behind**2 / (15.0 - behind)  # starts with slope 0, so that no edge shows
    vertices[:, 2] += shorten * soft
    vertices[:, 2] -= rng.normal(0, 0.03) * np.minimum(vertices[:, 2] + 30.0, 0) * smoothstep(-20, -110, n[:, 1])
    lower, upper = rng.normal(0, 0.04), np.clip(rng.normal(0, 0.08), -0.2, 0.2)
    y = vertices[:, 1]
    below, above = np.minimum(y + 8.0, 0.0), np.maximum(y - 45.0, 0.0)
    vertices[:, 1] += lower * below**2 / (12.0 - below) + upper * above**2 / (12.0 + above)
    record |= {"narrowing": narrow, "shortening": shorten, "lower_face": float(lower), "forehead": float(upper)}

    # local shapes: (centre right/left symmetric, radius, standard deviations of lateral, vertical, forward moves)
    local: tuple[tuple[tuple[float, float, float], float, tuple[float, float, float]], ...] = (
        ((0.0, -68.0, -22.0), 14.0, (0.0, 1.8, 2.5)),  # chin
        ((14.0, -66.0, -26.0), 9.0, (1.0, 0.8, 1.0)),  # chin, its corners
        ((0.0, -2.0, -2.0), 9.0, (0.0, 1.6, 2.0)),  # nose tip
        ((0.0, 22.0, -16.0), 9.0, (0.0, 0.6, 1.8)),  # nasal dorsum
        ((0.0, 42.0, -24.0), 9.0, (0.0, 1.2, 1.6)),  # nasal root
        ((17.0, -4.0, -24.0), 8.0, (1.3, 0.7, 0.9)),  # alae
        ((26.0, 54.0, -28.0), 12.0, (0.0, 1.0, 1.8)),  # brow ridge
        ((0.0, 80.0, -30.0), 24.0, (0.0, 0.0, 2.2)),  # forehead
        ((50.0, 10.0, -46.0), 16.0, (1.6, 1.2, 1.8)),  # cheeks
        ((38.0, -28.0, -42.0), 16.0, (2.0, 0.8, 1.8)),  # fullness beside the mouth
        ((60.0, -42.0, -100.0), 20.0, (3.2, 2.2, 1.5)),  # jaw angle
        ((70.0, 14.0, -90.0), 18.0, (1.5, 0.5, 0.5)),  # cheekbone arch
        ((58.0, 58.0, -58.0), 16.0, (1.8, 0.5, 1.0)),  # temple
        ((0.0, -86.0, -52.0), 18.0, (0.0, 3.0, 1.5)),  # under the chin
        ((0.0, -30.0, -16.0), 11.0, (0.0, 0.7, 1.3)),  # lips
        ((0.0, -48.0, -20.0), 8.0, (0.0, 0.6, 1.0)),  # fold below the lower lip
    )
    for centre, radius, spread in local:
        amount = rng.normal(0, 1, 3) * spread
        weight = _bump(n, centre, radius)
        lean = np.stack([np.sign(n[:, 0]) * amount[0], np.full(len(n), amount[1]), np.full(len(n), amount[2])], axis=1)
        vertices += weight * lean
    neck = np.clip(rng.normal(0.97, 0.08), 0.8, 1.15)
    down = smoothstep(-88.0, -125.0, n[:, 1]) * smoothstep(-190.0, -150.0, n[:, 1])
    vertices[:, 0] *= 1 + (neck - 1) * down
    vertices[:, 2] = -95.0 + (vertices[:, 2] + 95.0) * (1 + (neck - 1) * down)
    _pose_neck(vertices, n, rng, record)
    _warp_ears(vertices, n, rng, record)

    rms = rng.uniform(0.6, 1.7)
    vertices += rms * WaveField(rng, 70.0, 220.0, asymmetry=rng.uniform(0.1, 0.4))(n)
    fine = rng.uniform(0.15, 0.5)
    vertices += fine * WaveField(rng, 25.0, 60.0, asymmetry=0.4)(n)
    scale = np.clip(rng.normal(0.985, 0.035), 0.9, 1.08)
    vertices *= scale
    return record | {"scale": float(scale), "neck": float(neck), "field_mm": rms, "fine_field_mm": fine}


def with_asymmetry(model: FaceModel, subject: Subject, size_mm: float, rng: np.random.Generator) -> Subject:
    """Make a head more asymmetric by a smooth displacement that pushes the sides opposite ways.

    Parameters
    ----------
    model : FaceModel
    subject : Subject
    size_mm : float
        Root mean square length of what is added to the difference between a left and the reflected right point, mm.
    rng : numpy.random.Generator
        Of its own, so that everything else about the head stays as it was drawn.

    Returns
    -------
    Subject
    """
    field = WaveField(rng, 60.0, 200.0, asymmetry=1.0)(model.neutral.astype(np.float64))
    # Unit variance along three axes on either side: twice that between the sides.
    coarse = subject.coarse + size_mm / (2.0 * np.sqrt(3.0)) * field
    vertices = model.refinement @ coarse
    landmarks = model.landmark_matrix @ vertices[: len(coarse)]
    return replace(subject, coarse=coarse, vertices=vertices, landmarks=landmarks)


def draw_subject(model: FaceModel, rng: np.random.Generator) -> Subject:
    """Draw one head.

    Parameters
    ----------
    model : FaceModel
    rng : numpy.random.Generator

    Returns
    -------
    Subject
    """
    coefficients = rng.normal(size=len(model.identity)) * (1.2 if rng.random() < 0.3 else 1.0)
    expression, eyes = draw_expression(model.expression_names, rng)
    coarse = model.shape(coefficients, expression)
    proportions = _warp(coarse, model.neutral, rng)
    vertices = model.refinement @ coarse
    landmarks = model.landmark_matrix @ vertices[: len(coarse)]
    return Subject(vertices, coarse, landmarks, coefficients, expression, eyes, proportions)
