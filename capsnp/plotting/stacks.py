"""Routing through the layers of a stack, from the inputs to the top, for one image."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_ndim, expect_shape
from capsnp.plotting._page import (
    BLUE,
    GREY,
    INK,
    MARGIN,
    VERMILION,
    axes_at,
    colour_bar,
    header_height,
    host,
    page,
    styled,
    text_at,
)

CELL, NODE, STEP = 26, 9, 24  # pixels: side of a grid's cell, radius, least distance of capsules
APART = 330  # pixels from one column to the next
HIGH = 640  # pixels of the tallest column, at least
WIDEST = 5.0  # points
CMAP = "cividis"
NOTE = (
    "Line widths: what an input adds to an output along it, "
    r"$c_{ij}\, z_{j|i} \cdot z_j/\|z_j\|$, of the %d strongest connections of each layer "
    "(blue adds, orange takes away).\n"
    "Colours of capsules: lengths of their codes."
)


@styled
def stack_diagram(
    layers: Sequence[tuple[Array, Array, Array, Array]],
    *,
    grid: tuple[int, int] | None = None,
    image: Array | None = None,
    k: int = 120,
    title: str = "Routing through the layers",
) -> Figure:
    r"""What flows through the layers of a stack: inputs, capsules, capsules on these.

    .. math:: z_j = \sum_i c_{ij} z_{j|i}, \qquad
              \|z_j\| = \sum_i c_{ij}\, z_{j|i} \cdot \frac{z_j}{\|z_j\|}

    A line from i to j is as wide as i's term of the second sum.

    Parameters
    ----------
    layers : sequence of (array, array, array, array)
        From below, of one image: inputs x (I, P), maps W (I, J, D, P), coefficients c (I, J) scaled
        as they are used, and codes y (J, D), as `CapsuleStack.connections` returns them. A layer's
        J is the next one's I.
    grid : tuple of int, optional
        Rows and columns that the lowest inputs lie on, in the order (row, column, group): the terms
        of a cell's inputs are summed. By default the inputs are a column.
    image : array, shape (H, W, C), optional
        Shown beside, C = 1 or 3, in [0, 1] (what lies outside is cut).
    k : int
        Connections to draw in each layer, the strongest.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the shapes do not fit each other or the grid.
    OptionError
        If there is no layer, or `k` is below 1.
    """
    expect_count("k", k)
    flows, lengths = _flows(layers)
    below = np.linalg.norm(host("x", layers[0][0]), axis=1)
    if grid is not None:
        flows[0], below = _by_cells(flows[0], below, grid)
    sizes = [len(below), *(len(length) for length in lengths)]
    tall = max(sizes[1:] if grid else sizes)
    high = max(HIGH, STEP * tall)
    top = header_height(title) + 26
    left = MARGIN + (190 if image is not None else 0)
    figure = page(left + APART * len(flows) + 300, top + high + 60, title)
    canvas = axes_at(figure, 0, 0, figure.bbox.width, figure.bbox.height)
    canvas.set(xlim=(0, figure.bbox.width), ylim=(figure.bbox.height, 0))
    canvas.set_axis_off()
    middle = top + high / 2
    if image is not None:
        _image(figure, image, middle)
    places = [_first(left, middle, high, len(below), grid)]
    for n, length in enumerate(lengths):
        places.append(_column(left + 200 + APART * (n + 1) - 60, middle, high, len(length)))
    for n, flow in enumerate(flows):
        _lines(canvas, flow, places[n], places[n + 1], k)
    _inputs(canvas, places[0], below, grid)
    for n, length in enumerate(lengths):
        _capsules(canvas, places[n + 1], length)
        text_at(figure, places[n + 1][0, 0], top - 8, f"layer {n + 1}", ha="center", va="bottom")
    edge = places[0].min(axis=0) - (CELL / 2 + 1)
    name = "inputs, by cells" if grid else "inputs"
    text_at(figure, edge[0], edge[1] - 4, name, va="bottom")
    bar = axes_at(figure, places[-1][0, 0] + 60, top + high / 4, 14, high / 2)
    colour_bar(bar, cmap=CMAP, low=0, high=1, label="length of the code")
    text_at(figure, MARGIN, top + high + 14, NOTE % k, color=GREY)
    return figure


def _flows(
    layers: Sequence[tuple[Array, Array, Array, Array]],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Terms (I, J) along each output of every layer, and the lengths (J,) of its codes."""
    if not len(layers):
        raise OptionError("layers: expected at least one, got none")
    flows: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for n, (x, W, c, y) in enumerate(layers):
        x, W, c, y = host("x", x), host("W", W), host("c", c), host("y", y)
        expect_ndim("x", x, 2, "(I, P)")
        match = f"to match x {x.shape} of layer {n + 1}"
        wanted = (x.shape[0], None, None, x.shape[1])
        expect_shape("W", W, wanted, axes="(I, J, D, P)", because=match)
        match = f"to match W {W.shape} of layer {n + 1}"
        expect_shape("c", c, W.shape[:2], axes="(I, J)", because=match)
        expect_shape("y", y, (W.shape[1], None), axes="(J, D)", because=match)
        if lengths and len(x) != len(lengths[-1]):
            raise ShapeError(
                f"x: expected {len(lengths[-1])} inputs in layer {n + 1}, as there are capsules "
                f"below, got {len(x)}"
            )
        terms = c[..., None] * (W @ x[:, None, :, None])[..., 0]  # (I, J, D)
        z = terms.sum(axis=0)
        norm = np.linalg.norm(z, axis=1, keepdims=True)
        along = np.divide(z, norm, out=np.zeros_like(z), where=norm > 0)
        flows.append(np.einsum("ijd,jd->ij", terms, along))
        lengths.append(np.linalg.norm(y, axis=1))
    return flows, lengths


def _by_cells(
    flow: np.ndarray, below: np.ndarray, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Terms and lengths summed over the inputs of each cell."""
    cells = grid[0] * grid[1]
    if cells < 1 or len(below) % cells:
        raise ShapeError(
            f"x: expected shape (I, P) with I a multiple of {cells} to fill the grid {grid}, "
            f"got {len(below)} inputs"
        )
    return flow.reshape(cells, -1, flow.shape[1]).sum(axis=1), below.reshape(cells, -1).mean(axis=1)


def _first(
    left: float, middle: float, high: float, n: int, grid: tuple[int, int] | None
) -> np.ndarray:
    """Centres of the inputs, (n, 2)."""
    if grid is None:
        return _column(left + 100, middle, high, n)
    row, column = np.divmod(np.arange(n), grid[1])
    x = left + CELL * (column + 0.5)
    return np.stack([x, middle + CELL * (row + 0.5 - grid[0] / 2)], axis=1)


def _column(x: float, middle: float, high: float, n: int) -> np.ndarray:
    """Centres (n, 2) of capsules above each other."""
    step = high / n
    y = middle + step * (np.arange(n) + 0.5 - n / 2)
    return np.stack([np.full(n, float(x)), y], axis=1)


def _lines(canvas: Axes, flow: np.ndarray, start: np.ndarray, end: np.ndarray, k: int) -> None:
    """The k strongest connections, the weakest first."""
    order = np.argsort(np.abs(flow), axis=None, kind="stable")[-k:]
    i, j = np.unravel_index(order, flow.shape)
    strength = np.abs(flow[i, j]) / max(float(np.abs(flow).max()), 1e-300)
    canvas.add_collection(
        LineCollection(
            list(np.stack([start[i], end[j]], axis=1)),
            linewidths=WIDEST * strength,
            colors=[BLUE if f > 0 else VERMILION for f in flow[i, j]],
            alpha=0.55,
            capstyle="round",
        )
    )


def _inputs(
    canvas: Axes, places: np.ndarray, below: np.ndarray, grid: tuple[int, int] | None
) -> None:
    """Cells of the grid, the darker the shorter their inputs; or points."""
    shade = colormaps["Greys_r"](0.15 + 0.75 * below / max(float(below.max()), 1e-300))
    for (x, y), colour in zip(places, shade, strict=True):
        if grid is None:
            canvas.add_patch(Circle((x, y), 3, facecolor=GREY, edgecolor="none", zorder=3))
            continue
        corner = (x - CELL / 2, y - CELL / 2)
        canvas.add_patch(
            Rectangle(corner, CELL, CELL, facecolor=colour, edgecolor="white", zorder=1)
        )


def _capsules(canvas: Axes, places: np.ndarray, lengths: np.ndarray) -> None:
    """Circles coloured by lengths, with their numbers."""
    colours = colormaps[CMAP](np.clip(lengths, 0, 1))
    for n, ((x, y), colour) in enumerate(zip(places, colours, strict=True)):
        canvas.add_patch(Circle((x, y), NODE, facecolor=colour, edgecolor=INK, lw=0.6, zorder=3))
        canvas.text(x + NODE + 5, y, str(n), va="center", fontsize=8, color=INK, zorder=4)


def _image(figure: Figure, image: Array, middle: float) -> None:
    values = host("image", image)
    expect_ndim("image", values, 3, "(H, W, C)")
    if values.shape[-1] not in (1, 3):
        raise ShapeError(f"image: expected shape (H, W, C) with C = 1 or 3, got {values.shape}")
    shown = axes_at(figure, MARGIN, middle - 80, 160, 160)
    picture = np.broadcast_to(np.clip(values, 0, 1), (*values.shape[:2], 3))
    shown.imshow(picture, interpolation="nearest")
    shown.set_axis_off()
    text_at(figure, MARGIN, middle - 86, "image", va="bottom")
