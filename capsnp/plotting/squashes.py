"""Squashing functions beside each other: lengths, and what gradients are multiplied by."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from capsnp.errors import OptionError
from capsnp.functional.squash import length
from capsnp.functional.squashes import SQUASHES, Squash, gradient_factors
from capsnp.plotting._page import (
    COLOURS,
    PALE,
    axes_at,
    header_height,
    page,
    styled,
    text_at,
    text_width,
)

SHORTEST, LONGEST = 1e-3, 1e3
"""Lengths at which factors are drawn."""


@styled
def squash_family(
    squashes: Sequence[Squash] = tuple(SQUASHES.values()),
    *,
    title: str = "Squashing functions, and what they do to gradients",
) -> Figure:
    r"""Squashed lengths, and the gradient's factors along and across a capsule.

    .. math:: t(n), \qquad t'(n), \qquad t(n)/n, \qquad n = \|z\|

    Parameters
    ----------
    squashes : sequence of Squash
        From one to six; by default `SQUASHES`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Three panels; factors are drawn over six decades, both axes logarithmic.

    Raises
    ------
    OptionError
        If there are no squashes, or more than colours.

    Notes
    -----
    Derivation: :doc:`/derivations/squashes`.
    """
    if not 1 <= len(squashes) <= len(COLOURS):
        raise OptionError(f"squashes: expected 1 to {len(COLOURS)}, got {len(squashes)}")
    width, height, left, between = 330, 280, 70, 90
    top = header_height(title) + 50
    figure = page(left + 3 * width + 2 * between + 30, top + height + 60, title)
    panels = [axes_at(figure, left + k * (width + between), top, width, height) for k in range(3)]
    n = np.linspace(0, 4, 401)
    wide = np.geomspace(SHORTEST, LONGEST, 361)
    place = left
    for squash, colour in zip(squashes, COLOURS, strict=False):
        along, across = gradient_factors(wide, squash)
        lines = (
            (n, length(squash.apply(n[:, None]))),
            (wide, np.where(along > 0, along, np.nan)),
            (wide, across),
        )
        for axes, line in zip(panels, lines, strict=True):
            axes.plot(*line, color=colour)
        label = f"{squash.name}: {squash.formula}"
        text_at(figure, place, header_height(title), label, color=colour, fontweight="bold")
        place += text_width(label, weight="bold") + 20
    forward, *factors = panels
    forward.set(title="squashed length t(n)", xlabel="length n", xlim=(0, 4), ylim=(0, 1.06))
    for axes, name in zip(factors, ("along the capsule, t'(n)", "across it, t(n)/n"), strict=True):
        axes.set(title=f"gradient {name}", xlabel="length n", xscale="log", yscale="log")
        axes.set(xlim=(SHORTEST, LONGEST), ylim=(1e-4, 2))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
    for axes in panels:
        axes.grid(color=PALE)
    return figure
