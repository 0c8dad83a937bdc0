"""Section 2.1: restricted Boltzmann machines, the products of experts that capsules follow."""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional.rbm import (
    RBMGradient,
    rbm_cd_gradient,
    rbm_energy,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
)
from capsnp.verification.claims._by_hand import all_states, slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

I, J = 4, 3
V = all_states(I)
"""All visible states (2^I, I)."""
H = all_states(J)
"""All hidden states (2^J, J)."""

ROUNDINGS = 4.0 * (I + J)
"""Of a sum over neurons and a few functions of it, on both ways to a number."""


class Machine(NamedTuple):
    """Parameters of a restricted Boltzmann machine."""

    w: np.ndarray
    b: np.ndarray
    c: np.ndarray

    @property
    def largest(self) -> float:
        """What |E| does not exceed, and 1: probabilities magnify a relative change of the
        parameters by it."""
        return 1.0 + sum(float(np.sum(np.abs(part))) for part in self)


def machines(lab: Lab, n: int) -> Iterator[Machine]:
    """Machines with Gaussian parameters."""
    for _ in lab.cases(n):
        yield Machine(lab.normal(I, J), lab.normal(I), lab.normal(J))


def minus_energy(v: list, h: list, w: list, b: list, c: list) -> complex:
    """(1), one term after the other."""
    total = 0.0
    for i in range(I):
        total += b[i] * v[i]
        for j in range(J):
            total += w[i][j] * v[i] * h[j]
    for j in range(J):
        total += c[j] * h[j]
    return total


def weights(machine: Machine) -> np.ndarray:
    """e^{−E(v, h)} of every state, (2^I, 2^J); complex for complex parameters."""
    lists = [part.tolist() for part in machine]
    table = [[minus_energy(v, h, *lists) for h in H.tolist()] for v in V.tolist()]
    return np.exp(np.array(table))


@claim(
    "(1)",
    "2.1",
    "−E(v, h) = Σ_ij w_ij v_i h_j + Σ_i b_i v_i + Σ_j c_j h_j",
    function=rbm_energy,
    method="nested loops, for each of the 2^(I+J) states",
)
def rbm_energy_by_loops(lab: Lab) -> Checks:
    v, h = np.repeat(V, len(H), axis=0), np.tile(H, (len(V), 1))
    for machine in machines(lab, 5):
        lists = [part.tolist() for part in machine]
        sizes = [np.abs(part).tolist() for part in machine]
        states = list(zip(v.tolist(), h.tolist(), strict=True))
        yield lab.near(
            lab.run(rbm_energy, v, h, *machine),
            [-minus_energy(*state, *lists) for state in states],
            magnitude=[minus_energy(*state, *sizes) for state in states],
            terms=I * J + I + J,
        )


@claim(
    "§2.1",
    "2.1",
    "p(v) = Σ_h e^{−E(v, h)} / Z = e^{−F(v)} / Z with the free energy F of v",
    function=rbm_free_energy,
    method="enumeration of all 2^(I+J) states",
)
def rbm_marginal_by_enumeration(lab: Lab) -> Checks:
    for machine in machines(lab, 5):
        table = weights(machine)
        log_p = np.log(np.sum(table, axis=1) / np.sum(table))
        actual = -lab.run(rbm_free_energy, V, *machine) - math.log(np.sum(table))
        yield lab.near(actual, log_p, magnitude=machine.largest + J, terms=ROUNDINGS)


# --- conditionals -----------------------------------------------------------------------------


def hidden_given_visible(machine: Machine) -> np.ndarray:
    """p(h_j = 1 | v) (2^I, J): the states with h_j = 1 among those with v."""
    table = weights(machine)
    return table @ H / np.sum(table, axis=1, keepdims=True)


def visible_given_hidden(machine: Machine) -> np.ndarray:
    """p(v_i = 1 | h) (2^J, I)."""
    table = weights(machine).T
    return table @ V / np.sum(table, axis=1, keepdims=True)


def hidden_checks(lab: Lab, printed: Callable[[Machine, np.ndarray, int], float]) -> Checks:
    """p(h_j = 1 | v) by enumeration, and from every v and j what the text prints for it."""
    for machine in machines(lab, 5):
        expected = hidden_given_visible(machine)
        actual = lab.run(rbm_hidden_probability, V, machine.w, machine.c)
        yield lab.near(actual, expected, terms=ROUNDINGS, condition=machine.largest)
        as_printed = [[printed(machine, v, j) for j in range(J)] for v in V]
        yield lab.printed_fails(as_printed, expected)


@claim(
    "§2.1",
    "2.1",
    "p(h_j = 1 | v) sums w_ij v_i over i; printed is w_ij v_j",
    function=rbm_hidden_probability,
    method="enumeration of all 2^(I+J) states",
    kind="corrected",
)
def rbm_hidden_probability_index(lab: Lab) -> Checks:
    def printed(machine: Machine, v: np.ndarray, j: int) -> float:
        total = sum(machine.w[i, j] * v[j] for i in range(I))
        return 1 / (1 + math.exp(-(total + machine.c[j])))  # the bias as it should be

    yield from hidden_checks(lab, printed)


@claim(
    "§2.1",
    "2.1",
    "p(h_j = 1 | v) = 1/(1 + exp(−(Σ_i w_ij v_i + c_j))); printed is exp(−Σ_i … + c_j)",
    function=rbm_hidden_probability,
    method="enumeration of all 2^(I+J) states",
    kind="corrected",
)
def rbm_hidden_probability_bias(lab: Lab) -> Checks:
    def printed(machine: Machine, v: np.ndarray, j: int) -> float:
        total = sum(machine.w[i, j] * v[i] for i in range(I))  # the index as it should be
        return 1 / (1 + math.exp(-total + machine.c[j]))

    yield from hidden_checks(lab, printed)


@claim(
    "§2.1",
    "2.1",
    "p(v_i = 1 | h) = 1/(1 + exp(−(Σ_j w_ij h_j + b_i))); printed is exp(−Σ_j … + b_i)",
    function=rbm_visible_probability,
    method="enumeration of all 2^(I+J) states",
    kind="corrected",
)
def rbm_visible_probability_bias(lab: Lab) -> Checks:
    for machine in machines(lab, 5):
        w, b, _ = machine
        expected = visible_given_hidden(machine)
        actual = lab.run(rbm_visible_probability, H, w, b)
        yield lab.near(actual, expected, terms=ROUNDINGS, condition=machine.largest)
        printed = np.zeros_like(expected)
        for n, i in np.ndindex(printed.shape):
            total = sum(w[i, j] * H[n, j] for j in range(J))
            printed[n, i] = 1 / (1 + math.exp(-total + b[i]))
        yield lab.printed_fails(printed, expected)


@claim(
    "§2.1",
    "2.1",
    "Sampling h given v, or v given h, leaves p(v, h) unchanged: Gibbs sampling",
    function="rbm_hidden_probability, rbm_visible_probability",
    method="the transition matrix of all 2^(I+J) states times the enumerated p(v, h)",
)
def gibbs_sampling_is_stationary(lab: Lab) -> Checks:
    for machine in machines(lab, 5):
        w, b, c = machine
        table = weights(machine)
        p = table / np.sum(table)
        h_given_v = of_states(lab.run(rbm_hidden_probability, V, w, c), H)
        v_given_h = of_states(lab.run(rbm_visible_probability, H, w, b), V)
        sample_h, sample_v = np.zeros((2, *p.shape, *p.shape))
        for v in range(len(V)):
            sample_h[v, :, v, :] = h_given_v[v]
        for h in range(len(H)):
            sample_v[:, h, :, h] = v_given_h[h]
        for kernel in (sample_h, sample_v):
            after = p.ravel() @ kernel.reshape(p.size, p.size)
            yield lab.near(after, p.ravel(), terms=ROUNDINGS, condition=machine.largest)


def of_states(on: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Probabilities of states (S, K) of independent neurons that are on with (N, K): (N, S)."""
    each = np.where(states == 1.0, on[:, None, :], 1.0 - on[:, None, :])
    return np.prod(each, axis=2)


# --- the gradient -----------------------------------------------------------------------------

RATIOS = (
    [["2", "1/2", "1"], ["1", "1", "2"], ["1", "2", "1/2"], ["1/2", "1", "1"]],
    ["1", "1/2", "1", "1"],
    ["1", "1", "2"],
)
"""e^w, e^b and e^c of a machine whose p(v) are fractions with a denominator of 606."""


class Fractional(NamedTuple):
    """The machine of `RATIOS`, data for it, and the gradient (2) of their log-likelihood."""

    machine: Machine
    rows: list[int]
    """Of the visible states that are the data."""
    table: np.ndarray
    """e^{−E(v, h)} of every state as a fraction, (2^I, 2^J)."""
    gradient: RBMGradient
    roundings: float
    """Of a mean over the batch, and of what is averaged."""


def fractional(lab: Lab, n: int) -> Iterator[Fractional]:
    """Random data, and for the model term a batch that holds each v exactly p(v) of the time."""
    fractions = [np.vectorize(Fraction, otypes=[object])(ratios) for ratios in RATIOS]
    machine = Machine(*(lab.round(np.log(part.astype(float))) for part in fractions))
    table = fractional_weights(*fractions)
    p = np.sum(table, axis=1) / np.sum(table)
    size = math.lcm(*(share.denominator for share in p))
    v_model = np.repeat(V, [int(share * size) for share in p], axis=0)

    def gradient(v_data: Array, v_model: Array, w: Array, c: Array) -> RBMGradient:
        h_data, h_model = (rbm_hidden_probability(v, w, c) for v in (v_data, v_model))
        return rbm_cd_gradient(v_data, h_data, v_model, h_model)

    for _ in lab.cases(n):
        rows = lab.rng.integers(0, len(V), 5).tolist()
        found = lab.run(gradient, V[rows], v_model, machine.w, machine.c)
        yield Fractional(machine, rows, table, found, size + ROUNDINGS * machine.largest)


def fractional_weights(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """e^{−E(v, h)} of every state, multiplied out of e^w, e^b and e^c."""
    table = np.full((len(V), len(H)), Fraction(1))
    for (m, v), (n, h) in itertools.product(enumerate(V), enumerate(H)):
        for i, j in itertools.product(range(I), range(J)):
            if v[i] and h[j]:
                table[m, n] *= w[i, j]
        for ratio in (*b[v == 1.0], *c[h == 1.0]):
            table[m, n] *= ratio
    return table


@claim(
    "(2)",
    "2.1",
    "∂ log p(v)/∂w_ij = p(h_j = 1 | v) v_i − Σ_v p(v) p(h_j = 1 | v) v_i, likewise for b and c",
    function="rbm_hidden_probability, rbm_cd_gradient",
    method="complex steps through log p(v), enumerated over all 2^(I+J) states",
)
def rbm_gradient_by_complex_step(lab: Lab) -> Checks:
    for machine, rows, _, gradient, roundings in fractional(lab, 3):
        for name, part in machine._asdict().items():

            def mean_log_p(at: np.ndarray, name=name, machine=machine, rows=rows) -> complex:
                table = weights(machine._replace(**{name: at}))
                log_p = np.log(np.sum(table, axis=1)) - np.log(np.sum(table))
                return np.mean(log_p[rows])

            actual = getattr(gradient, name)
            yield lab.near(actual, slopes(mean_log_p, part), magnitude=1.0, terms=roundings)


@claim(
    "(2)",
    "2.1",
    "The data term is ⟨v_i h_j⟩ with v from the data, the model term ⟨v_i h_j⟩ under p(v, h)",
    function="rbm_hidden_probability, rbm_cd_gradient",
    method="exact fractions, summed over all 2^(I+J) states, with weights that are logarithms",
)
def rbm_terms_in_fractions(lab: Lab) -> Checks:
    for _, rows, table, gradient, roundings in fractional(lab, 3):
        among = np.array([table[row] / np.sum(table[row]) for row in rows]) / len(rows)
        for statistics, v, p in (
            (gradient.data, V[rows], among),
            (gradient.model, V, table / np.sum(table)),
        ):
            expected = np.zeros((I, J))
            for i, j in np.ndindex(I, J):
                expected[i, j] = np.sum(p[v[:, i] == 1.0][:, H[:, j] == 1.0])
            on_v = [np.sum(p[v[:, i] == 1.0]) for i in range(I)]
            on_h = [np.sum(p[:, H[:, j] == 1.0]) for j in range(J)]
            for actual, exact in zip(statistics, (expected, on_v, on_h), strict=True):
                yield lab.near(actual, exact, magnitude=1.0, terms=roundings)


@claim(
    "(2)",
    "2.1",
    "After one step of a chain: Δw_ij = ⟨v_i h_j⟩_data − ⟨v_i h_j⟩_model, contrastive divergence",
    function=rbm_cd_gradient,
    method="nested loops over examples and neurons",
)
def rbm_cd_gradient_by_loops(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        v_data, h_data = lab.bits(5, I), lab.uniform(5, J)
        v_model, h_model = lab.uniform(7, I), lab.uniform(7, J)
        gradient = lab.run(rbm_cd_gradient, v_data, h_data, v_model, h_model)
        w, b, c = np.zeros((I, J)), np.zeros(I), np.zeros(J)
        for v, h, sign in ((v_data, h_data, 1.0), (v_model, h_model, -1.0)):
            for n in range(len(v)):
                for i in range(I):
                    b[i] += sign * v[n, i] / len(v)
                    for j in range(J):
                        w[i, j] += sign * v[n, i] * h[n, j] / len(v)
                for j in range(J):
                    c[j] += sign * h[n, j] / len(v)
        for actual, expected in zip(gradient[:3], (w, b, c), strict=True):
            yield lab.near(actual, expected, magnitude=1.0, terms=16)
