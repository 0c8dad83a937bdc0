"""Tables on the terminal."""

from collections.abc import Iterable

from rich.console import Console

from capsnp.evaluation import Table

WIDE = 220  # characters, where no terminal says how many there are


def show(tables: Iterable[Table]) -> None:
    """Print tables on standard output, as wide as they need to be where that is no terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    for table in tables:
        drawn = table.rich()
        for column, shown in zip(table.columns, drawn.columns[1:], strict=True):
            if all(isinstance(row.get(column.key), str) for row in table.rows.values()):
                shown.justify = "left"
        console.print(drawn)
