"""What the engine needs to have installed: the list, its sizes, and where PyTorch comes from on this computer."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import read_text

from .text import _

#: Beside the module's own file, with its icons and .ui files.
LIST = Path(__file__).resolve().parents[2] / "Resources" / "Engine" / "packages.json"
KINDS = ("cpu", "cuda")


@dataclass(frozen=True)
class Package:
    """One package of the list.

    Parameters
    ----------
    name, version : str
    purpose : str
        What it is for, in words.
    bytes : int
        Size of its download.
    """

    name: str
    version: str
    purpose: str
    bytes: int

    @property
    def requirement(self) -> str:
        """The exact version, as pip wants it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Plan:
    """What would be installed on this computer.

    Parameters
    ----------
    kind : {"cpu", "cuda"}
    packages : tuple of Package
    index : str
        A further index to take PyTorch from; empty for the default one alone.
    more_bytes : int
        Download size of what PyTorch brings along by itself: the libraries for NVIDIA's GPUs.
    disk_bytes : int
        Space that all of it takes on the disk, with what is needed meanwhile.
    path : Path
        The list it was made from.
    """

    kind: str
    packages: Sequence[Package]
    index: str
    more_bytes: int
    disk_bytes: int
    path: Path = LIST

    @property
    def download_bytes(self) -> int:
        """Size of the download."""
        return sum(package.bytes for package in self.packages) + self.more_bytes


def system_name() -> str:
    """Name this system as the list does, for example ``linux-x86_64``, ``win-amd64`` or ``macos-arm64``."""
    system = {"linux": "linux", "win32": "win", "darwin": "macos"}.get(sys.platform, sys.platform)
    return f"{system}-{platform.machine().lower()}"


def plan(
    kind: str = "cpu", *, path: Path = LIST, system: Optional[str] = None, python: Optional[Sequence[int]] = None
) -> Plan:
    """Say what would be installed.

    Parameters
    ----------
    kind : {"cpu", "cuda"}
        Whether PyTorch is to compute on an NVIDIA GPU.
    path : Path
        The list; tests give a shorter one.
    system : str, optional
        As `system_name` gives it; default: this one.
    python : sequence of int, optional
        Version of the Python that gets the packages; default: this one.

    Raises
    ------
    InputError
        ``engine.python_old`` or ``engine.platform`` if there are no packages for this Python or system.
    """
    data = json.loads(read_text(path, what="list of packages"))
    version = tuple(python or sys.version_info[:2])[:2]
    oldest, newest = (tuple(data["python"][key]) for key in ("oldest", "newest"))
    if version < oldest:
        raise InputError(
            _("This Slicer has Python {found}; the engine needs Python {needed} or newer.").format(
                found=_dotted(version), needed=_dotted(oldest)
            ),
            _("Use Slicer 5.10 or newer, or name another Python that has the packages."),
            code="engine.python_old",
        )
    name = system or system_name()
    facts = data["systems"].get(name)
    if version > newest or facts is None or kind not in facts["torch"]:
        raise InputError(
            _("There are no packages of the engine for this system ({system}, Python {version}).").format(
                system=name, version=_dotted(version)
            ),
            _("Name another Python that has the packages."),
            code="engine.platform",
        )
    torch = facts["torch"][kind]
    packages = [_package(entry, facts["bytes"], torch, version) for entry in data["packages"]]
    return Plan(
        kind,
        tuple(package for package in packages if package is not None),
        str(torch.get("index", "")),
        int(torch.get("more_bytes", 0)),
        int(torch["disk_bytes"]),
        path,
    )


def kinds_for(system: Optional[str] = None, path: Path = LIST) -> tuple[str, ...]:
    """List the kinds of PyTorch that there are for this system."""
    facts = json.loads(read_text(path, what="list of packages"))["systems"].get(system or system_name())
    return () if facts is None else tuple(kind for kind in KINDS if kind in facts["torch"])


def _package(
    entry: Mapping[str, Any], sizes: Mapping[str, int], torch: Mapping[str, Any], python: Sequence[int]
) -> Optional[Package]:
    """Choose the version for a Python; None where that Python does not need the package."""
    for choice in entry["versions"]:
        if tuple(python) >= tuple(choice.get("python_from", (3, 0))):
            size = torch["bytes"] if entry["name"] == "torch" else sizes.get(entry["name"], entry.get("bytes", 0))
            return Package(entry["name"], choice["version"], entry["purpose"], int(size))
    return None


def size_text(size: float) -> str:
    """Write a size for people: ``12 MB``, ``2.5 GB``."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{max(size / 1e6, 0.1):.0f} MB" if size >= 1e6 else f"{max(size / 1e6, 0.1):.1f} MB"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)
