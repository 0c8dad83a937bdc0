"""The judge: what it can tell apart, what it says without labels."""

import dataclasses

import numpy as np
import pytest

from capsnp.datasets import load
from capsnp.errors import DataError, NotFittedError, OptionError, ShapeError
from capsnp.evaluation.baselines import mean_image, pca_gaussian
from capsnp.evaluation.classifier import ImageClassifier
from capsnp.evaluation.distances import frechet_distance, kernel_distance, neighbourhoods
from capsnp.evaluation.images import (
    VARIANCE,
    ImageJudge,
    PixelFeatures,
    class_histogram,
    confident_share,
)


@pytest.fixture(scope="module")
def digits():
    return load("digits"), load("digits", split="test")


@pytest.fixture(scope="module")
def judge(digits):
    train, test = digits
    eye = ImageClassifier(n_steps=200, n_features=32)
    return ImageJudge(eye).fit(train.images, train.labels, new=test.images)


@pytest.fixture(scope="module")
def scores(judge, digits):
    train, test = digits
    kinds = {
        "new": test.images,
        "gaussian": pca_gaussian(train.images, 300),
        "mean": mean_image(train.images, 300),
        "copied": train.images[:300],
        "one class": train.images[train.labels == 3],
    }
    return {name: judge.report(images) for name, images in kinds.items()}


def test_distances_put_images_in_order(scores):
    for score in ("frechet", "kernel"):
        found = [getattr(scores[name], score) for name in ("copied", "new", "gaussian", "mean")]
        assert found == sorted(found), score
    assert scores["one class"].frechet > 3 * scores["new"].frechet


def test_variety_and_quality_are_told_apart(scores):
    assert scores["new"].coverage > 0.7
    assert scores["new"].confident > 0.7 > scores["gaussian"].confident
    assert scores["one class"].recall < 0.4 < scores["one class"].precision
    assert scores["mean"].recall == 0.0
    assert scores["mean"].class_distance == pytest.approx(0.9, abs=0.02)
    assert scores["new"].class_distance < 0.15
    assert scores["one class"].histogram[3] > 0.9
    assert sum(scores["new"].histogram) == pytest.approx(1.0)


def test_copies_are_found(scores):
    assert scores["copied"].near_copies == 1.0
    assert scores["copied"].nearest_ratio < 0.02
    assert scores["new"].near_copies == pytest.approx(0.01, abs=0.01)
    assert scores["new"].nearest_ratio == pytest.approx(1.0, abs=1e-6)
    assert scores["gaussian"].near_copies == 0.0


def test_report_is_made_of_the_distances(judge, digits):
    images = digits[1].images[:100]
    features = judge.scale_ * judge.eye_.transform(images).astype(np.float64)
    report = judge.report(images)
    assert report.n == 100
    assert report.frechet == pytest.approx(frechet_distance(features, judge.reference_))
    root = np.sqrt(VARIANCE)
    kernel = kernel_distance(features / root, judge.reference_ / root)
    assert (report.kernel, report.kernel_error) == pytest.approx(tuple(kernel))
    around = neighbourhoods(judge.reference_[:100], features)
    assert report.precision == around.precision
    assert report.coverage == around.coverage
    assert judge.report(images) == report


def test_scale_is_fixed_by_the_reference(judge, digits):
    assert np.mean(np.var(judge.reference_, axis=0)) == pytest.approx(VARIANCE)
    louder = ImageClassifier.from_state(judge.eye_.state(), n_features=32)
    louder.weights_["features"] = 7.0 * louder.weights_["features"]
    louder.weights_["features_bias"] = 7.0 * louder.weights_["features_bias"]
    again = ImageJudge(louder).fit(digits[0].images)
    images = digits[1].images
    assert again.report(images).frechet == pytest.approx(judge.report(images).frechet, rel=1e-3)


def test_a_fitted_classifier_is_used_as_it_is(judge, digits):
    again = ImageJudge(judge.eye_).fit(digits[0].images, digits[0].labels)
    assert again.eye_ is judge.eye_
    assert again.report(digits[1].images).nearest_ratio is None


def test_without_labels_pixels_are_judged_and_the_report_says_so(digits):
    train, test = digits
    judge = ImageJudge().fit(train.images)
    real, gaussian, mean = (
        judge.report(images)
        for images in (
            test.images,
            pca_gaussian(train.images, 300, n_principal=4),
            mean_image(train.images, 300),
        )
    )
    assert real.eye == "pixels"
    assert real.confident is real.histogram is real.class_distance is None
    assert real.frechet < gaussian.frechet < mean.frechet


def test_pixel_features_are_principal_components(rng):
    images = rng.random((60, 3, 3, 1))
    features = PixelFeatures(n_features=9).fit_transform(images)
    assert features.shape == (60, 9)
    flat = images.reshape(60, 9) - images.reshape(60, 9).mean(axis=0)
    expected = np.linalg.svd(flat, compute_uv=False) ** 2 / 60
    np.testing.assert_allclose(features.var(axis=0), expected, rtol=1e-6)
    assert PixelFeatures().fit_transform(images[:12]).shape == (12, 4)


def test_histogram_and_confidence_by_loops(rng):
    probabilities = rng.dirichlet(np.full(4, 0.2), size=50)
    best = [int(np.argmax(p)) for p in probabilities]
    np.testing.assert_allclose(
        class_histogram(probabilities), [best.count(k) / 50 for k in range(4)]
    )
    assert confident_share(probabilities) == sum(max(p) > 0.9 for p in probabilities) / 50


def test_scores_are_frozen_and_errors_named(judge, scores, digits):
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores["new"].frechet = 0.0
    images = digits[1].images
    with pytest.raises(NotFittedError, match="call fit first"):
        ImageJudge().report(images)
    with pytest.raises(ShapeError, match="images"):
        judge.report(images[:, :20])
    with pytest.raises(DataError, match="a: expected more than 32 rows for 32 features, got 20"):
        judge.report(images[:20])
    with pytest.raises(DataError, match="finite pixels"):
        judge.report(np.full_like(images, np.nan))
    with pytest.raises(OptionError, match="n_reference: expected at least 2"):
        ImageJudge(n_reference=1).fit(images)
    with pytest.raises(ShapeError, match="new"):
        ImageJudge().fit(images, new=images[:, :20])


@pytest.mark.data
def test_mnist_on_the_scale_that_is_documented(data_dir):
    train, test = (load("mnist", data_dir=data_dir, split=split) for split in ("train", "test"))
    rows = np.random.default_rng(0).permutation(60_000)[:20_000]
    images = train.images[rows]
    eye = ImageClassifier(n_steps=400).fit(images, train.labels[rows])
    some = np.random.default_rng(1).permutation(10_000)[:2000]
    new = test.images[some]
    assert eye.score(new, test.labels[some]) > 0.96
    judge = ImageJudge(eye).fit(images)
    assert judge.report(new).frechet < 6
    assert 150 < judge.report(pca_gaussian(images, 2000)).frechet < 500
