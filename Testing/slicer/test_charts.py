"""Plots as pictures: right sizes, right colours in the right places, and nothing left behind."""

import io

import numpy as np
import pytest

pytest.importorskip("slicer")

from pathlib import Path  # noqa: E402

from PIL import Image  # noqa: E402

from PALNetLandmarksLib.asymmetry import asymmetry  # noqa: E402
from PALNetLandmarksLib.gui.scene.charts import asymmetry_chart, bland_altman_chart  # noqa: E402
from PALNetLandmarksLib.observers import bland_altman  # noqa: E402
from PALNetLandmarksLib.protocol import load_protocol  # noqa: E402

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
SEEN, SAME, OPEN, POINT = (196, 84, 30), (186, 192, 199), (110, 160, 205), (30, 96, 160)


def pixels(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def having(picture, colour):
    """Mask of the pixels with a colour, give or take the drawing's rounding."""
    mask = (np.abs(picture.astype(int) - colour) <= 6).all(axis=-1)
    if colour in (SEEN, SAME, OPEN):
        # Edges of letters are grey too: only rows with many such pixels hold a bar, and none where the axis is.
        mask &= (mask.sum(axis=1) > 8)[:, None]
        mask[int(0.9 * len(mask)) :] = False
    return mask


def bars(picture, colour):
    """Lengths in pixels of the bars of a colour, from the top."""
    mask = having(picture, colour)
    rows = mask.sum(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rows > 8, [0]])))
    return [int(rows[start:end].max()) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def result(errors, moved=6.0, missing=()):
    positions = FACE.copy()
    positions[PROTOCOL.index("Ch_L"), 2] += moved
    positions[PROTOCOL.index("Zy_L"), 2] += moved / 2
    for label in missing:
        positions[PROTOCOL.index(label)] = np.nan
    return asymmetry(positions, PROTOCOL, expected_error_mm=np.full(50, errors))


def test_one_bar_for_each_difference_above_its_error():
    values = result(1.0)
    picture = pixels(asymmetry_chart(values))
    assert picture.shape == (460, 380, 3)
    assert values.distinguishable.sum() == 2
    zygion, cheilion = bars(picture, SEEN)  # Zy stands above Ch
    assert zygion / cheilion == pytest.approx(0.5, abs=0.08) and cheilion > 150
    assert not having(picture, OPEN).any()


def test_differences_below_the_error_are_grey():
    picture = pixels(asymmetry_chart(result(30.0)))
    assert not having(picture, SEEN).any() and having(picture, SAME).any()


def test_differences_without_a_known_error_are_neither():
    picture = pixels(asymmetry_chart(result(np.nan)))
    assert having(picture, OPEN).any() and not having(picture, SEEN).any() and not having(picture, SAME).any()


def test_missing_pairs_have_no_bar_and_without_a_plane_there_is_none():
    full, less = (pixels(asymmetry_chart(result(1.0, missing=gone))) for gone in ((), ("Ch_L",)))
    assert len(bars(less, SEEN)) == len(bars(full, SEEN)) - 1
    nothing = pixels(asymmetry_chart(asymmetry(np.full((50, 3), np.nan), PROTOCOL)))
    assert not having(nothing, SEEN).any()


def test_it_can_be_drawn_larger_for_print():
    assert pixels(asymmetry_chart(result(1.0), scale=2.0)).shape == (920, 760, 3)


def test_points_and_limits():
    rng = np.random.default_rng(3)
    first = np.linspace(40, 80, 9)
    picture = pixels(bland_altman_chart(bland_altman(first, first + rng.normal(0.5, 0.3, 9)), "mm"))
    assert picture.shape == (300, 380, 3)
    blue = having(picture, POINT) | having(picture, (78, 131, 180))
    columns = np.flatnonzero(blue.any(axis=0))
    assert len(columns) > 18 and columns[-1] - columns[0] > 100
    dark = (picture.sum(axis=-1) < 250).sum(axis=1)
    assert (dark > 100).sum() >= 3  # the bias and two dashed limits, across the plot


@pytest.mark.parametrize("values", [([1.0], [1.5]), ([np.nan], [1.0]), ([], [])])
def test_few_or_no_pairs(values):
    picture = pixels(bland_altman_chart(bland_altman(np.array(values[0]), np.array(values[1])), "mm"))
    assert picture.shape == (300, 380, 3) and picture.max() == 255


def test_the_same_values_give_the_same_picture():
    assert asymmetry_chart(result(1.0)) == asymmetry_chart(result(1.0))
