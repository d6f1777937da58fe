"""Whole-or-nothing writing and reading of text, with the system's refusals put into words."""

import errno
import os
import stat

import pytest

from PALNetLandmarksLib import files
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import atomic_write, read_text, sole_writer


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content_and_nothing_else(tmp_path):
    target = tmp_path / "größe und raum.csv"
    with atomic_write(target) as stream:
        assert not target.exists()
        stream.write("a\nß\n")
    assert target.read_bytes() == "a\nß\n".encode()
    with atomic_write(target, "wb") as stream:
        stream.write(b"\x00\r\n")
    assert target.read_bytes() == b"\x00\r\n"
    assert leftovers(tmp_path) == [target.name]


def test_a_failure_keeps_the_old_file_and_cleans_up(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_write(target) as stream:
        stream.write("half")
        raise KeyError
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "may not write"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "another folder"),
    ],
)
def test_a_refusal_while_writing_keeps_the_old_file(tmp_path, monkeypatch, number, hint):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(InputError) as caught, atomic_write(target) as stream:
        stream.write("new")
    assert hint in caught.value.hint
    assert (caught.value.code, caught.value.exit_code) == ("file.write", 3)
    assert str(tmp_path) not in str(caught.value)
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


def test_missing_folder_folder_instead_of_file_and_too_long_a_name(tmp_path):
    for path, hint in (
        (tmp_path / "none" / "a.txt", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / ("x" * 300), "another folder|shorter"),
    ):
        with pytest.raises(InputError, match=hint), atomic_write(path):
            pass
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(InputError, match="may not write"), atomic_write(tmp_path / "a.txt"):
            pass
    finally:
        tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_real_full_device_is_said_so(monkeypatch):
    with pytest.raises(InputError, match="disk is full"):
        try:
            with open("/dev/full", "w") as stream:
                stream.write("x")
        except OSError as error:
            files.raise_write_error(error, "a.txt")


@pytest.mark.skipif(os.name == "nt", reason="permissions and links as on Unix")
def test_permissions_and_links_are_kept(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with atomic_write(link) as stream:
        stream.write("new")
    assert link.is_symlink() and real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    mask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "fresh.txt") as stream:
            stream.write("x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh.txt").stat().st_mode) == 0o644


def test_unknown_mode_is_a_programming_error(tmp_path):
    with pytest.raises(ValueError), atomic_write(tmp_path / "a", "a"):
        pass


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_of_every_usual_encoding_is_read(tmp_path, encoding):
    file = tmp_path / "a.csv"
    file.write_bytes("Größe\r\nb\rc\n".encode(encoding))
    assert read_text(file) == "Größe\nb\nc\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b" \n\t", "is empty"), (b"ply\x00\xff\x81", "binary"), (b"x" * 20, "larger than")],
)
def test_content_that_is_no_text(tmp_path, content, said):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_text(file, max_bytes=10)


def test_files_that_cannot_be_opened(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert caught.value.code == "file.read" and caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError):
        read_text(tmp_path / "pipe.txt")


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove open files")
@pytest.mark.parametrize("again", [False, True])
def test_a_lock_on_a_file_that_was_just_taken_away_guards_nothing(tmp_path, monkeypatch, again):
    path = tmp_path / "a.lock"

    def late(file):
        path.unlink()  # whoever held it ends at this moment
        if again:
            path.touch()  # and a third one makes it anew
        return True

    monkeypatch.setattr(files, "try_lock", late)
    with pytest.raises(UsageError, match="busy"), sole_writer(path, "busy", "", "x"):
        pass
    assert path.exists() == again
