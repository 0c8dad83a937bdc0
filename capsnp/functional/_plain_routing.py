"""Routing and its gradient from predictions that are held whole: the formulas, one by one.

Letters: predictions u (B, I, J, D), logits and coefficients (B, I, J) or, shared by the batch,
(1, I, J), sums z (B, J, D). The cotangent of what has a letter is called by it with d before.
"""

import math
from typing import Any, Literal, NamedTuple, Protocol

from capsnp.backend import Array
from capsnp.functional._polar import Polar, polar, sum_of_products, unit
from capsnp.functional.activations import softmax
from capsnp.functional.squashes import Squash

Gradient = Literal["full", "last", "frozen"]


class Options(NamedTuple):
    """Options of `route`, as they were asked for."""

    iterations: int
    agreement: str
    normalize: str
    logits: str
    squash: Squash

    def inner_scale(self, D: int) -> float:
        """What inner products are multiplied by."""
        return 1.0 / math.sqrt(D) if self.agreement == "scaled" else 1.0


class Weighting(NamedTuple):
    """One weighting: what it weighs by, and its sums."""

    c: Array
    z: Array


class Measure(Protocol):
    """How far a prediction agrees with a sum."""

    def of(self, u: Array, z: Array) -> Array:
        """(B, I, J)."""

    def vjp(self, u: Array, z: Array, da: Array) -> tuple[Array, Array]:
        """Gradients with respect to u and z of the sum of da times `of`."""


class Rule(NamedTuple):
    """What is done between two weightings.

    Attributes
    ----------
    agreement : Measure
    axis : int
        Of the softmax in logits (B, I, J).
    shared : bool
        Agreements are averaged over the batch.
    """

    agreement: Measure
    axis: int
    shared: bool


class InnerProduct:
    """scale · u·squash(z)."""

    def __init__(self, xp: Any, squash: Squash, scale: float) -> None:
        self._xp, self._squash, self._scale = xp, squash, scale

    def of(self, u: Array, z: Array) -> Array:
        target = self._scale * self._squash.apply(z)[:, None, ...]
        return sum_of_products(self._xp, u, self._xp.broadcast_to(target, u.shape), 3)

    def vjp(self, u: Array, z: Array, da: Array) -> tuple[Array, Array]:
        da = self._scale * da[..., None]
        dtarget = self._xp.sum(da * u, axis=1)
        return da * self._squash.apply(z)[:, None, ...], self._squash.vjp(z, dtarget)


class Cosine:
    """u·z / (‖u‖ ‖z‖), and 0 with gradient 0 where either is the zero vector."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def of(self, u: Array, z: Array) -> Array:
        xp = self._xp
        direction_u = unit(xp, u, polar(xp, u, 3))
        direction_z = unit(xp, z, polar(xp, z, 2))[:, None, ...]
        return xp.sum(direction_u * direction_z, axis=3)

    def vjp(self, u: Array, z: Array, da: Array) -> tuple[Array, Array]:
        xp = self._xp
        of_u, of_z = polar(xp, u, 3), polar(xp, z, 2)
        direction_u, direction_z = unit(xp, u, of_u), unit(xp, z, of_z)
        du = _turn(xp, direction_u, da[..., None] * direction_z[:, None, ...], of_u)
        return du, _turn(xp, direction_z, xp.sum(da[..., None] * direction_u, axis=1), of_z)


def rule_of(xp: Any, options: Options, D: int) -> Rule:
    """By the names of `route`'s options."""
    measure: Measure = Cosine(xp)
    if options.agreement != "cosine":
        measure = InnerProduct(xp, options.squash, options.inner_scale(D))
    return Rule(measure, 1 if options.normalize == "inputs" else 2, options.logits == "batch")


def weightings(xp: Any, u: Array, iterations: int, rule: Rule) -> list[Weighting]:
    """All weightings, from the first with equal coefficients."""
    logits = xp.zeros_like(u[..., 0])
    found = [_weigh(xp, u, logits, rule)]
    for _ in range(iterations - 1):
        added = rule.agreement.of(u, found[-1].z)
        if rule.shared:
            added = xp.mean(added, axis=0, keepdims=True)
        logits = logits + added
        found.append(_weigh(xp, u, logits, rule))
    return found


def predictions_gradient(
    xp: Any, u: Array, dz: Array, found: list[Weighting], rule: Rule, gradient: Gradient
) -> Array:
    """Gradient (B, I, J, D) with respect to u of the sum of dz times the last sums."""
    du = found[-1].c[..., None] * dz[:, None, ...]
    if gradient == "frozen":
        return du
    dlogits: Array | float = 0.0
    for t in range(len(found) - 1, 0, -1):
        dc = xp.sum(u * dz[:, None, ...], axis=3)
        dlogits = dlogits + _softmax_gradient(xp, found[t].c, dc, rule)
        from_agreement, dz = rule.agreement.vjp(u, found[t - 1].z, dlogits)
        du = du + from_agreement
        if gradient == "last":
            return du
        du = du + found[t - 1].c[..., None] * dz[:, None, ...]
    return du


def _weigh(xp: Any, u: Array, logits: Array, rule: Rule) -> Weighting:
    c = softmax(logits, axis=rule.axis)
    return Weighting(c, xp.sum(c[..., None] * u, axis=1))


def _softmax_gradient(xp: Any, c: Array, dc: Array, rule: Rule) -> Array:
    """With respect to each agreement that went into the logits."""
    weighted = c * dc
    found = weighted - c * xp.sum(weighted, axis=rule.axis, keepdims=True)
    if not rule.shared:
        return found
    mean = xp.mean(found, axis=0, keepdims=True)
    return xp.broadcast_to(mean, found.shape)


def _turn(xp: Any, direction: Array, g: Array, at: Polar) -> Array:
    """Gradient with respect to v of g·v/‖v‖: the part of g across v, over its length."""
    across = g - direction * xp.sum(direction * g, axis=-1, keepdims=True)
    found = unit(xp, across, at)
    return xp.where(at.scaled > 0, found, xp.zeros_like(found))
