"""The engine as a process that stays warm: requests as JSON Lines on standard input, events on standard output.

Requests have an ``id`` and a ``command``; every event carries the id of the request that it belongs to.

``hello``
    ``ready`` with the versions of protocol, program, Python and PyTorch, and the process's number.
``warm`` (``model``, ``device``)
    loads PyTorch and the model; ``result`` with the devices.
``models`` (``model``)
    ``result`` with the models that come with the program, or with the user's own one after checking it.
``check`` (``mesh``, ``model``, ``device``), ``predict`` (``mesh``, ``model``, ``device``, ``initial``, ``seed``)
    ``progress`` events, then ``result`` or ``error``. ``mesh`` is a file that the worker deletes after reading.
``cancel`` (``target``)
    ends the request ``target`` with the error ``cancelled`` at its next step.
``shutdown``
    ends the process, as does the end of standard input.

Every second there is an ``alive`` event. An error event has ``code``, ``message`` and ``hint``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.commands.common import as_landmarking_error
from PALNetLandmarksLib.engine.worker_channel import Channel, ProtocolError, standard_channel
from PALNetLandmarksLib.engine.worker_life import Heartbeat, end_process, lead_own_group
from PALNetLandmarksLib.errors import CancelledError, LandmarkingError, UsageError

#: Version of this protocol; the other side must know the same.
PROTOCOL = 1
_TASKS = ("warm", "models", "check", "predict")
#: Only one of these at a time; the others are short.
_EXCLUSIVE = ("check", "predict")


@dataclass(frozen=True)
class _Task:
    identifier: Any
    command: str
    request: Mapping[str, Any]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Answers requests: a thread reads them, the main thread does the work.

    Parameters
    ----------
    channel : Channel
    shelf : ModelShelf, optional
        Models; tests give another one.
    """

    def __init__(self, channel: Channel, shelf: Any = None) -> None:
        self._channel = channel
        self._shelf = shelf
        self._waiting: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: dict[Any, _Task] = {}  # tasks that wait or are done now, by id
        self._begun: _Task | None = None
        self._stage = ""

    def run(self) -> NoReturn:
        """Work until the line of requests closes."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        Heartbeat(self._beat, lambda: end_process(0)).start()
        while True:
            task = self._waiting.get()
            with self._lock:
                if task.identifier not in self._open:  # cancelled while it waited
                    continue
                self._begun = task
            self._do(task)
            with self._lock:
                self._open.pop(task.identifier, None)
                self._begun = None
            # The answer goes out after the task is closed: whoever reads it may ask for the next one at once.
            self._answer()

    # --- the thread that listens

    def _listen(self) -> None:
        for request in self._channel.requests():
            if isinstance(request, ProtocolError):
                self._channel.send_error(None, request)
                continue
            try:
                self._take(request)
            except Exception as error:  # noqa: BLE001 - without this thread nobody would hear the next request
                self._channel.send_error(request.get("id"), _known_error(error))
        end_process(0)

    def _take(self, request: Mapping[str, Any]) -> None:
        command, identifier = request["command"], request.get("id")
        if command == "hello":
            self._channel.send("ready", identifier, **_versions())
        elif command == "cancel":
            self._cancel(identifier, request.get("target"))
        elif command == "shutdown":
            self._channel.send("result", identifier)
            end_process(0)
        elif command in _TASKS:
            self._enqueue(_Task(identifier, command, request))
        else:
            raise ProtocolError(f"There is no command '{command[:32]}'.", code="protocol.command")

    def _cancel(self, identifier: Any, target: Any) -> None:
        if not isinstance(target, (int, str)):
            raise ProtocolError("The request to cancel names no request.", code="protocol.value")
        with self._lock:
            task = self._open.get(target)
            waiting = task is not None and task is not self._begun
            if waiting:
                del self._open[target]
        if task is not None:
            task.cancelled.set()
        self._channel.send("result", identifier, cancelled=task is not None)
        if task is not None and waiting:
            _forget_mesh(task)
            self._channel.send_error(target, _cancelled())

    def _enqueue(self, task: _Task) -> None:
        with self._lock:
            if task.identifier is None or task.identifier in self._open:
                raise ProtocolError("The request needs an id of its own.", code="protocol.id")
            if task.command in _EXCLUSIVE and any(other.command in _EXCLUSIVE for other in self._open.values()):
                raise UsageError("The engine is at work.", "Wait for it, or cancel it.", code="engine.busy")
            self._open[task.identifier] = task
        self._waiting.put(task)

    def _beat(self, cpu_seconds: float) -> None:
        with self._lock:
            busy = bool(self._open)
        self._channel.send("alive", busy=busy, stage=self._stage, cpu_seconds=cpu_seconds)
        if self._channel.broken:
            end_process(0)

    # --- the main thread

    def _do(self, task: _Task) -> None:
        """Do a task and put by its answer."""
        try:
            facts = self._result(task)
            self._reply: tuple[Any, Any] = (task.identifier, facts)
        except Exception as error:  # noqa: BLE001 - nothing that a scan does ends the process
            known = _known_error(error)
            if known.code == "internal":
                traceback.print_exc(file=sys.stderr)
            self._reply = (task.identifier, known)
        finally:
            self._stage = ""

    def _answer(self) -> None:
        identifier, answer = self._reply
        self._reply = (None, None)  # the result's arrays are let go
        if isinstance(answer, LandmarkingError):
            self._channel.send_error(identifier, answer)
        else:
            self._channel.send("result", identifier, **answer)

    def _result(self, task: _Task) -> dict[str, Any]:
        def progress(stage: str, share: float) -> None:
            if task.cancelled.is_set():
                raise _cancelled()
            self._stage = stage
            self._channel.send("progress", task.identifier, stage=stage, fraction=share)

        model, device = _text(task.request, "model", ""), _text(task.request, "device", "auto")
        if task.command == "models":
            from PALNetLandmarksLib.engine.worker_models import describe_model, describe_models

            return {"models": [describe_model(model)] if model else describe_models()}
        if task.command == "warm":
            return self._warm(model, device, progress)
        from PALNetLandmarksLib.engine.worker_scan import take_mesh

        vertices, triangles = take_mesh(_text(task.request, "mesh"))
        progress("reading", 0.0)
        from PALNetLandmarksLib.engine.worker_tasks import check_mesh, predict_mesh

        if task.command == "check":
            return check_mesh(vertices, triangles, lambda: self._predictor(model, device), progress)
        progress("loading", 0.0)
        predictor = self._predictor(model, device)
        initial, seed = task.request.get("initial"), task.request.get("seed", 0)
        if not isinstance(initial, (dict, type(None))) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ProtocolError("The request's initial points or seed are not valid.", code="protocol.value")
        return predict_mesh(vertices, triangles, predictor, progress, initial=initial, seed=seed)

    def _predictor(self, model: str, device: str) -> Any:
        if self._shelf is None:
            from PALNetLandmarksLib.engine.worker_models import ModelShelf

            self._shelf = ModelShelf()
        return self._shelf.predictor(model, device)

    def _warm(self, model: str, device: str, progress: Any) -> dict[str, Any]:
        """Load what a prediction needs, so that the first one is as quick as the others."""
        progress("loading", 0.0)
        import torch

        progress("loading", 0.4)
        predictor = self._predictor(model, device)
        progress("loading", 0.6)
        _try_out(predictor)
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        names = [torch.cuda.get_device_name(0)] if "cuda" in devices else []
        return {"devices": devices, "gpu": names, "device": str(predictor.device), "torch": str(torch.__version__)}


def _known_error(error: BaseException) -> LandmarkingError:
    """Give what goes wrong in a task a code and words, a fault of the program too.

    This must work where packages are missing: nothing is imported here.
    """
    known = as_landmarking_error(error)
    return known or LandmarkingError(
        f"The engine failed unexpectedly ({type(error).__name__}).",
        "Its log has the details. Please report it.",
        code="internal",
    )


def _try_out(predictor: Any) -> None:
    """Predict once on the sample scan: libraries load parts of themselves on first use, caches fill (1.5 s)."""
    from PALNetLandmarksLib.engine.reading import read_scan
    from PALNetLandmarksLib.engine.scan_check import check_scan
    from PALNetLandmarksLib.resources import sample_scans

    with contextlib.suppress(LandmarkingError):  # a model of something else than faces is no reason to fail
        for path in sample_scans()[:1]:
            scan = read_scan(path, texture=False)
            check_scan(scan)
            predictor.predict(scan)


def _cancelled() -> CancelledError:
    return CancelledError("Cancelled.", code="cancelled")


def _forget_mesh(task: _Task) -> None:
    """Delete the mesh of a task that is not begun."""
    if task.command in _EXCLUSIVE and isinstance(task.request.get("mesh"), str):
        from PALNetLandmarksLib.engine.worker_scan import delete_mesh

        delete_mesh(task.request["mesh"])


def _text(request: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = request.get(name, default)
    if not isinstance(value, str) or "\0" in value:
        raise ProtocolError(f"The request's '{name}' is not text.", code="protocol.value")
    return value


def _versions() -> dict[str, Any]:
    """Say who answers; PyTorch's version is read off its package, loading it takes seconds."""
    from importlib import metadata

    packages = {}
    for name in ("torch", "numpy", "scipy", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "protocol": PROTOCOL,
        "software_version": __version__,
        "python": platform.python_version(),
        "packages": packages,
        "pid": os.getpid(),
        "own_group": os.name == "posix" and os.getpgrp() == os.getpid(),
    }


def main() -> NoReturn:
    """Be the engine process."""
    lead_own_group()
    # Threads that wait actively for each other stand still when another program, such as Slicer, wants the cores too:
    # on two cores with one of them taken the network took 1.7 s instead of 0.07 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    with standard_channel() as channel:
        Worker(channel).run()


if __name__ == "__main__":
    main()
