"""Section 2.1 with other units: Bernoulli, categorical, Gaussian and rectified ones."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from capsnp.backend import Array
from capsnp.functional.harmonium import (
    Harmonium,
    cd_gradient,
    energy,
    free_energy,
    hidden_mean,
    turned,
    visible_mean,
)
from capsnp.functional.units import Bernoulli, Categorical, Gaussian, Relu, Units
from capsnp.verification.claims._by_hand import all_states
from capsnp.verification.claims.boltzmann import of_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.stationarity import check_stationarity

I, J = 4, 2
ONE_HOT = np.asarray([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1.0]])
VISIBLE = ("bernoulli", "categorical", "gaussian")
HIDDEN = ("bernoulli", "gaussian", "relu")

ROUNDINGS = 64.0 * (I + J)
"""Of sums over units and functions of them, on both ways to a number."""


class Problem:
    """A machine of some kinds, and its energies and sums one term at a time.

    Attributes
    ----------
    parts : tuple of numpy.ndarray
        w, b, c and log σ².
    v : numpy.ndarray, shape (S, I)
        Some visible states; all where they can be listed.
    """

    def __init__(self, lab: Lab, visible: str, hidden: str) -> None:
        self.visible, self.hidden = visible, hidden
        scale = 0.3 if "gaussian" in (visible, hidden) else 0.7
        self.parts = (
            lab.normal(I, J, scale=scale),
            lab.normal(I, scale=0.5),
            lab.normal(J, scale=0.5),
            lab.normal(I, scale=0.3),
        )
        listed = {"bernoulli": all_states(I), "categorical": ONE_HOT}
        self.v = listed[visible] if visible in listed else lab.normal(5, I)
        self.points, self.counts = np.asarray([0.0, 1.0]), np.ones(2)
        if hidden != "bernoulli":
            nodes, weights = np.polynomial.legendre.leggauss(140)
            low, high = (-15.0 if hidden == "gaussian" else 0.0), 15.0
            self.points = low + (high - low) * (nodes + 1.0) / 2.0
            self.counts = weights * (high - low) / 2.0

    def machine(self, w: Array, b: Array, c: Array, log_variance: Array) -> Harmonium:
        """On the arrays' library."""
        hidden: dict[str, Units] = {
            "bernoulli": Bernoulli(),
            "gaussian": Gaussian(),
            "relu": Relu(),
        }
        visible: dict[str, Units] = {
            "bernoulli": Bernoulli(),
            "categorical": Categorical(2),
            "gaussian": Gaussian(log_variance),
        }
        return Harmonium(w, b, c, visible[self.visible], hidden[self.hidden])

    def energy(self, v: np.ndarray, h: np.ndarray) -> float:
        """E(v, h), term by term."""
        w, b, c, t = (part.tolist() for part in self.parts)
        terms = []
        for i in range(I):
            precision = math.exp(-t[i]) if self.visible == "gaussian" else 1.0
            if self.visible == "gaussian":
                terms.append((v[i] - b[i]) ** 2 * precision / 2)
            else:
                terms.append(-b[i] * v[i])
            terms += [-v[i] * precision * w[i][j] * h[j] for j in range(J)]
        for j in range(J):
            if self.hidden == "gaussian":
                terms.append((h[j] - c[j]) ** 2 / 2)
            else:
                terms.append(-c[j] * h[j] + (h[j] ** 2 / 2 if self.hidden == "relu" else 0.0))
        return math.fsum(terms)

    def sums(self, v: np.ndarray) -> tuple[float, list[float]]:
        """−log Σ_h e^{−E(v, h)} and ⟨h⟩: hidden units add up one by one, all others at 0."""
        zero = np.zeros(J)
        at_zero = self.energy(v, zero)
        log_total, means = -at_zero, []
        for j in range(J):
            alone = np.eye(J)[j]
            weights = self.counts * np.exp(
                [at_zero - self.energy(v, point * alone) for point in self.points]
            )
            log_total += math.log(math.fsum(weights))
            means.append(math.fsum(weights * self.points) / math.fsum(weights))
        return -log_total, means

    @property
    def largest(self) -> float:
        """What an energy of these states does not exceed."""
        sizes = [float(np.sum(np.abs(part))) for part in self.parts]
        return 1.0 + float(np.max(np.abs(self.v))) * math.exp(sizes[3] / I) * sum(sizes[:3]) + 20.0


def problems(lab: Lab, n: int) -> Iterator[Problem]:
    """Every pair of kinds."""
    for _ in lab.cases(n):
        for kinds in itertools.product(VISIBLE, HIDDEN):
            yield Problem(lab, *kinds)


@claim(
    "(1)",
    "2.1, other units",
    "E(v, h) = e(v; b) + e(h; c) − Σ_ij φ(v)_i w_ij φ(h)_j for every pair of kinds of units",
    function=energy,
    method="term by term, summed without rounding",
)
def harmonium_energy_by_terms(lab: Lab) -> Checks:
    for problem in problems(lab, 1):
        h = np.abs(lab.normal(len(problem.v), J))

        def energies(v: Array, h: Array, *parts: Array, problem: Problem = problem) -> Array:
            return energy(problem.machine(*parts), v, h)

        expected = [problem.energy(*states) for states in zip(problem.v, h, strict=True)]
        actual = lab.run(energies, problem.v, h, *problem.parts)
        magnitude = problem.largest * (1.0 + float(np.max(h)))
        yield lab.near(actual, expected, magnitude=magnitude, terms=ROUNDINGS)


@claim(
    "§2.1",
    "2.1, other units",
    "F(v) = −log Σ_h e^{−E(v, h)} and ⟨h⟩ given v, sums or integrals over hidden states",
    function="free_energy, hidden_mean",
    method="sums over the states of each hidden unit, quadrature where they are real",
)
def harmonium_hidden_side_by_sums(lab: Lab) -> Checks:
    for problem in problems(lab, 1):

        def both(v: Array, *parts: Array, problem: Problem = problem) -> tuple[Array, Array]:
            machine = problem.machine(*parts)
            return free_energy(machine, v), hidden_mean(machine, v)

        free, mean = lab.run(both, problem.v, *problem.parts)
        expected = [problem.sums(v) for v in problem.v]
        for actual, exact in (
            (free, [total for total, _ in expected]),
            (mean, [means for _, means in expected]),
        ):
            yield lab.near(actual, exact, magnitude=problem.largest, terms=ROUNDINGS)


@claim(
    "§2.1",
    "2.1, other units",
    "Z is the same summed over v of e^{−F(v)} and over h of e^{−F(h)}; ⟨v⟩ = Σ_h p(h) ⟨v | h⟩",
    function="free_energy, turned, visible_mean, hidden_mean",
    method="enumeration of the states of either layer",
)
def harmonium_layers_agree(lab: Lab) -> Checks:
    for problem in problems(lab, 1):
        if problem.visible == "gaussian" or problem.hidden != "bernoulli":
            continue
        h = all_states(J)

        def sides(v: Array, h: Array, *parts: Array, problem: Problem = problem) -> tuple:
            machine = problem.machine(*parts)
            visible = free_energy(machine, v), free_energy(turned(machine), h)
            return *visible, visible_mean(machine, h), hidden_mean(machine, v)

        free_v, free_h, v_mean, h_mean = lab.run(sides, problem.v, h, *problem.parts)
        p_v, p_h = np.exp(-free_v), np.exp(-free_h)
        condition = problem.largest
        yield lab.near(p_v.sum(), p_h.sum(), terms=ROUNDINGS, condition=condition)
        for states, weights, mean, given in (
            (problem.v, p_v, v_mean, p_h),
            (h, p_h, h_mean, p_v),
        ):
            yield lab.near(
                given @ mean / given.sum(),
                weights @ states / weights.sum(),
                magnitude=1.0,
                terms=ROUNDINGS,
                condition=condition,
            )


@claim(
    "(2)",
    "2.1, other units",
    "Data minus model of −∂E/∂θ, also by log σ², is the gradient of the mean energies' difference",
    function=cd_gradient,
    method="central differences of energies summed term by term",
)
def harmonium_gradient_by_differences(lab: Lab) -> Checks:
    step = 2.0**-12
    for problem in problems(lab, 1):
        n = min(4, len(problem.v))
        v, v_model = problem.v[:n], problem.v[-2:]
        h, h_model = np.abs(lab.normal(n, J)), np.abs(lab.normal(2, J))

        def gradients(*arrays: Array, problem: Problem = problem) -> tuple[Array, ...]:
            machine = problem.machine(*arrays[4:])
            return tuple(g for g in cd_gradient(machine, *arrays[:4]) if g is not None)

        found = lab.run(gradients, v, h, v_model, h_model, *problem.parts)
        for place, actual in enumerate(found):
            part = problem.parts[place]
            expected = np.zeros(part.shape)
            for index in np.ndindex(part.shape):
                before, ends = part[index], []
                for sign in (1.0, -1.0):
                    part[index] = before + sign * step
                    ends.append(
                        np.mean([problem.energy(*s) for s in zip(v_model, h_model, strict=True)])
                        - np.mean([problem.energy(*s) for s in zip(v, h, strict=True)])
                    )
                part[index] = before
                expected[index] = (ends[0] - ends[1]) / (2.0 * step)
            error = (
                step**2 * problem.largest
            )  # of the differences, whose third derivative it bounds
            rounding = ROUNDINGS * lab.eps * problem.largest
            residual = float(np.max(np.abs(actual - expected)))
            yield lab.below(residual, error + rounding, "differences and rounding")


@claim(
    "§2.1",
    "2.1, other units",
    "a Gibbs step leaves p(v) as it is for Bernoulli and for categorical visible units",
    function="hidden_mean, visible_mean, free_energy",
    method="transition matrix by enumeration, p by sums over all states",
)
def harmonium_gibbs_step_keeps_visible_states(lab: Lab) -> Checks:
    h = all_states(J)
    for problem in problems(lab, 1):
        if problem.visible == "gaussian" or problem.hidden != "bernoulli":
            continue

        def means(v: Array, h: Array, *parts: Array, problem: Problem = problem) -> tuple:
            machine = problem.machine(*parts)
            return hidden_mean(machine, v), visible_mean(machine, h)

        on_h, on_v = lab.run(means, problem.v, h, *problem.parts)
        if problem.visible == "bernoulli":
            to_v = of_states(on_v, problem.v)
        else:  # the share of a state is the product over groups of the mean of its number
            chosen = np.where(problem.v == 1.0, on_v[:, None, :], 1.0)
            to_v = np.prod(chosen, axis=2)
        log_p = np.asarray([-problem.sums(v)[0] for v in problem.v])
        kernel = of_states(on_h, h) @ to_v

        def density(_: np.ndarray, log_p: np.ndarray = log_p) -> np.ndarray:
            return log_p

        found = check_stationarity(kernel, density, problem.v)
        yield lab.below(found.distance, ROUNDINGS * problem.largest * lab.eps, "roundings")

        def other(states: np.ndarray, log_p: np.ndarray = log_p) -> np.ndarray:
            return log_p + states[:, 0]

        moved = check_stationarity(kernel, other, problem.v)
        yield lab.true(moved.distance > 1e-3, "another distribution moves")
