"""Section 3.2, (14) to (18): the log-likelihood and its gradient.

Exact numbers come from small models with frozen coefficients, whose density is a polynomial in x:
the partition function from the moments of the ball, averages over the model from a cubature rule
that is exact for polynomials, derivatives from complex steps.
"""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

import numpy as np

from capsnp.functional.contrastive import expert_gradient
from capsnp.functional.energy import energy, firing_probability, free_energy
from capsnp.functional.routing import forward, route
from capsnp.verification.claims._by_hand import Layer, all_states, slopes, weighted_sums
from capsnp.verification.decomposition import decompose_gradient
from capsnp.verification.exact import Balls, ExactCapsules, partition
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.routed import routed_score_gradient

B, I, J, D, P = 6, 2, 2, 2, 2
STATES = all_states(J)
"""Of the output capsules."""

NODES, WEIGHTS = Balls(I, P).cubature(6)
"""Of a rule that is exact up to degree 6, that of Π_j (1 + ‖z_j‖²) for three output capsules. No
node is 0."""

ROUNDINGS = 2.0 * (I * P + 2) + D + 2
"""Of 1 + ‖z_j‖²: each z is a sum of I·P products of three numbers."""

# --- by hand ----------------------------------------------------------------------------------


def models(lab: Lab, n: int, *, own: bool = False) -> Iterator[Layer]:
    """Models with ‖z_j‖ about 1; with `own`, half of them with coefficients for each example."""
    for case in lab.cases(n):
        x, W = lab.in_balls(B, I, P), lab.normal(I, J, D, P, scale=2.0)
        shape = (B, I, J) if own and case % 2 else (I, J)
        yield Layer(x, W, lab.coefficients(*shape, axis=-2))


def outer_mean(c: np.ndarray, pull: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Mean over the batch of 2 c_ij pull_j x_iᵀ in nested loops, (I, J, D, P)."""
    total = np.zeros((*c.shape[-2:], pull.shape[2], x.shape[2]))
    for n, i, j in itertools.product(range(len(x)), *map(range, c.shape[-2:])):
        weight = c[i, j] if c.ndim == 2 else c[n, i, j]
        for d, p in np.ndindex(total.shape[2:]):
            total[i, j, d, p] += 2.0 * weight * pull[n, j, d] * x[n, i, p] / len(x)
    return total


def log_of_experts(x: np.ndarray, c: np.ndarray, W: np.ndarray) -> complex:
    """Mean of Σ_j log(1 + ‖z_j‖²), analytic in W."""
    total = 0.0
    for capsules in weighted_sums(x, W, c):
        for z in capsules:
            total += np.log(1.0 + sum(number * number for number in z))
    return total / len(x)


def true_gradient(model: Layer) -> np.ndarray:
    """Of the mean log-likelihood (14), by a complex step."""
    x, W, c = model
    return slopes(lambda W: log_of_experts(x, c, W) - np.log(partition(W, c)), W)


def lengths(z: np.ndarray) -> np.ndarray:
    """‖z_j‖, kept as an axis and repeated along it."""
    return np.linalg.norm(z, axis=-1, keepdims=True) * np.ones(z.shape[-1])


def gradient_size(x: np.ndarray, W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Mean of 2 c_ij |z_j| |x_i|ᵀ without any cancellation in z: what rounding is relative to."""
    return outer_mean(c, lengths(weighted_sums(np.abs(x), np.abs(W), c)), np.abs(x))


def node_sizes(W: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|z_j| without any cancellation and |x_i| at the nodes."""
    return lengths(weighted_sums(np.abs(NODES), np.abs(W), c)), np.abs(NODES)


def density(lab: Lab, model: Layer) -> np.ndarray:
    """P(x) at the nodes times their weights, by the backend's free energy."""
    free = lab.run(free_energy, lab.round(NODES), model.W, model.c)
    return WEIGHTS * np.exp(-free - ExactCapsules(model.W, model.c).log_partition())


def averaged(share: np.ndarray, c: np.ndarray, pull: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_n share_n 2 c_ij pull_j x_iᵀ over nodes."""
    return 2.0 * c[:, :, None, None] * np.einsum("n,njd,nip->ijdp", share, pull, x)


# --- (14) -------------------------------------------------------------------------------------


def padded(lab: Lab, n_experts: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and coefficients of three output capsules, all but some of them 0: factors 1."""
    W = lab.normal(I, 3, D, P, scale=2.0)
    W[:, n_experts:] = 0.0
    return W, lab.coefficients(I, 3, axis=-2)


@claim(
    "(14)",
    "3.2",
    "log P(x) = Σ_j log(1 + ‖z_j‖²) − log Z is a density on the unit balls, with log Z in closed "
    "form for J = 1, 2, 3",
    function="free_energy, ExactCapsules.log_partition",
    method="cubature, exact for polynomials",
)
def likelihood_is_normalised(lab: Lab) -> Checks:
    for case in lab.cases(6):
        n_experts = case % 3 + 1
        W, c = padded(lab, n_experts)
        free = lab.run(free_energy, lab.round(NODES), W, c)
        exact = ExactCapsules(W[:, :n_experts], c[:, :n_experts])
        whole = WEIGHTS @ np.exp(-free - exact.log_partition())
        yield lab.near(whole, 1.0, terms=3 * (ROUNDINGS + 2) + np.max(-free))
        yield lab.near(
            math.exp(exact.log_partition("states") - exact.log_partition()), 1.0, terms=96
        )


@claim(
    "(14)",
    "3.2",
    "the closed form of Z is the mean of Π_j (1 + ‖z_j‖²) over uniform draws, J = 1, 2, 3",
    function="free_energy, ExactCapsules.log_partition",
    method="Monte Carlo",
)
def partition_by_draws(lab: Lab) -> Checks:
    for case in lab.cases(3):
        n_experts = case % 3 + 1
        W, c = padded(lab, n_experts)
        score = np.exp(-lab.run(free_energy, lab.in_balls(4096, I, P), W, c))
        exact = ExactCapsules(W[:, :n_experts], c[:, :n_experts])
        error = score.std() / math.sqrt(len(score) - 1)
        yield lab.close(score.mean(), math.exp(exact.log_partition()), error=error)


@claim(
    "(14)",
    "3.2",
    "for one expert Z = 1 + Σ_i c_ij² ‖W_ij‖²/(P + 2)",
    function="free_energy, ExactCapsules.log_partition",
    method="fractions of whole numbers, and cubature",
)
def partition_of_one_expert(lab: Lab) -> Checks:
    nodes, weights = Balls(2, 3).cubature(2)
    for _ in lab.cases(4):
        W = lab.rng.integers(-3, 4, (2, 1, D, 3)).astype(float)
        c = lab.rng.integers(1, 9, (2, 1)) / 8.0
        Z = Fraction(1)
        for i, d, p in np.ndindex(2, D, 3):
            Z += (Fraction(c[i, 0]) * Fraction(W[i, 0, d, p])) ** 2 / 5
        score = np.exp(-lab.run(free_energy, lab.round(nodes), W, c))
        terms = 2 * (2 * 3 + 2) + D + 4 + np.log(score.max())
        yield lab.near(weights @ score, float(Z), terms=terms)
        yield lab.near(math.exp(ExactCapsules(W, c).log_partition()), float(Z), terms=64)


@claim(
    "(14)",
    "3.2",
    "Z is e^(−E) summed over the 2^J hidden states and averaged over x",
    function="energy, ExactCapsules.log_partition",
    method="enumeration of the states, and cubature",
)
def partition_over_states(lab: Lab) -> Checks:
    x = np.repeat(NODES[None], len(STATES), axis=0)
    on = np.repeat(STATES[:, None], len(NODES), axis=1)
    for model in models(lab, 3):
        boltzmann = np.exp(-lab.run(energy, lab.round(x), on, model.W, model.c))
        size = weighted_sums(np.abs(NODES), np.abs(model.W), model.c)
        bound = WEIGHTS @ np.prod(1.0 + np.sum(size**2, axis=-1), axis=-1)
        Z = math.exp(ExactCapsules(model.W, model.c).log_partition())
        terms = J * (ROUNDINGS + 8)
        yield lab.near(np.sum(boltzmann @ WEIGHTS), Z, magnitude=bound, terms=terms)


# --- (15) to (17) -----------------------------------------------------------------------------


def half_slope(model: Layer, x: np.ndarray) -> np.ndarray:
    """Half of ∂ log ‖z_j‖²/∂z_j = 2 z_j/‖z_j‖², of every example and capsule."""
    z = weighted_sums(x, model.W, model.c)
    return z / np.sum(z * z, axis=-1, keepdims=True)


def states_given(lab: Lab, model: Layer, x: np.ndarray) -> np.ndarray:
    """P(s | x) of every state (2^J, N), from the backend's energies."""
    on = np.repeat(STATES[:, None], len(x), axis=1)
    every = np.repeat(x[None], len(STATES), axis=0)
    boltzmann = np.exp(-lab.run(energy, every, on, model.W, model.c))
    return boltzmann / np.sum(boltzmann, axis=0)


@claim(
    "(15)",
    "3.2",
    "∂ log P/∂W = −Σ_s P(s|x) ∂E/∂W + E_P[Σ_s P(s|x) ∂E/∂W]; printed with both signs turned",
    function=energy,
    method="enumeration of the states, against the complex step of the exact log-likelihood",
    kind="corrected",
)
def gradient_over_states(lab: Lab) -> Checks:
    for model in models(lab, 3):
        x, W, c = model
        share = density(lab, model)
        data, average = np.zeros(W.shape), np.zeros(W.shape)
        of_x, of_node = states_given(lab, model, x), states_given(lab, model, lab.round(NODES))
        for s, state in enumerate(STATES):  # ∂E/∂W_ij = −s_j 2 c_ij z_j x_iᵀ/‖z_j‖²
            pull = -half_slope(model, x) * state[:, None] * of_x[s][:, None, None]
            data += outer_mean(c, pull, x)
            pull = -half_slope(model, NODES) * state[:, None]
            average += averaged(share * of_node[s], c, pull, NODES)
        size = gradient_size(x, W, c) + averaged(share, c, *node_sizes(W, c))
        expected = true_gradient(model)
        yield lab.near(average - data, expected, magnitude=size, terms=2 * J * (ROUNDINGS + 8))
        yield lab.printed_fails(data - average, expected)


@claim(
    "(16)",
    "3.2",
    "∂E/∂W_ij = −s_j ∂ log ‖z_j‖²/∂W_ij = −s_j 2 c_ij z_j x_iᵀ/‖z_j‖²; printed without the minus",
    function=energy,
    method="central differences of e^(−E), which is quadratic in each W_ij: nothing is cut off",
    kind="corrected",
)
def slope_of_the_energy(lab: Lab) -> Checks:
    t = 0.5
    for model in models(lab, 2):
        x, c = model.x, model.c
        W = np.round(64.0 * model.W) / 64.0  # W ± t is exact
        size = np.prod(np.sum(weighted_sums(np.abs(x), np.abs(W) + t, c) ** 2, axis=-1), axis=-1)
        z = weighted_sums(x, W, c)
        square = np.sum(z * z, axis=-1)
        here = np.prod(square, axis=-1)  # e^(−E) of both on, by hand
        for j in range(J):
            place = (lab.rng.integers(I), j, lab.rng.integers(D), lab.rng.integers(P))
            shift = np.zeros(W.shape)
            shift[place] = t
            i, _, d, p = place
            slope = 2.0 * c[i, j] * z[:, j, d] * x[:, i, p] / square[:, j]
            both_on, other_on = np.ones((B, J)), np.ones((B, J))
            other_on[:, j] = 0.0
            up = np.exp(-lab.run(energy, x, both_on, W + shift, c))
            down = np.exp(-lab.run(energy, x, both_on, W - shift, c))
            found = -(up - down) / (2.0 * t * here)
            terms = 2 * J * (ROUNDINGS + 8)
            yield lab.near(found, -slope, magnitude=size / (t * here), terms=terms)
            yield lab.printed_fails(slope, -slope)
            up = lab.run(energy, x, other_on, W + shift, c)
            yield lab.near(up, lab.run(energy, x, other_on, W, c), terms=0)


@claim(
    "(17)",
    "3.2",
    "Σ_s P(s|x) s_j ∂ log ‖z_j‖²/∂W = P(s_j = 1|x) ∂ log ‖z_j‖²/∂W: the signs of (15) and (16) "
    "cancel",
    function=firing_probability,
    method="enumeration of the states",
)
def expectation_over_states(lab: Lab) -> Checks:
    for model in models(lab, 6):
        x, W, c = model
        slope = half_slope(model, x)
        square = np.sum(weighted_sums(x, W, c) ** 2, axis=-1)
        on = np.zeros((B, J))  # Σ_s P(s|x) s_j
        for n in range(B):
            weights = [math.prod(square[n, state == 1.0]) for state in STATES]
            for state, weight in zip(STATES, weights, strict=True):
                on[n] += weight / math.fsum(weights) * state
        expected = outer_mean(c, on[..., None] * slope, x)
        p_on = lab.run(firing_probability, lab.run(forward, x, W, c))
        found = outer_mean(c, p_on[..., None] * slope, x)
        size = gradient_size(x, W, c)
        yield lab.near(found, expected, magnitude=size, terms=2 * (ROUNDINGS + 8))
        as_printed = np.zeros(W.shape)  # +Σ_s P ∂E/∂W (15), ∂E/∂W = +s_j ∂ log ‖z_j‖²/∂W (16)
        for state, p in zip(STATES, states_given(lab, model, x), strict=True):
            as_printed += outer_mean(c, p[:, None, None] * state[:, None] * slope, x)
        yield lab.near(as_printed, expected, magnitude=size, terms=2 * J * (ROUNDINGS + 8))


# --- (18) -------------------------------------------------------------------------------------


@claim(
    "(18)",
    "3.2",
    "the weight z/(1 + ‖z‖²) is half the gradient of log(1 + ‖z‖²)",
    function=expert_gradient,
    method="fractions of the very numbers, and complex steps",
)
def weight_of_an_expert(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = lab.normal(4, 3, scale=float(10.0 ** lab.rng.uniform(-3, 3)))
        exact, by_steps = np.zeros((2, *z.shape))
        for n, vector in enumerate(z):
            parts = [Fraction(number) for number in vector]
            square = sum(part * part for part in parts)
            exact[n] = [float(part / (1 + square)) for part in parts]
            by_steps[n] = slopes(lambda at: np.log(1.0 + np.sum(at * at)), vector) / 2.0
        found = lab.run(expert_gradient, z)
        size = np.linalg.norm(exact, axis=-1, keepdims=True)
        yield lab.near(found, exact, magnitude=size, terms=16)
        yield lab.near(found, by_steps, magnitude=size, terms=32)


@claim(
    "(18)",
    "3.2",
    "for fixed c the data term 2 c_ij z_j x_iᵀ/(1 + ‖z_j‖²) is the gradient of −F",
    function="forward, expert_gradient",
    method="complex step of Σ_j log(1 + ‖z_j‖²) in nested loops",
)
def data_term_is_a_gradient(lab: Lab) -> Checks:
    for model in models(lab, 6, own=True):
        x, W, c = model
        pull = lab.run(expert_gradient, lab.run(forward, x, W, c))
        expected = slopes(partial(log_of_experts, x, c), W)
        size = gradient_size(x, W, c)
        yield lab.near(outer_mean(c, pull, x), expected, magnitude=size, terms=2 * ROUNDINGS)


@claim(
    "(18)",
    "3.2",
    "for frozen c, data term less the model's expectation is the gradient of log P",
    function="forward, expert_gradient, free_energy, ExactCapsules.gradient",
    method="complex step of the log-likelihood, Z by the moments of the ball",
)
def gradient_of_the_likelihood(lab: Lab) -> Checks:
    nodes = lab.round(NODES)
    for model in models(lab, 3):
        x, W, c = model
        data = outer_mean(c, lab.run(expert_gradient, lab.run(forward, x, W, c)), x)
        share = density(lab, model)
        at_nodes = lab.run(expert_gradient, lab.run(forward, nodes, W, c))
        expected = true_gradient(model)
        size = gradient_size(x, W, c) + averaged(share, c, *node_sizes(W, c))
        found = data - averaged(share, c, at_nodes, nodes)
        yield lab.near(found, expected, magnitude=size, terms=2 * J * (ROUNDINGS + 8))
        yield lab.near(ExactCapsules(W, c).gradient(x), expected, magnitude=size, terms=256)


@claim(
    "(18)",
    "3.2",
    "the gradient vanishes in the mean over the model's own samples",
    function="forward, expert_gradient, ExactCapsules.sample",
    method="Monte Carlo with exact samples, against the moments of the ball",
)
def gradient_vanishes_at_the_model(lab: Lab) -> Checks:
    for model in models(lab, 2):
        exact = ExactCapsules(model.W, model.c)
        x = lab.round(exact.sample(4096, lab.rng) * (1.0 - 4.0 * lab.eps))
        pull = lab.run(expert_gradient, lab.run(forward, x, model.W, model.c))
        each_x = 2.0 * model.c[..., None, None] * np.einsum("njd,nip->nijdp", pull, x)
        error = each_x.std(axis=0) / math.sqrt(len(x) - 1)
        yield lab.close(each_x.mean(axis=0), exact.model_term(), error=error)


@claim(
    "(18)",
    "3.2",
    "with c found by routing, (18) leaves out the derivative of c: the cosine of its data term "
    "with the whole one's, and of its gradient with the gradient of log P",
    function="route, expert_gradient, decompose_gradient",
    method="complex step through the routing",
    kind="heuristic",
)
def derivative_of_the_coefficients(lab: Lab) -> Checks:
    terms, gradients = [], []
    for _ in lab.cases(8):
        x, W = lab.in_balls(B, I, P), lab.normal(I, J, D, P, scale=2.0)
        c, z = lab.run(route, x, W)
        held = outer_mean(c, lab.run(expert_gradient, z), x)
        whole = np.mean(routed_score_gradient(x, W), axis=0)
        terms.append(np.sum(held * whole) / (np.linalg.norm(held) * np.linalg.norm(whole)))
        found = decompose_gradient(x, W, n_nodes=256, n_estimates=1)
        gradients.append(found.cosine("frozen", "routed")[0])
    yield lab.measured(float(np.mean(terms)), between=(0.5, 0.98))
    yield lab.measured(float(np.mean(gradients)), between=(0.1, 0.95))
