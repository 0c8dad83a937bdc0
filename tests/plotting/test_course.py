import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError

VALUES = {
    "entropy": [1.0, 0.9, 0.8],
    "moved": [None, 0.01, 0.1],
    "agreement": [0.2, 0.3, 0.4],
    "agreement_others": [0.1, 0.1, 0.1],
    "length": [0.5, 0.6, 0.7],
    "length_others": [0.2, 0.2, 0.1],
    "wrong": [0.1, 0.05, 0.02],
}
CLASSES = [f"{n}" for n in range(9)] + ["Ankle boot"]


def test_curves_show_the_numbers(rng, assert_legible):
    lengths = rng.random((10, 10))
    figure = plotting.routing_course(VALUES, lengths, CLASSES, trained=3)
    seen = assert_legible(figure)
    assert {"Agreement", "Wrong", "weightings"} <= set(seen)
    entropy, moved, *_, by_class = figure.axes
    np.testing.assert_array_equal(entropy.lines[0].get_ydata(), VALUES["entropy"])
    assert moved.get_yscale() == "log"
    own = [bar.get_height() for bar in by_class.patches[:10]]
    np.testing.assert_allclose(own, np.diag(lengths))
    others = [bar.get_height() for bar in by_class.patches[10:]]
    np.testing.assert_allclose(others[3], np.delete(lengths[:, 3], 3).mean())


def test_what_does_not_fit():
    with pytest.raises(OptionError, match="values: expected 'entropy' among them, got wrong"):
        plotting.routing_course({"wrong": [0.1]}, np.zeros((2, 2)), ["a", "b"])
    with pytest.raises(ShapeError, match=r"lengths: expected shape \(2, 2\) for 2 classes"):
        plotting.routing_course(VALUES, np.zeros((3, 3)), ["a", "b"])
