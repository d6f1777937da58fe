"""Setting up the engine: real installations of tiny wheels by the real pip, and a real outside Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from engine_stand_ins import real_engine

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "PALNetLandmarks" / "Resources" / "UI" / "EngineDialog.ui"


def write_wheel(folder: Path, name: str, version: str = "1.0", megabytes: float = 0.0, requires: str = "") -> None:
    """Write a wheel with one module that says its version."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{module}/__init__.py": f"version = {version!r}\n",
        f"{module}/weight.bin": "x" * int(megabytes * 1e6),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, content)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels mit Ümlaut"
    folder.mkdir()
    write_wheel(folder, "palnet-test-one", megabytes=1)
    write_wheel(folder, "palnet-test-two", requires="palnet-test-one")
    return folder


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A short list in the form of the real one, for this system and this Python."""
    from PALNetLandmarksLib.gui.engine_packages import system_name

    torch = {"cpu": {"bytes": 5, "disk_bytes": 10_000_000}, "cuda": {"bytes": 7, "disk_bytes": 20_000_000}}
    data = {
        "python": {"oldest": [3, 8], "newest": [3, 99]},
        "packages": [
            {"name": name, "purpose": "tests", "bytes": size, "versions": [{"version": "1.0"}]}
            for name, size in (("palnet-test-one", 1_000_000), ("palnet-test-two", 2000))
        ],
        "systems": {system_name(): {"bytes": {}, "torch": torch}},
    }
    path = tmp_path / "packages.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def environment(host: Any, tmp_path: Path) -> Any:
    """No engine yet; this Python plays Slicer's own."""
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment

    return EngineEnvironment({}, tmp_path / "Einstellungen und mehr", own_python=[sys.executable])


@pytest.fixture
def installer(environment: Any) -> Iterator[Any]:
    from PALNetLandmarksLib.gui.engine_installer import EngineInstaller

    installer = EngineInstaller(environment)
    installer.ends = []  # type: ignore[attr-defined]
    installer.finished.connect(installer.ends.append)  # type: ignore[attr-defined]
    yield installer
    installer.cleanup()


def left_overs(environment: Any) -> list[str]:
    return [p.name for p in environment.packages_folder.parent.iterdir() if p.name.startswith((".partial", ".disc"))]


def test_install_offline_use_and_remove(
    environment: Any, installer: Any, packages: Path, wheels: Path, wait_until: Any, ui_blocking: Any
) -> None:
    from PALNetLandmarksLib.gui.engine_packages import plan

    shares, lines = [], []
    installer.progress.connect(lambda share, text: shares.append((share, text)))
    installer.log_line.connect(lines.append)
    with ui_blocking:
        installer.install(plan(path=packages), wheels=str(wheels))
        assert environment.status() == "missing"
        wait_until(lambda: installer.ends, 90, "the installation")
    assert installer.ends == [None], "\n".join(map(str, [*installer.ends, *lines]))
    assert ui_blocking.longest_work < 0.05
    assert environment.status() == "private"
    assert environment.installed()["packages"] == {"palnet-test-one": "1.0", "palnet-test-two": "1.0"}
    assert environment.installed()["torch"].startswith("2.")
    assert [share for share, _ in shares] == sorted(share for share, _ in shares) and shares[-1][0] == 1.0
    assert any("palnet-test-two" in text for _, text in shares)
    # What was installed goes before everything else that this Python has.
    found = subprocess.run(
        [*environment.python(), "-c", "import palnet_test_one; print(palnet_test_one.__file__)"],
        env=environment.process_environment(), capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert str(environment.packages_folder) in found.stdout
    wait_until(lambda: not left_overs(environment), 20, "tidiness")
    installer.remove()
    assert environment.status() == "missing" and not environment.packages_folder.exists()
    wait_until(lambda: not left_overs(environment), 20, "tidiness")


def test_cancel_leaves_the_old_packages_and_no_process(
    environment: Any, installer: Any, packages: Path, wheels: Path, wait_until: Any
) -> None:
    from PALNetLandmarksLib.gui.engine_environment import MARKER
    from PALNetLandmarksLib.gui.engine_packages import plan

    environment.packages_folder.mkdir(parents=True)
    (environment.packages_folder / MARKER).write_text("{}")
    installer.install(plan(path=packages), wheels=str(wheels))
    wait_until(lambda: installer._process is not None and installer._process._leader, 20, "pip")
    pip = psutil.Process(installer._process._leader)
    installer.cancel()
    assert [failure.code for failure in installer.ends] == ["cancelled"]
    wait_until(lambda: not pip.is_running() or pip.status() == psutil.STATUS_ZOMBIE, 5, "pip's end")
    wait_until(lambda: not left_overs(environment), 20, "tidiness")
    assert environment.status() == "private"
    installer.install(plan(path=packages), wheels=str(wheels))  # and it can begin again
    installer.cancel()


def test_an_engine_that_does_not_answer_is_not_put_in_place(
    environment: Any, installer: Any, packages: Path, wheels: Path, wait_until: Any
) -> None:
    from PALNetLandmarksLib.gui.engine_packages import plan

    (wheels / "palnet_test_one-1.0-py3-none-any.whl").unlink()
    write_wheel(wheels, "palnet-test-one")
    # A torch that is broken stands before this Python's own one.
    data = json.loads(packages.read_text())
    data["packages"].append({"name": "torch", "purpose": "x", "versions": [{"version": "9.9"}]})
    packages.write_text(json.dumps(data))
    write_wheel(wheels, "torch", "9.9")
    installer.install(plan(path=packages), wheels=str(wheels))
    wait_until(lambda: installer.ends, 60, "the end")
    assert installer.ends[0] is not None
    assert environment.status() == "missing" and not environment.packages_folder.exists()


def test_a_wheel_is_missing(
    environment: Any, installer: Any, packages: Path, wheels: Path, wait_until: Any, tmp_path: Path
) -> None:
    from PALNetLandmarksLib.errors import InputError
    from PALNetLandmarksLib.gui.engine_packages import plan

    (wheels / "palnet_test_two-1.0-py3-none-any.whl").unlink()
    installer.install(plan(path=packages), wheels=str(wheels))
    wait_until(lambda: installer.ends, 60, "the failure")
    assert installer.ends[0].code == "engine.wheels"
    assert "palnet-test-two" in installer.ends[0].message
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no wheels"):
        installer.install(plan(path=packages), wheels=str(empty))


def test_an_index_out_of_reach(
    environment: Any, installer: Any, packages: Path, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PALNetLandmarksLib.gui.engine_packages import plan

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    lines: list[str] = []
    installer.log_line.connect(lines.append)
    installer.install(plan(path=packages), proxy="http://user:secret@127.0.0.1:9")
    wait_until(lambda: installer.ends, 60, "the failure")
    assert installer.ends[0].code == "engine.network"
    assert "secret" not in "\n".join(lines)


def test_pytorchs_own_index_out_of_reach(
    environment: Any, installer: Any, packages: Path, wheels: Path, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default index is played by a folder; PyTorch's, with the small package for CPUs, does not answer."""
    from PALNetLandmarksLib.gui.engine_packages import plan, system_name

    data = json.loads(packages.read_text())
    data["packages"] = [{"name": "torch", "purpose": "x", "versions": [{"version": "9.9"}]}]
    data["systems"][system_name()]["torch"]["cpu"]["index"] = "http://127.0.0.1:9/whl/cpu"
    packages.write_text(json.dumps(data))
    write_wheel(wheels, "torch", "9.9")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", wheels.as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    link = wheels.parent / "links"
    link.mkdir()
    for wheel in wheels.glob("*.whl"):
        wheel.rename(link / wheel.name)
    monkeypatch.setenv("PIP_FIND_LINKS", str(link))
    lines: list[str] = []
    installer.log_line.connect(lines.append)
    installer.install(plan(path=packages))
    wait_until(lambda: installer.ends, 90, "the end")
    said = "\n".join(lines)
    assert "the larger package is taken" in said
    assert "Successfully installed torch-9.9" in said
    assert environment.status() == "missing", "this torch is none: it must not be put in place"


def test_too_little_space_is_said_before(environment: Any, installer: Any, packages: Path) -> None:
    from dataclasses import replace

    from PALNetLandmarksLib.errors import InputError
    from PALNetLandmarksLib.gui.engine_packages import plan

    with pytest.raises(InputError, match="disk has") as caught:
        installer.install(replace(plan(path=packages), disk_bytes=10**18))
    assert caught.value.code == "engine.disk"
    assert not installer.running


def test_two_slicers_do_not_install_at_the_same_time(
    environment: Any, installer: Any, packages: Path, wheels: Path
) -> None:
    from PALNetLandmarksLib.errors import InputError
    from PALNetLandmarksLib.gui.engine_installer import EngineInstaller
    from PALNetLandmarksLib.gui.engine_packages import plan

    installer.install(plan(path=packages), wheels=str(wheels))
    other = EngineInstaller(environment)
    with pytest.raises(InputError, match="Another Slicer"):
        other.install(plan(path=packages), wheels=str(wheels))
    assert installer.running


# --- which Python, and its environment


def test_slicers_own_python_sees_the_private_packages_first(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/slicer/lib")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/slicer/libs")
    path = environment.process_environment()["PYTHONPATH"].split(os.pathsep)
    assert path == [str(environment.packages_folder), str(ROOT / "PALNetLandmarks"), "/slicer/lib"]
    assert environment.process_environment()["LD_LIBRARY_PATH"] == "/slicer/libs"
    assert environment.packages_folder.name == "engine-py{}.{}".format(*sys.version_info[:2])


def test_an_outside_python_gets_the_environment_slicer_was_started_in(tmp_path: Path, host: Any) -> None:
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment

    start = {"PATH": "/usr/bin", "PYTHONHOME": "/slicer", "PYTHONPATH": "/slicer/lib", "HTTPS_PROXY": "p"}
    settings: dict[str, str] = {}
    environment = EngineEnvironment(settings, tmp_path, startup_environment=lambda: start)
    environment.set_external_python(sys.executable)
    found = environment.process_environment()
    assert found["PYTHONPATH"] == str(ROOT / "PALNetLandmarks")
    assert "PYTHONHOME" not in found
    assert (found["PATH"], found["HTTPS_PROXY"]) == ("/usr/bin", "p")
    assert environment.python() == [sys.executable]
    # The choice outlives Slicer, and can be taken back.
    assert EngineEnvironment(settings, tmp_path).status() == "external"
    environment.set_external_python("")
    assert EngineEnvironment(settings, tmp_path).status() == "missing"


def test_the_choice_is_kept_in_slicers_settings(host: Any) -> None:
    from PALNetLandmarksLib.gui.engine_environment import default_environment

    default_environment().set_external_python(sys.executable)
    assert default_environment().external_python == sys.executable
    default_environment().set_external_python("")
    assert default_environment().status() == "missing"


# --- the list of packages


def test_the_list_agrees_with_the_pinned_requirements(host: Any) -> None:
    from PALNetLandmarksLib.gui.engine_packages import kinds_for, plan

    text = (ROOT / "requirements.txt").read_text()
    for python in ((3, 10), (3, 11), (3, 12), (3, 13)):
        for system in ("linux-x86_64", "win-amd64", "macos-arm64"):
            for kind in kinds_for(system):
                for package in plan(kind, system=system, python=python).packages:
                    pins = re.findall(rf"^{package.name}==(\S+)(?: ; (.*))?$", text, re.MULTILINE)
                    fitting = [version for version, marker in pins if _holds(marker, python)]
                    assert fitting == [package.version], (package, python)
                    assert package.bytes > 1000, package


def _holds(marker: str, python: tuple[int, int]) -> bool:
    """Evaluate a marker of requirements.txt that speaks of the Python version only."""
    for part in filter(None, marker.split(" and ")):
        match = re.fullmatch(r"python_full_version (<|>=|==) '(\d+)\.(\d+)(\.\*)?'", part)
        assert match, part
        other = (int(match.group(2)), int(match.group(3)))
        if not {"<": python < other, ">=": python >= other, "==": python == other}[match.group(1)]:
            return False
    return True


@pytest.mark.parametrize(
    ("system", "python", "code"),
    [
        ("linux-x86_64", (3, 9), "engine.python_old"),
        ("linux-x86_64", (3, 14), "engine.platform"),
        ("macos-x86_64", (3, 12), "engine.platform"),
        ("linux-aarch64", (3, 12), "engine.platform"),
    ],
)
def test_systems_without_packages_are_told(host: Any, system: str, python: tuple[int, int], code: str) -> None:
    from PALNetLandmarksLib.errors import InputError
    from PALNetLandmarksLib.gui.engine_packages import plan

    with pytest.raises(InputError) as caught:
        plan(system=system, python=python)
    assert caught.value.code == code and "Python" in caught.value.hint


def test_linux_without_a_gpu_does_not_get_gigabytes(host: Any) -> None:
    from PALNetLandmarksLib.gui.engine_packages import plan

    small, large = (plan(kind, system="linux-x86_64", python=(3, 12)) for kind in ("cpu", "cuda"))
    assert small.index.endswith("/whl/cpu") and small.download_bytes < 300e6
    assert not large.index and large.download_bytes > 2e9
    assert plan("cuda", system="win-amd64", python=(3, 12)).index


# --- the dialog


@pytest.fixture
def dialog_of(host: Any, messages: Any, packages: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    import slicer

    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.panels.engine_dialog import EngineDialog

    made = []

    def make(environment: Any, gpu: str = "") -> Any:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{gpu or 'exit 9'}\n")
        program.chmod(0o755)
        stops: list[int] = []
        dialog = EngineDialog(
            slicer.util.loadUI(str(UI)), environment, Messages(), lambda: stops.append(1),
            packages=packages, gpu_program=str(program),
        )  # fmt: skip
        made.append(dialog)
        return SimpleNamespace(it=dialog, ui=dialog.ui, stops=stops)

    yield make
    for dialog in made:
        dialog.cleanup()


def test_the_dialog_installs_and_removes(
    dialog_of: Any, environment: Any, wheels: Path, messages: Any, wait_until: Any, screenshot: Any
) -> None:
    from slicer_host.user import click

    dialog = dialog_of(environment)
    ui = dialog.ui
    dialog.it.show()
    assert ui.packagesTable.rowCount == 2 and ui.packagesTable.item(0, 1).text() == "1.0"
    assert "not installed" in ui.statusLabel.text
    assert not environment.packages_folder.parent.exists(), "something was made before the user asked for it"
    changes: list[int] = []
    dialog.it.changed.connect(lambda: changes.append(1))
    ui.offlineBox.collapsed = False
    ui.wheelsFolder.currentPath = str(wheels)
    click(ui.installButton)
    wait_until(lambda: ui.progressBar.value > 0, 20, "progress")
    assert ui.cancelButton.visible and not ui.installButton.enabled
    screenshot("engine_dialog", dialog.it.dialog)
    wait_until(lambda: environment.status() == "private" and not dialog.it._busy, 60, "the engine")
    assert "installed" in ui.statusLabel.text and changes and dialog.stops
    assert "palnet" in ui.logText.plainText.lower()
    assert not ui.cancelButton.visible
    messages.answer("confirm", False)
    click(ui.removeButton)
    assert environment.status() == "private"
    messages.answer("confirm", True)
    click(ui.removeButton)
    assert environment.status() == "missing" and not ui.removeButton.enabled


def test_the_dialog_tries_an_outside_python(
    dialog_of: Any, environment: Any, tmp_path: Path, messages: Any, wait_until: Any
) -> None:
    from slicer_host.user import click

    dialog = dialog_of(environment)
    ui = dialog.ui
    dialog.it.show()
    ui.pythonPath.currentPath = str(tmp_path / "nothing")
    click(ui.usePythonButton)
    assert "no Python" in messages.texts("error")[0]
    # A Python without the packages.
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    ui.pythonPath.currentPath = str(bare)
    click(ui.usePythonButton)
    wait_until(lambda: not dialog.it._busy, 60, "the answer")
    assert "is not installed" in ui.progressLabel.text and environment.status() == "missing"
    # One that has them.
    ui.pythonPath.currentPath = sys.executable
    click(ui.usePythonButton)
    assert ui.cancelButton.visible
    wait_until(lambda: environment.status() == "external", 60, "the engine")
    assert sys.executable in ui.statusLabel.text
    click(ui.forgetPythonButton)
    assert environment.status() == "missing"


def test_a_gpu_is_found_and_offered(dialog_of: Any, environment: Any, wait_until: Any) -> None:
    dialog = dialog_of(environment, 'echo "GPU 0: NVIDIA RTX 4000 (UUID: GPU-1)"')
    dialog.it.show()
    wait_until(lambda: "RTX 4000" in dialog.ui.gpuButton.text, 10, "the GPU")
    assert dialog.ui.gpuButton.checked and dialog.it._plan.kind == "cuda"
    dialog.ui.cpuButton.checked = True
    assert dialog.it._plan.kind == "cpu"


def test_no_answer_from_the_gpu_means_cpu(dialog_of: Any, environment: Any, wait_until: Any) -> None:
    dialog = dialog_of(environment)
    dialog.it.show()
    wait_until(lambda: dialog.it._probe._over, 10, "no GPU")
    assert dialog.ui.cpuButton.checked and dialog.it._plan.kind == "cpu"


def test_a_named_python_is_shown(dialog_of: Any, tmp_path: Path) -> None:
    dialog = dialog_of(real_engine(tmp_path))
    assert dialog.ui.pythonPath.currentPath == sys.executable
    assert dialog.ui.forgetPythonButton.enabled


def test_private_packages_go_before_those_of_slicer(host: Any, tmp_path: Path) -> None:
    """PythonSlicer puts its own folders in front of PYTHONPATH; the engine must not get an older NumPy from there."""
    from PALNetLandmarksLib.gui.engine_environment import EngineEnvironment

    environment = EngineEnvironment({}, tmp_path, startup_environment=dict)
    private, of_slicer = tmp_path / "private", tmp_path / "slicer"
    for folder in (private, of_slicer):
        (folder / "palnet_probe").mkdir(parents=True)
        (folder / "palnet_probe" / "__init__.py").write_text("")
    variables = environment.private_environment(private)
    variables["PYTHONPATH"] = os.pathsep.join([str(of_slicer), variables["PYTHONPATH"]])
    code = "import PALNetLandmarksLib.engine, palnet_probe; print(palnet_probe.__file__)"
    said = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert Path(said.stdout.strip()).parent.parent == private
    assert "PALNET_ENGINE_PACKAGES" not in environment.external_environment()
