"""How much each capsule is used, and for what."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_ndim, expect_shape
from capsnp.plotting._page import (
    BLUE,
    GREEN,
    GREY,
    MARGIN,
    axes_at,
    colour_bar,
    header_height,
    host,
    page,
    styled,
    text_width,
    thin_out,
)

BARS, ROW, GAP = 110, 24, 34  # pixels: height of the bars, of a class's row, between panels
CMAP = "cividis"


@styled
def capsule_usage(
    usage: Array,
    purity: Array,
    counts: Array,
    classes: Sequence[str],
    *,
    title: str = "What each capsule is used for",
) -> Figure:
    """Share of the images each capsule wins, how pure they are, and of which classes.

    Parameters
    ----------
    usage : array, shape (J,)
        Share of all images that the capsule wins, 0 to 1.
    purity : array, shape (J,)
        Share of the most common class among them, 0 to 1.
    counts : array, shape (J, K)
        Images of each class that the capsule wins.
    classes : sequence of K str
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Two rows of bars, with the share 1/J of equal use dotted, above a map in which each
        capsule's classes add up to 100 %.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    """
    used, pure, wins = host("usage", usage), host("purity", purity), host("counts", counts)
    expect_ndim("usage", used, 1, "(J,)")
    n = len(used)
    match = f"to match usage {used.shape}"
    expect_shape("purity", pure, (n,), axes="(J,)", because=match)
    expect_shape("counts", wins, (n, None), axes="(J, K)", because=match)
    if len(classes) != wins.shape[1]:
        raise ShapeError(
            f"classes: expected {wins.shape[1]} of them to match counts, got {len(classes)}"
        )
    cell = min(48, max(16, 960 // n))
    left = MARGIN + 30 + max(64, *(text_width(name) for name in classes))
    top = header_height(title) + 8
    high = ROW * len(classes)
    figure = page(left + cell * n + 110, top + 2 * (BARS + GAP) + high + 50, title)
    upper = axes_at(figure, left, top, cell * n, BARS)
    lower = axes_at(figure, left, top + BARS + GAP, cell * n, BARS)
    _bars(upper, 100 * used, "images won", BLUE)
    upper.axhline(100 / n, color=GREY, linestyle=":")
    _bars(lower, 100 * pure, "most common class", GREEN)
    lower.set_ylim(0, 100)
    matrix = axes_at(figure, left, top + 2 * (BARS + GAP), cell * n, high)
    _class_map(matrix, wins, classes, cell)
    bar = axes_at(figure, left + cell * n + 16, top + 2 * (BARS + GAP), 14, high)
    colour_bar(bar, cmap=CMAP, low=0, high=100, label="% of the capsule's images")
    for axes in (upper, lower, matrix):
        ticks, names = thin_out(range(n), [str(j) for j in range(n)], cell)
        axes.set_xticks(ticks, names)
        axes.set_xlim(-0.5, n - 0.5)
    matrix.set_xlabel("capsule")
    return figure


def _bars(axes: Axes, percent: np.ndarray, name: str, colour: str) -> None:
    axes.bar(range(len(percent)), percent, width=0.8, color=colour)
    axes.set_ylabel(f"{name}\n%")
    axes.set_ylim(0, 1.1 * max(percent.max(), 100 / len(percent)))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=4)


def _class_map(axes: Axes, counts: np.ndarray, classes: Sequence[str], cell: int) -> None:
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (J, K)
    axes.imshow(share.T, cmap=CMAP, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if cell < 28:
        return
    for j, k in np.argwhere(share >= 5):
        colour = "white" if share[j, k] < 55 else "black"
        axes.text(j, k, f"{math.floor(share[j, k] + 0.5)}", ha="center", va="center", color=colour)
