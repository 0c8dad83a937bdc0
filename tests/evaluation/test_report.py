"""Tables in every form."""

import io
import json
from html.parser import HTMLParser

import pytest
import rich.console

from capsnp.errors import DataError, OptionError
from capsnp.evaluation.codes import CodeScores
from capsnp.evaluation.images import ImageScores
from capsnp.evaluation.report import Column, Report, Table, code_table, image_table

REAL = ImageScores(2000, "classifier", 2.54, -0.001, 0.002, 0.93, 0.94, 1.02, 0.96, 0.962)
OURS = ImageScores(1000, "classifier", 18.46, 0.05, 0.01, 0.8, 0.68, 0.9, 0.75)


@pytest.fixture
def table():
    columns = (Column("a", "A & <b>", ".1f", "lower"), Column("b", "B", ".0%", "higher"))
    rows = {"x|y": {"a": 1.25, "b": 0.5, "extra": [1, 2]}, "none": {"a": float("nan"), "b": None}}
    return Table("T <1>", columns, rows, ("A note.",))


def test_cells_format_and_dash(table):
    assert table.cells() == [["x|y", "1.2", "50%"], ["none", "–", "–"]]


def test_markdown(table):
    lines = table.markdown().splitlines()
    assert lines[0] == "### T <1>"
    assert lines[2:6] == [
        "|  | A & <b> ↓ | B ↑ |",
        "|---|---:|---:|",
        r"| x\|y | 1.2 | 50% |",
        "| none | – | – |",
    ]
    assert lines[-1] == "A note."


class Cells(HTMLParser):
    """Texts of the cells, and a check that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "figcaption", "p"):
            self.texts.append(data)


def test_html_is_escaped_and_whole(table):
    parser = Cells()
    parser.feed(table.html())
    assert parser.open == []
    assert parser.texts == [
        *("T <1>", "A & <b> ↓", "B ↑"),
        *("x|y", "1.2", "50%", "none", "–", "–", "A note."),
    ]


def test_rich_shows_all(table):
    out = io.StringIO()
    rich.console.Console(file=out, width=80).print(table.rich())
    for text in ("T <1>", "x|y", "1.2", "50%", "A note."):
        assert text in out.getvalue()


def test_json_round_trip_keeps_numbers_in_full(table):
    report = Report((table,), {"seed": 0, "seconds": 1.5})
    content = json.loads(report.json())
    assert content["tables"][0]["rows"]["none"] == {"a": None, "b": None}
    assert content["tables"][0]["rows"]["x|y"]["extra"] == [1, 2]
    again = Report.from_json(report.json())
    assert again.facts == {"seed": 0, "seconds": 1.5}
    assert again.markdown() == report.markdown()
    assert again.html() == report.html()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tables": [{}], "facts": {}}'])
def test_json_of_something_else(text):
    with pytest.raises(DataError, match="expected a report as JSON"):
        Report.from_json(text)


def test_image_table_leaves_out_what_nobody_has():
    table = image_table({"real, new": REAL, "joint": OURS})
    assert [column.key for column in table.columns] == [
        *("frechet", "kernel", "precision", "recall", "density", "coverage", "confident"),
    ]
    assert table.cells()[0][:3] == ["real, new", "2.5", "-0.001"]
    assert table.cells()[1][-1] == "–"
    assert table.rows["joint"]["kernel_error"] == 0.01
    assert "1000 to 2000 images a row" in table.notes[0]
    with pytest.raises(OptionError, match="at least one row"):
        image_table({})


def test_image_table_says_when_there_were_no_labels():
    pixels = ImageScores(300, "pixels", 2.5, 0.0, 0.0, 0.9, 0.9, 1.0, 0.9)
    assert "No labels" in image_table({"real": pixels}).notes[0]


def test_code_table():
    table = code_table({"codes": CodeScores(0.93, 0.21, (0.2, 0.8), (0.5, 1.0), 0.9)})
    assert table.cells() == [["codes", "0.930", "0.210", "20.0%", "80.0%", "90.0%"]]
