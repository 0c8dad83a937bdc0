"""Section 4.1: convolutions, their gradients and their lowering."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

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
from capsnp.functional.lowering import Fourier, Im2col
from capsnp.verification.claims._by_hand import inner, slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

Index = tuple[int, ...]


class Geometry(NamedTuple):
    """Sizes of a convolution, each (vertical, horizontal)."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def places(self, axis: int) -> int:
        """How often the kernel fits into the padded image on its way along an axis."""
        last = self.size[axis] + self.padding[axis] - self.kernel[axis]
        return len(range(-self.padding[axis], last + 1, self.stride[axis]))

    @property
    def out(self) -> tuple[int, int]:
        return self.places(0), self.places(1)

    @property
    def output_padding(self) -> tuple[int, int]:
        """Rows and columns behind the last patch."""
        rest = []
        for k in (0, 1):
            last = range(-self.padding[k], self.size[k], self.stride[k])[self.out[k] - 1]
            rest.append(self.size[k] + self.padding[k] - last - self.kernel[k])
        return rest[0], rest[1]

    @property
    def options(self) -> dict[str, tuple[int, int]]:
        return {"stride": self.stride, "padding": self.padding}


GEOMETRIES = (
    Geometry((5, 6), (3, 2), stride=(2, 1)),
    Geometry((6, 6), (2, 3), stride=(3, 2), padding=(1, 0)),
)
N, C_IN, C_OUT = 2, 2, 3


class Problem(NamedTuple):
    """Arrays of one geometry, N images with C_IN channels."""

    images: np.ndarray
    weight: np.ndarray
    codes: np.ndarray
    bias_in: np.ndarray
    bias_out: np.ndarray


def convolutions(lab: Lab, *, whole: bool = False) -> Iterator[tuple[Geometry, Problem]]:
    """Each geometry with Gaussian numbers, or small whole ones."""
    for case in lab.cases(len(GEOMETRIES)):
        geometry = GEOMETRIES[case % len(GEOMETRIES)]
        shapes = (
            (N, *geometry.size, C_IN),
            (*geometry.kernel, C_IN, C_OUT),
            (N, *geometry.out, C_OUT),
            (C_IN,),
            (C_OUT,),
        )
        if whole:
            draws = (lab.rng.integers(-9, 10, shape).astype(float) for shape in shapes)
        else:
            draws = (lab.normal(*shape) for shape in shapes)
        yield geometry, Problem(*draws)


def meetings(
    geometry: Geometry, n_images: int = N, channels: tuple[int, int] = (C_IN, C_OUT)
) -> Iterator[tuple[Index, Index, Index]]:
    """Every pixel (n, y, x, c), weight (u, v, c, o) and code (n, i, j, o) that meet."""
    (height, width), (sy, sx), (py, px) = geometry.size, geometry.stride, geometry.padding
    ranges = map(range, (n_images, *geometry.out, *geometry.kernel, *channels))
    for n, i, j, u, v, c, o in itertools.product(*ranges):
        y, x = i * sy + u - py, j * sx + v - px
        if 0 <= y < height and 0 <= x < width:
            yield (n, y, x, c), (u, v, c, o), (n, i, j, o)


def convolved(geometry: Geometry, images: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The convolution, one product of two numbers after the other."""
    n, channels = images.shape[0], (weight.shape[2], weight.shape[3])
    codes = np.zeros((n, *geometry.out, channels[1]), np.result_type(images, weight))
    for pixel, tap, code in meetings(geometry, n, channels):
        codes[code] += images[pixel] * weight[tap]
    return codes


def transposed(geometry: Geometry, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The transposed convolution, one product of two numbers after the other."""
    n, channels = codes.shape[0], (weight.shape[2], weight.shape[3])
    images = np.zeros((n, *geometry.size, channels[0]), np.result_type(codes, weight))
    for pixel, tap, code in meetings(geometry, n, channels):
        images[pixel] += codes[code] * weight[tap]
    return images


def correlated(geometry: Geometry, images: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The weight's gradient, one product of two numbers after the other."""
    channels = images.shape[-1], codes.shape[-1]
    weight = np.zeros((*geometry.kernel, *channels), np.result_type(images, codes))
    for pixel, tap, code in meetings(geometry, len(images), channels):
        weight[tap] += images[pixel] * codes[code]
    return weight


def fan_in(weight: np.ndarray) -> float:
    """Roundings of a sum over taps and channels, whichever are summed."""
    return 4.0 + math.prod(weight.shape[:2]) * max(weight.shape[2:])


@claim(
    "§4.1",
    "4.1",
    "im2col copies each patch (u, v, c) into the row of its place (i, j)",
    function=im2col,
    method="nested loops over places and taps",
)
def im2col_by_loops(lab: Lab) -> Checks:
    for geometry, problem in convolutions(lab):
        images = problem.images
        expected = np.zeros((N, *geometry.out, *geometry.kernel, C_IN))
        for (n, y, x, c), (u, v, _, _), (_, i, j, _) in meetings(geometry):
            expected[n, i, j, u, v, c] = images[n, y, x, c]
        actual = lab.run(im2col, images, geometry.kernel, geometry.stride, padding=geometry.padding)
        off = np.max(np.abs(actual - expected.reshape(actual.shape)))
        yield lab.below(off, 0.0, "copies are exact")


@claim(
    "§4.1",
    "4.1",
    "col2im adds the rows back to the pixels from which im2col took them",
    function=col2im,
    method="nested loops over places and taps",
)
def col2im_by_loops(lab: Lab) -> Checks:
    for geometry, problem in convolutions(lab):
        columns = lab.normal(N, *geometry.out, *geometry.kernel, C_IN)
        expected, magnitude = np.zeros((2, *problem.images.shape))
        for (n, y, x, c), (u, v, _, _), (_, i, j, _) in meetings(geometry, channels=(C_IN, 1)):
            expected[n, y, x, c] += columns[n, i, j, u, v, c]
            magnitude[n, y, x, c] += abs(columns[n, i, j, u, v, c])
        actual = lab.run(
            col2im,
            columns.reshape(N, *geometry.out, -1),
            problem.images.shape,
            geometry.kernel,
            geometry.stride,
            padding=geometry.padding,
        )
        terms = math.prod(geometry.kernel)
        yield lab.near(actual, expected, magnitude=magnitude, terms=terms)


@claim(
    "§4.1",
    "4.1",
    "⟨im2col(a), b⟩ = ⟨a, col2im(b)⟩: each is the other's adjoint",
    function="im2col, col2im",
    method="inner products of random arrays, summed without rounding",
)
def im2col_and_col2im_are_adjoint(lab: Lab) -> Checks:
    for geometry, problem in convolutions(lab):
        images, where = problem.images, (geometry.kernel, geometry.stride)
        columns = lab.run(im2col, images, *where, padding=geometry.padding)
        other = lab.normal(*columns.shape)
        back = lab.run(col2im, other, images.shape, *where, padding=geometry.padding)
        yield lab.near(
            inner(columns, other),
            inner(images, back),
            magnitude=inner(np.abs(columns), np.abs(other)),
            terms=math.prod(geometry.kernel),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d: y_nijo = b_o + Σ_uvc a_n(is+u−p)(js+v−p)c w_uvco",
    function=conv2d,
    method="nested loops over images, places, taps and channels",
)
def conv2d_by_loops(lab: Lab) -> Checks:
    for geometry, (images, weight, _, _, bias) in convolutions(lab):
        magnitude = convolved(geometry, np.abs(images), np.abs(weight)) + np.abs(bias)
        yield lab.near(
            lab.run(conv2d, images, weight, bias, **geometry.options),
            convolved(geometry, images, weight) + bias,
            magnitude=magnitude,
            terms=fan_in(weight),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d_transpose adds y_nijo w_uvco to pixel (is+u−p, js+v−p), plus a bias",
    function=conv2d_transpose,
    method="nested loops over images, places, taps and channels",
)
def conv2d_transpose_by_loops(lab: Lab) -> Checks:
    for geometry, (_, weight, codes, bias, _) in convolutions(lab):
        magnitude = transposed(geometry, np.abs(codes), np.abs(weight)) + np.abs(bias)
        more = geometry.output_padding
        yield lab.near(
            lab.run(conv2d_transpose, codes, weight, bias, output_padding=more, **geometry.options),
            transposed(geometry, codes, weight) + bias,
            magnitude=magnitude,
            terms=fan_in(weight),
        )


@claim(
    "§4.1",
    "4.1",
    "Convolutions of whole numbers and their gradients are whole, with no rounding at all",
    function="conv2d, conv2d_transpose and their gradients",
    method="integer arithmetic in nested loops",
)
def convolutions_of_integers(lab: Lab) -> Checks:
    for geometry, problem in convolutions(lab, whole=True):
        a, w, y, b_in, b_out = problem
        options = geometry.options
        ia, iw, iy = (array.astype(np.int64) for array in problem[:3])
        forward, back = convolved(geometry, ia, iw), transposed(geometry, iy, iw)
        for_weight = correlated(geometry, ia, iy)
        more = geometry.output_padding
        for actual, expected in (
            (lab.run(conv2d, a, w, b_out, **options), forward + b_out),
            (
                lab.run(conv2d_transpose, y, w, b_in, output_padding=more, **options),
                back + b_in,
            ),
            (lab.run(conv2d_input_gradient, y, w, geometry.size, **options), back),
            (lab.run(conv2d_weight_gradient, y, a, geometry.kernel, **options), for_weight),
            (lab.run(conv2d_bias_gradient, y), iy.sum(axis=(0, 1, 2))),
            (lab.run(conv2d_transpose_input_gradient, a, w, **options), forward),
            (
                lab.run(conv2d_transpose_weight_gradient, a, y, geometry.kernel, **options),
                for_weight,
            ),
        ):
            yield lab.below(np.max(np.abs(actual - expected)), 0.0, "whole numbers are exact")


@claim(
    "§4.1",
    "4.1",
    "⟨conv2d(a), y⟩ = ⟨a, conv2d_transpose(y)⟩ with the same weight: the decoder's tied filters",
    function="conv2d, conv2d_transpose",
    method="inner products of random arrays, summed without rounding",
)
def convolutions_are_adjoint(lab: Lab) -> Checks:
    for geometry, (images, weight, codes, _, _) in convolutions(lab):
        more = geometry.output_padding
        there = lab.run(conv2d, images, weight, **geometry.options)
        back = lab.run(conv2d_transpose, codes, weight, output_padding=more, **geometry.options)
        there_and_back = convolved(geometry, np.abs(images), np.abs(weight))
        yield lab.near(
            inner(there, codes),
            inner(images, back),
            magnitude=inner(there_and_back, np.abs(codes)),
            terms=2 * fan_in(weight),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d_input_gradient is the gradient of ⟨g, conv2d(a, w)⟩ for a",
    function=conv2d_input_gradient,
    method="complex steps through nested loops",
)
def conv2d_input_gradient_by_complex_step(lab: Lab) -> Checks:
    for geometry, (images, weight, g, _, _) in convolutions(lab):

        def product(a: np.ndarray, geometry=geometry, weight=weight, g=g) -> complex:
            return np.sum(g * convolved(geometry, a, weight))

        yield lab.near(
            lab.run(conv2d_input_gradient, g, weight, geometry.size, **geometry.options),
            slopes(product, images),
            magnitude=transposed(geometry, np.abs(g), np.abs(weight)),
            terms=fan_in(weight),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d_weight_gradient is the gradient of ⟨g, conv2d(a, w)⟩ for w",
    function=conv2d_weight_gradient,
    method="complex steps through nested loops",
)
def conv2d_weight_gradient_by_complex_step(lab: Lab) -> Checks:
    for geometry, (images, weight, g, _, _) in convolutions(lab):

        def product(w: np.ndarray, geometry=geometry, images=images, g=g) -> complex:
            return np.sum(g * convolved(geometry, images, w))

        def magnitudes(w: np.ndarray, geometry=geometry, images=images, g=g) -> complex:
            return np.sum(np.abs(g) * convolved(geometry, np.abs(images), w))

        yield lab.near(
            lab.run(conv2d_weight_gradient, g, images, geometry.kernel, **geometry.options),
            slopes(product, weight),
            magnitude=slopes(magnitudes, weight),
            terms=4 + N * math.prod(geometry.out),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d_bias_gradient is the gradient of ⟨g, y + b⟩ for b, with b added at every place",
    function=conv2d_bias_gradient,
    method="scalar sums over images and places, each rounded once",
)
def conv2d_bias_gradient_by_loops(lab: Lab) -> Checks:
    for geometry, (_, _, g, _, _) in convolutions(lab):
        places = [(n, i, j) for n in range(N) for i, j in np.ndindex(geometry.out)]
        expected = [math.fsum(g[place][o] for place in places) for o in range(C_OUT)]
        magnitude = [math.fsum(abs(g[place][o]) for place in places) for o in range(C_OUT)]
        actual = lab.run(conv2d_bias_gradient, g)
        yield lab.near(actual, expected, magnitude=magnitude, terms=len(places))


@claim(
    "§4.1",
    "4.1",
    "conv2d_transpose_input_gradient is the gradient of ⟨g, conv2d_transpose(y, w)⟩ for y",
    function=conv2d_transpose_input_gradient,
    method="complex steps through nested loops",
)
def conv2d_transpose_input_gradient_by_complex_step(lab: Lab) -> Checks:
    for geometry, (g, weight, codes, _, _) in convolutions(lab):

        def product(y: np.ndarray, geometry=geometry, weight=weight, g=g) -> complex:
            return np.sum(g * transposed(geometry, y, weight))

        yield lab.near(
            lab.run(conv2d_transpose_input_gradient, g, weight, **geometry.options),
            slopes(product, codes),
            magnitude=convolved(geometry, np.abs(g), np.abs(weight)),
            terms=fan_in(weight),
        )


@claim(
    "§4.1",
    "4.1",
    "conv2d_transpose_weight_gradient is the gradient of ⟨g, conv2d_transpose(y, w)⟩ for w",
    function=conv2d_transpose_weight_gradient,
    method="complex steps through nested loops",
)
def conv2d_transpose_weight_gradient_by_complex_step(lab: Lab) -> Checks:
    for geometry, (g, weight, codes, _, _) in convolutions(lab):

        def product(w: np.ndarray, geometry=geometry, codes=codes, g=g) -> complex:
            return np.sum(g * transposed(geometry, codes, w))

        def magnitudes(w: np.ndarray, geometry=geometry, codes=codes, g=g) -> complex:
            return np.sum(np.abs(g) * transposed(geometry, np.abs(codes), w))

        kernel, options = geometry.kernel, geometry.options
        yield lab.near(
            lab.run(conv2d_transpose_weight_gradient, g, codes, kernel, **options),
            slopes(product, weight),
            magnitude=slopes(magnitudes, weight),
            terms=4 + N * math.prod(geometry.out),
        )


@claim(
    "§4.1",
    "4.1",
    "Products by im2col and by Fourier transforms are the convolution, its adjoint and the "
    "weight's gradient",
    function="Im2col, Fourier",
    method="nested loops over images, places, taps and channels",
)
def lowerings_by_loops(lab: Lab) -> Checks:
    size, kernel, stride = (5, 6), 3, 2
    for _ in lab.cases(2):
        geometry = Geometry(size, (kernel, kernel), (stride, stride))
        images = lab.normal(N, *size, C_IN)
        weight = lab.normal(kernel, kernel, C_IN, C_OUT)
        codes = lab.normal(N, *geometry.out, C_OUT)
        expected = (
            convolved(geometry, images, weight),
            transposed(geometry, codes, weight),
            correlated(geometry, images, codes),
        )
        like = lab.backend.asarray(weight, dtype=lab.dtype)
        copied = Im2col(size, kernel, stride)
        waves = Fourier.create(size, kernel, stride, like=like)
        host = Fourier.create(size, kernel, stride, like=weight)
        # Fourier adds up numbers that cancel: how much, its maps without their signs tell
        maps = {
            name: np.abs(getattr(host, name))
            for name in Fourier.__dataclass_fields__
            if name.endswith("_map")
        }
        magnitudes = _products(replace(host, **maps), *map(np.abs, (images, weight, codes)))
        terms = sum(rows.shape[0] for rows in maps.values()) + images.size
        for way in (copied, waves):
            products = lab.run(
                lambda x, w, y, way=way: _products(way, x, w, y), images, weight, codes
            )
            for product, wanted, magnitude in zip(products, expected, magnitudes, strict=True):
                yield lab.near(product, wanted, magnitude=magnitude, terms=terms)


def _products(way: Any, images: Any, weight: Any, codes: Any) -> tuple[Any, Any, Any]:
    """The convolution, its adjoint and the weight's gradient."""
    a, w, y = way.from_images(images), way.from_weight(weight), way.from_codes(codes)
    return way.to_codes(a @ w), way.to_images(y @ w.mT), way.to_weight(a.mT @ y)
