"""Every way to route and every squash, on a network that takes a second."""

import pytest

from capsnp.errors import OptionError
from capsnp.experiments.routings import compare_routings, ways
from capsnp.functional.routings import ROUTINGS
from capsnp.functional.squashes import SQUASHES


def test_every_way_is_a_row(tiny, tmp_path):
    folder = tmp_path / "out"
    table = compare_routings(folder, tiny | {"capsnet.n_iter": 1}, seeds=2, quiet=True)
    assert len(table.rows) == len(ROUTINGS) + len(SQUASHES) - 1
    for name, row in table.rows.items():
        assert row["stopped"] == "–", name
        assert 0 <= row["wrong"] <= 1
        assert row["spread"] is not None
        assert 0 <= row["ece"] <= 1
        assert 0 < row["brier"] < 2
    assert len({row["brier"] for row in table.rows.values()}) == len(table.rows)  # all differ
    assert all(0.01 < row["peak"] < 10 for row in table.rows.values())
    assert (folder / "routings.csv").is_file()
    assert 'src="figures/routings.png"' in (folder / "index.html").read_text()


def test_each_way_changes_one_thing():
    for changes in list(ways().values())[1:]:
        assert (changes["routing"] == "dynamic") != (changes["squash"] == "sabour")


def test_what_the_rows_change_is_not_to_be_set(tiny, tmp_path):
    with pytest.raises(OptionError, match=r"capsnet\.squash: expected 'sabour', which the rows"):
        compare_routings(tmp_path / "out", tiny | {"capsnet.squash": "ball"}, quiet=True)
    assert not (tmp_path / "out").exists()
