import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.evaluation import brier_score, calibration_error


def test_scores_are_those_of_loops(rng):
    p = rng.dirichlet(np.ones(4), size=300)
    y = rng.integers(4, size=300)
    brier = sum((p[n, j] - (y[n] == j)) ** 2 for n in range(300) for j in range(4)) / 300
    assert brier_score(p, y) == pytest.approx(brier)
    error = 0.0
    for b in range(5):
        mine = [n for n in range(300) if b / 5 <= p[n].max() < (b + 1) / 5]
        if mine:
            right = np.mean([p[n].argmax() == y[n] for n in mine])
            error += len(mine) / 300 * abs(right - np.mean([p[n].max() for n in mine]))
    assert calibration_error(p, y, bins=5) == pytest.approx(error)


def test_ends():
    sure = np.eye(3)[[0, 1, 2]]
    assert brier_score(sure, np.asarray([0, 1, 2])) == calibration_error(sure, np.arange(3)) == 0
    assert brier_score(sure, np.asarray([1, 2, 0])) == 2
    assert calibration_error(sure, np.asarray([1, 2, 0])) == 1


def test_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"p: expected shape \(N, J\) with N labels, got \(3,\)"):
        brier_score(np.zeros(3), np.zeros(3, int))
    with pytest.raises(OptionError, match="bins: expected a whole number from 1, got 0"):
        calibration_error(np.eye(3), np.arange(3), bins=0)
