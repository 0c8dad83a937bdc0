"""arXiv 1907.11639, as we read it: a routing-weighted product of expert neurons."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional import (
    NeuronGradient,
    NeuronMixing,
    capsule_evidence,
    neuron_energy,
    neuron_free_energy,
    neuron_gradient,
    neuron_hidden_probability,
    neuron_mix,
    neuron_visible_field,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
)
from capsnp.verification.claims._by_hand import all_states, slopes
from capsnp.verification.claims.boltzmann import of_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.stationarity import check_stationarity

I, J, P, D = 2, 2, 2, 2
V = all_states(I * P)
"""All visible states (2^IP, I·P)."""
H = all_states(J * D)
"""All hidden states (2^JD, J·D)."""
CAPSULES_V, CAPSULES_H = V.reshape(-1, I, P), H.reshape(-1, J, D)

SOURCE = "1907.11639"
TOPIC = "neurons"
ROUNDINGS = 8.0 * (I * P + J * D)
"""Of a sum over neurons and a few functions of it, on both ways to a number."""


class Neurons(NamedTuple):
    """Weights, coefficients and biases."""

    W: np.ndarray
    c: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @property
    def largest(self) -> float:
        """What |E| does not exceed, and 1: probabilities magnify a relative change of the
        parameters by it."""
        coupled = np.abs(self.c[..., None, None] * self.W)
        return 1.0 + float(np.sum(coupled) + np.sum(np.abs(self.a)) + np.sum(np.abs(self.b)))


def layers(lab: Lab, n: int) -> Iterator[Neurons]:
    """Gaussian weights and biases, coefficients that sum to 1 over the visible capsules."""
    for _ in lab.cases(n):
        c = lab.coefficients(I, J, axis=0)
        yield Neurons(lab.normal(I, J, D, P, scale=1.5), c, lab.normal(J, D), lab.normal(I, P))


def minus_energy(
    v: np.ndarray, h: np.ndarray, layer: Neurons, visible: str = "bernoulli"
) -> complex:
    """−E of one state (I·P,), (J·D,), one term after the other."""
    W, c, a, b = layer
    total = 0.0
    for i, j, d, p in itertools.product(range(I), range(J), range(D), range(P)):
        total += c[i, j] * h[j * D + d] * W[i, j, d, p] * v[i * P + p]
    for k, (j, d) in enumerate(itertools.product(range(J), range(D))):
        total += a[j, d] * h[k]
    for k, (i, p) in enumerate(itertools.product(range(I), range(P))):
        off = v[k] - b[i, p]
        total += b[i, p] * v[k] if visible == "bernoulli" else -0.5 * off * off
    return total


def weights(layer: Neurons, offset: float = 0.0) -> np.ndarray:
    """e^{−E} of every state, both layers less an offset, (2^IP, 2^JD)."""
    table = [[minus_energy(v - offset, h - offset, layer) for h in H] for v in V]
    return np.exp(np.asarray(table))


@claim(
    SOURCE,
    TOPIC,
    "−E(v, h) = Σ_ij c_ij h_jᵀ W_ij v_i + Σ_j a_jᵀ h_j + Σ_i b_iᵀ v_i, for Gaussian neurons with "
    "−½ Σ_i ‖v_i − b_i‖² in its place",
    function=neuron_energy,
    method="nested loops, for each of the 2^(IP+JD) states",
)
def neuron_energy_by_loops(lab: Lab) -> Checks:
    v = np.repeat(CAPSULES_V, len(H), axis=0)
    h = np.tile(CAPSULES_H, (len(V), 1, 1))
    for layer in layers(lab, 3):
        for visible in ("bernoulli", "gaussian"):
            terms = [-minus_energy(x, s, layer, visible) for x, s in itertools.product(V, H)]
            found = lab.run(neuron_energy, v, h, *layer, visible=visible)
            yield lab.near(found, terms, magnitude=layer.largest, terms=ROUNDINGS)


@claim(
    SOURCE,
    TOPIC,
    "p(v) = Σ_h e^{−E(v, h)} / Z is a product of J·D experts 1 + e^f, with and without offsets",
    function=neuron_free_energy,
    method="enumeration of all 2^(IP+JD) states",
)
def neuron_marginal_by_enumeration(lab: Lab) -> Checks:
    for layer in layers(lab, 3):
        for offset in (0.0, 0.5):
            log_sums = np.log(np.sum(weights(layer, offset), axis=1))
            v = CAPSULES_V - offset
            found = -lab.run(neuron_free_energy, v, *layer, offset=offset)
            yield lab.near(found, log_sums, magnitude=layer.largest + J * D, terms=ROUNDINGS)


@claim(
    SOURCE,
    TOPIC,
    "the evidence of a capsule is the logarithm of the sum of its own 2^D states",
    function=capsule_evidence,
    method="enumeration of the states, each exponent rounded once",
)
def neuron_evidence_by_enumeration(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        field = lab.normal(6, J, D, scale=3.0)
        for offset in (0.0, 0.25, 0.5):
            states = all_states(D) - offset
            expected = [
                [math.log(math.fsum(math.exp(math.fsum(f * s)) for s in states)) for f in fields]
                for fields in field
            ]
            found = lab.run(capsule_evidence, field, offset=offset)
            size = np.sum(np.abs(field), axis=-1) + D
            yield lab.near(found, expected, magnitude=size, terms=16)


@claim(
    SOURCE,
    TOPIC,
    "given c, both layers are independent given the other: P(h = 1|v) = σ(a + Σ_i c_ij W_ij v_i), "
    "P(v = 1|h) = σ(b + Σ_j c_ij W_ijᵀ h_j)",
    function="neuron_hidden_probability, neuron_visible_field",
    method="enumeration of all 2^(IP+JD) states",
)
def neuron_conditionals_by_enumeration(lab: Lab) -> Checks:
    for layer in layers(lab, 3):
        W, c, a, b = layer
        table = weights(layer)
        hidden = table @ H / np.sum(table, axis=1, keepdims=True)
        visible = table.T @ V / np.sum(table, axis=0)[:, None]
        on_h = lab.run(neuron_hidden_probability, CAPSULES_V, W, c, a).reshape(len(V), -1)
        field = lab.run(neuron_visible_field, CAPSULES_H, W, c, b).reshape(len(H), -1)
        yield lab.near(on_h, hidden, terms=ROUNDINGS, condition=layer.largest)
        on_v = 1.0 / (1.0 + np.exp(-field))
        yield lab.near(on_v, visible, terms=ROUNDINGS, condition=layer.largest)


@claim(
    SOURCE,
    TOPIC,
    "Gaussian visible neurons have mean b + Σ_j c_ij W_ijᵀ h_j and variance 1 given h",
    function=neuron_visible_field,
    method="the trapezoidal rule for e^{−E} in one neuron at a time",
)
def neuron_gaussian_conditional_by_quadrature(lab: Lab) -> Checks:
    nodes = np.linspace(-24.0, 24.0, 97)  # steps of ½: as exact as float64 for a Gaussian
    for layer in layers(lab, 2):
        field = lab.run(neuron_visible_field, CAPSULES_H, layer.W, layer.c, layer.b)
        for h, mean in zip(H[::5], field[::5], strict=True):
            for k in range(I * P):
                v = lab.normal(I * P)
                log_density = []
                for x in nodes:
                    v[k] = x
                    log_density.append(minus_energy(v, h, layer, "gaussian"))
                density = np.exp(np.asarray(log_density) - np.max(log_density))
                density /= np.sum(density)
                found = float(mean.ravel()[k])
                size = 8.0 * layer.largest
                yield lab.near(density @ nodes, found, magnitude=size, terms=ROUNDINGS)
                spread = density @ (nodes - found) ** 2
                yield lab.near(spread, 1.0, magnitude=size**2, terms=ROUNDINGS)


# --- what it reduces to -----------------------------------------------------------------------


def flat(W: np.ndarray) -> np.ndarray:
    """Weights of a Boltzmann machine, (I·P, J·D)."""
    return W.transpose(0, 3, 1, 2).reshape(W.shape[0] * P, W.shape[1] * D)


@claim(
    SOURCE,
    TOPIC,
    "with all c_ij = s the model is the restricted Boltzmann machine (1) with weights s·W",
    function="neuron_free_energy, neuron_hidden_probability, neuron_visible_field, rbm_*",
    method="the functions of the Boltzmann machine, on one matrix",
)
def neuron_equal_coefficients_are_a_boltzmann_machine(lab: Lab) -> Checks:
    for W, _, a, b in layers(lab, 4):
        s = float(lab.uniform(1, low=0.3, high=2.0)[0])
        layer = Neurons(W, np.full((I, J), s), a, b)
        w, visible, hidden = s * flat(W), b.ravel(), a.ravel()
        near = partial(lab.near, terms=2 * ROUNDINGS)
        expected = lab.run(rbm_free_energy, V, w, visible, hidden)
        found = lab.run(neuron_free_energy, CAPSULES_V, *layer)
        yield near(found, expected, magnitude=layer.largest + J * D)
        expected = lab.run(rbm_hidden_probability, V, w, hidden)
        found = lab.run(neuron_hidden_probability, CAPSULES_V, W, layer.c, a)
        yield near(found.reshape(len(V), -1), expected, condition=layer.largest)
        expected = lab.run(rbm_visible_probability, H, w, visible)
        field = lab.run(neuron_visible_field, CAPSULES_H, W, layer.c, b).reshape(len(H), -1)
        yield near(1.0 / (1.0 + np.exp(-field)), expected, condition=layer.largest)


@claim(
    SOURCE,
    TOPIC,
    "with one-hot c, each visible capsule with one hidden capsule, p(v) is a product of J separate "
    "Boltzmann machines",
    function="neuron_free_energy, rbm_free_energy",
    method="free energies of J machines with weights W_ijᵀ, added",
)
def neuron_one_hot_coefficients_are_separate_machines(lab: Lab) -> Checks:
    for W, _, a, b in layers(lab, 4):
        for order in itertools.permutations(range(J)):
            c = np.eye(J)[list(order)]  # visible capsule i speaks to the hidden capsule order[i]
            found = lab.run(neuron_free_energy, CAPSULES_V, W, c, a, b)
            expected = np.zeros(len(V))
            for i, j in enumerate(order):
                v = np.ascontiguousarray(CAPSULES_V[:, i])
                machine = np.ascontiguousarray(W[i, j].T), b[i], a[j]
                expected += lab.run(rbm_free_energy, v, *machine)
            size = Neurons(W, c, a, b).largest + J * D
            yield lab.near(found, expected, magnitude=size, terms=ROUNDINGS)


# --- mixing and the gradient ------------------------------------------------------------------


@claim(
    SOURCE,
    TOPIC,
    "with frozen c a Gibbs step, h given v and v given that h, leaves p(v) as it is; with c of "
    "another example it does not",
    function="neuron_hidden_probability, neuron_visible_field",
    method="transition matrix by enumeration, p by sums over all states",
)
def neuron_gibbs_step_keeps_visible_states(lab: Lab) -> Checks:
    for layer in layers(lab, 4):
        other = layer._replace(c=layer.c[::-1] + 0.5)
        log_p = log_p_of(layer)
        found, broken = (
            check_stationarity(gibbs_step(lab, one), log_p, V) for one in (layer, other)
        )
        terms = ROUNDINGS * layer.largest
        yield lab.below(found.distance, terms * lab.eps, f"{terms:.3g} roundings")
        yield lab.true(broken.distance > 1e-3, "with other coefficients p changes")


def log_p_of(layer: Neurons) -> Callable[[np.ndarray], np.ndarray]:
    """From visible states (N, I·P) to log p(v) + log Z, the hidden states added up one by one."""

    def log_p(states: np.ndarray) -> np.ndarray:
        sums = [math.fsum(math.exp(minus_energy(v, h, layer).real) for h in H) for v in states]
        return np.log(sums)

    return log_p


def gibbs_step(lab: Lab, layer: Neurons) -> np.ndarray:
    """Probabilities of going from one visible state to another, by way of every hidden one."""
    W, c, a, b = layer
    on_h = lab.run(neuron_hidden_probability, CAPSULES_V, W, c, a).reshape(len(V), -1)
    field = lab.run(neuron_visible_field, CAPSULES_H, W, c, b).reshape(len(H), -1)
    return of_states(on_h, H) @ of_states(1.0 / (1.0 + np.exp(-field)), V)


@claim(
    SOURCE,
    TOPIC,
    "mixing passes means down and up: ṽ = b + Σ_j c_ij W_ijᵀ h_j (or its logistic function), "
    "h̃ = σ(a + Σ_i c_ij W_ij ṽ_i); capsules that are off say nothing",
    function=neuron_mix,
    method="nested loops, one example at a time with coefficients of its own",
)
def neuron_mixing_by_loops(lab: Lab) -> Checks:
    for W, _, a, b in layers(lab, 3):
        v, c = lab.normal(3, I, P), lab.coefficients(3, I, J, axis=1)
        on = np.asarray([[1, 1], [1, 0], [0, 1]])
        for visible in ("bernoulli", "gaussian"):
            found = lab.run(neuron_mix, v, W, c, a, b, visible=visible, offset=0.5, on=on)
            expected = NeuronMixing(np.zeros((3, J, D)), np.zeros((3, I, P)), np.zeros((3, J, D)))
            for n in range(3):
                hidden_of(v[n], W, c[n], a, on[n], into=expected.h[n])
                for i, p in itertools.product(range(I), range(P)):
                    field = b[i, p]
                    for j, d in itertools.product(range(J), range(D)):
                        field += c[n, i, j] * W[i, j, d, p] * expected.h[n, j, d]
                    mean = field if visible == "gaussian" else 1.0 / (1.0 + math.exp(-field))
                    expected.v_model[n, i, p] = mean
                hidden_of(expected.v_model[n], W, c[n], a, on[n], into=expected.h_model[n])
            size = Neurons(W, np.ones((I, J)), a, b).largest
            for one, other in zip(found, expected, strict=True):
                yield lab.near(one, other, magnitude=1.0, terms=ROUNDINGS, condition=size)


def hidden_of(
    v: np.ndarray, W: np.ndarray, c: np.ndarray, a: np.ndarray, on: np.ndarray, *, into: np.ndarray
) -> None:
    """σ(a + Σ_i c_ij W_ij v_i) − ½ of capsules that are on, one number after the other."""
    for j, d in itertools.product(range(J), range(D)):
        field = a[j, d]
        for i, p in itertools.product(range(I), range(P)):
            field += c[i, j] * W[i, j, d, p] * v[i, p]
        into[j, d] = on[j] * (1.0 / (1.0 + math.exp(-field)) - 0.5)


@claim(
    SOURCE,
    TOPIC,
    "for frozen c the gradient of log p is ⟨c_ij h_j v_iᵀ⟩ of the data less that of the model, "
    "likewise for a and b, centred or not",
    function="neuron_mix, neuron_gradient",
    method="complex steps through log p(v), enumerated over all 2^(IP+JD) states",
)
def neuron_gradient_by_complex_step(lab: Lab) -> Checks:
    for layer in layers(lab, 2):
        for offset in (0.0, 0.5):
            rows = lab.rng.integers(0, len(V), 4).tolist()
            share = np.sum(weights(layer, offset), axis=1)
            share = -share / np.sum(share)
            for row in rows:
                share[row] += 1.0 / len(rows)
            found = signed_gradient(lab, layer, share, offset)
            terms = 4.0 * ROUNDINGS
            for name in ("W", "a", "b"):

                def mean_log_p(at: np.ndarray, name=name, rows=rows, offset=offset) -> complex:
                    table = weights(layer._replace(**{name: at}), offset)  # noqa: B023
                    log_p = np.log(np.sum(table, axis=1)) - np.log(np.sum(table))
                    return np.mean(log_p[rows])

                expected = slopes(mean_log_p, getattr(layer, name))
                actual = getattr(found, name)
                yield lab.near(actual, expected, magnitude=1.0, terms=terms)


def signed_gradient(lab: Lab, layer: Neurons, share: np.ndarray, offset: float) -> NeuronGradient:
    """`neuron_gradient` of every visible state times its share: data count up, the model down."""
    W, c, a, b = layer

    def each(v: Array, W: Array, c: Array, a: Array, b: Array) -> NeuronGradient:
        h = neuron_mix(v, W, c, a, b, offset=offset).h
        return neuron_gradient(v, NeuronMixing(h, v * 0.0, h * 0.0), W, c)

    total = NeuronGradient(np.zeros(W.shape), np.zeros(a.shape), np.zeros(b.shape))
    for v, weight in zip(CAPSULES_V, share, strict=True):
        found = lab.run(each, (v - offset)[None], W, c, a, b)
        for into, part in zip(total, found, strict=True):
            into += weight * part
    return total
