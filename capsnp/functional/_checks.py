"""Checks of arguments: each raises one line that names the argument, what was expected, what came.

They look at shapes, dtypes and options and never at the numbers, so they cost microseconds and
wait for no device; `binary` alone reads its array.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

from capsnp.backend import Array, namespace
from capsnp.errors import DomainError, DtypeError, OptionError, ShapeError


def floating(**arrays: Array | None) -> Any:
    """The namespace of arrays that are all float32 or all float64.

    Parameters
    ----------
    **arrays : array or None
        The arguments of the calling function by name; None is passed over.

    Returns
    -------
    module
        Their Array API namespace.

    Raises
    ------
    DtypeError
        If an argument is no array, is neither float32 nor float64, or differs from the first.
    MixedBackendError
        If the arrays come from more than one library.

    Examples
    --------
    >>> import numpy as np
    >>> floating(x=np.zeros(3), W=np.zeros(3, dtype="int64"))
    Traceback (most recent call last):
    capsnp.errors.DtypeError: W: expected float32 or float64, got int64
    """
    xp = namespace(**arrays)
    first = None
    for name, array in arrays.items():
        if array is None:
            continue
        if array.dtype not in (xp.float32, xp.float64):
            raise DtypeError(f"{name}: expected float32 or float64, got {_dtype_name(array)}")
        if first is None:
            first = name, array.dtype
        elif array.dtype != first[1]:
            raise DtypeError(
                f"{name}: expected {_dtype_name(arrays[first[0]])} as {first[0]} has, "
                f"got {_dtype_name(array)}"
            )
    return xp


def binary(name: str, array: Array, *, like: Array) -> Array:
    """An array of zeros and ones in another array's dtype.

    Parameters
    ----------
    name : str
        What the caller calls it.
    array : array
        Boolean, integer or real floating, every number 0 or 1. Its values are read, which waits
        for the device.
    like : array
        The library and the dtype to return.

    Returns
    -------
    array
        The same shape.

    Raises
    ------
    DomainError
        If a number is neither 0 nor 1.
    DtypeError, MixedBackendError
        If it is complex, or no array of that library.

    Examples
    --------
    >>> import numpy as np
    >>> binary("on", np.asarray([True, False]), like=np.zeros(3, dtype="float32"))
    array([1., 0.], dtype=float32)
    >>> binary("on", np.asarray([1, 2]), like=np.zeros(3))
    Traceback (most recent call last):
    capsnp.errors.DomainError: on: expected 0 or 1 everywhere, got another number at (1,)
    """
    xp = namespace(**{name: array}, like=like)
    if xp.isdtype(array.dtype, "bool"):
        return xp.astype(array, like.dtype)
    if not xp.isdtype(array.dtype, ("integral", "real floating")):
        raise DtypeError(f"{name}: expected 0 or 1 of a real dtype, got {_dtype_name(array)}")
    other = (array != 0) & (array != 1)
    if bool(xp.any(other)):
        raise DomainError(
            f"{name}: expected 0 or 1 everywhere, got another number at {first_index(xp, other)}"
        )
    return xp.astype(array, like.dtype)


def first_index(xp: Any, mask: Array) -> tuple[int, ...]:
    """Where a mask is true for the first time, in C order.

    Parameters
    ----------
    xp : module
        Namespace of the mask.
    mask : array
        Boolean, any shape, true somewhere.

    Returns
    -------
    tuple of int
        One index per axis.

    Examples
    --------
    >>> import numpy as np
    >>> first_index(np, np.asarray([[False, False], [False, True]]))
    (1, 1)
    """
    flat = int(xp.argmax(xp.astype(xp.reshape(mask, (-1,)), xp.int32)))
    index = []
    for size in reversed(mask.shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(reversed(index))


def expect_ndim(name: str, array: Array, n: int | tuple[int, ...], axes: str) -> None:
    """Raise `ShapeError` unless the array has `n` axes (or one of several numbers of axes).

    Examples
    --------
    >>> import numpy as np
    >>> expect_ndim("x", np.zeros((4, 8)), 3, "(B, I, P)")
    Traceback (most recent call last):
    capsnp.errors.ShapeError: x: expected shape (B, I, P), got (4, 8)
    """
    if array.ndim not in (n if isinstance(n, tuple) else (n,)):
        raise ShapeError(f"{name}: expected shape {axes}, got {tuple(array.shape)}")


def expect_min_ndim(name: str, array: Array, n: int, axes: str) -> None:
    """Raise `ShapeError` unless the array has at least `n` axes.

    Examples
    --------
    >>> import numpy as np
    >>> expect_min_ndim("z", np.zeros(16), 2, "(..., J, D)")
    Traceback (most recent call last):
    capsnp.errors.ShapeError: z: expected shape (..., J, D), got (16,)
    """
    if array.ndim < n:
        raise ShapeError(f"{name}: expected shape {axes}, got {tuple(array.shape)}")


def expect_shape(
    name: str,
    array: Array,
    shape: tuple[int | None, ...],
    *,
    axes: str,
    because: str = "",
) -> None:
    """Raise `ShapeError` unless the array has this shape.

    Parameters
    ----------
    name : str
        What the caller calls it.
    array : array
    shape : tuple
        The length wanted along each axis; None is any length.
    axes : str
        The letters of the axes, such as "(I, J, D, P)".
    because : str, optional
        What the wanted lengths come from, such as "to match x (100, 576, 8)".

    Examples
    --------
    >>> import numpy as np
    >>> expect_shape("W", np.zeros((2, 3, 4, 5)), (2, None, None, 8), axes="(I, J, D, P)",
    ...              because="to match x (9, 2, 8)")
    Traceback (most recent call last):
    capsnp.errors.ShapeError: W: expected shape (I, J, D, P) with P = 8 to match x (9, 2, 8), \
got (2, 3, 4, 5)
    """
    got = tuple(array.shape)
    same_ndim = len(got) == len(shape)
    if same_ndim and all(want in (None, have) for want, have in zip(shape, got, strict=True)):
        return
    letters = [letter.strip() for letter in axes.strip("()").split(",") if letter.strip()]
    wrong = [
        f"{letter} = {want}"
        for k, (letter, want) in enumerate(zip(letters, shape, strict=True))
        if want is not None and not (same_ndim and got[k] == want)
    ]
    wanted = " ".join(filter(None, [f"with {', '.join(wrong)}" if wrong else "", because]))
    raise ShapeError(f"{name}: expected shape {' '.join(filter(None, [axes, wanted]))}, got {got}")


def expect_same_shape(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise `ShapeError` unless two arrays have the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> expect_same_shape("g", np.zeros(3), "z", np.zeros((2, 3)))
    Traceback (most recent call last):
    capsnp.errors.ShapeError: g: expected shape (2, 3) as z has, got (3,)
    """
    if tuple(array.shape) != tuple(other.shape):
        raise ShapeError(
            f"{name}: expected shape {tuple(other.shape)} as {other_name} has, "
            f"got {tuple(array.shape)}"
        )


def expect_axis(name: str, axis: int, array_name: str, array: Array) -> int:
    """The axis counted from zero.

    Raises `OptionError` if the array has no such axis, `ShapeError` if it is empty along it.

    Examples
    --------
    >>> import numpy as np
    >>> expect_axis("axis", -1, "z", np.zeros((4, 8)))
    1
    >>> expect_axis("axis", 2, "z", np.zeros((4, 8)))
    Traceback (most recent call last):
    capsnp.errors.OptionError: axis: expected an axis of z (4, 8), from -2 to 1, got 2
    """
    n = array.ndim
    if n == 0:
        raise ShapeError(f"{array_name}: expected at least one axis, got shape ()")
    if not _is_integer(axis) or not -n <= axis < n:
        raise OptionError(
            f"{name}: expected an axis of {array_name} {tuple(array.shape)}, from {-n} to {n - 1}, "
            f"got {axis!r}"
        )
    axis = operator.index(axis) % n
    if array.shape[axis] == 0:
        raise ShapeError(
            f"{array_name}: expected at least one number along axis {axis}, "
            f"got shape {tuple(array.shape)}"
        )
    return axis


def expect_option(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise `OptionError` unless the value is one of the choices.

    Examples
    --------
    >>> expect_option("agreement", "sine", ("cosine", "dot"))
    Traceback (most recent call last):
    capsnp.errors.OptionError: agreement: expected 'cosine' or 'dot', got 'sine'
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise OptionError(f"{name}: expected {listed}, got {value!r}")


def expect_count(name: str, value: object, minimum: int = 1) -> None:
    """Raise `OptionError` unless the value is a whole number (not a boolean) from `minimum`.

    Examples
    --------
    >>> expect_count("iterations", 0)
    Traceback (most recent call last):
    capsnp.errors.OptionError: iterations: expected a whole number from 1, got 0
    """
    if not _is_integer(value) or operator.index(value) < minimum:  # type: ignore[arg-type]
        raise OptionError(f"{name}: expected a whole number from {minimum}, got {value!r}")


def expect_range(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Raise `OptionError` unless the value is a finite real number in [low, high].

    Examples
    --------
    >>> expect_range("momentum", 1.5, 0, 1)
    Traceback (most recent call last):
    capsnp.errors.OptionError: momentum: expected a number from 0 to 1, got 1.5
    """
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or not low <= number <= high:
        upto = "" if high == math.inf else f" to {high}"
        raise OptionError(f"{name}: expected a number from {low}{upto}, got {value!r}")


def _is_integer(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _dtype_name(array: Array) -> str:
    return str(array.dtype).split(".")[-1]
