"""What the trials share: small scans, processes of the real program, and outputs in a form that can be compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import random_rotation
from PALNetLandmarksLib.landmark_files import read_landmarks
from PALNetLandmarksLib.resources import resources_dir, sample_scans
from Testing.unit.annotated_faces import thinned
from Testing.worker_line import WorkerLine

PROJECT = Path(__file__).resolve().parents[2]
#: Seconds after which a process counts as hanging; the machine may be busy.
HANGS = 240.0
_SAMPLE = resources_dir() / "SampleData" / "face01"
#: What differs between two runs that did the same: moments, durations and memory.
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_TIMED_COLUMNS = ("seconds", "memory_mb", "finished_utc")


@dataclass
class Outcome:
    """How the trials of one fault went."""

    fault: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    remark: str = ""

    def count(self, problems: Sequence[str], moment: str = "") -> None:
        """Count one trial; it is survived when there are no problems."""
        self.tried += 1
        self.failures.extend(f"{moment}: {problem}" if moment else problem for problem in problems[:3])
        self._bad = getattr(self, "_bad", 0) + bool(problems)

    @property
    def survived(self) -> int:
        """Trials without a problem."""
        return self.tried - getattr(self, "_bad", 0)


def write_scans(folder: Path, count: int, seed: int = 3) -> None:
    """Write the sample face in several positions, thinned so that it is read in a moment."""
    scan = read_scan(_SAMPLE / "mesh.ply", "mm")
    vertices, triangles = thinned(scan.vertices, scan.triangles, 6.0)
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        moved = vertices @ random_rotation(rng).T + rng.normal(0.0, 30.0, 3)
        write_mesh(folder / f"S{number}.ply", moved, triangles)


def write_training_set(folder: Path, count: int) -> None:
    """Write annotated scans in LAFAS layout."""
    scan = read_scan(_SAMPLE / "mesh.ply", "mm")
    vertices, triangles = thinned(scan.vertices, scan.triangles, 6.0)
    landmarks = read_landmarks(_SAMPLE / "landmarks.txt")
    for number in range(1, count + 1):
        place = folder / f"S{number}"
        place.mkdir(parents=True)
        scale = 1.0 + 0.01 * number
        write_mesh(place / "mesh.ply", vertices * scale, triangles)
        pairs = zip(landmarks.protocol.labels, np.array(landmarks.positions) * scale, strict=True)
        rows = [f"{label}\t({x:.5f},{y:.5f},{z:.5f})" for label, (x, y, z) in pairs]
        (place / "landmarks.txt").write_text("\n".join(["landmark names", *rows]) + "\n", encoding="utf-8")
        visible = json.loads((_SAMPLE / "meta.json").read_text(encoding="utf-8"))["visible"]
        (place / "meta.json").write_text(json.dumps({"visible": visible}), encoding="utf-8")


def environment(**further: str) -> dict[str, str]:
    """Return the environment for a process of the program, one thread each so that results are the same bits."""
    path = os.pathsep.join([str(PROJECT / "PALNetLandmarks"), str(PROJECT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **further}


def batch_words(scans: Path, output: Path, *further: str) -> list[str]:
    """Return the command for a batch."""
    return [sys.executable, "-m", "PALNetLandmarksLib.engine.cli", "batch", str(scans), "--output", str(output),
            "--device", "cpu", *further]  # fmt: skip


def training_words(data: Path, run: Path, epochs: int) -> list[str]:
    """Return the command for a training of a tiny network."""
    tiny = json.dumps({"points": 16, "width": 20, "layers": 1})
    reference = sorted((resources_dir() / "Models").glob("*/reference.safetensors"))[0]
    return [sys.executable, "-m", "training_tools", "train", "--data", str(data), "--run", str(run),
            "--reference", str(reference), "--workers", "0", "--device", "cpu", "--parameters", tiny,
            "--test-share", "0", "--epochs", str(epochs)]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    errors: str
    seconds: float

    def problems(self, codes: Sequence[int]) -> list[str]:
        """Say what is wrong with this end: another exit code, a traceback, a fault of ours, no words for an error."""
        found = [] if self.code in codes else [f"exit code {self.code}, not {codes}: {self.errors[-200:]!r}"]
        if "Traceback" in self.errors:
            found.append(f"a traceback: {self.errors[-300:]!r}")
        if re.search("failed unexpectedly|Unexpected error", self.errors):
            found.append(f"a fault of the program itself: {self.errors[-300:]!r}")
        if self.code and self.code in codes and not self.errors.strip():
            found.append("an error without words")
        return found


def start(words: Sequence[str], environment_: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start a process as the leader of a group of its own."""
    return subprocess.Popen(
        words, env=environment_ or environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **options,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process; one that hangs is killed and has the code -9."""
    started = time.monotonic()
    try:
        _, errors = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        errors += " HANGS"
    return Ended(process.returncode, errors, time.monotonic() - started)


def run(words: Sequence[str], **options: Any) -> Ended:
    """Run a command to its end."""
    return finish(start(words, **options))


def alive_in_group(group: int) -> list[int]:
    """Return the processes of a group that still run (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(place.name))
    return found


def end_group(group: int, seconds: float = 10.0) -> list[int]:
    """Give the processes of a group time to end by themselves; kills and returns those that did not."""
    limit = time.monotonic() + seconds
    while (left := alive_in_group(group)) and time.monotonic() < limit:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


def contents(folder: Path) -> dict[str, str]:
    """Return the outputs in a folder as text that two runs of the same have in common, by name.

    Moments, durations and memory are left out, and so are logs, which tell of the interruption itself. Everything else
    counts: a file too many, hidden ones too, is seen.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.suffix == ".log":
            continue
        if path.suffix == ".safetensors":
            found[name] = _tensors(path)
            continue
        text = path.read_bytes().decode("utf-8", "backslashreplace")
        if path.name.endswith(".manifest.json"):
            text = _manifest(path)
        found[name] = _TIMES.sub("UTC", _without_columns(text) if path.suffix == ".csv" else text)
    return found


def _tensors(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        state = json.loads((file.metadata() or {}).get("state", "{}"))
        state.pop("seconds", None)
        for row in state.get("history", []):
            for name in _TIMED_COLUMNS:
                row.pop(name, None)
        return repr([(key, file.get_tensor(key).tobytes()) for key in sorted(file.keys())]) + json.dumps(state)


def _manifest(path: Path) -> str:
    """Hold a manifest against the files that it lists, then leave out what the moments in them make different."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for export in data["exports"]:
        for row in export["files"]:
            right = hashlib.sha256((path.parent / row["name"]).read_bytes()).hexdigest() == row.pop("sha256")
            row["bytes"] = "right" if right else "another file's"
    return json.dumps(data)


def _without_columns(text: str) -> str:
    import csv

    rows = list(csv.reader(text.splitlines()))
    kept = [i for i, name in enumerate(rows[0]) if name not in _TIMED_COLUMNS] if rows else []
    return "\n".join(",".join(row[i] for i in kept if i < len(row)) for row in rows)


def differences(expected: Mapping[str, str], folder: Path) -> list[str]:
    """Say how the outputs in a folder differ from those of an undisturbed run."""
    found = contents(folder)
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is left behind" for name in found if name not in expected]
    problems += [f"{name} differs" for name in expected if name in found and found[name] != expected[name]]
    return problems


class Engine(WorkerLine):
    """A real engine process and a mesh folder for it, as 3D Slicer has them."""

    def __init__(self, folder: Path, *, environment_: Mapping[str, str] | None = None, before: Any = None) -> None:
        self.folder = folder / "palnet-engine-faults"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "engine.log"
        with open(self.log, "ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "PALNetLandmarksLib.engine.worker"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, env=environment_ or environment(), preexec_fn=before,
            )  # fmt: skip
        super().__init__(process)

    def answers(self, number: Any, seconds: float = HANGS) -> list[dict[str, Any]]:
        """Return the events of a request up to its answer; the last is ``ended`` when the process ended."""
        limit, found = time.monotonic() + seconds, []
        while True:
            try:
                event = self.events.get(timeout=max(limit - time.monotonic(), 0.01))
            except queue.Empty:
                return [*found, {"event": "silent"}]
            if event is None:
                return [*found, {"event": "ended"}]
            if event["id"] == number and event["event"] != "alive":
                found.append(event)
                if event["event"] in ("result", "error", "ready"):
                    return found

    def ask(self, command: str, **facts: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        return self.answers(self.send(command, **facts))[-1]

    def mesh(self, grid_mm: float = 6.0, copies: int = 1) -> str:
        """Write the sample scan for a request; several copies side by side make it large."""
        scan = read_scan(sample_scans()[0], "mm")
        vertices, triangles = thinned(scan.vertices, scan.triangles, grid_mm)
        place = self.folder / f"mesh{self._number}-{os.urandom(4).hex()}.npz"
        triangles = np.concatenate([triangles + number * len(vertices) for number in range(copies)])
        np.savez(place, vertices=np.tile(vertices, (copies, 1)), triangles=triangles.astype(np.int32))
        return str(place)

    def end(self) -> int:
        """Close the line and wait."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -999
