"""Training scans in the reference frame: by annotation or by registration, the scan itself unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.registration import register
from PALNetLandmarksLib.errors import InputError, RegistrationError
from training_tools import alignment, training_job
from training_tools.alignment import prepared_subject, registered_transform
from training_tools.presets import PRESETS
from training_tools.reference_file import ReferenceFile
from training_tools.training import TrainingSettings
from training_tools.training_job import NetworkChoice, TrainingJob, prepare

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "face01"
BUNDLE = load_bundle()
MEAN = BUNDLE.mean_landmarks


def apart(cloud: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    return np.linalg.norm(cloud[None, ::50, :3] - landmarks[:, None], axis=2)


def test_registration_moves_the_face_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_annotation = prepared_subject(SAMPLE, BUNDLE.protocol, MEAN, tmp_path)
    registered = prepared_subject(SAMPLE, BUNDLE.protocol, MEAN, tmp_path, BUNDLE.reference)
    moved = np.linalg.norm(registered.landmarks - by_annotation.landmarks, axis=1)
    assert 0.05 < moved.mean() < 8.0
    np.testing.assert_allclose(
        apart(registered.cloud, registered.landmarks), apart(by_annotation.cloud, by_annotation.landmarks), atol=0.02
    )
    # It is the registration of prediction, and is not computed twice.
    monkeypatch.setattr(alignment, "register", None)
    transform = registered_transform(SAMPLE, BUNDLE.protocol, BUNDLE.reference, tmp_path)
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)


def test_a_registration_far_off_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(scan: object, reference: object) -> object:
        found = register(scan, reference)  # type: ignore[arg-type]
        turned = found.scan_to_reference.copy()
        turned[:3, 3] += [0.0, 80.0, 0.0]
        return replace(found, scan_to_reference=turned)

    monkeypatch.setattr(alignment, "register", wrong)
    with pytest.raises(RegistrationError, match="mm off"):
        prepared_subject(SAMPLE, BUNDLE.protocol, MEAN, tmp_path, BUNDLE.reference)


def job(tmp_path: Path, training: list[Path], start: ReferenceFile | None = None) -> TrainingJob:
    return TrainingJob(
        tmp_path / "run", training, [SAMPLE], BUNDLE.protocol, start or ReferenceFile(BUNDLE.reference, MEAN),
        NetworkChoice("patch_transformer"), TrainingSettings(preset=PRESETS["default"]), tmp_path / "cache",
    )  # fmt: skip


def test_scans_that_cannot_be_used_are_named_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "broken"
    bad.mkdir()
    (bad / "landmarks.txt").write_text("landmark names\nPrn\t(1,2,3)\n")
    ready = prepare(job(tmp_path, [SAMPLE, bad]), 1)
    assert [subject.name for subject in ready.training] == ["face01"]
    assert [name for name, _ in ready.left_out] == ["broken"] and "left out: broken" in caplog.text
    with pytest.raises(InputError, match="No usable training scan"):
        prepare(job(tmp_path, [bad]), 1)


def test_another_protocol_begins_with_registered_scans(tmp_path: Path) -> None:
    few = ReferenceFile(BUNDLE.reference, MEAN[:7])
    first = training_job._first_mean([SAMPLE], job(tmp_path, [SAMPLE], few))
    assert first.shape == MEAN.shape
    assert np.linalg.norm(first - MEAN, axis=1).mean() < 12.0
    assert training_job._first_mean([SAMPLE], job(tmp_path, [SAMPLE])) is not None
