"""What layers of capsules share whose couplings are found by routing: data, routing, winners."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from sklearn.base import TransformerMixin

from capsnp.backend import Array
from capsnp.blocks import slices
from capsnp.errors import OptionError
from capsnp.functional import Routing, forward, route, winners
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional.routing import Agreement, Normalize
from capsnp.models._base import BLOCK, Estimator, Rows, expect_rows
from capsnp.models._capsule_training import RoutedTraining, feature_statistics
from capsnp.training.loop import Observer, train

Decay = Literal["linear", "none"]


class RoutedLayer(TransformerMixin, Estimator):
    """A layer z_j = Σ_i c_ij W_ij x_i from features (N, I, P) to codes (N, J, D).

    Its parameters are documented by the models that derive from it.
    """

    n_capsules: int
    capsule_dim: int
    routing_iterations: int
    agreement: Agreement
    normalize: Normalize
    coefficient_scale: float | None
    centre: bool
    feature_scale: float | None
    n_winners: int | None
    balance: float
    rebalance_steps: int
    mixing_steps: int
    learning_rate: float
    decay: Decay
    momentum: float
    l2: float
    init_scale: float
    n_steps: int
    batch_size: int

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Rows, y: Any = None, *, observers: Iterable[Observer] = ()):  # noqa: ARG002
        """Train on features.

        Parameters
        ----------
        X : array, shape (N, I, P)
            On the host; a memory map is read by batches.
        y : ignored
        observers : iterable of Observer, optional
            See `capsnp.training`.

        Returns
        -------
        self
        """
        train(self.training(X), observers=observers)
        return self

    def partial_fit(self, X: Rows, y: Any = None):  # noqa: ARG002
        """One step of training on a batch, at the learning rate of the start.

        Goes on from the weights of `fit`; without them the first call sets the weights, and the
        centre and scale by its batch.
        """
        if not hasattr(self, "_online"):
            self._online = self._training(X, start=not hasattr(self, "W_"))
        expect_rows("X", X, (None, *self.mean_.shape), "(N, I, P)")
        self._online.learn(np.asarray(X[:]))
        return self

    def training(self, X: Rows) -> RoutedTraining:
        """The training that `fit` would run, to be driven step by step."""
        self._expect_options()
        return self._training(X, start=True)

    @abstractmethod
    def _training(self, X: Rows, *, start: bool) -> RoutedTraining:
        """A training on features; without `start` it goes on from the weights."""

    def _expect_options(self) -> None:
        super()._expect_options()
        for name in (
            "n_capsules",
            "capsule_dim",
            "routing_iterations",
            "mixing_steps",
            "n_steps",
            "batch_size",
        ):
            expect_count(name, getattr(self, name))
        expect_count("rebalance_steps", self.rebalance_steps, minimum=0)
        expect_option("agreement", self.agreement, get_args(Agreement))
        expect_option("normalize", self.normalize, get_args(Normalize))
        expect_option("decay", self.decay, get_args(Decay))
        if self.coefficient_scale is not None:
            expect_range("coefficient_scale", self.coefficient_scale, 0.0)
        for name in ("balance", "learning_rate", "l2", "init_scale"):
            expect_range(name, getattr(self, name), 0.0)
        expect_range("momentum", self.momentum, 0.0, 1.0)
        if self.feature_scale is not None:
            expect_range("feature_scale", self.feature_scale, 0.0)
            if not self.feature_scale:
                raise OptionError("feature_scale: expected a number above 0 or None, got 0")
        if self.n_winners is not None:
            expect_count("n_winners", self.n_winners)
            if self.n_winners > self.n_capsules:
                raise OptionError(
                    f"n_winners: expected 1 to {self.n_capsules} (n_capsules) or None, "
                    f"got {self.n_winners}"
                )

    def _start(self, X: Rows) -> None:
        """Centre, scale and first weights."""
        expect_rows("X", X, (None, None, None), "(N, I, P)")
        self._forget()
        _, n_in, dim_in = X.shape
        mean, scale = feature_statistics(X, centre=self.centre, feature_scale=self.feature_scale)
        self.mean_, self.scale_ = self._array(mean), scale
        rng = np.random.default_rng([self.random_state, 1])
        shape = (n_in, self.n_capsules, self.capsule_dim, dim_in)
        self.W_ = self._held(rng.normal(0.0, self.init_scale, shape))
        self.bias_ = self._array(np.zeros(self.n_capsules))

    def _forget(self) -> None:
        """Drop the moments of `partial_fit`, which belong to the weights that it made."""
        if hasattr(self, "_online"):
            del self._online

    def _held(self, host: np.ndarray) -> Array:
        """Weights (I, J, D, P) held in memory as (J, P, I, D), as routing takes them: uncopied."""
        held = np.ascontiguousarray(np.transpose(host, (1, 3, 0, 2)))
        return self._backend.xp.permute_dims(self._array(held), (2, 0, 3, 1))

    def _placed(self, name: str, host: np.ndarray) -> Array:
        """A learned parameter, or its moment, as the training holds it."""
        return self._held(host) if name == "W" else self._array(host)

    # --- inference -------------------------------------------------------------------------

    @abstractmethod
    def inputs(self, X: Rows) -> Array:
        """Features as the layer takes them, (N, I, P)."""

    @abstractmethod
    def _codes(self, z: Array) -> Array:
        """Codes (N, J, D) of pre-activations."""

    @abstractmethod
    def _score_sums(self, z: Array) -> Array:
        """By what winners are chosen, bias and all, (N, J), of pre-activations (N, J, D)."""

    @abstractmethod
    def _score_codes(self, codes: Array) -> Array:
        """The same of codes (N, J, D), to rounding."""

    def standardize(self, X: Rows) -> Array:
        """Centred and scaled features, (N, I, P): (h − mean) / scale."""
        expect_rows("X", X, (None, *self.mean_.shape), "(N, I, P)")
        return (self._array(X) - self.mean_) / self.scale_

    @property
    def _uniform(self) -> float:
        """Each coefficient when all are equal, scaled."""
        n = self.W_.shape[0 if self.normalize == "inputs" else 1]
        return 1.0 / n if self.coefficient_scale is None else self.coefficient_scale

    def _route(self, x: Array) -> Routing:
        """Coefficients with their scale, (I, J) when uniform, and pre-activations."""
        xp = self._backend.xp
        n_in, n_out = self.W_.shape[:2]
        if self.routing_iterations == 1:
            c = xp.full((n_in, n_out), self._uniform, dtype=x.dtype)
            return Routing(c, forward(x, self.W_, c))
        c, z = route(
            x,
            self.W_,
            iterations=self.routing_iterations,
            agreement=self.agreement,
            normalize=self.normalize,
        )
        scale = self._uniform * (n_in if self.normalize == "inputs" else n_out)
        return Routing(c * scale, z * scale)

    def _blocks(self, X: Rows) -> Iterable[Array]:
        """Inputs (B, I, P) of all rows, a block at a time."""
        self._expect_fitted("W_")
        expect_rows("X", X, (None, *self.mean_.shape), "(N, I, P)")
        for rows in slices(X.shape[0], BLOCK):
            yield self.inputs(X[rows])

    def routing(self, X: Rows) -> Routing:
        """Routing of features: coefficients times their scale, and pre-activations.

        Parameters
        ----------
        X : array, shape (N, I, P)

        Returns
        -------
        Routing
            c (N, I, J), or (I, J) with one iteration, and z (N, J, D).
        """
        xp = self._backend.xp
        parts = [self._route(x) for x in self._blocks(X)]
        z = xp.concat([part.z for part in parts], axis=0)
        c = parts[0].c
        return Routing(c if c.ndim == 2 else xp.concat([p.c for p in parts], axis=0), z)

    def _winners(self, z: Array) -> Array:
        """Which capsules stay on, (N, J), of pre-activations; not looked at when all do."""
        return winners(self._score_sums(z), self.n_winners)

    def transform(self, X: Rows) -> np.ndarray:
        """Codes of all capsules, (N, J, D), on the host."""
        to_host = self._backend.to_host
        return np.concatenate([to_host(self._codes(self._route(x).z)) for x in self._blocks(X)])

    def priority(self, codes: Array) -> Array:
        """Score, bias and all, by which winners are chosen, (N, J), of codes (N, J, D)."""
        expect_rows("codes", codes, (None, self.n_capsules, self.capsule_dim), "(N, J, D)")
        return self._score_codes(self._array(codes))

    @abstractmethod
    def score_samples(self, X: Rows) -> np.ndarray:
        """log p + log Z of each row, (N,)."""

    def score(self, X: Rows, y: Any = None) -> float:  # noqa: ARG002
        """Mean of `score_samples`."""
        return float(np.mean(self.score_samples(X)))
