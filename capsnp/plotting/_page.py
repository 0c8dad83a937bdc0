"""Pages laid out in pixels, so that images keep whole pixels and labels never meet."""

import math
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from capsnp.backend import Array, backend_of, namespace
from capsnp.errors import DomainError, OptionError
from capsnp.training.files import write_atomic

DPI = 100
MAX_WIDTH = 1560  # pixels
MARGIN = 14  # pixels around a page
LINE = 15  # pixels from one line of text to the next

# Okabe and Ito's colours, told apart with any colour vision (their yellow is too pale for lines)
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
"""For lines, in this order."""

INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#d9d9d9"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "text.color": INK,
    "axes.facecolor": "white",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "grid.color": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.6,
    "image.interpolation": "antialiased",
    "savefig.bbox": None,
}

styled = mpl.rc_context(STYLE)
"""Decorator: the user's own matplotlib settings neither change a picture nor are changed."""


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all, the same bytes for the same figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn at 100 dots per inch on white; no date is stored.
    path : path
        Ends in ``.png``; its folder exists. A file that is there is replaced.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OptionError
        If the path ends otherwise.
    RunError
        If the file cannot be written; then an older file is as it was.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OptionError(f"path: expected a name that ends in .png, got {path.name!r}")
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(
            buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None}
        )
    write_atomic(path, buffer.getvalue())
    return path


def host(name: str, array: Array) -> np.ndarray:
    """An array of any library as float64 on the host; `DomainError` if a number is not finite."""
    namespace(**{name: array})
    values = np.asarray(backend_of(array).to_host(array), dtype=np.float64)
    if not np.isfinite(values).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise DomainError(f"{name}: expected finite numbers, got {values[where]} at {where}")
    return values


def text_width(text: str, *, size: float = 9, weight: str = "normal") -> int:
    """Pixels that the longest line of a text takes."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    widths = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.split("\n")
    ]
    return math.ceil(max(widths) * DPI / 72)


def fit_label(text: str, width: int) -> str:
    """A label broken at spaces and slashes into lines of at most `width` pixels.

    A word that is too long is cut and ends in an ellipsis.

    Examples
    --------
    >>> fit_label("Ankle boot", 50)
    'Ankle\\nboot'
    >>> fit_label("photosynthesis", 50)
    'photo…'
    """
    lines: list[str] = []
    for word in text.replace("/", "/ ").split():
        shown = word
        while text_width(shown) > width and len(shown) > 1:
            shown = shown.removesuffix("…")[:-1] + "…"
        joined = f"{lines[-1]}{'' if lines[-1].endswith('/') else ' '}{shown}" if lines else shown
        if lines and text_width(joined) > width:
            lines.append(shown)
        else:
            lines[-1:] = [joined]
    return "\n".join(lines)


def header_height(title: str) -> int:
    """Pixels that a page's title takes at its top."""
    return MARGIN + 20 * len(title.split("\n")) + 6


def page(width: float, height: float, title: str) -> Figure:
    """An empty white page with its title, wide enough for it."""
    width = max(math.ceil(width), text_width(title, size=12, weight="bold") + 2 * MARGIN)
    figure = Figure(figsize=(width / DPI, math.ceil(height) / DPI), dpi=DPI, facecolor="white")
    figure.suptitle(
        title,
        x=MARGIN / width,
        y=1 - MARGIN / height,
        horizontalalignment="left",
        verticalalignment="top",
        fontsize=12,
        fontweight="bold",
    )
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at pixels counted from the page's upper left corner."""
    whole, high = figure.bbox.width, figure.bbox.height
    return figure.add_axes((left / whole, 1 - (top + height) / high, width / whole, height / high))


def text_at(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    """Text at pixels counted from the page's upper left corner; its own upper left by default."""
    style = {"ha": "left", "va": "top", **style}
    return figure.text(left / figure.bbox.width, 1 - top / figure.bbox.height, text, **style)


def colour_bar(axes: Axes, *, cmap: str, low: float, high: float, label: str) -> None:
    """Fill axes with a colour scale."""
    scale = ScalarMappable(Normalize(low, high), cmap=cmap)
    bar = axes.figure.colorbar(scale, cax=axes, label=label, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)


def thin_out(
    positions: Sequence[float], labels: Sequence[str], step: float
) -> tuple[list[float], list[str]]:
    """Every n-th tick, so that the labels of ticks `step` pixels apart do not touch.

    Examples
    --------
    >>> thin_out(range(4), ["0", "1", "2", "3"], 8)
    ([0, 2], ['0', '2'])
    """
    n = max(1, math.ceil((max(map(text_width, labels)) + 6) / step))
    return list(positions)[::n], list(labels)[::n]
