"""Confusion matrices as pictures."""

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.plotting import confusion_matrices

NAMES = ["cat", "dog"]


def test_counts_are_written_where_they_are_not_zero():
    counts = np.asarray([[5, 0], [2, 7]])
    figure = confusion_matrices({"full": counts, "last": counts}, NAMES)
    for axes in figure.axes:
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert written == {(0, 0): "5", (0, 1): "2", (1, 1): "7"}  # (column, row)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == NAMES
    assert {"full", "last"} < {text.get_text() for text in figure.texts}


def test_long_names_stand_upright_and_do_not_touch(assert_legible):
    names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Ankle boot"]
    counts = np.full((7, 7), 1234)
    texts = assert_legible(confusion_matrices({"all": counts, "none": counts}, names))
    assert set(names) <= set(texts)


def test_rows_without_examples_are_drawn():
    confusion_matrices({"": np.zeros((2, 2), int)}, NAMES)


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="matrices: expected at least one"):
        confusion_matrices({}, NAMES)
    with pytest.raises(ShapeError, match=r"matrices\['full'\]: .*J = 2.*\(3, 3\)"):
        confusion_matrices({"full": np.zeros((3, 3))}, NAMES)
