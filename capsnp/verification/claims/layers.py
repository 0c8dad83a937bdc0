"""Section 4.1: convolutions, activations and the autoencoder."""

import cmath
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.activations import (
    leaky_relu,
    leaky_relu_derivative,
    log_sigmoid,
    log_sigmoid_derivative,
    logsumexp,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    softmax,
    softmax_vjp,
    softplus,
)
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
from capsnp.models._convolutional import Network, code_grid
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

Index = tuple[int, ...]
Weights = dict[str, np.ndarray]

STEP = 1e-30
"""Of complex steps: its square is nothing beside any number here."""


def slopes(function: Callable[[np.ndarray], complex], at: np.ndarray) -> np.ndarray:
    """Gradient of a function of an array, by one complex step for each number."""
    gradient = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        beside = at.astype(complex)
        beside[index] += 1j * STEP
        gradient[index] = function(beside).imag / STEP
    return gradient


# --- convolutions -----------------------------------------------------------------------------


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


def fan_in(weight: np.ndarray) -> float:
    """Roundings of a sum over taps and channels, whichever are summed."""
    return 4.0 + math.prod(weight.shape[:2]) * max(weight.shape[2:])


def inner(first: np.ndarray, second: np.ndarray) -> float:
    """Σ of products, rounded once."""
    return math.fsum((first * second).flat)


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
        for_weight = np.zeros(iw.shape, np.int64)
        for pixel, tap, code in meetings(geometry):
            for_weight[tap] += ia[pixel] * iy[code]
        forward, back = convolved(geometry, ia, iw), transposed(geometry, iy, iw)
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
        for_weight = np.zeros(weight.shape)
        for pixel, tap, code in meetings(geometry):
            for_weight[tap] += images[pixel] * codes[code]
        expected = (
            convolved(geometry, images, weight),
            transposed(geometry, codes, weight),
            for_weight,
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


# --- activations ------------------------------------------------------------------------------

POINTS = (0.0, 1e-30, 1e-8, 1e-3, 0.25, 1.0, 3.0, 9.5, 17.0, 30.0, 80.0)
"""Where activations are checked, on both sides of 0, besides Gaussian numbers."""

FAR = (300.0, 700.0)
"""Further points, where e^x is out of float32's range and e^2x out of float64's."""

ROUNDINGS = 16.0
"""Of an activation: two exponentials or logarithms of four each, and what joins them."""


def arguments(lab: Lab, *, far: bool = True) -> np.ndarray:
    """Points on both sides of 0."""
    points = POINTS + (FAR if far else ())
    return lab.round([*points, *(-point for point in points), *10.0 * lab.rng.standard_normal(11)])


def in_decimals(formula: Callable[[Decimal], Decimal], x: np.ndarray) -> np.ndarray:
    """A formula with so many decimal digits that 1 + e^-|x| loses none of either term's."""
    values = []
    for number in x.flat:
        with localcontext(Context(prec=40 + int(abs(number) / 2))):
            values.append(float(formula(Decimal(float(number)))))
    return np.reshape(values, x.shape)


def by_complex_step(formula: Callable[[complex], complex], x: np.ndarray) -> np.ndarray:
    """The derivative of a formula, one number after the other."""
    return np.asarray([formula(complex(number, STEP)).imag / STEP for number in x])


def rectified(x: np.ndarray, slope: float) -> np.ndarray:
    """The leaky ReLU by its two cases."""
    return np.asarray([number if number > 0 else slope * number for number in x])


@claim(
    "§4.1",
    "4.1",
    "relu and leaky_relu are x above 0, and 0 or slope · x below",
    function="relu, leaky_relu",
    method="scalar case by case",
)
def rectifiers_by_cases(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, slope = arguments(lab), (0.2, 1.0)[case % 2]
        for actual, expected in (
            (lab.run(relu, x), rectified(x, 0.0)),
            (lab.run(leaky_relu, x, slope=slope), rectified(x, slope)),
        ):
            yield lab.near(actual, expected, magnitude=np.abs(expected), terms=2)


@claim(
    "§4.1",
    "4.1",
    "The derivatives of relu and leaky_relu are 1 above 0, and 0 or the slope below",
    function="relu_derivative, leaky_relu_derivative",
    method="complex steps",
)
def rectifier_derivatives_by_complex_step(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, slope = arguments(lab), (0.2, 1.0)[case % 2]
        for actual, below in (
            (lab.run(relu_derivative, x), 0.0),
            (lab.run(leaky_relu_derivative, x, slope=slope), slope),
        ):

            def leaky(point: complex, below: float = below) -> complex:
                return point if point.real > 0 else below * point

            yield lab.near(actual, by_complex_step(leaky, x), terms=2)


@claim(
    "§4.1",
    "4.1",
    "σ(x) = 1/(1 + e⁻ˣ), small values to full precision",
    function=sigmoid,
    method="decimal arithmetic with up to 390 digits",
)
def sigmoid_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: 1 / (1 + (-point).exp()), x)
        yield lab.near(lab.run(sigmoid, x), expected, magnitude=expected, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "softplus(x) = log(1 + eˣ), small values to full precision",
    function=softplus,
    method="decimal arithmetic with up to 390 digits",
)
def softplus_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: (1 + point.exp()).ln(), x)
        yield lab.near(lab.run(softplus, x), expected, magnitude=expected, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "log_sigmoid(x) = log(1/(1 + e⁻ˣ))",
    function=log_sigmoid,
    method="decimal arithmetic with up to 390 digits",
)
def log_sigmoid_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab)
        expected = in_decimals(lambda point: (1 / (1 + (-point).exp())).ln(), x)
        yield lab.near(
            lab.run(log_sigmoid, x), expected, magnitude=np.abs(expected), terms=ROUNDINGS
        )


@claim(
    "§4.1",
    "4.1",
    "The derivatives of σ, softplus and log σ are σ(x)σ(−x), σ(x) and σ(−x)",
    function="sigmoid_derivative, sigmoid, log_sigmoid_derivative",
    method="complex steps through the formulas, scalar by scalar",
)
def sigmoid_derivatives_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x = arguments(lab, far=False)
        for derivative, formula in (
            (sigmoid_derivative, lambda point: 1 / (1 + cmath.exp(-point))),
            (sigmoid, lambda point: cmath.log(1 + cmath.exp(point))),
            (log_sigmoid_derivative, lambda point: -cmath.log(1 + cmath.exp(-point))),
        ):
            expected = by_complex_step(formula, x)
            yield lab.near(lab.run(derivative, x), expected, magnitude=expected, terms=ROUNDINGS)


LINES, WIDTH = 3, 5
"""Of what softmax and logsumexp are checked on."""


def lines(lab: Lab, case: int) -> np.ndarray:
    """Rows of numbers near 0 or near 1000, whose exponentials are beyond float64."""
    return lab.round(lab.normal(LINES, WIDTH, scale=5.0) + (0.0, 1000.0)[case % 2])


@claim(
    "§4.1",
    "4.1",
    "logsumexp(x) = log Σ_k exp(x_k), also where every exponential is out of range",
    function=logsumexp,
    method="decimal arithmetic, line by line",
)
def logsumexp_in_decimals(lab: Lab) -> Checks:
    for case in lab.cases(4):
        x, axis = lines(lab, case), (1, 0)[case // 2 % 2]
        expected = []
        with localcontext(Context(prec=60)):
            for line in x if axis == 1 else x.T:
                total = sum((Decimal(number).exp() for number in line.tolist()), Decimal(0))
                expected.append(float(total.ln()))
        magnitude = 1.0 + np.abs(expected)
        actual = lab.run(logsumexp, x, axis=axis)
        yield lab.near(actual, expected, magnitude=magnitude, terms=ROUNDINGS)


@claim(
    "§4.1",
    "4.1",
    "softmax(x)_k = exp(x_k) / Σ_l exp(x_l) along its axis, also where the exponentials are out "
    "of range",
    function=softmax,
    method="decimal arithmetic, line by line",
)
def softmax_in_decimals(lab: Lab) -> Checks:
    for case in lab.cases(4):
        x, axis = lines(lab, case), (1, 0)[case // 2 % 2]
        expected = np.zeros_like(x)
        with localcontext(Context(prec=60)):
            for row, line in enumerate(x if axis == 1 else x.T):
                weights = [Decimal(number).exp() for number in line.tolist()]
                shares = [float(weight / sum(weights)) for weight in weights]
                (expected if axis == 1 else expected.T)[row] = shares
        actual = lab.run(softmax, x, axis=axis)
        yield lab.near(actual, expected, magnitude=expected, terms=ROUNDINGS + WIDTH)


@claim(
    "§4.1",
    "4.1",
    "softmax is the gradient of logsumexp, and softmax_vjp that of Σ_k g_k softmax(x)_k",
    function="softmax, softmax_vjp",
    method="complex steps through the formulas without a shift",
)
def softmax_gradients_by_complex_step(lab: Lab) -> Checks:
    for case in lab.cases(2):
        x, g, axis = lab.normal(LINES, WIDTH), lab.normal(LINES, WIDTH), (1, 0)[case % 2]

        def log_total(at: np.ndarray, axis=axis) -> complex:
            return np.sum(np.log(np.sum(np.exp(at), axis=axis)))

        def weighted(at: np.ndarray, g=g, axis=axis) -> complex:
            weights = np.exp(at)
            return np.sum(g * weights / np.sum(weights, axis=axis, keepdims=True))

        share = slopes(log_total, x)
        terms = ROUNDINGS + WIDTH
        yield lab.near(lab.run(softmax, x, axis=axis), share, magnitude=share, terms=terms)
        magnitude = share * np.max(np.abs(g), axis=axis, keepdims=True)
        actual = lab.run(softmax_vjp, x, g, axis=axis)
        yield lab.near(actual, slopes(weighted, x), magnitude=2 * magnitude, terms=2 * terms)


@claim(
    "§4.1",
    "4.1",
    "Over all floats activations stay finite, without overflow, and keep their identities: "
    "σ(x) + σ(−x) = 1, softplus(x) − softplus(−x) = x, softmax(x, 0) = σ(x), "
    "logsumexp(x, 0) = softplus(x)",
    function="every activation",
    method="identities at powers of ten from the smallest number to the largest",
)
def activations_over_all_floats(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        limits = np.finfo(lab.dtype)
        low, high = math.log10(float(limits.tiny)), math.log10(float(limits.max))
        size = np.append(10.0 ** np.linspace(low, high, 60, endpoint=False), float(limits.max))
        x = lab.round(np.concatenate([-size[::-1], [0.0], size]))
        pairs = np.stack([x, 0.0 * x], axis=-1)
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            values = {
                function: lab.run(function, x)
                for function in (
                    relu,
                    relu_derivative,
                    leaky_relu,
                    leaky_relu_derivative,
                    sigmoid,
                    sigmoid_derivative,
                    softplus,
                    log_sigmoid,
                    log_sigmoid_derivative,
                )
            }
            probability, total = lab.run(softmax, pairs), lab.run(logsumexp, pairs)
        for found in (*values.values(), probability, total):
            yield lab.true(np.isfinite(found), "finite")
        on, plus = values[sigmoid], values[softplus]
        yield lab.near(on + on[::-1], np.ones_like(x), terms=4)
        yield lab.near(plus - plus[::-1], x, magnitude=plus + plus[::-1], terms=ROUNDINGS)
        yield lab.near(probability[:, 0], on, magnitude=on, terms=ROUNDINGS)
        yield lab.near(total, plus, magnitude=np.maximum(plus, 1.0), terms=ROUNDINGS)
        yield lab.near(
            values[log_sigmoid_derivative], on[::-1], magnitude=on[::-1], terms=ROUNDINGS
        )


# --- the autoencoder --------------------------------------------------------------------------

SIZE, KERNEL, FILTERS, SLOPE = (7, 8), 3, 2, 0.2
FIRST = Geometry(SIZE, (KERNEL, KERNEL))
SECOND = Geometry((5, 6), (KERNEL, KERNEL), stride=(2, 2))
SHAPES = {
    "filters1": (KERNEL, KERNEL, 1, FILTERS),
    "filters2": (KERNEL, KERNEL, FILTERS, FILTERS),
    "bias1": (FILTERS,),
    "bias2": (FILTERS,),
    "decoder_bias2": (FILTERS,),
    "decoder_bias1": (1,),
}
"""A network like that of Figure 1; horizontally its second convolution drops a column."""


class Autoencoding(NamedTuple):
    """Images, weights and a dropout mask, with what the network makes of them."""

    images: np.ndarray
    weights: Weights
    mask: np.ndarray
    cross_entropy: float
    squared_error: float
    gradient: Weights


def autoencoding(lab: Lab) -> Iterator[Autoencoding]:
    """Random problems for the network, which runs on the backend."""
    for _ in lab.cases(1):
        images = lab.uniform(N, *SIZE, 1)
        weights = {name: lab.normal(*shape, scale=0.4) for name, shape in SHAPES.items()}
        mask = lab.round(lab.bits(N, *SECOND.out, FILTERS) / 0.8)

        def computed(images: Any, mask: Any, *arrays: Any) -> tuple:
            named = dict(zip(SHAPES, arrays, strict=True))
            network = Network.create(named, size=SIZE, slope=SLOPE)
            loss = network.loss_and_gradient(images, network.products(named), mask)
            gradient = tuple(loss.gradient[name] for name in SHAPES)
            return loss.cross_entropy, loss.squared_error, gradient

        entropy, error, gradient = lab.run(computed, images, mask, *weights.values())
        named = dict(zip(SHAPES, gradient, strict=True))
        yield Autoencoding(images, weights, mask, entropy, error, named)


def rebuilt(images: np.ndarray, weights: Weights, mask: np.ndarray, slope: float) -> np.ndarray:
    """The logits of the network of Figure 1, in nested loops."""

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x.real > 0, x, slope * x)

    w1, w2 = weights["filters1"], weights["filters2"]
    hidden = leaky(convolved(FIRST, images, w1) + weights["bias1"])
    code = leaky(convolved(SECOND, hidden, w2) + weights["bias2"])
    hidden = leaky(transposed(SECOND, mask * code, w2) + weights["decoder_bias2"])
    return transposed(FIRST, hidden, w1) + weights["decoder_bias1"]


PATH = 2 * (KERNEL**2 + 1 + 3 * (KERNEL**2 * FILTERS + 1)) + 2 * ROUNDINGS
"""Roundings on the way through four layers and back.

They add up like random numbers, at most to the square root of this; the rest is for cancellation,
of which numbers of random signs have as much.
"""


@claim(
    "§4.1",
    "4.1",
    "The autoencoder's loss is Σ −t log σ(l) − (1 − t) log(1 − σ(l)), its squared error "
    "Σ (σ(l) − t)²",
    function="Network.loss_and_gradient",
    method="nested loops, and the cross-entropy as printed in textbooks",
)
def autoencoder_loss_by_loops(lab: Lab) -> Checks:
    for images, weights, mask, cross_entropy, squared_error, _ in autoencoding(lab):
        logits = rebuilt(images, weights, mask, SLOPE)
        entropies, errors = [], []
        for t, logit in zip(images.flat, logits.flat, strict=True):
            on = 1 / (1 + math.exp(-logit))
            entropies.append(-t * math.log(on) - (1 - t) * math.log(1 - on))
            errors.append((on - t) ** 2)
        for actual, each in ((cross_entropy, entropies), (squared_error, errors)):
            yield lab.near(actual, math.fsum(each), terms=PATH / 2 + images.size)


@claim(
    "§4.1",
    "4.1",
    "The autoencoder's backward pass is the gradient of its loss for every weight, tied filters "
    "in both places",
    function="Network.loss_and_gradient",
    method="complex steps through nested loops",
)
def autoencoder_gradient_by_complex_step(lab: Lab) -> Checks:
    for images, weights, mask, _, _, gradient in autoencoding(lab):
        expected = {}
        for name in weights:

            def loss(w: np.ndarray, name=name, weights=weights, mask=mask, t=images) -> complex:
                logits = rebuilt(t, weights | {name: w}, mask, SLOPE)
                return np.sum(np.log(1 + np.exp(logits)) - t * logits)

            expected[name] = slopes(loss, weights[name])
        largest = max(np.max(np.abs(slope)) for slope in expected.values())
        for name, slope in expected.items():
            yield lab.near(gradient[name], slope, magnitude=largest, terms=PATH)


@claim(
    "§4.1",
    "4.1",
    "28 × 28 images become 20 × 20 × 128, then 6 × 6 × 128 = 576 capsules of 8, and the transposed "
    "filters lead back to 28 × 28 with an output padding of 1",
    function="conv2d, conv2d_transpose, code_grid",
    method="counting the places of a window, and shapes of what is computed",
)
def sizes_of_figure_1(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        first, second = Geometry((28, 28), (9, 9)), Geometry((20, 20), (9, 9), stride=(2, 2))
        yield lab.true(first.out == second.size, "20 × 20")
        yield lab.true(second.out == (6, 6) == code_grid((28, 28), kernel=9), "6 × 6")
        yield lab.true(math.prod(second.out) * 128 == 576 * 8, "576 capsules of 8")
        yield lab.true(second.output_padding == (1, 1), "output padding 1")
        filters1, filters2 = lab.normal(9, 9, 1, 128), lab.normal(9, 9, 128, 128)
        hidden = lab.run(conv2d, lab.uniform(1, 28, 28, 1), filters1)
        yield lab.true(hidden.shape == (1, 20, 20, 128), "the first layer")
        code = lab.run(conv2d, hidden, filters2, stride=2)
        yield lab.true(code.shape == (1, 6, 6, 128), "the code")
        back = lab.run(conv2d_transpose, code, filters2, stride=2, output_padding=1)
        yield lab.true(back.shape == hidden.shape, "the second layer transposed")
        yield lab.true(np.all(back[:, :19, :19]), "without the output padding 19 × 19")
        yield lab.true(not np.any(back[:, 19:]) and not np.any(back[:, :, 19:]), "which is 0")
        images = lab.run(conv2d_transpose, back, filters1)
        yield lab.true(images.shape == (1, 28, 28, 1), "the first layer transposed")
