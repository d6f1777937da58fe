"""Units told from the size of the surface."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from PALNetLandmarksLib.engine.units import choose_unit, surface_size
from PALNetLandmarksLib.errors import InputError, UsageError

# Sizes in mm of what people scan, measured with `surface_size`.
SMALL_FACE, FACE, HEAD, SHOULDERS = 126.0, 190.0, 350.0, 515.0


@pytest.mark.parametrize("size", [SMALL_FACE, FACE, HEAD, SHOULDERS, 900.0])
def test_millimetres_need_no_warning(size: float) -> None:
    choice = choose_unit(size)
    assert (choice.unit, choice.scale_to_mm, choice.warnings) == ("mm", 1.0, ())


@pytest.mark.parametrize(
    ("unit", "factor", "size"),
    [("m", 1000.0, s) for s in (SMALL_FACE, FACE, HEAD, SHOULDERS)]
    + [("cm", 10.0, s) for s in (HEAD, SHOULDERS)]
    + [("in", 25.4, s) for s in (SMALL_FACE, FACE, 300.0)],
)
def test_other_units_are_converted_with_a_warning(unit: str, factor: float, size: float) -> None:
    choice = choose_unit(size / factor)
    assert (choice.unit, choice.scale_to_mm) == (unit, factor)
    assert [warning.code for warning in choice.warnings] == ["scan.unit_converted"]
    assert f"{size:.0f} mm" in choice.warnings[0].message and "--unit" in choice.warnings[0].message


@pytest.mark.parametrize("size", [FACE / 10, HEAD / 25.4, SHOULDERS / 25.4, 1e-9, 0.0, 2.0, 80.0, 1800.0, 1e12, np.inf])
def test_never_guesses(size: float) -> None:
    """A face in cm and a head in inches have the same numbers; other sizes are no face in any unit."""
    with pytest.raises(InputError) as caught:
        choose_unit(size)
    assert caught.value.code == "scan.unit_ambiguous" and "--unit" in caught.value.hint


def test_every_size_gives_one_unit_or_an_error_and_a_plausible_face() -> None:
    for size in np.geomspace(1e-3, 1e5, 2000):
        try:
            choice = choose_unit(float(size))
        except InputError:
            continue
        assert 100.0 - 1e-9 <= size * choice.scale_to_mm <= 1000.0 + 1e-9


def test_stated_unit_is_obeyed_within_reason() -> None:
    assert choose_unit(15.0, "cm").scale_to_mm == 10.0
    assert choose_unit(15.0, "in").scale_to_mm == 25.4
    assert [warning.code for warning in choose_unit(1800.0, "mm").warnings] == ["scan.unusual_size"]
    with pytest.raises(InputError) as caught:
        choose_unit(200.0, "m")
    assert caught.value.code == "scan.size" and caught.value.hint
    with pytest.raises(UsageError):
        choose_unit(200.0, "parsec")


def test_size_ignores_pose_and_specks() -> None:
    generator = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(30.0), np.arange(40.0))
    vertices = np.stack([5 * x, 5 * y, 40 * np.sin(x / 10)], axis=-1).reshape(-1, 3)
    corner = np.arange(1200).reshape(40, 30)
    a, b, c, d = (q.ravel() for q in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    size = surface_size(vertices, triangles)
    turned = vertices @ Rotation.random(random_state=1).as_matrix().T + 500
    assert surface_size(turned, triangles) == pytest.approx(size, rel=1e-9)
    speck = np.array([[5000.0, 0, 0], [5001, 0, 0], [5000, 1, 0]]) + generator.normal(size=(3, 3)) * 0.1
    with_speck = surface_size(np.vstack([vertices, speck]), np.vstack([triangles, [[1200, 1201, 1202]]]))
    assert with_speck == pytest.approx(size, rel=0.02)
    assert surface_size(np.zeros((3, 3)), np.array([[0, 1, 2]])) == 0.0
