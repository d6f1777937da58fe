"""The extension as CMake installs it, with stand-ins for the macros of Slicer's build: is anything left behind?"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = "lib/Slicer-5.10/qt-scripted-modules"
EXTENSION_FIELDS = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")

# What Slicer's macros do with the files they are given (SlicerMacroBuildScriptedModule, ctkMacroCompilePythonScript).
MACROS = """
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "@modules@")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "@modules@")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(arg "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS arg_SCRIPTS arg_RESOURCES)
    get_filename_component(folder "${file}" DIRECTORY)
    install(FILES "${file}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
  endforeach()
endfunction()
function(slicer_add_python_unittest)
  cmake_parse_arguments(arg "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${arg_SCRIPT}")
    message(FATAL_ERROR "no ${arg_SCRIPT}")
  endif()
  file(WRITE "${CMAKE_BINARY_DIR}/unittest.txt" "${arg_SCRIPT}")
endfunction()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configure, build and install the extension; gives the folder of scripted modules."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    folder = tmp_path_factory.mktemp("extension")
    slicer = folder / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text('set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")\n')
    (slicer / "UseSlicer.cmake").write_text(MACROS.replace("@modules@", MODULES))
    (slicer / "Nothing.cmake").write_text("")
    source = folder / "source"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    if not names:
        pytest.skip("needs the git checkout")
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build, target = folder / "build", folder / "target"
    for command in (
        ["cmake", "-S", source, "-B", build, f"-DSlicer_DIR={slicer}", "-DBUILD_TESTING=ON"],
        ["cmake", "--install", build, "--prefix", target],
    ):
        made = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if "No CMAKE_CXX_COMPILER" in made.stderr or "No CMAKE_C_COMPILER" in made.stderr:
            pytest.skip("needs a compiler, as CMake asks for one")
        assert made.returncode == 0, made.stderr
    assert (build / "unittest.txt").read_text() == "PALNetLandmarks.py"
    return target / MODULES


def test_every_file_of_the_module_is_installed(installed: Path) -> None:
    module = ROOT / "PALNetLandmarks"
    expected = {
        path.relative_to(module)
        for pattern in ("PALNetLandmarks.py", "PALNetLandmarksLib/**/*.py", "Resources/**/*")
        for path in module.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(expected) > 200
    assert not sorted(str(path) for path in expected if not (installed / path).is_file())


def test_data_and_training_tools_are_installed(installed: Path) -> None:
    for folder in ("Protocols", "Models", "SampleData"):
        for path in (ROOT / "Resources" / folder).rglob("*"):
            assert not path.is_file() or (installed / path.relative_to(ROOT)).is_file(), path
    assert (installed / "training_tools" / "__main__.py").is_file()


def test_installed_library_finds_its_data(installed: Path) -> None:
    code = (
        "from PALNetLandmarksLib.protocol import load_protocol; from PALNetLandmarksLib import resources as r; "
        "from PALNetLandmarksLib.landmark_pictures import picture_path; p = load_protocol(); "
        "print(len(p), len(r.bundled_models()), len(r.sample_scans()), all(picture_path(p, x) for x in p.labels))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=installed, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["50", "1", "1", "True"]


def test_description_of_the_extension_is_complete() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    fields = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', text))
    assert set(fields) == set(EXTENSION_FIELDS) and all(fields.values())
    for url in [fields["ICONURL"], *fields["SCREENSHOTURLS"].split()]:
        assert (ROOT / url.split("/main/", 1)[1]).is_file(), url
    assert len(fields["SCREENSHOTURLS"].split()) >= 3
    entry = json.loads((ROOT / "Resources" / "ExtensionIndex" / "PALNetLandmarks.json").read_text())
    assert entry["category"] == fields["CATEGORY"] and entry["scm_url"].startswith(fields["HOMEPAGE"])
    assert {"$schema", "build_dependencies", "build_subdirectory", "scm_revision", "tier"} <= set(entry)


def test_icon_is_128_pixels_square() -> None:
    image = pytest.importorskip("PIL.Image")
    assert image.open(ROOT / "PALNetLandmarks" / "Resources" / "Icons" / "PALNetLandmarks.png").size == (128, 128)
