"""Deep belief networks: bounds by enumeration, learning, samples, manners."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from capsnp import RBM, DeepBeliefNetwork
from capsnp.errors import CheckpointError, DomainError, OptionError, ShapeError
from capsnp.functional import harmonium
from capsnp.functional.belief import down_field, up_field, wake_gradient
from capsnp.training import Observer, RunFolder, record, train

V = np.asarray(list(itertools.product((0.0, 1.0), repeat=5)))
MACHINE = RBM(n_iter=30, batch_size=50, learning_rate=0.3)


@pytest.fixture(scope="module")
def data():
    """Rows of a distribution of three patterns, some units flipped, (1000, 5)."""
    rng = np.random.default_rng(0)
    patterns = np.asarray([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [1, 0, 1, 0, 0.0]])
    rows = patterns[rng.integers(3, size=1000)]
    return np.abs(rows - (rng.random(rows.shape) < 0.05)).astype("float64")


@pytest.fixture(scope="module")
def model(data):
    return DeepBeliefNetwork((4, 3), rbm=MACHINE).fit(data)


def states(n):
    return np.asarray(list(itertools.product((0.0, 1.0), repeat=n)))


def log_bernoulli(s, x):
    return np.sum(s * x - np.logaddexp(0, x), axis=-1)


def exact_log_p(model, rows):
    """log p(v) of a network of one directed layer and its top, all hidden states summed."""
    (layer,), top = model.layers_, model.top_
    h = states(layer.w.shape[1])
    prior = h @ top.b + np.sum(np.logaddexp(0, h @ top.w + top.c), axis=1)
    prior -= np.logaddexp.reduce(prior)
    below = log_bernoulli(rows[:, None], (h @ layer.w.T + layer.b)[None])
    return np.logaddexp.reduce(below + prior, axis=1)


def exact_bound(model, rows):
    """log p(v) less the divergence of q(h | v) from p(h | v)."""
    (layer,), top = model.layers_, model.top_
    h = states(layer.w.shape[1])
    prior = h @ top.b + np.sum(np.logaddexp(0, h @ top.w + top.c), axis=1)
    joint = log_bernoulli(rows[:, None], (h @ layer.w.T + layer.b)[None]) + prior
    joint -= np.logaddexp.reduce(prior)
    log_q = log_bernoulli(h[None], (rows @ layer.r + layer.c)[:, None])
    return np.sum(np.exp(log_q) * (joint - log_q), axis=1)


def test_bound_is_below_the_likelihood_and_draws_tend_to_it(model, data):
    rows = data[:200]
    exact, bound = np.mean(exact_log_p(model, rows)), np.mean(exact_bound(model, rows))
    found = model.lower_bound(rows, n_draws=400, rng=1)
    assert bound < exact
    assert found.partition.method == "exact"
    assert found.value == pytest.approx(bound, abs=5 * found.stderr)
    assert found.stderr < 0.01
    assert found.value < found.tighter < exact + 0.01
    assert found.tighter == pytest.approx(exact, abs=0.02)


def test_transposed_start_begins_at_the_machine_below(data):
    """With nothing learnt on top, bound and log-likelihood are those of the first machine."""
    rows = data[:100]
    still = RBM(5, n_iter=1, batch_size=1000, learning_rate=0.0)
    first = clone(MACHINE).set_params(n_components=4)
    model = DeepBeliefNetwork([first, still], start="transposed").fit(data)
    machine = clone(first).fit(data)
    free = -machine.free_energy(V)
    expected = -machine.free_energy(rows) - np.logaddexp.reduce(free)
    np.testing.assert_allclose(exact_log_p(model, rows), expected, atol=1e-9)
    np.testing.assert_allclose(exact_bound(model, rows), expected, atol=1e-9)
    assert model.lower_bound(rows, n_draws=2).value == pytest.approx(np.mean(expected), abs=1e-6)


def test_learning_on_top_does_not_lower_the_bound(data):
    first = RBM(4, n_iter=1, init_scale=1.5, learning_rate=0.0)  # knows nothing: there is room
    above = RBM(5, n_iter=30, batch_size=50, learning_rate=0.1, algorithm="pcd", k=5)
    before = clone(first).fit(data)
    start = np.mean(-before.free_energy(data)) - np.logaddexp.reduce(-before.free_energy(V))
    model = DeepBeliefNetwork([first, above], start="transposed").fit(data)
    after = np.mean(exact_bound(model, data))
    assert after > start + 0.2
    assert np.mean(exact_log_p(model, data)) > after


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
def test_fine_tuning_raises_the_likelihood(data, algorithm):
    model = DeepBeliefNetwork(
        (4, 5),
        rbm=RBM(n_iter=30, batch_size=50, learning_rate=0.1),
        fine_tune_iter=60,
        fine_tune_rate=0.1,
        fine_tune_algorithm=algorithm,
        batch_size=50,
    )
    greedy = clone(model).set_params(fine_tune_iter=0).fit(data)
    before = np.mean(exact_log_p(greedy, data))
    assert np.array_equal(greedy.layers_[0].w, greedy.layers_[0].r)
    tuned = model.fit(data)
    assert np.mean(exact_log_p(tuned, data)) > before + 0.1
    assert not np.array_equal(tuned.layers_[0].w, tuned.layers_[0].r)
    later = greedy.set_params(fine_tune_iter=60).fine_tune(data)
    np.testing.assert_array_equal(later.layers_[0].r, tuned.layers_[0].r)


def test_steps_follow_the_gradients_of_both_phases(data, model):
    """Means over many draws at one row against sums over all hidden states."""
    many = np.repeat(data[:1], 40_000, axis=0)
    twin = DeepBeliefNetwork().restore(model.state())
    twin.set_params(batch_size=len(many), fine_tune_iter=1, fine_tune_k=50)
    found = twin.fine_tuning(many).gradient()
    (layer,), h = model.layers_, states(4)
    q = np.exp(log_bernoulli(h, data[0] @ layer.r + layer.c))
    rows = np.repeat(data[:1], len(h), axis=0)
    each = [wake_gradient(layer, rows[k : k + 1], h[k : k + 1]).weights for k in range(len(h))]
    np.testing.assert_allclose(found["0.w"], np.tensordot(q, each, 1), atol=5 / 200)
    # after 50 steps the chains have the model's distribution, whose v and h the sleep phase draws
    prior = np.exp(-harmonium.free_energy(model.top_, h))
    given = np.exp(log_bernoulli(V[None], (h @ layer.w.T + layer.b)[:, None]))
    joint = (prior / prior.sum())[:, None] * given  # (H, V)
    error = h[:, None] - 1 / (1 + np.exp(-up_field(layer, V)))[None]
    expected = np.einsum("hv,vi,hvj->ij", joint, V, error)
    np.testing.assert_allclose(found["0.r"], expected, atol=5 / 200)


def test_samples_have_the_model_s_means(model):
    drawn = model.sample(20_000, n_steps=30, rng=3)
    p = np.exp(exact_log_p(model, V))
    assert p.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(drawn.mean(axis=0), p @ V, atol=5 * 0.5 / 20_000**0.5)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    means = model.sample(20_000, n_steps=30, show="means", rng=3)
    np.testing.assert_allclose(means.mean(axis=0), p @ V, atol=5 * 0.5 / 20_000**0.5)


def test_codes_and_back(model, data):
    (layer,), top = model.layers_, model.top_
    codes = model.transform(data)
    first = 1 / (1 + np.exp(-up_field(layer, data)))
    np.testing.assert_allclose(codes, harmonium.hidden_mean(top, first), rtol=1e-12)
    back = harmonium.visible_mean(top, codes)
    expected = 1 / (1 + np.exp(-down_field(layer, back)))
    np.testing.assert_allclose(model.reconstruct(data), expected, rtol=1e-12)
    assert np.mean((model.reconstruct(data) - data) ** 2) < 0.9 * np.mean(data.var(axis=0))


def test_depth_does_not_matter_to_the_manners(data):
    for hidden in ((3,), (4, 3, 2)):
        model = DeepBeliefNetwork(hidden, rbm=MACHINE, fine_tune_iter=1).fit(data)
        assert len(model.layers_) == len(hidden) - 1
        assert model.transform(data).shape == (1000, hidden[-1])
        assert model.sample(3, n_steps=2, show="means").shape == (3, 5)
        assert np.isfinite(model.lower_bound(data[:10], n_draws=2).value)
    one = DeepBeliefNetwork((3,), rbm=MACHINE).fit(data)
    machine = clone(MACHINE).set_params(n_components=3).fit(data)
    bound = one.lower_bound(data, n_draws=2)
    assert bound.value == pytest.approx(machine.log_likelihood(data).value, abs=1e-9)


def test_other_visible_units():
    rng = np.random.default_rng(0)
    hidden = rng.integers(0, 2, (2000, 1))
    X = 100.0 + 30.0 * (np.hstack([hidden, -hidden, hidden]) + 0.3 * rng.normal(size=(2000, 3)))
    model = DeepBeliefNetwork((3, 2), rbm=MACHINE, fine_tune_iter=5, batch_size=50).fit(X)
    assert model.visible_ == "gaussian"
    drawn = model.sample(2000, n_steps=100)
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=4)
    assert np.corrcoef(drawn.T)[0, 1] < -0.5
    bound = model.lower_bound(X[:200], n_draws=50)
    independent = -0.5 * np.mean(np.sum(np.log(2 * np.pi * np.e * X.var(axis=0))))
    assert independent < bound.value < bound.tighter < -3 * np.log(30 * 0.3) - 3.5

    groups = np.eye(3)[np.repeat(rng.integers(0, 3, (500, 1)), 2, axis=1)].reshape(500, 6)
    machine = clone(MACHINE).set_params(visible="categorical", n_categories=3)
    model = DeepBeliefNetwork((4, 3), rbm=machine, fine_tune_iter=5, batch_size=50).fit(groups)
    drawn = model.sample(200, n_steps=50).reshape(200, 2, 3)
    assert np.all(drawn.sum(axis=2) == 1)
    assert np.mean(np.all(drawn[:, 0] == drawn[:, 1], axis=1)) > 0.6


def test_same_seed_same_network(data):
    options = {"rbm": MACHINE, "fine_tune_iter": 2, "fine_tune_algorithm": "pcd"}
    one, other = (DeepBeliefNetwork((4, 3), **options).fit(data) for _ in range(2))
    for name, array in one.state().items():
        assert array.tobytes() == other.state()[name].tobytes(), name
    assert np.array_equal(one.sample(5, n_steps=3), other.sample(5, n_steps=3))
    apart = DeepBeliefNetwork((4, 3), random_state=7, **options).fit(data)
    assert not np.array_equal(one.top_.w, apart.top_.w)


class Stop(Observer):
    """Interrupts a stage."""

    def __init__(self, step):
        self.step = step

    def after_step(self, training):
        if training.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["layer-2", "fine-tuning"])
def test_goes_on_after_an_interrupt_with_the_same_bits(data, stage, tmp_path):
    made = DeepBeliefNetwork(
        (4, 3),
        rbm=RBM(n_iter=2, batch_size=100, algorithm="pcd"),
        fine_tune_iter=2,
        fine_tune_algorithm="pcd",
    )
    whole = clone(made).fit(data).state()
    run = RunFolder.create(tmp_path / "run", {})

    def observers(_, stop=None):
        return (*record(run, save_every=3, log_every=1), *([Stop(stop)] if stop else []))

    with run.lock():
        with pytest.raises(KeyboardInterrupt):
            clone(made).fit(data, observers=lambda s: observers(s, 7 if s == stage else None))
        resumed = clone(made).fit(data, observers=observers).state()
    for name, array in whole.items():
        assert array.tobytes() == resumed[name].tobytes(), name
    logged = [r["step"] for r in run.metrics() if r["stage"] == stage]
    assert logged == list(range(1, 21))


def test_save_and_load(model, data, tmp_path):
    model.save(tmp_path)
    twin = DeepBeliefNetwork.load(tmp_path)
    assert np.array_equal(twin.transform(data), model.transform(data))
    assert np.array_equal(twin.sample(4, n_steps=5), model.sample(4, n_steps=5))
    assert twin.get_params()["rbm__n_iter"] == 30
    mixed = DeepBeliefNetwork([clone(MACHINE).set_params(n_components=3), 2]).fit(data)
    mixed.save(tmp_path)
    assert DeepBeliefNetwork.load(tmp_path).hidden[0].n_components == 3
    RBM(2, n_iter=1).fit(data).save(tmp_path)
    with pytest.raises(CheckpointError, match="expected DeepBeliefNetwork, got RBM"):
        DeepBeliefNetwork.load(tmp_path)


def test_scikit_learn_s_checks_pass():
    small = DeepBeliefNetwork((4, 3), rbm=RBM(n_iter=2), fine_tune_iter=1)
    with pytest.warns(SkipTestWarning):
        results = check_estimator(small, on_fail=None)
    bad = {r["check_name"] for r in results if r["status"] not in ("passed", "skipped")}
    assert not bad


def test_pipeline_and_search(data):
    y = (data[:, 0] > 0).astype(int)
    model = make_pipeline(DeepBeliefNetwork((4, 3), rbm=MACHINE), LogisticRegression())
    grid = {"deepbeliefnetwork__rbm__learning_rate": [0.0, 0.3]}
    found = GridSearchCV(model, grid, cv=2).fit(data, y)
    assert found.best_score_ > 0.8
    assert found.best_params_ == {"deepbeliefnetwork__rbm__learning_rate": 0.3}
    names = DeepBeliefNetwork((4, 2), rbm=RBM(n_iter=1)).fit(data).get_feature_names_out()
    assert names.tolist() == ["deepbeliefnetwork0", "deepbeliefnetwork1"]


def test_every_library_trains_the_same(library, data):
    if library.name == "numpy-read-only":
        pytest.skip("the model makes its arrays itself")
    options = {
        "rbm": RBM(n_iter=1, batch_size=250, dtype="float64"),
        "fine_tune_iter": 1,
        "batch_size": 250,
    }
    model = DeepBeliefNetwork((4, 3), backend=library.backend.name, **options).fit(data)
    assert model.state()["0.r"].shape == (5, 4)
    drawn = model.sample(8, n_steps=3)
    assert drawn.shape == (8, 5)
    twin = DeepBeliefNetwork().restore(model.state())
    np.testing.assert_allclose(twin.transform(data), model.transform(data), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden: expected layers like \(500, 500\), got \(\)"),
        ({"hidden": (4, 0)}, "hidden: expected a whole number from 1, got 0"),
        ({"hidden": [RBM(3, hidden="relu"), 2]}, "hidden: expected bernoulli units, got 'relu'"),
        ({"start": "zero"}, "start: expected 'random' or 'transposed', got 'zero'"),
        ({"fine_tune_momentum": 2}, "fine_tune_momentum: expected a number from 0 to 1, got 2"),
        (
            {"hidden": (4, 3), "start": "transposed", "rbm": RBM(n_iter=1)},
            r"hidden: expected 5 units in layer 2 .* as layer 1 has visible ones, got 3",
        ),
    ],
)
def test_bad_options(data, options, message):
    with pytest.raises(OptionError, match=message):
        DeepBeliefNetwork(**options).fit(data)


def test_transposed_weights_want_bernoulli_units(data):
    model = DeepBeliefNetwork((4, 5), rbm=RBM(n_iter=1), start="transposed")
    noise = np.random.default_rng(0).normal(size=data.shape)
    with pytest.raises(OptionError, match=r"start: expected 'random', .* with gaussian ones"):
        model.fit(data + noise)


def test_bad_input(model, data):
    with pytest.raises(DomainError, match="X: expected numbers from 0 to 1"):
        model.transform(data + 1)
    with pytest.raises(ShapeError, match=r"H: expected shape \(N, 3\), got \(2, 4\)"):
        model.inverse_transform(np.zeros((2, 4)))
    with pytest.raises(OptionError, match="n_draws: expected a whole number from 2, got 1"):
        model.lower_bound(data, n_draws=1)
    with pytest.raises(OptionError, match="show: expected 'means' or 'states', got 'colours'"):
        model.sample(2, show="colours")
    with pytest.raises(OptionError, match="fine_tune_iter: expected a whole number from 1, got 0"):
        model.fine_tune(data)


def test_training_stops_where_numbers_run_away(data):
    wild = DeepBeliefNetwork((4, 3), rbm=RBM(n_iter=1), fine_tune_iter=3, fine_tune_rate=1e300)
    from capsnp.errors import DivergenceError
    from capsnp.training import Watchdog

    with pytest.raises(DivergenceError, match="fine-tuning, step"):
        wild.fit(data, observers=lambda _: (Watchdog(every=1),))


def test_steps_can_be_driven_one_by_one(model, data):
    twin = DeepBeliefNetwork().restore(model.state()).set_params(fine_tune_iter=1)
    training = twin.fine_tuning(data)
    assert training.n_steps == 10
    train(training)
    assert set(training.health()) == {"hidden mean", "wake error"}
