"""Every way to route and every squash, on a network that takes a second."""

from types import SimpleNamespace

import numpy as np
import pytest

from capsnp.errors import OptionError
from capsnp.evaluation import brier_score, calibration_error
from capsnp.experiments import routings
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


def test_scores_are_those_of_the_test_images(rng):
    p = rng.dirichlet(np.ones(3), size=20)
    labels = 4 + rng.integers(3, size=20)
    model = SimpleNamespace(classes_=np.asarray([4, 5, 6]), predict_proba=lambda _: p)
    test = SimpleNamespace(images=None, labels=labels)
    look = routings._look(SimpleNamespace(data=SimpleNamespace(test=test)), model)
    assert look["wrong"] == pytest.approx(np.mean(4 + np.argmax(p, axis=1) != labels))
    assert look["ece"] == calibration_error(p, labels - 4)
    assert look["brier"] == brier_score(p, labels - 4)
