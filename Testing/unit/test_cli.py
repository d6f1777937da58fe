"""The command line: what it writes, what it refuses, how it speaks, and its exit codes."""

from __future__ import annotations

import getpass
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stand_ins import BUNDLE_SHA256, MODEL_SHA256, install_predictor, landmarks_on_shell, shell, write_shell

from PALNetLandmarksLib import resources
from PALNetLandmarksLib.engine.cli import main
from PALNetLandmarksLib.engine.commands.console import Console, one_line
from PALNetLandmarksLib.errors import BundleError, DeviceError, RegistrationError
from PALNetLandmarksLib.landmark_files import read_landmark_file, read_landmarks, write_landmarks

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "PALNetLandmarks"), str(ROOT)])}


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False, **options)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_shell(tmp_path / "Jane Döe 1970.ply")


def one_error(text: str) -> str:
    """Check that a command said one line, an error, and give it."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("palnet-landmarks: error: ")
    return lines[0]


# --- how it speaks ---------------------------------------------------------------------------------------------------


def test_help_answers_without_loading_anything_heavy() -> None:
    code = (
        "import sys\nfrom PALNetLandmarksLib.engine.cli import main\n"
        "try: main(['predict', '--help'])\nexcept SystemExit as end: print('code', end.code)\n"
        "print('heavy', sorted({'numpy', 'torch', 'open3d', 'vtk', 'scipy', 'PIL'} & set(sys.modules)))"
    )
    done = python(code)
    assert "code 0" in done.stdout and "--measurements" in done.stdout
    assert "heavy []" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith("PALNetLandmarks ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "COMMAND"),
        (["sing"], "sing"),
        (["predict"], "SCAN"),
        (["predict", "a.ply", "--device", "tpu"], "tpu"),
        (["predict", "a.ply", "--seed", "-1"], "--seed"),
        (["predict", "a.ply", "--threads", "0"], "--threads"),
        (["predict", "a.ply", "--case", "a/b"], "--case"),
        (["predict", "a.ply", "--case", " "], "--case"),
        (["predict", "a.ply", "--output", "a.ply"], ".mrk.json"),
        (["predict", "a.ply", "--image", "a.jpg"], ".png"),
        (["predict", "a.ply", "--csv", "a.xlsx"], ".csv"),
        (["predict", "a.ply", "--meas", "a.csv"], "--meas"),
        (["measure", "a.txt", "--output", "m.tsv"], ".csv"),
        (["convert", "a.txt", "b.doc"], "ending"),
        (["models"], "ACTION"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert expected in one_error(said.err)
    assert said.out == ""


def test_errors_as_json_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nothing.ply", "--json"]) == 3
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert set(answer) == {"error"} and said.out.count("\n") == 1
    assert answer["error"]["code"] == "scan.not_found" and answer["error"]["exit_code"] == 3
    assert answer["error"]["message"] and answer["error"]["hint"]
    assert main(["check", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_what_libraries_print_stays_out_of_the_json(scan: Path) -> None:
    code = (
        "import os, sys\nfrom PALNetLandmarksLib.engine.cli import main\n"
        "from PALNetLandmarksLib.engine import reading\nread = reading.read_scan\n"
        "def noisy(*a, **k):\n    os.write(1, b'[Open3D WARNING] noise\\n'); print('noise'); return read(*a, **k)\n"
        "reading.read_scan = noisy\n"
        f"sys.exit(main(['check', {str(scan)!r}, '--json']))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vertices"] == len(shell()[0])
    assert "noise" in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only_and_cleared() -> None:
    for stream, quiet, expected in (
        (Terminal(), False, True),
        (io.StringIO(), False, False),
        (Terminal(), True, False),
    ):
        console = Console(quiet=quiet, output=io.StringIO(), errors=stream)
        console.progress("network", 0.5)
        assert ("50% network" in stream.getvalue()) is expected
        console.warning("look")
        assert stream.getvalue().endswith("palnet-landmarks: warning: look\n")
        assert stream.getvalue().count("\x1b[K") == (2 if expected else 0)


def test_one_line_drops_line_ends_and_control_characters() -> None:
    assert one_line("a\n b\x1b[31m\tc") == "a b [31m c"


# --- predict ---------------------------------------------------------------------------------------------------------


def outputs_of(folder: Path) -> dict[str, Path]:
    return {
        "--output": folder / "l.mrk.json",
        "--csv": folder / "l.csv",
        "--measurements": folder / "m.csv",
        "--asymmetry": folder / "a.csv",
    }


def words_of(outputs: dict[str, Path]) -> list[str]:
    return [word for option, path in outputs.items() for word in (option, str(path))]


def test_predict_writes_everything_without_names_of_paths_or_persons(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = install_predictor(monkeypatch)
    outputs = outputs_of(tmp_path)
    words = ["predict", str(scan), *words_of(outputs), "--case", "K7", "--seed", "3", "--threads", "1", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert calls[0] == {"device": "auto", "threads": 1} and calls[1]["seed"] == 3
    digests = {"weights_sha256": MODEL_SHA256, "bundle_sha256": BUNDLE_SHA256}
    assert answer["model"] == {"id": "stand-in", "version": "1", **digests}
    assert answer["registration"]["inlier_rms_mm"] == 1.25 and answer["coordinate_system"] == "LPS"
    points = {point["label"]: point for point in answer["landmarks"]}
    assert len(points) == 50
    assert points["Tr"]["position_mm"] is None and points["Tr"]["expected_error_mm"] is None
    assert points["Prn"]["position_mm"] == pytest.approx(list(landmarks_on_shell(("Tr",)).position("Prn")))
    assert answer["seconds"]["network"] is None and answer["seconds"]["total"] > 0
    assert set(answer["outputs"]) == {"output", "csv", "measurements", "asymmetry"}
    for path in (*outputs.values(), tmp_path / "l.manifest.json"):
        text = path.read_text(encoding="utf-8-sig")
        assert len(text) > 1000
        for private in ("Jane", "Döe", scan.stem, str(tmp_path), tmp_path.name, str(Path.home())):
            assert private not in text, (path.name, private)
        assert getpass.getuser() == "root" or getpass.getuser() not in text
    assert "K7" in outputs["--measurements"].read_text()
    written = read_landmarks(outputs["--output"])
    np.testing.assert_allclose(written.positions, landmarks_on_shell(("Tr",)).positions, atol=1e-6)
    assert not list(tmp_path.glob(".palnet*"))


def test_predict_without_outputs_prints_the_landmarks(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_predictor(monkeypatch)
    assert main(["predict", str(scan), "--quiet"]) == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert len(rows) == 51 and all(len(row) == 6 for row in rows)
    assert rows[1] == ["Tr", "", "", "", "", "missing"]
    assert said.err == "palnet-landmarks: warning: No usable surface for Tr.\n"


def test_files_that_are_there_are_kept_unless_asked(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = install_predictor(monkeypatch)
    corrected = tmp_path / "l.mrk.json"
    write_landmarks(corrected, landmarks_on_shell(status="corrected"))
    before = corrected.read_bytes()
    assert main(["predict", str(scan), "--output", str(corrected)]) == 2
    assert "--overwrite" in one_error(capsys.readouterr().err)
    assert corrected.read_bytes() == before and calls == []
    assert main(["predict", str(scan), "--output", str(corrected), "--overwrite"]) == 0
    assert read_landmarks(corrected).count("predicted") == 49


def test_outputs_are_checked_before_the_work(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = install_predictor(monkeypatch)
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    twice = str(tmp_path / "x.csv")
    for words, code in (
        (["--csv", str(tmp_path / "no" / "a.csv")], 3),
        (["--csv", str(folder)], 3),
        (["--csv", str(scan / "a.csv")], 3),
        (["--csv", twice, "--measurements", str(tmp_path / "." / "x.csv")], 2),
    ):
        assert main(["predict", str(scan), *words]) == code, words
        one_error(capsys.readouterr().err)
    link = tmp_path / "link.csv"
    link.symlink_to(scan)
    assert main(["predict", str(scan), "--csv", str(link), "--overwrite"]) == 2
    assert "input" in one_error(capsys.readouterr().err)
    assert calls == []


@pytest.mark.skipif(os.name == "nt" or getpass.getuser() == "root", reason="needs permissions that bind this user")
def test_a_folder_that_is_read_only(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert main(["predict", str(scan), "--csv", str(closed / "a.csv")]) == 3
    assert "may not write" in one_error(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (
            RegistrationError("No face was found.", "Pick three points.", code="registration.none"),
            4,
            "Pick three points.",
        ),
        (BundleError("The weights do not fit.", "Copy it again."), 5, "Copy it again."),
        (DeviceError("The device failed.", "Choose --device cpu."), 6, "--device cpu"),
        (MemoryError(), 6, "memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 6, "'torch' is not installed"),
        (KeyboardInterrupt(), 130, "Cancelled"),
        (ZeroDivisionError("a\nb"), 1, "ZeroDivisionError: a b"),
    ],
)
def test_every_failure_has_its_exit_code_and_leaves_nothing(
    error: BaseException,
    code: int,
    expected: str,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_predictor(monkeypatch, error)
    outputs = outputs_of(tmp_path)
    assert main(["predict", str(scan), *words_of(outputs)]) == code
    assert expected in one_error(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == [scan.name]
    assert main(["predict", str(scan), "--json"]) == code
    answer = json.loads(capsys.readouterr().out)["error"]
    assert answer["exit_code"] == code and answer["code"]


def test_an_unexpected_error_says_how_to_report_it_and_where_on_request(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_predictor(monkeypatch, ZeroDivisionError("oops"))
    assert main(["predict", str(scan)]) == 1
    assert "--debug" in one_error(capsys.readouterr().err)
    assert main(["predict", str(scan), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    install_predictor(monkeypatch, OSError(5, "Input/output error", "/home/Jane Doe/scan.ply"))
    assert main(["predict", str(scan)]) == 1
    said = one_error(capsys.readouterr().err)
    assert "(OSError: Input/output error)" in said and "Jane" not in said


def test_a_picture_that_cannot_be_made_leaves_the_other_files(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_predictor(monkeypatch)
    monkeypatch.setattr("PALNetLandmarksLib.engine.picture._COMMAND", [sys.executable, "-c", "import os; os.abort()"])
    landmarks, image = tmp_path / "l.txt", tmp_path / "p.png"
    assert main(["predict", str(scan), "--output", str(landmarks), "--image", str(image), "--quiet"]) == 6
    assert "The other files were written." in capsys.readouterr().err.splitlines()[-1]
    assert landmarks.exists() and not image.exists()


def test_initial_points_are_turned_into_the_frame_of_the_scan(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install_predictor(monkeypatch)
    picked = tmp_path / "picked.mrk.json"
    write_landmarks(picked, landmarks_on_shell(status="placed").in_coordinate_system("RAS"))
    assert main(["predict", str(scan), "--init", str(picked), "--quiet"]) == 0
    initial = calls[1]["initial"]
    assert initial.coordinate_system == "LPS"
    np.testing.assert_allclose(initial.positions, landmarks_on_shell().positions, atol=1e-6)


def test_ending_politely_when_asked_to(scan: Path) -> None:
    code = (
        # Where the tests run in the background, the shell had interrupts ignored, by all that is started there.
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from PALNetLandmarksLib.engine.cli import main\nfrom PALNetLandmarksLib.engine import reading\n"
        "def slow(*a, **k):\n    print('begun', flush=True); time.sleep(30)\n"
        f"reading.read_scan = slow\nsys.argv[1:] = ['check', {str(scan)!r}]\nsys.exit(main())"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        started = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130 and said == "palnet-landmarks: error: Cancelled.\n"
        assert time.monotonic() - started < 5


# --- measure, convert, models ----------------------------------------------------------------------------------------


def test_measure_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.mrk.json"
    write_landmarks(file, landmarks_on_shell(("Tr",)))
    assert main(["measure", str(file), "--case", "K7"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 94 and rows[1][:3] == ["K7", "Tr-N", ""]
    out, asymmetry = tmp_path / "m.csv", tmp_path / "y.csv"
    words = ["measure", str(file), str(file), "--output", str(out), "--asymmetry", str(asymmetry), "--layout", "wide"]
    assert main([*words, "--case", "A", "--case", "B", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in answer["cases"]] == ["A", "B"]
    assert answer["cases"][0]["measurements"][0]["value"] is None
    table = out.read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["case", "A", "B"]
    assert asymmetry.read_text().count("\n") == 39
    assert main([*words, "--overwrite", "--case", "A", "--case", "A"]) == 2
    assert main([*words, "--overwrite", "--case", "A"]) == 2
    assert main(["measure", str(file), str(file), "--quiet"]) == 0
    assert "case002\t" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".txt", ".csv", ".tps", ".mrk.json"])
def test_convert_there_and_back(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, middle, back = tmp_path / "a.mrk.json", tmp_path / ("b" + ending), tmp_path / "c.mrk.json"
    write_landmarks(source, landmarks_on_shell(("Tr", "Ex_L")))
    assert main(["convert", str(source), str(middle), "--case", "K7"]) == 0
    assert "48 landmarks, 2 missing" in capsys.readouterr().out
    assert main(["convert", str(middle), str(back)]) == 0
    np.testing.assert_allclose(read_landmarks(back).positions, read_landmarks(source).positions, atol=2e-3)
    assert main(["convert", str(source), str(source), "--overwrite"]) == 2
    assert main(["convert", str(source), str(middle), "--coordinate-system", "RAS", "--overwrite"]) == 0
    turned = next(iter(read_landmark_file(middle).cases.values())).positions
    np.testing.assert_allclose(turned * [-1, -1, 1], read_landmarks(source).positions, atol=2e-3)


def test_convert_takes_one_case_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PALNetLandmarksLib.landmark_files import write_landmark_cases

    many = tmp_path / "many.csv"
    write_landmark_cases(many, {"A": landmarks_on_shell(), "B": landmarks_on_shell(("Tr",))})
    assert main(["convert", str(many), str(tmp_path / "b.mrk.json"), "--case", "B"]) == 0
    assert read_landmarks(tmp_path / "b.mrk.json").missing.sum() == 1
    assert main(["convert", str(many), str(tmp_path / "c.mrk.json"), "--case", "C"]) == 2
    assert "A, B" in capsys.readouterr().err
    assert main(["convert", str(many), str(tmp_path / "all.tps")]) == 0
    assert main(["convert", str(many), str(tmp_path / "all.txt")]) == 2


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    from safetensors.torch import save

    from PALNetLandmarksLib.engine.bundle import write_bundle
    from PALNetLandmarksLib.engine.networks import build_network
    from PALNetLandmarksLib.engine.registration import Reference
    from PALNetLandmarksLib.protocol import load_protocol

    protocol = load_protocol()
    parameters = {"landmarks": 50, "mirror": [int(x) for x in protocol.mirror], "points": 16, "width": 20, "layers": 1,
                  "heads": 2, "point_widths": [8, 8, 8]}  # fmt: skip
    network = build_network("patch_transformer", parameters)
    vertices = shell()[0].astype(np.float32)
    normals = np.tile(np.float32([0, 0, 1]), (len(vertices), 1))
    description = {
        "id": "small", "version": "0.1", "title": "A small one", "licence": "MIT", "training_data": "none",
        "network": {"name": "patch_transformer", "parameters": parameters}, "protocol": protocol.to_dict(),
        "projection": {"kind": "surface", "count": 10}, "confidence": {"scale": [1.0] * 50},
        "missing": {"distance_mm": 8.0, "border_margin_mm": 4.0, "visible_probability": 0.1},
        "training": {}, "metrics": {"mean_mm": 1.5},
    }  # fmt: skip
    reference = Reference(vertices, normals, np.zeros(len(vertices), dtype=np.uint8))
    card = "# A small model\nFor tests.\n"
    return write_bundle(
        tmp_path / "Modelle ö" / "small", description, save(network.state_dict()), reference,
        landmarks_on_shell().positions, card,
    )  # fmt: skip


def test_models_show_and_verify(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(small_bundle)]) == 0
    assert capsys.readouterr().out == "# A small model\nFor tests.\n"
    assert main(["models", "show", str(small_bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"mean_mm": 1.5}
    assert main(["models", "verify", str(small_bundle)]) == 0
    capsys.readouterr()
    weights = small_bundle / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    for words in (["models", "verify", str(small_bundle)], ["models", "show", str(small_bundle)]):
        assert main(words) == 5
        assert "SHA-256" in one_error(capsys.readouterr().err)
    assert main(["models", "verify", str(small_bundle.parent)]) == 5


def test_models_list_names_those_that_come_with_the_program(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r" / "Protocols").mkdir(parents=True)
    (tmp_path / "r" / "Models").mkdir()
    monkeypatch.setenv("PALNET_RESOURCES", str(tmp_path / "r"))
    assert main(["models", "list"]) == 0
    assert "No model" in capsys.readouterr().out
    small_bundle.rename(tmp_path / "r" / "Models" / "small")
    assert main(["models", "list", "--json"]) == 0
    assert [model["id"] for model in json.loads(capsys.readouterr().out)["models"]] == ["small"]


# --- the real thing --------------------------------------------------------------------------------------------------


def sample_with_truth() -> tuple[Path, Path] | None:
    for scan in resources.sample_scans():
        for truth in (scan.with_name(scan.stem + "_truth.mrk.json"), scan.with_name("landmarks.txt")):
            if truth.is_file():
                return scan, truth
    return None


@pytest.mark.skipif(
    not resources.bundled_models() or sample_with_truth() is None, reason="no model or no sample scan in Resources yet"
)
def test_the_sample_scan_with_the_default_model(tmp_path: Path) -> None:
    found = sample_with_truth()
    assert found is not None
    outputs = outputs_of(tmp_path)
    command = [sys.executable, "-m", "PALNetLandmarksLib.engine.cli", "predict", str(found[0]), *words_of(outputs)]
    command += ["--image", str(tmp_path / "p.png"), "--json", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["registration"]["verdict"] == "good"
    difference = read_landmarks(outputs["--output"]).positions - read_landmarks(found[1]).positions
    distance = np.linalg.norm(difference, axis=1)
    assert np.nanmean(distance) < 3.0 and np.nanmax(distance) < 12.0
    assert (tmp_path / "p.png").stat().st_size > 100_000
