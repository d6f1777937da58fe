"""Nothing leaves the machine, nothing says whose face it was, and nothing is left lying about.

The real program runs here on a scan whose file, folder, comments, user and home all have telling names; everything that
it says and writes is searched for them. A filter in the kernel ends any of its processes that opens a network socket.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.engine.personal_data import clues, personal_data_warning
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.resources import sample_scans
from Testing.unit.test_imports import PROJECT, dotted, python_files

# Words that occur nowhere else: the scan's file, its folder, what is said in it, the user, the home folder.
SECRETS = ("Quackenbush", "Zebulon", "Featherstone", "Wilhelmina", "1961-03-14", "Quilliam", "ztestuser", "zhomefolder")

# --- no network: the source


NETWORK_NAMES = {
    "QtNetwork", "QNetworkAccessManager", "QTcpSocket", "QUdpSocket", "QLocalServer", "QWebSocket", "qSlicerWebWidget",
    "webbrowser", "asyncio", "socketpair", "create_connection", "urlopen", "urlretrieve", "downloadFile",
    "downloadAndExtractArchive", "downloadFromURL", "downloadFromSource", "downloadSample", "download_url_to_file",
    "load_state_dict_from_url", "init_process_group", "Client", "Listener", "BaseManager", "SyncManager",
}  # fmt: skip


def network_names(source: str) -> list[str]:
    """List names in a file that stand for talking to the network, however they were come by."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        else:
            names = [dotted(node)] if isinstance(node, (ast.Attribute, ast.Name)) else []
        found += [name for name in names if NETWORK_NAMES & set(name.split("."))]
    return found


def test_no_file_of_the_program_names_the_network() -> None:
    found = {}
    for path, layer in python_files(PROJECT):
        names = set(network_names(path.read_text(encoding="utf-8")))
        if path.name == "distributed.py" and layer == "training":  # several training processes, as torchrun starts them
            names -= {"dist.init_process_group"}
        if names:
            found[path.name] = names
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import qt\nqt.QNetworkAccessManager()",
        "import webbrowser",
        "from urllib.request import urlopen",
        "import slicer\nslicer.util.downloadFile('a', 'b')",
        "import SampleData\nSampleData.downloadSample('a')",
        "import torch\ntorch.hub.load_state_dict_from_url('a')",
        "from multiprocessing.connection import Client",
    ],
)
def test_the_walk_finds_network_names(source: str) -> None:
    assert network_names(source)


# --- no network, no names, nothing left: the program at work

# A program of ours that lets the kernel end it, and every process that it starts, at a socket of the internet.
GUARD = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
rule = lambda code, true, false, value: struct.pack("HBBI", code, true, false, value)
rules = b"".join([
    rule(0x20, 0, 0, 0), rule(0x15, 0, 4, number),         # the call is socket()
    rule(0x20, 0, 0, 16), rule(0x15, 1, 0, 2), rule(0x15, 0, 1, 10),  # for IPv4 or IPv6
    rule(0x06, 0, 0, 0x80000000), rule(0x06, 0, 0, 0x7FFF0000),
])
buffer = ctypes.create_string_buffer(rules)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 7, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
assert libc.prctl(38, one, none, none, none) == 0
assert libc.prctl(22, ctypes.c_ulong(2), program, none, none) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
# Read by every Python that starts with it in its path: writes down what is done with sockets, and lets the process get
# a signal at the moment when its first output is written but not yet in its place.
CUSTOM = """
import os, sys
_signal = int(os.environ.get("PALNET_TEST_SIGNAL", "0"))
def _note(event, arguments):
    if _signal and event == "os.rename" and ".palnet-" in os.fspath(arguments[0]):
        os.kill(os.getpid(), _signal)
    if event.startswith("socket.") and event != "socket.gethostname" or event in ("urllib.Request", "ftplib.connect"):
        if event == "socket.__new__" and arguments[1] not in (2, 10):
            return
        with open(os.environ["PALNET_TEST_SOCKETS"], "a") as file:
            file.write(event + "\\n")
sys.addaudithook(_note)
"""
GUARDED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") and hasattr(ctypes, "CDLL")


class Desk:
    """A folder with a telling name, a scan with telling words in it, and the program run in it."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "Quilliam ward"
        self.temporary, self.sockets = base / "tmp", base / "sockets.txt"
        home, custom = base / "zhomefolder", base / "custom"
        for folder in (self.folder / "scans", self.temporary, home, custom):
            folder.mkdir(parents=True)
        (custom / "sitecustomize.py").write_text(CUSTOM)
        self.scan = self.folder / "scans" / "Zebulon Quackenbush 1961-03-14.ply"
        head, rest = sample_scans()[0].read_bytes().split(b"\n", 1)
        said = b"\ncomment Patient: Wilhelmina Featherstone, born 1961-03-14\ncomment saved in /home/ztestuser/scans/\n"
        self.scan.write_bytes(head + said + rest)
        (self.folder / "scans" / "Zebulon Quackenbush bad.ply").write_bytes(self.scan.read_bytes()[:5000])
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))},
            "PYTHONPATH": os.pathsep.join([str(custom), str(PROJECT / "PALNetLandmarks")]),
            "TMPDIR": str(self.temporary), "TEMP": str(self.temporary), "TMP": str(self.temporary),
            "HOME": str(home), "USER": "ztestuser", "LOGNAME": "ztestuser", "USERNAME": "ztestuser",
            "PALNET_TEST_SOCKETS": str(self.sockets),
        }  # fmt: skip
        self.said: dict[str, bytes] = {}

    def start(self, *words: str, module: str = "cli", ends: int = 0, **streams: int) -> subprocess.Popen[bytes]:
        guard = ["-c", GUARD] if GUARDED else []
        command = [sys.executable, *guard, "-m", f"PALNetLandmarksLib.engine.{module}", *words]
        environment = {**self.environment, "PALNET_TEST_SIGNAL": str(int(ends))}
        # Where tests run in the background of a shell, interrupts are ignored, and processes inherit that.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)} if os.name == "posix" else {}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command, cwd=self.folder, env=environment, **heard, **streams
        )

    def run(self, *words: str, module: str = "cli", say: bytes = b"", expect: int = 0) -> bytes:
        pipe = subprocess.PIPE
        process = self.start(*words, module=module, stdin=pipe, stdout=pipe, stderr=pipe)
        output, errors = process.communicate(say, timeout=120)
        assert process.returncode == expect, errors.decode()
        self.said[" ".join([module, *words[:1], str(len(self.said))])] = output + errors
        return output

    def leftovers(self) -> list[str]:
        hidden = [path for path in self.folder.rglob(".*")]
        return sorted(path.name for path in [*self.temporary.rglob("*"), *hidden])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Let the program do all that it can do with a scan."""
    desk = Desk(tmp_path_factory.mktemp("privacy"))
    scan = str(desk.scan)
    outputs = ["--output", "p.mrk.json", "--csv", "p.csv", "--measurements", "pm.csv", "--asymmetry", "pa.csv"]
    desk.run("predict", scan, *outputs, "--image", "p.png", "--case", "S017")
    desk.run("predict", scan, "--output", "q.txt", "--json")
    desk.run("predict", str(desk.scan.with_name("Zebulon Quackenbush bad.ply")), "--output", "r.txt", expect=3)
    desk.run("check", scan)
    desk.run("measure", "p.mrk.json", "--output", "m.csv")
    desk.run("convert", "p.mrk.json", "p.tps")
    batch = desk.start("batch", "scans", "--output", "results", stdout=-1, stderr=-1)
    desk.said["batch"] = b"".join(batch.communicate(timeout=120))
    mesh = desk.temporary / "palnet-engine-test" / "mesh1.npz"
    mesh.parent.mkdir()
    read = read_scan(desk.scan, texture=False)
    np.savez(mesh, vertices=read.vertices, triangles=read.triangles.astype(np.int32))
    asked = [{"id": 1, "command": "hello"}, {"id": 2, "command": "predict", "mesh": str(mesh)}]
    worker = desk.start(module="worker", stdin=-1, stdout=-1, stderr=-1)
    assert worker.stdin and worker.stdout and worker.stderr
    worker.stdin.write(b"".join(json.dumps(item).encode() + b"\n" for item in asked))
    worker.stdin.flush()
    lines = []
    for line in worker.stdout:
        lines.append(line)
        if b'"id": 2' in line and (b'"result"' in line or b'"error"' in line):
            break
    assert any(json.loads(line)["event"] == "result" and json.loads(line)["id"] == 2 for line in lines), lines
    worker.stdin.close()
    worker.wait(20)
    desk.said["worker"] = b"".join([*lines, worker.stdout.read(), worker.stderr.read()])
    mesh.parent.rmdir()  # fails if the worker left the mesh
    return desk


def telling(data: bytes) -> list[str]:
    """List what a text tells of the person, the user, the machine and where things lie."""
    text = data.decode("utf-8", "replace")
    words = [*SECRETS, str(PROJECT), str(Path.home()), sys.prefix]
    found = [word for word in words if word in text]
    host = platform.node()
    if len(host) > 3 and re.search(rf"(?<!\w){re.escape(host)}(?!\w)", text):
        found.append("host name")
    return found + re.findall(r"(?:/home/|/Users/|/root/|/tmp/|[A-Z]:\\Users)\S*", text)


def test_everything_was_done(desk: Desk) -> None:
    written = {path.relative_to(desk.folder).as_posix() for path in desk.folder.rglob("*") if path.is_file()}
    assert {"p.mrk.json", "p.csv", "pm.csv", "pa.csv", "p.png", "q.txt", "m.csv", "p.tps", "results/status.csv",
            "results/cases.csv", "results/C0001.mrk.json"} <= written  # fmt: skip
    assert len(desk.said) == 8


def test_no_output_tells_whose_face_it_was(desk: Desk) -> None:
    searched, found = 0, {}
    for path in desk.folder.rglob("*"):
        # cases.csv is the one table from case numbers to file names, kept apart from the results on purpose.
        if path.is_file() and path.parent.name != "scans" and path.name != "cases.csv":
            searched += 1
            if words := telling(path.read_bytes()):
                found[path.name] = words
            assert not any(secret in path.name for secret in SECRETS)
    assert searched >= 12
    assert found == {}


def test_nothing_that_is_said_tells_whose_face_it_was(desk: Desk) -> None:
    for what, said in desk.said.items():
        assert said, what
        assert telling(said) == [], (what, said.decode())


def test_the_search_finds_what_tells() -> None:
    for word in (*SECRETS, str(PROJECT), "/home/somebody/x", "C:\\Users\\somebody"):
        assert telling(f"a {word} b".encode()), word
    assert telling(f"on {platform.node()}.".encode()) or len(platform.node()) <= 3
    assert not telling(b'{"model": "face50-simulated-1", "unit": "mm"}')


def test_the_warning_reaches_the_user(desk: Desk) -> None:
    said = [text for text in desk.said.values() if b"seems to hold a person's name" in text]
    assert len(said) == 3  # predict twice, check
    assert b"scan.personal_data" in (desk.folder / "results" / "status.csv").read_bytes()


def test_no_process_opened_a_socket(desk: Desk) -> None:
    assert not desk.sockets.exists(), desk.sockets.read_text()


@pytest.mark.skipif(not GUARDED, reason="needs Linux's system call filter")
def test_the_guards_work(desk: Desk, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    environment = {**desk.environment, "PALNET_TEST_SOCKETS": str(notes)}
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {code!r}]).returncode != -31)"
    command = [sys.executable, "-c", GUARD, "-c"]
    assert subprocess.run([*command, code], env=environment, check=False).returncode == -signal.SIGSYS
    assert subprocess.run([*command, child], env=environment, check=False).returncode == 0
    assert "socket.__new__" in notes.read_text()


def test_nothing_is_left_after_the_work(desk: Desk) -> None:
    assert desk.leftovers() == []


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_after_cancel_and_kill(tmp_path: Path, desk: Desk, number: int, code: int) -> None:
    for moment in ("while it begins", "while it writes"):
        folder = tmp_path / moment
        folder.mkdir()
        words = ["predict", str(desk.scan), "--output", str(folder / "a.mrk.json"), "--image", str(folder / "a.png")]
        if moment == "while it begins":
            process = desk.start(*words, stdout=-1, stderr=-1)
            time.sleep(0.7)
            process.send_signal(number)
            process.communicate(timeout=60)
            assert process.returncode  # an interrupt in the middle of an import comes out as any error
        else:
            process = desk.start(*words, ends=number, stdout=-1, stderr=-1)
            process.communicate(timeout=120)
            assert process.returncode == code
            assert [path.suffix for path in folder.iterdir()] == ([".tmp"] if number == signal.SIGKILL else [])
        # What a kill leaves goes with the next write into the folder.
        shutil.copy(desk.folder / "p.mrk.json", folder / "b.mrk.json")
        done = desk.start("convert", str(folder / "b.mrk.json"), str(folder / "b.tps"))
        assert done.wait(60) == 0
        assert not list(folder.glob(".*"))
        assert desk.leftovers() == []


# --- names and dates in scan files

HARMLESS = [
    "Created by VECTRA M3 Software",
    "VCGLIB generated",
    "Blender v2.93.5 OBJ File: ''",
    "Blender v2.79 (sub 0) OBJ File: 'face.blend'",
    "www.blender.org",
    "File exported by MeshLab 2020.12",
    "Created by CloudCompare v2.12.4 (Kyiv - Sep 22 2022)",
    "Created with Open3D",
    "3ds Max Wavefront OBJ Exporter v0.97b - (c)2007 guruware",
    "File Created: 12.04.2023 10:33:05",
    "Exported from SketchUp, (c) 2000-2012 Trimble Navigation Limited",
    "Created by Artec Studio 17 Professional",
    "Exported on 2023-11-05",
    "Date: 2024-01-05 10:00:02",
    "unit mm",
    "Vertices: 12345",
    "Generated by Agisoft Metashape Professional 1.8.4 build 14856 (64 bit)",
    "Revopoint Scan V5.4.2",
    "3dMDface System",
    "Max2Obj Version 4.0 Mar 10th, 2001",
    "Copyright (C) 2013-2015 Occipital, Inc.",
    "Scan of the left side",
    "patient: 017",
    "Subject: S0012",
    "Patient ID: P-0017",
    "subject = anonymous",
    "ICT-FaceKit neutral",
    "Alias OBJ Model File",
]
HARMLESS_NAMES = [
    "Material_001",
    "Material.001",
    "lambert2SG",
    "initialShadingGroup",
    "Default",
    "default_mat",
    "head",
    "FaceMaterial",
    "Left_Eye",
    "EyeWet",
    "Skin_Body",
    "mesh_0",
    "TexturedMesh",
    "face01",
    "scan_20",
    "model.mtl",
    "S0001.mtl",
    "S0001.jpg",
    "textured_mesh.jpg",
    "material0000",
    "Tex_0001_1.jpg",
    "Artec_Scan",
    "Object_12",
    "group_0_16089887",
    "uv_map.png",
    "defaultMat",
    "None",
    "P017_T2.jpg",
    "Sample_Face",
    "C0001_pre",
    "post_op_6m",
    "baked_mesh.png",
    "3DModel.jpg",
]
TELLING = [
    "Patient: Rossi, Giulia",
    "patient name: Giulia Rossi",
    "Giulia Rossi",
    "ROSSI GIULIA",
    "Smith, John",
    "O'Brien, Sean",
    "Shadman Yazdi",
    "Müller, Jürgen",
    "Name: Anna Müller",
    "Surname: Smith",
    "DOB: 12/04/1987",
    "Born 1987-04-12",
    "geb. 12.04.1987",
    "Scan date 2024-03-05",
    "Acquired 05.03.2024",
    "2024-03-05",
    "Visit of 5 March 2024",
    "Mr. Smith",
    "Paziente: Bianchi Marco",
    "C:\\Users\\Giulia Rossi\\Desktop\\scan.obj",
    "/home/jsmith/scans/a.obj",
    "Blender v2.93.5 OBJ File: 'giulia_rossi.blend'",
    "MRN: 1234567",
    "nato il 12/04/1987",
    "patientname=ROSSI^GIULIA",
    "second visit of Mrs. Smith, left side",
    "dob 12 4 87",
]
TELLING_NAMES = [
    "John_Smith",
    "john_smith",
    "SmithJohn",
    "ROSSI_GIULIA",
    "Giulia",
    "Rossi_Giulia_19870412",
    "giulia-rossi.jpg",
    "Smith_1987-04-12",
    "scan_20240305.jpg",
    "johanna.mtl",
    "Yazdi_Ali_pre",
    "C:\\Users\\mrossi\\tex.jpg",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_programs_write_raises_no_alarm(text: str) -> None:
    assert clues(text, comment=True) == set()


@pytest.mark.parametrize("text", HARMLESS_NAMES)
def test_usual_names_raise_no_alarm(text: str) -> None:
    assert clues(text, comment=False) == set()


@pytest.mark.parametrize("text", TELLING)
def test_comments_about_people_are_found(text: str) -> None:
    assert clues(text, comment=True)


@pytest.mark.parametrize("text", TELLING_NAMES)
def test_names_of_people_are_found(text: str) -> None:
    assert clues(text, comment=False)


TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("OBJ", b"# Giulia Rossi\n" + TRIANGLE),
        ("OBJ", TRIANGLE + b"  # Giulia Rossi"),
        ("OBJ", TRIANGLE.replace(b"\n", b"\r\n") + b"# Giulia Rossi\r\n"),
        ("OBJ", (TRIANGLE + b"# Giulia Rossi\n").replace(b"\n", b"\r")),
        ("OBJ", b"o Rossi_Giulia\n" + TRIANGLE),
        ("OBJ", b"g Rossi_Giulia\n" + TRIANGLE),
        ("OBJ", TRIANGLE + b"usemtl Rossi_Giulia\n"),
        ("OBJ", b"mtllib Rossi Giulia.mtl\n" + TRIANGLE),
        ("OBJ", b"mtllib face.mtl\n" + TRIANGLE),
        ("PLY", b"ply\nformat ascii 1.0\ncomment Giulia Rossi\nend_header\n"),
        ("PLY", b"ply\nformat ascii 1.0\nobj_info Giulia Rossi\nend_header\n"),
        ("PLY", b"ply\r\nformat ascii 1.0\r\ncomment TextureFile rossi_giulia.png\r\nend_header\r\n"),
        ("STL", b"solid Giulia Rossi\nfacet"),
        ("STL", b"Giulia Rossi".ljust(84, b"\0")),
    ],
)
def test_all_places_are_looked_at_and_nothing_is_repeated(tmp_path: Path, kind: str, data: bytes) -> None:
    (tmp_path / "face.mtl").write_bytes(b"# Blender\nnewmtl Giulia Rossi\nmap_Kd a.png\n")
    warning = personal_data_warning(kind, data, tmp_path)
    assert warning is not None and warning.code == "scan.personal_data"
    assert not re.search("rossi|giulia", repr(warning), re.IGNORECASE)
    innocent = re.sub(rb"(?i)[^\n\r]*(rossi|face.mtl)[^\n\r]*", b"# a scan", data)
    assert personal_data_warning(kind, innocent, tmp_path) is None or kind == "PLY"


def test_a_library_outside_the_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl Giulia Rossi\n")
    (tmp_path / "scans").mkdir()
    assert personal_data_warning("OBJ", b"mtllib ../secret.mtl\n" + TRIANGLE, tmp_path / "scans") is None


def test_our_own_scans_raise_no_alarm() -> None:
    for scan in sample_scans():
        assert not [item for item in read_scan(scan).warnings if item.code == "scan.personal_data"]


def test_a_large_scan_is_looked_through_quickly() -> None:
    data = b"# Giulia Rossi\n" + b"v 12.3456 -45.6789 78.9012\nvn 0.1 0.2 0.3\n" * 700_000  # 27 MB
    started = time.process_time()
    assert personal_data_warning("OBJ", data, Path())
    assert time.process_time() - started < 1.5
