"""An OBJ's picture on its surface: the right way up, and still there after saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slicer_scene import Scene, new_scene
from slicer_view import View

from PALNetLandmarksLib.gui.scene.texture import TEXTURE_ROLE, apply_texture, remove_texture, restore_textures

RED, BLUE = (220, 30, 30), (30, 30, 220)


def write_scan(
    folder: Path, *, picture: str = "photo.png", map_line: str = "map_Kd {name}", mtl: str = "face.mtl"
) -> Path:
    """Write a square that faces forward, v up along superior; its picture is red above and blue below."""
    folder.mkdir(exist_ok=True)
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20], pixels[20:] = RED, BLUE
    if picture:
        Image.fromarray(pixels).save(folder / picture)
    (folder / "face.mtl").write_text("newmtl skin\nKd 1 1 1\n" + map_line.format(name=picture) + "\n")
    # An OBJ is read as LPS: y = -50 is in front, x = -50 the subject's right.
    corners = [(-50, -50, -50), (50, -50, -50), (50, -50, 50), (-50, -50, 50)]
    lines = [f"mtllib {mtl}", "usemtl skin"] + [f"v {x} {y} {z}" for x, y, z in corners]
    lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", "f 1/1 2/2 3/3", "f 1/1 3/3 4/4"]
    (folder / "face.obj").write_text("\n".join(lines) + "\n")
    return folder / "face.obj"


def colours(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Colours a quarter of the square above and below its middle, as seen from the front."""
    view.look_from_front()
    picture = view.picture()
    above, below = view.at((0, 50, 25)).astype(int), view.at((0, 50, -25)).astype(int)
    return picture[600 - above[1], above[0]].astype(int), picture[600 - below[1], below[0]].astype(int)


def is_red(colour: np.ndarray) -> bool:
    return bool(colour[0] > 100 and colour[0] > 2.5 * colour[2])


def is_blue(colour: np.ndarray) -> bool:
    return bool(colour[2] > 100 and colour[2] > 2.5 * colour[0])


@pytest.mark.parametrize("picture", ["photo.png", "photo.jpg", "photo.bmp", "photo.tif", "my photo ü.png"])
def test_picture_is_shown_the_right_way_up(scene: Scene, view: View, tmp_path: Path, picture: str) -> None:
    path = write_scan(tmp_path / "scan", picture=picture)
    model = scene.models.AddModel(str(path))
    assert apply_texture(model, str(path)) == ""
    above, below = colours(view)
    assert is_red(above) and is_blue(below), (above, below)


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_picture_comes_back_with_the_scene(scene: Scene, tmp_path: Path, suffix: str) -> None:
    path = write_scan(tmp_path / "scan")
    model = scene.models.AddModel(str(path))
    apply_texture(model, str(path))
    saved = tmp_path / "saved"
    saved.mkdir()
    scene.save(saved / f"scene{suffix}")
    other = new_scene(tmp_path / "cache")
    view = View(other)
    other.load(saved / f"scene{suffix}")
    restore_textures(other.mrml)
    above, below = colours(view)
    assert is_red(above) and is_blue(below), (above, below)
    assert other.mrml.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("map_Kd -s 1 1 1 -clamp on {name}", "photo.png"),
        ("map_Kd C:\\scans\\patient\\{name}", "photo.png"),
        ("MAP_KD /home/someone/{name}", "photo 1.png"),
        ('map_Kd "{name}"', "photo 1.png"),
        ("map_Kd PHOTO.PNG", "photo.png"),
    ],
)
def test_spellings_of_the_pictures_name(scene: Scene, tmp_path: Path, line: str, name: str) -> None:
    path = write_scan(tmp_path / "scan", picture=name, map_line=line)
    model = scene.models.AddModel(str(path))
    assert apply_texture(model, str(path)) == ""
    assert model.GetNodeReference(TEXTURE_ROLE) is not None


def test_without_a_picture_there_is_a_sentence_or_nothing(scene: Scene, tmp_path: Path) -> None:
    def complaint(path: Path) -> str:
        return apply_texture(scene.models.AddModel(str(path)), str(path))

    away = write_scan(tmp_path / "away", map_line="map_Kd ../secret.png")
    assert "secret.png of this scan is not in its folder" in complaint(away)
    broken = write_scan(tmp_path / "broken")
    (tmp_path / "broken" / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    assert "cannot be read" in complaint(broken)
    other = write_scan(tmp_path / "other", picture="photo.png", map_line="map_Kd face.mtl")
    assert "cannot be read" in complaint(other)
    plain = write_scan(tmp_path / "plain", map_line="")
    assert complaint(plain) == ""
    no_materials = write_scan(tmp_path / "none", mtl="gone.mtl")
    assert complaint(no_materials) == ""
    flat = write_scan(tmp_path / "flat")
    text = flat.read_text().replace("1/1", "1").replace("2/2", "2").replace("3/3", "3").replace("4/4", "4")
    flat.write_text("\n".join(line for line in text.splitlines() if not line.startswith("vt")))
    assert "does not say how" in complaint(flat)
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 0


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_damaged_picture_crashes_nothing(scene: Scene, tmp_path: Path, ending: str, keep: float) -> None:
    path = write_scan(tmp_path / "scan", picture=f"photo.{ending}")
    picture = path.with_name(f"photo.{ending}")
    data = picture.read_bytes()
    picture.write_bytes(data[: int(keep * len(data))] + b"\x5a" * 30)
    model = scene.models.AddModel(str(path))
    said = apply_texture(model, str(path))
    assert said == "" or "cannot be read" in said
    if ending == "png":
        assert said


def test_grey_and_deep_pictures(scene: Scene, view: View, tmp_path: Path) -> None:
    path = write_scan(tmp_path / "scan")
    deep = np.zeros((40, 60), np.uint16)
    deep[:20] = 60000
    Image.fromarray(deep).save(tmp_path / "scan" / "photo.png")
    model = scene.models.AddModel(str(path))
    assert apply_texture(model, str(path)) == ""
    above, below = colours(view)
    assert above.min() > 100 and below.max() < 60


def test_another_picture_replaces_and_removal_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    path = write_scan(tmp_path / "scan")
    model: Any = scene.models.AddModel(str(path))
    apply_texture(model, str(path))
    apply_texture(model, str(path))
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 1
    remove_texture(model)
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 0
    assert model.GetDisplayNode().GetTextureImageDataConnection() is None
    remove_texture(model)
