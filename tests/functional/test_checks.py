"""Checks of arguments: what they let through, and what the one line says."""

import math

import numpy as np
import pytest

from capsnp.errors import DomainError, DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional import _checks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating_returns_the_namespace(library, dtype):
    x = library.from_host([1.0, 2.0], dtype=dtype)
    assert _checks.floating(x=x, W=None, y=x).__name__ == _checks.namespace(x=x).__name__


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex128"])
def test_floating_refuses_other_dtypes_by_name(from_host, dtype):
    with pytest.raises(DtypeError, match=rf"^W: expected float32 or float64, got {dtype}$"):
        _checks.floating(x=from_host([1.0], dtype="float32"), W=from_host([1], dtype=dtype))


def test_floating_refuses_half_precision():
    with pytest.raises(DtypeError, match=r"^x: expected float32 or float64, got float16$"):
        _checks.floating(x=np.zeros(2, dtype="float16"))


def test_floating_refuses_two_precisions(from_host):
    with pytest.raises(DtypeError, match=r"^W: expected float32 as x has, got float64$"):
        _checks.floating(x=from_host([1.0], dtype="float32"), W=from_host([1.0], dtype="float64"))


@pytest.mark.parametrize("value", [1.0, [1.0], np.float64(1.0)])
def test_binary_and_floating_refuse_what_is_no_array(value):
    with pytest.raises(DtypeError, match=r"^x: expected an array, got "):
        _checks.floating(x=value)
    with pytest.raises(DtypeError, match=r"^on: expected an array, got "):
        _checks.binary("on", value, like=np.zeros(1))


def test_two_libraries_in_one_call():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(MixedBackendError, match="x numpy, W array_api_strict"):
        _checks.floating(x=np.zeros(1), W=strict.zeros(1))


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8", "float32", "float64"])
def test_binary_takes_any_real_dtype(from_host, to_host, dtype):
    like = from_host([0.5], dtype="float32")
    on = to_host(_checks.binary("on", from_host([[0, 1], [1, 0]], dtype=dtype), like=like))
    assert on.dtype == np.float32
    np.testing.assert_array_equal(on, [[0, 1], [1, 0]])


@pytest.mark.parametrize("bad", [2.0, -1.0, 0.5, math.nan, math.inf])
def test_binary_names_the_first_other_number(from_host, bad):
    on = from_host([[0.0, 1.0, 1.0], [1.0, 0.0, bad]], dtype="float64")
    with pytest.raises(DomainError, match=r"^on: expected 0 or 1 .* at \(1, 2\)$"):
        _checks.binary("on", on, like=on)


def test_binary_refuses_complex_numbers(from_host):
    like = from_host([1.0], dtype="float64")
    with pytest.raises(DtypeError, match=r"^on: .* got complex128$"):
        _checks.binary("on", from_host([1.0], dtype="complex128"), like=like)


def test_first_index_counts_in_c_order(xp, from_host, rng):
    for shape in [(7,), (3, 4), (2, 3, 4)]:
        mask = rng.random(shape) > 0.8
        mask.flat[-1] = True
        expected = tuple(int(k[0]) for k in np.nonzero(mask))
        assert _checks.first_index(xp, from_host(mask)) == expected


def test_number_of_axes(from_host):
    c = from_host(np.zeros((3, 2)))
    _checks.expect_ndim("c", c, 2, "(I, J)")
    _checks.expect_ndim("c", c, (2, 3), "(I, J) or (B, I, J)")
    _checks.expect_min_ndim("c", c, 2, "(..., I, J)")
    with pytest.raises(ShapeError, match=r"^c: expected shape \(B, I, J\), got \(3, 2\)$"):
        _checks.expect_ndim("c", c, 3, "(B, I, J)")
    with pytest.raises(ShapeError, match=r"^c: expected shape \(\.\.\., I, J, K\), got \(3, 2\)$"):
        _checks.expect_min_ndim("c", c, 3, "(..., I, J, K)")


def test_shape_names_the_axes_that_are_wrong(from_host):
    W = from_host(np.zeros((6, 2, 3, 4)))
    _checks.expect_shape("W", W, (6, None, None, 4), axes="(I, J, D, P)")
    with pytest.raises(ShapeError) as caught:
        _checks.expect_shape(
            "W", W, (6, None, None, 8), axes="(I, J, D, P)", because="to match x (100, 6, 8)"
        )
    assert str(caught.value) == (
        "W: expected shape (I, J, D, P) with P = 8 to match x (100, 6, 8), got (6, 2, 3, 4)"
    )
    with pytest.raises(ShapeError, match=r"^W: expected shape \(I, J\) with I = 6, got \(6, 2, "):
        _checks.expect_shape("W", W, (6, None), axes="(I, J)")
    with pytest.raises(ShapeError, match=r"^b: expected shape \(J,\) with J = 3, got \(2,\)$"):
        _checks.expect_shape("b", from_host(np.zeros(2)), (3,), axes="(J,)")


def test_axis(from_host):
    z = from_host(np.zeros((4, 8)))
    assert [_checks.expect_axis("axis", k, "z", z) for k in (-2, -1, 0, 1)] == [0, 1, 0, 1]
    for bad in (2, -3, 0.0, None, True):
        with pytest.raises(OptionError, match=r"^axis: expected an axis of z \(4, 8\), from -2 to"):
            _checks.expect_axis("axis", bad, "z", z)
    with pytest.raises(ShapeError, match=r"^z: expected at least one axis, got shape \(\)$"):
        _checks.expect_axis("axis", -1, "z", from_host(np.asarray(1.0)))
    with pytest.raises(ShapeError, match=r"^z: .* along axis 1, got shape \(3, 0\)$"):
        _checks.expect_axis("axis", -1, "z", from_host(np.zeros((3, 0))))


def test_same_shape(from_host):
    z, g = from_host(np.zeros((2, 3))), from_host(np.zeros((2, 3), dtype="int64"))
    _checks.expect_same_shape("g", g, "z", z)
    with pytest.raises(ShapeError, match=r"^g: expected shape \(2, 3\) as z has, got \(3, 2\)$"):
        _checks.expect_same_shape("g", from_host(np.zeros((3, 2))), "z", z)


def test_options():
    _checks.expect_option("agreement", "dot", ("cosine", "dot"))
    for bad in ("Dot", None, 1, b"dot"):
        with pytest.raises(OptionError, match=r"^agreement: expected 'cosine' or 'dot', got "):
            _checks.expect_option("agreement", bad, ("cosine", "dot"))
    with pytest.raises(OptionError, match=r"^mode: expected 'a', 'b' or 'c', got 'd'$"):
        _checks.expect_option("mode", "d", "abc")
    with pytest.raises(OptionError, match=r"^mode: expected 'a', got 'd'$"):
        _checks.expect_option("mode", "d", ["a"])


def test_counts():
    for good in (1, 7, np.int64(2)):
        _checks.expect_count("iterations", good)
    _checks.expect_count("padding", 0, minimum=0)
    for bad in (0, -1, 1.0, True, None, "3", math.nan):
        with pytest.raises(OptionError, match=r"^iterations: expected a whole number from 1, got "):
            _checks.expect_count("iterations", bad)


def test_ranges():
    for good in (0, 1, 0.5, np.float32(0.25)):
        _checks.expect_range("momentum", good, 0, 1)
    for bad in (-0.1, 1.1, math.nan, math.inf, None, "0.5", True):
        with pytest.raises(OptionError, match=r"^momentum: expected a number from 0 to 1, got "):
            _checks.expect_range("momentum", bad, 0, 1)
    with pytest.raises(OptionError, match=r"^tol: expected a number from 0, got -1$"):
        _checks.expect_range("tol", -1, 0)
