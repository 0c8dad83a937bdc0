import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.functional.squashes import SQUASHES, power_squash


def test_lengths_and_factors_of_every_squash(assert_legible):
    figure = plotting.squash_family()
    texts = assert_legible(figure)
    for name in SQUASHES:
        assert any(text.startswith(f"{name}: ") for text in texts)
    forward, along, across = ([line.get_xydata().T for line in axes.lines] for axes in figure.axes)
    assert len(forward) == len(along) == len(across) == len(SQUASHES)
    n, t = forward[0]
    np.testing.assert_allclose(t, n**2 / (1 + n**2), rtol=1e-14)
    n, slope = along[2]  # rational
    np.testing.assert_allclose(slope, 1 / (1 + n) ** 2, rtol=1e-13)
    np.testing.assert_allclose(across[2][1], 1 / (1 + n), rtol=1e-13)
    assert np.all(np.isnan(along[5][1]) == (n > 1))  # the ball: 0 has no logarithm


@pytest.mark.parametrize("many", [0, 7])
def test_no_squash_or_more_than_colours_are_refused(many):
    with pytest.raises(OptionError, match=rf"squashes: expected 1 to 6, got {many}"):
        plotting.squash_family([power_squash(2)] * many)
