"""Fine-tuning of `DeepBeliefNetwork`, driven by `capsnp.training.train`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from capsnp.backend import Array
from capsnp.functional.belief import down_field, sleep_gradient, up_field, wake_gradient
from capsnp.functional.harmonium import cd_gradient, hidden_field
from capsnp.models._chains import Chains, FromData, Noise, Persistent
from capsnp.training.loop import Gradient, Track, Training, batch_indices
from capsnp.training.optimisers import Momentum

if TYPE_CHECKING:
    from capsnp.models.deep_belief import DeepBeliefNetwork

NOISE, CHAINS = 12, 13
"""Streams of random numbers beside those of the machines' own training."""


class UpDownTraining(Training):
    """Training by contrastive wake-sleep.

    In a step recognition draws states at a batch; the weights down follow `wake_gradient` there,
    the top machine contrastive divergence from there, or from chains that are kept. From the
    chains' ends the model draws states downwards, on which the weights up follow `sleep_gradient`.

    Parameters
    ----------
    model : DeepBeliefNetwork
        Fitted.
    X : numpy.ndarray, shape (N, I)

    References
    ----------
    Hinton, Osindero & Teh (2006), A fast learning algorithm for deep belief nets, appendix B.
    """

    name = "fine-tuning"

    def __init__(self, model: "DeepBeliefNetwork", X: np.ndarray) -> None:
        self.model, self.X = model, X
        self.per_epoch = max(1, X.shape[0] // model.batch_size)
        self.n_steps = model.fine_tune_iter * self.per_epoch
        self._optimiser = Momentum(model.fine_tune_momentum)
        self._health: dict[str, Array] = {}
        self.chains: Chains = FromData()
        if model.fine_tune_algorithm == "pcd":
            self.chains = Persistent(model._chain_starts(model.batch_size))

    def _noise(self, stream: int) -> Noise:
        """A function of (seed, stream, step) alone."""
        model = self.model
        seed = np.random.SeedSequence([model.random_state, stream, self.step])
        rng = model._backend.rng(int(seed.generate_state(1, np.uint64)[0]))
        return Noise(model._backend, model._dtype, rng)

    def gradient(self) -> Gradient:
        model, xp, noise = self.model, self.model._backend.xp, self._noise(NOISE)
        rows = batch_indices(
            self.step, n=self.X.shape[0], batch_size=model.batch_size, seed=model.random_state
        )
        v = model._inward(model._array(self.X[np.sort(rows)]))
        found: Gradient = {}
        for n, layer in enumerate(model.layers_):
            h = layer.hidden.draw(x := up_field(layer, v), noise.for_states(layer.hidden, x.shape))
            found[f"{n}.w"], found[f"{n}.b"] = wake_gradient(layer, v, h)
            v = h
        top, dream = self._top_gradient(v, noise)
        found |= top
        for n, layer in reversed(list(enumerate(model.layers_))):
            x = down_field(layer, dream)
            below = layer.visible.draw(x, noise.for_states(layer.visible, x.shape))
            found[f"{n}.r"], found[f"{n}.c"] = sleep_gradient(layer, below, dream)
            dream = below
        self._health["wake error"] = xp.mean(
            xp.abs(found["0.b"] if model.layers_ else top["top.b"])
        )
        return found

    def _top_gradient(self, v: Array, noise: Noise) -> tuple[Gradient, Array]:
        """Of the top machine, centred at the batch, and the chains' visible ends."""
        model, xp, top = self.model, self.model._backend.xp, self.model.top_
        x = hidden_field(top, v)
        h = top.hidden.mean(x)
        drawn = top.hidden.draw(x, noise.for_states(top.hidden, tuple(x.shape)))
        ends = self.chains.advance(top, drawn, noise, model.fine_tune_k)
        offsets = xp.mean(top.visible.statistic(v), axis=0), xp.mean(h, axis=0)
        dw, db, dc, _ = cd_gradient(top, v, h, *ends, offsets=offsets)
        self._health["hidden mean"] = xp.mean(h)
        return {"top.w": dw, "top.b": db, "top.c": dc}, ends.v

    def apply(self, gradient: Gradient) -> None:
        rate = self.model.fine_tune_rate * (1.0 - self.step / self.n_steps)
        self.model._set_values(self._optimiser.update(self.parameters(), gradient, rate))
        self.step += 1

    def finish(self, track: Track) -> None:  # noqa: ARG002
        """Hand over the chains."""
        if self.step:
            self.model.h_samples_ = self.chains.samples(self.model.top_, self._noise(CHAINS))

    def parameters(self) -> dict[str, Array]:
        return self.model._values()

    def health(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._health.items()}

    def state(self) -> dict[str, np.ndarray]:
        host = self.model._backend.to_host
        moments = {
            f"moment.{name}": np.array(host(m)) for name, m in self._optimiser.moments.items()
        }
        return (
            self.model.state() | moments | self.chains.state(host) | {"step": np.array(self.step)}
        )

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.restore(state)
        array = self.model._array
        self._optimiser.moments = {
            name.removeprefix("moment."): array(np.array(value))
            for name, value in state.items()
            if name.startswith("moment.")
        }
        self.chains.restore(state, array)
        self.step = int(state["step"])
