"""How often the registration is right, and how fast it is.

Each scan of a folder (LAFAS layout: ``S0001/mesh.ply|obj``, ``landmarks.txt``, ``transformation_matrix.npy``) is turned
into random poses, uniform over all rotations, and rounded to float32 as a file would; the pose found is compared with
the true one. What the engine says to things that are no face: ``python -m Testing.robustness``.

    python Testing/benchmarks/registration_benchmark.py FOLDER --poses 500 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

for folder in ("", "PALNetLandmarks"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))

from PALNetLandmarksLib.engine.registration import Reference, Registration, register  # noqa: E402
from PALNetLandmarksLib.engine.rigid import apply_transform, rotation_angle  # noqa: E402
from PALNetLandmarksLib.errors import RegistrationError  # noqa: E402
from PALNetLandmarksLib.resources import bundled_models  # noqa: E402
from Testing.robustness.objects import Subject, load_subject, random_pose  # noqa: E402

Array = NDArray[np.float64]
RIGHT_DEGREES, RIGHT_MM = 10.0, 10.0


@dataclass(frozen=True)
class Outcome:
    name: str
    seconds: float
    processor_seconds: float
    degrees: float
    displacement_mm: float
    registration: Registration | None

    @property
    def right(self) -> bool:
        return self.registration is not None and self.degrees <= RIGHT_DEGREES and self.displacement_mm <= RIGHT_MM


def try_pose(subject: Subject, reference: Reference, pose: Array, seed: int) -> tuple[Outcome, Array | None]:
    mesh = subject.mesh.moved(pose)
    began, processor = time.perf_counter(), time.process_time()

    def spent() -> tuple[float, float]:
        return time.perf_counter() - began, time.process_time() - processor

    try:
        registration = register(mesh, reference, seed=seed)
    except RegistrationError:
        return Outcome(subject.name, *spent(), np.nan, np.nan, None), None
    times = spent()
    found = registration.scan_to_reference @ pose
    known = subject.landmarks[np.isfinite(subject.landmarks).all(1)]
    placed = apply_transform(found, known)
    displacement = float(np.linalg.norm(placed - apply_transform(subject.truth, known), axis=1).mean())
    return Outcome(subject.name, *times, rotation_angle(found, subject.truth), displacement, registration), placed


def report_faces(outcomes: list[Outcome]) -> None:
    total = len(outcomes)
    right = [outcome for outcome in outcomes if outcome.right]
    refused = [outcome for outcome in outcomes if outcome.registration is None]
    accepted_wrong = [outcome for outcome in outcomes if outcome.registration is not None and not outcome.right]
    print(f"faces: {total} poses; right {len(right)} ({100 * len(right) / total:.2f} %); refused {len(refused)}; "
          f"wrong and accepted {len(accepted_wrong)}")  # fmt: skip
    doubtful = sum(outcome.registration.verdict == "doubtful" for outcome in right if outcome.registration)
    print(f"  of the right ones called doubtful: {doubtful}")
    for outcome in [*accepted_wrong, *refused][:20]:
        found = outcome.registration
        print(f"  not right: {outcome.name} {outcome.degrees:.1f} deg {outcome.displacement_mm:.1f} mm "
              f"{found.verdict if found else 'refused'} {found.score if found else float('nan'):.2f}")  # fmt: skip
    if right:
        for label, values in (
            ("landmark displacement, mm", [outcome.displacement_mm for outcome in right]),
            ("rotation error, degrees", [outcome.degrees for outcome in right]),
            ("score", [outcome.registration.score for outcome in right if outcome.registration]),
        ):
            low, middle, high, top = np.percentile(values, [5, 50, 95, 100])
            print(f"  {label}: 5th {low:.2f}, median {middle:.2f}, 95th {high:.2f}, largest {top:.2f}")
    for label, seconds in (
        ("seconds", [outcome.seconds for outcome in outcomes]),
        ("processor seconds (all threads)", [outcome.processor_seconds for outcome in outcomes]),
    ):
        print(f"  {label}: median {np.median(seconds):.3f}, 95th {np.percentile(seconds, 95):.3f}")
    attempts = Counter(outcome.registration.attempts for outcome in outcomes if outcome.registration)
    print(f"  searches needed: {dict(sorted(attempts.items()))}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of scans in LAFAS layout")
    parser.add_argument("--poses", type=int, default=200, help="number of random poses over all scans")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reference", type=Path, help="file with points, normals, extent (default: that of the bundle)"
    )
    parser.add_argument("--scans", type=int, default=0, help="use only the first so many scans")
    options = parser.parse_args()

    path = options.reference or bundled_models()[0] / "reference.safetensors"
    arrays = load_file(path)
    reference = Reference(arrays["points"], arrays["normals"], arrays["extent"])
    folders = sorted(path.parent for path in options.folder.glob("*/transformation_matrix.npy"))
    folders = folders[: options.scans or None]
    if not folders:
        parser.error(f"no scans with a transformation_matrix.npy in {options.folder}")
    generator = np.random.default_rng(options.seed)
    outcomes: list[Outcome] = []
    spreads: list[float] = []
    for number, folder in enumerate(folders):
        subject = load_subject(folder)
        if number == 0:  # once beforehand, so that what is computed once for a reference is not counted
            try_pose(subject, reference, np.eye(4), options.seed)
        placed = []
        for _ in range(number, options.poses, len(folders)):
            outcome, landmarks = try_pose(subject, reference, random_pose(generator), options.seed)
            outcomes.append(outcome)
            if landmarks is not None:
                placed.append(landmarks)
        if sys.stderr.isatty():
            print(f"\r{len(outcomes)} of {options.poses} poses", end="", file=sys.stderr)
        if len(placed) > 1:
            spreads.append(max(float(np.linalg.norm(other - placed[0], axis=1).max()) for other in placed[1:]))
    report_faces(outcomes)
    if spreads:
        print(f"  largest move of a landmark between poses of one scan, mm: median {np.median(spreads):.4f}, "
              f"largest {max(spreads):.4f} over {len(spreads)} scans")  # fmt: skip

    return 0


if __name__ == "__main__":
    raise SystemExit(main())
