"""Training of layers of capsules by contrastive divergence, driven by `capsnp.training.train`."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import DomainError
from capsnp.functional import cd_gradient, firing_probability, length, winners
from capsnp.models._base import BLOCK, Rows
from capsnp.training.loop import Gradient, Track, Training, batch_indices
from capsnp.training.optimisers import Momentum

if TYPE_CHECKING:
    from capsnp.models._routed import RoutedLayer
    from capsnp.models.expert_capsules import ExpertCapsules


class RoutedTraining(Training):
    """Training of a `RoutedLayer`: steps of contrastive divergence, and the winners' bias.

    Parameters
    ----------
    model : RoutedLayer
    X : array, shape (N, I, P)
    start : bool, optional
        Set the first weights; else go on from those that the model has.

    Attributes
    ----------
    learned : tuple of str
        Names of the parameters that follow the gradient.
    """

    learned: tuple[str, ...] = ("W",)

    def __init__(self, model: "RoutedLayer", X: Rows, *, start: bool = True):
        self.model: Any = model
        self.X = X
        self.n_steps = model.n_steps
        self._optimiser = Momentum(model.momentum, model.l2)
        self._health: dict[str, Array] = {}
        if start:
            model._start(X)

    @property
    def _fair(self) -> float:
        """The share of examples in which each capsule is on when all are used alike."""
        return (self.model.n_winners or 0) / self.model.n_capsules

    def gradient(self) -> Gradient:
        model = self.model
        rows = batch_indices(
            self.step, n=self.X.shape[0], batch_size=model.batch_size, seed=model.random_state
        )
        return self._gradient(self.X[np.sort(rows)])

    def learn(self, h: np.ndarray) -> None:
        """One step on a batch of features at the first learning rate."""
        self._update(self._gradient(h), self.model.learning_rate)
        self.step += 1

    @abstractmethod
    def _gradient(self, h: np.ndarray) -> Gradient:
        """Of a batch of features: `learned`, and "share" of examples that each capsule won."""

    def _won(self, z: Array) -> Array:
        """The winners of pre-activations, (B, J), which show in the health."""
        model, xp = self.model, self.model._backend.xp
        on = model._winners(z)
        share = xp.mean(on, axis=0)
        self._health |= {"least used": xp.min(share), "most used": xp.max(share)}
        return on

    def apply(self, gradient: Gradient) -> None:
        decay = 1.0 - self.step / self.n_steps if self.model.decay == "linear" else 1.0
        self._update(gradient, self.model.learning_rate * decay)
        self.step += 1

    def _update(self, gradient: Gradient, rate: float) -> None:
        model = self.model
        before = {name: getattr(model, f"{name}_") for name in self.learned}
        for name, value in self._optimiser.update(before, gradient, rate).items():
            setattr(model, f"{name}_", value)
        if "share" in gradient:
            model.bias_ = model.bias_ + model.balance * (self._fair - gradient["share"])

    def finish(self, track: Track) -> None:
        """Settle the winners' bias on the whole data with the weights fixed (†)."""
        model = self.model
        if model.n_winners is None or not model.rebalance_steps:
            return
        to_host = model._backend.to_host
        bias, model.bias_ = to_host(model.bias_), model.bias_ * 0.0
        score = []
        for rows in track(slices(self.X.shape[0], BLOCK), "balancing"):
            z = model._route(model.inputs(self.X[rows])).z
            score.append(to_host(model._score_sums(z)))
        model.bias_ = model._array(self._balanced(np.concatenate(score), bias))

    def _balanced(self, score: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The bias (J,) with which each capsule wins its share of scores (N, J).

        Stochastic descent on the convex Σ_n max_j (score_nj + b_j) − (N/J) Σ_j b_j.
        """
        model = self.model
        for t in range(model.rebalance_steps):
            rows = batch_indices(
                t, n=len(score), batch_size=model.batch_size, seed=model.random_state
            )
            share = np.mean(winners(score[rows] + bias, model.n_winners), axis=0)
            step = model.balance * (1.0 - t / model.rebalance_steps)
            bias = bias + step * (self._fair - share)
        return bias

    def parameters(self) -> dict[str, Array]:
        learned = {name: getattr(self.model, f"{name}_") for name in self.learned}
        return learned | {"bias": self.model.bias_}

    def health(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._health.items()}

    def state(self) -> dict[str, np.ndarray]:
        host = self.model._backend.to_host
        moments = {f"moment.{name}": host(m) for name, m in self._optimiser.moments.items()}
        return self.model.state() | moments | {"step": np.asarray(self.step)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.restore(state)
        if "moment.W" in state:
            self._optimiser.moments = {
                name: self.model._placed(name, state[f"moment.{name}"]) for name in self.learned
            }
        self.step = int(state["step"])


class CapsuleTraining(RoutedTraining):
    """Training of `ExpertCapsules`: Algorithm 1 with the model's options."""

    name = "capsules"
    model: "ExpertCapsules"

    def _gradient(self, h: np.ndarray) -> Gradient:
        model, xp = self.model, self.model._backend.xp
        x = model.inputs(h)
        c, z = model._route(x)
        self._health = {"P(on)": xp.mean(firing_probability(z))}
        if model.n_winners is None:
            return {"W": cd_gradient(x, model.W_, c, z, steps=model.mixing_steps)}
        on = self._won(z)
        share = xp.mean(on, axis=0)
        if model.n_winners == 1 and model._backend.name == "numpy":
            gradient = self._one_winner_gradient(x, c, np.argmax(on, axis=1))
        else:
            gradient = cd_gradient(x, model.W_, c, z, steps=model.mixing_steps, on=on > 0)
        return {"W": gradient, "share": share}

    def _one_winner_gradient(self, x: np.ndarray, c: np.ndarray, winner: np.ndarray) -> np.ndarray:
        """`cd_gradient` with one capsule on: each capsule is a model of the examples it won.

        The fast path on NumPy, equal to the general one to rounding.
        """
        W, steps = self.model.W_, self.model.mixing_steps

        def part(block: slice) -> np.ndarray:
            rows = np.flatnonzero(winner == block.start)
            if rows.size == 0:
                return np.zeros_like(W[:, block])
            c_won = c[:, block] if c.ndim == 2 else c[:, :, block][rows]
            share = float(rows.size / x.shape[0])
            return cd_gradient(x[rows], W[:, block], c_won, steps=steps) * share

        parts = map_blocks(part, slices(W.shape[1], 1), parallel=True)
        held = np.concatenate([np.transpose(p, (1, 3, 0, 2)) for p in parts])  # (J, P, I, D)
        return np.transpose(held, (2, 0, 3, 1))


def feature_statistics(
    X: Rows, *, centre: bool, feature_scale: float | None
) -> tuple[np.ndarray, float]:
    """Mean of features over rows, and the divisor that gives capsules a mean length.

    Parameters
    ----------
    X : array, shape (N, I, P)
    centre : bool
        Without it the mean is 0.
    feature_scale : float or None
        Mean length of (X − mean) / scale; None gives a scale of 1.

    Returns
    -------
    mean : numpy.ndarray of float64, shape (I, P)
    scale : float

    Raises
    ------
    DomainError
        If a number is not finite, or no row differs from the mean.
    """
    n = X.shape[0]
    mean = np.zeros(X.shape[1:])
    if centre:
        for rows in slices(n, 4 * BLOCK):
            mean += np.sum(X[rows], axis=0, dtype="float64") / n
    if not np.all(np.isfinite(mean)):
        raise DomainError("X: expected finite numbers, got NaN or infinity")
    if feature_scale is None:
        return mean, 1.0
    total = sum(float(np.sum(length(X[rows] - mean))) for rows in slices(n, 4 * BLOCK))
    rounding = n**2 * float(np.finfo(mean.dtype).eps * np.sum(length(mean)))
    if not total > rounding:  # nor is NaN
        raise DomainError(f"X: expected rows that differ, got {n} equal ones, or NaN")
    return mean, total / (n * X.shape[1]) / feature_scale
