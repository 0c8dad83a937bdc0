"""Losses of capsules that stand for classes, with their gradients.

Letters: a batch of B examples, J classes, lengths or logits l_j, targets T_j.
"""

from typing import Any

from capsnp.backend import Array
from capsnp.functional._checks import (
    expect_axis,
    expect_ndim,
    expect_range,
    expect_same_shape,
    floating,
)
from capsnp.functional.activations import softmax


def margin_loss(
    lengths: Array,
    targets: Array,
    /,
    *,
    m_plus: float = 0.9,
    m_minus: float = 0.1,
    down_weight: float = 0.5,
    exponent: float = 2.0,
) -> Array:
    r"""Margin loss of each example (Sabour et al. 2017, eq. 4).

    .. math::
        L = \sum_j T_j \max(0, m^+ - l_j)^2 + \lambda (1 - T_j) \max(0, l_j - m^-)^2

    Parameters
    ----------
    lengths : array, shape (B, J)
        Lengths l of the class capsules.
    targets : array, shape (B, J)
        T, 1 for every class that is there and 0 for the others; any number may be there.
    m_plus, m_minus : float
        A class that is there should be longer than m⁺, another one shorter than m⁻.
    down_weight : float
        λ, of the classes that are not there.
    exponent : float
        From 1. The paper squares; programs that forget to have 1.

    Returns
    -------
    array, shape (B,)

    Raises
    ------
    OptionError
        If a number is not finite, `down_weight` is below 0 or `exponent` is below 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, eq. 4.
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> margin_loss(np.asarray([[0.7, 0.3]]), np.asarray([[1.0, 0.0]]))
    array([0.06])
    """
    xp = _expect_pair("lengths", lengths, targets)
    _expect_margins(m_plus, m_minus, down_weight, exponent)
    low, high = _gaps(xp, lengths, m_plus, m_minus)
    terms = targets * low**exponent + down_weight * (1.0 - targets) * high**exponent
    return xp.sum(terms, axis=1)


def margin_loss_gradient(
    lengths: Array,
    targets: Array,
    /,
    *,
    m_plus: float = 0.9,
    m_minus: float = 0.1,
    down_weight: float = 0.5,
    exponent: float = 2.0,
) -> Array:
    r"""Gradient of the sum of `margin_loss` with respect to the lengths.

    .. math::
        \frac{\partial L}{\partial l_j} = -2\, T_j \max(0, m^+ - l_j)
            + 2\, \lambda (1 - T_j) \max(0, l_j - m^-)

    Parameters
    ----------
    lengths, targets, m_plus, m_minus, down_weight, exponent
        Of `margin_loss`.

    Returns
    -------
    array, shape (B, J)
        With `exponent` 1 the derivative at a margin itself is taken as 0.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As `margin_loss`.

    Notes
    -----
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> margin_loss_gradient(np.asarray([[0.7, 0.3]]), np.asarray([[1.0, 0.0]]))
    array([[-0.4,  0.2]])
    """
    xp = _expect_pair("lengths", lengths, targets)
    _expect_margins(m_plus, m_minus, down_weight, exponent)
    low, high = _gaps(xp, lengths, m_plus, m_minus)
    low, high = (_power_slope(xp, gap, exponent) for gap in (low, high))
    return down_weight * (1.0 - targets) * high - targets * low


def spread_loss(lengths: Array, targets: Array, /, *, margin: float = 0.9) -> Array:
    r"""Spread loss of each example (Hinton et al. 2018, eq. 3).

    .. math:: L = \sum_t T_t \sum_{j : T_j = 0} \max\big(0, m - (l_t - l_j)\big)^2

    Parameters
    ----------
    lengths : array, shape (B, J)
        Activations l of the classes.
    targets : array, shape (B, J)
        T, 1 for every class that is there and 0 for the others. With one class it is the paper's;
        with more, each is to stand out from all that are not there.
    margin : float
        m, by how much. The paper lets it grow from 0.2 to 0.9.

    Returns
    -------
    array, shape (B,)

    Raises
    ------
    OptionError
        If `margin` is no finite number from 0.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    References
    ----------
    Hinton, Sabour and Frosst (2018), Matrix capsules with EM routing, eq. 3.
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> lengths, targets = np.asarray([[0.7, 0.3, 0.5]]), np.asarray([[1.0, 0.0, 0.0]])
    >>> spread_loss(lengths, targets, margin=0.5).round(3)
    array([0.1])
    """
    xp = _expect_pair("lengths", lengths, targets)
    expect_range("margin", margin, 0.0)
    gaps, pairs = _rivals(xp, lengths, targets, margin)
    return xp.sum(pairs * gaps * gaps, axis=(1, 2))


def spread_loss_gradient(lengths: Array, targets: Array, /, *, margin: float = 0.9) -> Array:
    r"""Gradient of the sum of `spread_loss` with respect to the lengths.

    With :math:`\delta_{tj} = 2\, T_t (1 - T_j) \max(0, m - l_t + l_j)`,

    .. math:: \frac{\partial L}{\partial l_k} = \sum_t \delta_{tk} - \sum_j \delta_{kj}

    Parameters
    ----------
    lengths, targets, margin
        Of `spread_loss`.

    Returns
    -------
    array, shape (B, J)

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As `spread_loss`.

    Notes
    -----
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> lengths, targets = np.asarray([[0.7, 0.3, 0.5]]), np.asarray([[1.0, 0.0, 0.0]])
    >>> spread_loss_gradient(lengths, targets, margin=0.5).round(3)
    array([[-0.8,  0.2,  0.6]])
    """
    xp = _expect_pair("lengths", lengths, targets)
    expect_range("margin", margin, 0.0)
    gaps, pairs = _rivals(xp, lengths, targets, margin)
    slopes = 2.0 * pairs * gaps
    return xp.sum(slopes, axis=1) - xp.sum(slopes, axis=2)


def cross_entropy(logits: Array, targets: Array, /) -> Array:
    r"""Cross-entropy of each example between its targets and the softmax of its logits.

    .. math:: L = -\sum_j T_j \log \mathrm{softmax}(l)_j

    Parameters
    ----------
    logits : array, shape (B, J)
        l, of any sign: lengths of capsules, or anything else.
    targets : array, shape (B, J)
        T, not negative: 1 for the classes that are there, or probabilities.

    Returns
    -------
    array, shape (B,)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy(np.asarray([[1000.0, 0.0]]), np.asarray([[0.0, 1.0]]))
    array([1000.])
    """
    xp = _expect_pair("logits", logits, targets)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    log_total = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    return xp.sum(targets * (log_total - shifted), axis=1)


def cross_entropy_gradient(logits: Array, targets: Array, /) -> Array:
    r"""Gradient of the sum of `cross_entropy` with respect to the logits.

    .. math:: \frac{\partial L}{\partial l_j} = \mathrm{softmax}(l)_j \sum_k T_k - T_j

    Parameters
    ----------
    logits, targets
        Of `cross_entropy`.

    Returns
    -------
    array, shape (B, J)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        As `cross_entropy`.

    Notes
    -----
    Derivation: :doc:`/derivations/losses`.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy_gradient(np.asarray([[0.0, 0.0]]), np.asarray([[0.0, 1.0]]))
    array([[ 0.5, -0.5]])
    """
    xp = _expect_pair("logits", logits, targets)
    return softmax(logits, axis=1) * xp.sum(targets, axis=1, keepdims=True) - targets


def _expect_pair(name: str, lengths: Array, targets: Array) -> Any:
    """The namespace of two arrays (B, J)."""
    xp = floating(**{name: lengths}, targets=targets)
    expect_ndim(name, lengths, 2, "(B, J)")
    expect_axis("axis", 1, name, lengths)
    expect_same_shape("targets", targets, name, lengths)
    return xp


def _expect_margins(m_plus: float, m_minus: float, down_weight: float, exponent: float) -> None:
    expect_range("m_plus", m_plus, 0.0)
    expect_range("m_minus", m_minus, 0.0)
    expect_range("down_weight", down_weight, 0.0)
    expect_range("exponent", exponent, 1.0)


def _gaps(xp: Any, lengths: Array, m_plus: float, m_minus: float) -> tuple[Array, Array]:
    """How much too short and how much too long."""
    return xp.clip(m_plus - lengths, min=0.0), xp.clip(lengths - m_minus, min=0.0)


def _power_slope(xp: Any, gap: Array, exponent: float) -> Array:
    """Derivative of gap^exponent, 0 where there is no gap."""
    if exponent == 1.0:
        return xp.astype(gap > 0, gap.dtype)
    return exponent * gap ** (exponent - 1.0)


def _rivals(xp: Any, lengths: Array, targets: Array, margin: float) -> tuple[Array, Array]:
    """By how much t does not stand out from j, and whether it should, (B, t, j)."""
    gaps = xp.clip(margin - lengths[:, :, None] + lengths[:, None, :], min=0.0)
    return gaps, targets[:, :, None] * (1.0 - targets[:, None, :])
