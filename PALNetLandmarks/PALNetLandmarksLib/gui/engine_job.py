"""One request to the engine, from the question to the call with its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from PALNetLandmarksLib.errors import LandmarkingError

from . import engine_results as results
from .engine_results import Failure
from .mesh import Mesh

OnError = Callable[[Failure], None]
OnProgress = Callable[[str, float], None]


class Job:
    """One request to the engine."""

    def __init__(
        self, cancel: Callable[[Job], None], command: str, request: Mapping[str, Any], **functions: Any
    ) -> None:
        self.command, self.request = command, dict(request)
        self.mesh: Optional[Mesh] = None
        self.file: Optional[Path] = None
        self.number = 0
        self.over = False
        self.cancelling = False
        self._cancel = cancel
        self._read: Callable[[Mapping[str, Any]], Any] = functions["read"]
        self._on_result, self._on_error = functions["on_result"], functions["on_error"]
        self._on_progress: Optional[OnProgress] = functions.get("on_progress")

    def cancel(self) -> None:
        """Stop it; `on_error` comes with the code ``cancelled`` within 2 s. Nothing happens when it is over already."""
        self._cancel(self)

    def progress(self, stage: str, fraction: float) -> None:
        """Pass on how far it is."""
        if self._on_progress is not None and not self.over and not self.cancelling:
            self._on_progress(stage, fraction)

    def finish(self, event: Mapping[str, Any]) -> None:
        """Pass on the result."""
        try:
            result = self._read(event)
        except (LandmarkingError, KeyError, TypeError, ValueError):
            logging.exception("An answer of the engine could not be read")
            self.fail(results.not_understood())
            return
        if not self.over:
            self.over = True
            self.mesh = None
            self._on_result(result)

    def fail(self, failure: Failure) -> None:
        """Pass on why there is no result."""
        if not self.over:
            self.over = True
            self.mesh = None
            self._on_error(failure)
