"""What a run will take, against counts made another way."""

import numpy as np
import pytest

from capsnp.backend import get_backend
from capsnp.errors import ShapeError
from capsnp.memory import readable_bytes
from capsnp.models import ConvAutoencoder, ExpertCapsules
from capsnp.reproduce.estimate import (
    estimate,
    matmul_rate,
    readable_seconds,
)
from capsnp.reproduce.settings import resolve
from capsnp.reproduce.shapes import shapes_of

MNIST = resolve({"data": "mnist"})


def test_the_papers_sizes():
    shapes = shapes_of(MNIST, (28, 28, 1))
    assert shapes.grid == (6, 6)
    assert (shapes.I, shapes.P, shapes.J, shapes.D) == (576, 8, 20, 16)
    assert shapes.W == shapes.U == 576 * 20 * 16 * 8


@pytest.mark.parametrize("image", [(28, 28, 1), (21, 32, 3)])
def test_sizes_are_those_of_the_models(image, rng):
    settings = resolve({"autoencoder.filters": 8, "capsules.n_capsules": 3})
    shapes = shapes_of(settings, image)
    images = rng.random((4, *image))
    autoencoder = ConvAutoencoder(filters=8, n_steps=1, batch_size=2).fit(images)
    features = autoencoder.transform(images)
    assert features.shape[1:] == (shapes.I, shapes.P)
    assert sum(weights.size for weights in autoencoder.weights_.values()) == shapes.autoencoder
    experts = ExpertCapsules(3, n_steps=1, batch_size=2, rebalance_steps=0).fit(features)
    assert experts.W_.size == shapes.W


def test_images_too_small():
    with pytest.raises(ShapeError, match="at least 17"):
        shapes_of(MNIST, (16, 28, 1))


def test_a_code_that_cannot_be_cut_into_capsules():
    settings = resolve({"data": "mnist", "autoencoder.capsule_dim": 7})
    with pytest.raises(ShapeError, match=r"autoencoder\.capsule_dim: expected a divisor of 4608"):
        shapes_of(settings, (28, 28, 1))


def test_the_autoencoders_arithmetic_is_what_was_measured():
    operations = estimate(MNIST, (28, 28, 1), 60_000, 10_000).operations["autoencoder"]
    per_image = operations / (MNIST["autoencoder.n_steps"] * MNIST["autoencoder.batch_size"])
    assert per_image == pytest.approx(0.62e9, rel=0.02)  # forward and backward


def test_more_of_anything_takes_more():
    few, many = (estimate(MNIST, (28, 28, 1), n, n) for n in (1_000, 60_000))
    assert few.memory["mixture"] < many.memory["mixture"]
    assert few.disk < many.disk
    assert few.operations["features"] * 60 == many.operations["features"]
    assert many.disk > 60_000 * 4608 * 4
    longer = resolve({"data": "mnist", "capsules.routing_iterations": 3})
    assert (
        estimate(longer, (28, 28, 1), 1_000, 100).operations["capsules"]
        > few.operations["capsules"]
    )


def test_the_rate_is_that_of_this_machine():
    rate = matmul_rate(get_backend("numpy"), "float32")
    assert np.isfinite(rate)
    assert rate > 1e8


@pytest.mark.parametrize(
    ("n", "text"), [(5, "5 B"), (4_600, "5 kB"), (999_000_000, "999 MB"), (2.5e12, "2.5 TB")]
)
def test_bytes_for_reading(n, text):
    assert readable_bytes(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2.0 h")]
)
def test_seconds_for_reading(seconds, text):
    assert readable_seconds(seconds) == text
