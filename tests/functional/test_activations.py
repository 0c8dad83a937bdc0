"""Activations against the standard library and SciPy, their derivatives by complex step."""

import math

import numpy as np
import pytest
import scipy.special

from capsnp.errors import DtypeError, OptionError, ShapeError
from capsnp.functional import (
    leaky_relu,
    leaky_relu_derivative,
    log_sigmoid,
    log_sigmoid_derivative,
    logsumexp,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    softmax,
    softmax_vjp,
    softplus,
)

POINTS = np.asarray([-80.0, -9.5, -1.0, -1e-3, 0.0, 1e-9, 0.25, 3.0, 30.0, 80.0])

BY_HAND = {
    relu: lambda x: x if x > 0 else 0.0,
    relu_derivative: lambda x: 1.0 if x > 0 else 0.0,
    leaky_relu: lambda x: x if x > 0 else 0.2 * x,
    leaky_relu_derivative: lambda x: 1.0 if x > 0 else 0.2,
    sigmoid: lambda x: 1 / (1 + math.exp(-x)),
    softplus: lambda x: math.log1p(math.exp(x)),
    log_sigmoid: lambda x: -math.log1p(math.exp(-x)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", BY_HAND, ids=lambda function: function.__name__)
def test_against_the_formula(library, function, dtype):
    got = library.to_host(function(library.from_host(POINTS, dtype=dtype)))
    assert got.dtype == dtype
    expected = [BY_HAND[function](float(x)) for x in POINTS.astype(dtype)]
    np.testing.assert_allclose(got, expected, rtol=8 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize(
    ("derivative", "plain"),
    [
        (sigmoid_derivative, lambda x: 1 / (1 + np.exp(-x))),
        (log_sigmoid_derivative, lambda x: -np.log1p(np.exp(-x))),
        (sigmoid, lambda x: np.log1p(np.exp(x))),
        (leaky_relu_derivative, lambda x: x if x.real > 0 else 0.2 * x),
        (relu_derivative, lambda x: x if x.real > 0 else 0 * x),
    ],
    ids=lambda function: function.__name__,
)
def test_derivatives_by_complex_step(library, derivative, plain):
    x = POINTS[1:-2]
    expected = [plain(complex(point, 1e-30)).imag / 1e-30 for point in x]
    got = library.to_host(derivative(library.from_host(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_arguments_neither_overflow_nor_warn(library, dtype):
    largest = float(np.finfo(dtype).max)
    x = library.from_host([-largest, 0.0, largest], dtype=dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        np.testing.assert_array_equal(library.to_host(sigmoid(x)), [0, 0.5, 1])
        assert library.to_host(softplus(x))[[0, 2]].tolist() == [0, largest]
        assert library.to_host(log_sigmoid(x))[[0, 2]].tolist() == [-largest, 0]
        assert library.to_host(sigmoid_derivative(x)).tolist() == [0, 0.25, 0]
        assert library.to_host(softmax(x / 2)).tolist() == [0, 0, 1]
        assert library.to_host(logsumexp(x / 2)) == largest / 2


def test_slope(library):
    x = library.from_host([-2.0, 4.0])
    assert library.to_host(leaky_relu(x, slope=0.5)).tolist() == [-1, 4]
    assert library.to_host(leaky_relu(x, slope=1)).tolist() == [-2, 4]
    assert library.to_host(leaky_relu_derivative(x, slope=0)).tolist() == [0, 1]
    for function in (leaky_relu, leaky_relu_derivative):
        with pytest.raises(OptionError, match=r"^slope: expected a number from 0 to 1, got 1\.5$"):
            function(x, slope=1.5)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_logsumexp_against_scipy(library, rng, axis):
    x = rng.standard_normal((4, 3)) * 5 + 700
    here = library.from_host(x)
    got = library.to_host(softmax(here, axis=axis))
    np.testing.assert_allclose(got, scipy.special.softmax(x, axis=axis), rtol=1e-13)
    got = library.to_host(logsumexp(here, axis=axis))
    np.testing.assert_allclose(got, scipy.special.logsumexp(x, axis=axis), rtol=1e-15)


def test_logsumexp_takes_terms_of_zero(library):
    x = library.from_host([[-math.inf, 0.0, 0.0], [-math.inf, -math.inf, -math.inf]])
    with np.errstate(all="raise"):
        got = library.to_host(logsumexp(x))
    np.testing.assert_allclose(got, [math.log(2), -math.inf])


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_gradient_by_complex_step(library, rng, axis):
    x, g = rng.standard_normal((2, 4, 3))
    expected = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = x.astype(complex)
        step[index] += 1e-30j
        weights = np.exp(step)
        probability = weights / np.sum(weights, axis=axis, keepdims=True)
        expected[index] = np.sum(g * probability).imag / 1e-30
    got = softmax_vjp(library.from_host(x), library.from_host(g), axis=axis)
    np.testing.assert_allclose(library.to_host(got), expected, rtol=1e-12, atol=1e-16)


def test_softmax_is_the_gradient_of_logsumexp(library, rng):
    x = rng.standard_normal(4)
    expected = []
    for k in range(4):
        step = x.astype(complex)
        step[k] += 1e-30j
        expected.append(np.log(np.sum(np.exp(step))).imag / 1e-30)
    got = library.to_host(softmax(library.from_host(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_inputs_stay_as_they_are(library, rng):
    x = rng.standard_normal((4, 3))
    here = library.from_host(x.copy())
    for function in (*BY_HAND, softmax, logsumexp):
        function(here)
    np.testing.assert_array_equal(library.to_host(here), x)


def test_wrong_arguments_are_named(library):
    integers = library.from_host([1, 2], dtype="int64")
    for function in (*BY_HAND, sigmoid_derivative, log_sigmoid_derivative, softmax, logsumexp):
        with pytest.raises(DtypeError, match=r"^x: expected float32 or float64, got int64$"):
            function(integers)
    for function in (softmax, logsumexp):
        with pytest.raises(OptionError, match=r"^axis: expected an axis of x \(2,\)"):
            function(library.from_host([1.0, 2.0]), axis=1)
        with pytest.raises(ShapeError, match=r"^x: expected at least one number along axis 0"):
            function(library.from_host(np.zeros((0, 2))), axis=0)
