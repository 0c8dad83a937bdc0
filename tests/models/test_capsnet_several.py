"""CapsNet on images of several classes."""

import numpy as np
import pytest

from capsnp import CapsNet
from capsnp.datasets.overlap import Overlaps
from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.models._capsnet_training import Alone

TINY = {
    "filters": 4,
    "primary_channels": 2,
    "primary_dim": 3,
    "capsule_dim": 4,
    "kernel": 3,
    "augment": 0,
    "decoder_hidden": (5, 6),
    "n_iter": 1,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(3)
    images = rng.random((9, 8, 8, 1), dtype=np.float32)
    return Overlaps(images, np.arange(9) % 3, 24, shift=1)


def test_a_matrix_with_one_class_each_trains_as_labels_do(pairs):
    images, labels = pairs[:], pairs.classes[:, 0]
    one = CapsNet(**TINY).fit(images, labels)
    other = CapsNet(**TINY).fit(images, np.eye(3)[labels])
    for name, weight in one.weights_.items():
        np.testing.assert_array_equal(weight, other.weights_[name], err_msg=name)
    np.testing.assert_array_equal(one.predict(images), other.predict(images))


def test_the_longest_come_first(pairs):
    model = CapsNet(**TINY).fit(pairs, pairs.indicator(range(3)))
    lengths, top = model.lengths(pairs), model.predict_top(pairs, 3)
    sorted_lengths = np.take_along_axis(lengths, top, axis=1)
    assert (np.diff(sorted_lengths, axis=1) <= 0).all()
    np.testing.assert_array_equal(top[:, 0], model.predict(pairs))
    np.testing.assert_array_equal(model.predict_top(pairs, 2), top[:, :2])
    with pytest.raises(OptionError, match="n: expected at most the 3 classes, got 4"):
        model.predict_top(pairs, 4)


def test_each_part_is_what_the_decoder_rebuilds(pairs):
    """The loss's gradient is that of a part drawn by chance, masked by its own class."""
    model = CapsNet(**TINY | {"dtype": "float64"})
    there = pairs.indicator(range(3))
    training = model.training(pairs, there, alone=Alone(pairs.classes, pairs.alone))
    seen = set()
    while training.step < training.n_steps:
        rows = np.arange(24)
        mask, originals = training._parts(rows)
        assert (mask.sum(axis=1) == 1).all()
        which = np.argmax(mask, axis=1)
        for k in rows:
            part = int(pairs.classes[k, 1] == which[k])
            seen.add(part)
            np.testing.assert_array_equal(originals[k], pairs.moved(np.asarray([k]), part)[0])
        training.apply(training.gradient())
    assert seen == {0, 1}


def test_the_gradient_is_of_that_part_from_its_own_capsule(pairs):
    """Of a batch of all pairs, as the network finds it for the mask and the originals."""
    model = CapsNet(**TINY | {"dtype": "float64", "batch_size": 24})
    there = pairs.indicator(range(3))
    training = model.training(pairs, there, alone=Alone(pairs.classes, pairs.alone))
    mask, originals = training._parts(np.arange(24))
    network, products = model._ready()
    expected = network.loss_and_gradient(
        pairs[:].astype("float64"),
        there.astype("float64"),
        products,
        mask=mask,
        originals=originals.astype("float64"),
    ).gradient
    found = training.gradient()
    assert set(found) == set(expected)
    for name, gradient in found.items():
        np.testing.assert_allclose(24 * gradient, expected[name], atol=1e-9, err_msg=name)


def test_one_clear_error(pairs):
    there = pairs.indicator(range(3))
    for options, y, alone, error, message in (
        ({}, there[:5], None, ShapeError, "y: expected 24 rows, one for each example of X, got 5"),
        ({}, 2 * there, None, DomainError, r"y: expected labels \(N,\), or a matrix"),
        ({"loss": "spread"}, there, None, OptionError, "loss: expected 'margin' for images of"),
        ({}, pairs.classes[:, 0], Alone(pairs.classes, pairs.alone), OptionError, "alone: exp"),
    ):
        with pytest.raises(error, match=message):
            CapsNet(**TINY | options).fit(pairs, y, alone=alone)
