"""What a network takes over from a run of expert capsules."""

import re

import numpy as np
import pytest

from capsnp import CapsNet, CapsuleGenerator, ConvAutoencoder
from capsnp.datasets import load
from capsnp.errors import OptionError, RunError
from capsnp.experiments.starting import begin_with
from capsnp.training import RunFolder

DATA = load("digits", limit=24)
SIZES = {"filters": 8, "kernel": 5, "capsule_dim": 4, "decoder_hidden": (6, 6), "primary_dim": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of which the autoencoder is trained."""
    folder = tmp_path_factory.mktemp("source") / "run"
    RunFolder.create(folder, {"model": "capsules"})
    autoencoder = ConvAutoencoder(8, 5, 4, n_steps=2, batch_size=8)
    generator = CapsuleGenerator(autoencoder=autoencoder)
    generator.fit_autoencoder(DATA.images)
    generator.save(folder)
    return folder, generator.autoencoder_.weights_


def network(**parameters):
    model = CapsNet(**(SIZES | parameters))
    model.training(DATA.images, DATA.labels)
    return model


def test_both_convolutions_are_taken_where_they_fit(source):
    folder, learnt = source
    model, fresh = network(primary_channels=2), network(primary_channels=2).weights_
    assert begin_with(model, folder) == ("filters1", "bias1", "filters2", "bias2")
    for name, weight in model.weights_.items():
        taken = name in ("filters1", "bias1", "filters2", "bias2")
        np.testing.assert_array_equal(weight, learnt[name] if taken else fresh[name])


def test_the_second_stays_new_where_its_channels_are_others(source):
    folder, learnt = source
    model = network(primary_channels=3)
    assert begin_with(model, folder) == ("filters1", "bias1")
    np.testing.assert_array_equal(model.weights_["filters1"], learnt["filters1"])
    model.training(DATA.images, DATA.labels)  # a new start forgets them
    assert not np.array_equal(model.weights_["filters1"], learnt["filters1"])


def test_what_does_not_fit_is_refused(source, tmp_path):
    folder, _ = source
    said = "init_from: expected capsnet.kernel=5, capsnet.filters=8 and images of 1 channels"
    with pytest.raises(OptionError, match=re.escape(said) + ".*got 7, 8 and 1"):
        begin_with(network(kernel=7), folder)
    other = RunFolder.create(tmp_path / "net", {"model": "capsnet"}).folder
    with pytest.raises(
        RunError, match=r"expected a run of capsules or neurons.*got one of capsnet"
    ):
        begin_with(network(), other)
    empty = RunFolder.create(tmp_path / "empty", {"model": "capsules"}).folder
    with pytest.raises(RunError, match="autoencoder is not trained: capsnp train autoencoder"):
        begin_with(network(), empty)
    with pytest.raises(RunError, match="no run here"):
        begin_with(network(), tmp_path / "nothing")
