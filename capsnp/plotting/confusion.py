"""Confusion matrices, several side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsnp.errors import OptionError
from capsnp.functional._checks import expect_shape
from capsnp.plotting._page import (
    GREY,
    INK,
    LINE,
    MARGIN,
    MAX_WIDTH,
    axes_at,
    fit_label,
    header_height,
    page,
    styled,
    text_at,
    text_width,
)

CELL = 40  # pixels at most, but for large numbers
SIZE = 8  # of numbers, in points
GAP = 24
COLOURS = "Blues"
DARK = 0.5  # share above which a number is written in white


@styled
def confusion_matrices(
    matrices: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    title: str = "Which class is taken for which",
) -> Figure:
    """How many examples of each class (rows) are taken for each class (columns).

    Parameters
    ----------
    matrices : mapping of str to array of int, shape (J, J)
        By the heading of each; they stand side by side.
    classes : sequence of J str
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A cell is as dark as its share of the row; zeros are left out.

    Raises
    ------
    OptionError
        If there is no matrix.
    ShapeError
        If a matrix has not the classes' number of rows and columns.
    """
    if not matrices:
        raise OptionError("matrices: expected at least one, got none")
    J = len(classes)
    for name, matrix in matrices.items():
        expect_shape(
            f"matrices[{name!r}]", matrix, (J, J), axes="(J, J)", because="to match classes"
        )
    rows = [fit_label(name, 110).replace("\n", " ") for name in classes]
    left = MARGIN + 14 + LINE + max(map(text_width, rows))
    room = (MAX_WIDTH - left - MARGIN) // len(matrices) - GAP
    largest = max(int(np.max(matrix)) for matrix in matrices.values())
    cell = max(min(room // J, CELL), text_width(f"{largest}", size=SIZE) + 6)
    upright = max(map(text_width, rows)) > cell - 2  # names that are too wide for a column
    high = max(map(text_width, rows)) + 8 if upright else LINE + 6
    top = header_height(title) + LINE * (any(matrices) + 1)
    side = J * cell
    width = left + len(matrices) * (side + GAP) - GAP + MARGIN
    figure = page(width, top + side + high + LINE + MARGIN, title)
    text_at(figure, MARGIN, top + side / 2, "class", rotation=90, va="center", color=GREY)
    for n, (name, matrix) in enumerate(matrices.items()):
        start = left + n * (side + GAP)
        axes = axes_at(figure, start, top, side, side)
        _fill(axes, np.asarray(matrix))
        axes.set_yticks(range(J), rows if n == 0 else [])
        axes.set_xticks(range(J), rows, rotation=90 if upright else 0)
        text_at(figure, start, top - 6, name, va="bottom", fontweight="bold")
        middle = start + side / 2
        text_at(figure, middle, top + side + high, "taken for", ha="center", color=GREY)
    return figure


def _fill(axes: Axes, matrix: np.ndarray) -> None:
    total = np.sum(matrix, axis=1, keepdims=True)
    shares = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    axes.imshow(colormaps[COLOURS](0.9 * shares), aspect="auto", interpolation="nearest")
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > DARK else INK
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, size=SIZE)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
