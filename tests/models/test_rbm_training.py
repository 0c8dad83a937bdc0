"""Steps of a machine's training against the rule, written out."""

import numpy as np
import pytest

from capsnp.models import RBM


@pytest.fixture
def training(rng):
    """Of 3 units on 4 bits, two steps long, with everything that a step may have."""
    X = (rng.random((40, 4)) < 0.4).astype(float)
    options = {"momentum": 0.8, "l2": 0.05, "l1": 0.02, "learning_rate": 0.5, "decay": "linear"}
    return RBM(3, n_iter=1, batch_size=20, dtype="float64", **options).training(X)


def test_momentum_and_decays_by_hand(training, rng):
    values = {name: np.array(value) for name, value in training.parameters().items()}
    moments = dict.fromkeys(values, 0.0)
    for step in range(2):
        gradient = {name: rng.standard_normal(value.shape) for name, value in values.items()}
        training.apply(gradient)
        rate = 0.5 * (1.0 - step / 2)
        for name, g in gradient.items():
            if name == "w":
                g = g - 0.05 * values["w"] - 0.02 * np.sign(values["w"])
            moments[name] = 0.8 * moments[name] + 0.2 * g
            values[name] = values[name] + rate * moments[name]
    for name, value in training.parameters().items():
        np.testing.assert_allclose(value, values[name], rtol=1e-13, atol=1e-15)


def test_offsets_are_the_means_of_data_and_hidden_units(training, rng):
    """Or, of the enhanced gradient, halfway between those of the data and of the model."""
    v, h, v_model, h_model = (rng.random((20, size)) for size in (4, 3, 4, 3))
    mu, lam = training._offsets(v, h, v_model, h_model)
    np.testing.assert_allclose(mu, training.model.mean_)
    np.testing.assert_allclose(lam, h.mean(axis=0))
    training.model.offsets = "average"
    mu, lam = training._offsets(v, h, v_model, h_model)
    np.testing.assert_allclose(mu, np.concatenate([v, v_model]).mean(axis=0))
    np.testing.assert_allclose(lam, np.concatenate([h, h_model]).mean(axis=0))
    training.model.centered = False
    assert training._offsets(v, h, v_model, h_model) is None
