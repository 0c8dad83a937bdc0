"""A step of training reads no number back from a device, which would wait for it.

array-api-strict has no device to wait for, but Python asks its arrays for numbers by the same
methods as it would CuPy's.
"""

import numpy as np
import pytest

from capsnp.models import CapsNet, CapsuleDecoder, ConvAutoencoder, ExpertCapsules

READS = ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__", "__iter__")
STRICT = "array-api-strict"


@pytest.fixture
def reads(monkeypatch):
    """Which numbers of arrays have been read, as they are read."""
    Array = type(pytest.importorskip("array_api_strict").asarray(0.0))
    found = []

    def watched(name, read):
        def method(self, *arguments, **options):
            found.append(name)
            return read(self, *arguments, **options)

        return method

    for name in READS:
        if read := getattr(Array, name, None):
            monkeypatch.setattr(Array, name, watched(name, read))
    return found


def expect_no_reads(training, reads, *, n_steps):
    for _ in range(n_steps):
        reads.clear()
        training.apply(training.gradient())
        assert reads == []
    training.health()
    assert reads  # the watch works, and logging reads


FEATURES = np.random.default_rng(0).normal(size=(40, 12, 4)).astype("float32")
CODES = np.random.default_rng(1).uniform(-0.4, 0.4, size=(40, 3, 5)).astype("float32")
IMAGES = np.random.default_rng(2).random((20, 12, 12, 1)).astype("float32")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_winners": None},
        {"n_winners": 2, "mixing_steps": 2},
        {"routing_iterations": 1},
        {"normalize": "outputs", "agreement": "dot"},
    ],
    ids=str,
)
def test_a_step_of_capsules(reads, options):
    model = ExpertCapsules(n_capsules=3, capsule_dim=5, batch_size=8, backend=STRICT, **options)
    expect_no_reads(model.training(FEATURES), reads, n_steps=2)


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_step_of_the_decoder(reads, iterations):
    options = {"routing_iterations": iterations, "settling_steps_training": 3}
    model = CapsuleDecoder(winner_steps=2, settled_steps=2, batch_size=8, backend=STRICT, **options)
    expect_no_reads(model.training(CODES, FEATURES), reads, n_steps=4)


def test_a_step_of_the_autoencoder(reads):
    model = ConvAutoencoder(8, 3, 4, batch_size=8, backend=STRICT)
    expect_no_reads(model.training(IMAGES), reads, n_steps=2)


@pytest.mark.parametrize("options", [{}, {"logits": "batch", "loss": "spread"}], ids=str)
def test_a_step_of_the_capsule_network(reads, options):
    model = CapsNet(4, 2, 3, 4, 3, batch_size=8, decoder_hidden=(4, 5), backend=STRICT, **options)
    expect_no_reads(model.training(IMAGES, np.arange(20) % 3), reads, n_steps=2)
