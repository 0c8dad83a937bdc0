"""A layer of a stack: expert capsules, their decoder, and codes that settle between the two."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import TransformerMixin

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.functional import Routing
from capsnp.models._base import BLOCK, Estimator, Rows, Standardized, expect_rows
from capsnp.models._saving import restored, state_of
from capsnp.models.capsule_decoder import CapsuleDecoder
from capsnp.models.expert_capsules import ExpertCapsules
from capsnp.models.expert_neurons import ExpertNeurons
from capsnp.training.loop import Observer, Training, tracking, train

Observers = Callable[[str], Iterable[Observer]]


def nobody(stage: str) -> Iterable[Observer]:  # noqa: ARG001
    """No observers of a stage."""
    return ()


class CapsuleLayer(TransformerMixin, Estimator):
    """Expert capsules and their decoder: features (N, I, P) to settled codes (N, J, D), and back.

    What `CapsuleGenerator` has between features and codes, as one estimator: so that one layer can
    be fitted on the codes of another, in a `CapsuleStack` or a pipeline.

    Parameters
    ----------
    experts : ExpertCapsules or ExpertNeurons, optional
    decoder : CapsuleDecoder, optional
        Both are cloned before they are fitted.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        Both are handed to the parts.

    Attributes
    ----------
    experts_, decoder_
        The fitted parts.

    Examples
    --------
    >>> h = np.random.default_rng(0).normal(size=(64, 9, 4)).astype("float32")
    >>> layer = CapsuleLayer(
    ...     ExpertCapsules(3, 5, n_steps=20, batch_size=16),
    ...     CapsuleDecoder(winner_steps=10, settled_steps=10, batch_size=16),
    ... )
    >>> codes = layer.fit_transform(h)
    >>> codes.shape, layer.inverse_transform(codes).shape
    ((64, 3, 5), (64, 9, 4))
    """

    _defaults: ClassVar = {"experts": ExpertCapsules, "decoder": CapsuleDecoder}

    def __init__(
        self,
        experts: ExpertCapsules | ExpertNeurons | None = None,
        decoder: CapsuleDecoder | None = None,
        *,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.experts = experts
        self.decoder = decoder
        self.dtype = dtype
        self.backend = backend

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Rows, y: Any = None, *, observers: Observers = nobody, prefix: str = ""):  # noqa: ARG002
        """Train the experts on features, then the decoder on their codes.

        Parameters
        ----------
        X : array, shape (N, I, P)
        y : ignored
        observers : callable, optional
            From a stage's name ("capsules" or "neurons", then "decoder") to its observers.
        prefix : str, optional
            Of the stages' names.

        Returns
        -------
        CapsuleLayer
            Itself.
        """
        experts = self._part("experts")
        run_stage(experts.training(X), prefix, observers)
        self.experts_ = experts
        watching = tuple(observers(f"{prefix}decoder"))
        blocks = tracking(watching)(slices(X.shape[0], 4 * BLOCK), "codes")
        to_host = self._backend.to_host
        parts = [
            (codes := experts.transform(X[rows]), to_host(experts.priority(codes)))
            for rows in blocks
        ]
        codes, priority = (np.concatenate(part) for part in zip(*parts, strict=True))
        decoder = self._part("decoder")
        training = decoder.training(codes, self.standardized(X), priority=priority)
        run_stage(training, prefix, lambda _: watching)
        self.decoder_ = decoder
        return self

    # --- codes and back --------------------------------------------------------------------

    def standardized(self, X: Rows) -> Standardized:
        """Features, centred and scaled as they are asked for."""
        return Standardized(X, self._backend.to_host(self.experts_.mean_), self.experts_.scale_)

    def transform(self, X: Rows) -> np.ndarray:
        """Codes (N, J, D) of features (N, I, P) that settled against the decoder."""
        self._expect_fitted("decoder_")
        expect_rows("X", X, (None, *self.experts_.mean_.shape), "(N, I, P)")
        h = self.standardized(X)

        def block(rows: slice) -> np.ndarray:
            start = self._array(self._starts(X[rows]))
            return self._backend.to_host(self.decoder_.settle(self._array(h[rows]), start=start).y)

        parallel = self._backend.name == "numpy"
        return np.concatenate(map_blocks(block, slices(X.shape[0], BLOCK), parallel=parallel))

    def _starts(self, X: np.ndarray) -> np.ndarray:
        """Codes from which the decoder routes; it looks at none with one routing iteration."""
        if self.decoder_.routing_iterations > 1:
            return self.experts_.transform(X)
        return np.zeros((len(X), *self.code_shape), dtype=self.dtype)

    @property
    def code_shape(self) -> tuple[int, int]:
        """(J, D)."""
        self._expect_fitted("experts_")
        return self.experts_.n_capsules, self.experts_.capsule_dim

    def inverse_transform(self, codes: Array) -> np.ndarray:
        """Features (N, I, P) of codes (N, J, D), by the decoder."""
        self._expect_fitted("decoder_")
        h = self.decoder_.inverse_transform(codes)
        return h * self.experts_.scale_ + self._backend.to_host(self.experts_.mean_)

    def routing(self, X: Rows) -> Routing:
        """Routing of features by the experts, see `ExpertCapsules.routing`."""
        self._expect_fitted("experts_")
        return self.experts_.routing(X)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays of both parts, on the host, named ``part.array``."""
        self._expect_fitted("decoder_")
        return state_of((name, getattr(self, f"{name}_")) for name in self._defaults)

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take learned arrays from `state`."""
        for name in self._defaults:
            setattr(self, f"{name}_", restored(self._part(name), state, name))
        return self


def run_stage(training: Training, prefix: str, observers: Observers) -> None:
    """Run a training under its name with a prefix, watched by that stage's observers."""
    training.name = f"{prefix}{training.name}"
    train(training, observers=observers(training.name))
