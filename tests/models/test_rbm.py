"""The estimator: scikit-learn's manners, learning, chains, and every kind of units."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from capsnp import RBM
from capsnp.backend import get_backend
from capsnp.errors import (
    DataError,
    DivergenceError,
    DomainError,
    MemoryLimitError,
    OptionError,
)
from capsnp.functional import harmonium
from capsnp.functional.units import Bernoulli, Relu
from capsnp.models import _chains
from capsnp.models._chains import Noise, Persistent, Tempered, spread, sweep
from capsnp.training import train

OFTEN = {"batch_size": 10, "learning_rate": 0.1, "n_iter": 20}
"""Enough steps to learn digits of 8 × 8 pixels."""

V = np.asarray(list(itertools.product((0.0, 1.0), repeat=4)))


@pytest.fixture(scope="module")
def digits():
    """Binary digits, (600, 64)."""
    return (load_digits().data[:600] > 7).astype("float32")


def exact_log_p(model, V=V):
    """log p(v) of every visible state, by the model's free energy and the sum over all."""
    free = -np.asarray(model.free_energy(V), dtype=float)
    return free - np.logaddexp.reduce(free)


def test_scikit_learn_s_checks_pass_whole():
    with pytest.warns(SkipTestWarning):  # of array libraries that are not here
        results = check_estimator(RBM(), on_fail=None)
    found = {(r["check_name"], r["status"]) for r in results if r["status"] not in ("passed",)}
    assert {status for _, status in found} <= {"skipped"}, found
    assert {name for name, _ in found} <= {
        "check_array_api_input",
        "check_array_api_mixed_inputs",
        "check_array_api_same_namespace",
    }


def test_array_api_checks_pass():
    """In a process of its own: SciPy reads the variable when it is imported."""
    code = (
        "from capsnp import RBM; from sklearn.utils.estimator_checks import check_estimator;"
        "r = check_estimator(RBM(n_components=8), on_fail=None);"
        "bad = [x for x in r if x['status'] not in ('passed', 'skipped')];"
        "n = sum(x['status'] == 'passed' and 'array_api' in x['check_name'] for x in r);"
        "assert not bad, bad; assert n >= 1, n"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("algorithm", ["cd", "pcd", "pt"])
def test_learns_a_distribution(algorithm):
    """Data of a known distribution over 16 states: nearly its entropy is reached."""
    p = np.zeros(16)
    p[[0, 3, 12, 15]] = 0.25  # two pairs of equal units
    data = V[np.random.default_rng(0).choice(16, size=2000, p=p)].astype("float32")
    model = RBM(
        4, algorithm=algorithm, k=2, n_iter=40, batch_size=50, learning_rate=0.3, n_temperatures=4
    ).fit(data)
    gap = float(p @ np.where(p > 0, np.log(np.where(p > 0, p, 1)), 0) - p @ exact_log_p(model))
    assert 0 <= gap < 0.25
    assert model.h_samples_.shape == (50, 4)


def test_same_seed_same_bits(digits):
    models = [RBM(12, n_iter=2, random_state=seed).fit(digits) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(models[0].components_, models[1].components_)
    assert np.any(models[0].components_ != models[2].components_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_are_kept(digits, dtype):
    model = RBM(6, n_iter=1).fit(digits.astype(dtype))
    arrays = [model.components_, model.intercept_visible_, model.intercept_hidden_]
    arrays += [model.transform(digits), model.h_samples_, model.score_samples(digits[:3])]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    assert RBM(6, n_iter=1, dtype="float32").fit(digits.astype("float64")).components_.dtype == "f4"


def test_sparse_rows_are_the_dense_ones(digits):
    for form in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
        dense, sparse = RBM(6, n_iter=1).fit(digits), RBM(6, n_iter=1).fit(form(digits))
        np.testing.assert_array_equal(dense.components_, sparse.components_)
        np.testing.assert_array_equal(dense.transform(digits), sparse.transform(form(digits)))


def test_in_a_pipeline_under_a_search(digits):
    y = load_digits().target[:600]
    pipeline = make_pipeline(RBM(32, **OFTEN), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"rbm__n_components": [2, 32]}, cv=2).fit(digits, y)
    assert search.best_params_ == {"rbm__n_components": 32}
    assert search.best_score_ > 0.6
    own = GridSearchCV(RBM(16, **OFTEN), {"learning_rate": [0.0, 0.2]}, cv=2).fit(digits)
    assert own.best_params_ == {"learning_rate": 0.2}


def test_names_and_frames(digits):
    pandas = pytest.importorskip("pandas")
    model = RBM(3, n_iter=1).set_output(transform="pandas")
    frame = model.fit_transform(digits)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["rbm0", "rbm1", "rbm2"] == list(model.get_feature_names_out())


def test_clone_has_the_options(digits):
    model = RBM(3, k=2, algorithm="pcd").fit(digits)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "components_")


def test_partial_fit_returns_itself_and_learns(digits):
    model = RBM(16, learning_rate=0.5)
    assert model.partial_fit(digits[:100]) is model
    before = model.score(digits)
    for _ in range(30):
        for start in range(0, 600, 100):
            model.partial_fit(digits[start : start + 100])
    assert model.score(digits) > before + 2.0


@pytest.mark.parametrize("algorithm", ["pcd", "pt"])
def test_kept_chains_move_at_every_step(digits, algorithm):
    """A persistent chain that stays where it is gives statistics of the first step for ever."""
    model = RBM(16, algorithm=algorithm, batch_size=50, n_temperatures=3)
    seen = []
    for start in range(0, 300, 50):
        model.partial_fit(digits[start : start + 50])
        seen.append(np.array(model.h_samples_))
    for one, other in itertools.pairwise(seen):
        assert np.mean(one != other) > 0.05


@pytest.mark.parametrize("kind", ["pcd", "pt"])
def test_kept_chains_reach_the_model_s_distribution(rng, kind):
    """With the weights fixed their ends have the enumerated means; from one hidden state on."""
    w, b, c = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(3)
    machine = harmonium.Harmonium(w, b, c)
    noise = Noise(get_backend("numpy"), "float64", np.random.default_rng(1))
    n = 4000
    chains = Persistent(np.zeros((n, 3))) if kind == "pcd" else Tempered(np.zeros((3, n, 3)), b)
    for _ in range(40):
        ends = chains.advance(machine, np.zeros((n, 3)), noise, 1)
    free = -harmonium.free_energy(machine, V)
    p = np.exp(free - np.logaddexp.reduce(free))
    error = np.sqrt(p @ V**2 - (p @ V) ** 2) / np.sqrt(n)
    assert np.all(np.abs(ends.v.mean(0) - p @ V) < 5 * error)


@pytest.mark.parametrize("hidden", [Bernoulli(), Relu()])
def test_chains_in_blocks_on_threads(rng, hidden, monkeypatch):
    """Of 130 chains 65 go together, each block as it would alone with its noise."""
    machine = harmonium.Harmonium(
        rng.standard_normal((4, 3)), np.zeros(4), np.zeros(3), hidden=hidden
    )
    h = np.tile(rng.random((65, 3)), (2, 1))
    noise = lambda: Noise(get_backend("numpy"), "float64", np.random.default_rng(1))  # noqa: E731
    alone = [
        sweep(machine, part, own, _chains.LONG)
        for part, own in zip((h[:65], h[65:]), noise().split(2), strict=True)
    ]
    monkeypatch.setattr(_chains, "_WORTH_THREADS", 0)
    for threads in ("1", "2"):
        monkeypatch.setenv("CAPSNP_NUM_THREADS", threads)
        for together, parts in zip(
            sweep(machine, h, noise(), _chains.LONG), zip(*alone, strict=True), strict=True
        ):
            np.testing.assert_array_equal(together, np.concatenate(parts))
            assert np.any(together[:65] != together[65:])


def test_tempering_finds_both_modes():
    """Two far modes: chains at β = 1 alone stay in theirs, tempered ones are in both."""
    w = np.full((8, 4), 2.0)
    machine = harmonium.Harmonium(w, np.full(8, -4.0), np.full(4, -8.0))  # all on or all off
    shares = {}
    for kind in ("pcd", "pt"):
        noise = Noise(get_backend("numpy"), "float64", np.random.default_rng(0))
        h = np.ones((200, 4))
        chains = Persistent(h) if kind == "pcd" else Tempered(np.stack([h] * 8), np.zeros(8))
        for _ in range(300):
            ends = chains.advance(machine, h, noise, 1)
        shares[kind] = float(np.mean(ends.v))
    assert shares["pcd"] > 0.9
    assert 0.4 < shares["pt"] < 0.6


def test_temperatures_even_out_the_exchanges():
    rates = np.asarray([0.2, 0.8, 0.8])
    betas = spread(np.asarray([0.0, 0.5, 0.8, 1.0]), rates)
    refused = np.interp(betas, [0.0, 0.5, 0.8, 1.0], np.cumsum([0.0, *(1 - rates)]))
    np.testing.assert_allclose(np.diff(refused), 0.4, rtol=1e-12)
    np.testing.assert_allclose(betas[[0, -1]], [0.0, 1.0], atol=1e-15)


def test_exchange_rates_are_reported(digits):
    model = RBM(16, algorithm="pt", n_temperatures=5, n_iter=10, batch_size=50).fit(digits)
    assert model.betas_.shape == (5,)
    assert np.all(np.diff(model.betas_) > 0)
    assert np.all((model.exchange_rates_ > 0) & (model.exchange_rates_ <= 1))


def test_score_samples_flips_every_unit():
    """Against conditionals of the enumerated distribution."""
    model = RBM(3, n_iter=5, batch_size=4).fit(V)
    log_p = exact_log_p(model)
    place = {tuple(v): n for n, v in enumerate(V.tolist())}
    for n, v in enumerate(V):
        expected = 0.0
        for i in range(4):
            flipped = v.copy()
            flipped[i] = 1 - v[i]
            expected += log_p[n] - np.logaddexp(log_p[n], log_p[place[tuple(flipped)]])
        assert model.score_samples(V[n : n + 1])[0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(model.score_samples(V), model.score_samples(V))


def test_score_samples_of_categories():
    states = np.asarray([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 1, 0.0]] * 4)
    model = RBM(2, visible="categorical", n_categories=3, n_iter=30, batch_size=4).fit(states)
    all_states = model.machine_.visible.states(6, 0, 9, like=np.zeros(1))
    log_p = exact_log_p(model, all_states)
    for n, v in enumerate(all_states):
        same_first = np.all(all_states[:, :3] == v[:3], axis=1)
        same_last = np.all(all_states[:, 3:] == v[3:], axis=1)
        expected = sum(
            log_p[n] - np.logaddexp.reduce(log_p[rows]) for rows in (same_first, same_last)
        )
        assert model.score_samples(v[None])[0] == pytest.approx(expected, rel=1e-9)


def test_score_samples_of_gaussian_units_by_differences(rng):
    X = rng.standard_normal((50, 3)) * [1.0, 10.0, 0.1] + [0.0, 100.0, -3.0]
    model = RBM(2, n_iter=20, batch_size=10, init_scale=0.5).fit(X)
    assert model.visible_ == "gaussian"
    variance = np.exp(model.log_variance_)
    for x in X[:3]:
        expected = 0.0
        for i in range(3):
            step = np.zeros(3)
            step[i] = 1e-4 * np.sqrt(variance[i])
            below, at, above = -model.free_energy(np.stack([x - step, x, x + step]))
            slope = (above - below) / (2 * step[i])
            curve = (above - 2 * at + below) / step[i] ** 2
            expected -= variance[i] * (curve + 0.5 * slope**2)
        assert model.score_samples(x[None])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian", "relu"])
def test_gaussian_units_learn_alike_at_any_scale(rng, hidden):
    """Features in other units, with another zero: the same hidden units."""
    X = rng.standard_normal((200, 4))
    scale, shift = np.asarray([1.0, 1e3, 1e-3, 1.0]), np.asarray([0.0, 1e4, 5.0, -2.0])
    options = {"hidden": hidden, "n_iter": 5, "batch_size": 20, "learning_rate": 0.01}
    one = RBM(3, visible="gaussian", **options).fit(X)
    other = RBM(3, visible="gaussian", **options).fit(X * scale + shift)
    assert np.ptp(one.transform(X)) > 1e-3
    np.testing.assert_allclose(other.transform(X * scale + shift), one.transform(X), rtol=1e-7)
    np.testing.assert_allclose(
        other.log_variance_, one.log_variance_ + 2 * np.log(scale), rtol=1e-7, atol=1e-9
    )


def test_gaussian_units_learn_clusters(rng):
    """Two far clusters: a hidden unit tells them apart, and the variance falls to theirs."""
    side = rng.integers(0, 2, 400)
    X = np.asarray([[-3.0, 3.0], [3.0, -3.0]])[side] + 0.5 * rng.standard_normal((400, 2))
    model = RBM(1, n_iter=60, batch_size=20, init_scale=0.1).fit(X)
    on = model.transform(X)[:, 0] > 0.5
    assert max(np.mean(on == side), np.mean(on != side)) > 0.95
    assert np.all(np.exp(model.log_variance_) < 0.5 * X.var(axis=0))


def test_first_biases_are_the_data_s_moments(digits):
    model = RBM(4, n_iter=1, learning_rate=0.0).fit(digits)
    p = 1 / (1 + np.exp(-model.intercept_visible_.astype(float)))
    np.testing.assert_allclose(p, (digits.sum(0) + 0.5) / 601, rtol=1e-5)


def test_sparsity_target_moves_the_activity(digits):
    means = [
        RBM(16, **OFTEN, sparsity_target=target, sparsity_cost=1.0).fit(digits).transform(digits)
        for target in (0.05, 0.5)
    ]
    assert means[0].mean() < 0.15 < 0.35 < means[1].mean()


def test_decay_shrinks_the_weights(digits):
    plain, l2, l1 = (
        np.abs(RBM(8, n_iter=5, **options).fit(digits).components_)
        for options in ({}, {"l2": 0.1}, {"l1": 0.02})
    )
    assert l2.mean() < 0.9 * plain.mean()
    assert np.mean(l1 < 1e-2) > np.mean(plain < 1e-2)


def test_centering_does_not_know_what_is_on(digits):
    """Of the digits and their negatives the same is learnt; without centring it is not."""
    for offsets in ("data", "average"):
        scores = [RBM(32, **OFTEN, offsets=offsets).fit(X).score(X) for X in (digits, 1 - digits)]
        assert abs(scores[0] - scores[1]) < 0.5
    bare = [RBM(32, **OFTEN, centered=False).fit(X).score(X) for X in (digits, 1 - digits)]
    assert bare[1] < bare[0] - 0.5


def test_interrupted_training_has_the_same_bits(digits):
    for algorithm in ("cd", "pcd", "pt"):
        options = {"algorithm": algorithm, "n_iter": 2, "momentum": 0.5, "n_temperatures": 3}
        whole = RBM(8, **options).fit(digits)
        part = RBM(8, **options)
        first = part.training(digits)
        for _ in range(7):
            first.apply(first.gradient())
        again = RBM(8, **options)
        second = again.training(digits)
        second.restore(first.state())
        train(second)
        np.testing.assert_array_equal(whole.components_, again.components_)
        np.testing.assert_array_equal(whole.h_samples_, again.h_samples_)


def test_nothing_is_left_of_what_was_before_a_state(digits):
    other = RBM(8, n_iter=1).fit(digits)
    fresh = RBM(8, momentum=0.5).restore(other.state())
    used = RBM(8, momentum=0.5).partial_fit(digits[:50]).restore(other.state())
    for model in (fresh, used):
        model.partial_fit(digits[50:100])
    np.testing.assert_array_equal(used.components_, fresh.components_)
    options = {"algorithm": "pt", "n_temperatures": 3, "visible": "gaussian", "n_iter": 1}
    varied = digits[:, digits.std(axis=0) > 0]
    tempered = RBM(8, **options).fit(varied)
    assert {"betas", "exchange_rates", "scale", "log_variance"} < tempered.state().keys()
    assert tempered.restore(other.state()).state().keys() == other.state().keys()


def test_same_weights_on_every_library(library, digits):
    if library.name == "numpy-read-only":
        digits = np.array(digits)
        digits.flags.writeable = False
    name = library.backend.name
    X = digits.astype("float64")[:100]
    options = {"n_iter": 1, "batch_size": 20, "algorithm": "pcd"}
    with library.backend.holding("float64"):
        here, host = RBM(5, backend=name, **options).fit(X), RBM(5, **options).fit(X)
        np.testing.assert_allclose(
            library.to_host(here.components_), host.components_, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(here.transform(X), host.transform(X), rtol=1e-9)


def test_sample_and_gibbs(digits):
    model = RBM(32, **OFTEN).fit(digits)
    drawn = model.sample(150, n_steps=50)
    assert drawn.shape == (150, 64)
    np.testing.assert_array_equal(drawn, model.sample(150, n_steps=50))
    assert np.abs(drawn.mean(0) - digits.mean(0)).mean() < 0.1
    after = model.gibbs(digits, k=2, rng=np.random.default_rng(0))
    assert set(np.unique(after)) == {0.0, 1.0}
    # after two steps rows are nearer to where they were than another row is
    own = np.mean(after != digits)
    assert own < 0.8 * np.mean(after != np.roll(digits, 1, axis=0))


def test_wrong_data_are_named(digits):
    with pytest.raises(DomainError, match=r"^X: expected numbers from 0 to 1 for b.* 16 at \(0, "):
        RBM(2, visible="bernoulli").fit(16 * digits)
    model = RBM(2, n_iter=1).fit(digits)
    with pytest.raises(
        DomainError, match=r"^X: expected numbers from 0 to 1 .*, got 2 at \(1030, "
    ):
        model.transform(np.concatenate([digits, digits, 2 * digits])[170:])
    with pytest.raises(
        DataError, match=r"^X: expected features that vary .* feature 1 constant at 3"
    ):
        RBM(2).fit(np.asarray([[1.0, 3.0], [2.0, 3.0]]))
    with pytest.raises(DataError, match=r"at least 2 rows for gaussian units, got n_samples=1$"):
        RBM(2).fit(np.asarray([[1.0, 3.0]]))
    with pytest.raises(DomainError, match=r"^X: expected finite numbers, got NaN at \(0, 1\)$"):
        RBM(2).fit(np.asarray([[1.0, np.nan], [0.0, 1.0]]))
    far = np.zeros((3, 64))
    far[1, 5] = np.inf
    for rows in (far, scipy.sparse.csr_array(far)):
        with pytest.raises(
            DomainError, match=r"expected finite numbers, got infinity at \(1, 5\)$"
        ):
            model.transform(rows)
    with pytest.raises(MemoryLimitError, match=r"^n_components: expected hidden units that fit .*"):
        RBM(10**13).fit(digits)
    with pytest.raises(ValueError, match="0 sample"):
        RBM(2).fit(np.zeros((0, 3)))


@pytest.mark.parametrize("algorithm", ["pcd", "pt"])
def test_more_chains_than_memory_allows(digits, algorithm):
    message = r"^n_chains: expected chains that fit into memory, got 1000000000000, .* lower n_ch"
    with pytest.raises(MemoryLimitError, match=message):
        RBM(4, algorithm=algorithm, n_chains=10**12, n_iter=1).fit(digits)
    model = RBM(4, algorithm=algorithm, n_iter=1, n_temperatures=2).fit(digits)
    with pytest.raises(MemoryLimitError, match=r"^n: expected chains that fit .*: lower n$"):
        model.sample(10**12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visible": "relu"}, r"^visible: expected 'auto', .* or 'gaussian', got 'relu'$"),
        ({"n_components": 0}, r"^n_components: expected a whole number from 1, got 0$"),
        ({"n_temperatures": 1}, r"^n_temperatures: expected a whole number from 2, got 1$"),
        ({"momentum": 1.5}, r"^momentum: expected a number from 0 to 1, got 1.5$"),
        ({"visible": "categorical"}, r"^n_categories: expected a number for categorical"),
        ({"dtype": "int32"}, r"^dtype: expected 'float32' or 'float64', got 'int32'$"),
    ],
)
def test_wrong_options_are_named(digits, options, message):
    with pytest.raises(OptionError, match=message):
        RBM(**({"n_components": 2} | options)).fit(digits)


def test_running_away_is_noticed(rng):
    X = rng.standard_normal((200, 3)) * 2
    model = RBM(3, hidden="gaussian", learning_rate=1e3, n_iter=200, batch_size=20)
    expected = pytest.raises(DivergenceError, match=r"^rbm, step \d+: .* expected a finite number")
    with np.errstate(all="ignore"), expected:
        model.fit(X)
