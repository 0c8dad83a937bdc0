"""The routing of one image in numbers: inputs, weights, coefficients, sums, squash."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from capsnp.errors import OptionError
from capsnp.functional.squash import length
from capsnp.plotting._page import (
    COLOURS,
    GREY,
    INK,
    MARGIN,
    axes_at,
    fit_label,
    header_height,
    page,
    styled,
    text_at,
    text_width,
)

PICTURE, CELL, NARROW, HIGH, ROW = 150, 33, 14, 20, 30  # pixels
MATRIX, COEFFICIENT, GAP, BLOCK_GAP = 84, 60, 26, 26
MOST = 16
"""Numbers that are written out in a strip."""

CMAP = "PuOr"  # orange to blue-violet, white at zero


class Flow(NamedTuple):
    """What flows from k of I primary capsules to m of J class capsules in R weightings.

    Attributes
    ----------
    image : numpy.ndarray, shape (H, W, C)
    seen : tuple of (top, left, height, width) or None
        The pixels that each of the k sees.
    inputs : tuple of int
        Numbers of the k.
    classes : tuple of str
        Names of the m.
    x : numpy.ndarray, shape (k, P)
    W : numpy.ndarray, shape (k, m, D, P)
    votes : numpy.ndarray, shape (k, m, D)
    c : numpy.ndarray, shape (R, k, m)
    c_others : numpy.ndarray, shape (R, m)
        Sum of the coefficients of all other inputs.
    others : numpy.ndarray, shape (m, D)
        Sum of what all other inputs add, at the last weighting.
    n_others : int
    z, v : numpy.ndarray, shape (R, m, D)
    """

    image: np.ndarray
    seen: tuple[tuple[int, int, int, int] | None, ...]
    inputs: tuple[int, ...]
    classes: tuple[str, ...]
    x: np.ndarray
    W: np.ndarray
    votes: np.ndarray
    c: np.ndarray
    c_others: np.ndarray
    others: np.ndarray
    n_others: int
    z: np.ndarray
    v: np.ndarray


class _Places(NamedTuple):
    """Left edges of the columns, and the page's width, in pixels."""

    x: int
    W: int
    u: int
    c: int
    right: int


@styled
def flow_diagram(flow: Flow, *, title: str = "Routing in numbers") -> Figure:
    r"""Every number of the routing of one image, for some capsules.

    .. math:: z_{j|i} = W_{ij} x_i, \qquad z_j = \sum_i c_{ij} z_{j|i}, \qquad
        v_j = \mathrm{squash}(z_j)

    Parameters
    ----------
    flow : Flow
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        The image, with the pixels that each input sees; a block for each class capsule, with a
        row for each input: x, W, the prediction, its coefficient at each weighting; then what all
        other inputs add, the sum, its squash and their lengths at each weighting.

    Raises
    ------
    OptionError
        If there are more inputs than colours.

    References
    ----------
    Ross (2017), A visual representation of capsule network computations.
    """
    k, m = flow.W.shape[:2]
    if k > len(COLOURS):
        raise OptionError(f"flow: expected at most {len(COLOURS)} inputs, got {k}")
    places = _places(flow)
    block = 24 + (k + 3) * ROW + BLOCK_GAP
    top = header_height(title) + 24
    high = max(m * block - BLOCK_GAP, PICTURE + 60)
    figure = page(places.right, top + high + MARGIN, title)
    _image(figure, flow, top)
    headings = {
        places.x: "$x_i$",
        places.W: "$W_{ij}$",
        places.u: "$z_{j|i} = W_{ij} x_i$",
        places.c: "$c_{ij}$ at each weighting",
    }
    for left, heading in headings.items():
        text_at(figure, left, top - 22, heading, fontsize=11)
    for j in range(m):
        start = top + j * block
        name = fit_label(flow.classes[j], 240).replace("\n", " ")
        text_at(figure, places.x, start, f"class capsule {name}", fontweight="bold")
        for i in range(k):
            _input(figure, flow, i, j, places, start + 24 + i * ROW)
        _sums(figure, flow, j, places, start + 24 + k * ROW)
    return figure


def _places(flow: Flow) -> _Places:
    _, _, D, P = flow.W.shape
    names = text_width("input 00000", weight="bold")
    x = MARGIN + PICTURE + GAP + names + 10
    W = x + _strip_width(P) + GAP
    u = W + max(MATRIX, text_width(_others(flow))) + GAP
    c = u + _strip_width(D) + GAP
    return _Places(x, W, u, c, c + len(flow.c) * COEFFICIENT + 40 + MARGIN)


def _input(figure: Figure, flow: Flow, i: int, j: int, places: _Places, at: float) -> None:
    """One input's row in the block of a class capsule."""
    _, _, D, P = flow.W.shape
    text_at(
        figure, places.x - 8, at + HIGH / 2, f"input {flow.inputs[i]}",
        ha="right", va="center", color=COLOURS[i], fontweight="bold",
    )  # fmt: skip
    _strip(axes_at(figure, places.x, at, _strip_width(P), HIGH), flow.x[i], _largest(flow.x))
    matrix = axes_at(figure, places.W, at - 3, MATRIX, ROW - 4)
    scale = _largest(flow.W)
    matrix.imshow(flow.W[i, j], cmap=CMAP, vmin=-scale, vmax=scale, aspect="auto")
    _bare(matrix)
    votes = axes_at(figure, places.u, at, _strip_width(D), HIGH)
    _strip(votes, flow.votes[i, j], _largest(flow.votes))
    low, high = float(flow.c.min()), float(flow.c.max())
    for r, c in enumerate(flow.c[:, i, j]):
        cell = axes_at(figure, places.c + r * COEFFICIENT, at, COEFFICIENT - 4, HIGH)
        _coefficient(cell, float(c), low, high)


def _sums(figure: Figure, flow: Flow, j: int, places: _Places, at: float) -> None:
    """What the other inputs add, the sum, and its squash, with lengths at each weighting."""
    z, v = flow.z[:, j], flow.v[:, j]
    rows = (
        (_others(flow), flow.others[j], [f"{c:.2f}" for c in flow.c_others[:, j]]),
        ("sum z", z[-1], [f"‖{n:.2f}‖" for n in length(z)]),
        ("squash v", v[-1], [f"‖{n:.2f}‖" for n in length(v)]),
    )
    scale = _largest(flow.z[-1], flow.others, flow.v[-1])
    for n, (label, values, told) in enumerate(rows):
        middle = at + n * ROW + HIGH / 2
        weight = "bold" if n == 2 else "normal"
        text_at(figure, places.u - 8, middle, label, ha="right", va="center", fontweight=weight)
        strip = axes_at(figure, places.u, at + n * ROW, _strip_width(len(values)), HIGH)
        _strip(strip, values, scale)
        for r, text in enumerate(told):
            centre = places.c + r * COEFFICIENT + (COEFFICIENT - 4) / 2
            text_at(figure, centre, middle, text, ha="center", va="center", fontweight=weight)


def _others(flow: Flow) -> str:
    return f"{flow.n_others} other inputs"


def _image(figure: Figure, flow: Flow, top: float) -> None:
    """The image, with a frame around what each input sees."""
    height, width = flow.image.shape[:2]
    high = PICTURE * height / width
    axes = axes_at(figure, MARGIN, top, PICTURE, high)
    shown = flow.image if flow.image.shape[2] == 3 else flow.image.mean(axis=2)
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axes)
    for n, (seen, colour) in enumerate(zip(flow.seen, COLOURS, strict=False)):
        if seen is not None:
            y, x, rows, columns = seen
            inset = 0.7 * n - 0.5
            frame = Rectangle(
                (x + inset, y + inset),
                columns - 1.4 * n,
                rows - 1.4 * n,
                fill=False,
                edgecolor=colour,
                linewidth=1.8,
            )
            axes.add_patch(frame)
    text_at(figure, MARGIN, top + high + 6, "framed: what each\ninput sees", color=GREY)


def _bare(axes: Axes) -> None:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _strip(axes: Axes, values: np.ndarray, scale: float) -> None:
    """A vector as a row of cells, with its numbers where there is room."""
    axes.imshow(values[None], cmap=CMAP, vmin=-scale, vmax=scale, aspect="auto")
    _bare(axes)
    if values.size > MOST:
        return
    for n, value in enumerate(values):
        dark = abs(value) > 0.6 * scale
        axes.text(
            n, 0, _short(float(value)), ha="center", va="center", size=8,
            color="white" if dark else INK,
        )  # fmt: skip


def _coefficient(axes: Axes, value: float, low: float, high: float) -> None:
    share = (value - low) / (high - low) if high > low else 0.5
    axes.imshow([[colormaps["Blues"](0.75 * share)]], aspect="auto")
    _bare(axes)
    axes.text(
        0, 0, f"{value:.4f}".lstrip("0"), ha="center", va="center", size=9,
        color="white" if share > 0.8 else INK,
    )  # fmt: skip


def _short(value: float) -> str:
    """Two digits after the point without the zero before it, or one.

    Examples
    --------
    >>> _short(-0.251), _short(-0.001), _short(12.34)
    ('−.25', '.00', '12.3')
    """
    size = abs(value)
    text = f"{size:.2f}".removeprefix("0") if size < 0.995 else f"{size:.1f}"
    return text if value > -0.005 else f"−{text}"


def _strip_width(n: int) -> int:
    return n * (CELL if n <= MOST else NARROW)


def _largest(*arrays: np.ndarray) -> float:
    return max(float(np.max(np.abs(array))) for array in arrays) or 1.0
