"""The engine process on a bad line, under many requests, and without memory."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.resources import sample_scans
from Testing.faults.scenes import HANGS, Engine, Outcome, run

#: What memory may grow by over all requests after the first ones, as a share and in bytes.
_GROWTH, _MEGABYTE = 0.05, 2**20
#: Exit code for lack of memory.
_DEVICE = 6


def garbage_lines(count: int, seed: int) -> Iterator[bytes]:
    """Make lines that are no requests, or requests with nonsense in them."""
    rng = np.random.default_rng(seed)
    good = json.dumps({"id": 1, "command": "predict", "mesh": "/nowhere/mesh.npz", "seed": 0}).encode()
    values: list[object] = [None, [], {}, -1, 1e308, "", "\0", "x" * 2000, True, {"a": [1]}, "../../etc/passwd"]
    commands = ["hello", "warm", "models", "check", "predict", "cancel", "", "Predict", "shutdown "]
    for number in range(count):
        kind = number % 6
        if kind == 0:
            yield rng.bytes(int(rng.integers(1, 400))).replace(b"\n", b" ")
        elif kind == 1:
            yield good[: int(rng.integers(1, len(good)))]
        elif kind == 2:
            broken = bytearray(good)
            broken[int(rng.integers(len(broken)))] = int(rng.choice([0, 1, 9, 34, 91, 123, 125, 255]))
            yield bytes(broken)
        elif kind == 3:
            yield b"[" * int(rng.integers(1, 100_000))
        elif kind == 4:
            request = {"id": values[int(rng.integers(len(values)))], "command": commands[int(rng.integers(8))]}
            for name in ("mesh", "device", "seed", "initial", "target"):
                request[name] = values[int(rng.integers(len(values)))]
            if request["command"] != "warm":  # to load PyTorch hundreds of times is no garbage but patience
                request["model"] = values[int(rng.integers(len(values)))]
            yield json.dumps(request).encode()
        else:
            yield json.dumps(values[int(rng.integers(len(values)))]).encode()


def garbage(folder: Path, count: int, seed: int) -> Outcome:
    """Feed the engine garbage: it says so and goes on."""
    outcome = Outcome("engine fed garbage")
    engine = Engine(folder)
    # Lines that an engine reads no more fill the pipe, and then whoever writes them waits for ever.
    watch = threading.Timer(HANGS + count, engine.process.kill)
    watch.start()
    try:
        _feed(engine, outcome, count, seed)
    except OSError:
        outcome.count(["takes no more lines"])
    finally:
        watch.cancel()
        engine.process.kill()
        engine.process.wait()
    return outcome


def _feed(engine: Engine, outcome: Outcome, count: int, seed: int) -> None:
    expected = engine.ask("predict", mesh=engine.mesh())
    for number, line in enumerate(garbage_lines(count, seed)):
        engine.raw(line + b"\n")
        problems = []
        if number % 20 == 19:  # the lines may ask for work: what counts is that it is there after them
            answer = engine.ask("hello")
            problems = [] if answer["event"] == "ready" else [str(answer)]
        outcome.count(problems, f"line {number}")
        if problems:
            return
    engine.raw(b"x" * (3 << 20) + b"\n")
    again = engine.ask("predict", mesh=engine.mesh())
    good = expected["event"] == "result" and again.get("positions") == expected["positions"]
    outcome.count([] if good else [f"predicts otherwise after it: {str(again)[:120]}"])
    outcome.count([] if engine.end() == 0 else ["does not end well"])
    outcome.count(["a traceback in its log"] if "Traceback" in engine.log.read_text() else [])


def closed_line(folder: Path, rounds: int = 3) -> Outcome:
    """Close the engine's standard output: nobody listens any more, so it ends within seconds, also at work."""
    outcome = Outcome("engine's output closed")
    for number in range(rounds):
        for busy in (False, True):
            engine = Engine(folder / f"{number}{busy}")
            engine.ask("hello")
            if busy:
                engine.send("predict", mesh=engine.mesh(grid_mm=1.0))
            assert engine.process.stdout is not None
            # The reading thread holds the stream: closing its descriptor from here would wait for it.
            _shut(engine)
            try:
                engine.process.wait(30)
                problems = []
            except Exception:  # noqa: BLE001 - it hangs
                engine.process.kill()
                problems = ["runs on after 30 s"]
            engine.end()
            outcome.count(problems, "at work" if busy else "idle")
    return outcome


def _shut(engine: Engine) -> None:
    import os

    nothing = os.open(os.devnull, os.O_RDONLY)
    assert engine.process.stdout is not None
    os.dup2(nothing, engine.process.stdout.fileno())  # takes the pipe's only reading end away
    os.close(nothing)


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def many_requests(folder: Path, light: int, predictions: int) -> Outcome:
    """Ask the engine for very much: every request is answered, memory stays flat, results stay the same."""
    outcome = Outcome("many requests")
    engine = Engine(folder)
    expected = engine.ask("predict", mesh=engine.mesh())
    before = 0
    for number in range(predictions):
        answer = engine.ask("predict", mesh=engine.mesh())
        same = answer.get("positions") == expected["positions"]
        outcome.count([] if same else [str(answer)[:120]], f"prediction {number}")
        if number == min(20, predictions // 4):
            before = _resident(engine.process.pid)
    predicted = _resident(engine.process.pid)
    asked = [("hello", "ready", {}), ("models", "result", {}), ("check", "error", {"mesh": "/nowhere.npz"}),
             ("cancel", "result", {"target": -1}), ("nothing", "error", {})]  # fmt: skip
    for number in range(light):
        command, wanted, facts = asked[number % len(asked)]
        answer = engine.ask(command, **facts)
        outcome.count([] if answer["event"] == wanted else [str(answer)[:120]], f"request {number}")
    after = _resident(engine.process.pid)
    limit = before * (1 + _GROWTH)
    outcome.count([] if after <= limit else [f"memory grew from {before >> 20} MB to {after >> 20} MB"])
    outcome.count([] if engine.end() == 0 else ["does not end well"])
    left = [path.name for path in engine.folder.iterdir()]
    outcome.count([f"{len(left)} meshes are left"] if left else [])
    outcome.remark = (
        f"{light} light ones and {predictions} predictions; memory {before >> 20} MB early, "
        f"{predicted >> 20} MB after the predictions, {after >> 20} MB at the end"
    )
    return outcome


def no_memory(folder: Path, megabytes: tuple[int, ...] = (0, 20, 60, 120)) -> Outcome:
    """Take the engine's memory away in a prediction: an error that says so, then it works again (Linux)."""
    import resource

    outcome = Outcome("no memory, engine")
    engine = Engine(folder)
    expected = engine.ask("predict", mesh=engine.mesh())
    refused = died = 0
    for room in megabytes:
        pid = engine.process.pid
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size + room * _MEGABYTE, resource.RLIM_INFINITY))
        answer = engine.ask("predict", mesh=engine.mesh(grid_mm=0.1, copies=30))
        problems = []
        if answer["event"] == "ended":
            died += 1
            engine.end()
            engine = Engine(folder)
        else:
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            refused += answer["event"] == "error"
            if answer["event"] == "error" and not answer["code"].startswith("device."):
                problems.append(f"another error than lack of memory: {answer}")
            elif answer["event"] not in ("error", "result"):
                problems.append(f"no answer: {str(answer)[:120]}")
        again = engine.ask("predict", mesh=engine.mesh())
        if again.get("positions") != expected["positions"]:
            problems.append(f"does not work again: {str(again)[:160]}")
        outcome.count(problems, f"{room} MB")
    engine.end()
    outcome.remark = f"{refused} refused with words, {died} ended and restarted"
    return outcome


def no_memory_command(folder: Path, megabytes: tuple[int, ...] = (200, 700, 1200, 1500, 1800, 2100, 2400)) -> Outcome:
    """Run predict with little memory: done, or exit code 6 with words, and nothing half-written."""
    import resource

    outcome = Outcome("no memory, predict")
    folder.mkdir(parents=True, exist_ok=True)
    codes = []
    for room in megabytes:
        output = folder / f"{room}.mrk.json"
        words = [sys.executable, "-m", "PALNetLandmarksLib.engine.cli", "predict", str(sample_scans()[0]),
                 "--output", str(output), "--device", "cpu"]  # fmt: skip
        limit = room * _MEGABYTE
        ended = run(words, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        codes.append(ended.code)
        problems = ended.problems([0, _DEVICE])
        if output.exists() != (ended.code == 0) or len(list(folder.glob(f".*{room}*"))):
            problems.append("half-written")
        outcome.count(problems, f"{room} MB")
    outcome.remark = f"exit codes {codes}"
    return outcome
