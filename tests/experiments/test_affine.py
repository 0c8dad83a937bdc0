"""Changes at random, and what a table says of a network that sees only where things are."""

import numpy as np

from capsnp.experiments.affine import AT_RANDOM, KINDS, affine_table, at_random


def test_changes_at_random_are_of_the_seed_and_within_bounds():
    maps, shifts = at_random(200, 3)
    again = at_random(200, 3)
    np.testing.assert_array_equal(maps, again[0])
    np.testing.assert_array_equal(shifts, again[1])
    scale = np.sqrt(np.linalg.det(maps))
    assert 0.8 <= scale.min() < 0.85 < 1.15 < scale.max() <= 1.2
    assert 3.5 < np.abs(shifts).max() <= 4.0
    turned = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 18.0 < np.abs(turned).max() <= 20.0


def test_the_table_has_every_amount():
    found = {kind.name: np.linspace(0.1, 0.9, kind.amounts.size) for kind in KINDS}
    rows = affine_table(found, 0.5, 0.3, 7).rows
    assert rows["as they are"] == {"accuracy": 0.5}
    assert rows[AT_RANDOM] == {"accuracy": 0.3}
    assert rows["rotation (degrees) −60"] == {"accuracy": 0.1}
    assert rows["scale 1.5"] == {"accuracy": 0.9}
    assert len(rows) == 2 + sum(kind.amounts.size for kind in KINDS)
