"""Section 3.2 and 4.1: Algorithm 1, and the rule for U that follows it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from capsnp.functional.contrastive import cd_gradient, decoder_gradient, mix
from capsnp.functional.routing import route
from capsnp.verification.claims._by_hand import Layer, norm, turned, weighted_sums
from capsnp.verification.claims.likelihood import (
    ROUNDINGS,
    B,
    D,
    I,
    J,
    P,
    lengths,
    models,
    outer_mean,
)
from capsnp.verification.exact import ExactCapsules
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.stationarity import check_stationarity


def each(function: Callable[[list[float]], list[float]], z: np.ndarray) -> np.ndarray:
    """A function of one vector on every capsule (N, J, D)."""
    return np.asarray([[function(list(vector)) for vector in capsules] for capsules in z])


def squashed(vector: list[float]) -> list[float]:
    """(4)."""
    length = norm(vector)
    return [number * length / (1.0 + length**2) for number in vector]


def weighed(vector: list[float]) -> list[float]:
    """z/(1 + ‖z‖²)."""
    square = math.fsum(number**2 for number in vector)
    return [number / (1.0 + square) for number in vector]


# --- Algorithm 1 ------------------------------------------------------------------------------


class Pass(NamedTuple):
    """The quantities of Algorithm 1."""

    z: np.ndarray
    x_out: np.ndarray
    x_in: np.ndarray
    z_model: np.ndarray
    x_out_model: np.ndarray


def mixed(model: Layer, steps: int, on: np.ndarray) -> Pass:
    """Algorithm 1 line by line, with gates (B, J)."""
    x, W, c = model
    z = z_model = weighted_sums(x, W, c)
    x_out = x_out_model = each(squashed, z) * on[..., None]
    for _ in range(steps):
        x_in = each(squashed, weighted_sums(x_out_model, *turned(W, c)))
        z_model = weighted_sums(x_in, W, c)
        x_out_model = each(squashed, z_model) * on[..., None]
    return Pass(z, x_out, x_in, z_model, x_out_model)


def mixed_size(model: Layer, steps: int) -> Pass:
    """What one relative rounding in every line of Algorithm 1 may move its quantities by.

    An error of z moves squash(z), of length below 1, by at most 3√3/8 times as much.
    """
    slope = 3.0 * math.sqrt(3.0) / 8.0
    x, W, c = np.abs(model.x), np.abs(model.W), model.c
    z = z_model = lengths(weighted_sums(x, W, c))
    x_out = x_out_model = slope * z + 1.0
    for _ in range(steps):
        x_in = slope * lengths(weighted_sums(x_out_model, *turned(W, c))) + 1.0
        z_model = lengths(weighted_sums(x_in, W, c))
        x_out_model = slope * z_model + 1.0
    return Pass(z, x_out, x_in, z_model, x_out_model)


def by_hand(model: Layer, steps: int, on: np.ndarray) -> np.ndarray:
    """Algorithm 1's gradient from its quantities by hand."""
    at = mixed(model, steps, on)
    data = outer_mean(model.c, each(weighed, at.z) * on[..., None], model.x)
    return data - outer_mean(model.c, each(weighed, at.z_model) * on[..., None], at.x_in)


def by_hand_size(model: Layer, steps: int) -> np.ndarray:
    """What one relative rounding in every line may move the gradient by: ‖w‖ ≤ ½, of slope 1."""
    size = mixed_size(model, steps)
    data = outer_mean(model.c, size.z + 0.5, np.ones(model.x.shape))
    of_weights = outer_mean(model.c, size.z_model + 0.5, np.ones(model.x.shape))
    return data + of_weights + outer_mean(model.c, np.full(size.z.shape, 0.5), size.x_in)


def mixing_checks(lab: Lab, model: Layer, steps: int, on: np.ndarray | None) -> Checks:
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
        kept = Layer(x, W, c)
        gradient = lab.run(cd_gradient, *kept)
        ones = np.ones((B, J))
        magnitude = by_hand_size(kept, 1)
        expected = by_hand(kept, 1, ones)
        yield lab.near(gradient, expected, magnitude=magnitude, terms=ROUNDINGS + B + 4)
        x_in = mixed(kept, 1, ones).x_in
        anew = lab.run(route, lab.round(x_in), W).c
        z_anew = weighted_sums(x_in, W, anew)
        routed_anew = outer_mean(c, each(weighed, weighted_sums(x, W, c)), x) - outer_mean(
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
        rebuilt = weighted_sums(held, U, e)
        again = each(squashed, weighted_sums(rebuilt, *turned(U, e))) * on[..., None]
        expected = outer_mean(e, each(weighed, features), held)
        expected -= outer_mean(e, each(weighed, rebuilt), again)
        size = lengths(weighted_sums(np.abs(held), np.abs(U), e))
        back = lengths(weighted_sums(size, *turned(np.abs(U), e))) + 1.0
        ones, halves = np.ones(held.shape), np.full(features.shape, 0.5)
        magnitude = outer_mean(e, size + 1.0, ones) + outer_mean(e, halves, back)
        found = lab.run(decoder_gradient, code, features, U, e, on=gates)
        yield lab.near(found, expected, magnitude=magnitude, terms=ROUNDINGS + B + 4)
