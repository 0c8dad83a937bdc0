"""A small convolutional classifier: the eye that `capsnp.evaluation` judges images with."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import CheckpointError, DataError, OptionError, ShapeError
from capsnp.evaluation._classifier_training import ClassifierTraining
from capsnp.evaluation._network import (
    Layers,
    classify,
    first_weights,
    weight_shapes,
)
from capsnp.functional import softmax
from capsnp.models._base import Estimator, Rows, expect_rows
from capsnp.training.loop import Observer, train

CHUNK = 64
"""Images that a thread takes through the network at a time; elsewhere, eight times as many."""


class ImageClassifier(ClassifierMixin, Estimator):
    """Strided convolutions, a layer of features and a softmax, trained on labels.

    Made of the package's own layers with a backward pass by hand. Some 99 % right on MNIST after
    four passes; the features, before the softmax, are what images are compared by.

    Parameters
    ----------
    filters : tuple of int
        Channels of each convolution; each halves height and width.
    kernel : int
        Odd height and width of the filters.
    n_features : int
        Width of the layer before the last.
    dropout : float
        Share of the features dropped in training, in [0, 1). It keeps features of new images like
        those of the training images: without it the two are twice as far apart.
    shift : int
        Each training image is moved by up to this many pixels each way, its edges repeated.
    learning_rate : float
        Of Adam, at the start; it falls linearly to 0.
    batch_size : int
    n_steps : int, optional
        By default four passes over the images, at least 450.
    random_state : int
        Seed of the weights and of the data's order.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        See `capsnp.backend.get_backend`.

    Attributes
    ----------
    weights_ : dict of str to array
        ``conv1``, ``conv1_bias`` ..., ``features``, ``features_bias``, ``logits``,
        ``logits_bias``.
    classes_ : numpy.ndarray of int
        Labels in the order of the probabilities.
    image_shape_ : tuple of int
        (H, W, C).
    pixel_mean_, pixel_scale_ : float
        Mean and standard deviation of the training pixels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> images = rng.random((200, 8, 8, 1)) * np.where(labels, 1.0, 0.5)[:, None, None, None]
    >>> model = ImageClassifier(filters=(4,), kernel=3, n_features=8, n_steps=50)
    >>> model.fit(images, labels).score(images, labels) > 0.95
    True
    >>> model.transform(images).shape
    (200, 8)
    """

    def __init__(
        self,
        filters: tuple[int, ...] = (16, 32),
        kernel: int = 5,
        n_features: int = 64,
        *,
        dropout: float = 0.5,
        shift: int = 1,
        learning_rate: float = 2e-3,
        batch_size: int = 128,
        n_steps: int | None = None,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.filters = filters
        self.kernel = kernel
        self.n_features = n_features
        self.dropout = dropout
        self.shift = shift
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, images: Rows, labels: Any, *, observers: Iterable[Observer] = ()):
        """Train on labelled images.

        Parameters
        ----------
        images : array, shape (N, H, W, C)
            Floats, on the host; a memory map is read by batches.
        labels : array of int, shape (N,)
        observers : iterable of Observer, optional
            See `capsnp.training`.

        Returns
        -------
        ImageClassifier
            Itself.

        Raises
        ------
        ShapeError, DtypeError
            If images or labels have another shape or dtype.
        DataError
            If there is one class only.
        OptionError
            If an option is out of range.
        """
        train(self.training(images, labels), observers=observers)
        return self

    def training(self, images: Rows, labels: Any) -> ClassifierTraining:
        """The training that `fit` would run, to be driven step by step; sets new weights."""
        self._expect_options()
        expect_rows("images", images, (None, None, None, None), "(N, H, W, C)")
        labels = np.asarray(labels)
        if labels.shape != (images.shape[0],):
            raise ShapeError(f"labels: expected shape ({images.shape[0]},), got {labels.shape}")
        self.classes_ = np.unique(labels)
        if self.classes_.size < 2:
            raise DataError(f"labels: expected at least two classes, got {self.classes_.size}")
        self.image_shape_ = tuple(images.shape[1:])
        some = np.asarray(images[:4096], dtype=np.float64)
        self.pixel_mean_, self.pixel_scale_ = float(some.mean()), float(some.std()) or 1.0
        rng = np.random.default_rng(self.random_state)
        weights = first_weights(self._weight_shapes(), rng)
        self.weights_ = {name: self._array(weight) for name, weight in weights.items()}
        return ClassifierTraining(self, images, np.searchsorted(self.classes_, labels))

    def _expect_options(self) -> None:
        super()._expect_options()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise OptionError(f"kernel: expected an odd number from 1, got {self.kernel}")
        if not self.filters or min(self.filters) < 1:
            raise OptionError(f"filters: expected at least one number from 1, got {self.filters}")
        for name in ("n_features", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: expected at least 1, got {getattr(self, name)}")

        if self.shift < 0:
            raise OptionError(f"shift: expected at least 0, got {self.shift}")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout: expected a number from 0 to below 1, got {self.dropout}")

    def _weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return weight_shapes(
            self.image_shape_,
            filters=tuple(self.filters),
            kernel=self.kernel,
            n_features=self.n_features,
            n_classes=self.classes_.size,
        )

    # --- using -----------------------------------------------------------------------------

    def transform(self, images: Rows) -> np.ndarray:
        """Features (N, n_features) of images (N, H, W, C)."""
        return self._each_block(images, lambda layers: layers.features)

    def predict_proba(self, images: Rows) -> np.ndarray:
        """Probability (N, K) of each class."""
        return self._each_block(images, lambda layers: softmax(layers.logits, axis=1))

    def predict(self, images: Rows) -> np.ndarray:
        """The most probable label, shape (N,)."""
        best = np.argmax(self.predict_proba(images), axis=1)
        return self.classes_[best]

    def describe(self, images: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, n_features) and probabilities (N, K) in one go."""
        xp = self._backend.xp
        both = self._each_block(
            images, lambda layers: xp.concat([layers.features, softmax(layers.logits)], axis=1)
        )
        return both[:, : self.n_features], both[:, self.n_features :]

    def _each_block(self, images: Rows, wanted: Callable[[Layers], Array]) -> np.ndarray:
        self._expect_fitted("weights_")
        expect_rows("images", images, (None, *self.image_shape_), "(N, H, W, C)")

        def block(rows: slice) -> np.ndarray:
            layers = classify(self._pixels(images[rows]), self.weights_)
            return self._backend.to_host(wanted(layers))

        return np.concatenate(self._map(block, images.shape[0]))

    def _pixels(self, images: np.ndarray) -> Array:
        return (self._array(images) - self.pixel_mean_) / self.pixel_scale_

    def _map(self, function: Callable[[slice], Any], n: int) -> list:
        """The function of each block of n images, on the thread pool for NumPy."""
        on_host = self._backend.name == "numpy"
        return map_blocks(function, slices(n, CHUNK if on_host else 8 * CHUNK), parallel=on_host)

    # --- saving ----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """The weights and what belongs to them by name, for `from_state`."""
        self._expect_fitted("weights_")
        weights = {name: self._backend.to_host(value) for name, value in self.weights_.items()}
        return weights | {
            "classes": self.classes_,
            "image_shape": np.asarray(self.image_shape_),
            "pixels": np.asarray([self.pixel_mean_, self.pixel_scale_]),
        }

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take the weights of a `state`.

        Raises
        ------
        CheckpointError
            If an array is missing or does not fit the parameters.
        """
        for name in ("classes", "image_shape", "pixels"):
            if name not in state:
                raise CheckpointError(f"state: expected an array {name!r}, got {sorted(state)}")
        self.classes_ = np.asarray(state["classes"])
        self.image_shape_ = tuple(int(n) for n in state["image_shape"])
        self.pixel_mean_, self.pixel_scale_ = (float(number) for number in state["pixels"])
        shapes = self._weight_shapes()
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape:
                got = state[name].shape if name in state else "none"
                raise CheckpointError(f"{name}: expected shape {shape}, got {got}")
        self.weights_ = {name: self._array(state[name]) for name in shapes}
        return self

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], **parameters: Any) -> "ImageClassifier":
        """A classifier with these parameters and the weights of `state`."""
        return cls(**parameters).restore(state)
