import pytest

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table

ROWS = {
    "one": {"wrong": 0.25, "spread": 0.05, "seconds": 3.0, "stopped": "–"},
    "a longer name": {"wrong": None, "spread": None, "seconds": 0.5, "stopped": "NaN at step 3"},
}
COLUMNS = (Column("wrong", "Wrong", ".1%", "lower"), Column("seconds", "Seconds", ".1f"))
TABLE = Table("What it costs", COLUMNS, ROWS)


def test_bars_show_the_numbers_and_why_there_are_none(assert_legible):
    keys = ("wrong", "seconds")
    figure = plotting.bars(TABLE, keys, spreads={"wrong": "spread"}, missing="stopped")
    wrong, seconds = figure.axes
    assert [bar.get_width() for bar in wrong.patches] == [0.25]
    assert [bar.get_width() for bar in seconds.patches] == [3.0, 0.5]
    assert wrong.lines[0].get_xdata() == pytest.approx([0.2, 0.3])
    seen = assert_legible(figure)
    assert {"25.0%", "NaN at step 3", "a longer name", "Wrong ↓", "3.0"} <= set(seen)


def test_what_cannot_be_drawn():
    with pytest.raises(
        OptionError, match=r"keys: expected some of wrong, seconds, got \['right'\]"
    ):
        plotting.bars(TABLE, ["right"])
    with pytest.raises(OptionError, match="table: expected at least one row"):
        plotting.bars(Table("empty", COLUMNS, {}), ["wrong"])
