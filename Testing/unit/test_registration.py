"""Registration on heads made of formulas, so that the true pose is known to the last bit."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine import registration as module, registration_elastic
from PALNetLandmarksLib.engine.registration import (
    Reference,
    refine_with_landmarks,
    register,
    register_from_landmarks,
)
from PALNetLandmarksLib.engine.registration_elastic import ElasticFit, Stage, fit_elastic, fitted_face
from PALNetLandmarksLib.engine.registration_features import shape_descriptors, thin
from PALNetLandmarksLib.engine.registration_search import Sample
from PALNetLandmarksLib.engine.registration_verification import gather_evidence
from PALNetLandmarksLib.engine.resampling import even_points
from PALNetLandmarksLib.engine.rigid import (
    apply_transform,
    invert_rigid,
    random_rotation,
    rigid_fit,
    rotation_angle,
    rotation_from_vector,
)
from PALNetLandmarksLib.errors import RegistrationError


@dataclass(frozen=True)
class Mesh:
    vertices: np.ndarray
    triangles: np.ndarray

    def moved(self, transform):
        return replace(self, vertices=apply_transform(transform, self.vertices))

    def cut(self, kept):
        triangles = self.triangles[kept[self.triangles].all(1)]
        used, index = np.unique(triangles, return_inverse=True)
        return Mesh(self.vertices[used], index.reshape(-1, 3))


def ball(rings=110, sectors=150):
    """Unit sphere, poles up and down (y), open by half a degree at the poles."""
    latitude = np.linspace(-0.995 * np.pi / 2, 0.995 * np.pi / 2, rings)[:, None]
    longitude = np.linspace(0, 2 * np.pi, sectors, endpoint=False)[None]
    x, y, z = np.broadcast_arrays(
        np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)
    )
    row, column = np.meshgrid(np.arange(rings - 1) * sectors, np.arange(sectors), indexing="ij")
    a, b = (row + column).ravel(), (row + (column + 1) % sectors).ravel()
    triangles = np.concatenate([np.stack([a, b, b + sectors], 1), np.stack([a, b + sectors, a + sectors], 1)])
    return Mesh(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), triangles)


# Height (mm), place (x, y in mm from the nose tip) and widths (mm) of what a face has besides its nose.
FEATURES = (
    (7, 0, 54, 40, 9), (6, 0, -32, 22, 5), (5, 0, -45, 18, 5), (-5, 0, -38.5, 26, 3), (10, 0, -68, 20, 10),
    (-12, 31, 38, 13, 9), (-12, -31, 38, 13, 9), (6, 46, 8, 15, 14), (6, -46, 8, 15, 14),
)  # fmt: skip


def nose_ridge(x, y):
    """Rises from the root (45 mm up) to the tip and falls steeply to the lip."""
    along = np.where(y > 0, np.clip(1 - y / 45, 0, 1), np.exp(-((y / 7) ** 2)))
    return 26 * along * np.exp(-((x / (8 + 7 * along)) ** 2))


def head(proportions=(1.0, 1.0, 1.0), nose=1.0, noise=0.0, seed=0):
    """Ellipsoid with a face; origin near the nose tip, +x left, +y up, +z forward."""
    grid = ball()
    vertices = grid.vertices * [74, 115, 95] + [0, 12, -105]
    x, y, front = vertices[:, 0].copy(), vertices[:, 1].copy(), np.clip(grid.vertices[:, 2] * 3, 0, 1)
    vertices[:, 2] += front * nose * nose_ridge(x, y)
    for height, across, up, wide, high in FEATURES:
        vertices[:, 2] += front * height * np.exp(-(((x - across) / wide) ** 2 + ((y - up) / high) ** 2) / 2)
    ear = np.exp(-((np.hypot(y - 20, vertices[:, 2] + 105) - 18) ** 2) / 60)
    vertices[:, 0] += np.sign(x) * 14 * ear * (np.abs(x) > 55)
    vertices += np.random.default_rng(seed).normal(size=vertices.shape) * noise
    return Mesh(vertices * proportions, grid.triangles)


LANDMARKS = np.array(
    [
        [0, 4, 12.0],
        [45, 38, -42],
        [-45, 38, -42],
        [0, 30, -2],
        [0, -38, -7],
        [25, -38, -16],
        [-25, -38, -16],
        [0, -66, -12],
    ]
)


@pytest.fixture(scope="module")
def reference():
    mesh = head()
    points, normals = even_points(mesh.vertices, mesh.triangles, 7000, 0)
    x, y, z = points.T
    extent = np.full(len(points), 3)
    extent[z > -120] = 2
    extent[(z > -75) & (np.abs(y - 12) < 90) & (np.abs(x) < 68)] = 1
    extent[(z > -55) & (y > -72) & (y < 68) & (np.abs(x) < 50)] = 0
    return Reference(points.astype(np.float32), normals.astype(np.float32), extent.astype(np.uint8))


def random_pose(seed):
    generator = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-400, 400, 3)
    return pose


CASES = {
    "whole head": (head(), None),
    "child": (head((0.86, 0.85, 0.88), noise=0.2), lambda p: p[:, 2] > -150),
    "large man, big nose": (head((1.1, 1.12, 1.06), nose=1.25, noise=0.2), lambda p: p[:, 2] > -160),
    "mask": (head((1.03, 0.97, 1.0), noise=0.1), lambda p: (p[:, 2] > -70) & (p[:, 1] > -80)),
}


@pytest.mark.parametrize("number, name", list(enumerate(CASES)))
def test_finds_the_face_in_any_pose(reference, number, name):
    mesh, part = CASES[name]
    mesh = mesh if part is None else mesh.cut(part(mesh.vertices))
    pose = random_pose(number)
    found = register(mesh.moved(pose), reference)
    back = found.scan_to_reference @ pose
    assert rotation_angle(back, np.eye(4)) < 5.0
    assert np.linalg.norm(apply_transform(back, LANDMARKS) - LANDMARKS, axis=1).mean() < 6.0
    assert found.verdict == "good"
    assert found.attempts == 1
    assert found.fitness > 0.8
    assert found.inlier_rms_mm < 1.5
    assert set(found.stage_seconds) == {"sample", "search", "align"}
    assert np.linalg.det(found.scan_to_reference[:3, :3]) == pytest.approx(1.0, abs=1e-12)


def test_the_same_head_comes_back_to_its_place(reference):
    found = register(head(), reference)
    np.testing.assert_allclose(apply_transform(found.scan_to_reference, LANDMARKS), LANDMARKS, atol=0.5)


def test_same_seed_same_bits(reference):
    scan = head((1.02, 0.97, 1), noise=0.3).moved(random_pose(3))
    first, second = register(scan, reference, seed=4), register(scan, reference, seed=4)
    assert first.scan_to_reference.tobytes() == second.scan_to_reference.tobytes()
    assert (first.score, first.fitness, first.inlier_rms_mm) == (second.score, second.fitness, second.inlier_rms_mm)


def test_result_does_not_depend_on_the_initial_pose(reference):
    scan = head((1.05, 0.95, 1), noise=0.3)
    placed = []
    for number in range(3):
        pose = random_pose(20 + number)
        turned = scan.moved(pose)
        turned = replace(turned, vertices=turned.vertices.astype(np.float32).astype(np.float64))
        placed.append(apply_transform(register(turned, reference).scan_to_reference @ pose, LANDMARKS))
    assert max(np.abs(other - placed[0]).max() for other in placed) < 0.2


def test_a_mirrored_face_is_a_face(reference):
    mesh = head((0.97, 1.0, 1.03))
    mirrored = Mesh(mesh.vertices * [-1, 1, 1], mesh.triangles[:, ::-1]).moved(random_pose(8))
    assert register(mirrored, reference).verdict == "good"


def objects():
    grid = ball()
    unit, whole = grid.vertices, head()
    lumps = np.sin(unit @ (np.random.default_rng(1).normal(size=(12, 3)).T * 3)).sum(1)
    return {
        "sphere": Mesh(unit * 95, grid.triangles),
        "cube": Mesh(unit / np.abs(unit).max(1, keepdims=True) * 80, grid.triangles),
        "lump": Mesh(unit * (90 + 4 * lumps)[:, None], grid.triangles),
        "back of the head": whole.cut(whole.vertices[:, 2] < -110),
        "inside-out face": Mesh(whole.vertices, whole.triangles[:, ::-1]),
    }


@pytest.mark.parametrize("name", objects())
def test_refuses_what_is_no_face(reference, name):
    with pytest.raises(RegistrationError) as refusal:
        register(objects()[name].moved(random_pose(1)), reference)
    assert refusal.value.exit_code == 4
    assert "--init" in refusal.value.hint


def test_refuses_a_handful_of_points(reference):
    points = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(RegistrationError, match="too few"):
        register(head(), reference, sample=(points, points))


@pytest.mark.parametrize("turn", [(0, 0, np.pi), (0, np.pi, 0), (np.pi, 0, 0), (0, 1.2, 0), (0, 0, np.pi / 2)])
def test_evidence_speaks_against_a_face_in_a_wrong_pose(reference, turn):
    mesh = head()
    sample = Sample(*even_points(mesh.vertices, mesh.triangles, 10_000, 0))
    tree = sample.tree()

    def score(pose):
        start = ElasticFit(pose, np.zeros(reference.modes.count))
        fit = fit_elastic(
            tree, sample.points, sample.normals, *reference.face, reference.modes, start, (Stage(12.0, 3, 5, 0.2),)
        )
        face = fitted_face(*reference.face, reference.modes, fit)
        return gather_evidence(tree, sample.points, sample.normals, face, reference.central_count).score

    wrong = np.eye(4)
    wrong[:3, :3] = rotation_from_vector(turn)
    centre = np.array([0.0, 0.0, -30.0])
    wrong[:3, 3] = centre - wrong[:3, :3] @ centre
    assert score(np.eye(4)) > 4.0
    assert score(wrong) < 0.0


def test_evidence_counts_points_that_face_elsewhere(reference):
    mesh = head()
    sample = Sample(*even_points(mesh.vertices, mesh.triangles, 10_000, 0))
    face = fitted_face(*reference.face, reference.modes, ElasticFit(np.eye(4), np.zeros(reference.modes.count)))
    count = reference.central_count
    right = gather_evidence(sample.tree(), sample.points, sample.normals, face, count)
    turned = gather_evidence(sample.tree(), sample.points, -sample.normals, face, count)
    assert right.turned_share < 0.05 and right.fitness > 0.95 and right.relief > 0.95
    assert turned.turned_share > 0.9 and turned.fitness < 0.05
    assert turned.score < right.score - 5.0


def beside(mesh):
    """A head with something beside it, its middle 340 mm to the left of the head's, in a random pose."""
    first = head()
    aside = mesh.moved(np.block([[np.eye(3), np.array([[340.0], [12], [-105]])], [np.zeros(3), 1.0]]))
    triangles = np.concatenate([first.triangles, aside.triangles + len(first.vertices)])
    return Mesh(np.concatenate([first.vertices, aside.vertices]), triangles).moved(random_pose(6))


def centred_head():
    return Mesh(head((0.95, 1.04, 1.0)).vertices - [0, 12, -105], head().triangles)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0.6, 0.4), (0, np.pi, 0), (1.3, 0, 2.0)])
def test_tells_of_a_second_face(reference, turn):
    turned = np.eye(4)
    turned[:3, :3] = rotation_from_vector(np.array(turn))
    assert register(beside(centred_head().moved(turned)), reference).second_face


@pytest.mark.parametrize("name", ["sphere", "lump", "back of the head"])
def test_what_resembles_a_face_beside_one_is_no_second_face(reference, name):
    found = register(beside(objects()[name]), reference)
    assert found.verdict == "good" and not found.second_face


def test_what_does_not_resemble_a_face_beside_one_costs_no_fit(reference, monkeypatch):
    fitted = []
    candidates = module._candidates
    monkeypatch.setattr(module, "_candidates", lambda *given: fitted.append(given) or candidates(*given))
    found = register(beside(objects()["inside-out face"]), reference)
    assert found.verdict == "good" and not found.second_face
    assert len(fitted) == found.attempts


def test_a_scan_is_described_once_for_both_faces(reference, monkeypatch):
    described = []
    describe = Sample.described
    monkeypatch.setattr(Sample, "described", lambda *given: described.append(given) or describe(*given))
    found = register(beside(centred_head()), reference)
    assert found.second_face and len(described) == found.attempts


def test_a_part_of_a_description_keeps_what_the_whole_says_of_its_points():
    mesh = head()
    whole = Sample(*even_points(mesh.vertices, mesh.triangles, 3000, 0)).described(8.0, 30.0)
    chosen = whole.scan.points[:, 0] > 10.0
    part = whole.part(chosen)
    assert 0 < len(part.scan.points) < len(whole.scan.points)
    np.testing.assert_array_equal(part.scan.points, whole.scan.points[chosen])
    np.testing.assert_array_equal(part.scan.normals, whole.scan.normals[chosen])
    np.testing.assert_array_equal(part.descriptors, whole.descriptors[chosen])
    assert (part.spacing, part.radius) == (8.0, 30.0)


def test_uses_the_sample_it_is_given(reference, monkeypatch):
    mesh = head().moved(random_pose(5))
    sample = even_points(mesh.vertices, mesh.triangles, 10_000, 0)
    expected = register(mesh, reference)
    monkeypatch.setattr(module, "even_points", None)
    assert register(mesh, reference, sample=sample).scan_to_reference.tobytes() == expected.scan_to_reference.tobytes()
    with pytest.raises(ValueError, match="normals"):
        register(mesh, reference, sample=(sample[0], sample[1][:5]))


def test_tells_its_progress_and_stops_when_told(reference):
    told = []
    register(head(), reference, progress=lambda stage, fraction: told.append((stage, fraction)))
    assert {stage for stage, _ in told} == {"sample", "search", "align"}
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0

    def stop(stage, fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(head(), reference, progress=stop)


def test_picked_landmarks_are_a_start(reference):
    pose = random_pose(6)
    picked = apply_transform(pose, LANDMARKS[:3] + [[4, -3, 2], [-5, 2, 0], [3, 3, -4]])
    found = register_from_landmarks(head().moved(pose), reference, picked, LANDMARKS[:3])
    back = found.scan_to_reference @ pose
    assert np.linalg.norm(apply_transform(back, LANDMARKS) - LANDMARKS, axis=1).max() < 1.0
    assert found.attempts == 0 and found.verdict == "good"


def test_picked_landmarks_far_from_the_face_are_obeyed_but_doubted(reference):
    aside = np.eye(4)
    aside[:3, :3], aside[:3, 3] = rotation_from_vector([0, 0.45, 0]), [6, 0, 0]
    found = register_from_landmarks(head(), reference, apply_transform(aside, LANDMARKS), LANDMARKS)
    np.testing.assert_allclose(found.scan_to_reference, invert_rigid(aside), atol=1e-6)
    assert found.verdict == "doubtful"


def test_picked_landmarks_may_be_missing_but_three_must_fix_the_pose(reference):
    picked = LANDMARKS.copy()
    picked[3:] = np.nan
    assert register_from_landmarks(head(), reference, picked, LANDMARKS).verdict == "good"
    picked[2:] = np.nan
    with pytest.raises(RegistrationError, match="three"):
        register_from_landmarks(head(), reference, picked, LANDMARKS)


def test_landmarks_correct_the_alignment():
    wrong = random_pose(9)
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = rotation_from_vector([0.1, -0.05, 0.08]), [3, -6, 4]
    scan_landmarks = apply_transform(invert_rigid(truth @ wrong), LANDMARKS)
    predicted = apply_transform(wrong, scan_landmarks)
    predicted[0] += 50.0
    predicted[1] = np.nan
    weights = np.ones(len(LANDMARKS))
    weights[0] = 0.0
    refined = refine_with_landmarks(wrong, predicted, LANDMARKS, weights)
    np.testing.assert_allclose(refined, truth @ wrong, atol=1e-9)


def test_too_few_landmarks_leave_the_alignment_as_it_is():
    predicted = np.full((8, 3), np.nan)
    predicted[:2] = LANDMARKS[:2]
    np.testing.assert_array_equal(refine_with_landmarks(random_pose(1), predicted, LANDMARKS, None), random_pose(1))


def test_reference_parts(reference):
    face = reference.up_to(1)
    assert set(np.unique(face.extent)) == {0, 1}
    assert len(face.points) == np.count_nonzero(reference.extent <= 1) == len(reference.face[0])
    np.testing.assert_array_equal(
        reference.face[0][: reference.central_count], reference.points[reference.extent == 0].astype(float)
    )


@pytest.mark.parametrize("field, value", [("normals", np.zeros((3, 3))), ("extent", np.ones(7000, np.uint8))])
def test_reference_must_be_whole(reference, field, value):
    with pytest.raises(ValueError, match="reference needs"):
        replace(reference, **{field: value})


def test_descriptors_do_not_depend_on_the_pose_but_on_the_shape(reference):
    points, normals = (values.astype(float) for values in (reference.points, reference.normals))
    pose = random_pose(2)
    there = shape_descriptors(points, normals, 25.0)
    turned = shape_descriptors(apply_transform(pose, points), normals @ pose[:3, :3].T, 25.0)
    np.testing.assert_allclose(there.sum(1), 1.0, rtol=1e-5)
    # Rounding moves a pair of points across the border of a bin here and there.
    assert np.abs(there - turned).max(1).mean() < 1e-4
    inside_out = shape_descriptors(points, -normals, 25.0)
    assert np.abs(there - inside_out).sum(1).mean() > 0.1


def test_descriptor_of_a_lonely_point_is_empty():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [500, 0, 0]])
    described = shape_descriptors(points, np.tile([0.0, 0, 1], (3, 1)), 5.0)
    assert described[2].sum() == 0.0 and np.isfinite(described).all()


def test_thinning_keeps_distance_and_leaves_no_gap(reference):
    points = reference.face[0]
    kept = thin(points, 8.0)
    between = np.linalg.norm(points[:, None] - points[kept][None], axis=2)
    assert between.min(1).max() < 8.0
    between[kept, np.arange(len(kept))] = np.inf
    assert between[kept].min() >= 8.0
    np.testing.assert_array_equal(kept, thin(apply_transform(random_pose(4), points), 8.0))


def test_deformations_are_symmetric_and_smooth(reference):
    points = reference.face[0]
    modes = reference.modes
    moved = modes.displacement(np.random.default_rng(0).normal(size=modes.count))
    assert moved.shape == points.shape
    assert 1.0 < np.sqrt((moved**2).sum(1).mean()) < 30.0
    # Neighbours move alike.
    near = np.linalg.norm(points[:, None] - points[None], axis=2) + 100 * np.eye(len(points))
    assert np.linalg.norm(moved - moved[near.argmin(1)], axis=1).max() < 3.0
    # A point and the mirror image of another one move as mirror images.
    across = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=2)
    close = across.min(1) < 0.7
    assert close.sum() > 20
    np.testing.assert_allclose(moved[close] * [-1, 1, 1], moved[across.argmin(1)[close]], atol=1.2)


def test_rigid_part_of_the_fit_ignores_the_deformation(reference):
    fit = ElasticFit(random_pose(11), np.full(reference.modes.count, 0.5))
    face = fitted_face(*reference.face, reference.modes, fit)
    assert face.effort == pytest.approx(0.5)
    expected = fit.pose @ rigid_fit(face.points, face.shape)
    np.testing.assert_allclose(face.rigid_pose, expected)
    assert rotation_angle(face.rigid_pose, fit.pose) > 0.01


def test_the_number_of_threads_changes_no_bit_of_the_deformations() -> None:
    code = (
        "import hashlib, numpy as np; from PALNetLandmarksLib.engine.registration_elastic import smooth_modes; "
        "points = 80.0 * np.random.default_rng(0).normal(size=(3000, 3)); modes = smooth_modes(points); "
        "print(hashlib.sha256(modes.even.tobytes() + modes.odd.tobytes()).hexdigest())"
    )
    library = str(Path(registration_elastic.__file__).parents[2])
    said = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": library, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
