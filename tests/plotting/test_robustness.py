"""Curves of accuracy beside the images that they were measured on."""

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.plotting.robustness import Change, robustness

AMOUNTS = np.asarray([-2.0, 0.0, 2.0])
IMAGES = np.zeros((3, 8, 8, 1))


def test_the_curve_is_what_was_measured(assert_legible):
    figure = robustness({"shift": Change(AMOUNTS, np.asarray([0.2, 0.9, 0.4]), IMAGES)})
    assert_legible(figure)
    curve = figure.axes[0].lines[0]
    np.testing.assert_array_equal(curve.get_xydata(), [[-2.0, 0.2], [0.0, 0.9], [2.0, 0.4]])
    assert figure.axes[0].get_xlabel() == "shift"
    assert {"−2", "0", "2"} <= {text.get_text() for text in figure.texts}


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="changes: expected at least one"):
        robustness({})
    with pytest.raises(ShapeError, match="shift: accuracy"):
        robustness({"shift": Change(AMOUNTS, np.zeros(2), IMAGES)})
    with pytest.raises(ShapeError, match="shift: images"):
        robustness({"shift": Change(AMOUNTS, np.zeros(3), IMAGES[:2])})
