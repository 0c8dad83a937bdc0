"""What dimensions move, with a decoder that is known."""

import numpy as np

from capsnp.evaluation.properties import PROPERTIES
from capsnp.experiments.perturbation import OFFSETS, measured, swept

SLOPE = {"mass": 4.0, "x": 8.0}


def draw(v):
    """A dot that the first dimension makes brighter and the second moves to the right."""
    bright, place = v[:, 0, 0], 10.0 + SLOPE["x"] * v[:, 0, 1]
    columns = np.maximum(0.0, 1.0 - np.abs(np.arange(21) - place[:, None]))  # linear between two
    images = np.zeros((len(v), 9, 21, 1))
    images[:, 4, :, 0] = (2.0 + SLOPE["mass"] * bright)[:, None] * columns
    return images


def test_the_sweep_moves_one_dimension_of_one_capsule():
    v = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    moved = swept(v, 1)
    assert moved.dtype == np.float32
    for d, k in np.ndindex(4, 11):
        expected = v.copy()
        expected[:, 1, d] += np.float32(OFFSETS[k])
        np.testing.assert_array_equal(moved[:, d, k], expected)


def test_regression_finds_what_a_known_decoder_moves():
    v = 0.1 * np.random.default_rng(1).standard_normal((5, 2, 3))
    spread = np.full(len(PROPERTIES), 0.5)
    spread[PROPERTIES.index("size")] = 0.0  # of which nothing can be said
    effects = measured(draw, v, 0, spread)
    for d, name in enumerate(SLOPE):
        q = PROPERTIES.index(name)
        np.testing.assert_allclose(effects.change[d, q], SLOPE[name] * 0.5 / 0.5)
        np.testing.assert_allclose(effects.r2[d, q], 1.0)
        assert effects.words(d) == f"{name} +{SLOPE[name]:.1f}"
    assert not effects.change[:, PROPERTIES.index("size")].any()
    assert effects.words(2) == "little"
    np.testing.assert_allclose(effects.change[2], 0.0, atol=1e-12)
