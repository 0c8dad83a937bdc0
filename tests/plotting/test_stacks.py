"""Routing through layers: widths by terms of sums, signs by colours, capsules by lengths."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, Rectangle

from capsnp.errors import OptionError, ShapeError
from capsnp.plotting import stack_diagram
from capsnp.plotting._page import BLUE, VERMILION
from capsnp.plotting.stacks import NODE, WIDEST


@pytest.fixture
def layers(rng):
    """12 inputs of 4, 5 capsules of 3, 2 of 6."""
    shapes = ((12, 4, 5, 3), (5, 3, 2, 6))
    return [
        (
            rng.normal(size=(I, P)),
            rng.normal(size=(I, J, D, P)),
            rng.uniform(0.1, 1, (I, J)),
            rng.uniform(0, 0.3, (J, D)),
        )
        for I, P, J, D in shapes
    ]


def terms(x, W, c):
    """c_ij z_{j|i}·z_j/‖z_j‖ in loops."""
    I, J = c.shape
    z = np.asarray([sum(c[i, j] * W[i, j] @ x[i] for i in range(I)) for j in range(J)])
    return np.asarray(
        [
            [c[i, j] * (W[i, j] @ x[i]) @ z[j] / np.linalg.norm(z[j]) for j in range(J)]
            for i in range(I)
        ]
    )


def collections(figure):
    (canvas,) = [axes for axes in figure.axes if any(isinstance(c, LineCollection) and len(
        c.get_segments()) > 0 and axes.get_xlim()[1] > 100 for c in axes.collections)]  # fmt: skip
    return canvas, [c for c in canvas.collections if isinstance(c, LineCollection)]


def test_widths_and_colours_are_the_terms(layers, library):
    arrays = [tuple(library.from_host(part) for part in layer) for layer in layers]
    figure = stack_diagram(arrays, k=1000)
    _, lines = collections(figure)
    assert len(lines) == 2
    for (x, W, c, _), drawn in zip(layers, lines, strict=True):
        flow = terms(x, W, c)
        order = np.argsort(np.abs(flow), axis=None)
        expected = flow.ravel()[order]
        widths = WIDEST * np.abs(expected) / np.abs(expected).max()
        np.testing.assert_allclose(drawn.get_linewidths(), widths, rtol=1e-10)
        colours = [to_rgba(BLUE if f > 0 else VERMILION, 0.55) for f in expected]
        np.testing.assert_allclose(drawn.get_colors(), colours)


def test_lines_end_at_their_capsules(layers):
    canvas, lines = collections(stack_diagram(layers, k=3))
    circles = [p for p in canvas.patches if isinstance(p, Circle) and p.radius == NODE]
    assert len(circles) == 7
    first, second = circles[:5], circles[5:]
    flow = terms(*layers[1][:3])
    i, j = np.unravel_index(np.argsort(np.abs(flow), axis=None)[-3:], flow.shape)
    expected = [[first[a].center, second[b].center] for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(np.asarray(lines[1].get_segments()), expected)
    assert len(lines[0].get_segments()) == 3


def test_cells_of_a_grid_sum_their_inputs(layers):
    canvas, lines = collections(stack_diagram(layers, grid=(2, 3), k=1000))
    assert len([p for p in canvas.patches if isinstance(p, Rectangle)]) == 6
    summed = terms(*layers[0][:3]).reshape(6, 2, 5).sum(axis=1)
    widths = np.sort(np.abs(summed).ravel())
    np.testing.assert_allclose(lines[0].get_linewidths(), WIDEST * widths / widths[-1], rtol=1e-10)


def test_an_image_stands_beside(layers, rng):
    figure = stack_diagram(layers[:1], image=rng.random((8, 8, 1)))
    assert any(axes.images for axes in figure.axes)


def test_dead_capsules_are_drawn(layers):
    x, W, c, y = layers[0]
    canvas, lines = collections(stack_diagram([(x, 0 * W, c, 0 * y), layers[1]]))
    assert np.all(np.asarray(lines[0].get_linewidths()) == 0)
    assert canvas is not None


def test_bad_input(layers):
    with pytest.raises(OptionError, match="layers: expected at least one, got none"):
        stack_diagram([])
    with pytest.raises(OptionError, match="k: expected a whole number from 1, got 0"):
        stack_diagram(layers, k=0)
    with pytest.raises(ShapeError, match=r"x: expected 5 inputs in layer 2, .* got 12"):
        stack_diagram([layers[0], layers[0]])
    with pytest.raises(ShapeError, match=r"c: expected shape \(I, J\) .* of layer 1"):
        stack_diagram([(*layers[0][:2], layers[0][2].T, layers[0][3])])
    with pytest.raises(ShapeError, match=r"I a multiple of 10 to fill the grid \(2, 5\), got 12"):
        stack_diagram(layers, grid=(2, 5))
    with pytest.raises(ShapeError, match=r"image: expected shape \(H, W, C\) with C = 1 or 3"):
        stack_diagram(layers, image=np.zeros((4, 4, 2)))
