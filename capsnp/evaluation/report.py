"""Tables of scores, as JSON, Markdown, HTML and for the terminal."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import rich.box
import rich.table

from capsnp.errors import DataError, OptionError
from capsnp.evaluation.codes import CodeScores
from capsnp.evaluation.images import ImageScores

Better = Literal["lower", "higher", ""]
ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    key : str
        Of the value in a row.
    title : str
    form : str
        How `format` writes the number, such as ".1f" or ".0%".
    better : {"lower", "higher", ""}
        Which way is good.
    """

    key: str
    title: str
    form: str = ".2f"
    better: Better = ""

    @property
    def heading(self) -> str:
        """The title with an arrow to the better side."""
        return self.title + ARROWS[self.better]

    def text(self, value: Any) -> str:
        """A value as the table shows it; a dash where there is none."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        return format(value, "" if isinstance(value, str) else self.form)


@dataclass(frozen=True)
class Table:
    """Named rows of values.

    Attributes
    ----------
    title : str
    columns : tuple of Column
    rows : mapping of str to mapping
        Values by row's name and column's key; more keys than columns do no harm, they go into
        the JSON.
    notes : tuple of str
        Sentences below the table.

    Examples
    --------
    >>> table = Table("Routing", (Column("seconds", "Seconds", ".0f", "lower"),),
    ...               {"1 iteration": {"seconds": 62.3}, "2 iterations": {"seconds": 124.0}})
    >>> print(table.markdown())
    ### Routing
    <BLANKLINE>
    |  | Seconds ↓ |
    |---|---:|
    | 1 iteration | 62 |
    | 2 iterations | 124 |
    """

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """Texts of all rows, each begun by its name."""
        return [
            [name, *(column.text(values.get(column.key)) for column in self.columns)]
            for name, values in self.rows.items()
        ]

    def markdown(self) -> str:
        """A Markdown table under a heading."""
        headings = ["", *(column.heading for column in self.columns)]
        lines = [f"### {self.title}", "", _markdown_row(headings)]
        lines.append("|---" + "|---:" * len(self.columns) + "|")
        lines += [_markdown_row(cells) for cells in self.cells()]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def html(self) -> str:
        """An HTML fragment: ``<figure class="table">`` with caption, table and notes."""
        headings = "".join(
            f'<th scope="col">{html.escape(column.heading)}</th>' for column in self.columns
        )
        body = "\n".join(
            f'<tr><th scope="row">{html.escape(name)}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for name, *cells in self.cells()
        )
        notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f'<figure class="table">\n<figcaption>{html.escape(self.title)}</figcaption>\n'
            f"<table>\n<thead><tr><td></td>{headings}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
            f"</table>{notes}\n</figure>"
        )

    def rich(self) -> rich.table.Table:
        """A table for the terminal."""
        shown = rich.table.Table(
            title=self.title,
            caption="\n".join(self.notes) or None,
            box=rich.box.SIMPLE,
            title_justify="left",
            caption_justify="left",
        )
        shown.add_column("")
        for column in self.columns:
            shown.add_column(column.heading, justify="right")
        for cells in self.cells():
            shown.add_row(*cells)
        return shown


@dataclass(frozen=True)
class Report:
    """Tables with what they were made from.

    Attributes
    ----------
    tables : tuple of Table
    facts : mapping
        Settings, versions, seconds: anything JSON can hold.

    Examples
    --------
    >>> table = Table("Digits", (Column("frechet", "Fréchet", ".1f", "lower"),),
    ...               {"real": {"frechet": 1.5}})
    >>> Report.from_json(Report((table,), {"seed": 0}).json()).tables[0] == table
    True
    """

    tables: tuple[Table, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> str:
        """Everything, with numbers in full; NaN becomes null."""
        return json.dumps(_plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `json` wrote.

        Raises
        ------
        DataError
            If the text is no such report.
        """
        try:
            content = json.loads(text)
            tables = tuple(
                Table(
                    table["title"],
                    tuple(Column(**column) for column in table["columns"]),
                    table["rows"],
                    tuple(table["notes"]),
                )
                for table in content["tables"]
            )
            return cls(tables, content["facts"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"text: expected a report as JSON, got {error!r}") from None

    def markdown(self) -> str:
        """All tables."""
        return "\n\n".join(table.markdown() for table in self.tables) + "\n"

    def html(self) -> str:
        """All tables as fragments."""
        return "\n".join(table.html() for table in self.tables) + "\n"


IMAGE_COLUMNS = (
    Column("frechet", "Fréchet", ".1f", "lower"),
    Column("kernel", "Kernel", ".3f", "lower"),
    Column("precision", "Precision", ".2f", "higher"),
    Column("recall", "Recall", ".2f", "higher"),
    Column("density", "Density", ".2f", "higher"),
    Column("coverage", "Coverage", ".2f", "higher"),
    Column("confident", "Recognised", ".1%", "higher"),
    Column("class_distance", "Class shift", ".2f", "lower"),
    Column("nearest_ratio", "Nearest training image", ".2f"),
    Column("near_copies", "Near copies", ".1%"),
)


def image_table(scores: Mapping[str, ImageScores], *, title: str = "Images") -> Table:
    """A table of image scores by row's name, real images first.

    Parameters
    ----------
    scores : mapping of str to ImageScores
    title : str

    Returns
    -------
    Table
        Columns without any value are left out.
    """
    if not scores:
        raise OptionError("scores: expected at least one row, got none")
    rows = {name: asdict(score) for name, score in scores.items()}
    first = next(iter(scores.values()))
    eye = {
        "classifier": "Features of a classifier trained on the labels",
        "pixels": "No labels: features are principal components of the pixels, which know where "
        "ink is and not what it means; distances have another scale than a classifier's",
    }[first.eye]
    sizes = sorted({score.n for score in scores.values()})
    counts = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return Table(title, _used(IMAGE_COLUMNS, rows), rows, (f"{eye}; {counts} images a row.",))


CODE_COLUMNS = (
    Column("probe", "Linear probe", ".3f", "higher"),
    Column("relative_error", "Relative error", ".3f", "lower"),
    Column("least_used", "Least used capsule", ".1%"),
    Column("most_used", "Most used capsule", ".1%"),
    Column("mean_purity", "Class purity", ".1%", "higher"),
)


def code_table(scores: Mapping[str, CodeScores], *, title: str = "Codes") -> Table:
    """A table of code scores by row's name.

    Parameters
    ----------
    scores : mapping of str to CodeScores
    title : str

    Returns
    -------
    Table
        Columns without any value are left out.
    """
    rows = {
        name: asdict(score)
        | {
            "least_used": min(score.usage, default=None),
            "most_used": max(score.usage, default=None),
        }
        for name, score in scores.items()
    }
    return Table(title, _used(CODE_COLUMNS, rows), rows)


def _used(columns: Sequence[Column], rows: Mapping[str, Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        column
        for column in columns
        if any(values.get(column.key) is not None for values in rows.values())
    )


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _plain(value: Any) -> Any:
    """Mappings, lists, numbers and strings that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
