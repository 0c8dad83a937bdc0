import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.verification import Balls, decompose_training


@pytest.fixture
def training(rng):
    x, W = Balls(2, 2).uniform(6, rng), rng.normal(size=(2, 3, 2, 2))
    return {
        by: decompose_training(x, W, by=by, at=(0, 1, 5), n_nodes=32, n_estimates=2)
        for by in ("frozen", "mixing")
    }


def test_three_panels_for_each_training(training, assert_legible):
    figure = plotting.gradient_decomposition(training)
    texts = assert_legible(figure)
    assert [text for text in texts if text.startswith("trained by")] == [
        "trained by frozen", "trained by mixing",
    ]  # fmt: skip
    assert len(figure.axes) == 6
    assert {"frozen to routed", "mixing to frozen", "mixing to routed"} <= set(texts)
    assert {"0", "1", "5"} <= set(texts)


def test_lines_are_the_measures(training):
    figure = plotting.gradient_decomposition(training)
    found = training["frozen"]
    cosine, ratio, likelihood = figure.axes[:3]
    drawn = [np.asarray(line.get_ydata()).tolist() for line in cosine.lines]
    for capsule in (None, 0, 1, 2):
        expected = [d.cosine("mixing", "frozen", capsule=capsule)[0] for d in found.values()]
        assert expected in drawn
    expected = [d.norm_ratio("mixing", "routed")[0] for d in found.values()]
    assert expected in [np.asarray(line.get_ydata()).tolist() for line in ratio.lines]
    expected = [np.mean(d.log_likelihood) for d in found.values()]
    assert expected in [np.asarray(line.get_ydata()).tolist() for line in likelihood.lines]


def test_many_steps_keep_their_labels_apart(rng, assert_legible):
    x, W = Balls(2, 2).uniform(3, rng), rng.normal(size=(2, 1, 2, 2))
    found = decompose_training(x, W, by="mixing", at=range(995, 1025), n_nodes=2, n_estimates=1)
    assert_legible(plotting.gradient_decomposition({"mixing": found}))


def test_nothing_to_draw():
    for training in ({}, {"mixing": {}}):
        with pytest.raises(OptionError, match="training: expected"):
            plotting.gradient_decomposition(training)
