"""Import Open3D where the system lacks one of the libraries its wheels expect.

Open3D's Linux wheels are linked against ``libusb-1.0.so.0`` (for depth cameras that this project never uses) but do
not bring it. Where the system has none, the copy inside the ``libusb-package`` wheel is loaded first: the dynamic
linker then finds the name already in the process.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from functools import lru_cache
from types import ModuleType

from PALNetLandmarksLib.errors import DeviceError


def _preload_libusb() -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL("libusb-1.0.so.0", mode=ctypes.RTLD_GLOBAL)
        return
    except OSError:
        pass
    if importlib.util.find_spec("libusb_package") is not None:
        library = importlib.import_module("libusb_package").get_library_path()
        if library is not None:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


@lru_cache(maxsize=1)
def open3d() -> ModuleType:
    """Return the ``open3d`` module.

    Raises
    ------
    DeviceError
        If Open3D cannot be imported.
    """
    try:
        _preload_libusb()
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"Open3D could not be loaded ({error}).",
            "Install it with 'pip install open3d libusb-package' in the Python that runs this program.",
            code="engine.open3d",
        ) from error
