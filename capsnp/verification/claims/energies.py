"""Section 3.1: energy, its probabilities and what is summed out."""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional.activations import sigmoid
from capsnp.functional.energy import (
    energy,
    firing_probability,
    free_energy,
    joint_log_probability,
    log_sum_over_states,
)
from capsnp.functional.routing import forward
from capsnp.functional.squash import length, squash
from capsnp.verification.claims._by_hand import Layer, all_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, I, J, D, P = 3, 2, 4, 5, 6
STATES = all_states(J)
"""All states (2^J, J) of the output capsules."""

ROUNDINGS = 2.0 * (I * P + D + J)
"""Of ‖z_j‖², and of what is made of it."""


def models(lab: Lab, n: int, *, zero: bool = False) -> Iterator[Layer]:
    """Squashed capsules in a model with each ‖z_j‖ about 1, or with z_0 = 0 in half of the cases.

    Coefficients are shared and each example's own by turns.
    """
    for case in lab.cases(n):
        shape = (B, I, J) if case % 2 else (I, J)
        x, W = lab.in_balls(B, I, P), lab.normal(I, J, D, P, scale=1.5)
        if zero and case // 2 % 2 == 0:
            W[:, 0] = 0.0
        yield Layer(x, W, lab.coefficients(*shape, axis=-2))


class Squares(NamedTuple):
    """‖z_j‖² of every example and output capsule, (B, J)."""

    values: np.ndarray
    spread: np.ndarray
    """How many times a relative rounding of what z_j adds up is one of ‖z_j‖²."""

    @property
    def logs(self) -> np.ndarray:
        """|log ‖z_j‖²| with its spread, which rounding errors of logarithms are relative to."""
        logs = np.log(np.where(self.values == 0.0, 1.0, self.values))
        return np.abs(logs) + self.spread


def squares(model: Layer) -> Squares:
    """‖Σ_i c_ij W_ij x_i‖² in nested loops."""
    x, W = model.x, model.W
    c = np.broadcast_to(model.c, (B, I, J))
    values, spread = np.zeros((2, B, J))
    for n, j in np.ndindex(B, J):
        size = 0.0
        for d in range(D):
            terms = [c[n, i, j] * W[i, j, d, p] * x[n, i, p] for i in range(I) for p in range(P)]
            values[n, j] += math.fsum(terms) ** 2
            size += math.fsum(map(abs, terms)) ** 2
        spread[n, j] = 2.0 * math.sqrt(size / values[n, j]) if values[n, j] > 0.0 else 0.0
    return Squares(values, spread)


def in_every_state(model: Layer) -> tuple[np.ndarray, ...]:
    """Arguments of `energy` for every example in every state, with leading axes (B, 2^J)."""
    x = np.repeat(model.x[:, None], len(STATES), axis=1)
    c = model.c if model.c.ndim == 2 else np.repeat(model.c[:, None], len(STATES), axis=1)
    return x, np.stack([STATES] * B), model.W, c


def minus_energy(values: np.ndarray) -> np.ndarray:
    """Σ_j s_j log ‖z_j‖² of every state (B, 2^J), from ‖z_j‖² (B, J) or any other numbers."""
    total = np.zeros((B, len(STATES)))
    for (n, s), j in itertools.product(np.ndindex(total.shape), range(J)):
        if STATES[s, j]:
            total[n, s] += math.log(values[n, j]) if values[n, j] > 0.0 else -math.inf
    return total


def products(values: np.ndarray) -> np.ndarray:
    """e^{−E} = Π_j ‖z_j‖^{2 s_j} of every state (B, 2^J), multiplied out."""
    weights = np.ones((B, len(STATES)))
    for (n, s), j in itertools.product(np.ndindex(weights.shape), range(J)):
        if STATES[s, j]:
            weights[n, s] *= values[n, j]
    return weights


def on_of_states(weights: np.ndarray) -> np.ndarray:
    """P(s_j = 1 | x) (B, J): the states with s_j = 1 among all (B, 2^J)."""
    return weights @ STATES / np.sum(weights, axis=1, keepdims=True)


# --- the energy -------------------------------------------------------------------------------


@claim(
    "§3.1",
    "3.1",
    "‖z‖²/(1 + ‖z‖²) = σ(log ‖z‖²): the squashed length is a sigmoid",
    function="firing_probability, sigmoid",
    method="exact fractions of the stored numbers, and the exponential function",
)
def squashed_length_is_a_sigmoid(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        z = lab.round(10.0 ** lab.rng.uniform(-15, 15, (J, 1)) * lab.normal(J, D))
        exact = [sum(Fraction(number) ** 2 for number in vector) for vector in z]
        expected = np.array([float(square / (1 + square)) for square in exact])
        log_square = lab.round([math.log(square) for square in exact])
        # a relative change of a logarithm a changes σ(a) by up to |a| times as much
        magnitude = expected * (1.0 + np.abs(log_square))
        yield lab.near(lab.run(sigmoid, log_square), expected, magnitude=magnitude)
        by_exponential = [1.0 / (1.0 + math.exp(-a)) for a in log_square]
        actual = lab.run(firing_probability, z)
        yield lab.near(actual, by_exponential, magnitude=magnitude, terms=16 + D)


@claim(
    "(7)",
    "3.1",
    "E(x, s) = −Σ_j s_j log ‖Σ_i c_ij W_ij x_i‖², s_j = 1 for on and 0 for off",
    function=energy,
    method="nested loops, for each of the 2^J states",
)
def energy_by_loops(lab: Lab) -> Checks:
    for model in models(lab, 4):
        by_loops = squares(model)
        yield lab.near(
            lab.run(energy, *in_every_state(model)),
            -minus_energy(by_loops.values),
            magnitude=by_loops.logs @ STATES.T,
            terms=ROUNDINGS,
        )


@claim(
    "(7)",
    "3.1",
    "A capsule that is off adds 0 to the energy, also with z_j = 0 (0 · log 0 = 0); one that is "
    "on with z_j = 0 makes it +∞, and P(x, s) = 0",
    function="energy, joint_log_probability",
    method="nested loops over the other capsules",
)
def energy_of_zero(lab: Lab) -> Checks:
    for model in models(lab, 2):
        model.W[:, 0] = 0.0
        by_loops = squares(model)
        states = in_every_state(model)
        actual, log_p = lab.run(energy, *states), lab.run(joint_log_probability, *states)
        off = STATES[:, 0] == 0.0
        yield lab.near(
            actual[:, off],
            -minus_energy(by_loops.values)[:, off],
            magnitude=(by_loops.logs @ STATES.T)[:, off],
            terms=ROUNDINGS,
        )
        yield lab.true(actual[:, ~off] == math.inf, "+∞ with z_j = 0 on")
        yield lab.true(log_p[:, ~off] == -math.inf, "probability 0")
        nothing = model._replace(x=np.zeros_like(model.x))
        actual = lab.run(energy, *in_every_state(nothing))
        yield lab.true(actual[:, 0] == 0.0, "0 with all capsules off")
        yield lab.true(actual[:, 1:] == math.inf, "+∞ with any on, of x = 0")
        yield lab.true(lab.run(free_energy, *nothing) == 0.0, "log(1 + 0) = 0")


@claim(
    "(7)",
    "3.1",
    "The energy sees lengths only: it is the same for R_j W_ij with any rotations R_j",
    function=energy,
    method="random rotations of the predictions of each output capsule",
)
def energy_does_not_see_rotations(lab: Lab) -> Checks:
    for model in models(lab, 2):
        W = model.W.copy()
        for j in range(J):
            R, _ = np.linalg.qr(lab.rng.standard_normal((D, D)))
            W[:, j] = np.matmul(R, W[:, j])
        turned = model._replace(W=lab.round(W))
        yield lab.near(
            lab.run(energy, *in_every_state(turned)),
            lab.run(energy, *in_every_state(model)),
            magnitude=squares(model).logs @ STATES.T,
            terms=2 * ROUNDINGS,
        )


# --- the joint probability --------------------------------------------------------------------


class Disc(NamedTuple):
    """A model of two output capsules over one input capsule in the unit disc."""

    W: np.ndarray
    """(1, 2, 3, 2)."""
    c: np.ndarray
    """(1, 2)."""

    def means(self, radius: float = 1.0) -> list[float]:
        """Means over a disc of e^{−E(x, s)}, for s = 00, 01, 10, 11.

        ‖z_j‖² = xᵀ M_j x has the mean r² tr M_j / 4, since E[x_a x_b] = r² δ_ab / 4, and
        E[x_a x_b x_c x_d] = r⁴ (δ_ab δ_cd + δ_ac δ_bd + δ_ad δ_bc) / 24.
        """
        A = [float(c) * W for c, W in zip(self.c[0], self.W[0], strict=True)]
        first, second = (a.T @ a for a in A)
        both = np.trace(first) * np.trace(second) + 2.0 * np.trace(first @ second)
        squares = [np.trace(M) * radius**2 / 4.0 for M in (second, first)]
        return [1.0, *map(float, squares), float(both) * radius**4 / 24.0]

    @property
    def magnitude(self) -> float:
        """What Π_j (1 + ‖z_j‖²) does not exceed in the unit disc, also with all signs equal."""
        lengths = [c * np.linalg.norm(W) for c, W in zip(self.c[0], self.W[0], strict=True)]
        return float(np.prod([1.0 + length**2 for length in lengths]))


PAIRS = all_states(2)


def discs(lab: Lab, n: int) -> Iterator[Disc]:
    for _ in lab.cases(n):
        yield Disc(lab.normal(1, 2, 3, 2), lab.uniform(1, 2, low=0.5, high=1.5))


def disc_rule() -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 1, 2) and weights (N,) of a mean over the unit disc.

    Exact for polynomials of degree 5: Gauss and Legendre's rule for the squared radius, which is
    uniform, and equal angles.
    """
    roots, shares = np.polynomial.legendre.leggauss(3)
    angles = 2.0 * np.pi * np.arange(7) / 7
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.sqrt((1.0 + roots) / 2.0)[:, None, None] * circle
    return points.reshape(-1, 1, 2), np.repeat(shares / 2.0 / 7, 7)


@claim(
    "(8)",
    "3.1",
    "log P(x, s) = −E(x, s) − log Z: differences of log P are differences of −E",
    function=joint_log_probability,
    method="nested loops, differences between all pairs of states",
)
def joint_by_loops(lab: Lab) -> Checks:
    for model in models(lab, 4):
        by_loops = squares(model)
        actual = lab.run(joint_log_probability, *in_every_state(model))
        expected, size = minus_energy(by_loops.values), by_loops.logs @ STATES.T
        yield lab.near(
            actual[:, :, None] - actual[:, None, :],
            expected[:, :, None] - expected[:, None, :],
            magnitude=size[:, :, None] + size[:, None, :],
            terms=ROUNDINGS,
        )


@claim(
    "(8)",
    "3.1",
    "With Z = Σ_s ∫ e^{−E(x, s)} dx over the unit ball P(x, s) is a probability: it sums and "
    "integrates to 1",
    function=joint_log_probability,
    method="moments of the disc against an exact rule of integration, for each state",
)
def joint_is_normalised(lab: Lab) -> Checks:
    points, weights = disc_rule()
    x = np.repeat(lab.round(points)[:, None], len(PAIRS), axis=1)
    on = np.stack([PAIRS] * len(points))
    for disc in discs(lab, 5):
        each = weights @ np.exp(lab.run(joint_log_probability, x, on, *disc))
        Z, size = math.fsum(disc.means()), disc.magnitude
        # an exponent carries the rounding errors of a logarithm up to that of the magnitude
        terms = 2 * ROUNDINGS * (1.0 + math.log(size))
        yield lab.near(each / Z, np.array(disc.means()) / Z, magnitude=size / Z, terms=terms)
        yield lab.near(np.sum(each) / Z, 1.0, magnitude=size / Z, terms=terms)


@claim(
    "(9)",
    "3.1",
    "P(x, s) = (1/Z) Π_j ‖z_j‖^{2 s_j}: a product of experts, one for each output capsule",
    function=joint_log_probability,
    method="plain multiplication, for each of the 2^J states",
)
def joint_is_a_product(lab: Lab) -> Checks:
    for model in models(lab, 4):
        by_loops = squares(model)
        expected = products(by_loops.values)
        yield lab.near(
            np.exp(lab.run(joint_log_probability, *in_every_state(model))),
            expected,
            magnitude=expected * (1.0 + by_loops.logs @ STATES.T),
            terms=ROUNDINGS,
        )


# --- the hidden states summed out -------------------------------------------------------------


@claim(
    "(10)",
    "3.1",
    "P(x) = Σ_s P(x, s) = (1/Z) Π_j (1 + ‖z_j‖²) = e^{−F(x)}/Z",
    function=free_energy,
    method="enumeration of all 2^J states",
)
def free_energy_by_enumeration(lab: Lab) -> Checks:
    for model in models(lab, 4):
        by_loops = squares(model)
        log_sums = [math.log(math.fsum(row)) for row in products(by_loops.values)]
        yield lab.near(
            -lab.run(free_energy, *model),
            log_sums,
            magnitude=log_sums + np.sum(by_loops.spread, axis=1),
            terms=ROUNDINGS,
        )


@claim(
    "(10)",
    "3.1",
    "The sum of (8) over all 2^J hidden states, one by one, is Π_j (1 + ‖z_j‖²)",
    function=log_sum_over_states,
    method="the product of J factors",
)
def sum_over_states_by_product(lab: Lab) -> Checks:
    for model in models(lab, 4, zero=True):
        by_loops = squares(model)
        factors = [math.prod(1.0 + square for square in row) for row in by_loops.values]
        yield lab.near(
            lab.run(log_sum_over_states, *model),
            np.log(factors),
            magnitude=1.0 + np.sum(by_loops.logs, axis=1),
            terms=ROUNDINGS,
        )


@claim(
    "(10)",
    "3.1",
    "P(x) is a density on unit balls, where squashed capsules live; printed is no base measure, "
    "and on all of space Z is infinite: balls of radius R hold a mass that grows as R^(P + 2J)",
    function=free_energy,
    method="moments of the disc against an exact rule of integration, for growing radii",
    kind="corrected",
)
def density_needs_the_unit_balls(lab: Lab) -> Checks:
    points, weights = disc_rule()
    for disc in discs(lab, 5):
        masses = []
        for radius in (1.0, 10.0, 100.0, 200.0):
            x = lab.round(radius * points)
            mean = weights @ np.exp(-lab.run(free_energy, x, *disc))
            masses.append(mean * radius**2)
            size = disc.magnitude * radius**4
            terms = 2 * ROUNDINGS * (1.0 + math.log(size))
            yield lab.near(mean, math.fsum(disc.means(radius)), magnitude=size, terms=terms)
        lower = 2.0 * sum(disc.means(100.0)[:3]) + terms * lab.eps * size
        rate = math.log2(masses[3] / masses[2])
        tolerance = lower / disc.means(100.0)[3]
        yield lab.below(abs(rate - (2 + 2 * 2)), tolerance, "lower powers of R, and rounding")
        yield lab.printed_fails(masses[2], masses[3], at_least=0.9)


# --- conditionals -----------------------------------------------------------------------------


@claim(
    "(11)",
    "3.1",
    "P(s | x) = Π_j P(s_j | x): given x the output capsules are independent",
    function="joint_log_probability, log_sum_over_states",
    method="enumeration of all 2^J states, and the product of the marginals that it gives",
)
def states_are_independent(lab: Lab) -> Checks:
    for model in models(lab, 4):
        by_loops = squares(model)
        on = on_of_states(products(by_loops.values))
        expected = np.ones((B, len(STATES)))
        for (n, s), j in itertools.product(np.ndindex(expected.shape), range(J)):
            expected[n, s] *= on[n, j] if STATES[s, j] else 1.0 - on[n, j]
        log_joint = lab.run(joint_log_probability, *in_every_state(model))
        log_sum = lab.run(log_sum_over_states, *model)
        yield lab.near(
            np.exp(log_joint - log_sum[:, None]),
            expected,
            magnitude=2.0 * expected * (1.0 + np.sum(by_loops.logs, axis=1, keepdims=True)),
            terms=ROUNDINGS,
        )


def firing(x: Array, W: Array, c: Array) -> Array:
    return firing_probability(forward(x, W, c))


def squashed_length(x: Array, W: Array, c: Array) -> Array:
    return length(squash(forward(x, W, c)))


@claim(
    "(12)",
    "3.1",
    "P(s_j = 1 | x) = ‖z_j‖²/(1 + ‖z_j‖²)",
    function=firing_probability,
    method="the states with s_j = 1 among all 2^J, enumerated in nested loops",
)
def firing_by_enumeration(lab: Lab) -> Checks:
    for model in models(lab, 4, zero=True):
        by_loops = squares(model)
        expected = on_of_states(products(by_loops.values))
        magnitude = expected * (1.0 + by_loops.spread)
        yield lab.near(lab.run(firing, *model), expected, magnitude=magnitude, terms=ROUNDINGS)


@claim(
    "(13)",
    "3.1",
    "‖squash(z_j)‖ = P(s_j = 1 | x): the length of a capsule is its probability under the energy",
    function="squash, length, energy",
    method="the energies of all 2^J states",
)
def length_is_probability_under_energy(lab: Lab) -> Checks:
    for model in models(lab, 4, zero=True):
        on = on_of_states(np.exp(-lab.run(energy, *in_every_state(model))))
        size = 1.0 + np.sum(squares(model).logs, axis=1, keepdims=True)
        actual = lab.run(squashed_length, *model)
        yield lab.near(actual, on, magnitude=2.0 * size * on, terms=ROUNDINGS)
