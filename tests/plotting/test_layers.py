import numpy as np
import pytest
from matplotlib import colormaps

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError


def filter_pixel(figure, column, y, x, zoom):
    """One weight's colour in the first row of filters."""
    picture = np.asarray(figure.axes[0].images[0].get_array())
    side = 9 * zoom + 4
    return picture[1 + y * zoom, 1 + column * side + x * zoom]


def test_colours_are_symmetric_about_zero(rng, assert_legible):
    weights = rng.normal(size=(9, 9, 1, 128))
    figure = plotting.filters(weights)
    assert {"0", "112", "weight"} <= set(assert_legible(figure))
    largest = np.abs(weights).max()
    assert figure.axes[1].get_ylim() == (-largest, largest)
    expected = colormaps["RdBu_r"](0.5 + weights[4, 7, 0, 3] / (2 * largest))[:3]
    np.testing.assert_array_equal(filter_pixel(figure, 3, 4, 7, 6), expected)


def test_colour_filters_are_shown_in_colour(rng, assert_legible):
    weights = rng.normal(size=(9, 9, 3, 20))
    figure = plotting.filters(weights)
    assert_legible(figure)
    expected = 0.5 + weights[2, 8, :, 5] / (2 * np.abs(weights).max())
    np.testing.assert_array_equal(filter_pixel(figure, 5, 2, 8, 6), expected)
    assert len(figure.axes) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 1, 7), (60, 60, 3, 2)])
def test_filters_of_any_size(shape, assert_legible):
    assert_legible(plotting.filters(np.zeros(shape)))


@pytest.mark.parametrize("shape", [(9, 9, 128), (9, 9, 2, 4), (9, 9, 1, 0)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(ShapeError, match=r"weights: expected shape \(kh, kw, C, F\).* got"):
        plotting.filters(np.zeros(shape))


def test_columns_is_a_whole_number():
    with pytest.raises(OptionError, match="columns: expected a whole number from 1"):
        plotting.filters(np.zeros((9, 9, 1, 4)), columns=0)
