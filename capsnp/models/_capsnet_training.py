"""Training of `CapsNet`, driven by `capsnp.training.train`."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.models._base import Rows
from capsnp.models._capsnet_network import Network, Part
from capsnp.training.loop import Gradient, Training, batch_indices
from capsnp.training.optimisers import Adam

if TYPE_CHECKING:
    from capsnp.models.capsnet import CapsNet

WEIGHTS, SHIFT, PART = 30, 31, 32
"""What random numbers are for: the second part of their generator's seed."""


class Alone(NamedTuple):
    """Parts of images, each without the others: what the decoder is to rebuild.

    Attributes
    ----------
    classes : numpy.ndarray of int, shape (N, M)
        The class of each of M parts by its number.
    images : rows, shape (N, M, H, W, C)
        By two arrays of numbers, as ``images[rows, parts]``.
    """

    classes: np.ndarray
    images: Any


class CapsNetTraining(Training):
    """Training of `CapsNet`: Adam on its loss.

    Parameters
    ----------
    model : CapsNet
    images : rows, shape (N, H, W, C)
        In [0, 1].
    targets : numpy.ndarray, shape (N,) or (N, J)
        The class of each by its number, or 1 for each class that is there, else 0.
    alone : Alone, optional
        In each step one part of each image, drawn by chance, is rebuilt from its class's capsule.
        Without it the whole image is, from the capsules of all its classes.
    """

    name = "capsnet"

    def __init__(
        self, model: "CapsNet", images: Rows, targets: np.ndarray, alone: Alone | None = None
    ):
        n = images.shape[0]
        self.alone = alone
        self.model, self.images, self.targets = model, images, targets
        self.per_epoch = max(1, n // model.batch_size)
        self.n_steps = model.n_iter * self.per_epoch
        self._optimiser = Adam()
        self._health: dict[str, Array] = {}

    @cached_property
    def network(self) -> Network:
        """What computes the gradient; its functions cannot be pickled, so it is made anew."""
        return self.model._network()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "network"}

    def gradient(self) -> Gradient:
        model, n = self.model, self.targets.shape[0]
        rows = batch_indices(
            self.step,
            n=n,
            batch_size=model.batch_size,
            seed=model.random_state,
        )
        rows = np.sort(rows)
        return self._gradient(self.images[rows], self.targets[rows], self._parts(rows))

    def learn(self, images: np.ndarray, targets: np.ndarray) -> None:
        """One step on a batch at the first learning rate."""
        self._update(self._gradient(images, targets), self.model.learning_rate)

    def _parts(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Masks (B, J) and images of one part of each example."""
        if self.alone is None:
            return None
        model, (classes, images) = self.model, self.alone
        rng = np.random.default_rng([model.random_state, PART, self.step])
        parts = rng.integers(classes.shape[1], size=rows.size)
        return np.eye(model.classes_.size)[classes[rows, parts]], images[rows, parts]

    def _gradient(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        parts: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Gradient:
        model, n = self.model, images.shape[0]
        products = self.network.products(model.weights_)
        there = np.eye(model.classes_.size)[targets] if targets.ndim == 1 else targets
        seed = [model.random_state, SHIFT, self.step]
        images = shifted(images, model.augment, seed)
        mask, originals = (None, None) if parts is None else parts
        if originals is not None:
            originals = shifted(originals, model.augment, seed)

        def part(rows: slice) -> Part:
            arrays = (images, there, mask, originals)
            block, targets, kept, whole = (
                None if array is None else model._array(array[rows]) for array in arrays
            )
            return self.network.part(block, targets, products, mask=kept, originals=whole)

        loss = self.network.joined(model._map(part, n))
        self._health = {
            "loss": loss.classes / n,
            "squared_error": loss.squared_error / n,
            "accuracy": loss.correct / n,
        }
        return {name: loss.gradient[name] / n for name in model.weights_}

    def apply(self, gradient: Gradient) -> None:
        model = self.model
        self._update(gradient, model.learning_rate * model.decay ** (self.step / self.per_epoch))

    def _update(self, gradient: Gradient, rate: float) -> None:
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
        model = self.model
        model.restore(state)
        self.step = int(state["step"])
        self._optimiser = Adam(count=self.step)
        self._optimiser.moments = {
            name.removeprefix("adam."): model._array(value)
            for name, value in state.items()
            if name.startswith("adam.")
        }


def shifted(images: np.ndarray, most: int, seed: list[int]) -> np.ndarray:
    """Each image moved by up to `most` pixels each way, zeros coming in: a function of the seed.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, H, W, C)
    most : int
    seed : list of int

    Returns
    -------
    numpy.ndarray, shape of images

    Examples
    --------
    >>> moved = shifted(np.ones((1, 4, 4, 1)), 1, [0])
    >>> moved.shape, moved.sum() in (9, 12, 16)
    ((1, 4, 4, 1), True)
    """
    if most == 0:
        return images
    height, width = images.shape[1:3]
    corners = np.random.default_rng(seed).integers(2 * most + 1, size=(len(images), 2))
    wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    moved = [
        image[y : y + height, x : x + width] for image, (y, x) in zip(wide, corners, strict=True)
    ]
    return np.stack(moved)
