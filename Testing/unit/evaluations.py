"""Made-up evaluations for the tests of tables, comparisons and slopes: true faces, and predictions as one likes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from PALNetLandmarksLib.protocol import Protocol, load_protocol
from training_tools.evaluation import ScanResult
from training_tools.results_file import Evaluation

Predict = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def face(protocol: Protocol) -> np.ndarray:
    """A symmetric face of the protocol's landmarks (l, 3), mm: +x left, +y up, +z forward."""
    generator = np.random.default_rng(11)
    positions = np.zeros((len(protocol), 3))
    for place, landmark in enumerate(protocol.landmarks):
        if landmark.side == "midline":
            positions[place] = (0.0, generator.uniform(-80, 80), generator.uniform(40, 70))
    for right, left in protocol.pairs:
        positions[left] = (generator.uniform(15, 70), generator.uniform(-80, 80), generator.uniform(-40, 50))
        positions[right] = positions[left] * [-1, 1, 1]
    return positions


def scan(name: str, truth: np.ndarray, predicted: np.ndarray, failure: str = "", **further: object) -> ScanResult:
    count = len(truth)
    error = np.linalg.norm(predicted - truth, axis=1)
    values: dict[str, object] = {
        "subject": name, "error_mm": error, "unprojected_error_mm": error, "expected_mm": error + 0.5,
        "raw_mm": error + 0.5, "visible": np.isfinite(truth).all(axis=1), "found": np.isfinite(predicted).all(axis=1),
        "visible_probability": np.full(count, 0.9), "registration_mm": 1.0, "realigned_mm": 0.5, "seconds": 0.6,
        "failure": failure, "predicted": predicted, "truth": truth,
        "stages": {} if failure else {"registration": 0.4, "network": 0.2}, "memory_mb": 400.0,
    }  # fmt: skip
    return ScanResult(**(values | further))  # type: ignore[arg-type]


def failed(name: str, truth: np.ndarray) -> ScanResult:
    return scan(name, truth, np.full_like(truth, np.nan), "registration.none")


def evaluation(
    predict: Predict, count: int = 12, name: str = "model", fail: tuple[int, ...] = (), seed: int = 0
) -> Evaluation:
    """Evaluate a made-up predictor on `count` faces that differ by 3 mm; the scans in `fail` fail."""
    protocol = load_protocol()
    results = []
    for number in range(count):
        truth = face(protocol) + np.random.default_rng((seed, number)).normal(0.0, 3.0, (len(protocol), 3))
        generator = np.random.default_rng((seed + 1, number))
        label = f"S{number + 1:03d}"
        results.append(failed(label, truth) if number in fail else scan(label, truth, predict(truth, generator)))
    return Evaluation(name, protocol, tuple(results), {"data": "made up"})


def noisy(size: float) -> Predict:
    """Predict with errors of the same length in random directions."""

    def predict(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        direction = generator.normal(size=truth.shape)
        return truth + size * direction / np.linalg.norm(direction, axis=1, keepdims=True)

    return predict
