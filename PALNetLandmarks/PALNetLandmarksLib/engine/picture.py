"""The picture of a result: the face from the front and both sides with its landmarks coloured by expected error.

The face is rendered off screen by a process of its own (:mod:`picture_render`); lettering and layout are done here.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.picture_labels import LabelRow, spread_rows
from PALNetLandmarksLib.engine.picture_render import LIFT, RIM_FACTOR
from PALNetLandmarksLib.errors import DeviceError, InputError
from PALNetLandmarksLib.files import PathLike, atomic_write
from PALNetLandmarksLib.landmarks import RECORD_NAME, LandmarkSet

FloatArray = npt.NDArray[np.float64]

RESEARCH_USE = "Research use only. Not for diagnosis."
#: Expected errors are coloured from 0 to this many mm, in every picture, so that pictures can be compared.
SCALE_MM = 5.0
#: Seconds after which a renderer that does not answer is given up; a million triangles take about ten on two cores.
TIME_LIMIT_S = 180.0

WIDTH, HEIGHT = 2000, 920
_HEADER, _FOOTER = 76, 110
_PANELS = ((0, 630), (630, 740), (1370, 630))  # left edge and width of right side, front, left side
_MARGIN_MM = 9.0
_SPHERE_MM = 2.1
_LABEL_SIZE, _LABEL_STEP = 17, 23
_LABEL_ROOM = 150  # pixels across a panel for its two columns of labels
_INK, _GREY, _LEADER = (28, 28, 32), (105, 105, 112), (40, 40, 48, 130)
_UNKNOWN = (245, 245, 245)
_COMMAND = [sys.executable, "-m", "PALNetLandmarksLib.engine.picture_render"]
_HINT = "Leave out --image, or install a software renderer (Debian, Ubuntu: apt install libegl1 libgl1)."


@dataclass(frozen=True)
class _View:
    """A direction to look from, in the reference frame (+x the subject's left, +y up, +z forward)."""

    name: str
    towards: tuple[float, float, float]
    labelled: tuple[str, ...]
    midline_column: str

    @property
    def right(self) -> FloatArray:
        """The picture's right-hand direction."""
        return np.cross((0.0, 1.0, 0.0), self.towards)


_VIEWS = (
    _View("subject's right", (-1.0, 0.0, 0.0), ("right", "midline"), "right"),
    _View("front", (0.0, 0.0, 1.0), ("right", "midline", "left"), ""),
    _View("subject's left", (1.0, 0.0, 0.0), ("left", "midline"), "left"),
)


def write_picture(
    path: PathLike,
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    landmarks: LandmarkSet,
    scan_to_reference: npt.ArrayLike,
    *,
    model: str = "",
    case: str = "",
    remark: str = "",
) -> None:
    """Write the picture of a result as a PNG file.

    Parameters
    ----------
    path : str or PathLike
        File to write; it appears whole or not at all.
    vertices : (n, 3) array_like
        Points of the scan, mm.
    triangles : (m, 3) array_like
        Indices into `vertices`.
    landmarks : LandmarkSet
        In the scan's frame, mm.
    scan_to_reference : (4, 4) array_like
        Rigid transform that turns the face upright and forward.
    model : str
        Name and version of the model for the title line.
    case : str
        The user's name for the case.
    remark : str
        One line below the title, for example the quality of the registration.

    Raises
    ------
    DeviceError
        When this machine has no means to render.
    InputError
        When the file cannot be written.
    """
    image = draw_picture(vertices, triangles, landmarks, scan_to_reference, model=model, case=case, remark=remark)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=6, pnginfo=_record(landmarks, case))
    with atomic_write(path, "wb") as stream:
        stream.write(buffer.getvalue())


def _record(landmarks: LandmarkSet, case: str) -> Any:
    """Make the text that a PNG file carries beside the picture: how the landmarks came about, as JSON."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(RECORD_NAME, json.dumps({"case": case or "case", **landmarks.record()}))
    return info


def draw_picture(
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    landmarks: LandmarkSet,
    scan_to_reference: npt.ArrayLike,
    *,
    model: str = "",
    case: str = "",
    remark: str = "",
    error_name: str = "expected error",
) -> Any:
    """Draw the picture; parameters and errors as in :func:`write_picture`, and what the errors are called.

    Returns
    -------
    PIL.Image.Image
        RGB, 2000 × 920 pixels.
    """
    from PIL import Image, ImageDraw

    transform = np.asarray(scan_to_reference, dtype=np.float64)
    surface = np.asarray(vertices, dtype=np.float64) @ transform[:3, :3].T + transform[:3, 3]
    points = landmarks.positions @ transform[:3, :3].T + transform[:3, 3]
    requests = _view_requests(landmarks, points)
    colours = error_colours(landmarks.expected_error_mm)
    rendered = _render_apart(surface, np.asarray(triangles), points, colours, requests)
    page = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    canvas = ImageDraw.Draw(page, "RGBA")
    for number, (view, (left, width)) in enumerate(zip(_VIEWS, _PANELS, strict=True)):
        page.paste(Image.fromarray(rendered[f"image{number}"]), (left, _HEADER))
        _draw_labels(canvas, view, requests[number], rendered[f"depth{number}"], landmarks, points, left)
        _plate(canvas, (left + width // 2, _HEADER + 14), view.name, 18, _GREY, anchor="mm")
    _draw_header(canvas, landmarks, model, case, remark, error_name)
    _draw_footer(canvas, landmarks, error_name)
    return page


def error_colours(expected_error_mm: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Give the colour of each expected error.

    The scale runs from a dark blue over magenta to a light yellow; its lightness rises evenly (in the Oklab colour
    space), so that it reads the same with any kind of colour vision and in grey.

    Parameters
    ----------
    expected_error_mm : (k,) array_like
        Millimetres; NaN where unknown.

    Returns
    -------
    (k, 3) uint8
        Red, green, blue; nearly white where unknown.
    """
    errors = np.atleast_1d(np.asarray(expected_error_mm, dtype=np.float64))
    share = np.clip(np.nan_to_num(errors) / SCALE_MM, 0.0, 1.0)
    lightness = 0.36 + 0.54 * share
    hue = np.radians(np.interp(share, (0.0, 0.5, 1.0), (268.0, 358.0, 460.0)))
    chroma = np.interp(share, (0.0, 0.35, 0.7, 1.0), (0.16, 0.19, 0.18, 0.17))
    colours = np.rint(255.0 * _oklab_to_srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))).astype(np.uint8)
    colours[np.isnan(errors)] = _UNKNOWN
    return colours


def _oklab_to_srgb(lightness: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Convert Oklab (B. Ottosson, 2020) to sRGB from 0 to 1, clipped to what a screen can show."""
    cube_roots = np.stack(
        (
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ),
        axis=-1,
    )
    linear = cube_roots**3 @ np.array(
        (
            (4.0767416621, -1.2684380046, -0.0041960863),
            (-3.3077115913, 2.6097574011, -0.7034186147),
            (0.2309699292, -0.3413193965, 1.7076147010),
        )
    )
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)


def _view_requests(landmarks: LandmarkSet, points: FloatArray) -> list[dict[str, Any]]:
    """Choose scale and centre so that all landmarks fit into each panel, at one scale for all three."""
    found = points[~landmarks.missing]
    if not len(found):
        raise InputError("There is no landmark to show.", "Leave out --image.", code="picture.empty")
    low, high = found.min(axis=0), found.max(axis=0)
    height = HEIGHT - _HEADER - _FOOTER
    pixels = np.array((_PANELS[1][1], height, _PANELS[0][1])) - (_LABEL_ROOM, 60, _LABEL_ROOM)
    across = ((high - low) + 2 * _MARGIN_MM) / pixels
    scale = float(across.max())
    sides = [landmark.side for landmark in landmarks.protocol.landmarks]
    return [
        {
            "from": view.towards,
            "up": (0.0, 1.0, 0.0),
            "focus": [float(x) for x in 0.5 * (low + high)],
            "width": width,
            "height": height,
            "mm_per_pixel": scale,
            "spheres": [
                place for place, side in enumerate(sides) if side in view.labelled and not landmarks.missing[place]
            ],
        }
        for view, (_, width) in zip(_VIEWS, _PANELS, strict=True)
    ]


def _render_apart(
    vertices: FloatArray,
    triangles: npt.NDArray[Any],
    centres: FloatArray,
    colours: npt.NDArray[np.uint8],
    requests: list[dict[str, Any]],
) -> dict[str, npt.NDArray[Any]]:
    """Let another process render, because VTK takes the process with it where there is no OpenGL."""
    request = io.BytesIO()
    np.savez(
        request,
        vertices=vertices.astype(np.float32),
        triangles=triangles.astype(np.int64),
        centres=centres.astype(np.float32),
        colours=colours,
        radius=np.float64(_SPHERE_MM),
        views=np.array(json.dumps(requests)),
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    try:
        done = subprocess.run(
            _COMMAND,
            input=request.getvalue(),
            capture_output=True,
            env=environment,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"The picture was given up after {TIME_LIMIT_S:.0f} s."
        raise DeviceError(message, "Leave out --image for this scan.", code="picture.timeout") from error
    except OSError as error:
        raise DeviceError("The picture's renderer could not be started.", _HINT, code="picture.renderer") from error
    if done.returncode != 0 or not done.stdout.startswith(b"PK"):
        raise DeviceError(
            "The picture could not be rendered: this machine offers no off-screen OpenGL.",
            _HINT,
            code="picture.renderer",
        )
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _draw_labels(
    canvas: Any,
    view: _View,
    request: dict[str, Any],
    depth: npt.NDArray[np.float32],
    landmarks: LandmarkSet,
    points: FloatArray,
    left: int,
) -> None:
    """Write the labels of the landmarks in sight in a column on either side, each with a line to its point."""
    width, height, scale = request["width"], request["height"], request["mm_per_pixel"]
    offset = points - np.array(request["focus"])
    across = left + 0.5 * width + offset @ view.right / scale
    down = _HEADER + 0.5 * height - offset[:, 1] / scale
    towards = offset @ np.array(view.towards)
    rows = []
    midline = 0
    for place in request["spheres"]:
        column, line = int(across[place]) - left, int(down[place]) - _HEADER
        if not (0 <= column < width and 0 <= line < height):
            continue
        # Out of sight: something else is nearer to the viewer than the sphere could be.
        if depth[line, column] > towards[place] + (LIFT + RIM_FACTOR + 1.0) * _SPHERE_MM:
            continue
        landmark = landmarks.protocol.landmarks[place]
        if len(view.labelled) == 3 and landmark.region == "ear":
            continue  # labelled in the views from the side, where the ear is seen
        side = ""
        if landmark.side == "midline":
            midline += 1
            side = view.midline_column or ("left", "right")[midline % 2]
        rows.append(LabelRow(landmark.label, float(across[place]), float(down[place]), side))
    columns = spread_rows(
        rows, left=left, width=width, top=_HEADER + 44, bottom=_HEADER + height - 14, step=_LABEL_STEP
    )
    radius = _SPHERE_MM * RIM_FACTOR / scale
    for row, (text_x, text_y, on_left) in columns:
        anchor = "lm" if on_left else "rm"
        label_width = _font(_LABEL_SIZE).getlength(row.label)
        start = text_x + (label_width + 4 if on_left else -label_width - 4)
        dx, dy = row.x - start, row.y - text_y
        share = max(0.0, 1.0 - radius / max(math.hypot(dx, dy), 1e-6))
        canvas.line((start, text_y, start + share * dx, text_y + share * dy), fill=_LEADER, width=1)
        _plate(canvas, (text_x, text_y), row.label, _LABEL_SIZE, _INK, anchor=anchor)


def _draw_header(canvas: Any, landmarks: LandmarkSet, model: str, case: str, remark: str, error_name: str) -> None:
    """Write the title, the notice on use, and the numbers of points."""
    title = " · ".join(part for part in (f"PALNetLandmarks {__version__}", model and f"model {model}", case) if part)
    _text(canvas, (20, 10), _shortened(title, 26, WIDTH - 620), 26, _INK, bold=True)
    _text(canvas, (WIDTH - 20, 12), RESEARCH_USE, 24, (160, 30, 30), anchor="ra", bold=True)
    counts = [f"{landmarks.count(status)} {status}" for status in ("predicted", "corrected", "placed", "missing")]
    shown = [text for text in counts if not text.startswith("0 ")]
    parts = [f"{len(landmarks.protocol)} landmarks: {', '.join(shown)}"]
    known = landmarks.expected_error_mm[np.isfinite(landmarks.expected_error_mm)]
    if len(known):
        parts.append(f"median {error_name} {np.median(known):.1f} mm")
    parts.append(remark)
    _text(canvas, (20, 44), _shortened(" · ".join(filter(None, parts)), 19, WIDTH - 40), 19, _GREY)


def _draw_footer(canvas: Any, landmarks: LandmarkSet, error_name: str) -> None:
    """Draw the colour scale, the least certain landmarks and the missing ones."""
    top = HEIGHT - _FOOTER + 12
    canvas.line((20, top - 8, WIDTH - 20, top - 8), fill=(215, 215, 218), width=1)
    bar_left, bar_width = 20, 420
    _text(canvas, (bar_left, top), f"{error_name}, mm", 18, _GREY)
    ramp = error_colours(np.linspace(0.0, SCALE_MM, bar_width))
    for place, colour in enumerate(ramp):
        canvas.line((bar_left + place, top + 28, bar_left + place, top + 48), fill=tuple(int(x) for x in colour))
    for tick in range(int(SCALE_MM) + 1):
        x = bar_left + round(tick / SCALE_MM * (bar_width - 1))
        canvas.line((x, top + 48, x, top + 54), fill=_GREY)
        text = f"≥ {tick}" if tick == int(SCALE_MM) else str(tick)
        _text(canvas, (x, top + 58), text, 17, _GREY, anchor="ma")
    unknown = ~landmarks.missing & np.isnan(landmarks.expected_error_mm)
    if unknown.any():
        canvas.ellipse((bar_left + 468, top + 30, bar_left + 484, top + 46), fill=_UNKNOWN, outline=_INK, width=2)
        _text(canvas, (bar_left + 494, top + 38), "not known", 17, _GREY, anchor="lm")
    text_left = 620
    room = WIDTH - 20 - text_left
    order = np.argsort(np.where(np.isnan(landmarks.expected_error_mm), -1.0, landmarks.expected_error_mm))[::-1]
    worst = [place for place in order[:8] if np.isfinite(landmarks.expected_error_mm[place])]
    lines = []
    if worst:
        names = (f"{landmarks.protocol.labels[place]} {landmarks.expected_error_mm[place]:.1f}" for place in worst)
        lines.append("Look first at: " + ", ".join(names))
    missing = [label for label, gone in zip(landmarks.protocol.labels, landmarks.missing, strict=True) if gone]
    lines.append(f"Missing ({len(missing)}): {', '.join(missing)}" if missing else "Missing: none")
    lines.append("Right and left are the subject's. The views are at one scale.")
    for number, line in enumerate(lines):
        colour = _INK if number < len(lines) - 1 else _GREY
        _text(canvas, (text_left, top + 28 * number), _shortened(line, 19, room), 19, colour)


@lru_cache(maxsize=32)
def _font(size: int, bold: bool = False) -> Any:
    """Give DejaVu Sans (it comes with Matplotlib, which Open3D and VTK bring along), else Pillow's own font."""
    from importlib.util import find_spec

    from PIL import ImageFont

    spec = find_spec("matplotlib")
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / name
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def _text(
    canvas: Any,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, ...],
    *,
    anchor: str = "la",
    bold: bool = False,
) -> None:
    canvas.text(place, text, font=_font(size, bold), fill=colour, anchor=anchor)


def _plate(
    canvas: Any, place: tuple[float, float], text: str, size: int, colour: tuple[int, ...], *, anchor: str
) -> None:
    """Write on a white plate, readable wherever the head is behind it."""
    left, top, right, bottom = canvas.textbbox(place, text, font=_font(size), anchor=anchor)
    middle = 0.5 * (top + bottom)
    box = (left - 5, middle - 0.58 * size, right + 5, middle + 0.58 * size)
    canvas.rounded_rectangle(box, radius=5, fill=(255, 255, 255, 215))
    _text(canvas, place, text, size, colour, anchor=anchor)


def _shortened(text: str, size: int, room: float) -> str:
    """Cut a line that would run off the page."""
    if _font(size, True).getlength(text) <= room:
        return text
    while text and _font(size, True).getlength(text + " …") > room:
        text = text[:-1]
    return text + " …"
