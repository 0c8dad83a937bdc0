"""The capsule network of Sabour, Frosst and Hinton, a classifier in scikit-learn's manners."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import CheckpointError, OptionError, ShapeError
from capsnp.functional import length
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional._plain_routing import Gradient
from capsnp.functional.routing import Agreement, Logits, Normalize, expect_rule
from capsnp.functional.routings import ROUTINGS
from capsnp.functional.squashes import SQUASHES
from capsnp.memory import expect_fitting
from capsnp.models._base import expect_rows
from capsnp.models._capsnet_network import Layout, Network, Shapes
from capsnp.models._capsnet_parts import (
    Criteria,
    Form,
    criterion_of,
    first_weights,
    norm_of,
    own_parameters,
    router_of,
)
from capsnp.models._capsnet_presets import PRESETS
from capsnp.models._capsnet_training import WEIGHTS, Alone, CapsNetTraining
from capsnp.models._labelled import (
    ImageClassifierBase,
    expect_classes,
    expect_labels,
    indicator,
)
from capsnp.training.loop import Observer, train
from capsnp.training.progress import Progress
from capsnp.training.watchdog import Watchdog

COPIES = 4
"""Of the weights: themselves, Adam's two moments, the gradient."""

CHUNK = 64
"""Images that a thread takes through the network at a time; elsewhere eight times as many."""


class CapsNet(ClassifierMixin, TransformerMixin, ImageClassifierBase):
    r"""Capsule network: convolutions, primary capsules, routing to a capsule for each class.

    .. math:: a = \mathrm{relu}(A_1 y + b_1), \quad x = \mathrm{squash}(A_2 a + b_2), \quad
              z_j = \sum_i c_{ij} W_{ij} x_i, \quad v_j = \mathrm{squash}(z_j)

    for an image y, with coefficients c by routing. The length of v_j tells whether class j is
    there, its direction how it looks: a decoder of three dense layers rebuilds the image from the
    capsule of its class, and its squared error is a part of the loss. Trained by Adam on a
    gradient by hand, see :doc:`/derivations/capsnet`. The defaults are the sizes of the paper.

    Parameters
    ----------
    filters : int
        Channels of the first convolution, of stride 1, with a rectifier.
    primary_channels, primary_dim : int
        The second convolution, of stride 2, makes this many capsules of this dimension P at each
        place.
    capsule_dim : int
        D, the dimension of the class capsules.
    kernel : int
        Height and width of both convolutions' filters, without padding.
    iterations : int
        Weightings in the routing.
    squash : {"sabour", "efficient", "rational", "power", "tempered", "ball"}
        Of `capsnp.functional.squashes.SQUASHES`.
    agreement, normalize, logits
        Of `capsnp.functional.route`.
    routing_gradient : {"full", "last", "frozen"}
        Of `capsnp.functional.route_vjp`.
    routing : {"dynamic", "leaky", "kmeans", "em", "self-attention", "inverted-dot-product"}
        Of `capsnp.functional.routings.ROUTINGS`. `agreement`, `normalize`, `logits` and
        `routing_gradient` are of "dynamic".
    primary_layout : {"channels", "pixels"}
        A primary capsule is made of channels at one place. "pixels", of neighbouring pixels of a
        channel, is a slip of public programs.
    norm : {"exact", "naive"}
        How lengths are computed. "naive", which divides zero by zero, is a slip.
    loss : {"margin", "spread", "cross-entropy"}
        Of the lengths, see `capsnp.functional.margin_loss`.
    margin_exponent : float
        2; with 1 the margin loss has not been squared, a slip.
    reconstruction : float
        What the rebuilt image's squared error, summed over its pixels, is multiplied with; 0 leaves
        the decoder out.
    decoder_hidden : tuple of int
        Widths of the decoder's two hidden layers.
    init_scale : float
        Standard deviation of the first W.
    n_iter : int
        Passes over the data.
    batch_size : int
        Examples of a step; the short batch at the end of a pass is left out. The paper's program
        has 128.
    learning_rate : float
        Of Adam.
    decay : float
        What the learning rate is multiplied with in a pass, from step to step.
    augment : int
        Training images are moved by up to this many pixels each way, zeros coming in.
    image_shape : tuple of int, optional
        (H, W, C) of flat rows. Without it a row is one pixel of many channels, for ``kernel=1``.
    random_state : int
        Seed of the weights, the order of the data and the shifts.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        See `capsnp.backend.get_backend`.
    verbose : bool
        Show progress on standard error.

    Attributes
    ----------
    weights_ : dict of str to array
        ``filters1`` (kernel, kernel, C, filters), ``filters2``, ``bias1``, ``bias2``, ``W``
        (I, J, D, P), of the decoder ``dense1`` to ``dense3`` with ``_bias`` each, and what the
        routing itself learns, ``routing.prior`` for one.
    classes_ : numpy.ndarray, shape (J,)
        Labels in the order of the capsules.
    image_shape_ : tuple of int
        (H, W, C).
    pixel_range_ : tuple of float
        What of the data becomes 0 and 1: (0, 1) of images, and of flat rows within it; else the
        least and the largest number in the rows of `fit`.
    n_features_in_ : int
        H W C.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, arXiv:1710.09829.

    Examples
    --------
    >>> labels = np.arange(60) % 2
    >>> images = np.zeros((60, 8, 8, 1))
    >>> images[labels == 0, 3:5, :] = 1.0  # a bar across
    >>> images[labels == 1, :, 3:5] = 1.0  # a bar upright
    >>> model = CapsNet(8, 4, 4, 4, kernel=3, augment=1, batch_size=10, learning_rate=0.01)
    >>> model.fit(images, labels).score(images, labels)
    1.0
    >>> model.transform(images).shape
    (60, 2, 4)
    """

    def __init__(
        self,
        filters: int = 256,
        primary_channels: int = 32,
        primary_dim: int = 8,
        capsule_dim: int = 16,
        kernel: int = 9,
        *,
        iterations: int = 3,
        squash: str = "sabour",
        agreement: Agreement = "dot",
        normalize: Normalize = "outputs",
        routing_gradient: Gradient = "full",
        routing: str = "dynamic",
        logits: Logits = "example",
        primary_layout: Layout = "channels",
        norm: Form = "exact",
        loss: Criteria = "margin",
        margin_exponent: float = 2,
        reconstruction: float = 0.0005,
        decoder_hidden: tuple[int, int] = (512, 1024),
        init_scale: float = 0.025,
        n_iter: int = 10,
        batch_size: int = 20,
        learning_rate: float = 5e-4,
        decay: float = 0.9,
        augment: int = 2,
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
        verbose: bool = False,
    ):
        self.filters = filters
        self.primary_channels = primary_channels
        self.primary_dim = primary_dim
        self.capsule_dim = capsule_dim
        self.kernel = kernel
        self.iterations = iterations
        self.squash = squash
        self.agreement = agreement
        self.normalize = normalize
        self.routing_gradient = routing_gradient
        self.routing = routing
        self.logits = logits
        self.primary_layout = primary_layout
        self.norm = norm
        self.loss = loss
        self.margin_exponent = margin_exponent
        self.reconstruction = reconstruction
        self.decoder_hidden = decoder_hidden
        self.init_scale = init_scale
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay = decay
        self.augment = augment
        self.image_shape = image_shape
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = [self.dtype]
        return tags

    @classmethod
    def preset(cls, name: str, **parameters: Any) -> "CapsNet":
        """A network with published settings, or with a slip that public programs have.

        Parameters
        ----------
        name : {"sabour2017", "hauser2019", "small", "softmax-over-inputs", "shared-logits", \
"unsquared-margin", "neighbouring-pixels", "no-epsilon-norm"}
        **parameters
            Others than the preset's.

        Raises
        ------
        OptionError
            If the name is unknown.

        Examples
        --------
        >>> CapsNet.preset("hauser2019", n_iter=3).agreement
        'cosine'
        """
        expect_option("name", name, PRESETS)
        return cls(**(dict(PRESETS[name].parameters) | parameters))

    # --- fitting ---------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        alone: Alone | None = None,
        observers: Iterable[Observer] = (),
    ) -> "CapsNet":
        """Train on labelled images.

        Parameters
        ----------
        X : array, shape (N, H, W, C) or (N, H W C)
            Images: floats in [0, 1], on the host; a memory map is read by batches. Or flat rows,
            see `image_shape`.
        y : array, shape (N,) or (N, J)
            Labels of any kind, of at least two classes. Or a matrix of 0 and 1 that has 1 for each
            class that is in the image; the classes are then 0 to J - 1, see `predict_top`.
        alone : Alone, optional
            With such a matrix: the parts of each image on their own, which the decoder then
            rebuilds from one capsule each.
        observers : iterable of Observer, optional
            See `capsnp.training`.

        Returns
        -------
        CapsNet
            Itself.

        Raises
        ------
        ShapeError
            If the images are too small for the kernels, or there are not N labels.
        DtypeError, DomainError
            If X is not of floats, of finite ones, or images are not in [0, 1].
        DataError
            If there is one class only.
        OptionError
            If an option is out of range.
        MemoryLimitError
            If the weights cannot fit.
        DivergenceError
            If training makes a number that is not finite.
        """
        with Progress(quiet=not self.verbose) as progress:
            watching = (Watchdog(limit=math.inf), progress, *observers)
            train(self.training(X, y, alone=alone), observers=watching)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "CapsNet":
        """One step on labelled images as one batch, at the learning rate of the start.

        Goes on from the weights of `fit`; without them the first call sets them, and takes what the
        classes are from `classes` or from its labels.

        Parameters
        ----------
        X : array, shape (N, H, W, C) or (N, H W C)
        y : array, shape (N,)
        classes : array, optional
            All labels that will come.

        Returns
        -------
        CapsNet
            Itself.

        Raises
        ------
        DataError
            If a label is none of the classes.
        """
        self._expect_options()
        first = not hasattr(self, "weights_")
        images = self._images(X, reset=first)
        if first:
            y = expect_labels(y, images.shape[0])
            self._start(expect_classes(y if classes is None else classes))
        elif classes is not None and set(np.unique(classes)) != set(self.classes_):
            raise OptionError(
                f"classes: expected those of the first call, {self.classes_.tolist()}, "
                f"got {np.unique(classes).tolist()}"
            )
        targets = self._indices(y, images.shape[0])
        if not hasattr(self, "_online"):
            self._online = CapsNetTraining(self, images, targets)
            del self._online.images
        self._online.learn(images[:], targets)
        return self

    def training(self, X: Any, y: Any, *, alone: Alone | None = None) -> CapsNetTraining:
        """The training that `fit` would run, to be driven step by step; sets new weights."""
        self._expect_options()
        images = self._images(X, reset=True)
        there = indicator(y, images.shape[0])
        if there is not None:
            if self.loss != "margin":
                raise OptionError(
                    f"loss: expected 'margin' for images of several classes, got {self.loss!r}"
                )
            self._start(np.arange(there.shape[1]))
            return CapsNetTraining(self, images, there, alone)
        if alone is not None:
            raise OptionError("alone: expected a matrix y (N, J) of 0 and 1 with it, got labels")
        y = expect_labels(y, images.shape[0])
        self._start(expect_classes(y))
        return CapsNetTraining(self, images, self._indices(y, images.shape[0]))

    def _expect_options(self) -> None:
        super()._expect_options()
        for name in _COUNTS:
            expect_count(name, getattr(self, name))
        expect_count("augment", self.augment, minimum=0)
        expect_rule(self.iterations, self.agreement, self.normalize, self.logits, self.squash)
        for name, choices in (
            ("squash", tuple(SQUASHES)),
            ("routing", tuple(ROUTINGS)),
            ("routing_gradient", get_args(Gradient)),
            ("primary_layout", get_args(Layout)),
            ("norm", get_args(Form)),
            ("loss", get_args(Criteria)),
        ):
            expect_option(name, getattr(self, name), choices)
        for name in ("reconstruction", "learning_rate", "init_scale"):
            expect_range(name, getattr(self, name), 0)
        expect_range("margin_exponent", self.margin_exponent, 1)
        expect_range("decay", self.decay, 0, 1)
        if len(self.decoder_hidden) != 2:
            raise OptionError(f"decoder_hidden: expected two widths, got {self.decoder_hidden}")
        for width in self.decoder_hidden:
            expect_count("decoder_hidden", width)

    def _start(self, classes: np.ndarray) -> None:
        """First weights."""
        self._expect_room()
        self.__dict__.pop("_online", None)
        self.classes_ = classes
        rng = np.random.default_rng([self.random_state, WEIGHTS])
        shapes = self._shapes.weights()
        numbers = sum(math.prod(shape) for shape in shapes.values())
        expect_fitting(
            "primary_channels",
            self.primary_channels,
            COPIES * np.dtype(self.dtype).itemsize * numbers,
            what="channels of capsules",
        )
        weights = first_weights(shapes, rng, self.init_scale)
        for name, own in own_parameters(ROUTINGS[self.routing], shapes["W"]).items():
            weights[name] = np.full(own.shape, own.value)
        self.weights_ = {name: self._array(weight) for name, weight in weights.items()}

    def _expect_room(self) -> None:
        """Raise unless kernels and shifts fit into the images."""
        height, width, channels = self.image_shape_
        least = 2 * self.kernel - 1
        if min(height, width) < least:
            hint = ""
            if self.image_shape is None and height == width == 1:
                hint = f": rows of {channels} numbers are one pixel without image_shape"
            raise ShapeError(
                f"X: expected images of height and width from {least} for two kernels of "
                f"{self.kernel}, got {height} x {width}{hint}"
            )
        if self.augment >= min(height, width):
            raise OptionError(
                f"augment: expected fewer pixels than the images' {height} x {width}, "
                f"got {self.augment}"
            )

    @property
    def _shapes(self) -> Shapes:
        return Shapes(
            self.image_shape_,
            self.kernel,
            self.filters,
            self.primary_channels,
            self.primary_dim,
            self.classes_.size,
            self.capsule_dim,
            (self.decoder_hidden[0], self.decoder_hidden[1]) if self.reconstruction else None,
        )

    # --- use -------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Class capsules (N, J, D) of images."""
        network, products = self._ready()
        images = self._images(X, reset=False)

        def block(rows: slice) -> np.ndarray:
            v = network.capsules(self._array(images[rows]), products)
            return self._backend.to_host(v)

        return np.concatenate(self._map(block, images.shape[0]))

    def lengths(self, X: Any) -> np.ndarray:
        """Length of each class's capsule, (N, J) in [0, 1]: how sure it is that its class is there.

        Several classes may be there; `predict_proba` divides by the lengths' sum.
        """
        return length(self.transform(X))

    def predict(self, X: Any) -> np.ndarray:
        """The label of the longest capsule, (N,)."""
        best = np.argmax(self.lengths(X), axis=1)
        return self.classes_[best]

    def predict_top(self, X: Any, n: int = 2) -> np.ndarray:
        """The labels of the n longest capsules, the longest first, (N, n)."""
        lengths = self.lengths(X)
        expect_count("n", n)
        if n > lengths.shape[1]:
            raise OptionError(f"n: expected at most the {lengths.shape[1]} classes, got {n}")
        return self.classes_[np.argsort(-lengths, axis=1, kind="stable")[:, :n]]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Lengths divided by their sum, (N, J); equal where all lengths are 0."""
        lengths = self.lengths(X)
        total = np.sum(lengths, axis=1, keepdims=True)
        equal = np.full_like(lengths, 1.0 / lengths.shape[1])
        return np.divide(lengths, total, out=equal, where=total != 0)

    def decision_function(self, X: Any) -> np.ndarray:
        """`lengths` (N, J); with two classes, as scikit-learn has it, (N,).

        The second class's share of the lengths less the first's.
        """
        check_is_fitted(self, "weights_")
        if self.classes_.size == 2:
            p = self.predict_proba(X)
            return p[:, 1] - p[:, 0]
        return self.lengths(X)

    def inverse_transform(self, V: Any, labels: Any = None) -> np.ndarray:
        """Images that the decoder makes of class capsules.

        Parameters
        ----------
        V : array, shape (N, J, D)
            As `transform` makes them, on the host.
        labels : array, shape (N,), optional
            The class whose capsule is seen; by default that of the longest.

        Returns
        -------
        numpy.ndarray, shape (N, H, W, C)

        Raises
        ------
        OptionError
            With ``reconstruction=0``: there is no decoder then.
        ShapeError, DtypeError
            If V is no array of floats of that shape, or there are not N labels.
        DataError
            If a label is none of the training's.
        """
        check_is_fitted(self, "weights_")
        if not self.reconstruction:
            raise OptionError("reconstruction: expected a number above 0 for a decoder, got 0")
        J = self.classes_.size
        expect_rows("V", V, (None, J, self.capsule_dim), "(N, J, D)")
        V = np.asarray(V)
        n = V.shape[0]
        chosen = np.argmax(length(V), axis=1) if labels is None else self._indices(labels, n)
        mask = np.eye(J)[chosen]
        network, (low, high) = self._network(), self.pixel_range_

        def block(rows: slice) -> np.ndarray:
            v, keep = self._array(V[rows]), self._array(mask[rows])
            return self._backend.to_host(network.rebuild(v, keep, self.weights_))

        pixels = np.concatenate(self._map(block, n)).reshape(n, *self.image_shape_)
        return pixels if (low, high) == (0.0, 1.0) else low * (1.0 - pixels) + high * pixels

    def reconstruct(self, X: Any, labels: Any = None) -> np.ndarray:
        """Images rebuilt from one capsule each: `inverse_transform` of `transform`.

        Parameters
        ----------
        X : array, shape (N, H, W, C) or (N, H W C)
        labels : array, shape (N,), optional
            The class whose capsule is seen; by default that which `predict` gives.

        Returns
        -------
        numpy.ndarray, shape of X
        """
        images = self.inverse_transform(self.transform(X), labels)
        return images if np.ndim(X) == 4 else images.reshape(images.shape[0], -1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of right predictions.

        Raises
        ------
        DataError
            If a label is none of the training's.
        """
        predicted = self.predict(X)
        right = self.classes_[self._indices(y, predicted.shape[0])] == predicted
        return float(np.average(right, weights=sample_weight))

    def _ready(self) -> tuple[Network, dict[str, Array]]:
        """The network with the factors of its products, for many blocks."""
        check_is_fitted(self, "weights_")
        network = self._network()
        return network, network.products(self.weights_)

    def _network(self) -> Network:
        return Network.create(
            self.weights_,
            size=self.image_shape_[:2],
            layout=self.primary_layout,
            norm=norm_of(self.squash, self.norm),
            router=router_of(
                ROUTINGS[self.routing], self.get_params(deep=False), self.routing_gradient
            ),
            criterion=criterion_of(self.loss, self.margin_exponent),
            reconstruction=float(self.reconstruction),
        )

    def _map(self, function: Callable[[slice], Any], n: int) -> list:
        """The function of each block of n images, on the thread pool for NumPy.

        Shared logits are those of a batch, which is then one block.
        """
        on_host = self._backend.name == "numpy"
        size = min(CHUNK, -(-n // 2)) if on_host else 8 * CHUNK  # two blocks for two threads
        if self.logits == "batch":
            size = max(self.batch_size, 1)
        return map_blocks(function, slices(n, size), parallel=on_host)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Weights by name, classes, the images' shape and range, on the host."""
        check_is_fitted(self, "weights_")
        host = {name: self._backend.to_host(value) for name, value in self.weights_.items()}
        return host | self._image_state()

    def restore(self, state: Mapping[str, np.ndarray]) -> "CapsNet":
        """Take the weights from `state`.

        Raises
        ------
        CheckpointError
            If an array is missing or does not fit the parameters.
        """
        self._restore_images(state)
        self.__dict__.pop("_online", None)
        shapes = self._shapes.weights()
        own = own_parameters(ROUTINGS[self.routing], shapes["W"])
        shapes |= {name: parameter.shape for name, parameter in own.items()}
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape:
                got = state[name].shape if name in state else "none"
                raise CheckpointError(f"{name}: expected shape {shape}, got {got}")
        self.weights_ = {name: self._array(state[name]) for name in shapes}
        return self


_COUNTS = (
    "filters",
    "primary_channels",
    "primary_dim",
    "capsule_dim",
    "kernel",
    "n_iter",
    "batch_size",
)
