"""A product of expert capsules, trained by contrastive divergence with mixing by routing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from capsnp.backend import Array
from capsnp.functional import firing_probability, free_energy, length, reverse, squash
from capsnp.functional.routing import Agreement, Normalize
from capsnp.models._base import Rows, expect_rows
from capsnp.models._capsule_training import CapsuleTraining
from capsnp.models._routed import Decay, RoutedLayer

PAPER = {
    "routing_iterations": 3,
    "coefficient_scale": None,
    "centre": False,
    "feature_scale": None,
    "n_winners": None,
    "balance": 0.0,
    "rebalance_steps": 0,
}
"""What makes `ExpertCapsules` Algorithm 1 to the letter."""


class ExpertCapsules(RoutedLayer):
    r"""Product of expert capsules with energy (7), trained by Algorithm 1.

    .. math:: E(x, \|y\|) = -\sum_j \|y_j\| \log\|z_j\|^2, \qquad
              z_j = \sum_i c_{ij} W_{ij} x_i, \qquad y_j = \mathrm{squash}(z_j)

    The defaults are what was measured to learn; ``ExpertCapsules(**PAPER)`` is the paper to the
    letter. Parameters marked † are departures.

    Parameters
    ----------
    n_capsules, capsule_dim : int
        J output capsules of dimension D; the paper's 20 and 16.
    routing_iterations : int
        Weightings in routing by agreement, from 1. The paper does not say; 3 is Sabour's (2017).
        With 1 the coefficients are uniform and every product is one matrix product.
    agreement : {"cosine", "dot"}
        Of a prediction with the weighted sum; the paper's is the cosine.
    normalize : {"inputs", "outputs"}
        The axis on which the coefficients sum to 1; the paper's formula says inputs.
    coefficient_scale : float or None
        † The mean of the coefficients: routed ones are multiplied by this times the number of
        capsules that they sum to 1 over. None leaves them as they are (the paper): then z is a
        mean of I predictions, x̃ is too short, and the negative phase vanishes. A factor s is the
        same as weights s times as large at the start with steps s² times as long.
    centre : bool
        † Subtract each feature's mean over the data. Without it every capsule learns the mean.
    feature_scale : float or None
        † Features are divided so that the mean capsule's length is this; None leaves them. Short
        features keep w(z) = z/(1+‖z‖²) on its rising side.
    n_winners : int or None
        † Capsules that stay on per example, those with the largest log P(on) + bias; None leaves
        all on. One winner makes capsules specialise.
    balance : float
        † Step of the bias towards equal use per batch: b_j += balance · (k/J − share won).
    rebalance_steps : int
        † After training, steps of a decreasing length that settle the bias with the weights fixed.
    mixing_steps : int
        Times that Algorithm 1's reverse and forward pass are run; the paper's is 1.
    learning_rate : float
        λ at the start.
    decay : {"linear", "none"}
        Of the learning rate, to 0 at the last step. The paper has a decay and does not say which.
    momentum, l2 : float
        Averaging of the gradient in [0, 1), and the weights' decay. The paper does not say.
    init_scale : float
        Standard deviation of the first weights; the paper's N(0, 0.01) leaves it open.
    n_steps, batch_size : int
    random_state : int
        Seed of the weights and of the data's order.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        See `capsnp.backend.get_backend`.

    Attributes
    ----------
    W_ : array, shape (I, J, D, P)
    bias_ : array, shape (J,)
    mean_ : array, shape (I, P)
    scale_ : float
        Features are ``(h - mean_) / scale_``.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 3 and Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> h = np.random.default_rng(0).normal(size=(64, 9, 4)).astype("float32")
    >>> model = ExpertCapsules(3, 5, n_steps=20, batch_size=16).fit(h)
    >>> model.transform(h).shape
    (64, 3, 5)
    """

    def __init__(
        self,
        n_capsules: int = 20,
        capsule_dim: int = 16,
        *,
        routing_iterations: int = 2,
        agreement: Agreement = "cosine",
        normalize: Normalize = "inputs",
        coefficient_scale: float | None = 0.7,
        centre: bool = True,
        feature_scale: float | None = 0.3,
        n_winners: int | None = 1,
        balance: float = 0.05,
        rebalance_steps: int = 3000,
        mixing_steps: int = 1,
        learning_rate: float = 1.0,
        decay: Decay = "linear",
        momentum: float = 0.9,
        l2: float = 1e-4,
        init_scale: float = 0.01,
        n_steps: int = 3000,
        batch_size: int = 100,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.n_capsules = n_capsules
        self.capsule_dim = capsule_dim
        self.routing_iterations = routing_iterations
        self.agreement = agreement
        self.normalize = normalize
        self.coefficient_scale = coefficient_scale
        self.centre = centre
        self.feature_scale = feature_scale
        self.n_winners = n_winners
        self.balance = balance
        self.rebalance_steps = rebalance_steps
        self.mixing_steps = mixing_steps
        self.learning_rate = learning_rate
        self.decay = decay
        self.momentum = momentum
        self.l2 = l2
        self.init_scale = init_scale
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    def _training(self, X: Rows, *, start: bool) -> CapsuleTraining:
        return CapsuleTraining(self, X, start=start)

    # --- inference -------------------------------------------------------------------------

    def inputs(self, X: Rows) -> Array:
        """Input capsules (N, I, P): features centred, scaled and squashed."""
        return squash(self.standardize(X))

    def _codes(self, z: Array) -> Array:
        return squash(z)

    def _score_sums(self, z: Array) -> Array:
        return self._score(firing_probability(z))

    def _score_codes(self, codes: Array) -> Array:
        return self._score(length(codes))

    def _score(self, p_on: Array) -> Array:
        """log P(on) + bias."""
        xp = self._backend.xp
        tiny = float(xp.finfo(p_on.dtype).smallest_normal)
        return xp.log(xp.clip(p_on, min=tiny)) + self.bias_

    def score_samples(self, X: Rows) -> np.ndarray:
        """log P(x) + log Z = −free energy (10) with the routed coefficients, (N,)."""
        scores = [
            self._backend.to_host(-free_energy(x, self.W_, self._route(x).c))
            for x in self._blocks(X)
        ]
        return np.concatenate(scores)

    def inverse_transform(self, codes: Array) -> np.ndarray:
        """Features (N, I, P) by Algorithm 1's reverse pass with uniform coefficients."""
        self._expect_fitted("W_")
        n_in, n_out, dim, _ = self.W_.shape
        expect_rows("codes", codes, (None, n_out, dim), "(N, J, D)")
        c = self._backend.xp.full((n_in, n_out), self._uniform, dtype=self.W_.dtype)
        features = reverse(self._array(codes), self.W_, c) * self.scale_ + self.mean_
        return self._backend.to_host(features)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name, on the host."""
        self._expect_fitted("W_")
        host = self._backend.to_host
        return {
            "W": np.ascontiguousarray(host(self.W_)),
            "bias": host(self.bias_),
            "mean": host(self.mean_),
            "scale": np.asarray(self.scale_, dtype="float64"),
        }

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take learned arrays from `state`."""
        self._forget()
        self.W_ = self._held(state["W"])
        self.bias_, self.mean_ = self._array(state["bias"]), self._array(state["mean"])
        self.scale_ = float(state["scale"])
        return self
