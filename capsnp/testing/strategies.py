"""Hypothesis strategies for capsules, prediction maps and routing coefficients.

All of them draw NumPy arrays; ``backend.asarray`` or the library's own ``asarray`` takes these
elsewhere.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from capsnp.errors import OptionError
from capsnp.functional._checks import expect_option

Shape = tuple[int, ...]
Strategy = st.SearchStrategy
Lengths = Literal["any", "squashed"] | tuple[float, float]


def capsules(
    shape: Shape | Strategy[Shape] | None = None,
    *,
    dtype: str | Strategy[str] = "float64",
    lengths: Lengths = "any",
    zeros: bool = True,
    allow_nan: bool = False,
    allow_infinity: bool = False,
) -> Strategy[np.ndarray]:
    """Capsules (..., D), one vector of D numbers each.

    Parameters
    ----------
    shape : tuple of int or strategy, optional
        By default one to three axes of up to four.
    dtype : {"float64", "float32"} or strategy
    lengths : "any", "squashed" or (low, high)
        "any": components over the whole finite range, from subnormal numbers to the largest, so
        that a length may exceed the largest number. "squashed": lengths in [0, 1), often tiny and
        often nearly one. A pair: lengths in that range up to rounding.
    zeros : bool
        Whether zero vectors are among them, whatever the lengths.
    allow_nan, allow_infinity : bool
        Whether components that are no finite numbers are among them.

    Returns
    -------
    strategy of numpy.ndarray
        Shrinks to few capsules along the first axis of their space.

    Raises
    ------
    OptionError
        If the lengths are of another kind, or the range is empty.

    Examples
    --------
    >>> from hypothesis import given
    >>> from capsnp.functional import length, squash
    >>> @given(capsules(lengths="any"))
    ... def test_squashed_lengths_are_below_one(z):
    ...     assert (length(squash(z)) < 1).all()
    >>> test_squashed_lengths_are_below_one()
    """
    if isinstance(lengths, tuple):
        low, high = lengths
        if not 0 <= low <= high < math.inf:
            raise OptionError(f"lengths: expected 0 <= low <= high, got {lengths}")
        sizes = st.floats(low, high)
        return _capsules(shape, dtype, lambda _: sizes, _exactly, zeros, allow_nan, allow_infinity)
    expect_option("lengths", lengths, ("any", "squashed"))
    if lengths == "squashed":
        finish = (_squashed_lengths, _inside)
        return _capsules(shape, dtype, *finish, zeros, allow_nan, allow_infinity)
    return _capsules(shape, dtype, _exponents, _spread, zeros, allow_nan, allow_infinity)


def weights(
    shape: Shape | Strategy[Shape] | None = None,
    *,
    dtype: str | Strategy[str] = "float64",
    largest: float = 4.0,
    zeros: bool = True,
) -> Strategy[np.ndarray]:
    """Prediction maps W (I, J, D, P).

    Parameters
    ----------
    shape : tuple of int or strategy, optional
        By default up to three along each axis.
    dtype : {"float64", "float32"} or strategy
    largest : float
        Of the absolute values.
    zeros : bool
        Whether some blocks W_ij are zero.

    Returns
    -------
    strategy of numpy.ndarray

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(weights((3, 2, 4, 5), largest=1.0))
    ... def test_shapes_and_sizes(W):
    ...     assert W.shape == (3, 2, 4, 5)
    ...     assert abs(W).max() <= 1
    >>> test_shapes_and_sizes()
    """
    shape = hnp.array_shapes(min_dims=4, max_dims=4, max_side=3) if shape is None else shape
    return _weights(shape, dtype, _numbers(largest), zeros)


def coefficients(
    shape: Shape | Strategy[Shape] | None = None,
    *,
    normalize: Literal["inputs", "outputs"] = "inputs",
    dtype: str | Strategy[str] = "float64",
) -> Strategy[np.ndarray]:
    """Routing coefficients c (..., I, J), not negative, that sum to 1 up to rounding.

    Parameters
    ----------
    shape : tuple of int or strategy, optional
        By default two or three axes of up to four.
    normalize : {"inputs", "outputs"}
        The axis along which they sum to 1: over i of (..., I, J), or over j.
    dtype : {"float64", "float32"} or strategy

    Returns
    -------
    strategy of numpy.ndarray
        Uniform ones, sharp ones (one input or output has all) and all between.

    Raises
    ------
    OptionError
        If there is no such axis.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(coefficients((2, 3, 4), normalize="outputs"))
    ... def test_each_input_gives_all_of_itself(c):
    ...     assert abs(c.sum(axis=-1) - 1).max() < 1e-15 * c.shape[-1]
    >>> test_each_input_gives_all_of_itself()
    """
    expect_option("normalize", normalize, ("inputs", "outputs"))
    shape = hnp.array_shapes(min_dims=2, max_dims=3, max_side=4) if shape is None else shape
    return _coefficients(shape, dtype, -2 if normalize == "inputs" else -1)


def layers(
    sizes: tuple[int, int, int, int, int] | Strategy | None = None,
    *,
    dtype: str | Strategy[str] = "float64",
    signs: Literal["any", "alike"] = "any",
) -> Strategy[tuple[np.ndarray, np.ndarray]]:
    """Input capsules x (B, I, P) with prediction maps W (I, J, D, P) that fit them.

    Parameters
    ----------
    sizes : (B, I, P, J, D) or strategy, optional
        By default up to three each.
    dtype : {"float64", "float32"} or strategy
    signs : {"any", "alike"}
        "alike": nonzero numbers lie between 1/4 and 1, so that predictions never cancel in a sum
        and rounding stays small beside every result.

    Returns
    -------
    strategy of (numpy.ndarray, numpy.ndarray)
        x and W; some capsules x_i are zero, and with signs "any" some blocks W_ij.

    Examples
    --------
    >>> from hypothesis import given
    >>> from capsnp.functional import route
    >>> @given(layers((2, 3, 2, 2, 3)))
    ... def test_every_output_shares_its_inputs(layer):
    ...     c, z = route(*layer)
    ...     assert abs(c.sum(axis=1) - 1).max() < 1e-14
    >>> test_every_output_shares_its_inputs()
    """
    expect_option("signs", signs, ("any", "alike"))
    sizes = st.tuples(*[st.integers(1, 3)] * 5) if sizes is None else sizes
    return _layers(sizes, dtype, _numbers(4.0) if signs == "any" else st.floats(0.25, 1.0), signs)


# --- how they are drawn -----------------------------------------------------------------------


@st.composite
def _capsules(
    draw: Any,
    shape: Any,
    dtype: Any,
    sizes: Callable[[np.dtype], Strategy],
    finish: Callable[[np.ndarray, np.ndarray, np.dtype], np.ndarray],
    zeros: bool,
    allow_nan: bool,
    allow_infinity: bool,
) -> np.ndarray:
    """Directions times sizes, as `finish` multiplies them."""
    default = hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)
    shape = draw(_drawn(default if shape is None else shape))
    kind = np.dtype(draw(_drawn(dtype)))
    D, n = shape[-1], math.prod(shape[:-1])
    direction = draw(hnp.arrays("float64", (n, D), elements=st.floats(-1, 1)))
    largest = np.max(np.abs(direction), axis=1)
    direction[largest == 0, 0] = 1.0
    direction /= np.where(largest == 0, 1.0, largest)[:, None]
    size = draw(st.lists(sizes(kind), min_size=n, max_size=n))
    z = finish(direction, np.asarray(size), kind)
    if zeros:
        z[draw(st.lists(st.booleans(), min_size=n, max_size=n)), :] = 0.0
    special = [math.nan] * allow_nan + [math.inf, -math.inf] * allow_infinity
    if special:
        z += draw(hnp.arrays(kind, (n, D), elements=st.sampled_from([0.0, *special])))
    return z.reshape(shape)


def _exponents(dtype: np.dtype) -> Strategy[int]:
    """Binary exponents of the largest components, from the smallest subnormal number's."""
    info = np.finfo(dtype)
    ends = int(info.minexp) - int(info.nmant), int(info.maxexp)
    edges = [ends[0], int(info.minexp) - 1, int(info.minexp), ends[1]]
    return st.one_of(st.integers(-8, 8), st.integers(*ends), st.sampled_from(edges))


def _spread(direction: np.ndarray, exponent: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        z = np.ldexp(direction, exponent[:, None])
        largest = float(np.finfo(dtype).max)
        return np.clip(z, -largest, largest).astype(dtype)


def _exactly(direction: np.ndarray, length: np.ndarray, dtype: np.dtype) -> np.ndarray:
    unit = direction / np.sqrt(np.sum(direction * direction, axis=1, keepdims=True))
    with np.errstate(under="ignore"):
        return (unit * length[:, None]).astype(dtype)


def _squashed_lengths(dtype: np.dtype) -> Strategy[float]:
    info = np.finfo(dtype)
    nearly_one = st.integers(1, 64).map(lambda k: 1.0 - k * float(info.epsneg))
    tiny = st.integers(int(info.minexp) - int(info.nmant), -1).map(lambda k: 2.0**k)
    return st.one_of(st.floats(0, 1, exclude_max=True), nearly_one, tiny)


def _inside(direction: np.ndarray, length: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Lengths that rounding took to 1 are shortened, judged without rounding."""
    x = _exactly(direction, length, dtype)
    for row in x:
        while sum(Fraction(float(number)) ** 2 for number in row) >= 1:
            row *= 1 - np.finfo(dtype).eps
    return x


@st.composite
def _weights(draw: Any, shape: Any, dtype: Any, elements: Strategy, zeros: bool) -> np.ndarray:
    shape = draw(_drawn(shape))
    W = draw(hnp.arrays("float64", shape, elements=elements)).astype(draw(_drawn(dtype)))
    if zeros:
        W[draw(hnp.arrays(bool, shape[:2])), ...] = 0.0
    return W


@st.composite
def _coefficients(draw: Any, shape: Any, dtype: Any, axis: int) -> np.ndarray:
    share = draw(hnp.arrays("float64", draw(_drawn(shape)), elements=st.integers(0, 64)))
    share += np.all(share == 0, axis=axis, keepdims=True)
    return (share / np.sum(share, axis=axis, keepdims=True)).astype(draw(_drawn(dtype)))


@st.composite
def _layers(
    draw: Any, sizes: Any, dtype: Any, elements: Strategy, signs: str
) -> tuple[np.ndarray, np.ndarray]:
    B, I, P, J, D = draw(_drawn(sizes))
    kind = draw(_drawn(dtype))
    x = draw(hnp.arrays("float64", (B, I, P), elements=elements)).astype(kind)
    x[draw(hnp.arrays(bool, (B, I))), ...] = 0.0
    return x, draw(_weights((I, J, D, P), kind, elements, signs == "any"))


def _numbers(largest: float) -> Strategy[float]:
    return st.floats(-largest, largest, allow_subnormal=False)


def _drawn(value: Any) -> Strategy:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)
