"""Readers of annotated data sets: every layout gives scan, landmarks and matrix, and says what is wrong."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.landmark_files import write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol
from Testing.unit.annotated_faces import lafas_rows
from Testing.unit.stand_ins import landmarks_on_shell, shell, write_shell
from training_tools.dataset import list_subjects, read_subject
from training_tools.datasets import Reader, open_dataset, read_annotation, read_matrix, reader_at
from training_tools.datasets.opening import LAYOUTS, find_protocol
from training_tools.datasets.vertex_indices import VertexIndices, mesh_vertices, read_indices

PROTOCOL = load_protocol()
PROJECT = Path(__file__).resolve().parents[2]
POINTS = np.asarray(landmarks_on_shell().positions)
TURN = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
INDICES = np.random.default_rng(3).choice(len(shell()[0]), 68, replace=False)


def lafas(folder: Path, name: str = "S001", text: str | None = None, mesh: str = "mesh.ply") -> Path:
    place = folder / name
    place.mkdir(parents=True)
    write_shell(place / mesh)
    (place / "landmarks.txt").write_text(lafas_rows(POINTS) if text is None else text, encoding="utf-8")
    return place


def markups(folder: Path, name: str = "S001", status: str = "placed", **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_shell(folder / f"{name}.ply")
    landmarks = LandmarkSet.from_positions(PROTOCOL, POINTS, status, **more)  # type: ignore[arg-type]
    write_landmarks(folder / f"{name}.mrk.json", landmarks)
    return folder / name


def facescape(folder: Path, scale: float = 1.0) -> Path:
    place = folder / "1" / "models_reg"
    place.mkdir(parents=True)
    write_shell(place / "1_neutral.obj", scale)
    write_shell(place / "2_smile.obj", scale)
    np.savez(folder / "landmark_indices.npz", v10=INDICES, v16=INDICES[::-1])
    return place / "1_neutral"


# LAFAS


def test_lafas_layout_with_labels_matrix_and_visible_landmarks(tmp_path: Path) -> None:
    place = lafas(tmp_path)
    np.save(place / "transformation_matrix.npy", TURN)
    (place / "meta.json").write_text(
        '{"visible": {' + ", ".join(f'"{x}": {"false" if x == "Prn" else "true"}' for x in PROTOCOL.labels) + "}}"
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.reader.format, dataset.places) == ("lafas", (place,))
    subject = read_subject(place, PROTOCOL)
    np.testing.assert_allclose(subject.landmarks, POINTS, atol=1e-5)
    np.testing.assert_array_equal(subject.scan_to_reference, TURN)
    assert subject.mesh == place / "mesh.ply" and subject.unit == "mm"
    assert [PROTOCOL.labels[i] for i in np.flatnonzero(~subject.visible)] == ["Prn"]


@pytest.mark.parametrize("kind", ["numbered", "plain"])
def test_rows_without_names_are_taken_in_text_sorted_order(tmp_path: Path, kind: str) -> None:
    order = sorted(range(1, 51), key=str)
    face = np.loadtxt(PROJECT / "Testing/data/symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
    rows = [face[number - 1] for number in order]
    named = [f"{n}\t({x},{y},{z})" for n, (x, y, z) in zip(order, rows, strict=True)]
    text = "\n".join(["landmark names", *named] if kind == "numbered" else [f"{x} {y} {z}" for x, y, z in rows])
    np.testing.assert_allclose(read_subject(lafas(tmp_path, text=text), PROTOCOL).landmarks, face, atol=1e-6)


@pytest.mark.parametrize("mesh", ["mesh.obj", "mesh.ply", "scan.PLY"])
def test_the_mesh_may_have_any_format_and_name(tmp_path: Path, mesh: str) -> None:
    place = lafas(tmp_path, mesh="mesh.ply" if mesh.endswith("PLY") else mesh)
    if mesh.endswith("PLY"):
        (place / "mesh.ply").rename(place / mesh)
    assert read_subject(place, PROTOCOL).mesh == place / mesh


def test_of_several_meshes_the_one_called_mesh_is_taken_and_none_is_guessed(tmp_path: Path) -> None:
    place = lafas(tmp_path)
    write_shell(place / "raw.ply")
    assert read_subject(place, PROTOCOL).mesh.name == "mesh.ply"
    (place / "mesh.ply").rename(place / "other.ply")
    with pytest.raises(InputError, match="'S001' holds 2 meshes") as caught:
        read_subject(place, PROTOCOL)
    assert "mesh.ply" in caught.value.hint


@pytest.mark.parametrize("content", ["pickle", "text", "shape", "scaled", "mirrored", "nan"])
def test_a_matrix_that_is_no_rigid_transform_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "transformation_matrix.npy"
    if content == "pickle":
        file.write_bytes(pickle.dumps(TURN))
    elif content == "text":
        file.write_text("1 0 0 0")
    else:
        matrix = {"shape": np.eye(3), "scaled": np.diag([2.0, 2, 2, 1]), "mirrored": np.diag([-1.0, 1, 1, 1]),
                  "nan": np.full((4, 4), np.nan)}[content]  # fmt: skip
        np.save(file, matrix)
    with pytest.raises(InputError, match=r"transformation_matrix\.npy") as caught:
        read_matrix(file)
    assert "register" in caught.value.hint
    np.save(file, TURN.astype(np.float32))
    np.testing.assert_array_equal(read_matrix(file), TURN)


def test_matrices_may_lie_elsewhere(tmp_path: Path) -> None:
    place = lafas(tmp_path / "data")
    (tmp_path / "matrices" / "S001").mkdir(parents=True)
    np.save(tmp_path / "matrices" / "S001" / "transformation_matrix.npy", TURN)
    reader = open_dataset(tmp_path / "data", matrices=tmp_path / "matrices").reader
    np.testing.assert_array_equal(read_subject(place, PROTOCOL, reader).scan_to_reference, TURN)
    assert read_subject(place, PROTOCOL).scan_to_reference is None


def test_a_data_set_in_metres_becomes_millimetres(tmp_path: Path) -> None:
    place = lafas(tmp_path, text=lafas_rows(POINTS / 1000.0))
    write_shell(place / "mesh.ply", 0.001)
    reader = open_dataset(tmp_path, unit="m").reader
    subject = read_subject(place, PROTOCOL, reader)
    np.testing.assert_allclose(subject.landmarks, POINTS, atol=0.01)
    size = read_scan(subject.mesh, subject.unit).size_mm
    np.testing.assert_allclose(size, read_scan(write_shell(tmp_path / "x.ply")).size_mm, rtol=1e-4)


def test_subjects_without_landmarks_are_named_when_they_are_left_out(tmp_path: Path, caplog) -> None:
    lafas(tmp_path)
    (lafas(tmp_path, "S002") / "landmarks.txt").unlink()
    with caplog.at_level(logging.WARNING):
        assert [place.name for place in list_subjects(tmp_path)] == ["S001"]
    assert "S002" in caplog.text
    assert [place.name for place in open_dataset(tmp_path).places] == ["S001", "S002"]


@pytest.mark.parametrize("name", ["landmarks.txt", "mesh.ply"])
def test_what_is_missing_is_named_with_its_subject(tmp_path: Path, name: str) -> None:
    place = lafas(tmp_path)
    (place / name).unlink()
    with pytest.raises(InputError, match="S001"):
        read_subject(place, PROTOCOL)


def test_a_damaged_meta_file_is_named(tmp_path: Path) -> None:
    place = lafas(tmp_path)
    (place / "meta.json").write_text('{"visible": {"Prn": true}}')
    with pytest.raises(InputError, match=r"meta\.json"):
        read_subject(place, PROTOCOL)


# Scans with point lists


def test_scans_with_point_lists_in_either_frame(tmp_path: Path) -> None:
    places = [markups(tmp_path, "S001"), markups(tmp_path, "S002.v2", coordinate_system="RAS")]
    dataset = open_dataset(tmp_path)
    assert (dataset.reader.format, list(dataset.places)) == ("markups", places)
    np.testing.assert_allclose(read_subject(places[0], PROTOCOL).landmarks, POINTS, atol=1e-4)
    np.testing.assert_allclose(read_subject(places[1], PROTOCOL).landmarks, POINTS * (-1, -1, 1), atol=1e-4)
    assert read_subject(places[1], PROTOCOL).mesh == tmp_path / "S002.v2.ply"


def test_predicted_points_count_unless_they_are_left_out(tmp_path: Path) -> None:
    place = markups(tmp_path, status="predicted")
    landmarks = LandmarkSet.from_positions(PROTOCOL, POINTS, "predicted").with_point("Prn", POINTS[3], "corrected")
    write_landmarks(tmp_path / "S001.mrk.json", landmarks)
    assert np.isfinite(read_subject(place, PROTOCOL).landmarks).all()
    reader = open_dataset(tmp_path, predicted=False).reader
    subject = read_subject(place, PROTOCOL, reader)
    assert [PROTOCOL.labels[i] for i in np.flatnonzero(np.isfinite(subject.landmarks[:, 0]))] == ["Prn"]
    assert list(np.flatnonzero(subject.visible)) == [3]


def test_the_scan_is_read_in_the_unit_that_its_point_list_records(tmp_path: Path) -> None:
    place = markups(tmp_path, provenance={"scan_unit": "m"})
    assert read_subject(place, PROTOCOL).unit == "m"
    np.testing.assert_allclose(read_subject(place, PROTOCOL).landmarks, POINTS, atol=1e-4)


def test_a_point_list_without_its_scan_and_the_other_way_round(tmp_path: Path) -> None:
    first, second = markups(tmp_path, "S001"), markups(tmp_path, "S002")
    (tmp_path / "S001.ply").unlink()
    (tmp_path / "S002.mrk.json").unlink()
    dataset = open_dataset(tmp_path)
    assert list(dataset.places) == [first, second] and dataset.annotated == [first]
    with pytest.raises(InputError, match=r"S001\.mrk\.json has no scan"):
        dataset.reader.scan(first)
    with pytest.raises(InputError, match=r"'S002' has no S002\.mrk\.json"):
        dataset.reader.landmarks(second, PROTOCOL)


# Vertex indices


def test_facescape_neutral_faces_only(tmp_path: Path) -> None:
    place = facescape(tmp_path)
    dataset = open_dataset(tmp_path)
    assert (dataset.reader.format, list(dataset.places)) == ("facescape", [place])
    subject = read_subject(place, find_protocol("face68"))
    np.testing.assert_allclose(subject.landmarks, shell()[0][INDICES], atol=1e-5)
    assert subject.folder.name == "1_neutral" and subject.mesh.name == "1_neutral.obj"
    with pytest.raises(InputError, match="68 landmarks, and the protocol face50 has 50") as caught:
        read_subject(place, PROTOCOL)
    assert "--protocol" in caught.value.hint


def test_vertices_are_counted_in_the_files_own_order(tmp_path: Path) -> None:
    """Reading a scan merges equal vertices and drops unused ones, which must not shift the landmarks."""
    vertices, triangles = shell()
    doubled = np.vstack([[[500.0, 0, 0]], vertices[:1], vertices])  # an unused vertex, and the first one twice
    write_mesh(tmp_path / "a.obj", doubled, triangles + 2)
    assert len(read_scan(tmp_path / "a.obj").vertices) == len(vertices)
    np.testing.assert_allclose(mesh_vertices(tmp_path / "a.obj"), doubled, atol=1e-5)
    np.save(tmp_path / "landmark_indices.npy", INDICES + 2)
    subject = read_subject(tmp_path / "a", find_protocol("face68"))
    np.testing.assert_allclose(subject.landmarks, vertices[INDICES], atol=1e-5)


def test_meshes_of_one_topology_in_metres(tmp_path: Path) -> None:
    """FLAME and registered Headspace: a mesh in each folder, indices as text, metres."""
    for name in ("00001", "00002"):
        (tmp_path / name).mkdir()
        write_shell(tmp_path / name / "fit.ply", 0.001)
    (tmp_path / "landmark_indices.txt").write_text("# 68 vertices\n" + "\n".join(str(i) for i in INDICES))
    dataset = open_dataset(tmp_path, unit="m")
    assert dataset.reader.format == "vertex-indices" and [x.name for x in dataset.places] == ["00001", "00002"]
    subject = read_subject(dataset.places[1], find_protocol("face68"), dataset.reader)
    np.testing.assert_allclose(subject.landmarks, shell()[0][INDICES], atol=0.01)
    assert reader_at(dataset.places[1]).format == "vertex-indices"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.json", '{"Prn": 7, "right Exocanthion": 9}'),
        ("i.txt", "Prn 7\nEx_R 9\n"),
        ("i.csv", "Prn,7\nEx_R,9\n"),
    ],
)
def test_indices_by_label(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    chosen = read_indices(tmp_path / name, PROTOCOL)
    assert {PROTOCOL.labels[i]: int(chosen[i]) for i in np.flatnonzero(chosen >= 0)} == {"Prn": 7, "Ex_R": 9}
    write_shell(tmp_path / "a.ply")
    subject = read_subject(tmp_path / "a", PROTOCOL, open_dataset(tmp_path, indices=tmp_path / name).reader)
    np.testing.assert_allclose(subject.landmarks[3], shell()[0][7], atol=1e-4)
    assert int(np.isfinite(subject.landmarks[:, 0]).sum()) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("i.txt", "1 2 three", "format"),
        ("i.json", "[1, 2, -3]", "no list of whole numbers"),
        ("i.json", "[1.5, 2]", "no list of whole numbers"),
        ("i.json", '{"elbow": 3}', "'elbow' is no landmark"),
        ("i.json", '{"a": [1], "b": [2]}', "several arrays"),
        ("i.txt", "1 2 3", "names 3 landmarks"),
        ("i.npz", "nonsense", "damaged"),
    ],
)
def test_unusable_indices_are_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read_indices(tmp_path / name, PROTOCOL)


def test_pickled_indices_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"i\.npy"):
        read_indices(tmp_path / "i.npy", PROTOCOL)


def test_a_mesh_of_another_topology_is_named(tmp_path: Path) -> None:
    place = facescape(tmp_path)
    np.savez(tmp_path / "landmark_indices.npz", v10=INDICES + len(shell()[0]))
    with pytest.raises(InputError, match="'1_neutral' has 1920 vertices"):
        read_subject(place, find_protocol("face68"))


def test_formats_without_an_order_of_vertices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="order of vertices"):
        mesh_vertices(tmp_path / "a.stl")


# Opening


def test_each_layout_is_recognised_and_can_be_forced(tmp_path: Path) -> None:
    made = {"lafas": lafas, "markups": markups, "facescape": facescape}
    for name, make in made.items():
        place = make(tmp_path / name)
        assert open_dataset(tmp_path / name).reader.format == name
        assert reader_at(place).format == name
    both = tmp_path / "both"
    lafas(both)
    markups(both, "S009")
    assert open_dataset(both).reader.format == "lafas"
    assert [x.name for x in open_dataset(both, "markups").places] == ["S009"]
    for kind in LAYOUTS.values():
        assert isinstance(kind(), Reader)


def test_scans_without_any_annotation_can_be_opened(tmp_path: Path) -> None:
    (lafas(tmp_path / "a") / "landmarks.txt").unlink()
    write_shell(tmp_path / "b.ply")
    assert open_dataset(tmp_path / "a").reader.format == "lafas"
    assert open_dataset(tmp_path).annotated == []
    with pytest.raises(InputError, match="no annotated scans"):
        list_subjects(tmp_path / "a")


def test_an_empty_folder_an_absent_one_and_unknown_formats(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="'empty' holds no annotated scans") as caught:
        open_dataset(tmp_path / "empty")
    assert caught.value.code == "dataset.empty"
    with pytest.raises(InputError, match="no folder 'absent'"):
        open_dataset(tmp_path / "absent")
    for name in ("lafsa", "no_such_module:Thing", "json:Thing", "pathlib:Path"):
        with pytest.raises(UsageError, match=re.escape(name)):
            open_dataset(tmp_path / "empty", name)


def test_the_reader_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT / "docs" / "datasets.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_reader.py").write_text(example[1], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    data = tmp_path / "data"
    (data / "scans").mkdir(parents=True)
    (data / "points").mkdir()
    write_shell(data / "scans" / "P7.ply", 0.1)
    (data / "points" / "P7.csv").write_text(
        "\n".join(
            ["name,x,y,z", *(f"{n},{x},{y},{z}" for n, (x, y, z) in zip(PROTOCOL.labels, POINTS / 10, strict=True))]
        )
    )
    dataset = open_dataset(data, "my_reader:ScansAndPoints", unit="cm")
    assert [place.name for place in dataset.places] == ["P7"]
    subject = read_subject(dataset.places[0], PROTOCOL, dataset.reader)
    np.testing.assert_allclose(subject.landmarks, POINTS, atol=1e-6)
    assert subject.unit == "cm" and subject.mesh.name == "P7.ply"
    assert pickle.loads(pickle.dumps(dataset.reader)) == dataset.reader  # goes to the processes of --jobs


# Settings kept in the data set


def test_a_data_set_may_say_itself_how_it_is_read(tmp_path: Path) -> None:
    write_shell(tmp_path / "A.ply", 0.001)
    np.savez(tmp_path / "points.npz", mine=INDICES, others=INDICES[::-1])
    settings = {"format": "vertex-indices", "unit": "m", "indices": "points.npz", "key": "mine"}
    (tmp_path / "palnet-dataset.json").write_text(json.dumps(settings))
    places = list_subjects(tmp_path)
    subject = read_subject(places[0], find_protocol("face68"))  # as training does, which knows the place only
    np.testing.assert_allclose(subject.landmarks, shell()[0][INDICES], atol=0.01)
    assert subject.unit == "m"
    # What is said on the command line goes before.
    assert open_dataset(tmp_path, unit="cm", key="others").reader == VertexIndices(
        unit="cm", key="others", indices=tmp_path / "points.npz"
    )


def test_settings_of_a_recognised_layout_without_its_name(tmp_path: Path) -> None:
    place = markups(tmp_path, status="predicted")
    (tmp_path / "palnet-dataset.json").write_text('{"predicted": false}')
    assert np.isnan(read_subject(place, PROTOCOL).landmarks).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "JSON object"),
        ('{"unit": "mile"}', "'unit'"),
        ('{"unti": "mm"}', "'unti'"),
        ('{"predicted": 1}', "'predicted'"),
        ('{"format": "os:system"}', "'os:system'"),
    ],
)
def test_unusable_settings_are_refused_and_run_no_code(tmp_path: Path, text: str, said: str) -> None:
    place = markups(tmp_path)
    (tmp_path / "palnet-dataset.json").write_text(text)
    for attempt in (lambda: open_dataset(tmp_path), lambda: read_subject(place, PROTOCOL)):
        with pytest.raises(InputError, match=said):
            attempt()


# The protocol of 68 points


def test_face68_has_the_sides_of_the_common_annotation() -> None:
    ours, plain = find_protocol("face68"), load_protocol(PROJECT / "Testing/data/protocols/face68.json")
    np.testing.assert_array_equal(ours.mirror, plain.mirror)
    assert ours.midline == plain.midline and len(ours.measurements) > 5
    assert all(landmark.definition.endswith(".") for landmark in ours.landmarks)
    # The eye on the subject's right is run through first, from its outer corner over the upper lid.
    assert ours.labels[36:48] == (
        "Eye1_R", "Eye2_R", "Eye3_R", "Eye4_R", "Eye5_R", "Eye6_R", "Eye4_L", "Eye3_L", "Eye2_L", "Eye1_L", "Eye6_L",
        "Eye5_L",
    )  # fmt: skip


def test_face68_fits_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    folder = PROJECT / "Resources" / "Protocols"
    schema = json.loads((folder / "protocol.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads((folder / "face68" / "protocol.json").read_text(encoding="utf-8")), schema)
    jsonschema.validate(find_protocol("face68").to_dict(), schema)


def test_protocols_are_found_by_id_or_path(tmp_path: Path) -> None:
    assert find_protocol(None).id == "face50" and find_protocol("face68").id == "face68"
    assert len(find_protocol(str(PROJECT / "Testing/data/protocols/face68.json"))) == 68
    with pytest.raises(InputError, match="no protocol 'face69'"):
        find_protocol("face69")


def test_unknown_names_in_a_landmark_file_are_passed_on_as_warnings(tmp_path: Path) -> None:
    place = lafas(tmp_path, text=lafas_rows(POINTS) + "elbow\t(1,2,3)\n")
    assert any("elbow" in text for text in read_annotation(reader_at(place), place, PROTOCOL).warnings)
