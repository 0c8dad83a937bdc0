"""The connections of one output capsule, drawn from a live layer."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional._checks import expect_count, expect_ndim, expect_shape
from capsnp.plotting._page import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    MARGIN,
    PALE,
    VERMILION,
    axes_at,
    header_height,
    host,
    page,
    styled,
    text_at,
)

ROW, RADIUS = 84, 32  # pixels from one input to the next; of the longest arrow
INPUT, MATRIX, PREDICTION, LINK, SUM = 142, 232, 322, 452, 600  # left edges and centres, pixels
SIDE, CURVE, OUTPUT = 250, 200, 70  # pixels: sum panel, squash panel, radius of the unit circle
WIDTH, ENLARGED = 1350, 96
NOTE = (
    "Arrows have their true lengths (the longest of a column fills its circle). Directions are "
    "2-D projections: inputs on the first two principal axes of those shown;\n"
    "predictions, sum and output on the plane of z and of the first principal axis of what "
    "deviates from it; in grey the other inputs, head to tail. Line widths: coefficients."
)


@dataclass(frozen=True)
class Flow:
    """What goes into output capsule j: the strongest inputs one by one, the others summed."""

    j: int
    inputs: list[int]  # the k strongest, strongest first
    n_others: int
    lengths: np.ndarray  # (k,) of the inputs
    directions: np.ndarray  # (k, 2) unit
    predictions: np.ndarray  # (k, 2) in the plane, of their true lengths
    c: np.ndarray  # (k,)
    c_others: float
    terms: np.ndarray  # (k, 2) projected c z_{j|i}
    others: np.ndarray  # (I - k, 2) projected, the strongest first
    z: float  # length; z lies on the plane's first axis


@styled
def connection_diagram(
    x: Array,
    W: Array,
    c: Array,
    *,
    j: int | None = None,
    k: int = 6,
    title: str | None = None,
) -> Figure:
    r"""One output capsule with its strongest inputs, as Mike Ross drew capsule connections.

    .. math:: z_{j|i} = W_{ij} x_i, \qquad z_j = \sum_i c_{ij} z_{j|i}, \qquad
        x_j = \mathrm{squash}(z_j)

    Parameters
    ----------
    x : array, shape (I, P)
        Input capsules of one image.
    W : array, shape (I, J, D, P)
        Prediction matrices.
    c : array, shape (I, J)
        Routing coefficients of the image, scaled as they are used.
    j : int, optional
        Output capsule; by default the one with the longest z.
    k : int
        Inputs to draw, from 1: those with the largest :math:`c_{ij} \|z_{j|i}\|`. The others are
        summed.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        From left to right: inputs, predictions, coefficients as line widths, the weighted sum
        head to tail, squash, the output inside the unit circle.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    OptionError
        If there is no such output capsule, or `k` is below 1.

    References
    ----------
    Ross (2017), A visual representation of capsule network computations.
    """
    expect_count("k", k)
    flow = _flow(host("x", x), host("W", W), host("c", c), j, k)
    title = title or f"How output capsule {flow.j} comes about"
    top = header_height(title) + 34
    high = max(ROW * (len(flow.inputs) + (flow.n_others > 0)), SIDE + 60)
    figure = page(WIDTH, top + high + 50, title)
    canvas = axes_at(figure, 0, 0, figure.bbox.width, figure.bbox.height)
    canvas.set(xlim=(0, figure.bbox.width), ylim=(figure.bbox.height, 0))
    canvas.set_axis_off()
    middle = top + high / 2
    _headings(canvas, top - 18, flow.j)
    _rows(canvas, flow, top)
    _links(canvas, flow, top, middle)
    _sum_panel(figure, flow, middle - SIDE / 2)
    _squash_panel(figure, flow.z, middle - CURVE / 2)
    _output(canvas, flow.z, middle)
    for left, right in ((SUM + SIDE + 6, SUM + SIDE + 28), (SUM + SIDE + CURVE + 96, WIDTH - 174)):
        _arrow(canvas, np.array([left, middle]), np.array([right, middle]), GREY, 1.2)
    text_at(figure, MARGIN, top + high + 12, NOTE, color=GREY)
    return figure


def _flow(x: np.ndarray, W: np.ndarray, c: np.ndarray, j: int | None, k: int) -> Flow:
    expect_ndim("x", x, 2, "(I, P)")
    match = f"to match x {x.shape}"
    expect_shape("W", W, (x.shape[0], None, None, x.shape[1]), axes="(I, J, D, P)", because=match)
    expect_shape("c", c, (x.shape[0], W.shape[1]), axes="(I, J)", because=f"to match W {W.shape}")
    if j is not None and not 0 <= j < W.shape[1]:
        raise OptionError(f"j: expected from 0 to {W.shape[1] - 1}, got {j}")
    predictions = (W @ x[:, None, :, None])[..., 0]  # (I, J, D)
    z = (c[..., None] * predictions).sum(axis=0)  # (J, D)
    j = int(np.linalg.norm(z, axis=1).argmax()) if j is None else j
    terms = c[:, j, None] * predictions[:, j]  # (I, D)
    order = np.argsort(-np.linalg.norm(terms, axis=1), kind="stable")
    inputs, others = order[:k], order[k:]
    plane = _plane(z[j], terms)
    axes = np.linalg.svd(x[inputs], full_matrices=False)[2][:2]  # (2, P), or fewer
    return Flow(
        j=j,
        inputs=inputs.tolist(),
        n_others=len(others),
        lengths=np.linalg.norm(x[inputs], axis=1),
        directions=_unit(_two(x[inputs] @ _signed(axes).T)),
        predictions=_unit(predictions[inputs, j] @ plane.T)
        * np.linalg.norm(predictions[inputs, j], axis=1, keepdims=True),
        c=c[inputs, j],
        c_others=float(c[others, j].sum()),
        terms=terms[inputs] @ plane.T,
        others=terms[others] @ plane.T,
        z=float(np.linalg.norm(z[j])),
    )


def _plane(z: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """The direction of z, and the first principal axis of what deviates from it, as (2, D)."""
    along = _unit(z[None])[0]
    across = terms - np.outer(terms @ along, along)
    second = _signed(np.linalg.svd(across, full_matrices=False)[2][:1])[0]
    return np.stack([along, _unit((second - (second @ along) * along)[None])[0]])


def _signed(axes: np.ndarray) -> np.ndarray:
    """Each axis turned so that its largest component is positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return axes * np.where(largest < 0, -1.0, 1.0)


def _two(points: np.ndarray) -> np.ndarray:
    """(n, 1) or (n, 2) as (n, 2)."""
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _headings(canvas: Axes, y: float, j: int) -> None:
    for x, text in (
        (INPUT, "input $x_i$"),
        (MATRIX, "matrix"),
        (PREDICTION, f"prediction $z_{{{j}|i}}$"),
        ((LINK + SUM) / 2, f"coefficient $c_{{i,{j}}}$"),
        (SUM + SIDE / 2, f"weighted sum $z_{{{j}}} = \\Sigma_i \\, c_{{i,{j}}} \\, z_{{{j}|i}}$"),
        (SUM + SIDE + 90 + CURVE / 2, "squash"),
        (WIDTH - MARGIN - OUTPUT - 6, f"output $x_{{{j}}}$"),
    ):
        canvas.text(x, y, text, ha="center", va="center", fontsize=10)


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str, width: float = 2) -> None:
    """An arrow in data coordinates whose tip is at `end`; short ones get small heads."""
    pixels = np.diff(axes.transData.transform([start, end]), axis=0)
    head = min(3 + 2 * width, 0.6 * float(np.linalg.norm(pixels)))
    arrow = FancyArrowPatch(
        tuple(start), tuple(end), arrowstyle="-|>,head_length=.7,head_width=.35", shrinkA=0,
        shrinkB=0, mutation_scale=max(head, 0.1), color=colour, linewidth=min(width, 0.4 * head),
        joinstyle="miter",
    )  # fmt: skip
    axes.add_patch(arrow)


def _digits(value: float) -> str:
    """Two significant digits, more only of numbers from 100."""
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:#.2g}".removesuffix(".")


def _rows(canvas: Axes, flow: Flow, top: float) -> None:
    scale_x = RADIUS / max(flow.lengths.max(), 1e-300)
    lengths = np.linalg.norm(flow.predictions, axis=1)
    scale_z = RADIUS / max(lengths.max(), 1e-300)
    flip = np.array([1.0, -1.0])  # the page's y points down
    for n, i in enumerate(flow.inputs):
        y = top + ROW * (n + 0.5)
        colour = COLOURS[n % len(COLOURS)]
        canvas.text(MARGIN, y, f"input {i}\n‖x‖ = {_digits(flow.lengths[n])}", va="center")
        for centre, arrow in (
            (INPUT, flow.lengths[n] * scale_x * flow.directions[n] * flip),
            (PREDICTION, scale_z * flow.predictions[n] * flip),
        ):
            canvas.add_patch(Circle((centre, y), RADIUS, fill=False, edgecolor=PALE))
            _arrow(canvas, np.array([centre, y]), np.array([centre, y]) + arrow, colour)
        box = FancyBboxPatch((MATRIX - 30, y - 14), 60, 28, boxstyle="round,pad=0,rounding_size=5",
                             facecolor="white", edgecolor=GREY)  # fmt: skip
        canvas.add_patch(box)
        canvas.text(MATRIX, y, f"$W_{{{i},{flow.j}}}$", ha="center", va="center", fontsize=10)
        for left, right in ((INPUT + 38, MATRIX - 32), (MATRIX + 32, PREDICTION - 38)):
            canvas.plot([left, right], [y, y], color=GREY, linewidth=1)
        canvas.text(PREDICTION + 40, y + 13, f"‖z‖ = {_digits(lengths[n])}", va="center")
        canvas.text(PREDICTION + 40, y - 11, f"c = {_digits(flow.c[n])}", va="center", color=INK)
    if flow.n_others:
        y = top + ROW * (len(flow.inputs) + 0.5)
        text = (
            f"the other {flow.n_others} inputs together, coefficients' sum {_digits(flow.c_others)}"
        )
        canvas.text(LINK - 12, y, text, ha="right", va="center", color=GREY)


def _links(canvas: Axes, flow: Flow, top: float, middle: float) -> None:
    """Bands from the predictions to the sum, as wide as their coefficients."""
    n_links = len(flow.inputs) + (flow.n_others > 0)
    widest = max(np.abs(flow.c).max(), 1e-300)
    for n in range(n_links):
        y = top + ROW * (n + 0.5)
        end = middle + (n - (n_links - 1) / 2) * min(30, (SIDE - 20) / n_links)
        bend = (LINK + SUM) / 2
        path = Path(
            [(LINK, y), (bend, y), (bend, end), (SUM - 6, end)],
            [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
        )
        other = n == len(flow.inputs)
        canvas.add_patch(
            PathPatch(
                path,
                fill=False,
                edgecolor=GREY if other else COLOURS[n % len(COLOURS)],
                linewidth=1 if other else max(0.6, 10 * abs(flow.c[n]) / widest),
                linestyle=":" if other else "-",
                alpha=0.8,
                capstyle="butt",
            )
        )


def _sum_panel(figure: Figure, flow: Flow, top: float) -> None:
    """The weighted predictions head to tail, and z from the first tail to the last head."""
    axes = axes_at(figure, SUM, top, SIDE, SIDE)
    corners = _corners(flow.terms)
    way = corners[-1] + _corners(flow.others)
    span = _frame(axes, np.concatenate([corners, way, [[flow.z, 0.0]]]))
    axes.plot(*way.T, color=GREY, linewidth=1, solid_joinstyle="round")
    _arrow(axes, corners[0], np.array([flow.z, 0.0]), INK, 3)
    _draw_terms(axes, corners)
    axes.set_xlabel(f"‖z‖ = {flow.z:.3g} (black)")
    if np.ptp(corners, axis=0).max() < span / 4:
        left, low = SUM + SIDE - ENLARGED - 4, top + SIDE - ENLARGED - 4
        inset = axes_at(figure, left, low, ENLARGED, ENLARGED)
        _frame(inset, corners)
        _draw_terms(inset, corners)
        inset.set_title("enlarged", fontsize=8, color=GREY, pad=3, loc="right")


def _corners(terms: np.ndarray) -> np.ndarray:
    """Where terms (n, 2) laid head to tail from the origin begin and end, (n + 1, 2)."""
    return np.concatenate([np.zeros((1, 2)), np.cumsum(terms, axis=0)])


def _frame(axes: Axes, points: np.ndarray) -> float:
    """A square around points, of which the side is returned."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre, side = (low + high) / 2, 1.16 * max((high - low).max(), 1e-12)
    axes.set(
        xlim=(centre[0] - side / 2, centre[0] + side / 2),
        ylim=(centre[1] - side / 2, centre[1] + side / 2),
        xticks=[],
        yticks=[],
    )
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(PALE)
    return side


def _draw_terms(axes: Axes, corners: np.ndarray) -> None:
    for n in range(len(corners) - 1):
        _arrow(axes, corners[n], corners[n + 1], COLOURS[n % len(COLOURS)], 1.8)


def _squash_panel(figure: Figure, z: float, top: float) -> None:
    axes = axes_at(figure, SUM + SIDE + 90, top, CURVE, CURVE)
    r = np.linspace(0, max(2.0, 1.3 * z), 200)
    length = z * z / (1 + z * z)
    axes.plot(r, r * r / (1 + r * r), color=BLUE)
    axes.plot([z, z, 0], [0, length, length], color=GREY, linestyle=":")
    axes.plot([z], [length], marker="o", color=VERMILION)
    axes.set(xlim=(0, r[-1]), ylim=(0, 1), xlabel="‖z‖", ylabel="‖z‖² / (1 + ‖z‖²)")
    axes.locator_params(nbins=4)


def _output(canvas: Axes, z: float, middle: float) -> None:
    length = z * z / (1 + z * z)
    centre = WIDTH - MARGIN - OUTPUT - 6
    canvas.add_patch(Circle((centre, middle), OUTPUT, fill=False, edgecolor=GREY))
    tip = np.array([centre + OUTPUT * length, middle])
    _arrow(canvas, np.array([centre, middle]), tip, VERMILION, 3)
    text = f"length {length:.3f}\n= chance of being on"
    canvas.text(centre, middle + OUTPUT + 10, text, ha="center", va="top")
