r"""Convolutions as products of matrices, in two ways that share one form.

A convolution y = w ∗ x is linear in the images x and in the weight w. Each way of computing it has
linear maps A of images, G of weights and C of codes such that

.. math:: y = C^T \left( (A x)(G w) \right)

where the middle is one product of matrices (`Im2col`: A copies patches, G and C reshape) or a batch
of them, one per frequency (`Fourier`: the convolution theorem). Everything else follows by taking
adjoints, here called ``to_`` for every ``from_``::

    conv2d                       to_codes(from_images(x) @ from_weight(w))
    its adjoint, conv2d_transpose    to_images(from_codes(y) @ from_weight(w).mT)
    the weight's gradient            to_weight(from_images(x).mT @ from_codes(y))

What is computed once, such as ``from_images(x)``, serves several of these products.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from array_api_compat import device
from array_api_extra import pad

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_count, expect_shape, floating
from capsnp.functional.convolution import col2im, im2col

Size = tuple[int, int]

LARGEST_FOURIER = 400
"""Pixels (per phase of the stride) up to which Fourier's full matrices cost less than they save."""


class Lowering(Protocol):
    """Linear maps between arrays and the factors of matrix products."""

    def from_images(self, images: Array) -> Array:
        """A: images (N, H, W, C_in) to (..., M, K)."""

    def to_images(self, products: Array) -> Array:
        """The adjoint of `from_images`."""

    def from_weight(self, weight: Array) -> Array:
        """G: weight (k, k, C_in, C_out) to (..., K, C_out)."""

    def to_weight(self, products: Array) -> Array:
        """The adjoint of `from_weight`."""

    def from_codes(self, codes: Array) -> Array:
        """C: codes (N, h, w, C_out) to (..., M, C_out)."""

    def to_codes(self, products: Array) -> Array:
        """The adjoint of `from_codes`."""


def lowering(size: Size, kernel: int, stride: int, *, channels: int, like: Array) -> Lowering:
    """The way that needs fewer multiplications for this convolution without padding.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the images.
    kernel, stride : int
    channels : int
        Of the images: with few, Fourier's products are too narrow to pay for its transforms.
    like : array
        Its library, dtype and device are Fourier's.

    Returns
    -------
    Im2col or Fourier

    Examples
    --------
    >>> import numpy as np
    >>> type(lowering((20, 20), 9, 2, channels=128, like=np.zeros(1))).__name__
    'Fourier'
    """
    rows, columns = _code_size(size, kernel, stride)
    taps = -(-kernel // stride)
    pixels = (rows + taps - 1) * (columns + taps - 1)
    if channels < 16 or taps < 3 or pixels > LARGEST_FOURIER:
        return Im2col(size, kernel, stride)
    return Fourier.create(size, kernel, stride, like=like)


@dataclass(frozen=True)
class Im2col:
    """One product of all patches with the weight; (rows, K) = (N h w, k k C_in).

    Parameters
    ----------
    size : tuple of int
        (H, W) of the images.
    kernel, stride : int

    Raises
    ------
    ShapeError
        If the images are smaller than the kernel.

    Examples
    --------
    >>> import numpy as np
    >>> way = Im2col((5, 5), kernel=3, stride=2)
    >>> products = way.from_images(np.ones((1, 5, 5, 1))) @ way.from_weight(np.ones((3, 3, 1, 1)))
    >>> way.to_codes(products)[0, :, :, 0]
    array([[9., 9.],
           [9., 9.]])
    """

    size: Size
    kernel: int
    stride: int

    def __post_init__(self) -> None:
        _code_size(self.size, self.kernel, self.stride)

    def from_images(self, images: Array) -> Array:
        xp = floating(images=images)
        _expect_images(images, self.size)
        columns = im2col(images, self.kernel, self.stride)
        return xp.reshape(columns, (-1, columns.shape[3]))

    def to_images(self, products: Array) -> Array:
        xp = floating(products=products)
        rows, columns = _code_size(self.size, self.kernel, self.stride)
        n = products.shape[0] // (rows * columns)
        channels = products.shape[1] // self.kernel**2
        patches = xp.reshape(products, (n, rows, columns, -1))
        return col2im(patches, (n, *self.size, channels), self.kernel, self.stride)

    def from_weight(self, weight: Array) -> Array:
        return floating(weight=weight).reshape(weight, (-1, weight.shape[3]))

    def to_weight(self, products: Array) -> Array:
        shape = (self.kernel, self.kernel, -1, products.shape[1])
        return floating(products=products).reshape(products, shape)

    def from_codes(self, codes: Array) -> Array:
        return floating(codes=codes).reshape(codes, (-1, codes.shape[3]))

    def to_codes(self, products: Array) -> Array:
        shape = (-1, *_code_size(self.size, self.kernel, self.stride), products.shape[1])
        return floating(products=products).reshape(products, shape)


@dataclass(frozen=True)
class Fourier:
    r"""One product per frequency: a convolution is a product of Fourier transforms.

    A stride s is s² convolutions without one, of the images' phases ``images[:, p::s, q::s]``, so
    K = s² C_in. On a grid of L = outputs + taps − 1 pixels the circular correlation of the discrete
    Fourier transforms, :math:`Y = X \bar W` at each frequency, is the convolution. Real data need
    half of the frequencies, and a complex product three real ones (Gauss):

    .. math:: (a + ib)(c + id) = (ac - bd) + i\,((a + b)(c + d) - ac - bd)

    so A, G and C are real matrices with one row per real product. For Figure 1's second layer (20
    to 6, kernel 9, stride 2: L = 10) that is 148 · 4 multiplications for 36 · 81, a fifth.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the images.
    kernel, stride : int
    images_map, weight_map, codes_map : array, shapes (P, pixels), (P, taps), (P, outputs)
        A, G and C; `create` makes them.

    References
    ----------
    Mathieu, Henaff, LeCun (2014), "Fast training of convolutional networks through FFTs";
    Lavin, Gray (2016), "Fast algorithms for convolutional neural networks", for the form.

    Examples
    --------
    >>> import numpy as np
    >>> way = Fourier.create((5, 5), kernel=3, stride=2, like=np.zeros(1))
    >>> products = way.from_images(np.ones((1, 5, 5, 1))) @ way.from_weight(np.ones((3, 3, 1, 1)))
    >>> way.to_codes(products)[0, :, :, 0].round(12)
    array([[9., 9.],
           [9., 9.]])
    """

    size: Size
    kernel: int
    stride: int
    images_map: Array
    weight_map: Array
    codes_map: Array

    @classmethod
    def create(cls, size: Size, kernel: int, stride: int, *, like: Array) -> "Fourier":
        """The maps for images of this size, in the library, dtype and device of `like`.

        Raises
        ------
        ShapeError
            If the images are smaller than the kernel.
        """
        xp = floating(like=like)
        codes = _code_size(size, kernel, stride)
        taps = -(-kernel // stride)
        maps = _fourier_maps((codes[0] + taps - 1, codes[1] + taps - 1), taps, codes)
        arrays = (xp.asarray(rows, dtype=like.dtype, device=device(like)) for rows in maps)
        return cls(size, kernel, stride, *arrays)

    @property
    def _taps(self) -> int:
        return -(-self.kernel // self.stride)

    @property
    def _grid(self) -> Size:
        rows, columns = _code_size(self.size, self.kernel, self.stride)
        return rows + self._taps - 1, columns + self._taps - 1

    def from_images(self, images: Array) -> Array:
        xp = floating(images=images)
        _expect_images(images, self.size)
        s, (rows, columns), (n, _, _, channels) = self.stride, self._grid, images.shape
        whole = _fit(images, (1, 2), (s * rows, s * columns))
        phases = xp.reshape(whole, (n, rows, s, columns, s, channels))
        pixels = xp.reshape(xp.permute_dims(phases, (1, 3, 0, 2, 4, 5)), (rows * columns, -1))
        return xp.reshape(xp.matmul(self.images_map, pixels), (-1, n, s * s * channels))

    def to_images(self, products: Array) -> Array:
        xp = floating(products=products)
        s, (rows, columns), (p, n, k) = self.stride, self._grid, products.shape
        pixels = xp.matmul(self.images_map.mT, xp.reshape(products, (p, -1)))
        phases = xp.reshape(pixels, (rows, columns, n, s, s, k // s**2))
        whole = xp.reshape(
            xp.permute_dims(phases, (2, 0, 3, 1, 4, 5)), (n, s * rows, s * columns, k // s**2)
        )
        return _fit(whole, (1, 2), self.size)

    def from_weight(self, weight: Array) -> Array:
        xp = floating(weight=weight)
        s, t, (_, _, inputs, outputs) = self.stride, self._taps, weight.shape
        whole = _fit(weight, (0, 1), (s * t, s * t))
        phases = xp.permute_dims(
            xp.reshape(whole, (t, s, t, s, inputs, outputs)), (0, 2, 1, 3, 4, 5)
        )
        products = xp.matmul(self.weight_map, xp.reshape(phases, (t * t, -1)))
        return xp.reshape(products, (-1, s * s * inputs, outputs))

    def to_weight(self, products: Array) -> Array:
        xp = floating(products=products)
        s, t, (p, k, outputs) = self.stride, self._taps, products.shape
        taps = xp.matmul(self.weight_map.mT, xp.reshape(products, (p, -1)))
        phases = xp.reshape(taps, (t, t, s, s, k // s**2, outputs))
        whole = xp.reshape(
            xp.permute_dims(phases, (0, 2, 1, 3, 4, 5)), (s * t, s * t, k // s**2, outputs)
        )
        return _fit(whole, (0, 1), (self.kernel, self.kernel))

    def from_codes(self, codes: Array) -> Array:
        xp = floating(codes=codes)
        n, rows, columns, channels = codes.shape
        places = xp.reshape(xp.permute_dims(codes, (1, 2, 0, 3)), (rows * columns, -1))
        return xp.reshape(xp.matmul(self.codes_map, places), (-1, n, channels))

    def to_codes(self, products: Array) -> Array:
        xp = floating(products=products)
        p, n, channels = products.shape
        places = xp.matmul(self.codes_map.mT, xp.reshape(products, (p, -1)))
        codes = xp.reshape(places, (*_code_size(self.size, self.kernel, self.stride), n, channels))
        return xp.permute_dims(codes, (2, 0, 1, 3))


def _fourier_maps(grid: Size, taps: int, codes: Size) -> tuple[list, list, list]:
    """Rows of A, G and C: one per real frequency, three per pair of conjugate ones."""
    height, width = grid
    n = height * width
    cosines = [math.cos(2.0 * math.pi * k / n) for k in range(n)]
    sines = [math.sin(2.0 * math.pi * k / n) for k in range(n)]

    def waves(frequency: Size, extent: Size) -> list[tuple[float, float]]:
        angles = [
            (frequency[0] * y * width + frequency[1] * x * height) % n
            for y in range(extent[0])
            for x in range(extent[1])
        ]
        return [(cosines[a], sines[a]) for a in angles]

    A: list[list[float]] = []
    G: list[list[float]] = []
    C: list[list[float]] = []
    for frequency in [(v, u) for v in range(height) for u in range(width)]:
        conjugate = (-frequency[0] % height, -frequency[1] % width)
        if conjugate < frequency:
            continue
        x, w, y = (waves(frequency, extent) for extent in (grid, (taps, taps), codes))
        if conjugate == frequency:
            A.append([c for c, _ in x])
            G.append([c for c, _ in w])
            C.append([c / n for c, _ in y])
            continue
        # X = Σ x e^{-iθ} = a + ib, conjugate of W = Σ w e^{iθ} = c + id, y = (2/n) Re Σ XW̄ e^{iθ}
        A += [[c for c, _ in x], [-s for _, s in x], [c - s for c, s in x]]
        G += [[c for c, _ in w], [s for _, s in w], [c + s for c, s in w]]
        C.append([2.0 / n * (c + s) for c, s in y])
        C.append([2.0 / n * (s - c) for c, s in y])
        C.append([-2.0 / n * s for _, s in y])
    return A, G, C


def _fit(array: Array, axes: Size, size: Size) -> Array:
    """Cropped or filled with zeros at the end of two axes."""
    for axis, wanted in zip(axes, size, strict=True):
        have = array.shape[axis]
        if have > wanted:
            array = array[(slice(None),) * axis + (slice(0, wanted), ...)]
        elif have < wanted:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (0, wanted - have)
            array = pad(array, widths)
    return array


def _expect_images(images: Array, size: Size) -> None:
    expect_shape(
        "images", images, (None, *size, None), axes="(N, H, W, C_in)", because="of the lowering"
    )


def _code_size(size: Size, kernel: int, stride: int) -> Size:
    """(h, w) of the codes of images of this size, without padding."""
    expect_count("kernel", kernel)
    expect_count("stride", stride)
    if min(size) < kernel:
        raise ShapeError(
            f"size: expected height and width of at least the kernel {kernel}, got {size}"
        )
    return (size[0] - kernel) // stride + 1, (size[1] - kernel) // stride + 1
