"""What the options of `CapsNet` stand for: squash, loss, routing and first weights."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional._plain_routing import Gradient
from capsnp.functional.losses import (
    cross_entropy,
    cross_entropy_gradient,
    margin_loss,
    margin_loss_gradient,
    spread_loss,
    spread_loss_gradient,
)
from capsnp.functional.routing import RoutingRecord, route_with_record
from capsnp.functional.routing_gradient import route_vjp
from capsnp.functional.routings import Parameter, RoutingRule
from capsnp.functional.squash import length, length_vjp
from capsnp.functional.squashes import SQUASHES
from capsnp.models._capsnet_network import ROUTING, Criterion, Norm, Router
from capsnp.models._capsnet_slips import (
    naive_length,
    naive_length_vjp,
    naive_squash,
    naive_squash_vjp,
)

Form = Literal["exact", "naive"]
Criteria = Literal["margin", "spread", "cross-entropy"]


def norm_of(squash: str, form: Form) -> Norm:
    """Squash and length.

    Raises
    ------
    OptionError
        If the naive form of another squash than Sabour's is asked for.
    """
    if form == "naive":
        if squash != "sabour":
            raise OptionError(f"squash: expected 'sabour' with norm='naive', got {squash!r}")
        return Norm(naive_squash, naive_squash_vjp, naive_length, naive_length_vjp)
    chosen = SQUASHES[squash]
    return Norm(chosen.apply, chosen.vjp, length, length_vjp)


def criterion_of(loss: Criteria, exponent: float) -> Criterion:
    """The loss; `exponent` is the margin loss's."""
    if loss == "spread":
        return Criterion(spread_loss, spread_loss_gradient)
    if loss == "cross-entropy":
        return Criterion(cross_entropy, cross_entropy_gradient)
    return Criterion(
        partial(margin_loss, exponent=exponent), partial(margin_loss_gradient, exponent=exponent)
    )


def router_of(rule: RoutingRule, options: Mapping[str, Any], gradient: Gradient) -> Router:
    """A way to route and back; of the options the rule takes those that it has."""
    taken = {name: options[name] for name in rule.options if name in options}
    if rule.name == "dynamic":
        return _dynamic(taken, gradient)

    def route(x: Array, W: Array, **own: Array) -> tuple[Array, None]:
        return rule.route(x, W, **taken, **own).z, None

    def back(x: Array, W: Array, g: Array, record: None, **own: Array) -> dict[str, Array]:  # noqa: ARG001
        return rule.vjp(x, W, g, **taken, **own)

    return Router(route, back)


def _dynamic(options: Mapping[str, Any], gradient: Gradient) -> Router:
    """Routing by agreement, with a record for the way back."""

    def route(x: Array, W: Array) -> tuple[Array, RoutingRecord]:
        routing, record = route_with_record(x, W, **options)
        return routing.z, record

    def back(x: Array, W: Array, g: Array, record: RoutingRecord) -> dict[str, Array]:
        return route_vjp(x, W, g, gradient=gradient, record=record, **options)._asdict()

    return Router(route, back)


def own_parameters(rule: RoutingRule, shape: tuple[int, ...]) -> dict[str, Parameter]:
    """What the routing itself learns by its weight's name, for W of this shape (I, J, D, P)."""
    return {f"{ROUTING}{name}": value for name, value in rule.initial(*shape[:3]).items()}


def first_weights(
    shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator, scale: float
) -> dict[str, np.ndarray]:
    """Normal weights: W of this standard deviation, others of variance 2 / inputs (He 2015).

    Biases are 0.
    """
    weights = {}
    for name, shape in shapes.items():
        if "bias" in name:
            weights[name] = np.zeros(shape)
            continue
        deviation = scale if name == "W" else math.sqrt(2.0 / math.prod(shape[:-1]))
        weights[name] = deviation * rng.standard_normal(shape)
    return weights
