"""Beyond the paper: the gradient through routing by agreement."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.routing import route
from capsnp.functional.routing_gradient import route_vjp
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, I, J, D, P = 2, 4, 3, 2, 3
ROUNDINGS = 4.0 * (I + J + D + P)
"""Of one weighting with its agreement, there and back."""
_NUDGE = 1e-6


class Problem(NamedTuple):
    """A layer and a cotangent of its sums."""

    x: np.ndarray
    """(B, I, P)."""
    W: np.ndarray
    """(I, J, D, P)."""
    g: np.ndarray
    """(B, J, D)."""


def problem(lab: Lab) -> Problem:
    """Predictions are about one long."""
    x, W = lab.normal(B, I, P, scale=0.4), lab.normal(I, J, D, P)
    return Problem(x, W, lab.normal(B, J, D))


def agreements(u: np.ndarray, z: np.ndarray, agreement: str) -> np.ndarray:
    """Of real or complex predictions (B, I, J, D) with sums (B, J, D), analytic in both."""
    inner = np.sum(u * z[:, None], axis=3)
    square = np.sum(z * z, axis=2)[:, None]
    if agreement == "cosine":
        return inner / np.sqrt(np.sum(u * u, axis=3) * square)
    found = inner * np.sqrt(square) / (1.0 + square)
    return found / math.sqrt(u.shape[3]) if agreement == "scaled" else found


def softmax_by_hand(logits: np.ndarray, normalize: str) -> np.ndarray:
    weights = np.exp(logits)
    return weights / np.sum(weights, axis=1 if normalize == "inputs" else 2, keepdims=True)


def sums(
    u: np.ndarray,
    iterations: int,
    agreement: str,
    normalize: str,
    *,
    gradient: str = "full",
    shared: bool = False,
) -> np.ndarray:
    """The last sums, analytic in the predictions; what `gradient` holds constant is real."""
    logits = np.zeros(u.shape[:3], u.dtype)
    for weighting in range(1, iterations):
        z = np.sum(softmax_by_hand(logits, normalize)[..., None] * u, axis=1)
        if gradient == "last" and weighting == iterations - 1:
            logits, z = logits.real, z.real
        added = agreements(u, z, agreement)
        logits = logits + (np.mean(added, axis=0) if shared else added)
    c = softmax_by_hand(logits, normalize)
    return np.sum((c.real if gradient == "frozen" else c)[..., None] * u, axis=1)


def by_complex_steps(at: Problem, *rule: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gradients in x and W."""

    def score(x: np.ndarray, W: np.ndarray) -> complex:
        u = np.einsum("ijdp,bip->bijd", W, x)
        return complex(np.sum(at.g * sums(u, *rule, **options)))

    return slopes(lambda x: score(x, at.W), at.x), slopes(lambda W: score(at.x, W), at.W)


def conditions(
    lab: Lab, at: Problem, found: tuple[np.ndarray, ...], *rule: Any, **options: Any
) -> Iterator[float]:
    """How many times a relative change of all arguments each gradient changes, and one more."""
    nudged = Problem(*(a * (1.0 + _NUDGE * lab.rng.choice([-1.0, 1.0], a.shape)) for a in at))
    beside = by_complex_steps(nudged, *rule, **options)
    for here, there in zip(found, beside, strict=True):
        yield 1.0 + float(np.max(np.abs(there - here)) / np.max(np.abs(here))) / _NUDGE


def gradients(
    lab: Lab, iterations: int, agreement: str, normalize: str, gradient: str = "full"
) -> Checks:
    """`route_vjp` against complex steps."""
    at, rule = problem(lab), (iterations, agreement, normalize)
    expected = by_complex_steps(at, *rule, gradient=gradient)
    names = dict(zip(("iterations", "agreement", "normalize"), rule, strict=True))
    found = lab.run(route_vjp, *at, gradient=gradient, **names)
    for actual, by_hand, condition in zip(
        found, expected, conditions(lab, at, expected, *rule, gradient=gradient), strict=True
    ):
        yield lab.near(actual, by_hand, terms=ROUNDINGS * iterations, condition=condition)


STEPS = "complex steps through scalar formulas, number by number"


@claim(
    "(R3)",
    "routing's gradient",
    "the gradient through all weightings of routing by cosines, 2 and 3 of them",
    function=route_vjp,
    method=STEPS,
)
def gradient_through_cosines(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, 2, "cosine", "outputs")
        yield from gradients(lab, 3, "cosine", "inputs")


@claim(
    "(R3)",
    "routing's gradient",
    "the gradient through all weightings of routing by inner products with squash(z_j), and by "
    "those over √D",
    function=route_vjp,
    method=STEPS,
)
def gradient_through_inner_products(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, 3, "dot", "outputs")
        yield from gradients(lab, 3, "scaled", "inputs")


@claim(
    "(R4)",
    "routing's gradient",
    "through the last agreement alone: the z_j before it and the logits before it are constants",
    function=route_vjp,
    method=STEPS,
)
def gradient_through_the_last_agreement(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, 3, "dot", "outputs", "last")
        yield from gradients(lab, 3, "cosine", "inputs", "last")


@claim(
    "(R5)",
    "routing's gradient",
    "with the last coefficients as constants: ∂x_i = Σ_j c_ij W_ijᵀ g_j, ∂W_ij = Σ_b c_ij g_j x_iᵀ",
    function=route_vjp,
    method=STEPS,
)
def gradient_with_frozen_coefficients(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, 3, "dot", "outputs", "frozen")
        yield from gradients(lab, 2, "cosine", "inputs", "frozen")


@claim(
    "(R6)",
    "routing's gradient",
    "logits of the whole batch, to which mean agreements are added: the sums, and the gradient "
    "through every example's share",
    function="route, route_vjp",
    method=STEPS,
)
def gradient_with_shared_logits(lab: Lab) -> Checks:
    rule = (3, "dot", "outputs")
    names: dict[str, Any] = {"agreement": "dot", "normalize": "outputs", "logits": "batch"}
    for _ in lab.cases(1):
        at = problem(lab)
        u = np.einsum("ijdp,bip->bijd", at.W, at.x)
        size = 1.0 + float(np.max(np.abs(u))) ** 2
        z = lab.run(route, at.x, at.W, **names).z
        yield lab.near(z, sums(u, *rule, shared=True), terms=3 * ROUNDINGS, condition=size)
        expected = by_complex_steps(at, *rule, shared=True)
        found = lab.run(route_vjp, *at, **names)
        bounds = conditions(lab, at, expected, *rule, shared=True)
        for actual, by_hand, condition in zip(found, expected, bounds, strict=True):
            yield lab.near(actual, by_hand, terms=3 * ROUNDINGS, condition=condition)
