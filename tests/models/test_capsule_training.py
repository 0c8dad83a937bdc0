"""Training with winners: each example teaches its winners alone, and the bias shares them out."""

import numpy as np
import pytest

from capsnp.functional import cd_gradient, length, squash
from capsnp.models import ExpertCapsules

N_CAPSULES, BATCH = 4, 20


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(BATCH, 6, 2))


@pytest.fixture(params=[1, 2], ids="{} winners".format)
def training(request, features):
    """Of a batch with all the data, each with this many winners; one unlucky capsule."""
    model = ExpertCapsules(
        n_capsules=N_CAPSULES,
        capsule_dim=3,
        n_winners=request.param,
        routing_iterations=1,
        balance=0.5,
        batch_size=BATCH,
        dtype="float64",
    )
    training = model.training(features)
    model.bias_ = np.asarray([0.0, 0.0, 0.0, -100.0])
    return training


def winners_by_sorting(model, features):
    """Indices of each example's winners, (N, k)."""
    c = model._uniform
    z = c * np.sum(
        model.W_[None] @ squash(model.standardize(features))[:, :, None, :, None], axis=1
    )
    score = np.log(length(squash(z[..., 0]))) + model.bias_
    return np.argsort(-score, axis=1)[:, : model.n_winners]


def test_each_example_teaches_a_model_of_its_winners_alone(training, features):
    model = training.model
    gradient = training.gradient()["W"]
    expected = np.zeros_like(model.W_)
    for x, won in zip(
        squash(model.standardize(features)), winners_by_sorting(model, features), strict=True
    ):
        c = np.full((6, model.n_winners), model._uniform)
        expected[:, won] += cd_gradient(x[None], model.W_[:, won], c) / BATCH
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12 * np.max(abs(expected)))
    assert np.all(gradient[:, 3] == 0)


def test_the_bias_of_a_capsule_that_wins_too_often_falls(training, features):
    model = training.model
    won = winners_by_sorting(model, features)
    share = np.bincount(won.ravel(), minlength=N_CAPSULES) / BATCH
    before = model.bias_
    training.apply(training.gradient())
    fair = model.n_winners / N_CAPSULES
    np.testing.assert_allclose(model.bias_ - before, 0.5 * (fair - share), atol=1e-12)
    assert model.bias_[3] > before[3]
