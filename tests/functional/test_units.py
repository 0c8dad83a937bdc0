"""Kinds of units against sums over their states, quadrature and SciPy's distributions."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.functional.units import Bernoulli, Categorical, Gaussian, Relu, units_of

FIELDS = np.asarray([-40.0, -8.0, -4.1, -3.9, -0.5, 0.0, 0.7, 3.0, 6.0, 30.0])
LOG_VARIANCE = np.asarray([-1.0, 0.3])


def on(library, units):
    """The same units with their arrays in a library."""
    if isinstance(units, Gaussian) and units.log_variance is not None:
        return Gaussian(library.from_host(units.log_variance))
    return units


def by_quadrature(x, low):
    """log ∫ exp(x s − s²/2) ds from `low`, and the mean: panels of Gauss and Legendre."""
    top = max(x, low)
    width = -1.0 / x if low == 0 and x < -1 else 1.0  # of what the integrand is made of
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.arange(max(low, top - 12.0 * width), top + 45.0 * width, 0.5 * width)
    s = (edges[:, None] + 0.25 * width * (nodes + 1.0)).ravel()
    density = np.tile(0.25 * width * weights, len(edges))
    density *= np.exp((s - top) * (x - 0.5 * (s + top)))
    total = density.sum()
    return np.log(total) + top * (x - 0.5 * top), (density @ s) / total


@pytest.mark.parametrize("units", [Relu(), Gaussian()], ids=lambda u: u.name)
def test_log_partition_and_mean_by_quadrature(library, units):
    low = 0.0 if isinstance(units, Relu) else -np.inf
    expected = np.asarray([by_quadrature(x, low) for x in FIELDS])
    x = library.from_host(FIELDS)
    log_z = library.to_host(units.log_partition(x[:, None]))
    tolerance = 1e-12 + 1e-14 * FIELDS**2
    assert np.all(np.abs(log_z - expected[:, 0]) < tolerance)
    np.testing.assert_allclose(
        library.to_host(units.mean(x)), expected[:, 1], rtol=2e-12, atol=1e-14
    )


def test_far_rectified_units_in_float32(library):
    """Where x²/2 alone has no digit left of the result: ∫ e^{−as − s²/2} ds by the scaled erfc."""
    a = np.asarray([1e4, 300.0, 10.0, 4.5, 4.0])
    integral = np.sqrt(np.pi / 2) * scipy.special.erfcx(a / np.sqrt(2))
    mean = np.where(a > 100, (1 - 2 / a**2) / a, 1 / integral - a)
    x = library.from_host(-a, dtype="float32")
    got = library.to_host(Relu().log_partition(x[:, None]))
    np.testing.assert_allclose(got, np.log(integral), rtol=2e-6)
    np.testing.assert_allclose(library.to_host(Relu().mean(x)), mean, rtol=3e-5)


@pytest.mark.parametrize("units", [Bernoulli(), Categorical(2), Categorical(3)], ids=str)
def test_log_partition_and_mean_by_listing(library, units, rng):
    x = 2.0 * rng.standard_normal((5, 6))
    states = units.states(6, 0, units.n_states(6), like=np.zeros(1))
    weights = np.exp(states @ x.T)  # (S, 5)
    got = library.to_host(units.log_partition(library.from_host(x)))
    np.testing.assert_allclose(got, np.log(weights.sum(0)), rtol=1e-13)
    mean = weights.T @ states / weights.sum(0)[:, None]
    got = library.to_host(units.mean(library.from_host(x)))
    np.testing.assert_allclose(got, mean, rtol=1e-12)


@pytest.mark.parametrize(
    "units",
    [Bernoulli(), Categorical(2), Gaussian(), Gaussian(LOG_VARIANCE), Relu()],
    ids=lambda u: u.name,
)
def test_energy_is_linear_in_the_bias(library, units, rng):
    """e(s; b) = e(s; 0) − b·φ(s) + offset(b)."""
    here = on(library, units)
    s, b = library.from_host(rng.random((4, 2))), library.from_host(rng.standard_normal(2))
    zero = 0.0 * b
    expected = here.energy(s, zero) - library.xp.sum(b * here.statistic(s), axis=-1)
    expected = library.to_host(expected) + float(here.offset(b))
    np.testing.assert_allclose(library.to_host(here.energy(s, b)), expected, atol=1e-13)


def test_gaussian_energy_by_scipy(library, rng):
    units = on(library, Gaussian(LOG_VARIANCE))
    s, b = rng.standard_normal((4, 2)), rng.standard_normal(2)
    density = scipy.stats.norm(b, np.exp(0.5 * LOG_VARIANCE)).logpdf(s).sum(1)
    b_here = library.from_host(b)
    log_z = float(units.log_partition(b_here)) - float(units.offset(b_here))
    energy = library.to_host(units.energy(library.from_host(s), b_here))
    np.testing.assert_allclose(-energy - log_z, density, rtol=1e-13)


NOISE = (np.arange(200) + 0.5) / 200
"""Every quantile once."""


@pytest.mark.parametrize("x", FIELDS)
def test_rectified_draws_invert_the_distribution(library, x):
    field = library.from_host(np.full(200, x))
    got = library.to_host(Relu().draw(field, library.from_host(NOISE)))
    expected = scipy.stats.truncnorm(-x, np.inf, loc=x).isf(1.0 - NOISE)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_rectified_draws_are_finite_at_the_ends(library):
    for dtype in ("float32", "float64"):
        below_one = np.nextafter(np.asarray(1, dtype), np.asarray(0, dtype))
        noise = library.from_host(np.tile([0.0, below_one], (10, 1)), dtype=dtype)
        x = library.from_host(np.tile(FIELDS[:, None], (1, 2)), dtype=dtype)
        got = library.to_host(Relu().draw(x, noise))
        assert got.dtype == np.dtype(dtype)
        assert np.all(np.isfinite(got))
        assert np.all(got >= 0)
        assert np.all(got[:, 0] < got[:, 1])


@pytest.mark.parametrize("units", [Bernoulli(), Categorical(3)], ids=lambda u: u.name)
def test_draws_of_discrete_units_have_their_mean(library, units, rng):
    """Over evenly spaced noise the share of each state is its probability."""
    x = rng.standard_normal(6)
    size = units.noise_shape((200, 6))[1]
    noise = np.stack([NOISE] * size, axis=1)
    field = library.from_host(np.tile(x, (200, 1)))
    states = library.to_host(units.draw(field, library.from_host(noise)))
    assert set(np.unique(states)) == {0.0, 1.0}
    if isinstance(units, Categorical):
        assert np.all(states.reshape(200, 2, 3).sum(2) == 1.0)
    mean = library.to_host(units.mean(library.from_host(x)))
    np.testing.assert_allclose(states.mean(0), mean, atol=1 / 200)


def test_gaussian_draws(library, rng):
    units = on(library, Gaussian(LOG_VARIANCE))
    noise = rng.standard_normal((3, 2))
    got = units.draw(library.from_host(np.ones((3, 2))), library.from_host(noise))
    np.testing.assert_allclose(
        library.to_host(got), 1.0 + np.exp(LOG_VARIANCE / 2) * noise, rtol=1e-13
    )


def test_states_are_listed_once(library):
    like = library.from_host([0.0])
    for units, size in ((Bernoulli(), 5), (Categorical(3), 9)):
        n = units.n_states(size)
        parts = [
            units.states(size, start, min(start + 7, n), like=like) for start in range(0, n, 7)
        ]
        rows = {tuple(row) for part in parts for row in library.to_host(part).tolist()}
        assert len(rows) == n
        assert sum(map(sum, rows)) == (n * 2.5 if size == 5 else n * 3)


def test_domains(library):
    for units, inside, outside in (
        (Bernoulli(), [[0.0, 1.0]], [[0.5, 1.5]]),
        (Categorical(2), [[0.25, 0.75]], [[1.0, 1.0]]),
        (Gaussian(), [[-5.0, 5.0]], [[0.0, np.inf]]),
        (Relu(), [[0.0, 5.0]], [[1.0, -0.5]]),
        (Bernoulli(), [[0.0, 1.0]], [[0.5, np.nan]]),
    ):
        units.expect_states("X", library.from_host(inside))
        with pytest.raises(
            DomainError, match=rf"^X: expected .* for {units.name} units, got .* at"
        ):
            units.expect_states("X", library.from_host(outside))


def test_wrong_options_are_named(library):
    with pytest.raises(OptionError, match=r"^kind: expected 'bernoulli', .* or 'relu', got 'x'$"):
        units_of("x")
    with pytest.raises(OptionError, match=r"^n_categories: expected a number for categorical"):
        units_of("categorical")
    with pytest.raises(OptionError, match=r"^n_categories: expected a whole number from 2, got 1$"):
        Categorical(1)
    with pytest.raises(ShapeError, match=r"multiple of 3 \(n_categories\) .* got shape \(2, 4\)$"):
        Categorical(3).mean(library.from_host(np.zeros((2, 4))))


@pytest.mark.parametrize(
    "units",
    [Bernoulli(), Categorical(2), Gaussian(), Gaussian(LOG_VARIANCE), Relu()],
    ids=lambda u: u.name,
)
def test_variance_is_the_slope_of_the_mean(library, units):
    """d⟨s⟩/dx by differences, times σ² where the field is scaled by it."""
    here = on(library, units)
    x = np.stack([FIELDS[:9], 0.0 * FIELDS[:9]], axis=1)
    step = np.asarray([1e-4, 0.0])
    ends = [library.to_host(here.mean(library.from_host(x + sign * step))) for sign in (1, -1)]
    slope = ((ends[0] - ends[1]) / 2e-4)[:, 0]
    if units.name == "gaussian" and units.log_variance is not None:
        slope = slope * np.exp(LOG_VARIANCE[0])
    got = library.to_host(here.variance(library.from_host(x)))[:, 0]
    np.testing.assert_allclose(got, slope, rtol=1e-6, atol=1e-9)
