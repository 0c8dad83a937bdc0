"""Beyond the paper: the potentials that squash and unsquash are the gradients of."""

import math

import numpy as np
import scipy.integrate

from capsnp.functional.settling import code_potential
from capsnp.functional.squash import squash, unsquash
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, J, D = 3, 3, 2

LARGEST_SLOPE = math.sqrt(27.0) / 8.0
"""Of r²/(1 + r²): its derivative 2r/(1 + r²)² at r² = 1/3."""


@claim(
    "settling",
    "settling",
    "squash is the gradient of Φ*(z) = ‖z‖ − arctan‖z‖, the mirror map",
    function=squash,
    method="complex steps through the potential",
)
def squash_is_a_gradient(lab: Lab) -> Checks:
    for case in lab.cases(4):
        z = lab.normal(B, J, D, scale=(0.3, 1.0, 3.0, 10.0)[case % 4])

        def mirror(at: np.ndarray) -> complex:
            r = np.sqrt(np.sum(at * at, axis=-1))
            return np.sum(r - np.arctan(r))

        # both terms have unit vectors as their gradients
        yield lab.near(lab.run(squash, z), slopes(mirror, z), magnitude=1.0)


@claim(
    "settling",
    "settling",
    "unsquash is the gradient of Φ(t) = arcsin√t − √(t(1−t)), t = ‖y‖",
    function=unsquash,
    method="complex steps through the potential",
)
def unsquash_is_a_gradient(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        y = lab.in_balls(B, J, D, longest=0.99)

        def prior(at: np.ndarray) -> complex:
            t = np.sqrt(np.sum(at * at, axis=-1))
            return np.sum(np.arcsin(np.sqrt(t)) - np.sqrt(t * (1 - t)))

        t = np.linalg.norm(y, axis=-1, keepdims=True)
        condition = float(np.max(1 / (1 - t)))  # of t(1 − t), to a relative change of t
        yield lab.near(
            lab.run(unsquash, y),
            slopes(prior, y),
            magnitude=1 / np.sqrt(t * (1 - t)),
            condition=condition,
        )


@claim(
    "settling",
    "settling",
    "code_potential is Φ(t) = ∫₀ᵗ √(s/(1−s)) ds, up to π/2 at t = 1 and infinite beyond",
    function=code_potential,
    method="adaptive quadrature with its error estimate",
)
def potential_by_quadrature(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        t = lab.round([1e-3, 1e-2, 0.1, 0.25, *lab.rng.random(3), 0.9, 0.99])
        areas = [
            scipy.integrate.quad(lambda s: math.sqrt(s / (1 - s)), 0, end, epsrel=1e-10)
            for end in t
        ]
        expected, error = np.transpose(areas)
        actual = lab.run(code_potential, np.stack([t, 0 * t], axis=1).reshape(B, J, D))
        bound = error + 16 * lab.eps * expected
        off = np.max(np.abs(actual.reshape(-1) - expected) / bound)
        yield lab.below(off, 1.0, "error of the quadrature and 16 roundings")
        whole, error = scipy.integrate.quad(lambda _: 1.0, 0, 1, weight="alg", wvar=(0.5, -0.5))
        ends = np.zeros((B, J, D))
        ends[:2, 0, 1] = 1.0, 1.125
        at_ends = lab.run(code_potential, ends)[:, 0]
        yield lab.below(abs(at_ends[0] - whole), error + 16 * lab.eps, "error of the quadrature")
        yield lab.true(math.isinf(at_ends[1]) and at_ends[2] == 0, "infinite beyond 1, 0 at 0")


@claim(
    "settling",
    "settling",
    "Φ and Φ* are conjugate: Φ(y) + Φ*(z) ≥ ‖y‖‖z‖, with equality at y = squash(z)",
    function="code_potential, squash",
    method="Fenchel and Young's inequality at random pairs",
)
def potentials_are_conjugate(lab: Lab) -> Checks:
    for case in lab.cases(4):
        z = lab.normal(B, J, D, scale=(0.3, 1.0, 3.0, 10.0)[case % 4])
        r = np.linalg.norm(z, axis=-1)
        mirror = r - np.arctan(r)
        bound = 16 * lab.eps
        for y, equal in ((lab.in_balls(B, J, D), False), (lab.run(squash, z), True)):
            gap = lab.run(code_potential, y) + mirror - np.linalg.norm(y, axis=-1) * r
            worst = np.max((np.abs(gap) if equal else -gap) / (1 + r), initial=0.0)
            yield lab.below(worst, bound, "16 roundings")


@claim(
    "settling",
    "settling",
    "Φ is strongly convex: on a segment it stays a(1−a)‖x−y‖²/2L below its chord, L = 3√3/8",
    function=code_potential,
    method="random points of random segments",
)
def potential_is_convex(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        x, y = lab.in_balls(B, J, D, longest=0.9), lab.in_balls(B, J, D, longest=0.9)
        a = lab.uniform(B, J, 1)
        between = lab.round(a * x + (1 - a) * y)
        chord = a[..., 0] * lab.run(code_potential, x) + (1 - a[..., 0]) * lab.run(
            code_potential, y
        )
        square = np.sum((x - y) ** 2, axis=-1)
        sag = a[..., 0] * (1 - a[..., 0]) * square / (2 * LARGEST_SLOPE)
        above = lab.run(code_potential, between) + sag - chord
        steepest = math.sqrt(0.9 / 0.1)  # slope of Φ, where `between` was rounded
        yield lab.below(
            np.max(above, initial=0.0), 16 * steepest * lab.eps, f"16 roundings × {steepest:g}"
        )


@claim(
    "settling",
    "settling",
    "3√3/8 is the largest slope of r²/(1 + r²), at r = 1/√3, and squash's Lipschitz constant",
    function=squash,
    method="difference quotients on a grid and between random points",
)
def largest_slope_of_squash(lab: Lab) -> Checks:
    width = 1.0 / 64.0
    for _ in lab.cases(1):
        r = width * np.arange(256.0)
        lengths = lab.run(squash, np.stack([r, 0 * r], axis=1))[:, 0]
        quotients = np.diff(lengths) / width
        # the third derivative is below 5, and the middle of some interval within half a width
        error = 5 * width**2 * (1 / 24 + 1 / 8) + 4 * lab.eps / width
        off = abs(np.max(quotients) - LARGEST_SLOPE)
        yield lab.below(off, error, "width² f‴/6 and rounding")
        steepest = r[np.argmax(quotients)] + width / 2
        yield lab.below(abs(steepest - 1 / math.sqrt(3)), 2 * width, "two widths")
        first, second = lab.normal(256, D), lab.normal(256, D)
        apart = np.linalg.norm(lab.run(squash, first) - lab.run(squash, second), axis=1)
        bound = LARGEST_SLOPE * np.linalg.norm(first - second, axis=1) + 16 * lab.eps
        yield lab.below(np.max(apart / bound), 1.0, "the slope, 16 roundings")
