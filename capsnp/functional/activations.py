"""Activations of neurons, with their derivatives.

Every derivative takes the point x at which it is wanted, not the activation's value there. The
derivative of `softplus` is `sigmoid` and the gradient of `logsumexp` is `softmax`.
"""

from capsnp.backend import Array
from capsnp.functional._checks import expect_axis, expect_range, floating


def relu(x: Array, /) -> Array:
    r"""Rectifier :math:`\max(x, 0)`.

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.

    Returns
    -------
    array
        Shape and dtype of x.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.asarray([-1.0, 2.0]))
    array([0., 2.])
    """
    xp = floating(x=x)
    return xp.where(x > 0, x, xp.zeros_like(x))


def relu_derivative(x: Array, /) -> Array:
    """Derivative of `relu` at x: 1 for x > 0, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> relu_derivative(np.asarray([-1.0, 2.0]))
    array([0., 1.])
    """
    xp = floating(x=x)
    return xp.astype(x > 0, x.dtype)


def leaky_relu(x: Array, /, *, slope: float = 0.2) -> Array:
    r"""Leaky rectifier, x for x > 0 and slope · x below.

    .. math:: \ell(x) = \max(x, \mathrm{slope}\, x)

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.
    slope : float, default 0.2
        From 0 to 1.

    Returns
    -------
    array
        Shape and dtype of x.

    Raises
    ------
    OptionError
        If the slope is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.asarray([-1.0, 2.0]))
    array([-0.2,  2. ])
    """
    xp = floating(x=x)
    expect_range("slope", slope, 0, 1)
    return xp.maximum(x, float(slope) * x)


def leaky_relu_derivative(x: Array, /, *, slope: float = 0.2) -> Array:
    """Derivative of `leaky_relu` at x: 1 for x > 0, else the slope.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu_derivative(np.asarray([-1.0, 2.0]))
    array([0.2, 1. ])
    """
    xp = floating(x=x)
    expect_range("slope", slope, 0, 1)
    return xp.where(x > 0, xp.ones_like(x), xp.full_like(x, float(slope)))


def sigmoid(x: Array, /) -> Array:
    r"""Logistic function, small values to full relative precision.

    .. math:: \sigma(x) = \frac{1}{1 + e^{-x}}

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.

    Returns
    -------
    array
        Shape and dtype of x, in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.asarray([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    xp = floating(x=x)
    decay = xp.exp(-xp.abs(x))
    on = xp.astype(x >= 0, x.dtype)  # a choice by `where` takes several times as long
    return xp.maximum(decay, on) / (1.0 + decay)


def sigmoid_derivative(x: Array, /) -> Array:
    r"""Derivative of `sigmoid` at x, :math:`\sigma(x)\,\sigma(-x)`.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_derivative(np.asarray([0.0]))
    array([0.25])
    """
    return sigmoid(x) * sigmoid(-x)


def softplus(x: Array, /) -> Array:
    r"""Smooth rectifier, the free energy of a binary neuron with its sign turned.

    .. math:: \log(1 + e^{x}) = \max(x, 0) + \log(1 + e^{-|x|})

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.

    Returns
    -------
    array
        Shape and dtype of x. Its derivative is `sigmoid`.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.asarray([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    xp = floating(x=x)
    return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid(x: Array, /) -> Array:
    r"""Logarithm of `sigmoid`, finite wherever x is.

    .. math:: \log \sigma(x) = -\log(1 + e^{-x})

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.

    Returns
    -------
    array
        Shape and dtype of x, at most 0.

    Examples
    --------
    >>> import numpy as np
    >>> log_sigmoid(np.asarray([-1000.0, 0.0])).round(4)
    array([-1.000e+03, -6.931e-01])
    """
    return -softplus(-x)


def log_sigmoid_derivative(x: Array, /) -> Array:
    r"""Derivative of `log_sigmoid` at x, :math:`\sigma(-x)`.

    Examples
    --------
    >>> import numpy as np
    >>> log_sigmoid_derivative(np.asarray([0.0]))
    array([0.5])
    """
    return sigmoid(-x)


def logsumexp(x: Array, /, *, axis: int = -1) -> Array:
    r"""Logarithm of a sum of exponentials, shifted by the largest.

    .. math:: \log \sum_k e^{x_k}

    Parameters
    ----------
    x : array
        At least one axis, float32 or float64; −∞ counts as a term of zero.
    axis : int, default -1
        Summed over and dropped. The gradient is `softmax` along it.

    Returns
    -------
    array
        One axis fewer than x; −∞ where every term is zero.

    Examples
    --------
    >>> import numpy as np
    >>> logsumexp(np.asarray([-1000.0, -1000.0])).round(4)
    np.float64(-999.3069)
    """
    xp = floating(x=x)
    axis = expect_axis("axis", axis, "x", x)
    largest = xp.max(x, axis=axis, keepdims=True)
    shift = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    total = xp.sum(xp.exp(x - shift), axis=axis)
    none = total == 0
    log_total = xp.log(xp.where(none, xp.ones_like(total), total))
    total_log = xp.squeeze(shift, axis=axis) + log_total
    return xp.where(none, xp.full_like(total, -float("inf")), total_log)


def softmax(x: Array, /, *, axis: int = -1) -> Array:
    r"""Exponentials normalised to sum to one, shifted by the largest.

    .. math:: p_k = \frac{e^{x_k}}{\sum_l e^{x_l}}

    Parameters
    ----------
    x : array
        At least one axis, float32 or float64, with a finite number along every line.
    axis : int, default -1
        Normalised along.

    Returns
    -------
    array
        Shape and dtype of x, in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.asarray([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    xp = floating(x=x)
    axis = expect_axis("axis", axis, "x", x)
    weights = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return weights / xp.sum(weights, axis=axis, keepdims=True)


def softmax_vjp(x: Array, g: Array, /, *, axis: int = -1) -> Array:
    r"""Gradient with respect to x of :math:`\sum_k g_k\, \mathrm{softmax}(x)_k`.

    .. math:: p \circ \left(g - \sum_k p_k g_k\right)

    Parameters
    ----------
    x : array
        Where the derivative is wanted.
    g : array
        Cotangent, broadcasts with x. The Jacobian is symmetric, so this is its product with g
        from either side.
    axis : int, default -1
        Of the softmax.

    Returns
    -------
    array
        Shape of x and g broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_vjp(np.asarray([0.0, 0.0]), np.asarray([1.0, 0.0]))
    array([ 0.25, -0.25])
    """
    xp = floating(x=x, g=g)
    probability = softmax(x, axis=axis)
    weighted = probability * g
    return weighted - probability * xp.sum(weighted, axis=axis, keepdims=True)
