"""Ways to route by name: from input capsules and prediction maps to coefficients and sums.

Each is a pure function ``route(x, W, ...)`` with its gradient ``vjp(x, W, g, ...)`` by hand, and
may have learned parameters. Beside routing by agreement, they hold the predictions (B, I, J, D) in
memory. Derivations: :doc:`/derivations/routings`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.functional.routing import route
from capsnp.functional.routing_gradient import route_vjp
from capsnp.functional.routings._votes import predictions_vjp
from capsnp.functional.routings.attention import self_attention_route, self_attention_route_vjp
from capsnp.functional.routings.em import em_route, em_route_vjp
from capsnp.functional.routings.inverted import inverted_route, inverted_route_vjp
from capsnp.functional.routings.kmeans import kmeans_route, kmeans_route_vjp
from capsnp.functional.routings.leaky import leaky_route, leaky_route_vjp

__all__ = [
    "ROUTINGS",
    "Parameter",
    "RoutingRule",
    "em_route",
    "em_route_vjp",
    "inverted_route",
    "inverted_route_vjp",
    "kmeans_route",
    "kmeans_route_vjp",
    "leaky_route",
    "leaky_route_vjp",
    "predictions_vjp",
    "self_attention_route",
    "self_attention_route_vjp",
]


class Parameter(NamedTuple):
    """What a learned parameter is before it has learned: an array of one number."""

    shape: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class RoutingRule:
    """A way to route.

    Attributes
    ----------
    name : str
    route : callable
        ``route(x, W, **options, **parameters)`` to a `Routing` of c (B, I, J) and z (B, J, D);
        the network squashes z.
    vjp : callable
        ``vjp(x, W, g, **options, **parameters)``, the gradient of ⟨g, z⟩ as a dict of arrays:
        "x", "W" and every learned parameter by its name.
    initial : callable
        ``initial(I, J, D)``: the learned parameters by name, each a `Parameter`; empty for most.
    options : tuple of str
        Options that both functions take.
    gradient_options : tuple of str
        Further options of `vjp`.

    Examples
    --------
    >>> ROUTINGS["em"].options
    ('iterations', 'inverse_temperature', 'prior_votes', 'prior_variance')
    >>> ROUTINGS["em"].initial(8, 3, 4)["beta_u"]
    Parameter(shape=(3,), value=0.0)
    """

    name: str
    route: Callable[..., Any]
    vjp: Callable[..., dict[str, Array]]
    initial: Callable[[int, int, int], dict[str, Parameter]]
    options: tuple[str, ...]
    gradient_options: tuple[str, ...] = ()


def _route_vjp(x: Array, W: Array, g: Array, **options: Any) -> dict[str, Array]:
    return route_vjp(x, W, g, **options)._asdict()


def _nothing(I: int, J: int, D: int) -> dict[str, Parameter]:  # noqa: ARG001
    return {}


def _betas(I: int, J: int, D: int) -> dict[str, Parameter]:  # noqa: ARG001
    return {"beta_u": Parameter((J,), 0.0), "beta_a": Parameter((J,), 0.0)}


def _prior(I: int, J: int, D: int) -> dict[str, Parameter]:  # noqa: ARG001
    return {"prior": Parameter((I, J), 0.0)}


def _normalisation(I: int, J: int, D: int) -> dict[str, Parameter]:  # noqa: ARG001
    return {"gain": Parameter((D,), 1.0), "bias": Parameter((D,), 0.0)}


_RULES = (
    RoutingRule(
        "dynamic",
        route,
        _route_vjp,
        _nothing,
        ("iterations", "agreement", "normalize", "logits", "squash"),
        ("gradient",),
    ),
    RoutingRule("leaky", leaky_route, leaky_route_vjp, _nothing, ("iterations", "squash")),
    RoutingRule("kmeans", kmeans_route, kmeans_route_vjp, _nothing, ("iterations", "temperature")),
    RoutingRule(
        "em",
        em_route,
        em_route_vjp,
        _betas,
        ("iterations", "inverse_temperature", "prior_votes", "prior_variance"),
    ),
    RoutingRule("self-attention", self_attention_route, self_attention_route_vjp, _prior, ()),
    RoutingRule(
        "inverted-dot-product", inverted_route, inverted_route_vjp, _normalisation, ("iterations",)
    ),
)

ROUTINGS: dict[str, RoutingRule] = {rule.name: rule for rule in _RULES}
"""Ways to route by name."""
