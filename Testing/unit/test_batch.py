"""Batches: naming of cases, going on after a stop, and keeping what people corrected."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from stand_ins import StandInRunner, install_predictor, landmarks_on_shell, write_shell

from PALNetLandmarksLib.engine import batch
from PALNetLandmarksLib.engine.batch import find_scans, run_batch
from PALNetLandmarksLib.engine.batch_case import BatchSettings, CaseRunner, Job
from PALNetLandmarksLib.engine.batch_record import (
    CaseStatus,
    batch_lock,
    name_cases,
    read_key,
    read_statuses,
    write_key,
    write_statuses,
)
from PALNetLandmarksLib.engine.cli import main
from PALNetLandmarksLib.errors import DeviceError, InputError, UsageError
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.manifest import BATCH_MANIFEST, read_manifest, state_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three scans, the second of which is broken."""
    scans = tmp_path / "scans"
    for name in ("S1/mesh.ply", "S2/bad.ply", "S10/mesh.ply"):
        (scans / name).parent.mkdir(parents=True)
        write_shell(scans / name)
    (scans / "S2" / "bad.ply").write_bytes(b"")
    return scans


class Runners:
    """Makes runners and keeps them, to see what each did."""

    def __init__(self, kind: type[StandInRunner] = StandInRunner) -> None:
        self.kind, self.made = kind, []  # type: tuple[Any, list[StandInRunner]]

    def __call__(self, settings: BatchSettings) -> Any:
        self.made.append(self.kind(settings))
        return self.made[-1]


def run(folder: Path, output: Path, **options: Any) -> tuple[list[CaseStatus], list[str]]:
    """Run a batch; gives the statuses and the cases that were done this time."""
    runners = Runners(options.pop("kind", StandInRunner))
    statuses = run_batch(BatchSettings(folder, output, **options), runner=runners)
    return statuses, runners.made[0].done


def test_scans_are_found_in_natural_order_without_the_output(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    write_shell(folder / ".hidden" / "x.ply")
    (folder / "out").mkdir()
    write_shell(folder / "out" / "y.ply")
    (folder / "notes.txt").write_text("no scan")
    assert find_scans(folder, folder / "out") == ["S1/mesh.ply", "S2/bad.ply", "S10/mesh.ply"]
    with pytest.raises(InputError, match="no scans"):
        find_scans(_empty(folder))
    with pytest.raises(InputError, match="no folder"):
        find_scans(folder / "nowhere")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_cases_keep_their_names_when_scans_are_added() -> None:
    first = name_cases(["b.ply", "d.ply"], {})
    assert first == {"b.ply": "C0001", "d.ply": "C0002"}
    assert name_cases(["a.ply", "b.ply", "c.ply", "d.ply"], first) == {
        "a.ply": "C0003", "b.ply": "C0001", "c.ply": "C0004", "d.ply": "C0002",
    }  # fmt: skip
    assert name_cases(["x/P 1.ply", "P2.obj"], {}, from_names=True) == {"x/P 1.ply": "x_P 1", "P2.obj": "P2"}
    with pytest.raises(UsageError, match="case id"):
        name_cases(["P2.ply", "p2.obj"], {}, from_names=True)


def test_key_and_status_survive_odd_names(tmp_path: Path) -> None:
    key = {"=cmd()/ä, b.ply": "C0001", "plain.ply": "C0002"}
    write_key(tmp_path, key)
    assert read_key(tmp_path) == key
    statuses = {"C0001": CaseStatus("C0001", "failed", "3", "scan.empty", 'He said: "no", -1', "=hint")}
    write_statuses(tmp_path, statuses)
    assert read_statuses(tmp_path) == statuses
    assert "\n=" not in (tmp_path / "cases.csv").read_text() and ",=" not in (tmp_path / "status.csv").read_text()
    (tmp_path / "status.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a table of a batch"):
        read_statuses(tmp_path)


def test_an_error_does_not_stop_the_others_and_names_stay_in_the_key(folder: Path, tmp_path: Path) -> None:
    statuses, done = run(folder, tmp_path / "out")
    assert [status.status for status in statuses] == ["done", "failed", "done"]
    assert done == ["C0001", "C0002", "C0003"]
    assert statuses[1].exit_code == "3" and statuses[1].code == "scan.empty"
    for path in (tmp_path / "out").iterdir():
        text = path.read_text(encoding="utf-8-sig")
        assert ("mesh.ply" in text) is (path.name == "cases.csv"), path.name
        assert str(tmp_path) not in text
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(["C0001.mrk.json", "C0003.mrk.json", "cases.csv", "status.csv", "measurements.csv",
                            "landmarks.csv", "asymmetry.csv", "batch.manifest.json"])  # fmt: skip
    table = (tmp_path / "out" / "measurements.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["case", "C0001", "C0003"]


def test_a_failing_case_does_not_tell_its_file_name(tmp_path: Path) -> None:
    from PALNetLandmarksLib.engine.batch_case import failed_status

    job = Job("C0001", tmp_path / "Jane Doe.ply", "Jane Doe.ply")
    error = InputError("Jane Doe.ply holds no face (see Jane Doe).", "Scan again.")
    status = failed_status(CaseStatus("C0001"), error, job, 1.0)
    assert "Jane" not in status.message and status.message == "the scan holds no face (see the scan)."
    assert failed_status(CaseStatus("C0001"), KeyError("Jane"), job, 1.0).message == "Unexpected error (KeyError)."
    assert failed_status(CaseStatus("C0001"), MemoryError(), job, 1.0).exit_code == "6"


def test_resume_does_only_what_is_left_or_changed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(folder, output)
    with pytest.raises(UsageError, match="earlier batch"):
        run(folder, output)
    assert run(folder, output, resume=True)[1] == ["C0002"]
    write_shell(folder / "S2" / "bad.ply", scale=1.01)
    statuses, done = run(folder, output, resume=True)
    assert done == ["C0002"] and {status.status for status in statuses} == {"done"}
    assert run(folder, output, resume=True)[1] == []
    write_shell(folder / "S1" / "mesh.ply", scale=1.02)  # another scan under the old name
    assert run(folder, output, resume=True)[1] == ["C0001"]
    (output / "C0003.mrk.json").unlink()
    assert run(folder, output, resume=True)[1] == ["C0003"]
    assert run(folder, output, resume=True, seed=5)[1] == ["C0001", "C0002", "C0003"]
    assert run(folder, output, overwrite=True)[1] == ["C0001", "C0002", "C0003"]


def test_corrected_landmarks_are_never_replaced(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(folder, output)
    corrected = landmarks_on_shell().with_point("Prn", (1.0, 2.0, 3.0), "corrected")
    write_landmarks(output / "C0001.mrk.json", corrected)
    (output / "C0003.mrk.json").write_text("half a file of somebody")
    statuses, done = run(folder, output, overwrite=True)
    assert done == ["C0002"]
    assert read_landmarks(output / "C0001.mrk.json").count("corrected") == 1
    assert statuses[0].status == "done"  # it is still what was predicted of this scan, corrected
    assert statuses[2].code == "batch.unreadable"
    assert (output / "C0003.mrk.json").read_text() == "half a file of somebody"
    assert run(folder, output, resume=True, seed=5)[0][0].status == "done"
    table = (output / "measurements.csv").read_text().splitlines()
    place = table[0].split(",").index("corrected_points")
    assert table[1].split(",")[place] == "1"
    write_shell(folder / "S1" / "mesh.ply", scale=1.02)
    statuses, done = run(folder, output, overwrite=True)
    assert done == ["C0002"] and statuses[0].status == "failed" and statuses[0].code == "batch.corrected"
    assert read_landmarks(output / "C0001.mrk.json").count("corrected") == 1
    write_shell(folder / "S1" / "mesh.ply")  # the old scan is back
    assert run(folder, output, resume=True)[0][0].status == "done"


class Interrupted(StandInRunner):
    def run(self, job: Any) -> Any:
        if job.case == "C0003":
            raise KeyboardInterrupt
        return super().run(job)


def test_stopping_in_the_middle_loses_nothing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(folder, output, kind=Interrupted)
    assert [status.status for status in read_statuses(output).values()] == ["done", "failed", "waiting"]
    assert (output / "measurements.csv").exists() and not (output / ".palnet-batch.lock").exists()
    statuses, done = run(folder, output, resume=True)
    assert done == ["C0002", "C0003"] and statuses[2].status == "done"


def test_two_batches_do_not_share_a_folder(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with batch_lock(output), pytest.raises(UsageError, match="Another batch"):
        run(folder, output)
    run(folder, output)


def test_the_output_folder_must_be_possible(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be written"):
        run(folder, tmp_path / "no" / "such" / "place")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="could not be written"):
        run(folder, tmp_path / "file")


def test_several_processes_give_the_same(folder: Path, tmp_path: Path) -> None:
    settings = BatchSettings(folder, tmp_path / "out", jobs=2)
    statuses = run_batch(settings, runner=StandInRunner)
    assert [status.status for status in statuses] == ["done", "failed", "done"]
    assert (tmp_path / "out" / "C0003.mrk.json").exists()


class Dying(StandInRunner):
    def run(self, job: Any) -> Any:
        os._exit(9)


@pytest.mark.slow
def test_a_process_that_dies_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="ended unexpectedly"):
        run_batch(BatchSettings(folder, tmp_path / "out", jobs=2), runner=Dying)


def test_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_predictor(monkeypatch)
    words = ["batch", str(folder), "--output", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 3
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert (answer["done"], answer["failed"]) == (2, 1)
    assert said.err.count("warning: C0002: The scan file is empty.") == 1
    assert main(words) == 2
    (folder / "S2" / "bad.ply").unlink()
    assert main([*words, "--resume", "--quiet"]) == 0
    assert main([*words, "--resume", "--overwrite"]) == 2
    assert main(["batch", str(folder), "--output", str(folder)]) == 2
    assert main(["batch", str(tmp_path / "none"), "--output", str(tmp_path / "o2")]) == 3


def test_the_runner_writes_a_case(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install_predictor(monkeypatch)
    runner = CaseRunner(BatchSettings(folder, tmp_path, seed=9))
    status = runner.run(Job("C0001", folder / "S1" / "mesh.ply", "S1/mesh.ply"))
    assert (status.status, status.exit_code, status.missing_points) == ("done", "0", "1")
    assert status.verdict == "good" and status.settings == "unit=auto seed=9" and len(status.scan_sha256) == 64
    assert calls[-1]["seed"] == 9
    assert read_landmarks(tmp_path / "C0001.mrk.json").count("predicted") == 49
    assert batch.LANDMARKS == ".mrk.json"


class OtherShape(StandInRunner):
    """Has a model with the same weights, but another shape regression or other settings."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.model = (*self.model[:2], "ef" * 32)


def test_another_model_with_the_same_weights_does_all_cases_again(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out")
    assert run(folder, tmp_path / "out", resume=True, kind=OtherShape)[1] == ["C0001", "C0002", "C0003"]
    assert run(folder, tmp_path / "out", resume=True, kind=OtherShape)[1] == ["C0002"]


class Watching(StandInRunner):
    """Looks whether the manifest of the run before is still there."""

    def run(self, job: Any) -> Any:
        assert not (self.settings.output / BATCH_MANIFEST).exists()
        return super().run(job)


def test_no_manifest_tells_of_files_that_are_being_replaced(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(folder, output)
    names = {file.name for file in read_manifest(output / BATCH_MANIFEST)[-1].files}
    tables = {"measurements.csv", "landmarks.csv", "asymmetry.csv", "status.csv"}
    assert names == {"C0001.mrk.json", "C0003.mrk.json"} | tables
    run(folder, output, overwrite=True, kind=Watching)
    files = read_manifest(output / BATCH_MANIFEST)[-1].files
    assert {state_of(output, file) for file in files} == {"whole"}
