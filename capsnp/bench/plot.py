"""Time against size: capsnp, PyTorch and the floor."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from capsnp.bench.report import duration
from capsnp.bench.scaling import Growth
from capsnp.plotting._page import (
    BLUE,
    GREY,
    PALE,
    VERMILION,
    axes_at,
    header_height,
    page,
    styled,
)

_COLOURS = {"capsnp": BLUE, "floor": GREY}
_AXES = {"B": "examples in a batch B", "I": "input capsules I", "J": "output capsules J"}


@styled
def scaling_plot(
    growths: Sequence[Growth], *, title: str = "A step of contrastive divergence"
) -> Figure:
    """Seconds of a step over each size, both logarithmic.

    Parameters
    ----------
    growths : sequence of Growth
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each axis, with the slopes at the upper end.
    """
    width, height, left, between = 330, 280, 94, 76
    top = header_height(title) + 8
    whole = left + len(growths) * width + (len(growths) - 1) * between + 30
    figure = page(whole, top + height + 54, title)
    every = [s for g in growths for line in g.medians().values() for s in line if s is not None]
    for n, growth in enumerate(growths):
        axes = axes_at(figure, left + n * (width + between), top, width, height)
        _draw(axes, growth)
        axes.set_ylim(min(every) / 1.5, max(every) * 10)  # the legend stands above
        if n == 0:
            axes.set_ylabel("time of a step")
    return figure


def _draw(axes: Axes, growth: Growth) -> None:
    slopes = growth.slopes()
    for line, seconds in growth.medians().items():
        at = [(v, s) for v, s in zip(growth.values, seconds, strict=True) if s is not None]
        slope = "" if slopes[line] is None else f", slope {slopes[line]:.2f}"
        axes.plot(
            *zip(*at, strict=True),
            label=f"{line}{slope}",
            color=_COLOURS.get(line, VERMILION),
            linestyle=":" if line == "floor" else "-",
            marker=None if line == "floor" else "o",
            markersize=4,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(growth.values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(_AXES[growth.axis])
    axes.grid(color=PALE)
    axes.legend(frameon=False, loc="upper left")


def _short(seconds: float) -> str:
    """A power of ten of seconds.

    Examples
    --------
    >>> _short(0.01)
    '10 ms'
    """
    number, unit = duration(seconds * (1 + 1e-9)).split()
    return f"{float(number):g} {unit}"
