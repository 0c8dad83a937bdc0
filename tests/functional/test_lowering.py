"""The two ways to compute a convolution agree with `conv2d`, and their maps are adjoints."""

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.functional.convolution import (
    conv2d,
    conv2d_input_gradient,
    conv2d_weight_gradient,
)
from capsnp.functional.lowering import Fourier, Im2col, lowering

# size, kernel, stride: even and odd grids, sizes that the stride does not divide, one tap
GEOMETRIES = [
    ((20, 20), 9, 2),
    ((9, 12), 5, 2),
    ((11, 13), 4, 3),
    ((8, 8), 3, 3),
    ((5, 6), 4, 1),
    ((5, 5), 3, 4),
    ((4, 4), 1, 1),
    ((3, 5), 3, 1),  # one row of codes
]
N, C_IN, C_OUT = 3, 2, 5


@pytest.fixture(params=["im2col", "fourier"])
def way(request):
    def create(size, kernel, stride, like):
        if request.param == "im2col":
            return Im2col(size, kernel, stride)
        return Fourier.create(size, kernel, stride, like=like)

    return create


@pytest.fixture(params=GEOMETRIES, ids=str)
def geometry(request):
    return request.param


@pytest.fixture
def arrays(geometry, rng):
    """images, weight, codes on the host."""
    (height, width), k, s = geometry
    codes = (N, (height - k) // s + 1, (width - k) // s + 1, C_OUT)
    return (
        rng.normal(size=(N, height, width, C_IN)),
        rng.normal(size=(k, k, C_IN, C_OUT)),
        rng.normal(size=codes),
    )


def test_products_are_the_convolution_and_its_adjoints(way, geometry, arrays, from_host, to_host):
    images, weight, codes = arrays
    x, w, y = map(from_host, arrays)
    layer = way(*geometry, like=w)
    size, kernel, stride = geometry
    forward = layer.to_codes(layer.from_images(x) @ layer.from_weight(w))
    back = layer.to_images(layer.from_codes(y) @ layer.from_weight(w).mT)
    for_weight = layer.to_weight(layer.from_images(x).mT @ layer.from_codes(y))
    for ours, expected in (
        (forward, conv2d(images, weight, stride=stride)),
        (back, conv2d_input_gradient(codes, weight, size, stride=stride)),
        (for_weight, conv2d_weight_gradient(codes, images, kernel, stride=stride)),
    ):
        np.testing.assert_allclose(to_host(ours), expected, atol=1e-11)


def test_maps_are_adjoints(way, geometry, arrays, rng):
    layer = way(*geometry, like=arrays[0])
    for array, name in zip(arrays, ("images", "weight", "codes"), strict=True):
        image = getattr(layer, f"from_{name}")(array)
        other = rng.normal(size=image.shape)
        back = getattr(layer, f"to_{name}")(other)
        assert np.sum(image * other) == pytest.approx(np.sum(array * back))


def test_fourier_loses_no_more_than_im2col_does_in_float32(rng):
    images = rng.random((2, 20, 20, 64))
    weight = rng.normal(size=(9, 9, 64, 8))
    exact = conv2d(images, weight, stride=2)
    x, w = images.astype("float32"), weight.astype("float32")
    layer = Fourier.create((20, 20), 9, 2, like=w)
    result = layer.to_codes(layer.from_images(x) @ layer.from_weight(w))
    assert result.dtype == np.float32
    assert np.max(np.abs(result - exact)) < 3e-6 * np.max(np.abs(exact))


def test_fourier_stays_on_the_device_of_its_arrays():
    strict = pytest.importorskip("array_api_strict")
    images = strict.ones((2, 5, 5, 1), device=strict.Device("device1"))
    layer = Fourier.create((5, 5), 3, 2, like=images)
    assert layer.from_images(images).device == images.device


def test_fourier_needs_a_fifth_of_the_products():
    layer = Fourier.create((20, 20), 9, 2, like=np.zeros(1))
    assert layer.images_map.shape == (148, 100)
    assert layer.weight_map.shape == (148, 25)
    assert layer.codes_map.shape == (148, 36)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "channels", "expected"),
    [
        ((20, 20), 9, 2, 128, Fourier),
        ((24, 24), 9, 2, 128, Fourier),
        ((28, 28), 9, 1, 1, Im2col),  # one channel: nothing to multiply per frequency
        ((20, 20), 4, 2, 128, Im2col),  # two taps: nothing to save
        ((80, 80), 9, 2, 128, Im2col),  # too large for full Fourier matrices
        ((39, 39), 9, 2, 128, Fourier),  # LARGEST_FOURIER pixels, 20 by 20
        ((41, 39), 9, 2, 128, Im2col),
        ((39, 41), 9, 2, 128, Im2col),
        ((41, 41), 9, 2, 128, Im2col),
        ((20, 20), 5, 2, 16, Fourier),  # three taps and 16 channels are enough
    ],
)
def test_the_cheaper_way_is_chosen(size, kernel, stride, channels, expected):
    way = lowering(size, kernel, stride, channels=channels, like=np.zeros(1))
    assert isinstance(way, expected)


def test_what_is_wrong_is_said(way):
    with pytest.raises(ShapeError, match=r"size: expected .* at least the kernel 9, got \(8, 20\)"):
        way((8, 20), 9, 2, like=np.zeros(1))
    for name, geometry in (("kernel", ((8, 20), 0, 2)), ("stride", ((8, 20), 3, 0))):
        with pytest.raises(OptionError, match=rf"^{name}: expected a whole number from 1, got 0$"):
            way(*geometry, like=np.zeros(1))
    layer = way((5, 5), 3, 1, like=np.zeros(1))
    with pytest.raises(ShapeError) as caught:
        layer.from_images(np.zeros((1, 6, 5, 2)))
    assert str(caught.value) == (
        "images: expected shape (N, H, W, C_in) with H = 5 of the lowering, got (1, 6, 5, 2)"
    )
