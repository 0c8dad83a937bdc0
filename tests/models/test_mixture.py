"""The mixture against scikit-learn's, its sampled moments, its file format."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from capsnp.errors import (
    CheckpointError,
    DataError,
    DtypeError,
    NotFittedError,
    OptionError,
    ShapeError,
)
from capsnp.models import _expectation_maximisation as em
from capsnp.models.mixture import MixtureModel


@pytest.fixture(scope="module")
def points():
    """Three elongated clouds in 20 dimensions, 1,500 points."""
    rng = np.random.default_rng(3)
    centres = 4 * rng.standard_normal((3, 20))
    shapes = rng.standard_normal((3, 20, 20)) * np.linspace(1.5, 0.1, 20)[:, None]
    labels = rng.integers(3, size=1500)
    noise = rng.standard_normal((1500, 20))
    return (centres[labels] + np.einsum("nd,ndf->nf", noise, shapes[labels])).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(points):
    return MixtureModel(n_components=6, n_principal=18, max_iter=8).fit(points)


def test_steps_are_those_of_scikit_learn(points):
    t = PCA(18).fit_transform(points.astype(np.float64)).astype(np.float32)
    labels = np.arange(len(t)) % 5
    shares = np.eye(5)[labels]
    theirs = GaussianMixture(
        5,
        max_iter=4,
        tol=0.0,
        reg_covar=1e-6,
        weights_init=shares.mean(axis=0),
        means_init=(shares.T @ t) / shares.sum(axis=0)[:, None],
        precisions_init=[
            np.linalg.inv(np.cov(t[labels == k].T, bias=True) + 1e-6 * np.eye(18)) for k in range(5)
        ],
    )
    with pytest.warns(Warning, match="did not converge"):
        theirs.fit(t.astype(np.float64))
    mixture, likelihood, steps = em.fit_mixture(
        t, labels, steps=range(1, 5), tol=-np.inf, regularization=1e-6
    )
    assert steps == 4
    assert likelihood == pytest.approx(theirs.lower_bound_, abs=1e-3)
    np.testing.assert_allclose(mixture.weights, theirs.weights_, atol=1e-3)
    np.testing.assert_allclose(mixture.means, theirs.means_, atol=2e-2)
    covariances = mixture.factors @ np.swapaxes(mixture.factors, 1, 2)
    np.testing.assert_allclose(covariances, theirs.covariances_, atol=5e-2)


@pytest.mark.parametrize("leading", [3, 10, 28])
def test_log_densities_against_scipy_and_only_small_ones_left_out(
    fitted, points, leading, monkeypatch
):
    monkeypatch.setattr(em, "LEADING", leading)
    monkeypatch.setattr(em, "ROWS", 64)
    t = fitted.transform(points[:200])
    mixture = em.Mixture(fitted.weights_, fitted.means_, fitted.factors_)
    logs = em.log_densities(t, mixture)
    expected = np.empty((200, 6))
    for k in range(6):
        covariance = fitted.factors_[k] @ fitted.factors_[k].T
        normal = multivariate_normal(fitted.means_[k], covariance)
        expected[:, k] = np.log(fitted.weights_[k]) + normal.logpdf(t)
    kept = np.isfinite(logs)
    np.testing.assert_allclose(logs[kept], expected[kept], rtol=1e-3, atol=1e-2)
    gap = expected.max(axis=1, keepdims=True) - expected
    assert not kept.all()
    assert np.all(gap[~kept] > em.CUT - 0.1)
    np.testing.assert_allclose(
        fitted.score_samples(points[:200]), logsumexp(expected, axis=1), rtol=1e-3, atol=1e-2
    )


def test_likelihood_rises_step_by_step(points):
    found = [
        MixtureModel(n_components=6, n_principal=18, max_iter=k, tol=0.0).fit(points).score(points)
        for k in (1, 3, 6)
    ]
    assert found[0] < found[1] < found[2]


def test_samples_have_the_moments_of_the_mixture(fitted):
    drawn = fitted.sample(40_000, np.random.default_rng(0)).astype(np.float64)
    weights, means = fitted.weights_.astype(np.float64), fitted.means_.astype(np.float64)
    mean = weights @ means
    second = sum(
        w * (f @ f.T + np.outer(m, m))
        for w, m, f in zip(weights, means, fitted.factors_.astype(np.float64), strict=True)
    )
    covariance = fitted.principal_.T @ (second - np.outer(mean, mean)) @ fitted.principal_
    np.testing.assert_allclose(drawn.mean(axis=0), fitted.inverse_transform(mean), atol=0.15)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.cov(drawn.T) / scale, covariance / scale, atol=0.03)


def test_mixture_matches_the_moments_of_the_points(fitted, points):
    drawn = fitted.sample(20_000, np.random.default_rng(1))
    t, s = fitted.transform(points), fitted.transform(drawn)
    np.testing.assert_allclose(s.mean(axis=0), t.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(s.std(axis=0), t.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("columns", [40, 1600])
def test_principal_components_on_both_routes(columns):
    rng = np.random.default_rng(5)
    low = rng.standard_normal((400, 7)) * np.arange(7, 0, -1)
    basis = np.linalg.qr(rng.standard_normal((columns, 7)))[0]
    points = (low @ basis.T + 2.0).astype(np.float32)
    model = MixtureModel(n_components=2, n_principal=7).fit(points)
    np.testing.assert_allclose(model.inverse_transform(model.transform(points)), points, atol=1e-3)
    np.testing.assert_allclose(model.principal_ @ model.principal_.T, np.eye(7), atol=1e-5)
    variances = model.transform(points).var(axis=0)
    expected = np.sort(np.linalg.eigvalsh(np.cov(low.T, bias=True)))[::-1]
    np.testing.assert_allclose(variances, expected, rtol=1e-3)


def test_memory_map_gives_the_same_mixture(points, fitted, tmp_path):
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    again = MixtureModel(n_components=6, n_principal=18, max_iter=8).fit(mapped)
    assert all(np.array_equal(again.state()[k], v) for k, v in fitted.state().items())


def test_scale_of_the_points_does_not_matter(points, fitted):
    tiny = MixtureModel(n_components=6, n_principal=18, max_iter=8).fit(points * np.float32(1e-5))
    np.testing.assert_allclose(
        tiny.log_likelihood_, fitted.log_likelihood_ + 18 * np.log(1e5), rtol=1e-3
    )
    rng = np.random.default_rng
    np.testing.assert_allclose(
        tiny.sample(5, rng(0)) * 1e5, fitted.sample(5, rng(0)), rtol=1e-2, atol=1e-2
    )


def test_state_round_trip(fitted):
    again = MixtureModel().restore(fitted.state())
    rng = np.random.default_rng
    np.testing.assert_array_equal(again.sample(9, rng(2)), fitted.sample(9, rng(2)))
    assert again.log_likelihood_ == fitted.log_likelihood_
    assert again.n_iter_ == fitted.n_iter_


def test_more_gaussians_than_points_and_repeated_points():
    few = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    model = MixtureModel(n_components=50, n_principal=80, init="random").fit(few)
    assert model.weights_.size <= 5
    same = np.ones((30, 4), dtype=np.float32)
    model = MixtureModel(n_components=3, n_principal=2).fit(same)
    np.testing.assert_allclose(model.sample(4, np.random.default_rng(0)), 1.0, atol=0.06)


def test_any_seed_will_do(points):
    model = MixtureModel(n_components=2, n_principal=3, random_state=2**40)
    assert np.isfinite(model.fit(points).score(points))


def test_errors(points, fitted):
    for name in ("n_components", "n_principal", "max_iter"):
        for value in (0, 1.5, "a", None):
            with pytest.raises(OptionError, match=f"{name}: expected .* from 1, got {value!r}"):
                MixtureModel(**{name: value}).fit(points)
    with pytest.raises(OptionError, match="random_state: expected a whole number from 0, got -1"):
        MixtureModel(random_state=-1).fit(points)
    with pytest.raises(OptionError, match=r"tol: expected a number from 0.0, got None"):
        MixtureModel(tol=None).fit(points)
    with pytest.raises(OptionError, match="init: expected 'kmeans' or 'random', got 'x'"):
        MixtureModel(init="x").fit(points)
    with pytest.raises(OptionError, match="regularization: expected a number above 0"):
        MixtureModel(regularization=0.0).fit(points)
    with pytest.raises(ShapeError, match=r"points: expected shape \(N, F\)"):
        MixtureModel().fit(points[0])
    with pytest.raises(DtypeError, match="points: expected an array, got list"):
        MixtureModel().fit(points.tolist())
    with pytest.raises(ShapeError, match=r"points: expected .* \(any, 20\), got \(3, 4\)"):
        fitted.transform(np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(DataError, match="finite"):
        MixtureModel().fit(np.where(points > 5, np.nan, points))
    with pytest.raises(NotFittedError, match="call fit first"):
        MixtureModel().sample(1, np.random.default_rng(0))
    with pytest.raises(OptionError, match="n: expected a whole number from 1"):
        fitted.sample(0, np.random.default_rng(0))
    state = fitted.state()
    with pytest.raises(CheckpointError, match=r"means: expected shape \(6, 18\), got \(6, 17\)"):
        MixtureModel().restore({**state, "means": state["means"][:, :17]})
    del state["factors"]
    with pytest.raises(CheckpointError, match="missing factors"):
        MixtureModel().restore(state)
