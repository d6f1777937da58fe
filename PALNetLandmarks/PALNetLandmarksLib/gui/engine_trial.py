"""Trying out a Python: whether the engine answers from it, with everything it needs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import qt

from .engine_environment import OLDEST_PYTHON
from .engine_link import EngineLink, Limits
from .engine_process import ChildProcess
from .engine_results import Failure
from .signals import connect
from .text import _


class _Python:
    """A Python that is only tried."""

    def __init__(self, python: Sequence[str], environment: Mapping[str, str]) -> None:
        self._python, self._environment = list(python), dict(environment)

    def python(self) -> list[str]:
        """Return how it is started."""
        return self._python

    def process_environment(self) -> dict[str, str]:
        """Return its environment."""
        return self._environment


class Trial:
    """Start the engine once, have it load its model, and end it.

    Parameters
    ----------
    python : sequence of str
        How the Python is started.
    environment : mapping of str to str
        Its environment.
    done : callable
        Called with the engine's facts (versions, devices) and None, or with an empty dict and a Failure.
    limits : Limits, optional
    """

    def __init__(
        self,
        python: Sequence[str],
        environment: Mapping[str, str],
        done: Callable[[dict[str, Any], Optional[Failure]], None],
        limits: Optional[Limits] = None,
    ) -> None:
        self._done = done
        self._folder = tempfile.mkdtemp(prefix="palnet-trial-")
        link = self._link = EngineLink(_Python(python, environment), limits or Limits())
        self.log_line = link.log_line
        link.warmed.connect(self._warmed)
        link.down.connect(lambda failure, _before: self._end({}, failure))

    def start(self) -> None:
        """Begin; the answer comes by `done`."""
        self._link.launch(self._folder, {"model": "", "device": "cpu"})

    def cancel(self) -> None:
        """End it without an answer."""
        self._link.end()
        self._link.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _warmed(self, failure: Optional[Failure]) -> None:
        facts = dict(self._link.facts)
        if failure is None:
            version = tuple(int(part) for part in str(facts.get("python", "0")).split(".")[:2])
            if version < OLDEST_PYTHON:
                failure = Failure(
                    "engine.python_old",
                    _("This Python is {version}; the engine needs 3.10 or newer.").format(version=facts.get("python")),
                )
        elif failure.code == "engine.package":
            failure = Failure(failure.code, failure.message, _("Install it in that Python, or name another one."))
        self._end({} if failure else facts, failure)

    def _end(self, facts: dict[str, Any], failure: Optional[Failure]) -> None:
        self.cancel()
        if failure is not None and failure.code == "engine.lost":
            failure = Failure("engine.lost", failure.message, _("The log has the details."))
        self._done(facts, failure)


class GpuProbe:
    """Ask NVIDIA's own program which graphics processors there are.

    Parameters
    ----------
    done : callable
        Called once with their names; an empty list where there is none, or no answer within some seconds.
    """

    def __init__(
        self, environment: Mapping[str, str], done: Callable[[list[str]], None], program: str = "nvidia-smi"
    ) -> None:
        self._done = done
        self._lines: list[str] = []
        self._over = False
        self._process = ChildProcess([program, "-L"], environment, tempfile.gettempdir())
        self._process.output_line.connect(self._lines.append)
        self._process.ended.connect(self._ended)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        connect(self._timer, "timeout()", self.stop)

    def start(self, seconds: float = 8.0) -> None:
        """Begin."""
        self._timer.start(int(1000 * seconds))
        self._process.start()

    def stop(self) -> None:
        """Give up waiting: no GPU that answers."""
        self._process.kill()
        self._finish([])

    def _ended(self, reason: str, exit_code: int) -> None:
        found = [line.partition(":")[2].partition("(")[0].strip() for line in self._lines if line.startswith("GPU ")]
        self._finish(found if reason == "finished" and exit_code == 0 else [])

    def _finish(self, names: list[str]) -> None:
        if not self._over:
            self._over = True
            self._timer.stop()
            self._done(names)
