"""The dialog in which the engine is set up: its packages installed, removed, or another Python named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Optional

import qt
import slicer

from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment, found_python
from PALNetLandmarksLib.gui.engine_installer import EngineInstaller
from PALNetLandmarksLib.gui.engine_packages import LIST, Plan, kinds_for, plan, size_text
from PALNetLandmarksLib.gui.engine_results import Failure
from PALNetLandmarksLib.gui.engine_trial import GpuProbe, Trial
from PALNetLandmarksLib.gui.messages import Messages, showing_errors
from PALNetLandmarksLib.gui.signals import Signal, connect
from PALNetLandmarksLib.gui.text import _


class EngineDialog:
    """Set up the engine.

    Nothing is downloaded or changed before the user presses a button that says so.

    Signals: ``changed()`` when the engine is another one or gone: it is to be started anew.

    Parameters
    ----------
    widget : QWidget
        From ``EngineDialog.ui``; it is put into a dialog window.
    environment : EngineEnvironment
    messages : Messages
    stop_engine : callable
        Ends the running engine: its files may be replaced.
    """

    def __init__(
        self,
        widget: Any,
        environment: EngineEnvironment,
        messages: Messages,
        stop_engine: Callable[[], object],
        *,
        installer: Optional[EngineInstaller] = None,
        packages: Any = LIST,
        gpu_program: str = "nvidia-smi",
    ) -> None:
        self.changed = Signal()
        self.ui = slicer.util.childWidgetVariables(widget)
        self._environment, self._messages, self._stop_engine = environment, messages, stop_engine
        self._packages = packages
        self._gpu_program = gpu_program
        self._plan: Optional[Plan] = None
        self._trial: Optional[Trial] = None
        self._probe: Optional[GpuProbe] = None
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.setWindowTitle(_("Engine of PALNetLandmarks"))
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(widget)
        self.dialog.resize(600, 720)
        self._installer = installer or EngineInstaller(environment)
        self._installer.progress.connect(self._show_progress)
        self._installer.log_line.connect(self._log)
        self._installer.finished.connect(self._installed)
        ui = self.ui
        header = ui.packagesTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setStretchLastSection(True)
        ui.packagesTable.verticalHeader().hide()
        connect(ui.cpuButton, "toggled(bool)", self._plan_anew)
        connect(ui.installButton, "clicked()", self.install)
        connect(ui.removeButton, "clicked()", self.remove)
        connect(ui.usePythonButton, "clicked()", self.use_python)
        connect(ui.forgetPythonButton, "clicked()", self.forget_python)
        connect(ui.cancelButton, "clicked()", self.cancel)
        connect(ui.closeButton, "clicked()", self.dialog.close)
        ui.pythonPath.currentPath = environment.external_python
        self._plan_anew()

    def show(self) -> None:
        """Show the dialog; Slicer can be used meanwhile."""
        self.dialog.show()
        self.dialog.raise_()
        if self._probe is None and "cuda" in kinds_for(path=self._packages):
            self._probe = GpuProbe(self._environment.external_environment(), self._gpus_found, self._gpu_program)
            self._probe.start()

    def cleanup(self) -> None:
        """Stop everything and let go of the window."""
        if self._probe is not None:
            self._probe.stop()
        if self._trial is not None:
            self._trial.cancel()
            self._trial = None
        self._installer.cleanup()
        self.changed.clear()
        self.dialog.close()
        self.dialog.deleteLater()

    # --- what the user does

    def install(self) -> None:
        """Install what the table shows."""
        with showing_errors(self._messages):
            if self._plan is None:
                return
            self._stop_engine()
            self.ui.logText.clear()
            self._installer.install(
                self._plan, wheels=str(self.ui.wheelsFolder.currentPath), proxy=str(self.ui.proxyEdit.text).strip()
            )
            self._refresh()

    def remove(self) -> None:
        """Remove the private packages after asking."""
        with showing_errors(self._messages):
            if self._messages.confirm(_("Remove the engine's packages from this computer?")):
                self._stop_engine()
                self._installer.remove()
                self.changed.emit()
                self._refresh()

    def use_python(self) -> None:
        """Try the Python that the user named, and use it if the engine answers from it."""
        with showing_errors(self._messages):
            path = found_python(str(self.ui.pythonPath.currentPath))
            self._show_progress(0.1, _("Trying this Python. The first time takes up to a minute …"))
            self._trial = Trial(
                [path], self._environment.external_environment(), lambda facts, failure: self._tried(path, failure)
            )
            self._trial.log_line.connect(self._log)
            self._trial.start()
            self._refresh()

    def forget_python(self) -> None:
        """Use the private packages again."""
        self._stop_engine()
        self._environment.set_external_python("")
        self.ui.pythonPath.currentPath = ""
        self.changed.emit()
        self._refresh()

    def cancel(self) -> None:
        """Stop what is going on."""
        if self._trial is not None:
            self._trial.cancel()
            self._trial = None
            self._say(_("Cancelled."))
        self._installer.cancel()
        self._refresh()

    # --- what happens

    def _tried(self, path: str, failure: Optional[Failure]) -> None:
        self._trial = None
        if failure is None:
            self._stop_engine()
            self._environment.set_external_python(path)
            self._say(_("This Python is used from now on."))
            self.changed.emit()
        else:
            self._say(str(failure))
        self._refresh()

    def _installed(self, failure: Optional[Failure]) -> None:
        if failure is None:
            self._environment.set_external_python("")
            self._say(_("The engine is installed."))
            self.changed.emit()
        else:
            self._say(str(failure))
        self._refresh()

    def _gpus_found(self, names: list[str]) -> None:
        if names:
            self.ui.gpuButton.text = _("NVIDIA GPU ({name})").format(name=names[0])
            if not self._busy and self._environment.status() == "missing":
                self.ui.gpuButton.checked = True
        self._refresh()

    # --- what is shown

    @property
    def _busy(self) -> bool:
        return self._installer.running or self._trial is not None

    def _plan_anew(self) -> None:
        """Fill the table for the chosen device."""
        ui = self.ui
        try:
            self._plan = plan("cpu" if ui.cpuButton.checked else "cuda", path=self._packages)
        except LandmarkingError as error:
            self._plan = None
            ui.totalLabel.text = f"{error.message} {error.hint}".strip()
            ui.packagesTable.rowCount = 0
            self._refresh()
            return
        packages = self._plan.packages
        ui.packagesTable.rowCount = len(packages)
        for row, package in enumerate(packages):
            cells = (package.name, package.version, size_text(package.bytes), package.purpose)
            for column, text in enumerate(cells):
                ui.packagesTable.setItem(row, column, qt.QTableWidgetItem(text))
        self._show_total()
        self._refresh()

    def _show_total(self) -> None:
        assert self._plan is not None
        whole = _("Download about {download}, on the disk about {disk}, in {folder}.").format(
            download=size_text(self._plan.download_bytes),
            disk=size_text(self._plan.disk_bytes),
            folder=self._environment.packages_folder,
        )
        lines = [whole]
        if self._plan.more_bytes:
            brought = _("PyTorch brings NVIDIA's libraries along: {size} of it.")
            lines.append(brought.format(size=size_text(self._plan.more_bytes)))
        if self._plan.kind == "cpu" and self._plan.index and "cuda" in kinds_for(path=self._packages):
            larger = size_text(plan("cuda", path=self._packages).download_bytes)
            lines.append(
                _("If PyTorch's own index cannot be reached, its larger package is taken ({size}).").format(size=larger)
            )
        self.ui.totalLabel.text = " ".join(lines)

    def _refresh(self) -> None:
        ui, status, busy = self.ui, self._environment.status(), self._busy
        ui.statusLabel.text = self._status_text(status)
        kinds = kinds_for(path=self._packages)
        private = self._environment.packages_folder.exists()
        ui.cpuButton.enabled = not busy
        ui.gpuButton.enabled = not busy and "cuda" in kinds
        ui.installButton.enabled = not busy and self._plan is not None
        ui.installButton.text = _("Install again") if private else _("Install")
        ui.removeButton.enabled = not busy and private
        ui.usePythonButton.enabled = not busy
        ui.forgetPythonButton.enabled = not busy and status == "external"
        ui.wheelsFolder.enabled = ui.proxyEdit.enabled = ui.pythonPath.enabled = not busy
        ui.cancelButton.visible = ui.progressBar.visible = busy

    def _status_text(self, status: str) -> str:
        if status == "external":
            return _("The engine runs in the Python that you named: {path}").format(
                path=self._environment.external_python
            )
        if status == "private":
            facts = self._environment.installed()
            return _("The engine is installed: PyTorch {torch}, since {date}.").format(
                torch=facts.get("torch", ""), date=str(facts.get("installed_utc", ""))[:10]
            )
        if self._environment.too_old:
            return _(
                "The engine is not installed, and this Slicer's Python {version} is too old for its packages: use "
                "Slicer 5.10 or newer, or name another Python below."
            ).format(version="{}.{}".format(*sys.version_info[:2]))
        return _("The engine is not installed. It takes a download, once; after that nothing leaves this computer.")

    def _show_progress(self, fraction: float, text: str) -> None:
        self.ui.progressBar.value = int(100 * fraction)
        self._say(text)

    def _say(self, text: str) -> None:
        self.ui.progressLabel.text = text

    def _log(self, line: str) -> None:
        self.ui.logText.appendPlainText(line)
