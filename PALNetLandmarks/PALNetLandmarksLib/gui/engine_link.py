"""The line to the engine: its process, the handshake, and an eye on whether it lives."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol

import qt

from PALNetLandmarksLib import __version__

from . import engine_results as results
from .engine_process import ChildProcess
from .engine_results import Failure
from .signals import Signal, connect

MODULE = "PALNetLandmarksLib.engine.worker"
_LOG_LINES = 2000
#: Seconds of computing time in one second below which an engine at work does nothing.
_IDLE = 0.01


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds.

    Parameters
    ----------
    start : float
        Without any sign while Python and PyTorch are loaded, which a slow disk or a virus scanner can draw out.
    silence : float
        Without any sign later on: the engine gives one every second.
    idle_work : float
        At work without using any computing time.
    cancel : float
        From the user's cancel to the engine's answer; then it is killed.
    """

    start: float = 180.0
    silence: float = 20.0
    idle_work: float = 120.0
    cancel: float = 1.5


class RunsPython(Protocol):
    """Which Python to start: an `EngineEnvironment`, or one that is only tried."""

    def python(self) -> list[str]:
        """Return how it is started: program and first arguments."""

    def process_environment(self) -> dict[str, str]:
        """Return the environment of the process."""


class EngineLink:
    """An engine process from its start to its end.

    Signals: ``ready()`` after the handshake, ``warmed(failure or None)`` when the model is loaded or cannot be,
    ``event(kind, number, event)`` for what belongs to a request, ``down(failure, before_ready)`` when it ended without
    being told to, ``log_line(text)``.

    Parameters
    ----------
    environment : RunsPython
    limits : Limits
    """

    def __init__(self, environment: RunsPython, limits: Limits) -> None:
        self.ready, self.warmed, self.event, self.down, self.log_line = (Signal() for _ in range(5))
        self.limits = limits
        self.facts: dict[str, Any] = {}
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._environment = environment
        self._process: Optional[ChildProcess] = None
        self._number = 0
        self._warming = 0  # number of the request, while it is open
        self._warm_with: dict[str, str] = {}
        self._quiet = self._idle = self._cpu_seconds = 0.0
        self._watch = qt.QTimer()
        self._watch.setInterval(1000)
        connect(self._watch, "timeout()", self._look)

    @property
    def up(self) -> bool:
        """Whether there is a process, ready or not."""
        return self._process is not None

    @property
    def is_warm(self) -> bool:
        """Whether the handshake is done and the model loaded."""
        return bool(self.facts) and not self._warming

    def launch(self, folder: str, warm_with: Mapping[str, str]) -> None:
        """Start a process.

        Parameters
        ----------
        folder : str
            Its working folder. Ours and without Python files: Python looks for modules there first.
        warm_with : mapping
            ``model`` and ``device`` to load at once.
        """
        command = [*self._environment.python(), "-m", MODULE]
        self.facts, self._warm_with = {}, dict(warm_with)
        process = self._process = ChildProcess(command, self._environment.process_environment(), folder)
        process.output_line.connect(self._read)
        process.error_line.connect(self._log)
        process.ended.connect(self._ended)
        self._quiet = self._idle = self._cpu_seconds = 0.0
        self._watch.start()
        process.start()
        self.send("hello")

    def send(self, command: str, **facts: Any) -> int:
        """Send a request and return its number."""
        self._number += 1
        if self._process is not None:
            self._process.write_line(json.dumps({"id": self._number, "command": command, **facts}, ensure_ascii=True))
        return self._number

    def end(self, wait_ms: int = 0) -> None:
        """End the process and all that belongs to it, at once."""
        self._watch.stop()
        process, self._process = self._process, None
        self._warming = 0
        self.facts = {}
        if process is not None:
            process.kill(wait_ms)

    def at_work(self) -> None:
        """Take note that something goes on."""
        self._idle = 0.0

    def clear(self) -> None:
        """Let go of everything that is connected."""
        for signal in (self.ready, self.warmed, self.event, self.down, self.log_line):
            signal.clear()

    # --- the process

    def _ended(self, reason: str, exit_code: int) -> None:
        """Deal with an engine that ended by itself."""
        began = bool(self.facts)
        self.end()
        if reason == "not_started":
            self.down.emit(results.not_started(), True)
        else:
            self.down.emit(results.lost("" if began else self._last_words()), not began)

    def _last_words(self) -> str:
        """Give the last line of the log that is none of a traceback's inner ones."""
        for line in reversed(self.log):
            if line.strip() and not line.startswith(" "):
                return line.strip()[:200]
        return ""

    def _look(self) -> None:
        """Notice an engine that is silent. Counted in ticks: the hours of a sleeping laptop are none."""
        self._quiet += 1.0
        limit = self.limits.silence if self.is_warm else self.limits.start
        if self._quiet > limit or self._idle > self.limits.idle_work:
            began = bool(self.facts)
            self.end()
            self.down.emit(results.silent(), not began)

    # --- what it says

    def _log(self, line: str) -> None:
        self.log.append(line)
        self.log_line.emit(line)

    def _read(self, line: str) -> None:
        try:
            event = json.loads(line)
            kind, number = event["event"], event["id"]
        except (ValueError, KeyError, TypeError):
            self._log(line)
            return
        self._quiet = 0.0
        if kind == "alive":
            self._alive(event)
        elif kind == "ready":
            self._ready(event)
        elif self._warming and number == self._warming:
            self._warmed(kind, event)
        else:
            self.event.emit(kind, number, event)

    def _alive(self, event: Mapping[str, Any]) -> None:
        used = float(event.get("cpu_seconds", 0.0))
        stands_still = bool(event.get("busy")) and used - self._cpu_seconds < _IDLE
        self._idle = self._idle + 1.0 if stands_still else 0.0
        self._cpu_seconds = used

    def _ready(self, event: Mapping[str, Any]) -> None:
        if self._process is None:
            return
        if event.get("own_group"):
            self._process.led_by(int(event["pid"]))
        spoken, version = event.get("protocol"), str(event.get("software_version"))
        if spoken != results.PROTOCOL or version != __version__:
            self.end()
            self.down.emit(results.wrong_version(version, __version__), True)
            return
        self.facts = dict(event)
        self._warming = self.send("warm", **self._warm_with)
        self.ready.emit()

    def _warmed(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "progress":
            return
        self._warming = 0
        failure: Optional[Failure] = None
        if kind == "error":
            failure = results.failure(event)
            self._log(str(failure))
        else:
            self.facts.update({key: event[key] for key in ("devices", "gpu", "torch", "device") if key in event})
        self.warmed.emit(failure)
