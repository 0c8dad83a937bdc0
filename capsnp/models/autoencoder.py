"""The convolutional autoencoder whose code becomes the input capsules (Figure 1)."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import CheckpointError, DomainError, OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_range
from capsnp.functional.activations import sigmoid
from capsnp.models._base import BLOCK, Estimator, Rows, expect_rows
from capsnp.models._convolutional import WEIGHTS, Loss, Network, code_grid
from capsnp.training.loop import Gradient, Observer, Training, batch_indices, train
from capsnp.training.optimisers import Adam

_WEIGHTS, _DROPOUT = 10, 11
"""What random numbers are for: the second part of their generator's seed."""

CHUNK = 64
"""Images that a thread takes through the network at a time; elsewhere eight times as many."""


class ConvAutoencoder(TransformerMixin, Estimator):
    r"""Two convolutions and the same filters transposed, trained to rebuild images.

    .. math:: \mathrm{code} = \ell(A_2\, \ell(A_1 x + b_1) + b_2), \qquad
              \hat x = \sigma(A_1^T \ell(A_2^T (m \odot \mathrm{code}) + d_2) + d_1)

    with the leaky ReLU :math:`\ell`, the dropout mask m, A₁ by ``filters1`` with stride 1 and A₂ by
    ``filters2`` with stride 2, both without padding. The loss is the Bernoulli cross-entropy,
    summed over the pixels and averaged over the batch.

    Parameters
    ----------
    filters : int
        Channels F of both hidden layers; the paper's 128.
    kernel : int
        Height and width of the filters; the paper's 9.
    capsule_dim : int
        P: the code's channels are read as capsules of this many numbers; the paper's 8.
    dropout : float
        Share of the code that is dropped in training, in [0, 1). The paper does not say how much.
    slope : float
        Of the leaky ReLU below zero, in [0, 1].
    learning_rate : float
        Of Adam.
    batch_size, n_steps : int
    random_state : int
        Seed of the weights, of the data's order and of the dropout.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        See `capsnp.backend.get_backend`.

    Attributes
    ----------
    weights_ : dict of str to array
        ``filters1`` (kernel, kernel, C, F), ``filters2`` (kernel, kernel, F, F), the encoder's
        ``bias1`` (F,) and ``bias2`` (F,), the decoder's ``decoder_bias2`` (F,) and
        ``decoder_bias1`` (C,).
    image_shape_ : tuple of int
        (H, W, C).
    grid_ : tuple of int
        Height and width of the code.
    n_capsules_ : int
        I = grid height * grid width * F / P.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 4.1 and Figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).random((16, 12, 12, 1))
    >>> model = ConvAutoencoder(filters=8, kernel=5, capsule_dim=4, n_steps=2, batch_size=8)
    >>> model.fit(images).transform(images).shape  # a grid of 2 x 2, and 2 capsules of 4 at each
    (16, 8, 4)
    """

    def __init__(
        self,
        filters: int = 128,
        kernel: int = 9,
        capsule_dim: int = 8,
        *,
        dropout: float = 0.2,
        slope: float = 0.2,
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        n_steps: int = 700,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.filters = filters
        self.kernel = kernel
        self.capsule_dim = capsule_dim
        self.dropout = dropout
        self.slope = slope
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Rows, y: Any = None, *, observers: Iterable[Observer] = ()):  # noqa: ARG002
        """Train on images.

        Parameters
        ----------
        X : array, shape (N, H, W, C)
            Floats in [0, 1], on the host; a memory map is read by batches.
        y : ignored
        observers : iterable of Observer, optional
            See `capsnp.training`.

        Returns
        -------
        ConvAutoencoder
            Itself.

        Raises
        ------
        ShapeError
            If the images are too small for the kernels.
        DtypeError, DomainError
            If they are no floats, or not in [0, 1].
        OptionError
            If an option is out of range.
        """
        train(self.training(X), observers=observers)
        return self

    def partial_fit(self, X: Rows, y: Any = None):  # noqa: ARG002
        """One step of Adam on a batch of images.

        The first call sets the weights, unless `fit` or `restore` has; Adam starts afresh.
        """
        if not hasattr(self, "weights_"):
            self._online = self.training(X)
        elif not hasattr(self, "_online"):
            self._online = AutoencoderTraining(self, X)
        self._expect_images(X)
        self._online.learn(np.asarray(X[:]))
        return self

    def training(self, X: Rows) -> "AutoencoderTraining":
        """The training that `fit` would run, to be driven step by step; sets new weights."""
        self._expect_options()
        expect_rows("X", X, (None, None, None, None), "(N, H, W, C)")
        self._set_shape(*X.shape[1:])
        self._expect_images(X)
        self._start()
        self.__dict__.pop("_online", None)
        return AutoencoderTraining(self, X)

    def _expect_options(self) -> None:
        super()._expect_options()
        for name in ("filters", "kernel", "capsule_dim", "batch_size", "n_steps"):
            expect_count(name, getattr(self, name))
        expect_range("slope", self.slope, 0, 1)
        expect_range("learning_rate", self.learning_rate, 0)
        expect_range("dropout", self.dropout, 0, 1)
        if self.dropout == 1:
            raise OptionError("dropout: expected a number below 1, got 1")

    def _set_shape(self, height: int, width: int, channels: int) -> None:
        rows, columns = code_grid((height, width), self.kernel)
        numbers = rows * columns * self.filters
        if numbers % self.capsule_dim:
            raise ShapeError(
                f"capsule_dim: expected a divisor of the code's {rows} x {columns} x "
                f"{self.filters} = {numbers} numbers, got {self.capsule_dim}"
            )
        self.image_shape_ = height, width, channels
        self.grid_ = rows, columns
        self.n_capsules_ = numbers // self.capsule_dim

    def _weight_shapes(self) -> dict[str, tuple[int, ...]]:
        k, F, channels = self.kernel, self.filters, self.image_shape_[2]
        return {
            "filters1": (k, k, channels, F),
            "filters2": (k, k, F, F),
            "bias1": (F,),
            "bias2": (F,),
            "decoder_bias2": (F,),
            "decoder_bias1": (channels,),
        }

    def _start(self) -> None:
        """First weights: normal, with the variance that keeps a leaky ReLU layer's (He 2015)."""
        rng = np.random.default_rng([self.random_state, _WEIGHTS])
        gain = math.sqrt(2.0 / (1.0 + self.slope**2))
        self.weights_ = {}
        for name, shape in self._weight_shapes().items():
            scale = gain / math.sqrt(math.prod(shape[:3])) if name.startswith("filters") else 0.0
            self.weights_[name] = self._array(scale * rng.standard_normal(shape))

    def _expect_images(self, X: Rows) -> None:
        expect_rows("X", X, (None, *self.image_shape_), "(N, H, W, C)")
        for rows in slices(X.shape[0], 4 * BLOCK):
            block = np.asarray(X[rows])
            low, high = block.min(), block.max()
            if not (low >= 0 and high <= 1):  # also when it is no number
                raise DomainError(f"X: expected pixels from 0 to 1, got {low} to {high}")

    # --- use -------------------------------------------------------------------------------

    def transform(self, X: Rows, out: np.ndarray | None = None) -> np.ndarray:
        """Input capsules of images: the code, without dropout and not squashed.

        Parameters
        ----------
        X : array, shape (N, H, W, C)
            Floats in [0, 1], on the host; read and encoded by blocks.
        out : numpy.ndarray, shape (N, I, P), optional
            Where to write, such as a memory map.

        Returns
        -------
        numpy.ndarray, shape (N, I, P)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ShapeError, DtypeError, DomainError
            If X is not as in `fit`, or `out` has another shape.
        """
        self._expect_fitted("weights_")
        self._expect_images(X)
        shape = (X.shape[0], self.n_capsules_, self.capsule_dim)
        if out is None:
            out = np.empty(shape, dtype=self.dtype)
        elif out.shape != shape:
            raise ShapeError(f"out: expected shape (N, I, P) = {shape}, got {out.shape}")
        network, products = self._network()

        def encode(rows: slice) -> None:
            code = network.encode(self._array(X[rows]), products)
            out[rows] = self._backend.to_host(code).reshape(-1, *shape[1:])

        self._map(encode, X.shape[0])
        return out

    def inverse_transform(self, X: Rows) -> np.ndarray:
        """Images of input capsules, by the decoder.

        Parameters
        ----------
        X : array, shape (N, I, P)
            As `transform` makes them.

        Returns
        -------
        numpy.ndarray, shape (N, H, W, C)
            In [0, 1].

        Raises
        ------
        NotFittedError
            Before `fit`.
        ShapeError, DtypeError
            If X is no array of floats of that shape.
        """
        self._expect_fitted("weights_")
        expect_rows("X", X, (None, self.n_capsules_, self.capsule_dim), "(N, I, P)")
        images = np.empty((X.shape[0], *self.image_shape_), dtype=self.dtype)
        network, products = self._network()

        def decode(rows: slice) -> None:
            code = self._array(X[rows])
            code = self._backend.xp.reshape(code, (-1, *self.grid_, self.filters))
            images[rows] = self._backend.to_host(sigmoid(network.decode(code, products)))

        self._map(decode, X.shape[0])
        return images

    def _map(self, function: Callable[[slice], Any], n: int) -> list:
        """The function of each block of n images, on the thread pool for NumPy."""
        on_host = self._backend.name == "numpy"
        size = min(CHUNK, -(-n // 2)) if on_host else 8 * CHUNK  # two blocks for two threads
        return map_blocks(function, slices(n, size), parallel=on_host)

    def _network(self) -> tuple[Network, dict[str, Array]]:
        """The network with the factors of its products, for many blocks."""
        network = Network.create(self.weights_, size=self.image_shape_[:2], slope=self.slope)
        return network, network.products(self.weights_)

    def score(self, X: Rows, y: Any = None) -> float:  # noqa: ARG002
        """Minus the squared error per image, summed over its pixels: higher is better."""
        errors = (
            float(np.sum((self.inverse_transform(self.transform(X[rows])) - X[rows]) ** 2))
            for rows in slices(X.shape[0], BLOCK)
        )
        return -sum(errors) / X.shape[0]

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Weights by name and the images' shape, on the host."""
        self._expect_fitted("weights_")
        host = {name: self._backend.to_host(value) for name, value in self.weights_.items()}
        return host | {"image_shape": np.asarray(self.image_shape_)}

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take the weights from `state`.

        Raises
        ------
        CheckpointError
            If an array is missing or does not fit the parameters.
        """
        if missing := {"image_shape", *WEIGHTS} - set(state):
            raise CheckpointError(f"state: expected arrays {sorted(missing)}, got {sorted(state)}")
        self._set_shape(*(int(n) for n in state["image_shape"]))
        for name, shape in self._weight_shapes().items():
            if state[name].shape != shape:
                raise CheckpointError(
                    f"{name}: expected shape {shape} for the model's parameters, "
                    f"got {state[name].shape}"
                )
        self.weights_ = {name: self._array(state[name]) for name in WEIGHTS}
        self.__dict__.pop("_online", None)
        return self

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], **parameters: Any) -> "ConvAutoencoder":
        """A model with these parameters and the weights of `state`."""
        return cls(**parameters).restore(state)


class AutoencoderTraining(Training):
    """Training of `ConvAutoencoder`: Adam on its cross-entropy."""

    name = "autoencoder"

    def __init__(self, model: ConvAutoencoder, X: Rows):
        self.model = model
        self.X = X
        self.n_steps = model.n_steps
        self._optimiser = Adam()
        self._network, _ = model._network()
        self._health: dict[str, Array] = {}

    def gradient(self) -> Gradient:
        model = self.model
        rows = batch_indices(
            self.step, n=self.X.shape[0], batch_size=model.batch_size, seed=model.random_state
        )
        return self._gradient(self.X[np.sort(rows)])

    def learn(self, images: np.ndarray) -> None:
        """One step on a batch of images."""
        self.apply(self._gradient(images))

    def _gradient(self, images: np.ndarray) -> Gradient:
        model, n = self.model, images.shape[0]
        products = self._network.products(model.weights_)
        mask = self._mask(n)

        def part(rows: slice) -> Loss:
            block = model._array(images[rows])
            return self._network.loss_and_gradient(block, products, model._array(mask[rows]))

        parts = model._map(part, n)
        self._health = {
            "cross_entropy": sum(part.cross_entropy for part in parts) / n,
            "squared_error": sum(part.squared_error for part in parts) / n,
        }
        return {name: sum(part.gradient[name] for part in parts) / n for name in WEIGHTS}

    def _mask(self, n: int) -> np.ndarray:
        """Dropout of the code, a function of (seed, step): 0 or 1/(1 − dropout)."""
        model = self.model
        rng = np.random.default_rng([model.random_state, _DROPOUT, self.step])
        shape = (n, *model.grid_, model.filters)
        kept = rng.random(shape, dtype=np.float32) >= model.dropout
        return kept / np.asarray(1.0 - model.dropout, dtype=model.dtype)

    def apply(self, gradient: Gradient) -> None:
        model = self.model
        model.weights_ = self._optimiser.update(model.weights_, gradient, model.learning_rate)
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
        model = self.model
        model.restore(state)
        self.step = int(state["step"])
        self._optimiser = Adam(count=self.step)
        self._optimiser.moments = {
            name.removeprefix("adam."): model._array(value)
            for name, value in state.items()
            if name.startswith("adam.")
        }
