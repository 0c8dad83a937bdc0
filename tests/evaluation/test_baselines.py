"""Baselines: moments, shapes, the control's rebuilding."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from capsnp.errors import OptionError, ShapeError
from capsnp.evaluation.baselines import FeatureControl, mean_image, pca_gaussian
from capsnp.models.mixture import MixtureModel


def test_pca_gaussian_has_the_moments_of_the_images(rng):
    low = rng.standard_normal((400, 3)) * [0.1, 0.05, 0.02]
    basis = np.linalg.qr(rng.standard_normal((12, 3)))[0]
    images = (0.5 + low @ basis.T).reshape(400, 3, 2, 2)
    drawn = pca_gaussian(images, 20_000, n_principal=3).reshape(-1, 12)
    flat = images.reshape(400, 12)
    np.testing.assert_allclose(drawn.mean(axis=0), flat.mean(axis=0), atol=3e-3)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(flat.T), atol=4e-4)


def test_pca_gaussian_stays_in_range_and_follows_its_seed(rng):
    images = (rng.random((100, 4, 4, 1)) > 0.5).astype(np.float32)
    first = pca_gaussian(images, 30, random_state=1)
    assert first.min() == 0.0
    assert first.max() == 1.0
    np.testing.assert_array_equal(first, pca_gaussian(images, 30, random_state=1))
    assert not np.array_equal(first, pca_gaussian(images, 30, random_state=2))


def test_mean_image(rng):
    images = rng.random((10, 3, 2, 1)).astype(np.float32)
    expected = sum(images) / 10
    found = mean_image(images, 4)
    assert found.shape == (4, 3, 2, 1)
    np.testing.assert_allclose(found[3], expected, rtol=1e-6)
    with pytest.raises(OptionError, match="n: expected at least 1"):
        mean_image(images, 0)


def test_control_rebuilds_as_principal_components_do(rng, tmp_path):
    h = (rng.standard_normal((300, 24)) * np.linspace(2, 0.1, 24)).reshape(300, 6, 4)
    np.save(tmp_path / "h.npy", h.astype(np.float32))
    mapped = np.load(tmp_path / "h.npy", mmap_mode="r")
    control = FeatureControl(MixtureModel(n_components=3, n_principal=10)).fit(mapped)
    pca = PCA(10).fit(h.reshape(300, 24))
    expected = pca.inverse_transform(pca.transform(h.reshape(300, 24))).reshape(h.shape)
    np.testing.assert_allclose(control.rebuild(mapped[:50]), expected[:50], atol=1e-4)


def test_control_samples_look_like_the_features(rng):
    h = (3.0 + rng.standard_normal((500, 6))).reshape(500, 3, 2)
    control = FeatureControl(MixtureModel(n_components=2, n_principal=6)).fit(h)
    drawn = control.sample(5000, random_state=1)
    assert drawn.shape == (5000, 3, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), h.mean(axis=0), atol=0.1)
    np.testing.assert_array_equal(control.sample(3, 7), control.sample(3, 7))
    with pytest.raises(ShapeError, match="h: expected shape"):
        control.rebuild(h[:, :2])
