"""Exact capsule models against counting, other integrals, complex steps and draws."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import integrate

from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.verification import Balls, ExactCapsules
from capsnp.verification.exact import draw, model_term, partition

SIZES = [(3, 1, 2, 2), (2, 2, 3, 2), (3, 3, 2, 2), (2, 3, 1, 1), (1, 2, 2, 3)]  # I, J, D, P


def model(rng, size, *, scale=1.0):
    return ExactCapsules(scale * rng.normal(size=size), rng.random(size[:2]))


def monomial_in_ball(powers):
    """E[Π_a x_a^k_a] in one ball, by the radius and Gaussian moments: exact."""
    total, dim = sum(powers), len(powers)
    if any(k % 2 for k in powers):
        return Fraction(0)
    gauss = math.prod(math.prod(range(k - 1, 0, -2)) for k in powers)  # (k − 1)!!
    radius = math.prod(range(dim, dim + total, 2))  # E‖g‖^total
    return Fraction(gauss * dim, radius * (dim + total))  # times E r^total of a ball


# --- balls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("balls", [Balls(1, 1), Balls(2, 2), Balls(1, 3), Balls(3, 1)])
def test_moments_are_products_over_balls(balls, order):
    moments = balls.moments(order)
    for place in np.ndindex(moments.shape):
        powers = np.bincount(place, minlength=balls.n_balls * balls.dim).reshape(balls)
        expected = math.prod(monomial_in_ball([int(k) for k in ball]) for ball in powers)
        assert moments[place] == pytest.approx(float(expected), rel=1e-14, abs=0)


@pytest.mark.parametrize("balls", [Balls(1, 1), Balls(1, 2), Balls(1, 3), Balls(2, 2)])
def test_cubature_averages_polynomials_exactly(balls):
    nodes, weights = balls.cubature(6)
    assert weights.sum() == pytest.approx(1.0, rel=1e-13)
    assert np.all(np.linalg.norm(nodes, axis=-1) < 1)
    flat = nodes.reshape(len(nodes), -1)
    for powers in product(range(7), repeat=flat.shape[1]):
        if sum(powers) > 6:
            continue
        ball_powers = np.reshape(powers, balls)
        expected = math.prod(monomial_in_ball([int(k) for k in ball]) for ball in ball_powers)
        assert weights @ np.prod(flat**powers, axis=1) == pytest.approx(float(expected), abs=1e-15)


def test_uniform_draws_have_the_balls_moments(rng):
    balls = Balls(2, 3)
    x = balls.uniform(40_000, rng).reshape(-1, 6)
    assert np.all(np.linalg.norm(x.reshape(-1, 2, 3), axis=2) <= 1)
    for power, order in ((2, 2), (4, 4)):
        values = x[:, 0] ** power
        error = values.std() / math.sqrt(len(x))
        assert abs(values.mean() - balls.moments(order)[(0,) * order]) < 5 * error


def test_what_is_too_large_says_so():
    with pytest.raises(OptionError, match="moments: expected at most"):
        Balls(10, 2).moments(6)
    with pytest.raises(OptionError, match="cubature: expected at most"):
        Balls(10, 2).cubature(6)


# --- the partition function -------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_three_ways_to_the_partition_function(rng, size):
    exact = model(rng, size)
    closed = exact.log_partition()
    assert exact.log_partition("cubature") == pytest.approx(closed, rel=1e-12)
    assert exact.log_partition("states") == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize("n_experts", [2, 8])
def test_partition_function_by_a_general_integrator(rng, n_experts):
    """Of eight experts the closed form has 2 million terms for each of 2^16 moments."""
    exact = model(rng, (2, n_experts, 2, 1))  # balls of dimension 1 are [−1, 1]
    assert exact._shorter() == ("moments" if n_experts == 2 else "cubature")

    def density(y, x):
        z = exact.W[0, :, :, 0] * exact.c[0, :, None] * x + exact.W[1, :, :, 0] * (
            exact.c[1, :, None] * y
        )
        return np.prod(1 + np.sum(z * z, axis=1)) / 4

    value, error = integrate.dblquad(density, -1, 1, -1, 1, epsabs=1e-11)
    assert abs(math.exp(exact.log_partition()) - value) < 1e-10 * value + error


def test_partition_function_by_hand():
    # one input of dimension 1, E x² = 1/3 and E x⁴ = 1/5: (1 + a x²)(1 + b x²)
    W = np.asarray([[[[2.0]], [[3.0]]]])
    expected = 1 + Fraction(4 + 9, 3) + Fraction(36, 5)
    assert partition(W, np.ones((1, 2))) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_partition_function_by_draws(rng, size):
    exact = model(rng, size)
    x = exact.balls.uniform(20_000, rng)
    z = np.zeros((len(x), *size[1:3]))
    for i, j in np.ndindex(size[:2]):
        z[:, j] += exact.c[i, j] * x[:, i] @ exact.W[i, j].T
    values = np.prod(1 + np.sum(z * z, axis=2), axis=1)
    error = values.std() / math.sqrt(len(x))
    assert abs(values.mean() - math.exp(exact.log_partition())) < 5 * error


def test_many_coefficients_at_once(rng):
    W, c = rng.normal(size=(2, 3, 2, 2)), rng.random((4, 2, 3))
    np.testing.assert_allclose(partition(W, c), [partition(W, one) for one in c], rtol=1e-13)
    np.testing.assert_allclose(model_term(W, c), [model_term(W, one) for one in c], rtol=1e-12)


def test_unknown_method(rng):
    with pytest.raises(OptionError, match="method: expected moments"):
        model(rng, SIZES[0]).log_partition("guess")


# --- likelihood and gradient --------------------------------------------------------------------


def test_likelihood_is_a_density(rng):
    exact = model(rng, (2, 2, 2, 2))
    nodes, weights = exact.balls.cubature(4)
    assert weights @ np.exp(exact.log_likelihood(nodes)) == pytest.approx(1.0, rel=1e-12)
    outside = np.asarray([[[1.0, 0.1], [0.0, 0.0]]])
    assert exact.log_likelihood(outside) == -np.inf


@pytest.mark.parametrize("size", SIZES)
def test_gradient_is_the_complex_step_of_the_likelihood(rng, size):
    exact = model(rng, size)
    x = exact.balls.uniform(3, rng)
    expected = np.zeros(size)
    for place in np.ndindex(size):
        W = exact.W.astype(complex)
        W[place] += 1e-30j
        log_p = -np.log(partition(W, exact.c))
        for capsules in x:
            for j in range(size[1]):
                z = sum(exact.c[i, j] * W[i, j] @ capsules[i] for i in range(size[0]))
                log_p += np.log(1 + z @ z) / len(x)
        expected[place] = log_p.imag / 1e-30
    np.testing.assert_allclose(exact.gradient(x), expected, rtol=1e-11, atol=1e-13)


def test_gradient_of_the_models_own_draws_vanishes(rng):
    exact = model(rng, (2, 2, 2, 2))
    parts = np.stack([exact.gradient(exact.sample(500, rng)) for _ in range(40)])
    error = parts.std(axis=0) / math.sqrt(len(parts) - 1)
    assert np.all(np.abs(parts.mean(axis=0)) < 5 * error)


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["sample", "gibbs"])
@pytest.mark.parametrize("size", SIZES[:3])
def test_draws_have_the_models_moments(rng, size, of):
    exact = model(rng, size, scale=3.0)
    x = exact.sample(20_000, rng)
    if of == "gibbs":
        x = exact.gibbs_step(x, rng)
    nodes, weights = exact.balls.cubature(2 * size[1] + 2)
    density = weights * np.exp(exact.log_likelihood(nodes))
    flat, node = x.reshape(len(x), -1), nodes.reshape(len(nodes), -1)
    for a, b in product(range(flat.shape[1]), repeat=2):
        products = flat[:, a] * flat[:, b]
        error = products.std() / math.sqrt(len(x))
        assert abs(products.mean() - density @ (node[:, a] * node[:, b])) < 5 * error


def test_gibbs_steps_lead_from_anywhere_to_the_model(rng):
    exact = model(rng, (2, 2, 2, 2), scale=4.0)
    x = np.zeros((4000, 2, 2))
    for _ in range(20):
        x = exact.gibbs_step(x, rng)
    nodes, weights = exact.balls.cubature(6)
    density = weights * np.exp(exact.log_likelihood(nodes))
    square = np.sum(x**2, axis=(1, 2))
    expected = density @ np.sum(nodes**2, axis=(1, 2))
    assert abs(square.mean() - expected) < 5 * square.std() / math.sqrt(len(x))


def test_a_bound_that_is_too_low_is_an_error(rng):
    with pytest.raises(DomainError, match="log_p: expected at most -1"):
        draw(lambda x: np.zeros(len(x)), Balls(1, 2), 5, rng, log_bound=-1.0)


def test_no_draws(rng):
    assert model(rng, (2, 1, 2, 3)).sample(0, rng).shape == (0, 2, 3)


def test_shapes_that_do_not_fit(rng):
    with pytest.raises(ShapeError, match="W: expected shape"):
        ExactCapsules(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ShapeError, match="c: expected shape"):
        ExactCapsules(np.ones((2, 1, 1, 1)), np.ones((1, 2)))
    with pytest.raises(ShapeError, match="x: expected shape"):
        model(rng, SIZES[0]).log_likelihood(np.zeros((5, 2, 2)))
