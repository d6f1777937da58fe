"""Small pictures of annotated scans, drawn with numpy and Pillow: no graphics hardware, a fifth of a second each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.resampling import triangle_normals
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]

WIDTH, HEIGHT = 250, 300
_SAMPLES = 120_000
_DABS = (0, 1, 2)  # each sample paints so many pixels along and across
_MARGIN_MM = 22.0
_SKIN = np.array([218.0, 190.0, 172.0])
_LIGHT = np.array([-0.35, 0.45, 0.82])
#: By side of the subject; to be told apart with any kind of colour vision.
COLOURS = {"right": (214, 39, 40), "midline": (20, 120, 60), "left": (31, 80, 200)}
_FLAGGED = (255, 140, 0)
#: Directions to look from in the frame of the reference, and the picture's right-hand direction.
_VIEWS = (((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)), ((-0.77, 0.0, 0.64), (0.64, 0.0, 0.77)))


def draw_subject(
    vertices: FloatArray | None,
    triangles: NDArray[np.int64] | None,
    landmarks: FloatArray,
    protocol: Protocol,
    transform: FloatArray | None,
    flagged: Sequence[str] = (),
) -> bytes:
    """Draw a scan with its landmarks from the front and from the subject's right.

    Parameters
    ----------
    vertices : (n, 3) float, optional
        Of the scan, mm; None draws the landmarks alone.
    triangles : (m, 3) int, optional
    landmarks : (L, 3) float
        In the scan's frame, mm; NaN where missing. Red is the subject's right, blue the left, green the midline.
    protocol : Protocol
    transform : (4, 4) float, optional
        To the frame of the reference, possibly scaled; without one the scan is drawn as it lies in its file.
    flagged : sequence of str
        Labels that are ringed and named.

    Returns
    -------
    bytes
        A PNG file, two views side by side.
    """
    from PIL import Image, ImageDraw

    matrix = np.eye(4) if transform is None else transform
    points = apply_transform(matrix, landmarks)
    moved = None if vertices is None else apply_transform(matrix, vertices)
    shown = points[np.isfinite(points).all(axis=1)]
    if moved is not None and (transform is None or not len(shown)):
        shown = moved
    if not len(shown):
        shown = np.zeros((1, 3))
    # Landmarks far off must not shrink the face to nothing.
    low, high = np.percentile(shown, 4, axis=0), np.percentile(shown, 96, axis=0)
    focus = 0.5 * (low + high)
    scale = 1.15 * float(np.max((high - low) / (WIDTH, HEIGHT, WIDTH))) + 2 * _MARGIN_MM / HEIGHT  # mm per pixel
    surface = None if moved is None or triangles is None else _samples(moved, triangles, focus, scale * HEIGHT)
    picture = Image.new("RGB", (2 * WIDTH, HEIGHT), (255, 255, 255))
    for number, (towards, right) in enumerate(_VIEWS):
        axes = np.array([right, (0.0, 1.0, 0.0), towards])
        if surface is not None:
            picture.paste(Image.fromarray(_shaded(*surface, axes, focus, scale)), (number * WIDTH, 0))
        panel = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
        _draw_points(ImageDraw.Draw(panel), (points - focus) @ axes.T / scale, protocol, flagged)
        picture.paste(panel, (number * WIDTH, 0), panel)
    stream = io.BytesIO()
    picture.quantize(96, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _samples(
    moved: FloatArray, triangles: NDArray[np.int64], focus: FloatArray, reach: float
) -> tuple[FloatArray, FloatArray] | None:
    """Spread points over the part of the surface within reach, with unit normals; None where there is none."""
    corner = moved[triangles[:, 0]]
    triangles = triangles[(np.abs(corner - focus) < 0.75 * reach).all(axis=1)]
    if not len(triangles):
        return None
    normals = triangle_normals(moved, triangles)
    length = np.linalg.norm(normals, axis=1)
    rng = np.random.default_rng(0)
    ends = np.cumsum(length)
    chosen = np.minimum(np.searchsorted(ends, rng.random(_SAMPLES) * ends[-1]), len(ends) - 1)
    across = np.sqrt(rng.random(_SAMPLES))[:, None]
    along = rng.random(_SAMPLES)[:, None]
    first, second, third = (moved[triangles[chosen, corner]] for corner in range(3))
    points = (1 - across) * first + across * ((1 - along) * second + along * third)
    return points, normals[chosen] / np.maximum(length[chosen], 1e-300)[:, None]


def _shaded(
    points: FloatArray, normals: FloatArray, axes: FloatArray, focus: FloatArray, scale: float
) -> NDArray[np.uint8]:
    """Paint the points from the furthest to the nearest, each three pixels wide."""
    seen = (points - focus) @ axes.T
    facing = normals @ axes.T
    light = np.clip(facing @ (_LIGHT / np.linalg.norm(_LIGHT)), 0.0, 1.0)
    shade = np.where(facing[:, 2] > 0.0, 0.35 + 0.65 * light, 0.25)
    colours = (shade[:, None] * _SKIN).astype(np.uint8)
    column = np.floor(0.5 * WIDTH - 1 + seen[:, 0] / scale).astype(int)
    line = np.floor(0.5 * HEIGHT - 1 - seen[:, 1] / scale).astype(int)
    reach = max(_DABS)
    kept = np.flatnonzero((column >= -reach) & (column < WIDTH) & (line >= -reach) & (line < HEIGHT))
    # Of several values that are assigned to one pixel numpy keeps the last: the nearest, as they are sorted.
    kept = kept[np.argsort(seen[kept, 2])]
    down, aside = (part.ravel() for part in np.meshgrid(_DABS, _DABS))
    image = np.full((HEIGHT + 2 * reach, WIDTH + 2 * reach, 3), 255, dtype=np.uint8)
    image[line[kept, None] + down + reach, column[kept, None] + aside + reach] = colours[kept, None]
    return image[reach : HEIGHT + reach, reach : WIDTH + reach]


def _draw_points(canvas: Any, seen: FloatArray, protocol: Protocol, flagged: Sequence[str]) -> None:
    for landmark, (across, up, _) in zip(protocol.landmarks, seen, strict=True):
        if not np.isfinite(across):
            continue
        x, y = 0.5 * WIDTH + across, 0.5 * HEIGHT - up
        ringed = landmark.label in flagged
        if ringed:
            x, y = float(np.clip(x, 8, WIDTH - 8)), float(np.clip(y, 8, HEIGHT - 8))
        canvas.ellipse((x - 2.4, y - 2.4, x + 2.4, y + 2.4), fill=COLOURS[landmark.side])
        if ringed:
            canvas.ellipse((x - 6, y - 6, x + 6, y + 6), outline=_FLAGGED, width=2)
            aside = -8 if x > WIDTH - 60 else 8
            canvas.text(
                (x + aside, y),
                landmark.label,
                fill=(0, 0, 0),
                font=_font(),
                anchor="rm" if aside < 0 else "lm",
                stroke_width=2,
                stroke_fill=(255, 255, 255),
            )


@lru_cache(maxsize=1)
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(12)
