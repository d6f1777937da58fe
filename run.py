#!/usr/bin/env python3
"""Set the program up in a virtual environment of its own and run it.

    python3 run.py demo            place the landmarks on the sample scan and show where the results are
    python3 run.py test [--all]    check the code's style and types and run the tests

The first call installs the packages of requirements.lock into the folder .venv beside this file (an internet connection
is needed then, once); each file is held against the SHA-256 written there. Everything after that, and all work on
scans, is done on this machine. Needs Python 3.10 or newer and nothing else; on Linux also the usual OpenGL libraries,
which it names when they are missing.
"""

# This file is read by Pythons that are too old for the program, to tell them so: no syntax newer than Python 3.6 here.

import argparse
import ctypes
import hashlib
import importlib.util
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
LOCK, TORCH_LOCK, CUDA_LOCK = (ROOT / f"requirements{part}.lock" for part in ("", "-torch", "-cuda"))
STAMP = ENVIRONMENT / "palnet-requirements.sha256"
SAMPLES = ROOT / "Resources" / "SampleData"
OUTPUT = ROOT / "output"
OLDEST_PYTHON = (3, 10)
SPACE_NEEDED = 3.5 * 1024**3  # bytes; measured with PyTorch for the CPU: 3.1 GB
FAILURE_MM = 10.0  # a landmark further off than this counts as a failure
LIMIT_MM = 5.0  # a mean distance above this means that the program does not work here

# Libraries that the packages' Linux wheels expect of the system: file, Debian package, Fedora package.
SYSTEM_LIBRARIES = (
    ("libEGL.so.1", "libegl1", "mesa-libEGL"),
    ("libGL.so.1", "libgl1", "mesa-libGL"),
    ("libX11.so.6", "libx11-6", "libX11"),
    ("libudev.so.1", "libudev1", "systemd-libs"),
    ("libidn2.so.0", "libidn2-0", "libidn2"),
)
# What Qt, in which the tests show the module's panel, expects besides.
QT_LIBRARIES = (
    ("libfontconfig.so.1", "libfontconfig1", "fontconfig"),
    ("libfreetype.so.6", "libfreetype6", "freetype"),
    ("libglib-2.0.so.0", "libglib2.0-0", "glib2"),
    ("libxkbcommon.so.0", "libxkbcommon0", "libxkbcommon"),
    ("libdbus-1.so.3", "libdbus-1-3", "dbus-libs"),
    ("libzstd.so.1", "libzstd1", "libzstd"),
)
PIP_PROBLEMS = (
    (
        "DO NOT MATCH THE HASHES|Hashes are required in --require-hashes mode",
        "A file is not the one that this version was tested with (its SHA-256 differs from the lock's), so it was not "
        "installed. Run this again; if it stays so, see which package index pip uses (pip config list).",
    ),
    ("No space left on device|Disk quota exceeded", "The disk is full: free about 4 GB and run this again."),
    ("Permission denied", "Files could not be written: make sure that this folder is yours, and run this again."),
    (
        "NewConnectionError|NameResolutionError|Temporary failure in name resolution|Network is unreachable"
        "|Connection refused|ConnectTimeout|ProxyError|Could not fetch URL|SSLError|CERTIFICATE_VERIFY_FAILED"
        "|Read timed out|ConnectionResetError|getaddrinfo failed|from versions: none",
        "The package index could not be reached: check the internet connection (behind a proxy: set HTTPS_PROXY).",
    ),
    (
        "No matching distribution found|not a supported wheel",
        "There is no package for this system: needed are Python 3.10 to 3.13 and Linux with glibc 2.35 or newer "
        "(Ubuntu 22.04, Debian 12), Windows 10 (64 bit) or macOS 14 (Apple silicon).",
    ),
)


def fail(message: str) -> None:
    """Say what is wrong and end."""
    sys.stdout.flush()
    sys.stderr.write("run.py: error: " + message + "\n")
    sys.exit(1)


def environment_python() -> str:
    """Give the path of the environment's Python."""
    if os.name == "nt":
        return str(ENVIRONMENT / "Scripts" / "python.exe")
    return str(ENVIRONMENT / "bin" / "python")


def works(*command: str) -> bool:
    """Tell whether a command ends well; its output is dropped."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=str(ROOT)) == 0
    except OSError:
        return False


def prepare_environment() -> None:
    """Make the virtual environment and install the packages, unless that was done for the same requirements."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in (LOCK, TORCH_LOCK, CUDA_LOCK))).hexdigest()
    python = environment_python()
    if STAMP.is_file() and STAMP.read_text().strip() == digest and works(python, "-c", "pass"):
        return
    free = shutil.disk_usage(str(ROOT)).free
    if not works(python, "-c", "import torch") and free < SPACE_NEEDED:
        fail(f"The packages need about 3.5 GB, and the disk has {free / 1024**3:.1f} GB free. Free some space.")
    if not works(python, "-c", "pass"):
        if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
            package = "python{}.{}-venv".format(*sys.version_info[:2])
            fail(f"This Python cannot make virtual environments. Debian and Ubuntu: sudo apt install {package}")
        print("Making a virtual environment in .venv ...", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if made.returncode != 0:
            said = made.stdout.decode("utf-8", "replace")
            if "ensurepip" in said:
                fail("pip could not be set up. Debian and Ubuntu: sudo apt install python3-venv, then run this again.")
            fail(explain(said) or "The virtual environment could not be made: " + said.strip().split("\n")[-1])
    if not works(python, "-m", "pip", "--version") and not works(python, "-m", "ensurepip"):
        fail("The environment in .venv has no pip. Delete the folder .venv and run this again.")
    print("Installing the packages of requirements.lock (3 GB on the disk; takes several minutes) ...", flush=True)
    install_torch(python)
    install(python, LOCK)
    STAMP.write_text(digest + "\n")


def install_torch(python: str) -> None:
    """Install the pinned PyTorch, unless any build of that version is there.

    There are several builds of a version (for the CPU, for releases of CUDA), and pip's settings say which one a
    machine gets. So pip chooses and downloads it, and the file is held against the lock before it is installed.
    """
    pinned = re.search(r"^torch==(\S+)", TORCH_LOCK.read_text(encoding="utf-8"), re.MULTILINE).group(1)
    asked = f"import importlib.metadata as m; raise SystemExit(m.version('torch').split('+')[0] != '{pinned}')"
    if not works(python, "-c", asked):
        with tempfile.TemporaryDirectory(dir=str(ENVIRONMENT)) as folder:
            pip(python, "download", "--no-deps", "--only-binary=:all:", "--dest", folder, "torch==" + pinned)
            found = [name for name in os.listdir(folder) if name.startswith("torch-")]
            if len(found) != 1:
                fail("PyTorch could not be downloaded. Run this again.")
            known = sha256(Path(folder) / found[0]) in TORCH_LOCK.read_text(encoding="utf-8")
            # The package index has no build with a "+": it is from an index or a folder that somebody set up here.
            if known or "+" not in found[0]:
                wanted = ["--require-hashes", "--no-index", "--find-links", folder, "-r", str(TORCH_LOCK)]
            else:
                print("Note: " + found[0] + " comes from pip's settings on this machine and is not in the lock.")
                wanted = [os.path.join(folder, found[0])]
            pip(python, "install", "--no-deps", *wanted)
    needs = "import importlib.metadata as m; raise SystemExit(not any('nvidia-' in r for r in m.requires('torch')))"
    if sys.platform.startswith("linux") and works(python, "-c", needs):
        install(python, CUDA_LOCK)


def install(python: str, lock: Path) -> None:
    """Install a whole lock: nothing but the files whose SHA-256 is in it."""
    pip(python, "install", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(lock))


def sha256(path: Path) -> str:
    """Give the SHA-256 of a large file."""
    digest = hashlib.sha256()
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def pip(python: str, action: str, *arguments: str) -> None:
    """Run pip, pass on what it says, and explain its failures."""
    command = [python, "-m", "pip", action, "--disable-pip-version-check", *arguments]
    if not sys.stdout.isatty():
        command.insert(4, "--quiet")
    # On a terminal pip draws its own progress; what goes wrong it says on standard error, which is kept to explain it.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=str(ROOT))
    said = []
    for line in process.stderr:
        text = line.decode("utf-8", "replace")
        said.append(text)
        if not text.startswith("WARNING"):
            sys.stderr.write(text)
    if process.wait() != 0:
        fail(explain("".join(said)) or "The packages could not be installed: see pip's message above.")


def explain(said: str) -> str:
    """Give advice for what pip or venv said; empty when it is nothing known."""
    for pattern, advice in PIP_PROBLEMS:
        if re.search(pattern, said):
            return advice
    return ""


def check_system_libraries(libraries: tuple) -> None:
    """Name the system's libraries that are missing, with the command that installs them."""
    if not sys.platform.startswith("linux"):
        return
    missing = []
    for library in libraries:
        try:
            ctypes.CDLL(library[0])
        except OSError:
            missing.append(library)
    if missing:
        debian, fedora = (" ".join(library[place] for library in missing) for place in (1, 2))
        names = ", ".join(library[0] for library in missing)
        fail(
            f"Libraries of the system are missing: {names}. Debian and Ubuntu: sudo apt install {debian}. "
            f"Fedora: sudo dnf install {fedora}."
        )


def library_environment() -> dict:
    """Give the environment variables in which the environment's Python finds the program."""
    folders = [str(ROOT / "PALNetLandmarks"), str(ROOT)]
    if os.environ.get("PYTHONPATH"):
        folders.append(os.environ["PYTHONPATH"])
    return dict(os.environ, PYTHONPATH=os.pathsep.join(folders))


def sample() -> tuple:
    """Find a sample scan whose true landmarks are known."""
    for scan in sorted(SAMPLES.rglob("*")):
        if scan.suffix.lower() not in (".ply", ".obj", ".stl", ".vtp", ".glb"):
            continue
        for truth in (scan.with_name(scan.stem + "_truth.mrk.json"), scan.with_name("landmarks.txt")):
            if truth.is_file():
                return scan, truth
    fail("There is no sample scan in Resources/SampleData. Clone the project again.")
    return None, None


def read_points(path: Path) -> dict:
    """Read the landmarks that have a position from a .mrk.json or a LAFAS text file, by label."""
    text = path.read_text(encoding="utf-8")
    points = {}
    if path.name.endswith(".json"):
        for point in json.loads(text)["markups"][0]["controlPoints"]:
            if point.get("positionStatus", "defined") == "defined" and point.get("position"):
                points[point["label"]] = tuple(float(x) for x in point["position"])
        return points
    for line in text.splitlines():
        found = re.match(r"(\S+)\s+\(([^()]*)\)", line)
        if found and "nan" not in found.group(2).lower():
            points[found.group(1)] = tuple(float(x) for x in found.group(2).split(","))
    return points


def demo() -> int:
    """Predict on the sample scan and compare with the known truth."""
    scan, truth = sample()
    OUTPUT.mkdir(exist_ok=True)
    name = scan.stem if scan.stem not in ("mesh", "scan") else scan.parent.name
    files = {
        "--output": OUTPUT / (name + ".mrk.json"),
        "--csv": OUTPUT / (name + "_landmarks.csv"),
        "--measurements": OUTPUT / (name + "_measurements.csv"),
        "--asymmetry": OUTPUT / (name + "_asymmetry.csv"),
        "--image": OUTPUT / (name + ".png"),
    }
    command = [environment_python(), "-m", "PALNetLandmarksLib.engine.cli", "predict", str(scan), "--case", name]
    for option, path in files.items():
        command += [option, str(path)]
    print(f"Placing the landmarks on {scan.relative_to(ROOT)} ...", flush=True)
    code = subprocess.call(command + ["--overwrite", "--quiet"], env=library_environment(), cwd=str(ROOT))
    if code != 0:
        sys.stderr.write(f"run.py: error: the prediction ended with exit code {code}: see the line above.\n")
        return code
    found, known = read_points(files["--output"]), read_points(truth)
    distances = {
        label: math.sqrt(sum((a - b) ** 2 for a, b in zip(found[label], known[label], strict=True)))
        for label in known
        if label in found
    }
    if not distances:
        fail("No landmark was found.")
    mean, worst = sum(distances.values()) / len(distances), max(distances, key=distances.get)
    failures = sum(distance > FAILURE_MM for distance in distances.values())
    print(f"\nResults in {OUTPUT}:")
    for option, words in (
        ("--image", "picture of the face with its landmarks"),
        ("--output", "landmarks, for 3D Slicer"),
        ("--csv", "landmarks as a table"),
        ("--measurements", "distances, angles and indices"),
        ("--asymmetry", "differences of right and left"),
    ):
        print(f"  {files[option].name:32s} {words}")
    lost = sum(label not in found for label in known)
    invented = sum(label not in known for label in found)
    print(f"\nDistance from the known truth, over {len(distances)} of {len(known)} landmarks:")
    print(f"  mean {mean:.2f} mm, largest {distances[worst]:.2f} mm ({worst})")
    print(f"  {failures} further off than {FAILURE_MM:.0f} mm, {lost} not found, {invented} found though hidden")
    print("The sample is a simulated scan. Research use only, not for diagnosis.")
    if mean > LIMIT_MM:
        fail(f"The mean distance is above {LIMIT_MM:.0f} mm: the program does not work as it should on this machine.")
    return 0


def test(everything: bool, arguments: list) -> int:
    """Check style and types, then run the tests; pytest's closing line comes last."""
    python, failed = environment_python(), []
    # One thread for each test process: two of them share the cores.
    environment = dict(library_environment(), OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"))
    for name, command in (("ruff", ["ruff", "check", "--quiet", "."]), ("mypy", ["mypy", "--no-error-summary"])):
        print(f"{name} ...", flush=True)
        if subprocess.call([python, "-m"] + command, env=environment, cwd=str(ROOT)) != 0:
            failed.append(name)
    for name in failed:
        print(f"{name} found problems: see above.", flush=True)
    command = [python, "-m", "pytest", "-q", "-n", "2"]
    if not everything:
        command += ["-m", "not slow"]
    code = subprocess.call(command + arguments, env=environment, cwd=str(ROOT))
    return code or (1 if failed else 0)


def main() -> int:
    """Read the command line and do what it says."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        fail("Python {}.{} or newer is needed; this is {}.".format(*OLDEST_PYTHON, platform.python_version()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="demo | test")
    commands.required = True
    commands.add_parser("demo", help="place the landmarks on the sample scan")
    tests = commands.add_parser("test", help="check and test the code; further arguments go to pytest")
    tests.add_argument("--all", action="store_true", help="also the slow tests")
    options, rest = parser.parse_known_args()
    if rest and options.command != "test":
        parser.error("unknown argument " + rest[0])
    try:
        prepare_environment()
        check_system_libraries(SYSTEM_LIBRARIES if options.command == "demo" else SYSTEM_LIBRARIES + QT_LIBRARIES)
        return demo() if options.command == "demo" else test(options.all, rest)
    except OSError as error:
        fail(
            "{} ({}).".format(
                error.strerror or type(error).__name__, Path(error.filename).name if error.filename else ""
            )
        )
    except KeyboardInterrupt:
        sys.stderr.write("run.py: stopped.\n")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
