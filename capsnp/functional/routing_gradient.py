"""The gradient through routing by agreement, by hand.

Letters: i of I input capsules x_i of dimension P, j of J output capsules of dimension D, a batch
of B examples, predictions u_ij = W_ij x_i, coefficients c_ij.
"""

import itertools
from typing import Any, NamedTuple

from array_api_compat import device

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional._checks import expect_option, expect_shape, floating
from capsnp.functional._coupling import SharedCoupling, expect_layer, in_order, total
from capsnp.functional._plain_routing import (
    Gradient,
    Options,
    predictions_gradient,
    rule_of,
    weightings,
)
from capsnp.functional._routing_backward import Products, merged, terms_of
from capsnp.functional._weightings import Block, each, joined, weigh_in_blocks
from capsnp.functional.routing import (
    Agreement,
    Logits,
    Normalize,
    RoutingRecord,
    expect_rule,
    predictions,
)
from capsnp.functional.squashes import Squash


class RoutingGradient(NamedTuple):
    """What `route_vjp` finds.

    Attributes
    ----------
    x : array, shape (B, I, P)
        Gradient with respect to the input capsules.
    W : array, shape (I, J, D, P)
        Gradient with respect to the prediction maps, summed over the batch.
    """

    x: Array
    W: Array


def route_vjp(
    x: Array,
    W: Array,
    g: Array,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
    gradient: Gradient = "full",
    logits: Logits = "example",
    squash: str | Squash = "sabour",
    record: RoutingRecord | None = None,
) -> RoutingGradient:
    r"""Gradient with respect to x and W of :math:`\langle g, z\rangle`, z the sums of `route`.

    With :math:`u_{ij} = W_{ij} x_i`, weightings t = 1 … r and cotangents written with a bar,
    :math:`\bar z^r = g`, :math:`\bar b^{r+1} = 0` and, from t = r down,

    .. math::
        \bar c^t_{ij} = u_{ij} \cdot \bar z^t_j, \qquad
        \bar b^t = \bar b^{t+1} + c^t \circ \Big(\bar c^t - \sum c^t \bar c^t\Big), \qquad
        \bar z^{t-1}_j = \sum_i \bar b^t_{ij} \frac{\partial a(u_{ij}, z^{t-1}_j)}{\partial z_j}

    .. math::
        \bar u_{ij} = \sum_t c^t_{ij} \bar z^t_j
            + \sum_{t > 1} \bar b^t_{ij} \frac{\partial a(u_{ij}, z^{t-1}_j)}{\partial u_{ij}},
        \qquad \bar x_i = \sum_j W_{ij}^\top \bar u_{ij}, \qquad
        \bar W_{ij} = \sum_b \bar u_{ij} x_i^\top

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    g : array, shape (B, J, D)
        Cotangent of z.
    iterations, agreement, normalize, logits, squash
        Of `route`.
    gradient : {"full", "last", "frozen"}
        "full": through every weighting. "last": through the last weighting and the last agreement,
        whose z before it is a constant. "frozen": the last coefficients are constants, the
        gradient of many public programs. They differ from two weightings on.
    record : RoutingRecord, optional
        Of `route_with_record` with the same x, W and options; without it routing is done again.

    Returns
    -------
    RoutingGradient
        ``x`` (B, I, P) and ``W`` (I, J, D, P), in the dtype of the arguments. A cosine with a zero
        vector has the gradient 0.

    Raises
    ------
    OptionError
        If `iterations` is below 1, an option is unknown or the record is of other options.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, procedure 1.
    Derivation: :doc:`/derivations/routing_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
    >>> W = np.broadcast_to(np.eye(2), (3, 1, 2, 2))
    >>> g = np.asarray([[[1.0, 0.0]]])
    >>> route_vjp(x, W, g, iterations=2, agreement="dot", gradient="frozen").x[0, :, 0].round(3)
    array([0.355, 0.355, 0.29 ])
    >>> route_vjp(x, W, g, iterations=2, agreement="dot").x[0, :, 0].round(3)
    array([0.524, 0.524, 0.398])
    """
    xp = floating(x=x, W=W, g=g)
    expect_layer(x, W)
    options = expect_rule(iterations, agreement, normalize, logits, squash)
    expect_option("gradient", gradient, ("full", "last", "frozen"))
    expect_cotangent(x, W, g)
    if record is not None:
        expect_record(record, options)
    if x.shape[0] == 0:
        return RoutingGradient(xp.zeros_like(x), xp.zeros_like(W))
    if iterations == 1:
        return _uniform(xp, x, W, g, normalize)
    if logits == "batch":
        return _together(xp, x, W, g, options, gradient)
    blocks = record.blocks if record else weigh_in_blocks(xp, x, W, options, keep=True)
    found = [_of_examples(xp, x, W, g, block, options, gradient) for block in blocks]
    dx, dW = zip(*found, strict=True)
    return RoutingGradient(joined(xp, dx, axis=0), total(dW))


def expect_record(record: RoutingRecord, options: Options) -> None:
    """Raise `OptionError` unless a record is of these options."""
    wanted, got = (f"{(*each[:-1], each.squash.name)}" for each in (options, record.options))
    if wanted != got:
        raise OptionError(f"record: expected one of routing with {wanted}, got {got}")


def expect_cotangent(x: Array, W: Array, g: Array) -> None:
    """Raise `ShapeError` unless g is (B, J, D)."""
    expect_shape(
        "g",
        g,
        (x.shape[0], W.shape[1], W.shape[2]),
        axes="(B, J, D)",
        because=f"to match x {tuple(x.shape)} and W {tuple(W.shape)}",
    )


def _of_examples(
    xp: Any, x: Array, W: Array, g: Array, block: Block, options: Options, gradient: Gradient
) -> tuple[Array, Array]:
    """Gradients of some examples' parts."""
    g_JDB = in_order(xp, xp.permute_dims(g[block.rows, ...], (1, 2, 0)))
    sizes = [[part.n_outputs for part in trace.votes] for trace in block.traces]
    stops = itertools.accumulate((n for group in sizes for n in group), initial=0)
    parts = (g_JDB[slice(*ends), ...] for ends in itertools.pairwise(stops))
    dz = [[next(parts) for _ in group] for group in sizes]
    found = each(
        xp,
        lambda trace, dz: terms_of(xp, trace, dz, options.normalize, gradient),
        block.traces,
        dz,
    )
    products = Products(
        xp,
        x[block.rows, ...],
        W,
        cosine=options.agreement == "cosine",
        scaled=any(part.scaled for trace in block.traces for part in trace.votes),
    )
    return products.of(merged(xp, found))


def _uniform(xp: Any, x: Array, W: Array, g: Array, normalize: Normalize) -> RoutingGradient:
    """Of one weighting with equal coefficients."""
    I, J, _, _ = W.shape
    c = xp.full((I, J), 1.0 / (I if normalize == "inputs" else J), dtype=x.dtype, device=device(x))
    layer = SharedCoupling(xp, W, c)
    return RoutingGradient(layer.reverse(g), layer.gradient((x, g)))


def _together(
    xp: Any, x: Array, W: Array, g: Array, options: Options, gradient: Gradient
) -> RoutingGradient:
    """With logits of the batch."""
    u, rule = predictions(x, W), rule_of(xp, options, W.shape[2])
    found = weightings(xp, u, options.iterations, rule)
    return _from_predictions(xp, x, W, predictions_gradient(xp, u, g, found, rule, gradient))


def _from_predictions(xp: Any, x: Array, W: Array, du: Array) -> RoutingGradient:
    """From the gradient (B, I, J, D) with respect to the predictions."""
    B = x.shape[0]
    I, J, D, P = W.shape
    du_IBO = xp.reshape(xp.permute_dims(du, (1, 0, 2, 3)), (I, B, J * D))
    x_IBP = xp.permute_dims(x, (1, 0, 2))
    dx = xp.permute_dims(du_IBO @ xp.reshape(W, (I, J * D, P)), (1, 0, 2))
    return RoutingGradient(dx, xp.reshape(du_IBO.mT @ x_IBP, (I, J, D, P)))
