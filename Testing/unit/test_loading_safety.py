"""What comes from elsewhere is loaded as data only: no pickle, whole bundles, archives that are looked into first."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays, save as save_arrays

from PALNetLandmarksLib.engine import bundle_archive
from PALNetLandmarksLib.engine.bundle import DESCRIPTION, WEIGHTS, load_bundle
from PALNetLandmarksLib.engine.bundle_archive import import_bundle
from PALNetLandmarksLib.engine.cli import main
from PALNetLandmarksLib.errors import BundleError, InputError, LandmarkingError, UsageError
from PALNetLandmarksLib.resources import bundled_models
from Testing.unit.test_bundle import edited, make_bundle
from Testing.unit.test_imports import PROJECT, aliases_of, dotted, python_files

# --- the syntax trees

UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle",
              "yaml", "pandas"}  # fmt: skip
RUNS_TEXT = {"eval", "exec", "compile", "torch.load", "torch.jit.load", "torch.hub.load", "torch.serialization.load",
             "torch.package.PackageImporter", "torch.export.load", "runpy.run_path", "runpy.run_module"}  # fmt: skip
# These import what a table of ours names; opening.py also a reader that the user names on the command line.
BY_TABLE = {"engine/cli.py", "networks/__init__.py", "datasets/opening.py", "training_tools/recipes.py",
            "training_tools/__main__.py"}  # fmt: skip


def unsafe(source: str) -> Iterator[str]:
    """Yield what of a file could run something that it reads."""
    tree = ast.parse(source)
    aliases = aliases_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("__import__", "import_module"):
            named = node.args[0] if node.args else None
            if not isinstance(named, ast.Constant) or named.value in UNPICKLERS:
                yield "imports what it does not say"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names]
            yield from (f"imports {name}" for name in names if name in UNPICKLERS or name.split(".")[0] in UNPICKLERS)
        if not isinstance(node, (ast.Call, ast.Attribute, ast.Name)):
            continue
        called = isinstance(node, ast.Call)
        first, _, rest = dotted(node.func if called else node).partition(".")
        name = ".".join(part for part in (aliases.get(first, first), rest) if part).replace("builtins.", "")
        # Also where it is only named: it could be called under another name.
        if name in RUNS_TEXT and not (name == "compile" and not called):
            yield f"names {name}"
        if not called:
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        pickled = given.get("allow_pickle")
        if name == "numpy.load" and not (isinstance(pickled, ast.Constant) and pickled.value is False):
            yield "calls numpy.load without allow_pickle=False"
        elif pickled is not None and not (isinstance(pickled, ast.Constant) and pickled.value is False):
            yield f"allows pickle in {name}"
        if None in given and name == "numpy.load":
            yield "hides the arguments of numpy.load"


def test_nothing_that_is_read_can_run() -> None:
    found = {}
    files = [*(path for path, _ in python_files(PROJECT)), *sorted((PROJECT / "Testing").rglob("*.py"))]
    for path in files:
        if path.name in ("test_imports.py", "test_loading_safety.py"):  # they hold the bad examples
            continue
        wrong = sorted(set(unsafe(path.read_text(encoding="utf-8"))))
        if "Testing" in path.parts:  # tests run code of ours in other processes and pickle what processes exchange
            wrong = [item for item in wrong if "numpy.load" in item or "torch" in item or "yaml" in item]
        if "/".join(path.parts[-2:]) in BY_TABLE:
            wrong = [item for item in wrong if item != "imports what it does not say"]
        if wrong:
            found[path.relative_to(PROJECT).as_posix()] = wrong
    assert len(files) > 300
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load('a.npy')",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "import numpy as np\nflag = False\nnp.load('a.npy', allow_pickle=flag)",
        "import numpy as np\nnp.load('a.npy', **{'allow_pickle': True})",
        "from numpy import load\nload('a.npy')",
        "import numpy as np\nnp.savez('a.npz', allow_pickle=True)",
        "import torch\ntorch.load('a.pt')",
        "import torch\nread = torch.load\nread('a.pt')",
        "import torch as t\nt.jit.load('a.pt')",
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import joblib",
        "def f():\n    import marshal",
        "import shelve",
        "import yaml\nyaml.load('')",
        "eval('1')",
        "f = exec",
        "import builtins\nbuiltins.eval('1')",
        "__import__('pickle')",
        "import importlib\nimportlib.import_module('pickle')",
        "import importlib\nimportlib.import_module('pic' + 'kle')",
        "from importlib import import_module\nimport_module('pickle')",
    ],
)
def test_the_walk_finds(source: str) -> None:
    assert list(unsafe(source))


def test_the_walk_leaves_alone() -> None:
    fine = "import re, torch\nimport numpy as np\nre.compile('a')\nnetwork = torch.nn.Linear(1, 1)\nnetwork.eval()\n"
    assert not list(unsafe(fine + "np.load('a', allow_pickle=False)\n"))


# --- bundles


def test_the_shipped_bundles_are_whole() -> None:
    for folder in bundled_models():
        load_bundle(folder).network_with_weights()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made" / "tiny")


def test_a_changed_byte_is_found_before_anything_is_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PALNetLandmarksLib.engine import bundle

    def parsed(content: bytes) -> dict[str, np.ndarray]:
        raise AssertionError("a damaged file was parsed")

    monkeypatch.setattr(bundle, "load_arrays", parsed)
    for file in sorted(folder.iterdir()):
        if file.name == DESCRIPTION:
            continue
        whole = file.read_bytes()
        for place in np.random.default_rng(7).integers(0, len(whole), 20):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(BundleError) as caught:
                load_bundle(folder)
            assert caught.value.code == "bundle.damaged"
        file.write_bytes(whole)


def reweighted(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """Change the weights and enter their new digest, as somebody would who means it."""
    import hashlib

    arrays = dict(load_arrays((folder / WEIGHTS).read_bytes()))
    change(arrays)
    content = save_arrays(arrays)
    (folder / WEIGHTS).write_bytes(content)
    files = json.loads((folder / DESCRIPTION).read_text())["files"]
    return edited(folder, files={**files, WEIGHTS: hashlib.sha256(content).hexdigest()})


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    def transpose(arrays: dict[str, np.ndarray]) -> None:
        name = next(name for name, array in arrays.items() if array.ndim == 2 and array.shape[0] != array.shape[1])
        arrays[name] = np.ascontiguousarray(arrays[name].T)

    changes: list[Callable[[dict[str, np.ndarray]], object]] = [
        transpose,
        lambda arrays: arrays.pop(min(arrays)),
        lambda arrays: arrays.update(surprise=np.zeros(3, np.float32)),
    ]
    for change in changes:
        bundle = reweighted(make_bundle(folder), change)  # type: ignore[arg-type]
        with pytest.raises(BundleError) as caught:
            load_bundle(bundle).network_with_weights()
        assert caught.value.code == "bundle.shape"


# --- archives


def packed(folder: Path, archive: Path, *, below: str = "", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", compression) as opened:
        for file in sorted(folder.iterdir()):
            opened.write(file, below + file.name)
    return archive


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("below", ["", "a model/"])
def test_an_archive_is_imported(folder: Path, tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]) -> None:
    archive = packed(folder, tmp_path / "m.zip", below=below)
    output = tmp_path / "models"
    assert main(["models", "import", str(archive), "--output", str(output), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["id"], Path(facts["path"])) == ("tiny", output / "tiny")
    assert content(output / "tiny") == content(folder)
    assert [item.name for item in output.iterdir()] == ["tiny"]
    if os.name == "posix":
        assert stat.S_IMODE((output / "tiny").stat().st_mode) == 0o755
    assert main(["models", "verify", str(output / "tiny")]) == 0
    # A second time: what is there is not replaced.
    assert main(["models", "import", str(archive), "--output", str(output)]) == 2
    assert content(output / "tiny") == content(folder)


def added(name: str, text: bytes = b"x", mode: int = 0o100644) -> Callable[[zipfile.ZipFile], None]:
    def add(opened: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name  # as it is: the constructor would tidy it
        entry.create_system, entry.external_attr = 3, mode << 16
        opened.writestr(entry, text)

    return add


OUTSIDE, LINK, FOREIGN = "outside the model's folder", "a link or a special file", "a file that belongs to no model"


@pytest.mark.parametrize(
    ("add", "says"),
    [
        (added("../weights.safetensors"), OUTSIDE),
        (added("../../etc/MODEL_CARD.md"), OUTSIDE),
        (added("/MODEL_CARD.md"), OUTSIDE),
        (added("/tmp/MODEL_CARD.md"), OUTSIDE),
        (added("a/../../MODEL_CARD.md"), OUTSIDE),
        (added("..\\MODEL_CARD.md"), OUTSIDE),
        (added("C:\\MODEL_CARD.md"), OUTSIDE),
        (added("C:MODEL_CARD.md"), OUTSIDE),
        (added("\\\\server\\share\\MODEL_CARD.md"), OUTSIDE),
        (added("shape.safetensors", b"/etc/passwd", stat.S_IFLNK | 0o777), LINK),
        (added("shape.safetensors", b"", stat.S_IFIFO | 0o644), LINK),
        (added("shape.safetensors", b"", stat.S_IFCHR | 0o644), LINK),
        (added("MODEL_CARD.md"), "a file twice"),
        (added("model_card.md"), FOREIGN),
        (added("deep/er/shape.safetensors"), OUTSIDE),
        (added("deep/er/", b""), "folders inside"),
        (added("other/shape.safetensors"), "in several folders"),
        (added("setup.py"), FOREIGN),
        (added("weights.safetensors.exe"), FOREIGN),
        (added("__init__.py"), FOREIGN),
        (added("", b""), OUTSIDE),
    ],
    ids=lambda value: None,
)
def test_what_does_not_belong_is_refused(
    folder: Path, tmp_path: Path, add: Callable[[zipfile.ZipFile], None], says: str, recwarn: pytest.WarningsRecorder
) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        add(opened)
    assert says in refused(archive, tmp_path, "bundle.archive").message


def test_too_many_entries_are_refused(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(64):
            opened.writestr(f"{number}/", b"")
    assert "more files" in refused(archive, tmp_path, "bundle.archive").message


def refused(archive: Path, tmp_path: Path, *codes: str) -> LandmarkingError:
    """Import, see it refused, and see that nothing was left behind or written elsewhere."""
    output = tmp_path / "deep" / "models"
    output.mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LandmarkingError) as caught:
        import_bundle(archive, output)
    assert caught.value.code in codes and caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before
    return caught.value


def test_a_nul_does_not_hide_a_name(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"MODEL_CARD.md", b"MODEL_CARD\0md"))
    assert OUTSIDE in refused(archive, tmp_path, "bundle.archive").message


def header_field(data: bytes, name: bytes, offset: int, value: int) -> bytes:
    """Change a four-byte field of an entry in the archive's list of contents."""
    place = data.rfind(b"PK\x01\x02", 0, data.rfind(name))
    return data[: place + offset] + struct.pack("<I", value) + data[place + offset + 4 :]


@pytest.mark.parametrize(
    ("size", "codes"),
    [
        (10, ("bundle.archive", "bundle.too_large")),  # less than there is
        (2**20, ("bundle.archive",)),  # more than there is
        (2**32 - 2, ("bundle.too_large",)),  # more than a file may have
    ],
)
def test_a_header_that_lies_about_the_size(folder: Path, tmp_path: Path, size: int, codes: tuple[str, ...]) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    archive.write_bytes(header_field(archive.read_bytes(), b"MODEL_CARD.md", 24, size))
    error = refused(archive, tmp_path, *codes)
    assert codes != ("bundle.too_large",) or "MODEL_CARD.md is larger" in error.message


def test_a_bomb_is_not_unpacked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bundle_archive.LARGEST, "MODEL_CARD.md", 2**20)
    (folder / "MODEL_CARD.md").write_bytes(bytes(2**20 + 1))
    archive = packed(folder, tmp_path / "m.zip")
    assert archive.stat().st_size < 2**20
    refused(archive, tmp_path, "bundle.too_large")
    with zipfile.ZipFile(archive) as opened, pytest.raises(BundleError, match="larger"):
        bundle_archive._blocks(opened, opened.getinfo("MODEL_CARD.md"), 2**20)
    # The list of contents says that it is small; what comes out counts.
    archive.write_bytes(header_field(archive.read_bytes(), b"MODEL_CARD.md", 24, 2**20))
    refused(archive, tmp_path, "bundle.archive", "bundle.too_large")


def test_all_files_together_have_a_limit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    whole = sum(file.stat().st_size for file in folder.iterdir())
    monkeypatch.setattr(bundle_archive, "LARGEST_TOTAL", whole - 1)
    refused(archive, tmp_path, "bundle.too_large")
    monkeypatch.setattr(bundle_archive, "LARGEST_TOTAL", whole)
    assert import_bundle(archive, tmp_path / "out").is_dir()


@pytest.mark.parametrize("identifier", ["../up", "a/b", "", ".hidden", "a" * 65, "CON:", 3, None])
def test_the_id_must_be_a_folder_name(folder: Path, tmp_path: Path, identifier: object) -> None:
    refused(packed(edited(folder, id=identifier), tmp_path / "m.zip"), tmp_path, "bundle.archive")


def test_a_damaged_bundle_in_a_whole_archive(folder: Path, tmp_path: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("another")
    refused(packed(folder, tmp_path / "m.zip"), tmp_path, "bundle.damaged")


def test_an_archive_without_a_file_that_is_needed(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused(packed(folder, tmp_path / "m.zip"), tmp_path, "bundle.incomplete")
    (folder / DESCRIPTION).unlink()
    refused(packed(folder, tmp_path / "n.zip"), tmp_path, "bundle.archive")


def test_cut_and_changed_archives(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    whole, generator = archive.read_bytes(), np.random.default_rng(6)
    cut = tmp_path / "c.zip"
    for length in np.linspace(0, len(whole) - 1, 11).astype(int):
        cut.write_bytes(whole[:length])
        refused(cut, tmp_path, "bundle.archive")
    for _ in range(60):
        changed = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            changed[place] ^= int(generator.integers(1, 256))
        cut.write_bytes(bytes(changed))
        try:
            made = import_bundle(cut, tmp_path / "models")
        except LandmarkingError as error:
            assert error.code.startswith("bundle."), error.code
            assert not list((tmp_path / "models").glob("*")) if (tmp_path / "models").exists() else True
        else:  # a byte that nothing depends on, such as a time
            assert content(made) == content(folder)
            for file in made.iterdir():
                file.unlink()
            made.rmdir()


def test_packed_otherwise_or_encrypted(folder: Path, tmp_path: Path) -> None:
    refused(packed(folder, tmp_path / "l.zip", compression=zipfile.ZIP_LZMA), tmp_path, "bundle.archive")
    data = bytearray(packed(folder, tmp_path / "e.zip").read_bytes())
    for start in (b"PK\x01\x02", b"PK\x03\x04"):
        place = data.find(start)
        while place >= 0:
            data[place + (8 if start[2] == 1 else 6)] |= 1
            place = data.find(start, place + 4)
    (tmp_path / "e.zip").write_bytes(bytes(data))
    assert "encrypted" in refused(tmp_path / "e.zip", tmp_path, "bundle.archive").message


def test_no_archive_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        import_bundle(tmp_path / "nothing.zip", tmp_path)
    (tmp_path / "text.zip").write_text("no archive")
    refused(tmp_path / "text.zip", tmp_path, "bundle.archive")
    refused(tmp_path, tmp_path, "bundle.archive")
    refused(Path("a\0b.zip"), tmp_path, "file.read")


def test_a_file_in_the_way(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder, tmp_path / "m.zip")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        import_bundle(archive, tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(InputError):
        import_bundle(archive, tmp_path / "m.zip")


KILLED = """
import os, signal, sys
from PALNetLandmarksLib.engine import bundle_archive
def stop(temporary, target): os.kill(os.getpid(), signal.SIGKILL)
bundle_archive._move = stop
bundle_archive.import_bundle(sys.argv[1], sys.argv[2])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_a_killed_import_left_goes_with_the_next(folder: Path, tmp_path: Path) -> None:
    archive, output = packed(folder, tmp_path / "m.zip"), tmp_path / "models"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "PALNetLandmarks")}
    done = subprocess.run([sys.executable, "-c", KILLED, archive, output], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(output.iterdir())) == 1 and not (output / "tiny").exists()
    import_bundle(archive, output)
    assert [item.name for item in output.iterdir()] == ["tiny"]


# --- temporary files of atomic_write

WRITER = """
import os, signal, sys, time
from PALNetLandmarksLib.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write("half of it")
    file.flush()
    print("writing", flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_a_killed_write_left_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    from PALNetLandmarksLib.files import sweep_temporary

    command = [sys.executable, "-c", WRITER]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "PALNetLandmarks")}
    dead = subprocess.run([*command, tmp_path / "a.csv", "die"], env=environment, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    living = subprocess.Popen(
        [*command, str(tmp_path / "b.csv"), "live"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert living.stdout is not None and living.stdout.readline() == b"writing\n"
    # The second writer has swept what the first one left, and is not swept itself.
    assert len(list(tmp_path.iterdir())) == 1
    assert sweep_temporary(tmp_path) == 0
    living.communicate(b"go on\n")
    assert (tmp_path / "b.csv").read_text() == "half of it"
    assert [item.name for item in tmp_path.iterdir()] == ["b.csv"]


def test_sweeping_leaves_strange_things_alone(tmp_path: Path) -> None:
    from PALNetLandmarksLib.files import sweep_temporary

    (tmp_path / "secret.txt").write_text("mine")
    (tmp_path / ".palnet-link.tmp").symlink_to(tmp_path / "secret.txt")
    (tmp_path / ".palnet-batch.lock").write_text("")
    (tmp_path / ".palnet-new.tmp").mkdir()
    (tmp_path / ".palnet-old.tmp").mkdir()
    (tmp_path / ".palnet-old.tmp" / "mesh.ply").write_text("a face")
    os.utime(tmp_path / ".palnet-old.tmp", (time.time() - 7200,) * 2)
    assert sweep_temporary(tmp_path) == 1
    names = [".palnet-batch.lock", ".palnet-link.tmp", ".palnet-new.tmp", "secret.txt"]
    assert sorted(item.name for item in tmp_path.iterdir()) == names
    assert sweep_temporary(tmp_path / "none") == 0


# --- formulas in tables

FORMULA = "=HYPERLINK(1)"


def cells(text: str) -> Iterator[str]:
    import csv

    for row in csv.reader(io.StringIO(text.lstrip("\ufeff"))):
        yield from row


def test_every_table_is_written_by_the_one_writer_that_quotes() -> None:
    """A CSV writer of its own could forget the quoting; there is one, in spreadsheet.py."""
    found = []
    for path, _ in python_files(PROJECT):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        aliases = {"csv": "csv", **aliases_of(tree)}
        for node in ast.walk(tree):
            first, _, rest = dotted(node.func).partition(".") if isinstance(node, ast.Call) else ("", "", "")
            if f"{aliases.get(first)}.{rest}".strip(".") in ("csv.writer", "csv.DictWriter"):
                found.append(path.name)
    assert sorted(found) == ["spreadsheet.py"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d", "\t", "\r", "\n"])
def test_formulas_are_quoted(tmp_path: Path, sign: str) -> None:
    from PALNetLandmarksLib.spreadsheet import table_text

    text = table_text((sign + "1+1",), [[sign + "cmd|' /C calc'!A0"], ["-1.5"]])
    assert [cell[0] for cell in cells(text)] == ["'", "'", "-"]


def test_names_that_users_give_reach_no_table_as_formulas(tmp_path: Path) -> None:
    from PALNetLandmarksLib.engine.batch_record import CaseStatus, write_key, write_statuses
    from PALNetLandmarksLib.landmark_files import write_landmark_cases
    from PALNetLandmarksLib.landmarks import LandmarkSet
    from PALNetLandmarksLib.protocol import load_protocol

    protocol = load_protocol()
    points = LandmarkSet.empty(protocol) if hasattr(LandmarkSet, "empty") else None
    write_key(tmp_path, {f"{FORMULA}.ply": FORMULA})
    write_statuses(tmp_path, {FORMULA: CaseStatus(FORMULA, message=FORMULA, hint=FORMULA)})
    if points is not None:
        write_landmark_cases(tmp_path / "wide.csv", {FORMULA: points})
    for file in tmp_path.glob("*.csv"):
        assert FORMULA in file.read_text(encoding="utf-8")
        assert not [cell for cell in cells(file.read_text(encoding="utf-8")) if cell.startswith("=")], file.name
