"""Capsules on capsules: layers trained one after the other, and pictures from the top down."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.utils.metaestimators import _BaseComposition

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional import Routing, length
from capsnp.functional._checks import expect_option
from capsnp.models._base import Estimator, Rows, Standardized, expect_rows, mean_length
from capsnp.models._directions import (
    Domain,
    drawn_codes,
    shrunk,
    stretched,
    unit,
    visited_directions,
)
from capsnp.models._saving import restored, state_of
from capsnp.models.capsule_decoder import CapsuleDecoder
from capsnp.models.capsule_layer import CapsuleLayer, Observers, nobody, run_stage
from capsnp.models.expert_capsules import ExpertCapsules
from capsnp.models.expert_neurons import ExpertNeurons
from capsnp.models.mixture import MixtureModel
from capsnp.training.loop import tracking

Layer = CapsuleLayer | ExpertCapsules | ExpertNeurons

LEARNED = ("visited", "mean_directions", "feature_lengths")
"""Arrays beside those of the parts."""


class Connections(NamedTuple):
    """What flows into the capsules of a layer, for one row.

    Attributes
    ----------
    x : array, shape (I, P)
        Inputs.
    W : array, shape (I, J, D, P)
    c : array, shape (I, J)
        Coefficients, times their scale.
    y : numpy.ndarray, shape (J, D)
        Codes that the layer hands on.
    """

    x: Array
    W: Array
    c: Array
    y: np.ndarray


def default_layers() -> list[tuple[str, CapsuleLayer]]:
    """40 capsules of 16 numbers on 576, and 20 on these."""
    grow = math.sqrt(576 / 40)  # of the scales of one layer alone: sums are then as large
    below = CapsuleLayer(ExpertCapsules(40), CapsuleDecoder(settled_counts=(1, 3, 40)))
    above = CapsuleLayer(
        ExpertCapsules(20, coefficient_scale=0.7 * grow),
        CapsuleDecoder(coefficient_scale=0.17 * grow),
    )
    return [("first", below), ("second", above)]


class CapsuleStack(TransformerMixin, Estimator, _BaseComposition):
    """Expert capsules on expert capsules, trained greedily: each layer on the codes of the last.

    A layer on few inputs wants larger coefficients: with their scale as 1/√I the sums stay alike.
    Down, each layer goes as it does alone: by its decoder, or, where it has none, by Algorithm 1's
    reverse pass. A stack with the same layers as a `sklearn.pipeline.Pipeline` has the same codes.

    Parameters
    ----------
    layers : list of (str, estimator), optional
        Names and layers from below, each a `CapsuleLayer`, `ExpertCapsules` or `ExpertNeurons`.
        As in a pipeline ``set_params(second__experts__n_capsules=10)`` reaches into them. By
        default 40 capsules, and 20 on top of them.
    mixture : MixtureModel, optional
        Over the top's codes with lengths r stretched to r/√(1 − r), in the metric of the features
        that they stand for.
    random_state : int
        Seed of the directions kept, and of `sample` unless it gets its own.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        Both are handed to the layers.

    Attributes
    ----------
    layers_ : list of (str, estimator)
        Fitted.
    mixture_ : MixtureModel
    visited_ : numpy.ndarray, shape (J, K, D)
        Directions that each capsule of the top took in training when it won.
    mean_directions_ : numpy.ndarray, shape (J, D)
        Their means, of length 1.
    feature_lengths_ : numpy.ndarray, shape (L,)
        For each layer, mean length of what it was trained on, less the mean.

    Examples
    --------
    >>> h = np.random.default_rng(0).normal(size=(64, 9, 4)).astype("float32")
    >>> few = {"n_steps": 20, "batch_size": 16, "rebalance_steps": 20}
    >>> model = CapsuleStack(
    ...     [("first", ExpertCapsules(6, 5, **few)), ("second", ExpertCapsules(3, 4, **few))],
    ...     MixtureModel(n_components=2, n_principal=4),
    ... ).fit(h)
    >>> model.transform(h).shape, model.sample(2).shape
    ((64, 3, 4), (2, 9, 4))
    """

    _defaults: ClassVar = {"layers": default_layers, "mixture": MixtureModel}

    def __init__(
        self,
        layers: list[tuple[str, Layer]] | None = None,
        mixture: MixtureModel | None = None,
        *,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.layers = layers
        self.mixture = mixture
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of layers under ``layer__parameter``."""
        return self._get_params("layers", deep=deep)

    def set_params(self, **params: Any) -> "CapsuleStack":
        """Set parameters by the names of `get_params`."""
        self._set_params("layers", **params)
        return self

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Rows, y: Any = None, *, observers: Observers = nobody) -> "CapsuleStack":  # noqa: ARG002
        """Train layer after layer, then the mixture over the top's codes.

        Parameters
        ----------
        X : array, shape (N, I, P)
            Features of the lowest layer.
        y : ignored
        observers : callable, optional
            From a stage's name ("first-capsules", "first-decoder", ...) to its observers.

        Returns
        -------
        CapsuleStack
            Itself.
        """
        self._expect_options()
        expect_rows("X", X, (None, None, None), "(N, I, P)")
        fitted: list[tuple[str, Layer]] = []
        lengths = []
        for name, layer in self._blank():
            if isinstance(layer, CapsuleLayer):
                layer.fit(X, observers=observers, prefix=f"{name}-")
            else:
                run_stage(layer.training(X), f"{name}-", observers)
            fitted.append((name, layer))
            lengths.append(mean_length(Standardized(X, self._mean(layer), 1.0)))
            below, X = X, layer.transform(X)
        self.layers_, self.feature_lengths_ = fitted, np.asarray(lengths)
        self._fit_top(below, X, observers)
        return self

    def _fit_top(self, below: Rows, codes: Rows, observers: Observers) -> None:
        """Directions of the top's capsules, and the mixture over its settled codes."""
        experts = _experts(self.layers_[-1][1])
        routed = experts.transform(below)
        priority = self._backend.to_host(experts.priority(routed))
        self.visited_ = visited_directions(routed, priority, self.random_state)
        self.mean_directions_ = unit(np.mean(self.visited_, axis=1))
        track = tracking(tuple(observers("mixture")))
        t = stretched(codes[:])
        points = t.reshape(len(t), -1) @ self.metric()
        self.mixture_ = self._part("mixture").fit(points, track=track)

    def _expect_options(self) -> None:
        super()._expect_options()
        layers = self._given("layers")
        if not isinstance(layers, list) or not layers:
            raise OptionError(f"layers: expected a list of (name, layer), got {layers!r}")
        for entry in layers:
            if not isinstance(entry, tuple) or len(entry) != 2 or not isinstance(entry[1], Layer):
                raise OptionError(
                    "layers: expected (name, CapsuleLayer, ExpertCapsules or ExpertNeurons), "
                    f"got {entry!r}"
                )
        try:
            self._validate_names([name for name, _ in layers])
        except ValueError as error:
            raise OptionError(f"layers: {error}") from None

    def _blank(self) -> list[tuple[str, Any]]:
        """The layers, not fitted."""
        shared = {"dtype": self.dtype, "backend": self.backend}
        layers = self._given("layers")
        return [(name, clone(layer).set_params(**shared)) for name, layer in layers]

    def _mean(self, layer: Layer) -> np.ndarray:
        """Of what a layer was trained on, (I, P) on the host."""
        return self._backend.to_host(_experts(layer).mean_)

    # --- codes and back --------------------------------------------------------------------

    def transform(self, X: Rows) -> np.ndarray:
        """Codes (N, J, D) of the top layer."""
        return self.codes(X)[-1]

    def codes(self, X: Rows) -> list[np.ndarray]:
        """Codes of every layer from below, each (N, J, D) of its own J and D."""
        self._expect_fitted("layers_")
        found: list[np.ndarray] = []
        for _, layer in self.layers_:
            found.append(layer.transform(found[-1] if found else X))
        return found

    def routing(self, X: Rows) -> list[Routing]:
        """Routing of features in every layer from below, see `ExpertCapsules.routing`."""
        self._expect_fitted("layers_")
        inputs = [X, *self.codes(X)[:-1]]
        return [layer.routing(x) for (_, layer), x in zip(self.layers_, inputs, strict=True)]

    def connections(self, X: Rows) -> list[Connections]:
        """Inputs, maps, coefficients and codes of every layer, of one row (1, I, P).

        `capsnp.plotting.stack_diagram` draws them.
        """
        self._expect_fitted("layers_")
        expect_rows("X", X, (1, None, None), "(N, I, P)")
        found, row = [], X
        for _, layer in self.layers_:
            experts = _experts(layer)
            c, codes = layer.routing(row).c, layer.transform(row)
            c = c if c.ndim == 2 else c[0, ...]
            found.append(Connections(experts.inputs(row)[0, ...], experts.W_, c, codes[0]))
            row = codes
        return found

    def inverse_transform(self, codes: Array, layer: str | None = None) -> np.ndarray:
        """Features (N, I, P) of codes (N, J, D).

        Parameters
        ----------
        codes : array, shape (N, J, D)
        layer : str, optional
            Whose they are; by default the top's.

        Returns
        -------
        numpy.ndarray
        """
        features = self._backend.to_host(self._array(codes))
        for n in reversed(range(self._place(layer) + 1)):
            features = self._down(features, n)
        return features

    def draw(self, codes: Array, layer: str | None = None) -> np.ndarray:
        """Features (N, I, P) of codes with few capsules on, each brought to its mean length.

        As for a model of one layer, what a single capsule stands for is too short by itself: on
        its way down it is given the mean length that the data have there, less their mean.
        """
        features = self._backend.to_host(self._array(codes))
        for n in reversed(range(self._place(layer) + 1)):
            mean = self._mean(self.layers_[n][1])
            away = self._down(features, n) - mean
            size = length(away.reshape(len(away), -1))[:, None, None]
            wanted = self.feature_lengths_[n] / np.where(size > 0, size, 1)
            features = mean + away * wanted.astype(away.dtype)
        return features

    def _place(self, layer: str | None) -> int:
        self._expect_fitted("layers_")
        names = [name for name, _ in self.layers_]
        if layer is None:
            return len(names) - 1
        expect_option("layer", layer, names)
        return names.index(layer)

    def _down(self, codes: np.ndarray, n: int) -> np.ndarray:
        return self.layers_[n][1].inverse_transform(codes)

    def metric(self) -> np.ndarray:
        """Lower triangular L, (J·D, J·D), with ‖yL‖ how far features move with the top's code y.

        The way down is linear but for routed coefficients, which are taken at a code of 0. A
        millionth of the mean is added to the squares, so that L has an inverse.
        """
        n_capsules, dim = self._top_shape
        size = n_capsules * dim
        codes = np.eye(size, dtype=self.dtype).reshape(size, n_capsules, dim)
        away = self.inverse_transform(codes) - self.inverse_transform(0 * codes[:1])
        rows = away.reshape(size, -1).astype("float64")
        gram = rows @ rows.T
        floor = 1e-6 * np.mean(np.diagonal(gram)) + np.finfo(self.dtype).tiny
        return np.linalg.cholesky(gram + floor * np.eye(size)).astype(self.dtype)

    @property
    def _top_shape(self) -> tuple[int, int]:
        self._expect_fitted("layers_")
        top = _experts(self.layers_[-1][1])
        return top.n_capsules, top.capsule_dim

    # --- sampling --------------------------------------------------------------------------

    def sample(
        self,
        n: int = 1,
        domain: Domain = "codes",
        capsule: int | None = None,
        *,
        random_state: int | None = None,
    ) -> np.ndarray:
        """Features drawn from the top down; the parameters are those of `CapsuleGenerator.sample`.

        Returns
        -------
        numpy.ndarray, shape (n, I, P)
        """
        codes = self.sample_codes(n, domain, capsule, random_state=random_state)
        return self.inverse_transform(codes) if domain == "codes" else self.draw(codes)

    def sample_codes(
        self,
        n: int = 1,
        domain: Domain = "codes",
        capsule: int | None = None,
        *,
        random_state: int | None = None,
    ) -> np.ndarray:
        """Codes (n, J, D) of the top that `sample` would take down."""
        self._expect_fitted("mixture_")
        seed = self.random_state if random_state is None else random_state
        return drawn_codes(
            n,
            domain,
            capsule,
            seed,
            mixture=self.mixture_,
            metric=self.metric,
            code=shrunk,
            visited=self.visited_,
            mean=self.mean_directions_,
        )

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays, on the host: ``layer.part.array``, ``mixture.array`` and others."""
        self._expect_fitted("mixture_")
        arrays = state_of([*self.layers_, ("mixture", self.mixture_)])
        return arrays | {name: getattr(self, f"{name}_") for name in LEARNED}

    def restore(self, state: Mapping[str, np.ndarray]) -> "CapsuleStack":
        """Take learned arrays from `state`."""
        self._expect_options()
        self.layers_ = [(name, restored(layer, state, name)) for name, layer in self._blank()]
        self.mixture_ = restored(self._part("mixture"), state, "mixture")
        for name in LEARNED:
            setattr(self, f"{name}_", state[name])
        return self


def _experts(layer: Layer) -> Any:
    """The part of a layer that routes."""
    return layer.experts_ if isinstance(layer, CapsuleLayer) else layer
