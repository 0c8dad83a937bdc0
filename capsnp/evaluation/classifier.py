"""A small convolutional classifier: the eye that `capsnp.evaluation` judges images with."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import CheckpointError, DataError, OptionError, ShapeError
from capsnp.evaluation._network import (
    Layers,
    Loss,
    classify,
    first_weights,
    loss_and_gradient,
    weight_shapes,
)
from capsnp.functional import softmax
from capsnp.models._base import Estimator, Rows, expect_rows
from capsnp.training.loop import Gradient, Observer, Training, batch_indices, train
from capsnp.training.optimisers import Adam

_SHIFT, _DROPOUT = 20, 21
"""What random numbers are for: the second part of their generator's seed."""

CHUNK = 64
"""Images that a thread takes through the network at a time; elsewhere, eight times as many."""

PASSES, LEAST_STEPS = 4, 450
"""Default length of the training: over the images this often, and at least this many steps."""


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

    def training(self, images: Rows, labels: Any) -> "ClassifierTraining":
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


class ClassifierTraining(Training):
    """Training of `ImageClassifier`: Adam on its cross-entropy."""

    name = "classifier"

    def __init__(self, model: ImageClassifier, images: Rows, targets: np.ndarray):
        n = images.shape[0]
        self.model, self.images, self.targets = model, images, targets
        self.n_steps = model.n_steps or max(LEAST_STEPS, PASSES * n // min(model.batch_size, n))
        self._optimiser = Adam()
        self._health: dict[str, Any] = {}

    def gradient(self) -> Gradient:
        model = self.model
        rows = batch_indices(
            self.step,
            n=self.images.shape[0],
            batch_size=model.batch_size,
            seed=model.random_state,
        )
        rows = np.sort(rows)
        images = self._moved(np.asarray(self.images[rows]))
        one_hot = np.eye(model.classes_.size)[self.targets[rows]]
        mask = self._mask(rows.size)

        def part(block: slice) -> Loss:
            return loss_and_gradient(
                model._pixels(images[block]),
                model._array(one_hot[block]),
                model._array(mask[block]),
                model.weights_,
            )

        parts = model._map(part, rows.size)
        self._health = {
            "cross_entropy": sum(part.cross_entropy for part in parts) / rows.size,
            "accuracy": sum(part.correct for part in parts) / rows.size,
        }
        return {
            name: sum(part.gradient[name] for part in parts) / rows.size for name in model.weights_
        }

    def _moved(self, images: np.ndarray) -> np.ndarray:
        """Each image moved by up to `shift` pixels, a function of (seed, step)."""
        most, (height, width, _) = self.model.shift, images.shape[1:]
        rng = np.random.default_rng([self.model.random_state, _SHIFT, self.step])
        corners = rng.integers(2 * most + 1, size=(len(images), 2))
        wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        moved = [
            image[y : y + height, x : x + width]
            for image, (y, x) in zip(wide, corners, strict=True)
        ]
        return np.stack(moved)

    def _mask(self, n: int) -> np.ndarray:
        """Dropout of the features, a function of (seed, step): 0 or 1 / (1 − dropout)."""
        model = self.model
        rng = np.random.default_rng([model.random_state, _DROPOUT, self.step])
        return (rng.random((n, model.n_features)) >= model.dropout) / (1.0 - model.dropout)

    def apply(self, gradient: Gradient) -> None:
        rate = self.model.learning_rate * (1.0 - self.step / self.n_steps)
        self.model.weights_ = self._optimiser.update(self.model.weights_, gradient, rate)
        self.step += 1

    def parameters(self) -> dict[str, Array]:
        return self.model.weights_

    def health(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._health.items()}

    def state(self) -> dict[str, np.ndarray]:
        host = self.model._backend.to_host
        moments = {f"adam.{name}": host(value) for name, value in self._optimiser.moments.items()}
        return self.model.state() | moments | {"step": np.asarray(self.step)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.restore(state)
        self.step = int(state["step"])
        moments = {
            name.removeprefix("adam."): self.model._array(value)
            for name, value in state.items()
            if name.startswith("adam.")
        }
        self._optimiser = Adam(count=self.step, moments=moments)
