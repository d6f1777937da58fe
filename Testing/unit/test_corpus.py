"""A fast part of the corpus of bad scans and of the fuzzing; ``python -m Testing.corpus`` runs all of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from Testing.corpus.damage import REFUSED, Case, attempt, cases
from Testing.corpus.fuzzing import Target, attempts, targets
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


def test_texture_without_a_material_is_left_out(tmp_path: Path) -> None:
    lines = ["mtllib a.mtl"] + [f"v {x:g} {y:g} {z:g}\nvt 0.5 0.5" for x, y, z in SHELL[0]]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in SHELL[1] + 1]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a.png\n")
    assert read_scan(tmp_path / "a.obj").texture is None


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

    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def loops() -> None:
        while True:
            pass

    def swells() -> None:
        np.ones(10**9)  # 8 GB, more than the process may have

    def does() -> None:
        return None

    doings = (refuses, fails, says_too_little, odd_code, warns, dies, loops, swells, does)
    outcomes = isolated([(doing.__name__, doing) for doing in doings], seconds=1.0)
    kinds = ["refused", "crash", "unclear", "unclear", "crash", "killed", "hang", "crash", "accepted"]
    assert [outcome.kind for outcome in outcomes] == kinds
    case = Case("whole", "", lambda folder: folder, REFUSED)
    (tmp_path / "a.ply").write_bytes(FORMATS["ply"][1](SHELL))
    assert judged("whole", lambda: attempt(case, tmp_path / "a.ply", tmp_path, SHELL)).kind == "silent"
    assert unclear(InputError("It is bad.", "Mend it.", code="scan.bad")) == ""
