"""What the commands find out about a run: each a section of its page, kept in its folder.

A section is a JSON file of tables and captions, a CSV file for each table, and pictures in
``figures/``; `write_report` makes the page of all that lie in the folder.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.errors import DataError, RunError
from capsnp.evaluation import Report, Table
from capsnp.reproduce.pipeline import read_json
from capsnp.reproduce.report import FIGURES
from capsnp.training import RunFolder, write_atomic
from capsnp.training.files import one_line

SECTIONS = ("results", "perturb", "affine", "diagram", "lamp")
"""Names of the sections of a page, in their order."""


@dataclass(frozen=True)
class Section:
    """Tables and pictures of one subject.

    Attributes
    ----------
    name : str
        Of its JSON file.
    title : str
    tables : mapping of str to Table
        By the name of their CSV file.
    captions : mapping of str to str
        By the name of a picture.
    facts : mapping, optional
        More numbers for the JSON file.
    """

    name: str
    title: str
    tables: Mapping[str, Table]
    captions: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


def keep_section(run: RunFolder, section: Section, figures: Mapping[str, Figure]) -> None:
    """Write a section into a run's folder.

    Parameters
    ----------
    run : RunFolder
        Held by `RunFolder.lock`.
    section : Section
    figures : mapping of str to Figure
        A picture for each caption.
    """
    folder = run.path(FIGURES)
    with one_line(folder, "cannot be written"):
        folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        plotting.save(figure, folder / f"{name}.png")
    for name, table in section.tables.items():
        write_atomic(run.path(f"{name}.csv"), table_csv(table).encode())
    facts = {
        "title": section.title,
        "names": list(section.tables),
        "captions": section.captions,
        **section.facts,
    }
    report = Report(tuple(section.tables.values()), facts)
    write_atomic(run.path(f"{section.name}.json"), f"{report.json()}\n".encode())


def kept_sections(run: RunFolder) -> list[Section]:
    """The sections that lie in a run's folder.

    Raises
    ------
    RunError
        If a file of one is damaged.
    """
    found = []
    for name in SECTIONS:
        kept = read_json(run, f"{name}.json")
        if kept is None:
            continue
        try:
            report = Report.from_json(json.dumps(kept))
            facts = dict(report.facts)
            title, names, captions = (facts.pop(key) for key in ("title", "names", "captions"))
            tables = dict(zip(names, report.tables, strict=True))
        except (DataError, KeyError, TypeError, ValueError) as error:
            path = run.path(f"{name}.json")
            raise RunError(f"{path}: damaged ({error}); delete it, and it is made anew") from None
        found.append(Section(name, title, tables, captions, facts))
    return found


def table_csv(table: Table) -> str:
    """A table as CSV with numbers in full, its rows' names in the first column.

    Examples
    --------
    >>> from capsnp.evaluation import Column
    >>> table_csv(Table("Routing", (Column("seconds", "Seconds"),), {"one": {"seconds": 1 / 3}}))
    'name,seconds\\r\\none,0.3333333333333333\\r\\n'
    """
    file = io.StringIO()
    writer = csv.writer(file)
    keys = [column.key for column in table.columns]
    writer.writerow(["name", *keys])
    for name, values in table.rows.items():
        writer.writerow([name, *("" if (v := values.get(key)) is None else v for key in keys)])
    return file.getvalue()
