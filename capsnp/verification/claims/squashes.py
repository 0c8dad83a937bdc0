"""Other squashing functions: their lengths, Jacobians and inverses, and the ball."""

import cmath
import math
from collections.abc import Callable, Sequence

import numpy as np

from capsnp.functional.squashes import SQUASHES, Squash, power_squash
from capsnp.verification.claims._by_hand import norm
from capsnp.verification.claims.squashing import lengths, sized_vectors, vjp_check
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

CUBIC = power_squash(3.0, temperature=0.25)

FORMULAS: tuple[tuple[Squash, Callable[[complex], complex]], ...] = (
    (SQUASHES["efficient"], lambda n: 1.0 - 1.0 / cmath.exp(n)),
    (SQUASHES["rational"], lambda n: n / (1.0 + n)),
    (SQUASHES["power"], lambda n: n**1.5 / (1.0 + n**1.5)),
    (SQUASHES["tempered"], lambda n: 2.0 * n**2 / (1.0 + 2.0 * n**2)),
    (CUBIC, lambda n: (4.0 * n) ** 3 / (1.0 + (4.0 * n) ** 3)),
)
"""The squashed length, as printed, for real or complex lengths."""


def squashed(
    formula: Callable[[complex], complex], z: Sequence[complex] | np.ndarray
) -> list[complex]:
    """t(n) z/n of one vector."""
    n = cmath.sqrt(sum(number * number for number in z))
    return [formula(n) * number / n for number in z]


@claim(
    "squashes",
    "squashes",
    "1 − 1/eⁿ, n/(1 + n), nᵖ/(Tᵖ + nᵖ) and n²/(T² + n²) are the lengths of their squashed capsules",
    function="SQUASHES, power_squash",
    method="scalar arithmetic, one vector at a time",
)
def other_squashes_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        z = sized_vectors(lab, 1.5)
        for member, formula in FORMULAS:
            expected = np.array([squashed(formula, vector) for vector in z]).real
            yield lab.near(
                lab.run(member.apply, z), expected, magnitude=lengths(expected), terms=40
            )


@claim(
    "squashes",
    "squashes",
    "The Jacobian of each squash times a vector: t' along the capsule, t/n across it",
    function="SQUASHES, power_squash",
    method="complex steps through the formulas, component by component",
)
def other_squashes_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        z = sized_vectors(lab, 1.0)
        for member, formula in FORMULAS:
            yield from vjp_check(lab, member.vjp, lambda v, t=formula: squashed(t, v), z)  # type: ignore[misc]


@claim(
    "squashes",
    "squashes",
    "At n = 0 the Jacobian is the identity for 1 − 1/eⁿ, n/(1 + n) and the ball, else 0",
    function="SQUASHES",
    method="the limits of t/n",
)
def squashes_at_zero(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        g = lab.normal(3, 4)
        for name, member in SQUASHES.items():
            slope = 1.0 if name in ("efficient", "rational", "ball") else 0.0
            yield lab.near(lab.run(member.vjp, 0.0 * g, g), slope * g)


@claim(
    "squashes",
    "squashes",
    "inverse(squash(z)) = z; relative errors grow by t/(n t') on the way back",
    function="SQUASHES, power_squash",
    method="the identity on vectors that are not shortened to below 1",
)
def other_squashes_come_back(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        z = sized_vectors(lab, 0.7)
        for member, formula in FORMULAS:
            assert member.inverse is not None
            condition = np.zeros((len(z), 1))
            for k, n in enumerate(lengths(z)[:, 0]):
                slope = formula(complex(n, 1e-30)).imag / 1e-30
                condition[k] = 1.0 + abs(formula(n)) / (n * slope)
            told = condition < 0.01 / lab.eps  # the others may be shortened
            actual = lab.run(member.inverse, lab.run(member.apply, z))
            yield lab.near(np.where(told, actual, z), z, magnitude=lengths(z) * condition, terms=32)


@claim(
    "squashes",
    "squashes",
    "The ball's squash takes z to the nearest point of the unit ball; outside, its Jacobian is the "
    "projection across z, divided by ‖z‖",
    function="SQUASHES['ball']",
    method="scalar arithmetic; the projection as a matrix",
)
def ball_is_a_projection(lab: Lab) -> Checks:
    ball = SQUASHES["ball"]
    for _ in lab.cases(2):
        z, g = sized_vectors(lab, 1.0), lab.normal(6, 4)
        x, pulled = lab.run(ball.apply, z), lab.run(ball.vjp, z, g)
        for vector, cotangent, found, gradient in zip(z, g, x, pulled, strict=True):
            n = norm(vector)
            if n <= 1.0:
                yield lab.true(found == vector, "inside nothing changes")
                yield lab.near(gradient, cotangent, terms=8)
                continue
            yield lab.near(found, vector / n, terms=24)
            across = np.eye(4) - np.outer(vector, vector) / math.fsum(vector * vector)
            size = norm(cotangent) / n
            yield lab.near(gradient, across @ cotangent / n, magnitude=size, terms=32)
