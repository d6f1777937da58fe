"""`sgcn` from scans to landmarks: its recipe, its locator, and the whole way through the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.spatial import cKDTree
from torch import Tensor, nn

from PALNetLandmarksLib.engine import predictor as predictor_module
from PALNetLandmarksLib.engine.bundle import load_bundle, write_bundle
from PALNetLandmarksLib.engine.cloud import SurfaceCloud, face_cloud, sample_surface
from PALNetLandmarksLib.engine.heatmaps import UnitFrame, heat_targets
from PALNetLandmarksLib.engine.locating import Located, locator_for
from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.networks.sgcn import SGCN
from PALNetLandmarksLib.engine.principal_axes import PrincipalFrame
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, random_rotation, rigid_fit
from PALNetLandmarksLib.errors import BundleError
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.resources import sample_scans
from training_tools.dataset import canonical_subject
from training_tools.recipes import recipe_for
from training_tools.sgcn_recipe import SgcnRecipe, axes_of_reference, sgcn_recipe

PROTOCOL = load_protocol()
MIRROR = [int(i) for i in PROTOCOL.mirror]
TINY = {"points": 500, "neighbours": 6, "depth": 2, "channels": 16}
BALL = {"landmarks": 4, **TINY, "sigma": 0.15}  # 500 points on the ball are 10 mm apart, 0.15 are 11 mm


def ball(seed: int, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """A ball of 60 mm radius with four landmarks on it: cloud (n, 6) and landmarks (4, 3)."""
    generator = np.random.default_rng(seed)
    normals = generator.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    landmarks = np.array([[0.0, 0, 1.0], [-0.7, 0, 0.7], [0.7, 0, 0.7], [0, -0.7, 0.7]])
    landmarks += generator.normal(0.0, 0.03, landmarks.shape)
    landmarks *= 60.0 / np.linalg.norm(landmarks, axis=1, keepdims=True)
    return np.hstack([60.0 * normals, normals]).astype(np.float32), landmarks.astype(np.float32)


def ball_batch(recipe: SgcnRecipe, *seeds: int) -> dict[str, Tensor]:
    mean = np.mean([ball(seed)[1] for seed in seeds], axis=0)
    samples = []
    for seed in seeds:
        cloud, landmarks = ball(seed)
        sample = recipe.sample(cloud, mean, landmarks, np.random.default_rng(seed))
        samples.append(sample | {"landmarks": landmarks})
    return {name: torch.stack([torch.from_numpy(s[name]) for s in samples]) for name in samples[0]}


class TrueHeat(nn.Module):
    """Gives a batch the heat that it should have."""

    def __init__(self, recipe: SgcnRecipe, batch: dict[str, Tensor]) -> None:
        super().__init__()
        self.heat = recipe.targets(batch)

    def forward(self, *_: Tensor) -> Tensor:
        return self.heat


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("stages", "limit"), [(2, 1.2), (1, 4.0)])
def test_recipe_finds_the_landmarks_in_true_heat(aligned: bool, stages: int, limit: float) -> None:
    cloud, _ = ball(0)
    axes = {"principal_axes": PrincipalFrame.of(cloud[:2000, :3] * [1.3, 1.1, 0.9]).to_dict()} if aligned else {}
    recipe = SgcnRecipe({**BALL, "stages": stages, **axes})
    batch = ball_batch(recipe, 0, 1)
    assert recipe.targets(batch).amax(dim=1).min() > 0.5  # some point is near each landmark, whatever the alignment
    found = recipe.predict(TrueHeat(recipe, batch), batch)
    assert (found - batch["landmarks"]).norm(dim=2).mean() < limit
    assert not torch.equal(batch["to_aligned"][0], torch.eye(4)) if aligned else True


def test_recipe_learns() -> None:
    torch.manual_seed(0)
    recipe = SgcnRecipe(BALL)
    batch = ball_batch(recipe, 0, 1)
    network = recipe.build()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = recipe.loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    error = (recipe.predict(network, batch) - batch["landmarks"]).norm(dim=2)
    assert error.mean() < 6.0  # of points 8 mm apart


def test_landmarks_that_nobody_marked_teach_nothing() -> None:
    recipe = SgcnRecipe(BALL)
    batch = ball_batch(recipe, 0)
    network = recipe.build()
    batch["known"] = torch.tensor([[True, False, True, True]])
    before = recipe.loss(network, batch)
    batch["landmarks"][0, 1] += 30.0
    torch.testing.assert_close(recipe.loss(network, batch), before)
    batch["landmarks"][0, 0] += 30.0
    assert not torch.isclose(recipe.loss(network, batch), before)


def test_recipe_has_the_sizes_for_such_scans_and_refuses_nonsense(tmp_path: Path) -> None:
    recipe = recipe_for("sgcn", 50, MIRROR, {"depth": 6})
    assert len(recipe.settings.blocks) == 6
    assert (recipe.settings.points, recipe.settings.neighbours, recipe.facet_normals) == (8000, 32, True)
    assert (recipe.learning_rate, recipe.batch_size) == (1e-3, 4)
    with pytest.raises(BundleError):
        sgcn_recipe(50, MIRROR, {"stages": 7})
    reference = load_bundle().path / "reference.safetensors"
    aligned = sgcn_recipe(50, MIRROR, {"principal_axes": str(reference)})
    json.dumps(aligned.parameters)  # goes into run.json and the bundle
    np.testing.assert_allclose(
        PrincipalFrame.from_dict(aligned.parameters["principal_axes"]).axes, axes_of_reference(reference).axes
    )


def sheet() -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    vertices = np.stack([x.ravel(), y.ravel(), np.where(x.ravel() % 2 == 0, 0.0, 0.5)], axis=1)
    corner = (np.arange(19)[:, None] * 20 + np.arange(19)).ravel()
    return vertices, np.concatenate([np.stack([corner, corner + 1, corner + 20], 1),
                                     np.stack([corner + 1, corner + 21, corner + 20], 1)])  # fmt: skip


def test_points_can_have_the_normals_of_their_triangles() -> None:
    vertices, triangles = sheet()
    points, normals, _ = sample_surface(vertices, triangles, None, 0.1)
    expected = np.array([0.5, 0.0, 1.0]) / np.hypot(0.5, 1.0)
    np.testing.assert_allclose(np.abs(normals), np.tile(expected, (len(normals), 1)), atol=1e-12)
    assert (normals[:, 2] > 0).all()
    rising = np.floor(points[:, 0]).astype(int) % 2 == 0
    np.testing.assert_array_equal(normals[:, 0] < 0, rising)


class Oracle(SGCN):
    """A network that knows where the landmarks are, in the reference frame."""

    def __init__(self, landmarks: np.ndarray, mean: np.ndarray, height: np.ndarray | float = 1.0, **more: object):
        super().__init__(len(landmarks), points=8000, depth=1, channels=8, **more)
        unit = UnitFrame.of(mean).normalise(landmarks).astype(np.float32)
        self.register_buffer("unit", torch.from_numpy(unit)[None])
        self.height = torch.as_tensor(height, dtype=torch.float32)

    def forward(self, points: Tensor, *_: Tensor) -> Tensor:
        assert points.shape == (1, 8000, 6)
        return heat_targets(points[..., :3], self.unit, self.sigma) * self.height


@pytest.fixture(scope="module")
def registered() -> tuple[SurfaceCloud, np.ndarray, np.ndarray, np.ndarray]:
    """The sample scan's cloud, its transform, its landmarks in its own frame, and the mean landmarks."""
    bundle, path = load_bundle(), sample_scans()[0]
    scan = read_scan(path)
    landmarks = np.asarray(read_landmarks(path.with_name("landmarks.txt")).positions)
    use = np.isfinite(landmarks).all(axis=1)
    landmarks = np.where(use[:, None], landmarks, scan.vertices[0])
    transform = rigid_fit(landmarks[use], bundle.mean_landmarks[use])
    cloud = face_cloud(scan.vertices, scan.triangles, transform, bundle.mean_landmarks, facet_normals=True)
    assert cloud.vertices is not None
    # The nearest vertices: the right answer of a method whose answers are vertices.
    landmarks = cloud.vertices[cKDTree(cloud.vertices).query(landmarks)[1]]
    return cloud, transform, landmarks, bundle.mean_landmarks


def located(registered: tuple, **more: object) -> tuple[Located, np.ndarray]:
    cloud, transform, landmarks, mean = registered
    oracle = Oracle(apply_transform(transform, landmarks), mean, **more).eval()
    found = locator_for("sgcn")(oracle, cloud, transform, mean, PROTOCOL)
    return found, np.linalg.norm(found.landmarks - landmarks, axis=1)


def test_locator_finds_the_very_vertices(registered: tuple) -> None:
    found, error = located(registered)
    assert (error < 1e-9).mean() > 0.9
    assert error.max() < 1.0
    assert found.raw_error.shape == found.visible.shape == (len(PROTOCOL),)
    assert np.median(found.raw_error) < 2.5  # points are 4 mm apart: the hottest is so far away
    assert np.median(found.visible) > 0.8


def test_first_stage_alone_is_less_exact(registered: tuple) -> None:
    _, second = located(registered)
    _, first = located(registered, stages=1)
    assert 0.3 < np.median(first) < 4.0
    assert np.median(second) < 0.5 * np.median(first)


def test_cold_heatmaps_are_doubtful_and_hidden(registered: tuple) -> None:
    height = np.ones(len(PROTOCOL))
    height[7] = 0.2
    found, _ = located(registered, height=height)
    others = np.delete(found.raw_error, 7)
    assert found.raw_error[7] > 1.5 * np.median(others)
    assert found.raw_error[7] > np.quantile(others, 0.95)
    assert found.visible[7] <= 0.2 < np.delete(found.visible, 7).min()


def test_locator_aligns_anew_by_what_it_found(registered: tuple) -> None:
    """A registration that is off is put right by the landmarks; answers stay in the scan's own frame."""
    cloud, transform, landmarks, mean = registered
    off = np.eye(4)
    off[:3, 3] = [3.0, -2.0, 4.0]
    oracle = Oracle(apply_transform(off @ transform, landmarks), mean)
    found = locator_for("sgcn")(oracle.eval(), cloud, off @ transform, mean, PROTOCOL)
    assert (np.linalg.norm(found.landmarks - landmarks, axis=1) < 1e-9).mean() > 0.9
    before, after = (np.linalg.norm(apply_transform(t, landmarks) - mean, axis=1).mean()
                     for t in (off @ transform, found.scan_to_reference))  # fmt: skip
    assert after < before - 1.0


def test_locator_does_not_depend_on_the_pose(registered: tuple) -> None:
    cloud, transform, landmarks, mean = registered
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(np.random.default_rng(2)), [200.0, -100.0, 50.0]
    moved = SurfaceCloud(
        apply_transform(pose, cloud.points), cloud.normals @ pose[:3, :3].T, apply_transform(pose, cloud.vertices)
    )
    oracle = Oracle(apply_transform(transform, landmarks), mean).eval()
    found = locator_for("sgcn")(oracle, moved, transform @ invert_rigid(pose), mean, PROTOCOL)
    assert np.median(np.linalg.norm(found.landmarks - apply_transform(pose, landmarks), axis=1)) < 1e-6


def test_training_clouds_have_the_normals_that_prediction_has(tmp_path: Path) -> None:
    mean, folder = load_bundle().mean_landmarks, sample_scans()[0].parent
    facets, again, smooth = (
        canonical_subject(folder, PROTOCOL, mean, tmp_path, facet_normals=wanted).cloud
        for wanted in (True, True, False)
    )
    np.testing.assert_array_equal(again, facets)  # from the cache, which must tell the two kinds apart
    np.testing.assert_array_equal(smooth[:, :3], facets[:, :3])
    apart = np.degrees(np.arccos(np.clip((smooth[:, 3:] * facets[:, 3:]).sum(axis=1), -1.0, 1.0)))
    assert 0.5 < np.median(apart) < 20.0


def test_predictor_with_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the heat, answers are vertices of the scan, the same bits each time; points have facet normals."""
    scan, default = read_scan(sample_scans()[0]), load_bundle()
    parameters = {"landmarks": len(PROTOCOL), **TINY}
    description = {
        "id": "random", "version": "0", "title": "untrained", "protocol": PROTOCOL.to_dict(), "metrics": {},
        "network": {"name": "sgcn", "parameters": parameters}, "projection": {"kind": "surface"},
        "confidence": {"scale": [1.0] * len(PROTOCOL)}, "training_data": "none", "licence": "MIT",
        "missing": {"distance_mm": 8.0, "border_margin_mm": 0.0, "visible_probability": 0.0},
    }  # fmt: skip
    torch.manual_seed(0)
    weights = save(build_network("sgcn", parameters).state_dict())
    write_bundle(tmp_path / "b", description, weights, default.reference, default.mean_landmarks, "untrained")
    asked: list[bool] = []
    original = predictor_module.face_cloud

    def noted(*arguments: object, facet_normals: bool, **more: object) -> SurfaceCloud:
        asked.append(facet_normals)
        return original(*arguments, facet_normals=facet_normals, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(predictor_module, "face_cloud", noted)
    predictor = predictor_module.Predictor(load_bundle(tmp_path / "b"), "cpu")
    first, second = predictor.predict(scan), predictor.predict(scan)
    assert asked == [True, True]
    np.testing.assert_array_equal(first.landmarks.positions, second.landmarks.positions)
    np.testing.assert_array_equal(first.landmarks.expected_error_mm, second.landmarks.expected_error_mm)
    assert cKDTree(scan.vertices).query(first.located.landmarks)[0].max() < 1e-9


@pytest.mark.slow
def test_the_whole_way_from_scans_to_an_evaluated_model(tmp_path: Path) -> None:
    """Train, export, predict and evaluate on copies of the sample scan; how exact it becomes does not count here."""
    from PALNetLandmarksLib.engine.cli import main as engine
    from training_tools.__main__ import main as tools

    for name in ("A1", "A2", "B1", "C1"):
        shutil.copytree(sample_scans()[0].parent, tmp_path / name[0] / name)
    data = {part: str(tmp_path / folder) for part, folder in (("training", "A"), ("validation", "B"), ("test", "C"))}
    reference = str(load_bundle().path / "reference.safetensors")
    run, bundle = str(tmp_path / "run"), str(tmp_path / "bundle")
    assert tools([
        "train", "--network", "sgcn", "--parameters", json.dumps(TINY), "--data", data["training"], "--validation",
        data["validation"], "--reference", reference, "--run", run, "--epochs", "2", "--batch-size", "2",
        "--workers", "0",
    ]) == 0  # fmt: skip
    assert tools([
        "export", "--run", run, "--validation", data["validation"], "--test", data["test"], "--output", bundle,
        "--title", "Tiny", "--training-data", "simulated", "--jobs", "1",
    ]) == 0  # fmt: skip
    loaded = load_bundle(bundle)
    assert (loaded.network, loaded.parameters["points"]) == ("sgcn", 500)
    assert (loaded.confidence_scale > 0).all()

    mesh, output = tmp_path / "C" / "C1" / "mesh.ply", tmp_path / "found.mrk.json"
    assert engine(["predict", str(mesh), "--model", bundle, "--output", str(output)]) == 0
    found = read_landmarks(output)
    present = np.asarray(found.positions)[~found.missing]
    vertices = read_scan(mesh).vertices
    assert len(present)
    assert np.linalg.norm(present[:, None] - vertices[None], axis=2).min(axis=1).max() < 1e-3
    assert found.provenance["model_id"] == loaded.id

    assert tools(["evaluate", "--data", data["test"], "--model", bundle, "--output", str(tmp_path / "e"),
                  "--jobs", "1"]) == 0  # fmt: skip
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert (summary["scans"], summary["failed"]) == (1, 0)
