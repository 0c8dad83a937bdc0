"""Beyond the paper: other ways to route, each with its gradient."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from capsnp.functional.routings import ROUTINGS, kmeans_route
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, I, J, D, P = 1, 3, 2, 3, 2
ROUNDINGS = 8.0 * (I + J + D + P)
"""Of one weighting, there and back."""
_NUDGE = 1e-6
TEMPERATURE = 0.5
EM = {"inverse_temperature": 0.7, "prior_votes": 0.5, "prior_variance": 0.125}

Arguments = dict[str, np.ndarray]
Formula = Callable[..., np.ndarray]


def softmax_by_hand(logits: np.ndarray, beside: float = 0.0) -> np.ndarray:
    """Over outputs (I, J), with a constant added to what they share."""
    weights = np.exp(logits)
    return weights / (beside + np.sum(weights, axis=1, keepdims=True))


def rounds(u: np.ndarray, target: Formula, *, beside: float = 0.0, adds_up: bool) -> np.ndarray:
    """Three weightings of votes (I, J, D), analytic in them."""
    logits = np.zeros((I, J), u.dtype)
    for last in (False, False, True):
        z = np.sum(softmax_by_hand(logits, beside)[..., None] * u, axis=0)
        if not last:
            agreement = np.sum(u * target(z), axis=2)
            logits = logits + agreement if adds_up else agreement
    return z


def lengths(z: np.ndarray) -> np.ndarray:
    """(J, 1), analytic."""
    return np.sqrt(np.sum(z * z, axis=1, keepdims=True))


def leaky(x: np.ndarray, u: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return rounds(u, lambda z: z * lengths(z) / (1.0 + lengths(z) ** 2), beside=1.0, adds_up=True)


def kmeans(x: np.ndarray, u: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return rounds(u, lambda z: z / lengths(z) / TEMPERATURE, adds_up=False)


def inverted(x: np.ndarray, u: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:  # noqa: ARG001
    def pose(z: np.ndarray) -> np.ndarray:
        off = z - np.mean(z, axis=1, keepdims=True)
        return gain * off / np.sqrt(np.mean(off * off, axis=1, keepdims=True)) + bias

    return rounds(u, pose, adds_up=False)


def self_attention(x: np.ndarray, u: np.ndarray, prior: np.ndarray) -> np.ndarray:  # noqa: ARG001
    logits = np.zeros((I, J), u.dtype)
    for i, other in np.ndindex(I, I):
        logits[i] += np.sum(u[i] * u[other], axis=1) / math.sqrt(D)
    return np.sum((softmax_by_hand(logits) + prior)[..., None] * u, axis=0)


def em(x: np.ndarray, u: np.ndarray, beta_u: np.ndarray, beta_a: np.ndarray) -> np.ndarray:
    a = np.sqrt(np.sum(x * x, axis=1))[:, None]
    c, nu = np.full((I, J), 1.0 / J), EM["prior_votes"]
    for t in (1, 2, 3):
        R = a * c
        S = np.sum(R, axis=0)[:, None]
        mu = np.sum(R[..., None] * u, axis=0) / S
        v = np.sum(R[..., None] * (u - mu) ** 2, axis=0) + nu * EM["prior_variance"]
        v = v / (S + nu)
        costs = S * (beta_u[:, None] + 0.5 * np.log(v / EM["prior_variance"]))
        s = EM["inverse_temperature"] * (1.0 - 0.95**t) * (beta_a - np.sum(costs, axis=1))
        density = np.prod(np.exp(-((u - mu) ** 2) / (2.0 * v)) / np.sqrt(2.0 * np.pi * v), axis=2)
        weights = density / (1.0 + np.exp(-s))
        c = weights / np.sum(weights, axis=1, keepdims=True)
    return np.exp(0.5 * s)[:, None] * mu / lengths(mu)


def score(formula: Formula, at: Arguments, g: np.ndarray) -> complex:
    x, W, *learned = at.values()
    return complex(np.sum(g * formula(x, np.einsum("ijdp,ip->ijd", W, x), *learned)))


def by_complex_steps(formula: Formula, at: Arguments, g: np.ndarray) -> Arguments:
    """The gradient of one example's score in every argument."""
    return {
        name: slopes(lambda value, name=name: score(formula, at | {name: value}, g), at[name])  # type: ignore[misc]
        for name in at
    }


def conditions(
    lab: Lab, formula: Formula, at: Arguments, g: np.ndarray, found: Arguments
) -> Iterator[float]:
    """How many times a relative change of all arguments each gradient changes, and one more."""
    nudged = {
        name: value * (1.0 + _NUDGE * lab.rng.choice([-1.0, 1.0], value.shape))
        for name, value in at.items()
    }
    beside = by_complex_steps(formula, nudged, g)
    for name, here in found.items():
        off = np.max(np.abs(beside[name] - here)) / np.max(np.abs(here))
        yield 1.0 + float(off) / _NUDGE


def gradients(lab: Lab, name: str, formula: Formula, **options: Any) -> Checks:
    """A rule and its gradient against the formula and complex steps through it."""
    rule = ROUTINGS[name]
    at = {"x": lab.normal(I, P, scale=0.5), "W": lab.normal(I, J, D, P)}
    for parameter, first in rule.initial(I, J, D).items():
        at[parameter] = lab.round(first.value + 0.25 * lab.rng.standard_normal(first.shape))
    g = lab.normal(J, D)
    learned = {parameter: at[parameter] for parameter in at if parameter not in ("x", "W")}
    arguments = at["x"][None], at["W"]
    expected = by_complex_steps(formula, at, g)
    bounds = list(conditions(lab, formula, at, g, expected))
    z = lab.run(rule.route, *arguments, **options, **learned).z[0]
    votes = np.einsum("ijdp,ip->ijd", at["W"], at["x"])
    by_hand = formula(at["x"], votes, *learned.values())
    yield lab.near(z, by_hand, terms=3 * ROUNDINGS, condition=max(bounds))
    found = lab.run(
        lambda *arrays, **parameters: tuple(
            rule.vjp(*arrays, **options, **parameters)[name] for name in at
        ),
        *arguments,
        g[None],
        **learned,
    )
    for actual, wanted, bound in zip(found, expected.values(), bounds, strict=True):
        actual = actual[0] if actual.ndim > wanted.ndim else actual
        yield lab.near(actual, wanted, terms=3 * ROUNDINGS, condition=bound)


STEPS = "formulas of one example, and complex steps through them"


@claim(
    "(S1)",
    "other routings",
    "leaky routing: shares e^b/(1 + Σ e^b) of three weightings, and the gradient through all",
    function="leaky_route, leaky_route_vjp",
    method=STEPS,
)
def leaky_routing_by_hand(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, "leaky", leaky)


@claim(
    "(S2)",
    "other routings",
    "k-means routing: three weightings with unit centres, and the gradient through all",
    function="kmeans_route, kmeans_route_vjp",
    method=STEPS,
)
def kmeans_routing_by_hand(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, "kmeans", kmeans, temperature=TEMPERATURE)


@claim(
    "(S2)",
    "other routings",
    "each round of k-means routing lowers −Σ c_ij u_ij·s_j + T Σ c_ij log c_ij",
    function=kmeans_route,
    method="the free energy of each round, with s_j = z_j/‖z_j‖",
)
def kmeans_routing_lowers_its_energy(lab: Lab) -> Checks:
    for _ in lab.cases(3):
        x, W = lab.normal(B, I, P), lab.normal(I, J, D, P)
        before, size = math.inf, float(np.sum(np.abs(x))) * float(np.max(np.abs(W)))
        for iterations in (1, 2, 3, 4):
            c, z = lab.run(kmeans_route, x, W, iterations=iterations, temperature=TEMPERATURE)
            c = np.maximum(c, 2.0**-120)
            energy = TEMPERATURE * np.sum(c * np.log(c)) - np.sum(lengths(z[0]))
            yield lab.below(float(energy) - before, ROUNDINGS * lab.eps * (size + 1.0), "rounding")
            before = float(energy)


@claim(
    "(S3)",
    "other routings",
    "EM routing: three M-steps with the prior of the variances, z_j of the length e^{s_j/2}, and "
    "the gradient through all, also in β_u and β_a",
    function="em_route, em_route_vjp",
    method=STEPS,
)
def em_routing_by_hand(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, "em", em, **EM)


@claim(
    "(S4)",
    "other routings",
    "self-attention: softmax of the column sums of U_j U_jᵀ/√D, plus the prior, and its gradient",
    function="self_attention_route, self_attention_route_vjp",
    method=STEPS,
)
def self_attention_by_hand(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, "self-attention", self_attention)


@claim(
    "(S5)",
    "other routings",
    "inverted dot-product attention: three weightings with normalised poses, and the gradient "
    "through all, also in gain and bias",
    function="inverted_route, inverted_route_vjp",
    method=STEPS,
)
def inverted_attention_by_hand(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from gradients(lab, "inverted-dot-product", inverted)
