"""How accuracy falls when images are changed by more and more."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional._checks import expect_shape
from capsnp.plotting._page import (
    BLUE,
    GREY,
    LINE,
    MARGIN,
    axes_at,
    header_height,
    page,
    styled,
    text_at,
    text_width,
)
from capsnp.plotting._sheet import FRAME, GAP, mosaic
from capsnp.plotting.images import _host_images

PANEL = 330, 110  # pixels
LEFT, BETWEEN, BELOW = 60, 40, 44
SHOWN = 56  # pixels that an image is enlarged to at most


class Change(NamedTuple):
    """What was measured under a kind of change.

    Attributes
    ----------
    amounts : array, shape (V,)
        Rising.
    accuracy : array, shape (V,)
        In [0, 1].
    images : array, shape (V, H, W, C)
        One image, changed by each amount.
    """

    amounts: Array
    accuracy: Array
    images: Array


@styled
def robustness(
    changes: Mapping[str, Change], *, title: str = "Accuracy on images that are changed"
) -> Figure:
    """Accuracy by amount for each kind of change, with an image under it.

    Parameters
    ----------
    changes : mapping of str to Change
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A row for each kind: the curve, and the image at each amount.

    Raises
    ------
    OptionError
        If there is no change.
    ShapeError
        If there are not as many accuracies or images as amounts.
    """
    if not changes:
        raise OptionError("changes: expected at least one, got none")
    pictures = {}
    for name, change in changes.items():
        n = len(change.amounts)
        expect_shape(f"{name}: accuracy", change.accuracy, (n,), axes="(V,)", because="to match")
        images = _host_images(f"{name}: images", change.images, "(V, H, W, C)")
        expect_shape(f"{name}: images", images, (n, None, None, 3), axes="(V, H, W, C)")
        zoom = max(1, SHOWN // images.shape[2])
        pictures[name] = mosaic(images[None], zoom), zoom * images.shape[2]
    width, height = PANEL
    widest = max(picture.shape[1] for picture, _ in pictures.values())
    top: float = header_height(title)
    row = LINE + height + BELOW
    start = LEFT + width + BETWEEN
    figure = page(start + widest + MARGIN, top + len(changes) * row, title)
    for name, change in changes.items():
        axes = axes_at(figure, LEFT, top + LINE, width, height)
        axes.plot(change.amounts, change.accuracy, color=BLUE, marker="o", markersize=4)
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel(name)
        axes.set_xticks(*_ticks(np.asarray(change.amounts), width))
        axes.grid(axis="y")
        picture, side = pictures[name]
        high = top + LINE + (height - picture.shape[0]) / 2
        below = axes_at(figure, start, high, picture.shape[1], picture.shape[0])
        below.imshow(picture, aspect="auto", interpolation="nearest")
        below.axis("off")
        for k, amount in enumerate(change.amounts):
            middle = start + FRAME + k * (side + GAP) + side / 2
            text_at(figure, middle, high - 4, _number(amount), ha="center", va="bottom", color=GREY)
        top += row
    return figure


def _ticks(amounts: np.ndarray, width: float) -> tuple[list[float], list[str]]:
    """Every amount, or every second where their labels would touch."""
    labels = [_number(amount) for amount in amounts]
    step = 1 + (sum(text_width(label) + 8 for label in labels) > width)
    middle = len(labels) // 2 % step
    return list(amounts[middle::step]), labels[middle::step]


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
