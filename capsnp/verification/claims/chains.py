"""Chains of small machines: where contrastive divergence ends up, and what steps leave as it is.

Kernels are matrices over all states, made of the means or of the draws that capsnp computes; what
they have to keep is summed up by hand.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional import neuron_hidden_probability, neuron_visible_field
from capsnp.functional.harmonium import (
    Harmonium,
    cd_gradient,
    exchange_probability,
    hidden_field,
    hidden_mean,
    independent,
    tempered,
    visible_mean,
)
from capsnp.functional.units import Bernoulli, Gaussian, Relu
from capsnp.verification.claims._by_hand import all_states, slopes
from capsnp.verification.claims.boltzmann import of_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Check, Checks, claim
from capsnp.verification.stationarity import check_stationarity

I, J = 3, 2
V, H = all_states(I), all_states(J)
TOPIC = "2.1, chains"
STEPS = (1, 4, 16, 1024)
"""Of a chain."""

BETA = 0.5
"""Of the hotter machine."""

LogP = Callable[[np.ndarray], np.ndarray]
Parts = tuple[np.ndarray, np.ndarray]


class Machine(NamedTuple):
    """Weights and biases, all of Bernoulli units."""

    w: np.ndarray
    b: np.ndarray
    c: np.ndarray

    @property
    def largest(self) -> float:
        """What |E| does not exceed, and 1."""
        return 1.0 + sum(float(np.sum(np.abs(part))) for part in self)


def machines(lab: Lab, n: int) -> Iterator[Machine]:
    """Machines with Gaussian parameters."""
    for _ in lab.cases(n):
        yield Machine(lab.normal(I, J), lab.normal(I), lab.normal(J))


def log_sums(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """log p(v) + log Z of every visible state, hidden states added up one by one; complex too."""
    return np.asarray([np.log(sum(np.exp(v @ w @ h + v @ b + h @ c) for h in H)) for v in V])


def shares(log_p: np.ndarray) -> np.ndarray:
    """Probabilities of all states."""
    p = np.exp(log_p - np.max(log_p))
    return p / np.sum(p)


# --- contrastive divergence -------------------------------------------------------------------


def tends(
    lab: Lab,
    kernel: np.ndarray,
    data: np.ndarray,
    log_p: LogP,
    parts: Parts,
    largest: float,
    first: list[float],
) -> Checks:
    r"""Chains from the data give the derivative of the mean log-likelihood in the end.

    A reversible kernel with the second largest eigenvalue λ is within

    .. math:: |E_{q T^k}[g] - E_p[g]| \le λ^k \sqrt{\mathrm{Var}_p[q/p]\, \mathrm{Var}_p[g]}

    Parameters
    ----------
    lab : Lab
    kernel : numpy.ndarray, shape (S, S)
        T.
    data : numpy.ndarray, shape (S,)
        q.
    log_p : callable
        From parameters (n,) to log p + log Z of all states, (S,).
    parts : tuple of numpy.ndarray, shapes (S, n) and (n,)
        The gradient g of log p + log Z at each state, and the parameters.
    largest : float
        What no energy exceeds.
    first : list of float
        Gets the largest error of one step.
    """
    gradients, parameters = parts

    def likelihood(at: np.ndarray) -> complex:
        found = log_p(at)
        return data @ found - np.log(np.sum(np.exp(found)))

    exact, p = slopes(likelihood, parameters), shares(log_p(parameters))
    apart = np.sqrt(np.sum((data - p) ** 2 / p) * (p @ gradients**2 - (p @ gradients) ** 2))
    left = float(np.sort(np.abs(np.linalg.eigvals(kernel)))[-2])
    rounding = 256.0 * largest / (1.0 - left) * lab.eps
    for k in STEPS:
        after = data @ np.linalg.matrix_power(kernel, k)
        error = np.abs(data @ gradients - after @ gradients - exact)
        yield lab.below(np.max(error - left**k * apart), rounding, "roundings over 1 − λ")
        if k == 1:
            first.append(float(np.max(error)))
    yield lab.true(left**k < lab.eps, "the last chain is long enough")


@claim(
    "(2)",
    TOPIC,
    "the gradient of contrastive divergence with k steps, averaged over all chains, tends to the "
    "gradient of the log-likelihood as k grows; with k = 1 it is another",
    function="cd_gradient, hidden_mean, visible_mean",
    method="powers of the transition matrix, complex steps through the enumerated log p(v)",
)
def cd_of_many_steps_is_the_gradient(lab: Lab) -> Checks:
    first: list[float] = []
    for w, b, c in machines(lab, 2):

        def means(v: Array, h: Array, *parts: Array) -> tuple[Array, Array]:
            machine = Harmonium(*parts)
            return hidden_mean(machine, v), visible_mean(machine, h)

        on_h, on_v = lab.run(means, V, H, w, b, c)
        kernel = of_states(on_h, H) @ of_states(on_v, V)

        def gradient(v: Array, h: Array, *parts: Array) -> tuple[Array, ...]:
            none = 0.0 * v, 0.0 * h
            return cd_gradient(Harmonium(*parts), v, h, *none)[:3]

        each = [
            lab.run(gradient, *one, w, b, c) for one in zip(V[:, None], on_h[:, None], strict=True)
        ]
        gradients = np.asarray([np.concatenate([part.ravel() for part in one]) for one in each])

        def log_p(at: np.ndarray) -> np.ndarray:
            w, b, c = np.split(at, [I * J, I * J + I])
            return log_sums(w.reshape(I, J), b, c)

        parameters = np.concatenate([w.ravel(), b, c])
        data = shares(lab.normal(len(V)))
        largest = Machine(w, b, c).largest
        yield from tends(lab, kernel, data, log_p, (gradients, parameters), largest, first)
    yield some_move(lab, first, "one step is not enough")


@claim(
    "1907.11639",
    TOPIC,
    "likewise for expert neurons with frozen c: many steps of the chain give the gradient of the "
    "log-likelihood by W",
    function="neuron_hidden_probability, neuron_visible_field",
    method="powers of the transition matrix, complex steps through the enumerated log p(v)",
)
def neuron_cd_of_many_steps_is_the_gradient(lab: Lab) -> Checks:
    n_in, dim_in, dim = 2, 2, 2  # two capsules of two, and one of two
    v_all = all_states(n_in * dim_in)
    v = v_all.reshape(-1, n_in, dim_in)
    h = H.reshape(-1, 1, dim)
    first: list[float] = []
    for _ in lab.cases(2):
        W, c = lab.normal(n_in, 1, dim, dim_in), lab.uniform(n_in, 1, low=0.5, high=1.5)
        a, b = lab.normal(1, dim), lab.normal(n_in, dim_in)
        on_h = lab.run(neuron_hidden_probability, v, W, c, a)
        field = lab.run(neuron_visible_field, h, W, c, b).reshape(len(h), -1)
        kernel = of_states(on_h.reshape(len(v), -1), H)
        kernel = kernel @ of_states(1.0 / (1.0 + np.exp(-field)), v_all)
        each = c[None, :, :, None, None] * on_h[:, None, :, :, None] * v[:, :, None, None, :]

        def log_p(at: np.ndarray, b=b, c=c, a=a) -> np.ndarray:
            weighted = c[..., None, None] * at.reshape(n_in, 1, dim, dim_in)
            w = weighted.transpose(0, 3, 1, 2).reshape(n_in * dim_in, dim)
            bias_h, bias_v = a.ravel(), b.ravel()
            table = [np.exp(s @ w @ t + s @ bias_v + t @ bias_h) for s in v_all for t in H]
            return np.log(np.sum(np.reshape(table, (len(v_all), len(H))), axis=1))

        largest = 1.0 + sum(float(np.sum(np.abs(part))) for part in (1.5 * W, a, b))
        parts = each.reshape(len(v), -1), W.ravel()
        data = shares(lab.normal(len(v)))
        yield from tends(lab, kernel, data, log_p, parts, largest, first)
    yield some_move(lab, first, "one step is not enough")


# --- what a step leaves as it is --------------------------------------------------------------


def moves(kernel: np.ndarray, log_p: np.ndarray, states: np.ndarray) -> float:
    """Total variation between a distribution over all states and what the kernel makes of it."""
    return check_stationarity(kernel, lambda _: log_p, states).distance


def kept(
    lab: Lab,
    kernel: np.ndarray,
    log_p: np.ndarray,
    states: np.ndarray,
    terms: float,
    others: list[float],
) -> Check:
    """A kernel keeps p; how far it moves p with every probability at another state is listed."""
    others.append(moves(kernel, log_p[::-1], states))
    return lab.below(moves(kernel, log_p, states), terms * lab.eps, f"{terms:.3g} roundings")


def some_move(lab: Lab, distances: list[float], what: str = "another distribution moves") -> Check:
    """The counter-example: what has to move does so for some machine."""
    return lab.true(max(distances) > 1e-3, what)


@claim(
    "§2.1",
    TOPIC,
    "a Gibbs step by way of Gaussian visible units leaves p(h) as it is",
    function="Gaussian.draw, hidden_mean, visible_mean",
    method="transition matrix by the trapezoidal rule over the noise, p by closed integrals",
)
def gaussian_gibbs_step_keeps_hidden_states(lab: Lab) -> Checks:
    nodes = np.linspace(-9.0, 9.0, 121)  # the trapezoidal rule converges geometrically
    noise = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = shares(-0.5 * np.sum(noise**2, axis=1))
    others: list[float] = []
    for _ in lab.cases(3):
        w, b, c = lab.normal(2, J, scale=0.7), lab.normal(2), lab.normal(J)
        log_variance = lab.normal(2, scale=0.3)

        def through(h: Array, noise: Array, w: Array, b: Array, c: Array, t: Array) -> Array:
            machine = Harmonium(w, b, c, Gaussian(t), Bernoulli())
            field = visible_mean(machine, h)
            return hidden_mean(machine, machine.visible.draw(field[:, None, :], noise))

        on = lab.run(through, H, noise, w, b, c, log_variance)  # (2^J, N, J)
        kernel = np.stack([weights @ of_states(one, H) for one in on])
        log_p = []
        for h in H:
            total = math.fsum(c * h)
            for i in range(2):  # ∫ e^{−(v − b)²/2σ² + v m/σ²} dv, without what h does not change
                m = math.fsum(w[i] * h)
                total += (b[i] * m + 0.5 * m * m) / math.exp(log_variance[i])
            log_p.append(total)
        largest = 1.0 + float(np.sum(np.abs(w)) + np.sum(np.abs(b)) + np.sum(np.abs(c)))
        yield kept(lab, kernel, np.asarray(log_p), H, 64.0 * largest**2, others)
    yield some_move(lab, others)


@claim(
    "§2.1",
    TOPIC,
    "a Gibbs step by way of rectified hidden units, drawn from the truncated Gaussian, leaves p(v) "
    "as it is",
    function="Relu.draw, hidden_field, visible_mean",
    method="transition matrix by quadrature over the noise, p by quadrature over the hidden unit",
)
def rectified_gibbs_step_keeps_visible_states(lab: Lab) -> Checks:
    noise, weights = unit_rule(200)
    nodes, counts = np.polynomial.legendre.leggauss(200)
    points, counts = 8.0 * (nodes + 1.0), 8.0 * counts
    others: list[float] = []
    for _ in lab.cases(3):
        w, b, c = lab.normal(I, 1, scale=0.7), lab.normal(I), lab.normal(1)

        def through(v: Array, noise: Array, w: Array, b: Array, c: Array) -> Array:
            machine = Harmonium(w, b, c, Bernoulli(), Relu())
            field = hidden_field(machine, v)
            h = machine.hidden.draw(field + 0.0 * noise, 0.0 * field + noise)
            return visible_mean(machine, h[..., None])

        on = lab.run(through, V, np.minimum(noise, 1.0 - lab.eps), w, b, c)  # (2^I, N, I)
        kernel = np.stack([weights @ of_states(one, V) for one in on])
        x = (V @ w + c)[:, 0]
        log_p = [
            math.fsum(b * v) + math.log(math.fsum(counts * np.exp(points * f - points**2 / 2)))
            for v, f in zip(V, x, strict=True)
        ]
        largest = 1.0 + float(np.sum(np.abs(w)) + np.sum(np.abs(b)) + np.sum(np.abs(c)))
        yield kept(lab, kernel, np.asarray(log_p), V, 256.0 * largest**2, others)
    yield some_move(lab, others)


def unit_rule(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, 1) for functions with a logarithm's singularity at both ends, or
    close to them: Gauss's rule after u = t⁴ (35 − 84 t + 70 t² − 20 t³), du = 140 t³ (1 − t)³ dt.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)
    t = 0.5 * (nodes + 1.0)
    u = t**4 * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t)))
    return u, 70.0 * (t * (1.0 - t)) ** 3 * weights


@claim(
    "§2.1",
    TOPIC,
    "parallel tempering leaves the joint of all its machines as it is: a step of each, then an "
    "exchange with its probability; with every exchange accepted it does not",
    function="tempered, exchange_probability, hidden_mean, visible_mean",
    method="transition matrix over all pairs of visible states, p of each machine by sums",
)
def exchange_keeps_the_joint_of_two_machines(lab: Lab) -> Checks:
    n = len(V)
    others: list[float] = []
    always: list[float] = []
    for w, b, c in machines(lab, 3):
        base = lab.normal(I)

        def both(v: Array, h: Array, u: Array, *parts: Array) -> tuple[Array, ...]:
            cold = Harmonium(*parts[:3])
            hot = tempered(cold, BETA, independent(cold, parts[3]))
            means = [f(m, s) for m in (hot, cold) for f, s in ((hidden_mean, v), (visible_mean, h))]
            return *means, exchange_probability(hot, cold, v[:, None, :], u[None, :, :])

        *means, accept = lab.run(both, V, H, V, w, b, c, base)
        steps = [of_states(means[k], H) @ of_states(means[k + 1], V) for k in (0, 2)]
        sweep = np.einsum("vx,uy->vuxy", *steps).reshape(n * n, n * n)
        hot = log_sums(BETA * w, BETA * b + (1.0 - BETA) * base, BETA * c)
        joint = (hot[:, None] + log_sums(w, b, c)[None, :]).ravel()
        pairs = np.stack([np.repeat(np.arange(n), n), np.tile(np.arange(n), n)], axis=1)
        terms = 64.0 * Machine(w, np.abs(b) + np.abs(base), c).largest
        yield kept(lab, sweep @ swap(accept), joint, pairs, terms, others)
        always.append(moves(sweep @ swap(np.ones((n, n))), joint, pairs))
    yield some_move(lab, others)
    yield some_move(lab, always, "exchanges without a choice move it")


def swap(accept: np.ndarray) -> np.ndarray:
    """Transition matrix over pairs (v, u) that become (u, v) with a probability (S, S)."""
    n = len(accept)
    place = np.arange(n * n).reshape(n, n)
    kernel = np.diag(1.0 - accept.ravel())
    kernel[place.ravel(), place.T.ravel()] += accept.ravel()
    return kernel
