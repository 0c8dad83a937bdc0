"""Training of `ExpertNeurons`, driven by `capsnp.training.train`."""

from typing import TYPE_CHECKING

import numpy as np

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.functional import NeuronGradient, length, neuron_gradient, neuron_mix
from capsnp.models._capsule_training import RoutedTraining
from capsnp.training.loop import Gradient

if TYPE_CHECKING:
    from capsnp.models.expert_neurons import ExpertNeurons

NOISE = 5
"""What the random numbers are for: the second part of their generator's seed."""


class NeuronTraining(RoutedTraining):
    """Training of `ExpertNeurons`: contrastive divergence with the coefficients of the data."""

    name = "neurons"
    model: "ExpertNeurons"
    learned = ("W", "a", "b")

    def _gradient(self, h: np.ndarray) -> Gradient:
        model, xp = self.model, self.model._backend.xp
        v = model.inputs(h)
        c, z = model._route(v)
        self._health = {"decided": xp.mean(length(model._codes(z)))}
        noise = self._noise(len(h))
        if model.n_winners is None:
            return self._of(v, c, noise, z=z)._asdict()
        on = self._won(z)
        if model.n_winners == 1 and model._backend.name == "numpy":
            gradient = self._one_winner_gradient(v, c, noise, np.argmax(on, axis=1))
        else:
            gradient = self._of(v, c, noise, z=z, on=on > 0)
        return gradient._asdict() | {"share": xp.mean(on, axis=0)}

    def _of(
        self,
        v: Array,
        c: Array,
        noise: Array | None,
        *,
        z: Array | None = None,
        on: Array | None = None,
        j: slice = slice(None),
    ) -> NeuronGradient:
        """The gradient of the hidden capsules j after one mixing."""
        model = self.model
        W, a = model.W_[:, j, ...], model.a_[j, ...]
        kind, steps = model._kind, model.mixing_steps
        mixing = neuron_mix(
            v, W, c, a, model.b_, **kind, steps=steps, hidden_noise=noise, z=z, on=on
        )
        return neuron_gradient(v, mixing, W, c)

    def _one_winner_gradient(
        self, v: np.ndarray, c: np.ndarray, noise: np.ndarray | None, winner: np.ndarray
    ) -> NeuronGradient:
        """The gradient with one capsule on: each capsule is a model of the examples it won.

        The fast path on NumPy, equal to the general one to rounding.
        """
        model = self.model

        def part(j: slice) -> NeuronGradient:
            rows = np.flatnonzero(winner == j.start)
            if rows.size == 0:
                W, a = np.zeros_like(model.W_[:, j]), np.zeros_like(model.a_[j])
                return NeuronGradient(W, a, np.zeros_like(model.b_))
            c_won = c[:, j] if c.ndim == 2 else c[:, :, j][rows]
            drawn = None if noise is None else noise[:, rows, j]
            share = float(rows.size / len(v))
            return NeuronGradient(*(share * g for g in self._of(v[rows], c_won, drawn, j=j)))

        parts = map_blocks(part, slices(model.n_capsules, 1), parallel=True)
        held = np.concatenate([np.transpose(one.W, (1, 3, 0, 2)) for one in parts])  # (J, P, I, D)
        return NeuronGradient(
            np.transpose(held, (2, 0, 3, 1)),
            np.concatenate([one.a for one in parts]),
            sum(one.b for one in parts),
        )

    def _noise(self, batch: int) -> Array | None:
        """Uniform numbers (steps, B, J, D) of this step, the same on every backend."""
        model = self.model
        if model.hidden == "mean":
            return None
        rng = np.random.default_rng([model.random_state, NOISE, self.step])
        shape = (model.mixing_steps, batch, model.n_capsules, model.capsule_dim)
        return model._array(rng.random(shape, dtype=np.dtype(model.dtype)))
