"""Bennett's ratio, bootstrap errors and effective sample sizes on Gaussians, whose all is known.

With log weights w ~ N(r − s²/2, s²) going up, E[eʷ] = e^r; going down, w ~ N(r + s²/2, s²) fits the
same ratio, by e^{w − r} times the first density.
"""

import numpy as np
import pytest

from capsnp.errors import DataError, ShapeError
from capsnp.evaluation.likelihood import bennett, effective_sample_size
from capsnp.evaluation.likelihood.weights import log_mean_error, log_mean_exp

RATIO, SPREAD = 3.0, 1.5


def work(rng, n_up, n_down, n_steps=1):
    half = SPREAD**2 / 2
    up = rng.normal(RATIO - half, SPREAD, (n_steps, n_up))
    down = rng.normal(RATIO + half, SPREAD, (n_steps, n_down))
    return up, down


def test_effective_sample_size_by_hand():
    assert effective_sample_size(np.log([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_sample_size(np.full(7, -1e4)) == pytest.approx(7)
    assert effective_sample_size(np.asarray([0.0, -1e3, -1e3])) == pytest.approx(1)


def test_bennett_solves_its_equation(rng):
    """At the root found, the two sums are equal, written out by loops."""
    up, down = work(rng, 40, 15)
    (r,) = bennett(up, down).steps
    left = sum(1 / (1 + 40 / 15 * np.exp(r - w)) for w in up[0])
    right = sum(1 / (1 + 15 / 40 * np.exp(w - r)) for w in down[0])
    assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize(("n_up", "n_down"), [(50, 50), (20, 100)])
def test_bennett_is_right_and_knows_its_error(rng, n_up, n_down):
    """400 repeats: the mean is off by less than 4 of its standard errors beside a bias of order
    1/n, and the errors that are stated are those that occur."""
    found = [bennett(*work(rng, n_up, n_down)) for _ in range(400)]
    values = np.asarray([each.value for each in found])
    stated = np.asarray([each.stderr for each in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() - RATIO) < 4 * spread / 20 + 1 / (n_up + n_down)
    assert stated.mean() == pytest.approx(spread, rel=0.15)  # 4 × 1/√800


def test_bennett_is_closer_than_either_direction(rng):
    pairs = [work(rng, 50, 50) for _ in range(300)]
    both = np.std([bennett(up, down).value for up, down in pairs])
    for one_way in (
        [log_mean_exp(up[0]) for up, _ in pairs],
        [-log_mean_exp(-down[0]) for _, down in pairs],
    ):
        assert both < 0.75 * np.std(one_way)


def test_bennett_of_chains_counts_their_own_spread(rng):
    """Steps that share a chain add their deviations, not their variances."""
    up, down = work(rng, 100, 100)
    one, four = bennett(up, down), bennett(np.tile(up, (4, 1)), np.tile(down, (4, 1)))
    assert four.value == pytest.approx(4 * one.value)
    assert four.stderr == pytest.approx(4 * one.stderr)


def test_bennett_far_apart():
    """No overlap at all: the middle, with no error that could be stated."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = bennett(np.full(5, -2000.0), np.full(5, 3000.0))
    assert found.value == pytest.approx(500.0)
    assert found.stderr == np.inf


def test_bootstrap_error_is_that_which_occurs(rng):
    log_weights = rng.normal(0, 0.5, (300, 200))
    occurs = np.std(log_mean_exp(log_weights), ddof=1)
    stated = np.mean([log_mean_error(each) for each in log_weights[:40]])
    assert stated == pytest.approx(occurs, rel=0.2)


def test_bootstrap_is_reproducible(rng):
    log_weights = rng.normal(size=30)
    assert log_mean_error(log_weights) == log_mean_error(log_weights) > 0


def test_one_chain_has_no_error():
    assert np.isnan(log_mean_error(np.zeros(1)))
    assert np.isnan(bennett(np.zeros((2, 1)), np.zeros((2, 3))).stderr)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_sample_size([]), ShapeError, r"log_weights: expected shape \(N,\)"),
        (lambda: effective_sample_size([np.nan]), DataError, "log_weights: expected finite"),
        (lambda: bennett(np.zeros((2, 3)), np.zeros((3, 3))), ShapeError, "expected 2 steps"),
        (lambda: bennett(np.zeros((2, 0)), np.zeros((2, 3))), ShapeError, r"shape \(K, N\)"),
        (lambda: bennett([0.0], [np.inf]), DataError, "reverse: expected finite"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
