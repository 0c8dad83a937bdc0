"""Beyond the paper: machines on machines, by the enumeration of all hidden states."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from capsnp.backend import Array
from capsnp.functional.belief import (
    DirectedLayer,
    log_down,
    log_up,
    log_weight,
    sleep_gradient,
    untied,
    wake_gradient,
)
from capsnp.functional.harmonium import Harmonium, turned
from capsnp.verification.claims._by_hand import all_states, slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

I, J, K = 4, 3, 2
V, H, G = all_states(I), all_states(J), all_states(K)
ROUNDINGS = 64.0 * (I + J + K)
"""Of sums over units and functions of them, on both ways to a number."""


class Network:
    """A directed layer below a machine, and its probabilities as products of numbers.

    Attributes
    ----------
    parts : tuple of numpy.ndarray
        w, b, r, c of the layer; w, b, c of the machine.
    largest : float
        What no exponent exceeds.
    """

    def __init__(self, lab: Lab) -> None:
        shapes = ((I, J), (I,), (I, J), (J,), (J, K), (J,), (K,))
        self.parts = tuple(lab.normal(*shape, scale=0.8) for shape in shapes)
        self.largest = 1.0 + sum(float(np.sum(np.abs(part))) for part in self.parts)

    @property
    def prior(self) -> list[float]:
        """Σ over the machine's hidden states of e^{−E(h, g)}, for each h; they sum to Z."""
        W, B, C = self.parts[4:]
        return [
            math.fsum(math.exp(h @ W @ g + B @ h + C @ g) for g in G)  # one state at a time
            for h in H
        ]

    def down(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """p(v | h), (V, H), of real or complex weights."""
        return np.asarray([[_chance(v, b + w @ h) for h in H] for v in V])

    def up(self, r: np.ndarray, c: np.ndarray) -> np.ndarray:
        """q(h | v), (V, H)."""
        return np.asarray([[_chance(h, c + v @ r) for h in H] for v in V])


def _chance(states: np.ndarray, fields: np.ndarray) -> complex:
    """Of states of independent neurons, as the product of e^{s x}/(1 + e^x)."""
    return np.prod([np.exp(s * x) / (1.0 + np.exp(x)) for s, x in zip(states, fields, strict=True)])


def networks(lab: Lab, n: int) -> Iterator[Network]:
    for _ in lab.cases(n):
        yield Network(lab)


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every v with every h, two arrays of rows."""
    return np.repeat(V, len(H), axis=0), np.tile(H, (len(V), 1))


@claim(
    "deep belief",
    "deep belief",
    "log p(v | h) and log q(h | v) are those of independent units in fields b + wh and c + rᵀv",
    function="log_down, log_up",
    method="products of chances, one unit at a time",
)
def directed_probabilities_by_products(lab: Lab) -> Checks:
    for network in networks(lab, 3):

        def both(v: Array, h: Array, *parts: Array) -> tuple[Array, Array]:
            layer = DirectedLayer(*parts)
            return log_down(layer, v, h), log_up(layer, v, h)

        found = lab.run(both, *pairs(), *network.parts[:4])
        w, b, r, c = network.parts[:4]
        for actual, expected in zip(found, (network.down(w, b), network.up(r, c)), strict=True):
            yield lab.near(
                actual, np.log(expected).ravel(), magnitude=network.largest, terms=ROUNDINGS
            )


@claim(
    "deep belief",
    "deep belief",
    "the mean of log p(v, h)/q(h | v) is log p(v) less the divergence of q(h | v) from p(h | v)",
    function=log_weight,
    method="enumeration of all states of every layer",
)
def bound_by_enumeration(lab: Lab) -> Checks:
    for network in networks(lab, 3):

        def weights(v: Array, h: Array, *parts: Array) -> Array:
            return log_weight([DirectedLayer(*parts[:4])], Harmonium(*parts[4:]), [v, h])

        found = lab.run(weights, *pairs(), *network.parts).reshape(len(V), len(H))
        w, b, r, c = network.parts[:4]
        prior = np.asarray(network.prior)
        joint, q = network.down(w, b) * prior / math.fsum(prior), network.up(r, c)
        p = joint.sum(axis=1)
        divergence = np.sum(q * np.log(q * p[:, None] / joint), axis=1)
        bound = np.sum(q * found, axis=1) - math.log(math.fsum(prior))
        yield lab.near(bound, np.log(p) - divergence, magnitude=network.largest, terms=ROUNDINGS)
        yield lab.true(np.all(bound < np.log(p)), "a bound")


@claim(
    "deep belief",
    "deep belief",
    "a machine below its own transpose has the machine's p(v), and the bound is tight",
    function="log_weight, untied, turned",
    method="enumeration of the machine's hidden states",
)
def transposed_weights_keep_the_likelihood(lab: Lab) -> Checks:
    for network in networks(lab, 3):
        w, b, _, c = network.parts[:4]

        def weights(v: Array, h: Array, *parts: Array) -> Array:
            machine = Harmonium(*parts)
            return log_weight([untied(machine)], turned(machine), [v, h])

        found = lab.run(weights, *pairs(), w, b, c)
        sums = [math.log(math.fsum(math.exp(v @ w @ h + b @ v + c @ h) for h in H)) for v in V]
        expected = np.repeat(sums, len(H))
        yield lab.near(found, expected, magnitude=network.largest, terms=ROUNDINGS)


@claim(
    "deep belief",
    "deep belief",
    "the wake phase ascends the bound, by w and b",
    function=wake_gradient,
    method="complex steps of the mean of log p(v | h) over all states, weighted by q(h | v)",
)
def wake_gradient_by_steps(lab: Lab) -> Checks:
    for network in networks(lab, 1):
        w, b, r, c = network.parts[:4]
        data = lab.rng.dirichlet(np.ones(len(V)))
        shares = data[:, None] * network.up(r, c).real
        found = _expected(lab, wake_gradient, network, shares)
        for actual, expected in zip(found, _slopes(network.down, shares, w, b), strict=True):
            yield lab.near(actual, expected, magnitude=1.0, terms=ROUNDINGS)


@claim(
    "deep belief",
    "deep belief",
    "the sleep phase brings q(h | v) nearer to p(h | v) over the model's v, by r and c",
    function=sleep_gradient,
    method="complex steps of the mean of log q(h | v) over all states, weighted by p(v, h)",
)
def sleep_gradient_by_steps(lab: Lab) -> Checks:
    for network in networks(lab, 1):
        w, b, r, c = network.parts[:4]
        prior = np.asarray(network.prior)
        shares = network.down(w, b).real * prior / math.fsum(prior)
        found = _expected(lab, sleep_gradient, network, shares)
        for actual, expected in zip(found, _slopes(network.up, shares, r, c), strict=True):
            yield lab.near(actual, expected, magnitude=1.0, terms=ROUNDINGS)


def _slopes(
    chances: Callable, shares: np.ndarray, weights: np.ndarray, biases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the mean logarithm of chances, by weights and by biases."""

    def mean(weights: np.ndarray, biases: np.ndarray) -> complex:
        return np.sum(shares * np.log(chances(weights, biases)))

    return (
        slopes(lambda moved: mean(moved, biases), weights),
        slopes(lambda moved: mean(weights, moved), biases),
    )


def _expected(
    lab: Lab, gradient: Callable, network: Network, shares: np.ndarray
) -> list[np.ndarray]:
    """A gradient's mean over all pairs of states with shares (V, H), a pair at a time."""

    def one(v: Array, h: Array, *parts: Array) -> tuple[Array, Array]:
        return tuple(gradient(DirectedLayer(*parts), v, h))

    total = [np.zeros(1), np.zeros(1)]
    for v, h, share in zip(*pairs(), shares.ravel(), strict=True):
        found = lab.run(one, v[None], h[None], *network.parts[:4])
        total = [part + share * g for part, g in zip(total, found, strict=True)]
    return total
