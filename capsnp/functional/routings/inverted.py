"""Inverted dot-product attention: outputs compete for each input by the votes' agreement."""

import math
from typing import Any

from capsnp.backend import Array
from capsnp.functional._checks import expect_count
from capsnp.functional._coupling import expect_layer
from capsnp.functional._polar import polar, unit
from capsnp.functional.routing import Routing
from capsnp.functional.routings._loop import Loop, votes_gradient, weightings
from capsnp.functional.routings._votes import (
    expect_cotangent,
    expect_parameter,
    routing,
    unit_vjp,
    votes,
    votes_vjp,
)


def inverted_route(
    x: Array,
    W: Array,
    *,
    iterations: int = 3,
    gain: Array | None = None,
    bias: Array | None = None,
) -> Routing:
    r"""Routing by inverted dot-product attention.

    Every output capsule has a pose :math:`p_j`, zero at first. Each vote :math:`u_{ij}` is
    compared with it, the outputs share the input out, and the pose is the normalised sum:

    .. math::
        c_{ij} = \mathrm{softmax}_j(u_{ij} \cdot p_j), \qquad
        z_j = \sum_i c_{ij} u_{ij}, \qquad
        p_j = \gamma \circ \frac{z_j - \langle z_j \rangle}{\mathrm{std}(z_j)} + \beta

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps; :math:`u_{ij} = W_{ij} x_i`.
    iterations : int
        Weightings, from 1. With 1 every coefficient is 1/J and no pose is formed.
    gain, bias : array, shape (D,), optional
        γ and β of the layer normalisation, learned; ones and zeros by default.

    Returns
    -------
    Routing
        ``c`` (B, I, J), summing to 1 over J, and ``z`` (B, J, D), weighed by this c.

    Raises
    ------
    OptionError
        If `iterations` is below 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    What is returned is the last sum before its normalisation, to be squashed by the network. The
    paper returns the pose and reads classes off it by a linear map; with γ = 1 and β = 0 all its
    poses are √D long, so that a length says nothing there. A pose whose z has equal numbers is β:
    0/0 is taken as 0, and no number is added to the deviation.

    References
    ----------
    Tsai, Srivastava, Goh and Salakhutdinov (2020), Capsules with inverted dot-product attention
    routing.
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.ones((1, 3, 1))
    >>> W = np.asarray([[[1.0, 0.0], [0.0, 0.5]]] * 2 + [[[0.0, 1.0], [0.0, 0.5]]])[..., None]
    >>> inverted_route(x, W, iterations=2).c[0].round(3)
    array([[0.622, 0.378],
           [0.622, 0.378],
           [0.182, 0.818]])
    """
    xp = _expect(x, W, iterations, gain, bias)
    loop = Loop(lambda z: _pose(xp, z, gain, bias), _not_pulled)
    return routing(xp, *weightings(xp, votes(xp, x, W), iterations, loop)[-1])


def inverted_route_vjp(
    x: Array,
    W: Array,
    g: Array,
    *,
    iterations: int = 3,
    gain: Array | None = None,
    bias: Array | None = None,
) -> dict[str, Array]:
    """Gradient of ⟨g, inverted_route(x, W, gain=gain, bias=bias).z⟩ through every weighting.

    Parameters
    ----------
    x, W, iterations, gain, bias
        As for `inverted_route`.
    g : array, shape (B, J, D)
        Cotangent of z.

    Returns
    -------
    dict of array
        "x", "W", "gain" and "bias", of their shapes, whether or not the last two are given.
        Where the deviation of z is 0 the normalisation has no derivative, and 0 is taken.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As from `inverted_route`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W = np.ones((1, 1, 1)), np.ones((1, 2, 2, 1))
    >>> inverted_route_vjp(x, W, np.ones((1, 2, 2)), iterations=1)["x"]
    array([[[2.]]])
    """
    xp = _expect(x, W, iterations, gain, bias)
    expect_cotangent(g, x, W)
    u = votes(xp, x, W)
    learned: list[tuple[Array, Array]] = []  # parts of the gradients of γ and β

    def pull(z: Array, dp: Array) -> Array:
        learned.append((_of_dimensions(xp, dp * _pose(xp, z)), _of_dimensions(xp, dp)))
        return _normalised_vjp(xp, z, dp if gain is None else dp * gain)

    loop = Loop(lambda z: _pose(xp, z, gain, bias), pull)
    du = votes_gradient(xp, u, weightings(xp, u, iterations, loop), g, loop)
    zero = xp.zeros_like(W[0, 0, :, 0])
    d_gain = sum((part for part, _ in learned), zero)
    d_bias = sum((part for _, part in learned), zero)
    return votes_vjp(xp, x, W, du) | {"gain": d_gain, "bias": d_bias}


def _not_pulled(z: Array, dp: Array) -> Array:
    raise NotImplementedError


def _of_dimensions(xp: Any, array: Array) -> Array:
    """(B, J, D) summed to (D,)."""
    return xp.sum(array, axis=(0, 1))


def _pose(xp: Any, z: Array, gain: Array | None = None, bias: Array | None = None) -> Array:
    """The layer normalisation of z: √D times the direction of z less its mean."""
    centred = z - xp.mean(z, axis=-1, keepdims=True)
    pose = math.sqrt(z.shape[-1]) * unit(xp, centred, polar(xp, centred, 2))
    pose = pose if gain is None else gain * pose
    return pose if bias is None else pose + bias


def _normalised_vjp(xp: Any, z: Array, g: Array) -> Array:
    """Of the layer normalisation without gain and bias."""
    centred = z - xp.mean(z, axis=-1, keepdims=True)
    pulled = math.sqrt(z.shape[-1]) * unit_vjp(xp, centred, g)
    return pulled - xp.mean(pulled, axis=-1, keepdims=True)


def _expect(x: Array, W: Array, iterations: int, gain: Array | None, bias: Array | None) -> Any:
    xp = expect_layer(x, W)
    expect_count("iterations", iterations)
    for name, value in (("gain", gain), ("bias", bias)):
        expect_parameter(name, value, x, (W.shape[2],), axes="(D,)")
    return xp
