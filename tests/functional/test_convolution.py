"""Convolutions against nested loops, PyTorch and their adjoints' defining identity."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from capsnp.errors import DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional.convolution import (
    col2im,
    conv2d,
    conv2d_bias_gradient,
    conv2d_input_gradient,
    conv2d_transpose,
    conv2d_transpose_input_gradient,
    conv2d_transpose_weight_gradient,
    conv2d_weight_gradient,
    im2col,
)


class Case(NamedTuple):
    """One geometry: everything (vertical, horizontal)."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def out(self):
        return tuple(
            (self.size[k] + 2 * self.padding[k] - self.kernel[k]) // self.stride[k] + 1
            for k in (0, 1)
        )

    @property
    def output_padding(self):
        """What a transposed convolution needs to come back to `size`."""
        return tuple(
            self.size[k]
            - ((self.out[k] - 1) * self.stride[k] - 2 * self.padding[k] + self.kernel[k])
            for k in (0, 1)
        )

    @property
    def options(self):
        return {"stride": self.stride, "padding": self.padding}


CASES = [
    Case((5, 6), (3, 3)),
    Case((6, 5), (2, 3), stride=(2, 1)),
    Case((8, 7), (3, 2), stride=(2, 3), padding=(1, 0)),
    Case((4, 4), (5, 5), stride=(1, 2), padding=(2, 1)),
    Case((3, 4), (3, 4)),
    Case((7, 7), (1, 1), stride=(3, 3)),
    Case((20, 20), (9, 9), stride=(2, 2)),
]
N, C_IN, C_OUT = 2, 3, 4


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def arrays(case, rng):
    """images, weight, bias and a gradient for the result, on the host."""
    return (
        rng.normal(size=(N, *case.size, C_IN)),
        rng.normal(size=(*case.kernel, C_IN, C_OUT)),
        rng.normal(size=C_OUT),
        rng.normal(size=(N, *case.out, C_OUT)),
    )


def taps(case):
    """Every (i, j, u, v) of output place and tap with the pixel (y, x) that it reads."""
    for i, j in itertools.product(range(case.out[0]), range(case.out[1])):
        for u, v in itertools.product(range(case.kernel[0]), range(case.kernel[1])):
            y = i * case.stride[0] + u - case.padding[0]
            x = j * case.stride[1] + v - case.padding[1]
            if 0 <= y < case.size[0] and 0 <= x < case.size[1]:
                yield (i, j), (u, v), (y, x)


def loops_conv2d(case, images, weight):
    out = np.zeros((N, *case.out, C_OUT))
    for (i, j), (u, v), (y, x) in taps(case):
        for n, c, o in itertools.product(range(N), range(C_IN), range(C_OUT)):
            out[n, i, j, o] += images[n, y, x, c] * weight[u, v, c, o]
    return out


def loops_conv2d_transpose(case, codes, weight):
    images = np.zeros((N, *case.size, C_IN))
    for (i, j), (u, v), (y, x) in taps(case):
        for n, c, o in itertools.product(range(N), range(C_IN), range(C_OUT)):
            images[n, y, x, c] += codes[n, i, j, o] * weight[u, v, c, o]
    return images


def test_conv2d_is_the_nested_loops(case, arrays, from_host, to_host):
    images, weight, bias, _ = arrays
    out = conv2d(*map(from_host, (images, weight, bias)), **case.options)
    np.testing.assert_allclose(to_host(out), loops_conv2d(case, images, weight) + bias, atol=1e-11)


def test_conv2d_transpose_is_the_nested_loops(case, arrays, rng, from_host, to_host):
    _, weight, _, codes = arrays
    bias = rng.normal(size=C_IN)
    out = conv2d_transpose(
        *map(from_host, (codes, weight, bias)), output_padding=case.output_padding, **case.options
    )
    expected = loops_conv2d_transpose(case, codes, weight) + bias
    np.testing.assert_allclose(to_host(out), expected, atol=1e-11)


def test_im2col_rows_are_patches(case, arrays, from_host, to_host):
    images = arrays[0]
    columns = im2col(from_host(images), case.kernel, case.stride, padding=case.padding)
    expected = np.zeros((N, *case.out, *case.kernel, C_IN))
    for (i, j), (u, v), (y, x) in taps(case):
        expected[:, i, j, u, v] = images[:, y, x]
    np.testing.assert_array_equal(to_host(columns), expected.reshape(N, *case.out, -1))


def test_col2im_is_the_adjoint_of_im2col(case, arrays, rng, from_host, to_host):
    images = arrays[0]
    columns = rng.normal(size=(N, *case.out, np.prod(case.kernel) * C_IN))
    forward = im2col(from_host(images), case.kernel, case.stride, padding=case.padding)
    back = col2im(from_host(columns), images.shape, case.kernel, case.stride, padding=case.padding)
    assert np.sum(to_host(forward) * columns) == pytest.approx(np.sum(images * to_host(back)))


def test_gradients_are_adjoints_of_conv2d(case, arrays, from_host, to_host):
    """<conv2d(a, w), g> is bilinear in a and w: it equals <a, input> and <w, weight>."""
    images, weight, _, gradient = arrays
    a, w, g = map(from_host, (images, weight, gradient))
    inner = np.sum(to_host(conv2d(a, w, **case.options)) * gradient)
    for_input = conv2d_input_gradient(g, w, case.size, **case.options)
    for_weight = conv2d_weight_gradient(g, a, case.kernel, **case.options)
    assert inner == pytest.approx(np.sum(images * to_host(for_input)))
    assert inner == pytest.approx(np.sum(weight * to_host(for_weight)))
    np.testing.assert_allclose(
        to_host(conv2d_bias_gradient(g)), gradient.sum(axis=(0, 1, 2)), atol=1e-12
    )


def test_gradients_are_adjoints_of_conv2d_transpose(case, arrays, from_host, to_host):
    gradient, weight, _, codes = arrays  # the roles of images and codes exchanged
    g, w, y = map(from_host, (gradient, weight, codes))
    out = conv2d_transpose(y, w, output_padding=case.output_padding, **case.options)
    inner = np.sum(to_host(out) * gradient)
    for_codes = conv2d_transpose_input_gradient(g, w, **case.options)
    for_weight = conv2d_transpose_weight_gradient(g, y, case.kernel, **case.options)
    assert inner == pytest.approx(np.sum(codes * to_host(for_codes)))
    assert inner == pytest.approx(np.sum(weight * to_host(for_weight)))


def test_everything_is_what_pytorch_computes(case, arrays, rng):
    torch = pytest.importorskip("torch")
    images, weight, bias, gradient = arrays
    nchw, nhwc = (0, 3, 1, 2), (0, 2, 3, 1)

    def leaf(array, axes):
        return torch.tensor(array.transpose(axes), requires_grad=True)

    a, w, b = leaf(images, nchw), leaf(weight, (3, 2, 0, 1)), leaf(bias, (0,))
    out = torch.nn.functional.conv2d(a, w, b, stride=case.stride, padding=case.padding)
    out.backward(torch.tensor(gradient.transpose(nchw)))
    ours = conv2d(images, weight, bias, **case.options)
    np.testing.assert_allclose(ours, out.detach().numpy().transpose(nhwc), atol=1e-11)
    np.testing.assert_allclose(
        conv2d_input_gradient(gradient, weight, case.size, **case.options),
        a.grad.numpy().transpose(nhwc),
        atol=1e-11,
    )
    np.testing.assert_allclose(
        conv2d_weight_gradient(gradient, images, case.kernel, **case.options),
        w.grad.numpy().transpose(2, 3, 1, 0),
        atol=1e-11,
    )
    np.testing.assert_allclose(conv2d_bias_gradient(gradient), b.grad.numpy(), atol=1e-11)

    y, w, b = leaf(gradient, nchw), leaf(weight, (3, 2, 0, 1)), leaf(rng.normal(size=C_IN), (0,))
    out = torch.nn.functional.conv_transpose2d(
        y, w, b, stride=case.stride, padding=case.padding, output_padding=case.output_padding
    )
    out.backward(torch.tensor(images.transpose(nchw)))
    ours = conv2d_transpose(
        gradient, weight, b.detach().numpy(), output_padding=case.output_padding, **case.options
    )
    np.testing.assert_allclose(ours, out.detach().numpy().transpose(nhwc), atol=1e-11)
    np.testing.assert_allclose(
        conv2d_transpose_input_gradient(images, weight, **case.options),
        y.grad.numpy().transpose(nhwc),
        atol=1e-11,
    )
    np.testing.assert_allclose(
        conv2d_transpose_weight_gradient(images, gradient, case.kernel, **case.options),
        w.grad.numpy().transpose(2, 3, 1, 0),
        atol=1e-11,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_stays(dtype, xp, from_host):
    images = from_host(np.ones((1, 4, 4, 2)), dtype)
    weight = from_host(np.ones((3, 3, 2, 5)), dtype)
    codes = conv2d(images, weight, from_host(np.ones(5), dtype), padding=1)
    back = conv2d_transpose(codes, weight, from_host(np.ones(2), dtype), padding=1)
    for array in (codes, back, conv2d_weight_gradient(codes, images, 3, padding=1)):
        assert array.dtype == getattr(xp, dtype)


def test_one_number_stands_for_both_directions(rng):
    images, weight = rng.normal(size=(1, 7, 7, 1)), rng.normal(size=(3, 3, 1, 2))
    np.testing.assert_array_equal(
        conv2d(images, weight, stride=2, padding=1),
        conv2d(images, weight, stride=(2, 2), padding=(1, 1)),
    )


def test_transposed_convolution_down_to_one_pixel(from_host, to_host):
    codes, weight = from_host(np.ones((1, 1, 1, 1))), from_host(np.arange(9.0).reshape(3, 3, 1, 1))
    images = to_host(conv2d_transpose(codes, weight, padding=1))
    np.testing.assert_array_equal(images, [[[[4.0]]]])  # the middle of the weight


IMAGES, WEIGHT = np.ones((1, 4, 5, 2)), np.ones((3, 3, 2, 6))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: im2col(np.ones((4, 5, 2)), 3),
            ShapeError,
            r"images: expected shape \(N, H, W, C\), got \(4, 5, 2\)",
        ),
        (
            lambda: im2col(IMAGES, 5),
            ShapeError,
            r"images: expected height and width with padding of at least the kernel \(5, 5\), "
            r"got \(4, 5\)",
        ),
        (
            lambda: im2col(IMAGES, 3, 0),
            OptionError,
            "stride: expected a whole number from 1, got 0",
        ),
        (
            lambda: im2col(IMAGES, (3, 3, 3)),
            OptionError,
            r"kernel: expected a whole number or a pair of them, got \(3, 3, 3\)",
        ),
        (
            lambda: conv2d(IMAGES, WEIGHT, padding=-1),
            OptionError,
            "padding: expected a whole number from 0, got -1",
        ),
        (
            lambda: col2im(np.ones((1, 2, 3, 17)), (1, 4, 5, 2), 3),
            ShapeError,
            r"columns: expected shape \(N, H_out, W_out, K\) with K = 18 to match images "
            r"\(1, 4, 5, 2\) and kernel \(3, 3\), got \(1, 2, 3, 17\)",
        ),
        (
            lambda: col2im(np.ones((1, 2, 3, 18)), (4, 5, 2), 3),
            ShapeError,
            r"shape: expected \(N, H, W, C\), got \(4, 5, 2\)",
        ),
        (
            lambda: conv2d(IMAGES, np.ones((3, 3, 1, 6))),
            ShapeError,
            r"images: expected shape \(N, H, W, C_in\) with C_in = 1 to match weight "
            r"\(3, 3, 1, 6\), got \(1, 4, 5, 2\)",
        ),
        (
            lambda: conv2d(IMAGES, WEIGHT, np.ones(2)),
            ShapeError,
            r"bias: expected shape \(C_out\) with C_out = 6 to match weight \(3, 3, 2, 6\), "
            r"got \(2,\)",
        ),
        (
            lambda: conv2d_transpose(np.ones((1, 2, 2, 6)), WEIGHT, np.ones(6)),
            ShapeError,
            r"bias: expected shape \(C_in\) with C_in = 2 .* got \(6,\)",
        ),
        (
            lambda: conv2d_transpose(np.ones((1, 2, 2, 6)), WEIGHT, stride=2, output_padding=2),
            OptionError,
            r"output_padding: expected below the stride \(2, 2\), got \(2, 2\)",
        ),
        (
            lambda: conv2d_transpose(
                np.ones((1, 2, 2, 6)), WEIGHT, stride=(2, 1), output_padding=1
            ),
            OptionError,
            r"output_padding: expected below the stride \(2, 1\), got \(1, 1\)",
        ),
        (
            lambda: conv2d_transpose(
                np.ones((1, 2, 2, 6)), WEIGHT, stride=(1, 2), output_padding=1
            ),
            OptionError,
            r"output_padding: expected below the stride \(1, 2\), got \(1, 1\)",
        ),
        (
            lambda: conv2d_transpose(np.ones((1, 1, 1, 6)), WEIGHT, padding=2),
            ShapeError,
            r"codes: expected some image left after padding \(2, 2\), got size \(-1, -1\) from "
            r"codes \(1, 1, 1, 6\) and kernel \(3, 3\)$",
        ),
        (
            lambda: conv2d_transpose(np.ones((1, 2, 3, 6)), WEIGHT, padding=2),
            ShapeError,
            r"codes: .* got size \(0, 1\) from codes",
        ),
        (
            lambda: conv2d_transpose(np.ones((1, 3, 2, 6)), WEIGHT, padding=2),
            ShapeError,
            r"codes: .* got size \(1, 0\) from codes",
        ),
        (
            lambda: conv2d_input_gradient(np.ones((1, 2, 2, 6)), WEIGHT, (4, 5)),
            ShapeError,
            r"gradient: expected shape .* W_out = 3 to match size \(4, 5\), got \(1, 2, 2, 6\)",
        ),
        (
            lambda: conv2d_weight_gradient(np.ones((1, 2, 2, 6)), IMAGES, 3),
            ShapeError,
            r"gradient: expected shape .* with W_out = 3 to match images \(1, 4, 5, 2\)",
        ),
        (
            lambda: conv2d(IMAGES.astype("int64"), WEIGHT),
            DtypeError,
            "images: expected float32 or float64, got int64",
        ),
        (
            lambda: conv2d(IMAGES, WEIGHT.astype("float32")),
            DtypeError,
            "weight: expected float64 as images has, got float32",
        ),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_two_libraries_do_not_meet():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(MixedBackendError, match="images numpy, weight array_api_strict"):
        conv2d(IMAGES, strict.asarray(WEIGHT))
