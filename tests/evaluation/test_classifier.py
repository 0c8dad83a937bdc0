"""The classifier: gradients, learning, files, manners."""

import numpy as np
import pytest
from sklearn.base import clone

from capsnp.datasets import load
from capsnp.errors import CheckpointError, DataError, NotFittedError, OptionError, ShapeError
from capsnp.evaluation import _network as network
from capsnp.evaluation.classifier import ImageClassifier
from capsnp.training.loop import train

SIZES = {"filters": (3, 4), "kernel": 3, "n_features": 5, "n_classes": 3}


@pytest.fixture
def problem(rng):
    """Images, one-hot targets, a mask and weights in float64, biases too."""
    images = rng.standard_normal((4, 7, 6, 2))
    targets = np.eye(3)[[0, 2, 1, 1]]
    mask = rng.choice([0.0, 2.0], size=(4, 5))
    weights = network.first_weights(network.weight_shapes((7, 6, 2), **SIZES), rng)
    return (
        images,
        targets,
        mask,
        {k: w + 0.1 * rng.standard_normal(w.shape) for k, w in weights.items()},
    )


def test_gradient_by_finite_differences(problem, rng):
    images, targets, mask, weights = problem
    gradient = network.loss_and_gradient(images, targets, mask, weights).gradient
    assert gradient.keys() == weights.keys()
    for name, weight in weights.items():
        direction = rng.standard_normal(weight.shape)
        losses = [
            network.loss_and_gradient(
                images, targets, mask, {**weights, name: weight + step * direction}
            ).cross_entropy
            for step in (1e-6, -1e-6)
        ]
        slope = (losses[0] - losses[1]) / 2e-6
        assert np.sum(gradient[name] * direction) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_network_and_gradient_against_torch(problem):
    torch = pytest.importorskip("torch")
    images, targets, mask, weights = problem
    w = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    a = torch.tensor(images).permute(0, 3, 1, 2)
    for k in (1, 2):
        kernel = w[f"conv{k}"].permute(3, 2, 0, 1)
        a = torch.nn.functional.conv2d(a, kernel, w[f"conv{k}_bias"], stride=2, padding=1)
        a = torch.nn.functional.leaky_relu(a, 0.2)
    flat = a.permute(0, 2, 3, 1).reshape(4, -1)
    features = torch.nn.functional.leaky_relu(flat @ w["features"] + w["features_bias"], 0.2)
    logits = (features * torch.tensor(mask)) @ w["logits"] + w["logits_bias"]
    loss = -(torch.log_softmax(logits, dim=1) * torch.tensor(targets)).sum()
    loss.backward()

    ours = network.loss_and_gradient(images, targets, mask, weights)
    assert float(ours.cross_entropy) == pytest.approx(loss.item(), rel=1e-12)
    assert float(ours.correct) == float((logits.argmax(1) == torch.tensor(targets).argmax(1)).sum())
    for name in weights:
        np.testing.assert_allclose(ours.gradient[name], w[name].grad.numpy(), rtol=1e-9, atol=1e-12)
    layers = network.classify(images, weights)
    np.testing.assert_allclose(layers.features, features.detach().numpy(), rtol=1e-12)


def test_network_on_every_library(problem, from_host, to_host):
    images, targets, mask, weights = problem
    expected = network.loss_and_gradient(images, targets, mask, weights)
    on_library = {name: from_host(weight) for name, weight in weights.items()}
    found = network.loss_and_gradient(
        from_host(images), from_host(targets), from_host(mask), on_library
    )
    np.testing.assert_allclose(to_host(found.cross_entropy), expected.cross_entropy, rtol=1e-10)
    for name, gradient in expected.gradient.items():
        np.testing.assert_allclose(to_host(found.gradient[name]), gradient, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def digits():
    return load("digits"), load("digits", split="test")


@pytest.fixture(scope="module")
def fitted(digits):
    return ImageClassifier(n_steps=150).fit(digits[0].images, digits[0].labels)


def test_learns_digits_of_people_it_has_not_seen(fitted, digits):
    test = digits[1]
    assert fitted.score(test.images, test.labels) > 0.88
    assert fitted.score(digits[0].images, digits[0].labels) > 0.97


def test_outputs_belong_together(fitted, digits):
    images = digits[1].images[:70]
    features, probabilities = fitted.describe(images)
    np.testing.assert_array_equal(features, fitted.transform(images))
    np.testing.assert_allclose(probabilities, fitted.predict_proba(images), rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(fitted.predict(images), probabilities.argmax(axis=1))
    assert features.shape == (70, 64)


def test_one_image_gives_what_it_gives_among_many(fitted, digits):
    images = digits[1].images[:70]
    np.testing.assert_allclose(
        fitted.transform(images[66:67]), fitted.transform(images)[66:67], rtol=1e-4, atol=1e-5
    )


def test_same_seed_same_weights_and_another_seed_others(digits):
    images, labels = digits[0].images[:200], digits[0].labels[:200]
    first, again, other = (
        ImageClassifier(filters=(4,), n_features=8, n_steps=5, random_state=seed).fit(
            images, labels
        )
        for seed in (3, 3, 4)
    )
    for name, weight in first.weights_.items():
        np.testing.assert_array_equal(weight, again.weights_[name])
    assert not np.array_equal(first.weights_["conv1"], other.weights_["conv1"])


def test_training_goes_on_from_a_state_with_the_same_bits(digits):
    images, labels = digits[0].images[:200], digits[0].labels[:200]
    model = ImageClassifier(filters=(4,), n_features=8, n_steps=8)
    whole = model.training(images, labels)
    train(whole)
    expected = whole.state()

    cut = clone(model).training(images, labels)
    for _ in range(3):
        cut.apply(cut.gradient())
    rest = clone(model).training(images, labels)
    rest.restore(cut.state())
    train(rest)
    found = rest.state()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_state_round_trip(fitted, digits):
    again = ImageClassifier.from_state(fitted.state())
    images = digits[1].images[:20]
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))


def test_images_moved_by_whole_pixels_only(digits):
    images = digits[0].images[:6]
    training = ImageClassifier(shift=2, filters=(2,), n_features=4).training(images, np.arange(6))
    wide = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    moved = training._moved(images)
    corners = set()
    for k in range(6):
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(moved[k], wide[k, y : y + 28, x : x + 28])
        ]
        assert found
        corners.add(found[0])
    assert len(corners) > 1
    still = ImageClassifier(shift=0, filters=(2,), n_features=4).training(images, np.arange(6))
    np.testing.assert_array_equal(still._moved(images), images)


def test_any_size_channels_and_labels():
    rng = np.random.default_rng(0)
    labels = np.asarray([-5, 7] * 40)
    images = rng.random((80, 9, 5, 3)) * np.where(labels == 7, 1.0, 0.3)[:, None, None, None]
    model = ImageClassifier(filters=(4, 4, 4), kernel=3, n_features=6, n_steps=60, dtype="float64")
    model.fit(images, labels)
    assert set(model.predict(images)) == {-5, 7}
    assert model.transform(images).dtype == np.float64
    assert model.score(images, labels) > 0.9


def test_errors(digits, fitted):
    images, labels = digits[0].images[:20], digits[0].labels[:20]
    with pytest.raises(NotFittedError, match="call fit first"):
        ImageClassifier().predict(images)
    with pytest.raises(ShapeError, match=r"images: .* got \(20, 28, 28\)"):
        ImageClassifier().fit(images[..., 0], labels)
    with pytest.raises(ShapeError, match=r"labels: expected shape \(20,\), got \(19,\)"):
        ImageClassifier().fit(images, labels[:19])
    with pytest.raises(DataError, match="at least two classes, got 1"):
        ImageClassifier().fit(images, labels * 0)
    with pytest.raises(ShapeError, match="images"):
        fitted.transform(images[:, :27])
    for options, message in (
        ({"kernel": 4}, "kernel: expected an odd number from 1, got 4"),
        ({"filters": ()}, "filters: expected at least one"),
        ({"n_features": 0}, "n_features: expected at least 1"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1"),
        ({"shift": -1}, "shift: expected at least 0"),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64'"),
    ):
        with pytest.raises(OptionError, match=message):
            ImageClassifier(**options).fit(images, labels)
    state = fitted.state()
    with pytest.raises(CheckpointError, match=r"conv1: expected shape \(3, 3, 1, 16\)"):
        ImageClassifier.from_state(state, kernel=3)
    del state["classes"]
    with pytest.raises(CheckpointError, match="expected an array 'classes'"):
        ImageClassifier.from_state(state)


def test_every_library_trains_the_same_classifier(library, digits):
    images, labels = digits[0].images[:120], digits[0].labels[:120]
    options = {"filters": (3,), "n_features": 6, "n_steps": 4, "dtype": "float64"}
    expected = ImageClassifier(**options).fit(images, labels)
    found = ImageClassifier(**options, backend=library.backend).fit(images, labels)
    np.testing.assert_allclose(
        found.predict_proba(images), expected.predict_proba(images), rtol=1e-6
    )
