"""A batch in a process of its own: the command line's ``batch``, started, watched and stopped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any, Optional

from .engine_environment import LIBRARY, EngineEnvironment
from .engine_process import ChildProcess, in_own_group
from .engine_results import Failure, cancelled, failure, lost, missing, not_started
from .signals import Signal
from .text import _


class BatchRun:
    """Runs one batch at a time.

    Signals: ``begun(cases)`` with their names, ``case_done(event, done, count)`` with the fields of the batch's status
    table, ``log_line(text)``, ``finished(failure or None, done, failed)``.

    Parameters
    ----------
    environment : EngineEnvironment
    """

    def __init__(self, environment: EngineEnvironment) -> None:
        self.begun, self.case_done, self.log_line, self.finished = (Signal() for _number in range(4))
        self._environment = environment
        self._process: Optional[ChildProcess] = None
        self._result: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        """Whether a batch is going on."""
        return self._process is not None

    def start(
        self, scans: str, output: str, *, model: str = "", device: str = "auto", again: bool = False
    ) -> Optional[Failure]:
        """Start a batch, or go on with the one in the output folder.

        Parameters
        ----------
        scans, output : str
            Folders.
        model : str
            Folder or id of a bundle; empty for the default one.
        device : {"auto", "cpu", "cuda"}
        again : bool
            Whether to do cases again that are done; those that were corrected or looked through are kept.

        Returns
        -------
        Failure or None
            Why it cannot start.
        """
        if self._environment.status() == "missing":
            return missing()
        arguments = ["batch", os.path.abspath(scans), "--output", os.path.abspath(output)]
        arguments += ["--overwrite" if again else "--resume", "--progress", "json", "--json", "--device", device]
        if model:
            arguments += ["--model", model]
        command = in_own_group(self._environment.python(), "PALNetLandmarksLib.engine.cli", arguments)
        process = self._process = ChildProcess(command, self._environment.process_environment(), tempfile.gettempdir())
        self._result = {}
        process.output_line.connect(self._said_result)
        process.error_line.connect(self._said)
        process.ended.connect(self._ended)
        process.start()
        return None

    def cancel(self) -> None:
        """Stop at once; what is done stays, and a later start goes on from there."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            self.finished.emit(cancelled(), 0, 0)

    def stop(self) -> None:
        """Stop without a word: the application ends or the module is closed."""
        process, self._process = self._process, None
        if process is not None:
            process.kill(wait_ms=500)

    def _said(self, line: str) -> None:
        event: Any = None
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                event = None
        if not isinstance(event, Mapping) or "event" not in event:
            self.log_line.emit(line)
        elif event["event"] == "begun":
            self.begun.emit(list(event["cases"]))
        elif event["event"] == "case":
            text = f"{event['case']}: {event['status']} {event.get('message', '')} {event.get('hint', '')}"
            self.log_line.emit(text.strip())
            self.case_done.emit(event, int(event["done"]), int(event["count"]))

    def _said_result(self, line: str) -> None:
        try:
            result = json.loads(line)
        except ValueError:
            self.log_line.emit(line)
            return
        if isinstance(result, dict):
            self._result = result

    def _ended(self, reason: str, exit_code: int) -> None:
        self._process = None
        if "done" in self._result:
            self.finished.emit(None, int(self._result["done"]), int(self._result["failed"]))
        elif isinstance(self._result.get("error"), Mapping):
            self.finished.emit(_batch_failure(self._result["error"]), 0, 0)
        elif reason == "not_started":
            self.finished.emit(not_started(), 0, 0)
        else:
            found = lost()
            hint = _("Press Start: the batch goes on where it stopped.")
            self.finished.emit(Failure(found.code, found.message, hint), 0, 0)


def _batch_failure(error: Mapping[str, Any]) -> Failure:
    hints = {
        "batch.locked": _("Wait for it, or choose another folder."),
        "batch.process": _("Press Start: the batch goes on where it stopped."),
    }
    found = failure(error)
    return Failure(found.code, found.message, hints.get(found.code, found.hint))


class TablesRun:
    """Makes the tables over all cases anew, in a process of its own with Slicer's Python: no engine is needed.

    Signals: ``finished(ok, text)``.

    Parameters
    ----------
    environment : EngineEnvironment
    """

    def __init__(self, environment: EngineEnvironment) -> None:
        self.finished = Signal()
        self._environment = environment
        self._process: Optional[ChildProcess] = None
        self._again = ""
        self._words: list[str] = []

    @property
    def running(self) -> bool:
        """Whether tables are being made."""
        return self._process is not None

    def start(self, folder: str) -> None:
        """Make them; when they are being made already, once more after that."""
        if self._process is not None:
            self._again = folder
            return
        environment = dict(os.environ)
        path = [str(LIBRARY), environment.get("PYTHONPATH", "")]
        environment.update({"PYTHONPATH": os.pathsep.join(part for part in path if part), "PYTHONUTF8": "1"})
        arguments = [os.path.abspath(folder)]
        command = in_own_group(self._environment.own_python(), "PALNetLandmarksLib.batch_tables", arguments)
        process = self._process = ChildProcess(command, environment, tempfile.gettempdir())
        self._words = []
        process.error_line.connect(self._words.append)
        process.ended.connect(self._ended)
        process.start()

    def stop(self) -> None:
        """Stop; the tables stay as they were."""
        process, self._process, self._again = self._process, None, ""
        if process is not None:
            process.kill(wait_ms=500)

    def _ended(self, reason: str, exit_code: int) -> None:
        self._process = None
        folder, self._again = self._again, ""
        if folder:
            self.start(folder)
            return
        good = reason == "finished" and exit_code == 0
        text = _("The tables are up to date.") if good else _("The tables could not be made.")
        self.finished.emit(good, " ".join([text, *([] if good else self._words[-1:])]))
