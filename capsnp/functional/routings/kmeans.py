"""K-means routing: output capsules as the centres of soft spherical clusters."""

from typing import Any

from capsnp.backend import Array
from capsnp.functional._checks import expect_count, expect_range
from capsnp.functional._coupling import expect_layer
from capsnp.functional._polar import polar, unit
from capsnp.functional.routing import Routing
from capsnp.functional.routings._loop import Loop, votes_gradient, weightings
from capsnp.functional.routings._votes import (
    expect_cotangent,
    routing,
    unit_vjp,
    votes,
    votes_vjp,
)

COLDEST = 2.0**-10


def kmeans_route(x: Array, W: Array, *, iterations: int = 3, temperature: float = 1.0) -> Routing:
    r"""Routing by soft spherical k-means.

    Every output is a cluster with a unit vector :math:`s_j` as its centre, every input a point
    that shows each cluster a vote :math:`u_{ij} = W_{ij} x_i` of its own. By turns, the
    coefficients and the centres minimise

    .. math::
        F(c, s) = -\sum_{ij} c_{ij}\, u_{ij} \cdot s_j + T \sum_{ij} c_{ij} \log c_{ij}, \qquad
        \sum_j c_{ij} = 1, \quad \|s_j\| \le 1

    which are :math:`c_{ij} = \mathrm{softmax}_j(u_{ij} \cdot s_j / T)` and
    :math:`s_j = z_j / \|z_j\|` with :math:`z_j = \sum_i c_{ij} u_{ij}`. Unlike in routing by
    agreement, logits are replaced and not added up.

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    iterations : int
        Weightings, from 1. With 1 every coefficient is 1/J.
    temperature : float
        T, from 1/1024: small for hard clusters.

    Returns
    -------
    Routing
        ``c`` (B, I, J), summing to 1 over J, and ``z`` (B, J, D), weighed by this c.

    Raises
    ------
    OptionError
        If `iterations` is below 1 or the temperature out of range.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    The clustering loss and the constraint are those of Wang and Liu, who keep c near its last
    value instead of near the uniform one, so that their logits add up. Ren and Lu replace logits,
    too, by cosines. A centre of length zero stays zero and agrees with nothing.

    References
    ----------
    Wang and Liu (2018), An optimization view on dynamic routing between capsules.
    Ren and Lu (2018), Compositional coding capsule network with k-means routing.
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.ones((1, 3, 1))
    >>> W = np.asarray([[2.0, 1.0], [2.0, 1.0], [-2.0, 1.0]])[..., None, None]
    >>> kmeans_route(x, W, iterations=2).c[0].round(3)
    array([[0.731, 0.269],
           [0.731, 0.269],
           [0.047, 0.953]])
    """
    xp = _expect(x, W, iterations, temperature)
    last = weightings(xp, votes(xp, x, W), iterations, _loop(xp, temperature))[-1]
    return routing(xp, *last)


def kmeans_route_vjp(
    x: Array, W: Array, g: Array, *, iterations: int = 3, temperature: float = 1.0
) -> dict[str, Array]:
    """Gradient of ⟨g, kmeans_route(x, W).z⟩ through every weighting.

    Parameters
    ----------
    x, W, iterations, temperature
        As for `kmeans_route`.
    g : array, shape (B, J, D)
        Cotangent of z.

    Returns
    -------
    dict of array
        "x" and "W", of the shapes of x and W. Where a centre is zero its direction has no
        derivative, and 0 is taken.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As from `kmeans_route`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W = np.ones((1, 1, 1)), np.ones((1, 2, 1, 1))
    >>> kmeans_route_vjp(x, W, np.ones((1, 2, 1)), iterations=1)["W"].ravel()
    array([0.5, 0.5])
    """
    xp = _expect(x, W, iterations, temperature)
    expect_cotangent(g, x, W)
    u = votes(xp, x, W)
    loop = _loop(xp, temperature)
    found = weightings(xp, u, iterations, loop)
    return votes_vjp(xp, x, W, votes_gradient(xp, u, found, g, loop))


def _loop(xp: Any, temperature: float) -> Loop:
    def target(z: Array) -> Array:
        return unit(xp, z, polar(xp, z, 2)) / temperature

    def pull(z: Array, dp: Array) -> Array:
        return unit_vjp(xp, z, dp) / temperature

    return Loop(target, pull)


def _expect(x: Array, W: Array, iterations: int, temperature: float) -> Any:
    expect_count("iterations", iterations)
    expect_range("temperature", temperature, COLDEST)
    return expect_layer(x, W)
