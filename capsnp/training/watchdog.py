"""Stop a training that makes numbers which are not finite or run away."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from capsnp.backend import backend_of, namespace
from capsnp.errors import DivergenceError, OptionError
from capsnp.training.loop import Observer, Training

Array = Any


class Watchdog(Observer):
    """Looks at every parameter and health quantity, and stops the run when one has gone wrong.

    Parameters
    ----------
    every : int, optional
        Steps between looks; each look is one transfer from the device.
    limit : float, optional
        Largest absolute value that a parameter may have. Trained weights here stay below 10.

    Raises
    ------
    OptionError
        If ``every`` is below 1 or ``limit`` not above 0.
    """

    def __init__(self, *, every: int = 50, limit: float = 1e4) -> None:
        if every < 1:
            raise OptionError(f"every: expected at least 1, got {every}")
        if not limit > 0:
            raise OptionError(f"limit: expected a number above 0, got {limit}")
        self.every = every
        self.limit = limit

    def after_step(self, training: Training) -> None:
        """Look at each step that is a multiple of ``every``."""
        if training.step % self.every == 0:
            self.check(training)

    def end(self, training: Training) -> None:
        """Look at the result."""
        self.check(training)

    def check(self, training: Training) -> None:
        """Look now.

        Raises
        ------
        DivergenceError
            Naming the stage, the step, the quantity and its value.
        """
        for name, value in training.health().items():
            self._expect(training, name, value, limit=math.inf)
        for name, value in largest(training.parameters()).items():
            self._expect(training, f"largest value of {name}", value, limit=self.limit)

    def check_state(self, training: Training, state: Mapping[str, np.ndarray]) -> None:
        """Look at a state on the host, the optimiser's moments included, before it is saved.

        Raises
        ------
        DivergenceError
            If an array in it is not finite.
        """
        for name, value in largest(state).items():
            self._expect(training, f"largest value of {name}", value, limit=math.inf)

    def _expect(self, training: Training, name: str, value: float, *, limit: float) -> None:
        if math.isfinite(value) and value <= limit:
            return
        expected = "a finite number" if math.isinf(limit) else f"at most {limit:g}"
        raise DivergenceError(
            f"{training.name}, step {training.step}: {name}: expected {expected}, got {value:g}; "
            "the checkpoints from before are kept"
        )


def largest(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Largest absolute value of each floating array, NaN if it holds one; one host transfer.

    Parameters
    ----------
    arrays : mapping of str to array
        Of one library; integer and empty arrays are passed over.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> largest({"W": np.asarray([1.0, -3.0]), "step": np.asarray(7)})
    {'W': 3.0}
    """
    xp = namespace(**arrays)
    kept = {
        name: array
        for name, array in arrays.items()
        if xp.isdtype(array.dtype, "real floating") and 0 not in array.shape
    }
    if not kept:
        return {}
    dtype = xp.result_type(*kept.values())
    extremes = xp.stack([xp.astype(xp.max(xp.abs(array)), dtype) for array in kept.values()])
    values = backend_of(extremes).to_host(extremes)
    return {name: float(value) for name, value in zip(kept, values, strict=True)}
