"""Routing coefficients over the grid of input capsules."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_ndim, expect_shape
from capsnp.plotting._page import (
    LINE,
    MARGIN,
    axes_at,
    colour_bar,
    header_height,
    host,
    page,
    styled,
    text_at,
    text_width,
)

PANEL, GAP = 126, 14  # pixels
SHORTEST_BAR = 160
CMAP = "cividis"
ROWS = ("before routing", "after routing")


@styled
def routing_heatmap(
    before: Array,
    after: Array,
    *,
    grid: tuple[int, int] = (6, 6),
    image: Array | None = None,
    capsules: Sequence[int] | None = None,
    title: str = "Routing coefficients over the grid of input capsules",
) -> Figure:
    r"""Where output capsules listen, before and after routing by agreement.

    Each cell of the grid holds several input capsules; their coefficients are summed,
    :math:`\sum_{i \in \mathrm{cell}} c_{ij}`.

    Parameters
    ----------
    before, after : array, shape (I, J)
        Coefficients of one image; input capsules in the order (row, column, group), so that I is
        a multiple of the cells.
    grid : tuple of int
        Rows and columns of the grid.
    image : array, shape (H, W, C), optional
        Shown beside, C = 1 or 3, in [0, 1] (what lies outside is cut).
    capsules : sequence of int, optional
        Output capsules to show; by default the six whose coefficients changed most.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        One colour scale for all maps, from the smallest sum to the largest.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other or the grid.
    OptionError
        If there is no such output capsule.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 2.2.
    """
    first, last = host("before", before), host("after", after)
    expect_ndim("before", first, 2, "(I, J)")
    expect_shape("after", last, first.shape, axes="(I, J)", because="to match before")
    cells = grid[0] * grid[1]
    if first.shape[0] % cells or not first.size:
        raise ShapeError(
            f"before: expected shape (I, J) with I a multiple of {cells} to fill the grid {grid}, "
            f"got {first.shape}"
        )
    maps = np.stack([c.reshape(*grid, -1, c.shape[1]).sum(axis=2) for c in (first, last)])
    if capsules is None:
        change = np.abs(maps[1] - maps[0]).sum(axis=(0, 1))
        capsules = sorted(np.argsort(-change, kind="stable")[:6].tolist())
    for j in capsules:
        if not 0 <= j < first.shape[1]:
            raise OptionError(f"capsules: expected from 0 to {first.shape[1] - 1}, got {j}")
    shown = maps[..., list(capsules)]  # (2, rows, columns, shown)
    picture = None if image is None else _picture(image)
    return _page(shown, capsules, picture, title)


def _picture(image: Array) -> np.ndarray:
    values = host("image", image)
    expect_ndim("image", values, 3, "(H, W, C)")
    if values.shape[-1] not in (1, 3):
        raise ShapeError(f"image: expected shape (H, W, C) with C = 1 or 3, got {values.shape}")
    return np.broadcast_to(np.clip(values, 0, 1), (*values.shape[:2], 3))


def _page(
    maps: np.ndarray, capsules: Sequence[int], picture: np.ndarray | None, title: str
) -> Figure:
    height, width = maps.shape[1:3]
    side = PANEL // max(height, width)  # pixels of a cell
    high, wide = side * height, side * width
    both = 2 * high + GAP
    top = header_height(title) + LINE + 6
    left = MARGIN if picture is None else MARGIN + both + 24
    first = left + 12 + max(map(text_width, ROWS))
    right = first + len(capsules) * (wide + GAP)
    body = max(both, SHORTEST_BAR)
    figure = page(right + 110, top + body + 14 + MARGIN, title)
    if picture is not None:
        shown = axes_at(figure, MARGIN, top, both, both)
        shown.imshow(picture, interpolation="nearest")
        shown.set_axis_off()
        text_at(figure, MARGIN, top - 5, "image", va="bottom")
    low, top_value = float(maps.min()), float(maps.max())
    if top_value - low <= 1e-6 * abs(top_value):
        low, top_value = 0.0, top_value or 1.0
    for row, name in enumerate(ROWS):
        upper = top + row * (high + GAP)
        text_at(figure, first - 10, upper + high / 2, name, ha="right", va="center")
        for n in range(len(capsules)):
            axes = axes_at(figure, first + n * (wide + GAP), upper, wide, high)
            axes.imshow(maps[row, ..., n], cmap=CMAP, vmin=low, vmax=top_value, aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    for n, j in enumerate(capsules):
        centre = first + n * (wide + GAP) + wide / 2
        text_at(figure, centre, top - 5, f"capsule {j}", ha="center", va="bottom")
    bar = axes_at(figure, right + 6, top, 14, body)
    colour_bar(bar, cmap=CMAP, low=low, high=top_value, label="sum of $c_{ij}$ in the cell")
    return figure
