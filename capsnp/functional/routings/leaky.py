"""Leaky routing: an orphan category takes what no output capsule explains."""

from typing import Any

from capsnp.backend import Array
from capsnp.functional._checks import expect_count, expect_option
from capsnp.functional._coupling import expect_layer
from capsnp.functional.routing import Routing
from capsnp.functional.routings._loop import Loop, votes_gradient, weightings
from capsnp.functional.routings._votes import (
    expect_cotangent,
    routing,
    votes,
    votes_vjp,
)
from capsnp.functional.squashes import SQUASHES


def leaky_route(x: Array, W: Array, *, iterations: int = 3, squash: str = "sabour") -> Routing:
    r"""Routing by agreement with an orphan category.

    Each input has one further output, whose logit stays 0 and whose share is thrown away:

    .. math::
        c_{ij} = \frac{e^{b_{ij}}}{1 + \sum_k e^{b_{ik}}}, \qquad
        z_j = \sum_i c_{ij} u_{ij}, \qquad
        b_{ij} \leftarrow b_{ij} + u_{ij} \cdot \mathrm{squash}(z_j)

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps; :math:`u_{ij} = W_{ij} x_i`.
    iterations : int
        Weightings, from 1. With 1 every coefficient is 1/(J + 1).
    squash : str
        One of `SQUASHES`, for the agreement.

    Returns
    -------
    Routing
        ``c`` (B, I, J), not negative with Σ_j c_ij < 1 up to rounding, and ``z`` (B, J, D).

    Raises
    ------
    OptionError
        If `iterations` is below 1 or the squash unknown.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    References
    ----------
    Sabour, Frosst and Hinton (2017), whose program has it as an option.
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
    >>> W = np.broadcast_to(np.eye(2), (3, 1, 2, 2))
    >>> leaky_route(x, W, iterations=2).c[0, :, 0].round(3)
    array([0.55, 0.55, 0.45])
    """
    xp = _expect(x, W, iterations, squash)
    u = votes(xp, x, W)
    last = weightings(xp, u, iterations, _loop(squash))[-1]
    return routing(xp, *last)


def leaky_route_vjp(
    x: Array, W: Array, g: Array, *, iterations: int = 3, squash: str = "sabour"
) -> dict[str, Array]:
    """Gradient of ⟨g, leaky_route(x, W).z⟩ through every weighting.

    Parameters
    ----------
    x, W, iterations, squash
        As for `leaky_route`.
    g : array, shape (B, J, D)
        Cotangent of z.

    Returns
    -------
    dict of array
        "x" and "W", of the shapes of x and W.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As from `leaky_route`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W = np.ones((1, 1, 1)), np.ones((1, 1, 1, 1))
    >>> leaky_route_vjp(x, W, np.ones((1, 1, 1)), iterations=1)["x"]
    array([[[0.5]]])
    """
    xp = _expect(x, W, iterations, squash)
    expect_cotangent(g, x, W)
    u = votes(xp, x, W)
    found = weightings(xp, u, iterations, _loop(squash))
    return votes_vjp(xp, x, W, votes_gradient(xp, u, found, g, _loop(squash)))


def _loop(squash: str) -> Loop:
    member = SQUASHES[squash]
    return Loop(member.apply, member.vjp, adds_up=True, leaks=True)


def _expect(x: Array, W: Array, iterations: int, squash: str) -> Any:
    expect_count("iterations", iterations)
    expect_option("squash", squash, SQUASHES)
    return expect_layer(x, W)
