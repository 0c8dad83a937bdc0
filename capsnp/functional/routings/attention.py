"""Self-attention routing of Efficient-CapsNet: votes attend to the votes beside them, once."""

import math
from typing import Any

from capsnp.backend import Array
from capsnp.functional._coupling import expect_layer
from capsnp.functional.activations import softmax
from capsnp.functional.routing import Routing
from capsnp.functional.routings._votes import (
    agree,
    expect_cotangent,
    expect_parameter,
    outer,
    routing,
    softmax_pull,
    votes,
    votes_vjp,
    weigh,
)


def self_attention_route(x: Array, W: Array, *, prior: Array | None = None) -> Routing:
    r"""Routing by self-attention among the votes for each output capsule.

    With :math:`u_{ij} = W_{ij} x_i` as the rows of :math:`U_j` (I, D),

    .. math::
        A_j = \frac{U_j U_j^\top}{\sqrt D}, \qquad
        c_{ij} = \mathrm{softmax}_j \Big( \sum_{i'} (A_j)_{i' i} \Big), \qquad
        z_j = \sum_i (c_{ij} + B_{ij})\, u_{ij}

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    prior : array, shape (I, J), optional
        B, learned; zeros by default. The paper calls it log priors, and adds it after the
        softmax.

    Returns
    -------
    Routing
        ``c`` (B, I, J), which is :math:`c_{ij} + B_{ij}`, and ``z`` (B, J, D), weighed by it.
        Without a prior c sums to 1 over J.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    No iterations. The matrices A_j are never formed: their column sums are
    :math:`u_{ij} \cdot \sum_{i'} u_{i'j} / \sqrt D`.

    References
    ----------
    Mazzia, Salvetti and Chiaberge (2021), Efficient-CapsNet: capsule network with self-attention
    routing.
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.ones((1, 3, 1))
    >>> W = np.asarray([[1.0, 0.5], [1.0, 0.5], [-1.0, 0.5]])[..., None, None]
    >>> self_attention_route(x, W).c[0].round(3)
    array([[0.562, 0.438],
           [0.562, 0.438],
           [0.148, 0.852]])
    """
    xp = _expect(x, W, prior)
    u = votes(xp, x, W)
    c = softmax(agree(xp, u, _together(xp, u)), axis=1)
    k = c if prior is None else c + prior.mT
    return routing(xp, k, weigh(xp, k, u))


def self_attention_route_vjp(
    x: Array, W: Array, g: Array, *, prior: Array | None = None
) -> dict[str, Array]:
    """Gradient of ⟨g, self_attention_route(x, W, prior=prior).z⟩.

    Parameters
    ----------
    x, W, prior
        As for `self_attention_route`.
    g : array, shape (B, J, D)
        Cotangent of z.

    Returns
    -------
    dict of array
        "x", "W" and "prior", of the shapes of x, W and B, whether or not a prior is given.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        As from `self_attention_route`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W = np.ones((1, 1, 1)), np.ones((1, 1, 1, 1))
    >>> self_attention_route_vjp(x, W, np.ones((1, 1, 1)))["prior"]
    array([[1.]])
    """
    xp = _expect(x, W, prior)
    expect_cotangent(g, x, W)
    u = votes(xp, x, W)
    m = _together(xp, u)
    c = softmax(agree(xp, u, m), axis=1)
    k = c if prior is None else c + prior.mT
    dk = agree(xp, u, g)
    db = softmax_pull(xp, c, dk)
    dm = weigh(xp, db, u) / math.sqrt(u.shape[3])
    du = outer(k, g) + outer(db, m) + dm[:, :, None, :]
    return votes_vjp(xp, x, W, du) | {"prior": xp.sum(dk, axis=0).mT}


def _together(xp: Any, u: Array) -> Array:
    """Σ_i u_ij / √D as (B, J, D)."""
    return xp.sum(u, axis=2) / math.sqrt(u.shape[3])


def _expect(x: Array, W: Array, prior: Array | None) -> Any:
    xp = expect_layer(x, W)
    expect_parameter("prior", prior, x, tuple(W.shape[:2]), axes="(I, J)")
    return xp
