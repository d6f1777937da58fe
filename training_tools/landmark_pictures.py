"""Draw where each landmark lies, on the neutral face of the parametric model: the pictures the module's panels show.

``python -m training_tools.landmark_pictures --face-model MODEL.npz --output PALNetLandmarks/Resources/Landmarks``
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from PALNetLandmarksLib.engine.picture_render import render
from PALNetLandmarksLib.files import atomic_write
from PALNetLandmarksLib.landmark_pictures import picture_name
from PALNetLandmarksLib.protocol import Landmark, Protocol, load_protocol
from training_tools.simulation.face_model import LANDMARKS_FILE, SCLERAS, SKIN, SOCKETS, load_face_model

PIXELS = 240
COLOURS, MARKER_COLOURS = 48, 10
MARKER = (214, 30, 30)
MARKER_RADIUS_PIXELS = 6.0
#: How far the picture's middle is moved from the landmark towards the middle of the face, so that one sees where it is.
TOWARDS_FACE = 0.18
FACE_MIDDLE = np.array([0.0, 15.0, -45.0])
#: Degrees that the viewer goes to the landmark's side and up, and mm across the picture, by region.
VIEWS = {
    "forehead": (35.0, 5.0, 150.0),
    "nose": (28.0, 0.0, 95.0),
    "mouth": (12.0, 0.0, 95.0),
    "chin": (32.0, -5.0, 110.0),
    "eye": (18.0, 0.0, 100.0),
    "cheek": (48.0, 0.0, 150.0),
    "jaw": (62.0, -5.0, 150.0),
    "ear": (78.0, 0.0, 105.0),
}
#: Landmarks that are seen better from elsewhere.
OWN_VIEWS = {
    "Tr": (0.0, 12.0, 190.0),
    "C": (20.0, -28.0, 75.0),
    "Sn": (25.0, -18.0, 85.0),
    "Gn": (35.0, -22.0, 120.0),
    "Itn": (10.0, -38.0, 75.0),
    "Stn": (10.0, -38.0, 75.0),
    "Ac": (35.0, 0.0, 85.0),
    "Chk": (35.0, 0.0, 150.0),
    "Zy": (65.0, 0.0, 160.0),
}


def picture_view(landmark: Landmark, position: np.ndarray) -> dict[str, Any]:
    """Describe the view of one landmark for the renderer.

    Parameters
    ----------
    landmark : Landmark
    position : (3,) float
        In the reference's frame: +x subject's left, +y up, +z forward, mm.

    Returns
    -------
    dict
        As :func:`PALNetLandmarksLib.engine.picture_render.render` takes it, but for the spheres.
    """
    aside, up, across = OWN_VIEWS.get(landmark.abbreviation, VIEWS[landmark.region])
    # Midline landmarks are looked at from the subject's right, as profiles are shown by custom.
    turn, lift = np.radians(aside if landmark.side == "left" else -aside), np.radians(up)
    direction = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)])
    focus = position + TOWARDS_FACE * (FACE_MIDDLE - position)
    return {
        "from": direction.tolist(),
        "up": [0.0, 1.0, 0.0],
        "focus": focus.tolist(),
        "width": PIXELS,
        "height": PIXELS,
        "mm_per_pixel": across / PIXELS,
    }


def landmark_pictures(face_model: Path, protocol: Protocol) -> dict[str, bytes]:
    """Render all landmarks of the protocol.

    Parameters
    ----------
    face_model : Path
        ``ict_face_model.npz``.
    protocol : Protocol

    Returns
    -------
    dict of str to bytes
        PNG file by label.
    """
    model = load_face_model(face_model, LANDMARKS_FILE)
    vertices = model.fine_neutral.astype(np.float64)
    shown = np.isin(model.fine_region, (*SKIN, *SOCKETS, *SCLERAS))
    triangles = np.concatenate([model.fine_triangles[shown], model.lip_seal])
    positions = model.landmark_matrix @ vertices[: len(model.neutral)]
    places = [model.labels.index(label) for label in protocol.labels]
    views = [picture_view(mark, positions[place]) for mark, place in zip(protocol.landmarks, places, strict=True)]
    pictures = {}
    for label, place, view in zip(protocol.labels, places, views, strict=True):
        request = {
            "vertices": vertices,
            "triangles": triangles,
            "centres": positions,
            "colours": np.tile(np.array(MARKER, dtype=np.uint8), (len(positions), 1)),
            "radius": MARKER_RADIUS_PIXELS * view["mm_per_pixel"],
            "views": json.dumps([{**view, "spheres": [place]}]),
        }
        pictures[label] = _png(render(request)["image0"])
    return pictures


def _png(image: np.ndarray) -> bytes:
    """Give a PNG file of few colours, among them those of the marker, which is too small to earn its own."""
    pixels = image.reshape(-1, 3).astype(int)
    marker = pixels[:, 0] > pixels[:, 1:].max(axis=1) + 70
    skin_colours, marker_colours = _palette(pixels[~marker], COLOURS), _palette(pixels[marker], MARKER_COLOURS)
    skin, dot = _indices(image, skin_colours), _indices(image, marker_colours)
    few = Image.fromarray(np.where(marker.reshape(skin.shape), dot + len(skin_colours), skin).astype(np.uint8), "P")
    few.putpalette(np.concatenate([skin_colours, marker_colours]).ravel().tolist())
    stream = io.BytesIO()
    few.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _indices(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    return np.array(Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)) % len(colours)


def _palette(pixels: np.ndarray, count: int) -> np.ndarray:
    few = Image.fromarray(pixels[None].astype(np.uint8)).quantize(count, method=Image.Quantize.MEDIANCUT)
    return np.array(few.getpalette(), dtype=np.uint8).reshape(-1, 3)[:count]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training_tools.landmark_pictures", description=__doc__)
    parser.add_argument("--face-model", required=True, type=Path, help="ict_face_model.npz")
    parser.add_argument("--output", required=True, type=Path, help="folder for the pictures")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    protocol = load_protocol()
    pictures = landmark_pictures(options.face_model, protocol)
    for label, data in pictures.items():
        with atomic_write(options.output / picture_name(protocol, label), "wb") as stream:
            stream.write(data)
    print(f"{len(pictures)} pictures, {sum(map(len, pictures.values())) // 1024} kB.")
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
