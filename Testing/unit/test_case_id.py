"""Identifiers that a user types for a case."""

import pytest

from PALNetLandmarksLib.case_id import checked_case_id
from PALNetLandmarksLib.errors import InputError


@pytest.mark.parametrize("text", ["P001", "S0001", "Fall 7", "Prüfling-ä_3", "42", "患者1", "con1", "a.b"])
def test_good_ones(text):
    assert checked_case_id(f"  {text} ") == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no case identifier"), ("  \t", "no case identifier"), ("/home/x/scan", "path"), ("C:\\scans\\a", "path"),
        ("a/b", "path"), ("..\\x", "path"), ("~smith", "path"), ("C:x", "path"), ("smith.obj", "file's name"),
        ("Smith.PLY", "file's name"), ("x.mrk.json", "file's name"), ("ab:c", "':'"), ("what?", "'?'"), ("a*", "'*'"),
        ("a<b>", "'<'"), ("..", "cannot be part"), (".hidden", "cannot be part"), ("P1.", "cannot be part"),
        ("NUL", "cannot be part"), ("com1", "cannot be part"), ("x" * 81, "more than 80"), ("a\x07b", "character"),
    ],
)  # fmt: skip
def test_bad_ones(text, word):
    with pytest.raises(InputError) as caught:
        checked_case_id(text)
    assert word in caught.value.message and "pseudonym" in caught.value.hint
