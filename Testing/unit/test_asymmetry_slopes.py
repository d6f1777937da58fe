"""Slopes of predicted on true asymmetry: exact on made-up faces, in any pose, and told apart from a mere shift."""

from __future__ import annotations

import numpy as np
import pytest
from evaluations import face
from scipy.spatial.transform import Rotation

from PALNetLandmarksLib.protocol import load_protocol
from training_tools.asymmetry_slopes import pair_slopes

PROTOCOL = load_protocol()


def faces(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True faces with asymmetric left points, and predictions that show `share` of the asymmetry; (n, l, 3) each."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(face(PROTOCOL)[None], count, axis=0)
    predicted = truth.copy()
    pairs = np.array(PROTOCOL.pairs)
    push = generator.normal(0.0, 1.0, (count, len(pairs), 3))
    # Opposite on both sides: the midplane stays where it is.
    for positions, part in ((truth, 1.0), (predicted, share)):
        positions[:, pairs[:, 1]] += part * push
        positions[:, pairs[:, 0]] -= part * push * [-1, 1, 1]
    return predicted, truth


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_share_that_is_shown_is_found(share: float) -> None:
    rows = pair_slopes(*faces(60, share), PROTOCOL, draws=200)
    assert len(rows) == len(PROTOCOL.pairs) + 2
    for row in rows:
        assert row.plane.value == pytest.approx(share, abs=0.06)
        assert row.frame_free.value == pytest.approx(share, abs=0.06)
        assert row.plane.low <= row.plane.value <= row.plane.high
    together = rows[-1]
    assert together.plane.high - together.plane.low < 0.1
    assert together.true_mm == pytest.approx(2 * np.sqrt(3), rel=0.1)


def test_slopes_do_not_depend_on_the_pose() -> None:
    predicted, truth = faces(20, 0.7)
    turned = [
        Rotation.random(random_state=k).apply(one) + [100.0 * k, 0.0, 0.0] for k, one in enumerate((*predicted, *truth))
    ]
    plain = pair_slopes(predicted, truth, PROTOCOL, draws=50)
    moved = pair_slopes(np.array(turned[:20]), np.array(turned[20:]), PROTOCOL, draws=50)
    for a, b in zip(plain, moved, strict=True):
        assert a.frame_free.value == pytest.approx(b.frame_free.value, abs=1e-6)
        assert a.plane.value == pytest.approx(b.plane.value, abs=1e-6)


def test_a_constant_shift_is_no_shrinkage() -> None:
    predicted, truth = faces(40, 1.0)
    predicted[:, PROTOCOL.pairs[3][1]] += [0.0, 3.0, 0.0]
    row = pair_slopes(predicted, truth, PROTOCOL, draws=50)[3]
    assert row.plane.value == pytest.approx(1.0, abs=0.05)


def test_missing_landmarks_leave_the_others() -> None:
    predicted, truth = faces(30, 0.5)
    right, left = PROTOCOL.pairs[0]
    predicted[:, left] = np.nan
    rows = pair_slopes(predicted, truth, PROTOCOL, draws=50)
    assert rows[0].scans == 0 and np.isnan(rows[0].plane.value)
    assert rows[1].scans == 30 and rows[1].frame_free.value == pytest.approx(0.5, abs=0.06)


def test_palpated_pairs_do_not_count_as_features() -> None:
    rows = pair_slopes(*faces(10, 1.0), PROTOCOL, draws=10)
    by_name = {row.left: row for row in rows if row.left}
    assert by_name["Ex_L"].feature and not by_name["Go_L"].feature
    assert rows[-2].feature and not rows[-1].feature


def test_too_few_scans_give_no_slopes() -> None:
    assert pair_slopes(*faces(4, 1.0), PROTOCOL) == []
