"""The engine process, spoken to as 3D Slicer does it: one real, warm process for the whole file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.scan import Scan
from PALNetLandmarksLib.engine.worker import PROTOCOL, Worker
from PALNetLandmarksLib.engine.worker_channel import LONGEST_REQUEST, Channel
from PALNetLandmarksLib.engine.worker_scan import take_mesh
from PALNetLandmarksLib.engine.worker_tasks import ears_in_view, guess_unit
from PALNetLandmarksLib.errors import CancelledError, InputError
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.resources import sample_scans
from Testing.worker_line import WorkerLine

LIBRARY = Path(__file__).resolve().parents[2] / "PALNetLandmarks"


class Engine(WorkerLine):
    """A worker process and what it said."""

    def __init__(self, folder: Path, *arguments: str, code: str = "") -> None:
        command = [sys.executable, "-c", code] if code else [sys.executable, "-m", *arguments]
        self.errors = open(folder / "stderr.txt", "wb")  # noqa: SIM115
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        )
        self._folder = folder
        super().__init__(process)

    def next(self, *kinds: str, number: Any = ..., seconds: float = 30.0) -> dict[str, Any]:
        """Wait for the next event of some kinds, and of a request if its number is given."""
        limit = time.monotonic() + seconds
        while True:
            event = self.events.get(timeout=max(limit - time.monotonic(), 0.01))
            assert event is not None, "the worker ended"
            if event["event"] in kinds and number in (..., event["id"]):
                return event

    def ask(self, command: str, **facts: Any) -> dict[str, Any]:
        number = self.send(command, **facts)
        return self.next("result", "error", "ready", number=number)

    def mesh(self, vertices: np.ndarray, triangles: np.ndarray) -> str:
        path = self._folder / f"mesh{self._number}.npz"
        corners = np.array(triangles, np.int32, order="C")
        np.savez(path, vertices=np.array(vertices, float, order="C"), triangles=corners)
        return str(path)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(10)
        self.errors.close()
        return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("Mühe und Not") / "palnet-engine-test"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    engine = Engine(folder, "PALNetLandmarksLib.engine.worker")
    yield engine
    if engine.process.poll() is None:
        engine.end()


@pytest.fixture(scope="module")
def scan() -> Scan:
    return read_scan(sample_scans()[0], texture=False)


def test_hello_is_answered_before_anything_heavy_is_loaded(engine: Engine) -> None:
    ready = engine.ask("hello")
    assert ready["event"] == "ready"
    assert (ready["protocol"], ready["software_version"]) == (PROTOCOL, __version__)
    assert ready["packages"]["torch"].startswith("2.")
    assert ready["own_group"] is (os.name == "posix")
    assert psutil.Process(ready["pid"]).memory_info().rss < 100e6


def test_warming_up_names_the_devices(engine: Engine) -> None:
    result = engine.ask("warm")
    assert result["event"] == "result", result
    assert "cpu" in result["devices"]


def test_a_prediction_is_that_of_the_command_line(engine: Engine, scan: Scan, tmp_path: Path) -> None:
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor

    mesh = engine.mesh(scan.vertices, scan.triangles)
    number = engine.send("predict", mesh=mesh)
    stages = []
    while True:
        event = engine.next("progress", "result", "error", number=number)
        if event["event"] != "progress":
            break
        stages.append(event["stage"])
    assert event["event"] == "result", event
    assert [s for i, s in enumerate(stages) if s not in stages[:i]] == [
        "reading", "loading", "registration", "patches", "network", "projection", "done",
    ]  # fmt: skip
    assert not Path(mesh).exists()
    expected = Predictor(load_bundle()).predict(scan).landmarks
    found = np.array([[np.nan] * 3 if row is None else row for row in event["positions"]])
    assert tuple(event["labels"]) == expected.protocol.labels
    np.testing.assert_allclose(found, expected.positions, atol=1e-3)  # the meshes' vertices differ in their order
    assert event["provenance"]["model_id"] == expected.provenance["model_id"]
    assert event["registration"]["verdict"] == "good"
    # Full precision: the text of every number gives back the same bits.
    assert json.loads(json.dumps(event["positions"])) == event["positions"]
    assert any(len(repr(x)) > 12 for row in event["positions"] if row for x in row)


def test_missing_landmarks_are_null_not_zero(engine: Engine, scan: Scan) -> None:
    whole = engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles))
    in_reference = np.asarray(whole["scan_to_reference"])
    placed = scan.vertices @ in_reference[:3, :3].T + in_reference[:3, 3]
    # Without everything on the subject's left of the cheek: no left ear.
    kept = (placed[:, 0] < 45.0)[scan.triangles].all(axis=1)
    result = engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles[kept]))
    assert result["event"] == "result", result
    place = result["labels"].index("T_L")
    assert result["positions"][place] is None and result["status"][place] == "missing"
    assert result["expected_error_mm"][place] is None
    checked = engine.ask("check", mesh=engine.mesh(scan.vertices, scan.triangles[kept]))
    assert checked["ears"]["left"]["seen"] == 0 and checked["ears"]["right"]["seen"] == checked["ears"]["right"]["of"]
    assert "The left ear is not in view: its landmarks will stay empty." in checked["sentences"]


@pytest.mark.parametrize(("scale", "unit", "factor"), [(1.0, "mm", 1.0), (0.1, "cm", 10.0), (0.001, "m", 1000.0)])
def test_check_tells_the_unit_and_finds_the_face(
    engine: Engine, scan: Scan, scale: float, unit: str, factor: float
) -> None:
    result = engine.ask("check", mesh=engine.mesh(scan.vertices * scale, scan.triangles))
    assert (result["unit"], result["factor"]) == (unit, factor)
    assert result["registration"]["verdict"] == "good"
    assert result["ears"] == {"right": {"seen": 5, "of": 5}, "left": {"seen": 5, "of": 5}}
    assert result["facts"]["vertices"] == len(scan.vertices)
    assert any("Convert it" in text for text in result["sentences"]) is (unit != "mm")
    assert not any("--unit" in text or "texture" in text for text in result["sentences"])


def test_check_of_a_size_that_fits_two_units(engine: Engine, scan: Scan) -> None:
    result = engine.ask("check", mesh=engine.mesh(scan.vertices * 0.04, scan.triangles))  # 17: cm or inches
    assert (result["unit"], result["factor"]) == (None, None)
    assert set(result["possible_units"]) == {"cm", "in"}
    assert result["registration"]["verdict"] == "unknown"


def test_a_prediction_refuses_other_units(engine: Engine, scan: Scan) -> None:
    for scale in (0.1, 0.001, 0.04):
        error = engine.ask("predict", mesh=engine.mesh(scan.vertices * scale, scan.triangles))
        assert (error["event"], error["code"]) == ("error", "scan.not_mm")
        assert "Convert to millimetres" in error["hint"]


def test_no_face_is_an_error_with_a_code(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 80), np.linspace(0, np.pi, 40))
    radius = 100.0 + rng.normal(0, 0.1, u.shape)
    points = np.stack([radius * np.cos(u) * np.sin(v), radius * np.sin(u) * np.sin(v), radius * np.cos(v)], -1)
    at = np.arange(u.size).reshape(u.shape)
    quads = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    mesh = engine.mesh(points.reshape(-1, 3), triangles)
    error = engine.ask("predict", mesh=mesh)
    assert (error["event"], error["code"]) == ("error", "registration.no_face")
    checked = engine.ask("check", mesh=engine.mesh(points.reshape(-1, 3), triangles))
    assert checked["registration"]["verdict"] == "refused"
    assert checked["ears"] == {"right": None, "left": None}


def test_picked_points_are_a_start(engine: Engine, scan: Scan) -> None:
    first = engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles))
    chosen = [first["labels"].index(label) for label in ("Prn", "Ex_R", "Ex_L")]
    initial = {"labels": ["Prn", "Ex_R", "Ex_L"], "positions": [first["positions"][i] for i in chosen]}
    result = engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles), initial=initial)
    assert result["registration"]["attempts"] == 0
    nothing: dict[str, Any] = {"labels": [], "positions": []}
    few = engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles), initial=nothing)
    assert few["code"] == "initial.few"


def test_models_are_described_and_a_users_own_one_is_checked(engine: Engine, tmp_path: Path) -> None:
    listed = engine.ask("models")["models"]
    assert listed[0]["default"] and listed[0]["id"] == "face50-simulated-2"
    assert "Research use only" in listed[0]["card"]
    own = engine.ask("models", model=listed[0]["path"])["models"]
    assert own[0]["id"] == "face50-simulated-2"
    assert engine.ask("models", model=str(tmp_path))["event"] == "error"


def test_cancel_ends_a_prediction_and_a_waiting_one(engine: Engine, scan: Scan) -> None:
    number = engine.send("predict", mesh=engine.mesh(scan.vertices, scan.triangles))
    engine.next("progress", number=number)
    asked = time.monotonic()
    engine.send("cancel", target=number)
    error = engine.next("error", "result", number=number)
    assert error["code"] == "cancelled"
    assert time.monotonic() - asked < 2.0
    # Behind something else: it is answered without waiting for that.
    first = engine.send("warm")
    mesh = engine.mesh(scan.vertices, scan.triangles)
    number = engine.send("predict", mesh=mesh)
    engine.send("cancel", target=number)
    answers = [engine.next("error", "result")]
    while answers[-1]["id"] != first:  # answers to both cancels come among them
        answers.append(engine.next("error", "result"))
    order = [answer["id"] for answer in answers]
    assert number in order
    assert answers[order.index(number)]["code"] == "cancelled"
    assert not Path(mesh).exists()
    engine.send("cancel", target=12345)
    assert engine.next("result", number=engine._number)["cancelled"] is False


def test_a_second_prediction_at_the_same_time_is_refused(engine: Engine, scan: Scan) -> None:
    first = engine.send("predict", mesh=engine.mesh(scan.vertices, scan.triangles))
    second = engine.send("predict", mesh=engine.mesh(scan.vertices, scan.triangles))
    assert engine.next("error", number=second)["code"] == "engine.busy"
    assert engine.next("result", "error", number=first)["event"] == "result"


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"garbage\n", "protocol.json"),
        (b"\xff\xfe\x00\n", "protocol.json"),
        (b"[1, 2]\n", "protocol.command"),
        (b"{}\n", "protocol.command"),
        (b'{"command": "fly", "id": 1000}\n', "protocol.command"),
        (b'{"command": "predict"}\n', "protocol.id"),
        (b'{"command": "hello", "id": [1]}\n', "protocol.id"),
        (b"[" * 100_000 + b"\n", "protocol.json"),
        (b'{"command": "' + b"x" * (LONGEST_REQUEST * 2) + b'"}\n', "protocol.too_long"),
        (b'{"command": "predict", "id": "p", "mesh": 5}\n', "protocol.value"),
        (b'{"command": "predict", "id": "p", "mesh": "/etc/passwd"}\n', "scan.transfer"),
        (b'{"command": "warm", "id": "w", "device": "toaster"}\n', "device.name"),
        (b'{"command": "warm", "id": "w", "model": "/nowhere"}\n', "bundle.missing"),
    ],
)
def test_garbage_is_answered_and_survived(engine: Engine, garbage: bytes, code: str) -> None:
    engine.raw(garbage)
    assert engine.next("error")["code"] == code
    assert engine.ask("hello")["event"] == "ready"


def test_nothing_but_events_reaches_standard_output(engine: Engine, folder: Path) -> None:
    assert all(set(json.loads(line)) >= {"id", "event"} for line in engine.lines)
    assert b"Traceback" not in b"".join(engine.lines)
    assert b"Traceback" not in (folder / "stderr.txt").read_bytes()


def test_signs_of_life_come_while_it_rests(engine: Engine) -> None:
    assert engine.next("alive", seconds=3.0)["busy"] is False


def test_it_ends_with_its_input(engine: Engine) -> None:
    """The last test of the shared process."""
    began = time.monotonic()
    assert engine.end() == 0
    assert time.monotonic() - began < 2.0


def test_prints_of_libraries_do_not_reach_standard_output(folder: Path) -> None:
    code = (
        "import os, sys\n"
        "from PALNetLandmarksLib.engine import worker\n"
        "versions = worker._versions\n"
        "def noisy():\n"
        "    print('python noise', flush=True); os.write(1, b'c noise\\n'); os.system('echo child noise')\n"
        "    print(sys.stdin.read()); os.system('cat')\n"
        "    return versions()\n"
        "worker._versions = noisy\n"
        "worker.main()\n"
    )
    engine = Engine(folder, code=code)
    assert engine.ask("hello")["event"] == "ready"
    assert engine.end() == 0
    assert (folder / "stderr.txt").read_bytes().count(b"noise") == 3


def test_the_command_line_has_it_too(folder: Path) -> None:
    engine = Engine(folder, "PALNetLandmarksLib.engine.cli", "worker")
    assert engine.ask("hello")["event"] == "ready"
    engine.send("shutdown")
    assert engine.process.wait(5) == 0


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_children_end_with_it(folder: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "from PALNetLandmarksLib.engine import worker\n"
        "versions = worker._versions\n"
        "def child():\n"
        "    p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    return {**versions(), 'child': p.pid}\n"
        "worker._versions = child\n"
        "worker.main()\n"
    )
    engine = Engine(folder, code=code)
    child = psutil.Process(engine.ask("hello")["child"])
    assert engine.end() == 0
    gone, alive = psutil.wait_procs([child], timeout=3)
    assert not alive


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_it_ends_when_its_parent_dies_though_the_line_stays_open(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'PALNetLandmarksLib.engine.worker'], stdin=0,\n"
        "                     stdout=subprocess.DEVNULL)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(1.5)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # The line of requests is ours and stays open; the parent kills itself.
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
    )
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    assert parent.wait(5) == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    parent.stdin.close()  # type: ignore[union-attr]


# --- parts, without a process


class TestMeshFiles:
    @pytest.fixture
    def box(self, tmp_path: Path) -> Path:
        path = tmp_path / "palnet-engine-1"
        path.mkdir()
        return path

    def save(self, path: Path, **arrays: Any) -> str:
        np.savez(path, **arrays)
        return str(path)

    def test_a_mesh_comes_through_and_its_file_is_gone(self, box: Path) -> None:
        vertices, triangles = np.random.default_rng(1).random((5, 3)), np.array([[0, 1, 2], [2, 3, 4]], np.int32)
        path = self.save(box / "a.npz", vertices=vertices, triangles=triangles)
        got = take_mesh(path)
        np.testing.assert_array_equal(got[0], vertices)
        np.testing.assert_array_equal(got[1], triangles)
        assert not Path(path).exists()

    @pytest.mark.parametrize(
        "arrays",
        [
            {"vertices": np.zeros((4, 3))},
            {"vertices": np.zeros((4, 3)), "triangles": np.zeros((1, 3), np.int64)},
            {"vertices": np.zeros((4, 2)), "triangles": np.zeros((1, 3), np.int32)},
            {"vertices": np.zeros((4, 3), np.float32), "triangles": np.zeros((1, 3), np.int32)},
            {"vertices": np.array([[None]]), "triangles": np.zeros((1, 3), np.int32)},
            {"vertices": np.asfortranarray(np.zeros((4, 3))), "triangles": np.zeros((1, 3), np.int32)},
            {"vertices": np.zeros((4, 3)), "triangles": np.zeros((1, 3), np.int32), "more": np.zeros(3)},
        ],
    )
    def test_anything_else_is_refused_and_deleted(self, box: Path, arrays: dict[str, Any]) -> None:
        path = self.save(box / "a.npz", **arrays)
        with pytest.raises(InputError) as caught:
            take_mesh(path)
        assert caught.value.code == "scan.transfer"
        assert not Path(path).exists()

    def test_a_header_that_promises_more_than_there_is(self, box: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
        )
        with zipfile.ZipFile(box / "a.npz", "w") as archive:
            archive.writestr("vertices.npy", header.getvalue() + bytes(48))
            archive.writestr("triangles.npy", header.getvalue())
        with pytest.raises(InputError):
            take_mesh(str(box / "a.npz"))

    def test_a_compressed_file_and_no_archive(self, box: Path) -> None:
        np.savez_compressed(box / "a.npz", vertices=np.zeros((10**6, 3)), triangles=np.zeros((1, 3), np.int32))
        (box / "b.npz").write_bytes(b"PK\x03\x04 nothing")
        for name in ("a.npz", "b.npz", "absent.npz"):
            with pytest.raises(InputError):
                take_mesh(str(box / name))

    def test_files_elsewhere_are_neither_read_nor_deleted(self, tmp_path: Path, box: Path) -> None:
        elsewhere = self.save(tmp_path / "a.npz", vertices=np.zeros((4, 3)), triangles=np.zeros((1, 3), np.int32))
        (box / "link.npz").symlink_to(elsewhere)
        for path in (elsewhere, str(box / "link.npz")):
            with pytest.raises(InputError):
                take_mesh(path)
        assert Path(elsewhere).exists()


def test_not_finite_numbers_become_null() -> None:
    sink = io.BytesIO()
    Channel(io.BytesIO(), sink).send("result", 1, a=float("nan"), b=np.array([1.0, np.inf]), c=0.1 + 0.2)
    assert json.loads(sink.getvalue()) == {"id": 1, "event": "result", "a": None, "b": [1.0, None], "c": 0.1 + 0.2}


@pytest.mark.parametrize(
    ("size", "unit", "possible"),
    [(200.0, "mm", ["mm"]), (0.2, "m", ["m"]), (20.0, None, ["cm", "in"]), (7.5, "in", ["in"]), (70.0, None, [])],
)
def test_guessing_units(size: float, unit: str | None, possible: list[str]) -> None:
    found = guess_unit(size)
    assert found[0] == unit and sorted(found[2]) == possible


def test_ears_are_counted_by_side() -> None:
    from PALNetLandmarksLib.landmarks import LandmarkSet

    protocol = load_protocol()
    positions = np.ones((50, 3))
    positions[protocol.index("T_R")] = np.nan
    assert ears_in_view(LandmarkSet.from_positions(protocol, positions)) == {
        "right": {"seen": 4, "of": 5},
        "left": {"seen": 5, "of": 5},
    }


class _Gate:
    """A shelf whose predictor raises what a test wants."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def predictor(self, model: str, device: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "device.memory"),
        (ZeroDivisionError("secret"), "internal"),
        (ModuleNotFoundError("no torch", name="torch"), "engine.package"),
        (CancelledError("x", code="cancelled"), "cancelled"),
    ],
)
def test_errors_have_codes_and_no_traceback(
    error: BaseException, code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "palnet-engine-x"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "m.npz", vertices=rng.random((30, 3)), triangles=np.arange(30, dtype=np.int32).reshape(10, 3))
    sink = io.BytesIO()
    worker = Worker(Channel(io.BytesIO(), sink), _Gate(error))
    worker._take({"id": 1, "command": "predict", "mesh": str(folder / "m.npz")})
    worker._do(worker._waiting.get())
    worker._answer()
    last = json.loads(sink.getvalue().splitlines()[-1])
    assert (last["event"], last["code"]) == ("error", code)
    assert "secret" not in sink.getvalue().decode() and "Traceback" not in sink.getvalue().decode()
    assert ("Traceback" in capfd.readouterr().err) is (code == "internal")


@pytest.mark.slow
def test_memory_stays_flat_over_50_predictions(tmp_path: Path, scan: Scan) -> None:
    folder = tmp_path / "palnet-engine-memory"
    folder.mkdir()
    engine = Engine(folder, "PALNetLandmarksLib.engine.worker")
    process = psutil.Process(engine.ask("hello")["pid"])
    engine.ask("warm")
    sizes = []
    for _ in range(50):
        assert engine.ask("predict", mesh=engine.mesh(scan.vertices, scan.triangles))["event"] == "result"
        sizes.append(process.memory_info().rss / 1e6)
    print(f"memory: {sizes[0]:.0f} MB after the first, {sizes[-1]:.0f} MB after the last, at most {max(sizes):.0f} MB")
    assert engine.end() == 0
    assert sizes[-1] - sizes[0] <= 50.0


def test_a_scan_file_of_the_command_line_is_not_touched(tmp_path: Path, scan: Scan) -> None:
    path = tmp_path / "scan.ply"
    write_mesh(path, scan.vertices, scan.triangles)
    with pytest.raises(InputError):
        take_mesh(str(path))
    assert path.exists()
