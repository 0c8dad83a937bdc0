"""The one training loop: gradient → average → apply, and observers that watch.

A model in training is a `Training`. It draws every random number from a generator made of
(seed, stage, step), so its state is its parameters, its optimiser's moments and the step, and a
run that was interrupted goes on with the very same bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

Array = Any
Gradient = dict[str, Array]
Track = Callable[[Iterable[Any], str], Iterable[Any]]
"""From items and what is done with them to the same items, while they are watched."""


class Training(ABC):
    """A model in training: what `train` drives and a checkpoint holds.

    Attributes
    ----------
    name : str
        The stage's name in messages, logs and checkpoints: "autoencoder", "capsules", "decoder".
    n_steps : int
        Steps of the whole training.
    step : int
        Steps done.
    """

    name: str
    n_steps: int
    step: int = 0

    @abstractmethod
    def gradient(self) -> Gradient:
        """The next batch's contribution, by parameter; several machines average theirs."""

    @abstractmethod
    def apply(self, gradient: Gradient) -> None:
        """Change the parameters by the (averaged) gradient and count the step."""

    def finish(self, track: Track) -> None:  # noqa: B027  most trainings have nothing to finish
        """After the last step and its checkpoint: what needs the whole data once."""

    @abstractmethod
    def parameters(self) -> dict[str, Array]:
        """The learned arrays by name, on the device: what the watchdog looks at."""

    @abstractmethod
    def health(self) -> dict[str, float]:
        """Quantities of the last step that tell health, as host numbers."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on, as host arrays; holds `step` as a 0-d integer array."""

    @abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a `state`."""


class Observer:
    """Watches a training; each method may be overridden."""

    def begin(self, training: Training) -> None:
        """Before the first step (of this process)."""

    def after_step(self, training: Training) -> None:
        """After each step."""

    def end(self, training: Training) -> None:
        """After the last step; not called when training stops early."""

    def track(self, items: Iterable[Any], description: str) -> Iterable[Any]:  # noqa: ARG002
        """The items one by one: work on the whole data, which is no step."""
        return items


def tracking(observers: Iterable[Observer]) -> Track:
    """One `Observer.track` of all observers."""
    observers = tuple(observers)

    def track(items: Iterable[Any], description: str) -> Iterable[Any]:
        for observer in observers:
            items = observer.track(items, description)
        return items

    return track


def train(
    training: Training,
    *,
    observers: Iterable[Observer] = (),
    average: Callable[[Gradient], Gradient] = lambda gradient: gradient,
) -> None:
    """Run a training from its present step to its last.

    Parameters
    ----------
    training : Training
        Where ``step`` may already be above 0.
    observers : iterable of Observer, optional
        Called in this order after each step; put the watchdog before the checkpoints.
    average : callable, optional
        From this worker's gradient to the mean of all workers': the place for an all-reduce over
        machines, each of which trains on a `Share` of the data. Without it there is one worker.

    Raises
    ------
    DivergenceError
        From a `Watchdog` among the observers.
    """
    observers = tuple(observers)
    for observer in observers:
        observer.begin(training)
    while training.step < training.n_steps:
        training.apply(average(training.gradient()))
        for observer in observers:
            observer.after_step(training)
    for observer in observers:
        observer.end(training)
    training.finish(tracking(observers))


def batch_indices(step: int, *, n: int, batch_size: int, seed: int) -> np.ndarray:
    """Rows of the batch of a step: each epoch is one shuffle, its last short batch left out.

    Parameters
    ----------
    step : int
        From 0.
    n, batch_size : int
        Rows in all and rows per batch; a batch larger than `n` is all of the rows.
    seed : int
        The shuffle is a function of (seed, epoch) alone.

    Returns
    -------
    numpy.ndarray of int64, shape (min(batch_size, n),)

    Examples
    --------
    >>> len(set(batch_indices(0, n=10, batch_size=5, seed=0))
    ...     | set(batch_indices(1, n=10, batch_size=5, seed=0)))
    10
    """
    per_epoch = max(1, n // batch_size)
    epoch, position = divmod(step, per_epoch)
    return _shuffled(n, seed, epoch)[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=2)  # of an epoch; a shuffle takes longer than a batch where there are many rows
def _shuffled(n: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(n)
    order.flags.writeable = False
    return order
