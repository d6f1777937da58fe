"""``training_tools check``: each kind of bad data is named with its subject; nothing is changed or left out."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import random_rotation
from PALNetLandmarksLib.protocol import Protocol
from Testing.unit.annotated_faces import PROTOCOL, lafas_rows, write_lafas
from training_tools.__main__ import main
from training_tools.datasets.bundled_mean import bundled_mean
from training_tools.datasets.picture import COLOURS, HEIGHT, WIDTH, draw_subject
from training_tools.datasets.shape import align, common_shape, reordered, wrong_orders

SUBJECTS = 7


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A data set without a fault, and its landmarks."""
    folder = tmp_path_factory.mktemp("good") / "data"
    return folder, write_lafas(folder, SUBJECTS)


@pytest.fixture
def data(good: tuple[Path, list[np.ndarray]], tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(good[0], tmp_path / "data")
    return tmp_path / "data"


def check(data: Path, *more: str) -> tuple[int, list[dict[str, str]], Path]:
    """Run the command; give its exit code, the findings and the output folder."""
    output = data.parent / "out"
    pictures = () if "--pictures" in more else ("--pictures", "0")
    code = main(["check", "--data", str(data), "--output", str(output), *more, *pictures])
    with open(output / "findings.csv", encoding="utf-8-sig", newline="") as stream:
        return code, list(csv.DictReader(stream)), output


def grave(findings: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["subject"], row["code"]) for row in findings if row["level"] != "note"]


def spoil(data: Path, subject: str, landmarks: np.ndarray, labels: tuple[str, ...] = PROTOCOL.labels) -> None:
    (data / subject / "landmarks.txt").write_text(lafas_rows(landmarks, labels), encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


def test_a_good_data_set_has_no_findings_and_stays_as_it_is(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(data)
    code, findings, output = check(data)
    assert (code, grave(findings)) == (0, [])
    assert digests(data) == before
    with open(output / "subjects.csv", encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["subject"] for row in rows] == [f"S{k:03d}" for k in range(1, SUBJECTS + 1)]
    assert {row["verdict"] for row in rows} == {"good"} and {row["landmarks"] for row in rows} == {"50"}
    assert all(float(row["from_common_shape_median_mm"]) < 6.0 for row in rows)
    assert f"{SUBJECTS} subjects (lafas, face50): 0 problems" in capsys.readouterr().out


def test_every_kind_of_bad_data_is_named_in_one_run(
    data: Path, good: tuple[Path, list[np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    faces = good[1]
    rows = (data / "S001" / "landmarks.txt").read_text().splitlines()
    numbered = [f"{k}\t{row.partition(chr(9))[2]}" for k, row in enumerate(rows[1:50], start=1)]
    (data / "S001" / "landmarks.txt").write_text("\n".join([rows[0], *numbered]))  # 49
    (data / "S002" / "mesh.ply").unlink()
    (data / "S003" / "mesh.ply").write_bytes(b"ply\nnonsense")
    shutil.rmtree(data / "S005")
    shutil.copytree(data / "S004", data / "S005")
    moved = faces[5].copy()
    moved[PROTOCOL.index("Prn")] += 40.0 * np.array([0.6, 0.0, 0.8])
    spoil(data, "S006", moved)
    (data / "S008").mkdir()
    code, findings, output = check(data)
    found = grave(findings)
    assert code == 3
    for expected in (
        ("S001", "landmarks.unusable"),
        ("S002", "mesh.missing"),
        ("S003", "mesh.unusable"),
        ("S005", "duplicate.mesh"),
        ("S005", "duplicate.landmarks"),
        ("S006", "surface.off"),
        ("S008", "landmarks.none"),
    ):
        assert expected in found, expected
    assert not {"S004", "S007"} & {subject for subject, _ in found}
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("S001: problem: ") and "49" in line for line in lines) == 1
    assert any(line.startswith("S006: problem: Off the surface: Prn by ") for line in lines)
    with open(output / "subjects.csv", encoding="utf-8-sig", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == SUBJECTS + 1  # none is left out


def test_swapped_sides_text_order_and_an_exchanged_pair(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    faces = good[1]
    spoil(data, "S002", faces[1][PROTOCOL.mirror])
    order = sorted(range(50), key=lambda number: str(number + 1))
    spoil(data, "S003", faces[2][order])  # rows sorted as text, labels attached in the protocol's order
    spoil(data, "S004", faces[3][np.argsort(order)])
    exchanged = faces[4].copy()
    one, other = PROTOCOL.index("Ch_R"), PROTOCOL.index("Ch_L")
    exchanged[[one, other]] = exchanged[[other, one]]
    spoil(data, "S005", exchanged)
    spoil(data, "S006", faces[5][PROTOCOL.mirror][order])
    code, findings, _ = check(data)
    orders = {row["subject"]: row["code"] for row in findings if row["code"].startswith("order.")}
    assert code == 3
    assert orders == {
        "S002": "order.sides", "S003": "order.text", "S004": "order.numeric", "S005": "order.exchanged",
        "S006": "order.text-sides",
    }  # fmt: skip
    assert next(row for row in findings if row["code"] == "order.exchanged")["landmarks"].split() == ["Ch_R", "Ch_L"]


@pytest.mark.parametrize("what", ["landmarks", "mesh", "both"])
def test_metres_are_recognised_and_nothing_else_is_blamed(
    data: Path, good: tuple[Path, list[np.ndarray]], what: str
) -> None:
    if what != "mesh":
        spoil(data, "S002", good[1][1] / 1000.0)
        rows = (data / "S002" / "landmarks.txt").read_text()
        exact = [f"{label}\t({x:.9f},{y:.9f},{z:.9f})"
                 for label, (x, y, z) in zip(PROTOCOL.labels, good[1][1] / 1000.0, strict=True)]  # fmt: skip
        (data / "S002" / "landmarks.txt").write_text("\n".join([rows.splitlines()[0], *exact]))
    if what != "landmarks":
        scan = read_scan(data / "S002" / "mesh.ply")
        write_mesh(data / "S002" / "mesh.ply", scan.vertices / 1000.0, scan.triangles)
    code, findings, _ = check(data)
    expected = {"unit.landmarks"} if what == "landmarks" else {"unit.mesh"}
    expected = {"unit.landmarks", "unit.mesh"} if what == "both" else expected
    assert code == 3
    assert set(grave(findings)) == {("S002", name) for name in expected}
    assert all("metres" in row["message"] for row in findings if row["code"].startswith("unit."))


def test_a_data_set_in_metres_is_good_when_it_is_said(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    for number, face in enumerate(good[1], start=1):
        place = data / f"S{number:03d}"
        exact = [f"{label}\t({x:.9f},{y:.9f},{z:.9f})"
                 for label, (x, y, z) in zip(PROTOCOL.labels, face / 1000.0, strict=True)]  # fmt: skip
        (place / "landmarks.txt").write_text("\n".join(["landmark names", *exact]))
        scan = read_scan(place / "mesh.ply")
        write_mesh(place / "mesh.ply", scan.vertices / 1000.0, scan.triangles)
    assert check(data, "--unit", "m")[0] == 0
    code, findings, _ = check(data)
    assert code == 3 and sum(row["code"] == "unit.mesh" for row in findings) == SUBJECTS


def test_landmarks_of_another_scan_are_told_from_single_misses(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    spoil(data, "S002", good[1][1] + (0.0, 80.0, 0.0))
    _, findings, _ = check(data)
    assert ("S002", "surface.apart") in grave(findings) and ("S002", "surface.off") not in grave(findings)


def test_landmarks_that_the_scan_does_not_show_may_lie_off_it(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    face = good[1][1].copy()
    face[PROTOCOL.index("Tr")] += 8.0  # 14 mm
    spoil(data, "S002", face)
    assert ("S002", "surface.off") in grave(check(data)[1])
    meta = json.loads((data / "S002" / "meta.json").read_text())
    meta["visible"]["Tr"] = False
    (data / "S002" / "meta.json").write_text(json.dumps(meta))
    assert ("S002", "surface.off") not in grave(check(data)[1])


def test_an_outlier_on_the_surface_is_a_doubt(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    face = good[1][1].copy()
    face[PROTOCOL.index("Ch_R")] = face[PROTOCOL.index("Pg")] + 0.1
    spoil(data, "S002", face)
    code, findings, _ = check(data)
    assert (code, grave(findings)) == (0, [("S002", "outlier")])
    assert findings[0]["landmarks"] == "Ch_R"


def test_the_same_annotation_is_found_although_it_was_moved(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    turn = random_rotation(np.random.default_rng(1))
    spoil(data, "S003", good[1][1] @ turn.T + 7.0)
    scan = read_scan(data / "S002" / "mesh.ply")
    write_mesh(data / "S003" / "mesh.ply", scan.vertices @ turn.T + 7.0, scan.triangles)
    assert grave(check(data)[1]) == [("S003", "duplicate.landmarks")]


def test_missing_landmarks_and_a_wrong_matrix(data: Path, good: tuple[Path, list[np.ndarray]]) -> None:
    face = good[1][1].copy()
    face[PROTOCOL.index("Tr")] = np.nan
    spoil(data, "S002", face)
    np.save(data / "S003" / "transformation_matrix.npy", 2.0 * np.eye(4))
    np.save(data / "S004" / "transformation_matrix.npy", np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 500.0)
    code, findings, _ = check(data)
    assert grave(findings) == [("S003", "matrix"), ("S004", "matrix.off")] and code == 3
    missing = [row for row in findings if row["code"] == "landmarks.missing"]
    assert [(row["subject"], row["landmarks"]) for row in missing] == [("S002", "Tr")]


def mini_protocol() -> Protocol:
    """Some of the 50 landmarks under another protocol, for which no model's mean is known."""
    kept = [mark for mark in PROTOCOL.landmarks if mark.region in ("eye", "mouth", "nose", "chin")]
    rows = [{"label": m.label, "side": m.side, "region": m.region, "abbreviation": m.abbreviation} for m in kept]
    return Protocol.from_dict({"id": "mini", "version": "1.0.0", "title": "some", "landmarks": rows})


def test_without_a_models_mean_the_subjects_are_compared_with_one_another(
    data: Path, good: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    mini = mini_protocol()
    (tmp_path / "mini.json").write_text(json.dumps(mini.to_dict()))
    assert bundled_mean(mini) is None and bundled_mean(PROTOCOL) is not None
    spoil(data, "S002", good[1][1][PROTOCOL.mirror])
    (code, findings, _) = check(data, "--protocol", str(tmp_path / "mini.json"))
    assert code == 3 and [item for item in grave(findings) if item[1] != "landmarks.doubt"] == [("S002", "order.sides")]


def test_a_data_set_in_which_all_sides_are_swapped(
    data: Path, good: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    (tmp_path / "mini.json").write_text(json.dumps(mini_protocol().to_dict()))
    for number, face in enumerate(good[1], start=1):
        spoil(data, f"S{number:03d}", face[PROTOCOL.mirror])
    findings = check(data, "--protocol", str(tmp_path / "mini.json"))[1]
    assert ("", "order.sides") in grave(findings)
    # With the landmarks of a model the single subjects are told.
    assert [item for item in grave(check(data)[1]) if item[1] == "order.sides"] == [
        (f"S{k:03d}", "order.sides") for k in range(1, SUBJECTS + 1)
    ]


def test_two_subjects_are_checked_too(data: Path) -> None:
    for number in range(3, SUBJECTS + 1):
        shutil.rmtree(data / f"S{number:03d}")
    code, findings, _ = check(data, "--jobs", "2")
    assert (code, grave(findings)) == (0, [])


def test_the_page_needs_nothing_but_itself_and_tells_no_paths(data: Path) -> None:
    (data / "S002" / "mesh.ply").write_bytes(b"ply\nnonsense")
    (data / "S003").rename(data / "<b>S003")
    output = check(data, "--pictures", "1")[2]
    for file in output.iterdir():
        text = file.read_text(encoding="utf-8")
        assert str(data) not in text and "mesh.ply" not in text.replace("Put mesh.ply", "")
    page = (output / "check.html").read_text(encoding="utf-8")
    assert "<script" not in page and not re.search(r"(src|href)=\"(?!data:)", page)
    assert "&lt;b&gt;S003" in page and "<b>S003" not in page
    assert page.count("data:image/png;base64,") == 1 + SUBJECTS - 1  # the flagged one, and the others
    assert "S002: mesh.unusable" in page


def test_an_empty_folder_and_an_output_that_cannot_be_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["check", "--data", str(tmp_path / "empty"), "--output", str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("x")
    assert main(["check", "--data", str(data), "--output", str(tmp_path / "file" / "out")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: 'empty' holds no annotated scans.") and "could not be written" in lines[1]
    assert len(lines) == 2 and str(tmp_path) not in " ".join(lines)
    assert main(["check", "--data", str(data), "--output", str(tmp_path / "out"), "--jobs", "0"]) == 2
    assert main(["check", "--data", str(data), "--output", str(data / "out")]) == 2
    assert not (data / "out").exists()


def test_a_read_only_output_is_noticed_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Permissions do not bind the administrator, who runs many test machines: the system's answer is put in."""
    import training_tools.check_command as command

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(command, "examine_all", lambda *_: pytest.fail("the work was begun"))
    assert main(["check", "--data", str(data), "--output", str(tmp_path / "out")]) == 3
    assert "read-only" in capsys.readouterr().err


# Shapes


def test_alignment_is_not_dragged_by_landmarks_far_off() -> None:
    rng = np.random.default_rng(0)
    shape = rng.normal(0.0, 40.0, (50, 3))
    turn = random_rotation(rng)
    other = 1.3 * shape @ turn.T + 20.0
    other[:5] += 60.0
    found = align(other[None], shape)
    assert found.distance[0, 5:].max() < 0.5 and found.distance[0, :5].min() > 40.0
    assert found.scale[0] == pytest.approx(1 / 1.3, rel=0.01)
    assert np.linalg.det(found.rotation[0]) == pytest.approx(1.0)
    few = np.full((1, 50, 3), np.nan)
    few[0, :4] = shape[:4]
    assert np.isinf(align(few, shape).misfit[0]) and np.isnan(align(few, shape).aligned).all()


def test_the_common_shape_ignores_a_minority_and_has_the_size_of_the_sets() -> None:
    rng = np.random.default_rng(2)
    shape = np.asarray(bundled_mean(PROTOCOL))
    sets = np.stack([shape @ random_rotation(rng).T + rng.normal(0, 1, (50, 3)) for _ in range(15)])
    sets[:4] = sets[:4][:, PROTOCOL.mirror]
    found = common_shape(sets)
    assert align(found[None], shape).distance.max() < 2.0
    assert align(found[None], shape).scale[0] == pytest.approx(1.0, abs=0.02)
    assert align(common_shape(1.1 * sets, shape)[None], shape).scale[0] == pytest.approx(1 / 1.1, abs=0.02)
    assert [order for order, _, _ in wrong_orders(sets, found, PROTOCOL, 6.0)] == ["sides"] * 4 + [""] * 11


def test_each_order_takes_its_mistake_back() -> None:
    face = np.asarray(bundled_mean(PROTOCOL))
    order = sorted(range(50), key=lambda number: str(number + 1))
    mistaken = {"sides": face[PROTOCOL.mirror], "text": face[order], "numeric": face[np.argsort(order)]}
    for key, points in mistaken.items():
        np.testing.assert_array_equal(reordered(points[None], PROTOCOL)[key][0], face)


def test_the_picture_shows_the_landmarks_in_their_colours() -> None:
    import io

    from PIL import Image

    face = np.asarray(bundled_mean(PROTOCOL))
    png = draw_subject(None, None, face, PROTOCOL, np.eye(4), ("Prn",))
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert image.shape == (HEIGHT, 2 * WIDTH, 3)
    front = image[:, :WIDTH]
    columns = {side: np.argwhere(np.abs(front - COLOURS[side]).sum(axis=2) < 40)[:, 1].mean() for side in COLOURS}
    assert columns["right"] < columns["midline"] - 20 and columns["left"] > columns["midline"] + 20
