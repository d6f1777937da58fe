"""Reading and writing files so that they appear whole or not at all, with errors a user can act on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, Set, Tuple, Union

from .errors import InputError, UsageError

PathLike = Union[str, "os.PathLike[str]"]

#: Text files of ours are a few hundred kB at most; anything far larger is not one of them.
MAX_TEXT_BYTES = 64 * 1024 * 1024

_PREFIX, _SUFFIX = ".palnet-", ".tmp"
#: A temporary folder that nothing has happened to for this long belongs to nobody.
_IDLE_SECONDS = 3600.0
#: Folders that this process has looked through for what others left behind.
_swept: Set[Path] = set()

_WRITE_HINTS: dict[int, str] = {
    errno.ENOSPC: "The disk is full: free some space or choose another disk.",
    errno.EDQUOT: "Your disk quota is used up: free some space or choose another disk.",
    errno.EFBIG: "The file would be larger than this disk or account allows: choose another disk.",
    errno.EACCES: "You may not write there: choose a folder that is yours, or ask for permission.",
    errno.EPERM: "You may not write there: choose a folder that is yours, or ask for permission.",
    errno.EROFS: "That disk is read-only: choose another folder.",
    errno.ENOENT: "The folder does not exist: create it first.",
    errno.ENOTDIR: "Part of the path is a file, not a folder: choose another path.",
    errno.EISDIR: "That is a folder: add a file name.",
    errno.ENAMETOOLONG: "The name is too long: choose a shorter one.",
}
_READ_HINTS: dict[int, str] = {
    errno.ENOENT: "There is no such file: check the name.",
    errno.ENOTDIR: "Part of the path is a file, not a folder: check the path.",
    errno.EACCES: "You may not read it: ask for permission or copy it to a folder of yours.",
    errno.EPERM: "You may not read it: ask for permission or copy it to a folder of yours.",
    errno.EISDIR: "That is a folder: name a file.",
}


def raise_write_error(error: OSError, path: PathLike) -> NoReturn:
    """Turn a failed write into an :class:`InputError` that says what to do.

    Parameters
    ----------
    error : OSError
        What the system said.
    path : str or PathLike
        The file that was to be written; only its name enters the message.

    Raises
    ------
    InputError
        Always, with code ``file.write`` (the exit code for input that cannot be used is the closest there is).
    """
    hint = _WRITE_HINTS.get(error.errno or 0, "Choose another folder and try again.")
    reason = error.strerror or error.__class__.__name__
    raise InputError(f"{Path(path).name} could not be written ({reason}).", hint, code="file.write") from error


@contextlib.contextmanager
def atomic_write(path: PathLike, mode: str = "w", *, encoding: str = "utf-8") -> Iterator[IO[Any]]:
    r"""Open a file for writing that replaces ``path`` only when all of it is on the disk.

    A temporary file in the same folder is written, flushed to the disk and renamed. When anything fails, it is
    removed and a file that was there before keeps its content.

    Parameters
    ----------
    path : str or PathLike
        File to write. A symbolic link keeps pointing where it points: its target is replaced.
    mode : {"w", "wb"}
        Text or bytes. Text is written with ``\\n`` line ends on every system.
    encoding : str
        Encoding of text.

    Yields
    ------
    IO
        The open temporary file.

    Raises
    ------
    InputError
        When the system refuses: no permission, full disk, missing folder, a folder of that name, read-only disk.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', not {mode!r}")
    temporary = None
    try:
        target = Path(os.path.realpath(os.fspath(path)))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        permissions = _permissions(target)
        if target.parent not in _swept:
            sweep_temporary(target.parent)
            _swept.add(target.parent)
        descriptor, temporary = _temporary_file(target.parent)
        text = {} if mode == "wb" else {"encoding": encoding, "newline": ""}
        with open(descriptor, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if os.name != "nt":  # while the file is open and thereby locked: nobody sweeps it away
                _put_in_place(temporary, target, permissions)
                temporary = None
        if temporary is not None:  # Windows does not rename an open file
            _put_in_place(temporary, target, permissions)
            temporary = None
    except OSError as error:
        raise_write_error(error, path)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def file_sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal digits, read piece by piece.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def try_lock(file: IO[Any]) -> bool:
    """Lock a file for as long as it is open; the system lets go of it when the process ends, however it does.

    Returns
    -------
    bool
        False when another process has it.
    """
    if os.name != "nt":
        return lock(file.fileno())
    import msvcrt

    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True


@contextlib.contextmanager
def sole_writer(path: PathLike, problem: str, hint: str, code: str) -> Iterator[None]:
    """Keep other processes that ask for the same lock file out. It goes at the end; a killed process holds nothing.

    Raises
    ------
    UsageError
        With ``problem``, ``hint`` and ``code``, when another process has it.
    """
    with open(path, "a+b") as file:
        free = try_lock(file)
        if free:
            # Who just ended took the file away after we had opened it: what we hold then guards nothing.
            try:
                free = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except OSError:
                free = False
        if not free:
            raise UsageError(problem, hint, code=code)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not remove open files: there it stays
                os.unlink(path)


def json_sha256(data: Any) -> str:
    """Return the SHA-256 of data as JSON with sorted keys and without spaces, in ASCII."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sweep_temporary(folder: PathLike) -> int:
    """Remove what processes that were killed in the middle of a write left in a folder.

    Files that a living process writes are left alone: it holds a lock on them (on Windows, having them open is one).
    Temporary folders have no lock; they go when nothing has happened to them for an hour.

    Parameters
    ----------
    folder : str or PathLike
        Where :func:`atomic_write` writes.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    try:
        left = [item for item in os.scandir(folder) if item.name.startswith(_PREFIX) and item.name.endswith(_SUFFIX)]
    except OSError:  # it is not there, or may not be looked into
        return 0
    for item in left:
        with contextlib.suppress(OSError):
            if item.is_dir(follow_symlinks=False):
                if time.time() - item.stat(follow_symlinks=False).st_mtime > _IDLE_SECONDS:
                    shutil.rmtree(item.path, ignore_errors=True)
                    removed += 1
            elif item.is_file(follow_symlinks=False):
                with open(item.path, "r+b") as file:
                    dead = lock(file.fileno())
                    if dead and os.name != "nt":
                        os.unlink(item.path)
                if os.name == "nt":
                    os.unlink(item.path)
                removed += dead
    return removed


def _temporary_file(folder: Path) -> Tuple[int, str]:
    """Make a temporary file that no other process takes for a left one; gives its descriptor and its name."""
    while True:
        # mkstemp creates the file unreadable for others; the final permissions are set before the rename.
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=str(folder))
        lock(descriptor)
        if os.name == "nt":
            return descriptor, name
        # Another process may have swept it away between the two lines above.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                return descriptor, name
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, also by the end of the process; False when another process has it.

    Nothing is done on Windows, for files that nobody can delete while they are open.
    """
    if os.name == "nt":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also where the disk knows no locks: then nothing is swept
        return False
    return True


def _put_in_place(temporary: str, target: Path, permissions: int) -> None:
    os.chmod(temporary, permissions)
    os.replace(temporary, target)


def _permissions(target: Path) -> int:
    """Give the permissions of the file to be replaced, or those a new file would get."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def read_text(path: PathLike, *, what: str = "text file", max_bytes: int = MAX_TEXT_BYTES) -> str:
    r"""Read a text file in UTF-8 (with or without a byte-order mark), UTF-16 with one, or Windows-1252.

    Parameters
    ----------
    path : str or PathLike
        File to read.
    what : str
        What the file should be, for the error message.
    max_bytes : int
        Larger files are refused.

    Returns
    -------
    str
        The text with ``\\n`` line ends and no byte-order mark.

    Raises
    ------
    InputError
        When the file cannot be opened, is empty, too large, or not text.
    """
    name = Path(path).name
    try:
        # A pipe or device would block or never end.
        if Path(path).exists() and not Path(path).is_file():
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        with open(path, "rb") as stream:
            data = stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        reason = getattr(error, "strerror", None) or "not a valid file name"
        hint = _READ_HINTS.get(number, "Check the file and try again.")
        raise InputError(f"{name} could not be read ({reason}).", hint, code="file.read") from error
    if len(data) > max_bytes:
        raise InputError(
            f"{name} is larger than {max_bytes // (1024 * 1024)} MB, too large for a {what}.",
            "Check that this is the right file.",
            code="file.too_large",
        )
    if not data.strip():
        raise InputError(f"{name} is empty.", f"Choose a {what} with content.", code="file.empty")
    text = _decode(data)
    if text is None or "\0" in text:
        raise InputError(f"{name} is not a {what}: it holds binary data.", "Choose another file.", code="file.binary")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str | None:
    """Decode text; None when it is none."""
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return None
