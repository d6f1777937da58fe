"""Training parts: augmentation, exact resume, calibration, honest summaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from PALNetLandmarksLib.protocol import load_protocol
from training_tools.augmentation import Augmentation, augment
from training_tools.calibration import error_scale, visibility_limit
from training_tools.dataset import CanonicalSubject, symmetric
from training_tools.evaluation import ScanResult, confidence_figures, summarise
from training_tools.faces import FaceDataset
from training_tools.recipes import PalnetRecipe, PatchTransformerRecipe, distances, nearest_among
from training_tools.training import TrainingSettings, train

MIRROR = np.array([0, 2, 1, 3])
STILL = Augmentation(large_share=0.0, small_degrees=0.0, small_mm=0.0, anisotropy=0.0, shear=0.0, bend_mm=0.0,
                     mirror_share=0.0, noise_mm=0.0, normal_noise=0.0, keep_share=(1.1, 1.1), holes=0)  # fmt: skip


def ball(seed: int, count: int = 3000) -> CanonicalSubject:
    """A ball of 60 mm radius with four landmarks on it."""
    generator = np.random.default_rng(seed)
    normals = generator.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    landmarks = np.array([[0.0, 0, 60], [-42.4, 0, 42.4], [42.4, 0, 42.4], [0, -42.4, 42.4]])
    landmarks += generator.normal(0.0, 1.0, landmarks.shape)
    return CanonicalSubject(
        f"S{seed}", np.hstack([60 * normals, normals]).astype(np.float32), landmarks.astype(np.float32),
        np.ones(4, dtype=bool),
    )  # fmt: skip


def test_no_augmentation_changes_nothing() -> None:
    face = ball(0)
    cloud, landmarks, mirrored, _ = augment(face.cloud, face.landmarks, MIRROR, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(cloud, face.cloud, atol=1e-4)
    np.testing.assert_allclose(landmarks, face.landmarks, atol=1e-4)
    assert not mirrored


def test_landmarks_stay_on_the_augmented_surface() -> None:
    face = ball(1, 20_000)
    landmarks = (60 * face.landmarks / np.linalg.norm(face.landmarks, axis=1, keepdims=True)).astype(np.float32)
    settings = Augmentation(noise_mm=0.0, normal_noise=0.0, holes=0, mirror_share=1.0)
    for seed in range(5):
        cloud, moved, mirrored, _ = augment(face.cloud, landmarks, MIRROR, settings, np.random.default_rng(seed))
        apart = np.linalg.norm(cloud[None, :, :3] - moved[:, None], axis=2).min(axis=1)
        assert apart.max() < 3.0  # spacing of the points
        assert mirrored
        # Mirrored, the right landmark (index 1) is still on the negative side.
        assert moved[1, 0] < moved[0, 0] < moved[2, 0]
        np.testing.assert_allclose(np.linalg.norm(cloud[:, 3:], axis=1), 1.0, atol=1e-4)
        outward = (cloud[:, 3:] * (cloud[:, :3] - cloud[:, :3].mean(axis=0))).sum(axis=1)
        assert (outward > 0).mean() > 0.99


def small_recipe() -> PatchTransformerRecipe:
    return PatchTransformerRecipe(
        {"landmarks": 4, "mirror": MIRROR.tolist(), "points": 16, "width": 20, "layers": 1}, batch_size=2, pool=32
    )


def trained(run: Path, epochs: int, stop: int | None = None) -> dict[str, torch.Tensor]:
    faces, unseen = [ball(i) for i in range(4)], [ball(100)]
    mean = np.mean([face.landmarks for face in faces], axis=0).astype(np.float64)
    settings = TrainingSettings(epochs=epochs, workers=0, validate_every=1)
    if stop is not None:
        with pytest.MonkeyPatch.context() as patch:
            import training_tools.training as module

            original = module.save_checkpoint

            def interrupted(path: Path, network: torch.nn.Module, average, optimizer, state) -> None:  # type: ignore[no-untyped-def]
                original(path, network, average, optimizer, state)
                if state["epoch"] == stop:
                    raise KeyboardInterrupt

            patch.setattr(module, "save_checkpoint", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(run, small_recipe(), faces, unseen, mean, MIRROR, settings)
    train(run, small_recipe(), faces, unseen, mean, MIRROR, settings)
    return load_file(run / "checkpoint.safetensors")


def test_candidates_give_the_same_points_as_the_whole_cloud() -> None:
    generator = np.random.default_rng(0)
    cloud = ball(0).cloud
    centres = ball(0).landmarks
    apart = np.linalg.norm(cloud[None, :, :3] - centres[:, None], axis=2)
    candidates = np.argsort(apart, axis=1)[:, :300].astype(np.int32)
    candidates[:, generator.permutation(300)[:100]] = -1  # left out by an augmentation
    kept = [row[row >= 0] for row in candidates]
    found = nearest_among(cloud, centres, 50, candidates)
    for points, row, centre in zip(found, kept, centres, strict=True):
        expected = cloud[row[np.argsort(np.linalg.norm(cloud[row, :3] - centre, axis=1))[:50]]]
        assert {tuple(p) for p in points} == {tuple(p) for p in expected}
    # Too few of them are left: all points of the cloud are looked at.
    assert nearest_among(cloud, centres, 250, candidates).shape == (4, 250, 6)


def test_changed_faces_have_fewer_points_round_the_same_places() -> None:
    faces = [ball(i, 20_000) for i in range(2)]
    mean = faces[0].landmarks
    recipe = PatchTransformerRecipe({"landmarks": 4, "mirror": MIRROR.tolist(), "points": 64}, pool=160)
    still = FaceDataset(faces, mean, MIRROR, recipe, STILL, 0, changes=False)[1]
    assert still["coarse"].shape == (4, 64, 6) and still["fine"].shape == (4, 160, 6)
    reach = (still["fine"][..., :3] - still["landmarks"][:, None]).norm(dim=-1).max()
    for epoch in range(8):
        changed = FaceDataset(faces, mean, MIRROR, recipe, Augmentation(holes=0), 0)
        changed.prepare()
        changed.epoch = epoch
        sample = changed[1]
        assert sample["coarse"].shape == (4, 64 // recipe.thinning, 6)
        assert sample["fine"].shape == (4, 160 // recipe.thinning, 6)
        # A quarter of the points, but of the same surface: of landmarks after the mirror, too.
        middle = sample["fine"][..., :3].mean(dim=1)
        assert ((middle - sample["landmarks"]).norm(dim=-1) < reach).all()


def test_resumed_training_gives_the_same_bits(tmp_path: Path) -> None:
    whole, resumed = trained(tmp_path / "a", 3), trained(tmp_path / "b", 3, stop=1)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert (tmp_path / "a" / "best.safetensors").exists()


def test_palnet_recipe_trains_one_step() -> None:
    recipe = PalnetRecipe({"landmarks": 4, "points_per_patch": 100}, batch_size=1)
    face = ball(0)
    sample = recipe.sample(face.cloud, face.landmarks, face.landmarks, np.random.default_rng(0))
    batch = {"points": torch.from_numpy(sample["points"])[None], "landmarks": torch.from_numpy(face.landmarks)[None]}
    network = recipe.build()
    loss = recipe.loss(network, batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert recipe.predict(network, batch).shape == (1, 4, 3)


def test_distances_have_a_gradient_at_zero() -> None:
    at = torch.zeros(1, 2, 3, requires_grad=True)
    distances(at, torch.zeros(1, 2, 3)).sum().backward()
    assert at.grad is not None and torch.isfinite(at.grad).all()


def result(error: list[float], raw: list[float], visible: list[bool], failure: str = "") -> ScanResult:
    count = len(error)
    return ScanResult(
        "S1", np.array(error), np.array(error), np.array(raw), np.array(raw), np.array(visible),
        np.ones(count, dtype=bool), np.array([0.9 if v else 0.1 for v in visible]), 1.0, 0.5, 0.2, failure,
    )  # fmt: skip


def test_scale_is_the_ratio_of_measured_to_estimated() -> None:
    results = [result([2.0, 3.0], [1.0, 1.0], [True, True]) for _ in range(1000)]
    np.testing.assert_allclose(error_scale(results), [2.0, 3.0], rtol=0.02)
    few = [result([2.0, 3.0], [1.0, 1.0], [True, i < 1]) for i in range(1000)]
    assert error_scale(few)[1] < 2.2  # one scan says little: drawn towards the common factor
    hidden = [result([2.0, 99.0], [1.0, 1.0], [True, False]) for _ in range(50)]
    assert error_scale(hidden)[1] == pytest.approx(2.0)


def test_visibility_limit_spares_captured_landmarks() -> None:
    assert visibility_limit([result([1.0, 1.0], [1.0, 1.0], [True, False])] * 10) == pytest.approx(0.5)


def test_summary_counts_failures_and_leaves_hidden_landmarks_out() -> None:
    protocol = load_protocol()
    count = len(protocol)
    good = result([2.0] * count, [1.0] * count, [True] * (count - 1) + [False])
    summary = summarise(
        [good, result([np.nan] * count, [np.nan] * count, [True] * count, "registration.none")], protocol
    )
    assert (summary["scans"], summary["failed"], summary["failures"]) == (2, 1, {"registration.none": 1})
    assert summary["mean_mm"] == pytest.approx(2.0)
    assert summary["landmarks"][protocol.labels[-1]]["scans"] == 0
    assert summary["hidden_mean_mm"] == pytest.approx(2.0)


def test_confidence_figures_find_large_errors() -> None:
    error = np.array([[1.0] * 8 + [5.0, 6.0]])
    assert confidence_figures(error, error)["large_among_least_confident"] == 1.0
    assert confidence_figures(error, error[:, ::-1])["large_among_least_confident"] == 0.0


def test_symmetric_mean() -> None:
    protocol = load_protocol()
    mean = symmetric(np.random.default_rng(0).normal(size=(len(protocol), 3)), protocol)
    np.testing.assert_allclose(mean[protocol.mirror] * [-1, 1, 1], mean)
    assert np.abs(mean[list(protocol.midline), 0]).max() < 1e-12
