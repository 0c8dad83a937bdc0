"""Training of `RBM`, driven by `capsnp.training.train`."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from capsnp.backend import Array
from capsnp.functional.harmonium import Harmonium, cd_gradient, hidden_field
from capsnp.functional.units import units_of
from capsnp.models._chains import Chains, FromData, Noise, Persistent, Tempered
from capsnp.models._room import expect_room_for_chains
from capsnp.training.loop import Gradient, Track, Training, batch_indices

if TYPE_CHECKING:
    from capsnp.models.rbm import RBM

NOISE, CHAINS = 2, 3
"""Streams of random numbers beside those of weights and order."""

SATURATED = 0.01
"""A Bernoulli unit whose mean over a batch is this near to 0 is dead, to 1 saturated."""


class RBMTraining(Training):
    """Training of `RBM` by contrastive divergence, persistent chains or parallel tempering.

    Parameters
    ----------
    model : RBM
    X : rows
        Checked.
    start : bool, optional
        From first weights; else from those that the model has.
    """

    name = "rbm"

    def __init__(self, model: "RBM", X: Any, *, start: bool = True) -> None:
        self.model, self.X = model, X
        if start:
            model._start(X)
        self.per_epoch = max(1, X.shape[0] // model.batch_size)
        self.n_steps = model.n_iter * self.per_epoch
        self._moments: dict[str, Array] = {}
        self._last: tuple[Array, ...] = ()
        self._values = model._standard()
        self.chains = self._first_chains()

    def _first_chains(self) -> Chains:
        """Chains of hidden states that no data have moved."""
        model = self.model
        if model.algorithm == "cd":
            return FromData()
        n = model.n_chains or model.batch_size
        shape: tuple[int, ...] = (n, model.n_components)
        if model.algorithm == "pt":
            shape = (model.n_temperatures, *shape)
        elif hasattr(model, "h_samples_") and tuple(model.h_samples_.shape) == shape:
            return Persistent(model.h_samples_)
        machine, noise = self.machine, self._noise(CHAINS, 0)
        name = "n_chains" if model.n_chains else "batch_size"
        expect_room_for_chains(name, n, machine, model._backend, ladders=math.prod(shape[:-2]))
        field = model._backend.xp.zeros(shape, dtype=machine.w.dtype) + machine.c
        h = machine.hidden.draw(field, noise.for_states(machine.hidden, shape))
        return Tempered(h, machine.b + 0.0) if model.algorithm == "pt" else Persistent(h)

    def start_from(self, w: Array, b: Array, c: Array) -> None:
        """Take these in place of the first weights (I, J) and biases; units are not Gaussian."""
        self._values = {"w": w + 0.0, "b": b + 0.0, "c": c + 0.0}  # steps change them in place
        self.model._set_standard(self._values)
        self.chains = self._first_chains()

    @property
    def machine(self) -> Harmonium:
        """Of standardized features, where visible units are Gaussian: their unit then matters not
        and their mean cancels nothing."""
        w, b, c = (self._values[name] for name in ("w", "b", "c"))
        units = units_of(
            self.model.visible_,
            n_categories=self.model.n_categories,
            log_variance=self._values.get("log_variance"),
        )
        return Harmonium(w, b, c, units, units_of(self.model.hidden))

    def _noise(self, stream: int, step: int) -> Noise:
        """A function of (seed, stream, step) alone."""
        model = self.model
        seed = np.random.SeedSequence([model.random_state, stream, step])
        rng = model._backend.rng(int(seed.generate_state(1, np.uint64)[0]))
        return Noise(model._backend, model._dtype, rng)

    def gradient(self) -> Gradient:
        model = self.model
        rows = batch_indices(
            self.step, n=self.X.shape[0], batch_size=model.batch_size, seed=model.random_state
        )
        return self._gradient(model._dense(self.X, rows))

    def learn(self, v: Array) -> None:
        """One step on a batch at the first learning rate."""
        self._update(self._gradient(v), self.model.learning_rate)
        self.step += 1

    def _gradient(self, v: Array) -> Gradient:
        model, machine, noise = self.model, self.machine, self._noise(NOISE, self.step)
        if "log_variance" in self._values:
            v = (v - model.mean_) / model.scale_
        xp, hidden = model._backend.xp, machine.hidden
        x = hidden_field(machine, v)
        h = hidden.mean(x)
        drawn = h
        if isinstance(self.chains, FromData):
            drawn = hidden.draw(x, noise.for_states(hidden, tuple(x.shape)))
        ends = self.chains.advance(machine, drawn, noise, model.k)
        gradient = cd_gradient(machine, v, h, *ends, offsets=self._offsets(v, h, *ends))
        self._last = v, h, ends.v
        dw, db, dc, dt = gradient
        if model.sparsity_target is not None:
            dc = dc + model.sparsity_cost * (model.sparsity_target - xp.mean(h, axis=0))
        parts = {"w": dw, "b": db, "c": dc}
        if dt is not None:
            parts["log_variance"] = dt
        return parts

    def _offsets(self, v: Array, h: Array, v_model: Array, h_model: Array) -> Any:
        """μ and λ: means over data and batch, or over data and model together."""
        model = self.model
        if not model.centered:
            return None
        xp, statistic = model._backend.xp, self.machine.visible.statistic
        hidden = xp.mean(h, axis=0)
        if model.offsets == "data":
            standard = "log_variance" in self._values
            return (0.0 * model.mean_ if standard else model.mean_), hidden
        visible = xp.mean(statistic(v), axis=0) + xp.mean(statistic(v_model), axis=0)
        return 0.5 * visible, 0.5 * (hidden + xp.mean(h_model, axis=0))

    def apply(self, gradient: Gradient) -> None:
        decay = 1.0 - self.step / self.n_steps if self.model.decay == "linear" else 1.0
        self._update(gradient, self.model.learning_rate * decay)
        self.step += 1

    def _update(self, gradient: Gradient, rate: float) -> None:
        model, xp = self.model, self.model._backend.xp
        values = self._values
        for name, g in gradient.items():
            if name == "w" and model.l2:
                g = g - model.l2 * values[name]
            if name == "w" and model.l1:
                g = g - model.l1 * xp.sign(values[name])
            if model.momentum:
                g = (1.0 - model.momentum) * g
                if name in self._moments:
                    g += model.momentum * self._moments[name]
                self._moments[name] = g
            values[name] += rate * g  # in place where arrays can change
        model._set_standard(values)

    def finish(self, track: Track) -> None:  # noqa: ARG002
        """Hand over the chains."""
        self.hand_over()

    def hand_over(self) -> None:
        """Give the model the states of its chains, and what parallel tempering found."""
        model = self.model
        if isinstance(self.chains, FromData) and self.chains.field is None:
            return
        model.h_samples_ = self.chains.samples(self.machine, self._noise(CHAINS, self.step + 1))
        if isinstance(self.chains, Tempered):
            model.betas_ = np.array(self.chains.betas)
            model.exchange_rates_ = np.array(self.chains.exchange_rates)

    def parameters(self) -> dict[str, Array]:
        return self._values

    def health(self) -> dict[str, float]:
        """Of the last batch: activity, reconstruction, dead units, exchanges."""
        if not self._last:
            return {}
        xp, (v, h, v_model) = self.model._backend.xp, self._last
        found = {"hidden mean": float(xp.mean(h))}
        if isinstance(self.chains, FromData):
            found["reconstruction error"] = float(xp.mean((v - v_model) ** 2))
        if self.model.hidden == "bernoulli":
            each = xp.mean(h, axis=0)
            kind = each.dtype
            found["dead"] = float(xp.mean(xp.astype(each < SATURATED, kind)))
            found["saturated"] = float(xp.mean(xp.astype(each > 1.0 - SATURATED, kind)))
        if isinstance(self.chains, Tempered):
            found["lowest exchange rate"] = float(np.min(self.chains.exchange_rates))
        return found

    def state(self) -> dict[str, np.ndarray]:
        host = self.model._backend.to_host
        moments = {f"moment.{name}": np.array(host(m)) for name, m in self._moments.items()}
        chains = self.chains.state(host)
        values = {f"standard.{name}": np.array(host(value)) for name, value in self._values.items()}
        return self.model.state() | values | moments | chains | {"step": np.asarray(self.step)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.restore(state)
        array = self.model._array
        self._moments, self._values = (
            {
                name.removeprefix(prefix): array(np.array(value))
                for name, value in state.items()
                if name.startswith(prefix)
            }
            for prefix in ("moment.", "standard.")
        )
        self.model._set_standard(self._values)
        self.chains.restore(state, array)
        self.step = int(state["step"])
