"""The loop that most routings are: weigh the votes, form what they are compared with, weigh again.

Letters as in `_votes`; p_j is what the votes u_ij for the output j are compared with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.functional.activations import softmax
from capsnp.functional.routings._votes import agree, even, outer, softmax_pull, weigh


class Loop(NamedTuple):
    """What sets a routing apart from others.

    Attributes
    ----------
    target : callable
        ``target(z)`` is p, both (B, J, D).
    pull : callable
        ``pull(z, dp)``: the gradient with respect to z of ⟨dp, target(z)⟩.
    adds_up : bool
        Whether agreements u·p are added to the logits, or replace them.
    leaks : bool
        Whether one further output has the constant logit 0.
    """

    target: Callable[[Array], Array]
    pull: Callable[[Array, Array], Array]
    adds_up: bool = False
    leaks: bool = False


class Weighting(NamedTuple):
    """Coefficients (B, J, I), and the sums (B, J, D) that they weigh."""

    c: Array
    z: Array


def weightings(xp: Any, u: Array, iterations: int, loop: Loop) -> list[Weighting]:
    """Every weighting of the votes u (B, J, I, D), the first with equal coefficients."""
    c = even(xp, u, 1.0 / (u.shape[1] + loop.leaks))
    found = [Weighting(c, weigh(xp, c, u))]
    logits = xp.zeros_like(c)
    for _ in range(iterations - 1):
        agreement = agree(xp, u, loop.target(found[-1].z))
        logits = logits + agreement if loop.adds_up else agreement
        c = leaky_softmax(xp, logits) if loop.leaks else softmax(logits, axis=1)
        found.append(Weighting(c, weigh(xp, c, u)))
    return found


def votes_gradient(xp: Any, u: Array, found: list[Weighting], g: Array, loop: Loop) -> Array:
    """Gradient with respect to u of ⟨g, the last sum⟩, through every weighting."""
    du, db = outer(found[-1].c, g), xp.zeros_like(found[-1].c)
    dz = g
    for after, before in zip(reversed(found), found[-2::-1], strict=False):
        pulled = softmax_pull(xp, after.c, agree(xp, u, dz))
        db = db + pulled if loop.adds_up else pulled
        du = du + outer(db, loop.target(before.z))
        dz = loop.pull(before.z, weigh(xp, db, u))
        du = du + outer(before.c, dz)
    return du


def leaky_softmax(xp: Any, logits: Array) -> Array:
    """exp(b_j) / (1 + Σ_k exp(b_k)) over axis 1, shifted by the largest logit, 0 among them."""
    largest = xp.max(logits, axis=1, keepdims=True)
    largest = xp.maximum(largest, xp.zeros_like(largest))
    odds = xp.exp(logits - largest)
    return odds / (xp.exp(-largest) + xp.sum(odds, axis=1, keepdims=True))
