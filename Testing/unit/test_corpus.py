"""A fast part of the corpus of bad scans and of the fuzzing; ``python -m Testing.corpus`` runs all of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine import (
    reading,
    reading_gltf,
    reading_obj,
    reading_raw,
    reading_texture,
    reading_vtk,
    worker_scan,
)
from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.networks import build_network
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.shape_regression import ShapeRegression
from PALNetLandmarksLib.engine.worker_scan import take_mesh
from PALNetLandmarksLib.engine.worker_tasks import _initial as start_points
from PALNetLandmarksLib.errors import BundleError, InputError, LandmarkingError, UsageError
from PALNetLandmarksLib.norms_cells import simplified
from PALNetLandmarksLib.protocol import load_protocol
from Testing.corpus.damage import REFUSED, Case, attempt, cases
from Testing.corpus.fuzzing import _MTL, Target, _png, _textured_obj, attempts, targets
from Testing.corpus.heavy import heavy_cases
from Testing.corpus.isolated import isolated, judged, unclear
from Testing.corpus.meshes import BY_VTK, FORMATS, shell

SHELL = shell()
HERE = tuple(name for name in FORMATS if name not in BY_VTK)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are isolated by fork")


@pytest.mark.parametrize("name", HERE)
def test_damaged_scan_is_refused_or_read(tmp_path: Path, name: str) -> None:
    bad = []
    for number, case in enumerate(cases(SHELL, flips=3, formats=(name,))):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = case.make(folder)
        outcome = judged(case.name, lambda c=case, p=path, f=folder: attempt(c, p, f, SHELL))
        if outcome.bad:
            bad.append(outcome)
    assert not bad


@pytest.mark.parametrize("name", BY_VTK)
def test_damaged_vtk_scan_is_refused_or_read(tmp_path: Path, name: str) -> None:
    chosen = [case for case in cases(SHELL, flips=1, formats=(name,)) if case.damage in ("undamaged", "bytes flipped")]
    for number, case in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = case.make(folder)
        outcome = judged(case.name, lambda c=case, p=path, f=folder: attempt(c, p, f, SHELL))
        assert not outcome.bad, outcome


@pytest.mark.parametrize("target", [target for target in targets() if target.cost < 20], ids=lambda target: target.name)
def test_mutated_input_is_refused_or_read(tmp_path: Path, target: Target) -> None:
    outcomes = [judged(name, attempt) for name, attempt in attempts(target, max(6, 40 // target.cost), 1, tmp_path)]
    assert [outcome for outcome in outcomes if outcome.bad] == []


def test_what_no_reader_foresees_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_obj, "_plain_lines", lambda data: data.nothing)
    with pytest.raises(InputError) as caught:
        read_scan(written(tmp_path, "obj"))
    assert caught.value.code == "scan.damaged"


def test_texture_without_a_material_is_left_out(tmp_path: Path) -> None:
    lines = ["mtllib a.mtl"] + [f"v {x:g} {y:g} {z:g}\nvt 0.5 0.5" for x, y, z in SHELL[0]]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in SHELL[1] + 1]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a.png\n")
    assert read_scan(tmp_path / "a.obj").texture is None


def too_large(path: Path) -> str:
    """Give what is said of a scan that is refused for its size."""
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert caught.value.code == "scan.too_large"
    # Known from what the file says, not from memory that ran out.
    return "" if "memory of this computer" in caught.value.message else caught.value.message


def written(folder: Path, name: str) -> Path:
    extension, write = FORMATS[name]
    (folder / f"scan{extension}").write_bytes(write(SHELL))
    return folder / f"scan{extension}"


def test_bounds_are_what_the_documents_say() -> None:
    assert reading_raw.MOST_VERTICES == reading_raw.MOST_TRIANGLES == 4_000_000
    assert reading.LARGEST_FILE == 1024**3 and reading_vtk._SECONDS < 30


@pytest.mark.parametrize("name", FORMATS)
def test_each_reader_keeps_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The bounds are lowered here; ``python -m Testing.corpus heavy`` tries them as they are."""
    path, bounds = written(tmp_path, name), {"MOST_TRIANGLES": len(SHELL[1]) // 2, "MOST_VERTICES": len(SHELL[0]) // 4}
    for bound, value in bounds.items():
        monkeypatch.setattr(reading_raw, bound, value)
        if name not in BY_VTK:  # before memory is taken, not only once all is read
            monkeypatch.setattr(reading, "check_size", lambda vertices, triangles: None)
        if not (name.startswith("stl") and bound == "MOST_VERTICES"):  # it has triangles only
            assert too_large(path)
        monkeypatch.undo()
    assert len(read_scan(path).triangles) == len(SHELL[1])


def test_bounds_hold_for_what_only_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corners = " ".join(str(number + 1) for number in range(len(SHELL[0])))
    (tmp_path / "a.obj").write_text("".join(f"v {x} {y} {z}\n" for x, y, z in SHELL[0]) + f"f {corners}\n")
    monkeypatch.setattr(reading_raw, "MOST_TRIANGLES", 500)  # one face, but it becomes 718 triangles
    assert too_large(tmp_path / "a.obj")
    monkeypatch.undo()
    monkeypatch.setattr(reading_raw, "_MOST_LINES", 500)
    (tmp_path / "b.obj").write_bytes(b"v 0 0 0\n" + b"\n" * 500)
    assert "more than 500 lines" in too_large(tmp_path / "b.obj")


@pytest.mark.parametrize("bound", ["_MOST_TEXT", "_MOST_LINES"])
@pytest.mark.parametrize("name", ["ply-ascii", "stl-ascii", "off"])
def test_long_texts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, bound: str) -> None:
    monkeypatch.setattr(reading_raw, bound, 500)
    assert too_large(written(tmp_path, name))


def test_what_a_small_gltf_file_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = {
        "glb: 12 GB without a view": "vertices",
        "glb: 9,000 nodes show one piece": "triangles",
        "glb: 200,000 nodes": "parts",
    }
    chosen = [case for case in heavy_cases() if case.name in says]
    for number, case in enumerate(chosen):
        (tmp_path / str(number)).mkdir()
        assert says[case.name] in too_large(case.make(tmp_path / str(number))), case.name
    assert len(chosen) == 3
    monkeypatch.setattr(reading_gltf, "_MOST_COMMAS", 10)
    assert too_large(written(tmp_path, "gltf")) and too_large(written(tmp_path, "glb"))


def test_a_reader_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_vtk, "_SECONDS", 0.01)
    with pytest.raises(InputError, match=r"took more than 0\.01 seconds"):
        read_scan(written(tmp_path, "vtp"))
    monkeypatch.setattr(reading_vtk, "_MOST_BYTES", 500)
    assert too_large(written(tmp_path, "vtk"))


def test_a_picture_that_is_too_large_costs_the_colours_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.obj").write_bytes(_textured_obj())
    (tmp_path / "skin.mtl").write_bytes(_MTL)
    (tmp_path / "skin.png").write_bytes(_png())
    assert read_scan(tmp_path / "scan.obj").texture is not None
    for bound in ("_MOST_PIXELS", "_MOST_BYTES"):
        monkeypatch.setattr(reading_texture, bound, 100)
        assert read_scan(tmp_path / "scan.obj").texture is None
        monkeypatch.undo()


@needs_fork
def test_harness_sees_what_it_looks_for(tmp_path: Path) -> None:
    def refuses() -> None:
        raise InputError("It is bad.", "Mend it.", code="scan.bad")

    def fails() -> None:
        raise KeyError("x")

    def says_too_little() -> None:
        raise InputError("It is bad.")

    def odd_code() -> None:
        raise LandmarkingError("It is bad.", "Mend it.", code="a.b")

    def warns() -> None:
        np.float64(1.0) / np.float64(0.0)

    def slips() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading_obj, "_plain_lines", lambda data: data + 1)
            (tmp_path / "a.obj").write_bytes(FORMATS["obj"][1](SHELL))
            read_scan(tmp_path / "a.obj")

    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def loops() -> None:
        while True:
            pass

    def swells() -> None:
        np.ones(10**9)  # 8 GB, more than the process may have

    def does() -> None:
        return None

    doings = (refuses, fails, says_too_little, odd_code, warns, slips, dies, loops, swells, does)
    outcomes = isolated([(doing.__name__, doing) for doing in doings], seconds=1.0)
    kinds = ["refused", "crash", "unclear", "unclear", "crash", "crash", "killed", "hang", "crash", "accepted"]
    assert [outcome.kind for outcome in outcomes] == kinds
    case = Case("whole", "", lambda folder: folder, REFUSED)
    (tmp_path / "a.ply").write_bytes(FORMATS["ply"][1](SHELL))
    assert judged("whole", lambda: attempt(case, tmp_path / "a.ply", tmp_path, SHELL)).kind == "silent"
    assert unclear(InputError("It is bad.", "Mend it.", code="scan.bad")) == ""


def test_what_fuzzing_has_found_stays_mended() -> None:
    assert simplified("(" * 300_000 + "sd") == "sd"  # took time with the square of the brackets
    assert simplified("sd (mm (left))") == "sd"
    with pytest.raises(BundleError, match="is no model bundle"):
        load_bundle("9" * 5000)  # longer than any name on a disk
    with pytest.raises(BundleError, match="cannot be built with its parameters"):
        build_network("patch_transformer", {"landmarks": 2, "mirror": [None, 1]})
    shape = load_bundle().shape
    assert shape is not None
    arrays = dict(shape.arrays())
    arrays["scale1"] = np.full_like(arrays["scale1"], np.inf)
    with pytest.raises(ValueError, match="not finite"):
        ShapeRegression.from_arrays(arrays, shape.template.mean_landmarks)
    with pytest.raises(UsageError, match="points to start from"):
        start_points({"labels": ["Prn"], "positions": [[10**400, 0, 0]]}, load_protocol())
    with pytest.raises(InputError, match="not in a folder of the engine's"):
        take_mesh(f"palnet-engine-x/{'9' * 5000}.npz")
    assert len(str(worker_scan._refused("x" * 100_000))) < 400
