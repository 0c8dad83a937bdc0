"""Distances of feature sets: known answers, nested loops, invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from capsnp.errors import DataError, OptionError, ShapeError
from capsnp.evaluation.distances import (
    copies,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    neighbourhoods,
)


def with_moments(rng, n, mean, covariance):
    """Rows whose sample mean and covariance are exactly these."""
    rows = rng.standard_normal((n, len(mean)))
    rows -= rows.mean(axis=0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_frechet_of_commuting_gaussians(rng):
    deviation_a, deviation_b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.1, 0.5])
    shift = np.array([1.0, -2.0, 2.0])
    a = with_moments(rng, 50, np.zeros(3), np.diag(deviation_a**2))
    b = with_moments(rng, 80, shift, np.diag(deviation_b**2))
    expected = 9.0 + np.sum((deviation_a - deviation_b) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_frechet_against_the_formula_with_a_matrix_root(rng):
    a = rng.standard_normal((60, 6)) @ rng.standard_normal((6, 6))
    b = rng.standard_normal((70, 6)) @ rng.standard_normal((6, 6)) + 0.3
    sa, sb = np.cov(a.T), np.cov(b.T)
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(sa + sb - 2 * sqrtm(sa @ sb).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1.0, 1e6]))
def test_frechet_is_0_for_equal_sets_symmetric_and_scales(n_features, seed, scale):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 2 * n_features + 3, n_features)) * scale
    a[:, -1] = a[:, 0]  # one direction without variance
    spread = np.sum(np.var(a, axis=0))
    assert frechet_distance(a, a) <= 1e-13 * spread
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b), rel=1e-9)


def test_kernel_distance_against_nested_loops(rng):
    x, y = rng.standard_normal((2, 7, 3))
    y = y + 0.5

    def kernel(u, v):
        return (float(u @ v) / 3 + 1) ** 3

    within = [
        np.mean([kernel(r[i], r[j]) for i in range(7) for j in range(7) if i != j]) for r in (x, y)
    ]
    across = np.mean([kernel(u, v) for u in x for v in y])
    found = kernel_distance(x, y, n_subsets=3)
    assert found.mean == pytest.approx(sum(within) - 2 * across, rel=1e-12)
    assert found.error == pytest.approx(0.0, abs=1e-12)  # every subset is all of the rows


def test_kernel_distance_has_no_bias(rng):
    same = [kernel_distance(*rng.standard_normal((2, 20, 3)), n_subsets=1).mean for _ in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0


def test_kernel_distance_draws_subsets_by_its_seed(rng):
    a, b = rng.standard_normal((2, 60, 3))
    first = kernel_distance(a, b, subset_size=20, random_state=1)
    assert first == kernel_distance(a, b, subset_size=20, random_state=1)
    assert first != kernel_distance(a, b, subset_size=20, random_state=2)
    assert first.error > 0


@pytest.mark.parametrize("k", [1, 3])
def test_neighbourhoods_against_nested_loops(rng, k):
    real, made = rng.standard_normal((30, 4)), 0.7 * rng.standard_normal((25, 4)) + 0.4

    def radius(rows, i):
        return sorted(np.linalg.norm(rows[i] - other) for other in rows)[k]

    def inside(point, rows, i):
        return np.linalg.norm(point - rows[i]) < radius(rows, i)

    hits = [[inside(m, real, i) for i in range(30)] for m in made]
    back = [[inside(r, made, j) for j in range(25)] for r in real]
    expected = (
        sum(any(row) for row in hits) / 25,
        sum(any(row) for row in back) / 30,
        sum(sum(row) for row in hits) / (k * 25),
        sum(any(hits[j][i] for j in range(25)) for i in range(30)) / 30,
    )
    assert neighbourhoods(real, made, k=k) == pytest.approx(expected)


def test_neighbourhoods_over_several_blocks(rng, monkeypatch):
    real, made = rng.standard_normal((2, 40, 3))
    whole = neighbourhoods(real, made)
    monkeypatch.setattr("capsnp.evaluation.distances.BLOCK", 7)
    assert neighbourhoods(real, made) == whole


def test_neighbourhoods_of_collapse_and_of_noise(rng):
    real = rng.standard_normal((200, 3))
    one = neighbourhoods(real, np.repeat(real[:1] * 0, 50, axis=0))
    assert (one.precision, one.recall) == (1.0, 0.0)
    assert one.coverage < 0.2
    far = neighbourhoods(real, real + 100.0)
    assert far == (0.0, 0.0, 0.0, 0.0)
    assert neighbourhoods(real, real)[::3] == (1.0, 1.0)


def test_nearest_distances_against_scipy_in_blocks(rng, monkeypatch):
    training, rows = rng.random((50, 3, 2, 1)), rng.random((9, 3, 2, 1))
    rows[4] = training[17]
    monkeypatch.setattr("capsnp.evaluation.distances.BLOCK", 4)
    expected = cdist(rows.reshape(9, -1), training.reshape(50, -1)).min(axis=1)
    np.testing.assert_allclose(nearest_distances(rows, training), expected, atol=2e-3)


def test_copies_tell_copied_images_from_new_ones(rng):
    training, new, made = rng.random((3, 200, 5))
    made[:30] = training[:30]
    new_near = nearest_distances(new, training)
    found = copies(nearest_distances(made, training), new_near)
    assert 0.15 <= found.share <= 0.2
    assert copies(new_near, new_near) == pytest.approx((1.0, 0.01))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, neighbourhoods])
def test_errors_of_all(distance):
    rows = np.zeros((20, 3))
    with pytest.raises(ShapeError, match=r"expected shapes \(n, F\) and \(m, F\)"):
        distance(rows, rows[:, :2])
    with pytest.raises(ShapeError, match="features"):
        distance(rows[0], rows)
    with pytest.raises(DataError, match="at least 2 rows, got 1"):
        distance(rows, rows[:1])
    with pytest.raises(DataError, match="finite"):
        distance(rows, np.where(np.arange(20)[:, None] == 3, np.nan, rows))


def test_errors_of_each():
    rows = np.zeros((5, 3))
    with pytest.raises(DataError, match="b: expected more than 3 rows for 3 features, got 3"):
        frechet_distance(rows, rows[:3])
    with pytest.raises(DataError, match="made: expected more than k = 4 rows, got 4"):
        neighbourhoods(rows, rows[:4], k=4)
    with pytest.raises(OptionError, match="k: expected at least 1"):
        neighbourhoods(rows, rows, k=0)
    with pytest.raises(OptionError, match="n_subsets, subset_size"):
        kernel_distance(rows, rows, subset_size=1)
