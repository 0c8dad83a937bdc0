"""Curves: what training logged, and squash with its inverse and its weight."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from capsnp.errors import OptionError
from capsnp.functional._checks import expect_range
from capsnp.functional.squash import squash, unsquash
from capsnp.plotting._page import (
    BLUE,
    GREY,
    MARGIN,
    PALE,
    VERMILION,
    axes_at,
    header_height,
    page,
    styled,
    text_at,
    text_width,
)

Curve = dict[float, float]  # value by step

PANEL = 250, 130  # pixels, the axes alone
LEFT, RIGHT, ABOVE, BELOW = 82, 24, 30, 42  # pixels around a panel's axes
PER_ROW = 4
HEADING = 26
HELD_OUT = "held-out "


@styled
def training_curves(
    records: Iterable[Mapping[str, Any]],
    *,
    quantities: Sequence[str] | None = None,
    title: str = "Training",
) -> Figure:
    """Every logged quantity of every stage over the steps.

    Parameters
    ----------
    records : iterable of mapping
        Each with ``stage``, ``step`` and numbers by name, as the lines of ``metrics.jsonl``.
        What is no finite number is passed over. Where a resumed run logged a step twice, the
        later record counts.
    quantities : sequence of str, optional
        The names to draw; by default all.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A band of panels per stage, in the order of the records. A quantity and its like of
        held-out rows, "held-out " before its name, share a panel. An axis is logarithmic where
        all values are positive and the largest is over thirty times the smallest.

    Raises
    ------
    OptionError
        If there is nothing to draw, or a record has no stage or no step.
    """
    stages = _curves(records, quantities)
    if not stages:
        raise OptionError("records: expected at least one with a finite quantity, got none")
    width, height = PANEL
    panels = {stage: _panels(curves) for stage, curves in stages.items()}
    across = min(PER_ROW, max(map(len, panels.values())))
    n_rows = {stage: math.ceil(len(each) / PER_ROW) for stage, each in panels.items()}
    row_height = ABOVE + height + BELOW
    total = sum(HEADING + n * row_height for n in n_rows.values())
    top: float = header_height(title)
    figure = page(across * (LEFT + width + RIGHT), top + total, title)
    for stage, each in panels.items():
        text_at(figure, MARGIN, top + 6, stage, fontsize=11, fontweight="bold", color=GREY)
        if any(len(lines) > 1 for lines in each.values()):
            after = MARGIN + 16 + text_width(stage, size=11, weight="bold")
            text_at(figure, after, top + 8, "training rows", color=BLUE)
            after += 12 + text_width("training rows")
            text_at(figure, after, top + 8, "held-out rows", color=VERMILION)
        top += HEADING
        for n, (name, lines) in enumerate(each.items()):
            row, column = divmod(n, PER_ROW)
            left = LEFT + column * (LEFT + width + RIGHT)
            axes = axes_at(figure, left, top + ABOVE + row * row_height, width, height)
            _draw_curves(axes, name, lines)
        top += n_rows[stage] * row_height
    return figure


def _curves(
    records: Iterable[Mapping[str, Any]], quantities: Sequence[str] | None
) -> dict[str, dict[str, Curve]]:
    """Curves by stage and quantity."""
    stages: dict[str, dict[str, Curve]] = {}
    for n, record in enumerate(records):
        if "stage" not in record or "step" not in record:
            raise OptionError(f"records: expected stage and step in each, got none in number {n}")
        for name in quantities or [name for name in record if name not in ("stage", "step")]:
            value = record.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                curves = stages.setdefault(str(record["stage"]), {})
                curves.setdefault(name, {})[float(record["step"])] = float(value)
    return stages


def _panels(curves: Mapping[str, Curve]) -> dict[str, list[Curve]]:
    """Curves by the quantity's name, that of held-out rows beside that of training rows."""
    panels: dict[str, list[Curve]] = {}
    for name, curve in curves.items():
        own = name.removeprefix(HELD_OUT)
        if own == name or own not in curves:
            panels[name] = [curve, *panels.get(name, [])]
        else:
            panels.setdefault(own, []).append(curve)
    return panels


def _draw_curves(axes: Axes, name: str, curves: Sequence[Curve]) -> None:
    values = []
    for curve, colour in zip(curves, (BLUE, VERMILION), strict=False):
        steps = sorted(curve)
        drawn = [curve[step] for step in steps]
        axes.plot(steps, drawn, color=colour, marker="o" if len(steps) < 3 else None, markersize=4)
        values += drawn
    axes.set_title(name.replace("_", " "))
    axes.set_xlabel("step")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


@styled
def squash_curves(
    *, max_length: float = 4.0, title: str = "Squash, its inverse, and the weight of learning"
) -> Figure:
    r"""Length after squash, before it, and the weight that a pre-activation has in learning.

    .. math:: \|x\| = \frac{r^2}{1 + r^2}, \qquad r = \sqrt{\frac{\|x\|}{1 - \|x\|}}, \qquad
        \|w(z)\| = \frac{r}{1 + r^2}, \qquad r = \|z\|

    The first two are drawn from `capsnp.functional.squash` and its inverse.

    Parameters
    ----------
    max_length : float
        Lengths of z are drawn from 0 to this, from 1.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Three panels.

    Raises
    ------
    OptionError
        If `max_length` is below 1 or not finite.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eqs. 4, 6 and 18.
    """
    expect_range("max_length", max_length, 1)
    r = np.linspace(0, max_length, 401)
    squashed = squash(r[:, None])[:, 0]
    lengths = np.linspace(0, squashed[-1], 401)
    width, height, left, between = 330, 250, 70, 90
    top = header_height(title) + 26
    figure = page(left + 3 * width + 2 * between + 30, top + height + 60, title)
    forward, backward, weight = (
        axes_at(figure, left + n * (width + between), top, width, height) for n in range(3)
    )
    forward.plot(r, squashed, color=BLUE)
    forward.axhline(1, color=GREY, linestyle=":")
    forward.set(title="squash (4): the chance of being on", xlabel="length ‖z‖",
                ylabel="length ‖squash(z)‖", ylim=(0, 1.06))  # fmt: skip
    backward.plot(lengths, unsquash(lengths[:, None])[:, 0], color=BLUE)
    backward.set(title="unsquash (6): its inverse", xlabel="length ‖x‖", xlim=(0, 1.0),
                 ylabel="length ‖unsquash(x)‖", ylim=(0, None))  # fmt: skip
    backward.axvline(1, color=GREY, linestyle=":", clip_on=False)
    weight.plot(r, r / (1 + r * r), color=VERMILION)
    weight.plot([0, 1, 1], [0.5, 0.5, 0], color=GREY, linestyle=":")
    weight.annotate("largest at ‖z‖ = 1", (1, 0.5), (1.3, 0.515))
    weight.set(title="weight (18): how much z teaches", xlabel="length ‖z‖",
               ylabel="‖z‖ / (1 + ‖z‖²)", ylim=(0, 0.56))  # fmt: skip
    for axes in (forward, weight):
        axes.set_xlim(0, max_length)
    for axes in (forward, backward, weight):
        axes.grid(color=PALE)
    return figure
