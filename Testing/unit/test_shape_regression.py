"""The shape regression: features of a warped template, a ridge fitted to faces and mirror images, and the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from test_bundle import PROTOCOL, code_of, edited, make_bundle

from PALNetLandmarksLib.engine.bundle import SHAPE, load_bundle
from PALNetLandmarksLib.engine.cloud import SurfaceCloud
from PALNetLandmarksLib.engine.locating import Located
from PALNetLandmarksLib.engine.predictor import corrected_by_shape
from PALNetLandmarksLib.engine.registration import Reference
from PALNetLandmarksLib.engine.rigid import apply_transform, random_rotation, rotation_from_vector
from PALNetLandmarksLib.engine.shape_regression import (
    LinearStage,
    ShapeRegression,
    Template,
    first_features,
    widened,
)
from training_tools.shape_fitting import _feature_weights, _Ridge, _surfaces, _swapped, _table, make_template

FloatArray = NDArray[np.float64]
MIRROR = np.array([-1.0, 1.0, 1.0])
SWAPPED = np.array([1, 0, 3, 2, 4, 5])  # landmarks of the round head below: two pairs and two of the midline


def round_head(radius: float = 50.0, count: int = 4000) -> FloatArray:
    """Points and normals of a sphere, evenly spread and the same on both sides, (n, 6)."""
    height = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    angle = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    flat = np.sqrt(1.0 - height**2)
    normals = np.column_stack([flat * np.cos(angle), height, flat * np.sin(angle)])
    normals = np.vstack([normals, normals * MIRROR])
    return np.hstack([radius * normals, normals])


def landmarks(radius: float = 50.0) -> FloatArray:
    places = np.array([[-3, 2, 4], [3, 2, 4], [-2, -3, 3], [2, -3, 3], [0, 1, 5], [0, -4, 2]], float)
    return radius * places / np.linalg.norm(places, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def template() -> Template:
    head = round_head(count=1500)
    reference = Reference(head[:, :3], head[:, 3:], np.zeros(len(head), np.uint8))
    return make_template(reference, landmarks(), 200)


def test_a_template_is_spread_and_the_same_on_both_sides(template: Template) -> None:
    assert template.points.shape == template.normals.shape == (200, 3)
    np.testing.assert_array_equal(template.points[:100] * MIRROR, template.points[100:])
    assert cKDTree(template.points).query(template.points, k=2)[0][:, 1].min() > 1.0
    assert cKDTree(landmarks()).query(template.points)[0].max() < 30.0


def test_the_warp_keeps_what_is_affine_and_follows_the_landmarks(template: Template) -> None:
    matrix, shift = np.array([[1.05, 0.02, 0.0], [0.0, 0.97, 0.01], [0.01, 0.0, 1.02]]), np.array([1.0, -2.0, 0.5])
    moved = template.warp @ (landmarks() @ matrix.T + shift - landmarks())
    np.testing.assert_allclose(template.points + moved, template.points @ matrix.T + shift, atol=1e-9)
    lifted = landmarks().copy()
    lifted[4] += [0.0, 0.0, 3.0]
    nearest = np.argmin(np.linalg.norm(template.points - landmarks()[4], axis=1))
    assert 1.0 < (template.warp @ (lifted - landmarks()))[nearest, 2] < 3.0


def test_features_tell_how_far_the_surface_lies_and_what_is_not_shown(template: Template) -> None:
    head = round_head(52.0, 12_000)
    features, shown = template.surface(cKDTree(head[:, :3]), head, landmarks())
    assert shown.all()
    np.testing.assert_allclose(features[:, 0], 2.0, atol=0.15)
    np.testing.assert_allclose(features[:, 1:], 0.0, atol=0.05)
    front = head[head[:, 0] > 0.0]
    features, shown = template.surface(cKDTree(front[:, :3]), front, landmarks())
    assert not shown[template.points[:, 0] < -10.0].any()
    np.testing.assert_array_equal(features[~shown], 0.0)
    far = round_head(61.0, 12_000)
    assert not template.surface(cKDTree(far[:, :3]), far, landmarks())[1].any()


def _faces(tmp_path: Path, count: int, seed: int) -> tuple[list[Path], FloatArray, FloatArray]:
    """Ellipsoids of random proportions, with landmarks that follow them; the network says the mean face instead."""
    generator, paths, truths = np.random.default_rng(seed), [], []
    for number in range(count):
        stretch = 1.0 + generator.normal(0.0, 0.03, 3)
        head = round_head() * np.r_[stretch, 1.0 / stretch]
        head[:, 3:] /= np.linalg.norm(head[:, 3:], axis=1, keepdims=True)
        truths.append(landmarks() * stretch)
        empty, seen = np.zeros((6, 3)), np.ones(6, bool)
        paths.append(tmp_path / f"{seed}-{number}.npz")
        np.savez(paths[-1], cloud=head.astype(np.float32), before=empty, raw=empty[:, 0], truth=empty, visible=seen)
    return paths, np.tile(landmarks(), (count, 1, 1)), np.stack(truths)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, template: Template) -> ShapeRegression:
    paths, before, truth = _faces(tmp_path_factory.mktemp("faces"), 60, 1)
    surface, spread = _surfaces(template, paths, before)
    visible = np.ones(truth.shape[:2], bool)
    visible[::3, 2] = False
    table = _table(template, surface, [before], before, truth, visible, SWAPPED)
    stage = _Ridge(table, np.arange(len(table.features)), _feature_weights(spread, 1, 6)).fit(0.1)
    return ShapeRegression(template, (stage,), np.tile([0.5, 0.1], (6, 1)))


def test_what_was_learnt_holds_on_other_faces(tmp_path: Path, template: Template, fitted: ShapeRegression) -> None:
    paths, before, truth = _faces(tmp_path, 10, 2)
    left = []
    for path, start, true in zip(paths, before, truth, strict=True):
        cloud = np.load(path, allow_pickle=False)["cloud"].astype(np.float64)
        left.append(np.linalg.norm(fitted.refine(cloud[:, :3], cloud[:, 3:], start, None) - true, axis=1).mean())
    started = np.linalg.norm(before - truth, axis=2).mean()
    assert np.mean(left) < 0.2 * started


def test_a_mirrored_face_gets_the_mirrored_answer(tmp_path: Path, fitted: ShapeRegression) -> None:
    cloud = np.load(_faces(tmp_path, 1, 3)[0][0], allow_pickle=False)["cloud"].astype(np.float64)
    cloud[:, 0] += 0.3 * np.sin(cloud[:, 1] / 20.0) ** 2  # not symmetric
    start = landmarks() + np.random.default_rng(0).normal(0.0, 1.0, (6, 3))
    plain = fitted.refine(cloud[:, :3], cloud[:, 3:], start, None)
    turned = fitted.refine(cloud[:, :3] * MIRROR, cloud[:, 3:] * MIRROR, start[SWAPPED] * MIRROR, None)
    np.testing.assert_allclose(turned, plain[SWAPPED] * MIRROR, atol=1e-4)


def test_the_surface_of_a_mirror_image_is_that_of_the_other_half(template: Template) -> None:
    head = round_head(51.0, 9000)
    head[:, 2] += 0.05 * head[:, 0]
    start = landmarks() + np.random.default_rng(1).normal(0.0, 1.0, (6, 3))
    one = template.surface(cKDTree(head[:, :3]), head, start)[0]
    turned = head * np.tile(MIRROR, 2)
    other = template.surface(cKDTree(turned[:, :3]), turned, start[SWAPPED] * MIRROR)[0]
    np.testing.assert_allclose(_swapped(one[None])[0], other, atol=1e-9)


def test_landmarks_that_nobody_marked_do_not_pull_the_answer(tmp_path: Path, template: Template) -> None:
    paths, before, truth = _faces(tmp_path, 40, 4)
    surface, spread = _surfaces(template, paths, before)
    weights = _feature_weights(spread, 1, 6)

    def corrections(visible: NDArray[np.bool_], answer: FloatArray) -> FloatArray:
        table = _table(template, surface, [before], before, answer, visible, SWAPPED)
        stage = _Ridge(table, np.arange(len(table.features)), weights).fit(0.1)
        return np.stack(
            [stage.correction(first_features(template, s, b)) for s, b in zip(surface, before, strict=True)]
        )

    visible = np.random.default_rng(5).random(truth.shape[:2]) < 0.6
    nonsense = np.where(visible[..., None], truth, np.nan)
    with_gaps = corrections(visible, nonsense)
    assert np.isfinite(with_gaps).all()
    assert (
        np.linalg.norm(with_gaps - (truth - before), axis=2).mean()
        < 0.25 * np.linalg.norm(truth - before, axis=2).mean()
    )


def test_a_second_stage_begins_where_the_network_looked_again(template: Template) -> None:
    shape = 6 * 3, 4 * len(template.points)
    first = LinearStage(np.zeros((shape[0] + shape[1], 18), np.float32), np.full(18, 0.5))
    second = LinearStage(np.zeros((3 * shape[0] + shape[1], 18), np.float32), np.full(18, 0.25))
    regression = ShapeRegression(template, (first, second), np.ones((6, 2)))
    head, asked = round_head(), []

    def look_again(places: FloatArray) -> FloatArray:
        asked.append(places)
        return places + 2.0

    answer = regression.refine(head[:, :3], head[:, 3:], landmarks(), look_again)
    np.testing.assert_allclose(asked[0], landmarks() + 0.5)
    np.testing.assert_allclose(answer, landmarks() + 0.5 + 1.0 + 0.25)
    np.testing.assert_allclose(regression.refine(head[:, :3], head[:, 3:], landmarks(), None), landmarks() + 0.5)


def test_the_pose_of_the_scan_makes_no_difference(fitted: ShapeRegression) -> None:
    head = round_head(51.0)
    generator = np.random.default_rng(6)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(generator), [100.0, -30.0, 7.0]
    back = np.linalg.inv(pose)
    lying = SurfaceCloud(apply_transform(pose, head[:, :3]), head[:, 3:] @ pose[:3, :3].T)
    located = Located(apply_transform(pose, landmarks()), back, np.ones(6), np.ones(6))
    after = corrected_by_shape(located, lying, fitted, SWAPPED)
    plain = fitted.refine(head[:, :3], head[:, 3:], landmarks(), None)
    np.testing.assert_allclose(apply_transform(back, after.landmarks), plain, atol=1e-6)
    expected = 0.5 + 0.1 * np.linalg.norm(plain - landmarks(), axis=1)
    np.testing.assert_allclose(after.raw_error, expected, atol=1e-6)


def test_asymmetry_is_widened_in_any_pose_and_a_symmetric_face_left_alone(fitted: ShapeRegression) -> None:
    generator = np.random.default_rng(9)
    symmetric = 0.5 * (landmarks() + landmarks()[SWAPPED] * MIRROR)
    odd = generator.normal(size=(6, 3))
    odd -= odd[SWAPPED] * MIRROR
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation_from_vector(np.array([0.1, -0.2, 0.05])), [3.0, -2.0, 1.0]
    moved = apply_transform(turned, symmetric)
    np.testing.assert_allclose(widened(moved, SWAPPED, 1.3), moved, atol=1e-9)

    def difference(points: FloatArray) -> FloatArray:
        """Distances between the landmarks of one side less those of the other."""
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        return apart - apart[SWAPPED][:, SWAPPED]

    face = apply_transform(turned, symmetric + 0.02 * odd)
    wider = widened(face, SWAPPED, 1.25)
    np.testing.assert_allclose(difference(wider), 1.25 * difference(face), atol=1e-3)
    np.testing.assert_array_equal(widened(face, SWAPPED, 1.0), face)
    np.testing.assert_allclose(widened(face[SWAPPED] * MIRROR, SWAPPED, 1.25), wider[SWAPPED] * MIRROR, atol=1e-9)
    head = round_head(51.0)
    located = Located(landmarks() + odd, np.eye(4), np.ones(6), np.ones(6))
    cloud = SurfaceCloud(head[:, :3], head[:, 3:])
    plain, wide = (corrected_by_shape(located, cloud, replace(fitted, asymmetry_gain=gain), SWAPPED).landmarks
                   for gain in (1.0, 1.2))  # fmt: skip
    np.testing.assert_allclose(wide, widened(plain, SWAPPED, 1.2), atol=1e-9)
    assert np.abs(wide - plain).max() > 0.05


@pytest.fixture
def with_shape(tmp_path: Path) -> Path:
    folder = make_bundle(tmp_path / "tiny")
    return make_bundle(tmp_path / "tiny", shape=random_shape(load_bundle(folder).mean_landmarks))


def random_shape(mean: FloatArray) -> ShapeRegression:
    generator = np.random.default_rng(7)
    points = generator.normal(size=(20, 3))
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    size = 3 * len(mean)
    stages = tuple(
        # Column by column, as linear algebra returns it: what is written must not depend on the order in memory.
        LinearStage(
            np.asfortranarray(generator.normal(size=(sets * size + 80, size)), np.float32), generator.normal(size=size)
        )
        for sets in (1, 3)
    )
    return ShapeRegression(Template(points, normals, mean), stages, generator.random((len(mean), 2)), 1.07)


def test_a_gain_of_asymmetry_is_one_sensible_number() -> None:
    mean = np.random.default_rng(8).normal(size=(len(PROTOCOL), 3))
    arrays = random_shape(mean).arrays()
    for gain in (0.5, 3.0, np.nan):
        with pytest.raises(ValueError, match="gain"):
            ShapeRegression.from_arrays({**arrays, "asymmetry_gain": np.array([gain])}, mean)
    del arrays["asymmetry_gain"]  # as written before there was one
    assert ShapeRegression.from_arrays(arrays, mean).asymmetry_gain == 1.0


def test_a_bundle_keeps_the_regression(with_shape: Path) -> None:
    bundle = load_bundle(with_shape)
    assert bundle.shape is not None
    written = random_shape(bundle.mean_landmarks)
    for one, other in zip(bundle.shape.stages, written.stages, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, atol=2e-3)
        np.testing.assert_array_equal(one.offset, other.offset)
    np.testing.assert_allclose(bundle.shape.template.points, written.template.points, atol=1e-6)
    np.testing.assert_array_equal(bundle.shape.error_share, written.error_share)
    assert bundle.shape.asymmetry_gain == 1.07


def test_an_older_program_would_refuse_such_a_bundle(with_shape: Path) -> None:
    assert '"format": 2' in (with_shape / "bundle.json").read_text()
    make_bundle(with_shape)
    assert '"format": 1' in (with_shape / "bundle.json").read_text()
    assert not (with_shape / SHAPE).exists()
    assert load_bundle(with_shape).shape is None


def test_damage_is_found(with_shape: Path) -> None:
    content = bytearray((with_shape / SHAPE).read_bytes())
    content[-1] ^= 1
    (with_shape / SHAPE).write_bytes(content)
    assert code_of(with_shape) == "bundle.damaged"


def test_another_format_is_refused(with_shape: Path) -> None:
    assert code_of(edited(with_shape, format=3)) == "bundle.format"


@pytest.mark.parametrize(
    "change", ["weights1", "offset2", "error_share", "normals", "asymmetry_gain", "nothing but points"]
)
def test_arrays_that_do_not_fit_are_refused(change: str) -> None:
    mean = np.random.default_rng(8).normal(size=(len(PROTOCOL), 3))
    arrays = random_shape(mean).arrays()
    if change == "nothing but points":
        arrays = {"points": arrays["points"], "normals": arrays["normals"], "error_share": arrays["error_share"]}
    else:
        arrays[change] = arrays[change][:-1]
    with pytest.raises(ValueError, match="shape|broadcast|gain"):
        ShapeRegression.from_arrays(arrays, mean)
