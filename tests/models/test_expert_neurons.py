"""Expert neurons as an estimator: what it learns, by which rule, and its state."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone

from capsnp.errors import DomainError, NotFittedError, OptionError, ShapeError
from capsnp.evaluation.likelihood import log_likelihood
from capsnp.functional import length, neuron_free_energy, route
from capsnp.models import ExpertNeurons
from capsnp.training import tracking

SMALL = {"n_capsules": 4, "capsule_dim": 3, "n_steps": 30, "batch_size": 20, "dtype": "float64"}


@pytest.fixture(scope="module")
def features():
    """Four directions in turn, with noise: something that capsules can share out."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 6, 2))
    which = rng.integers(4, size=240)
    return kinds[which] * rng.uniform(0.5, 2.0, (240, 1, 1)) + 0.1 * rng.normal(size=(240, 6, 2))


@pytest.fixture(scope="module")
def bits(features):
    return (features > 0).astype(float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_two_steps_by_loops(features):
    """W, a and b after two steps of contrastive divergence with means, written out."""
    options = {"n_winners": None, "hidden": "mean", "n_steps": 2, "batch_size": 240}
    model = ExpertNeurons(**SMALL | options, routing_iterations=3, learning_rate=0.5)
    model.training(features)
    learned = {"W": np.array(model.W_), "a": np.array(model.a_), "b": np.array(model.b_)}
    v = (features - features.mean(axis=0)) / model.scale_
    model.fit(features)
    moments = dict.fromkeys(learned, 0.0)
    for t in range(2):
        W, a, b = learned.values()
        c = route(v, W, iterations=3).c * 6
        total = {name: np.zeros_like(part) for name, part in learned.items()}
        for n in range(240):
            M = np.einsum("ij,ijdp->jdip", c[n], W)
            h = sigmoid(np.einsum("jdip,ip->jd", M, v[n]) + a) - 0.5
            back = np.einsum("jdip,jd->ip", M, h) + b
            again = sigmoid(np.einsum("jdip,ip->jd", M, back) + a) - 0.5
            for i, j in itertools.product(range(6), range(4)):
                total["W"][i, j] += c[n, i, j] * (np.outer(h[j], v[n, i]))
                total["W"][i, j] -= c[n, i, j] * (np.outer(again[j], back[i]))
            total["a"] += h - again
            total["b"] += v[n] - back
        for name in learned:
            fresh = total[name] / 240 - 1e-4 * learned[name]
            moments[name] = 0.9 * moments[name] + 0.1 * fresh
            learned[name] = learned[name] + 0.5 * (1 - t / 2) * moments[name]
    for name, want in learned.items():
        np.testing.assert_allclose(getattr(model, f"{name}_"), want, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("visible", ["gaussian", "bernoulli", "logistic"])
@pytest.mark.parametrize("n_winners", [None, 1])
def test_training_rebuilds_the_data(features, bits, visible, n_winners):
    """What all neurons expect of the features comes nearer to them than the mean is."""
    X = bits if visible == "bernoulli" else features
    options = {"n_steps": 400, "feature_scale": 1.0, "balance": 0.1, "routing_iterations": 1}
    rate = {"gaussian": 1.0, "bernoulli": 4.0, "logistic": 10.0}[visible]
    model = ExpertNeurons(**SMALL | options, visible=visible, learning_rate=rate)
    model.set_params(n_winners=n_winners, rebalance_steps=200).fit(X)
    codes = model.transform(X)
    if n_winners:
        priority = model.priority(codes)
        codes = codes * (priority == np.max(priority, axis=1)[:, None])[..., None]
    error = np.sum((model.inverse_transform(codes) - X) ** 2)
    assert error < 0.6 * np.sum((X - X.mean(axis=0)) ** 2)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("hidden", ["mean", "sample"])
def test_one_winner_fast_path_equals_the_general_one(features, iterations, hidden):
    model = ExpertNeurons(routing_iterations=iterations, hidden=hidden, mixing_steps=2, **SMALL)
    training = model.training(features)
    v, noise = model.inputs(features[:50]), training._noise(50)
    c, z = model._route(v)
    on = model._winners(z)
    general = training._of(v, c, noise, z=z, on=on)
    fast = training._one_winner_gradient(v, c, noise, np.argmax(on, axis=1))
    for one, other in zip(fast, general, strict=True):
        size = np.max(np.abs(other))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * size)


def test_codes_are_the_means_of_spins(features):
    model = ExpertNeurons(**SMALL).fit(features)
    z = model.routing(features).z
    want = np.tanh((z + model.a_) / 2) / np.sqrt(3)
    np.testing.assert_allclose(model.transform(features), want, rtol=1e-10, atol=1e-14)
    assert np.max(length(model.transform(features * 1e30))) <= 1 + 1e-15


def test_priority_of_codes_is_that_of_their_sums(features):
    """log Σ_s e^{f·s/2} over all spins s of a capsule, and its bias."""
    model = ExpertNeurons(**SMALL).fit(features)
    field = model.routing(features).z[:9] + model.a_
    spins = np.asarray(list(itertools.product((-1.0, 1.0), repeat=3)))
    want = np.log(np.sum(np.exp(field @ spins.T / 2), axis=2)) + model.bias_
    np.testing.assert_allclose(model.priority(model.transform(features[:9])), want, rtol=1e-9)


def test_winners_share_the_data(features):
    options = {"n_steps": 300, "rebalance_steps": 1000}
    model = ExpertNeurons(**SMALL | options).fit(features)
    won = np.argmax(model.priority(model.transform(features)), axis=1)
    share = np.bincount(won, minlength=4) / len(features)
    assert share.min() > 0.15
    assert share.max() < 0.35


@pytest.mark.parametrize("visible", ["gaussian", "bernoulli"])
def test_score_samples_is_minus_free_energy(features, bits, visible):
    X = bits if visible == "bernoulli" else features
    model = ExpertNeurons(visible=visible, **SMALL).fit(X)
    v = model.standardize(X)
    c = model.routing(X).c
    want = -neuron_free_energy(v, model.W_, c, model.a_, model.b_, visible=visible, offset=0.5)
    np.testing.assert_allclose(model.score_samples(X), want, rtol=1e-10)
    assert model.score(X) == pytest.approx(np.mean(want))


def test_chains_draw_what_was_trained_on():
    """Four bits of which one is on, by one wide machine: chains from noise find these rows."""
    X = np.eye(4)[np.random.default_rng(0).integers(4, size=400)].reshape(400, 2, 2)
    model = ExpertNeurons(
        2,
        4,
        visible="bernoulli",
        routing_iterations=1,
        n_winners=None,
        learning_rate=1.0,
        n_steps=3000,
        l2=0.0,
        dtype="float64",
    ).fit(X)
    drawn = model.sample(500, gibbs_steps=50).reshape(500, 4)
    one_on = np.max(drawn, axis=1) > 0.5
    assert np.mean(one_on & (np.sum(drawn > 0.5, axis=1) == 1)) > 0.75
    assert np.bincount(np.argmax(drawn, axis=1), minlength=4).min() > 40


def test_chains_are_the_same_for_the_same_seed(features):
    model = ExpertNeurons(**SMALL).fit(features)
    one, same, other = (model.sample(3, gibbs_steps=4, random_state=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    near = model.gibbs(features[:5], 2, random_state=1)
    assert np.array_equal(near, model.gibbs(features[:5], 2, random_state=1))
    assert near.shape == (5, 6, 2)


@pytest.mark.parametrize("visible", ["gaussian", "bernoulli", "logistic"])
def test_features_come_back_from_the_neurons(features, bits, visible):
    X = bits if visible == "bernoulli" else features
    model = ExpertNeurons(visible=visible, **SMALL).fit(X)
    np.testing.assert_allclose(model._features(model.inputs(X)), X, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hidden", ["mean", "sample"])
def test_interrupted_training_ends_with_the_same_bytes(features, hidden):
    model = ExpertNeurons(**SMALL | {"dtype": "float32"}, hidden=hidden)
    features = features.astype("float32")
    straight = clone(model).fit(features)
    first = clone(model).training(features)
    for _ in range(13):
        first.apply(first.gradient())
    second_model = clone(model)
    second = second_model.training(features)
    second.restore({name: np.array(value) for name, value in first.state().items()})
    assert second.step == 13
    while second.step < second.n_steps:
        second.apply(second.gradient())
    second.finish(tracking(()))
    for name, value in straight.state().items():
        assert value.tobytes() == second_model.state()[name].tobytes(), name


def test_state_round_trip(features):
    model = ExpertNeurons(**SMALL).fit(features)
    twin = ExpertNeurons(**SMALL).restore(model.state())
    assert np.array_equal(twin.transform(features), model.transform(features))
    assert np.array_equal(twin.sample(2, gibbs_steps=3), model.sample(2, gibbs_steps=3))


def test_partial_fit_learns_from_batches_with_new_noise(features):
    model = ExpertNeurons(**SMALL, hidden="sample")
    for start in range(0, 240, 60):
        model.partial_fit(features[start : start + 60])
    assert model.transform(features).shape == (240, 4, 3)
    training = model._online
    before = training._noise(2)
    training.learn(features[:60])
    assert not np.array_equal(before, training._noise(2))


@pytest.mark.parametrize("backend", ["torch", "array-api-strict"])
def test_other_backends_learn_and_draw_the_same(features, backend):
    pytest.importorskip(backend.replace("-", "_"))
    want = ExpertNeurons(hidden="sample", **SMALL).fit(features)
    got = ExpertNeurons(hidden="sample", backend=backend, **SMALL).fit(features)
    for name, value in want.state().items():
        np.testing.assert_allclose(got.state()[name], value, rtol=1e-7, atol=1e-10)
    drawn = want.sample(3, gibbs_steps=5)
    np.testing.assert_allclose(got.sample(3, gibbs_steps=5), drawn, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visible": "relu"}, "visible: expected 'gaussian', 'bernoulli' or 'logistic', got 're"),
        ({"hidden": "drawn"}, "hidden: expected 'mean' or 'sample', got 'drawn'"),
        ({"n_winners": 5}, r"n_winners: expected 1 to 4 \(n_capsules\) or None, got 5"),
        ({"mixing_steps": 0}, "mixing_steps: expected a whole number from 1, got 0"),
    ],
)
def test_bad_options_are_named_before_any_work(features, options, message):
    with pytest.raises(OptionError, match=message):
        ExpertNeurons(**SMALL | options).fit(features)


def test_bad_data(features):
    with pytest.raises(DomainError, match=r"X: expected numbers in \[0, 1\] for visible='bern"):
        ExpertNeurons(visible="bernoulli", **SMALL).fit(features)
    with pytest.raises(NotFittedError, match="call fit first"):
        ExpertNeurons().sample()
    model = ExpertNeurons(**SMALL).fit(features)
    with pytest.raises(ShapeError, match=r"codes: expected shape \(N, J, D\)"):
        model.inverse_transform(np.zeros((2, 3, 3)))
    with pytest.raises(OptionError, match="gibbs_steps: expected a whole number from 1, got 0"):
        model.sample(2, gibbs_steps=0)


# --- likelihood ---------------------------------------------------------------------------------

WHOLE = {"routing_iterations": 1, "n_winners": None, "n_steps": 50}


def test_probabilities_of_all_bits_add_up():
    """And differ by the free energies that the model tells."""
    X = (np.random.default_rng(1).random((240, 4, 2)) < 0.3).astype("float32")
    model = ExpertNeurons(**SMALL | WHOLE | {"dtype": "float32"}, visible="bernoulli").fit(X)
    states = np.asarray(list(itertools.product((0.0, 1.0), repeat=8)), dtype="float32")
    assert np.array_equal(model.visible_states(states.reshape(-1, 4, 2)), states)
    found = log_likelihood(model.machine(), states)
    assert found.partition.method == "exact"
    assert np.sum(np.exp(found.rows)) == pytest.approx(1.0, abs=1e-12)
    told = model.score_samples(states.reshape(-1, 4, 2))
    np.testing.assert_allclose(found.rows - told, found.rows[0] - told[0], atol=1e-5)


def test_density_of_real_features(features):
    """Their log-likelihood less the free energy that the model tells is one constant, −log Z; the
    density integrates to 1 by importance sampling from Gaussians that are wider."""
    model = ExpertNeurons(2, 2, **WHOLE, feature_scale=1.0, dtype="float64").fit(features)
    machine, v = model.machine(), model.visible_states(features)
    found = log_likelihood(machine, v)
    assert found.measure == "volume"
    told = model.score_samples(features)
    np.testing.assert_allclose(found.rows - told, found.rows[0] - told[0], atol=1e-12)
    noise = np.random.default_rng(0).standard_normal((100_000, 12))
    log_q = -0.5 * np.sum(noise**2, axis=1) - 6 * np.log(2 * np.pi) - 12 * np.log(1.2)
    weight = np.exp(log_likelihood(machine, machine.b + 1.2 * noise).rows - log_q)
    assert abs(weight.mean() - 1.0) < 5 * weight.std() / np.sqrt(len(weight))


def test_coefficients_are_said_where_routing_finds_others(features):
    model = ExpertNeurons(**SMALL | WHOLE | {"routing_iterations": 2}).fit(features)
    with pytest.raises(OptionError, match="c: expected coefficients"):
        model.machine()
    c = model.routing(features).c.mean(axis=0)
    w = model.machine(c).w.reshape(6, 2, 4, 3)
    np.testing.assert_allclose(w[4, 1, 2, 0], c[4, 2] * model.W_[4, 2, 0, 1])
    with pytest.raises(ShapeError, match="c: expected"):
        model.machine(c[:2])
    with pytest.raises(OptionError, match="n_winners: expected None"):
        ExpertNeurons(**SMALL | {"n_steps": 2}).fit(features).machine(c)
    with pytest.raises(NotFittedError):
        ExpertNeurons(n_winners=None).machine()


def test_logistic_neurons_have_probabilities(features):
    model = ExpertNeurons(**SMALL | WHOLE, visible="logistic").fit(features)
    v = (features - features.mean(axis=0)) / model.scale_
    np.testing.assert_allclose(model.visible_states(features), sigmoid(v).reshape(240, 12))
