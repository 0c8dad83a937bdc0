r"""Codes that explain an input away: mirror descent with squash as the mirror map.

Beyond the paper. For a decoder h ≈ Σ_j e_ji U_ji y_j, written h ≈ Vᵀy, the settled code is the
minimiser over products of unit balls of

.. math:: \tfrac12 \|h - V^\top y\|^2 + \lambda \sum_j \Phi(\|y_j\|), \qquad
          \Phi(t) = \arcsin\sqrt t - \sqrt{t (1 - t)}

Squash is the gradient of Φ*(z) = ‖z‖ − arctan‖z‖, the convex conjugate of Φ, and unsquash that of
Φ. So the objective is strictly convex, its minimiser is unique and every code is shorter than 1.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import device

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import (
    expect_count,
    expect_min_ndim,
    expect_range,
    floating,
)
from capsnp.functional._coupling import (
    Coupling,
    coupling,
    expect_code,
    expect_decoder,
)
from capsnp.functional.contrastive import gate_of, gated
from capsnp.functional.squash import length, squash

_LARGEST_SLOPE = 3.0 * math.sqrt(3.0) / 8.0
"""Of r²/(1+r²), at r = 1/√3: the Lipschitz constant of squash."""

_POWER_STEPS = 64
_POWER_MARGIN = 1.1
"""Power iteration comes from below, so it is stretched; steps twice too long would still settle."""

_SERIES = [(-1.0) ** k / math.factorial(2 * k + 3) for k in range(12)]
"""Of (u − sin u)/u³ in u²; the first term left out is below 1e-18 of the sum for u ≤ 2."""


class Settled(NamedTuple):
    """What `settle` finds.

    Attributes
    ----------
    y : array, shape (B, J, D)
        Codes, squash(z), each capsule shorter than 1.
    z : array, shape (B, J, D)
        Codes before squash; at the minimum (Vh − VVᵀy)/λ.
    residual : array, shape (B,)
        Length of Vh − VVᵀy − λz over the capsules that are on: 0 at the minimum.
    iterations : int
        Steps that were made.
    """

    y: Array
    z: Array
    residual: Array
    iterations: int


def settle(
    h: Array,
    U: Array,
    e: Array,
    *,
    strength: float = 1.0,
    on: Array | None = None,
    max_iter: int = 60,
    tol: float = 0.0,
    momentum: float = 0.9,
) -> Settled:
    r"""The code that explains h away best, by mirror descent.

    With V = eU from z = v = 0, repeat

    .. math::
        y = \mathrm{squash}(z), \quad
        v \leftarrow \mu v + \eta\,(V h - V V^\top y - \lambda z), \quad
        z \leftarrow z + v, \qquad
        \eta = \frac{1}{\frac{3\sqrt3}{8}\,\lambda_{\max}(V V^\top) + \lambda}

    Parameters
    ----------
    h : array, shape (B, I, P)
        Features to explain, before squash.
    U : array, shape (J, I, P, D)
        Decoding maps.
    e : array, shape (B, J, I) or (J, I)
        Coefficients of each example, or of all. Shared ones make a step one small matrix product;
        with its own, each example has a matrix of (J·D)² numbers: give a large batch in parts.
    strength : float
        λ above 0, the weight of the prior: larger gives shorter codes.
    on : array, shape (B, J), optional
        0 holds a capsule off: its y and z are exactly 0. By default all are 1.
    max_iter : int
        Steps at most; 0 returns the start.
    tol : float
        Stop as soon as no example's residual is above it; 0 makes all steps and never waits for
        the device.
    momentum : float
        μ in [0, 1); 0 is plain mirror descent.

    Returns
    -------
    Settled
        In the dtype of the arguments.

    Raises
    ------
    OptionError
        If `strength`, `max_iter`, `tol` or `momentum` is outside its range.
    DomainError
        If `on` holds another number than 0 and 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    3√3/8 is the largest slope of r²/(1+r²), so plain mirror descent never overshoots. λmax comes
    from a power iteration with a fixed start, so results repeat.

    References
    ----------
    Nemirovsky and Yudin (1983), Problem complexity and method efficiency in optimization.
    Derivation: :doc:`/derivations/settling`.

    Examples
    --------
    Two capsules that draw the same: held alone each explains all, together they share.

    >>> import numpy as np
    >>> U = np.full((2, 1, 1, 1), 3.0)  # J, I, P, D
    >>> h = np.asarray([[[2.0]]])
    >>> e = np.ones((2, 1))
    >>> settle(h, U, e, on=np.asarray([[1, 0]])).y.round(3)
    array([[[0.521],
            [0.   ]]])
    >>> settle(h, U, e).y.round(3)
    array([[[0.31],
            [0.31]]])
    """
    xp = _expect_decoding(h, U, e)
    _expect_options(strength, max_iter, tol, momentum)
    gate = gate_of(on, h, U.shape[0])
    layer = coupling(xp, U, e)
    gram = _gram(xp, layer)
    target = gated(xp, layer.reverse(h), gate)  # Vh
    z = v = xp.zeros_like(target)
    y, residual = z, target
    start = _fixed_vector(xp, target, 1 if e.ndim == 2 else h.shape[0])
    largest = _largest_eigenvalue(xp, gram, start)
    step = 1.0 / (_LARGEST_SLOPE * largest + float(strength))
    iterations = 0
    while iterations < max_iter and not (tol > 0 and bool(xp.all(_norm(xp, residual) <= tol))):
        v = float(momentum) * v + step * residual
        z = z + v
        y = squash(z)
        residual = target - gated(xp, gram(y), gate) - float(strength) * z
        iterations += 1
    return Settled(y, z, _norm(xp, residual), iterations)


def settling_residual(
    h: Array,
    U: Array,
    e: Array,
    z: Array,
    *,
    strength: float = 1.0,
    on: Array | None = None,
) -> Array:
    r"""How far a code is from settled.

    .. math:: \|V h - V V^\top \mathrm{squash}(z) - \lambda z\|

    Parameters
    ----------
    h, U, e, strength, on
        As for `settle`.
    z : array, shape (B, J, D)
        Codes before squash; capsules that are held off count as 0.

    Returns
    -------
    array, shape (B,)
        Over the capsules that are on; 0 at the minimum of the objective and nowhere else.

    Raises
    ------
    OptionError, DomainError, ShapeError, DtypeError, MixedBackendError
        As `settle`.

    Notes
    -----
    Derivation: :doc:`/derivations/settling`.

    Examples
    --------
    >>> import numpy as np
    >>> h, U, e = np.asarray([[[2.0]]]), np.full((1, 1, 1, 1), 3.0), np.ones((1, 1))
    >>> settling_residual(h, U, e, np.zeros((1, 1, 1)))
    array([6.])
    >>> settling_residual(h, U, e, settle(h, U, e, max_iter=500).z) < 1e-9
    array([ True])
    """
    xp = _expect_decoding(h, U, e, z=z)
    _expect_options(strength)
    gate = gate_of(on, h, U.shape[0])
    layer = coupling(xp, U, e)
    z = gated(xp, z, gate)
    pull = layer.reverse(h - layer.forward(squash(z)))
    return _norm(xp, gated(xp, pull, gate) - float(strength) * z)


def settling_objective(h: Array, U: Array, e: Array, y: Array, *, strength: float = 1.0) -> Array:
    r"""What a settled code minimises.

    .. math:: \tfrac12 \sum_i \|h_i - \sum_j e_{ji} U_{ji} y_j\|^2
              + \lambda \sum_j \Phi(\|y_j\|)

    Parameters
    ----------
    h, U, e, strength
        As for `settle`.
    y : array, shape (B, J, D)
        Codes.

    Returns
    -------
    array, shape (B,)
        In the dtype of the arguments; infinite if a capsule is longer than 1.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As `settle`.

    Notes
    -----
    Derivation: :doc:`/derivations/settling`.

    Examples
    --------
    >>> import numpy as np
    >>> h, U, e = np.asarray([[[2.0]]]), np.full((1, 1, 1, 1), 3.0), np.ones((1, 1))
    >>> settling_objective(h, U, e, np.asarray([[[0.0]]]))
    array([2.])
    """
    xp = _expect_decoding(h, U, e, y=y)
    _expect_options(strength)
    missing = h - coupling(xp, U, e).forward(y)
    error = xp.sum(missing * missing, axis=(1, 2))
    return 0.5 * error + float(strength) * xp.sum(code_potential(y), axis=1)


def settling_gradient(h: Array, U: Array, e: Array, y: Array) -> Array:
    r"""The direction in which decoding maps explain features better by given codes.

    .. math:: \Delta U_{ji} = \frac{2}{B} \sum_b e_{ji}
              \Big(h_i - \sum_{j'} e_{j'i} U_{j'i} y_{j'}\Big) y_j^\top

    Minus the gradient of the squared error, mean over the batch. At settled codes it is also minus
    the gradient of twice the settled objective, through which y depends on U.

    Parameters
    ----------
    h, U, e
        As for `settle`.
    y : array, shape (B, J, D)
        Codes, held constant.

    Returns
    -------
    array, shape (J, I, P, D)
        In the dtype of the arguments.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other, or the batch is empty.

    Notes
    -----
    Derivation: :doc:`/derivations/settling`.

    Examples
    --------
    >>> import numpy as np
    >>> h, U, e = np.asarray([[[2.0]]]), np.full((1, 1, 1, 1), 3.0), np.ones((1, 1))
    >>> settling_gradient(h, U, e, np.asarray([[[0.5]]]))
    array([[[[0.5]]]])
    """
    xp = _expect_decoding(h, U, e, y=y)
    if h.shape[0] == 0:
        raise ShapeError(f"h: expected at least one example, got {tuple(h.shape)}")
    layer = coupling(xp, U, e)
    return layer.gradient((2.0 / h.shape[0] * y, h - layer.forward(y)))


def code_potential(y: Array, /) -> Array:
    r"""The prior's energy of each code capsule, whose gradient is unsquash.

    .. math:: \Phi(t) = \arcsin\sqrt t - \sqrt{t (1 - t)}
                      = \int_0^t \sqrt{\frac{s}{1 - s}}\,\mathrm{d}s, \qquad t = \|y\|

    Parameters
    ----------
    y : array, shape (..., D)
        Codes.

    Returns
    -------
    array, shape (...)
        From 0 to π/2 at length 1, and infinite beyond: the conjugate of Φ*(z) = ‖z‖ − arctan‖z‖.

    Raises
    ------
    ShapeError, DtypeError
        If y has no axis or is not real floating.

    Notes
    -----
    Derivation: :doc:`/derivations/settling`.

    Examples
    --------
    >>> import numpy as np
    >>> code_potential(np.asarray([[0.0], [0.5], [1.0]])).round(6)
    array([0.      , 0.285398, 1.570796])
    """
    xp = floating(y=y)
    expect_min_ndim("y", y, 1, "(..., D)")
    t = length(y)
    inside = xp.clip(t, max=1.0)
    u = 2.0 * xp.atan2(xp.sqrt(inside), xp.sqrt(1.0 - inside))
    small = xp.where(u < 2.0, u, xp.zeros_like(u))
    square = small * small
    series = xp.full_like(u, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        series = series * square + coefficient
    # (u − sin u)/2 loses digits by cancellation for small u, where its series does not
    value = xp.where(u < 2.0, 0.5 * small * square * series, 0.5 * (u - xp.sin(u)))
    return xp.where(t > 1.0, xp.full_like(t, math.inf), value)


def _gram(xp: Any, layer: Coupling) -> Callable[[Array], Array]:
    """The map y -> VVᵀy on (B, J, D)."""
    matrix = layer.gram()
    size = matrix.shape[-1]

    def apply(y: Array) -> Array:
        flat = xp.reshape(y, (y.shape[0], size))
        return xp.reshape(
            flat @ matrix if matrix.ndim == 2 else (matrix @ flat[:, :, None])[:, :, 0], y.shape
        )

    return apply


def _largest_eigenvalue(xp: Any, gram: Callable[[Array], Array], start: Array) -> Array:
    """λmax of a positive semi-definite map per example, (B, 1, 1), with a margin above."""
    v = start
    for _ in range(_POWER_STEPS):
        v = gram(v)
        norm = _norm(xp, v)[:, None, None]
        v = v / xp.where(norm > 0, norm, xp.ones_like(norm))
    return _POWER_MARGIN * norm


def _fixed_vector(xp: Any, like: Array, batch: int) -> Array:
    """Unit vectors without symmetry: multiples of the golden ratio, less their whole part."""
    _, J, D = like.shape
    turns = xp.arange(1, J * D + 1, dtype=like.dtype, device=device(like))
    turns = turns * ((math.sqrt(5.0) - 1.0) / 2.0)
    v = xp.reshape(turns - xp.floor(turns) - 0.5, (1, J, D))
    v = v / _norm(xp, v)[:, None, None]
    return xp.broadcast_to(v, (batch, J, D))


def _norm(xp: Any, r: Array) -> Array:
    """Euclidean length per example of (B, J, D)."""
    B, J, D = r.shape
    return length(xp.reshape(r, (B, J * D)))


def _expect_decoding(h: Array, U: Array, e: Array, **codes: Array) -> Any:
    """The namespace of features, decoder and codes that fit."""
    xp = floating(h=h, U=U, e=e, **codes)
    expect_decoder(U, e, h)
    for name, code in codes.items():
        expect_code(name, code, U, batch=h.shape[0])
    return xp


def _expect_options(
    strength: float, max_iter: int = 0, tol: float = 0.0, momentum: float = 0.0
) -> None:
    expect_range("strength", strength, 0.0)
    if strength == 0:
        raise OptionError(f"strength: expected a number above 0, got {strength!r}")
    expect_count("max_iter", max_iter, minimum=0)
    expect_range("tol", tol, 0.0)
    expect_range("momentum", momentum, 0.0, 1.0)
    if momentum == 1:
        raise OptionError(f"momentum: expected a number below 1, got {momentum!r}")
