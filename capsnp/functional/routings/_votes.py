"""What the routings share: votes in the order of the outputs, weighted sums, agreements.

Letters: votes u (B, J, I, D), coefficients and logits (B, J, I), sums z (B, J, D). A cotangent is
written with a d before the letter.
"""

from typing import Any

from capsnp.backend import Array
from capsnp.functional._checks import expect_shape, floating
from capsnp.functional._coupling import expect_layer, in_order
from capsnp.functional._polar import or_one, polar, unit
from capsnp.functional.routing import Routing


def predictions_vjp(x: Array, W: Array, g: Array) -> tuple[Array, Array]:
    r"""Gradients with respect to x and W of ⟨g, predictions(x, W)⟩.

    .. math::
        \bar x_i = \sum_j W_{ij}^\top g_{ij}, \qquad \bar W_{ij} = \sum_b g_{ij} x_i^\top

    Parameters
    ----------
    x : array, shape (B, I, P)
    W : array, shape (I, J, D, P)
    g : array, shape (B, I, J, D)
        Cotangent of the predictions.

    Returns
    -------
    tuple of array
        Of the shapes of x and W.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arguments do not fit each other.

    References
    ----------
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 2.0]]])
    >>> W = np.asarray([[[[0.0, 1.0], [1.0, 1.0]]]])
    >>> dx, dW = predictions_vjp(x, W, np.asarray([[[[1.0, 10.0]]]]))
    >>> dx
    array([[[10., 11.]]])
    >>> dW
    array([[[[ 1.,  2.],
             [10., 20.]]]])
    """
    xp = floating(x=x, W=W, g=g)
    expect_layer(x, W)
    I, J, D, _ = W.shape
    because = f"to match x {tuple(x.shape)} and W {tuple(W.shape)}"
    expect_shape("g", g, (x.shape[0], I, J, D), axes="(B, I, J, D)", because=because)
    return _from_flat(xp, x, W, xp.permute_dims(g, (1, 0, 2, 3)))


def expect_cotangent(g: Array, x: Array, W: Array) -> None:
    """Raise an error unless g is a cotangent of the sums (B, J, D)."""
    floating(x=x, W=W, g=g)
    because = f"to match x {tuple(x.shape)} and W {tuple(W.shape)}"
    expect_shape("g", g, (x.shape[0], *W.shape[1:3]), axes="(B, J, D)", because=because)


def expect_parameter(
    name: str, value: Array | None, x: Array, shape: tuple[int, ...], *, axes: str
) -> None:
    """Raise an error unless a learned parameter is None, or has this shape and the dtype of x."""
    if value is not None:
        floating(x=x, **{name: value})
        expect_shape(name, value, shape, axes=axes)


def votes(xp: Any, x: Array, W: Array) -> Array:
    """Predictions u_ij = W_ij x_i as (B, J, I, D)."""
    B = x.shape[0]
    I, J, D, P = W.shape
    flat_IBO = xp.permute_dims(x, (1, 0, 2)) @ xp.reshape(W, (I, J * D, P)).mT
    return in_order(xp, xp.permute_dims(xp.reshape(flat_IBO, (I, B, J, D)), (1, 2, 0, 3)))


def votes_vjp(xp: Any, x: Array, W: Array, du: Array) -> dict[str, Array]:
    """Gradients with respect to x and W by name, from du (B, J, I, D)."""
    dx, dW = _from_flat(xp, x, W, xp.permute_dims(du, (2, 0, 1, 3)))
    return {"x": dx, "W": dW}


def _from_flat(xp: Any, x: Array, W: Array, du_IBJD: Array) -> tuple[Array, Array]:
    I, J, D, P = W.shape
    du_IBO = xp.reshape(du_IBJD, (I, x.shape[0], J * D))
    x_IBP = xp.permute_dims(x, (1, 0, 2))
    dx = xp.permute_dims(du_IBO @ xp.reshape(W, (I, J * D, P)), (1, 0, 2))
    return dx, xp.reshape(du_IBO.mT @ x_IBP, (I, J, D, P))


def even(xp: Any, u: Array, share: float) -> Array:
    """Equal coefficients (B, J, I)."""
    return xp.full_like(u[..., 0], share)


def weigh(xp: Any, c: Array, u: Array) -> Array:
    """Σ_i c_ij u_ij as (B, J, D)."""
    return xp.squeeze(c[:, :, None, :] @ u, axis=2)


def agree(xp: Any, u: Array, z: Array) -> Array:
    """u_ij · z_j as (B, J, I)."""
    return xp.squeeze(u @ z[..., None], axis=3)


def outer(c: Array, z: Array) -> Array:
    """c_ij z_j as (B, J, I, D)."""
    return c[..., None] * z[:, :, None, :]


def softmax_pull(xp: Any, c: Array, dc: Array) -> Array:
    """Cotangent of logits from that of their softmax c over outputs.

    Right too where a further output has a constant logit and its coefficient is left out of c.
    """
    return c * (dc - xp.sum(c * dc, axis=1, keepdims=True))


def unit_vjp(xp: Any, z: Array, g: Array) -> Array:
    """Gradient of ⟨g, z/‖z‖⟩: the part of g across z over ‖z‖, and 0 at z = 0."""
    at = polar(xp, z, z.ndim - 1)
    u = unit(xp, z, at)
    across = g - u * xp.sum(u * g, axis=-1, keepdims=True)
    return xp.where(at.scaled > 0.0, across * at.up / or_one(xp, at.scaled) * at.down, 0.0 * g)


def routing(xp: Any, c: Array, z: Array) -> Routing:
    """What a routing returns."""
    return Routing(xp.permute_dims(c, (0, 2, 1)), z)
