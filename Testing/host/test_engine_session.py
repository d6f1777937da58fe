"""The engine session over Qt's own QProcess, with the real worker and with ones that misbehave."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from engine_stand_ins import Answers, played_engine, real_engine

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.resources import sample_scans

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX's")


@pytest.fixture(scope="module")
def mesh(installed_host: Any) -> Any:
    from PALNetLandmarksLib.gui.mesh import Mesh

    scan = read_scan(sample_scans()[0], texture=False)
    return Mesh(scan.vertices, scan.triangles.astype(np.int32))


@pytest.fixture(scope="module")
def session(installed_host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session with the real engine, warm."""
    from slicer_host.user import wait_until

    from PALNetLandmarksLib.gui.engine_session import EngineSession

    folder = tmp_path_factory.mktemp("Schöne Grüße")
    session = EngineSession(real_engine(folder), temporary_folder=str(folder / "mit Leerzeichen"))
    session.start()
    wait_until(lambda: session.state in ("ready", "failed"), 60, "a warm engine")
    yield session
    session.cleanup()


@pytest.fixture
def played(host: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make sessions with an engine that plays a part; they are stopped afterwards."""
    from PALNetLandmarksLib.gui.engine_session import EngineSession, Limits

    made = []

    def make(code: str, *, whole: bool = False, launcher: bool = False, **limits: float) -> Any:
        environment = played_engine(tmp_path, code, whole=whole, launcher=launcher)
        made.append(EngineSession(environment, temporary_folder=str(tmp_path / "temporary"), limits=Limits(**limits)))
        return made[-1]

    yield make
    for session in made:
        session.cleanup()


def small() -> Any:
    from PALNetLandmarksLib.gui.mesh import Mesh

    return Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32))


# --- the real engine


def test_a_prediction_comes_back_whole_and_the_interface_never_stands_still(
    host: Any, session: Any, mesh: Any, wait_until: Any, ui_blocking: Any
) -> None:
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor
    from PALNetLandmarksLib.engine.reading import scan_from_arrays

    answers = Answers()
    began = time.perf_counter()
    with ui_blocking:
        session.predict(mesh, on_progress=answers.progress, **answers.functions)
        wait_until(answers.done, 30, "the landmarks")
    print(f"round trip {time.perf_counter() - began:.2f} s, longest pause {1000 * ui_blocking.longest:.0f} ms")
    assert not answers.failures, answers.failures
    assert ui_blocking.longest_work < 0.05
    assert session.state == "ready"
    result = answers.results[0]
    expected = Predictor(load_bundle()).predict(scan_from_arrays(mesh.vertices, mesh.triangles))
    np.testing.assert_array_equal(result.landmarks.positions, expected.landmarks.positions)
    np.testing.assert_array_equal(result.landmarks.expected_error_mm, expected.landmarks.expected_error_mm)
    assert result.landmarks.status == expected.landmarks.status
    assert result.landmarks.protocol is session.protocol
    assert result.landmarks.coordinate_system == "LPS"
    assert result.landmarks.provenance["model_id"] == "face50-simulated-2"
    assert result.scan_to_reference.shape == (4, 4)
    assert result.registration["verdict"] == "good"
    stages = [stage for stage, _ in answers.stages]
    assert stages.index("registration") < stages.index("patches") < stages.index("network") < stages.index("projection")
    assert os.listdir(session._folder.path) == ["in-use"]


def test_picked_points_start_the_prediction(host: Any, session: Any, mesh: Any, wait_until: Any) -> None:
    answers = Answers()
    session.predict(mesh, **answers.functions)
    wait_until(answers.done, 30, "the landmarks")
    first = answers.results[0].landmarks
    from dataclasses import replace

    keep = [label in ("Prn", "Ex_R", "Ex_L") for label in first.protocol.labels]
    initial = replace(
        first,
        positions=np.where(np.array(keep)[:, None], first.positions, np.nan),
        status=tuple("placed" if kept else "missing" for kept in keep),
    ).in_coordinate_system("RAS")
    again = Answers()
    session.predict(mesh, initial=initial, **again.functions)
    wait_until(again.done, 30, "the landmarks")
    assert again.results[0].registration["attempts"] == 0
    assert np.nanmax(np.linalg.norm(again.results[0].landmarks.positions - first.positions, axis=1)) < 2.0


def test_check_and_models(host: Any, session: Any, mesh: Any, wait_until: Any) -> None:
    from PALNetLandmarksLib.gui.mesh import Mesh

    found, models, own = Answers(), Answers(), Answers()
    session.check(Mesh(mesh.vertices * 0.1, mesh.triangles), **found.functions)
    session.models(**models.functions)
    session.models(model="/nowhere", **own.functions)
    wait_until(lambda: own.done(), 30, "answers, one after the other")
    assert found.results[0]["unit"] == "cm" and found.results[0]["factor"] == 10.0
    assert models.results[0][0]["default"]
    assert own.code == "bundle.missing"
    assert "--model" not in str(own.failures[0])


def test_another_unit_is_refused_with_the_buttons_name(host: Any, session: Any, mesh: Any, wait_until: Any) -> None:
    from PALNetLandmarksLib.gui.mesh import Mesh

    answers = Answers()
    session.predict(Mesh(mesh.vertices * 0.001, mesh.triangles), **answers.functions)
    wait_until(answers.done, 30, "the refusal")
    assert answers.code == "scan.not_mm"
    assert "Convert to millimetres" in answers.failures[0].hint


@pytest.mark.parametrize("stage", ["", "reading", "registration", "patches", "network", "projection"])
def test_cancel_in_each_stage(host: Any, session: Any, mesh: Any, wait_until: Any, stage: str) -> None:
    answers = Answers()
    asked: list[float] = []

    def progress(now: str, _fraction: float) -> None:
        if now == stage and not asked:
            asked.append(time.perf_counter())
            job.cancel()

    job = session.predict(mesh, on_progress=progress, **answers.functions)
    if not stage:
        asked.append(time.perf_counter())
        job.cancel()
        job.cancel()
    wait_until(answers.done, 30, "the end")
    took = time.perf_counter() - asked[0]
    print(f"cancelled in {stage or 'line'}: {took:.2f} s")
    assert answers.code == "cancelled"
    assert took < 2.0
    after = Answers()
    session.predict(mesh, **after.functions)
    wait_until(after.done, 30, "the next prediction")
    assert after.results


@POSIX
def test_a_killed_engine_is_noticed_and_started_again(host: Any, session: Any, mesh: Any, wait_until: Any) -> None:
    answers, waiting = Answers(), Answers()
    states: list[str] = []
    session.state_changed.connect(lambda state, _text: states.append(state))

    def progress(stage: str, _fraction: float) -> None:
        if stage == "registration":
            os.kill(session.facts["pid"], signal.SIGKILL)

    session.predict(mesh, on_progress=progress, **answers.functions)
    session.predict(mesh, **waiting.functions)  # in line: it goes to the next engine
    wait_until(answers.done, 30, "the failure")
    began = time.perf_counter()
    assert answers.code == "engine.lost"
    assert answers.failures[0].hint
    wait_until(waiting.done, 60, "the prediction by a fresh engine")
    print(f"from the crash to landmarks by a fresh engine: {time.perf_counter() - began:.2f} s")
    assert waiting.results
    assert [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]][:4] == [
        "busy", "failed", "starting", "busy",
    ]  # fmt: skip
    wait_until(lambda: session.state == "ready", 30, "a warm engine")


def test_stop_leaves_no_process_and_no_folder(host: Any, session: Any, mesh: Any, wait_until: Any) -> None:
    """The last test with the real engine."""
    process = psutil.Process(session.facts["pid"])
    folder = session._folder.path
    answers = Answers()
    session.predict(mesh, on_progress=answers.progress, **answers.functions)
    wait_until(lambda: answers.stages, 30, "the beginning")
    began = time.perf_counter()
    session.stop()
    assert time.perf_counter() - began < 1.0
    assert answers.code == "cancelled"
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not folder.exists()
    assert session.state == "off"


# --- engines that misbehave


def test_half_lines_several_lines_and_noise(played: Any, wait_until: Any) -> None:
    session = played(
        """
        def behave(request):
            first = {"id": request["id"], "event": "progress", "stage": "a", "fraction": 0.5}
            second = {"id": request["id"], "event": "result", "models": [{"id": "Müller" * 50}]}
            data = "".join(json.dumps(event, ensure_ascii=False) + "\\n" for event in (first, second)).encode()
            sys.stdout.write("a library says hello\\n"); sys.stdout.flush()
            for i in range(0, len(data), 7):
                sys.stdout.buffer.write(data[i:i + 7]); sys.stdout.buffer.flush(); time.sleep(0.0005)
            print("ein Ärger", file=sys.stderr, flush=True)
        """
    )
    answers, lines = Answers(), []
    session.log_line.connect(lines.append)
    session.models(**answers.functions)
    wait_until(answers.done, 10, "the models")
    assert answers.results == [[{"id": "Müller" * 50}]]
    wait_until(lambda: len(lines) == 2, 5, "the log")
    assert sorted(lines) == ["a library says hello", "ein Ärger"]
    assert list(session.log) == lines


def test_cancel_of_an_engine_that_does_not_listen(played: Any, wait_until: Any) -> None:
    session = played("beat()\ndef behave(request): time.sleep(60)")
    answers = Answers()
    job = session.predict(small(), **answers.functions)
    wait_until(lambda: session.state == "busy" and job.number, 10, "work")
    process = psutil.Process(session.facts["pid"])
    began = time.perf_counter()
    job.cancel()
    wait_until(answers.done, 5, "the end")
    took = time.perf_counter() - began
    print(f"cancel of a deaf engine: {took:.2f} s")
    assert answers.code == "cancelled" and took < 2.0
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5, "its death")
    wait_until(lambda: session.state == "ready", 10, "a fresh engine")
    assert session.facts["pid"] != process.pid


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("def behave(request): time.sleep(60)", {"silence": 2.0}),
        ("beat(used=0.0)\ndef behave(request): time.sleep(60)", {"idle_work": 3.0}),
        ("time.sleep(60)\ndef behave(request): pass", {"start": 2.0}),
    ],
    ids=["no sign of life", "no work", "no hello"],
)
def test_a_hanging_engine_is_ended_and_said(played: Any, wait_until: Any, code: str, limits: dict[str, float]) -> None:
    session = played(code, **limits)
    answers = Answers()
    session.predict(small(), **answers.functions)
    wait_until(answers.done, 15, "the failure")
    assert answers.code == "engine.silent"
    assert session.state == "failed"


def test_a_working_engine_is_left_alone(played: Any, wait_until: Any) -> None:
    session = played(
        'beat()\ndef behave(request): time.sleep(4); send("result", request["id"], models=[])',
        silence=2.0, idle_work=2.0,
    )  # fmt: skip
    answers = Answers()
    session.models(**answers.functions)
    wait_until(answers.done, 15, "the answer")
    assert answers.results == [[]]


@pytest.mark.parametrize("facts", [{"protocol": 99}, {"software_version": "0.0.1"}])
def test_another_version_is_refused(played: Any, wait_until: Any, facts: dict[str, Any]) -> None:
    session = played(f"hello(1, **{facts!r})\ntime.sleep(60)", whole=True)
    answers = Answers()
    session.models(**answers.functions)
    wait_until(answers.done, 10, "the failure")
    assert answers.code == "engine.version"


def test_an_engine_that_dies_at_its_start_says_why(played: Any, wait_until: Any) -> None:
    session = played("import a_package_that_is_not_there", whole=True)
    answers, second = Answers(), Answers()
    session.models(**answers.functions)
    session.models(**second.functions)
    wait_until(second.done, 10, "the failures")
    assert answers.code == second.code == "engine.lost"
    assert "a_package_that_is_not_there" in answers.failures[0].message


def test_a_python_that_cannot_be_started(host: Any, tmp_path: Path, wait_until: Any) -> None:
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment
    from PALNetLandmarksLib.gui.engine_session import EngineSession

    program = tmp_path / "python"
    program.write_text("no program")
    program.chmod(0o755)
    environment = EngineEnvironment({}, tmp_path / "packages")
    environment.set_external_python(str(program))
    program.unlink()
    session = EngineSession(environment)
    answers = Answers()
    session.models(**answers.functions)
    wait_until(answers.done, 10, "the failure")
    assert answers.code == "engine.missing"
    session.cleanup()


def test_without_packages_nothing_is_started(host: Any, tmp_path: Path, wait_until: Any) -> None:
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment
    from PALNetLandmarksLib.gui.engine_session import EngineSession

    session = EngineSession(EngineEnvironment({}, tmp_path / "packages"))
    session.start()
    answers = Answers()
    job = session.predict(small(), **answers.functions)
    assert not answers.done(), "the answer came before the caller had the job"
    wait_until(answers.done, 5, "the failure")
    assert job.over and answers.code == "engine.missing"
    assert not (tmp_path / "packages").exists()
    session.cleanup()


def test_an_answer_that_makes_no_sense(played: Any, wait_until: Any) -> None:
    session = played('def behave(request): send("result", request["id"], labels=["Prn"], positions=[[1, 2]])')
    answers = Answers()
    session.predict(small(), **answers.functions)
    wait_until(answers.done, 10, "the failure")
    assert answers.code == "engine.answer"


@POSIX
@pytest.mark.parametrize("launcher", [False, True])
def test_children_of_the_engine_end_with_it(played: Any, wait_until: Any, launcher: bool) -> None:
    session = played(
        f"""
        import subprocess
        child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(60)"])
        def behave(request): send("result", request["id"], models=[child.pid])
        """,
        launcher=launcher,
    )
    answers = Answers()
    session.models(**answers.functions)
    wait_until(answers.done, 10, "the answer")
    ours = [psutil.Process(answers.results[0][0]), psutil.Process(session.facts["pid"])]
    session.stop()
    psutil.wait_procs(ours, timeout=3)
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in ours)


def test_two_slicers_side_by_side(played: Any, wait_until: Any) -> None:
    code = """
    def behave(request):
        send("result", request["id"], models=[os.getcwd(), open(request["mesh"], "rb").read() and request["mesh"]])
    """
    one, two = played(code), played(code)
    answers = [Answers(), Answers()]
    for session, found in zip((one, two), answers, strict=True):
        session._ask("models", {}, small(), read=lambda event: event["models"], **found.functions)
    wait_until(lambda: all(found.done() for found in answers), 10, "both")
    (folder, mesh), (other_folder, other_mesh) = answers[0].results[0], answers[1].results[0]
    assert folder != other_folder and mesh != other_mesh
    one.stop()
    assert not Path(folder).exists() and Path(other_folder).exists()


def test_the_end_of_the_application_ends_the_engine(played: Any, wait_until: Any) -> None:
    import slicer

    session = played("def behave(request): pass")
    session.start()
    wait_until(lambda: session.state == "ready", 10, "a warm engine")
    process = psutil.Process(session.facts["pid"])
    slicer.app.aboutToQuit()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# --- handing over meshes


def test_a_mesh_is_written_in_steps_that_the_worker_reads(host: Any, tmp_path: Path) -> None:
    from PALNetLandmarksLib.engine.worker_scan import take_mesh
    from PALNetLandmarksLib.gui.engine_transfer import TransferFolder, write_mesh
    from PALNetLandmarksLib.gui.mesh import Mesh

    rng = np.random.default_rng(0)
    mesh = Mesh(rng.random((400_000, 3)), rng.integers(0, 400_000, (800_000, 3)).astype(np.int32))
    folder = TransferFolder(tmp_path)
    file = folder.new_file()
    longest, last = 0.0, time.perf_counter()
    for _ in write_mesh(file, mesh):
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    print(f"20 MB, longest step {1000 * longest:.0f} ms")
    if os.name == "posix":
        assert (folder.path.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    vertices, triangles = take_mesh(str(file))
    np.testing.assert_array_equal(vertices, mesh.vertices)
    np.testing.assert_array_equal(triangles, mesh.triangles)
    folder.close()
    assert not list(tmp_path.iterdir())


def test_folders_of_dead_processes_are_swept_and_others_kept(host: Any, tmp_path: Path) -> None:
    from PALNetLandmarksLib.gui.engine_transfer import TransferFolder, sweep

    dead = tmp_path / "palnet-engine-dead"
    dead.mkdir()
    (dead / "in-use").write_bytes(b"")
    (dead / "mesh1.npz").write_bytes(b"a face")
    newborn = tmp_path / "palnet-engine-newborn"
    newborn.mkdir()
    foreign = tmp_path / "something-else"
    foreign.mkdir()
    alive = TransferFolder(tmp_path)
    assert not dead.exists()
    assert newborn.exists() and foreign.exists() and alive.path.exists()
    assert sweep(tmp_path) == 0
    alive.close()
