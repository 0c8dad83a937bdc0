"""Kernels that leave a distribution as it is pass, and broken ones fail."""

from itertools import product

import numpy as np
import pytest

from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.functional import (
    mix,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
)
from capsnp.verification import Balls, ExactCapsules, check_stationarity

N_VISIBLE, N_HIDDEN = 4, 3
STATES = np.asarray(list(product((0.0, 1.0), repeat=N_VISIBLE)))


@pytest.fixture
def rbm(rng):
    """Weights and biases of a small machine."""
    return rng.normal(size=(N_VISIBLE, N_HIDDEN)), rng.normal(size=N_VISIBLE), rng.normal(size=3)


def log_p(rbm):
    return lambda v: -rbm_free_energy(v, *rbm)


def gibbs(v, rng, w, b, c):
    h = rng.random((len(v), N_HIDDEN)) < rbm_hidden_probability(v, w, c)
    on = rbm_visible_probability(h.astype(float), w, b)
    return (rng.random(v.shape) < on).astype(float)


def wrong_sign(v, rng, w, b, c):
    h = rng.random((len(v), N_HIDDEN)) < rbm_hidden_probability(v, -w, c)
    return (rng.random(v.shape) < rbm_visible_probability(h.astype(float), w, b)).astype(float)


def one_sided(v, rng, w, b, c):
    """Neurons are only ever switched on."""
    return np.maximum(v, gibbs(v, rng, w, b, c))


def mean_field(v, rng, w, b, c):
    """Hidden probabilities in place of samples."""
    on = rbm_visible_probability(rbm_hidden_probability(v, w, c), w, b)
    return (rng.random(v.shape) < on).astype(float)


BROKEN = [wrong_sign, one_sided, mean_field]


def matrix_of(w, b, c):
    """Transitions v → v' by enumeration of the hidden states."""
    total = np.zeros((len(STATES), len(STATES)))
    for h in product((0.0, 1.0), repeat=N_HIDDEN):
        p_h = rbm_hidden_probability(STATES, w, c)
        of_h = np.prod(np.where(np.asarray(h) == 1, p_h, 1 - p_h), axis=1)
        p_v = rbm_visible_probability(np.asarray([h]), w, b)[0]
        total += of_h[:, None] * np.prod(np.where(STATES == 1, p_v, 1 - p_v), axis=1)
    return total


# --- listed states ------------------------------------------------------------------------------


def test_gibbs_sampling_of_the_rbm_is_stationary(rbm):
    found = check_stationarity(lambda v, rng: gibbs(v, rng, *rbm), log_p(rbm), STATES)
    assert found.stationary
    assert found.p_value > 1e-3
    assert (found.measure, found.n_samples) == ("total variation", 20_000)
    assert 0 < found.typical < found.floor


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_sampling_is_not(rbm, broken):
    found = check_stationarity(lambda v, rng: broken(v, rng, *rbm), log_p(rbm), STATES)
    assert not found.stationary
    assert found.p_value < 1e-3


def test_transitions_by_enumeration(rbm):
    found = check_stationarity(matrix_of(*rbm), log_p(rbm), STATES)
    assert found.stationary
    assert found.distance < 1e-14
    w, b, c = rbm
    broken = check_stationarity(matrix_of(w, -b, c), log_p(rbm), STATES)
    assert not broken.stationary
    assert broken.distance > 0.01


def test_a_matrixs_distance_is_the_total_variation():
    turn = np.asarray([[0.0, 1.0], [1.0, 0.0]])
    found = check_stationarity(turn, lambda s: np.log([0.2, 0.8])[s], np.arange(2))
    assert found.distance == pytest.approx(0.6, rel=1e-14)
    assert (found.stationary, found.p_value) == (False, 0.0)


def test_a_sampler_and_its_matrix_are_as_far(rbm):
    w, b, c = rbm
    sampled = check_stationarity(lambda v, rng: gibbs(v, rng, w, -b, c), log_p(rbm), STATES)
    exact = check_stationarity(matrix_of(w, -b, c), log_p(rbm), STATES)
    assert abs(sampled.distance - exact.distance) < 5 * sampled.typical


def test_exact_draws_pass_as_often_as_the_level_says(rbm):
    """A kernel that forgets its state and draws anew."""
    log_weight = log_p(rbm)(STATES)
    p = np.exp(log_weight) / np.sum(np.exp(log_weight))

    def anew(v, rng):
        return STATES[rng.choice(len(p), size=len(v), p=p)]

    runs = [
        check_stationarity(
            anew, log_p(rbm), STATES, n_samples=500, level=0.1, random_state=seed
        ).stationary
        for seed in range(200)
    ]
    assert 200 * 0.9 - 5 * 4.25 < sum(runs) < 200 * 0.9 + 5 * 4.25  # √(200 · 0.9 · 0.1) = 4.24


# --- balls ----------------------------------------------------------------------------------------


@pytest.fixture
def capsules(rng):
    return ExactCapsules(3 * rng.normal(size=(2, 2, 2, 2)), np.full((2, 2), 0.5))


def check(model, kernel, **options):
    return check_stationarity(
        kernel, model.log_likelihood, model.balls,
        log_bound=model.log_bound - model.log_partition(), **options,
    )  # fmt: skip


def test_gibbs_sampling_of_capsules_is_stationary(capsules):
    found = check(capsules, capsules.gibbs_step)
    assert found.stationary
    assert found.p_value > 1e-3
    assert (found.measure, found.n_samples) == ("maximum mean discrepancy", 1000)
    assert 0 < found.typical < found.floor


def test_keeping_every_state_is_stationary(capsules):
    assert check(capsules, lambda x, _: x).stationary


@pytest.mark.parametrize(
    "kernel",
    [
        lambda x, rng: Balls(2, 2).uniform(len(x), rng),
        lambda x, _: 0.8 * x,
        lambda x, _: np.abs(x),
    ],
    ids=["uniform", "shrink", "one-sided"],
)
def test_other_kernels_are_not(capsules, kernel):
    found = check(capsules, kernel)
    assert not found.stationary
    assert found.p_value < 1e-3


def test_gibbs_sampling_with_wrong_maps_is_not(capsules):
    other = ExactCapsules(capsules.W[::-1], capsules.c)
    assert not check(capsules, other.gibbs_step).stationary


def test_mixing_by_routing_is_not(capsules):
    small = ExactCapsules(capsules.W / 3, capsules.c)
    for model, ratio in ((capsules, 1), (small, 5)):
        found = check(model, lambda x, _, model=model: mix(x, model.W, model.c).x_in)
        assert found.distance > ratio * found.floor


def test_discrepancy_by_loops(capsules):
    seen = []

    def kernel(x, _):
        seen.append(x)
        return 0.5 * x

    found = check(capsules, kernel, n_samples=20, level=0.1)
    rng = np.random.default_rng(0)
    samples = capsules.sample(40, rng)
    np.testing.assert_array_equal(seen[0], samples[:20])
    both = np.concatenate([0.5 * samples[:20], samples[20:]])
    distance = np.asarray([[np.linalg.norm(a - b) for b in both] for a in both])
    median = np.median(distance[np.triu_indices(40, 1)] ** 2)
    value = 0.0
    for k, l in product(range(40), repeat=2):
        sign = 1 if (k < 20) == (l < 20) else -1
        value += sign * np.exp(-(distance[k, l] ** 2) / (2 * median)) / 400
    assert found.distance == pytest.approx(np.sqrt(value), rel=1e-9)


def test_exact_draws_on_balls_pass_as_often_as_the_level_says(capsules):
    def anew(x, rng):
        return capsules.sample(len(x), rng)

    runs = [
        check(capsules, anew, n_samples=60, level=0.1, random_state=seed).stationary
        for seed in range(100)
    ]
    assert 100 * 0.9 - 5 * 3 < sum(runs) < 100  # √(100 · 0.9 · 0.1) = 3


# --- bad input ------------------------------------------------------------------------------------


def test_what_does_not_fit(rbm, capsules):
    with pytest.raises(ShapeError, match=r"kernel: expected shape \(16, 16\), got \(3, 3\)"):
        check_stationarity(np.eye(3), log_p(rbm), STATES)
    with pytest.raises(OptionError, match="kernel: expected only states of the space"):
        check_stationarity(lambda v, _: v + 1, log_p(rbm), STATES)
    with pytest.raises(ShapeError, match="kernel: expected states of shape"):
        check_stationarity(lambda v, _: v[:, :2], log_p(rbm), STATES)
    with pytest.raises(OptionError, match="kernel: expected a sampler, with log_bound, on balls"):
        check_stationarity(np.eye(3), capsules.log_likelihood, capsules.balls, log_bound=1.0)
    with pytest.raises(OptionError, match="kernel: expected a sampler, with log_bound, on balls"):
        check_stationarity(lambda x, _: x, capsules.log_likelihood, capsules.balls)
    with pytest.raises(DomainError, match="log_p: expected at most"):
        check_stationarity(lambda x, _: x, capsules.log_likelihood, capsules.balls, log_bound=-3.0)
    with pytest.raises(OptionError, match="level: expected"):
        check_stationarity(np.eye(16), log_p(rbm), STATES, level=0.0)
    with pytest.raises(OptionError, match="n_samples: expected at least 2"):
        check_stationarity(np.eye(16), log_p(rbm), STATES, n_samples=1)
