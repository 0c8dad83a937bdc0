"""Section 2.2, (4) to (6): squash, the length as a probability, and unsquash."""

import cmath
import math
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np

from capsnp.functional.energy import firing_probability
from capsnp.functional.squash import (
    length,
    length_vjp,
    squash,
    squash_vjp,
    unsquash,
    unsquash_vjp,
)
from capsnp.verification.claims._by_hand import STEP, norm, slopes, squash_formula
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

VECTORS, D = 6, 4
DIGITS = Context(prec=60)


def sized_vectors(lab: Lab, decades: float) -> np.ndarray:
    """Gaussian vectors (VECTORS, D), shorter and longer by up to some powers of ten."""
    scale = 10.0 ** lab.rng.uniform(-decades, decades, (VECTORS, 1))
    return lab.round(scale * lab.rng.standard_normal((VECTORS, D)))


def lengths(vectors: np.ndarray) -> np.ndarray:
    """(..., 1)."""
    return np.sqrt(np.sum(vectors**2, axis=-1, keepdims=True))


@claim(
    "(4)",
    "2.2",
    "squash(z) has the direction of z and the length ‖z‖²/(1 + ‖z‖²)",
    function=squash,
    method="scalar arithmetic, one vector at a time",
)
def squash_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 3.0)
        expected = np.array([squash_formula(vector) for vector in z]).real
        yield lab.near(lab.run(squash, z), expected, magnitude=lengths(expected), terms=24)


@claim(
    "(4)",
    "2.2",
    "squash turns with its argument: squash(Rz) = R squash(z) for every rotation R",
    function=squash,
    method="random rotations of arguments and of results",
)
def squash_turns_with_its_argument(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 3.0)
        R, _ = np.linalg.qr(lab.rng.standard_normal((D, D)))
        turned = lab.run(squash, z) @ R.T
        actual = lab.run(squash, lab.round(z @ R.T))
        yield lab.near(actual, turned, magnitude=lengths(turned), terms=24 + 4 * D)


def jacobian(function: Callable[[np.ndarray], Sequence[complex]], at: np.ndarray) -> np.ndarray:
    """∂ function_k / ∂ at_d as [k, d], by one complex step for each d."""
    columns = []
    for d in range(len(at)):
        beside = at.astype(complex)
        beside[d] += 1j * STEP
        columns.append(np.imag(function(beside)) / STEP)
    return np.array(columns).T


def vjp_check(
    lab: Lab,
    vjp: Callable,
    formula: Callable[[np.ndarray], Sequence[complex]],
    at: np.ndarray,
    *,
    condition: float = 1.0,
) -> Checks:
    """A vector-Jacobian product against the formula's Jacobian; errors are relative to its norm."""
    g = lab.normal(*at.shape)
    expected, magnitude = np.zeros_like(at), np.zeros((len(at), 1))
    for n, vector in enumerate(at):
        derivative = jacobian(formula, vector)
        expected[n] = g[n] @ derivative
        magnitude[n] = np.linalg.norm(derivative, 2) * norm(g[n])
    actual = lab.run(vjp, at, g)
    yield lab.near(actual, expected, magnitude=magnitude, terms=40, condition=condition)


@claim(
    "(4)",
    "2.2",
    "The Jacobian of squash times a vector, and 0 at z = 0",
    function=squash_vjp,
    method="complex steps through (4), component by component",
)
def squash_jacobian_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        yield from vjp_check(lab, squash_vjp, squash_formula, sized_vectors(lab, 3.0))
        g = lab.normal(VECTORS, D)
        yield lab.true(lab.run(squash_vjp, np.zeros_like(g), g) == 0.0, "0 at z = 0")


@claim(
    "(4)",
    "2.2",
    "The gradient of g‖z‖ is g z/‖z‖, and 0 at z = 0",
    function=length_vjp,
    method="complex steps through √(Σ_d z_d²)",
)
def length_gradient_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        z, g = sized_vectors(lab, 3.0), lab.normal(VECTORS)
        expected = np.zeros_like(z)
        for n, vector in enumerate(z):
            expected[n] = g[n] * slopes(lambda at: cmath.sqrt(sum(at * at)), vector)
        actual = lab.run(length_vjp, z, g)
        yield lab.near(actual, expected, magnitude=np.abs(g)[:, None], terms=24)
        at_zero = lab.run(length_vjp, np.zeros_like(z), g)
        yield lab.true(at_zero == 0.0, "0 at z = 0")


# --- the length as a probability --------------------------------------------------------------


@claim(
    "(5)",
    "2.2",
    "‖squash(z)‖ = ‖z‖²/(1 + ‖z‖²) is P(on) in [0, 1), from zero to the largest floats",
    function="squash, length, firing_probability",
    method="exact fractions of the numbers as they are stored",
)
def length_is_a_probability(lab: Lab) -> Checks:
    limits = np.finfo(lab.dtype)
    smallest, largest = (math.log10(float(end)) for end in (limits.tiny, limits.max))
    for _ in lab.cases(2):
        sizes = 10.0 ** np.linspace(smallest, largest - 1.0, 40)[:, None]
        z = lab.round(sizes * lab.uniform(40, D, low=-9.0, high=9.0))
        z[0], z[-1] = 0.0, float(limits.max)
        expected = np.zeros(len(z))
        for n, vector in enumerate(z):
            square = sum(Fraction(number) ** 2 for number in vector)
            expected[n] = float(square / (1 + square))
        capsule_length = lab.run(length, lab.run(squash, z))
        probability = lab.run(firing_probability, z)
        for actual in (capsule_length, probability):
            yield lab.near(actual, expected, magnitude=expected, terms=24)
            yield lab.true((actual >= 0.0) & (actual < 1.0), "in [0, 1)")


# --- unsquash ---------------------------------------------------------------------------------


@claim(
    "(6)",
    "2.2",
    "unsquash(x) has the direction of x and the length √(‖x‖/(1 − ‖x‖)), up to the unit sphere",
    function=unsquash,
    method="decimal arithmetic with 60 digits",
)
def unsquash_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        gap = 10.0 ** lab.rng.uniform(math.log10(16 * lab.eps), -0.01, (VECTORS, 1))
        direction = lab.rng.standard_normal((VECTORS, D))
        x = lab.round((1.0 - gap) * direction / lengths(direction))
        expected = np.zeros_like(x)
        with localcontext(DIGITS):
            for n, vector in enumerate(x.tolist()):
                exact = [Decimal(number) for number in vector]
                t = sum((number**2 for number in exact), Decimal(0)).sqrt()
                expected[n] = [float((t / (1 - t)).sqrt() * number / t) for number in exact]
        yield lab.near(lab.run(unsquash, x), expected, magnitude=lengths(expected), terms=24)


@claim(
    "(6)",
    "2.2",
    "unsquash(squash(z)) = z; a relative error of squash(z) is magnified by 1/(2 − 2‖squash(z)‖) "
    "= (1 + ‖z‖²)/2",
    function="unsquash, squash",
    method="the identity on vectors of all lengths that squash does not shorten to below 1",
)
def unsquash_of_squash(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 2.0)
        magnified = 1.0 + (1.0 + lengths(z) ** 2) / 2.0
        actual = lab.run(unsquash, lab.run(squash, z))
        yield lab.near(actual, z, magnitude=lengths(z) * magnified, terms=24)


@claim(
    "(6)",
    "2.2",
    "squash(unsquash(x)) = x in the unit ball",
    function="squash, unsquash",
    method="the identity on vectors in the ball and next to its surface",
)
def squash_of_unsquash(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        x = lab.in_balls(VECTORS, D)
        x[0] = lab.round(x[0] / norm(x[0]) * (1.0 - 16 * lab.eps))
        actual = lab.run(squash, lab.run(unsquash, x))
        yield lab.near(actual, x, magnitude=lengths(x), terms=32)


def unsquash_formula(x: Sequence[complex] | np.ndarray) -> list[complex]:
    """(6) as printed."""
    t = cmath.sqrt(sum(number * number for number in x))
    return [cmath.sqrt(t / (1 - t)) * number / t for number in x]


@claim(
    "(6)",
    "2.2",
    "The Jacobian of unsquash times a vector",
    function=unsquash_vjp,
    method="complex steps through (6), component by component",
)
def unsquash_jacobian_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        x = lab.in_balls(VECTORS, D, longest=0.9)
        yield from vjp_check(lab, unsquash_vjp, unsquash_formula, x, condition=1 / (1 - 0.9))
