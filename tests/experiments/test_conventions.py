"""What conventions and slips cost, on a network that takes a second."""

import csv
import json

import pytest

from capsnp.errors import OptionError, RunError
from capsnp.experiments.conventions import compare_conventions, conventions
from capsnp.models import CapsNet
from capsnp.models._capsnet_presets import PRESETS


@pytest.fixture(scope="module")
def compared(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("conventions") / "out"
    return folder, compare_conventions(folder, tiny, seeds=2, quiet=True)


def test_every_preset_is_a_row_that_differs_from_the_paper_in_its_own_choice():
    found = conventions()
    assert set(found) == set(PRESETS) - {"small"}
    assert found["sabour2017"] == {}
    for name, changes in found.items():
        default = CapsNet().get_params()
        assert all(default[key] != value for key, value in changes.items()), name
        assert (changes == {}) == (name == "sabour2017")


def test_each_row_tells_what_it_cost(compared):
    folder, table = compared
    assert set(table.rows) == set(conventions())
    for name, row in table.rows.items():
        assert 0 <= row["wrong"] <= 1
        assert row["spread"] >= 0
        assert row["seconds"] > 0
        assert (row["blank"] != "–") == (name == "no-epsilon-norm")
        assert (row["company"] == 0) or name == "shared-logits"
    assert "NaN" in table.rows["no-epsilon-norm"]["blank"]
    assert (folder / "figures" / "conventions.png").stat().st_size > 1000
    page = (folder / "index.html").read_text()
    assert "neighbouring-pixels" in page
    with (folder / "conventions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(table.rows)
    assert json.loads((folder / "conventions.json").read_text())["tables"]


def test_training_that_diverges_is_a_row(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "capsnp.experiments.conventions.conventions",
        lambda: {"wild": {"learning_rate": 1e38, "decay": 1.0, "n_iter": 3}},
    )
    row = compare_conventions(tmp_path / "out", tiny, quiet=True).rows["wild"]
    assert row["wrong"] is None
    assert "step" in row["stopped"]


def test_what_is_there_is_refused_and_presets_of_other_conventions_too(compared, tiny, tmp_path):
    folder, _ = compared
    with pytest.raises(RunError, match="holds a run already"):
        compare_conventions(folder, tiny, quiet=True)
    with pytest.raises(OptionError, match=r"preset: expected one of 'default', 'small'.*hauser"):
        compare_conventions(tmp_path / "new", {"preset": "hauser2019"}, quiet=True)
    assert not (tmp_path / "new").exists()
