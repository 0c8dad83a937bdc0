"""Sheets: labelled rows and columns of images, enlarged by whole pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsnp.plotting._page import (
    GREY,
    LINE,
    MARGIN,
    MAX_WIDTH,
    axes_at,
    header_height,
    page,
    text_at,
    text_width,
)

GAP = 4  # pixels between two images, their frames included
FRAME, FRAME_GREY = 1, 0.75
CELL = 64  # pixels that an image is enlarged to at most
BAND_GAP = 18


@dataclass(frozen=True)
class Band:
    """Images in rows and columns with their labels, one label per column and per row."""

    images: np.ndarray  # (R, K, H, W, C)
    columns: Sequence[str]
    rows: Sequence[str]


def cell_width(width: int, columns: int) -> int:
    """Pixels from one image to the next of `width` pixels when `columns` stand side by side."""
    room = (MAX_WIDTH - 150) // columns - GAP
    zoom = min(CELL, room) // width
    return zoom * width if zoom else min(width, room)


def mosaic(images: np.ndarray, zoom: int, *, gap: int = GAP, group: int = 1) -> np.ndarray:
    """Images as one picture, enlarged by whole pixels, thinly framed, with white gaps between.

    Parameters
    ----------
    images : numpy.ndarray, shape (R, K, H, W, 3)
        An image that holds NaN is left out.
    zoom : int
        Screen pixels per image pixel and axis, from 1.
    gap : int
        Pixels between images, frames included.
    group : int
        Columns that belong together: four gaps more before each next group.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3)
    """
    n_rows, columns, height, width, _ = images.shape
    lefts, right = _lefts(columns, width * zoom, gap, group)
    bottom = n_rows * (height * zoom + gap) - gap
    canvas = np.ones((bottom + 2 * FRAME, right + 2 * FRAME, 3))
    for r, k in np.ndindex(n_rows, columns):
        if np.isnan(images[r, k]).any():
            continue
        top, left = FRAME + r * (height * zoom + gap), FRAME + lefts[k]
        bottom, right = top + height * zoom, left + width * zoom
        canvas[top - FRAME : bottom + FRAME, left - FRAME : right + FRAME] = FRAME_GREY
        canvas[top:bottom, left:right] = images[r, k].repeat(zoom, axis=0).repeat(zoom, axis=1)
    return canvas


def _lefts(columns: int, width: int, gap: int, group: int) -> tuple[list[int], int]:
    """Left edge of each column, and the right edge of the last."""
    lefts = [k * (width + gap) + (k // group) * 4 * gap * (group > 1) for k in range(columns)]
    return lefts, lefts[-1] + width


def sheet(bands: Sequence[Band], *, title: str, corner: str = "", group: int = 1) -> Figure:
    """A page of bands of labelled images; `corner` names what the column labels are."""
    columns = max(band.images.shape[1] for band in bands)
    height, width = bands[0].images.shape[2:4]
    zoom = max(1, cell_width(width, columns) // width)
    row_labels = [label for band in bands for label in band.rows]
    left = MARGIN + 10 + max(map(text_width, [*row_labels, corner]))
    pictures = [mosaic(band.images, zoom, group=group) for band in bands]
    shrink = min(1.0, (MAX_WIDTH - left - MARGIN) / max(p.shape[1] for p in pictures))
    lines = max(label.count("\n") + 1 for band in bands for label in band.columns)
    labelled = any(label for band in bands for label in band.columns)
    above = LINE * lines * labelled + 4
    heights = [above + p.shape[0] * shrink for p in pictures]
    top = header_height(title)
    total = top + sum(heights) + BAND_GAP * (len(bands) - 1) + MARGIN
    figure = page(left + max(p.shape[1] for p in pictures) * shrink + MARGIN, total, title)
    for band, picture, high in zip(bands, pictures, heights, strict=True):
        axes = axes_at(figure, left, top + above, picture.shape[1] * shrink, high - above)
        axes.imshow(picture, aspect="auto", interpolation="nearest" if shrink == 1 else None)
        _label(axes, band, lines, (height * zoom, width * zoom), group)
        if corner:
            padded = _to_lines(corner, lines)
            text_at(figure, left - 6, top + above - 4, padded, ha="right", va="bottom", color=GREY)
        top += high + BAND_GAP
    return figure


def _label(axes: Axes, band: Band, lines: int, size: tuple[int, int], group: int) -> None:
    height, width = size
    n_rows, columns = band.images.shape[:2]
    lefts, _ = _lefts(columns, width, GAP, group)
    names = [_to_lines(label, lines) for label in band.columns]
    centre = FRAME - 0.5
    axes.xaxis.tick_top()
    axes.set_xticks([left + width / 2 + centre for left in lefts], names)
    tops = [r * (height + GAP) for r in range(n_rows)]
    axes.set_yticks([top + height / 2 + centre for top in tops], band.rows)
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)


def _to_lines(label: str, lines: int) -> str:
    """The label followed by empty lines."""
    return label + "\n" * (lines - 1 - label.count("\n"))
