"""Tables on the terminal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import rich.table
from rich.console import Console

from capsnp.evaluation import Table

WIDE = 220  # characters, where no terminal says how many there are
_TEXT = 22  # characters that a column of text may be narrowed to
_FRAME = 3  # characters between two columns


def show(tables: Iterable[Table]) -> None:
    """Print tables on standard output, as wide as they need to be where that is no terminal.

    On a terminal a wide table comes in pieces, some of its columns at a time.
    """
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    for table in tables:
        pieces = list(_pieces(table, console.width))
        for piece in pieces:
            console.print(_drawn(piece, narrow=len(pieces) > 1))


def _drawn(table: Table, *, narrow: bool) -> rich.table.Table:
    """The table with its texts on the left, and its headings folded if it is to be narrow."""
    drawn = table.rich()
    for column, shown in zip(table.columns, drawn.columns[1:], strict=True):
        if all(isinstance(row.get(column.key), str) for row in table.rows.values()):
            shown.justify = "left"
        elif narrow:
            shown.max_width = _needed(column.heading, list(shown.cells)) - _FRAME
    for shown in drawn.columns:
        shown.overflow = "fold"  # where a word is too long, nothing of it is lost
    return drawn


def _pieces(table: Table, width: int) -> Iterator[Table]:
    """The table, or as many of its columns at a time as there is room for."""
    names, *columns = zip(*table.cells() or [[""] * (1 + len(table.columns))], strict=True)
    room = width - _needed("", names)
    first, left = 0, room
    for last, (column, cells) in enumerate(zip(table.columns, columns, strict=True)):
        left -= _needed(column.heading, cells)
        if left < 0 and last > first:
            title = table.title if first == 0 else ""
            yield replace(table, title=title, columns=table.columns[first:last], notes=())
            first, left = last, room - _needed(column.heading, cells)
    yield replace(table, title=table.title if first == 0 else "", columns=table.columns[first:])


def _needed(heading: str, cells: Sequence[Any]) -> int:
    """Characters that a column takes when it is as narrow as reads well."""
    longest = max((len(text) for text in (*cells, *heading.split())), default=0)
    return min(longest, _TEXT) + _FRAME
