"""What routing does from one weighting to the next."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsnp.errors import OptionError, ShapeError
from capsnp.plotting._page import (
    BLUE,
    GREY,
    PALE,
    VERMILION,
    axes_at,
    fit_label,
    header_height,
    page,
    styled,
)

PANEL = 330, 190  # pixels
LEFT, BETWEEN, BELOW = 66, 76, 64
PANELS = (
    ("Entropy of the coefficients", ("entropy",)),
    ("Share of the coefficients that moves", ("moved",)),
    ("Agreement", ("agreement", "agreement_others")),
    ("Lengths of capsules", ("length", "length_others")),
    ("Wrong", ("wrong",)),
)
NAMES = {
    "agreement": "the image's class",
    "agreement_others": "the others",
    "length": "the image's class",
    "length_others": "the longest other",
}


@styled
def routing_course(
    values: Mapping[str, Sequence[float | None]],
    lengths: np.ndarray,
    classes: Sequence[str],
    *,
    trained: int | None = None,
    title: str = "Routing, weighting by weighting",
) -> Figure:
    """Curves over the number of weightings, and the length of each class's capsule.

    Parameters
    ----------
    values : mapping of str to sequence of float or None
        After 1, 2, ... weightings: "entropy", "moved", "agreement", "agreement_others", "length",
        "length_others", "wrong"; further ones are not drawn.
    lengths : array, shape (J, J)
        Mean lengths of capsules (columns) in images of each class (rows).
    classes : sequence of J str
    trained : int, optional
        Weightings in training, a dotted line.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If a curve is missing.
    ShapeError
        If the lengths do not fit the classes.
    """
    missing = [name for _, names in PANELS for name in names if name not in values]
    if missing:
        raise OptionError(f"values: expected {missing[0]!r} among them, got {', '.join(values)}")
    J = len(classes)
    if lengths.shape != (J, J):
        raise ShapeError(f"lengths: expected shape {(J, J)} for {J} classes, got {lengths.shape}")
    width, height = PANEL
    top = header_height(title) + 24
    across, down = width + BETWEEN, height + BELOW + 24
    figure = page(LEFT + 3 * across - BETWEEN + 24, top + 2 * down - 24 + 16, title)
    panels = [
        axes_at(figure, LEFT + (n % 3) * across, top + (n // 3) * down, width, height)
        for n in range(6)
    ]
    for axes, (heading, names) in zip(panels, PANELS, strict=False):
        _curves(axes, heading, {name: values[name] for name in names}, trained)
    _by_class(panels[-1], lengths, [fit_label(name, width // J - 4) for name in classes])
    return figure


def _curves(
    axes: Axes,
    heading: str,
    curves: Mapping[str, Sequence[float | None]],
    trained: int | None,
) -> None:
    for (name, values), colour in zip(curves.items(), (BLUE, VERMILION), strict=False):
        numbers = np.asarray([np.nan if v is None else v for v in values])
        steps = np.arange(1, numbers.size + 1)
        axes.plot(steps, numbers, color=colour, marker="o", markersize=4, label=NAMES.get(name))
        positive = numbers[np.isfinite(numbers)]
        if name == "moved" and positive.size and np.all(positive > 0):
            axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, loc="best")
    if "wrong" in curves:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    if trained is not None:
        axes.axvline(trained, color=GREY, linestyle=":")
    axes.set_title(heading)
    axes.set_xlabel("weightings")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=PALE)


def _by_class(axes: Axes, lengths: np.ndarray, names: Sequence[str]) -> None:
    J = len(names)
    own = np.diag(lengths)
    others = (np.sum(lengths, axis=0) - own) / max(1, J - 1)
    places = np.arange(J)
    axes.bar(places - 0.2, own, width=0.4, color=BLUE, label="its own images")
    axes.bar(places + 0.2, others, width=0.4, color=VERMILION, label="the others' images")
    axes.set_xticks(places, names)
    axes.set_ylim(0, 1.25)
    axes.set_title("Mean length of each class's capsule")
    axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=PALE)
    axes.set_axisbelow(True)
