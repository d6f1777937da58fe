"""The prediction engine: reading scans, registration, patches, networks, and the command line."""

import os
import sys

# PythonSlicer puts Slicer's own packages before those of PYTHONPATH: the engine's own, where the module installed them,
# go to the front here, before anything of the engine imports one.
_packages = os.environ.get("PALNET_ENGINE_PACKAGES", "")
if _packages and sys.path[:1] != [_packages]:
    sys.path.insert(0, _packages)
