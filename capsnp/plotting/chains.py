"""Pictures of Markov chains: their states side by side, and their free energies over time."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_ndim
from capsnp.plotting._page import (
    COLOURS,
    GREY,
    axes_at,
    header_height,
    host,
    page,
    styled,
    text_at,
    text_width,
)
from capsnp.plotting._sheet import Band, sheet
from capsnp.plotting.images import _expect_labels, _host_images

PANEL = 620, 300  # pixels, the axes alone
LEFT, BELOW = 74, 56
NOTE = "median,\nmiddle 80 %"


@styled
def chains(
    images: Array,
    steps: Sequence[int],
    *,
    labels: Sequence[str] | None = None,
    title: str = "Chains: each row is one, from left to right",
) -> Figure:
    """States of chains as images, a row for each chain, a column for each time.

    Parameters
    ----------
    images : array, shape (N, T, H, W, C)
        C = 1 or 3, in [0, 1] (what lies outside is cut).
    steps : sequence of T int
        Gibbs steps done, written above the columns.
    labels : sequence of N str, optional
        Beside the rows; by default the chains' numbers.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the images have another number of axes or of channels, or steps or labels another
        length.
    """
    drawn = _host_images("images", images, "(N, T, H, W, C)")
    _expect_labels("steps", steps, drawn.shape[1])
    _expect_labels("labels", labels, len(drawn))
    rows = [str(n) for n in range(len(drawn))] if labels is None else list(labels)
    above = [f"{step:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") for step in steps]
    return sheet([Band(drawn, above, rows)], title=title, corner="Gibbs steps")


@styled
def energies(
    chains: Mapping[str, Array],
    steps: Sequence[int],
    *,
    data: Mapping[str, Array] | None = None,
    title: str = "Free energies of chains over time",
) -> Figure:
    """Free energies of groups of chains beside those of data: where they meet, chains have mixed.

    Parameters
    ----------
    chains : mapping of str to array, shape (T, N)
        Free energies of N chains at each time, by the group's name.
    steps : sequence of T int
        Gibbs steps done; logarithmic from 1 on.
    data : mapping of str to array, shape (M,), optional
        Free energies of rows, drawn at the right.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Of each group the median and the band that holds its middle 80 %.

    Raises
    ------
    OptionError
        If there is no group.
    ShapeError
        If an array has another shape.
    DomainError
        If a number is not finite.
    """
    if not chains:
        raise OptionError("chains: expected at least one group, got none")
    groups = {name: _paths(name, values, len(steps)) for name, values in chains.items()}
    rows = {name: _row(name, values) for name, values in (data or {}).items()}
    width, height = PANEL
    beside = 90 * len(rows)
    legend = 40 + max(text_width(name) for name in (*groups, *rows, NOTE))
    top = header_height(title) + 10
    figure = page(LEFT + width + 20 + beside + legend, top + height + BELOW, title)
    axes = axes_at(figure, LEFT, top, width, height)
    colours = dict(zip((*groups, *rows), COLOURS, strict=False))
    for name, values in groups.items():
        _band(axes, steps, values, colours[name])
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="Gibbs steps", ylabel="free energy", xlim=(min(steps), max(*steps, 1)))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:g}")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y")
    if rows:
        boxes = axes_at(figure, LEFT + width + 20, top, beside, height)
        _boxes(boxes, rows, [colours[name] for name in rows])
        boxes.sharey(axes)
        boxes.tick_params(labelleft=False)
    _legend(figure, colours, LEFT + width + 20 + beside + 14, top)
    return figure


def _paths(name: str, values: Array, n_steps: int) -> np.ndarray:
    expect_ndim(f"chains[{name!r}]", values, 2, "(T, N)")
    if values.shape[0] != n_steps or 0 in values.shape:
        raise ShapeError(
            f"chains[{name!r}]: expected shape (T, N) with T = {n_steps} to match steps, "
            f"got {tuple(values.shape)}"
        )
    return host(f"chains[{name!r}]", values)


def _row(name: str, values: Array) -> np.ndarray:
    expect_ndim(f"data[{name!r}]", values, 1, "(M,)")
    return host(f"data[{name!r}]", values)


def _band(axes: Axes, steps: Sequence[int], values: np.ndarray, colour: str) -> None:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=1)
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=colour, marker="o" if len(steps) < 3 else None, markersize=4)


def _boxes(axes: Axes, rows: Mapping[str, np.ndarray], colours: Sequence[str]) -> None:
    for n, (values, colour) in enumerate(zip(rows.values(), colours, strict=True)):
        low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
        axes.bar(n, high - low, bottom=low, width=0.6, color=colour, alpha=0.2)
        axes.plot([n - 0.3, n + 0.3], [middle, middle], color=colour)
    axes.set(xlim=(-0.6, len(rows) - 0.4), xticks=[], xlabel="data")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    axes.grid(axis="y")


def _legend(figure: Figure, colours: Mapping[str, str], left: float, top: float) -> None:
    for n, (name, colour) in enumerate(colours.items()):
        text_at(figure, left, top + 18 * n, name, color=colour, fontweight="bold")
    text_at(figure, left, top + 18 * len(colours) + 6, NOTE, color=GREY)
