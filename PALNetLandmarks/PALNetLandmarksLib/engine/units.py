"""The unit of a scan, told from the size of its surface.

The size is twice the radius round the surface's centroid that holds 95 % of its area, not that of a bounding box: it
does not depend on how the scan lies, and spikes and floating specks hardly move it. Measured on the shape model and on
real scans, in mm: 126 for eyes, nose and mouth alone, 170-210 for a face, 340-370 for a head with its neck, 470-515
with the shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PALNetLandmarksLib.engine.resampling import triangle_areas, triangle_centres
from PALNetLandmarksLib.engine.scan import FloatArray, IntArray, ScanWarning
from PALNetLandmarksLib.errors import InputError, UsageError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "in": 25.4, "m": 1000.0}
_WORDS = {"mm": "millimetres", "cm": "centimetres", "in": "inches", "m": "metres"}

# Sizes (in the file's numbers) that only one unit explains. Centimetres and inches are close: 12-21 is a face alone in
# centimetres or a head with shoulders in inches, so it is left to the user. Above 1000 mm it is a whole body, below 100
# no face.
_AMBIGUOUS = (12.0, 21.0)
_RANGES = (
    (0.10, 1.0, "m"),
    (4.8, _AMBIGUOUS[0], "in"),  # 122-305 mm; as centimetres at most 120 mm: less than a face
    (_AMBIGUOUS[1], 60.0, "cm"),  # 210-600 mm; as inches at least 533 mm: more than head and shoulders
    (100.0, 1000.0, "mm"),
)
_USUAL = (100.0, 1000.0)  # mm
_POSSIBLE = (20.0, 5000.0)  # mm: outside, no unit was meant and later steps would run out of memory
_HINT = "State the unit with --unit mm, --unit cm, --unit m or --unit in."


@dataclass(frozen=True)
class UnitChoice:
    """The unit of a scan.

    Attributes
    ----------
    unit : str
        ``"mm"``, ``"cm"``, ``"m"`` or ``"in"``.
    scale_to_mm : float
    warnings : tuple of ScanWarning
    """

    unit: str
    scale_to_mm: float
    warnings: tuple[ScanWarning, ...]


def surface_size(vertices: FloatArray, triangles: IntArray) -> float:
    """Return twice the radius round the surface's centroid that holds 95 % of its area, in the vertices' unit."""
    areas = triangle_areas(vertices, triangles)
    centres = triangle_centres(vertices, triangles)
    total = areas.sum()
    if not total > 0.0:
        return 0.0
    centroid = (areas @ centres) / total
    offsets = centres - centroid
    distances = np.sqrt(np.einsum("md,md->m", offsets, offsets))
    order = np.argsort(distances)
    held = np.cumsum(areas[order])
    place = min(int(np.searchsorted(held, 0.95 * held[-1])), len(order) - 1)
    return 2.0 * float(distances[order[place]])


def choose_unit(size: float, unit: str = "auto") -> UnitChoice:
    """Choose the unit of a scan whose surface has a size.

    Parameters
    ----------
    size : float
        From `surface_size`, in the file's numbers.
    unit : str
        ``"auto"``, or a unit that the user states.

    Returns
    -------
    UnitChoice

    Raises
    ------
    UsageError
        If the unit's name is unknown (``usage.unit``).
    InputError
        ``scan.unit_ambiguous`` if the size fits no unit or more than one, ``scan.size`` if it is impossible in the
        stated unit.
    """
    if unit != "auto":
        if unit not in MILLIMETRES:
            raise UsageError(f"There is no unit '{unit[:16]}'.", "Use auto, mm, cm, m or in.", code="usage.unit")
        return _stated(size, unit)
    for low, high, name in _RANGES:
        if low <= size <= high:
            if name == "mm":
                return UnitChoice("mm", 1.0, ())
            warning = ScanWarning(
                "scan.unit_converted",
                f"The file is not in millimetres: its size of {size:.3g} fits {_WORDS[name]}, which were converted "
                f"(about {size * MILLIMETRES[name]:.0f} mm). If that is wrong, state the unit with --unit.",
            )
            return UnitChoice(name, MILLIMETRES[name], (warning,))
    if _AMBIGUOUS[0] < size < _AMBIGUOUS[1]:
        message = (
            f"The unit of the scan is not clear: its size of {size:.3g} could be centimetres ({size * 10:.0f} mm) or "
            f"inches ({size * 25.4:.0f} mm)."
        )
        hint = "State the unit with --unit cm or --unit in."
    else:
        message, hint = f"The scan has a size of {size:.3g}, which is a face or head in no usual unit.", _HINT
        if size > 1000.0:
            hint += " If it is a whole body in millimetres, cut out the head first."
    raise InputError(message, hint, code="scan.unit_ambiguous")


def _stated(size: float, unit: str) -> UnitChoice:
    scale = MILLIMETRES[unit]
    millimetres = size * scale
    if not _POSSIBLE[0] <= millimetres <= _POSSIBLE[1]:
        raise InputError(
            f"In {_WORDS[unit]}, as stated, the scan would be {millimetres:.3g} mm in size: no face.",
            "State another unit with --unit, or leave it out to have the unit recognised.",
            code="scan.size",
        )
    warnings: tuple[ScanWarning, ...] = ()
    if not _USUAL[0] <= millimetres <= _USUAL[1]:
        warnings = (
            ScanWarning(
                "scan.unusual_size",
                f"In {_WORDS[unit]}, as stated, the scan is {millimetres:.0f} mm in size, which is unusual for a face.",
            ),
        )
    return UnitChoice(unit, scale, warnings)
