"""Training of the classifier, step by step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from capsnp.backend import Array
from capsnp.evaluation._network import Loss, loss_and_gradient
from capsnp.models._base import Rows
from capsnp.training.loop import Gradient, Training, batch_indices
from capsnp.training.optimisers import Adam

if TYPE_CHECKING:
    from capsnp.evaluation.classifier import ImageClassifier

_SHIFT, _DROPOUT = 20, 21
"""What random numbers are for: the second part of their generator's seed."""

PASSES, LEAST_STEPS = 4, 450
"""Default length of the training: over the images this often, and at least this many steps."""


class ClassifierTraining(Training):
    """Training of `ImageClassifier`: Adam on its cross-entropy."""

    name = "classifier"

    def __init__(self, model: "ImageClassifier", images: Rows, targets: np.ndarray):
        n = images.shape[0]
        self.model, self.images, self.targets = model, images, targets
        self.n_steps = model.n_steps or max(LEAST_STEPS, PASSES * n // min(model.batch_size, n))
        self._optimiser = Adam()
        self._health: dict[str, Any] = {}

    def gradient(self) -> Gradient:
        model = self.model
        rows = batch_indices(
            self.step,
            n=self.images.shape[0],
            batch_size=model.batch_size,
            seed=model.random_state,
        )
        rows = np.sort(rows)
        images = self._moved(np.asarray(self.images[rows]))
        one_hot = np.eye(model.classes_.size)[self.targets[rows]]
        mask = self._mask(rows.size)

        def part(block: slice) -> Loss:
            return loss_and_gradient(
                model._pixels(images[block]),
                model._array(one_hot[block]),
                model._array(mask[block]),
                model.weights_,
            )

        parts = model._map(part, rows.size)
        self._health = {
            "cross_entropy": sum(part.cross_entropy for part in parts) / rows.size,
            "accuracy": sum(part.correct for part in parts) / rows.size,
        }
        return {
            name: sum(part.gradient[name] for part in parts) / rows.size for name in model.weights_
        }

    def _moved(self, images: np.ndarray) -> np.ndarray:
        """Each image moved by up to `shift` pixels, a function of (seed, step)."""
        most, (height, width, _) = self.model.shift, images.shape[1:]
        rng = np.random.default_rng([self.model.random_state, _SHIFT, self.step])
        corners = rng.integers(2 * most + 1, size=(len(images), 2))
        wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        moved = [
            image[y : y + height, x : x + width]
            for image, (y, x) in zip(wide, corners, strict=True)
        ]
        return np.stack(moved)

    def _mask(self, n: int) -> np.ndarray:
        """Dropout of the features, a function of (seed, step): 0 or 1 / (1 − dropout)."""
        model = self.model
        rng = np.random.default_rng([model.random_state, _DROPOUT, self.step])
        return (rng.random((n, model.n_features)) >= model.dropout) / (1.0 - model.dropout)

    def apply(self, gradient: Gradient) -> None:
        rate = self.model.learning_rate * (1.0 - self.step / self.n_steps)
        self.model.weights_ = self._optimiser.update(self.model.weights_, gradient, rate)
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
        self.model.restore(state)
        self.step = int(state["step"])
        moments = {
            name.removeprefix("adam."): self.model._array(value)
            for name, value in state.items()
            if name.startswith("adam.")
        }
        self._optimiser = Adam(count=self.step, moments=moments)
