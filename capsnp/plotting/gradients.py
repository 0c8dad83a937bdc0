"""What Algorithm 1 follows beside the gradient of the log-likelihood, over training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from capsnp.errors import OptionError
from capsnp.plotting._page import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MARGIN,
    PALE,
    VERMILION,
    axes_at,
    header_height,
    page,
    styled,
    text_at,
    thin_out,
)

if TYPE_CHECKING:
    from capsnp.verification import GradientDecomposition

PANEL = 320, 190  # pixels, the axes alone
LEFT, BETWEEN, ABOVE, BELOW = 70, 66, 50, 44  # pixels around a panel's axes
LEGEND = 24
COLOURS_OF = {
    ("frozen", "routed"): BLUE,
    ("mixing", "frozen"): VERMILION,
    ("mixing", "routed"): GREEN,
}


@styled
def gradient_decomposition(
    training: "Mapping[str, Mapping[int, GradientDecomposition]]",
    *,
    title: str = "Three gradients of the log-likelihood",
) -> Figure:
    """Cosines and norm ratios between gradients, and the log-likelihood, over training.

    Parameters
    ----------
    training : mapping of str to mapping of int to GradientDecomposition
        By the gradient that was followed and by the step, as
        `capsnp.verification.decompose_training` gives them.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A row of three panels for each training. Thick lines are all weights, thin ones those of
        each output capsule; bars are two standard errors either way. Steps are evenly spaced.

    Raises
    ------
    OptionError
        If there is no training, or one without a step.
    """
    if not training or not all(training.values()):
        raise OptionError("training: expected at least one with a step, got none")
    width, height = PANEL
    top = header_height(title) + LEGEND
    row = ABOVE + height + BELOW
    figure = page(LEFT + 3 * width + 2 * BETWEEN + 24, top + row * len(training), title)
    _legend(figure, header_height(title))
    for n, (by, found) in enumerate(training.items()):
        above = top + n * row
        text_at(figure, MARGIN, above + 4, f"trained by {by}", fontsize=11, fontweight="bold")
        cosine, ratio, likelihood = (
            axes_at(figure, LEFT + k * (width + BETWEEN), above + ABOVE, width, height)
            for k in range(3)
        )
        _draw_pairs(cosine, found, "cosine")
        cosine.set(title="cosine", ylim=(-1.05, 1.05))
        cosine.axhline(0.0, color=GREY, linewidth=0.8)
        _draw_pairs(ratio, found, "norm_ratio")
        ratio.set(title="ratio of norms", yscale="log")
        ratio.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ratio.yaxis.set_minor_formatter(NullFormatter())
        ratio.axhline(1.0, color=GREY, linewidth=0.8)
        _draw_likelihood(likelihood, found)
        for axes in (cosine, ratio, likelihood):
            ticks, names = thin_out(
                range(len(found)), [str(step) for step in found], width / len(found)
            )
            axes.set_xticks(ticks, names)
            axes.set_xlabel("step")
            axes.grid(axis="y", color=PALE)
            axes.set_axisbelow(True)
    return figure


def _draw_pairs(axes: Axes, found: "Mapping[int, GradientDecomposition]", measure: str) -> None:
    n_capsules = next(iter(found.values())).data_frozen.shape[1]
    for (first, second), colour in COLOURS_OF.items():
        for capsule in (*range(n_capsules), None):
            values, errors = np.transpose(
                [getattr(one, measure)(first, second, capsule=capsule) for one in found.values()]
            )
            if capsule is None:
                axes.errorbar(range(len(found)), values, 2 * errors, color=colour, marker="o",
                              markersize=3, linewidth=2.2, elinewidth=1.2)  # fmt: skip
            else:
                axes.plot(range(len(found)), values, color=colour, linewidth=0.7, alpha=0.6)


def _draw_likelihood(axes: Axes, found: "Mapping[int, GradientDecomposition]") -> None:
    values = [float(np.mean(one.log_likelihood)) for one in found.values()]
    errors = [
        float(np.std(one.log_likelihood)) / max(1, len(one.log_likelihood) - 1) ** 0.5
        for one in found.values()
    ]
    axes.errorbar(range(len(found)), values, np.multiply(2, errors), color=INK, marker="o",
                  markersize=3)  # fmt: skip
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set(title="mean log P(x), routed; 0 is the uniform density")


def _legend(figure: Figure, top: float) -> None:
    handles = [
        Line2D([], [], color=colour, linewidth=2.2, label=f"{first} to {second}")
        for (first, second), colour in COLOURS_OF.items()
    ]
    whole, high = figure.bbox.width, figure.bbox.height
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(MARGIN / whole, 1 - top / high),
        ncols=len(handles),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
    )
