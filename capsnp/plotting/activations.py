"""Which hidden units are on for which rows."""

import numpy as np
from matplotlib.figure import Figure

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_ndim
from capsnp.plotting._page import (
    BLUE,
    MARGIN,
    MAX_WIDTH,
    axes_at,
    colour_bar,
    header_height,
    host,
    page,
    styled,
    text_width,
)
from capsnp.plotting.usage import CMAP

CELL = 6  # pixels that a number is enlarged to at most
BARS = 90
SHORTEST = 80


@styled
def activations(
    h: Array,
    *,
    labels: Array | None = None,
    classes: tuple[str, ...] = (),
    title: str = "Hidden units given rows",
) -> Figure:
    """Hidden states of rows as a matrix, units from the busiest to the idlest, means above.

    Parameters
    ----------
    h : array, shape (N, J)
        Means or states of J hidden units, such as P(on).
    labels : array of int, shape (N,), optional
        Rows are sorted by them.
    classes : tuple of str
        Their names.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A unit whose bar is empty is dead, one whose bar is full is saturated.

    Raises
    ------
    ShapeError
        If an array has another number of axes, or there is not a label for each row.
    DomainError
        If a number is not finite.
    """
    values = host("h", h)
    expect_ndim("h", values, 2, "(N, J)")
    if 0 in values.shape:
        raise ShapeError(f"h: expected shape (N, J) with no empty axis, got {values.shape}")
    ticks, names = [], []
    if labels is not None:
        found = host("labels", labels).astype(np.int64)
        if found.shape != values.shape[:1]:
            raise ShapeError(f"labels: expected shape ({len(values)},) as h, got {found.shape}")
        values, found = values[np.argsort(found, kind="stable")], np.sort(found)
        kinds, starts, counts = np.unique(found, return_index=True, return_counts=True)
        ticks = list(starts + counts / 2 - 0.5)
        names = [classes[kind] if kind < len(classes) else str(kind) for kind in kinds]
    means = values.mean(axis=0)
    values = values[:, np.argsort(-means, kind="stable")]
    n, J = values.shape
    left = MARGIN + 46 + max((text_width(name) for name in names), default=30)
    room = MAX_WIDTH - left - 130
    wide = max(240, min(CELL * J, room))
    high = max(SHORTEST, min(CELL * n, 420), 18 * len(names))
    top = header_height(title) + 10
    figure = page(left + wide + 130, top + BARS + 12 + high + 48, title)
    bars = axes_at(figure, left, top, wide, BARS)
    bars.stairs(np.sort(means)[::-1], np.arange(J + 1) - 0.5, fill=True, color=BLUE)
    low, most = float(min(0.0, values.min())), float(max(1.0, values.max()))
    bars.set(xlim=(-0.5, J - 0.5), ylim=(low, most), ylabel="mean", xticks=[])
    matrix = axes_at(figure, left, top + BARS + 12, wide, high)
    matrix.imshow(values, cmap=CMAP, vmin=low, vmax=most, aspect="auto", interpolation="nearest")
    matrix.set_xlabel(f"{J} hidden units, the busiest first")
    if names:
        matrix.set_yticks(ticks, names)
        matrix.tick_params(axis="y", length=0)
    else:
        matrix.set_ylabel("row")
    matrix.spines[:].set_visible(False)
    bar = axes_at(figure, left + wide + 20, top + BARS + 12, 14, high)
    colour_bar(bar, cmap=CMAP, low=low, high=most, label="hidden state")
    return figure
