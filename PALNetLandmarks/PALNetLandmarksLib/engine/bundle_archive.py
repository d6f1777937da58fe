"""Models that come as a .zip archive: looked through before a byte is unpacked, verified before anybody can use them.

An archive is somebody else's. Nothing of it is written but the files that a bundle consists of, under names of ours,
into a folder that only appears under the model's id when the whole bundle has been verified.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PALNetLandmarksLib.engine.bundle import CARD, DESCRIPTION, REFERENCE, SHAPE, WEIGHTS, load_bundle
from PALNetLandmarksLib.errors import BundleError, InputError, UsageError
from PALNetLandmarksLib.files import lock, raise_write_error

#: Largest size of each file of a bundle in bytes. The published network has 268 MB of weights.
LARGEST = {
    DESCRIPTION: 64 * 1024**2,
    CARD: 16 * 1024**2,
    REFERENCE: 256 * 1024**2,
    SHAPE: 256 * 1024**2,
    WEIGHTS: 1024**3,
}
LARGEST_TOTAL = 1280 * 1024**2
_MOST_ENTRIES = 64
_PREFIX, _SUFFIX = ".palnet-import-", ".tmp"
_BLOCK = 1024 * 1024
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AGAIN = "Get the archive again from where the model came; nothing of it was kept."


def import_bundle(archive: str | Path, output: str | Path) -> Path:
    """Unpack a bundle from a .zip archive after looking through it, and verify it.

    Parameters
    ----------
    archive : str or Path
        The bundle's files, at the top or in one folder.
    output : str or Path
        Folder in which the bundle's folder is made; it gets the model's id as its name.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    BundleError
        If the archive is none, holds anything but a bundle's files, is too large, or the bundle in it is damaged
        (``bundle.archive``, ``bundle.too_large``, or what `load_bundle` says). Nothing is left behind then.
    UsageError
        If a folder of the model's name is there already (``bundle.exists``).
    InputError
        If the archive cannot be read or the folder cannot be written to.
    """
    archive, output = Path(archive), Path(output)
    if archive.exists() and not archive.is_file():
        raise _refused("it is no file")
    try:
        with open(archive, "rb") as stream, zipfile.ZipFile(stream) as opened:
            members = _members(opened)
            identifier = _identifier(opened, members[DESCRIPTION])
            target = output / identifier
            _must_be_free(target)
            with _temporary_folder(output) as temporary:
                for name, member in members.items():
                    _unpack(opened, member, temporary / name, LARGEST[name])
                load_bundle(temporary).network_with_weights()
                _must_be_free(target)
                _move(temporary, target)
    except FileNotFoundError as error:
        message = "There is no archive of this name."
        raise InputError(message, "Check the name and the folder.", code="file.read") from error
    except (OSError, ValueError) as error:  # a name with a NUL, a disk error, no permission
        raise InputError("The archive could not be read.", "Check the file and try again.", code="file.read") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused("it is no whole .zip archive") from error
    return target


def _members(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's entries by the name of the bundle's file; refuses whatever is not one."""
    entries = opened.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise _refused("it holds more files than a model")
    members: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for entry in entries:
        # What the archive says, not what zipfile made of it: it cuts names at a NUL and turns backslashes on Windows.
        said = entry.orig_filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        path = PurePosixPath(said)
        odd = any(sign in said for sign in "\0\\:")
        if not said or odd or path.is_absolute() or ".." in path.parts or len(path.parts) > 2:
            raise _refused("it holds a file that would lie outside the model's folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused("it holds a link or a special file")
        if entry.flag_bits & 0x1:
            raise _refused("it is encrypted")
        if entry.is_dir():
            if len(path.parts) > 1:
                raise _refused("it holds folders inside the model's folder")
            folders.add(path.parts[0] if path.parts else "")
            continue
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused("it is packed in an unusual way")
        if path.name not in LARGEST:
            raise _refused("it holds a file that belongs to no model")
        if path.name in members:
            raise _refused("it holds a file twice")
        if entry.file_size > LARGEST[path.name]:
            raise _too_large(path.name)
        folders.add(path.parts[0] if len(path.parts) == 2 else "")
        members[path.name] = entry
    if len(folders) > 1:
        raise _refused("its files lie in several folders")
    if DESCRIPTION not in members:
        raise _refused(f"it holds no {DESCRIPTION}")
    if sum(member.file_size for member in members.values()) > LARGEST_TOTAL:
        raise _too_large("it")
    return members


def _identifier(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    content = b"".join(_blocks(opened, member, LARGEST[DESCRIPTION]))
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused(f"its {DESCRIPTION} cannot be read") from error
    identifier = data.get("id") if isinstance(data, dict) else None
    if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
        raise _refused("the model's id cannot be the name of a folder")
    return identifier


def _blocks(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> list[bytes]:
    """Read an entry; what counts is what comes out, not what the archive announces."""
    blocks, size = [], 0
    with opened.open(member) as source:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > min(most, member.file_size):
                raise _too_large(PurePosixPath(member.filename).name)
            blocks.append(block)
    if size != member.file_size:
        raise _refused("a file in it is shorter than announced")
    return blocks


def _unpack(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> None:
    blocks = _blocks(opened, member, most)
    try:
        with open(path, "xb") as stream:
            stream.writelines(blocks)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise_write_error(error, path)


@contextlib.contextmanager
def _temporary_folder(output: Path) -> Iterator[Path]:
    """Make a folder that is gone afterwards; one that a killed process left goes when the next import begins."""
    try:
        output.mkdir(exist_ok=True)
        for left in output.glob(f"{_PREFIX}*{_SUFFIX}"):
            with _locked(left) as ours:
                if ours and not left.is_symlink():
                    shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=output))
    except OSError as error:
        raise_write_error(error, output)
    try:
        with _locked(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder as long as this process lives and wants it; gives whether it could."""
    if os.name == "nt":  # folders have no locks: what was left stays until somebody deletes it
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)


def _must_be_free(target: Path) -> None:
    if os.path.lexists(target):
        raise UsageError(
            f"{target.name} is there already.", "Move it away first, or give another --output.", code="bundle.exists"
        )


def _move(temporary: Path, target: Path) -> None:
    try:
        temporary.chmod(0o755)
        # Fails where somebody else has made the folder in the meantime and put something into it.
        os.rename(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.chmod(0o700)
        raise_write_error(error, target)


def _refused(why: str) -> BundleError:
    return BundleError(f"The archive is no model: {why}.", _AGAIN, code="bundle.archive")


def _too_large(what: str) -> BundleError:
    return BundleError(f"The archive is no model: {what} is larger than any model's.", _AGAIN, code="bundle.too_large")
