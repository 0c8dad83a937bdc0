"""Scores of images against real ones, on one scale."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA

from capsnp.errors import DataError, NotFittedError, OptionError
from capsnp.evaluation.classifier import ImageClassifier
from capsnp.evaluation.distances import (
    copies,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    neighbourhoods,
)
from capsnp.models._base import Rows, expect_rows

VARIANCE = 10.0
"""Mean variance of a feature over the reference images, after scaling: it fixes the scale on which
distances are reported. On MNIST it puts new real images near 2 and a PCA-Gaussian near 320."""

CONFIDENT = 0.9
"""An image is recognised if the classifier gives one class more than this probability."""


@dataclass(frozen=True)
class ImageScores:
    """How a set of images compares with real ones; see ``docs/evaluation.md``.

    Attributes
    ----------
    n : int
        Images that were scored.
    eye : {"classifier", "pixels"}
        Where the features come from: a classifier trained on labels, or principal components of
        the pixels when there are no labels. The two have different scales.
    frechet : float
        Fréchet distance to the reference images; 0 at best.
    kernel, kernel_error : float
        Kernel distance of features of mean variance 1, and its standard error; 0 at best, and
        below it by chance.
    precision, recall, density, coverage : float
        Shares from neighbourhoods; 1 at best (density may exceed it).
    confident : float or None
        Share recognised with a probability above 0.9.
    histogram : tuple of float or None
        Share of each predicted class.
    class_distance : float or None
        Half the sum of absolute differences from the reference's histogram, 0 to 1.
    nearest_ratio, near_copies : float or None
        `Copies` in pixels; None if the judge has seen no new images.
    """

    n: int
    eye: Literal["classifier", "pixels"]
    frechet: float
    kernel: float
    kernel_error: float
    precision: float
    recall: float
    density: float
    coverage: float
    confident: float | None = None
    histogram: tuple[float, ...] | None = None
    class_distance: float | None = None
    nearest_ratio: float | None = None
    near_copies: float | None = None


class PixelFeatures(TransformerMixin, BaseEstimator):
    """Principal components of the pixels: features that need no labels.

    They see where ink is, not what it means. Sharpness and fine texture hardly count.

    Parameters
    ----------
    n_features : int
        No more than a third of the images, so that distances of small sets stay defined.
    random_state : int

    Examples
    --------
    >>> images = np.random.default_rng(0).random((90, 4, 4, 1))
    >>> PixelFeatures(n_features=64).fit_transform(images).shape
    (90, 16)
    """

    def __init__(self, n_features: int = 64, *, random_state: int = 0):
        self.n_features = n_features
        self.random_state = random_state

    def fit(self, images: Rows, y: Any = None):  # noqa: ARG002
        """Find the components of images (N, H, W, C)."""
        flat = _flat(images[:])
        wanted = min(self.n_features, flat.shape[1], max(1, len(flat) // 3))
        seed = self.random_state % 2**32  # as many as scikit-learn knows
        self.pca_ = PCA(wanted, svd_solver="randomized", random_state=seed).fit(flat)
        return self

    def transform(self, images: Rows) -> np.ndarray:
        """Features (N, n_features) of images (N, H, W, C)."""
        return self.pca_.transform(_flat(images[:]))


class ImageJudge(BaseEstimator):
    """Compares images with real ones on features of a classifier.

    Parameters
    ----------
    classifier : ImageClassifier, optional
        Used as it is if it has been fitted, else a clone is trained in `fit`.
    n_reference : int
        Real images, drawn at random, that others are compared with.
    k : int
        Neighbours that define a neighbourhood.
    random_state : int
        Seed of the choice of reference images and of the kernel distance's subsets.

    Attributes
    ----------
    eye_ : ImageClassifier or PixelFeatures
    scale_ : float
        Factor that gives features over the reference images a mean variance of 10.
    reference_ : numpy.ndarray, shape (n_reference, F)
        Scaled features.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(300) % 2
    >>> images = rng.random((300, 8, 8, 1)) * np.where(labels, 1.0, 0.5)[:, None, None, None]
    >>> eye = ImageClassifier(filters=(4,), kernel=3, n_features=8, n_steps=50)
    >>> judge = ImageJudge(eye).fit(images[:200], labels[:200])
    >>> judge.report(images[200:]).frechet < judge.report(1.0 - images[200:]).frechet
    True
    """

    def __init__(
        self,
        classifier: ImageClassifier | None = None,
        *,
        n_reference: int = 20_000,
        k: int = 5,
        random_state: int = 0,
    ):
        self.classifier = classifier
        self.n_reference = n_reference
        self.k = k
        self.random_state = random_state

    def fit(self, images: Rows, labels: Any = None, *, new: Rows | None = None):
        """Learn to see, and look at the real images.

        Parameters
        ----------
        images : array, shape (N, H, W, C)
            Real images that the generator was trained on, too. The array is kept.
        labels : array of int, shape (N,), optional
            Without them features are principal components of the pixels, and the scores that
            need classes are None.
        new : array, shape (M, H, W, C), optional
            Real images that nothing was trained on; they tell how near to training images new
            ones are. Some 2,000 of them are used.

        Returns
        -------
        ImageJudge
            Itself.
        """
        expect_rows("images", images, (None, None, None, None), "(N, H, W, C)")
        if self.n_reference < 2:
            raise OptionError(f"n_reference: expected at least 2, got {self.n_reference}")
        self.eye_ = self._opened_eye(images, labels)
        rng = np.random.default_rng([self.random_state, 0])
        n = images.shape[0]
        rows = rng.permutation(n)[: self.n_reference]
        reference = images[np.sort(rows)][rng.permutation(rows.size)]
        features, probabilities = self._look(reference)
        self.scale_ = float(np.sqrt(VARIANCE / max(np.mean(np.var(features, axis=0)), 1e-30)))
        self.reference_ = self.scale_ * features
        self.histogram_ = None if probabilities is None else class_histogram(probabilities)
        self.training_ = images
        self.new_distances_ = None
        if new is not None:
            expect_rows("new", new, (None, *images.shape[1:]), "(N, H, W, C)")
            some = rng.permutation(new.shape[0])[:2000]
            self.new_distances_ = nearest_distances(new[np.sort(some)], images)
        return self

    def _opened_eye(self, images: Rows, labels: Any) -> ImageClassifier | PixelFeatures:
        if self.classifier is not None and hasattr(self.classifier, "weights_"):
            return self.classifier
        if labels is None:
            return PixelFeatures(random_state=self.random_state).fit(images)
        eye = ImageClassifier() if self.classifier is None else clone(self.classifier)
        return eye.fit(images, labels)

    def _look(self, images: Rows) -> tuple[np.ndarray, np.ndarray | None]:
        """Features in float64, and probabilities of the classes if there are any."""
        if isinstance(self.eye_, PixelFeatures):
            return self.eye_.transform(images).astype(np.float64), None
        features, probabilities = self.eye_.describe(images)
        return features.astype(np.float64), probabilities

    def report(self, images: Rows) -> ImageScores:
        """Score images.

        Parameters
        ----------
        images : array, shape (n, H, W, C)
            Floats in [0, 1]; some 2,000 of them, and more than there are features.

        Returns
        -------
        ImageScores

        Raises
        ------
        NotFittedError
            Before `fit`.
        ShapeError, DtypeError
            If the images are not like those of `fit`.
        DataError
            If there are too few, or pixels that are not finite.
        """
        if not hasattr(self, "reference_"):
            raise NotFittedError("ImageJudge has no reference_ yet: call fit first")
        expect_rows("images", images, (None, *self.training_.shape[1:]), "(n, H, W, C)")
        if not np.all(np.isfinite(images[:])):
            raise DataError("images: expected finite pixels, got NaN or infinity")
        features, probabilities = self._look(images)
        features *= self.scale_
        real = self.reference_[: len(features)]  # neighbourhoods of as many real images
        unit = 1.0 / np.sqrt(VARIANCE)  # the cubic kernel wants numbers near 1
        kernel = kernel_distance(
            unit * features, unit * self.reference_, random_state=self.random_state
        )
        around = neighbourhoods(real, features, k=self.k)
        return ImageScores(
            n=len(features),
            eye="pixels" if probabilities is None else "classifier",
            frechet=frechet_distance(features, self.reference_),
            kernel=kernel.mean,
            kernel_error=kernel.error,
            **around._asdict(),
            **self._of_classes(probabilities),
            **self._of_copies(images),
        )

    def _of_classes(self, probabilities: np.ndarray | None) -> dict[str, Any]:
        if probabilities is None:
            return {}
        histogram = class_histogram(probabilities)
        return {
            "confident": confident_share(probabilities),
            "histogram": tuple(float(share) for share in histogram),
            "class_distance": float(np.sum(np.abs(histogram - self.histogram_)) / 2),
        }

    def _of_copies(self, images: Rows) -> dict[str, Any]:
        if self.new_distances_ is None:
            return {}
        found = copies(nearest_distances(images, self.training_), self.new_distances_)
        return {"nearest_ratio": found.ratio, "near_copies": found.share}


def class_histogram(probabilities: np.ndarray) -> np.ndarray:
    """Share of images of which each class is the most probable.

    Parameters
    ----------
    probabilities : array, shape (n, K)

    Returns
    -------
    numpy.ndarray, shape (K,)
        Adds up to 1.

    Examples
    --------
    >>> class_histogram(np.asarray([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.0, 1.0]]))
    array([0.25, 0.75])
    """
    counts = np.bincount(np.argmax(probabilities, axis=1), minlength=probabilities.shape[1])
    return counts / len(probabilities)


def confident_share(probabilities: np.ndarray, *, above: float = CONFIDENT) -> float:
    """Share of images with a class of a probability above 0.9.

    Examples
    --------
    >>> confident_share(np.asarray([[0.05, 0.95], [0.5, 0.5]]))
    0.5
    """
    return float(np.mean(np.max(probabilities, axis=1) > above))


def _flat(images: np.ndarray) -> np.ndarray:
    return np.reshape(images, (len(images), -1))
