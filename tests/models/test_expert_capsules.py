"""Expert capsules: Algorithm 1 as an estimator, each departure from it, and its state."""

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from capsnp.errors import DomainError, DtypeError, NotFittedError, OptionError, ShapeError
from capsnp.functional import cd_gradient, free_energy, length, route, squash, winners
from capsnp.models import PAPER, ExpertCapsules
from capsnp.training import tracking

SMALL = {"n_capsules": 4, "capsule_dim": 3, "n_steps": 30, "batch_size": 20, "dtype": "float64"}


@pytest.fixture(scope="module")
def features():
    """Four directions in turn, with noise: something that capsules can share out."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 6, 2))
    which = rng.integers(4, size=240)
    return kinds[which] * rng.uniform(0.5, 2.0, (240, 1, 1)) + 0.1 * rng.normal(size=(240, 6, 2))


def test_paper_preset_is_algorithm_1_by_loops(features):
    """W after two steps equals Algorithm 1 written out, with momentum, ℓ2 and linear decay."""
    options = SMALL | PAPER | {"n_steps": 2, "batch_size": 240, "learning_rate": 0.5}
    model = ExpertCapsules(**options)
    training = model.training(features)
    W, M = np.array(model.W_), 0.0
    x = squash(features)
    model.fit(features)
    for t in range(2):
        c = route(x, W, iterations=3).c
        total = np.zeros_like(W)
        for b in range(240):
            z = np.einsum("ij,ijdp,ip->jd", c[b], W, x[b])
            x_back = squash(np.einsum("ij,ijdp,jd->ip", c[b], W, squash(z)))
            z_back = np.einsum("ij,ijdp,ip->jd", c[b], W, x_back)
            pull = z / (1 + np.sum(z * z, axis=1, keepdims=True))
            pull_back = z_back / (1 + np.sum(z_back * z_back, axis=1, keepdims=True))
            for i in range(6):
                for j in range(4):
                    total[i, j] += (
                        2
                        * c[b, i, j]
                        * (np.outer(pull[j], x[b, i]) - np.outer(pull_back[j], x_back[i]))
                    )
        M = 0.9 * M + 0.1 * (total / 240 - 1e-4 * W)
        W = W + 0.5 * (1 - t / 2) * M
    assert training.n_steps == 2
    np.testing.assert_allclose(model.W_, W, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("steps", [1, 2])
def test_one_winner_fast_path_equals_the_general_one(features, iterations, steps):
    model = ExpertCapsules(routing_iterations=iterations, mixing_steps=steps, **SMALL)
    training = model.training(features)
    x = squash(model.standardize(features[:50]))
    c, z = model._route(x)
    on = winners(model._score(length(squash(z))), 1)
    general = cd_gradient(x, model.W_, c, steps=steps, on=on)
    fast = training._one_winner_gradient(x, c, np.argmax(on, axis=1))
    np.testing.assert_allclose(fast, general, rtol=1e-9, atol=1e-12 * np.max(np.abs(general)))


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
@pytest.mark.parametrize("agreement", ["cosine", "dot"])
def test_routing_is_the_public_route_times_the_scale(features, normalize, agreement):
    model = ExpertCapsules(
        routing_iterations=3, normalize=normalize, agreement=agreement, **SMALL
    ).fit(features)
    x = squash(model.standardize(features))
    want = route(x, model.W_, iterations=3, normalize=normalize, agreement=agreement)
    got = model.routing(features)
    scale = 0.7 * (6 if normalize == "inputs" else 4)
    np.testing.assert_allclose(got.c, want.c * scale, rtol=1e-9)
    np.testing.assert_allclose(got.z, want.z * scale, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_one_iteration_is_route_with_uniform_coefficients(features, normalize):
    model = ExpertCapsules(routing_iterations=1, normalize=normalize, **SMALL).fit(features)
    want = route(squash(model.standardize(features)), model.W_, iterations=1, normalize=normalize)
    scale = 0.7 * (6 if normalize == "inputs" else 4)
    np.testing.assert_allclose(model.routing(features).z, want.z * scale, rtol=1e-9, atol=1e-12)


def test_same_result_for_any_number_of_threads(features, monkeypatch):
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("CAPSNP_NUM_THREADS", threads)
        with threadpool_limits(1):
            found.append(ExpertCapsules(routing_iterations=2, **SMALL).fit(features).W_)
    assert np.array_equal(*found)


def test_centring_and_feature_scale(features):
    model = ExpertCapsules(feature_scale=0.25, **SMALL).fit(features)
    h = model.standardize(features)
    np.testing.assert_allclose(np.mean(h, axis=0), 0, atol=1e-12)
    assert np.mean(length(h)) == pytest.approx(0.25)
    raw = ExpertCapsules(**SMALL | PAPER).fit(features)
    assert np.array_equal(raw.standardize(features), features)


def test_balanced_winners_share_the_data(features):
    even = ExpertCapsules(**SMALL | {"n_steps": 200}).fit(features)
    won = np.argmax(even.priority(even.transform(features)), axis=1)
    share = np.bincount(won, minlength=4) / len(features)
    assert share.min() > 0.15
    assert share.max() < 0.35


def test_without_balance_there_is_no_bias(features):
    lopsided = ExpertCapsules(balance=0.0, rebalance_steps=0, **SMALL | {"n_steps": 200})
    assert np.all(lopsided.fit(features).bias_ == 0)


def test_training_rebuilds_the_data_by_one_mixing(features):
    options = {"n_winners": None, "n_steps": 300, "routing_iterations": 1, "coefficient_scale": 2.0}
    model = ExpertCapsules(**SMALL | options)
    model.training(features)
    before = np.array(model.W_)
    model.fit(features)

    def gap(W):
        x = squash(model.standardize(features))
        c = np.full((6, 4), 2.0)
        z = np.einsum("ij,ijdp,bip->bjd", c, W, x)
        back = squash(np.einsum("ij,ijdp,bjd->bip", c, W, squash(z)))
        return np.mean(length(x - back))

    assert gap(model.W_) < 0.7 * gap(before)


def test_score_samples_is_minus_free_energy(features):
    model = ExpertCapsules(**SMALL).fit(features)
    x = squash(model.standardize(features))
    want = -free_energy(x, model.W_, model.routing(features).c)
    np.testing.assert_allclose(model.score_samples(features), want, rtol=1e-10)
    assert model.score(features) == pytest.approx(np.mean(want))


def test_inverse_transform_is_the_reverse_pass(features):
    model = ExpertCapsules(**SMALL).fit(features)
    codes = model.transform(features[:5])
    back = np.einsum("ijdp,bjd->bip", model.W_, codes) * 0.7
    want = back * model.scale_ + model.mean_
    np.testing.assert_allclose(model.inverse_transform(codes), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 2])
def test_interrupted_training_ends_with_the_same_bytes(features, iterations):
    model = ExpertCapsules(**SMALL | {"dtype": "float32", "routing_iterations": iterations})
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
    model = ExpertCapsules(**SMALL).fit(features)
    twin = ExpertCapsules(**SMALL).restore(model.state())
    assert np.array_equal(twin.transform(features), model.transform(features))


def test_partial_fit_learns_from_batches(features):
    model = ExpertCapsules(**SMALL)
    for start in range(0, 240, 60):
        model.partial_fit(features[start : start + 60])
    assert model.transform(features).shape == (240, 4, 3)
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\)"):
        model.partial_fit(features[:, :5])


@pytest.mark.parametrize("backend", ["torch", "array-api-strict"])
def test_other_backends_learn_the_same(features, backend):
    pytest.importorskip(backend.replace("-", "_"))
    want = ExpertCapsules(**SMALL).fit(features)
    got = ExpertCapsules(backend=backend, **SMALL).fit(features)
    np.testing.assert_allclose(got.state()["W"], want.state()["W"], rtol=1e-7, atol=1e-10)


def test_codes_are_shorter_than_one_and_finite_for_huge_features(features):
    model = ExpertCapsules(**SMALL | {"dtype": "float32"}).fit(features.astype("float32"))
    codes = model.transform((features * 1e30).astype("float32"))
    assert np.all(np.isfinite(codes))
    assert np.max(length(codes)) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_winners": 5}, r"n_winners: expected 1 to 4 \(n_capsules\) or None, got 5"),
        ({"n_winners": "all"}, "n_winners: expected a whole number from 1, got 'all'"),
        ({"feature_scale": 0}, "feature_scale: expected a number above 0 or None, got 0"),
        ({"random_state": None}, "random_state: expected a whole number from 0, got None"),
        ({"dtype": "int8"}, "dtype: expected 'float32' or 'float64', got 'int8'"),
        ({"decay": "cosine"}, "decay: expected 'linear' or 'none', got 'cosine'"),
        ({"routing_iterations": 0}, "routing_iterations: expected a whole number from 1, got 0"),
        ({"agreement": "l2"}, "agreement: expected .*, got 'l2'"),
        ({"n_capsules": 0}, "n_capsules: expected a whole number from 1, got 0"),
        ({"momentum": 1.5}, "momentum: expected .*, got 1.5"),
    ],
)
def test_bad_options_are_named_before_any_work(features, options, message):
    with pytest.raises(OptionError, match=message):
        ExpertCapsules(**SMALL | options).fit(features)


def test_bad_data(features):
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\)"):
        ExpertCapsules(**SMALL).fit(features[:, 0])
    with pytest.raises(DtypeError, match="X: expected a floating dtype"):
        ExpertCapsules(**SMALL).fit(np.zeros((5, 2, 2), dtype=int))
    with pytest.raises(DtypeError, match="X: expected an array, got list"):
        ExpertCapsules(**SMALL).fit(features.tolist())
    with pytest.raises(DomainError, match="X: expected rows that differ, got 7 equal ones"):
        ExpertCapsules(**SMALL).fit(np.repeat(features[:1], 7, axis=0))
    for wrong in (np.nan, np.inf):
        with pytest.raises(DomainError, match="X: expected finite numbers"):
            ExpertCapsules(**SMALL).fit(np.where(features == features[3, 1, 1], wrong, features))
    with pytest.raises(NotFittedError, match="call fit first"):
        ExpertCapsules().transform(features)


def test_bad_data_for_a_fitted_model(features):
    model = ExpertCapsules(**SMALL).fit(features)
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\)"):
        model.standardize(features[:, 1:])
    with pytest.raises(ShapeError, match=r"codes: expected shape \(N, J, D\)"):
        model.priority(model.transform(features)[:, 1:])


@pytest.mark.parametrize("renew", ["fit", "restore"])
def test_partial_fit_goes_on_from_fitted_weights_without_old_moments(features, renew):
    fitted = ExpertCapsules(**SMALL).fit(features)
    fresh = ExpertCapsules(**SMALL).restore(fitted.state())
    used = ExpertCapsules(**SMALL).partial_fit(features[:60])
    used.fit(features) if renew == "fit" else used.restore(fitted.state())
    for model in (used, fresh):
        model.partial_fit(features[60:120])
    assert np.array_equal(used.W_, fresh.W_)
    assert 0 < np.max(np.abs(fresh.W_ - fitted.W_)) < 0.5 * np.max(np.abs(fitted.W_))
