"""Pictures of learned filters."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_count, expect_ndim
from capsnp.plotting._page import (
    GREY,
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
from capsnp.plotting._sheet import FRAME, GAP, mosaic

CELL = 54  # pixels that a filter is enlarged to at most
SHORTEST_BAR = 80
DIVERGING = "RdBu_r"


@styled
def filters(
    weights: Array, *, columns: int = 16, title: str = "Filters of the first layer"
) -> Figure:
    """The filters of a first layer, red above zero and blue below, or in colour for RGB.

    Parameters
    ----------
    weights : array, shape (kh, kw, C, F)
        C = 1: one colour scale for all filters, symmetric about zero. C = 3: every filter as
        colours, ``0.5 + w / (2 max |w|)``.
    columns : int
        Filters in a row, from 1.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Each row is labelled with the number of its first filter.

    Raises
    ------
    ShapeError
        If the weights have another number of axes or C is neither 1 nor 3.
    OptionError
        If `columns` is below 1.
    """
    expect_count("columns", columns)
    values = host("weights", weights)
    expect_ndim("weights", values, 4, "(kh, kw, C, F)")
    height, width, channels, n_filters = values.shape
    if channels not in (1, 3) or 0 in values.shape:
        raise ShapeError(
            f"weights: expected shape (kh, kw, C, F) with C = 1 or 3, got {values.shape}"
        )
    largest = float(np.abs(values).max()) or 1.0
    scaled = 0.5 + np.moveaxis(values, 3, 0) / (2 * largest)  # (F, kh, kw, C)
    if channels == 1:
        scaled = colormaps[DIVERGING](scaled[..., 0])[..., :3]
    columns = min(columns, n_filters)
    n_rows = -(-n_filters // columns)
    sheet = np.full((n_rows * columns, height, width, 3), np.nan)
    sheet[:n_filters] = scaled
    zoom = max(1, CELL // max(height, width))
    picture = mosaic(sheet.reshape(n_rows, columns, height, width, 3), zoom)
    rows = [str(n * columns) for n in range(n_rows)]
    return _page(picture, height * zoom, rows, largest, title, with_bar=channels == 1)


def _page(
    picture: np.ndarray, height: int, rows: list[str], largest: float, title: str, *, with_bar: bool
) -> Figure:
    corner = "filter"
    left = MARGIN + 10 + max(text_width(corner), text_width(rows[-1]))
    top = header_height(title) + LINE
    high, wide = picture.shape[:2]
    body = max(high, SHORTEST_BAR * with_bar)
    figure = page(left + wide + 110 * with_bar + MARGIN, top + body + MARGIN, title)
    axes = axes_at(figure, left, top, wide, high)
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    axes.set_yticks([FRAME + n * (height + GAP) + height / 2 - 0.5 for n in range(len(rows))], rows)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    text_at(figure, left - 6, top - 4, corner, ha="right", va="bottom", color=GREY)
    if with_bar:
        beside = axes_at(figure, left + wide + 20, top, 14, body)
        colour_bar(beside, cmap=DIVERGING, low=-largest, high=largest, label="weight")
    return figure
