"""How often the registration is right, how fast it is, and what it does with things that are no face.

Each scan of a folder (LAFAS layout: ``S0001/mesh.ply|obj``, ``landmarks.txt``, ``transformation_matrix.npy``) is turned
into random poses, uniform over all rotations, and rounded to float32 as a file would; the pose found is compared with
the true one. Objects without a face (solids, waves, vases, backs of the same heads, upside-down crops) must be refused.

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

from PALNetLandmarksLib.engine.reading import read_scan  # noqa: E402
from PALNetLandmarksLib.engine.registration import Reference, Registration, register  # noqa: E402
from PALNetLandmarksLib.engine.rigid import (  # noqa: E402
    apply_transform,
    random_rotation,
    rotation_angle,
)
from PALNetLandmarksLib.errors import RegistrationError  # noqa: E402
from PALNetLandmarksLib.landmark_files import read_landmarks  # noqa: E402
from PALNetLandmarksLib.resources import bundled_models  # noqa: E402

Array = NDArray[np.float64]
RIGHT_DEGREES, RIGHT_MM = 10.0, 10.0


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, mm."""

    vertices: Array
    triangles: NDArray[np.int64]

    def moved(self, transform: Array) -> Mesh:
        vertices = apply_transform(transform, self.vertices)
        return Mesh(vertices.astype(np.float32).astype(np.float64), self.triangles)

    def cut(self, kept: NDArray[np.bool_]) -> Mesh:
        triangles = self.triangles[kept[self.triangles].all(1)]
        used, index = np.unique(triangles, return_inverse=True)
        return Mesh(self.vertices[used], index.reshape(-1, 3))


@dataclass(frozen=True)
class Subject:
    name: str
    mesh: Mesh
    landmarks: Array
    truth: Array


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


def load_subject(folder: Path) -> Subject:
    mesh = next(path for path in sorted(folder.iterdir()) if path.name in ("mesh.ply", "mesh.obj"))
    scan = read_scan(mesh, unit="mm", texture=False)
    landmarks = np.asarray(read_landmarks(folder / "landmarks.txt").positions, dtype=np.float64)
    truth = np.load(folder / "transformation_matrix.npy", allow_pickle=False)
    return Subject(folder.name, Mesh(scan.vertices, scan.triangles), landmarks, truth)


def random_pose(generator: np.random.Generator) -> Array:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-500, 500, 3)
    return pose


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


def sphere_grid(rings: int = 90, sectors: int = 150) -> Mesh:
    """Unit sphere, open by one degree at the poles."""
    latitude = np.linspace(-0.99 * np.pi / 2, 0.99 * np.pi / 2, rings)[:, None]
    longitude = np.linspace(0.0, 2.0 * np.pi, sectors, endpoint=False)[None]
    shape = np.broadcast_arrays(
        np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    )
    row, column = np.meshgrid(np.arange(rings - 1) * sectors, np.arange(sectors), indexing="ij")
    a, b = (row + column).ravel(), (row + (column + 1) % sectors).ravel()
    triangles = np.concatenate([np.stack([a, b, b + sectors], 1), np.stack([a, b + sectors, a + sectors], 1)])
    return Mesh(np.stack([part.ravel() for part in shape], axis=1), triangles)


def waves(points: Array, generator: np.random.Generator, wavelength: float) -> Array:
    directions = generator.normal(size=(30, 3)) * (2.0 * np.pi / wavelength / np.sqrt(3.0))
    return np.sin(points @ directions.T + generator.uniform(0, 2 * np.pi, 30)).sum(1) / np.sqrt(15.0)


def no_face(kind: str, subject: Subject, generator: np.random.Generator) -> Mesh:
    """Make an object without a face."""
    ball = sphere_grid()
    unit = ball.vertices
    place = apply_transform(subject.truth, subject.mesh.vertices)
    ears = subject.landmarks[np.isfinite(subject.landmarks).all(1)]
    behind = apply_transform(subject.truth, ears)[:, 2].min()
    if kind == "sphere":
        return Mesh(unit * generator.uniform(60, 140), ball.triangles)
    if kind == "ellipsoid":
        return Mesh(unit * generator.uniform(50, 130, 3), ball.triangles)
    if kind == "cube":
        return Mesh(unit / np.abs(unit).max(1, keepdims=True) * generator.uniform(50, 110, 3), ball.triangles)
    if kind == "rough sphere":
        return Mesh(unit * (90.0 + 4.0 * waves(unit * 90.0, generator, 40.0)[:, None]), ball.triangles)
    if kind == "lump":
        return Mesh(unit * (90.0 + 14.0 * waves(unit * 90.0, generator, 120.0)[:, None]), ball.triangles)
    if kind == "vase":
        height = unit[:, 2]
        radius = (
            60.0 + 20.0 * np.sin(height * generator.uniform(2, 5) + generator.uniform(0, 6)) + 5 * np.sin(12 * height)
        )
        around = unit[:, :2] / np.linalg.norm(unit[:, :2], axis=1, keepdims=True)
        return Mesh(np.c_[around * radius[:, None], height * 130.0], ball.triangles)
    if kind == "hand":
        fingers = np.exp(3.0 * (np.cos(5.0 * np.arctan2(unit[:, 1], unit[:, 0])) - 1.0)) * (unit[:, 1] > -0.5)
        return Mesh(
            unit * [45, 50, 18] * (1.0 + 1.2 * fingers * np.hypot(unit[:, 0], unit[:, 1]))[:, None], ball.triangles
        )
    if kind == "inside-out face":
        return Mesh(subject.mesh.vertices, subject.mesh.triangles[:, ::-1].copy())
    if kind == "back of the head":
        return subject.mesh.cut(place[:, 2] < max(behind + 15.0, place[:, 2].min() + 40.0))
    if kind == "side of the head":
        return subject.mesh.cut((place[:, 0] > 40.0) & (place[:, 2] < -40.0))
    if kind == "below the chin":
        return subject.mesh.cut(place[:, 1] < -85.0)
    if kind == "above the brows":
        return subject.mesh.cut(place[:, 1] > 65.0)
    raise ValueError(kind)


NO_FACES = (
    "sphere", "ellipsoid", "cube", "rough sphere", "lump", "vase", "hand", "inside-out face", "back of the head",
    "side of the head", "below the chin", "above the brows",
)  # fmt: skip


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
    parser.add_argument("--no-faces", type=int, default=48, help="number of objects without a face")
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

    accepted: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    seconds = []
    for number in range(options.no_faces):
        kind = NO_FACES[number % len(NO_FACES)]
        subject = load_subject(folders[(number // len(NO_FACES) + number) % len(folders)])
        mesh = no_face(kind, subject, generator)
        if len(mesh.triangles) < 500:
            continue
        tried[kind] += 1
        began = time.perf_counter()
        try:
            found = register(mesh.moved(random_pose(generator)), reference, seed=options.seed)
            accepted[kind] += 1
            print(f"  accepted: {kind} of {subject.name} {found.verdict} {found.score:.2f} fitness {found.fitness:.2f}")
        except RegistrationError:
            pass
        seconds.append(time.perf_counter() - began)
    if tried:
        total = sum(tried.values())
        print(f"no face: {total} objects; refused {total - sum(accepted.values())} "
              f"({100 * (1 - sum(accepted.values()) / total):.1f} %); median {np.median(seconds):.2f} s")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
