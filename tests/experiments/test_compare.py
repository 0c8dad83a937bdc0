"""Class capsules with less and less of the gradient, on a network that takes a second."""

import csv

import numpy as np

from capsnp.experiments import compare


def test_every_way_is_trained_as_it_says_and_beats_chance(tiny, tmp_path, monkeypatch):
    seen = []
    attempt = compare.attempt

    def watched(training, name, **options):
        seen.append((name, training.model.routing_gradient))
        return attempt(training, name, **options)

    monkeypatch.setattr(compare, "attempt", watched)
    folder = tmp_path / "out"
    table = compare.compare_gradients(folder, tiny | {"capsnet.n_iter": 4}, quiet=True)
    assert seen == [(name, name) for name in ("full", "last", "frozen")]
    assert list(table.rows)[3:] == ["routing alone", "expert capsules", "pixels"]
    for name, row in table.rows.items():
        assert row["wrong"] < 0.5, name  # two of three by chance
    assert [row["labels"] for row in table.rows.values()] == ["all"] * 3 + ["a linear read-out"] * 3
    with (folder / "compare.csv").open() as file:
        rows = {row["name"]: float(row["wrong"]) for row in csv.DictReader(file)}
    np.testing.assert_allclose(list(rows.values()), [r["wrong"] for r in table.rows.values()])
    for name in compare.CAPTIONS:
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000
        assert f'src="figures/{name}.png"' in (folder / "index.html").read_text()
