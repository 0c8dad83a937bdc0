"""Section 3.2 and 4.1: the gradient of the log-likelihood, Algorithm 1 and the rule for U.

Exact numbers come from small models with frozen coefficients, whose density is a polynomial in x:
the partition function from the moments of the ball, averages over the model from a cubature rule
that is exact for polynomials, derivatives from complex steps.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np

from capsnp.functional.contrastive import cd_gradient, decoder_gradient, expert_gradient, mix
from capsnp.functional.energy import energy, firing_probability, free_energy
from capsnp.functional.rbm import rbm_hidden_probability, rbm_visible_probability
from capsnp.functional.routing import forward, route
from capsnp.verification.decomposition import decompose_gradient, routed_score_gradient
from capsnp.verification.exact import Balls, ExactCapsules, partition
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.stationarity import check_stationarity

B, I, J, D, P = 6, 2, 2, 2, 2
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=J)))
"""All states (2^J, J) of the output capsules."""

V = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
"""All visible states (2^3, 3) of a small restricted Boltzmann machine."""

H = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
"""All its hidden states (2^2, 2)."""

NODES, WEIGHTS = Balls(I, P).cubature(6)
"""Of a rule that is exact up to degree 6, that of Π_j (1 + ‖z_j‖²) for three output capsules. No
node is 0."""

STEP = 1e-30
"""Of complex steps: its square is nothing beside any number here."""

ROUNDINGS = 2.0 * (I * P + 2) + D + 2
"""Of 1 + ‖z_j‖²: each z is a sum of I·P products of three numbers."""

# --- by hand ----------------------------------------------------------------------------------


class Model(NamedTuple):
    """Input capsules, weights and coefficients."""

    x: np.ndarray
    """(B, I, P)."""
    W: np.ndarray
    """(I, J, D, P)."""
    c: np.ndarray
    """(I, J) shared, or (B, I, J) of each example."""


def models(lab: Lab, n: int, *, own: bool = False) -> Iterator[Model]:
    """Models with ‖z_j‖ about 1; with `own`, half of them with coefficients for each example."""
    for case in lab.cases(n):
        x, W = lab.in_balls(B, I, P), lab.normal(I, J, D, P, scale=2.0)
        shape = (B, I, J) if own and case % 2 else (I, J)
        yield Model(x, W, lab.coefficients(*shape, axis=-2))


def outputs(x: np.ndarray, W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Σ_i c_ij W_ij x_i in nested loops, (N, J, D), real or complex."""
    n_inputs, n_outputs, dim_out, dim_in = W.shape
    z = np.zeros((len(x), n_outputs, dim_out), np.result_type(x, W))
    for n, i, j in itertools.product(range(len(x)), range(n_inputs), range(n_outputs)):
        weight = c[i, j] if c.ndim == 2 else c[n, i, j]
        for d, p in itertools.product(range(dim_out), range(dim_in)):
            z[n, j, d] += weight * W[i, j, d, p] * x[n, i, p]
    return z


def turned(W: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps and coefficients of the way back: W_ijᵀ and c_ij with i and j exchanged."""
    return W.transpose(1, 0, 3, 2), np.swapaxes(c, -1, -2)


def outer_mean(c: np.ndarray, pull: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Mean over the batch of 2 c_ij pull_j x_iᵀ in nested loops, (I, J, D, P)."""
    total = np.zeros((*c.shape[-2:], pull.shape[2], x.shape[2]))
    for n, i, j in itertools.product(range(len(x)), *map(range, c.shape[-2:])):
        weight = c[i, j] if c.ndim == 2 else c[n, i, j]
        for d, p in np.ndindex(total.shape[2:]):
            total[i, j, d, p] += 2.0 * weight * pull[n, j, d] * x[n, i, p] / len(x)
    return total


def each(function: Callable[[list[float]], list[float]], z: np.ndarray) -> np.ndarray:
    """A function of one vector on every capsule (N, J, D)."""
    return np.asarray([[function(list(vector)) for vector in capsules] for capsules in z])


def squashed(vector: list[float]) -> list[float]:
    """(4)."""
    norm = math.sqrt(math.fsum(number**2 for number in vector))
    return [number * norm / (1.0 + norm**2) for number in vector]


def weighed(vector: list[float]) -> list[float]:
    """z/(1 + ‖z‖²)."""
    square = math.fsum(number**2 for number in vector)
    return [number / (1.0 + square) for number in vector]


def log_of_experts(x: np.ndarray, c: np.ndarray, W: np.ndarray) -> complex:
    """Mean of Σ_j log(1 + ‖z_j‖²), analytic in W."""
    total = 0.0
    for capsules in outputs(x, W, c):
        for z in capsules:
            total += np.log(1.0 + sum(number * number for number in z))
    return total / len(x)


def complex_step(function: Callable[[np.ndarray], complex], W: np.ndarray) -> np.ndarray:
    """Derivative of an analytic function of the weights, one weight at a time."""
    gradient = np.zeros(W.shape)
    for place in np.ndindex(W.shape):
        shifted = W.astype(complex)
        shifted[place] += 1j * STEP
        gradient[place] = np.imag(function(shifted)) / STEP
    return gradient


def true_gradient(model: Model) -> np.ndarray:
    """Of the mean log-likelihood (14), by a complex step."""
    x, W, c = model
    return complex_step(lambda W: log_of_experts(x, c, W) - np.log(partition(W, c)), W)


def lengths(z: np.ndarray) -> np.ndarray:
    """‖z_j‖, kept as an axis and repeated along it."""
    return np.linalg.norm(z, axis=-1, keepdims=True) * np.ones(z.shape[-1])


def gradient_size(x: np.ndarray, W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Mean of 2 c_ij |z_j| |x_i|ᵀ without any cancellation in z: what rounding is relative to."""
    return outer_mean(c, lengths(outputs(np.abs(x), np.abs(W), c)), np.abs(x))


def node_sizes(W: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|z_j| without any cancellation and |x_i| at the nodes."""
    return lengths(outputs(np.abs(NODES), np.abs(W), c)), np.abs(NODES)


def density(lab: Lab, model: Model) -> np.ndarray:
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
        size = outputs(np.abs(NODES), np.abs(model.W), model.c)
        bound = WEIGHTS @ np.prod(1.0 + np.sum(size**2, axis=-1), axis=-1)
        Z = math.exp(ExactCapsules(model.W, model.c).log_partition())
        terms = J * (ROUNDINGS + 8)
        yield lab.near(np.sum(boltzmann @ WEIGHTS), Z, magnitude=bound, terms=terms)


# --- (15) to (17) -----------------------------------------------------------------------------


def half_slope(model: Model, x: np.ndarray) -> np.ndarray:
    """Half of ∂ log ‖z_j‖²/∂z_j = 2 z_j/‖z_j‖², of every example and capsule."""
    z = outputs(x, model.W, model.c)
    return z / np.sum(z * z, axis=-1, keepdims=True)


def states_given(lab: Lab, model: Model, x: np.ndarray) -> np.ndarray:
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
        size = np.prod(np.sum(outputs(np.abs(x), np.abs(W) + t, c) ** 2, axis=-1), axis=-1)
        z = outputs(x, W, c)
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
        square = np.sum(outputs(x, W, c) ** 2, axis=-1)
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
        exact, steps = np.zeros(z.shape), np.zeros(z.shape)
        for n, vector in enumerate(z):
            parts = [Fraction(number) for number in vector]
            square = sum(part * part for part in parts)
            for d in range(len(vector)):
                exact[n, d] = float(parts[d] / (1 + square))
                shifted = vector.astype(complex)
                shifted[d] += 1j * STEP
                steps[n, d] = np.imag(np.log(1.0 + np.sum(shifted * shifted))) / (2.0 * STEP)
        found = lab.run(expert_gradient, z)
        size = np.linalg.norm(exact, axis=-1, keepdims=True)
        yield lab.near(found, exact, magnitude=size, terms=16)
        yield lab.near(found, steps, magnitude=size, terms=32)


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
        expected = complex_step(partial(log_of_experts, x, c), W)
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


# --- Algorithm 1 ------------------------------------------------------------------------------


class Pass(NamedTuple):
    """The quantities of Algorithm 1."""

    z: np.ndarray
    x_out: np.ndarray
    x_in: np.ndarray
    z_model: np.ndarray
    x_out_model: np.ndarray


def mixed(model: Model, steps: int, on: np.ndarray) -> Pass:
    """Algorithm 1 line by line, with gates (B, J)."""
    x, W, c = model
    z = z_model = outputs(x, W, c)
    x_out = x_out_model = each(squashed, z) * on[..., None]
    for _ in range(steps):
        x_in = each(squashed, outputs(x_out_model, *turned(W, c)))
        z_model = outputs(x_in, W, c)
        x_out_model = each(squashed, z_model) * on[..., None]
    return Pass(z, x_out, x_in, z_model, x_out_model)


def mixed_size(model: Model, steps: int) -> Pass:
    """What one relative rounding in every line of Algorithm 1 may move its quantities by.

    An error of z moves squash(z), of length below 1, by at most 3√3/8 times as much.
    """
    slope = 3.0 * math.sqrt(3.0) / 8.0
    x, W, c = np.abs(model.x), np.abs(model.W), model.c
    z = z_model = lengths(outputs(x, W, c))
    x_out = x_out_model = slope * z + 1.0
    for _ in range(steps):
        x_in = slope * lengths(outputs(x_out_model, *turned(W, c))) + 1.0
        z_model = lengths(outputs(x_in, W, c))
        x_out_model = slope * z_model + 1.0
    return Pass(z, x_out, x_in, z_model, x_out_model)


def by_hand(model: Model, steps: int, on: np.ndarray) -> np.ndarray:
    """Algorithm 1's gradient from its quantities by hand."""
    at = mixed(model, steps, on)
    data = outer_mean(model.c, each(weighed, at.z) * on[..., None], model.x)
    return data - outer_mean(model.c, each(weighed, at.z_model) * on[..., None], at.x_in)


def by_hand_size(model: Model, steps: int) -> np.ndarray:
    """What one relative rounding in every line may move the gradient by: ‖w‖ ≤ ½, of slope 1."""
    size = mixed_size(model, steps)
    data = outer_mean(model.c, size.z + 0.5, np.ones(model.x.shape))
    of_weights = outer_mean(model.c, size.z_model + 0.5, np.ones(model.x.shape))
    return data + of_weights + outer_mean(model.c, np.full(size.z.shape, 0.5), size.x_in)


def mixing_checks(lab: Lab, model: Model, steps: int, on: np.ndarray | None) -> Checks:
    """Every quantity and the gradient."""
    gates = np.ones((B, J)) if on is None else on
    found = lab.run(mix, *model, steps=steps, on=on)
    size = mixed_size(model, steps)
    for ours, expected, magnitude in zip(found, mixed(model, steps, gates), size, strict=True):
        yield lab.near(ours, expected, magnitude=magnitude, terms=ROUNDINGS)
    gradient = lab.run(cd_gradient, *model, steps=steps, on=on)
    magnitude = by_hand_size(model, steps)
    expected = by_hand(model, steps, gates)
    yield lab.near(gradient, expected, magnitude=magnitude, terms=ROUNDINGS + B + 4)


@claim(
    "Algorithm 1",
    "3.2",
    "one pass: z, squash, z̃ = Σ_j c_ij W_ijᵀ x_j, squash, z̃, squash, and ΔW = 2 c_ij (z_j x_iᵀ/"
    "(1 + ‖z_j‖²) − z̃_j x̃_iᵀ/(1 + ‖z̃_j‖²)), in the mean over the batch",
    function="mix, cd_gradient",
    method="nested loops over scalars",
)
def algorithm_1_by_loops(lab: Lab) -> Checks:
    for model in models(lab, 4, own=True):
        yield from mixing_checks(lab, model, 1, None)


@claim(
    "Algorithm 1",
    "3.2",
    "more mixing steps go back and forth again, and the last one stands for the model",
    function="mix, cd_gradient",
    method="nested loops over scalars",
)
def more_mixing_by_loops(lab: Lab) -> Checks:
    for model in models(lab, 2, own=True):
        yield from mixing_checks(lab, model, 2, None)


@claim(
    "Algorithm 1",
    "3.2",
    "a capsule that is held off takes no part in the way back nor in the gradient",
    function="mix, cd_gradient",
    method="nested loops over scalars",
)
def gates_by_loops(lab: Lab) -> Checks:
    for model in models(lab, 4, own=True):
        on = lab.bits(B, J)
        on[0], on[1] = 0.0, 1.0
        yield from mixing_checks(lab, model, 1, on)
        on[:, 0] = 0.0
        gradient = lab.run(cd_gradient, *model, on=on)
        yield lab.true(gradient[:, 0] == 0.0, "a capsule off for all examples learns nothing")
        yield lab.true(gradient[:, 1] != 0.0, "the other one learns")


@claim(
    "Algorithm 1",
    "3.2",
    "the coefficients found on the data are kept in the way back and for the model",
    function="route, cd_gradient",
    method="nested loops over scalars; routing anew gives another gradient",
)
def coefficients_are_kept(lab: Lab) -> Checks:
    for model in models(lab, 3):
        x, W, _ = model
        c = lab.run(route, x, W).c
        kept = Model(x, W, c)
        gradient = lab.run(cd_gradient, *kept)
        ones = np.ones((B, J))
        magnitude = by_hand_size(kept, 1)
        expected = by_hand(kept, 1, ones)
        yield lab.near(gradient, expected, magnitude=magnitude, terms=ROUNDINGS + B + 4)
        x_in = mixed(kept, 1, ones).x_in
        anew = lab.run(route, lab.round(x_in), W).c
        z_anew = outputs(x_in, W, anew)
        routed_anew = outer_mean(c, each(weighed, outputs(x, W, c)), x) - outer_mean(
            anew, each(weighed, z_anew), x_in
        )
        off = np.max(np.abs(routed_anew - gradient)) / np.max(np.abs(gradient))
        yield lab.true(off > 1e-3, "routing anew gives another gradient")


@claim(
    "Algorithm 1",
    "3.2",
    "x̃ is one point that points as x does, no sample of P(x|s) ∝ Π_j ‖z_j‖^(2 s_j), which is even "
    "in x: the mean cosine of x̃ and x, which for samples is 0",
    function=mix,
    method="exact Gibbs sampling, s given x and x given s",
    kind="heuristic",
)
def reconstruction_is_no_sample(lab: Lab) -> Checks:
    cosines = []
    for model in models(lab, 6):
        exact = ExactCapsules(model.W, model.c)
        x = lab.round(exact.sample(256, lab.rng) * (1.0 - 4.0 * lab.eps))
        rebuilt = cosines_of(lab.run(mix, x, model.W, model.c).x_in, x)
        sampled = cosines_of(exact.gibbs_step(x, lab.rng), x)
        cosines.append(np.mean(rebuilt))
        error = sampled.std() / math.sqrt(len(x) - 1)
        yield lab.close(sampled.mean(), 0.0, error=error)
    yield lab.measured(float(np.mean(cosines)), between=(0.65, 0.9))


def cosines_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosine of each example's input capsules, one after the other, (N,)."""
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    return np.sum(x * y, axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))


@claim(
    "Algorithm 1",
    "3.2",
    "mixing by routing does not leave P(x) as it is: its distance from P, over what one chance in "
    "a hundred exceeds; exact Gibbs sampling stays below twice that",
    function="mix, check_stationarity",
    method="kernel two-sample test on exact samples",
    kind="heuristic",
)
def mixing_is_not_stationary(lab: Lab) -> Checks:
    ratios = []
    for model in models(lab, 3):
        exact = ExactCapsules(model.W / 2.0, model.c)

        def by_routing(
            x: np.ndarray, _: np.random.Generator, exact: ExactCapsules = exact
        ) -> np.ndarray:
            return lab.run(mix, x, exact.W, exact.c).x_in

        routed, sampled = (
            check_stationarity(
                kernel,
                exact.log_likelihood,
                exact.balls,
                log_bound=exact.log_bound - exact.log_partition(),
                n_samples=256,
                level=0.01,
                random_state=int(lab.rng.integers(2**31)),
            )
            for kernel in (by_routing, exact.gibbs_step)
        )
        ratios.append(routed.distance / routed.floor)
        # the chance falls off exponentially in the distance's square: at twice it is about 0.01⁴
        yield lab.below(sampled.distance / sampled.floor, 2.0, "twice one chance in a hundred")
    yield lab.measured(float(np.mean(ratios)), between=(1.5, 9.5))


# --- the rule for U ---------------------------------------------------------------------------


@claim(
    "§4.1",
    "4.1",
    "ΔU_ji = 2 e_ji (z_i x_jᵀ/(1 + ‖z_i‖²) − z̃_i x̃_jᵀ/(1 + ‖z̃_i‖²)), z̃_i = Σ_j e_ji U_ji x_j "
    "and x̃_j = squash(Σ_i e_ji U_jiᵀ z̃_i), in the mean over the batch",
    function=decoder_gradient,
    method="nested loops over scalars",
)
def rule_for_the_decoder(lab: Lab) -> Checks:
    for case, model in enumerate(models(lab, 4, own=True)):
        U, e = turned(model.W, model.c)  # (J, I, P, D)
        code, features = lab.in_balls(B, J, D), lab.normal(B, I, P)
        on = lab.bits(B, J) if case // 2 else np.ones((B, J))
        gates = on if case // 2 else None
        held = code * on[..., None]
        rebuilt = outputs(held, U, e)
        again = each(squashed, outputs(rebuilt, *turned(U, e))) * on[..., None]
        expected = outer_mean(e, each(weighed, features), held)
        expected -= outer_mean(e, each(weighed, rebuilt), again)
        size = lengths(outputs(np.abs(held), np.abs(U), e))
        back = lengths(outputs(size, *turned(np.abs(U), e))) + 1.0
        ones, halves = np.ones(held.shape), np.full(features.shape, 0.5)
        magnitude = outer_mean(e, size + 1.0, ones) + outer_mean(e, halves, back)
        found = lab.run(decoder_gradient, code, features, U, e, on=gates)
        yield lab.near(found, expected, magnitude=magnitude, terms=ROUNDINGS + B + 4)


# --- Gibbs sampling ---------------------------------------------------------------------------


@claim(
    "§2.1",
    "2.1",
    "a whole Gibbs step, h given v and v given that h, leaves p(v) as it is; with the biases "
    "turned, as printed, it does not",
    function="rbm_hidden_probability, rbm_visible_probability",
    method="transition matrix by enumeration, p by sums over all states",
)
def gibbs_step_keeps_visible_states(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        w, b, c = lab.normal(3, 2), lab.normal(3), lab.normal(2)
        found, broken = (
            check_stationarity(gibbs_step(lab, w, *biases), log_p_of(w, b, c), V)
            for biases in ((b, c), (-b, -c))
        )
        # probabilities magnify a relative change of w, b and c by at most the largest energy
        largest = 1.0 + float(np.sum(np.abs(w)) + np.sum(np.abs(b)) + np.sum(np.abs(c)))
        terms = 4.0 * (3 + 2) * largest
        yield lab.below(found.distance, terms * lab.eps, f"{terms:.3g} roundings")
        yield lab.true(broken.distance > 1e-3, "with the biases turned p changes")


def log_p_of(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From visible states (N, 3) to log p(v) + log Z, the hidden states added up one by one."""

    def log_p(states: np.ndarray) -> np.ndarray:
        sums = [math.fsum(math.exp(v @ w @ h + v @ b + h @ c) for h in H) for v in states]
        return np.log(sums)

    return log_p


def gibbs_step(lab: Lab, w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Probabilities of going from one visible state to another, by way of every hidden one."""
    on_h, on_v = lab.run(rbm_hidden_probability, V, w, c), lab.run(rbm_visible_probability, H, w, b)
    h_given_v = np.prod(np.where(H == 1.0, on_h[:, None], 1.0 - on_h[:, None]), axis=-1)
    v_given_h = np.prod(np.where(V == 1.0, on_v[:, None], 1.0 - on_v[:, None]), axis=-1)
    return h_given_v @ v_given_h
