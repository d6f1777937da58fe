"""A stand-in for the 3D Slicer application: PySide6 dressed up as PythonQt, over Slicer's real libraries.

``install()`` puts the modules ``qt`` and ``ctk`` and the missing parts of ``slicer`` in place, once per process. It
only adds: what slicer-core brings stays as it is, so that tests of those libraries may run in the same process.
"""

from __future__ import annotations

import os

# Before PySide6 is loaded: no display, and no graphics card in the pictures.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.fonts.warning=false")

from .application import Host, install  # noqa: E402

__all__ = ["Host", "install"]
