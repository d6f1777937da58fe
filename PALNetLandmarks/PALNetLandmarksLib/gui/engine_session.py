"""The engine as the panels see it: one process that is kept warm, one request after the other, answers as calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import qt
import slicer

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol, load_protocol

from . import engine_results as results
from .engine_environment import EngineEnvironment
from .engine_job import Job, OnError, OnProgress
from .engine_link import EngineLink, Limits
from .engine_results import Failure, PredictionResult, prediction_result
from .engine_transfer import TransferFolder, write_mesh
from .mesh import Mesh
from .signals import Signal, connect
from .text import _

__all__ = ["EngineSession", "Failure", "Job", "Limits", "PredictionResult"]


class EngineSession:
    """A warm engine process.

    ``state`` is ``off``, ``starting``, ``ready``, ``busy`` or ``failed``. Signals: ``state_changed(state, text)``,
    ``log_line(text)``.

    Parameters
    ----------
    environment : EngineEnvironment
        Which Python to start, and how.
    protocol : Protocol, optional
        Landmarks of the module; default: the 50 landmarks of the face.
    temporary_folder : path, optional
        Where meshes are handed over; default: Slicer's folder for temporary files.
    limits : Limits, optional
    """

    def __init__(
        self,
        environment: EngineEnvironment,
        *,
        protocol: Optional[Protocol] = None,
        temporary_folder: Optional[str] = None,
        limits: Optional[Limits] = None,
    ) -> None:
        self.state_changed, self.log_line = Signal(), Signal()
        self.state = "off"
        self._environment = environment
        self._protocol = protocol
        self._temporary = temporary_folder
        self._folder: Optional[TransferFolder] = None
        self._waiting: deque[Job] = deque()
        self._running: Optional[Job] = None
        self._writing: Optional[Iterator[float]] = None
        self._warm_with = {"model": "", "device": "auto"}
        link = self._link = EngineLink(environment, limits or Limits())
        link.ready.connect(self._next)
        link.warmed.connect(self._warmed)
        link.event.connect(self._answered)
        link.down.connect(self._down)
        link.log_line.connect(self.log_line.emit)
        self._deadline = qt.QTimer()
        self._deadline.setSingleShot(True)
        connect(self._deadline, "timeout()", self._cancel_overdue)
        self._step = qt.QTimer()
        self._step.setInterval(0)
        connect(self._step, "timeout()", self._write_on)
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        connect(self._later, "timeout()", self._next)
        self._at_exit = self.stop  # one object: it is found again when it is disconnected
        if hasattr(slicer, "app"):
            connect(slicer.app, "aboutToQuit()", self._at_exit)

    # --- what panels use

    @property
    def protocol(self) -> Protocol:
        """Landmarks of the module."""
        if self._protocol is None:
            self._protocol = load_protocol()
        return self._protocol

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that the engine can compute on; empty until it is warm."""
        return tuple(self._link.facts.get("devices", ()))

    @property
    def facts(self) -> dict[str, Any]:
        """What the engine says about itself: versions, ``gpu``, ``pid``; empty until it has answered."""
        return dict(self._link.facts)

    @property
    def log(self) -> deque[str]:
        """The engine's last lines."""
        return self._link.log

    def start(self, *, model: str = "", device: str = "auto") -> None:
        """Start the engine and load a model, so that the first prediction is as quick as the others. Does not wait."""
        self._warm_with = {"model": model, "device": device}
        if self._link.up:
            return
        if self._environment.status() == "missing":
            self._change("off", str(results.missing()))
            return
        self._launch()

    def stop(self) -> None:
        """End the engine and all that belongs to it; jobs end with the code ``cancelled``."""
        jobs = [*([self._running] if self._running else []), *self._waiting]
        self._waiting.clear()
        self._stop_writing()
        self._link.end(wait_ms=500)
        self._running = None
        for job in jobs:
            job.fail(results.cancelled())
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        self._change("off", "")

    def cleanup(self) -> None:
        """Stop, and let go of everything: the module is closed."""
        self.stop()
        if hasattr(slicer, "app"):
            slicer.app.disconnect("aboutToQuit()", self._at_exit)
        for timer in (self._deadline, self._step, self._later):
            timer.stop()
        self._link.clear()
        self.state_changed.clear()
        self.log_line.clear()

    def check(
        self,
        mesh: Mesh,
        on_result: Callable[[dict[str, Any]], None],
        on_error: OnError,
        *,
        model: str = "",
        device: str = "auto",
        on_progress: Optional[OnProgress] = None,
    ) -> Job:
        """Ask what a mesh is like; `on_result` gets the fields of the engine's ``check``."""
        request = {"model": model, "device": device}
        return self._ask(
            "check", request, mesh, read=_facts, on_result=on_result, on_error=on_error, on_progress=on_progress
        )

    def predict(
        self,
        mesh: Mesh,
        *,
        on_result: Callable[[PredictionResult], None],
        on_error: OnError,
        on_progress: Optional[OnProgress] = None,
        model: str = "",
        device: str = "auto",
        initial: Optional[LandmarkSet] = None,
    ) -> Job:
        """Place the landmarks on a mesh.

        Parameters
        ----------
        mesh : Mesh
            LPS, mm, world.
        on_result, on_error, on_progress : callable
            Called with a PredictionResult, a Failure, or a stage's code and the share done, from Qt's event loop.
        model : str
            Folder or id of a bundle; empty for the default one.
        device : {"auto", "cpu", "cuda"}
        initial : LandmarkSet, optional
            Points to start from, world.
        """
        request: dict[str, Any] = {"model": model, "device": device}
        if initial is not None:
            points = initial.in_coordinate_system("LPS")
            known = [place for place, gone in enumerate(points.missing) if not gone]
            request["initial"] = {
                "labels": [points.protocol.labels[place] for place in known],
                "positions": [points.positions[place].tolist() for place in known],
            }

        def read(event: Mapping[str, Any]) -> PredictionResult:
            return prediction_result(event, self.protocol)

        return self._ask(
            "predict", request, mesh, read=read, on_result=on_result, on_error=on_error, on_progress=on_progress
        )

    def models(self, on_result: Callable[[list[dict[str, Any]]], None], on_error: OnError, *, model: str = "") -> Job:
        """Ask for the models that come with the program, or have a user's own bundle checked and described."""
        return self._ask(
            "models", {"model": model}, None, read=lambda event: list(event["models"]), on_result=on_result,
            on_error=on_error,
        )  # fmt: skip

    def cancel(self, job: Job) -> None:
        """Stop a job, see `Job.cancel`."""
        if job.over or job.cancelling:
            return
        job.cancelling = True
        if job is not self._running:
            if job in self._waiting:
                self._waiting.remove(job)
            self._after(lambda: job.fail(results.cancelled()))
            return
        if self._writing is not None or not self._link.up:
            self._close_job(job)
            self._after(lambda: job.fail(results.cancelled()))
            return
        self._link.send("cancel", target=job.number)
        self._deadline.start(int(self._link.limits.cancel * 1000))

    # --- requests

    def _ask(self, command: str, request: Mapping[str, Any], mesh: Optional[Mesh], **functions: Any) -> Job:
        job = Job(self.cancel, command, request, **functions)
        job.mesh = mesh
        self._waiting.append(job)
        self._later.start()  # answers never come before the caller has the job
        return job

    def _next(self) -> None:
        """Begin the next job if nothing is running."""
        if self._running is not None or not self._waiting:
            return
        if not self._link.up:
            if self._environment.status() == "missing":
                self._fail_waiting(results.missing())
                return
            self._launch()
            return  # goes on when the engine has answered
        if not self._link.facts:
            return
        job = self._running = self._waiting.popleft()
        self._link.at_work()
        self._change("busy", "")
        if job.mesh is None:
            self._submit(job)
            return
        try:
            job.file = self._transfer().new_file()
            self._writing = write_mesh(job.file, job.mesh)
        except OSError as error:
            self._transfer_failed(job, error)
            return
        self._step.start()

    def _write_on(self) -> None:
        """Write the next piece of the mesh."""
        job = self._running
        if self._writing is None or job is None:
            self._step.stop()
            return
        try:
            next(self._writing)
        except StopIteration:
            self._writing = None
            self._step.stop()
            self._submit(job)
        except (OSError, ValueError) as error:
            self._transfer_failed(job, error)

    def _transfer_failed(self, job: Job, error: Exception) -> None:
        self._close_job(job)
        message = _("The scan could not be handed to the engine ({reason}).").format(
            reason=getattr(error, "strerror", None) or type(error).__name__
        )
        job.fail(Failure("scan.transfer", message, _("Free some space on the disk for temporary files.")))

    def _submit(self, job: Job) -> None:
        mesh = {} if job.file is None else {"mesh": str(job.file)}
        job.mesh = None
        job.number = self._link.send(job.command, **mesh, **job.request)

    def _close_job(self, job: Job) -> None:
        """Take a job that is over out of the way and go on with the next one."""
        if job is self._running:
            self._running = None
            self._stop_writing()
        if job.file is not None:
            job.file.unlink(missing_ok=True)
            job.file = None
        if self._link.up and self._running is None:
            self._change("ready" if self._link.is_warm else "starting", "")
        self._later.start()

    def _after(self, function: Callable[[], None]) -> None:
        qt.QTimer.singleShot(0, function)

    def _fail_waiting(self, failure: Failure) -> None:
        jobs = list(self._waiting)
        self._waiting.clear()
        for job in jobs:
            job.fail(failure)

    def _stop_writing(self) -> None:
        self._deadline.stop()
        self._step.stop()
        if self._writing is not None:
            self._writing.close()  # type: ignore[attr-defined]
            self._writing = None

    # --- the process

    def _launch(self) -> None:
        try:
            folder = self._transfer()
        except OSError:
            self._fail_waiting(Failure("scan.transfer", _("There is no room for temporary files.")))
            return
        self._change("starting", _("The engine is starting."))
        self._link.launch(str(folder.path), self._warm_with)

    def _transfer(self) -> TransferFolder:
        if self._folder is None:
            base = self._temporary
            if base is None and hasattr(slicer, "app"):
                base = str(slicer.app.temporaryPath)
            self._folder = TransferFolder(None if base is None else Path(base))
        return self._folder

    def _warmed(self, failure: Optional[Failure]) -> None:
        if self._running is None:
            if failure is not None:
                self._change("failed", str(failure))
            else:
                self._change("ready", "")

    def _down(self, failure: Failure, before_ready: bool) -> None:
        """Deal with an engine that ended: the next request starts another one."""
        job = self._running
        self._change("failed", str(failure))
        if job is not None:
            self._close_job(job)
            job.fail(failure)
        if before_ready:  # those that wait would meet the same
            self._fail_waiting(failure)
        self._later.start()

    def _cancel_overdue(self) -> None:
        """End an engine that does not stop its work; a fresh one is started at once."""
        job = self._running
        if job is None or not job.cancelling:
            return
        self._link.end()
        self._close_job(job)
        job.fail(results.cancelled())
        if not self._link.up and self._environment.status() != "missing":
            self._launch()

    def _answered(self, kind: str, number: Any, event: Mapping[str, Any]) -> None:
        job = self._running
        if job is None or number != job.number:
            return
        if kind == "progress":
            self._link.at_work()
            job.progress(str(event.get("stage", "")), float(event.get("fraction", 0.0)))
            return
        cancelling = job.cancelling
        self._close_job(job)
        if cancelling:  # also when the result came at the last moment: the user has been told that it stops
            job.fail(results.cancelled())
        elif kind == "result":
            job.finish(event)
        else:
            job.fail(results.failure(event))

    def _change(self, state: str, text: str) -> None:
        if (state, text) != (self.state, ""):
            self.state = state
            self.state_changed.emit(state, text)


def _facts(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("id", "event")}
