r"""Length, squash and unsquash of capsules (4)-(6), with their derivatives.

Right to a few units in the last place for every finite vector, from zero and subnormal numbers to
the largest. A library that flushes subnormal numbers to zero (JAX on a CPU) takes and returns
zero for them.
"""

import math
from typing import Any

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_axis, floating
from capsnp.functional._polar import (
    Polar,
    firing,
    one_minus_square,
    or_one,
    polar,
    range_of,
    unit,
)
from capsnp.functional._radial import expect_lengths, expect_pair, lengths_of, split


def length(z: Array, /, *, axis: int = -1) -> Array:
    r"""Euclidean length of each capsule.

    .. math:: \|z\| = \sqrt{\sum_d z_d^2}

    Parameters
    ----------
    z : array, shape (..., D)
        float32 or float64.
    axis : int, default -1
        The capsule's dimensions; dropped.

    Returns
    -------
    array, shape (...)
        Of z's dtype; infinite only where the length itself exceeds the largest number.

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If z is not real floating, has no axes or has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> length(np.asarray([[3e-200, 4e-200], [3e200, 4e200]]))
    array([5.e-200, 5.e+200])
    """
    xp = floating(z=z)
    axis = expect_axis("axis", axis, "z", z)
    return xp.squeeze(lengths_of(xp, polar(xp, z, axis)), axis=axis)


def length_vjp(z: Array, g: Array, /, *, axis: int = -1) -> Array:
    r"""Gradient with respect to z of the sum of g · ‖z‖, which is :math:`g\, z/\|z\|`.

    Parameters
    ----------
    z : array, shape (..., D)
        Where the derivative is wanted; at z = 0 the subgradient 0 is taken.
    g : array, shape (...)
        Cotangent, one number per length.
    axis : int, default -1
        The capsule's dimensions.

    Returns
    -------
    array, shape of z

    Raises
    ------
    DtypeError, MixedBackendError, ShapeError, OptionError
        If z and g do not fit together or have no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> length_vjp(np.asarray([[3.0, 4.0], [0.0, 0.0]]), np.asarray([10.0, 10.0]))
    array([[6., 8.],
           [0., 0.]])
    """
    xp = floating(z=z, g=g)
    axis = expect_axis("axis", axis, "z", z)
    expected = tuple(z.shape[:axis]) + tuple(z.shape[axis + 1 :])
    if tuple(g.shape) != expected:
        raise ShapeError(f"g: expected shape {expected} of the lengths, got {tuple(g.shape)}")
    at = polar(xp, z, axis)
    return unit(xp, z, at) * xp.expand_dims(g, axis=axis)


def squash(z: Array, /, *, axis: int = -1) -> Array:
    r"""Capsules with their lengths squashed into [0, 1) and their directions kept (4).

    .. math:: \mathrm{squash}(z) = \frac{\|z\|^2}{1 + \|z\|^2} \frac{z}{\|z\|}

    Parameters
    ----------
    z : array, shape (..., D)
        float32 or float64.
    axis : int, default -1
        The capsule's dimensions.

    Returns
    -------
    array, shape (..., D)
        Zero for zero. Lengths that would round to 1 are shortened to 1 − 2ε, four units in the
        last place, so that `unsquash` of it exists.

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If z is not real floating, has no axes or has no such axis.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 4; Sabour, Frosst and Hinton (2017), eq. 1.
    Derivation: :doc:`/derivations/squash`.

    Examples
    --------
    >>> import numpy as np
    >>> squash(np.asarray([[0.0, 1.0], [0.0, 3.0]]))
    array([[0. , 0.5],
           [0. , 0.9]])
    """
    xp = floating(z=z)
    axis = expect_axis("axis", axis, "z", z)
    at = polar(xp, z, axis)
    divisor, factor = _squash_factor(xp, at, longest=1.0 - 2.0 * range_of(xp, z.dtype).eps)
    return z / divisor * factor


def squash_vjp(z: Array, g: Array, /, *, axis: int = -1) -> Array:
    r"""Gradient with respect to z of :math:`\langle g, \mathrm{squash}(z)\rangle`.

    With :math:`r = \|z\|` and :math:`u = z/r`, components of g across u are multiplied by
    :math:`r/(1+r^2)` and the one along u by :math:`2r/(1+r^2)^2`. The Jacobian is symmetric, so
    this is its product with g from either side.

    Parameters
    ----------
    z : array, shape (..., D)
        Where the derivative is wanted; it is 0 at z = 0.
    g : array, shape of z
        Cotangent.
    axis : int, default -1
        The capsule's dimensions.

    Returns
    -------
    array, shape of z
        Errors are relative to the larger of the two factors times the length of g.

    Raises
    ------
    DtypeError, MixedBackendError, ShapeError, OptionError
        If z and g do not fit together or have no such axis.

    Notes
    -----
    Derivation: :doc:`/derivations/squash`.

    Examples
    --------
    >>> import numpy as np
    >>> squash_vjp(np.asarray([0.0, 1.0]), np.asarray([1.0, 1.0]))
    array([0.5, 0.5])
    """
    xp, axis = expect_pair("z", z, g, axis)
    at = polar(xp, z, axis)
    along, across = split(xp, unit(xp, z, at), g, axis)
    divisor, factor = _squash_factor(xp, at, longest=1.0)
    return (across + along * (2.0 / (1.0 + at.r * at.r))) / divisor * factor


def unsquash(x: Array, /, *, axis: int = -1, clip: bool = False) -> Array:
    r"""The capsules whose squashed ones are x, the inverse of `squash` (6).

    .. math:: \mathrm{unsquash}(x) = \sqrt{\frac{\|x\|}{1 - \|x\|}} \frac{x}{\|x\|}

    Parameters
    ----------
    x : array, shape (..., D)
        float32 or float64, lengths below 1.
    axis : int, default -1
        The capsule's dimensions.
    clip : bool, default False
        Shorten lengths from 1 to the largest number below 1 instead of an error. Without it the
        lengths are read, which waits for the device and cannot be traced by a compiler.

    Returns
    -------
    array, shape (..., D)
        Zero for zero. Relative errors of x are multiplied by up to 1/(2 − 2‖x‖).

    Raises
    ------
    DomainError
        If a length is not below 1; it names the first such capsule and its length.
    DtypeError, ShapeError, OptionError
        If x is not real floating, has no axes or has no such axis.

    Notes
    -----
    1 − ‖x‖ is (1 − ‖x‖²)/(1 + ‖x‖), the numerator summed without rounding, so the result is
    right next to the unit sphere too.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 6.
    Derivation: :doc:`/derivations/squash`.

    Examples
    --------
    >>> import numpy as np
    >>> unsquash(np.asarray([[0.0, 0.5], [0.0, 0.9]]))
    array([[0., 1.],
           [0., 3.]])
    >>> unsquash(np.asarray([[0.0, 0.5], [2.0, 0.0]]))
    Traceback (most recent call last):
    capsnp.errors.DomainError: x: expected lengths below 1, got length 2.0 at index (1,)
    """
    xp = floating(x=x)
    axis = expect_axis("axis", axis, "x", x)
    at = polar(xp, x, axis)
    gap = one_minus_square(xp, x, at, axis)
    eps = range_of(xp, x.dtype).eps
    if clip:
        inside = gap >= eps  # 1 − t² of the largest number t below 1, up to ε²/4
    else:
        inside = gap > 0
        expect_lengths("x", xp, at, inside, axis, "below 1")
    root = xp.sqrt(at.scaled * xp.where(inside, gap, xp.ones_like(gap)) / (1.0 + at.r))
    divisor = or_one(xp, xp.where(inside, root, at.scaled))
    longest = math.sqrt(2 / eps - 1)
    return x * at.up / divisor * xp.where(inside, 1.0 / xp.sqrt(at.up), longest * at.down)


def unsquash_vjp(x: Array, g: Array, /, *, axis: int = -1) -> Array:
    r"""Gradient with respect to x of :math:`\langle g, \mathrm{unsquash}(x)\rangle`.

    With :math:`t = \|x\|` and :math:`u = x/t`, components of g across u are multiplied by
    :math:`1/\sqrt{t(1-t)}` and the one along u by :math:`1/(2\sqrt{t}(1-t)^{3/2})`. The Jacobian
    is symmetric, so this is its product with g from either side.

    Parameters
    ----------
    x : array, shape (..., D)
        Where the derivative is wanted, lengths between 0 and 1.
    g : array, shape of x
        Cotangent.
    axis : int, default -1
        The capsule's dimensions.

    Returns
    -------
    array, shape of x
        Errors are relative to the larger of the two factors times the length of g.

    Raises
    ------
    DomainError
        If a length is 0, where the derivative is infinite, or not below 1.
    DtypeError, MixedBackendError, ShapeError, OptionError
        If x and g do not fit together or have no such axis.

    Notes
    -----
    Derivation: :doc:`/derivations/squash`.

    Examples
    --------
    >>> import numpy as np
    >>> unsquash_vjp(np.asarray([0.0, 0.5]), np.asarray([1.0, 1.0]))
    array([2., 2.])
    """
    xp, axis = expect_pair("x", x, g, axis)
    at = polar(xp, x, axis)
    gap = one_minus_square(xp, x, at, axis)
    expect_lengths("x", xp, at, (gap > 0) & (at.scaled > 0), axis, "above 0 and below 1")
    along, across = split(xp, unit(xp, x, at), g, axis)
    rest = gap / (1.0 + at.r)  # 1 − t
    return (across + along / (2.0 * rest)) * xp.sqrt(at.up) / xp.sqrt(at.scaled * rest)


def _squash_factor(xp: Any, at: Polar, *, longest: float) -> tuple[Array, Array]:
    """Divisor and factor of z in squash(z): apart, since 1/r can be subnormal."""
    is_long = at.r > 1.0
    one = xp.ones_like(at.r)
    probability = xp.minimum(firing(at), longest * one)
    divisor = xp.where(is_long, at.scaled, one)
    return divisor, xp.where(is_long, probability * at.down, at.r / (1.0 + at.r * at.r))
