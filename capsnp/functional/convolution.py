"""Convolutions of images and their adjoints, as matrix products over columns of patches.

Images are (N, H, W, C), weights (kh, kw, C_in, C_out) as in the paper's [9, 9, 1, 128]. With
im2col the linear map that copies every patch into a row, a convolution is
``im2col(images) @ weight``; its adjoint for the images is ``col2im(gradient @ weight^T)``, and that
is also what a transposed convolution with the same weight computes.
"""

import operator
from typing import Any

from array_api_compat import device
from array_api_extra import at, pad

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_ndim, expect_shape, floating

Pair = int | tuple[int, int]
"""One number for both directions, or (vertical, horizontal)."""


def im2col(images: Array, kernel: Pair, stride: Pair = 1, *, padding: Pair = 0) -> Array:
    r"""Every patch of the images as a row.

    .. math:: \mathrm{columns}_{n y x, (u v c)} = \mathrm{images}_{n,\, y s + u,\, x s + v,\, c}

    Parameters
    ----------
    images : array, shape (N, H, W, C)
        float32 or float64.
    kernel : int or pair
        Height and width kh, kw of a patch.
    stride : int or pair, default 1
        Step s from patch to patch.
    padding : int or pair, default 0
        Zeros around each image, on each side.

    Returns
    -------
    array, shape (N, H_out, W_out, kh * kw * C)
        ``H_out = (H + 2 padding - kh) // stride + 1``; same dtype and device.

    Raises
    ------
    ShapeError
        If the images have no four axes or, with their padding, are smaller than the kernel.
    OptionError
        If kernel, stride or padding is no whole number (or pair) in its range.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> im2col(images, 2)[0, 1, 1]
    array([4., 5., 7., 8.])
    """
    xp = floating(images=images)
    expect_ndim("images", images, 4, "(N, H, W, C)")
    kh, kw = _pair("kernel", kernel, 1)
    sh, sw = _pair("stride", stride, 1)
    ph, pw = _pair("padding", padding, 0)
    out_h, out_w = _patches("images", images.shape, (kh, kw), (sh, sw), (ph, pw))
    if ph or pw:
        images = pad(images, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    # first along x, (N, H, W_out, kw C), then along y: long runs of numbers to copy
    rows = [images[:, :, _every(u, sw, out_w), :] for u in range(kw)]
    wide = xp.concat(rows, axis=3)
    return xp.concat([wide[:, _every(u, sh, out_h), :, :] for u in range(kh)], axis=3)


def col2im(
    columns: Array,
    shape: tuple[int, int, int, int],
    kernel: Pair,
    stride: Pair = 1,
    *,
    padding: Pair = 0,
) -> Array:
    r"""Add every row of columns back where `im2col` took it from: the adjoint of `im2col`.

    .. math:: \langle \mathrm{im2col}(a), b \rangle = \langle a, \mathrm{col2im}(b) \rangle

    Parameters
    ----------
    columns : array, shape (N, H_out, W_out, kh * kw * C)
        float32 or float64.
    shape : tuple of int
        (N, H, W, C) of the images.
    kernel, stride, padding : int or pair
        As in `im2col`.

    Returns
    -------
    array, shape (N, H, W, C)
        Same dtype and device.

    Raises
    ------
    ShapeError
        If `columns` has another shape than ``im2col`` of images of `shape`.
    OptionError
        If kernel, stride or padding is no whole number (or pair) in its range.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    How many patches each pixel belongs to:

    >>> import numpy as np
    >>> col2im(np.ones((1, 2, 2, 4)), (1, 3, 3, 1), 2)[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    xp = floating(columns=columns)
    n, height, width, channels = _image_shape(shape)
    kh, kw = _pair("kernel", kernel, 1)
    sh, sw = _pair("stride", stride, 1)
    ph, pw = _pair("padding", padding, 0)
    out_h, out_w = _patches("shape", shape, (kh, kw), (sh, sw), (ph, pw))
    expect_shape(
        "columns",
        columns,
        (n, out_h, out_w, kh * kw * channels),
        axes="(N, H_out, W_out, K)",
        because=f"to match images {shape} and kernel ({kh}, {kw})",
    )
    where = {"dtype": columns.dtype, "device": device(columns)}
    run = kw * channels
    wide = xp.zeros((n, height + 2 * ph, out_w, run), **where)
    for u in range(kh):
        part = columns[:, :, :, u * run : (u + 1) * run]
        wide = at(wide)[:, _every(u, sh, out_h), :, :].add(part)
    images = xp.zeros((n, height + 2 * ph, width + 2 * pw, channels), **where)
    for u in range(kw):
        part = wide[:, :, :, u * channels : (u + 1) * channels]
        images = at(images)[:, :, _every(u, sw, out_w), :].add(part)
    return images[:, ph : ph + height, pw : pw + width, :]


def conv2d(
    images: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
) -> Array:
    r"""Convolution (as networks say: correlation) of images.

    .. math:: y_{nijo} = b_o + \sum_{uvc} a_{n,\, is + u - p,\, js + v - p,\, c}\, w_{uvco}

    Parameters
    ----------
    images : array, shape (N, H, W, C_in)
        float32 or float64.
    weight : array, shape (kh, kw, C_in, C_out)
    bias : array, shape (C_out,), optional
    stride : int or pair, default 1
        s, from 1.
    padding : int or pair, default 0
        p, zeros around each image.

    Returns
    -------
    array, shape (N, H_out, W_out, C_out)
        ``H_out = (H + 2 padding - kh) // stride + 1``; same dtype and device.

    Raises
    ------
    ShapeError
        If shapes disagree or the images are smaller than the kernel.
    DtypeError, MixedBackendError
        If the arrays are not of one real floating dtype and one library.
    OptionError
        If stride or padding is no whole number (or pair) in its range.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d(np.ones((1, 28, 28, 1)), np.ones((9, 9, 1, 128)), stride=2).shape
    (1, 10, 10, 128)
    """
    xp = floating(images=images, weight=weight, bias=bias)
    _expect_convolution(images, weight, bias, channels_axis=2)
    kernel = weight.shape[:2]
    columns = im2col(images, kernel, stride, padding=padding)
    out = xp.matmul(_rows(xp, columns), _rows(xp, weight))
    if bias is not None:
        out = out + bias
    return xp.reshape(out, (*columns.shape[:3], weight.shape[3]))


def conv2d_input_gradient(
    gradient: Array,
    weight: Array,
    size: tuple[int, int],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
) -> Array:
    """The gradient for the images of `conv2d`: its adjoint, as a linear map of the images.

    Parameters
    ----------
    gradient : array, shape (N, H_out, W_out, C_out)
        For the result of `conv2d`.
    weight : array, shape (kh, kw, C_in, C_out)
    size : tuple of int
        (H, W) of the images, which the gradient alone does not tell.
    stride, padding : int or pair
        As in `conv2d`.

    Returns
    -------
    array, shape (N, H, W, C_in)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError, OptionError
        As `conv2d`, and if `gradient` does not match `size`.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_input_gradient(np.ones((1, 1, 2, 1)), np.ones((2, 2, 1, 1)), (2, 3))[0, :, :, 0]
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """
    xp = floating(gradient=gradient, weight=weight)
    _expect_convolution(gradient, weight, None, channels_axis=3, name="gradient")
    kernel = weight.shape[:2]
    height, width = _pair("size", size, 1)
    shape = (gradient.shape[0], height, width, weight.shape[2])
    out_size = _patches(
        "size", shape, kernel, _pair("stride", stride, 1), _pair("padding", padding, 0)
    )
    expect_shape(
        "gradient",
        gradient,
        (None, *out_size, None),
        axes="(N, H_out, W_out, C_out)",
        because=f"to match size {(height, width)}",
    )
    columns = xp.matmul(_rows(xp, gradient), _rows(xp, weight).mT)
    columns = xp.reshape(columns, (*gradient.shape[:3], columns.shape[1]))
    return col2im(columns, shape, kernel, stride, padding=padding)


def conv2d_weight_gradient(
    gradient: Array,
    images: Array,
    kernel: Pair,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
) -> Array:
    """The gradient for the weight of `conv2d`, summed over the images.

    Parameters
    ----------
    gradient : array, shape (N, H_out, W_out, C_out)
        For the result of `conv2d`.
    images : array, shape (N, H, W, C_in)
    kernel : int or pair
        (kh, kw) of the weight.
    stride, padding : int or pair
        As in `conv2d`.

    Returns
    -------
    array, shape (kh, kw, C_in, C_out)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError, OptionError
        As `conv2d`, and if `gradient` does not match `images`.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(6.0).reshape(1, 2, 3, 1)
    >>> conv2d_weight_gradient(np.ones((1, 1, 2, 1)), images, 2)[:, :, 0, 0]
    array([[1., 3.],
           [7., 9.]])
    """
    xp = floating(gradient=gradient, images=images)
    expect_ndim("gradient", gradient, 4, "(N, H_out, W_out, C_out)")
    kernel = _pair("kernel", kernel, 1)
    columns = im2col(images, kernel, stride, padding=padding)
    expect_shape(
        "gradient",
        gradient,
        (*columns.shape[:3], None),
        axes="(N, H_out, W_out, C_out)",
        because=f"to match images {tuple(images.shape)}",
    )
    flat = xp.matmul(_rows(xp, columns).mT, _rows(xp, gradient))
    return xp.reshape(flat, (*kernel, images.shape[3], gradient.shape[3]))


def conv2d_bias_gradient(gradient: Array) -> Array:
    """The gradient for the bias of `conv2d` or `conv2d_transpose`: a sum over images and places.

    Parameters
    ----------
    gradient : array, shape (N, H, W, C)
        For the result of the convolution.

    Returns
    -------
    array, shape (C,)

    Raises
    ------
    ShapeError, DtypeError
        If `gradient` has no four axes or no real floating dtype.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_bias_gradient(np.ones((2, 3, 3, 1)))
    array([18.])
    """
    xp = floating(gradient=gradient)
    expect_ndim("gradient", gradient, 4, "(N, H, W, C)")
    return xp.sum(gradient, axis=(0, 1, 2))


def conv2d_transpose(
    codes: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
) -> Array:
    r"""Transposed convolution: the adjoint of `conv2d` with the same weight, plus a bias.

    .. math:: a_{n,\, is + u - p,\, js + v - p,\, c} = b_c + \sum y_{nijo}\, w_{uvco}

    where the sum runs over all i, j, u, v, o that meet at the pixel.

    Parameters
    ----------
    codes : array, shape (N, h, w, C_out)
        float32 or float64.
    weight : array, shape (kh, kw, C_in, C_out)
        Axes as for `conv2d`, so a decoder can share an encoder's weight.
    bias : array, shape (C_in,), optional
    stride, padding : int or pair
        Of the convolution that is transposed.
    output_padding : int or pair, default 0
        Rows and columns more at the bottom and the right, below the stride: what the strided
        convolution dropped there.

    Returns
    -------
    array, shape (N, H, W, C_in)
        ``H = (h - 1) stride - 2 padding + kh + output_padding``; same dtype and device.

    Raises
    ------
    ShapeError
        If shapes disagree or nothing is left of the image.
    DtypeError, MixedBackendError
        If the arrays are not of one real floating dtype and one library.
    OptionError
        If an option is no whole number (or pair) in its range.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.ones((1, 6, 6, 128))
    >>> conv2d_transpose(codes, np.ones((9, 9, 3, 128)), stride=2, output_padding=1).shape
    (1, 20, 20, 3)
    """
    floating(codes=codes, weight=weight, bias=bias)
    _expect_convolution(codes, weight, bias, channels_axis=3, name="codes")
    strides, pads = _pair("stride", stride, 1), _pair("padding", padding, 0)
    more = _pair("output_padding", output_padding, 0)
    if more[0] >= strides[0] or more[1] >= strides[1]:
        raise OptionError(f"output_padding: expected below the stride {strides}, got {more}")
    kernel = weight.shape[:2]
    height, width = (
        (codes.shape[1 + k] - 1) * strides[k] - 2 * pads[k] + kernel[k] + more[k] for k in (0, 1)
    )
    if height < 1 or width < 1:
        raise ShapeError(
            f"codes: expected some image left after padding {pads}, got size {(height, width)} "
            f"from codes {tuple(codes.shape)} and kernel {tuple(kernel)}"
        )
    images = conv2d_input_gradient(codes, weight, (height, width), stride=stride, padding=padding)
    return images if bias is None else images + bias


def conv2d_transpose_input_gradient(
    gradient: Array, weight: Array, *, stride: Pair = 1, padding: Pair = 0
) -> Array:
    """The gradient for the codes of `conv2d_transpose`: `conv2d` with the same weight.

    Parameters
    ----------
    gradient : array, shape (N, H, W, C_in)
        For the result of `conv2d_transpose`, whatever its output padding.
    weight : array, shape (kh, kw, C_in, C_out)
    stride, padding : int or pair
        As in `conv2d_transpose`.

    Returns
    -------
    array, shape (N, h, w, C_out)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError, OptionError
        As `conv2d`.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.ones((9, 9, 3, 128))
    >>> conv2d_transpose_input_gradient(np.ones((1, 20, 20, 3)), weight, stride=2).shape
    (1, 6, 6, 128)
    """
    floating(gradient=gradient, weight=weight)
    _expect_convolution(gradient, weight, None, channels_axis=2, name="gradient")
    return conv2d(gradient, weight, stride=stride, padding=padding)


def conv2d_transpose_weight_gradient(
    gradient: Array, codes: Array, kernel: Pair, *, stride: Pair = 1, padding: Pair = 0
) -> Array:
    """The gradient for the weight of `conv2d_transpose`: as `conv2d`'s, the two arrays exchanged.

    Parameters
    ----------
    gradient : array, shape (N, H, W, C_in)
        For the result of `conv2d_transpose`, whatever its output padding.
    codes : array, shape (N, h, w, C_out)
    kernel : int or pair
        (kh, kw) of the weight.
    stride, padding : int or pair
        As in `conv2d_transpose`.

    Returns
    -------
    array, shape (kh, kw, C_in, C_out)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError, OptionError
        As `conv2d_weight_gradient`.

    Notes
    -----
    Derivation: :doc:`/derivations/convolution`.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.ones((1, 1, 2, 1))
    >>> conv2d_transpose_weight_gradient(np.ones((1, 2, 3, 1)), codes, 2)[:, :, 0, 0]
    array([[2., 2.],
           [2., 2.]])
    """
    floating(gradient=gradient, codes=codes)
    return conv2d_weight_gradient(codes, gradient, kernel, stride=stride, padding=padding)


def _rows(xp: Any, array: Array) -> Array:
    """All axes but the last flattened: (..., C) to (rows, C); weights: to (kh kw C_in, C_out)."""
    return xp.reshape(array, (-1, array.shape[-1]))


def _every(start: int, step: int, count: int) -> slice:
    """`count` places from `start`, ending just after the last (strict libraries check the end)."""
    return slice(start, start + step * (count - 1) + 1, step)


def _pair(name: str, value: Any, minimum: int) -> tuple[int, int]:
    """(vertical, horizontal) of an option."""
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2:
        raise OptionError(f"{name}: expected a whole number or a pair of them, got {value!r}")
    for number in pair:
        expect_count(name, number, minimum)
    return operator.index(pair[0]), operator.index(pair[1])


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 4:
        raise ShapeError(f"shape: expected (N, H, W, C), got {shape}")
    return tuple(shape)


def _patches(
    name: str,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int]:
    """(H_out, W_out), the number of patches down and across."""
    size = tuple(shape[1 + k] + 2 * padding[k] for k in (0, 1))
    if size[0] < kernel[0] or size[1] < kernel[1]:
        raise ShapeError(
            f"{name}: expected height and width with padding of at least the kernel "
            f"{tuple(kernel)}, got {size}"
        )
    return (size[0] - kernel[0]) // stride[0] + 1, (size[1] - kernel[1]) // stride[1] + 1


def _expect_convolution(
    images: Array, weight: Array, bias: Array | None, *, channels_axis: int, name: str = "images"
) -> None:
    """Raise `ShapeError` unless arrays fit the weight, whose `channels_axis` is the images'."""
    expect_ndim("weight", weight, 4, "(kh, kw, C_in, C_out)")
    side = "C_in" if channels_axis == 2 else "C_out"
    expect_shape(
        name,
        images,
        (None, None, None, weight.shape[channels_axis]),
        axes=f"(N, H, W, {side})",
        because=f"to match weight {tuple(weight.shape)}",
    )
    if bias is not None:
        side = "C_out" if channels_axis == 2 else "C_in"
        expect_shape(
            "bias",
            bias,
            (weight.shape[5 - channels_axis],),
            axes=f"({side})",
            because=f"to match weight {tuple(weight.shape)}",
        )
