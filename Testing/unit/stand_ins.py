"""Stand-ins for tests of the command line: a face-sized shell, landmarks on it, and a predictor that knows them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.scan import Scan, ScanWarning
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol

MODEL_SHA256, BUNDLE_SHA256 = "ab" * 32, "ba" * 32


def shell(columns: int = 40, rows: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles of a shell the size of a face, bulging forward (+z) and open at the back."""
    x, y = np.meshgrid(np.linspace(-75, 75, columns), np.linspace(-100, 100, rows))
    z = 90 * np.sqrt(np.maximum(1.0 - (x / 90) ** 2 * 0.8 - (y / 120) ** 2 * 0.8, 0.0)) - 90
    corner = np.arange(columns * rows).reshape(rows, columns)
    quads = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), triangles


def write_shell(path: Path, scale: float = 1.0) -> Path:
    """Write the shell as a scan file."""
    vertices, triangles = shell()
    write_mesh(path, vertices * scale, triangles)
    return path


def landmarks_on_shell(missing: tuple[str, ...] = (), status: str = "predicted") -> LandmarkSet:
    """Return 50 points on the shell: right ones on the subject's right (-x), midline ones in the middle."""
    protocol = load_protocol()
    rng = np.random.default_rng(4)
    positions, errors = np.empty((50, 3)), np.linspace(0.5, 5.5, 50)
    across = {"right": -1.0, "midline": 0.0, "left": 1.0}
    for place, landmark in enumerate(protocol.landmarks):
        x, y = across[landmark.side] * rng.uniform(15, 60), rng.uniform(-80, 80)
        z = 90 * np.sqrt(1.0 - (x / 90) ** 2 * 0.8 - (y / 120) ** 2 * 0.8) - 90
        positions[place] = (x, y, z)
        if landmark.label in missing:
            positions[place], errors[place] = np.nan, np.nan
    return LandmarkSet.from_positions(
        protocol,
        positions,
        status,
        expected_error_mm=errors if status == "predicted" else None,
        provenance={"model_id": "stand-in", "model_sha256": MODEL_SHA256},
    )


def prediction(scan: Scan | None = None, missing: tuple[str, ...] = ("Tr",)) -> Any:
    """Return what a predictor gives."""
    registration = SimpleNamespace(
        scan_to_reference=np.eye(4), fitness=0.9, inlier_rms_mm=1.25, score=1.2, verdict="good", attempts=1,
        stage_seconds={},
    )  # fmt: skip
    return SimpleNamespace(
        landmarks=landmarks_on_shell(missing),
        registration=registration,
        scan_to_reference=np.eye(4),
        warnings=(*(scan.warnings if scan else ()), ScanWarning("landmarks.missing", "No usable surface for Tr.")),
        stage_seconds={"registration": 0.1, "network": float("nan")},
        device="cpu",
    )


def install_predictor(monkeypatch: Any, error: BaseException | None = None) -> list[dict[str, Any]]:
    """Put a predictor in place of the real one; gives the list of how it was called."""
    from PALNetLandmarksLib.engine import bundle, predictor

    calls: list[dict[str, Any]] = []

    class StandIn:
        def __init__(self, bundle: Any, device: str = "auto", threads: int | None = None) -> None:
            calls.append({"device": device, "threads": threads})

        def predict(self, scan: Scan, *, initial: Any = None, seed: int = 0, progress: Any = None) -> Any:
            calls.append({"initial": initial, "seed": seed, "scan": scan})
            if progress is not None:
                progress("registration", 0.1)
            if error is not None:
                raise error
            return prediction(scan)

    def load(path: Any = None) -> Any:
        return SimpleNamespace(
            id="stand-in",
            version="1",
            weights_sha256=MODEL_SHA256,
            sha256=BUNDLE_SHA256,
            protocol=load_protocol(),
            path=path,
        )

    monkeypatch.setattr(predictor, "Predictor", StandIn)
    monkeypatch.setattr(bundle, "load_bundle", load)
    return calls


class StandInRunner:
    """Does the cases of a batch without a network: a scan whose name holds ``bad`` fails."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.model = ("stand-in", MODEL_SHA256, BUNDLE_SHA256)
        self.protocol = load_protocol()
        self.done: list[str] = []

    def run(self, job: Any) -> Any:
        from PALNetLandmarksLib.engine.batch_case import LANDMARKS, failed_status
        from PALNetLandmarksLib.engine.batch_record import CaseStatus
        from PALNetLandmarksLib.engine.reading import read_scan
        from PALNetLandmarksLib.landmark_files import write_landmarks

        self.done.append(job.case)
        status = CaseStatus(
            job.case,
            model_id=self.model[0],
            model_sha256=self.model[1],
            bundle_sha256=self.model[2],
            settings=self.settings.fingerprint,
        )
        try:
            scan = read_scan(job.scan)
        except LandmarkingError as error:
            return failed_status(status, error, job, 0.0)
        write_landmarks(self.settings.output / (job.case + LANDMARKS), landmarks_on_shell(), case=job.case)
        return CaseStatus(**{**status.__dict__, "status": "done", "exit_code": "0", "scan_sha256": scan.sha256})
