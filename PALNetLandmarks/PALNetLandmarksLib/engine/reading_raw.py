"""What the readers of all file formats share: the uncleaned mesh, errors, and tables of numbers in text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.scan import FloatArray, IntArray, ScanWarning
from PALNetLandmarksLib.errors import InputError

#: What the program takes on: four times a large scan; reading that takes 2 GB of memory, more would pass 4 GB.
MOST_VERTICES = 4_000_000
MOST_TRIANGLES = 4_000_000
_MOST_TEXT = 512 * 1024**2  # bytes
_MOST_LINES = 30_000_000


@dataclass(frozen=True)
class RawMesh:
    """A mesh as the file gives it, in the file's unit.

    Attributes
    ----------
    vertices : (n, 3) float64
        May hold NaN, duplicates and vertices that no triangle uses.
    triangles : (m, 3) int64
        Polygons are already cut into fans of triangles; indices are not checked yet.
    coordinates : (m, 3, 2) float32 or None
        Texture coordinates of the triangles' corners, (0, 0) at the lower left.
    image : (h, w, 3) uint8 or None
        The texture.
    warnings : tuple of ScanWarning
    """

    vertices: FloatArray
    triangles: IntArray
    coordinates: npt.NDArray[np.float32] | None = None
    image: npt.NDArray[np.uint8] | None = None
    warnings: tuple[ScanWarning, ...] = field(default=())


def damaged(reason: str) -> InputError:
    """Return the error for a file that breaks the rules of its format."""
    return InputError(
        f"The scan file is damaged: {reason}.",
        "Export the scan again from the capture software, or copy the file again if the copy was interrupted.",
        code="scan.damaged",
    )


def truncated(reason: str) -> InputError:
    """Return the error for a file that ends before its content does."""
    return InputError(
        f"The scan file is cut off: {reason}.",
        "Copy the file again (the copy was probably interrupted) or export the scan again.",
        code="scan.truncated",
    )


def unsupported(reason: str) -> InputError:
    """Return the error for content that is valid but that this program does not read."""
    return InputError(
        f"The scan file cannot be read: {reason}.",
        "Export the scan as OBJ, PLY, STL, VTP or GLB with triangles.",
        code="scan.unsupported",
    )


def too_large(what: str) -> InputError:
    """Return the error for a scan that would take more memory than a computer should be asked for."""
    return InputError(
        f"The scan is too large: {what}.",
        "Reduce it to fewer than a million vertices and try again.",
        code="scan.too_large",
    )


def check_size(vertices: int, triangles: int) -> None:
    """Refuse a scan of more vertices or triangles than can be worked on, before memory is taken for them.

    Raises
    ------
    InputError
        ``scan.too_large``.
    """
    if vertices > MOST_VERTICES or triangles > MOST_TRIANGLES:
        raise too_large(f"it has more than {(MOST_VERTICES if vertices > MOST_VERTICES else MOST_TRIANGLES):,} "
                        f"{'vertices' if vertices > MOST_VERTICES else 'triangles'}")  # fmt: skip


def text_lines(data: bytes) -> list[bytes]:
    """Split a text file into its lines; a list of lines takes many times the memory of the text.

    Raises
    ------
    InputError
        ``scan.too_large``.
    """
    check_lines(data)
    if len(data) > _MOST_TEXT:
        raise too_large(f"it is a text file of more than {_MOST_TEXT // 1024**2} MB")
    return data.split(b"\n")


def check_lines(data: bytes) -> None:
    """Refuse a text of more lines than any scan has: each takes time, an empty one too.

    Raises
    ------
    InputError
        ``scan.too_large``.
    """
    if data.count(b"\n") > _MOST_LINES:
        raise too_large(f"its file has more than {_MOST_LINES:,} lines")


def number_table(lines: Sequence[bytes], dtype: npt.DTypeLike, columns: Sequence[int] | None = None) -> npt.NDArray:
    """Parse lines of numbers parted by blanks into a table.

    Parameters
    ----------
    lines : sequence of bytes
        One row each; all with the same number of columns unless `columns` is given.
    dtype : numpy dtype
    columns : sequence of int, optional
        Read only these columns.

    Returns
    -------
    (len(lines), k) array

    Raises
    ------
    ValueError
        If a row is empty, of another length, or holds something that is no number.
    """
    if not lines:
        return np.empty((0, 0), dtype=dtype)
    table = np.loadtxt(
        io.BytesIO(b"\n".join(lines)), dtype=dtype, comments=None, ndmin=2, usecols=columns, encoding="latin1"
    )
    if len(table) != len(lines):
        raise ValueError("an empty row in a table of numbers")
    return table


def fans(groups: Sequence[tuple[IntArray, npt.NDArray]]) -> npt.NDArray:
    """Cut polygons into fans of triangles.

    Parameters
    ----------
    groups : sequence of (rows, corners)
        Polygons with the same number of corners: `rows` (k,) their places in the file, `corners` (k, c, ...) what each
        of their c >= 3 corners carries.

    Returns
    -------
    (m, 3, ...) array
        Triangles in the order of the polygons in the file.
    """
    pieces, order = [], []
    for rows, corners in groups:
        count = corners.shape[1]
        if count == 3:
            pieces.append(corners)
            order.append(rows)
        elif count > 3:
            second = np.arange(1, count - 1)
            fan = np.stack([np.zeros_like(second), second, second + 1], axis=1)
            pieces.append(corners[:, fan].reshape(-1, 3, *corners.shape[2:]))
            order.append(np.repeat(rows, count - 2))
    if not pieces:
        return np.empty((0, 3), dtype=np.int64)
    if len(pieces) == 1:
        return pieces[0]
    joined = np.concatenate(pieces)
    # Stable: the triangles of one polygon stay in the order of the fan.
    return joined[np.argsort(np.concatenate(order), kind="stable")]


def polygon_rows(lines: Sequence[bytes]) -> list[tuple[IntArray, IntArray, list[bytes] | None]]:
    """Read rows of the form ``c i1 ... ic [more numbers]`` (PLY and OFF faces), grouped by c.

    Returns
    -------
    list of (rows, indices, lines)
        `rows` (k,) places of the rows; `indices` (k, c) int64; `lines` the raw rows if they hold more than the indices,
        else None.

    Raises
    ------
    ValueError
        If a row is shorter than it says, or no row of whole numbers.
    """
    if not lines:
        return []
    first = lines[0].split()
    try:  # nearly always all rows are alike
        table = number_table(lines, np.int64)
        size = int(first[0])
        if size >= 3 and table.shape[1] == size + 1 and (table[:, 0] == size).all():
            return [(np.arange(len(lines)), table[:, 1:], None)]
    except ValueError:
        pass
    by_size: dict[int, list[int]] = {}
    for row, line in enumerate(lines):
        words = line.split()
        size = int(words[0])
        if not 0 <= size < len(words):
            raise ValueError("a face is shorter than it says")
        by_size.setdefault(size, []).append(row)
    groups: list[tuple[IntArray, IntArray, list[bytes] | None]] = []
    for size, rows in sorted(by_size.items()):
        chosen = [lines[row] for row in rows]
        if size < 3:  # points and lines among the faces carry no surface
            continue
        indices = number_table(chosen, np.int64, range(1, size + 1))
        groups.append((np.asarray(rows, dtype=np.int64), indices, chosen))
    return groups


def no_names(value: str) -> str:
    """Return a short keyword from a file made safe to show: letters, digits and a few signs only."""
    return "".join(character for character in value[:24] if character.isalnum() or character in "_- ")
