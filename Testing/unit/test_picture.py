"""The picture: colours, places of labels, and what a rendering shows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from stand_ins import landmarks_on_shell, shell

from PALNetLandmarksLib.engine import picture
from PALNetLandmarksLib.engine.picture import SCALE_MM, draw_picture, error_colours, write_picture
from PALNetLandmarksLib.engine.picture_labels import LabelRow, spread, spread_rows
from PALNetLandmarksLib.errors import DeviceError, InputError
from PALNetLandmarksLib.landmarks import RECORD_NAME, LandmarkSet


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE lightness L* of sRGB colours, computed independently of the code under test."""
    share = colours / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.where(luminance > 0.008856, np.cbrt(luminance), 7.787 * luminance + 16 / 116) - 16


def test_colours_grow_evenly_lighter_with_the_error() -> None:
    steps = np.diff(lightness(error_colours(np.linspace(0, SCALE_MM, 21)).astype(float)))
    assert steps.min() > 0.5 * steps.mean() and steps.max() < 1.7 * steps.mean()
    assert lightness(error_colours([SCALE_MM]).astype(float))[0] > 80


def test_colours_run_from_blue_over_magenta_to_yellow() -> None:
    low, middle, high = error_colours([0.0, SCALE_MM / 2, SCALE_MM]).astype(int)
    assert low[2] > low[0] + 60 and low[2] > low[1] + 60
    assert middle[0] > middle[1] + 60 and middle[2] > middle[1]
    assert high[0] > high[2] + 60 and high[1] > high[2] + 60


def test_colours_beyond_the_scale_and_unknown() -> None:
    colours = error_colours([SCALE_MM, 50.0, 0.0, np.nan])
    assert (colours[0] == colours[1]).all() and (colours[3] == 245).all()
    assert len(np.unique(colours, axis=0)) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 700), max_size=40))
def test_spread_labels_keep_order_distance_and_range(heights: list[float]) -> None:
    heights = sorted(heights)
    placed = spread(heights, 0.0, 700.0, 15.0)
    assert len(placed) == len(heights)
    gaps = np.diff(placed)
    assert (gaps >= 15.0 - 1e-6).all()
    assert not placed or (placed[0] >= -1e-6 and placed[-1] <= 700 + 1e-6)


def test_spread_moves_nothing_that_has_room_and_as_little_as_possible() -> None:
    assert spread([10.0, 40.0], 0.0, 100.0, 20.0) == [10.0, 40.0]
    assert spread([50.0, 50.0, 50.0], 0.0, 100.0, 10.0) == [40.0, 50.0, 60.0]
    assert spread([0.0, 1.0], 0.0, 100.0, 10.0) == [0.0, 10.0]
    tight = spread([5.0] * 12, 0.0, 50.0, 10.0)
    assert tight[0] == pytest.approx(0.0) and tight[-1] == pytest.approx(50.0)


def test_labels_take_the_nearer_column_unless_it_is_fixed_or_full() -> None:
    rows = [LabelRow("a", 20, 50), LabelRow("b", 80, 50), LabelRow("c", 20, 60, "right")]
    placed = {
        row.label: on_left for row, (_, _, on_left) in spread_rows(rows, left=0, width=100, top=0, bottom=90, step=30)
    }
    assert placed == {"a": True, "b": False, "c": False}
    many = [LabelRow(str(n), 10 + n, 50) for n in range(8)]
    places = spread_rows(many, left=0, width=100, top=0, bottom=90, step=30)
    assert sum(on_left for _, (_, _, on_left) in places) == 4
    assert "0" in {row.label for row, (_, _, on_left) in places if on_left}


@pytest.fixture(scope="module")
def shown() -> tuple[LandmarkSet, Any]:
    """The shell with its landmarks, drawn once, rotated so that the picture has to use the transform."""
    landmarks = landmarks_on_shell(missing=("Tr",))
    vertices, triangles = shell()
    turn = np.eye(4)
    turn[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    turn[:3, 3] = (5.0, -7.0, 11.0)
    back = np.linalg.inv(turn)
    moved = LandmarkSet(
        landmarks.protocol, landmarks.positions @ back[:3, :3].T + back[:3, 3], landmarks.status,
        expected_error_mm=landmarks.expected_error_mm,
    )  # fmt: skip
    scan = vertices @ back[:3, :3].T + back[:3, 3]
    return landmarks, draw_picture(scan, triangles, moved, turn, model="m 1", case="K7", remark="good")


def place_in_front(landmarks: LandmarkSet, label: str) -> tuple[int, int]:
    """Where a landmark is in the front view, from the layout's own numbers."""
    request = picture._view_requests(landmarks, landmarks.positions)[1]
    offset = landmarks.position(label) - request["focus"]
    left, width = picture._PANELS[1]
    x = left + width / 2 + offset[0] / request["mm_per_pixel"]
    return round(x), round(picture._HEADER + request["height"] / 2 - offset[1] / request["mm_per_pixel"])


def test_spheres_have_the_colour_of_their_error_at_their_place(shown: tuple[LandmarkSet, Any]) -> None:
    landmarks, image = shown
    pixels = np.asarray(image).astype(float)
    assert image.size == (picture.WIDTH, picture.HEIGHT)
    near = 0
    for label in ("Prn", "Ch_R", "Ch_L", "Go_R", "Go_L", "G"):
        x, y = place_in_front(landmarks, label)
        wanted = error_colours(landmarks.expected_error_mm[landmarks.protocol.index(label)])[0].astype(float)
        patch = pixels[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)
        # Light makes a sphere lighter or darker: what must agree is the direction of the colour.
        chroma, target = patch - patch.mean(axis=1, keepdims=True), wanted - wanted.mean()
        cosine = (chroma @ target) / np.maximum(np.linalg.norm(chroma, axis=1) * np.linalg.norm(target), 1e-9)
        near += int((cosine > 0.95).mean() > 0.3)
    assert near >= 5  # one may be behind a leader line or a neighbour


def test_every_view_shows_the_face(shown: tuple[LandmarkSet, Any]) -> None:
    pixels = np.asarray(shown[1]).astype(float)
    for left, width in picture._PANELS:
        panel = pixels[picture._HEADER + 40 : picture.HEIGHT - picture._FOOTER, left : left + width]
        assert 0.05 < (panel.mean(axis=2) < 230).mean() < 0.95
    # The middle of the surface is where the layout has it: it went through the same transform as the landmarks.
    left, width = picture._PANELS[1]
    panel = pixels[picture._HEADER + 40 : picture.HEIGHT - picture._FOOTER, left : left + width]
    warmth = panel[..., 0] - panel[..., 2]
    rows, columns = np.nonzero((warmth > 15) & (warmth < 70) & (panel[..., 0] > panel[..., 1]))
    request = picture._view_requests(shown[0], shown[0].positions)[1]
    x = left + width / 2 - request["focus"][0] / request["mm_per_pixel"]
    y = picture._HEADER + request["height"] / 2 + request["focus"][1] / request["mm_per_pixel"]
    assert np.median(columns) + left == pytest.approx(x, abs=8)
    assert np.median(rows) + picture._HEADER + 40 == pytest.approx(y, abs=25)


def test_each_side_shows_its_own_spheres_only() -> None:
    landmarks = landmarks_on_shell(missing=("Tr",))
    requests = picture._view_requests(landmarks, landmarks.positions)
    sides = [{landmarks.protocol.landmarks[place].side for place in request["spheres"]} for request in requests]
    assert sides == [{"right", "midline"}, {"right", "midline", "left"}, {"left", "midline"}]
    assert all(landmarks.protocol.index("Tr") not in request["spheres"] for request in requests)
    assert len({request["mm_per_pixel"] for request in requests}) == 1


def test_no_renderer_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = shell()
    for code in ("import os; os.abort()", "raise SystemExit(1)", "pass", "print('not an archive')"):
        monkeypatch.setattr(picture, "_COMMAND", [sys.executable, "-c", code])
        with pytest.raises(DeviceError, match="rendered"):
            write_picture(tmp_path / "p.png", vertices, triangles, landmarks_on_shell(), np.eye(4))
    monkeypatch.setattr(picture, "_COMMAND", [str(tmp_path / "nothing")])
    with pytest.raises(DeviceError, match="started"):
        write_picture(tmp_path / "p.png", vertices, triangles, landmarks_on_shell(), np.eye(4))
    monkeypatch.setattr(picture, "_COMMAND", [sys.executable, "-c", "import time; time.sleep(20)"])
    monkeypatch.setattr(picture, "TIME_LIMIT_S", 0.2)
    with pytest.raises(DeviceError, match="given up"):
        write_picture(tmp_path / "p.png", vertices, triangles, landmarks_on_shell(), np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_whole_and_has_no_text_but_the_record_in_it(
    shown: tuple[LandmarkSet, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(picture, "draw_picture", lambda *args, **options: shown[1])
    vertices, triangles = shell()
    write_picture(tmp_path / "p.png", vertices, triangles, shown[0], np.eye(4))
    with Image.open(tmp_path / "p.png") as image:
        image.load()
        assert image.size == shown[1].size and set(image.info) == {RECORD_NAME}
        assert json.loads(image.info[RECORD_NAME]).keys() == {"case", *shown[0].record()}
    with pytest.raises(InputError):
        write_picture(tmp_path / "no" / "p.png", vertices, triangles, shown[0], np.eye(4))


def test_a_set_without_any_position_is_refused() -> None:
    vertices, triangles = shell()
    landmarks = landmarks_on_shell()
    nothing = LandmarkSet.from_positions(landmarks.protocol, np.full((50, 3), np.nan))
    with pytest.raises(InputError, match="no landmark"):
        draw_picture(vertices, triangles, nothing, np.eye(4))
