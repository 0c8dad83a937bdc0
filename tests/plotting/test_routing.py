import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError


@pytest.fixture
def coefficients(rng):
    """Before and after routing: 576 inputs to 20 outputs, columns that add up to 1."""
    before = np.full((576, 20), 1 / 576)
    after = rng.random((576, 20))
    return before, after / after.sum(axis=0)


def test_each_cell_is_the_sum_over_its_groups(coefficients, assert_legible):
    before, after = coefficients
    figure = plotting.routing_heatmap(before, after, capsules=[3, 17])
    assert {"capsule 3", "capsule 17"} <= set(assert_legible(figure))
    maps = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:4]]
    for c, j, shown in zip((before, before, after, after), (3, 17, 3, 17), maps, strict=True):
        expected = np.zeros((6, 6))
        for row in range(6):
            for column in range(6):
                for group in range(16):
                    expected[row, column] += c[(row * 6 + column) * 16 + group, j]
        np.testing.assert_allclose(shown, expected, rtol=1e-12)


def test_all_maps_share_one_scale(coefficients, assert_legible, rng):
    figure = plotting.routing_heatmap(*coefficients, image=rng.random((28, 28, 1)))
    assert_legible(figure)
    limits = {axes.images[0].get_clim() for axes in figure.axes[1:13]}
    assert limits == {figure.axes[13].get_ylim()}


def test_the_capsules_that_changed_most_are_shown(coefficients, assert_legible):
    before, after = coefficients
    quiet = before.copy()
    quiet[:, [2, 5, 19]] = after[:, [2, 5, 19]]
    texts = assert_legible(plotting.routing_heatmap(before, quiet))
    assert {"capsule 2", "capsule 5", "capsule 19"} <= set(texts)


def test_uniform_coefficients_and_other_grids_can_be_drawn(assert_legible):
    uniform = np.full((24, 2), 1 / 24)
    assert_legible(plotting.routing_heatmap(uniform, uniform, grid=(2, 4)))
    assert_legible(plotting.routing_heatmap(0 * uniform, 0 * uniform, grid=(1, 24)))


@pytest.mark.parametrize(
    ("shapes", "options", "error", "message"),
    [
        ([(576,), (576,)], {}, ShapeError, r"before: expected shape \(I, J\), got \(576,\)"),
        ([(576, 20), (576, 2)], {}, ShapeError, "after: .*J = 20 to match before"),
        ([(575, 20)] * 2, {}, ShapeError, "before: .*I a multiple of 36 to fill the grid"),
        ([(576, 20)] * 2, {"capsules": [20]}, OptionError, "capsules: expected from 0 to 19"),
        ([(576, 20)] * 2, {"image": np.zeros((28, 28))}, ShapeError, "image: .*C.*, got"),
        ([(576, 20)] * 2, {"image": np.zeros((9, 9, 2))}, ShapeError, "image: .*C = 1 or 3"),
    ],
)
def test_what_does_not_fit(shapes, options, error, message):
    with pytest.raises(error, match=message):
        plotting.routing_heatmap(*map(np.zeros, shapes), **options)
