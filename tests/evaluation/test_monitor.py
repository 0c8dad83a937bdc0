"""The monitor: each number by another way, when it looks, and that it only looks."""

import itertools

import numpy as np
import pytest
import scipy.sparse

from capsnp import RBM, ConvAutoencoder, ExpertCapsules, ExpertNeurons, plotting
from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.evaluation import Monitor, log_likelihood, monitor, relative_error
from capsnp.functional import firing_probability
from capsnp.training import RunFolder, train

BITS = (np.random.default_rng(1).random((300, 6)) < [0.1, 0.3, 0.5, 0.5, 0.7, 0.9]).astype("f8")
V = np.asarray(list(itertools.product((0.0, 1.0), repeat=6)))


def watched(model, X, held_out=None, **options):
    """The history of a fit."""
    one = Monitor(held_out, **options)
    model.fit(X, observers=[one])
    return one.history


def test_each_number_is_the_models_own():
    model = RBM(4, n_iter=3, batch_size=20, learning_rate=0.3)
    last = watched(model, BITS[:100], BITS[100:180])[-1]
    assert (last["stage"], last["step"]) == ("rbm", 15)
    w, b, c = model.components_.T, model.intercept_visible_, model.intercept_hidden_
    log_p = np.asarray(
        [
            np.logaddexp.reduce([v @ b + h @ c + v @ w @ h for h in V[:16, 2:]])  # all h
            for v in V
        ]
    )
    log_z = np.logaddexp.reduce(log_p)
    place = {tuple(v): n for n, v in enumerate(V.tolist())}
    for prefix, X in (("", BITS[:100]), ("held-out ", BITS[100:180])):
        own = np.asarray([log_p[place[tuple(v)]] for v in X.tolist()])
        assert last[f"{prefix}free energy"] == pytest.approx(-own.mean())
        assert last[f"{prefix}log-likelihood"] == pytest.approx((own - log_z).mean())
        h = 1 / (1 + np.exp(-X @ w - c))
        rebuilt = 1 / (1 + np.exp(-h @ w.T - b))
        assert last[f"{prefix}rebuilding error"] == pytest.approx(np.mean((X - rebuilt) ** 2))
        predicted = 0.0
        for v, i in itertools.product(X[:100], range(6)):
            flipped = v.copy()
            flipped[i] = 1 - v[i]
            both = [log_p[place[tuple(u)]] for u in (v, flipped)]
            predicted += both[0] - np.logaddexp(*both)
        assert last[f"{prefix}pseudo-likelihood"] == pytest.approx(predicted / min(100, len(X)))
    gap = last["held-out free energy"] - last["free energy"]
    assert last["free-energy gap"] == pytest.approx(gap)


def test_dead_and_saturated_units():
    model = RBM(10, n_iter=1, learning_rate=0.0, batch_size=50)
    training = model.training(BITS)
    training._values["c"] = np.asarray([-9.0] * 3 + [9.0] * 2 + [0.0] * 5)
    one = Monitor()
    train(training, observers=[one])
    assert one.history[-1]["dead units"] == pytest.approx(0.3)
    assert one.history[-1]["saturated units"] == pytest.approx(0.2)


def test_a_machine_that_learns_by_heart_shows_a_gap(rng):
    X = (rng.random((420, 12)) < 0.5).astype("float32")
    model = RBM(40, n_iter=600, batch_size=20, learning_rate=0.2, init_scale=0.1)
    history = watched(model, X[:20], X[20:])
    gaps = [look["free-energy gap"] for look in history]
    assert abs(gaps[0]) < 1 < gaps[-1] / 3
    assert history[-1]["held-out log-likelihood"] < history[0]["held-out log-likelihood"]
    assert history[-1]["log-likelihood"] > history[0]["log-likelihood"]


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_of_gaussian_units_the_density_is_that_of_the_features_as_they_came(rng, scale):
    X = scale * (rng.standard_normal((200, 3)) + 2.0 * rng.integers(0, 2, (200, 1)))
    model = RBM(4, n_iter=5, batch_size=20, learning_rate=0.02)
    last = watched(model, X[:150], X[150:])[-1]
    assert last["held-out log-likelihood"] == pytest.approx(log_likelihood(model, X[150:]).value)
    assert last["pseudo-likelihood"] == pytest.approx(model.score(X[:100]), rel=1e-9)


def test_a_bracket_is_around_the_listed_number(monkeypatch):
    model = RBM(5, n_iter=4, batch_size=20, learning_rate=0.3)
    exact = watched(model, BITS[:100], BITS[100:])
    monkeypatch.setattr(monitor, "LISTED", 4)
    seen = watched(model, BITS[:100], BITS[100:], bracket_every=10)
    assert [look["step"] for look in seen if "log-likelihood" in look] == [10, 20]
    for name in ("log-likelihood", "held-out log-likelihood"):
        low, value, high = (seen[-1][f"{name}{end}"] for end in (", lower", "", ", upper"))
        assert low <= value <= high
        assert value == pytest.approx(exact[-1][name], abs=0.05)


def test_when_it_looks():
    def steps(**options):
        model = RBM(2, n_iter=3, batch_size=50, learning_rate=0.1)
        return [look["step"] for look in watched(model, BITS[:200], **options)]

    assert steps() == [4, 8, 12]
    assert steps(every=5) == [5, 10, 12]
    long = watched(RBM(2, n_iter=300, batch_size=100), BITS[:200])
    assert len(long) == monitor.LOOKS


def test_it_changes_nothing_and_sees_the_same_again():
    models = [RBM(3, n_iter=2, batch_size=20, algorithm="pcd") for _ in range(3)]
    histories = [watched(model, BITS, BITS[:50], n_rows=30) for model in models[:2]]
    models[2].fit(BITS)
    assert histories[0] == histories[1]
    for model in models[1:]:
        np.testing.assert_array_equal(model.components_, models[0].components_)


def test_rows_of_every_library_and_sparse_ones(library):
    with library.backend.holding("float64"):
        model = RBM(3, n_iter=2, batch_size=20, backend=library.backend.name)
        seen = watched(model, BITS, scipy.sparse.csr_array(BITS[:50]), n_rows=40)[-1]
    here = watched(RBM(3, n_iter=2, batch_size=20), BITS, BITS[:50], n_rows=40)[-1]
    assert seen.keys() == here.keys()
    for name, value in here.items():
        if name != "stage":
            assert seen[name] == pytest.approx(value, rel=1e-9), name


def test_numbers_between_have_no_likelihood():
    last = watched(RBM(3, n_iter=1, batch_size=20, visible="bernoulli"), 0.5 * BITS, BITS)[-1]
    assert "held-out log-likelihood" in last
    assert "log-likelihood" not in last
    assert np.isfinite(last["pseudo-likelihood"])


def features(n=60):
    return np.random.default_rng(5).normal(0, 1, (n, 6, 4)).astype("float32")


@pytest.mark.parametrize("kind", [ExpertCapsules, ExpertNeurons])
@pytest.mark.parametrize("n_winners", [1, None])
def test_layers_of_capsules(kind, n_winners):
    model = kind(3, 4, n_steps=10, batch_size=20, n_winners=n_winners, rebalance_steps=0)
    last = watched(model, features(), features(90)[60:], every=10)[-1]
    assert last["step"] == 10
    assert last["free energy"] == pytest.approx(-model.score(features()), rel=1e-5)
    assert 0 < last["rebuilding error"] < 2
    assert "log-likelihood" not in last
    what = "capsules" if kind is ExpertCapsules else "neurons"
    assert 0 <= last[f"dead {what}"] + last[f"saturated {what}"] <= 1


def test_dead_capsules():
    model = ExpertCapsules(4, 3, n_steps=2, batch_size=20, n_winners=None, learning_rate=0.0)
    training = model.training(features())
    W = np.array(model.W_)
    W[:, 0] *= 0.0
    W[:, 1] *= 1e4
    model.W_ = W
    one = Monitor(every=1)
    train(training, observers=[one])
    p_on = firing_probability(model.routing(features()).z).mean(axis=0)
    assert one.history[-1]["dead capsules"] == np.mean(p_on < 0.01) > 0
    assert one.history[-1]["saturated capsules"] == np.mean(p_on > 0.99) > 0


def test_the_error_of_neurons_is_relative_to_the_variance():
    model = ExpertNeurons(3, 4, n_steps=2, batch_size=20, n_winners=None, init_scale=1e-9)
    last = watched(model, features(), every=2)[-1]
    x = features().astype(float)
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    assert relative_error(x, mean) == pytest.approx(1.0)
    assert last["rebuilding error"] == pytest.approx(1.0, abs=0.02)  # nothing learnt: the mean


def test_other_trainings_are_let_pass(rng):
    images = rng.random((8, 20, 20, 1), dtype=np.float32)
    one = Monitor(images)
    ConvAutoencoder(8, n_steps=1, batch_size=8).fit(images, observers=[one])
    assert one.history == []


def test_into_a_run_and_into_a_picture(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    with run.lock():
        history = watched(RBM(3, n_iter=2), BITS, BITS[:20], log=run.log)
    assert run.metrics() == history
    assert plotting.training_curves(history).axes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every: expected a whole number from 1, got 0"),
        ({"n_rows": 0}, "n_rows: expected a whole number from 1, got 0"),
        ({"bracket_every": 1.5}, r"bracket_every: expected a whole number from 1, got 1\.5"),
        ({"random_state": -1}, "random_state: expected a whole number from 0, got -1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(OptionError, match=message):
        Monitor(**options)


def test_held_out_rows_of_another_kind():
    with pytest.raises(DomainError, match=r"^held_out: expected numbers from 0 to 1 .* got 3 at"):
        RBM(2, n_iter=1).fit(BITS, observers=[Monitor(3 * BITS)])
    with pytest.raises(ValueError, match="6 features"):
        RBM(2, n_iter=1).fit(BITS, observers=[Monitor(BITS[:, :3])])
    with pytest.raises(ShapeError, match=r"X: expected shape .*\(any, 6, 4\)"):
        ExpertCapsules(3, 4, n_steps=1).fit(features(), observers=[Monitor(features()[:, :3])])
