"""Pins, hashes and licences say the same of the same packages."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-torch.lock", "requirements-cuda.lock")


def pins(name: str) -> dict[str, list[str]]:
    """Give the pinned lines of a file, with the SHA-256 of their files."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    joined = re.sub(r" \\\n +", " ", text)
    found = {}
    for line in joined.splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = re.split(r" --hash=sha256:", line)
            assert re.match(r"[a-z0-9-]+==\S+( ; .*)?$", pin), pin
            found[pin] = hashes
    return found


def name_of(pin: str) -> str:
    return re.split("==", pin)[0]


def test_the_locks_hold_the_versions_that_are_tested() -> None:
    locked = {**pins("requirements.lock"), **pins("requirements-torch.lock")}
    assert sorted(locked) == sorted(pins("requirements.txt"))
    assert list(map(name_of, pins("requirements-torch.lock"))) == ["torch"]
    assert {re.split("[-]", name_of(pin))[0] for pin in pins("requirements-cuda.lock")} == {"cuda", "nvidia", "triton"}


def test_every_package_has_hashes() -> None:
    for lock in LOCKS:
        for pin, hashes in pins(lock).items():
            assert hashes and all(re.fullmatch("[0-9a-f]{64}", item) for item in hashes), pin
            assert len(set(hashes)) == len(hashes), pin


def test_direct_requirements_are_pinned_as_asked() -> None:
    pinned = pins("requirements.txt")
    for line in (PROJECT / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            asked = line.split(";")[0].strip()
            assert any(pin.split(" ;")[0] == asked for pin in pinned), asked


def test_what_the_package_says_it_needs_is_asked_for() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [")[2]
    needed = re.findall(r'"([A-Za-z0-9-]+)>=', text.partition("[project.scripts]")[0])
    asked = {line.split("==")[0] for line in (PROJECT / "requirements.in").read_text().splitlines() if "==" in line}
    assert len(needed) > 15 and {name.lower() for name in needed} <= asked


def test_every_package_has_a_licence_on_the_page() -> None:
    page = (PROJECT / "docs" / "licences.md").read_text(encoding="utf-8").partition("## Packages")[2]
    table = {
        name: (licence, used)
        for name, licence, used in re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \| (.+?) \|$", page, re.M)
    }
    table.pop("package", None)
    assert sorted(table) == sorted({name_of(pin) for pin in pins("requirements.txt")})
    known = "MIT|BSD|Apache|MPL|PSF|ISC|LGPL|HPND"
    for name, (licence, used) in table.items():
        assert re.search(known, licence), name
        assert used in ("program", "tests", "for the program", "for the tests"), name
        if used.endswith("program"):  # nothing that the program needs asks the program to be under its own licence
            assert not re.search(r"(?<!L)GPL", licence), name
    assert table["pyside6-essentials"][1] == "tests"


def test_the_page_says_what_the_installed_packages_say() -> None:
    import importlib.metadata

    page = (PROJECT / "docs" / "licences.md").read_text(encoding="utf-8")
    in_words, checked = {"MPL": "Mozilla", "PSF": "Python Software Foundation"}, 0
    for name, licence in re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \| (?:for the )?(?:program|tests) ", page, re.M):
        try:
            facts = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        identifier, stated = re.findall(r"[\w.-]+", licence)[0], facts.get("License-Expression")
        if stated is None:  # older packages say it in other fields, by the identifier or in words
            family = identifier.split("-")[0]
            stated = " ".join([facts.get("License") or "", *(facts.get_all("Classifier") or [])])
            identifier = identifier if identifier in stated else in_words.get(family, family)
        assert identifier in stated, name
        checked += 1
    assert checked > 40


def test_each_kind_of_data_has_its_licence() -> None:
    page = (PROJECT / "docs" / "licences.md").read_text(encoding="utf-8")
    folders = ["Resources/Models", "Resources/SampleData", "Resources/Protocols", "Resources/Screenshots"]
    for folder in [*folders, "Testing/data", "PALNetLandmarks/Resources", "training_tools/simulation"]:
        assert f"`{folder}`" in page and (PROJECT / folder).is_dir()
