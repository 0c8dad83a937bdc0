"""Tables as bars: a panel for each column, a bar for each row."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsnp.errors import OptionError
from capsnp.evaluation.report import Column, Table
from capsnp.plotting._page import (
    COLOURS,
    GREY,
    INK,
    MARGIN,
    PALE,
    axes_at,
    header_height,
    page,
    styled,
    text_width,
)

ROW, PANEL, GAP = 26, 300, 30  # pixels
BAR = 0.7
ROOM = 1.35  # of the longest bar, so that its number has room


@styled
def bars(
    table: Table,
    keys: Sequence[str],
    *,
    spreads: Mapping[str, str] | None = None,
    missing: str | None = None,
    title: str | None = None,
) -> Figure:
    """Columns of a table as bars from zero, each with its number.

    Parameters
    ----------
    table : Table
    keys : sequence of str
        Of the columns to draw, of numbers from zero.
    spreads : mapping of str to str, optional
        The key of the column that holds a column's standard deviation, drawn as a line.
    missing : str, optional
        The key of what is written, in the first panel, where there is no number.
    title : str, optional
        By default the table's.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the table has no rows, or not these columns.
    """
    columns = {column.key: column for column in table.columns}
    unknown = [key for key in keys if key not in columns]
    if unknown or not keys:
        raise OptionError(f"keys: expected some of {', '.join(columns)}, got {list(keys)}")
    if not table.rows:
        raise OptionError("table: expected at least one row, got none")
    title = table.title if title is None else title
    left = MARGIN + 14 + max(map(text_width, table.rows))
    top = header_height(title) + 26
    high = ROW * len(table.rows)
    width = left + len(keys) * (PANEL + GAP) - GAP + MARGIN + 10
    figure = page(width, top + high + 30 + MARGIN, title)
    for n, key in enumerate(keys):
        axes = axes_at(figure, left + n * (PANEL + GAP), top, PANEL, high)
        spread = (spreads or {}).get(key)
        _panel(axes, table.rows, columns[key], COLOURS[n % len(COLOURS)], spread)
        axes.set_yticks(range(len(table.rows)), list(table.rows) if n == 0 else [])
        if n == 0 and missing is not None:
            _told(axes, table.rows, key, missing)
    return figure


def _panel(
    axes: Axes,
    rows: Mapping[str, Mapping[str, Any]],
    column: Column,
    colour: str,
    spread: str | None,
) -> None:
    values = [row.get(column.key) for row in rows.values()]
    deviations = [0.0 if spread is None else row.get(spread) or 0.0 for row in rows.values()]
    pairs = zip(values, deviations, strict=True)
    longest = max((v + s for v, s in pairs if v is not None), default=0.0) or 1.0
    for place, (value, deviation) in enumerate(zip(values, deviations, strict=True)):
        if value is None:
            continue
        axes.barh(place, value, height=BAR, color=colour)
        if deviation:
            ends = [max(0.0, value - deviation), value + deviation]
            axes.plot(ends, [place, place], color=INK, linewidth=1.2)
        end = value + deviation + 0.02 * ROOM * longest
        axes.text(end, place, column.text(value), va="center")
    axes.set_xlim(0, ROOM * longest)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(column.heading)
    axes.set_xticks([tick for tick in MaxNLocator(4).tick_values(0, longest) if tick <= longest])
    if column.form.endswith("%"):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.grid(axis="x", color=PALE)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _told(axes: Axes, rows: Mapping[str, Mapping[str, Any]], key: str, missing: str) -> None:
    """What is written where there is no number."""
    low, high = axes.get_xlim()
    for place, row in enumerate(rows.values()):
        if row.get(key) is None and row.get(missing):
            place_x = low + 0.02 * (high - low)
            axes.text(place_x, place, row[missing], va="center", color=GREY, style="italic")
