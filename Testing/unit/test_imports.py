"""The arrows of import point downwards only, nothing is unpickled or evaluated, and nothing talks to the network.

Every Python file of the project is parsed, never run. Each rule is also shown to fail on a small tree that breaks it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = "PALNetLandmarksLib"
MODULE_FOLDER = "PALNetLandmarks"

SLICER = {"qt", "slicer", "vtk", "ctk", "vtkmodules", "SlicerDevelopmentToolboxUtils"}
ENGINE_PACKAGES = {"torch", "open3d", "trimesh", "scipy", "safetensors"}
NETWORK = {"socket", "socketserver", "ssl", "urllib", "urllib3", "http", "httpx", "requests", "aiohttp", "ftplib",
           "smtplib", "xmlrpc", "telnetlib", "poplib", "imaplib", "websockets", "websocket"}  # fmt: skip
PICKLE_LIKE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
NEWER_THAN_3_9 = {"tomllib"}
FORBIDDEN_CALLS = {
    "eval", "exec", "builtins.eval", "builtins.exec", "torch.load", "torch.save", "torch.package.PackageImporter",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle", "numpy.lib.format.read_array",
}  # fmt: skip
# Layers, and what a file of a layer may not import. "lib" are the files that need numpy only; "module" is the Slicer
# module's own file; "script" is a file in the project's root.
FORBIDDEN_LAYERS = {
    "lib": {"gui", "engine", "training", "module"},
    "gui": {"engine", "training", "module"},
    "module": {"engine", "training"},
    "engine": {"gui", "training", "module"},
    "training": {"gui", "module"},
    "script": {"training"},
}
SLICER_SIDE = {"lib", "gui", "module"}


def python_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each Python file with its layer."""
    module = root / MODULE_FOLDER
    for path in sorted((module / LIBRARY).rglob("*.py")):
        below = path.relative_to(module / LIBRARY).parts
        yield path, below[0] if below[0] in ("gui", "engine") else "lib"
    yield from ((path, "module") for path in sorted(module.glob("*.py")))
    yield from ((path, "training") for path in sorted((root / "training_tools").rglob("*.py")))
    yield from ((path, "script") for path in sorted(root.glob("*.py")))


def layer_of(module: str) -> str | None:
    """Return the layer of an imported module of the project, None if it is not of the project."""
    parts = module.split(".")
    if parts[0] == "training_tools":
        return "training"
    if parts[0] == MODULE_FOLDER:
        return layer_of(".".join(parts[1:])) if parts[1:2] == [LIBRARY] else "module"
    if parts[0] != LIBRARY:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ("gui", "engine") else "lib"


def package_of(path: Path, root: Path) -> list[str]:
    base = root / MODULE_FOLDER if (root / MODULE_FOLDER) in path.parents else root
    return list(path.relative_to(base).parts[:-1])


def imports_of(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything imported, relative and literal dynamic imports too.

    For ``from a import b`` both ``a`` and ``a.b`` are named: b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = dotted(node.func)
            if name in ("importlib.import_module", "import_module", "__import__") and isinstance(
                node.args[0].value, str
            ):
                target = node.args[0].value
                level = len(target) - len(target.lstrip("."))
                above = package[: len(package) - level + 1] if level else []
                yield node.lineno, ".".join([*above, target.lstrip(".")])


def dotted(node: ast.AST) -> str:
    """Return the dotted name of an expression such as ``np.load``, '' if it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def aliases_of(tree: ast.AST) -> dict[str, str]:
    """Return the full name behind each imported local name."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def forbidden_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    aliases = aliases_of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, _, rest = dotted(node.func).partition(".")
        name = ".".join(part for part in (aliases.get(first, first), rest) if part)
        if name in FORBIDDEN_CALLS:
            yield node.lineno, f"calls {name}"
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True) is not False:
                yield node.lineno, "allows pickle"


def newer_than_3_9(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield what Python 3.9 parses but cannot run; only what is easily written by mistake."""
    annotations: set[int] = set()
    for node in ast.walk(tree):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        annotations.update(id(inner) for part in parts if part is not None for inner in ast.walk(part))
    future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" and
                 any(a.name == "annotations" for a in n.names) for n in tree.body)  # fmt: skip
    plain_types = {"str", "int", "float", "bool", "bytes", "list", "dict", "tuple", "set"}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and not (future and id(node) in annotations):
            for side in (node.left, node.right):
                if (isinstance(side, ast.Constant) and side.value is None) or dotted(side) in plain_types:
                    yield node.lineno, "joins types with | where Python 3.9 evaluates it"
        elif isinstance(node, ast.Call):
            name, keywords = dotted(node.func).split(".")[-1], {k.arg for k in node.keywords}
            if (name == "zip" and "strict" in keywords) or (name == "dataclass" and keywords & {"slots", "kw_only"}):
                yield node.lineno, f"gives {name} an argument that Python 3.9 does not know"


def violations(root: Path) -> list[str]:
    """Return a sentence for each breach of a rule in a source tree."""
    found: list[str] = []
    for path, layer in python_files(root):
        source, place = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        tree = ast.parse(source, place)
        for line, name in imports_of(tree, package_of(path, root)):
            top, target = name.split(".")[0], layer_of(name)
            if target in FORBIDDEN_LAYERS[layer]:
                found.append(f"{place}:{line}: a file of '{layer}' imports '{name}'")
            if top in NETWORK:
                found.append(f"{place}:{line}: imports the network module '{name}'")
            if top in PICKLE_LIKE:
                found.append(f"{place}:{line}: imports '{name}', which unpickles")
            if layer == "lib" and target is None and top != "numpy" and top not in sys.stdlib_module_names:
                found.append(f"{place}:{line}: a numpy-only file imports '{name}'")
            if layer in SLICER_SIDE and top in ENGINE_PACKAGES and layer != "lib":
                found.append(f"{place}:{line}: a file on Slicer's side imports '{name}'")
            if layer in SLICER_SIDE and top in NEWER_THAN_3_9:
                found.append(f"{place}:{line}: '{name}' is newer than Python 3.9")
            if layer in ("engine", "training") and top in SLICER - {"vtk", "vtkmodules"}:
                found.append(f"{place}:{line}: a file of '{layer}' imports Slicer's '{name}'")
        found += [f"{place}:{line}: {what}" for line, what in forbidden_calls(tree)]
        if layer in SLICER_SIDE:
            try:
                ast.parse(source, place, feature_version=(3, 9))
            except SyntaxError as error:
                found.append(f"{place}:{error.lineno}: is no Python 3.9: {error.msg}")
            found += [f"{place}:{line}: {what}" for line, what in newer_than_3_9(tree)]
    return sorted(set(found))


def test_the_project_keeps_the_rules() -> None:
    assert violations(PROJECT) == []


def test_the_project_is_found() -> None:
    layers = {layer for _, layer in python_files(PROJECT)}
    assert {"lib", "engine", "training"} <= layers


LIB, GUI = f"{MODULE_FOLDER}/{LIBRARY}/protocol.py", f"{MODULE_FOLDER}/{LIBRARY}/gui/panel.py"
ENGINE, DEEP = f"{MODULE_FOLDER}/{LIBRARY}/engine/scan.py", f"{MODULE_FOLDER}/{LIBRARY}/engine/networks/palnet.py"
MODULE, TRAINING, SCRIPT = f"{MODULE_FOLDER}/{MODULE_FOLDER}.py", "training_tools/train.py", "run.py"

BREACHES = [
    # numpy-only files
    (LIB, "import scipy.spatial", "numpy-only file imports 'scipy.spatial'"),
    (LIB, "def f():\n    import torch", "numpy-only file imports 'torch'"),
    (LIB, f"from {LIBRARY}.engine import scan", "'lib' imports"),
    (LIB, f"import {LIBRARY}.engine.scan", "'lib' imports"),
    (LIB, f"from {LIBRARY} import engine", "'lib' imports"),
    (LIB, "from .engine import scan", "'lib' imports"),
    (LIB, "from . import gui", "'lib' imports"),
    (LIB, f"import importlib\nimportlib.import_module('{LIBRARY}.engine.scan')", "'lib' imports"),
    (LIB, "import importlib\nimportlib.import_module('.engine.scan', __package__)", "'lib' imports"),
    (LIB, "import vtk", "numpy-only file imports 'vtk'"),
    (LIB, "import tomllib", "newer than Python 3.9"),
    (LIB, "match 3:\n    case 3:\n        pass", "is no Python 3.9"),
    (LIB, "PathLike = str | None", "joins types with |"),
    (LIB, "def f(x: int | None): ...", "joins types with |"),
    (LIB, "from __future__ import annotations\nisinstance(3, int | float)", "joins types with |"),
    (LIB, "zip([1], [2], strict=True)", "zip an argument"),
    (LIB, "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A: ...", "dataclass an argument"),
    # gui and the module's file
    (GUI, f"from {LIBRARY}.engine.scan import Scan", "'gui' imports"),
    (GUI, "from ..engine.scan import Scan", "'gui' imports"),
    (GUI, f"from {MODULE_FOLDER}.{LIBRARY} import engine", "'gui' imports"),
    (GUI, "import training_tools.train", "'gui' imports"),
    (GUI, "import torch", "Slicer's side imports 'torch'"),
    (GUI, "match 3:\n    case 3:\n        pass", "is no Python 3.9"),
    (MODULE, f"from {LIBRARY}.engine import scan", "'module' imports"),
    (MODULE, "import open3d", "Slicer's side imports 'open3d'"),
    # engine
    (ENGINE, "from training_tools import train", "'engine' imports"),
    (ENGINE, f"import {LIBRARY}.gui.panel", "'engine' imports"),
    (DEEP, "from ...gui import panel", "'engine' imports"),
    (ENGINE, "import slicer", "imports Slicer's 'slicer'"),
    # nobody imports training_tools
    (LIB, "import training_tools", "'lib' imports"),
    (SCRIPT, "from training_tools import train", "'script' imports"),
    (TRAINING, f"from {LIBRARY}.gui import panel", "'training' imports"),
    # pickle and evaluation
    (ENGINE, "import pickle", "unpickles"),
    (TRAINING, "from joblib import load", "unpickles"),
    (ENGINE, "import torch\ntorch.load('w.pt', weights_only=True)", "calls torch.load"),
    (ENGINE, "import torch as t\nt.load('w.pt')", "calls torch.load"),
    (ENGINE, "from torch import load as read\nread('w.pt')", "calls torch.load"),
    (TRAINING, "import torch\ntorch.save({}, 'w.pt')", "calls torch.save"),
    (ENGINE, "import numpy as np\nnp.load('a.npy', allow_pickle=True)", "allows pickle"),
    (ENGINE, "import numpy as np\nflag = 1\nnp.load('a.npy', allow_pickle=flag)", "allows pickle"),
    (LIB, "eval('3')", "calls eval"),
    (SCRIPT, "exec('a = 3')", "calls exec"),
    (TRAINING, "import yaml\nyaml.load('a: 3', Loader=None)", "calls yaml.load"),
    # network
    (LIB, "import socket", "network module 'socket'"),
    (GUI, "from urllib import request", "network module 'urllib'"),
    (ENGINE, "import http.client", "network module 'http.client'"),
    (TRAINING, "import requests", "network module 'requests'"),
]


@pytest.mark.parametrize(
    ("place", "source", "sentence"), BREACHES, ids=[f"{b[0].split('/')[-2:]}-{b[2]}" for b in BREACHES]
)
def test_a_breach_is_found(tmp_path: Path, place: str, source: str, sentence: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert any(sentence in breach and breach.startswith(f"{place}:") for breach in found), found


@pytest.mark.parametrize(
    ("place", "source"),
    [
        (
            LIB,
            "from __future__ import annotations\nimport numpy as np\nfrom .errors import InputError\nx: int | None = 3",
        ),
        (LIB, f"from {LIBRARY}.protocol import Protocol\nflags = 1 | 2\nnp = None"),
        (GUI, f"import qt, slicer, vtk\nfrom {LIBRARY}.protocol import Protocol\nfrom . import scene"),
        (MODULE, f"import slicer\nfrom {LIBRARY}.gui import panel"),
        (
            ENGINE,
            "import torch, vtk, scipy, numpy as np\nnetwork = None\nnetwork.eval()\nnp.load('a', allow_pickle=False)",
        ),
        (DEEP, f"from {LIBRARY}.engine.scan import Scan\nfrom ..scan import Scan\nmatch 3:\n    case 3:\n        pass"),
        (TRAINING, f"from {LIBRARY}.engine import scan\nfrom . import report\nimport json\njson.load(None)"),
        (SCRIPT, "import subprocess, venv"),
        ("Testing/unit/test_train.py", "import training_tools, pickle"),
    ],
)
def test_what_is_allowed_is_not_blamed(tmp_path: Path, place: str, source: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []
