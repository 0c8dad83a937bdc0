r"""The product of expert capsules: energy (7), probabilities (8)-(9), (12), free energy (10).

Hidden states are one bit per output capsule, on or off. The probabilities are densities for the
uniform measure on the input capsules' unit balls, where squashed capsules live; on all of space
(10) could not be normalised.
"""

import math
from typing import Any

from array_api_compat import device

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import binary, expect_axis, expect_min_ndim, floating
from capsnp.functional._polar import Polar, firing, or_one, polar, range_of
from capsnp.functional.activations import logsumexp
from capsnp.functional.routing import forward

_MOST_CAPSULES = 20
_BLOCK_NUMBERS = 2**20


def firing_probability(z: Array, /) -> Array:
    r"""Probability that each output capsule is on, given the input (12).

    .. math:: P(j = \mathrm{on} \mid x) = \frac{\|z_j\|^2}{1 + \|z_j\|^2}

    Parameters
    ----------
    z : array, shape (..., J, D)
        Pre-activations of J output capsules, float32 or float64.

    Returns
    -------
    array, shape (..., J)
        In [0, 1); the length of ``squash(z)`` (13) up to rounding.

    Raises
    ------
    DtypeError, ShapeError
        If z is not real floating or has fewer than two axes.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 12.
    Derivation: :doc:`/derivations/energy`.

    Examples
    --------
    >>> import numpy as np
    >>> firing_probability(np.asarray([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0]]))
    array([0. , 0.5, 0.9])
    """
    xp = floating(z=z)
    expect_min_ndim("z", z, 2, "(..., J, D)")
    axis = expect_axis("axis", -1, "z", z)
    probability = firing(polar(xp, z, axis))
    below_one = 1.0 - 0.5 * range_of(xp, z.dtype).eps
    return xp.squeeze(xp.minimum(probability, xp.full_like(probability, below_one)), axis=-1)


def energy(x: Array, on: Array, W: Array, c: Array) -> Array:
    r"""Energy of input capsules together with the states of the output capsules (7).

    .. math:: E(x, s) = -\sum_j s_j \log \Big\|\sum_i c_{ij} W_{ij} x_i\Big\|^2

    Parameters
    ----------
    x : array, shape (..., I, P)
        Input capsules, float32 or float64.
    on : array, shape (..., J)
        States s_j, 1 for on and 0 for off, of any real or boolean dtype.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (I, J) or (..., I, J)
        Routing coefficients, shared or one set per example; held constant.

    Returns
    -------
    array, shape (...)
        A capsule that is off adds 0, also where its z is 0. One that is on with z = 0 makes the
        energy +∞, a state of probability zero.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.
    DomainError
        If `on` holds another number than 0 or 1.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 7.
    Derivation: :doc:`/derivations/energy`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[2.0]]])  # B, I, P = 1, 1, 1
    >>> W = np.asarray([[[[1.0]], [[0.0]]]])  # I, J, D, P = 1, 2, 1, 1
    >>> c = np.ones((1, 2))
    >>> energy(x, np.asarray([[1, 0]]), W, c).round(4)
    array([-1.3863])
    >>> energy(x, np.asarray([[1, 1]]), W, c)
    array([inf])
    """
    xp = floating(x=x, W=W, c=c)
    log_square = _log_square(xp, _output_lengths(xp, x, W, c))
    state = binary("on", on, like=x)
    if state.shape != log_square.shape:
        raise ShapeError(
            f"on: expected shape {tuple(log_square.shape)} to match x {tuple(x.shape)} and "
            f"W {tuple(W.shape)}, got {tuple(state.shape)}"
        )
    return -_sum_on(xp, state, log_square)


def joint_log_probability(x: Array, on: Array, W: Array, c: Array) -> Array:
    r"""Logarithm of the joint probability (8)-(9), up to the constant −log Z.

    .. math:: \log P(x, s) + \log Z = -E(x, s) = \sum_j s_j \log \|z_j\|^2

    Parameters
    ----------
    x : array, shape (..., I, P)
    on : array, shape (..., J)
    W : array, shape (I, J, D, P)
    c : array, shape (I, J) or (..., I, J)
        All as in `energy`.

    Returns
    -------
    array, shape (...)
        −∞ where a capsule is on with z = 0.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError, DomainError
        As `energy`.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eqs. 8 and 9.
    Derivation: :doc:`/derivations/energy`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W, c = np.asarray([[[2.0]]]), np.ones((1, 1, 1, 1)), np.ones((1, 1))
    >>> joint_log_probability(x, np.asarray([[True]]), W, c).round(4)
    array([1.3863])
    """
    return -energy(x, on, W, c)


def free_energy(x: Array, W: Array, c: Array) -> Array:
    r"""Free energy of input capsules: −log P(x) − log Z by (10).

    .. math:: F(x) = -\sum_j \log\Big(1 + \Big\|\sum_i c_{ij} W_{ij} x_i\Big\|^2\Big)

    Parameters
    ----------
    x : array, shape (..., I, P)
        Input capsules, float32 or float64.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (I, J) or (..., I, J)
        Routing coefficients, shared or one set per example; held constant.

    Returns
    -------
    array, shape (...)
        At most 0.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 10.
    Derivation: :doc:`/derivations/energy`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W, c = np.asarray([[[2.0]]]), np.ones((1, 1, 1, 1)), np.ones((1, 1))
    >>> free_energy(x, W, c).round(4)
    array([-1.6094])
    """
    xp = floating(x=x, W=W, c=c)
    at = _output_lengths(xp, x, W, c)
    is_large = at.down < 1.0  # there 1 + r² rounds to r², and r² may overflow
    each = xp.where(is_large, _log_square(xp, at), xp.log1p(at.r * at.r))
    return -xp.sum(each, axis=-1)


def log_sum_over_states(x: Array, W: Array, c: Array) -> Array:
    r"""Logarithm of (8) summed over all hidden states, by enumeration.

    .. math:: \log \sum_{s \in \{0,1\}^J} e^{-E(x, s)}

    By (10) it equals −`free_energy`; here every one of the 2^J states is visited, in blocks.

    Parameters
    ----------
    x : array, shape (..., I, P)
    W : array, shape (I, J, D, P)
        J up to 20.
    c : array, shape (I, J) or (..., I, J)
        All as in `energy`.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    OptionError
        If there are more than 20 output capsules.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    Derivation: :doc:`/derivations/energy`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W, c = np.asarray([[[2.0]]]), np.ones((1, 1, 1, 1)), np.ones((1, 1))
    >>> log_sum_over_states(x, W, c).round(4)  # log(1 + 2²)
    array([1.6094])
    """
    xp = floating(x=x, W=W, c=c)
    if W.ndim == 4 and W.shape[1] > _MOST_CAPSULES:
        raise OptionError(
            f"W: expected at most {_MOST_CAPSULES} output capsules to enumerate, got {W.shape[1]}"
        )
    log_square = _log_square(xp, _output_lengths(xp, x, W, c))
    J = log_square.shape[-1]
    size = max(1, _BLOCK_NUMBERS // max(1, math.prod(log_square.shape)))
    place = xp.arange(J, device=device(x))
    blocks = []
    for start in range(0, 2**J, size):
        number = xp.arange(start, min(start + size, 2**J), device=device(x))
        state_SJ = (number[:, None] >> place) & 1
        blocks.append(logsumexp(_sum_on(xp, state_SJ, log_square[..., None, :])))
    return logsumexp(xp.stack(blocks), axis=0)


def _output_lengths(xp: Any, x: Array, W: Array, c: Array) -> Polar:
    """Lengths ‖z_j‖ (..., J) of the output capsules; x may have any leading axes."""
    expect_min_ndim("x", x, 2, "(..., I, P)")
    lead = tuple(x.shape[:-2])
    flat = (math.prod(lead),)
    if c.ndim != 2:
        if tuple(c.shape[:-2]) != lead:
            raise ShapeError(
                f"c: expected shape (I, J) or (..., I, J) with leading axes {lead} to match "
                f"x {tuple(x.shape)}, got {tuple(c.shape)}"
            )
        c = xp.reshape(c, flat + tuple(c.shape[-2:]))
    z = forward(xp.reshape(x, flat + tuple(x.shape[-2:])), W, c)
    parts = xp.broadcast_arrays(*polar(xp, z, 2))
    return Polar(*(xp.reshape(part, (*lead, z.shape[1])) for part in parts))


def _log_square(xp: Any, at: Polar) -> Array:
    """log ‖z‖², −∞ for 0."""
    finite = 2.0 * (xp.log(or_one(xp, at.scaled)) - xp.log(at.up * at.down))
    return xp.where(at.scaled == 0.0, xp.full_like(finite, -math.inf), finite)


def _sum_on(xp: Any, state: Array, log_square: Array) -> Array:
    """Σ_j s_j log ‖z_j‖², where 0 · (−∞) is 0."""
    return xp.sum(xp.where(state == 0, xp.zeros_like(log_square), log_square), axis=-1)
