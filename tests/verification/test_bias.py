"""Estimators of a gradient beside the exact one, which loops over all states find again."""

from itertools import product

import numpy as np
import pytest

from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.functional.harmonium import Harmonium, free_energy, independent
from capsnp.functional.units import Categorical, Gaussian
from capsnp.verification import ExactCapsules, GradientBias, gradient_bias
from capsnp.verification.bias import exchange, model_statistics


@pytest.fixture
def machine(rng):
    return Harmonium(rng.normal(0, 2.5, (4, 3)), rng.normal(size=4), rng.normal(size=3))


@pytest.fixture
def data(rng):
    return rng.integers(0, 2, (10, 4)).astype(float)


def states(n):
    return np.asarray(list(product((0.0, 1.0), repeat=n)))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def log_likelihood(theta, data):
    """Mean log P of rows under a Bernoulli machine of 4 and 3 units, by all 128 states."""
    w, b, c = np.split(theta, [12, 16])
    w = w.reshape(4, 3)
    weights = {
        (tuple(v), tuple(h)): np.exp(v @ w @ h + v @ b + h @ c)
        for v in states(4)
        for h in states(3)
    }
    total = sum(weights.values())
    rows = [sum(p for (v, _), p in weights.items() if v == tuple(row)) for row in data]
    return np.mean(np.log(np.asarray(rows) / total))


def test_the_exact_gradient_is_that_of_the_log_likelihood(machine, data):
    theta = np.concatenate([machine.w.ravel(), machine.b, machine.c]).astype(complex)
    expected = [
        log_likelihood(theta + 1e-20j * unit, data).imag / 1e-20 for unit in np.eye(len(theta))
    ]
    found = gradient_bias(machine, data, "mixing")[0]
    np.testing.assert_allclose(found.exact, expected, atol=1e-12)


def conditional(machine, v):
    """P(v') after one Gibbs step from v, by all hidden states."""
    p_h = sigmoid(v @ machine.w + machine.c)
    ends = np.zeros(16)
    for h in states(3):
        chance = np.prod(np.where(h == 1, p_h, 1 - p_h))
        p_v = sigmoid(machine.w @ h + machine.b)
        ends += chance * np.prod(np.where(states(4) == 1, p_v, 1 - p_v), axis=1)
    return ends


@pytest.mark.parametrize("k", [1, 3])
def test_the_bias_of_contrastive_divergence_is_that_of_its_transition_matrix(machine, data, k):
    transition = np.asarray([conditional(machine, v) for v in states(4)])
    p = np.asarray([np.mean(np.all(data == v, axis=1)) for v in states(4)])
    p = p @ np.linalg.matrix_power(transition, k)
    h = sigmoid(states(4) @ machine.w + machine.c)
    expected = np.concatenate([((states(4).T * p) @ h).ravel(), p @ states(4), p @ h])
    bias = np.linalg.norm(model_statistics(machine) - expected)
    found = gradient_bias(machine, data, "cd", k=k, n_repeats=2000)[0]
    value, stderr = found.bias()
    assert bias > 5 * stderr
    assert abs(value - bias) < 4 * stderr


@pytest.mark.parametrize("estimator", ["pcd", "pt"])
def test_chains_that_live_on_lose_their_bias_while_the_machine_stays(machine, data, estimator):
    options = {"at": (0, 60), "learning_rate": 0.0, "n_repeats": 400}
    found = gradient_bias(machine, data, estimator, **options)
    assert found[0].bias()[0] > 5 * found[60].bias()[0]
    assert found[60].bias()[0] < 5 * found[60].spread() / np.sqrt(400)


def test_an_exchange_of_states_keeps_both_distributions(machine, rng):
    ladder = [independent(machine), machine]
    p = [np.exp(-free_energy(each, states(4))) for each in ladder]
    p = [each / np.sum(each) for each in p]
    before = [states(4)[rng.choice(16, size=(1, 200_000), p=each)] for each in p]
    after = list(before)
    exchange(ladder, after, rng)
    for each, chances, old in zip(after, p, before, strict=True):
        found = np.bincount(each[0].astype(int) @ [8, 4, 2, 1], minlength=16) / 200_000
        assert np.all(np.abs(found - chances) < 5 * np.sqrt(chances / 200_000) + 1e-5)
        assert np.mean(np.any(each != old, axis=-1)) > 0.05


def test_mixing_takes_means_for_states(machine, data):
    v = data
    for _ in range(2):
        v = sigmoid(sigmoid(v @ machine.w + machine.c) @ machine.w.T + machine.b)
    h, h_data = sigmoid(v @ machine.w + machine.c), sigmoid(data @ machine.w + machine.c)
    expected = data.T @ h_data / 10 - v.T @ h / 10
    found = gradient_bias(machine, data, "mixing", k=2)[0]
    np.testing.assert_allclose(found.estimates[0, :12], expected.ravel(), atol=1e-14)
    assert found.spread() == found.bias()[1] == 0.0


def test_units_of_other_kinds_are_exact_through_the_layer_that_can_be_listed(rng):
    gaussian = Harmonium(rng.normal(size=(3, 2)), rng.normal(size=3), np.zeros(2), Gaussian())
    w, b, c = gaussian[:3]
    weights = np.asarray([np.exp(0.5 * np.sum((b + w @ h) ** 2) + c @ h) for h in states(2)])
    means = np.asarray([b + w @ h for h in states(2)])
    p = weights / weights.sum()
    np.testing.assert_allclose(model_statistics(gaussian)[6:9], p @ means)
    np.testing.assert_allclose(model_statistics(gaussian)[9:], p @ states(2))
    tern = Harmonium(rng.normal(size=(3, 40)), np.zeros(3), np.zeros(40), Categorical(3))
    np.testing.assert_allclose(np.sum(model_statistics(tern)[120:123]), 1.0)


def test_expert_capsules_are_compared_with_algorithm_1(rng):
    W, x = rng.normal(size=(3, 2, 2, 2)), rng.uniform(-0.5, 0.5, (20, 3, 2))
    model = ExactCapsules(W, np.full((3, 2), 0.7))
    found = gradient_bias(model, x, "mixing", at=(0, 5))
    np.testing.assert_allclose(found[0].exact, model.gradient(x).ravel())
    assert found[5].length < found[0].length  # the model has moved towards the data
    assert -1 <= found[0].cosine() <= 1
    with pytest.raises(OptionError, match="estimator: expected 'mixing' of expert capsules"):
        gradient_bias(model, x, "cd")


def test_the_bias_of_the_bias_is_none(rng):
    exact = np.asarray([3.0, 4.0])
    found = [
        GradientBias(exact, exact + np.asarray([0.3, 0.0]) + rng.normal(size=(20, 2)))
        for _ in range(3000)
    ]
    signed = [np.sum((f.mean - exact) ** 2) - f.spread() ** 2 / 20 for f in found]
    assert np.mean(signed) == pytest.approx(0.09, abs=4 * np.std(signed) / np.sqrt(3000))
    squares = [f.bias()[0] ** 2 for f in found]
    np.testing.assert_allclose(squares, np.maximum(signed, 0.0), atol=1e-12)
    assert found[0].length == 5.0
    assert np.isnan(GradientBias(exact, np.zeros((2, 2))).bias()[1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"estimator": "sgd"}, OptionError, "estimator: expected"),
        ({"k": 0}, OptionError, "k: expected"),
        ({"at": ()}, OptionError, "at: expected at least one step"),
        ({"at": (-1,)}, OptionError, "at: expected"),
        ({"n_temperatures": 1}, OptionError, "n_temperatures: expected"),
        ({"data": np.zeros((3, 5))}, ShapeError, r"data: expected shape \(N, 4\), got \(3, 5\)"),
        ({"data": np.full((3, 4), 2.0)}, DomainError, "data: expected numbers from 0 to 1"),
    ],
)
def test_bad_input_is_refused(machine, data, options, error, message):
    with pytest.raises(error, match=message):
        gradient_bias(machine, **({"data": data} | options))


def test_a_machine_that_is_too_large_is_refused():
    machine = Harmonium(np.zeros((30, 60)), np.zeros(30), np.zeros(60))
    with pytest.raises(OptionError, match=r"at most 1,048,576 states to list, got"):
        gradient_bias(machine, np.zeros((2, 30)))
