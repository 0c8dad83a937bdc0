"""Section 4.1: activations and their derivatives."""

import cmath
import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import numpy as np

from capsnp.functional.activations import (
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
from capsnp.verification.claims._by_hand import STEP, slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

POINTS = (0.0, 1e-30, 1e-8, 1e-3, 0.25, 1.0, 3.0, 9.5, 17.0, 30.0, 80.0)
"""Where activations are checked, on both sides of 0, besides Gaussian numbers."""

FAR = (300.0, 700.0)
"""Further points, where e^x is out of float32's range and e^2x out of float64's."""

ROUNDINGS = 16.0
"""Of an activation: two exponentials or logarithms of four each, and what joins them."""


def arguments(lab: Lab, *, far: bool = True) -> np.ndarray:
    """Points on both sides of 0."""
    points = POINTS + (FAR if far else ())
    return lab.round([*points, *(-point for point in points), *10.0 * lab.rng.standard_normal(11)])


def in_decimals(formula: Callable[[Decimal], Decimal], x: np.ndarray) -> np.ndarray:
    """A formula with so many decimal digits that 1 + e^-|x| loses none of either term's."""
    values = []
    for number in x.flat:
        with localcontext(Context(prec=40 + int(abs(number) / 2))):
            values.append(float(formula(Decimal(float(number)))))
    return np.reshape(values, x.shape)


def by_complex_step(formula: Callable[[complex], complex], x: np.ndarray) -> np.ndarray:
    """The derivative of a formula, one number after the other."""
    return np.asarray([formula(complex(number, STEP)).imag / STEP for number in x])


def rectified(x: np.ndarray, slope: float) -> np.ndarray:
    """The leaky ReLU by its two cases."""
    return np.asarray([number if number > 0 else slope * number for number in x])


@claim(
    "§4.1",
    "4.1",
    "relu and leaky_relu are x above 0, and 0 or slope · x below",
    function="relu, leaky_relu",
    method="scalar case by case",
)
def rectifiers_by_cases(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, slope = arguments(lab), (0.2, 1.0)[case % 2]
        for actual, expected in (
            (lab.run(relu, x), rectified(x, 0.0)),
            (lab.run(leaky_relu, x, slope=slope), rectified(x, slope)),
        ):
            yield lab.near(actual, expected, magnitude=np.abs(expected), terms=2)


@claim(
    "§4.1",
    "4.1",
    "The derivatives of relu and leaky_relu are 1 above 0, and 0 or the slope below",
    function="relu_derivative, leaky_relu_derivative",
    method="complex steps",
)
def rectifier_derivatives_by_complex_step(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, slope = arguments(lab), (0.2, 1.0)[case % 2]
        for actual, below in (
            (lab.run(relu_derivative, x), 0.0),
            (lab.run(leaky_relu_derivative, x, slope=slope), slope),
        ):

            def leaky(point: complex, below: float = below) -> complex:
                return point if point.real > 0 else below * point

            yield lab.near(actual, by_complex_step(leaky, x), terms=2)


@claim(
    "§4.1",
    "4.1",
    "σ(x) = 1/(1 + e⁻ˣ), small values to full precision",
    function=sigmoid,
    method="decimal arithmetic with up to 390 digits",
)
def sigmoid_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: 1 / (1 + (-point).exp()), x)
        yield lab.near(lab.run(sigmoid, x), expected, magnitude=expected, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "softplus(x) = log(1 + eˣ), small values to full precision",
    function=softplus,
    method="decimal arithmetic with up to 390 digits",
)
def softplus_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: (1 + point.exp()).ln(), x)
        yield lab.near(lab.run(softplus, x), expected, magnitude=expected, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "log_sigmoid(x) = log(1/(1 + e⁻ˣ))",
    function=log_sigmoid,
    method="decimal arithmetic with up to 390 digits",
)
def log_sigmoid_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: (1 / (1 + (-point).exp())).ln(), x)
        yield lab.near(
            lab.run(log_sigmoid, x), expected, magnitude=np.abs(expected), terms=ROUNDINGS
        )


@claim(
    "§4.1",
    "4.1",
    "The derivatives of σ, softplus and log σ are σ(x)σ(−x), σ(x) and σ(−x)",
    function="sigmoid_derivative, sigmoid, log_sigmoid_derivative",
    method="complex steps through the formulas, scalar by scalar",
)
def sigmoid_derivatives_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab, far=False)
        for derivative, formula in (
            (sigmoid_derivative, lambda point: 1 / (1 + cmath.exp(-point))),
            (sigmoid, lambda point: cmath.log(1 + cmath.exp(point))),
            (log_sigmoid_derivative, lambda point: -cmath.log(1 + cmath.exp(-point))),
        ):
            expected = by_complex_step(formula, x)
            yield lab.near(lab.run(derivative, x), expected, magnitude=expected, terms=ROUNDINGS)


LINES, WIDTH = 3, 5
"""Of what softmax and logsumexp are checked on."""


def lines(lab: Lab, case: int) -> np.ndarray:
    """Rows of numbers near 0 or near 1000, whose exponentials are beyond float64."""
    return lab.round(lab.normal(LINES, WIDTH, scale=5.0) + (0.0, 1000.0)[case % 2])


@claim(
    "§4.1",
    "4.1",
    "logsumexp(x) = log Σ_k exp(x_k), also where every exponential is out of range",
    function=logsumexp,
    method="decimal arithmetic, line by line",
)
def logsumexp_in_decimals(lab: Lab) -> Checks:
    for case in lab.cases(4):
        x, axis = lines(lab, case), (1, 0)[case // 2 % 2]
        expected = []
        with localcontext(Context(prec=60)):
            for line in x if axis == 1 else x.T:
                total = sum((Decimal(number).exp() for number in line.tolist()), Decimal(0))
                expected.append(float(total.ln()))
        magnitude = 1.0 + np.abs(expected)
        actual = lab.run(logsumexp, x, axis=axis)
        yield lab.near(actual, expected, magnitude=magnitude, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "softmax(x)_k = exp(x_k) / Σ_l exp(x_l) along its axis, also where the exponentials are out "
    "of range",
    function=softmax,
    method="decimal arithmetic, line by line",
)
def softmax_in_decimals(lab: Lab) -> Checks:
    for case in lab.cases(4):
        x, axis = lines(lab, case), (1, 0)[case // 2 % 2]
        expected = np.zeros_like(x)
        with localcontext(Context(prec=60)):
            for row, line in enumerate(x if axis == 1 else x.T):
                weights = [Decimal(number).exp() for number in line.tolist()]
                shares = [float(weight / sum(weights)) for weight in weights]
                (expected if axis == 1 else expected.T)[row] = shares
        actual = lab.run(softmax, x, axis=axis)
        yield lab.near(actual, expected, magnitude=expected, terms=ROUNDINGS + WIDTH)


@claim(
    "§4.1",
    "4.1",
    "softmax is the gradient of logsumexp, and softmax_vjp that of Σ_k g_k softmax(x)_k",
    function="softmax, softmax_vjp",
    method="complex steps through the formulas without a shift",
)
def softmax_gradients_by_complex_step(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, g, axis = lab.normal(LINES, WIDTH), lab.normal(LINES, WIDTH), (1, 0)[case % 2]

        def log_total(at: np.ndarray, axis=axis) -> complex:
            return np.sum(np.log(np.sum(np.exp(at), axis=axis)))

        def weighted(at: np.ndarray, g=g, axis=axis) -> complex:
            weights = np.exp(at)
            return np.sum(g * weights / np.sum(weights, axis=axis, keepdims=True))

        share = slopes(log_total, x)
        terms = ROUNDINGS + WIDTH
        yield lab.near(lab.run(softmax, x, axis=axis), share, magnitude=share, terms=terms)
        magnitude = share * np.max(np.abs(g), axis=axis, keepdims=True)
        actual = lab.run(softmax_vjp, x, g, axis=axis)
        yield lab.near(actual, slopes(weighted, x), magnitude=2 * magnitude, terms=2 * terms)


@claim(
    "§4.1",
    "4.1",
    "Over all floats activations stay finite, without overflow, and keep their identities: "
    "σ(x) + σ(−x) = 1, softplus(x) − softplus(−x) = x, softmax(x, 0) = σ(x), "
    "logsumexp(x, 0) = softplus(x)",
    function="every activation",
    method="identities at powers of ten from the smallest number to the largest",
)
def activations_over_all_floats(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        limits = np.finfo(lab.dtype)
        low, high = math.log10(float(limits.tiny)), math.log10(float(limits.max))
        size = np.append(10.0 ** np.linspace(low, high, 60, endpoint=False), float(limits.max))
        x = lab.round(np.concatenate([-size[::-1], [0.0], size]))
        pairs = np.stack([x, 0.0 * x], axis=-1)
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            values = {
                function: lab.run(function, x)
                for function in (
                    relu,
                    relu_derivative,
                    leaky_relu,
                    leaky_relu_derivative,
                    sigmoid,
                    sigmoid_derivative,
                    softplus,
                    log_sigmoid,
                    log_sigmoid_derivative,
                )
            }
            probability, total = lab.run(softmax, pairs), lab.run(logsumexp, pairs)
        for found in (*values.values(), probability, total):
            yield lab.true(np.isfinite(found), "finite")
        on, plus = values[sigmoid], values[softplus]
        yield lab.near(on + on[::-1], np.ones_like(x), terms=4)
        yield lab.near(plus - plus[::-1], x, magnitude=plus + plus[::-1], terms=ROUNDINGS)
        yield lab.near(probability[:, 0], on, magnitude=on, terms=ROUNDINGS)
        yield lab.near(total, plus, magnitude=np.maximum(plus, 1.0), terms=ROUNDINGS)
        yield lab.near(
            values[log_sigmoid_derivative], on[::-1], magnitude=on[::-1], terms=ROUNDINGS
        )
