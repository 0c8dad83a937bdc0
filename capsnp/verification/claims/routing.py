"""Section 2.2: routing by agreement."""

import math
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.routing import Agreement, Normalize, route
from capsnp.verification.claims._by_hand import norm, squash_formula
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, I, J, D, P = 2, 5, 3, 4, 6
ROUNDINGS = 2.0 * (I + D + P)
"""Of one weighting, and of one agreement."""


class Routed(NamedTuple):
    """One example, routed by hand."""

    c: np.ndarray
    """(I, J)."""
    z: np.ndarray
    """(J, D)."""
    size: np.ndarray
    """Lengths of what z adds up, (J, 1)."""
    condition: float
    """How many times the roundings of a step the coefficients may be off, relative to them."""


def route_by_hand(
    x: np.ndarray,
    W: np.ndarray,
    *,
    iterations: int,
    agreement: Agreement,
    normalize: Normalize,
    squashed: bool,
) -> Routed:
    """Routing of one example x (I, P) as section 2.2 tells it, with an unshifted softmax.

    Predictions are compared with z_j, or with squash(z_j). Beside it goes a bound on how a
    rounding of each prediction and each sum grows: a relative error of z_j turns its cosines by as
    much, and inner products with squash(z_j), whose length changes at most twice as fast as that
    of z_j, by up to twice as much times both lengths; an error of the logits changes a softmax by
    up to twice as much.
    """
    u, size = np.zeros((I, J, D)), np.zeros((I, J))
    for i, j in np.ndindex(I, J):
        u[i, j] = [math.fsum(row * x[i]) for row in W[i, j]]
        size[i, j] = norm([math.fsum(abs(row * x[i])) for row in W[i, j]])
    logits, off = np.zeros((I, J)), 0.0
    c, z = weigh(u, logits, normalize)
    for _ in range(iterations - 1):
        each_off = np.zeros((I, J))
        for i, j in np.ndindex(I, J):
            if not np.any(u[i, j]):
                continue  # a zero prediction agrees with nothing
            target = np.array(squash_formula(z[j])).real if squashed else z[j]
            inner = math.fsum(u[i, j] * target)
            z_off = (1.0 + 2.0 * off) * math.fsum(c[:, j] * size[:, j]) / norm(z[j])
            if agreement == "cosine":
                logits[i, j] += inner / (norm(u[i, j]) * norm(target))
                each_off[i, j] = size[i, j] / norm(u[i, j]) + z_off
            else:
                logits[i, j] += inner
                each_off[i, j] = norm(target) * (size[i, j] + 2.0 * norm(u[i, j]) * z_off)
        off += np.max(each_off)
        c, z = weigh(u, logits, normalize)
    return Routed(c, z, np.sum(c * size, axis=0)[:, None], 1.0 + 2.0 * off)


def weigh(u: np.ndarray, logits: np.ndarray, normalize: Normalize) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (I, J), and predictions u (I, J, D) weighed by them (J, D)."""
    weights = [[math.exp(logit) for logit in row] for row in logits]
    c, z = np.zeros((I, J)), np.zeros((J, D))
    for i, j in np.ndindex(I, J):
        others = [row[j] for row in weights] if normalize == "inputs" else weights[i]
        c[i, j] = weights[i][j] / math.fsum(others)
    for j, d in np.ndindex(J, D):
        z[j, d] = math.fsum(c[:, j] * u[:, j, d])
    return c, z


def problem(lab: Lab) -> tuple[np.ndarray, np.ndarray]:
    """x (B, I, P) and W (I, J, D, P) whose predictions are about one long."""
    return lab.normal(B, I, P, scale=0.3), lab.normal(I, J, D, P, scale=0.7)


def routes(
    lab: Lab,
    iterations: int,
    agreement: Agreement,
    normalize: Normalize,
    *,
    squashed: bool,
    block_size: int | None = None,
    zeros: bool = False,
) -> Checks:
    """`route` against routing by hand, example by example.

    With `zeros`, a capsule on either side is zero.
    """
    options: dict[str, Any] = {
        "iterations": iterations,
        "agreement": agreement,
        "normalize": normalize,
    }
    x, W = problem(lab)
    if zeros:
        x[:, 0], W[:, 0] = 0.0, 0.0
    found = lab.run(route, x, W, block_size=block_size, **options)
    for c, z, example in zip(*found, x, strict=True):
        hand = route_by_hand(example, W, squashed=squashed, **options)
        for actual, expected, magnitude in ((c, hand.c, hand.c), (z, hand.z, hand.size)):
            yield lab.near(
                actual,
                expected,
                magnitude=magnitude,
                terms=ROUNDINGS,
                condition=hand.condition,
            )


BY_HAND = "scalar loops over one example at a time, softmax without a shift"


@claim(
    "§2.2",
    "2.2",
    "With one iteration all coefficients over inputs are 1/I, whatever the agreement",
    function=route,
    method=BY_HAND,
)
def route_once_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 1, "cosine", "inputs", squashed=False)
        yield from routes(lab, 1, "dot", "inputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "With one iteration all coefficients over outputs are 1/J, whatever the agreement",
    function=route,
    method=BY_HAND,
)
def route_once_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 1, "cosine", "outputs", squashed=False)
        yield from routes(lab, 1, "dot", "outputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "Routing by cosines with coefficients over inputs, the paper's, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_cosine_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "cosine", "inputs", squashed=False)
        yield from routes(lab, 3, "cosine", "inputs", squashed=False)


@claim(
    "§2.2",
    "2.2",
    "Routing by cosines with coefficients over outputs, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_cosine_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "cosine", "outputs", squashed=False)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False)


@claim(
    "§2.2",
    "2.2",
    "Routing by inner products with squash(z_j) and coefficients over inputs, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_dot_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "dot", "inputs", squashed=True)
        yield from routes(lab, 3, "dot", "inputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "Routing by inner products with squash(z_j) and coefficients over outputs (Sabour et al. "
    "2017), 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_dot_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "dot", "outputs", squashed=True)
        yield from routes(lab, 3, "dot", "outputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "For cosines squashing can be left to the end, outside the loop; for inner products it cannot",
    function=route,
    method="routing by hand with squash inside the loop, and without",
)
def squash_outside_the_loop(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 3, "cosine", "inputs", squashed=True)
        x, W = problem(lab)
        with_it, without = (
            route_by_hand(
                x[0], W, iterations=3, agreement="dot", normalize="inputs", squashed=squashed
            )
            for squashed in (True, False)
        )
        yield lab.true(np.max(np.abs(with_it.c - without.c)) > 0.01, "the inner products differ")


@claim(
    "§2.2",
    "2.2",
    "The cosine with a zero vector is 0: capsules that are zero are routed like any other",
    function=route,
    method=BY_HAND,
)
def route_zero_capsules(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 3, "cosine", "inputs", squashed=False, zeros=True)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False, zeros=True)


@claim(
    "§2.2",
    "2.2",
    "Routing a few output capsules, or a few examples, at a time changes nothing",
    function=route,
    method=BY_HAND,
)
def route_in_blocks(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from routes(lab, 3, "dot", "inputs", squashed=True, block_size=1)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False, block_size=1)


@claim(
    "§2.2",
    "2.2",
    "No example's routing depends on the other examples of its batch",
    function=route,
    method="the others replaced by others a thousand times longer",
)
def routing_of_each_example_alone(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x, W = problem(lab)
        among_others = x.copy()
        among_others[1:] = lab.normal(B - 1, I, P, scale=300.0)
        for agreement, normalize in (("cosine", "inputs"), ("dot", "outputs")):
            options: dict[str, Any] = {
                "iterations": 3,
                "agreement": agreement,
                "normalize": normalize,
            }
            hand = route_by_hand(x[0], W, squashed=agreement == "dot", **options)
            before, after = (lab.run(route, batch, W, **options) for batch in (x, among_others))
            for actual, expected, magnitude in zip(after, before, (hand.c, hand.size), strict=True):
                yield lab.near(
                    actual[0],
                    expected[0],
                    magnitude=magnitude,
                    terms=ROUNDINGS,
                    condition=hand.condition,
                )


@claim(
    "§2.2",
    "2.2",
    "Σ_i c_ij = 1 and c_ij ≥ 0, the formula: each output capsule weighs all inputs",
    function=route,
    method="sums over inputs",
)
def coefficients_sum_over_inputs(lab: Lab) -> Checks:
    for agreement in ("cosine", "dot"):
        for _ in lab.cases(1):
            for iterations in (1, 2, 3):
                c, _ = lab.run(
                    route,
                    *problem(lab),
                    iterations=iterations,
                    agreement=agreement,
                    normalize="inputs",
                )
                yield lab.true(c >= 0.0, "not negative")
                yield lab.near(np.sum(c, axis=1), np.ones((B, J)), terms=2 * I)


@claim(
    "§2.2",
    "2.2",
    "Each lower capsule makes a finite amount of predictions: Σ_j c_ij = 1, the words; printed "
    "is Σ_i c_ij = 1, with which it makes any amount up to J",
    function=route,
    method="sums over outputs",
    kind="corrected",
)
def coefficients_sum_over_outputs(lab: Lab) -> Checks:
    for agreement in ("cosine", "dot"):
        for _ in lab.cases(1):
            x, W = problem(lab)
            for iterations in (1, 2, 3):
                options = {"iterations": iterations, "agreement": agreement}
                c, _ = lab.run(route, x, W, normalize="outputs", **options)
                yield lab.true(c >= 0.0, "not negative")
                yield lab.near(np.sum(c, axis=2), np.ones((B, I)), terms=2 * J)
                as_printed, _ = lab.run(route, x, W, normalize="inputs", **options)
                yield lab.printed_fails(np.sum(as_printed, axis=2), np.ones((B, I)))
