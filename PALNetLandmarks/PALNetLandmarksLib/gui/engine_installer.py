"""Installing the engine's packages into a private folder, and taking them away again.

pip installs into a new folder beside the one in use; only when an engine has answered from there it takes the place of
the old one. Slicer's own packages are never touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Optional

import qt

from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.files import atomic_write, raise_write_error, try_lock
from PALNetLandmarksLib.landmarks import utc_text

from .engine_environment import MARKER, EngineEnvironment
from .engine_packages import Plan, plan, size_text
from .engine_pip import pip_failure, without_password
from .engine_process import ChildProcess, in_own_group
from .engine_results import Failure, cancelled
from .engine_trial import Trial
from .signals import Signal, connect
from .text import _

_PARTIAL, _DISCARDED, _LOCK = ".partial-", ".discarded-", ".installing"
#: Shares of the whole at which the steps end.
_DOWNLOADED, _INSTALLED = 0.75, 0.95
#: pip says ``Collecting NAME==…``, then ``Downloading NAME-1.0-….whl`` or ``Processing FOLDER/NAME-1.0-….whl``.
_BEGUN = (
    re.compile(r"Collecting ([A-Za-z0-9_.]+(?:-[A-Za-z0-9_.]+)*)"),
    re.compile(r"(?:Processing|Downloading|Using cached) (?:.*[/\\])?([A-Za-z0-9_.]+)-\d\S*\.whl(?!\.metadata)"),
)


class EngineInstaller:
    """Installs and removes the private packages; one thing at a time.

    Signals: ``progress(fraction, text)``, ``log_line(text)``, ``finished(failure or None)``.

    Parameters
    ----------
    environment : EngineEnvironment
    """

    def __init__(self, environment: EngineEnvironment) -> None:
        self.progress, self.log_line, self.finished = Signal(), Signal(), Signal()
        self._environment = environment
        self._process: Optional[ChildProcess] = None
        self._trial: Optional[Trial] = None
        self._partial: Optional[Path] = None
        self._plan: Optional[Plan] = None
        self._source: dict[str, str] = {}
        self._fallback = False
        self._lines: list[str] = []
        self._started: list[str] = []  # packages in the order in which pip began with them
        self._lock: Optional[IO[bytes]] = None
        self._timer = qt.QTimer()
        self._timer.setInterval(500)
        connect(self._timer, "timeout()", self._look)

    @property
    def running(self) -> bool:
        """Whether something is being installed."""
        return self._partial is not None

    def install(self, what: Plan, *, wheels: str = "", proxy: str = "") -> None:
        """Begin to install; the end comes by `finished`.

        Parameters
        ----------
        what : Plan
        wheels : str
            Folder with the packages' wheels, to install without a network.
        proxy : str
            ``http://[user:password@]host:port``; empty to take it from the environment and pip's own settings.

        Raises
        ------
        InputError
            If there is not enough space, the folder cannot be written to, or there are no wheels in `wheels`.
        """
        if self.running:
            raise InputError(_("An installation is going on."), _("Wait for it, or cancel it."), code="engine.busy")
        if wheels and not any(Path(wheels).glob("*.whl")):
            raise InputError(
                _("There are no wheels (.whl files) in this folder."),
                _("Choose the folder that the packages were downloaded to."),
                code="engine.wheels",
            )
        base = self._environment.packages_folder.parent
        try:
            base.mkdir(parents=True, exist_ok=True)
            check_space(base, what)
            self._take_lock(base)
            self._sweep(base)
            self._partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=str(base)))
            for name in ("packages", "tmp"):
                (self._partial / name).mkdir()
        except OSError as error:
            self._partial = None
            self._let_lock_go()
            raise_write_error(error, base)
        self._plan, self._source, self._fallback = what, {"wheels": wheels, "proxy": proxy}, False
        self.progress.emit(0.0, _("Looking for the packages …"))
        self._run_pip()

    def cancel(self) -> None:
        """Stop and remove what was installed so far."""
        if self.running:
            self._end(cancelled())

    def remove(self) -> None:
        """Remove the private packages."""
        folder = self._environment.packages_folder
        if folder.exists():
            self._discard(folder)

    def cleanup(self) -> None:
        """Stop everything; the dialog is closed."""
        self.cancel()
        for signal in (self.progress, self.log_line, self.finished):
            signal.clear()

    # --- pip

    def _run_pip(self) -> None:
        assert self._plan is not None and self._partial is not None
        requirements = self._partial / "requirements.txt"
        local = "+cpu" if self._strict else ""
        lines = [p.requirement + (local if p.name == "torch" else "") for p in self._plan.packages]
        with atomic_write(requirements) as file:
            file.write("\n".join(lines) + "\n")
        arguments = [
            "install", "--target", str(self._partial / "packages"), "--requirement", str(requirements),
            "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--no-cache-dir",
            "--progress-bar", "off", "--no-warn-script-location", "--retries", "2",
            "--no-compile",  # Python compiles what it uses when it uses it: that takes a tenth of the time
        ]  # fmt: skip
        if self._source["wheels"]:
            arguments += ["--no-index", "--find-links", self._source["wheels"]]
        elif self._plan.index and not self._fallback:
            arguments += ["--extra-index-url", self._plan.index]
        if self._source["proxy"]:
            arguments += ["--proxy", self._source["proxy"]]
        environment = dict(os.environ)
        environment.update({"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1", "PIP_NO_COLOR": "1"})
        for name in ("PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT"):
            environment.pop(name, None)
        # pip unpacks into its temporary folder and then moves: on the same disk that costs no time and no space.
        for name in ("TMPDIR", "TEMP", "TMP"):
            environment[name] = str(self._partial / "tmp")
        self._lines, self._started = [], []
        command = in_own_group(self._environment.own_python(), "pip", arguments)
        process = self._process = ChildProcess(command, environment, str(self._partial / "tmp"))
        process.output_line.connect(self._said)
        process.error_line.connect(self._said)
        process.ended.connect(self._pip_ended)
        self._timer.start()
        process.start()

    @property
    def _strict(self) -> bool:
        """Whether only PyTorch's small package for CPUs will do; PyPI's brings gigabytes for GPUs on Linux."""
        assert self._plan is not None
        return bool(self._plan.index) and self._plan.kind == "cpu" and not self._source["wheels"] and not self._fallback

    def _said(self, line: str) -> None:
        self._lines.append(line)
        self.log_line.emit(without_password(line))
        assert self._plan is not None
        if line.startswith("Installing collected packages"):
            self.progress.emit(_DOWNLOADED, _("Unpacking the packages. This takes a minute or two …"))
            return
        for found in filter(None, (pattern.match(line.strip()) for pattern in _BEGUN)):
            name = _normal(found.group(1))
            if name not in self._started:
                self._started.append(name)
            self._look()

    def _look(self) -> None:
        """Say how far the download is: what pip has begun, and the size of the file that is coming in."""
        if self._plan is None or self._partial is None or not self._started or self._process is None:
            return
        if any(line.startswith("Installing collected") for line in self._lines):
            return
        sizes = {_normal(package.name): package.bytes for package in self._plan.packages}
        done = sum(sizes.get(name, 0) for name in self._started[:-1])
        done += min(_incoming(self._partial / "tmp"), sizes.get(self._started[-1], 10**12))
        fraction = min(done / max(self._plan.download_bytes, 1), 1.0) * _DOWNLOADED
        text = _("Package {n} of about {m}: {name}, {done} of about {whole}").format(
            n=len(self._started), m=max(len(self._plan.packages), len(self._started)), name=self._started[-1],
            done=size_text(done), whole=size_text(self._plan.download_bytes),
        )  # fmt: skip
        self.progress.emit(fraction, text)

    def _pip_ended(self, reason: str, exit_code: int) -> None:
        assert self._plan is not None
        self._timer.stop()
        self._process = None
        if reason == "finished" and exit_code == 0:
            self._try_out()
            return
        text = "\n".join(self._lines)
        if self._strict and re.search(r"No matching distribution found for torch|download\.pytorch\.org", text):
            self._fall_back()
            return
        self._end(pip_failure(text, reason, offline=bool(self._source["wheels"])))

    def _fall_back(self) -> None:
        """Take PyTorch from the default index where its own one is out of reach, if there is room for that."""
        assert self._plan is not None and self._partial is not None
        try:
            larger = plan("cuda", path=self._plan.path)
            check_space(self._partial, larger)
        except LandmarkingError as error:
            self._end(Failure("engine.index", _("PyTorch's packages for CPUs could not be reached."), error.message))
            return
        self._fallback = True
        note = _("PyTorch's own index could not be reached: the larger package is taken ({size}).")
        self.log_line.emit(note.format(size=size_text(larger.download_bytes)))
        self._plan = larger
        for name in ("packages", "tmp"):
            shutil.rmtree(self._partial / name, ignore_errors=True)
            (self._partial / name).mkdir()
        self._run_pip()

    # --- trying it out, and the end

    def _try_out(self) -> None:
        assert self._partial is not None
        self.progress.emit(_INSTALLED, _("Trying the engine …"))
        environment = self._environment.private_environment(self._partial / "packages")
        self._trial = Trial(self._environment.own_python(), environment, self._tried)
        self._trial.log_line.connect(self.log_line.emit)
        self._trial.start()

    def _tried(self, facts: dict[str, Any], failure: Optional[Failure]) -> None:
        self._trial = None
        if failure is not None:
            self._end(failure)
            return
        try:
            self._put_in_place(facts)
        except (OSError, LandmarkingError):
            message = _("The packages could not be put in their place.")
            self._end(Failure("engine.place", message, _("Close other Slicer windows and try again.")))
            return
        self._end(None)

    def _put_in_place(self, facts: dict[str, Any]) -> None:
        assert self._partial is not None and self._plan is not None
        packages, target = self._partial / "packages", self._environment.packages_folder
        record = {
            "kind": self._plan.kind,
            "packages": {package.name: package.version for package in self._plan.packages},
            "torch": facts.get("torch", ""),
            "installed_utc": utc_text(),
        }
        with atomic_write(packages / MARKER) as file:
            json.dump(record, file, indent=1)
        if target.exists():
            self._discard(target)
        os.replace(packages, target)

    def _take_lock(self, base: Path) -> None:
        self._lock = open(base / _LOCK, "wb")  # noqa: SIM115 - held as long as the installation goes on
        if not try_lock(self._lock):
            self._let_lock_go()
            raise InputError(
                _("Another Slicer is installing the engine."), _("Wait until it is done."), code="engine.busy"
            )

    def _let_lock_go(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end(self, failure: Optional[Failure]) -> None:
        self._timer.stop()
        if self._process is not None:
            self._process.kill()
            self._process = None
        if self._trial is not None:
            self._trial.cancel()
            self._trial = None
        partial, self._partial = self._partial, None
        if partial is not None:
            self._discard(partial)
        self._let_lock_go()
        if failure is None:
            self.progress.emit(1.0, _("The engine is installed."))
        self.finished.emit(failure)

    def _discard(self, folder: Path) -> None:
        """Take a folder out of the way at once, and have its thousands of files deleted by another process."""
        away = Path(tempfile.mkdtemp(prefix=_DISCARDED, dir=str(folder.parent)))
        try:
            os.replace(folder, away / "it")
        except OSError:  # Windows: a file of it is open still; what is left is swept the next time
            with contextlib.suppress(OSError):
                (folder / MARKER).unlink()
        self._delete(away)

    def _delete(self, folder: Path) -> None:
        """Delete a folder in a process that outlives Slicer; what it does not manage is swept the next time."""
        code = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"
        with contextlib.suppress(OSError):
            subprocess.Popen(
                [*self._environment.own_python(), "-c", code, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    def _sweep(self, base: Path) -> None:
        """Delete what earlier installations left behind when Slicer ended in the middle."""
        for folder in base.glob(_DISCARDED + "*"):
            self._delete(folder)
        for folder in base.glob(_PARTIAL + "*"):
            self._discard(folder)


def check_space(folder: Path, what: Plan) -> None:
    """Make sure that the disk has room.

    Raises
    ------
    InputError
        ``engine.disk``.
    """
    free = shutil.disk_usage(str(folder)).free
    if free < what.disk_bytes:
        raise InputError(
            _("The packages need about {needed}, and the disk has {free} free.").format(
                needed=size_text(what.disk_bytes), free=size_text(free)
            ),
            _("Free some space on the disk that holds Slicer's settings."),
            code="engine.disk",
        )


def _incoming(folder: Path) -> int:
    """Return the size of the files that pip is downloading now."""
    size = 0
    try:
        for part in os.scandir(folder):
            if part.is_dir() and part.name.startswith("pip-unpack"):
                size += max((file.stat().st_size for file in os.scandir(part.path)), default=0)
    except OSError:
        return 0
    return size


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
