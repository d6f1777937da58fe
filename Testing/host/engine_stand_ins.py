"""Engines for tests: this Python with the real worker, or a few lines that play one that misbehaves."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

# What a worker does as far as tests of the other side need it: answers hello and warm, then runs `behave(request)`.
_PLAY = """
import json, os, sys, threading, time
def send(event, id=None, **facts):
    sys.stdout.write(json.dumps({"id": id, "event": event, **facts}) + "\\n"); sys.stdout.flush()
def hello(id, **facts):
    send("ready", id, **{"protocol": 1, "software_version": VERSION, "python": "3", "packages": {}, "pid": os.getpid(),
         "own_group": GROUP, **facts})
def beat(seconds=60.0, used=1.0):
    def run():
        for i in range(int(seconds / 0.2)):
            time.sleep(0.2); send("alive", busy=True, stage="", cpu_seconds=used * i)
    threading.Thread(target=run, daemon=True).start()
GROUP = False
if os.name == "posix":
    os.setsid(); GROUP = True
"""
_LOOP = """
for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "hello": hello(request["id"])
    elif request["command"] == "warm": send("result", request["id"], devices=["cpu"])
    else: behave(request)
"""

_LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:3]))"


def played_engine(tmp_path: Path, code: str, *, whole: bool = False, launcher: bool = False) -> Any:
    """Make an environment whose Python runs some lines instead of the worker.

    Parameters
    ----------
    tmp_path : Path
    code : str
        Defines ``behave(request)``; or all that is done, if `whole`.
    whole : bool
    launcher : bool
        Whether a program in between starts it, as PythonSlicer starts Slicer's real Python.
    """
    from PALNetLandmarksLib import __version__
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment

    script = tmp_path / "engine.py"
    body = textwrap.dedent(code)
    script.write_text(f"VERSION = {__version__!r}\n{_PLAY}\n{body}\n{'' if whole else _LOOP}", encoding="utf-8")

    class Played(EngineEnvironment):
        def status(self) -> str:
            return "external"

        def python(self) -> list[str]:
            if launcher:
                return [sys.executable, "-c", _LAUNCHER, sys.executable, str(script)]
            return [sys.executable, str(script)]

    return Played({}, tmp_path / "packages")


def real_engine(tmp_path: Path) -> Any:
    """Make an environment in which the user has named this Python, which has the engine's packages."""
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment

    environment = EngineEnvironment({}, tmp_path / "packages")
    environment.set_external_python(sys.executable)
    return environment


class Answers:
    """What a job answered."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.failures: list[Any] = []
        self.stages: list[tuple[str, float]] = []

    def result(self, result: Any) -> None:
        self.results.append(result)

    def error(self, failure: Any) -> None:
        self.failures.append(failure)

    def progress(self, stage: str, fraction: float) -> None:
        self.stages.append((stage, fraction))

    def done(self) -> bool:
        return bool(self.results or self.failures)

    @property
    def functions(self) -> dict[str, Any]:
        return {"on_result": self.result, "on_error": self.error}

    @property
    def code(self) -> str:
        assert not self.results, "it succeeded"
        assert len(self.failures) == 1, f"{len(self.failures)} failures"
        return str(self.failures[0].code)
