"""Pictures of the face: upright whatever the pose, marks where the landmarks are, hidden ones left out."""

import io

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

import vtk  # noqa: E402
from PIL import Image  # noqa: E402
from slicer_scene import face_like, on_face  # noqa: E402
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402

from PALNetLandmarksLib.errors import InputError  # noqa: E402
from PALNetLandmarksLib.gui.scene import pictures as pictures_module  # noqa: E402
from PALNetLandmarksLib.gui.scene.picture_labels import spread  # noqa: E402
from PALNetLandmarksLib.gui.scene.pictures import face_pictures  # noqa: E402
from PALNetLandmarksLib.landmarks import LandmarkSet  # noqa: E402
from PALNetLandmarksLib.protocol import load_protocol  # noqa: E402

PROTOCOL = load_protocol()
SIZE = (380, 450)
MARK = (245, 89, 26)
# Places (x, z) on the face-like surface, RAS: the subject's right is at +x.
PLACES = {
    "Tr": (0, 80), "N": (0, 30), "Prn": (0, -5), "Sn": (0, -20), "Pg": (0, -50), "Gn": (0, -75),
    "Ex_R": (45, 30), "Ex_L": (-45, 30), "Ch_R": (22, -32), "Ch_L": (-22, -32), "Zy_R": (62, 5), "Zy_L": (-62, 5),
}  # fmt: skip


def landmarks_on(surface, only=PLACES):
    positions = np.full((50, 3), np.nan)
    for label in only:
        positions[PROTOCOL.index(label)] = on_face(surface, *PLACES[label])
    return LandmarkSet.from_positions(PROTOCOL, positions, coordinate_system="RAS")


def turned(landmarks, matrix):
    return LandmarkSet.from_positions(
        PROTOCOL, landmarks.positions @ matrix[:3, :3].T + matrix[:3, 3], coordinate_system="RAS"
    )


def image(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def marks(picture):
    """Mask of the pixels that show a mark: orange, whatever the light on it."""
    red, green, blue = (image(picture)[..., k] for k in range(3))
    return (red > 120) & (green < 0.62 * red) & (blue < 0.45 * red)


def pose(seed):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = rng.uniform(-400, 400, 3)
    return matrix


@pytest.fixture
def scan(scene):
    return scene.add_scan()


def test_three_views_of_the_size_asked_for(scan):
    pictures = face_pictures(scan, landmarks_on(scan.GetPolyData()), size=SIZE)
    assert [picture.caption for picture in pictures] == ["From the front", "Right profile", "Left profile"]
    assert [image(picture).shape for picture in pictures] == [(450, 380, 3)] * 3


def test_the_subjects_right_is_at_the_left_of_the_front_view(scan):
    only = ["Tr", "N", "Prn", "Sn", "Pg", "Gn", "Ex_L", "Ex_R", "Ch_R", "Ch_L"]
    colours = np.tile((0.0, 0.0, 1.0), (50, 1))
    colours[PROTOCOL.index("Ex_R")] = (1.0, 0.3, 0.0)
    front = face_pictures(scan, landmarks_on(scan.GetPolyData(), only), labels=False, size=SIZE, colours=colours)[0]
    rows, columns = np.nonzero(marks(front))
    assert len(rows) > 10 and columns.max() < 190 and rows.mean() < 225


def test_the_right_profile_looks_to_the_right(scan):
    colours = np.tile((0.0, 0.0, 1.0), (50, 1))
    colours[PROTOCOL.index("Prn")] = (1.0, 0.3, 0.0)
    pictures = face_pictures(scan, landmarks_on(scan.GetPolyData()), labels=False, size=SIZE, colours=colours)
    _front, right, left = (np.nonzero(marks(picture))[1] for picture in pictures)
    assert right.min() > 220 and left.max() < 160


def test_no_profile_shows_the_other_side(scan):
    colours = np.tile((0.0, 0.0, 1.0), (50, 1))
    for label in ("Ex_R", "Ch_R", "Zy_R"):
        colours[PROTOCOL.index(label)] = (1.0, 0.3, 0.0)
    pictures = face_pictures(scan, landmarks_on(scan.GetPolyData()), labels=False, size=SIZE, colours=colours)
    front, right, left = (marks(picture).sum() for picture in pictures)
    assert front > 30 and right > 30 and left == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tilted_scan_looks_straight(scene, scan, seed):
    landmarks = landmarks_on(scan.GetPolyData())
    straight = face_pictures(scan, landmarks, labels=False, size=SIZE)
    matrix = pose(seed)
    scan.SetAndObserveTransformNodeID(scene.add_transform(matrix).GetID())
    tilted = face_pictures(scan, turned(landmarks, matrix), labels=False, size=SIZE)
    for one, other in zip(straight, tilted, strict=True):
        # The same marks in the same places: at most a pixel's edge differs.
        both = (marks(one) & marks(other)).sum()
        assert both > 0.85 * marks(one).sum() > 0


def test_landmarks_in_lps_give_the_same_pictures(scan):
    landmarks = landmarks_on(scan.GetPolyData())
    one = face_pictures(scan, landmarks, size=SIZE)
    other = face_pictures(scan, landmarks.in_coordinate_system("LPS"), size=SIZE)
    assert all(np.array_equal(image(a), image(b)) for a, b in zip(one, other, strict=True))


def test_a_hidden_landmark_is_not_shown(scan, monkeypatch):
    named = []
    monkeypatch.setattr(pictures_module, "label_actors", lambda names, *_places: named.append(names) or [])
    landmarks = landmarks_on(scan.GetPolyData())
    # At the back of the head; without its partner it has no say in which way the face looks.
    behind = landmarks.with_point("T_R", (30.0, -80.0, 10.0), "placed")
    face_pictures(scan, behind, size=SIZE)
    assert "T_R" not in named[0] and "N" in named[0] and len(named[0]) == len(PLACES)
    # A little below the surface, as on hair, it is shown.
    one = face_pictures(scan, landmarks, labels=False, size=SIZE)[0]
    below = landmarks.with_point("G", on_face(scan.GetPolyData(), 0, 50) - (0.0, 2.0, 0.0), "placed")
    assert marks(face_pictures(scan, below, labels=False, size=SIZE)[0]).sum() > marks(one).sum() + 20


def test_names_stand_beside_the_face(scan):
    landmarks = landmarks_on(scan.GetPolyData())
    with_names, without = (image(face_pictures(scan, landmarks, labels=on, size=SIZE)[0]) for on in (True, False))
    changed = np.abs(with_names - without).sum(axis=-1) > 90
    columns = np.flatnonzero(changed.any(axis=0))
    assert columns.min() < 30 and columns.max() > 350


def test_too_few_landmarks_show_the_whole_scan_as_it_lies(scan):
    few = landmarks_on(scan.GetPolyData(), ["N", "Prn", "Sn"])
    pictures = face_pictures(scan, few, size=SIZE)
    assert all("too few landmarks" in picture.caption for picture in pictures)
    assert marks(pictures[0]).any()
    skin = (image(pictures[0]).sum(axis=-1) < 720).mean()
    assert 0.2 < skin < 0.95
    nothing = LandmarkSet.from_positions(PROTOCOL, np.full((50, 3), np.nan))
    assert len(face_pictures(scan, nothing, size=SIZE)) == 3


def test_vertex_colours_are_shown(scene):
    surface = face_like()
    points = vtk_to_numpy(surface.GetPoints().GetData())
    colours = np.where(points[:, 2:] > 0, (20, 40, 220), (20, 200, 40)).astype(np.uint8)
    array = numpy_to_vtk(colours, deep=1)
    array.SetName("RGB")
    surface.GetPointData().AddArray(array)
    front = image(face_pictures(scene.add_scan(surface), landmarks_on(surface), labels=False, size=SIZE)[0])
    top, bottom = front[100, 190 - 60], front[330, 190 - 60]
    assert top[2] > 2 * top[1] and bottom[1] > 2 * bottom[2]


def test_a_texture_is_shown(scene):
    surface = face_like()
    points = vtk_to_numpy(surface.GetPoints().GetData())
    coordinates = numpy_to_vtk(
        np.stack([np.full(len(points), 0.5), (points[:, 2] > 0) * 0.5 + 0.25], axis=1).copy(), deep=1
    )
    coordinates.SetName("TextureCoordinates")
    surface.GetPointData().SetTCoords(coordinates)
    canvas = vtk.vtkImageData()
    canvas.SetDimensions(2, 2, 1)
    texels = numpy_to_vtk(np.array([[20, 200, 40]] * 2 + [[20, 40, 220]] * 2, dtype=np.uint8), deep=1)
    canvas.GetPointData().SetScalars(texels)
    source = vtk.vtkTrivialProducer()
    source.SetOutput(canvas)
    scan = scene.add_scan(surface)
    scan.GetDisplayNode().SetTextureImageDataConnection(source.GetOutputPort())
    front = image(face_pictures(scan, landmarks_on(surface), labels=False, size=SIZE)[0])
    top, bottom = front[100, 190 - 60], front[330, 190 - 60]
    assert top[2] > 2 * top[1] and bottom[1] > 2 * bottom[2]


def test_the_scan_itself_is_not_changed(scan):
    before = (scan.GetPolyData().GetMTime(), scan.GetMTime(), scan.GetPolyData().GetPointData().GetNumberOfArrays())
    face_pictures(scan, landmarks_on(scan.GetPolyData()), size=SIZE)
    after = (scan.GetPolyData().GetMTime(), scan.GetMTime(), scan.GetPolyData().GetPointData().GetNumberOfArrays())
    assert after == before


def test_a_model_without_a_surface_is_refused(scene):
    empty = scene.mrml.AddNewNodeByClass("vtkMRMLModelNode")
    with pytest.raises(InputError, match="no surface"):
        face_pictures(empty, landmarks_on(face_like()))


def test_names_keep_apart_and_in_order():
    rng = np.random.default_rng(4)
    pixels = rng.uniform((150, 200), (230, 240), size=(50, 2))
    placed = spread(pixels, 380, 900)
    assert sorted(place for place, _left, _level in placed) == list(range(50))
    for side in (True, False):
        column = [(level, pixels[place, 1]) for place, left, level in placed if left == side]
        levels = [level for level, _y in sorted(column)]
        assert min(np.diff(levels)) >= 25.99 and min(levels) > 0 and max(levels) < 900
        assert [y for _level, y in sorted(column)] == sorted(y for _level, y in column)
